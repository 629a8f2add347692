//! Episodic memory against a real server: what a lead that starts, or was not connected, knows of the stream, and how
//! applications of strategies are counted when not everything can be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Message};
use axon_memory::{Application, DEFAULT_LIMITS, Episodes, OWN_PLAN, Strategies};
use axon_protocol::{
    AnswerStatus, Complexity, CountedGroup, Episode, Format, QueryId, Shape, StopReason, Stream, Usage,
};
use axon_tests::{Bed, eventually_true};
use chrono::Utc;

const SOON: Duration = Duration::from_secs(30);
const READ_EVERY: Duration = Duration::from_millis(50);
const STRATEGIES: [&str; 2] = ["research", "testing"];

fn episode(id: &str, strategy: &str) -> Episode {
    let analysed = strategy != OWN_PLAN;
    Episode {
        query_id: QueryId::new(id).expect("an id"),
        query: format!("why does {id} fail"),
        session: None,
        workspace: None,
        strategy: strategy.to_owned(),
        leaning: None,
        complexity: analysed.then_some(Complexity::Medium),
        ruled: None,
        shape: analysed.then_some(Shape::Single),
        aspects: Vec::new(),
        aspects_asked: 0,
        yields: Vec::new(),
        tools: BTreeMap::new(),
        retries: 0,
        hand_overs: 0,
        conflicts: 0,
        tasks: 1,
        workers: 1,
        status: AnswerStatus::Complete,
        stop_reason: StopReason::Finished,
        success: true,
        quality: None,
        usage: Usage::default(),
        duration_ms: 1.0,
        summary: String::new(),
        places: Vec::new(),
        at: Utc::now(),
    }
}

async fn remember(bus: &Bus, id: &str, strategy: &str) {
    let episodes = Episodes::new(bus, 0, DEFAULT_LIMITS);
    let until = Instant::now() + SOON;
    assert!(episodes.remember(&episode(id, strategy), until).await.expect("kept"));
}

fn strategies() -> Option<BTreeSet<String>> {
    Some(STRATEGIES.map(str::to_owned).into())
}

/// The queries that are remembered, in the order in which they were learnt from.
fn remembered(episodes: &Episodes) -> Vec<String> {
    let remembered = episodes.remembered().into_iter();
    remembered.map(|episode| episode.query_id.to_string()).collect()
}

/// An episode of which every listener hears, and which the stream refuses.
async fn refused(bus: &Bus, episode: &Episode) {
    let subject = bus.namespace().episode(&episode.strategy, &episode.query_id);
    let message = Message::new(subject, Format::Msgpack, episode).expect("encodes");
    let message = message.with("Nats-Expected-Last-Subject-Sequence", "99999");
    bus.announce(&message).await.expect("published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_that_starts_reads_what_teaches_in_its_order_however_many_own_plans_came_since() {
    let (_bed, bus) = Bed::new().await;
    for (index, strategy) in ["testing", "research", "testing", "research", "testing", "research"]
        .into_iter()
        .enumerate()
    {
        remember(&bus, &format!("e{index}"), strategy).await;
    }
    for index in 0..20 {
        remember(&bus, &format!("own{index}"), OWN_PLAN).await;
    }
    let episodes = Episodes::new(&bus, 5, DEFAULT_LIMITS).reading_every(READ_EVERY);
    let (lead, known, asked) = (episodes.clone(), AtomicBool::new(false), AtomicUsize::new(0));
    let follow = lead.follow(|| {
        asked.fetch_add(1, Ordering::SeqCst);
        strategies().filter(|_| known.load(Ordering::SeqCst))
    });
    let look = async {
        eventually_true("it waits for the strategies", SOON, || async {
            asked.load(Ordering::SeqCst) > 3
        })
        .await;
        assert_eq!(episodes.generation(), None, "the strategies are not known yet");
        known.store(true, Ordering::SeqCst);
        eventually_true("everything was read", SOON, || async {
            episodes.generation().is_some()
        })
        .await;
        assert_eq!(remembered(&episodes), ["e1", "e2", "e3", "e4", "e5"], "the latest five");
    };
    tokio::select! {
        () = follow => unreachable!("it follows for ever"),
        () = look => {}
    }

    // Whoever reads once knows the same, and a list shows everything.
    let reader = Episodes::new(&bus, 5, DEFAULT_LIMITS);
    reader.read().await.expect("reads");
    assert_eq!(remembered(&reader), ["e1", "e2", "e3", "e4", "e5"]);
    let ids = |episodes: Vec<Episode>| episodes.into_iter().map(|one| one.query_id.to_string());
    let latest = ids(reader.latest(None, 2).await.expect("reads"));
    assert_eq!(latest.collect::<Vec<_>>(), ["own18", "own19"]);
    let latest = ids(reader.latest(Some("testing"), 2).await.expect("reads"));
    assert_eq!(latest.collect::<Vec<_>>(), ["e2", "e4"]);
    let analysed = ids(reader.latest_analysed(3).await.expect("reads"));
    assert_eq!(analysed.collect::<Vec<_>>(), ["e3", "e4", "e5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_stream_keeps_no_more_or_never_kept_is_forgotten_without_a_word() {
    let (_bed, bus) = Bed::new().await;
    for (id, strategy) in [("first", "research"), ("second", "testing"), ("third", "research")] {
        remember(&bus, id, strategy).await;
    }
    let episodes = Episodes::new(&bus, 10, DEFAULT_LIMITS).reading_every(READ_EVERY);
    let lead = episodes.clone();
    let look = async {
        eventually_true("everything was read", SOON, || async {
            remembered(&episodes).len() == 3
        })
        .await;
        let (known_to, words) = (episodes.known_to(), "another text");
        let second = Episode {
            query: words.to_owned(),
            ..episode("second", "testing")
        };
        refused(&bus, &second).await;
        refused(&bus, &episode("never", "research")).await;
        let third = bus.namespace().episodes_of(&QueryId::new("third").expect("an id"));
        bus.purge(Stream::Episodes, &third).await.expect("purged");
        eventually_true("only what the stream keeps is known", SOON, || async {
            remembered(&episodes) == ["first", "second"]
        })
        .await;
        assert!(episodes.remembered().iter().all(|episode| episode.query != words));
        assert!(episodes.known_to() >= known_to, "forgetting lowers no mark");

        // What comes afterwards is known as ever, also under the id of what was forgotten.
        remember(&bus, "third", "research").await;
        eventually_true("it is remembered anew", SOON, || async {
            remembered(&episodes) == ["first", "second", "third"]
        })
        .await;
    };
    tokio::select! {
        () = lead.follow(strategies) => unreachable!("it follows for ever"),
        () = look => {}
    }
}

#[tokio::test]
async fn what_could_not_be_counted_is_counted_later_and_nothing_twice() {
    let (_bed, bus) = Bed::new().await;
    let strategies = Strategies::new(&bus);
    let application = |strategy: &str| Application {
        strategy: strategy.to_owned(),
        success: true,
        duration_ms: 1,
        cost_cents: 0.0,
        quality: 1.0,
    };
    let counted = async |name: &str| strategies.statistics(name).await.expect("reads").applications;
    let group = |number| CountedGroup {
        by: "lead".to_owned(),
        number,
    };
    // No key can have this name.
    let impossible = "a name with spaces";
    let batch = || {
        vec![
            application(impossible),
            application("research"),
            application("research"),
        ]
    };
    let mut applications = batch();
    let written = strategies.record(&group(1), &mut applications).await;
    assert!(written.is_err());
    assert_eq!(applications, [application(impossible)], "the others are counted");
    assert_eq!(counted("research").await, 2);
    // As if the acknowledgement had been lost.
    let written = strategies.record(&group(1), &mut batch()).await;
    assert!(written.is_err());
    assert_eq!(counted("research").await, 2);
    let mut next = vec![application("research")];
    strategies.record(&group(2), &mut next).await.expect("counted");
    assert_eq!((counted("research").await, next.len()), (3, 0));
}
