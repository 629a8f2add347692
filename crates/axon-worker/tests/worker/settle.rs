//! How tasks are settled: results, dead letters, fences.

use std::time::Duration;

use axon_bus::{Fenced, Message};
use axon_protocol::{Band, Control, EventKind, Format, Reason, TaskStatus, Verdict};
use axon_worker::Config;
use chrono::Utc;
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fleet, call, query_id, task, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_becomes_one_result_and_leaves_the_queue() {
    let fleet = Fleet::new().await;
    let worker = fleet.worker(Config::default()).await;
    fleet.wait_for_workers(1).await;
    let calls = vec![
        call("a", "diag.echo", json!({"x": 7})),
        call("b", "diag.echo", json!("${a.x}")),
    ];
    fleet.publish(&task("q1", "t1", calls)).await;
    let results = fleet.wait_for_results("q1", 1).await;
    assert_eq!(results[0].status, TaskStatus::Complete);
    assert_eq!(results[0].output, json!({"b": 7}), "only what no other call needs");
    assert_eq!((results[0].usage.tool_calls, results[0].attempt), (2, 1));
    assert_eq!(
        results[0].worker.as_ref().map(|id| id.as_str()),
        Some(worker.id.as_str())
    );
    fleet.wait_until_empty().await;
    let starts = fleet.wait_for_starts("q1", 1).await;
    assert_eq!((starts.len(), starts[0].by.as_str()), (1, worker.id.as_str()));
    worker.drain().await;
    fleet.wait_for_workers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_comes_later_and_tasks_that_were_there_before_are_served() {
    let fleet = Fleet::new().await;
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.echo", json!(1))]))
        .await;
    let worker = fleet.worker(Config::default()).await;
    fleet.wait_for_results("q1", 1).await;
    let needed = [axon_protocol::Capability::new("CodeReview").expect("a name")].into();
    let route = fleet.routes.ensure(&needed).await.expect("a route");
    let later = task("q1", "t2", vec![call("a", "diag.echo", json!(1))]);
    let subject = fleet.bus.namespace().task(&route, Band::Low, &later.query_id, "t2");
    let started = Instant::now();
    let message = Message::new(subject, Format::Json, &later).expect("encodes");
    fleet.bus.publish(message).await.expect("is stored");
    fleet.wait_for_results("q1", 2).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "by the doorbell, not by a sweep"
    );
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_buried_with_the_verdict_that_fits() {
    let fail = |params| vec![call("a", "diag.fail", params)];
    let fail_beside = |params| vec![call("a", "diag.fail", params), call("b", "diag.echo", json!(1))];
    for (calls, reason, verdict) in [
        (
            fail(json!({"kind": "transient", "message": "busy"})),
            Reason::Failed,
            Verdict::Retry,
        ),
        (fail(json!({"message": "never"})), Reason::Rejected, Verdict::Park),
        (
            fail_beside(json!({"kind": "transient"})),
            Reason::Failed,
            Verdict::Retry,
        ),
        (
            vec![call("a", "code.nothing", json!({}))],
            Reason::Rejected,
            Verdict::Park,
        ),
        (
            vec![call("a", "diag.unknown", json!({}))],
            Reason::Rejected,
            Verdict::Park,
        ),
    ] {
        let fleet = Fleet::new().await;
        let worker = fleet.worker(Config::default()).await;
        let mut given = task("q1", "t1", calls);
        given.attempt = 2;
        fleet.publish(&given).await;
        let letter = fleet.wait_for_letter().await;
        assert_eq!(
            (letter.reason, letter.verdict, letter.attempt),
            (reason, verdict, 2),
            "{letter:?}"
        );
        assert_eq!(letter.deadline, Some(given.deadline));
        fleet.wait_until_empty().await;
        assert!(fleet.results("q1").await.is_empty());
        worker.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_is_reported_when_the_rest_never_will_be() {
    let fleet = Fleet::new().await;
    let worker = fleet.worker(Config::default()).await;
    let calls = vec![
        call("good", "diag.echo", json!(1)),
        call("bad", "diag.fail", json!({"message": "never"})),
    ];
    fleet.publish(&task("q1", "t1", calls)).await;
    let mut slow = task(
        "q1",
        "t2",
        vec![
            call("quick", "diag.echo", json!(2)),
            call("slow", "diag.sleep", json!({"ms": 30_000})),
        ],
    );
    slow.delegation.boundaries.timeout_ms = 300;
    fleet.publish(&slow).await;
    let mut late = task("q1", "t3", vec![call("a", "diag.echo", json!(1))]);
    late.deadline = Utc::now() - Duration::from_secs(1);
    fleet.publish(&late).await;
    let mut results = fleet.wait_for_results("q1", 3).await;
    results.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    let seen: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result.status,
                result.output.clone(),
                result.reason.clone().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!((seen[0].0, &seen[0].1), (TaskStatus::Partial, &json!({"good": 1})));
    assert!(seen[0].2.contains("`bad` failed: never"), "{}", seen[0].2);
    assert_eq!((seen[1].0, &seen[1].1), (TaskStatus::Partial, &json!({"quick": 2})));
    assert!(seen[1].2.contains("time was up"), "{}", seen[1].2);
    assert_eq!(seen[2].0, TaskStatus::Failed);
    assert!(seen[2].2.contains("deadline"), "{}", seen[2].2);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_result_is_refused_and_its_task_acknowledged() {
    let fleet = Fleet::new().await;
    let subject = fleet
        .bus
        .namespace()
        .result(&query_id("q1"), &task("q1", "t1", Vec::new()).delegation.task_id);
    let first = Message::new(subject, Format::Json, &json!({"first": true})).expect("encodes");
    let until = std::time::Instant::now() + Duration::from_secs(5);
    let fenced = fleet.bus.publish_fenced(first, until).await.expect("is stored");
    assert!(matches!(fenced, Fenced::Won { .. }));
    let worker = fleet.worker(Config::default()).await;
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.echo", json!(1))]))
        .await;
    fleet.wait_for_starts("q1", 1).await;
    fleet.wait_until_empty().await;
    assert_eq!(
        fleet
            .bus
            .status(axon_protocol::Stream::Results)
            .await
            .expect("a status")
            .messages,
        1
    );
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_task_is_buried_and_the_next_one_runs() {
    for payload in [&b"\xc1"[..], b"{\"query_id\": 5}", b"", b"hello"] {
        let fleet = Fleet::new().await;
        let worker = fleet.worker(Config::default()).await;
        let good = task("q1", "t2", vec![call("a", "diag.echo", json!(1))]);
        let mut bad = fleet.message(&task("q1", "t1", Vec::new())).await;
        bad.payload = payload.to_vec().into();
        fleet.bus.publish(bad).await.expect("is stored");
        fleet.publish(&good).await;
        let letter = fleet.wait_for_letter().await;
        assert_eq!((letter.reason, letter.verdict), (Reason::Malformed, Verdict::Park));
        assert!(letter.message.starts_with("this is no task: "), "{}", letter.message);
        assert_eq!(letter.payload, payload);
        fleet.wait_for_results("q1", 1).await;
        fleet.wait_until_empty().await;
        worker.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_another_than_its_subject_says_is_buried() {
    let fleet = Fleet::new().await;
    let worker = fleet.worker(Config::default()).await;
    let mut message = fleet.message(&task("q1", "t1", Vec::new())).await;
    message.subject = message.subject.replace(".t1", ".t9");
    fleet.bus.publish(message).await.expect("is stored");
    let odd = fleet.message(&task("q1", "t1", Vec::new())).await;
    let letter = fleet.wait_for_letter().await;
    assert!(letter.message.contains("task t1 of query q1"), "{}", letter.message);
    let short = Message {
        subject: odd.subject.replace(".q1.t1", ".q1.t1.x"),
        ..odd
    };
    fleet.bus.publish(short).await.expect("is stored");
    fleet.wait_until_empty().await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_stops_within_a_second_and_keeps_what_it_has() {
    let fleet = Fleet::new().await;
    let worker = fleet.worker(Config::default()).await;
    let sleepy = |name: &str| call(name, "diag.sleep", json!({"ms": 30_000}));
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.echo", json!(1)), sleepy("b")]))
        .await;
    fleet.publish(&task("q2", "t1", vec![sleepy("a")])).await;
    fleet.wait_for_starts("q1", 1).await;
    fleet.wait_for_starts("q2", 1).await;
    let control = Control::Cancel {
        query_id: query_id("q1"),
    };
    let subject = fleet.bus.namespace().control_cancel(&query_id("q1"));
    let message = Message::new(subject, Format::Json, &control).expect("encodes");
    let started = Instant::now();
    fleet.bus.announce(&message).await.expect("is sent");
    let results = fleet.wait_for_results("q1", 1).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(
        (results[0].status, results[0].reason.as_deref()),
        (TaskStatus::Partial, Some("cancelled"))
    );
    assert_eq!(results[0].output, json!({"a": 1}));
    assert!(fleet.results("q2").await.is_empty(), "another query goes on");
    worker.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_killed_two_workers_is_parked_as_poison() {
    let fleet = Fleet::new().await;
    // Its query is a large one: what it did is told after all that.
    let others = 1_000;
    fleet.tell_starts("q1", "another", others).await;
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.sleep", json!({"ms": 60_000}))]))
        .await;
    for starts in 1..=2 {
        let victim = fleet.worker(Config::default()).await;
        fleet.wait_for_starts("q1", others + starts).await;
        victim.kill();
    }
    // The sweep finds it as soon as the lease of the second victim has ended.
    let config = Config {
        sweep_interval_s: 1,
        ..Config::default()
    };
    let third = fleet.worker(config).await;
    let letter = fleet.wait_for_letter().await;
    assert_eq!(
        (letter.reason, letter.verdict, letter.attempt),
        (Reason::Poison, Verdict::Park, 1)
    );
    assert_eq!(
        fleet.events("q1", EventKind::Started).await.len(),
        others + 2,
        "it was not started again"
    );
    until("an acknowledged task", async || fleet.tasks_left().await == 0).await;
    third.drain().await;
}
