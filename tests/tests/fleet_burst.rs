//! Many tasks at once: every worker gets its share, and what is urgent comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_protocol::{AnswerStatus, EventKind, Query};
use axon_tests::client::{answer, events, query_of, sleeps, starts, submit};
use axon_tests::{Bed, Fleet, eventually_true};

const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_shared_out_among_idle_workers() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, _workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(20, 1), fleet.synthesizer());
    // The route exists before the burst, as in any fleet that is not new.
    let first = submit(&bus, &query_of(sleeps(1, 10), 30)).await;
    answer(&bus, &first, SOON).await;
    let id = submit(&bus, &query_of(sleeps(20, 1500), 60)).await;
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete);
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(&bus, &id).await {
        if event.kind == EventKind::Started {
            *shares.entry(event.by).or_default() += 1;
        }
    }
    assert!(shares.len() >= 15, "{} workers took part: {shares:?}", shares.len());
    assert!(shares.values().all(|share| *share <= 2), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_comes_first_and_the_rest_comes_too() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let with = |priority: u8, tasks: usize| Query {
        priority: Some(priority),
        ..query_of(sleeps(tasks, 150), 60)
    };
    let running = submit(&bus, &query_of(sleeps(1, 2500), 60)).await;
    eventually_true("the only slot is taken", SOON, || async {
        starts(&bus, &running).await.len() == 1
    })
    .await;
    let low = submit(&bus, &with(1, 4)).await;
    let high = submit(&bus, &with(9, 4)).await;
    for id in [&running, &low, &high] {
        assert_eq!(answer(&bus, id, SOON).await.status, AnswerStatus::Complete);
    }
    let first_start = async |id| {
        let events = events(&bus, id).await;
        let starts = events.into_iter().filter(|event| event.kind == EventKind::Started);
        starts.map(|event| event.at).collect::<Vec<_>>()
    };
    let (low, high) = (first_start(&low).await, first_start(&high).await);
    let ahead = high.iter().filter(|at| **at < low[low.len() - 1]).count();
    assert!(ahead >= 3, "high: {high:?}, low: {low:?}");
}
