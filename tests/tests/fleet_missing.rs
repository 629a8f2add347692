//! Routes that miss workers: the lead says so at once, in the query and to operators, and asks for some.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Subscription};
use axon_protocol::{AnswerStatus, Bucket, Capability, Control, EventKind, Heartbeat, TaskRequest, Wanted};
use axon_tests::client::{answer, events, query_of, sleeps, submit, task};
use axon_tests::{Bed, Fleet, eventually_true};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

async fn wanted(bus: &Bus) -> Vec<Wanted> {
    let table = bus.table::<Heartbeat>(Bucket::Registry);
    let all = table.all().await.expect("reads");
    all.into_values().flat_map(|heartbeat| heartbeat.wanted).collect()
}

async fn next_request(requests: &mut Subscription) -> (BTreeSet<Capability>, u32, bool, String) {
    let message = tokio::time::timeout(SOON, requests.next())
        .await
        .expect("a request in time")
        .expect("connected");
    match message.decode::<Control>().await.expect("a control message") {
        Control::Scale {
            capabilities,
            workers,
            minimum,
            reason,
        } => (capabilities, workers, minimum, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_nobody_serves_is_told_and_asked_for() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let tester = [("AXON_WORKER__AGENT_TYPE", "tester")];
    let _fleet = tokio::join!(fleet.lead(), fleet.ready("axon-worker", &tester), fleet.synthesizer());
    let mut requests = bus
        .subscribe(bus.namespace().control_scale())
        .await
        .expect("subscribes");
    let review = TaskRequest {
        required_capabilities: vec!["CodeReview".to_owned(), "CodeAnalysis".to_owned()],
        ..task("review", "diag.echo", json!({ "said": "reviewed" }))
    };
    let asked_at = Instant::now();
    let id = submit(&bus, &query_of(vec![review], 60)).await;
    let (capabilities, workers, minimum, reason) = next_request(&mut requests).await;
    let names: Vec<&str> = capabilities.iter().map(Capability::as_str).collect();
    assert_eq!((names, workers, minimum), (vec!["CodeAnalysis", "CodeReview"], 1, true));
    assert!(reason.contains("no worker serves"), "{reason}");
    eventually_true("the query says so", SOON, || async {
        let events = events(&bus, &id).await;
        let told = events.iter().filter(|event| event.kind == EventKind::Progress);
        told.filter(|event| event.message.contains("no worker serves") && event.message.contains("reviewer"))
            .count()
            == 1
    })
    .await;
    assert!(asked_at.elapsed() < Duration::from_secs(15), "{:?}", asked_at.elapsed());
    eventually_true("the lead shows it", SOON, || async {
        wanted(&bus)
            .await
            .iter()
            .any(|wanted| wanted.capabilities == capabilities)
    })
    .await;
    let first_at = Instant::now();
    next_request(&mut requests).await;
    assert!(
        first_at.elapsed() > Duration::from_secs(2),
        "asked again after {:?}",
        first_at.elapsed()
    );
    let reviewer = [("AXON_WORKER__AGENT_TYPE", "reviewer")];
    let _reviewer = fleet.ready("axon-worker", &reviewer).await;
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
    eventually_true("nothing is missed any more", SOON, || async {
        wanted(&bus).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_asked_for_when_tasks_wait_long_for_busy_ones() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_LEAD__MAX_SCALED_WORKERS", 3);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    let mut requests = bus
        .subscribe(bus.namespace().control_scale())
        .await
        .expect("subscribes");
    let asked_at = Instant::now();
    let id = submit(&bus, &query_of(sleeps(12, 5_000), 60)).await;
    let (_, workers, minimum, reason) = next_request(&mut requests).await;
    assert!(asked_at.elapsed() >= Duration::from_secs(9), "{:?}", asked_at.elapsed());
    assert_eq!((workers, minimum), (3, true), "{reason}");
    assert!(reason.contains("workers are busy"), "{reason}");
    let cancel = fleet.axon(&["cancel", id.as_str()]).await;
    assert_eq!(cancel.code, Some(0), "{cancel:?}");
    eventually_true("nothing is missed any more", SOON, || async {
        wanted(&bus).await.is_empty()
    })
    .await;
}
