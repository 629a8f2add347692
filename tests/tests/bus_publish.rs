//! Publishing: fences, unique tasks, back-pressure, republish, ids and large payloads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Config, Error, Fenced, INLINE_BYTES_MAX, Message};
use axon_protocol::{
    Band, Capability, EventKind, Format, ObjectBucket, QueryId, QueuedTasks, Route, Stream, TaskId, header,
};
use axon_tests::client::recorded;
use axon_tests::{Bed, Proxy, eventually, eventually_true, json_request, shared};
use futures::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

pub(crate) fn route() -> Route {
    Route::of(&[Capability::diagnostics()].into())
}

pub(crate) fn query(id: &str) -> QueryId {
    QueryId::new(id).expect("an id")
}

pub(crate) fn task_id(id: &str) -> TaskId {
    TaskId::new(id).expect("an id")
}

/// A task as a message; its payload only tells which it is.
pub(crate) fn task(bus: &Bus, band: Band, query_id: &str, name: &str) -> Message {
    let subject = bus.namespace().task(&route(), band, &query(query_id), name);
    Message::new(subject, Format::Json, &json!({ "name": name })).expect("encodes")
}

fn result(bus: &Bus, name: &str, by: &str) -> Message {
    let subject = bus.namespace().result(&query("q1"), &task_id(name));
    Message::new(subject, Format::Json, &json!({ "by": by })).expect("encodes")
}

fn soon() -> Instant {
    Instant::now() + SOON
}

async fn by(bus: &Bus, name: &str) -> Option<String> {
    let subject = bus.namespace().result(&query("q1"), &task_id(name));
    let stored = bus.last(Stream::Results, &subject).await.expect("reads")?;
    let value: Value = bus.decode_stored(&stored).await.expect("decodes");
    Some(value["by"].as_str().expect("a name").to_owned())
}

#[tokio::test]
async fn the_first_of_two_fenced_publishers_wins_and_the_other_is_told() {
    let (bed, bus) = Bed::new().await;
    let zombie = bed.connect("zombie").await;
    let first = bus
        .publish_fenced(result(&bus, "t1", "first"), soon())
        .await
        .expect("published");
    assert!(matches!(first, Fenced::Won { sequence } if sequence > 0), "{first:?}");
    // A message id would make some servers tell the second that it won.
    let second = result(&bus, "t1", "second").with(header::MESSAGE_ID, "same");
    assert_eq!(
        zombie.publish_fenced(second, soon()).await.expect("answered"),
        Fenced::Lost
    );
    assert_eq!(by(&bus, "t1").await.as_deref(), Some("first"));
    let other = bus
        .publish_fenced(result(&bus, "t2", "other"), soon())
        .await
        .expect("published");
    assert!(
        matches!(other, Fenced::Won { .. }),
        "another subject has a fence of its own: {other:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_concurrent_publishers_exactly_one_wins() {
    let (bed, bus) = Bed::new().await;
    let buses = join_all((0..4).map(|index| {
        let bed = bed.clone();
        async move { bed.connect(&format!("publisher-{index}")).await }
    }))
    .await;
    let outcomes = join_all((0..20).map(|index| {
        let bus = buses[index % buses.len()].clone();
        async move {
            let outcome = bus
                .publish_fenced(result(&bus, "t1", &format!("p{index}")), soon())
                .await;
            (format!("p{index}"), outcome.expect("answered"))
        }
    }))
    .await;
    let winners: Vec<&String> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Fenced::Won { .. }))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(
        by(&bus, "t1").await.as_ref(),
        Some(winners[0]),
        "the stored one is the winner's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_is_resolved_by_whoever_is_stored() {
    let (bed, bus) = Bed::new().await;
    let proxy = Proxy::to(shared().port()).await;
    let mut behind = bed.clone();
    behind.config.url = proxy.url();
    let publisher = behind.connect("behind-a-proxy").await;

    proxy.swallow_answers();
    let message = result(&publisher, "t1", "mine");
    let publishing = tokio::spawn(async move {
        publisher
            .publish_fenced(message, Instant::now() + Duration::from_secs(30))
            .await
    });
    eventually_true("the server stored it", SOON, || async {
        by(&bus, "t1").await.is_some()
    })
    .await;
    proxy.cut();
    let outcome = publishing.await.expect("no panic").expect("resolved");
    assert!(
        matches!(outcome, Fenced::Won { .. }),
        "its own message is the stored one: {outcome:?}"
    );
    let status = bus.status(Stream::Results).await.expect("reads");
    assert_eq!(status.messages, 1);

    // The same, but somebody else's was stored first: the acknowledgement that is lost is a refusal.
    let publisher = behind.connect("late").await;
    bus.publish_fenced(result(&bus, "t2", "faster"), soon())
        .await
        .expect("published");
    proxy.swallow_answers();
    let message = result(&publisher, "t2", "late");
    let publishing = tokio::spawn(async move {
        publisher
            .publish_fenced(message, Instant::now() + Duration::from_secs(30))
            .await
    });
    eventually_true("the message went out", SOON, || async { proxy.swallowed() > 0 }).await;
    proxy.cut();
    assert_eq!(publishing.await.expect("no panic").expect("resolved"), Fenced::Lost);
    assert_eq!(by(&bus, "t2").await.as_deref(), Some("faster"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_never_arrived_is_sent_again() {
    let (bed, bus) = Bed::new().await;
    let proxy = Proxy::to(shared().port()).await;
    let mut behind = bed.clone();
    behind.config.url = proxy.url();
    let publisher = behind.connect("behind-a-proxy").await;
    proxy.close();
    let message = result(&publisher, "t1", "mine");
    let publishing = tokio::spawn(async move {
        publisher
            .publish_fenced(message, Instant::now() + Duration::from_secs(30))
            .await
    });
    eventually_true("it tries to connect again", SOON, || async { proxy.refused() > 0 }).await;
    proxy.cut();
    let outcome = publishing.await.expect("no panic").expect("resolved");
    assert!(matches!(outcome, Fenced::Won { .. }), "{outcome:?}");
    assert_eq!(by(&bus, "t1").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_task_is_queued_once_until_it_is_acknowledged() {
    let (_bed, bus) = Bed::new().await;
    axon_bus::Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    bus.publish(task(&bus, Band::Normal, "q1", "t1")).await.expect("queued");
    let again = bus.publish(task(&bus, Band::Normal, "q1", "t1")).await;
    assert!(matches!(again, Err(Error::AlreadyQueued { .. })), "{again:?}");
    assert!(
        !again.expect_err("refused").is_transient(),
        "publishing it again and again would not help"
    );
    bus.publish(task(&bus, Band::Normal, "q1", "t1~2"))
        .await
        .expect("a retry has a subject of its own");

    let mut sweep = axon_bus::Sweep::open(&bus).await.expect("opens");
    let taken = sweep.take(&route(), Band::Normal, 1).await.expect("pulls");
    let delivered = bus.publish(task(&bus, Band::Normal, "q1", "t1")).await;
    assert!(
        matches!(delivered, Err(Error::AlreadyQueued { .. })),
        "delivered is not done: {delivered:?}"
    );
    assert!(taken[0].ack().await);
    bus.publish(task(&bus, Band::Normal, "q1", "t1"))
        .await
        .expect("queued again after the acknowledgement");
}

#[tokio::test]
async fn a_full_stream_refuses_and_says_so() {
    let mut small = Bed::undeclared(shared());
    small.config.stream_mb_max = 1;
    let bus = small.connect("publisher").await;
    bus.declare().await.expect("declared");
    let bulk = Message {
        payload: vec![b'x'; 200 * 1024].into(),
        ..Message::new(bus.namespace().queries(), Format::Json, &json!(null)).expect("encodes")
    };
    let mut accepted = 0;
    let error = loop {
        match bus.publish(bulk.clone()).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 50, "a megabyte holds five of these");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.is_transient(), "somebody may make room");
    let text = error.to_string();
    assert!(
        text.contains("is full") && text.contains("publish again later"),
        "{text}"
    );
    assert!(text.contains(&bus.namespace().queries()), "{text}");
    let status = bus.status(Stream::Queries).await.expect("reads");
    assert_eq!(status.messages, accepted, "nothing that was accepted is gone");
    // Back-pressure is no failure of the server: the breaker stays closed and other streams take messages.
    for _ in 0..10 {
        assert!(matches!(bus.publish(bulk.clone()).await, Err(Error::Full { .. })));
    }
    bus.publish_fenced(result(&bus, "t1", "x"), soon())
        .await
        .expect("other streams have room");
}

#[tokio::test]
async fn what_was_accepted_and_only_that_is_republished() {
    let (_bed, bus) = Bed::new().await;
    let mut accepted = bus
        .subscribe(bus.namespace().accepted_of(&query("q1")))
        .await
        .expect("subscribes");
    let mut queued = bus
        .subscribe(bus.namespace().task_doorbell(&route()))
        .await
        .expect("subscribes");

    for (name, by) in [("t1", "a"), ("t1", "b"), ("t2", "c"), ("t1", "d"), ("t3", "e")] {
        bus.publish_fenced(result(&bus, name, by), soon())
            .await
            .expect("answered");
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let delivery = tokio::time::timeout(SOON, accepted.next())
            .await
            .expect("in time")
            .expect("connected");
        let value: Value = delivery.decode().await.expect("decodes");
        let name = delivery.subject().rsplit('.').next().unwrap_or_default().to_owned();
        assert!(
            delivery.header(header::ATTEMPT).is_some(),
            "the original headers come with it"
        );
        seen.push((name, value["by"].as_str().unwrap_or_default().to_owned()));
    }
    let expected = [("t1", "a"), ("t2", "c"), ("t3", "e")].map(|(name, by)| (name.to_owned(), by.to_owned()));
    assert_eq!(seen, expected, "in order, without those that were refused");

    let tasks = [("t1", true), ("t1", false), ("t2", true)];
    for (name, fits) in tasks {
        let outcome = bus.publish(task(&bus, Band::High, "q1", name)).await;
        assert_eq!(outcome.is_ok(), fits, "{name}: {outcome:?}");
    }
    for name in ["t1", "t2"] {
        let delivery = tokio::time::timeout(SOON, queued.next())
            .await
            .expect("in time")
            .expect("connected");
        assert_eq!(
            delivery.subject(),
            format!("{}.queued.{}.high", bus.namespace(), route())
        );
        let stored = bus.namespace().task(&route(), Band::High, &query("q1"), name);
        assert_eq!(delivery.header("Nats-Subject"), Some(stored.as_str()));
        assert!(delivery.payload().is_empty(), "it rings, and no more");
    }
    // Everything that was sent before is through once this is: nothing refused came late.
    bus.publish_fenced(result(&bus, "t4", "f"), soon())
        .await
        .expect("published");
    let last = tokio::time::timeout(SOON, accepted.next())
        .await
        .expect("in time")
        .expect("connected");
    assert!(last.subject().ends_with(".t4"), "{}", last.subject());
}

#[tokio::test]
async fn a_plain_message_has_no_headers_and_is_read_all_the_same() {
    let (_bed, bus) = Bed::new().await;
    let value = json!({ "by": "anybody" });
    let subject = bus.namespace().event(&query("q1"), EventKind::Progress);
    let mut heard = bus.subscribe(subject.as_str()).await.expect("subscribed");
    let event = Message::plain(subject, &value).expect("encodes");
    bus.announce(&event).await.expect("sent");
    bus.publish(event).await.expect("stored");
    for _ in 0..2 {
        let delivery = tokio::time::timeout(SOON, heard.next()).await.expect("in time");
        let delivery = delivery.expect("connected");
        assert!(delivery.headers().is_empty(), "{:?}", delivery.headers());
        assert_eq!(delivery.decode::<Value>().await.expect("decodes"), value);
    }

    let subject = bus.namespace().result(&query("q1"), &task_id("t1"));
    let result = Message::plain(subject.as_str(), &value).expect("encodes");
    let fenced = bus.publish_fenced(result, soon()).await.expect("published");
    assert!(matches!(fenced, Fenced::Won { .. }), "{fenced:?}");
    let stored = bus.last(Stream::Results, &subject).await.expect("reads");
    let stored = stored.expect("is there");
    assert!(!stored.headers.contains_key(header::SCHEMA), "{:?}", stored.headers);
    assert_eq!(bus.decode_stored::<Value>(&stored).await.expect("decodes"), value);
}

#[tokio::test]
async fn tasks_are_queued_each_and_remembered_together() {
    let (bed, bus) = Bed::new().await;
    let q1 = query("q1");
    let large = Message {
        payload: vec![b'x'; 300 * 1024].into(),
        ..task(&bus, Band::High, "q1", "large")
    };
    let tasks = vec![
        task(&bus, Band::High, "q1", "t1"),
        large,
        task(&bus, Band::Low, "q1", "t2"),
    ];
    let outcomes = bus.queue(&q1, tasks.clone()).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let records = remembered(&bus, &q1, 1).await;
    let told: Vec<&str> = records[0].tasks.iter().map(|task| task.subject.as_str()).collect();
    let published: Vec<&str> = tasks.iter().map(|task| task.subject.as_str()).collect();
    assert_eq!(told, published);
    assert_eq!(records[0].tasks[0].payload, tasks[0].payload);
    assert!(
        records[0].tasks[1].payload.is_empty() && records[0].tasks[1].headers.contains_key(header::REFERENCE),
        "a large payload is kept once"
    );

    // Each outcome is told of its own task.
    let again = vec![task(&bus, Band::High, "q1", "t1"), task(&bus, Band::High, "q1", "t3")];
    let outcomes = bus.queue(&q1, again).await;
    assert!(
        matches!(outcomes.as_slice(), [Err(axon_bus::Error::AlreadyQueued { .. }), Ok(_)]),
        "{outcomes:?}"
    );
    bus.queue_until(&q1, task(&bus, Band::High, "q1", "t4"), soon())
        .await
        .expect("queued");
    let records = remembered(&bus, &q1, 3).await;
    assert!(records[2].tasks[0].subject.ends_with(".t4"), "{records:?}");

    let quiet = Config {
        persist_to_episodic: false,
        ..bed.config.clone()
    };
    let quiet = Bus::connect(&quiet, "quiet").await.expect("connects");
    for (bus, name) in [(&quiet, "t5"), (&bus, "t6")] {
        let outcomes = bus.queue(&q1, vec![task(bus, Band::High, "q1", name)]).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    let records = remembered(&bus, &q1, 4).await;
    assert!(
        records[3].tasks[0].subject.ends_with(".t6"),
        "nothing was to be remembered of t5: {records:?}"
    );
}

/// What the history keeps of the tasks of a query, once it is that many messages.
async fn remembered(bus: &Bus, query: &QueryId, count: usize) -> Vec<QueuedTasks> {
    eventually("it is remembered", SOON, || async {
        let records = recorded(bus, query).await;
        (records.len() == count).then_some(records)
    })
    .await
}

#[tokio::test]
async fn a_query_id_is_the_sequence_and_no_recreated_stream_repeats_one() {
    let (_bed, bus) = Bed::new().await;
    let before = chrono::Utc::now().timestamp_millis() as u64;
    let message = Message::new(bus.namespace().queries(), Format::Json, &json!({ "query": "why?" })).expect("encodes");
    let published = bus.publish(message.clone()).await.expect("stored");
    assert!(
        published.sequence.abs_diff(before) < 60_000,
        "{} is unix milliseconds, about {before}",
        published.sequence
    );
    let mut pull = axon_bus::LongPull::open(&bus, Stream::Queries).await.expect("opens");
    let delivery = tokio::time::timeout(SOON, pull.next(1)).await.expect("in time");
    assert_eq!(
        delivery.sequence, published.sequence,
        "the publisher can compute the id the lead sees"
    );
    assert_eq!(
        QueryId::from_sequence(published.sequence).as_str(),
        format!("q{}", published.sequence)
    );

    let stream = bus.namespace().stream(Stream::Queries);
    json_request(&bus, &format!("STREAM.DELETE.{stream}"), Value::Null)
        .await
        .expect("deleted");
    bus.declare().await.expect("declared again");
    let recreated = bus.publish(message).await.expect("stored");
    assert!(recreated.sequence > published.sequence);
}

#[tokio::test]
async fn the_same_message_id_is_stored_once_and_the_publisher_knows() {
    let (_bed, bus) = Bed::new().await;
    let message = Message::new(bus.namespace().queries(), Format::Json, &json!({ "query": "why?" }))
        .expect("encodes")
        .with(header::MESSAGE_ID, "mine");
    let first = bus.publish(message.clone()).await.expect("stored");
    let second = bus.publish(message).await.expect("answered");
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.sequence, second.sequence);
    assert_eq!(bus.status(Stream::Queries).await.expect("reads").messages, 1);
}

#[tokio::test]
async fn a_large_payload_travels_by_reference_and_comes_back() {
    let (_bed, bus) = Bed::new().await;
    let text = "x".repeat(3 * 1024 * 1024);
    assert!(text.len() > bus.payload_bytes_max(), "larger than any message can be");
    let subject = bus.namespace().result(&query("q1"), &task_id("t1"));
    let mut accepted = bus
        .subscribe(bus.namespace().accepted_of(&query("q1")))
        .await
        .expect("subscribes");
    let message = Message::new(subject.clone(), Format::Msgpack, &json!({ "text": text })).expect("encodes");
    let outcome = bus.publish_fenced(message, soon()).await.expect("stored");
    assert!(matches!(outcome, Fenced::Won { .. }));

    let stored = bus
        .last(Stream::Results, &subject)
        .await
        .expect("reads")
        .expect("is there");
    assert!(stored.payload.is_empty() && stored.headers.contains_key(header::REFERENCE));
    let read: Value = bus.decode_stored(&stored).await.expect("decodes");
    assert_eq!(read["text"].as_str().map(str::len), Some(text.len()));
    let delivery = tokio::time::timeout(SOON, accepted.next())
        .await
        .expect("in time")
        .expect("connected");
    let heard: Value = delivery.decode().await.expect("decodes");
    assert_eq!(heard, read);

    for (length, inline) in [(INLINE_BYTES_MAX / 2, true), (INLINE_BYTES_MAX * 2, false)] {
        let value = "y".repeat(length);
        let stored = bus.store(Arc::new(value.clone())).await.expect("stored");
        assert_eq!(
            matches!(stored, axon_protocol::Stored::Inline(_)),
            inline,
            "{length} bytes"
        );
        assert_eq!(*bus.load(stored).await.expect("loaded"), value);
    }
}

#[tokio::test]
async fn what_cannot_be_published_is_told_with_what_to_do() {
    let (_bed, bus) = Bed::new().await;
    let nowhere = Message::new("nowhere.at.all", Format::Json, &json!(1)).expect("encodes");
    let error = bus.publish(nowhere).await.expect_err("refused");
    assert!(matches!(error, Error::NoStream { .. }), "{error:?}");
    assert!(error.to_string().contains("axon init"), "{error}");
    let missing = axon_protocol::Digest::of(b"never stored");
    let error = bus
        .objects(ObjectBucket::Artifacts)
        .get(&missing)
        .await
        .expect_err("missing");
    assert!(matches!(error, Error::NoObject { .. }), "{error:?}");
}
