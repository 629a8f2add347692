//! A client that nobody here wrote: nats-py asks in plain text and in JSON, with and without an id of its own, by
//! publishing and by the micro service.

use std::path::{Path, PathBuf};

use axon_bus::Bus;
use axon_protocol::{Digest, Query, Stream};
use axon_tests::command::run;
use axon_tests::{Bed, Fleet, root};
use futures::future::join_all;
use serde_json::{Value, json};

/// Code in which anybody who reviews it finds something.
pub(crate) const RISKY: &str = r#"use std::fs;

pub fn load(path: &str) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap();
    let mut all = Vec::with_capacity(16);
    for line in text.lines() {
        all.push(line.split(',').nth(1).unwrap().parse().unwrap());
    }
    let _ = fs::remove_file(path);
    unsafe { all.set_len(16) };
    all
}

pub fn save(path: &str, all: &[u32]) {
    fs::write(path, format!("{all:?}")).ok();
}
"#;

pub(crate) fn python() -> PathBuf {
    std::env::var_os("AXON_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from)
}

async fn client(fleet: &Fleet, how: &str, query: &str, id: Option<&str>) -> Value {
    let script = root().join("tests/python/client.py").display().to_string();
    let mut arguments = vec![script.as_str(), how, query];
    arguments.extend(id);
    let ended = run(&python(), &arguments, fleet.folder(), fleet.environment()).await;
    assert_eq!(
        ended.code,
        Some(0),
        "{how} {query}: {} (nats-py is installed by `make test`)",
        ended.stderr
    );
    serde_json::from_str(&ended.stdout).expect("one JSON document")
}

/// Stores a small workspace and returns its digest.
async fn workspace(fleet: &Fleet, bus: &Bus) -> Digest {
    let folder = fleet.folder().join("project");
    std::fs::create_dir_all(folder.join("src")).expect("created");
    std::fs::write(folder.join("src/lib.rs"), RISKY).expect("written");
    let shown = folder.display().to_string();
    let ended = fleet
        .axon(&["submit", "What is here?", "--workspace", &shown, "--timeout", "20"])
        .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stored = bus
        .messages(Stream::Queries, &bus.namespace().queries(), 0, 1)
        .await
        .expect("reads");
    let query: Query = bus.decode_stored(&stored[0]).await.expect("a query");
    query.workspace.expect("its workspace")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_asks_in_text_and_json_and_gets_its_answers() {
    let (bed, bus) = Bed::new().await;
    let stored = workspace(&Fleet::new(&bed), &bus).await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__WORKSPACE", stored);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let text = "Review this project: where could it panic?";
    let plan = json!({
        "query": "Say something",
        "deadline_s": 30,
        "plan": { "tasks": [{ "objective": "say it", "calls": [
            { "tool_id": "a", "tool_name": "diag.echo", "params": { "said": "hello from afar" } }
        ]}]},
    })
    .to_string();
    let cases = [
        ("publish", text, None),
        ("publish", text, Some("py-text")),
        ("publish", &plan, None),
        ("publish", &plan, Some("py-json")),
        ("ask", text, None),
        ("ask", text, Some("py-ask-text")),
        ("ask", &plan, None),
        ("ask", &plan, Some("py-ask-json")),
    ];
    let outcomes = join_all(cases.iter().map(|(how, query, id)| client(&fleet, how, query, *id))).await;
    for ((how, query, id), outcome) in cases.iter().zip(&outcomes) {
        let answer = &outcome["answer"];
        let case = format!("{how} {query} {id:?}: {answer}");
        assert_eq!(answer["status"], "complete", "{case}");
        assert_eq!(answer["query_id"], outcome["id"], "{case}");
        if let Some(id) = id {
            assert_eq!(answer["query_id"], *id, "{case}");
        } else if *how == "publish" {
            assert_eq!(answer["query_id"], format!("q{}", outcome["sequence"]), "{case}");
        }
        assert_eq!(outcome["headers"]["Content-Type"], "application/json", "{case}");
        if *query == plan {
            assert!(answer["outputs"].to_string().contains("hello from afar"), "{case}");
        } else {
            let text = answer["text"].as_str().expect("text for people");
            assert!(text.contains("src/lib.rs:"), "the evidence is cited: {text}");
        }
    }
    // The same id once more: the same answer, by either way.
    for how in ["publish", "ask"] {
        let again = client(&fleet, how, &plan, Some("py-json")).await;
        assert_eq!(again["answer"], outcomes[3]["answer"], "{how}");
    }
}

#[tokio::test]
async fn a_python_without_its_client_is_told_how_to_get_it() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let script = root().join("tests/python/client.py").display().to_string();
    // `-S -E` leaves out whatever was installed.
    let ended = run(
        Path::new("python3"),
        &["-S", "-E", &script, "publish", "x"],
        fleet.folder(),
        fleet.environment(),
    )
    .await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("run `make test`"), "{ended:?}");
}
