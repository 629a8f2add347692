//! Identifiers as newtypes. Each is one NATS subject token of bounded length, so that it can stand in a subject or a
//! key without escaping.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Longest identifier that is accepted, in bytes.
const ID_BYTES_MAX: usize = 64;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("an id must not be empty")]
    Empty,
    /// More than 64 bytes.
    #[error("the id `{0}…` is longer than 64 bytes: use a shorter one")]
    TooLong(String),
    /// A character that cannot stand in a subject token or a key.
    #[error("the id `{0}` holds the character {1:?}: use letters, digits, `-` and `_` only")]
    Character(String, char),
    /// Not `sha256:` followed by 64 hexadecimal digits.
    #[error("`{0}` is no digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong(text.chars().take(24).collect()));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
    {
        Some(c) => Err(IdError::Character(text.to_owned(), c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text: 1 to 64 letters, digits, `-` or `_`.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id! {
    /// A query: the publisher's `Nats-Msg-Id`, or `q<stream sequence>`.
    QueryId
}
id! {
    /// A task of a query, unique within it and derived from it, so that every lead derives the same.
    TaskId
}
id! {
    /// A worker process, new at each start.
    WorkerId
}
id! {
    /// A lead process, new at each start.
    LeadId
}

impl QueryId {
    /// The id of a query that was published without one: `q` and its sequence in the stream of queries.
    pub fn from_sequence(sequence: u64) -> Self {
        Self(format!("q{sequence}"))
    }

    /// The id of a published query: what its publisher gave as `Nats-Msg-Id`, else its sequence. `None` where what is given
    /// can be no id.
    pub fn of_published(given: Option<&str>, sequence: u64) -> Option<Self> {
        match given {
            Some(given) => Self::new(given).ok(),
            None => Some(Self::from_sequence(sequence)),
        }
    }

    /// A fresh id that sorts by time.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl TaskId {
    /// The id of the `index`-th task of a plan that names none, counted from 1.
    pub fn from_index(index: usize) -> Self {
        Self(format!("t{index}"))
    }
}

impl WorkerId {
    /// A fresh id that begins with the worker's group.
    pub fn generate(agent_type: &crate::AgentType) -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string();
        Self(format!("{agent_type}-{}", &random[random.len() - 10..]))
    }
}

impl LeadId {
    /// A fresh id.
    pub fn generate() -> Self {
        let random = uuid::Uuid::now_v7().simple().to_string();
        Self(format!("lead-{}", &random[random.len() - 10..]))
    }
}

/// The random token of one attempt to publish something fenced: who won is decided by comparing it with what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptToken(String);

impl AttemptToken {
    /// A fresh random token.
    pub fn generate() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The text that travels in the `Axon-Attempt` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 of some bytes, written `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in sha2::Sha256::digest(bytes) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The whole text, `sha256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits alone, fit for a file name.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let valid = text
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        if valid {
            Ok(Self(text))
        } else {
            Err(IdError::Digest(text.chars().take(80).collect()))
        }
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_bounded_subject_token() {
        let long = "a".repeat(65);
        for (text, fits) in [
            ("q1", true),
            ("A-b_9", true),
            ("", false),
            ("a.b", false),
            ("a b", false),
            ("*", false),
            (">", false),
            ("a~2", false),
            ("ä", false),
            (long.as_str(), false),
            (&long[..64], true),
        ] {
            assert_eq!(QueryId::new(text).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn a_digest_is_known_and_checked() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.as_str().parse::<Digest>(), Ok(digest));
        assert!("sha256:BA".parse::<Digest>().is_err());
        assert!("md5:00".parse::<Digest>().is_err());
    }
}
