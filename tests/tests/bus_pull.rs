//! Pulling: never more than there is room for, over restarts, cuts and deleted consumers; sweeps that do not wait.

use std::time::{Duration, Instant};

use axon_bus::{Bus, LongPull, Message, Routes, Subscription, Sweep};
use axon_protocol::{Band, Capability, Format, Stream};
use axon_tests::{Bed, Proxy, Server, eventually_true, for_a_while, json_request, shared};
use serde_json::{Value, json};

use crate::bus_publish::{route, task};

const SOON: Duration = Duration::from_secs(10);
/// How long a request of an idle pull stays open.
const EXPIRY: Duration = Duration::from_secs(1);
/// Longer than a pull stays silent before it is opened again.
const SILENCE: Duration = Duration::from_secs(14);

async fn ask(bus: &Bus, count: usize) {
    for index in 0..count {
        let message =
            Message::new(bus.namespace().queries(), Format::Json, &json!({ "query": index })).expect("encodes");
        bus.publish(message).await.expect("stored");
    }
}

/// Delivered and not acknowledged, of the queries.
async fn leased(bus: &Bus) -> usize {
    let status = bus.status(Stream::Queries).await.expect("reads");
    status.consumers.iter().map(|consumer| consumer.ack_pending).sum()
}

/// Queries that nobody was given yet.
async fn waiting(bus: &Bus) -> u64 {
    let status = bus.status(Stream::Queries).await.expect("reads");
    status.consumers.iter().map(|consumer| consumer.pending).sum()
}

/// Hears every pull request for queries.
async fn spy(bus: &Bus) -> Subscription {
    let ns = bus.namespace();
    let subject = format!(
        "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
        ns.stream(Stream::Queries),
        ns.durable(Stream::Queries)
    );
    let heard = bus.subscribe(subject).await.expect("subscribes");
    // A round trip: the server has the subscription now.
    bus.round_trip().await.expect("the server answers");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_leased_than_there_is_room_for() {
    let (_bed, bus) = Bed::new().await;
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    // First a while with nothing to get, then a flood.
    let idle = tokio::time::timeout(Duration::from_millis(300), pull.next(3)).await;
    assert!(idle.is_err(), "nothing was published");
    ask(&bus, 10).await;
    let mut held = Vec::new();
    for room in (1..=3).rev() {
        held.push(tokio::time::timeout(SOON, pull.next(room)).await.expect("in time"));
    }
    for_a_while(
        "three are leased for a room of three",
        Duration::from_millis(500),
        || async { leased(&bus).await <= 3 },
    )
    .await;
    for round in 0..7 {
        assert!(held.remove(0).ack().await);
        held.push(tokio::time::timeout(SOON, pull.next(1)).await.expect("in time"));
        assert!(leased(&bus).await <= 3, "round {round}");
    }
    let mut sequences: Vec<u64> = held.iter().map(|delivery| delivery.sequence).collect();
    sequences.dedup();
    assert_eq!(sequences.len(), 3);
    assert_eq!(waiting(&bus).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_never_doubles_what_is_asked_for() {
    let (bed, bus) = Bed::new().await;
    let proxy = Proxy::to(shared().port()).await;
    let mut behind = bed.clone();
    behind.config.url = proxy.url();
    let lead = behind.connect("lead").await;
    let mut pull = LongPull::open(&lead, Stream::Queries).await.expect("opens");
    let mut pulling = tokio::spawn(async move {
        let first = pull.next(2).await;
        (pull, first)
    });
    for cut in 1..=3 {
        let before = proxy.connections();
        let open = || async {
            let status = bus.status(Stream::Queries).await.expect("reads");
            status.consumers.iter().any(|consumer| consumer.waiting > 0)
        };
        eventually_true("a request is open", SOON, open).await;
        proxy.cut();
        eventually_true("it is connected again", SOON, || async { proxy.connections() > before }).await;
        assert!(!pulling.is_finished(), "cut {cut}");
    }
    let state = lead.connection();
    eventually_true("it knows that it is connected", SOON, || {
        let state = state.clone();
        async move { state.borrow().connected }
    })
    .await;
    ask(&bus, 8).await;
    let (mut pull, first) = tokio::time::timeout(SOON, &mut pulling)
        .await
        .expect("in time")
        .expect("no panic");
    let second = tokio::time::timeout(SOON, pull.next(1)).await.expect("in time");
    assert_ne!(first.sequence, second.sequence);
    for_a_while(
        "two are leased for a room of two",
        Duration::from_millis(500),
        || async { leased(&bus).await <= 2 },
    )
    .await;
    assert_eq!(waiting(&bus).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_and_a_doorbell_survive_a_crash_of_the_server() {
    let server = Server::start();
    let (_bed, bus) = Bed::on(&server).await;
    Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    let mut doorbell = axon_bus::Doorbell::new(&bus);
    doorbell.listen(&[route()].into()).await.expect("listens");
    let mut changes = bus
        .table::<u32>(axon_protocol::Bucket::Working)
        .watch()
        .await
        .expect("watches");
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    ask(&bus, 1).await;
    let first = tokio::time::timeout(SOON, pull.next(1)).await.expect("in time");
    assert!(first.ack().await);

    let pulling = tokio::spawn(async move { (pull.next(2).await, pull) });
    for round in 0..2 {
        eventually_true("a request is open", SOON, || async {
            let status = bus.status(Stream::Queries).await.expect("reads");
            status.consumers.iter().any(|consumer| consumer.waiting > 0)
        })
        .await;
        server.kill();
        server.restart();
        let message = Message::new(
            bus.namespace().result(
                &crate::bus_publish::query("q1"),
                &crate::bus_publish::task_id(&format!("t{round}")),
            ),
            Format::Json,
            &json!(1),
        )
        .expect("encodes");
        bus.publish_until(message, Instant::now() + Duration::from_secs(30))
            .await
            .expect("published after the restart");
    }
    ask(&bus, 5).await;
    let (delivery, _pull) = tokio::time::timeout(SOON, pulling)
        .await
        .expect("the pull goes on")
        .expect("no panic");
    assert!(leased(&bus).await <= 2, "not more than there is room for");
    assert_eq!(delivery.delivered, 1);

    bus.publish(task(&bus, Band::Normal, "q1", "t1")).await.expect("queued");
    let ring = tokio::time::timeout(SOON, doorbell.next()).await.expect("it rings");
    assert_eq!(ring.route, route());
    bus.table::<u32>(axon_protocol::Bucket::Working)
        .put("after", &7)
        .await
        .expect("put");
    let change = tokio::time::timeout(Duration::from_secs(20), changes.next())
        .await
        .expect("the watch goes on")
        .expect("or ends and says so");
    assert_eq!((change.key.as_str(), change.value), ("after", Some(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_consumer_is_declared_again() {
    let (_bed, bus) = Bed::new().await;
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    let pulling = tokio::spawn(async move { pull.next(1).await });
    eventually_true("a request is open", SOON, || async {
        let status = bus.status(Stream::Queries).await.expect("reads");
        status.consumers.iter().any(|consumer| consumer.waiting > 0)
    })
    .await;
    let ns = bus.namespace();
    let consumer = format!("{}.{}", ns.stream(Stream::Queries), ns.durable(Stream::Queries));
    json_request(&bus, &format!("CONSUMER.DELETE.{consumer}"), Value::Null)
        .await
        .expect("deleted");
    ask(&bus, 1).await;
    let delivery = tokio::time::timeout(SOON, pulling)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(delivery.ack().await);

    // The same for one that is gone before the pull begins.
    json_request(&bus, &format!("CONSUMER.DELETE.{consumer}"), Value::Null)
        .await
        .expect("deleted");
    ask(&bus, 1).await;
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    tokio::time::timeout(SOON, pull.next(1)).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pull_asks_again_when_its_request_ends_and_silence_opens_it_anew() {
    let (bed, bus) = Bed::new().await;
    let proxy = Proxy::to(shared().port()).await;
    let mut behind = bed.clone();
    behind.config.url = proxy.url();
    let lead = behind.connect("lead").await;
    let mut requests = spy(&bus).await;
    let mut pull = LongPull::open(&lead, Stream::Queries).await.expect("opens");
    let pulling = tokio::spawn(async move { pull.next(1).await });
    tokio::time::timeout(SOON, requests.next()).await.expect("it asks");
    tokio::time::timeout(SOON, requests.next())
        .await
        .expect("the end of a request is a sign of life");

    proxy.swallow_answers();
    // What was on its way when the proxy fell silent may lead to one more request; then the pull waits.
    while tokio::time::timeout(EXPIRY * 3, requests.next()).await.is_ok() {}
    tokio::time::timeout(SILENCE, requests.next())
        .await
        .expect("silence opens the pull again");
    proxy.resume();
    ask(&bus, 1).await;
    let delivery = tokio::time::timeout(SOON, pulling)
        .await
        .expect("in time")
        .expect("no panic");
    assert!(delivery.ack().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_pull_hands_back_what_it_was_given_at_once() {
    let (bed, bus) = Bed::new().await;
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    ask(&bus, 4).await;
    let held = tokio::time::timeout(SOON, pull.next(4)).await.expect("in time");
    eventually_true("all are delivered", SOON, || async { leased(&bus).await == 4 }).await;
    let started = Instant::now();
    assert_eq!(pull.close().await, 3);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let other = bed.connect("other").await;
    let mut other = LongPull::open(&other, Stream::Queries).await.expect("opens");
    for _ in 0..3 {
        let delivery = tokio::time::timeout(Duration::from_secs(2), other.next(1))
            .await
            .expect("no lease has to end");
        assert!(delivery.ack().await);
    }
    assert!(held.ack().await, "what was given out before is its holder's");
    assert_eq!(bus.status(Stream::Queries).await.expect("reads").messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_closed_under_load_leaves_no_lease_behind() {
    let (bed, bus) = Bed::new().await;
    let mut steady = bed.clone();
    steady.config.rate_limit_per_agent = 300;
    let publisher = steady.connect("publisher").await;
    let flood = tokio::spawn(async move {
        loop {
            ask(&publisher, 1).await;
        }
    });
    for round in 0..8 {
        let lead = bed.connect("lead").await;
        let mut pull = LongPull::open(&lead, Stream::Queries).await.expect("opens");
        for _ in 0..3 {
            let delivery = tokio::time::timeout(SOON, pull.next(8)).await;
            assert!(delivery.expect("there is always more").ack().await, "round {round}");
        }
        pull.close().await;
        lead.drain().await.expect("drains");
    }
    flood.abort();
    let _ = flood.await;
    // Whatever was on its way to a closed pull would come only when its lease of ten seconds has ended.
    let mut pull = LongPull::open(&bus, Stream::Queries).await.expect("opens");
    while bus.status(Stream::Queries).await.expect("reads").messages > 0 {
        let delivery = tokio::time::timeout(Duration::from_secs(3), pull.next(16)).await;
        assert!(delivery.expect("no lease is left behind").ack().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_takes_what_is_there_and_waits_for_nothing() {
    let (_bed, bus) = Bed::new().await;
    Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    let mut sweep = Sweep::open(&bus).await.expect("opens");
    let quick = Duration::from_millis(500);
    let started = Instant::now();
    assert!(sweep.take(&route(), Band::High, 10).await.expect("pulls").is_empty());
    assert!(started.elapsed() < quick, "nothing there: {:?}", started.elapsed());

    for index in 0..7 {
        bus.publish(task(&bus, Band::High, "q1", &format!("t{index}")))
            .await
            .expect("queued");
    }
    for (batch, expected) in [(3, 3), (10, 4), (10, 0)] {
        let started = Instant::now();
        let taken = sweep.take(&route(), Band::High, batch).await.expect("pulls");
        assert_eq!(taken.len(), expected, "of {batch}");
        assert!(
            started.elapsed() < quick,
            "{expected} of {batch}: {:?}",
            started.elapsed()
        );
        for delivery in taken {
            assert!(delivery.ack().await);
        }
    }
    assert!(
        sweep.take(&route(), Band::Low, 1).await.expect("pulls").is_empty(),
        "a band of its own"
    );
}

#[tokio::test]
async fn a_sweep_tells_what_is_left_and_declares_a_lost_consumer_again() {
    let (_bed, bus) = Bed::new().await;
    let mut sweep = Sweep::open(&bus).await.expect("opens");
    for name in ["t1", "t2", "t3"] {
        bus.publish(task(&bus, Band::Low, "q1", name)).await.expect("queued");
    }
    assert!(
        sweep.take(&route(), Band::Low, 1).await.expect("pulls").is_empty(),
        "there is no consumer yet"
    );
    let left: Vec<u64> = {
        let mut left = Vec::new();
        for _ in 0..3 {
            let taken = sweep.take(&route(), Band::Low, 1).await.expect("pulls");
            left.extend(taken.iter().map(|delivery| delivery.pending));
        }
        left
    };
    assert_eq!(left, [2, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sweeps_never_get_the_same_task() {
    let (bed, bus) = Bed::new().await;
    Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    for index in 0..60 {
        bus.publish(task(&bus, Band::Normal, "q1", &format!("t{index}")))
            .await
            .expect("queued");
    }
    let workers = (0..4).map(|index| {
        let bed = bed.clone();
        async move {
            let bus = bed.connect(&format!("worker-{index}")).await;
            let mut sweep = Sweep::open(&bus).await.expect("opens");
            let mut taken = Vec::new();
            loop {
                let batch = sweep.take(&route(), Band::Normal, 2).await.expect("pulls");
                if batch.is_empty() {
                    return taken;
                }
                taken.extend(batch.iter().map(|delivery| delivery.sequence));
            }
        }
    });
    let mut all: Vec<u64> = futures::future::join_all(workers).await.into_iter().flatten().collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((count, all.len()), (60, 60));
}

#[tokio::test]
async fn what_was_redelivered_too_often_is_reported_and_kept() {
    let (_bed, bus) = Bed::new().await;
    let ns = bus.namespace();
    let (stream, durable) = (ns.stream(Stream::Tasks), ns.task_durable(&route(), Band::Low));
    // The consumer as it is declared, but one that gives up after the first delivery.
    let body = json!({ "stream_name": stream, "config": {
        "durable_name": durable, "filter_subject": ns.tasks_of(&route(), Band::Low), "ack_policy": "explicit",
        "ack_wait": 200_000_000, "max_deliver": 1, "deliver_policy": "all", "replay_policy": "instant",
    }});
    json_request(&bus, &format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}"), body)
        .await
        .expect("created");
    let published = bus.publish(task(&bus, Band::Low, "q1", "t1")).await.expect("queued");
    let mut sweep = Sweep::open(&bus).await.expect("opens");
    assert_eq!(sweep.take(&route(), Band::Low, 1).await.expect("pulls").len(), 1);
    let filter = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.>");
    // The server looks only while somebody pulls.
    let stored = loop {
        assert!(sweep.take(&route(), Band::Low, 1).await.expect("pulls").is_empty());
        if let Some(stored) = bus
            .messages(Stream::Advisories, &filter, 0, 1)
            .await
            .expect("reads")
            .pop()
        {
            break stored;
        }
    };
    let advisory: Value = serde_json::from_slice(&stored.payload).expect("JSON");
    assert_eq!(advisory["stream_seq"], published.sequence);
    let kept = bus.message_at(Stream::Tasks, published.sequence).await.expect("reads");
    assert!(kept.is_some(), "the message itself stays until somebody moves it");
    let mut advisories = LongPull::open(&bus, Stream::Advisories).await.expect("opens");
    let delivery = tokio::time::timeout(SOON, advisories.next(1)).await.expect("in time");
    assert!(delivery.ack().await);
}
