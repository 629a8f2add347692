//! Queries that mean harm: too large, too many, broken references, names that are none, texts full of traps. Each is refused
//! in words or carried out as what it is, and the fleet works on.

use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Band, Format, Headers, Query, QueryId, Reason, StopReason, TaskRequest, header};
use axon_tests::client::{answer, answers, letters, query_of, sleeps, submit, submit_as, task, unfinished};
use axon_tests::{Bed, Fleet, eventually, eventually_true};
use bytes::Bytes;
use serde_json::json;

use crate::bus_publish::route;

const SOON: Duration = Duration::from_secs(30);

async fn unharmed(bus: &Bus) {
    let id = submit(bus, &query_of(sleeps(2, 10), 30)).await;
    assert_eq!(answer(bus, &id, SOON).await.status, AnswerStatus::Complete);
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
}

/// A plan of two tasks, the first of which is changed.
fn with(change: impl FnOnce(&mut TaskRequest)) -> Query {
    let mut tasks = sleeps(2, 10);
    change(&mut tasks[0]);
    query_of(tasks, 30)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_carried_out_is_refused_in_words() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let no_digest = format!("sha256:{}", "0".repeat(64));
    for (name, query, expected) in [
        (
            "too-many-tasks",
            query_of(sleeps(1001, 1), 30),
            "1001 tasks, 1000 at most",
        ),
        ("no-token", with(|task| task.task_id = Some("a.b".to_owned())), "`a.b`"),
        ("wildcard", with(|task| task.task_id = Some(">".to_owned())), "`>`"),
        ("attempt", with(|task| task.task_id = Some("t1~2".to_owned())), "`t1~2`"),
        ("no-name", with(|task| task.task_id = Some(String::new())), "id"),
        ("long-name", with(|task| task.task_id = Some("x".repeat(65))), "64"),
        (
            "twice",
            with(|task| task.task_id = Some("t2".to_owned())),
            "two tasks have the id `t2`",
        ),
        (
            "itself",
            with(|task| task.dependencies = vec!["t1".to_owned()]),
            "wait for each other",
        ),
        (
            "capability",
            with(|task| task.required_capabilities = vec!["A.B".to_owned()]),
            "A.B",
        ),
        (
            "unknown",
            with(|task| task.required_capabilities = vec!["Alchemy".to_owned()]),
            "Alchemy",
        ),
        (
            "absolute",
            with(|task| task.scope = vec!["/etc/passwd".to_owned()]),
            "/etc/passwd",
        ),
        ("priority", with(|task| task.priority = Some(11)), "use 1 to 10"),
        ("no-time", with(|task| task.timeout_ms = Some(0)), "`timeout_ms` 0"),
        (
            "nothing",
            with(|task| (task.calls.clear(), task.objective.clear()).0),
            "neither an objective nor tool calls",
        ),
        (
            "other-tool",
            with(|task| task.allowed_tools = vec!["code.*".to_owned()]),
            "diag.sleep",
        ),
        (
            "no-workspace",
            Query {
                workspace: no_digest.parse().ok(),
                deadline_s: Some(20),
                ..Query::new("What is here?")
            },
            "not in the object store",
        ),
    ] {
        let id = submit_as(&bus, name, &query).await;
        let answer = answer(&bus, &id, SOON).await;
        assert_eq!(
            (answer.status, answer.stop_reason),
            (AnswerStatus::Failed, StopReason::Refused),
            "{name}: {answer:?}"
        );
        let error = answer.error.unwrap_or_default();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert_eq!(letters(&bus).await.len(), 0);
    unharmed(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_buried_and_answered_at_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let ns = bus.namespace().clone();
    let referring = |subject: String, reference: &str| Message {
        subject,
        headers: Headers::from([(header::REFERENCE.to_owned(), reference.to_owned())]),
        payload: Bytes::new(),
    };
    let absent = format!("sha256:{}", "0".repeat(64));
    let long = Message::new(ns.queries(), Format::Json, &Query::new("x".repeat(64 * 1024 + 1))).expect("encodes");
    for (index, (message, expected)) in [
        (long, "65536 at most"),
        (referring(ns.queries(), "../../etc/passwd"), "is no digest"),
        (referring(ns.queries(), &absent), "not in the object store"),
    ]
    .into_iter()
    .enumerate()
    {
        let published = bus.publish(message).await.expect("the stream takes anything");
        let answer = answer(
            &bus,
            &QueryId::from_sequence(published.sequence),
            Duration::from_secs(10),
        )
        .await;
        assert_eq!(
            (answer.status, answer.stop_reason),
            (AnswerStatus::Failed, StopReason::Refused)
        );
        let error = answer.error.unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
        let letter = eventually("its dead letter", SOON, || async {
            letters(&bus).await.into_iter().nth(index)
        })
        .await;
        assert_eq!(letter.reason, Reason::Malformed);
        assert!(letter.message.contains(expected), "{expected}: {}", letter.message);
    }
    // Nor does a task or a request come back for ever. The route's consumers exist once something was asked.
    unharmed(&bus).await;
    let nobodys = QueryId::new("nobodys").expect("an id");
    let known = letters(&bus).await.len();
    for (index, subject) in [
        ns.task(&route(), Band::Normal, &nobodys, "t1"),
        ns.task(&route(), Band::Normal, &nobodys, "t2"),
        ns.synthesis(&nobodys),
    ]
    .into_iter()
    .enumerate()
    {
        let reference = if index == 0 { "nonsense" } else { &absent };
        bus.publish(referring(subject.clone(), reference))
            .await
            .expect("the stream takes anything");
        let what = format!("a dead letter for {subject}");
        let letter = eventually(&what, Duration::from_secs(10), || async {
            letters(&bus).await.into_iter().nth(known + index)
        })
        .await;
        assert_eq!((letter.subject, letter.reason), (subject, Reason::Malformed));
    }
    unharmed(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_full_of_traps_are_only_texts() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let traps = [
        "a\r\nPUB axon.queries 1\r\nx\r\n".to_owned(),
        "\0\u{1b}[2J\u{202e}".to_owned(),
        "${t1.said} ${../../x}".to_owned(),
        "# heading\n```\n<script>alert(1)</script>".to_owned(),
        "ж".repeat(20_000),
        "]".repeat(50_000),
    ];
    let mut tasks: Vec<TaskRequest> = Vec::new();
    for (index, trap) in traps.iter().enumerate() {
        // A text that looks like a reference to an output would be looked up: here it is the objective alone.
        let said = if trap.contains("${") { "nothing" } else { trap };
        let mut one = task(&format!("t{index}"), "diag.echo", json!({ "said": said }));
        one.objective.clone_from(trap);
        tasks.push(one);
    }
    let mut query = query_of(tasks, 60);
    query.query.clone_from(&traps[0]);
    query.session = Some(traps[1].clone());
    let message = Message::new(bus.namespace().queries(), Format::Json, &query)
        .expect("encodes")
        .with(header::CLIENT, "x".repeat(5000))
        .with(header::REPLY_TO, format!("{}.queries", bus.namespace()))
        .with(header::TRACEPARENT, "nonsense");
    let published = bus.publish(message).await.expect("accepted");
    let id = QueryId::from_sequence(published.sequence);
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(
        answer.status,
        AnswerStatus::Complete,
        "{:?} {:?}",
        answer.error,
        answer.missing
    );
    assert_eq!((answer.tasks_completed, answers(&bus, &id).await), (traps.len(), 1));
    unharmed(&bus).await;
    assert_eq!(
        letters(&bus).await.len(),
        0,
        "its answer was not sent where only queries belong"
    );
    // Depth is no weapon either.
    let deep = format!(
        "{{\"query\": \"x\", \"plan\": {}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let published = bus
        .publish(Message {
            subject: bus.namespace().queries(),
            headers: Headers::new(),
            payload: deep.into(),
        })
        .await
        .expect("accepted");
    let refused = axon_tests::client::answer(&bus, &QueryId::from_sequence(published.sequence), SOON).await;
    assert_eq!(refused.status, AnswerStatus::Failed);
    unharmed(&bus).await;
}
