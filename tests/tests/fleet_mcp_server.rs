//! The fleet as an MCP server: a client that nobody here wrote asks it, plans with it and looks at it.

use axon_tests::command::run;
use axon_tests::{Bed, Fleet, binary, root};
use serde_json::{Value, json};

use crate::fleet_python::{RISKY, python};

/// Starts `axon mcp` for a directory and makes the calls.
async fn calls(fleet: &Fleet, directory: &str, calls: Value) -> Value {
    let script = root().join("tests/python/mcp_client.py").display().to_string();
    let (axon, calls) = (binary("axon").display().to_string(), calls.to_string());
    let arguments = [script.as_str(), &axon, directory, &calls];
    let ended = run(&python(), &arguments, fleet.folder(), fleet.environment()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("one JSON document")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_asks_the_fleet_and_looks_at_it() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let project = fleet.folder().join("project");
    std::fs::create_dir_all(project.join("src")).expect("created");
    std::fs::write(project.join("src/lib.rs"), RISKY).expect("written");
    let question = "Review this project: where could it panic?";
    let document = calls(
        &fleet,
        &project.display().to_string(),
        json!([
            ["workers", {}],
            ["plan", { "question": question }],
            ["ask", { "question": question, "timeout_s": 30, "wait_s": 100 }],
            ["answer", { "id": "$id" }],
            ["queries", { "limit": 5 }],
            ["cancel", { "id": "$id" }],
            ["ask", { "question": question, "workspace": "/etc" }],
            ["answer", { "id": "nobody-asked-this" }],
            ["ask", { "questoin": question }],
            ["destroy", {}],
        ]),
    )
    .await;
    assert_eq!(
        document["tools"],
        json!(["ask", "answer", "plan", "queries", "cancel", "workers"])
    );
    let said = |index: usize| &document["said"][index];
    assert_eq!(said(0)["structure"]["statistics"]["total"], 1, "{}", said(0));
    assert!(said(1)["structure"]["task_delegations"].is_array(), "{}", said(1));
    assert_eq!(said(2)["structure"]["status"], "complete", "{}", said(2));
    assert!(
        said(2)["text"].as_str().is_some_and(|text| text.contains("src/lib.rs")),
        "{}",
        said(2)
    );
    assert_eq!((&said(3)["text"], &said(3)["error"]), (&said(2)["text"], &json!(false)));
    let id = &said(2)["structure"]["id"];
    assert_eq!(&said(4)["structure"]["queries"][0]["id"], id, "{}", said(4));
    assert_eq!(said(5)["structure"]["cancelled"], false, "{}", said(5));
    for (index, expected) in [(6, "is not in"), (7, "no query `nobody-asked-this`")] {
        let text = said(index)["text"].as_str().unwrap_or_default();
        assert!(
            said(index)["error"] == true && text.contains(expected),
            "{}",
            said(index)
        );
    }
    for (index, expected) in [(8, "questoin"), (9, "no tool `destroy`")] {
        let refused = said(index)["refused"].as_str().unwrap_or_default();
        assert!(refused.contains(expected), "{}", said(index));
    }
}
