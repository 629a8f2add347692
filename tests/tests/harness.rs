//! What the harness itself promises: a wire stops at the message it is told to stop at, and loses nothing.

use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{Format, Stream};
use axon_tests::client::{query_of, sleeps};
use axon_tests::frames::{Frame, Frames};
use axon_tests::{Bed, Proxy, Stop, eventually_true, shared};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn frames_are_the_same_however_the_bytes_arrive() {
    let said = b"CONNECT {}\r\nPING\r\nPUB a.b 4\r\n+ACK\r\nHPUB c d 12 15\r\nNATS/1.0\r\n\r\nx\r\n\r\nSUB e 1\r\n";
    for size in [1, 3, 7, said.len()] {
        let mut frames = Frames::default();
        let all: Vec<Frame> = said.chunks(size).flat_map(|chunk| frames.push(chunk)).collect();
        let subjects: Vec<Option<&str>> = all.iter().map(|frame| frame.subject.as_deref()).collect();
        assert_eq!(
            subjects,
            [None, None, Some("a.b"), Some("c"), None],
            "in pieces of {size}"
        );
        assert!(all[2].publishes("a.", "+ACK") && !all[2].publishes("a.", "+WPI") && !all[2].publishes(".b", ""));
        assert_eq!(all[3].content, b"NATS/1.0\r\n\r\nx\r\n");
        let bytes: Vec<u8> = all.into_iter().flat_map(|frame| frame.bytes).collect();
        assert_eq!(bytes, said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_stops_at_the_message_it_is_told_and_loses_nothing() {
    let (bed, bus) = Bed::new().await;
    let stored = async || bus.status(Stream::Queries).await.expect("reads").messages;
    for (stop, passed) in [
        (Stop::before(bus.namespace().queries()), 1),
        (Stop::after(bus.namespace().queries()), 2),
    ] {
        let before = stored().await;
        let proxy = Proxy::to(shared().port()).await;
        let mut through = Bed::undeclared(shared());
        through.config = bed.config.clone();
        through.config.url = proxy.url();
        let client = through.connect("stopped").await;
        proxy.stop_at(Stop { skip: 1, ..stop });
        let publishing = async {
            for _ in 0..3 {
                let message = Message::new(bus.namespace().queries(), Format::Json, &query_of(sleeps(1, 1), 5));
                client.publish(message.expect("encodes")).await.expect("stored");
            }
        };
        let watching = async {
            assert_eq!(proxy.stopped(SOON).await, bus.namespace().queries());
            eventually_true("what may pass has passed", SOON, || async {
                stored().await == before + passed
            })
            .await;
            proxy.go_on();
        };
        tokio::join!(publishing, watching);
        assert_eq!(stored().await, before + 3);
    }
}
