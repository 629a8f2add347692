//! Connecting and declaring: what is missing is made, what differs is told, and servers that will not do are refused.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Config, Error, Message};
use axon_protocol::{Bucket, Format, ObjectBucket, QueryId, Stream};
use axon_tests::{Bed, Proxy, Server, eventually_true, free_port, json_request, shared};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

fn config(url: String) -> Config {
    Config {
        url,
        connect_timeout_s: 2,
        ..Config::default()
    }
}

/// Something that greets like a nats-server of a version and says pong.
pub(crate) async fn pretend(version: &'static str, jetstream: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let info = json!({
                "server_id": "X", "server_name": "x", "version": version, "go": "go1", "host": "127.0.0.1",
                "port": address.port(), "headers": true, "max_payload": 1_048_576, "jetstream": jetstream, "proto": 1,
                "client_id": 1,
            });
            if stream.write_all(format!("INFO {info}\r\n").as_bytes()).await.is_err() {
                continue;
            }
            let (reading, mut writing) = stream.into_split();
            let mut lines = BufReader::new(reading).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("PING") && writing.write_all(b"PONG\r\n").await.is_err() {
                    break;
                }
            }
        }
    });
    format!("nats://{address}")
}

#[tokio::test]
async fn a_server_that_will_not_do_is_refused_with_what_to_do() {
    for (version, jetstream, expected) in [
        ("2.9.10", true, "version 2.9.10: Axon needs 2.10.0 or later"),
        ("1.4.1", true, "Upgrade the server"),
        ("2.10.27", false, "has no JetStream: start it with `-js"),
    ] {
        let url = pretend(version, jetstream).await;
        let started = Instant::now();
        let error = Bus::connect(&config(url.clone()), "test").await.expect_err("refused");
        assert!(started.elapsed() < Duration::from_secs(5));
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&url), "{text}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_in_time() {
    // A listener that accepts and never says anything, and a port where nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent_url = format!("nats://{}", silent.local_addr().expect("an address"));
    for url in [silent_url, format!("nats://user:secret@127.0.0.1:{}", free_port())] {
        let started = Instant::now();
        let error = Bus::connect(&config(url.clone()), "test").await.expect_err("nobody");
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("Start a nats-server") && text.contains("bus.url"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_is_declared_by_any_number_of_processes_at_once() {
    let bed = Bed::undeclared(shared());
    let buses = join_all((0..5).map(|index| {
        let bed = bed.clone();
        async move { bed.connect(&format!("process-{index}")).await }
    }))
    .await;
    let missing = buses[0].differences().await.expect("reads");
    assert_eq!(
        missing.len(),
        Stream::ALL.len() + Bucket::ALL.len() + ObjectBucket::ALL.len()
    );
    assert!(
        missing.iter().all(|gap| gap.to_string().contains("is missing")),
        "{missing:?}"
    );

    for outcome in join_all(buses.iter().map(Bus::declare)).await {
        assert_eq!(outcome.expect("declared"), []);
    }
    assert_eq!(buses[0].declare().await.expect("declared again"), []);
    assert_eq!(buses[0].differences().await.expect("reads"), []);
    for kind in Stream::ALL {
        buses[0].status(kind).await.expect("stands");
    }
}

#[tokio::test]
async fn only_what_informs_is_acknowledged_before_it_is_written() {
    let (_bed, bus) = Bed::new().await;
    let version = bus.server_version();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let knows = (numbers.next(), numbers.next()) >= (Some(2), Some(12));
    for kind in Stream::ALL {
        let name = bus.namespace().stream(kind);
        let info = json_request(&bus, &format!("STREAM.INFO.{name}"), Value::Null)
            .await
            .expect("info");
        let later = info["config"]["persist_mode"] == "async";
        let informs = matches!(kind, Stream::Events | Stream::History);
        assert_eq!(later, informs && knows, "{name} of nats-server {version}");
    }
}

#[tokio::test]
async fn what_stands_otherwise_is_told_and_left() {
    let (_bed, bus) = Bed::new().await;
    let name = bus.namespace().stream(Stream::Dead);
    let info = json_request(&bus, &format!("STREAM.INFO.{name}"), Value::Null)
        .await
        .expect("info");
    let mut changed = info["config"].clone();
    changed["max_msgs"] = json!(5);
    changed["max_bytes"] = json!(1_000_000);
    json_request(&bus, &format!("STREAM.UPDATE.{name}"), changed)
        .await
        .expect("updated");
    for found in [
        bus.declare().await.expect("declared"),
        bus.differences().await.expect("reads"),
    ] {
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .any(|text| text.contains(&name) && text.contains("is 5, declared 100000")),
            "{told:?}"
        );
    }
    let info = json_request(&bus, &format!("STREAM.INFO.{name}"), Value::Null)
        .await
        .expect("info");
    assert_eq!(info["config"]["max_msgs"], 5, "nobody's setting is overwritten");
}

#[tokio::test]
async fn a_consumer_that_stands_otherwise_is_told() {
    let (_bed, bus) = Bed::new().await;
    let ns = bus.namespace();
    let (stream, durable) = (ns.stream(Stream::Queries), ns.durable(Stream::Queries));
    let info = json_request(&bus, &format!("CONSUMER.INFO.{stream}.{durable}"), Value::Null)
        .await
        .expect("info");
    let mut changed = info["config"].clone();
    changed["ack_wait"] = json!(60_000_000_000_u64);
    let body = json!({ "stream_name": stream, "config": changed });
    json_request(&bus, &format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}"), body)
        .await
        .expect("updated");
    let told: Vec<String> = bus
        .differences()
        .await
        .expect("reads")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        told.iter()
            .any(|text| text.contains(&durable) && text.contains("ack_wait")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_namespaces_on_one_server_do_not_meet() {
    let ((_a, one), (_b, two)) = tokio::join!(Bed::new(), Bed::new());
    let message = Message::new(one.namespace().queries(), Format::Json, &json!({ "query": "x" })).expect("encodes");
    one.publish(message).await.expect("stored");
    assert_eq!(one.status(Stream::Queries).await.expect("reads").messages, 1);
    assert_eq!(two.status(Stream::Queries).await.expect("reads").messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_tells_when_it_breaks_and_comes_back() {
    let proxy = Proxy::to(shared().port()).await;
    let mut bed = Bed::undeclared(shared());
    bed.config.url = proxy.url();
    let bus = bed.connect("test").await;
    let state = bus.connection();
    let first = *state.borrow();
    assert_eq!((first.connected, first.generation), (true, 1));
    assert!(bus.round_trip().await.expect("answers") > Duration::ZERO);
    proxy.close();
    let soon = Duration::from_secs(10);
    eventually_true("it notices", soon, || {
        let state = state.clone();
        async move { !state.borrow().connected }
    })
    .await;
    proxy.cut();
    eventually_true("it connects again", soon, || {
        let state = state.clone();
        async move { state.borrow().connected }
    })
    .await;
    assert_eq!(state.borrow().generation, 2);
    bus.round_trip().await.expect("answers again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_crash_of_the_server() {
    let server = Server::start();
    let (_bed, bus) = Bed::on(&server).await;
    let message = Message::new(bus.namespace().queries(), Format::Json, &json!({ "query": "x" })).expect("encodes");
    let before = bus.publish(message.clone()).await.expect("stored");
    server.kill();
    let lost = bus.publish(message.clone()).await.expect_err("nobody there");
    assert!(lost.is_transient(), "{lost:?}");
    server.restart();
    let after = bus
        .publish_until(message, Instant::now() + Duration::from_secs(30))
        .await
        .expect("stored");
    assert!(after.sequence > before.sequence);
    // Servers before 2.10.28 forget a stream that holds its configured first sequence.
    for sequence in [before.sequence, after.sequence] {
        let kept = bus.message_at(Stream::Queries, sequence).await.expect("reads");
        assert!(kept.is_some(), "{sequence}");
    }
    assert_eq!(bus.declare().await.expect("declared again"), []);
}

#[tokio::test]
async fn a_stream_of_queries_that_was_left_closed_is_opened() {
    let bed = Bed::undeclared(shared());
    let bus = bed.connect("test").await;
    let ns = bus.namespace();
    // What a process leaves that was killed between the two steps of its declaration.
    let name = ns.stream(Stream::Queries);
    let closed = json!({
        "name": name, "subjects": [ns.queries_closed()], "retention": "workqueue", "storage": "file", "discard": "new",
        "max_bytes": 32 << 20, "first_seq": 1000, "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_age": 0,
    });
    json_request(&bus, &format!("STREAM.CREATE.{name}"), closed)
        .await
        .expect("created");
    let message = Message::new(ns.queries(), Format::Json, &json!({ "query": "x" })).expect("encodes");
    let early = bus.publish(message.clone()).await.expect_err("not open yet");
    assert!(matches!(early, Error::NoStream { .. }), "{early:?}");
    // A direct read asks whoever serves the stream, and nobody does.
    let answer = ns.answer(&QueryId::generate());
    let unread = bus.last(Stream::Answers, &answer).await.expect_err("no such stream");
    assert!(matches!(unread, Error::NoStream { .. }), "{unread:?}");
    bus.declare().await.expect("declared");
    assert_eq!(bus.publish(message).await.expect("stored").sequence, 1001);
}
