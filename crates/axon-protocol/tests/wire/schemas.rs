//! The JSON schemas in `docs/schemas` are those of the types.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::golden::differs;
use crate::samples::{Visit, each};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas")
}

#[derive(Default)]
struct Schemas {
    seen: BTreeSet<String>,
    differences: Vec<String>,
}

impl Visit for Schemas {
    fn message<T>(&mut self, name: &'static str, _sample: &T)
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug,
    {
        let schema = schemars::schema_for!(T).to_value();
        let file = format!("{name}.json");
        let path = folder().join(&file);
        let committed = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        if committed.as_ref() != Some(&schema) {
            let produced = serde_json::to_string_pretty(&schema).expect("encodes") + "\n";
            self.differences.push(differs(
                &format!("schema-{file}"),
                "differs from the type",
                &path,
                produced.as_bytes(),
            ));
        }
        self.seen.insert(file);
    }
}

#[test]
fn the_schemas_are_up_to_date() {
    let mut schemas = Schemas::default();
    each(&mut schemas);
    assert!(schemas.differences.is_empty(), "{}", schemas.differences.join("\n"));
    let committed: BTreeSet<String> = fs::read_dir(folder())
        .expect("docs/schemas exists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        committed, schemas.seen,
        "docs/schemas holds a schema of every message and nothing else"
    );
}
