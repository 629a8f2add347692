//! Messages that nobody can read, on every subject that something listens to: buried with a clear reason, and the fleet
//! works on.

use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{
    AnswerStatus, Band, Bucket, EventKind, Headers, QueryId, Reason, StopReason, Stream, TaskId, Verdict, header,
};
use axon_tests::client::{answer, letters, query_of, sleeps, starts, submit, unfinished};
use axon_tests::{Bed, Fleet, eventually, eventually_true};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::bus_publish::route;

const SOON: Duration = Duration::from_secs(20);
/// Neither JSON nor MessagePack nor text.
const GARBAGE: &[u8] = b"\xc1\xff\x00garbage";

fn raw(subject: String, payload: &[u8]) -> Message {
    Message {
        subject,
        headers: Headers::new(),
        payload: Bytes::copy_from_slice(payload),
    }
}

/// The fleet answers a query as ever.
async fn unharmed(bus: &Bus) {
    let id = submit(bus, &query_of(sleeps(3, 10), 30)).await;
    let answer = answer(bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_process_can_read_is_buried_with_its_reason() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    unharmed(&bus).await;
    let ns = bus.namespace().clone();
    let q = QueryId::new("nobodys").expect("an id");
    let task = |name: &str| ns.task(&route(), Band::Normal, &q, name);
    let other_version = Message {
        headers: Headers::from([(header::SCHEMA.to_owned(), "7".to_owned())]),
        ..raw(ns.queries(), br#"{"query":"from the future"}"#)
    };
    let wrong_id = Message {
        headers: Headers::from([(header::MESSAGE_ID.to_owned(), "a.b".to_owned())]),
        ..raw(ns.queries(), br#"{"query":"why?"}"#)
    };
    for (stream, message, expected) in [
        (Stream::Queries, raw(ns.queries(), GARBAGE), "cannot be read"),
        (Stream::Queries, raw(ns.queries(), b"{\"query\":"), "malformed JSON"),
        (
            Stream::Queries,
            raw(ns.queries(), b"{\"quest\":1}"),
            "missing field `query`",
        ),
        (Stream::Queries, raw(ns.queries(), b""), "is empty"),
        (Stream::Queries, other_version, "schema version `7`"),
        (Stream::Queries, wrong_id, "`Nats-Msg-Id` cannot be used"),
        (Stream::Tasks, raw(task("t1"), GARBAGE), "this is no task"),
        (Stream::Tasks, raw(task("t2"), b"{}"), "this is no task"),
        (Stream::Tasks, raw(task("t3"), b""), "this is no task"),
        (
            Stream::Tasks,
            raw(format!("{}.extra", task("t4")), GARBAGE),
            "no subject of a task",
        ),
        (Stream::Tasks, raw(task("t5~x"), GARBAGE), "no subject of a task"),
        (Stream::Synthesis, raw(ns.synthesis(&q), GARBAGE), "MessagePack"),
        (Stream::Synthesis, raw(ns.synthesis(&q), b"{}"), "missing field"),
    ] {
        let known = letters(&bus).await.len();
        let payload = message.payload.clone();
        let subject = message.subject.clone();
        bus.publish(message).await.expect("the stream takes anything");
        let letter = eventually(
            &format!("a dead letter for {subject} about {expected}"),
            SOON,
            || async { letters(&bus).await.into_iter().nth(known) },
        )
        .await;
        assert_eq!((letter.stream, &letter.subject), (stream, &subject));
        assert_eq!(
            (letter.reason, letter.verdict),
            (Reason::Malformed, Verdict::Park),
            "{letter:?}"
        );
        assert!(letter.message.contains(expected), "{subject}: {}", letter.message);
        assert_eq!(letter.payload, payload, "{subject}");
    }
    assert_eq!(letters(&bus).await.len(), 13);
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    unharmed(&bus).await;
    for process in [&lead, &worker, &synthesizer] {
        assert!(process.ended().is_none(), "{}", process.name());
    }
    let counted = [&lead, &worker, &synthesizer]
        .map(|process| process.metric("axon_dead_letters_total", &["reason=\"malformed\""]));
    assert_eq!(futures::future::join_all(counted).await.iter().sum::<f64>(), 13.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_cannot_be_read_gets_its_answer_too() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let published = bus
        .publish(raw(bus.namespace().queries(), GARBAGE))
        .await
        .expect("accepted");
    let answer = answer(&bus, &QueryId::from_sequence(published.sequence), SOON).await;
    assert_eq!(
        (answer.status, answer.stop_reason),
        (AnswerStatus::Failed, StopReason::Refused)
    );
    let error = answer.error.unwrap_or_default();
    assert!(error.contains("Publish plain text, or JSON"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_where_processes_listen_changes_nothing() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    unharmed(&bus).await;
    let ns = bus.namespace().clone();
    let id = submit(&bus, &query_of(sleeps(2, 3000), 30)).await;
    eventually_true("it runs", SOON, || async { starts(&bus, &id).await.len() == 2 }).await;
    for subject in [
        ns.control_cancel(&id),
        ns.control_drain("lead"),
        ns.control_scale(),
        ns.relay_doorbell(&route()),
        format!("{}.queued.Diagnostics.normal.x", ns),
        format!("{}.queued.Diagnostics", ns),
        ns.history_of_query(&id),
        ns.event(&id, EventKind::Started),
        ns.event(&id, EventKind::Finding),
        ns.dead(Stream::Tasks, Reason::Failed),
        format!(
            "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.x",
            ns.stream(Stream::Tasks)
        ),
        format!("{}.accepted.{id}.t9", ns),
        format!("{}.accepted.{id}", ns),
        format!("{}.answered.{id}", ns),
    ] {
        // Cancelling is done by the subject alone for workers: this one must not be understood as one by the lead.
        if subject == ns.control_cancel(&id) {
            continue;
        }
        bus.announce(&raw(subject, GARBAGE)).await.expect("sent");
    }
    for bucket in [Bucket::Registry, Bucket::Routes, Bucket::Strategies] {
        bus.table::<Value>(bucket)
            .put("noise", &json!(["no", 1]))
            .await
            .expect("put");
    }
    for subject in [ns.ask(), ns.plan()] {
        let reply = bus
            .request(&raw(subject.clone(), b"{"), Duration::from_secs(5))
            .await
            .expect("a reply");
        let (code, error) = (
            reply.header("Nats-Service-Error-Code").unwrap_or_default(),
            reply.header("Nats-Service-Error").unwrap_or_default(),
        );
        assert_eq!(code, "400", "{subject}: {error}");
        assert!(error.contains("malformed JSON"), "{subject}: {error}");
    }
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    unharmed(&bus).await;
    for process in [&lead, &worker, &synthesizer] {
        assert!(process.ended().is_none(), "{}", process.name());
        let (status, body) = process.get("/readyz").await.expect("it answers");
        assert_eq!(status, 200, "{}: {body}", process.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_result_that_cannot_be_read_fails_its_task_visibly() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(2, 1500), 30)).await;
    eventually_true("it runs", SOON, || async { starts(&bus, &id).await.len() == 2 }).await;
    let subject = bus.namespace().result(&id, &TaskId::new("t1").expect("an id"));
    bus.publish(raw(subject, GARBAGE)).await.expect("the first one wins");
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Partial, "{answer:?}");
    assert_eq!(answer.missing.len(), 1, "{:?}", answer.missing);
    assert_eq!(answer.missing[0].task_id.as_str(), "t1");
    assert!(answer.missing[0].reason.contains("read"), "{:?}", answer.missing);
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_read_does_not_hold_its_query_for_ever() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(1, 1000), 3)).await;
    eventually_true("it runs", SOON, || async { starts(&bus, &id).await.len() == 1 }).await;
    bus.publish(raw(bus.namespace().answer(&id), GARBAGE))
        .await
        .expect("the first one wins");
    eventually_true("the query is acknowledged", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    unharmed(&bus).await;
}
