//! A text that must not be seen: neither `Debug` nor `Serialize` shows it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MASK: &str = "***";

/// A password, token or key. Reads like a string, prints and serialises as `***`; an empty one stays empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == MASK {
            // A dumped configuration or a secret default came round: taking the mask for the secret would fail far away.
            return Err(de::Error::custom(
                "`***` stands for a hidden secret; give the secret itself",
            ));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_itself() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).expect("serialises"), r#""***""#);
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn reads_text_but_not_its_own_mask() {
        let read = |json| serde_json::from_str::<Secret>(json);
        assert_eq!(read(r#""hunter2""#).expect("reads").expose(), "hunter2");
        assert!(read(r#""""#).expect("reads").is_empty());
        assert!(
            read(r#""***""#)
                .expect_err("refuses")
                .to_string()
                .contains("hidden secret")
        );
    }

    #[test]
    fn an_empty_one_survives_serialisation() {
        let json = serde_json::to_string(&Secret::default()).expect("serialises");
        assert!(serde_json::from_str::<Secret>(&json).expect("reads").is_empty());
    }
}
