//! How a message is written and read: its format, its headers and its schema version.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The major version of the messages. A reader refuses any other.
pub const SCHEMA_MAJOR: u32 = 1;

/// The major version of a message that tells none. It stays what it is when [`SCHEMA_MAJOR`] grows.
pub const SCHEMA_MAJOR_UNTOLD: u32 = 1;

/// Room for most messages, so that writing one seldom moves it.
const MESSAGE_BYTES_USUAL: usize = 768;

/// The names of the headers.
pub mod header {
    /// Major version of the schema.
    pub const SCHEMA: &str = "Axon-Schema";
    /// `application/msgpack` or `application/json`.
    pub const CONTENT_TYPE: &str = "Content-Type";
    /// The format the asker wants the answer in.
    pub const ACCEPT: &str = "Accept";
    /// Who asks; for fairness between clients.
    pub const CLIENT: &str = "Axon-Client";
    /// Where else to send the answer.
    pub const REPLY_TO: &str = "Axon-Reply-To";
    /// Random token of one fenced publish.
    pub const ATTEMPT: &str = "Axon-Attempt";
    /// How many times a task was published to be executed, counted from 1.
    pub const TRY: &str = "Axon-Try";
    /// The digest of the real payload in the store of artifacts, where it was too large for a message.
    pub const REFERENCE: &str = "Axon-Reference";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// The publisher's id of a message.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
}

/// Headers by name. NATS allows several values per name; Axon uses the first.
pub type Headers = BTreeMap<String, String>;

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// MessagePack with field names.
    #[default]
    Msgpack,
    /// JSON.
    Json,
}

impl Format {
    /// The media type that names the format.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Msgpack => "application/msgpack",
            Format::Json => "application/json",
        }
    }

    /// The format a media type names; `None` for any other.
    pub fn from_content_type(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Some(Format::Msgpack),
            "application/json" => Some(Format::Json),
            _ => None,
        }
    }

    /// The format of a message: what its headers say, else JSON for a payload that begins with `{`, else MessagePack.
    pub fn detect(headers: &Headers, payload: &[u8]) -> Self {
        Self::detect_by(|name| headers.get(name).map(String::as_str), payload)
    }

    fn detect_by<'a>(header: impl Fn(&str) -> Option<&'a str>, payload: &[u8]) -> Self {
        header(header::CONTENT_TYPE)
            .and_then(Format::from_content_type)
            .unwrap_or(if payload.first() == Some(&b'{') {
                Format::Json
            } else {
                Format::Msgpack
            })
    }
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by another major version.
    #[error("schema version `{0}` is not supported: this process reads version {SCHEMA_MAJOR}")]
    Schema(String),
    /// Refers to something that cannot be in the store of artifacts.
    #[error("the header `Axon-Reference` holds `{0}`, which is no digest: use `sha256:` and 64 hexadecimal digits")]
    Reference(String),
    /// Not the MessagePack it should be.
    #[error("malformed MessagePack: {0}")]
    Msgpack(#[from] rmp_serde::decode::Error),
    /// Not the JSON it should be.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Encodes a message. Fails only for values that no format can hold, such as a map with keys that are no text.
pub fn encode<T: Serialize>(format: Format, value: &T) -> Result<Vec<u8>, EncodeError> {
    Ok(match format {
        Format::Msgpack => {
            let mut bytes = Vec::with_capacity(MESSAGE_BYTES_USUAL);
            value.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())?;
            bytes
        }
        Format::Json => serde_json::to_vec(value)?,
    })
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// MessagePack refused it.
    #[error("cannot encode as MessagePack: {0}")]
    Msgpack(#[from] rmp_serde::encode::Error),
    /// JSON refused it.
    #[error("cannot encode as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Decodes a message in the format its headers or its first byte tell. Unknown fields are ignored.
pub fn decode<T: DeserializeOwned>(headers: &Headers, payload: &[u8]) -> Result<T, DecodeError> {
    decode_by(|name| headers.get(name).map(String::as_str), payload)
}

/// Decodes a message whose headers are looked up by name: copying all of them costs more than reading a small message.
pub fn decode_by<'a, T: DeserializeOwned>(
    header: impl Fn(&str) -> Option<&'a str>,
    payload: &[u8],
) -> Result<T, DecodeError> {
    let told = header(header::SCHEMA);
    let major = told.map_or(Some(SCHEMA_MAJOR_UNTOLD), |version| {
        version.split('.').next()?.parse().ok()
    });
    if major != Some(SCHEMA_MAJOR) {
        return Err(DecodeError::Schema(told.unwrap_or("none").chars().take(32).collect()));
    }
    Ok(match Format::detect_by(header, payload) {
        Format::Msgpack => rmp_serde::from_slice(payload)?,
        Format::Json => serde_json::from_slice(payload)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn both_formats_read_back_and_the_first_byte_tells_json() {
        let budget = Budget { tokens: 7, cents: 9 };
        for (format, given) in [
            (Format::Msgpack, headers(&[])),
            (Format::Json, headers(&[])),
            (
                Format::Json,
                headers(&[(header::CONTENT_TYPE, "application/json; charset=utf-8")]),
            ),
            (Format::Msgpack, headers(&[(header::SCHEMA, "1.4")])),
        ] {
            let payload = encode(format, &budget).expect("encodes");
            assert_eq!(decode::<Budget>(&given, &payload).expect("decodes"), budget);
        }
    }

    #[test]
    fn another_major_version_and_garbage_are_refused_with_a_reason() {
        let payload = encode(Format::Json, &Budget { tokens: 1, cents: 1 }).expect("encodes");
        assert_eq!(
            SCHEMA_MAJOR_UNTOLD, 1,
            "messages without a version are around, and are of the first"
        );
        for version in ["2", "0.9", "x", ""] {
            let error = decode::<Budget>(&headers(&[(header::SCHEMA, version)]), &payload).expect_err("refused");
            assert!(matches!(error, DecodeError::Schema(_)), "{version}: {error}");
        }
        assert!(matches!(
            decode::<Budget>(&headers(&[]), b"\xc1"),
            Err(DecodeError::Msgpack(_))
        ));
        assert!(matches!(
            decode::<Budget>(&headers(&[]), b"{"),
            Err(DecodeError::Json(_))
        ));
    }
}
