//! Leases: what a process holds nobody else gets, what it drops comes back, and what it gives up is buried once.

use std::time::{Duration, Instant};

use axon_bus::{Buried, Bus, Cause, Delivery, Message, Outcome, Routes, Sweep};
use axon_protocol::{Band, Capability, DeadLetter, QueryId, Reason, Stream, TaskId, Usage, Verdict, header};
use axon_tests::{Bed, for_a_while, shared};
use futures::future::join_all;

use crate::bus_publish::{query, route, task};

const SOON: Duration = Duration::from_secs(10);
/// The lease of a task without a sign of life.
const TASK_LEASE: Duration = Duration::from_secs(6);

/// A fleet with the route of `Diagnostics`, a pull on it, and one task queued there.
async fn one_task() -> (Bed, Bus, Sweep) {
    let (bed, bus) = Bed::new().await;
    Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    bus.publish(task(&bus, Band::Normal, "q1", "t1").with(header::TRY, "1"))
        .await
        .expect("queued");
    let sweep = Sweep::open(&bus).await.expect("opens");
    (bed, bus, sweep)
}

async fn take(sweep: &mut Sweep) -> Option<Delivery> {
    sweep.take(&route(), Band::Normal, 1).await.expect("pulls").pop()
}

/// Waits until the task is delivered (again).
async fn take_within(sweep: &mut Sweep, timeout: Duration) -> Delivery {
    let until = Instant::now() + timeout;
    loop {
        if let Some(delivery) = take(sweep).await {
            return delivery;
        }
        assert!(Instant::now() < until, "nothing was delivered within {timeout:?}");
    }
}

async fn letters(bus: &Bus) -> Vec<(axon_bus::StoredMessage, DeadLetter)> {
    let filter = bus.namespace().stream_subjects(Stream::Dead)[0].clone();
    let mut letters = Vec::new();
    for stored in bus.messages(Stream::Dead, &filter, 0, 100).await.expect("reads") {
        let letter = bus.decode_stored(&stored).await.expect("a dead letter");
        letters.push((stored, letter));
    }
    letters
}

/// A letter that speaks of a task, where it does.
fn letter(query: &str, task: Option<&str>) -> DeadLetter {
    DeadLetter {
        stream: Stream::Tasks,
        subject: "axon.tasks.Diagnostics.normal.q.t".to_owned(),
        reason: Reason::Failed,
        verdict: Verdict::Retry,
        attempt: 1,
        message: "no luck".to_owned(),
        headers: Default::default(),
        payload: Default::default(),
        query_id: QueryId::new(query).ok(),
        task_id: task.and_then(|task| TaskId::new(task).ok()),
        deadline: None,
        usage: Usage::default(),
        by: "somebody".to_owned(),
        at: chrono::Utc::now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_between_two_tries_is_found_behind_any_number_of_other_letters() {
    let (_bed, bus) = Bed::new().await;
    let wanted = QueryId::new("wanted").expect("an id");
    let write = async |letter: DeadLetter, id: String| {
        bus.write_letter(&letter, &id, Instant::now() + SOON)
            .await
            .expect("written");
    };
    assert!(
        bus.unsettled_tasks(&wanted).await.expect("reads").is_empty(),
        "there are no letters"
    );
    write(letter("wanted", Some("first")), "first".to_owned()).await;
    let others = (0..1_200).map(|index| write(letter("other", Some("t1")), format!("other-{index}")));
    join_all(others).await;
    write(letter("wanted", None), "none".to_owned()).await;
    let unreadable = Message {
        subject: bus.namespace().dead(Stream::Tasks, Reason::Failed),
        headers: Default::default(),
        payload: bytes::Bytes::from_static(b"\xff no letter"),
    };
    bus.publish(unreadable).await.expect("stored");
    write(letter("wanted", Some("last")), "last".to_owned()).await;
    let tasks = bus.unsettled_tasks(&wanted).await.expect("reads");
    let tasks: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
    assert_eq!(tasks, ["first", "last"]);
}

/// As many tasks as asked for, taken.
async fn taken(bus: &Bus, sweep: &mut Sweep, count: usize) -> Vec<Delivery> {
    for index in 1..count {
        bus.publish(task(bus, Band::Normal, "q1", &format!("more{index}")))
            .await
            .expect("queued");
    }
    let taken = sweep.take(&route(), Band::Normal, count).await.expect("pulls");
    assert_eq!(taken.len(), count);
    taken
}

async fn left(bus: &Bus) -> u64 {
    bus.status(Stream::Tasks).await.expect("reads").messages
}

#[tokio::test]
async fn what_is_acknowledged_at_once_is_confirmed_together() {
    let (bed, bus, mut sweep) = one_task().await;
    let watcher = bed.connect("watcher").await;
    let own = format!("$JS.ACK.{}.>", bus.namespace().stream(Stream::Tasks));
    let mut acks = watcher.subscribe(own).await.expect("subscribes");
    watcher.round_trip().await.expect("the server answers");
    let tasks = taken(&bus, &mut sweep, 50).await;
    let confirmed = join_all(tasks.iter().map(Delivery::ack)).await;
    assert_eq!(confirmed, [true; 50]);
    assert_eq!(left(&bus).await, 0, "what is confirmed is gone");
    let mut asked = Vec::new();
    while asked.len() < 50 {
        let ack = tokio::time::timeout(SOON, acks.next()).await.expect("in time");
        asked.push(ack.expect("connected").reply_to().is_some());
    }
    assert_eq!(asked.iter().filter(|asked| **asked).count(), 2, "{asked:?}");
    assert!(
        asked[0] && asked[49],
        "the first alone, then the last of the others: {asked:?}"
    );
}

#[tokio::test]
async fn acknowledgements_that_are_given_up_hold_up_no_others() {
    let (_bed, bus, mut sweep) = one_task().await;
    let tasks = taken(&bus, &mut sweep, 4).await;
    let mut acks: Vec<_> = tasks.iter().map(|task| Box::pin(task.ack())).collect();
    for ack in &mut acks {
        assert!(futures::poll!(ack).is_pending());
    }
    let (last, third, second, first) = (acks.pop(), acks.pop(), acks.pop(), acks.pop());
    // The one that asks, then the one whose turn it is before it knows.
    drop(first);
    drop(last);
    let others = join_all([second, third].into_iter().flatten());
    assert_eq!(tokio::time::timeout(SOON, others).await.expect("in time"), [true; 2]);
    for given_up in [&tasks[0], &tasks[3]] {
        assert!(given_up.ack().await);
    }
    assert_eq!(left(&bus).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_lease_lasts_and_a_dropped_one_ends() {
    let (_bed, _bus, mut sweep) = one_task().await;
    let held = take_within(&mut sweep, SOON).await;
    assert_eq!(held.delivered, 1);
    let holding = held.hold(
        Stream::Tasks,
        Instant::now() + TASK_LEASE * 3,
        std::future::pending::<()>(),
    );
    let watching = async {
        let until = Instant::now() + TASK_LEASE * 3;
        let mut stolen = None;
        while stolen.is_none() && Instant::now() < until {
            stolen = take(&mut sweep).await;
        }
        stolen
    };
    let (outcome, stolen) = tokio::join!(holding, watching);
    assert!(matches!(outcome, Outcome::Deadline), "the deadline ends the holding");
    assert!(stolen.is_none(), "nobody else gets a leased task");

    // Nobody renews it any more: it comes back after one lease, counted from the last sign of life.
    let dropped_at = Instant::now();
    let again = take_within(&mut sweep, TASK_LEASE * 2).await;
    assert_eq!(again.delivered, 2);
    assert!(
        dropped_at.elapsed() > TASK_LEASE / 3,
        "not before the lease ended: {:?}",
        dropped_at.elapsed()
    );
    assert!(again.ack().await);
}

#[tokio::test]
async fn work_that_ends_ends_the_holding_at_once() {
    let (_bed, _bus, mut sweep) = one_task().await;
    let held = take_within(&mut sweep, SOON).await;
    let started = Instant::now();
    let outcome = held
        .hold(Stream::Tasks, Instant::now() + Duration::from_secs(60), async { 7 })
        .await;
    assert!(matches!(outcome, Outcome::Done(7)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_handed_back_task_comes_again_at_once_or_after_its_delay() {
    let (_bed, bus, mut sweep) = one_task().await;
    let first = take_within(&mut sweep, SOON).await;
    first.hand_back(Duration::ZERO).await;
    let given_back_at = Instant::now();
    let second = take_within(&mut sweep, SOON).await;
    assert!(
        given_back_at.elapsed() < TASK_LEASE / 2,
        "no lease had to end: {:?}",
        given_back_at.elapsed()
    );
    assert_eq!(second.delivered, 2);
    assert_eq!(second.header(header::TRY), Some("1"), "it is the same try");

    let delay = Duration::from_secs(2);
    second.hand_back(delay).await;
    let given_back_at = Instant::now();
    let third = take_within(&mut sweep, SOON).await;
    let waited = given_back_at.elapsed();
    assert!(
        waited > delay.mul_f64(0.9) && waited < TASK_LEASE,
        "{waited:?} for a delay of {delay:?}"
    );
    assert!(third.ack().await);
    let status = bus.status(Stream::Tasks).await.expect("reads");
    assert_eq!(status.messages, 0);
}

#[tokio::test]
async fn an_acknowledgement_is_confirmed_and_a_second_one_is_harmless() {
    let (_bed, bus, mut sweep) = one_task().await;
    let held = take_within(&mut sweep, SOON).await;
    assert!(held.ack().await);
    assert_eq!(bus.status(Stream::Tasks).await.expect("reads").messages, 0);
    assert!(held.ack().await, "confirmed as well");
}

#[tokio::test]
async fn a_purge_of_one_query_leaves_the_others_and_frees_what_was_pending() {
    let (_bed, bus, mut sweep) = one_task().await;
    bus.publish(task(&bus, Band::Normal, "q1", "t2")).await.expect("queued");
    bus.publish(task(&bus, Band::Normal, "q2", "t1")).await.expect("queued");
    bus.publish(task(&bus, Band::High, "q1", "t3")).await.expect("queued");
    let held = take_within(&mut sweep, SOON).await;
    assert!(held.subject().contains(".q1."));

    let ns = bus.namespace();
    let mut purged = 0;
    for band in Band::ALL {
        purged += bus
            .purge(Stream::Tasks, &ns.tasks_of_query(&route(), band, &query("q1")))
            .await
            .expect("purged");
    }
    assert_eq!(purged, 3, "the delivered one too");
    let status = bus.status(Stream::Tasks).await.expect("reads");
    assert_eq!(status.messages, 1);
    for consumer in &status.consumers {
        assert_eq!(
            consumer.ack_pending, 0,
            "{consumer:?}: a pending slot is still occupied"
        );
    }
    assert!(held.ack().await, "acknowledging what was purged is harmless");
    let left = take_within(&mut sweep, SOON).await;
    assert!(left.subject().contains(".q2."), "{}", left.subject());
    assert!(take(&mut sweep).await.is_none());
}

#[tokio::test]
async fn a_dead_letter_keeps_everything_and_ends_its_input() {
    let (_bed, bus, mut sweep) = one_task().await;
    let held = take_within(&mut sweep, SOON).await;
    let deadline = chrono::Utc::now();
    let cause = Cause {
        reason: Reason::Failed,
        verdict: Verdict::Retry,
        attempt: 2,
        message: "the tool broke".to_owned(),
        deadline: Some(deadline),
        usage: Usage::default(),
    };
    let at = chrono::Utc::now();
    assert_eq!(bus.bury(Stream::Tasks, &held, cause, at).await, Buried::Done);
    assert_eq!(
        bus.status(Stream::Tasks).await.expect("reads").messages,
        0,
        "the input is acknowledged"
    );

    let found = letters(&bus).await;
    assert_eq!(found.len(), 1);
    let (stored, letter) = &found[0];
    assert_eq!(stored.subject, bus.namespace().dead(Stream::Tasks, Reason::Failed));
    assert_eq!(letter.subject, held.subject());
    assert_eq!(letter.payload, *held.payload());
    assert_eq!(letter.headers, held.headers());
    assert_eq!(letter.headers.get(header::TRY).map(String::as_str), Some("1"));
    assert_eq!(
        (letter.reason, letter.verdict, letter.attempt),
        (Reason::Failed, Verdict::Retry, 2)
    );
    assert_eq!(letter.message, "the tool broke");
    assert_eq!(letter.deadline, Some(deadline));
    assert_eq!(letter.query_id.as_ref().map(|id| id.as_str()), Some("q1"));
    assert_eq!(letter.task_id.as_ref().map(|id| id.as_str()), Some("t1"));
    assert_eq!(letter.by, "test");
}

#[tokio::test]
async fn a_dead_letter_is_written_once_although_its_input_comes_again() {
    let (bed, bus, mut sweep) = one_task().await;
    let other = bed.connect("other").await;
    let first = take_within(&mut sweep, SOON).await;
    first.hand_back(Duration::ZERO).await;
    let second = take_within(&mut sweep, SOON).await;
    let now = chrono::Utc::now();
    let cause = || Cause::malformed("unreadable");
    assert_eq!(other.bury(Stream::Tasks, &first, cause(), now).await, Buried::Done);
    assert_eq!(bus.bury(Stream::Tasks, &second, cause(), now).await, Buried::Done);
    assert_eq!(letters(&bus).await.len(), 1);
    assert_eq!(bus.status(Stream::Tasks).await.expect("reads").messages, 0);
}

#[tokio::test]
async fn a_large_dead_letter_goes_by_reference() {
    let (_bed, bus, mut sweep) = one_task().await;
    let ns = bus.namespace();
    let bulk = Message {
        payload: vec![b'x'; 900 * 1024].into(),
        ..task(&bus, Band::Normal, "q1", "t2")
    };
    bus.publish(bulk.clone()).await.expect("queued");
    let (mut taken, until) = (Vec::new(), Instant::now() + SOON);
    while taken.len() < 2 && Instant::now() < until {
        taken.extend(take(&mut sweep).await);
    }
    let held = taken
        .into_iter()
        .find(|delivery| delivery.subject().ends_with(".t2"))
        .expect("delivered");
    let buried = bus
        .bury(Stream::Tasks, &held, Cause::malformed("large"), chrono::Utc::now())
        .await;
    assert_eq!(buried, Buried::Done);
    let (_, letter) = letters(&bus).await.pop().expect("a letter");
    assert_eq!(letter.subject, ns.task(&route(), Band::Normal, &query("q1"), "t2"));
    assert_eq!(letter.headers, held.headers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_dead_letter_stream_refuses_and_the_input_stays() {
    let mut bed = Bed::undeclared(shared());
    bed.config.max_dead_letters = 1;
    let bus = bed.connect("worker").await;
    bus.declare().await.expect("declared");
    Routes::new(&bus)
        .ensure(&[Capability::diagnostics()].into())
        .await
        .expect("the route stands");
    for name in ["t1", "t2"] {
        bus.publish(task(&bus, Band::Normal, "q1", name)).await.expect("queued");
    }
    let mut sweep = Sweep::open(&bus).await.expect("opens");
    let taken = sweep.take(&route(), Band::Normal, 2).await.expect("pulls");
    let bury = |delivery: Delivery| {
        let bus = bus.clone();
        async move {
            bus.bury(Stream::Tasks, &delivery, Cause::malformed("bad"), chrono::Utc::now())
                .await
        }
    };
    assert_eq!(bury(taken[0].clone()).await, Buried::Done);
    let refused = tokio::spawn(bury(taken[1].clone()));
    // While it tries, the lease is held: nobody else is bothered with the input.
    for_a_while(
        "the input is still leased to who tries to bury it",
        TASK_LEASE * 2,
        || async {
            let status = bus.status(Stream::Tasks).await.expect("reads");
            status.messages == 1 && status.consumers.iter().all(|consumer| consumer.redelivered == 0)
        },
    )
    .await;
    assert_eq!(refused.await.expect("no panic"), Buried::Refused);
    assert_eq!(letters(&bus).await.len(), 1, "the first letter was not pushed out");
    assert_eq!(bus.status(Stream::Tasks).await.expect("reads").messages, 1);

    // Room is made: the input comes again and is buried.
    let first = letters(&bus).await.remove(0).0.sequence;
    assert!(bus.remove(Stream::Dead, first).await.expect("removed"));
    let again = take_within(&mut sweep, TASK_LEASE * 2).await;
    assert_eq!(again.sequence, taken[1].sequence);
    assert_eq!(bury(again).await, Buried::Done);
    assert_eq!(bus.status(Stream::Tasks).await.expect("reads").messages, 0);
}
