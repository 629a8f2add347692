//! Stopping: a process that is asked to stop finishes or hands back what it holds, and nobody waits for a lease to end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axon_protocol::{AnswerStatus, Bucket, EventKind, Heartbeat, Stream, WorkerState};
use axon_tests::client::{answer, answers, count, events, query_of, sleeps, starts, submit, task, unfinished};
use axon_tests::{Bed, Fleet, eventually_true};
use futures::future::join_all;
use serde_json::json;

const SOON: Duration = Duration::from_secs(25);
/// The shortest lease: whatever takes less was not waited for.
const LEASE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_worker_finishes_what_it_holds() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(3, 2), fleet.synthesizer());
    let ids = join_all((0..3).map(|_| async { submit(&bus, &query_of(sleeps(6, 300), 60)).await })).await;
    let mut first_stopped_at = None;
    for worker in &workers[..2] {
        eventually_true("it has tasks", SOON, || async {
            worker.metric("axon_slots", &["state=\"busy\""]).await >= 1.0
        })
        .await;
        worker.terminate();
        first_stopped_at.get_or_insert_with(Instant::now);
        assert!(
            worker.end(SOON).await.success(),
            "{} drains and ends well",
            worker.name()
        );
    }
    for id in &ids {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(
            (answer.status, answer.retries),
            (AnswerStatus::Complete, 0),
            "{answer:?}"
        );
        let starts = starts(&bus, id).await;
        assert!(
            starts.len() == 6 && starts.values().all(|starts| *starts == 1),
            "{starts:?}"
        );
        assert_eq!(count(&bus, id, EventKind::HandedBack).await, 0);
    }
    let took = first_stopped_at.map(|at| at.elapsed()).expect("stopped");
    assert!(took < LEASE, "no lease had to end: {took:?}");
    assert_eq!(workers[2].metric("axon_results_fenced_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_draining_worker_cannot_finish_is_handed_back_at_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_WORKER__DRAIN_TIMEOUT_S", 1);
    let (_lead, leaving, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(3, 5000), 60)).await;
    eventually_true("it has all tasks", SOON, || async {
        starts(&bus, &id).await.len() == 3
    })
    .await;
    let staying = fleet.worker(4).await;
    leaving.terminate();
    assert!(leaving.end(SOON).await.success());
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    eventually_true("the other worker did all three", SOON, || async {
        staying.metric("axon_tasks_total", &["outcome=\"complete\""]).await == 3.0
    })
    .await;
    let events = events(&bus, &id).await;
    let at = |kind: EventKind| {
        events
            .iter()
            .filter(move |event| event.kind == kind)
            .map(|event| event.at)
            .max()
    };
    let (back, again) = (at(EventKind::HandedBack), at(EventKind::Started));
    let waited = (again.expect("started") - back.expect("handed back"))
        .to_std()
        .unwrap_or_default();
    assert!(waited < LEASE / 3, "taken {waited:?} after it was handed back");
    assert_eq!(answer.retries, 0, "a handed-back task is no attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_lead_finishes_or_hands_over_at_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__DRAIN_TIMEOUT_S", 3);
    let (leaving, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(8), fleet.synthesizer());
    let short = submit(&bus, &query_of(sleeps(2, 1500), 60)).await;
    let long = submit(&bus, &query_of(sleeps(2, 8000), 60)).await;
    eventually_true("both run", SOON, || async {
        starts(&bus, &short).await.len() == 2 && starts(&bus, &long).await.len() == 2
    })
    .await;
    let staying = fleet.lead().await;
    leaving.terminate();
    assert!(leaving.end(SOON).await.success());
    let gone_at = Instant::now();
    assert_eq!(answers(&bus, &short).await, 1, "what it could finish it did");
    eventually_true("the other lead goes on", LEASE / 2, || async {
        count(&bus, &long, EventKind::TakenOver).await == 1
    })
    .await;
    assert!(gone_at.elapsed() < LEASE / 2, "{:?}", gone_at.elapsed());
    let answer = answer(&bus, &long, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    for id in [&short, &long] {
        assert!(starts(&bus, id).await.values().all(|starts| *starts == 1));
    }
    assert_eq!(count(&bus, &short, EventKind::TakenOver).await, 0);
    drop(staying);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_lead_beats_until_its_last_query_has_ended() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(1, 7_000), 60)).await;
    eventually_true("it runs", SOON, || async { starts(&bus, &id).await.len() == 1 }).await;
    let (table, key) = (bus.table::<Heartbeat>(Bucket::Registry), format!("lead.{}", lead.id()));
    lead.terminate();
    let beats = RefCell::new(BTreeSet::new());
    eventually_true("it has left the registry", SOON, || async {
        let entry = table.get(&key).await.expect("reads");
        let beat = entry.and_then(|entry| entry.value);
        if let Some(beat) = beat.as_ref().filter(|beat| beat.state == WorkerState::Draining) {
            beats.borrow_mut().insert(beat.at);
        }
        beat.is_none()
    })
    .await;
    assert!(beats.borrow().len() >= 3, "one each two seconds: {beats:?}");
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
    assert!(lead.end(SOON).await.success(), "{}", lead.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_and_synthesizers_stopped_under_load_lose_nothing() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (leads, _worker, synthesizers) = tokio::join!(
        async { tokio::join!(fleet.lead(), fleet.lead()) },
        fleet.worker(16),
        async { tokio::join!(fleet.synthesizer(), fleet.synthesizer()) }
    );
    let one_task = || query_of(vec![task("t1", "diag.echo", json!({ "said": "x" }))], 60);
    let mut ids = Vec::new();
    let mut stopped_at = None;
    for round in 0..120 {
        ids.push(submit(&bus, &one_task()).await);
        if round == 40 {
            leads.0.terminate();
            synthesizers.0.terminate();
            stopped_at = Some(Instant::now());
        }
    }
    for process in [&leads.0, &synthesizers.0] {
        assert!(
            process.end(SOON).await.success(),
            "{} drains and ends well",
            process.name()
        );
    }
    for id in &ids {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
        assert_eq!(answers(&bus, id).await, 1);
    }
    let took = stopped_at.expect("stopped").elapsed();
    assert!(took < LEASE, "no lease had to end: {took:?}");
    eventually_true("nothing is left in the queues", LEASE / 2, || async {
        unfinished(&bus).await == 0
    })
    .await;
    for stream in Stream::WORK_QUEUES {
        let status = bus.status(stream).await.expect("reads");
        assert!(
            status.consumers.iter().all(|consumer| consumer.ack_pending == 0),
            "{status:?}"
        );
    }
    assert_eq!(leads.1.metric("axon_dead_letters_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_process_at_once() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(1, 60_000), 90)).await;
    eventually_true("it has the task", SOON, || async { starts(&bus, &id).await.len() == 1 }).await;
    worker.terminate();
    worker.says("draining", SOON).await;
    assert!(worker.ended().is_none());
    worker.terminate();
    let status = worker.end(Duration::from_secs(3)).await;
    assert!(!status.success(), "it left work behind and says so: {status}");
}
