//! The history of a query: all its messages listed, the query repeated from what was recorded of it and with another
//! strategy, and nothing left of it that could be deleted once it is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, EventKind, Headers, QueryId, QueuedTasks, StopReason, Stream, TaskRequest};
use axon_tests::client::{answer, count, letters, query_of, sleeps, starts, submit, submit_as, task};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually_true, json_request};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// What the history of the namespace `axon` may keep of a message beyond its payload, in bytes.
const OVERHEAD_BYTES_MAX: f64 = 300.0;

#[track_caller]
fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("one JSON document ({error}): {ended:?}"))
}

#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("one line of JSON"))
        .collect()
}

/// A directory with something to find.
fn workspace(fleet: &Fleet) -> String {
    let root = fleet.folder().join("project");
    std::fs::create_dir_all(root.join("src")).expect("a folder");
    let parser = "/// Reads the first byte.\npub fn parse_header(input: &[u8]) -> u8 {\n    input[0]\n}\n\n/// Reads a \
                  number.\npub fn number(text: &str) -> u32 {\n    text.parse().unwrap()\n}\n";
    std::fs::write(root.join("src/header.rs"), parser).expect("written");
    std::fs::write(
        root.join("src/main.rs"),
        "mod header;\n\nfn main() {\n    header::parse_header(&[]);\n}\n",
    )
    .expect("written");
    root.to_string_lossy().into_owned()
}

/// The id of the query that a difference is about.
fn new_id(difference: &Value) -> QueryId {
    QueryId::new(difference["new"]["id"].as_str().expect("an id")).expect("an id")
}

/// How often each strategy was applied.
async fn applications(fleet: &Fleet) -> BTreeMap<String, u64> {
    let listed = document(&fleet.axon(&["strategies", "--json"]).await);
    let rows = listed.as_array().expect("rows").iter();
    let each = rows.map(|row| {
        let applied = row["statistics"]["applications"].as_u64().expect("a number");
        (row["name"].as_str().expect("a name").to_owned(), applied)
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_messages_of_a_query_are_listed_in_order_of_time() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let flaky = json!({ "kind": "transient", "message": "not yet", "times": 1 });
    let hopeless = json!({ "kind": "permanent", "message": "never" });
    let mut tasks = vec![
        task("flaky", "diag.fail", flaky),
        task("hopeless", "diag.fail", hopeless),
    ];
    tasks.extend(sleeps(8, 1));
    let id = submit(&bus, &query_of(tasks, 60)).await;
    // Another one, which must not be mixed up with it.
    let other = submit_as(&bus, "other", &query_of(sleeps(1, 1), 60)).await;
    answer(&bus, &id, SOON).await;
    answer(&bus, &other, SOON).await;

    let all = lines(&fleet.axon(&["history", id.as_str(), "--json"]).await);
    let times: Vec<f64> = all
        .iter()
        .map(|line| line["after_ms"].as_f64().expect("a time"))
        .collect();
    assert!(times.is_sorted() && times[0] == 0.0, "{times:?}");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &all {
        *kinds.entry(line["kind"].as_str().expect("a kind")).or_default() += 1;
        let says = |field: &str| line[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            says("from") && says("to") && says("meaning") && line["bytes"].as_u64() > Some(0),
            "{line}"
        );
    }
    let counted = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
    assert_eq!(
        (counted("query"), counted("task"), counted("result"), counted("answer")),
        (1, 11, 10, 1),
        "every attempt of every task: {kinds:?}"
    );
    assert_eq!(counted("dead_letter"), 1, "the one that is kept: {kinds:?}");
    assert_eq!(
        all.last().expect("lines")["kind"],
        "event",
        "what was told last is that it is answered"
    );

    let attempts = |line: &Value| (line["kind"].as_str().map(str::to_owned), line["attempt"].as_u64());
    let of_task = [
        "history",
        id.as_str(),
        "--task",
        "flaky",
        "--kind",
        "task,result",
        "--json",
    ];
    let of_task: Vec<_> = lines(&fleet.axon(&of_task).await).iter().map(attempts).collect();
    let told = |kind: &str, attempt| (Some(kind.to_owned()), Some(attempt));
    assert_eq!(of_task, [told("task", 1), told("task", 2), told("result", 2)]);
    let mine = lines(
        &fleet
            .axon(&["history", "other", "--json", "--kind", "query,task"])
            .await,
    );
    assert_eq!(mine.len(), 2, "{mine:?}");
    let last = times[times.len() - 2] / 1000.0;
    let since = lines(
        &fleet
            .axon(&["history", id.as_str(), "--json", "--since", &last.to_string()])
            .await,
    );
    assert!(since.len() < 3, "{since:?}");

    let shown = fleet.axon(&["history", id.as_str(), "--full", "--limit", "2"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for said in [
        "after ",
        "a plan of its own",
        "\"task_id\": \"flaky\"",
        "messages more: raise --limit",
    ] {
        assert!(shown.stdout.contains(said), "`{said}`: {}", shown.stdout);
    }
    assert_eq!(fleet.axon(&["history", "nosuch"]).await.code, Some(8));
    assert_eq!(fleet.axon(&["history", "nosuch", "--replay"]).await.code, Some(8));

    let kept = bus.status(Stream::History).await.expect("there is a history");
    let everything = bus.namespace().stream_subjects(Stream::History).concat();
    let messages = bus
        .messages(Stream::History, &everything, 0, 1000)
        .await
        .expect("the history is read");
    // Tasks that were queued together are one message of the stream.
    let tasks = messages.iter().filter_map(|message| {
        let queued = axon_protocol::decode::<QueuedTasks>(&message.headers, &message.payload).ok()?;
        (!queued.tasks.is_empty()).then_some(queued.tasks)
    });
    let tasks: Vec<usize> = tasks.flatten().map(|task| task.payload.len()).collect();
    let query = bus.namespace().history_of_queries();
    let queries = messages.iter().filter(|message| message.subject == query);
    let queries: Vec<usize> = queries.map(|message| message.payload.len()).collect();
    assert_eq!(
        (tasks.len(), queries.len()),
        (12, 2),
        "each try of each task, and each query"
    );
    let payload: usize = tasks.iter().chain(&queries).sum();
    let kept_each = (tasks.len() + queries.len()) as f64;
    // The namespace stands in the subject of each message and of each task, and of a query also in the original's subject
    // and in the name of the original's stream.
    let namespaces = messages.len() + tasks.len() + 2 * queries.len();
    let longer = namespaces * (bus.namespace().as_str().len() - "axon".len());
    let overhead = (kept.bytes as f64 - (payload + longer) as f64) / kept_each;
    println!("the history keeps {overhead:.0} bytes a message beyond its payload");
    assert!(
        overhead <= OVERHEAD_BYTES_MAX,
        "{overhead} bytes a message beyond its payload"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_gives_an_equal_answer_without_any_work_and_teaches_nothing() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let workspace = workspace(&fleet);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let ask = [
        "ask",
        "Review src for panics and unhandled errors",
        "--workspace",
        &workspace,
        "--id",
        "first",
        "--json",
    ];
    let asked = fleet.axon(&ask).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(
        answer(&bus, &QueryId::new("first").expect("an id"), SOON)
            .await
            .findings()
            .count()
            > 0
    );
    let counted = || async { applications(&fleet).await.values().sum::<u64>() };
    eventually_true("the query is counted", SOON, || async { counted().await == 1 }).await;

    let replayed = fleet.axon(&["history", "first", "--replay", "--json"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let difference = document(&replayed);
    assert_eq!(difference["equal"], true, "{difference}");
    assert_eq!(
        difference["new"]["usage"]["tool_calls"], 0,
        "nothing is spent: {difference}"
    );
    let id = new_id(&difference);
    assert_eq!(count(&bus, &id, EventKind::ToolCall).await, 0, "no tool was called");
    assert!(count(&bus, &id, EventKind::Started).await > 0, "workers took the tasks");
    let new = answer(&bus, &id, SOON).await;
    assert!(
        new.notes.iter().any(|note| note.contains("repeats query first")),
        "{:?}",
        new.notes
    );
    let again = fleet.axon(&["history", id.as_str(), "--replay"]).await;
    assert!(
        again.code == Some(0) && again.stdout.starts_with("no difference: "),
        "a replay can be replayed: {again:?}"
    );
    assert_eq!(again.stdout.lines().count(), 1, "{again:?}");

    // What is learnt afterwards is learnt from the next real query alone.
    let mut another = ask;
    another[5] = "second";
    assert_eq!(fleet.axon(&another).await.code, Some(0));
    eventually_true("the second query is counted", SOON, || async { counted().await >= 2 }).await;
    assert_eq!(counted().await, 2);
    let episodes = lines(&fleet.axon(&["memory", "episodes", "--json"]).await);
    let remembered: BTreeSet<&str> = episodes.iter().filter_map(|one| one["query_id"].as_str()).collect();
    assert_eq!(remembered, BTreeSet::from(["first", "second"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_recorded_is_worked_on_anew_and_failures_fail_again() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let tasks = vec![
        task("kept", "diag.echo", json!({ "said": "x" })),
        task("lost", "diag.echo", json!({ "said": "y" })),
        task(
            "failed",
            "diag.fail",
            json!({ "kind": "permanent", "message": "never" }),
        ),
    ];
    let id = submit_as(&bus, "first", &query_of(tasks, 60)).await;
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Partial);
    let buried = letters(&bus).await.len();
    let result = bus.namespace().results_of(&id).replace('>', "lost");
    let lost = bus
        .last(Stream::Results, &result)
        .await
        .expect("read")
        .expect("a result");
    assert!(bus.remove(Stream::Results, lost.sequence).await.expect("removed"));

    let replayed = fleet.axon(&["history", "first", "--replay", "--json"]).await;
    assert_eq!(replayed.code, Some(3), "as partial as it was: {replayed:?}");
    assert!(
        replayed.stderr.contains("1 of 3 tasks have lost their recorded result"),
        "{replayed:?}"
    );
    let difference = document(&replayed);
    assert_eq!(difference["equal"], true, "{difference}");
    assert_eq!(
        difference["new"]["usage"]["tool_calls"], 1,
        "the lost one alone: {difference}"
    );
    let new = answer(&bus, &new_id(&difference), SOON).await;
    let anew: Vec<&String> = new
        .notes
        .iter()
        .filter(|note| note.contains("was worked on anew"))
        .collect();
    assert!(anew.len() == 1 && anew[0].contains("Task lost"), "{:?}", new.notes);
    assert!(
        new.missing.iter().any(|part| part.reason.contains("never")),
        "{:?}",
        new.missing
    );
    assert_eq!(letters(&bus).await.len(), buried, "what failed then is not tried again");
    let own = fleet
        .axon(&["history", "first", "--replay", "--strategy", "research"])
        .await;
    assert!(
        own.code == Some(2) && own.stderr.contains("brought its own plan"),
        "{own:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_done_is_not_done_by_a_replay() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(2), fleet.synthesizer());
    let mut tasks = vec![
        task("quick", "diag.echo", json!({ "said": "x" })),
        task("too", "diag.echo", json!({ "said": "y" })),
    ];
    tasks.extend((1..=6).map(|index| task(&format!("slow{index}"), "diag.sleep", json!({ "ms": 60_000 }))));
    // A command could do anything, and does it each time.
    tasks.push(TaskRequest {
        dependencies: vec!["slow6".to_owned()],
        ..task("last", "command.release", Value::Null)
    });
    let id = submit_as(&bus, "first", &query_of(tasks, 300)).await;
    let results = || async {
        let subjects = bus.subjects(Stream::Results, &bus.namespace().results_of(&id)).await;
        subjects.expect("listed").len()
    };
    eventually_true("two tasks are done", SOON, || async { results().await == 2 }).await;
    assert_eq!(fleet.axon(&["cancel", "first"]).await.code, Some(0));
    let recorded = answer(&bus, &id, SOON).await;
    assert_eq!(
        (recorded.status, recorded.stop_reason),
        (AnswerStatus::Partial, StopReason::Cancelled)
    );
    let undone = 9 - results().await;
    assert!(undone >= 5, "what had not begun has no result");

    let replayed = fleet.axon(&["history", "first", "--replay", "--json"]).await;
    assert_eq!(replayed.code, Some(3), "as partial as it was: {replayed:?}");
    assert!(!replayed.stderr.contains("worked on for real"), "{replayed:?}");
    let difference = document(&replayed);
    assert_eq!(difference["equal"], true, "{difference}");
    let id = new_id(&difference);
    let new = answer(&bus, &id, SOON).await;
    assert_eq!(
        (new.usage.tool_calls, new.stop_reason),
        (0, StopReason::Cancelled),
        "{new:?}"
    );
    assert_eq!(new.missing, recorded.missing, "each for the reason it had");
    assert_eq!(starts(&bus, &id).await.len(), 9 - undone, "nobody was given the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_asked_again_with_another_strategy() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let workspace = workspace(&fleet);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let words = "Review src for panics and unhandled errors";
    let asked = fleet
        .axon(&["ask", words, "--workspace", &workspace, "--id", "first", "--json"])
        .await;
    assert_eq!(document(&asked)["strategy"], "code_review", "{asked:?}");

    let replay = ["history", "first", "--replay", "--strategy", "research", "--json"];
    let difference = document(&fleet.axon(&replay).await);
    assert_eq!(
        (&difference["equal"], &difference["new"]["strategy"]),
        (&json!(false), &json!("research")),
        "{difference}"
    );
    let gone = difference["findings"]["gone"].as_array().expect("a list");
    assert!(!gone.is_empty(), "{difference}");
    let id = new_id(&difference);
    assert!(
        count(&bus, &id, EventKind::ToolCall).await > 0,
        "it is worked on for real"
    );
    let explained = fleet.axon(&["explain", id.as_str()]).await;
    assert!(
        explained
            .stdout
            .contains("the query asks for it, where code_review scores highest"),
        "{explained:?}"
    );

    let planned = fleet
        .axon(&[
            "plan",
            words,
            "--workspace",
            &workspace,
            "--strategy",
            "testing",
            "--json",
        ])
        .await;
    assert_eq!(document(&planned)["strategy"]["name"], "testing", "{planned:?}");
    let unknown = ["--workspace", &workspace, "--strategy", "magic"];
    for (command, code) in [("plan", 2), ("ask", 4)] {
        let refused = fleet.axon(&[&[command, words][..], &unknown].concat()).await;
        assert_eq!(refused.code, Some(code), "{refused:?}");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            said.contains("no strategy `magic`") && said.contains("code_review"),
            "{said}"
        );
    }
    let refused = fleet
        .axon(&["history", "first", "--replay", "--strategy", "magic"])
        .await;
    assert!(
        refused.code == Some(4) && refused.stderr.contains("no strategy `magic`"),
        "{refused:?}"
    );
}

/// Every stream and bucket of the namespace that holds a text somewhere.
async fn holders(bus: &Bus, text: &str) -> BTreeSet<String> {
    let namespace = bus.namespace().to_string();
    let of_namespace = |name: &&str| name.to_lowercase().contains(&namespace);
    // The server lists a limited number at a time, and other tests have theirs beside.
    let mut names: Vec<Value> = Vec::new();
    loop {
        let page = json_request(bus, "STREAM.NAMES", json!({ "offset": names.len() }))
            .await
            .expect("the server lists its streams");
        names.extend(page["streams"].as_array().cloned().unwrap_or_default());
        if names.len() as u64 >= page["total"].as_u64().expect("a number") {
            break;
        }
    }
    let mut holders = BTreeSet::new();
    for name in names.iter().filter_map(Value::as_str).filter(of_namespace) {
        let info = json_request(bus, &format!("STREAM.INFO.{name}"), Value::Null)
            .await
            .expect("it is there");
        if info["config"]["allow_direct"] != true {
            // What is worked on and acknowledged is gone.
            assert_eq!(info["state"]["messages"], 0, "{name}");
            continue;
        }
        let mut next = 1;
        loop {
            let request = Message {
                subject: format!("$JS.API.DIRECT.GET.{name}"),
                headers: Headers::new(),
                payload: json!({ "seq": next, "next_by_subj": ">" }).to_string().into(),
            };
            let stored = bus.request(&request, SOON).await.expect("the server answers");
            let Some(sequence) = stored.header("Nats-Sequence") else {
                break;
            };
            next = sequence.parse::<u64>().expect("a number") + 1;
            let payload = stored.payload();
            if payload.windows(text.len()).any(|window| window == text.as_bytes()) {
                holders.insert(name.strip_prefix(&namespace.to_uppercase()).unwrap_or(name).to_owned());
            }
        }
    }
    holders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_may_be_deleted_holds_the_words_of_a_forgotten_query() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let workspace = workspace(&fleet);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let marker = "Zyzzyva";
    let words = format!("Why does `parse_header` panic in {marker} when the input is empty?");
    let asked = fleet
        .axon(&["ask", &words, "--workspace", &workspace, "--id", "asked"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let replayed = fleet.axon(&["history", "asked", "--replay"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    // One that leaves dead letters, and one that is too large for its messages, without an id of its publisher's.
    let mut failing = query_of(
        vec![task("t1", "diag.fail", json!({ "kind": "permanent", "message": "no" }))],
        60,
    );
    failing.query = format!("{marker} fails");
    submit_as(&bus, "failing", &failing).await;
    let large = json!({ "text": format!("{marker}{}", "x".repeat(300_000)) });
    let large = submit(&bus, &query_of(vec![task("t1", "diag.echo", large)], 60)).await;
    for id in ["asked", "failing", large.as_str()] {
        answer(&bus, &QueryId::new(id).expect("an id"), SOON).await;
    }
    eventually_true("the episode is written", SOON, || async {
        holders(&bus, marker).await.contains("_EPISODES")
    })
    .await;
    let before = holders(&bus, marker).await;
    for expected in ["_HISTORY", "_EVENTS", "_DEAD", "_EPISODES", "_ANSWERS"] {
        assert!(before.contains(expected), "{expected}: {before:?}");
    }
    assert!(
        before
            .iter()
            .any(|name| name.starts_with("KV_") && name.ends_with("_plans")),
        "{before:?}"
    );
    assert!(before.iter().any(|name| name.starts_with("OBJ_")), "{before:?}");

    for (id, replays) in [
        ("asked", "1 replay."),
        ("failing", "0 replays."),
        (large.as_str(), "0 replays."),
    ] {
        let forgotten = fleet.axon(&["memory", "forget", id]).await;
        assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
        assert!(forgotten.stdout.contains(replays), "{forgotten:?}");
        assert!(
            forgotten.stdout.contains("Its results and its answer hold its words"),
            "{forgotten:?}"
        );
    }
    let after = holders(&bus, marker).await;
    let fence = BTreeSet::from(["_ANSWERS".to_owned(), "_RESULTS".to_owned()]);
    assert!(after.is_subset(&fence), "{after:?}");
}
