//! Queries of several clients on leads that are busy: everybody has a turn, leads share what they hold, deadlines count while
//! a query waits, and a crowd does not make a lead grow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, EventKind, Format, Query, QueryId, StopReason, Stream, header};
use axon_tests::client::{answer, answers, events, query_of, sleeps, starts, submit, task};
use axon_tests::{Bed, Fleet, Process, eventually, eventually_true};
use futures::future::join_all;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

async fn submit_for(bus: &Bus, client: &str, query: &Query) -> QueryId {
    let message = Message::new(bus.namespace().queries(), Format::Json, query)
        .expect("encodes")
        .with(header::CLIENT, client);
    QueryId::from_sequence(bus.publish(message).await.expect("accepted").sequence)
}

async fn submit_many(bus: &Bus, client: &str, query: &Query, count: usize) -> Vec<QueryId> {
    join_all((0..count).map(|_| submit_for(bus, client, query))).await
}

async fn answered(bus: &Bus) -> usize {
    let answers = bus.status(Stream::Answers).await.expect("reads").messages;
    usize::try_from(answers).expect("fits")
}

/// How many of these queries each lead planned.
async fn planned_by(bus: &Bus, ids: &[QueryId]) -> BTreeMap<String, usize> {
    let mut leads = BTreeMap::new();
    for id in ids {
        for event in events(bus, id).await {
            if event.kind == EventKind::Planned {
                *leads.entry(event.by).or_default() += 1;
            }
        }
    }
    leads
}

/// Most memory a process ever had, in bytes.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it lives");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("its peak");
    let kilobytes = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_many_queries_does_not_starve_another() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 4);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(8), fleet.synthesizer());
    let query = query_of(sleeps(1, 50), 120);
    let crowd = submit_many(&bus, "crowd", &query, 300).await;
    let few = submit_many(&bus, "few", &query, 3).await;
    for id in &few {
        assert_eq!(answer(&bus, id, SOON).await.status, AnswerStatus::Complete);
    }
    let before = answered(&bus).await;
    assert!(
        before < 150,
        "{before} of {} were answered before the last of three",
        crowd.len() + few.len()
    );
    eventually_true("everything is answered", SOON, || async { answered(&bus).await == 303 }).await;
    for id in [&crowd[0], &crowd[299]] {
        assert_eq!(answer(&bus, id, SOON).await.status, AnswerStatus::Complete);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_share_what_waits_and_leave_it_behind_when_they_drain() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 4);
    let (first, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(16), fleet.synthesizer());
    let ids = submit_many(&bus, "one", &query_of(sleeps(1, 700), 120), 80).await;
    eventually_true("the first lead holds all of them", SOON, || async {
        let status = bus.status(Stream::Queries).await.expect("reads");
        status.consumers[0].pending == 0
    })
    .await;
    let _second = fleet.lead().await;
    let shared = eventually("both leads work", SOON, || async {
        let leads = planned_by(&bus, &ids).await;
        (leads.len() == 2 && leads.values().all(|planned| *planned >= 3)).then_some(leads)
    })
    .await;
    assert!(answered(&bus).await < 70, "while there is plenty to do: {shared:?}");
    let drained_at = Instant::now();
    first.terminate();
    assert!(first.end(SOON).await.success(), "{}", first.log());
    assert!(
        drained_at.elapsed() < Duration::from_secs(8),
        "{:?}",
        drained_at.elapsed()
    );
    eventually_true("everything is answered", SOON, || async { answered(&bus).await == 80 }).await;
    for id in &ids {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(
            (answer.status, answer.retries),
            (AnswerStatus::Complete, 0),
            "{answer:?}"
        );
    }
    for id in [&ids[0], &ids[40], &ids[79]] {
        assert_eq!(starts(&bus, id).await.values().sum::<usize>(), 1, "nothing ran twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_answered_in_time_although_its_turn_does_not_come() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 1);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let long = submit_for(&bus, "long", &query_of(sleeps(1, 60_000), 90)).await;
    eventually_true("the only place is taken", SOON, || async {
        starts(&bus, &long).await.len() == 1
    })
    .await;
    let asked_at = Instant::now();
    let quick = query_of(vec![task("quick", "diag.echo", json!({ "said": "in time" }))], 5);
    let urgent = submit_for(&bus, "urgent", &quick).await;
    let hopeless = submit_many(&bus, "hopeless", &query_of(sleeps(1, 20_000), 8), 40).await;
    let urgent = answer(&bus, &urgent, SOON).await;
    assert_eq!(urgent.status, AnswerStatus::Complete, "{urgent:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(7), "{:?}", asked_at.elapsed());
    let mut waited = 0;
    for id in &hopeless {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(answer.status, AnswerStatus::Failed, "{answer:?}");
        let says_why = answer.error.is_some_and(|error| error.contains("waited for its turn"));
        waited += usize::from(says_why && answer.stop_reason == StopReason::Deadline);
        assert_eq!(answers(&bus, id).await, 1);
    }
    assert!(asked_at.elapsed() < Duration::from_secs(18), "{:?}", asked_at.elapsed());
    assert!(waited >= 20, "{waited} of 40 say why");
    let cancel = fleet.axon(&["cancel", long.as_str()]).await;
    assert_eq!(cancel.code, Some(0), "{cancel:?}");
    answer(&bus, &long, SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_without_a_deadline_waits_as_long_as_its_plan_gives_it() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed)
        .set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 2)
        .set("AXON_LEAD__ALLOCATION__SIMPLE__TIMEOUT_S", 3)
        .set("AXON_LEAD__ALLOCATION__MEDIUM__TIMEOUT_S", 60);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(16), fleet.synthesizer());
    for _ in 0..2 {
        let long = submit_for(&bus, "long", &query_of(sleeps(1, 6_000), 60)).await;
        eventually_true("a place is taken", SOON, || async {
            starts(&bus, &long).await.len() == 1
        })
        .await;
    }
    let unbound = |tasks: usize, ms: u64| Query {
        deadline_s: None,
        ..query_of(sleeps(tasks, ms), 1)
    };
    let simple = submit_many(&bus, "night", &unbound(1, 20_000), 2).await;
    let medium = submit_many(&bus, "night", &unbound(2, 1_000), 6).await;
    // Its deadline can be read only when it is fetched.
    let echo = |id: &str| task(id, "diag.echo", json!({ "text": "x".repeat(150_000) }));
    let large = submit_for(&bus, "night", &query_of(vec![echo("t1"), echo("t2")], 60)).await;
    for id in &simple {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(
            answer.status,
            AnswerStatus::Failed,
            "three seconds are too few: {answer:?}"
        );
    }
    for id in medium.iter().chain([&large]) {
        let answer = answer(&bus, id, SOON).await;
        assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
        assert_eq!(answers(&bus, id).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_waits_can_be_cancelled() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", 1);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let long = submit(&bus, &query_of(sleeps(1, 30_000), 60)).await;
    eventually_true("the only place is taken", SOON, || async {
        starts(&bus, &long).await.len() == 1
    })
    .await;
    let waiting = submit(&bus, &query_of(sleeps(1, 10), 60)).await;
    eventually_true("it is held by the lead", SOON, || async {
        let status = bus.status(Stream::Queries).await.expect("reads");
        status.consumers[0].pending == 0
    })
    .await;
    let asked_at = Instant::now();
    let cancel = fleet.axon(&["cancel", waiting.as_str()]).await;
    assert_eq!(cancel.code, Some(0), "{cancel:?}");
    let answer = answer(&bus, &waiting, SOON).await;
    assert_eq!(answer.stop_reason, StopReason::Cancelled, "{answer:?}");
    assert!(asked_at.elapsed() < Duration::from_secs(10), "{:?}", asked_at.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiting_queries_do_not_make_a_lead_grow() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(64), fleet.synthesizer());
    let query = query_of(sleeps(2, 100), 300);
    let warm = submit_many(&bus, "warm", &query, 64).await;
    eventually_true("it has worked on as many as it may", SOON, || async {
        answered(&bus).await == warm.len()
    })
    .await;
    let before = peak_memory(&lead);
    submit_many(&bus, "crowd", &query, 1_000).await;
    eventually_true("everything is answered", Duration::from_secs(120), || async {
        answered(&bus).await == warm.len() + 1_000
    })
    .await;
    let grown = peak_memory(&lead).saturating_sub(before);
    assert!(
        grown < 24 * 1024 * 1024,
        "grew by {} KiB from {} KiB",
        grown / 1024,
        before / 1024
    );
}
