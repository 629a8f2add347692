//! A thousand tasks in one plan, a thousand queries in one queue: nothing is lost, and the lead's memory stays flat.

use std::time::{Duration, Instant};

use axon_bus::Message;
use axon_protocol::{AnswerStatus, Format, Stream};
use axon_tests::client::{answer, answers, query_of, starts, submit, task, unfinished};
use axon_tests::{Bed, Fleet, eventually, eventually_true};
use futures::StreamExt as _;
use serde_json::json;

const LONG: Duration = Duration::from_secs(90);
const TASKS: usize = 1000;
const QUERIES: u64 = 1000;
/// What a lead may grow by while it answers most of a thousand queries.
const GROWTH_MAX: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_of_a_thousand_tasks_is_carried_out_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(2, 64), fleet.synthesizer());
    let mut tasks: Vec<_> = (1..=TASKS)
        .map(|index| task(&format!("t{index}"), "diag.echo", json!({ "said": index })))
        .collect();
    // The last ones need results of the first.
    for (index, task) in tasks.iter_mut().enumerate().skip(TASKS / 2) {
        task.dependencies = vec![format!("t{}", index + 1 - TASKS / 2)];
    }
    let asked_at = Instant::now();
    let id = submit(&bus, &query_of(tasks, 120)).await;
    let answer = answer(&bus, &id, LONG).await;
    eprintln!(
        "{TASKS} tasks took {:?}, the lead has {} KiB",
        asked_at.elapsed(),
        lead.resident_bytes() >> 10
    );
    assert_eq!(
        answer.status,
        AnswerStatus::Complete,
        "{:?} {:?}",
        answer.error,
        answer.missing
    );
    assert_eq!((answer.tasks_delegated, answer.tasks_completed), (TASKS, TASKS));
    assert_eq!(answers(&bus, &id).await, 1);
    assert_eq!(bus.status(Stream::Results).await.expect("reads").messages, TASKS as u64);
    let mut counted = 0.0;
    for worker in &workers {
        counted += worker.metric("axon_task_starts_total", &[]).await;
        assert_eq!(worker.metric("axon_results_fenced_total", &[]).await, 0.0);
    }
    assert_eq!(counted, TASKS as f64);
    let starts = starts(&bus, &id).await;
    assert_eq!(starts.len(), TASKS, "the events tell the same");
    assert!(starts.values().all(|starts| *starts == 1));
    eventually_true("nothing is left in the queues", LONG, || async {
        unfinished(&bus).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_queries_are_answered_by_one_lead_whose_memory_stays_flat() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed).set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 64);
    let query = query_of(vec![task("t1", "diag.echo", json!({ "said": "x".repeat(200) }))], 300);
    let message = Message::new(bus.namespace().queries(), Format::Json, &query).expect("encodes");
    // All of them are there before anybody takes one.
    let published = futures::stream::iter(0..QUERIES)
        .map(|_| bus.publish(message.clone()))
        .buffer_unordered(64)
        .map(|published| published.expect("accepted").sequence)
        .collect::<std::collections::BTreeSet<u64>>()
        .await;
    assert_eq!(published.len() as u64, QUERIES);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(64), fleet.synthesizer());
    let answered = async |enough: u64| {
        eventually(&format!("{enough} answers"), LONG, || async {
            let messages = bus.status(Stream::Answers).await.expect("reads").messages;
            (messages >= enough).then_some(messages)
        })
        .await
    };
    let mut sizes = Vec::new();
    for part in 1..=5 {
        answered(part * QUERIES / 5).await;
        sizes.push(lead.resident_bytes());
    }
    eprintln!(
        "the lead's KiB after each fifth: {:?}",
        sizes.iter().map(|bytes| bytes >> 10).collect::<Vec<_>>()
    );
    eventually_true("nothing is left in the queues", LONG, || async {
        unfinished(&bus).await == 0
    })
    .await;
    assert_eq!(answered(QUERIES).await, QUERIES, "each has one answer");
    assert_eq!(bus.status(Stream::Results).await.expect("reads").messages, QUERIES);
    assert_eq!(bus.status(Stream::Dead).await.expect("reads").messages, 0);
    assert!(sizes[4].saturating_sub(sizes[0]) < GROWTH_MAX, "{sizes:?}");
}
