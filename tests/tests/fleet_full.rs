//! Streams that take nothing more: whoever publishes is told or waits, nothing is lost, and all goes on once there is room.

use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Format, Headers, QueryId, Reason, Stream};
use axon_tests::client::{
    answer, answers, change_stream, letters, query_of, sleeps, starts, submit, submit_as, unfinished,
};
use axon_tests::{Bed, Fleet, eventually, eventually_true, for_a_while};
use bytes::Bytes;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// Leaves a stream room for no more messages than it holds, and `room` more. It has to hold one, or have room for one: the
/// server takes a limit of none for no limit.
async fn fill(bus: &Bus, stream: Stream, room: u64) {
    let held = bus.status(stream).await.expect("reads").messages;
    let limit = held + room;
    assert!(limit > 0);
    change_stream(bus, &bus.namespace().stream(stream), |config| {
        config["max_msgs"] = json!(limit)
    })
    .await;
}

async fn empty(bus: &Bus, stream: Stream) {
    change_stream(bus, &bus.namespace().stream(stream), |config| {
        config["max_msgs"] = json!(-1)
    })
    .await;
}

/// Complete, each task once, and nothing left.
async fn complete(bus: &Bus, id: &QueryId, tasks: usize) {
    let answer = answer(bus, id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
    assert_eq!(answers(bus, id).await, 1);
    let starts = starts(bus, id).await;
    assert_eq!(starts.len(), tasks);
    assert!(starts.values().all(|starts| *starts == 1), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queues_and_results_and_answers_cost_time_and_nothing_else() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(8), fleet.synthesizer());
    // Two tasks at a time, because no more have room; the others wait in the lead.
    fill(&bus, Stream::Tasks, 2).await;
    let id = submit(&bus, &query_of(sleeps(6, 50), 60)).await;
    complete(&bus, &id, 6).await;
    lead.says("cannot queue a task", SOON).await;
    empty(&bus, Stream::Tasks).await;

    // A result that has no room is kept and published once it has.
    fill(&bus, Stream::Results, 0).await;
    let id = submit(&bus, &query_of(sleeps(2, 10), 60)).await;
    eventually_true("both tasks are executed", SOON, || async {
        starts(&bus, &id).await.len() == 2
    })
    .await;
    let kept = async || worker.metric("axon_slots", &["state=\"busy\""]).await == 2.0;
    for_a_while("the worker keeps both results", Duration::from_millis(500), kept).await;
    assert_eq!(answers(&bus, &id).await, 0);
    empty(&bus, Stream::Results).await;
    complete(&bus, &id, 2).await;

    // So is an answer.
    fill(&bus, Stream::Answers, 0).await;
    let id = submit(&bus, &query_of(sleeps(2, 10), 60)).await;
    eventually_true("its synthesis is requested", SOON, || async {
        let status = bus.status(Stream::Synthesis).await.expect("reads");
        status.consumers.iter().any(|consumer| consumer.ack_pending == 1)
    })
    .await;
    assert_eq!(answers(&bus, &id).await, 0);
    empty(&bus, Stream::Answers).await;
    complete(&bus, &id, 2).await;
    for process in [&lead, &worker, &synthesizer] {
        process.ready(SOON).await;
    }
    assert_eq!(letters(&bus).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_of_queries_is_told_to_whoever_asks() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let running = submit(&bus, &query_of(sleeps(1, 60_000), 90)).await;
    eventually_true("it runs", SOON, || async { starts(&bus, &running).await.len() == 1 }).await;
    fill(&bus, Stream::Queries, 0).await;
    let request = Message {
        subject: bus.namespace().ask(),
        ..Message::new("", Format::Json, &query_of(sleeps(1, 10), 20)).expect("encodes")
    };
    let reply = bus.request(&request, SOON).await.expect("a reply");
    let said = (
        reply.header("Nats-Service-Error-Code").unwrap_or_default(),
        reply.header("Nats-Service-Error").unwrap_or_default(),
    );
    assert!(said.0 == "503" && said.1.contains("full"), "{said:?}");
    assert_eq!(bus.status(Stream::Queries).await.expect("reads").messages, 1);
    empty(&bus, Stream::Queries).await;
    let reply = bus.request(&request, SOON).await.expect("a reply");
    let answer: axon_protocol::Answer = reply.decode().await.expect("an answer");
    assert_eq!(answer.status, AnswerStatus::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_dead_letter_has_room_nothing_that_failed_is_lost() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed).set("AXON_TOOLS__TRANSIENT_RETRIES", 0);
    let (lead, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let garbage = Message {
        subject: bus.namespace().queries(),
        headers: Headers::new(),
        payload: Bytes::from_static(b"{\"quest\": 1}"),
    };
    bus.publish(garbage.clone()).await.expect("accepted");
    eventually_true("it is buried", SOON, || async { letters(&bus).await.len() == 1 }).await;
    fill(&bus, Stream::Dead, 0).await;
    let published = bus.publish(garbage).await.expect("accepted");
    let refused = QueryId::from_sequence(published.sequence);
    assert_eq!(
        answer(&bus, &refused, SOON).await.status,
        AnswerStatus::Failed,
        "its asker is told all the same"
    );
    // A task that fails once and is to be tried again, which goes by way of the dead letters.
    let mut query = query_of(sleeps(2, 10), 90);
    let plan = query.plan.as_mut().expect("a plan");
    plan.tasks[0].calls[0].tool_name = "diag.fail".to_owned();
    plan.tasks[0].calls[0].params = json!({ "kind": "transient", "times": 1 });
    let id = submit_as(&bus, "retried", &query).await;
    eventually_true("the other task has its result", SOON, || async {
        bus.status(Stream::Results).await.expect("reads").messages == 1
    })
    .await;
    eventually_true("the failed one waits with its worker", SOON, || async {
        worker.metric("axon_slots", &["state=\"busy\""]).await >= 1.0
    })
    .await;
    assert_eq!((letters(&bus).await.len(), answers(&bus, &id).await), (1, 0));
    assert_eq!(unfinished(&bus).await, 3, "the garbage, the task and its query");
    empty(&bus, Stream::Dead).await;
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(
        (answer.status, answer.retries),
        (AnswerStatus::Complete, 1),
        "{answer:?}"
    );
    let parked = eventually("both letters about garbage", SOON, || async {
        let all = letters(&bus).await;
        (all.len() == 2).then_some(all)
    })
    .await;
    assert!(
        parked.iter().all(|letter| letter.reason == Reason::Malformed),
        "{parked:?}"
    );
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    assert_eq!(answers(&bus, &refused).await, 1);
    lead.ready(SOON).await;
}
