//! Routes and their doorbells: announced once, and one ring per task to one of those who listen.

use std::collections::BTreeSet;
use std::time::Duration;

use axon_bus::{Bus, Doorbell, Message, Routes};
use axon_protocol::{Band, Bucket, Capability, Headers, Route, RouteAnnouncement, Stream};
use axon_tests::{Bed, eventually_true};
use bytes::Bytes;

use crate::bus_publish::{route, task};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for a ring that must not come to have come.
const QUIET: Duration = Duration::from_millis(400);

fn capabilities(names: &[&str]) -> BTreeSet<Capability> {
    names
        .iter()
        .map(|name| Capability::new(*name).expect("a capability"))
        .collect()
}

async fn listener(bed: &Bed, name: &str) -> (Bus, Doorbell) {
    let bus = bed.connect(name).await;
    let mut doorbell = Doorbell::new(&bus);
    doorbell.listen(&[route()].into()).await.expect("listens");
    // A round trip: the server has the subscriptions now.
    bus.round_trip().await.expect("the server answers");
    (bus, doorbell)
}

/// Rings until none comes for a while.
async fn rings(doorbell: &mut Doorbell) -> usize {
    let mut count = 0;
    while tokio::time::timeout(QUIET, doorbell.next()).await.is_ok() {
        count += 1;
    }
    count
}

async fn queue(bus: &Bus, query: &str, count: usize) {
    for index in 0..count {
        bus.publish(task(bus, Band::Normal, query, &format!("t{index}")))
            .await
            .expect("queued");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stored_task_rings_once_at_one_of_the_listeners() {
    let (bed, bus) = Bed::new().await;
    let (_bus_a, mut a) = listener(&bed, "a").await;
    let (_bus_b, mut b) = listener(&bed, "b").await;
    queue(&bus, "q1", 40).await;
    // Refused publishes ring nowhere.
    for index in 0..5 {
        let again = bus.publish(task(&bus, Band::Normal, "q1", &format!("t{index}"))).await;
        assert!(again.is_err());
    }
    let (at_a, at_b) = tokio::join!(rings(&mut a), rings(&mut b));
    assert_eq!(at_a + at_b, 40, "{at_a} and {at_b}");
    assert!(at_a > 0 && at_b > 0, "shared out: {at_a} and {at_b}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_names_its_band_in_the_form_of_an_earlier_version_too() {
    let (bed, bus) = Bed::new().await;
    let (_bus_a, mut doorbell) = listener(&bed, "a").await;
    let all = format!("{}.queued.{}", bus.namespace(), route());
    for (subject, band) in [
        (format!("{all}.high"), Some(Band::High)),
        (format!("{all}.low.q1.t1"), Some(Band::Low)),
        (format!("{all}.urgent"), None),
    ] {
        let rung = Message {
            subject,
            headers: Headers::new(),
            payload: Bytes::new(),
        };
        bus.announce(&rung).await.expect("sent");
        let ring = tokio::time::timeout(SOON, doorbell.next()).await.expect("it rings");
        assert_eq!((ring.route, ring.band), (route(), band));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_listener_gets_nothing_and_loses_nothing() {
    let (bed, bus) = Bed::new().await;
    let (bus_a, mut a) = listener(&bed, "a").await;
    let (_bus_b, mut b) = listener(&bed, "b").await;
    a.mute().await;
    assert!(!a.is_listening());
    bus_a.round_trip().await.expect("the server answers");
    queue(&bus, "q1", 10).await;
    assert_eq!(rings(&mut b).await, 10);
    assert_eq!(rings(&mut a).await, 0);

    // It listens again, is rung, and mutes before it looked: those rings are nobody else's.
    b.mute().await;
    a.listen(&[route()].into()).await.expect("listens");
    bus_a.round_trip().await.expect("the server answers");
    queue(&bus, "q2", 10).await;
    bus_a.round_trip().await.expect("the server answers");
    a.mute().await;
    assert_eq!(rings(&mut a).await, 10, "what was on its way comes out");
    queue(&bus, "q3", 5).await;
    assert_eq!(rings(&mut a).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_is_passed_on_a_bounded_number_of_times() {
    let (bed, bus) = Bed::new().await;
    let (bus_a, mut a) = listener(&bed, "a").await;
    let (bus_b, b) = listener(&bed, "b").await;
    drop(b);
    bus_b.round_trip().await.expect("the server answers");
    queue(&bus, "q1", 1).await;
    let mut passed = 0;
    let dropped = loop {
        let ring = tokio::time::timeout(SOON, a.next()).await.expect("it rings");
        assert_eq!((&ring.route, ring.band), (&route(), Some(Band::Normal)));
        if !a.relay(&ring).await {
            break ring;
        }
        passed += 1;
        assert!(passed < 50, "it would ring for ever");
    };
    assert_eq!(dropped.relays, passed);
    assert!(passed > 0);
    assert_eq!(rings(&mut a).await, 0);

    // A worker that leaves tasks behind rings anew, and from the beginning.
    a.ring(&route()).await;
    bus_a.round_trip().await.expect("the server answers");
    let ring = tokio::time::timeout(SOON, a.next()).await.expect("it rings");
    assert_eq!(ring.relays, 0);
}

#[tokio::test]
async fn a_route_stands_and_is_announced_once() {
    let (bed, bus) = Bed::new().await;
    let (other, needs) = (
        bed.connect("other").await,
        capabilities(&["CodeReview", "CodeAnalysis"]),
    );
    let (mine, theirs) = (Routes::new(&bus), Routes::new(&other));
    let (first, second) = tokio::join!(mine.ensure(&needs), theirs.ensure(&needs));
    let (first, second) = (first.expect("stands"), second.expect("stands"));
    assert_eq!((first.as_str(), &first), ("CodeAnalysis-CodeReview", &second));
    assert_eq!(mine.ensure(&needs).await.expect("stands"), first);

    let durables: BTreeSet<String> = bus
        .status(Stream::Tasks)
        .await
        .expect("reads")
        .consumers
        .into_iter()
        .map(|consumer| consumer.name)
        .collect();
    let expected: BTreeSet<String> = Band::ALL
        .into_iter()
        .map(|band| bus.namespace().task_durable(&first, band))
        .collect();
    assert_eq!(durables, expected);
    let announced = bus
        .table::<RouteAnnouncement>(Bucket::Routes)
        .all()
        .await
        .expect("reads");
    assert_eq!(announced.len(), 1);
    assert_eq!(announced[first.as_str()].capabilities, needs);
}

#[tokio::test]
async fn a_worker_serves_the_routes_it_covers() {
    let (_bed, bus) = Bed::new().await;
    let routes = Routes::new(&bus);
    let mut all = BTreeSet::new();
    for names in [&["A"][..], &["B"], &["A", "B"], &["A", "B", "C"], &[]] {
        all.insert(routes.ensure(&capabilities(names)).await.expect("stands"));
    }
    assert_eq!(all.len(), 5);
    for (names, expected) in [
        (&["A"][..], vec!["A"]),
        (&["A", "B"], vec!["A", "A-B", "B"]),
        (&["C"], vec![]),
        (&["A", "Diagnostics"], vec!["A", "Diagnostics"]),
    ] {
        let served = routes.served_by(&capabilities(names)).await.expect("reads");
        let served: Vec<&str> = served.iter().map(Route::as_str).collect();
        assert_eq!(served, expected, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_bounded() {
    let (_bed, bus) = Bed::new().await;
    let table = bus.table::<RouteAnnouncement>(Bucket::Routes);
    let announcing = (0..256).map(|index| {
        let table = table.clone();
        async move {
            let needs = capabilities(&[&format!("C{index}")]);
            let route = Route::of(&needs);
            let announcement = RouteAnnouncement {
                route: route.clone(),
                capabilities: needs,
            };
            table.put(route.as_str(), &announcement).await.expect("put")
        }
    });
    futures::future::join_all(announcing).await;
    let error = Routes::new(&bus)
        .ensure(&capabilities(&["OneMore"]))
        .await
        .expect_err("refused");
    assert!(matches!(error, axon_bus::Error::TooManyRoutes { .. }), "{error:?}");
    assert!(error.to_string().contains("fewer combinations"), "{error}");
    Routes::new(&bus)
        .ensure(&capabilities(&["C7"]))
        .await
        .expect("those that stand go on");
}

#[tokio::test]
async fn an_announcement_reaches_who_watches() {
    let (bed, bus) = Bed::new().await;
    let worker = bed.connect("worker").await;
    let mut watch = worker
        .table::<RouteAnnouncement>(Bucket::Routes)
        .watch()
        .await
        .expect("watches");
    let route = Routes::new(&bus)
        .ensure(&capabilities(&["Testing"]))
        .await
        .expect("stands");
    let entry = tokio::time::timeout(SOON, watch.next())
        .await
        .expect("in time")
        .expect("open");
    assert_eq!(entry.value.map(|announced| announced.route), Some(route.clone()));
    eventually_true("its consumers stood before", SOON, || async {
        bus.status(Stream::Tasks).await.expect("reads").consumers.len() == 3
    })
    .await;
}
