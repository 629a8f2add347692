//! The `axon` command: bad input, absent and unsuitable servers, refusals. Each ends soon, says what to do, and has its
//! documented exit code.

use std::path::Path;
use std::time::Duration;

use axon_bus::Message;
use axon_protocol::{AnswerStatus, Format, ObjectBucket, QUERY_BYTES_MAX, Query, Stream};
use axon_tests::client::{answer, letters, query_of, sleeps, submit, task, unfinished};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually_true, free_port, shared};
use serde_json::{Value, json};

use crate::bus_connect::pretend;

const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn ends(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for text in texts {
        assert!(ended.stderr.contains(text), "`{text}` is not said: {ended:?}");
    }
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

fn write(folder: &Path, name: &str, value: &Value) -> String {
    let path = folder.join(name);
    std::fs::write(&path, value.to_string()).expect("written");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_before_anything_is_sent() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let long = "x".repeat(QUERY_BYTES_MAX + 1);
    let good = json!({ "tasks": [{ "calls": [{ "tool_id": "a", "tool_name": "diag.echo" }] }] });
    let good = write(fleet.folder(), "good.json", &good);
    let misspelt = write(
        fleet.folder(),
        "misspelt.json",
        &json!({ "tasks": [{ "dependecies": [] }] }),
    );
    let no_json = write(fleet.folder(), "none.json", &json!("x"));
    for (arguments, expected) in [
        (&["ask", ""][..], "is empty"),
        (&["ask", "--no-workspace", &long], "65536 at most"),
        (&["ask", "why?", "--workspace", "/nonexistent/dir"], "/nonexistent/dir"),
        (&["ask", "why?", "--workspace", &good], "no directory"),
        (&["ask", "why?", "--plan", "/nonexistent.json"], "/nonexistent.json"),
        (&["ask", "why?", "--plan", &misspelt], "dependecies"),
        (&["ask", "why?", "--plan", &no_json], "none.json"),
        (&["ask", "why?", "--no-workspace", "--priority", "11"], "priority 11"),
        (&["ask", "why?", "--no-workspace", "--timeout", "0"], "deadline of 0"),
        (&["ask", "why?", "--no-workspace", "--id", "a.b"], "'.'"),
        (&["ask", "???"], "holds no word"),
        (&["ask"], "QUESTION"),
        (&["submit", " "], "is empty"),
        (&["nonsense"], "nonsense"),
    ] {
        let ended = fleet.axon(arguments).await;
        ends(&ended, 2, &[expected]);
        assert!(ended.took < Duration::from_secs(10), "{ended:?}");
    }
    assert_eq!(unfinished(&bus).await, 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_absent_or_will_not_do_is_told() {
    let bed = Bed::undeclared(shared());
    let fleet = Fleet::new(&bed).set("AXON_BUS__CONNECT_TIMEOUT_S", 2);
    let nobody = format!("nats://127.0.0.1:{}", free_port());
    let old = pretend("2.9.10", true).await;
    let bare = pretend("2.10.27", false).await;
    let ask = ["ask", "why?", "--no-workspace"];
    for (url, expected) in [
        (nobody.as_str(), "Start a nats-server"),
        (&old, "version 2.9.10"),
        (&bare, "start it with `-js"),
        (&bed.config.url, "axon init"),
    ] {
        for command in [&ask[..], &["workers"], &["dead", "ls"], &["queries"], &["answer", "q"]] {
            let arguments: Vec<&str> = command.iter().chain(&["--nats", url]).copied().collect();
            let ended = fleet.axon(&arguments).await;
            assert_eq!(ended.code, Some(5), "{arguments:?}: {ended:?}");
            assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
            assert!(ended.took < Duration::from_secs(15), "{arguments:?}: {ended:?}");
        }
    }
    // What keeps the doctor from looking has the same code; what it finds has not.
    for (url, code) in [(&nobody, 5), (&old, 5), (&bed.config.url, 1)] {
        let ended = fleet.axon(&["doctor", "--nats", url]).await;
        assert_eq!(ended.code, Some(code), "{url}: {ended:?}");
    }
    // The processes of the fleet end as clearly.
    for binary in ["axon-lead", "axon-worker", "axon-synthesizer"] {
        for (url, expected) in [(nobody.as_str(), "Start a nats-server"), (&old, "version 2.9.10")] {
            let process = fleet.start(binary, &[("AXON_BUS__URL", url)]);
            let status = process.end(SOON).await;
            assert!(!status.success(), "{binary}");
            assert!(process.log().contains(expected), "{binary}: {}", process.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_setting_stops_a_process_and_is_named() {
    let bed = Bed::undeclared(shared());
    let fleet = Fleet::new(&bed);
    for (binary, key, value, expected) in [
        ("axon-worker", "AXON_WORKER__SLTOS", "4", "sltos"),
        ("axon-lead", "AXON_LEAD__MAX_ATTEMPTS", "many", "max_attempts"),
        ("axon-synthesizer", "AXON_NONSENSE__X", "1", "nonsense"),
        ("axon-worker", "AXON_WORKER__SLOTS", "0", "worker.slots is 0"),
    ] {
        let process = fleet.start(binary, &[(key, value)]);
        let status = process.end(SOON).await;
        assert!(!status.success(), "{binary} {key}");
        assert!(process.log().contains(expected), "{binary} {key}: {}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_of_queries_refuses_and_the_client_shows_it() {
    let mut bed = Bed::undeclared(shared());
    bed.config.stream_mb_max = 1;
    let bus = bed.connect("test").await;
    bus.declare().await.expect("declared");
    let fleet = Fleet::new(&bed);
    let bulky =
        Message::new(bus.namespace().queries(), Format::Json, &Query::new("x".repeat(60_000))).expect("encodes");
    let mut accepted = 0;
    while bus.publish(bulky.clone()).await.is_ok() {
        accepted += 1;
    }
    let question = "y".repeat(60_000);
    for command in ["ask", "submit"] {
        let ended = fleet.axon(&[command, "--no-workspace", &question]).await;
        ends(&ended, 6, &["stream is full", "publish again later"]);
        assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    }
    assert_eq!(
        bus.status(Stream::Queries).await.expect("reads").messages,
        accepted,
        "nothing was pushed out"
    );
    // Once there is room, the same question is taken.
    let _fleet = tokio::join!(fleet.lead(), fleet.synthesizer());
    eventually_true("the lead works the queue off", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    let ended = fleet.axon(&["submit", "--no-workspace", &question]).await;
    ends(&ended, 0, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_cannot_work_fails_with_what_to_do() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let echo = json!([{ "tool_id": "a", "tool_name": "diag.echo" }]);
    let unknown = json!({ "tasks": [{ "required_capabilities": ["Telepathy"], "objective": "x", "calls": echo }] });
    let cyclic = json!({ "tasks": [
        { "task_id": "a", "objective": "x", "dependencies": ["b"], "calls": echo },
        { "task_id": "b", "objective": "x", "dependencies": ["a"], "calls": echo },
    ]});
    for (name, plan, expected) in [
        (
            "unknown.json",
            unknown,
            &["Telepathy", "start a worker that has it"][..],
        ),
        ("cyclic.json", cyclic, &["wait for each other", "remove one"]),
    ] {
        let path = write(fleet.folder(), name, &plan);
        let ended = fleet.axon(&["ask", "why?", "--plan", &path, "--timeout", "20"]).await;
        assert_eq!(ended.code, Some(4), "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        for text in expected {
            assert!(said.contains(text), "{name}: `{text}` is not said: {said}");
        }
        let ended = fleet.axon(&["plan", "why?", "--plan", &path]).await;
        ends(&ended, 2, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_not_found() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    for arguments in [
        &["answer", "nosuch"][..],
        &["cancel", "nosuch"],
        &["watch", "nosuch", "--wait", "1"],
        &["dead", "show", "77"],
        &["dead", "retry", "77"],
        &["drain", "nosuch"],
    ] {
        let ended = fleet.axon(arguments).await;
        ends(&ended, 8, &[]);
        assert!(ended.stderr.starts_with("error: "), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_asked_watched_and_answered() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let plan = json!({ "tasks": [{ "objective": "x", "calls": [
        { "tool_id": "a", "tool_name": "diag.echo", "params": { "said": "hello there" } }
    ]}]});
    let path = write(fleet.folder(), "plan.json", &plan);
    let ended = fleet
        .axon(&["ask", "why?", "--plan", &path, "--json", "--id", "mine"])
        .await;
    ends(&ended, 0, &[]);
    let asked: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(asked["status"], "complete");
    let ended = fleet.axon(&["answer", "mine", "--json"]).await;
    ends(&ended, 0, &[]);
    assert_eq!(
        serde_json::from_str::<Value>(&ended.stdout).expect("JSON"),
        asked,
        "the one answer"
    );
    let ended = fleet
        .axon(&["ask", "why?", "--plan", &path, "--json", "--id", "mine"])
        .await;
    ends(&ended, 0, &[]);
    assert_eq!(
        serde_json::from_str::<Value>(&ended.stdout).expect("JSON"),
        asked,
        "asked again, answered once"
    );
    ends(&fleet.axon(&["history", "mine", "--task", "t1"]).await, 0, &[]);
    ends(
        &fleet.axon(&["history", "mine", "--task", "zz"]).await,
        8,
        &["no task `zz`"],
    );
    for arguments in [
        &["queries"][..],
        &["workers"],
        &["strategies"],
        &["watch", "mine"],
        &["doctor"],
    ] {
        let ended = fleet.axon(arguments).await;
        ends(&ended, 0, &[]);
        assert!(!ended.stdout.is_empty(), "{arguments:?}");
    }
    // A partial answer and one that comes too late have codes of their own.
    let mut tasks = sleeps(1, 60_000);
    tasks.push(task("quick", "diag.echo", json!({})));
    let id = submit(&bus, &query_of(tasks, 3)).await;
    let ended = fleet.axon(&["answer", id.as_str()]).await;
    ends(&ended, 7, &[]);
    let ended = fleet.axon(&["answer", id.as_str(), "--wait", "20"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let id = submit(&bus, &query_of(sleeps(1, 60_000), 60)).await;
    ends(&fleet.axon(&["cancel", id.as_str()]).await, 0, &[]);
    assert_ne!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_tried_again_and_dropped() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let failing = json!({ "kind": "permanent", "message": "not like this" });
    let id = submit(&bus, &query_of(vec![task("t1", "diag.fail", failing)], 30)).await;
    answer(&bus, &id, SOON).await;
    eventually_true("the letter is there", SOON, || async { letters(&bus).await.len() == 1 }).await;
    let ended = fleet.axon(&["dead", "ls", "--json"]).await;
    ends(&ended, 0, &[]);
    let listed: Value = serde_json::from_str(ended.stdout.trim()).expect("one line of JSON");
    assert_eq!(
        (&listed["query_id"], &listed["stream"]),
        (&json!(id.as_str()), &json!("tasks"))
    );
    let sequence = listed["sequence"].to_string();
    let ended = fleet.axon(&["dead", "show", &sequence]).await;
    ends(&ended, 0, &[]);
    assert!(ended.stdout.contains("not like this"), "{}", ended.stdout);
    // Its task has its one result: it may run again, and what comes is refused.
    let ended = fleet.axon(&["dead", "retry", &sequence]).await;
    ends(&ended, 0, &["one result already"]);
    eventually_true("it ran again and nothing is left", SOON, || async {
        unfinished(&bus).await == 0
    })
    .await;
    let ended = fleet.axon(&["dead", "drop", "--all"]).await;
    ends(&ended, 0, &[]);
    assert_eq!(letters(&bus).await.len(), 0);
}

/// A tar.zst with one file under a name that leaves its folder.
fn hostile_archive() -> Vec<u8> {
    let mut header = tar::Header::new_old();
    let content = b"owned";
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let name = b"../../../../tmp/axon-escaped";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &content[..]).expect("appended");
    let plain = builder.into_inner().expect("finished");
    zstd::encode_all(&plain[..], 1).expect("compressed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_archive_is_refused_and_harms_nobody() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let store = bus.objects(ObjectBucket::Workspaces);
    for archive in [hostile_archive(), b"no archive at all".to_vec()] {
        let digest = store.put(archive.into()).await.expect("stored");
        let look = vec![task("t1", "code.list", json!({}))];
        for mut query in [Query::new("Review this repository for panics"), query_of(look, 20)] {
            query.workspace = Some(digest.clone());
            query.deadline_s = Some(20);
            let id = submit(&bus, &query).await;
            let answer = answer(&bus, &id, Duration::from_secs(40)).await;
            assert_ne!(answer.status, AnswerStatus::Complete, "{answer:?}");
            let said = format!("{:?} {:?}", answer.error, answer.missing);
            assert!(said.contains("archive") || said.contains("workspace"), "{said}");
        }
    }
    assert!(!Path::new("/tmp/axon-escaped").exists());
    let next = submit(&bus, &query_of(sleeps(2, 10), 20)).await;
    assert_eq!(answer(&bus, &next, SOON).await.status, AnswerStatus::Complete);
}
