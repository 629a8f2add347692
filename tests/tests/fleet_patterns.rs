//! What the fleet learns: a pattern that one lead mines is used by another at once, also by one that was started later; it goes
//! when an operator drops it or its queries are forgotten, and comes along to another fleet.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Message};
use axon_protocol::{Format, Query};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually, eventually_true};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// What another lead may take to use what one has learnt.
const SHARED_WITHIN: Duration = Duration::from_secs(1);
/// Reads like a review; what is remembered says that research does better.
const QUESTION: &str = "Where could the header parser panic?";

#[track_caller]
fn document(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("one JSON document ({error}): {ended:?}"))
}

/// An export of queries like the question: reviews failed half of the time, research never did.
fn experience(fleet: &Fleet) -> String {
    let mut lines = String::new();
    for number in 0..40 {
        let research = number % 2 == 1;
        let episode = json!({
            "kind": "episode",
            "query_id": format!("e{number}"),
            "query": format!("Where could the parser of part {number} panic?"),
            "strategy": if research { "research" } else { "code_review" },
            "leaning": research.then_some("code_review"),
            "complexity": "simple",
            "shape": "single",
            "tasks": 1,
            "workers": 1,
            "status": "complete",
            "stop_reason": "finished",
            "success": research || number % 4 == 0,
            "duration_ms": 1000.0,
            "at": chrono::Utc::now() - chrono::TimeDelta::minutes(60 - number),
        });
        writeln!(lines, "{episode}").expect("a text");
    }
    let file = fleet.folder().join("experience.jsonl");
    std::fs::write(&file, lines).expect("written");
    file.to_string_lossy().into_owned()
}

fn workspace(fleet: &Fleet) -> String {
    let root = fleet.folder().join("project");
    std::fs::create_dir_all(root.join("src")).expect("a folder");
    let parser = "/// Reads the first byte.\npub fn parse_header(input: &[u8]) -> u8 {\n    input[0]\n}\n";
    std::fs::write(root.join("src/header.rs"), parser).expect("written");
    root.to_string_lossy().into_owned()
}

/// The plan of the question, as whichever lead answers would make it.
async fn plan(bus: &Bus, workspace: &Value) -> Value {
    let mut query = Query::new(QUESTION);
    query.workspace = workspace.as_str().and_then(|digest| digest.parse().ok());
    let request = Message::new(bus.namespace().plan(), Format::Json, &query).expect("a message");
    let reply = bus.request(&request, SOON).await.expect("a lead answers");
    serde_json::from_slice(reply.payload()).expect("a plan")
}

async fn follows(bus: &Bus, workspace: &Value) -> String {
    plan(bus, workspace).await["strategy"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The patterns of the fleet that choose a strategy.
async fn patterns(fleet: &Fleet) -> Vec<Value> {
    let listed = fleet.axon(&["memory", "patterns", "--json"]).await;
    let lines = listed
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|pattern| pattern["kind"] == "strategy").collect()
}

async fn key_of_pattern(fleet: &Fleet) -> String {
    eventually("a pattern is mined", SOON, || async {
        patterns(fleet).await.first()?["key"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_of_one_lead_is_used_by_all_until_it_is_dropped_or_forgotten() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let directory = workspace(&fleet);
    let learner = fleet.lead().await;
    let asked = document(
        &fleet
            .axon(&["plan", QUESTION, "--workspace", &directory, "--json"])
            .await,
    );
    let workspace = &asked["workspace"];
    assert_eq!(asked["strategy"]["name"], "code_review", "{asked}");
    let imported = document(&fleet.axon(&["memory", "import", &experience(&fleet), "--json"]).await);
    assert_eq!(imported["imported"], 40, "{imported}");
    let key = key_of_pattern(&fleet).await;
    eventually_true("the lead that learnt it uses it", SOON, || async {
        follows(&bus, workspace).await == "research"
    })
    .await;

    // The next lead remembers no query, so all that it knows are the patterns of the other one, which has ended.
    learner.terminate();
    assert!(learner.end(SOON).await.success());
    let other = fleet.ready("axon-lead", &[("AXON_LEAD__MAX_EPISODES", "0")]).await;
    eventually_true("a lead started later knows it", SOON, || async {
        follows(&bus, workspace).await == "research"
    })
    .await;
    let applied = plan(&bus, workspace).await;
    let effect = applied["patterns_applied"][0]["effect"].as_str().unwrap_or_default();
    assert!(effect.contains("research instead of code_review"), "{applied}");
    assert_eq!(applied["strategy"]["leaning"], "code_review", "{applied}");
    let shown = fleet.axon(&["plan", QUESTION, "--workspace", &directory]).await;
    assert!(
        shown.stdout.contains("pattern     research instead of code_review"),
        "{shown:?}"
    );

    // What one process changes of the patterns, another one heeds within a second.
    for (word, expected) in [("drop", "code_review"), ("lift", "research")] {
        let changed = document(&fleet.axon(&["memory", "patterns", word, &key, "--json"]).await);
        assert_eq!(changed["changed"], true, "{changed}");
        let since = Instant::now();
        eventually_true("the other lead heeds it", SHARED_WITHIN, || async {
            follows(&bus, workspace).await == expected
        })
        .await;
        eprintln!(
            "{word} was heeded by another lead after {:.0} ms",
            since.elapsed().as_secs_f64() * 1000.0
        );
    }

    // Into another fleet, where a lead without a single episode uses it.
    let file = fleet.folder().join("memory.jsonl").to_string_lossy().into_owned();
    assert_eq!(fleet.axon(&["memory", "export", &file]).await.code, Some(0));
    let (second_bed, second_bus) = Bed::new().await;
    let second = Fleet::new(&second_bed);
    let newcomer = second.ready("axon-lead", &[("AXON_LEAD__MAX_EPISODES", "0")]).await;
    let before = document(
        &second
            .axon(&["plan", QUESTION, "--workspace", &directory, "--json"])
            .await,
    );
    assert_eq!(before["strategy"]["name"], "code_review", "{before}");
    assert_eq!(second.axon(&["memory", "import", &file]).await.code, Some(0));
    eventually_true("another fleet uses it", SOON, || async {
        follows(&second_bus, &before["workspace"]).await == "research"
    })
    .await;
    drop(newcomer);

    // Forgotten queries are no evidence: what was mined from them is mined anew without them.
    let mining = fleet.lead().await;
    for number in (1..33).step_by(2) {
        let forgotten = fleet.axon(&["memory", "forget", &format!("e{number}")]).await;
        assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    }
    eventually_true("too little is left for a pattern", SOON, || async {
        patterns(&fleet).await.is_empty()
    })
    .await;
    eventually_true("no lead uses it", SOON, || async {
        follows(&bus, workspace).await == "code_review"
    })
    .await;
    drop((other, mining));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_dropped_is_not_mined_again_and_unknown_keys_are_named() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let learner = fleet.lead().await;
    assert_eq!(
        fleet.axon(&["memory", "import", &experience(&fleet)]).await.code,
        Some(0)
    );
    let key = key_of_pattern(&fleet).await;
    assert_eq!(fleet.axon(&["memory", "patterns", "drop", &key]).await.code, Some(0));
    learner.terminate();
    assert!(learner.end(SOON).await.success());
    // It mines from the start, and what it finds is written before anything that it learns afterwards.
    let _next = fleet.lead().await;
    let more = json!({
        "kind": "episode", "query_id": "more", "query": "Where could the lexer panic?", "strategy": "general",
        "complexity": "simple", "shape": "single", "tasks": 1, "workers": 1, "status": "complete",
        "stop_reason": "finished", "success": true, "duration_ms": 1.0, "at": chrono::Utc::now(),
        "retries": 1,
    });
    let lines: String = (0..20)
        .map(|number| {
            let mut one = more.clone();
            one["query_id"] = format!("more{number}").into();
            format!("{one}\n")
        })
        .collect();
    let file = fleet.folder().join("more.jsonl");
    std::fs::write(&file, lines).expect("written");
    assert_eq!(
        fleet.axon(&["memory", "import", &file.to_string_lossy()]).await.code,
        Some(0)
    );
    eventually_true("what came afterwards was mined", SOON, || async {
        fleet.axon(&["memory", "patterns"]).await.stdout.contains("messages: ")
    })
    .await;
    let still = patterns(&fleet).await;
    assert!(
        still
            .iter()
            .all(|pattern| pattern["key"] != *key || !pattern["removed"].is_null()),
        "{still:#?}"
    );
    let unknown = fleet.axon(&["memory", "patterns", "drop", "nothing"]).await;
    assert_eq!(unknown.code, Some(8), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no pattern nothing"), "{unknown:?}");
}
