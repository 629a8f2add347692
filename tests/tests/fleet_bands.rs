//! Priority bands under a backlog: what is urgent overtakes what was there before, and nothing starves behind it.

use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{AnswerStatus, Event, EventKind, Query, QueryId};
use axon_tests::client::{answer, events, query_of, sleeps, starts, submit};
use axon_tests::{Bed, Fleet, eventually_true};
use chrono::{DateTime, Utc};

const SOON: Duration = Duration::from_secs(60);

fn with_priority(priority: u8, tasks: usize, ms: u64) -> Query {
    Query {
        priority: Some(priority),
        ..query_of(sleeps(tasks, ms), 60)
    }
}

/// When the tasks of a query started, the first one first.
async fn starts_of(bus: &Bus, id: &QueryId) -> Vec<DateTime<Utc>> {
    let mut all: Vec<DateTime<Utc>> = Vec::new();
    for Event { kind, at, data, .. } in events(bus, id).await {
        if kind == EventKind::Started {
            let together = data.get("tasks").and_then(|tasks| tasks.as_array()).map_or(1, Vec::len);
            all.extend(std::iter::repeat_n(at, together));
        }
    }
    all.sort();
    all
}

async fn busy_worker(bus: &Bus) -> QueryId {
    let running = submit(bus, &query_of(sleeps(1, 2_000), 60)).await;
    eventually_true("the only slot is taken", SOON, || async {
        starts(bus, &running).await.len() == 1
    })
    .await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_overtakes_a_backlog() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let running = busy_worker(&bus).await;
    let low = submit(&bus, &with_priority(2, 6, 100)).await;
    eventually_true("the backlog is queued", SOON, || async {
        let status = bus.status(axon_protocol::Stream::Tasks).await.expect("reads");
        status.messages == 7
    })
    .await;
    let high = submit(&bus, &with_priority(9, 2, 100)).await;
    for id in [&running, &low, &high] {
        assert_eq!(answer(&bus, id, SOON).await.status, AnswerStatus::Complete);
    }
    let (low, high) = (starts_of(&bus, &low).await, starts_of(&bus, &high).await);
    assert_eq!((low.len(), high.len()), (6, 2));
    assert!(
        high.iter().all(|at| *at < low[0]),
        "priority 9 at {high:?}, priority 2 from {:?}",
        low[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lower_bands_go_on_behind_a_steady_stream_of_urgent_tasks() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let running = busy_worker(&bus).await;
    let high = submit(&bus, &with_priority(9, 150, 20)).await;
    let (normal, low) = tokio::join!(async { submit(&bus, &with_priority(5, 3, 20)).await }, async {
        submit(&bus, &with_priority(2, 3, 20)).await
    });
    for id in [&running, &low, &normal, &high] {
        assert_eq!(answer(&bus, id, SOON).await.status, AnswerStatus::Complete);
    }
    let urgent = starts_of(&bus, &high).await;
    for (name, id) in [("low", &low), ("normal", &normal)] {
        let starts = starts_of(&bus, id).await;
        let last = starts.last().expect("started");
        let before = urgent.iter().filter(|at| *at < last).count();
        assert!(
            (3..75).contains(&before),
            "{before} urgent tasks started before the last {name} one: one request in eight is for it"
        );
    }
}
