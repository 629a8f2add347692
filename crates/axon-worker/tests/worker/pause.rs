//! A paused worker takes nothing, tries one task when the time is over, and goes on when that succeeds or it is told to.

use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{Control, EventKind, Format, WorkerState};
use axon_worker::Config;
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fleet, Running, call, task, until};

async fn tell(fleet: &Fleet, subject: String, control: &Control) {
    let message = Message::new(subject, Format::Json, control).expect("encodes");
    fleet.bus.announce(&message).await.expect("is sent");
}

async fn pause(fleet: &Fleet, worker: &Running, for_ms: u64) {
    let control = Control::Pause {
        id: worker.id.clone(),
        for_ms,
        reason: "2 of 9".to_owned(),
    };
    tell(fleet, fleet.bus.namespace().control_pause(&worker.id), &control).await;
    until("a paused worker", async || {
        let all = fleet.wait_for_workers(1).await;
        let shown = all[0].pause.as_ref().map(|pause| pause.reason.as_str());
        all[0].state == WorkerState::Unhealthy && shown == Some("2 of 9")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_takes_nothing_until_it_is_told_to_go_on() {
    let fleet = Fleet::new().await;
    fleet.diagnostics().await;
    let worker = fleet.worker(Config::default()).await;
    fleet.wait_for_workers(1).await;
    pause(&fleet, &worker, 60_000).await;
    fleet
        .publish(&task("q1", "t1", vec![call("a", "diag.echo", json!(1))]))
        .await;
    let published = Instant::now();
    until("a second without a result", async || {
        assert!(fleet.results("q1").await.is_empty(), "it is paused");
        published.elapsed() > Duration::from_secs(1)
    })
    .await;
    let control = Control::Resume { id: worker.id.clone() };
    tell(&fleet, fleet.bus.namespace().control_resume(&worker.id), &control).await;
    fleet.wait_for_results("q1", 1).await;
    until("a healthy worker", async || {
        let all = fleet.wait_for_workers(1).await;
        all[0].state == WorkerState::Idle && all[0].pause.is_none()
    })
    .await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_one_task_is_tried_before_others() {
    let fleet = Fleet::new().await;
    fleet.diagnostics().await;
    let worker = fleet.worker(Config::default()).await;
    fleet.wait_for_workers(1).await;
    pause(&fleet, &worker, 1_500).await;
    for index in 0..4 {
        let name = format!("t{index}");
        fleet
            .publish(&task("q1", &name, vec![call("a", "diag.sleep", json!({"ms": 300}))]))
            .await;
    }
    let results = fleet.wait_for_results("q1", 4).await;
    let probed = results.iter().map(|result| result.finished_at).min().expect("four");
    let before = results.iter().filter(|result| result.started_at < probed).count();
    assert_eq!(before, 1, "one task is tried first: {results:?}");
    assert_eq!(fleet.events("q1", EventKind::Started).await.len(), 4);
    worker.drain().await;
}
