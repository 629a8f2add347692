//! A server that is away for a moment, or slow with one thing: a lead takes neither for the end of a query, and does nothing
//! twice because of it.

use std::time::Duration;

use axon_bus::{Bus, Subscription};
use axon_protocol::{AnswerStatus, Bucket, ObjectBucket, QueryId, StopReason};
use axon_tests::client::{answer, query_of, sleeps, submit, task};
use axon_tests::{Bed, Fleet, Process, Proxy, Stop, json_request, shared};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A lead that reaches the server over a proxy.
async fn lead_over(fleet: &Fleet, proxy: &Proxy) -> Process {
    let url = proxy.url();
    let own = [("AXON_BUS__URL", url.as_str()), ("RUST_LOG", "info,axon_lead=debug")];
    fleet.ready("axon-lead", &own).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_planned_although_the_connection_was_lost_amid_its_planning() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let folder = fleet.folder().join("project");
    std::fs::create_dir_all(&folder).expect("created");
    std::fs::write(
        folder.join("lib.rs"),
        "pub fn first(x: &[u8]) -> u8 {\n    x.first().copied().unwrap()\n}\n",
    )
    .expect("written");
    let proxy = Proxy::to(shared().port()).await;
    let _fleet = tokio::join!(lead_over(&fleet, &proxy), fleet.worker(4), fleet.synthesizer());
    // The first that planning asks the server for is the store of the workspace.
    let store = bus.namespace().objects(ObjectBucket::Workspaces);
    proxy.stop_at(Stop::before(format!("$JS.API.STREAM.INFO.OBJ_{store}")));
    let shown = folder.display().to_string();
    let question = "Where could `first` panic?";
    let asked = [
        "submit",
        question,
        "--workspace",
        &shown,
        "--timeout",
        "60",
        "--id",
        "asked",
    ];
    let ended = fleet.axon(&asked).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    proxy.stopped(SOON).await;
    proxy.cut();
    let answer = answer(&bus, &QueryId::new("asked").expect("an id"), SOON).await;
    assert_ne!(answer.stop_reason, StopReason::Refused, "{answer:?}");
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
}

/// Lets the registry take what is written to it and never say so.
async fn silence_the_registry(bus: &Bus) -> Subscription {
    let bucket = bus.namespace().bucket(Bucket::Registry);
    let written = bus.subscribe(format!("$KV.{bucket}.>")).await.expect("subscribes");
    let deleted = json_request(bus, &format!("STREAM.DELETE.KV_{bucket}"), Value::Null).await;
    deleted.expect("the bucket is gone");
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_answer_keeps_no_query_waiting() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let lead = fleet.lead().await;
    let mut written = silence_the_registry(&bus).await;
    for _ in 0..2 {
        let beat = tokio::time::timeout(SOON, written.next()).await.expect("in time");
        assert!(beat.expect("connected").subject().ends_with(&lead.id()));
    }
    let mut impossible = query_of(sleeps(1, 10), 60);
    impossible.plan.as_mut().expect("a plan").tasks[0].dependencies = vec!["nowhere".to_owned()];
    let id = submit(&bus, &impossible).await;
    let answer = answer(&bus, &id, Duration::from_secs(10)).await;
    assert_eq!(answer.stop_reason, StopReason::Refused, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_lost_before_a_query_is_not_made_good_for_in_it() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let proxy = Proxy::to(shared().port()).await;
    let (lead, _worker, _synthesizer) = tokio::join!(lead_over(&fleet, &proxy), fleet.worker(4), fleet.synthesizer());
    proxy.cut();
    lead.says("connected to nats again", SOON).await;
    let mut reconciled = Vec::new();
    // One that takes long on a busy machine reconciles now and then.
    for _ in 0..5 {
        let quick = query_of(vec![task("t1", "diag.echo", json!({ "said": "quick" }))], 60);
        let id = submit(&bus, &quick).await;
        assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
        let log = lead.log();
        let own = log.lines().filter(|line| line.contains(id.as_str()));
        let performed: Vec<&str> = own.filter(|line| line.contains("performing")).collect();
        assert!(!performed.is_empty(), "{log}");
        reconciled.push(performed.iter().any(|line| line.contains("Reconcile")));
    }
    assert!(
        reconciled.contains(&false),
        "each of them looked for what it had missed"
    );
}
