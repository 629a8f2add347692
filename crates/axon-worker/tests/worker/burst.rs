//! How tasks spread over workers, and in which order they are taken.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_worker::Config;
use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fleet, call, task};

/// Fewer than a fleet may have, because all of them live in this process; each has a connection of its own.
const WORKERS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_spreads_over_idle_workers() {
    let fleet = Fleet::new().await;
    fleet.diagnostics().await;
    let one_slot = || Config {
        slots: 1,
        ..Config::default()
    };
    let workers = join_all((0..WORKERS).map(|_| fleet.worker(one_slot()))).await;
    fleet.wait_for_workers(WORKERS).await;
    let mut messages = Vec::new();
    for index in 0..WORKERS {
        let calls = vec![call("a", "diag.sleep", json!({"ms": 300}))];
        messages.push(fleet.message(&task("q1", &format!("t{index}"), calls)).await);
    }
    let started = Instant::now();
    let published = join_all(messages.into_iter().map(|message| fleet.bus.publish(message))).await;
    assert!(published.iter().all(Result::is_ok));
    let results = fleet.wait_for_results("q1", WORKERS).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let mut by_worker = BTreeMap::<_, usize>::new();
    for result in &results {
        *by_worker.entry(result.worker.clone()).or_default() += 1;
    }
    assert!(
        by_worker.len() >= WORKERS * 3 / 4,
        "only {} workers had a task",
        by_worker.len()
    );
    assert!(by_worker.values().all(|tasks| *tasks <= 2), "{by_worker:?}");
    join_all(workers.into_iter().map(|worker| worker.drain())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_band_goes_first() {
    let fleet = Fleet::new().await;
    let one_slot = Config {
        slots: 1,
        ..Config::default()
    };
    let worker = fleet.worker(one_slot).await;
    fleet
        .publish(&task("q1", "first", vec![call("a", "diag.sleep", json!({"ms": 500}))]))
        .await;
    fleet.wait_for_starts("q1", 1).await;
    for (priority, name) in [(1, "low"), (5, "normal"), (10, "high")] {
        let mut given = task("q1", name, vec![call("a", "diag.sleep", json!({"ms": 20}))]);
        given.delegation.priority = priority;
        fleet.publish(&given).await;
    }
    let mut results = fleet.wait_for_results("q1", 4).await;
    results.sort_by_key(|result| result.started_at);
    let order: Vec<&str> = results.iter().map(|result| result.task_id.as_str()).collect();
    assert_eq!(order, ["first", "high", "normal", "low"]);
    worker.drain().await;
}
