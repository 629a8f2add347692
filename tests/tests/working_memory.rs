//! Working memory of several workers against a real server: a call is made once among all who want it, whoever dies, and a
//! server that does not help costs nothing but the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axon_bus::Bus;
use axon_memory::{SharedFacts, Source, Wanted, WorkingMemory};
use axon_protocol::{Bucket, CallMemory, Digest, Fact, QueryId, TaskId, WorkerId};
use axon_tests::{Bed, Server, eventually_true};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;

const SOON: Duration = Duration::from_secs(30);
const LOCAL_BYTES: usize = 1 << 20;
/// What is dear enough to be shared.
const DEAR: Duration = Duration::from_millis(100);
/// Facts that are measured.
const MEASURED: usize = 200;

/// The memory of a worker that has reached the bucket: opening it may take longer than a call is worth.
async fn memory(bus: &Bus, name: &str) -> WorkingMemory {
    let by = WorkerId::new(name).expect("an id");
    let worker = WorkingMemory::new(bus, by.clone(), LOCAL_BYTES);
    let known = wanted("known before", DEAR);
    let made = CallMemory::Made {
        by,
        result: json!(0),
        took_ms: 100.0,
    };
    let table = bus.table::<CallMemory>(Bucket::Working);
    table.put(&CallMemory::key(&known.key), &made).await.expect("written");
    eventually_true("the worker reaches the bucket", SOON, || async {
        let (_, source) = worker.answer(&known, &|| {}, async { Ok::<_, String>(json!(0)) }).await;
        worker.release();
        matches!(source, Source::Shared(_))
    })
    .await;
    worker
}

fn wanted(call: &str, expected: Duration) -> Wanted {
    Wanted {
        key: Digest::of(call.as_bytes()),
        expected,
        deadline: None,
    }
}

/// A call that returns `value` after `ms`, and counts that it was made.
async fn made(count: &AtomicUsize, ms: u64, value: Value) -> Result<Value, String> {
    count.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(value)
}

async fn never() -> Result<Value, String> {
    panic!("this call is remembered")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_made_once_among_all_who_want_it() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let count = AtomicUsize::new(0);
    let workers = [memory(&bus, "w1").await, memory(&bed.connect("w2").await, "w2").await];
    // Three at once in each of two processes.
    let at_once = (0..6).map(|index| {
        let worker = workers[index % 2].clone();
        let count = &count;
        async move {
            worker
                .answer(&wanted("a", DEAR), &|| {}, made(count, 300, json!({"hits": 3})))
                .await
        }
    });
    let answers = join_all(at_once).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let of = |is: fn(&Source) -> bool| answers.iter().filter(|(_, source)| is(source)).count();
    assert_eq!(of(|source| *source == Source::Made), 1);
    assert_eq!(
        of(|source| matches!(source, Source::Shared(_))),
        1,
        "the other process asks once"
    );
    assert_eq!(of(|source| matches!(source, Source::Local(_))), 4);
    for (result, source) in &answers {
        assert_eq!(result.as_deref(), Ok(&json!({"hits": 3})));
        if let Source::Local(took) | Source::Shared(took) = source {
            assert!(*took >= Duration::from_millis(300), "{source:?}");
        }
    }

    // A third one that comes later, and one that dropped what it kept.
    let late = memory(&bed.connect("w3").await, "w3").await;
    assert!(matches!(
        late.answer(&wanted("a", DEAR), &|| {}, never()).await,
        (Ok(_), Source::Shared(_))
    ));
    assert!(matches!(
        late.answer(&wanted("a", DEAR), &|| {}, never()).await,
        (Ok(_), Source::Local(_))
    ));
    late.release();
    assert!(matches!(
        late.answer(&wanted("a", DEAR), &|| {}, never()).await,
        (Ok(_), Source::Shared(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cheap_is_not_shared_and_what_turns_out_dear_is() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let (first, second) = (memory(&bus, "w1").await, memory(&bed.connect("w2").await, "w2").await);
    let count = AtomicUsize::new(0);
    let cheap = Duration::from_millis(2);
    for worker in [&first, &second] {
        let (_, source) = worker
            .answer(&wanted("cheap", cheap), &|| {}, made(&count, 5, json!(1)))
            .await;
        assert_eq!(source, Source::Made);
    }
    assert!(matches!(
        first.answer(&wanted("cheap", cheap), &|| {}, never()).await,
        (Ok(_), Source::Local(_))
    ));
    let (_, source) = first
        .answer(&wanted("dear", cheap), &|| {}, made(&count, 50, json!(2)))
        .await;
    assert_eq!(source, Source::Made);
    assert!(matches!(
        second.answer(&wanted("dear", DEAR), &|| {}, never()).await,
        (Ok(_), Source::Shared(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claimed_a_call_and_died_costs_the_others_a_moment() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let (begun, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let (dying, started) = (memory(&bus, "w1").await, begun.clone());
    let task = tokio::spawn(async move {
        let stuck = async {
            started.notify_one();
            std::future::pending::<Result<Value, String>>().await
        };
        dying.answer(&wanted("a", DEAR), &|| {}, stuck).await
    });
    begun.notified().await;
    let others = [
        memory(&bed.connect("w2").await, "w2").await,
        memory(&bed.connect("w3").await, "w3").await,
    ];
    // So dear that they have the patience.
    let call = wanted("a", Duration::from_secs(2));
    let answers = others
        .iter()
        .map(|worker| worker.answer(&call, &|| {}, made(&count, 50, json!(7))));
    let waiting = join_all(answers);
    tokio::pin!(waiting);
    // As long as it lives, it renews its claim, and they wait.
    assert!(
        tokio::time::timeout(Duration::from_secs(2), &mut waiting)
            .await
            .is_err()
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
    task.abort();
    let answers = tokio::time::timeout(SOON, waiting)
        .await
        .expect("they go on without it");
    assert_eq!(count.load(Ordering::SeqCst), 1, "one of the others makes it");
    assert!(
        answers.iter().all(|(result, _)| result.as_deref() == Ok(&json!(7))),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_claim_that_lives_on_makes_the_call_while_there_is_time() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let (slow, hurried) = (memory(&bus, "w1").await, memory(&bed.connect("w2").await, "w2").await);
    let begun = Arc::new(Notify::new());
    let started = begun.clone();
    let task = tokio::spawn(async move {
        let stuck = async {
            started.notify_one();
            std::future::pending::<Result<Value, String>>().await
        };
        slow.answer(&wanted("a", DEAR), &|| {}, stuck).await
    });
    begun.notified().await;
    let (own, count, waited) = (Duration::from_secs(2), AtomicUsize::new(0), AtomicUsize::new(0));
    let asked = tokio::time::Instant::now();
    let call = Wanted {
        deadline: Some(asked + own),
        ..wanted("a", Duration::from_secs(60))
    };
    let waits = || {
        waited.fetch_add(1, Ordering::SeqCst);
    };
    let made_at = async {
        let at = asked.elapsed();
        made(&count, 1, json!(1)).await.map(|_| json!(at.as_millis()))
    };
    let (result, source) = hurried.answer(&call, &waits, made_at).await;
    let made_at = result.expect("it is made").as_u64().map(Duration::from_millis);
    assert_eq!(source, Source::Made);
    assert!(made_at.is_some_and(|at| at >= own / 3 && at < own), "{made_at:?}");
    assert!(waited.load(Ordering::SeqCst) > 0, "others are told that it waits");
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_is_not_remembered_and_keeps_nobody_waiting() {
    let server = Server::start();
    let (bed, bus) = Bed::on(&server).await;
    let (first, second) = (memory(&bus, "w1").await, memory(&bed.connect("w2").await, "w2").await);
    let failed = first
        .answer(&wanted("a", DEAR), &|| {}, async { Err("no such file") })
        .await;
    assert_eq!(failed, (Err("no such file"), Source::Made));
    let key = CallMemory::key(&wanted("a", DEAR).key);
    let left = bus.table::<CallMemory>(Bucket::Working).get(&key).await.expect("read");
    assert!(
        matches!(
            left.and_then(|entry| entry.value),
            Some(CallMemory::Claimed { lease_ms: 0, .. })
        ),
        "the claim was given up, and does not have to get stale"
    );
    let count = AtomicUsize::new(0);
    let (result, source) = second
        .answer(&wanted("a", DEAR), &|| {}, made(&count, 1, json!(1)))
        .await;
    assert_eq!((result.as_deref(), source), (Ok(&json!(1)), Source::Made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bucket_or_a_server_calls_are_made() {
    let server = Server::start();
    let (_bed, bus) = Bed::on(&server).await;
    let worker = memory(&bus, "w1").await;
    let count = AtomicUsize::new(0);
    // What another program wrote there is no result.
    let key = CallMemory::key(&wanted("junk", DEAR).key);
    bus.table::<Value>(Bucket::Working)
        .put(&key, &json!({"state": "dreamt"}))
        .await
        .expect("written");
    let (result, _) = worker
        .answer(&wanted("junk", DEAR), &|| {}, made(&count, 30, json!("real")))
        .await;
    assert_eq!(result.as_deref(), Ok(&json!("real")));
    bus.delete_namespace().await.expect("deleted");
    let (result, _) = worker
        .answer(&wanted("no bucket", DEAR), &|| {}, made(&count, 1, json!(1)))
        .await;
    assert_eq!(result.as_deref(), Ok(&json!(1)));
    drop(server);
    let asked = Instant::now();
    for call in ["no server", "still none"] {
        let (result, _) = worker
            .answer(&wanted(call, DEAR), &|| {}, made(&count, 1, json!(2)))
            .await;
        assert_eq!(result.as_deref(), Ok(&json!(2)));
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "it is not asked in vain each time"
    );
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bucket_drops_the_oldest_results() {
    let bed = Bed::undeclared(axon_tests::shared());
    let mut config = bed.config.clone();
    config.stream_mb_max = 1;
    let bed = Bed { config };
    let bus = bed.connect("w1").await;
    bus.declare().await.expect("declared");
    let large = json!("x".repeat(100_000));
    let count = AtomicUsize::new(0);
    for index in 0..15 {
        let call = wanted(&format!("call {index}"), DEAR);
        memory(&bus, "w1")
            .await
            .answer(&call, &|| {}, made(&count, 1, large.clone()))
            .await
            .0
            .expect("made");
    }
    let newest = memory(&bus, "w2")
        .await
        .answer(&wanted("call 14", DEAR), &|| {}, never())
        .await;
    assert!(matches!(newest, (Ok(_), Source::Shared(_))));
    let oldest = memory(&bus, "w2")
        .await
        .answer(&wanted("call 0", DEAR), &|| {}, made(&count, 1, large))
        .await;
    assert_eq!(oldest.1, Source::Made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_is_seen_by_others_at_once_and_forgotten_on_request() {
    let (bed, bus) = Bed::new().await;
    let (mine, theirs) = (SharedFacts::new(&bus), SharedFacts::new(&bed.connect("w2").await));
    let fact = |index: usize| Fact {
        task: TaskId::from_index(index % 10),
        claim: format!("claim {index}"),
        places: vec!["src/a.rs:1".to_owned()],
        confidence: 0.9,
    };
    let query = |index: usize| QueryId::new(format!("q{index}")).expect("an id");
    assert_eq!(theirs.of(&query(0)).await, []);
    let mut waits: Vec<Duration> = Vec::new();
    for index in 0..MEASURED {
        let told = Instant::now();
        mine.tell(&query(index), vec![fact(index)]).await;
        eventually_true("the other worker sees it", SOON, || async {
            theirs.of(&query(index)).await == [fact(index)]
        })
        .await;
        waits.push(told.elapsed());
    }
    waits.sort();
    let (p50, p99) = (waits[MEASURED / 2], waits[MEASURED * 99 / 100]);
    println!("a fact is seen by another worker after {p50:?} p50, {p99:?} p99");
    assert!(p50 < Duration::from_millis(50), "{p50:?}");

    // Ten workers at once, and none of their facts is lost.
    let all = query(MEASURED);
    join_all((0..10).map(|index| mine.tell(&all, vec![fact(index)]))).await;
    assert_eq!(theirs.of(&all).await.len(), 10);
    assert_eq!(theirs.forget(&all).await.expect("deleted"), 10);
    assert_eq!(mine.of(&all).await, []);
    assert_eq!(theirs.forget(&all).await.expect("nothing to delete"), 0);
}
