//! A fleet that remembers what its tools returned: a question that is asked again, two workers at one call, and the death of
//! the one who makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{Answer, AnswerStatus, Bucket, CallMemory, Event, EventKind, QueryId, Stream, TaskResult};
use axon_tests::client::{answer, events};
use axon_tests::{Bed, Fleet, Process, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);
/// What took longer than this was surely dear enough to be shared, in milliseconds.
const DEAR_MS: f64 = 100.0;
const QUESTION: &str =
    "Review src/ for panics, ignored errors, functions that are hard to maintain, and what is not tested";

/// A directory with some weight: `files` files of forty functions each, which panic, and one in ten that ignores errors.
fn workspace(fleet: &Fleet, files: usize) -> PathBuf {
    let root = fleet.folder().join("project");
    std::fs::create_dir_all(root.join("src")).expect("a folder");
    for file in 0..files {
        let functions = (file * 40..file * 40 + 40).map(|number| match number % 10 {
            0 => format!("pub fn drop_{number}(path: &str) {{\n    let _ = std::fs::remove_file(path);\n}}\n"),
            _ => format!(
                "pub fn part_{number}(input: &str, index: usize) -> u32 {{\n    let words: Vec<&str> = \
                 input.split(':').collect();\n    words[index].parse::<u32>().unwrap() + {number}\n}}\n"
            ),
        });
        let text: String = functions.collect();
        std::fs::write(root.join(format!("src/m{file}.rs")), text).expect("written");
    }
    root
}

async fn submit(fleet: &Fleet, id: &str, question: &str, workspace: &Path, plan: Option<Value>) -> QueryId {
    let folder = workspace.display().to_string();
    let mut arguments = vec![
        "submit",
        question,
        "--workspace",
        &folder,
        "--id",
        id,
        "--timeout",
        "120",
    ];
    let file = fleet.folder().join("plan.json").display().to_string();
    if let Some(plan) = plan {
        std::fs::write(&file, plan.to_string()).expect("written");
        arguments.extend(["--plan", &file]);
    }
    let ended = fleet.axon(&arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    QueryId::new(id).expect("an id")
}

/// The calls that returned something, by task and call.
fn calls(events: &[Event]) -> BTreeMap<(String, String), &Value> {
    let done = |event: &&Event| event.kind == EventKind::ToolCall && event.data["status"] == "done";
    let calls = events.iter().filter(done).map(|event| {
        let task = event.task_id.as_ref().expect("a task").to_string();
        (
            (task, event.data["call"].as_str().expect("a call").to_owned()),
            &event.data,
        )
    });
    calls.collect()
}

/// What an answer says, whoever said it first.
fn claims(answer: &Answer) -> BTreeSet<String> {
    let findings = answer.findings();
    findings
        .map(|finding| serde_json::to_string(&finding.claim).expect("encodes"))
        .collect()
}

async fn results(bus: &Bus, id: &QueryId) -> Vec<TaskResult> {
    let filter = bus.namespace().results_of(id);
    let mut results = Vec::new();
    for stored in bus.messages(Stream::Results, &filter, 0, 100).await.expect("reads") {
        results.push(bus.decode_stored(&stored).await.expect("a result"));
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_asked_again_makes_no_expensive_call_again() {
    let (bed, bus) = Bed::new().await;
    // The heartbeats of workers may still tell of the first query when the second is planned.
    let fleet = Fleet::counted(&bed).set("AXON_LEAD__ADAPTIVE_ALLOCATION", false);
    let _fleet = tokio::join!(fleet.lead(), fleet.workers(2, 2), fleet.synthesizer());
    let project = workspace(&fleet, 40);
    let mut asked = Vec::new();
    for id in ["first", "second"] {
        let query = submit(&fleet, id, QUESTION, &project, None).await;
        let answer = answer(&bus, &query, SOON).await;
        assert_eq!(answer.status, AnswerStatus::Complete, "{answer:#?}");
        asked.push((answer, events(&bus, &query).await, results(&bus, &query).await));
    }
    let [(first, before, _), (second, after, results)] = &asked[..] else {
        unreachable!("two queries were asked")
    };
    assert!(claims(first).len() > 1, "{:?}", claims(first));
    assert_eq!(claims(first), claims(second));

    let (before, after) = (calls(before), calls(after));
    let dear = before
        .iter()
        .filter(|(_, data)| data["duration_ms"].as_f64() > Some(DEAR_MS));
    let dear: Vec<_> = dear.collect();
    assert!(dear.len() > 1, "the workspace has some weight: {before:#?}");
    for (call, made) in dear {
        let again = after
            .get(call)
            .unwrap_or_else(|| panic!("{call:?} is made again: {after:#?}"));
        assert!(again["remembered_ms"].is_number(), "{call:?}: {made} then {again}");
    }

    // Everything that tells of it says the same.
    let remembered = after.values().filter(|data| data["remembered_ms"].is_number()).count();
    let counted: u64 = results.iter().map(|result| result.run.calls_remembered).sum();
    assert_eq!(counted, remembered as u64);
    let made: u64 = results.iter().map(|result| result.usage.tool_calls).sum();
    assert_eq!(made, after.len() as u64, "a call that was remembered counts as a call");
    let explained = fleet.axon(&["explain", "second"]).await;
    let said = format!(
        "{remembered} of {} tool calls were answered from working memory",
        after.len()
    );
    assert!(explained.stdout.contains(&said), "{said}: {}", explained.stdout);
    println!(
        "the same question again: {:.0} ms instead of {:.0} ms, {said}",
        second.duration_ms, first.duration_ms
    );
}

/// Two tasks that make the same call.
fn twice_the_same() -> Value {
    let task =
        || json!({"objective": "measure", "calls": [{"tool_id": "c", "tool_name": "code.metrics", "params": {}}]});
    json!({"tasks": [task(), task()]})
}

/// How the calls of a query were answered: made, remembered.
fn counts(events: &[Event]) -> (usize, usize) {
    let calls = calls(events);
    let remembered = calls.values().filter(|data| data["remembered_ms"].is_number()).count();
    (calls.len() - remembered, remembered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_at_one_call_make_it_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (_lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(2, 1), fleet.synthesizer());
    let project = workspace(&fleet, 40);
    let query = submit(&fleet, "both", "measure", &project, Some(twice_the_same())).await;
    let answer = answer(&bus, &query, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:#?}");
    let events = events(&bus, &query).await;
    let by: BTreeSet<&str> = calls_by(&events);
    assert_eq!(by.len(), 2, "both workers had a task: {events:#?}");
    assert_eq!(counts(&events), (1, 1), "{events:#?}");
    let mut shared = 0.0;
    for worker in &workers {
        shared += worker
            .metric("axon_working_memory_calls_total", &["source=\"shared\""])
            .await;
    }
    assert_eq!(shared, 1.0);

    // Another scope is another call, whatever was remembered.
    let mut narrow = twice_the_same();
    narrow["tasks"][0]["scope"] = json!(["src/m1.rs"]);
    narrow["tasks"][1]["scope"] = json!(["src/m2.rs"]);
    let query = submit(&fleet, "narrow", "measure", &project, Some(narrow)).await;
    axon_tests::client::answer(&bus, &query, SOON).await;
    assert_eq!(counts(&axon_tests::client::events(&bus, &query).await), (2, 0));
    for result in results(&bus, &query).await {
        let functions = result.output["c"].to_string();
        let other = if result.task_id.as_str() == "t1" {
            "m2.rs"
        } else {
            "m1.rs"
        };
        assert!(functions.contains(".rs") && !functions.contains(other), "{functions}");
    }
}

fn calls_by(events: &[Event]) -> BTreeSet<&str> {
    let calls = events.iter().filter(|event| event.kind == EventKind::ToolCall);
    calls.map(|event| event.by.as_str()).collect()
}

/// The worker that makes a call now.
async fn claimant<'p>(bus: &Bus, workers: &'p [Process]) -> &'p Process {
    let table = bus.table::<CallMemory>(Bucket::Working);
    eventually("a call is claimed", SOON, || async {
        let held = table.all().await.expect("reads");
        held.into_values().find_map(|call| match call {
            CallMemory::Claimed { by, .. } => workers.iter().find(|worker| worker.id() == by.as_str()),
            CallMemory::Made { .. } => None,
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_who_makes_a_call_costs_the_others_a_moment() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (_lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(2, 1), fleet.synthesizer());
    let project = workspace(&fleet, 400);
    let query = submit(&fleet, "both", "measure", &project, Some(twice_the_same())).await;
    let dying = claimant(&bus, &workers).await;
    // It keeps its claim and cannot come to an end.
    dying.freeze();
    dying.kill();
    let survivor = workers
        .iter()
        .find(|worker| worker.pid() != dying.pid())
        .expect("another one");
    let answer = answer(&bus, &query, SOON).await;
    assert_eq!(
        (answer.status, answer.tasks_completed),
        (AnswerStatus::Complete, 2),
        "{answer:#?}"
    );
    let events = events(&bus, &query).await;
    assert_eq!(calls_by(&events), BTreeSet::from([survivor.id().as_str()]));
    assert_eq!(
        counts(&events),
        (1, 1),
        "made once more, and remembered for the other task: {events:#?}"
    );
}
