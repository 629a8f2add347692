//! Operating a fleet with the `axon` command: what happened to a query and why, what one thinks of its answer, who is
//! there, and the tools of workers without any server.

use std::time::Duration;

use axon_protocol::{AnswerStatus, EventKind};
use axon_tests::client::{answer, count, query_of, sleeps, submit, task};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually, eventually_true, free_port, shared};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn document(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("one JSON document ({error}): {ended:?}"))
}

/// What the timeline says of one task, in order: what and which attempt.
fn story(explained: &Value, task: &str) -> Vec<(String, u64)> {
    let moments = explained["timeline"].as_array().expect("a timeline");
    moments
        .iter()
        .filter(|moment| moment["task"] == task)
        .map(|moment| {
            let what = moment["what"].as_str().expect("a word").to_owned();
            (what, moment["attempt"].as_u64().unwrap_or_default())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_explained_while_it_runs_and_afterwards() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let flaky = json!({ "kind": "transient", "message": "not yet", "times": 1 });
    let hopeless = json!({ "kind": "permanent", "message": "never" });
    let mut after = task("after", "diag.echo", json!({ "said": "x" }));
    after.dependencies = vec!["long".to_owned()];
    let tasks = vec![
        task("flaky", "diag.fail", flaky),
        task("hopeless", "diag.fail", hopeless),
        task("long", "diag.sleep", json!({ "ms": 4000 })),
        after,
    ];
    let id = submit(&bus, &query_of(tasks, 60)).await;
    eventually_true("it runs", SOON, || async {
        count(&bus, &id, EventKind::Started).await >= 3
    })
    .await;
    let running = document(&fleet.axon(&["explain", id.as_str(), "--json"]).await);
    assert_eq!(running["status"], "running");
    let missing = running["missing"].as_array().expect("a list");
    let reason = |task: &str| {
        let of_task = missing.iter().find(|part| part["task"] == task);
        of_task
            .and_then(|part| part["reason"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    assert!(reason("long").contains("has worked on it since"), "{running}");
    assert_eq!(reason("after"), "it waits for long");
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Partial, "{answer:?}");
    let explained = document(&fleet.axon(&["explain", id.as_str(), "--json"]).await);
    let told = |what: &str, attempt: u64| (what.to_owned(), attempt);
    let flaky = story(&explained, "flaky");
    assert_eq!(flaky[..2], [told("queued", 1), told("started", 1)], "{explained}");
    assert!(flaky.contains(&told("retrying", 2)), "{flaky:?}");
    // The lead says that it tries again once the task is queued, when a worker may have it already.
    let done: Vec<_> = flaky.iter().filter(|(what, _)| what != "retrying").cloned().collect();
    assert_eq!(
        done[done.len() - 3..],
        [told("queued", 2), told("started", 2), told("ended", 2)],
        "{explained}"
    );
    let whole: Vec<&str> = explained["timeline"]
        .as_array()
        .expect("a timeline")
        .iter()
        .filter(|moment| moment["task"].is_null())
        .filter_map(|moment| moment["what"].as_str())
        .collect();
    assert_eq!(whole.last(), Some(&"answered"), "{whole:?}");
    assert!(
        whole.contains(&"planned") && whole.contains(&"synthesizing"),
        "{whole:?}"
    );
    assert_eq!(explained["missing"][0]["task"], "hopeless", "{}", explained["missing"]);
    assert!(
        explained["missing"][0]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("never"))
    );
    let text = fleet.axon(&["explain", id.as_str()]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    for said in [
        "strategy    own_plan",
        "long started by",
        "missing\n    hopeless",
        "flaky queued, attempt 2",
    ] {
        assert!(text.stdout.contains(said), "`{said}`: {}", text.stdout);
    }
    assert_eq!(fleet.axon(&["explain", "nosuch"]).await.code, Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_changes_the_success_rate_once_and_can_be_taken_back() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let workspace = fleet.folder().join("workspace");
    std::fs::create_dir_all(&workspace).expect("a folder");
    let source = "/// Reads a number.\npub fn parse(text: &str) -> u32 {\n    text.parse().unwrap()\n}\n";
    std::fs::write(workspace.join("lib.rs"), source).expect("written");
    let directory = workspace.display().to_string();
    let ask = [
        "ask",
        "Review lib.rs for panics",
        "--workspace",
        &directory,
        "--id",
        "mine",
        "--json",
    ];
    let asked = fleet.axon(&ask).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let strategy = document(&asked)["strategy"].as_str().expect("a strategy").to_owned();
    let listed = document(&fleet.axon(&["strategies", "--json"]).await);
    let names: Vec<&str> = listed
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names.len(), 8, "all that are built in, applied or not: {names:?}");
    let rate = || async {
        let all = document(&fleet.axon(&["strategies", "--json"]).await);
        let of_strategy = all
            .as_array()?
            .iter()
            .find(|one| one["name"] == strategy.as_str())?
            .clone();
        of_strategy["success_rate"].as_f64()
    };
    eventually_true("its application is counted", SOON, || async {
        rate().await == Some(1.0)
    })
    .await;
    for (mark, changed, expected) in [
        ("good", false, 1.0),
        ("bad", true, 0.0),
        ("bad", false, 0.0),
        ("good", true, 1.0),
        ("good", false, 1.0),
    ] {
        let told = document(&fleet.axon(&["feedback", "mine", mark, "--json"]).await);
        assert_eq!(
            (&told["changed"], &told["success_rate"], &told["strategy"]),
            (&json!(changed), &json!(expected), &json!(strategy)),
            "{mark}: {told}"
        );
        assert_eq!(rate().await, Some(expected), "{mark}");
    }
    // Two at once are two marks: neither is lost.
    let again: Vec<&str> = ask
        .iter()
        .map(|word| if *word == "mine" { "other" } else { *word })
        .collect();
    assert_eq!(fleet.axon(&again).await.code, Some(0));
    eventually_true("it is remembered", SOON, || async {
        fleet.axon(&["feedback", "other", "good"]).await.code == Some(0)
    })
    .await;
    let both = tokio::join!(
        fleet.axon(&["feedback", "mine", "bad"]),
        fleet.axon(&["feedback", "other", "bad"])
    );
    assert_eq!((both.0.code, both.1.code), (Some(0), Some(0)), "{both:?}");
    eventually_true("both count", SOON, || async { rate().await == Some(0.0) }).await;
    assert_eq!(fleet.axon(&["feedback", "nosuch", "bad"]).await.code, Some(8));
    assert_eq!(fleet.axon(&["feedback", "mine", "meh"]).await.code, Some(2));
    drop(bus);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_counted_by_state_and_capability() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed).set("AXON_REGISTRY__HEARTBEAT_TIMEOUT_SECS", 4);
    let (frozen, busy) = tokio::join!(
        fleet.ready("axon-worker", &[("AXON_WORKER__AGENT_TYPE", "tester")]),
        fleet.ready("axon-worker", &[("AXON_WORKER__AGENT_TYPE", "reviewer")]),
    );
    let _lead = fleet.lead().await;
    frozen.freeze();
    let id = submit(&bus, &query_of(sleeps(1, 30_000), 60)).await;
    let statistics = eventually("one works and one is silent", SOON, || async {
        let told = document(&fleet.axon(&["workers", "--json"]).await);
        let statistics = told["statistics"].clone();
        (statistics["busy"] == 1 && statistics["unhealthy"] == 1).then_some(statistics)
    })
    .await;
    assert_eq!(
        (&statistics["total"], &statistics["idle"], &statistics["draining"]),
        (&json!(2), &json!(0), &json!(0))
    );
    let able = &statistics["by_capability"];
    assert_eq!(
        able["Testing"],
        json!({ "total": 1, "idle": 0, "unhealthy": 1 }),
        "{able}"
    );
    assert_eq!(
        able["Diagnostics"],
        json!({ "total": 2, "idle": 0, "unhealthy": 1 }),
        "{able}"
    );
    let frame = fleet.axon(&["top", "--once"]).await;
    assert_eq!(frame.code, Some(0), "{frame:?}");
    for said in [
        "2 workers: 0 idle, 1 busy, 0 draining, 1 unhealthy",
        "1 query in flight",
        id.as_str(),
    ] {
        assert!(frame.stdout.contains(said), "`{said}`: {}", frame.stdout);
    }
    assert_eq!(fleet.axon(&["cancel", id.as_str()]).await.code, Some(0));
    drop(busy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_are_listed_shown_and_called_without_a_server() {
    let bed = Bed::undeclared(shared());
    let nowhere = format!("nats://127.0.0.1:{}", free_port());
    let fleet = Fleet::new(&bed).set("AXON_BUS__URL", &nowhere);
    let workspace = fleet.folder().join("workspace");
    std::fs::create_dir_all(workspace.join("src")).expect("a folder");
    std::fs::write(workspace.join("src/lib.rs"), "pub fn answer() -> u32 {\n    42\n}\n").expect("written");
    std::fs::write(workspace.join("notes.md"), "answer\n").expect("written");
    let directory = workspace.display().to_string();
    let listed = document(&fleet.axon(&["tools", "ls", "--json"]).await);
    let names: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(
        names.contains(&"code.search") && names.contains(&"diag.sleep"),
        "{names:?}"
    );
    assert!(
        listed
            .as_array()
            .expect("a list")
            .iter()
            .all(|one| one["read_only"] == true && one["cost"].is_string())
    );
    let text = fleet.axon(&["tools", "ls"]).await;
    assert!(text.code == Some(0) && text.stdout.contains("read-only"), "{text:?}");
    let shown = document(&fleet.axon(&["tools", "show", "code.search", "--json"]).await);
    let first = shown["schema"]["properties"]
        .as_object()
        .and_then(|all| all.keys().next().cloned());
    assert!(first.is_some(), "{shown}");
    let pattern = json!({ "pattern": "answer" }).to_string();
    let run = |more: &[&'static str]| {
        let arguments = [
            &["tools", "run", "code.search", &pattern, "--workspace", &directory][..],
            more,
        ]
        .concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let fleet = &fleet;
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            fleet.axon(&arguments).await
        }
    };
    let found = document(&run(&["--json"]).await);
    let output = found["output"].to_string();
    assert!(output.contains("src/lib.rs") && output.contains("notes.md"), "{found}");
    let within = document(&run(&["--scope", "src"]).await).to_string();
    assert!(
        within.contains("src/lib.rs") && !within.contains("notes.md"),
        "{within}"
    );
    for (arguments, code, said) in [
        (&["tools", "show", "code.serch"][..], 8, "code.search"),
        (
            &["tools", "run", "diag.sleep", "{\"s\": 1}", "--no-workspace"],
            2,
            "axon tools show diag.sleep",
        ),
        (&["tools", "run", "diag.sleep", "{", "--no-workspace"], 2, "no JSON"),
        (
            &["tools", "run", "code.list", "{}", "--no-workspace"],
            1,
            "needs a workspace",
        ),
        (
            &["tools", "run", "code.list", "--workspace", "/nonexistent/dir"],
            2,
            "/nonexistent/dir",
        ),
    ] {
        let ended = fleet.axon(arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {ended:?}");
    }
    // A bad address is named, and what a good one looks like.
    let ended = fleet.axon(&["workers", "--nats", "nats://127.0.0.1:99999"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("99999") && ended.stderr.contains("nats://HOST:PORT"),
        "{ended:?}"
    );
}
