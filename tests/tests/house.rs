//! The rules of the house that the compiler does not check: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use axon_tests::root;
use serde_json::Value;

/// Each crate of the workspace with what it depends on, tests and build scripts included.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let needs = package["dependencies"].as_array().expect("dependencies");
            (name(package), needs.iter().map(name).collect())
        })
        .collect()
}

#[test]
fn processes_meet_only_over_nats() {
    let roles = ["axon-lead", "axon-worker", "axon-synthesizer"];
    let all = dependencies();
    assert!(all.len() >= 10, "{:?}", all.keys());
    for role in roles {
        assert!(all.contains_key(role), "{role} is a crate of its own");
        for (package, needs) in &all {
            assert!(!needs.contains(role), "{package} depends on {role}");
        }
    }
}

#[test]
fn one_crate_speaks_nats_and_one_file_computes_delays() {
    let all = dependencies();
    for (library, user) in [("async-nats", "axon-bus"), ("backoff", "axon-service")] {
        let users: Vec<&String> = all
            .iter()
            .filter(|(_, needs)| needs.contains(library))
            .map(|(package, _)| package)
            .collect();
        assert_eq!(users, [user], "{library}");
    }
    let sources = root().join("crates/axon-service/src");
    let users: Vec<String> = std::fs::read_dir(sources)
        .expect("the sources of the service")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("backoff::")))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    assert_eq!(users, ["retry.rs"]);
}

#[test]
fn the_lower_crates_know_nothing_of_the_higher_ones() {
    let all = dependencies();
    for (package, allowed) in [
        ("axon-service", &[][..]),
        ("axon-protocol", &[]),
        ("axon-bus", &["axon-service", "axon-protocol"]),
        ("axon-tools", &["axon-service", "axon-protocol"]),
        ("axon-memory", &["axon-service", "axon-protocol", "axon-bus"]),
        // Its tests ask the scripted provider, which knows nothing of it.
        (
            "axon-model",
            &["axon-service", "axon-protocol", "axon-bus", "axon-tests"],
        ),
    ] {
        let ours: Vec<&String> = all[package]
            .iter()
            // What the tests of a crate stand on is no layer of it.
            .filter(|need| need.starts_with("axon-") && *need != "axon-tests" && !allowed.contains(&need.as_str()))
            .collect();
        assert!(ours.is_empty(), "{package} depends on {ours:?}");
    }
}
