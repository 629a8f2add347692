//! A server that is away for a moment, or slow with one thing: a lead takes neither for the end of a query, and does nothing
//! twice because of it.

use std::time::Duration;

use axon_protocol::{AnswerStatus, ObjectBucket, QueryId, StopReason};
use axon_tests::client::{answer, query_of, submit, task};
use axon_tests::{Bed, Fleet, Process, Proxy, Stop, shared};
use serde_json::json;

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
