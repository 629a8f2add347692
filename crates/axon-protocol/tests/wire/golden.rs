//! The bytes of every message as they are committed, and messages with nothing but what was required at first.

use std::fs;
use std::path::{Path, PathBuf};

use axon_protocol::{Format, Headers, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::samples::{Visit, each};

/// The committed files of this major version.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name)
}

/// What to know before a changed message is accepted.
const ABOUT_BYTES: &str = "is not what is committed. Messages of this version are out there: a field may be added with a \
     default, none may be renamed or removed or change its type";

/// Keeps what was produced where a person can look at it, and says how to accept it.
pub fn differs(name: &str, about: &str, committed: &Path, produced: &[u8]) -> String {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&kept, produced).expect("the folder for temporary files can be written");
    format!(
        "{name} {about}. To accept it:\n  cp {} {}",
        kept.display(),
        committed.display()
    )
}

struct Golden(Vec<String>);

impl Visit for Golden {
    fn message<T>(&mut self, name: &'static str, sample: &T)
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug,
    {
        for (format, suffix) in [(Format::Msgpack, "msgpack"), (Format::Json, "json")] {
            let produced = encode(format, sample).expect("encodes");
            let file = format!("{name}.{suffix}");
            let path = committed(&file);
            let golden = fs::read(&path).unwrap_or_default();
            if golden != produced {
                self.0.push(differs(&file, ABOUT_BYTES, &path, &produced));
                continue;
            }
            let read: T = decode(&Headers::new(), &golden).expect("decodes");
            assert_eq!(&read, sample, "{file} reads back");
        }
    }
}

#[test]
fn messages_have_the_committed_bytes() {
    let mut golden = Golden(Vec::new());
    each(&mut golden);
    assert!(golden.0.is_empty(), "{}", golden.0.join("\n"));
}

struct Minimal;

impl Visit for Minimal {
    fn message<T>(&mut self, name: &'static str, _sample: &T)
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug,
    {
        let path = committed(&format!("minimal/{name}.json"));
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let read: T = decode(&Headers::new(), &text).unwrap_or_else(|error| {
            panic!("{name}: a message as first published can no longer be read ({error}): give the new field a default")
        });
        // The same as MessagePack, and with a field of a later version.
        let mut value: Value = serde_json::from_slice(&text).expect("JSON");
        value
            .as_object_mut()
            .expect("an object")
            .insert("from_a_later_version".to_owned(), Value::Bool(true));
        for format in [Format::Msgpack, Format::Json] {
            let bytes = encode(format, &value).expect("encodes");
            let headers = Headers::from([("Content-Type".to_owned(), format.content_type().to_owned())]);
            assert_eq!(decode::<T>(&headers, &bytes).expect("decodes"), read, "{name}");
        }
    }
}

#[test]
fn messages_with_nothing_but_the_first_required_fields_are_read() {
    each(&mut Minimal);
}

/// The golden files as objects lose one field after the other: those that the schema does not require may be missing.
struct Optional;

impl Visit for Optional {
    fn message<T>(&mut self, name: &'static str, sample: &T)
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug,
    {
        let schema = schemars::schema_for!(T);
        let whole = serde_json::to_value(sample).expect("encodes");
        let Some(required) = schema.get("required").and_then(Value::as_array) else {
            return;
        };
        for field in whole.as_object().expect("an object").keys() {
            let mut without = whole.clone();
            without.as_object_mut().expect("an object").remove(field);
            let needed = required.iter().any(|required| required == field);
            let read = serde_json::from_value::<T>(without);
            // An `Option` may always be missing, whatever the schema says of it.
            assert!(
                needed || read.is_ok(),
                "{name}.{field} is not required but cannot be missing: {read:?}"
            );
        }
    }
}

#[test]
fn what_a_schema_does_not_require_may_be_missing() {
    each(&mut Optional);
}
