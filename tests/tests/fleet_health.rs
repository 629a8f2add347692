//! Workers that fail: one that is broken is paused while the others work on, probes itself and comes back; one that is
//! loaded takes no more; one that dies leaves its tasks to somebody who hears of them.

use std::time::{Duration, Instant};

use axon_bus::Bus;
use axon_protocol::{
    AgentType, AnswerStatus, Bucket, Capability, Control, DeadLetter, Digest, EventKind, Heartbeat, Query, Reason,
    Stream, Verdict, WorkerState,
};
use axon_tests::client::{answer, count, events, query_of, sleeps, starts, submit, unfinished};
use axon_tests::{Bed, Fleet, Process, eventually, eventually_true};
use chrono::Utc;

const SOON: Duration = Duration::from_secs(60);

async fn heartbeats(bus: &Bus) -> Vec<Heartbeat> {
    let table = bus.table::<Heartbeat>(Bucket::Registry);
    table.all().await.expect("reads").into_values().collect()
}

async fn heartbeat_of(bus: &Bus, process: &Process) -> Option<Heartbeat> {
    let mut all = heartbeats(bus).await.into_iter();
    all.find(|heartbeat| heartbeat.pid == process.pid())
}

/// Stores a small workspace and returns its digest.
async fn workspace(fleet: &Fleet, bus: &Bus) -> Digest {
    let folder = fleet.folder().join("project");
    std::fs::create_dir_all(&folder).expect("created");
    std::fs::write(folder.join("notes.md"), "# Notes\n\nNothing yet.\n").expect("written");
    let shown = folder.display().to_string();
    let arguments = ["submit", "What is here?", "--workspace", &shown, "--timeout", "20"];
    let ended = fleet.axon(&arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let filter = bus.namespace().queries();
    let stored = bus.messages(Stream::Queries, &filter, 0, 1).await.expect("reads");
    let (query, _) = Query::parse(&stored[0].headers, &stored[0].payload).expect("a query");
    query.workspace.expect("it names its workspace")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_worker_is_paused_until_it_has_recovered() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed)
        .set("AXON_LEAD__MAX_ATTEMPTS", 8)
        .set("AXON_WORKER__MAX_ATTEMPTS", 8);
    // Nobody leads yet, so that the query with the workspace is still there to be read.
    let workspace = workspace(&fleet, &bus).await;
    // What is no folder cannot hold workspaces: every task that needs one fails here, and here alone.
    let blocked = fleet.folder().join("blocked");
    std::fs::write(&blocked, "").expect("written");
    let cache = blocked.join("cache").display().to_string();
    let broken = [
        ("AXON_TOOLS__WORKSPACES__DIR", cache.as_str()),
        ("AXON_WORKER__SLOTS", "2"),
    ];
    let (_lead, _good, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(2, 2), fleet.synthesizer());
    let work = |tasks, ms| Query {
        workspace: Some(workspace.clone()),
        ..query_of(sleeps(tasks, ms), 90)
    };
    // The others have shown that the tasks are not to blame.
    let before = submit(&bus, &work(8, 50)).await;
    assert_eq!(answer(&bus, &before, SOON).await.status, AnswerStatus::Complete);
    let broken = fleet.ready("axon-worker", &broken).await;
    let first = submit(&bus, &work(60, 200)).await;
    let paused = eventually("the broken one is paused", SOON, || async {
        heartbeat_of(&bus, &broken)
            .await
            .filter(|it| it.state == WorkerState::Unhealthy)
    })
    .await;
    let pause = paused.pause.expect("it says why");
    assert!(pause.reason.contains("min_success_rate"), "{pause:?}");
    let failures = count(&bus, &first, EventKind::Retrying).await;
    assert!(failures <= 30, "{failures} attempts failed until then");
    let others = heartbeats(&bus).await;
    assert!(
        others.iter().all(|it| it.pid == broken.pid() || it.pause.is_none()),
        "{others:?}"
    );
    let first = answer(&bus, &first, SOON).await;
    assert_eq!(first.status, AnswerStatus::Complete, "{first:?}");

    // As long as there is work it tries again, one task at a time.
    let keep_busy = async {
        loop {
            let id = submit(&bus, &work(20, 300)).await;
            let answer = answer(&bus, &id, SOON).await;
            assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
        }
    };
    let recovery = async {
        broken.says("paused again", SOON).await;
        std::fs::remove_file(&blocked).expect("removed");
        eventually_true("the broken one has recovered", SOON, || async {
            heartbeat_of(&bus, &broken)
                .await
                .is_some_and(|it| it.pause.is_none() && it.succeeded > 0)
        })
        .await;
    };
    tokio::select! {
        () = keep_busy => {}
        () = recovery => {}
    }
    assert!(
        broken.log().contains("a task succeeded, the pause is over"),
        "{}",
        broken.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_pause_is_sent_again_until_it_is_obeyed() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    // A worker that hears nothing: it shows itself idle whatever it is told.
    let deaf = Heartbeat {
        id: "deaf".to_owned(),
        role: "worker".to_owned(),
        agent_type: AgentType::new("deaf").expect("a name"),
        capabilities: [Capability::diagnostics()].into(),
        slots_total: 1,
        slots_used: 0,
        load: 0.0,
        state: WorkerState::Idle,
        succeeded: 0,
        failed: 0,
        pid: 0,
        host: "here".to_owned(),
        metrics: String::new(),
        version: "1".to_owned(),
        started_at: Utc::now(),
        at: Utc::now(),
        pause: None,
        waiting: 0,
        wanted: Vec::new(),
    };
    let table = bus.table::<Heartbeat>(Bucket::Registry);
    let mut orders = bus
        .subscribe(bus.namespace().control_of("deaf"))
        .await
        .expect("subscribes");
    let mut tasks = sleeps(3, 10);
    tasks.extend(sleeps(4, 15_000).split_off(3));
    let id = submit(&bus, &query_of(tasks, 60)).await;
    eventually_true("the other worker does well", SOON, || async {
        bus.status(Stream::Results).await.expect("reads").messages == 3
    })
    .await;
    let beating = async {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            table
                .put(
                    "worker.deaf",
                    &Heartbeat {
                        at: Utc::now(),
                        ..deaf.clone()
                    },
                )
                .await
                .expect("written");
        }
    };
    // Endlessly: what is written before the lead has heard of the worker says nothing to it.
    let failing = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for index in 0.. {
            tick.tick().await;
            let letter = DeadLetter {
                stream: Stream::Tasks,
                subject: format!("{}.tasks.Diagnostics.normal.{id}.x{index}", bus.namespace()),
                reason: Reason::Failed,
                verdict: Verdict::Park,
                attempt: 1,
                message: "no luck".to_owned(),
                headers: axon_protocol::Headers::new(),
                payload: bytes::Bytes::new(),
                query_id: None,
                task_id: None,
                deadline: None,
                usage: axon_protocol::Usage::default(),
                by: "deaf".to_owned(),
                at: Utc::now(),
            };
            let until = Instant::now() + SOON;
            bus.write_letter(&letter, &format!("letter-{index}"), until)
                .await
                .expect("stored");
        }
    };
    let ordered = async {
        for _ in 0..3 {
            let order = tokio::time::timeout(SOON, orders.next())
                .await
                .expect("in time")
                .expect("connected");
            match order.decode::<Control>().await.expect("an order") {
                Control::Pause { id, for_ms, reason } => {
                    assert_eq!((id.as_str(), for_ms), ("deaf", 10_000));
                    assert!(reason.starts_with("0 of its last "), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        () = beating => {}
        () = failing => {}
        () = ordered => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_takes_nothing_beyond_its_load_threshold() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_REGISTRY__MAX_LOAD_THRESHOLD", 0.5);
    let (_lead, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(10), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(12, 1_500), 60)).await;
    eventually_true("half of it is busy", SOON, || async {
        heartbeat_of(&bus, &worker).await.is_some_and(|it| it.slots_used == 5)
    })
    .await;
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
    // Five at a time: whatever started stands before the end of at least all but four that started before.
    let mut running: usize = 0;
    let mut most = 0;
    let mut changes: Vec<(chrono::DateTime<Utc>, bool)> = Vec::new();
    for event in events(&bus, &id).await {
        if event.kind == EventKind::Started {
            changes.push((event.at, true));
        }
    }
    let subjects = bus
        .subjects(Stream::Results, &bus.namespace().results_of(&id))
        .await
        .expect("reads");
    for subject in subjects {
        let stored = bus
            .last(Stream::Results, &subject)
            .await
            .expect("reads")
            .expect("a result");
        let result: axon_protocol::TaskResult = bus.decode_stored(&stored).await.expect("decodes");
        changes.push((result.finished_at, false));
    }
    changes.sort();
    for (_, started) in changes {
        running = if started {
            running + 1
        } else {
            running.saturating_sub(1)
        };
        most = most.max(running);
    }
    assert!(most <= 5, "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tasks_of_a_dead_worker_are_taken_when_their_leases_end() {
    let (bed, bus) = Bed::new().await;
    // Whoever finds them by looking around finds them much later.
    let fleet = Fleet::new(&bed).set("AXON_WORKER__SWEEP_INTERVAL_S", 60);
    let (_lead, first, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let id = submit(&bus, &query_of(sleeps(2, 4_000), 90)).await;
    eventually_true("both tasks run", SOON, || async { starts(&bus, &id).await.len() == 2 }).await;
    let _second = fleet.worker(2).await;
    eventually_true("its heartbeat shows them", SOON, || async {
        heartbeat_of(&bus, &first).await.is_some_and(|it| it.slots_used == 2)
    })
    .await;
    first.kill();
    let killed_at = Instant::now();
    eventually_true("both run again", SOON, || async {
        starts(&bus, &id).await.values().sum::<usize>() == 4
    })
    .await;
    let taken = killed_at.elapsed();
    println!("taken {taken:?} after the worker died");
    assert!(taken < Duration::from_secs(12), "{taken:?} after the worker died");
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
    eventually_true("nothing is left", SOON, || async { unfinished(&bus).await == 0 }).await;
}
