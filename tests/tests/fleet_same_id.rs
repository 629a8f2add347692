//! The same id again, at once, late, from elsewhere or with nonsense under it: one execution, and everybody gets its answer.

use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{Answer, AnswerStatus, EventKind, Format, Headers, Query, QueryId, Reason, Stream, header};
use axon_tests::client::{
    answer, answers, count, forget_ids_quickly, letters, query_of, sleeps, starts, submit, unfinished,
};
use axon_tests::{Bed, Fleet, eventually_true};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

fn id(text: &str) -> QueryId {
    QueryId::new(text).expect("an id")
}

fn message(bus: &Bus, id: &QueryId, query: &Query) -> Message {
    Message::new(bus.namespace().queries(), Format::Json, query)
        .expect("encodes")
        .with(header::MESSAGE_ID, id.as_str())
}

/// Publishes until the server has forgotten the id and takes the message as a new one.
async fn publish_again(bus: &Bus, message: &Message) {
    eventually_true("the server does not know the id any more", SOON, || async {
        !bus.publish(message.clone()).await.expect("accepted").duplicate
    })
    .await;
}

/// Asks by request and reply.
async fn ask(bus: &Bus, id: &QueryId, query: &Query) -> Answer {
    let request = Message {
        subject: bus.namespace().ask(),
        ..message(bus, id, query)
    };
    let reply = bus.request(&request, SOON).await.expect("a reply");
    assert_eq!(reply.header("Nats-Service-Error"), None);
    reply.decode().await.expect("an answer")
}

async fn runs(bus: &Bus, id: &QueryId) {
    eventually_true("it runs", SOON, || async { !starts(bus, id).await.is_empty() }).await;
}

/// One execution and one answer, and nothing is left.
async fn once(bus: &Bus, id: &QueryId, tasks: usize) -> Answer {
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
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_are_one_execution_with_and_without_the_servers_help() {
    let (bed, bus) = Bed::new().await;
    forget_ids_quickly(&bus).await;
    let query = query_of(sleeps(4, 400), 60);
    // Two messages of one id, and nobody to take them yet.
    let twin = message(&bus, &id("twin"), &query);
    publish_again(&bus, &twin).await;
    publish_again(&bus, &twin).await;
    assert_eq!(bus.status(Stream::Queries).await.expect("reads").messages, 2);
    let fleet = Fleet::counted(&bed);
    let (_leads, _worker, _synthesizer) = tokio::join!(
        join_all([fleet.lead(), fleet.lead()]),
        fleet.worker(16),
        fleet.synthesizer()
    );
    once(&bus, &id("twin"), 4).await;
    // Those the server recognizes are one message.
    let both = id("both");
    let (one, other) = tokio::join!(ask(&bus, &both, &query), ask(&bus, &both, &query));
    assert_eq!(one.created_at, other.created_at);
    once(&bus, &both, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_again_while_it_runs_and_long_after_gives_the_one_answer() {
    let (bed, bus) = Bed::new().await;
    forget_ids_quickly(&bus).await;
    let fleet = Fleet::counted(&bed);
    let (first, second, _worker, _synthesizer) =
        tokio::join!(fleet.lead(), fleet.lead(), fleet.worker(16), fleet.synthesizer());
    let (same, query) = (id("same"), query_of(sleeps(3, 2500), 60));
    let again = async {
        runs(&bus, &same).await;
        // Whichever lead takes these messages, they attach: through the service, and through the stream.
        publish_again(&bus, &message(&bus, &same, &query)).await;
        tokio::join!(ask(&bus, &same, &query), ask(&bus, &same, &query))
    };
    let (one, (two, three)) = tokio::join!(ask(&bus, &same, &query), again);
    let kept = once(&bus, &same, 3).await;
    for answer in [&one, &two, &three] {
        assert_eq!(answer.created_at, kept.created_at);
        assert_eq!(answer.status, AnswerStatus::Complete);
    }
    // From a lead that has never heard of it.
    for lead in [&first, &second] {
        lead.terminate();
        assert!(lead.end(SOON).await.success());
    }
    let _third = fleet.lead().await;
    publish_again(&bus, &message(&bus, &same, &query)).await;
    assert_eq!(ask(&bus, &same, &query).await.created_at, kept.created_at);
    once(&bus, &same, 3).await;
    assert_eq!(count(&bus, &same, EventKind::TakenOver).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_under_the_id_of_a_running_query_does_not_harm_it() {
    let (bed, bus) = Bed::new().await;
    forget_ids_quickly(&bus).await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(16), fleet.synthesizer());
    let victim = id("victim");
    publish_again(&bus, &message(&bus, &victim, &query_of(sleeps(2, 3000), 60))).await;
    runs(&bus, &victim).await;
    // No query at all.
    let garbage = Message {
        subject: bus.namespace().queries(),
        headers: Headers::from([(header::MESSAGE_ID.to_owned(), victim.to_string())]),
        payload: Bytes::from_static(b"{\"quest\": 1}"),
    };
    publish_again(&bus, &garbage).await;
    // One that nobody could carry out, and one that asks for something else.
    let mut impossible = query_of(sleeps(2, 10), 60);
    impossible.plan.as_mut().expect("a plan").tasks[0].dependencies = vec!["nowhere".to_owned()];
    publish_again(&bus, &message(&bus, &victim, &impossible)).await;
    publish_again(&bus, &message(&bus, &victim, &query_of(sleeps(5, 10), 60))).await;
    eventually_true("the unreadable one is buried", SOON, || async {
        letters(&bus)
            .await
            .iter()
            .any(|letter| letter.reason == Reason::Malformed)
    })
    .await;
    let answer = once(&bus, &victim, 2).await;
    assert_eq!(answer.tasks_completed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_refused_stays_refused() {
    let (bed, bus) = Bed::new().await;
    forget_ids_quickly(&bus).await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let (refused, empty) = (id("refused"), json!({ "query": "" }));
    let nothing = Message::new(bus.namespace().queries(), Format::Json, &empty)
        .expect("encodes")
        .with(header::MESSAGE_ID, refused.as_str());
    publish_again(&bus, &nothing).await;
    let first = answer(&bus, &refused, SOON).await;
    assert_eq!(first.status, AnswerStatus::Failed);
    let second = ask(&bus, &refused, &query_of(sleeps(2, 10), 60)).await;
    assert_eq!(
        (second.status, second.created_at),
        (AnswerStatus::Failed, first.created_at)
    );
    publish_again(&bus, &message(&bus, &refused, &query_of(sleeps(2, 10), 60))).await;
    // What comes after it in the queue is done, so it has been looked at.
    let next = submit(&bus, &query_of(sleeps(1, 10), 60)).await;
    once(&bus, &next, 1).await;
    assert_eq!(starts(&bus, &refused).await.len(), 0, "nothing was executed for it");
    assert_eq!(answers(&bus, &refused).await, 1);
}
