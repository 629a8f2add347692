//! Crashes: any one process is killed, or freezes and comes back from the dead, and there is one answer, complete.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Author, EventKind, Format, QueryId, Stream};
use axon_tests::client::{answer, answers, count, query_of, sleeps, starts, submit, task, unfinished};
use axon_tests::{Bed, Fleet, Process, Server, eventually, eventually_true};
use serde_json::json;

const SOON: Duration = Duration::from_secs(40);
/// A lease of a query, the longest there is, has to end first.
const TAKEOVER: Duration = Duration::from_secs(40);

async fn busy(worker: &Process) {
    eventually_true("the worker has tasks", SOON, || async {
        worker.metric("axon_slots", &["state=\"busy\""]).await >= 1.0
    })
    .await;
}

/// One answer, complete, with all its tasks, and nothing left anywhere.
async fn complete(bus: &Bus, id: &QueryId, tasks: usize, timeout: Duration) {
    let answer = answer(bus, id, timeout).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    assert_eq!(answer.tasks_completed, tasks, "{answer:?}");
    assert_eq!(answer.author, Author::Synthesizer);
    eventually_true("nothing is left in the queues", TAKEOVER, || async {
        unfinished(bus).await == 0
    })
    .await;
    assert_eq!(answers(bus, id).await, 1);
    let filter = bus.namespace().results_of(id);
    let results = bus.messages(Stream::Results, &filter, 0, 1000).await.expect("reads");
    assert_eq!(results.len(), tasks, "one accepted result a task");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_costs_time_and_nothing_else() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(3, 2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(15, 700), 60)).await;
    busy(&workers[0]).await;
    workers[0].kill();
    complete(&bus, &id, 15, TAKEOVER).await;
    let starts = starts(&bus, &id).await;
    assert!(
        starts.values().any(|starts| *starts == 2),
        "its tasks were started again: {starts:?}"
    );
    assert!(starts.values().all(|starts| *starts <= 2), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_back_from_the_dead_is_refused_and_counted() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, zombie, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(1, 1500), 60)).await;
    busy(&zombie).await;
    zombie.freeze();
    let other = fleet.worker(1).await;
    complete(&bus, &id, 1, TAKEOVER).await;
    assert_eq!(
        other.metric("axon_task_starts_total", &["cause=\"redelivery\""]).await,
        1.0
    );
    zombie.thaw();
    eventually_true("its late result is refused", SOON, || async {
        zombie.metric("axon_results_fenced_total", &[]).await == 1.0
    })
    .await;
    complete(&bus, &id, 1, SOON).await;
    // It works on as if nothing had happened.
    other.terminate();
    assert!(other.end(SOON).await.success());
    let next = submit(&bus, &query_of(sleeps(1, 10), 30)).await;
    complete(&bus, &next, 1, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synthesizer_killed_with_a_request_is_replaced() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, _worker, first) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    // Frozen, so that it surely holds the request when it is killed.
    let id = freeze_with_a_request(&bus, &first).await;
    first.kill();
    let _second = fleet.synthesizer().await;
    complete(&bus, &id, 2, TAKEOVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synthesizer_back_from_the_dead_adds_no_second_answer() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (_lead, _worker, zombie) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = freeze_with_a_request(&bus, &zombie).await;
    let _second = fleet.synthesizer().await;
    complete(&bus, &id, 2, TAKEOVER).await;
    zombie.thaw();
    zombie.ready(SOON).await;
    let next = submit(&bus, &query_of(sleeps(2, 10), 60)).await;
    complete(&bus, &next, 2, SOON).await;
    complete(&bus, &id, 2, SOON).await;
}

/// Freezes a synthesizer that holds the request of a query, which it cannot answer then. An open pull lasts a second: one
/// that ran out before the request came gets nothing, so that the synthesizer is let go and frozen again.
async fn freeze_with_a_request(bus: &Bus, synthesizer: &Process) -> QueryId {
    let until = Instant::now() + SOON * 3;
    while Instant::now() < until {
        synthesizer.freeze();
        let id = submit(bus, &query_of(sleeps(2, 10), 60)).await;
        let held = eventually("the request is held, or nobody waits for it", SOON, || async {
            let status = bus.status(Stream::Synthesis).await.expect("reads");
            let held = status.consumers.iter().any(|consumer| consumer.ack_pending == 1);
            let unheld = status.messages == 1 && status.consumers.iter().all(|consumer| consumer.waiting == 0);
            (held || unheld).then_some(held)
        })
        .await;
        if held {
            return id;
        }
        synthesizer.thaw();
        complete(bus, &id, 2, SOON).await;
    }
    panic!("the synthesizer was never frozen with a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_lead_is_replaced_and_nothing_is_done_twice() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(8, 1000), 90)).await;
    eventually_true("some tasks have a result", SOON, || async {
        bus.status(Stream::Results).await.expect("reads").messages >= 2
    })
    .await;
    lead.kill();
    let _next = fleet.lead().await;
    complete(&bus, &id, 8, TAKEOVER).await;
    assert_eq!(count(&bus, &id, EventKind::TakenOver).await, 1);
    let starts = starts(&bus, &id).await;
    assert_eq!(starts.len(), 8);
    assert!(starts.values().all(|starts| *starts == 1), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_killed_at_any_moment_loses_no_query() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(8), fleet.synthesizer());
    // Queries in every state: just published, planned, running, being synthesized, answered.
    let mut ids = Vec::new();
    for index in 0..12 {
        let mut tasks = sleeps(2, 30 * index);
        tasks[1].dependencies = vec!["t1".to_owned()];
        ids.push(submit(&bus, &query_of(tasks, 60)).await);
    }
    eventually_true("the first are answered", SOON, || async {
        answers(&bus, &ids[0]).await == 1
    })
    .await;
    lead.kill();
    for _ in 0..4 {
        ids.push(submit(&bus, &query_of(sleeps(2, 10), 60)).await);
    }
    let _next = fleet.lead().await;
    for id in &ids {
        complete(&bus, id, 2, TAKEOVER).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nats_server_that_is_restarted_costs_time_and_nothing_else() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.workers(2, 2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(12, 600), 60)).await;
    eventually_true("some tasks have a result", SOON, || async {
        bus.status(Stream::Results).await.expect("reads").messages >= 3
    })
    .await;
    server.kill();
    // Results that are ready now find no server.
    for process in worker.iter().chain([&lead, &synthesizer]) {
        process.says("connection to nats lost", SOON).await;
    }
    server.restart();
    let restarted_at = Instant::now();
    complete(&bus, &id, 12, TAKEOVER).await;
    assert!(
        restarted_at.elapsed() < Duration::from_secs(25),
        "{:?}",
        restarted_at.elapsed()
    );
    // The fleet is as it was.
    for process in worker.iter().chain([&lead, &synthesizer]) {
        process.ready(SOON).await;
    }
    let next = submit(&bus, &query_of(sleeps(4, 10), 60)).await;
    let asked_at = Instant::now();
    complete(&bus, &next, 4, SOON).await;
    assert!(asked_at.elapsed() < Duration::from_secs(5), "{:?}", asked_at.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_killed_between_synthesis_and_answer_is_survived() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let fleet = Fleet::new(&bed);
    let (_lead, _worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = freeze_with_a_request(&bus, &synthesizer).await;
    server.kill();
    synthesizer.thaw();
    synthesizer.says("connection to nats lost", SOON).await;
    server.restart();
    complete(&bus, &id, 2, TAKEOVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_published_to_nobody_is_answered_when_the_fleet_comes() {
    let (bed, bus) = Bed::new().await;
    let id = submit(&bus, &query_of(vec![task("t1", "diag.echo", json!({}))], 60)).await;
    let message = Message::new(bus.namespace().queries(), Format::Json, &json!({ "query": "" })).expect("encodes");
    let empty = QueryId::from_sequence(bus.publish(message).await.expect("accepted").sequence);
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    complete(&bus, &id, 1, SOON).await;
    let refused = answer(&bus, &empty, SOON).await;
    assert_eq!(refused.status, AnswerStatus::Failed);
    eventually("the refusal says what to do", SOON, || async {
        refused
            .error
            .as_deref()
            .filter(|error| error.contains("write what you want to know"))
    })
    .await;
}
