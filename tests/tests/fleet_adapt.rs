//! What a lead does beyond its plan, with real processes: a slow task executed a second time, a further task for an aspect
//! that came back thin, and the end of a query about which enough is known.

use std::path::Path;
use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{
    Answer, AnswerStatus, Bucket, Capability, DelegationTemplate, EventKind, QueryId, StopReason, StopRule,
    StrategyDefinition,
};
use axon_tests::client::{answer, answers, count, events, letters, query_of, sleeps, submit, task, unfinished};
use axon_tests::{Bed, Fleet, eventually_true};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    std::fs::write(path, text).expect("written");
}

/// Asks about a workspace with the command, and reads the answer.
async fn ask(fleet: &Fleet, question: &str, workspace: &Path) -> Answer {
    let workspace = workspace.display().to_string();
    let asked = fleet
        .axon(&["ask", question, "--workspace", &workspace, "--json"])
        .await;
    serde_json::from_str(&asked.stdout).unwrap_or_else(|error| panic!("{error}: {asked:?}"))
}

async fn settled(bus: &Bus, id: &QueryId) {
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
    assert_eq!(answers(bus, id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_task_is_executed_a_second_time_and_counted_apart() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(8), fleet.synthesizer());
    let mut tasks = sleeps(3, 50);
    tasks.push(task("slow", "diag.sleep", json!({ "ms": 5_000 })));
    let id = submit(&bus, &query_of(tasks, 30)).await;
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    assert_eq!((answer.second_executions, answer.retries), (1, 0), "{answer:?}");
    assert_eq!((answer.tasks_completed, answer.tasks_delegated), (4, 4));
    assert_eq!(
        worker.metric("axon_task_starts_total", &["cause=\"second\""]).await,
        1.0
    );
    assert_eq!(worker.metric("axon_task_starts_total", &["cause=\"first\""]).await, 4.0);
    assert_eq!(worker.metric("axon_task_starts_total", &["cause=\"retry\""]).await, 0.0);
    // The execution that came second is stopped, and its result is nobody's.
    settled(&bus, &id).await;
    let letters = letters(&bus).await;
    assert!(letters.is_empty(), "{letters:#?}");

    // The same where it is not wanted.
    let plain = fleet
        .ready("axon-lead", &[("AXON_LEAD__DYNAMIC_SPAWNING", "false")])
        .await;
    lead.terminate();
    assert!(lead.end(SOON).await.success());
    let mut tasks = sleeps(3, 50);
    tasks.push(task("slow", "diag.sleep", json!({ "ms": 3_000 })));
    let id = submit(&bus, &query_of(tasks, 30)).await;
    let answer = answer_of(&bus, &id).await;
    assert_eq!((answer.status, answer.second_executions), (AnswerStatus::Complete, 0));
    drop(plain);
}

async fn answer_of(bus: &Bus, id: &QueryId) -> Answer {
    answer(bus, id, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aspect_that_came_back_thin_is_looked_at_once_more_in_the_whole_workspace() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let workspace = fleet.folder().join("project");
    write(
        &workspace,
        "src/colour.rs",
        "/// Mixes two colours.\npub fn mix(a: u8, b: u8) -> u8 {\n    a / 2 + b / 2\n}\n",
    );
    write(
        &workspace,
        "notes/design.md",
        "# Retry backoff\n\nThe retry backoff doubles after each failed delivery, from 250 ms up to 8 s.\n",
    );
    let answer = ask(&fleet, "How does the retry backoff work in src/?", &workspace).await;
    assert_eq!(
        (answer.status, answer.tasks_delegated),
        (AnswerStatus::Complete, 2),
        "{answer:#?}"
    );
    let places: Vec<String> = answer
        .findings()
        .flat_map(|finding| &finding.evidence)
        .map(|evidence| evidence.location())
        .collect();
    assert!(
        places.iter().any(|place| place.starts_with("notes/design.md")),
        "{places:?}"
    );
    let added: Vec<Value> = events(&bus, &answer.query_id)
        .await
        .into_iter()
        .filter(|event| event.kind == EventKind::Planned && event.task_id.is_some())
        .map(|event| event.data["like"].clone())
        .collect();
    assert_eq!(added, [json!("t1")]);
    settled(&bus, &answer.query_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_when_enough_is_known_and_says_so() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    // One slot, so that tasks end one after the other.
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let workspace = fleet.folder().join("project");
    for part in ["parser", "store", "wire", "view"] {
        let body = "    let value = input.parse::<u32>().unwrap();\n    std::fs::remove_file(input).ok();\n".repeat(4);
        let functions = (0..120).map(|index| format!("pub fn {part}_{index}(input: &str) {{\n{body}}}\n\n"));
        write(
            &workspace,
            &format!("{part}/src/lib.rs"),
            &functions.collect::<String>(),
        );
    }
    let question = "Review the whole repository for ignored errors";
    let whole = ask(&fleet, question, &workspace).await;
    assert_eq!(
        (whole.status, whole.stop_reason),
        (AnswerStatus::Complete, StopReason::Finished)
    );
    assert!(whole.tasks_delegated >= 2, "{whole:#?}");

    // The definition of the bucket replaces the built-in one without a restart.
    let definition = StrategyDefinition {
        name: "code_review".to_owned(),
        description: "Reads code, and is soon content.".to_owned(),
        patterns: vec!["^review".to_owned()],
        keywords: vec!["review".to_owned()],
        capabilities: vec![Capability::new("CodeReview").expect("a capability")],
        templates: vec![DelegationTemplate {
            aspect: "error handling".to_owned(),
            synonyms: vec!["ignored error*".to_owned()],
            scope: Default::default(),
            objective: "Find ignored errors in {scope} for “{query}”.".to_owned(),
            allowed_tools: vec!["code.*".to_owned()],
            constraints: vec!["Change no file".to_owned()],
            key_questions: vec!["Which errors are ignored?".to_owned()],
        }],
        priority: 5,
        stop: Some(StopRule {
            confidence_min: Some(0.3),
            barren_results: None,
        }),
        stage: Default::default(),
        learnt_from: None,
    };
    let table = bus.table::<StrategyDefinition>(Bucket::Strategies);
    table.put("def.code_review", &definition).await.expect("written");
    eventually_true("the new definition is in force", SOON, || async {
        // Asked anew each time: a lead hears of a definition a moment after it is written.
        let answer = ask(&fleet, question, &workspace).await;
        answer.stop_reason == StopReason::EnoughFound
    })
    .await;
    let early = ask(&fleet, question, &workspace).await;
    assert_eq!(
        (early.status, early.stop_reason),
        (AnswerStatus::Complete, StopReason::EnoughFound)
    );
    assert!(early.tasks_completed < early.tasks_delegated, "{early:#?}");
    assert!(early.summary.contains("Stopped early"), "{}", early.summary);
    assert!(
        early.missing.iter().all(|part| part.reason.contains("not needed")),
        "{:?}",
        early.missing
    );
    assert_eq!(count(&bus, &early.query_id, EventKind::Answered).await, 1);
    settled(&bus, &early.query_id).await;
}
