//! Queries with their own plan through the three binaries: answered once, cancelled, cut off, tried again.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Fenced, Message};
use axon_protocol::{
    AnswerStatus, Author, Control, EventKind, Format, ObjectBucket, QueryId, Reason, StopReason, Stream, TaskId,
    TaskRequest, TaskResult, TaskStatus, Verdict, header,
};
use axon_tests::client::{
    answer, answers, count, events, letters, query_of, sleeps, starts, submit, submit_as, task, unfinished,
};
use axon_tests::{Bed, Fleet, eventually, eventually_true, json_request};
use chrono::Utc;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_with_its_own_plan_is_answered_and_every_process_shows_it() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let depending = TaskRequest {
        dependencies: vec!["t1".to_owned()],
        ..task("t2", "diag.echo", json!({ "said": "after" }))
    };
    let id = submit(
        &bus,
        &query_of(vec![task("t1", "diag.echo", json!({ "said": "first" })), depending], 30),
    )
    .await;
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(
        (answer.status, answer.stop_reason),
        (AnswerStatus::Complete, StopReason::Finished),
        "{answer:?}"
    );
    assert_eq!(
        (answer.tasks_delegated, answer.tasks_completed, answer.retries),
        (2, 2, 0)
    );
    assert_eq!(answer.author, Author::Synthesizer);
    let outputs = answer.outputs.to_string();
    assert!(outputs.contains("first") && outputs.contains("after"), "{outputs}");
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    assert_eq!(answers(&bus, &id).await, 1);
    assert_eq!(letters(&bus).await.len(), 0);

    // In the order of their dependency.
    let started: Vec<String> = events(&bus, &id)
        .await
        .into_iter()
        .filter(|event| event.kind == EventKind::Started)
        .filter_map(|event| event.task_id.map(|task| task.to_string()))
        .collect();
    assert_eq!(started, ["t1", "t2"]);
    for (process, metric, label, expected) in [
        (&lead, "axon_queries_total", "outcome=\"complete\"", 1.0),
        (&lead, "axon_query_duration_seconds_count", "", 1.0),
        (&worker, "axon_task_starts_total", "cause=\"first\"", 2.0),
        (&worker, "axon_tasks_total", "outcome=\"complete\"", 2.0),
        (
            &worker,
            "axon_task_duration_seconds_count",
            "route=\"Diagnostics\"",
            2.0,
        ),
        (&worker, "axon_task_queue_wait_seconds_count", "band=\"normal\"", 2.0),
        (&worker, "axon_tool_duration_seconds_count", "tool=\"diag.echo\"", 2.0),
        (&synthesizer, "axon_answer_coverage_ratio_count", "", 1.0),
    ] {
        let what = format!("{metric} of {} is {expected}", process.name());
        eventually_true(&what, SOON, || async {
            process.metric(metric, &[label]).await == expected
        })
        .await;
    }
    for process in [&lead, &worker, &synthesizer] {
        let (status, _) = process.get("/healthz").await.expect("it answers");
        assert_eq!(status, 200, "{}", process.name());
        process.terminate();
    }
    for process in [&lead, &worker, &synthesizer] {
        assert!(
            process.end(SOON).await.success(),
            "{} drains and ends well",
            process.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_again_attaches_and_executes_nothing_twice() {
    let (bed, bus) = Bed::new().await;
    // The server's own de-duplication lasts two minutes; afterwards the fleet has to know the id by itself.
    let stream = bus.namespace().stream(Stream::Queries);
    let info = json_request(&bus, &format!("STREAM.INFO.{stream}"), Value::Null)
        .await
        .expect("info");
    let mut config = info["config"].clone();
    config["duplicate_window"] = json!(100_000_000);
    json_request(&bus, &format!("STREAM.UPDATE.{stream}"), config)
        .await
        .expect("updated");
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.lead(), fleet.worker(4), fleet.synthesizer());

    let query = query_of(sleeps(2, 1500), 30);
    let ask = async |reply_to: &str| {
        let mut replies = bus.subscribe(reply_to.to_owned()).await.expect("subscribes");
        let message = Message::new(bus.namespace().queries(), Format::Json, &query)
            .expect("encodes")
            .with(header::MESSAGE_ID, "same")
            .with(header::REPLY_TO, reply_to);
        // The server forgets ids when it comes to it.
        eventually_true("the server does not know the id", SOON, || async {
            !bus.publish(message.clone()).await.expect("accepted").duplicate
        })
        .await;
        let reply = tokio::time::timeout(SOON, replies.next())
            .await
            .expect("a reply in time")
            .expect("connected");
        reply.decode::<axon_protocol::Answer>().await.expect("an answer")
    };
    let inbox = |name: &str| format!("inbox.{}.{name}", bus.namespace());
    let attached = async {
        eventually_true("it is being worked on", SOON, || async {
            count(
                &bus,
                &axon_protocol::QueryId::new("same").expect("an id"),
                EventKind::Started,
            )
            .await
                > 0
        })
        .await;
        ask(&inbox("b")).await
    };
    let first = inbox("a");
    let (first, attached) = tokio::join!(ask(&first), attached);
    let late = ask(&inbox("c")).await;
    for (who, answer) in [("first", &first), ("attached", &attached), ("late", &late)] {
        assert_eq!(answer.status, AnswerStatus::Complete, "{who}");
        assert_eq!(answer.created_at, first.created_at, "{who} gets the one answer");
    }
    let id = first.query_id.clone();
    assert_eq!(starts(&bus, &id).await.values().copied().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(answers(&bus, &id).await, 1);
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_query_keeps_what_it_has_and_frees_the_fleet() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let mut tasks = vec![task("quick", "diag.echo", json!({ "said": "kept" }))];
    tasks.extend(sleeps(6, 60_000));
    let id = submit(&bus, &query_of(tasks, 90)).await;
    eventually_true("one is finished and others run", SOON, || async {
        let status = bus.status(Stream::Results).await.expect("reads");
        status.messages == 1 && starts(&bus, &id).await.len() >= 3
    })
    .await;
    let cancel = Message::new(
        bus.namespace().control_cancel(&id),
        Format::Json,
        &Control::Cancel { query_id: id.clone() },
    );
    let cancelled_at = Instant::now();
    bus.announce(&cancel.expect("encodes")).await.expect("sent");
    let answer = answer(&bus, &id, SOON).await;
    assert!(
        cancelled_at.elapsed() < Duration::from_secs(10),
        "{:?}",
        cancelled_at.elapsed()
    );
    assert_eq!(
        (answer.status, answer.stop_reason),
        (AnswerStatus::Partial, StopReason::Cancelled),
        "{answer:?}"
    );
    assert!(answer.outputs.to_string().contains("kept"), "{answer:?}");
    assert_eq!(answer.missing.len(), 6, "{:?}", answer.missing);
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    let status = bus.status(Stream::Tasks).await.expect("reads");
    assert!(
        status.consumers.iter().all(|consumer| consumer.ack_pending == 0),
        "{:?}",
        status.consumers
    );
    // The slots are free at once.
    let next = submit(&bus, &query_of(sleeps(2, 10), 20)).await;
    let next = axon_tests::client::answer(&bus, &next, SOON).await;
    assert_eq!(next.status, AnswerStatus::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_the_answer_is_partial_and_names_what_is_missing() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let mut tasks = sleeps(1, 60_000);
    tasks.push(task("quick", "diag.echo", json!({ "said": "kept" })));
    let asked_at = Instant::now();
    let id = submit(&bus, &query_of(tasks, 4)).await;
    let answer = answer(&bus, &id, SOON).await;
    assert!(asked_at.elapsed() < Duration::from_secs(7), "{:?}", asked_at.elapsed());
    assert_eq!(answer.status, AnswerStatus::Partial, "{answer:?}");
    assert!(answer.outputs.to_string().contains("kept"), "{answer:?}");
    assert_eq!(answer.missing.len(), 1, "{:?}", answer.missing);
    assert_eq!(answer.missing[0].task_id.as_str(), "t1");
    assert_eq!(answers(&bus, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_or_synthesizer_there_is_an_answer_all_the_same() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let id = submit(&bus, &query_of(sleeps(2, 10), 3)).await;
    let answer = answer(&bus, &id, SOON).await;
    assert_ne!(answer.status, AnswerStatus::Complete);
    assert_eq!(answer.author, Author::Lead);
    assert_eq!(answer.missing.len(), 2, "{answer:?}");
}

/// Does a task as a worker would, with an output of so many letters.
async fn done(bus: &Bus, id: &QueryId, task: &str, letters: usize) {
    let result = TaskResult {
        query_id: id.clone(),
        task_id: TaskId::new(task).expect("an id"),
        status: TaskStatus::Complete,
        reason: None,
        findings: Vec::new(),
        notes: Vec::new(),
        output: json!({ "text": "x".repeat(letters) }),
        usage: Default::default(),
        run: Default::default(),
        worker: None,
        attempt: 1,
        started_at: Utc::now(),
        finished_at: Utc::now(),
    };
    let subject = bus.namespace().result(id, &result.task_id);
    let message = Message::new(subject, Format::Msgpack, &result).expect("encodes");
    let published = bus.publish_fenced(message, Instant::now() + SOON).await;
    assert!(matches!(published.expect("published"), Fenced::Won { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_the_lead_cannot_read_is_named_in_its_answer() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let id = submit(&bus, &query_of(sleeps(2, 10), 4)).await;
    eventually_true("both tasks are queued", SOON, || async {
        bus.status(Stream::Tasks).await.expect("reads").messages == 2
    })
    .await;
    tokio::join!(done(&bus, &id, "t1", 300_000), done(&bus, &id, "t2", 1));
    eventually_true("the lead has both results", SOON, || async {
        bus.status(Stream::Synthesis).await.expect("reads").messages == 1
    })
    .await;
    let subject = bus.namespace().result(&id, &TaskId::new("t1").expect("an id"));
    let stored = bus.last(Stream::Results, &subject).await.expect("reads");
    let reference = stored.expect("a result").headers[header::REFERENCE].parse();
    let objects = bus.objects(ObjectBucket::Artifacts);
    assert!(objects.remove(&reference.expect("a digest")).await.expect("removed"));
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!((answer.author, answer.status), (Author::Lead, AnswerStatus::Partial));
    let [missing] = answer.missing.as_slice() else {
        panic!("one part is missing: {answer:?}");
    };
    assert_eq!(missing.task_id.as_str(), "t1");
    assert!(missing.reason.contains("cannot be read"), "{missing:?}");
    assert_eq!(answer.outputs["t2"]["text"], "x", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_through_the_dead_letters() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_TOOLS__TRANSIENT_RETRIES", 0);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let failing = json!({ "kind": "transient", "times": 2, "message": "no luck" });
    let id = submit(&bus, &query_of(vec![task("t1", "diag.fail", failing)], 60)).await;
    let answer = answer(&bus, &id, Duration::from_secs(30)).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    assert_eq!(answer.retries, 2);
    assert!(
        answer.outputs.to_string().contains("\"attempt\":3"),
        "{}",
        answer.outputs
    );
    assert_eq!(count(&bus, &id, EventKind::Retrying).await, 2);
    assert_eq!(starts(&bus, &id).await["t1"], 3);
    eventually_true("retried letters are gone", SOON, || async {
        letters(&bus).await.is_empty()
    })
    .await;
    assert_eq!(unfinished(&bus).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_good_is_parked_and_told() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_TOOLS__TRANSIENT_RETRIES", 0);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let tasks = vec![
        task(
            "always",
            "diag.fail",
            json!({ "kind": "transient", "message": "never any luck" }),
        ),
        task(
            "refused",
            "diag.fail",
            json!({ "kind": "permanent", "message": "not like this" }),
        ),
        task("good", "diag.echo", json!({ "said": "kept" })),
    ];
    let id = submit(&bus, &query_of(tasks, 60)).await;
    let answer = answer(&bus, &id, Duration::from_secs(30)).await;
    assert_eq!(answer.status, AnswerStatus::Partial, "{answer:?}");
    assert!(answer.outputs.to_string().contains("kept"));
    let missing: Vec<(&str, &str)> = answer
        .missing
        .iter()
        .map(|part| (part.task_id.as_str(), part.reason.as_str()))
        .collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    for (task, reason) in missing {
        let expected = if task == "always" {
            "never any luck"
        } else {
            "not like this"
        };
        assert!(reason.contains(expected), "{task}: {reason}");
    }
    let starts = starts(&bus, &id).await;
    assert_eq!((starts["always"], starts["refused"]), (3, 1));
    let parked = letters(&bus).await;
    let mut reasons: Vec<(Reason, Verdict, u32)> = parked
        .iter()
        .map(|letter| (letter.reason, letter.verdict, letter.attempt))
        .collect();
    reasons.sort_by_key(|(_, _, attempt)| *attempt);
    assert_eq!(reasons.len(), 2, "{parked:?}");
    assert_eq!((reasons[0].2, reasons[1].2), (1, 3), "{parked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_kills_its_workers_is_buried_after_two() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_TOOLS__ALLOW_CRASH", true);
    let (_lead, workers, _synthesizer) = tokio::join!(fleet.lead(), fleet.workers(3, 1), fleet.synthesizer());
    let tasks = vec![
        task("bomb", "diag.crash", json!({})),
        task("good", "diag.echo", json!({ "said": "kept" })),
    ];
    let id = submit(&bus, &query_of(tasks, 60)).await;
    let answer = answer(&bus, &id, Duration::from_secs(40)).await;
    assert_eq!(answer.status, AnswerStatus::Partial, "{answer:?}");
    assert!(answer.outputs.to_string().contains("kept"), "{answer:?}");
    let dead = workers.iter().filter(|worker| worker.ended().is_some()).count();
    assert_eq!(dead, 2, "the third one knew better");
    let letter = eventually("the dead letter", SOON, || async { letters(&bus).await.pop() }).await;
    assert_eq!(
        (letter.reason, letter.verdict),
        (Reason::Poison, Verdict::Park),
        "{letter:?}"
    );
    assert_eq!(letter.task_id.as_ref().map(|task| task.as_str()), Some("bomb"));
    assert_eq!(starts(&bus, &id).await["bomb"], 2);
    let next = submit(&bus, &query_of(sleeps(1, 10), 20)).await;
    assert_eq!(
        axon_tests::client::answer(&bus, &next, SOON).await.status,
        AnswerStatus::Complete
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_cannot_work_is_refused_in_words() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let with = |change: fn(&mut TaskRequest)| {
        let mut tasks = sleeps(2, 10);
        change(&mut tasks[0]);
        query_of(tasks, 20)
    };
    for (name, query, expected) in [
        (
            "unknown-capability",
            with(|task| task.required_capabilities = vec!["Telepathy".to_owned()]),
            "Telepathy",
        ),
        (
            "cycle",
            {
                let mut tasks = sleeps(2, 10);
                tasks[0].dependencies = vec!["t2".to_owned()];
                tasks[1].dependencies = vec!["t1".to_owned()];
                query_of(tasks, 20)
            },
            "wait for each other",
        ),
        (
            "unknown-dependency",
            with(|task| task.dependencies = vec!["t9".to_owned()]),
            "t9",
        ),
        ("no-tasks", query_of(Vec::new(), 20), "no tasks"),
        ("outside", with(|task| task.scope = vec!["../etc".to_owned()]), "../etc"),
    ] {
        let id = submit_as(&bus, name, &query).await;
        let answer = answer(&bus, &id, SOON).await;
        assert_eq!(
            (answer.status, answer.stop_reason),
            (AnswerStatus::Failed, StopReason::Refused),
            "{name}"
        );
        let error = answer.error.unwrap_or_default();
        assert!(error.contains(expected), "{name}: {error}");
    }
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
}
