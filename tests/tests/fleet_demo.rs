//! `axon demo`: its figures are those of what really ran, and nothing of its fleet is left.

use std::path::Path;

use axon_tests::{binary, command, server_binary};
use serde_json::Value;

/// What the tasks of each complexity take at this speed, in milliseconds.
const SPEED: &str = "30";
const EXPECTED: [(&str, u64, u64, f64); 3] = [
    ("simple", 1, 6, 1000.0),
    ("medium", 4, 48, 1500.0),
    ("complex", 10, 180, 2000.0),
];

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or_else(|| panic!("{field} of {row}"))
}

#[track_caller]
fn about(found: f64, expected: f64, row: &Value) {
    assert!((found - expected).abs() < 0.01, "{found} is not {expected}: {row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_figures_of_what_ran() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = folder.path().join("workspace");
    std::fs::create_dir_all(&workspace).expect("a folder");
    let source = "pub fn parse(text: &str) -> u32 {\n    text.parse().unwrap()\n}\n";
    std::fs::write(workspace.join("lib.rs"), source).expect("written");
    let (server, directory) = (server_binary().display().to_string(), workspace.display().to_string());
    let arguments = [
        "demo",
        "--json",
        "--speed",
        SPEED,
        "--nats-server",
        &server,
        "--workspace",
        &directory,
        "--ask",
        "Review lib.rs for panics",
    ];
    let data = folder.path().display().to_string();
    let environment = [("TMPDIR".to_owned(), data.clone())];
    let ended = command::run(&binary("axon"), &arguments, folder.path(), &environment).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let shown: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    let rows = shown["queries"].as_array().expect("queries");
    assert_eq!(rows.len(), 4, "{shown}");
    for (row, (name, workers, calls, task_ms)) in rows.iter().zip(EXPECTED) {
        assert_eq!(
            (&row["query"], &row["workers"], &row["tool_calls"]),
            (&name.into(), &workers.into(), &calls.into())
        );
        let (parallel, sequential) = (number(row, "parallel_ms"), number(row, "sequential_ms"));
        // Sleeps are never shorter than they were told to be, and the fleet cannot be quicker than one task.
        let work = workers as f64 * task_ms;
        assert!((work..work * 1.5).contains(&sequential) && parallel > task_ms, "{row}");
        let saved = ((sequential - parallel) / sequential * 100.0).max(0.0);
        about(number(row, "time_saved_percent"), saved, row);
        about(
            number(row, "efficiency_percent"),
            sequential / (workers as f64 * parallel) * 100.0,
            row,
        );
        // Test machines are busy: what is shown is only expected to be near what it should be.
        let bound = (1.0 - 1.0 / workers as f64) * 100.0;
        assert!(saved <= bound && saved > bound - 20.0, "{row}");
        assert!(
            number(row, "utilisation_percent") <= 100.0 && number(row, "overhead_percent") < 50.0,
            "{row}"
        );
        let tools = &row["tools"];
        assert!(
            number(tools, "time_saved_percent") > 40.0 && number(tools, "makespan_ratio") >= 0.999,
            "{row}"
        );
    }
    assert_eq!(shown["answer"]["status"], "complete", "{}", shown["answer"]);
    for said in ["critical path", "a1 a2 → b1 b2 b3 → c1", "a real question"] {
        assert!(ended.stderr.contains(said), "`{said}`: {}", ended.stderr);
    }
    let summary = shown["answer"]["summary"].as_str().expect("a summary");
    for line in summary.lines() {
        assert!(ended.stderr.contains(line), "`{line}`: {}", ended.stderr);
    }
    let left: Vec<_> = std::fs::read_dir(Path::new(&data))
        .expect("readable")
        .flatten()
        .collect();
    let left: Vec<_> = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("axon-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
