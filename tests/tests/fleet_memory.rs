//! What the fleet remembers: a query that was answered is recalled for the next one like it, by every lead, also by one that
//! was started later; it is forgotten on request, and carried over by a file.

use std::time::{Duration, Instant};

use axon_bus::Bus;
use axon_protocol::{
    AnswerStatus, DeadLetter, Digest, ObjectBucket, Query, QueryId, Reason, Replay, Stream, Usage, Verdict,
};
use axon_tests::client::{answer, query_of, submit_as, task, unfinished};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually_true};
use chrono::Utc;
use futures::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const QUESTION: &str = "Why does `parse_header` panic when the input is empty?";
const LIKE_IT: &str = "parse_header panics with an empty input, why?";

#[track_caller]
fn document(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("one JSON document ({error}): {ended:?}"))
}

/// A directory with the defect that is asked about.
fn workspace(fleet: &Fleet) -> String {
    let root = fleet.folder().join("project");
    std::fs::create_dir_all(root.join("src")).expect("a folder");
    let parser = "/// Reads the first byte.\npub fn parse_header(input: &[u8]) -> u8 {\n    input[0]\n}\n";
    std::fs::write(root.join("src/header.rs"), parser).expect("written");
    std::fs::write(
        root.join("src/main.rs"),
        "mod header;\n\nfn main() {\n    header::parse_header(&[]);\n}\n",
    )
    .expect("written");
    root.to_string_lossy().into_owned()
}

/// The queries that a plan of a similar question recalls, from whichever lead answers.
async fn recalled(fleet: &Fleet, workspace: &str) -> Vec<String> {
    let plan = document(&fleet.axon(&["plan", LIKE_IT, "--workspace", workspace, "--json"]).await);
    let recalled = plan["recalled"].as_array().cloned().unwrap_or_default();
    recalled
        .iter()
        .filter_map(|one| one["query_id"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_query_is_recalled_by_every_lead_until_it_is_forgotten() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let workspace = workspace(&fleet);
    let (first, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    assert_eq!(recalled(&fleet, &workspace).await, [""; 0]);
    let asked = document(
        &fleet
            .axon(&["ask", QUESTION, "--workspace", &workspace, "--id", "first", "--json"])
            .await,
    );
    assert_eq!(asked["status"], "complete", "{asked}");
    eventually_true("the lead that answered recalls it", SOON, || async {
        recalled(&fleet, &workspace).await == ["first"]
    })
    .await;

    // What memory contributed is in the plan of the next query, in words and in what its workers are told.
    let next = document(
        &fleet
            .axon(&["ask", LIKE_IT, "--workspace", &workspace, "--id", "second", "--json"])
            .await,
    );
    assert_eq!(next["status"], "complete", "{next}");
    let explained = fleet.axon(&["explain", "second"]).await;
    assert!(
        explained.stdout.contains("alike: “Why does `parse_header` panic"),
        "{}",
        explained.stdout
    );
    assert!(
        explained.stdout.contains("similar queries succeeded with it"),
        "{}",
        explained.stdout
    );
    let explained = document(&fleet.axon(&["explain", "second", "--json"]).await);
    let context = &explained["plan"]["task_delegations"][0]["context"];
    assert_eq!(context["remembered"][0]["query"], QUESTION, "{context}");
    assert!(
        context["near"]
            .as_array()
            .is_some_and(|near| near.contains(&"src/header.rs".into())),
        "{context}"
    );

    // A lead that starts afterwards knows what the others knew.
    first.terminate();
    assert!(first.end(SOON).await.success());
    let second = fleet.lead().await;
    eventually_true("a lead started later recalls both", SOON, || async {
        recalled(&fleet, &workspace).await.len() == 2
    })
    .await;
    let shown = fleet.axon(&["memory", "recall", LIKE_IT]).await;
    assert!(
        shown.stdout.contains("query first") && shown.stdout.contains("src/header.rs"),
        "{shown:?}"
    );

    let file = fleet.folder().join("memory.jsonl").to_string_lossy().into_owned();
    assert_eq!(fleet.axon(&["memory", "export", &file]).await.code, Some(0));
    let forgotten = document(&fleet.axon(&["memory", "forget", "first", "--json"]).await);
    assert_eq!(
        (&forgotten["episodes"], &forgotten["plan"]),
        (&1.into(), &true.into()),
        "{forgotten}"
    );
    assert!(
        forgotten["facts"].as_u64() > Some(0),
        "what its workers told each other: {forgotten}"
    );
    eventually_true("the running lead recalls it no more", SOON, || async {
        recalled(&fleet, &workspace).await == ["second"]
    })
    .await;
    let listed = fleet.axon(&["memory", "episodes", "--json"]).await;
    assert!(
        !listed.stdout.contains("\"first\"") && listed.stdout.contains("\"second\""),
        "{listed:?}"
    );
    drop(second);

    // Into a fleet of its own, where nothing was known.
    let (other_bed, _other_bus) = Bed::new().await;
    let other = Fleet::new(&other_bed);
    let lead = other.lead().await;
    let imported = document(&other.axon(&["memory", "import", &file, "--json"]).await);
    assert_eq!(imported["known"], 0, "{imported}");
    eventually_true("the other fleet recalls both", SOON, || async {
        recalled(&other, &workspace).await.len() == 2
    })
    .await;
    let again = document(&other.axon(&["memory", "import", &file, "--json"]).await);
    assert_eq!(again["imported"], 0, "what is known stays: {again}");
    drop(lead);
}

/// How many of the similar queries succeeded, as the reasons of a plan tell.
async fn succeeded(fleet: &Fleet, workspace: &str) -> Option<(u64, u64)> {
    let plan = document(&fleet.axon(&["plan", LIKE_IT, "--workspace", workspace, "--json"]).await);
    let reasons = plan["strategy"]["reasons"].as_array()?.iter().filter_map(Value::as_str);
    let mut told = reasons.filter_map(|reason| {
        let (counts, _) = reason.split_once(" similar queries succeeded")?;
        let (succeeded, all) = counts.split_once(" of ")?;
        Some((succeeded.parse().ok()?, all.parse().ok()?))
    });
    told.next_back()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_thinks_of_an_answer_is_recalled_with_it() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let workspace = workspace(&fleet);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let asked = fleet
        .axon(&["ask", QUESTION, "--workspace", &workspace, "--id", "first"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    for (mark, expected) in [(None, 1), (Some("bad"), 0), (Some("good"), 1)] {
        if let Some(mark) = mark {
            let marked = document(&fleet.axon(&["feedback", "first", mark, "--json"]).await);
            assert_eq!(marked["changed"], true, "{marked}");
        }
        eventually_true("the plan of a similar query says so", SOON, || async {
            succeeded(&fleet, &workspace).await == Some((expected, 1))
        })
        .await;
    }
}

/// A query that is too large for its message.
fn large() -> Query {
    let echo = |id: &str| task(id, "diag.echo", json!({ "text": id.repeat(75_000) }));
    query_of(vec![echo("t1"), echo("t2")], 60)
}

async fn settled(bus: &Bus) {
    eventually_true("nothing is queued or worked on", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_not_forgotten_before_it_is_remembered_nor_what_another_one_needs() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let (lead, _worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let first = submit_as(&bus, "first", &large()).await;
    assert_eq!(answer(&bus, &first, SOON).await.status, AnswerStatus::Complete);
    settled(&bus).await;
    lead.terminate();
    assert!(lead.end(SOON).await.success());

    // The same text once more, and a repetition: both wait for a lead.
    let second = submit_as(&bus, "second", &large()).await;
    let again = Query {
        replay: Some(Replay { of: first.clone() }),
        ..Query::new("once more")
    };
    let again = submit_as(&bus, "again", &again).await;
    for (id, said) in [
        ("second", "second is still queued or worked on"),
        ("first", "query again repeats it and is still worked on"),
    ] {
        let refused = fleet.axon(&["memory", "forget", id]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let cancelled = fleet.axon(&["cancel", "again"]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let lead = fleet.lead().await;
    for id in [&second, &again] {
        answer(&bus, id, SOON).await;
    }
    settled(&bus).await;
    assert_eq!(answer(&bus, &second, SOON).await.status, AnswerStatus::Complete);

    // What is forgotten takes along its own large parts alone.
    lead.terminate();
    assert!(lead.end(SOON).await.success());
    let third = submit_as(&bus, "third", &large()).await;
    for id in ["first", "second"] {
        let forgotten = fleet.axon(&["memory", "forget", id]).await;
        assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    }
    let message = axon_bus::Message::new(bus.namespace().queries(), axon_protocol::Format::Json, &large());
    let digest = Digest::of(&message.expect("encodes").payload);
    let artifacts = bus.objects(ObjectBucket::Artifacts);
    assert!(
        artifacts.contains(&digest).await.expect("reads"),
        "it is the third one's"
    );
    let _lead = fleet.lead().await;
    assert_eq!(answer(&bus, &third, SOON).await.status, AnswerStatus::Complete);
    settled(&bus).await;
    let forgotten = fleet.axon(&["memory", "forget", "third"]).await;
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    assert!(
        !artifacts.contains(&digest).await.expect("reads"),
        "it was the last one's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_forgotten_however_many_there_are_before_them() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let letter = |id: String| DeadLetter {
        stream: Stream::Tasks,
        subject: "somewhere".to_owned(),
        reason: Reason::Failed,
        verdict: Verdict::Park,
        attempt: 1,
        message: "it failed".to_owned(),
        headers: std::collections::BTreeMap::new(),
        payload: bytes::Bytes::new(),
        query_id: QueryId::new(id).ok(),
        task_id: None,
        deadline: None,
        usage: Usage::default(),
        by: "worker".to_owned(),
        at: Utc::now(),
    };
    let others: Vec<DeadLetter> = (0..1_100).map(|number| letter(format!("other{number}"))).collect();
    let until = Instant::now() + SOON;
    let ids = others.iter().map(|letter| format!("{:?}", letter.query_id));
    let ids: Vec<String> = ids.collect();
    let written = others
        .iter()
        .zip(&ids)
        .map(|(letter, id)| bus.write_letter(letter, id, until));
    assert!(join_all(written).await.into_iter().all(|written| written.is_ok()));
    bus.write_letter(&letter("mine".to_owned()), "mine", until)
        .await
        .expect("written");
    let forgotten = document(&fleet.axon(&["memory", "forget", "mine", "--json"]).await);
    assert_eq!(forgotten["dead_letters"], 1, "{forgotten}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_remembered_is_said() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let _lead = fleet.lead().await;
    let nonsense = fleet.folder().join("nonsense");
    std::fs::write(&nonsense, "{\"kind\": \"dream\"}\n").expect("written");
    let nonsense = nonsense.to_string_lossy().into_owned();
    for (arguments, code, said) in [
        (vec!["memory", "recall", " "], 2, "the query is empty"),
        (vec!["memory", "forget", "nobody"], 8, "nobody"),
        (vec!["memory", "import", &nonsense], 2, "line 1 is none of an export"),
        (vec!["memory", "import", "/nowhere/at/all"], 2, "cannot import"),
    ] {
        let ended = fleet.axon(&arguments).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    let none = fleet.axon(&["memory", "recall", "anything at all"]).await;
    assert!(none.stdout.contains("nothing like it was asked before"), "{none:?}");
}
