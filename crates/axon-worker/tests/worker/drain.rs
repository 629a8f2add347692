//! Draining: what runs is finished or handed back, and nothing waits for a lease to end.

use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{Control, EventKind, Format, TaskStatus, WorkerState};
use axon_worker::Config;
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fleet, call, task, until};

/// Less than the lease of a task, so that what comes sooner was handed back.
const BEFORE_LEASE_ENDS: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_finishes_what_it_has_and_takes_nothing_new() {
    let fleet = Fleet::new().await;
    let worker = fleet.worker(Config::default()).await;
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.sleep", json!({"ms": 700}))]))
        .await;
    fleet.wait_for_starts("q1", 1).await;
    worker.stop.cancel();
    until("a draining worker", async || {
        fleet.wait_for_workers(1).await[0].state == WorkerState::Draining
    })
    .await;
    fleet
        .publish(&task("q1", "t2", vec![call("a", "diag.echo", json!(1))]))
        .await;
    worker.ended().await;
    let results = fleet.results("q1").await;
    assert_eq!(results.len(), 1);
    assert_eq!(
        (results[0].task_id.as_str(), results[0].status),
        ("t1", TaskStatus::Complete)
    );
    assert_eq!(fleet.tasks_left().await, 1, "the other one waits for the next worker");
    fleet.wait_for_workers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_handed_back_at_once_and_is_no_attempt() {
    let fleet = Fleet::new().await;
    let impatient = Config {
        drain_timeout_s: 0,
        slots: 8,
        ..Config::default()
    };
    let other = fleet.worker(impatient).await;
    for index in 0..4 {
        let name = format!("t{index}");
        fleet
            .publish(&task("q1", &name, vec![call("a", "diag.sleep", json!({"ms": 5000}))]))
            .await;
    }
    fleet.wait_for_starts("q1", 4).await;
    let heir = fleet.worker(Config::default()).await;
    fleet.wait_for_workers(2).await;
    let started = Instant::now();
    other.drain().await;
    fleet.wait_for_starts("q1", 8).await;
    assert!(started.elapsed() < BEFORE_LEASE_ENDS, "{:?}", started.elapsed());
    assert_eq!(fleet.events("q1", EventKind::HandedBack).await.len(), 4);
    let results = fleet.wait_for_results("q1", 4).await;
    assert!(
        results
            .iter()
            .all(|result| result.attempt == 1 && result.status == TaskStatus::Complete)
    );
    heir.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_be_told_to_drain_by_its_id() {
    let fleet = Fleet::new().await;
    let (worker, other) = (
        fleet.worker(Config::default()).await,
        fleet.worker(Config::default()).await,
    );
    fleet.wait_for_workers(2).await;
    let control = Control::Drain { id: worker.id.clone() };
    let subject = fleet.bus.namespace().control_drain(&worker.id);
    let message = Message::new(subject, Format::Json, &control).expect("encodes");
    fleet.bus.announce(&message).await.expect("is sent");
    worker.ended().await;
    let left = fleet.wait_for_workers(1).await;
    assert_eq!(left[0].id, other.id);
    other.drain().await;
}
