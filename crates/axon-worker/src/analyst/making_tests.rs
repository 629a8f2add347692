//! The playbooks for tests, restructuring, comparisons and new code on a small workspace: what they must find.

use axon_protocol::{Finding, Task, TaskStatus};
use serde_json::json;

use super::Investigation;
use super::tests::{Bench, claims, plain, task};

const SHARED: &str = "    let connection = pool.take(timeout)?;\n    let rows = connection.query(statement, &values)?;\n    let mut found = Vec::with_capacity(rows.len());\n    for row in rows {\n        found.push(Record::read(&row)?);\n    }\n    Ok(found)\n";

const LONG: &str = "    // Read what is stored.\n    let stored = read(key);\n    if stored.is_none() {\n        if strict {\n            return None;\n        }\n    }\n\n    // Decide what is kept.\n    let mut kept = Vec::new();\n    for entry in stored {\n        if entry.live {\n            if entry.size > 10 && entry.age < 5 || entry.pinned {\n                for part in entry.parts {\n                    if part.valid && !part.old {\n                        match part.kind {\n                            Kind::A => kept.push(1),\n                            Kind::B => kept.push(2),\n                            Kind::C => kept.push(3),\n                            _ => {}\n                        }\n                    }\n                }\n            }\n        }\n    }\n\n    // Report it.\n    if kept.is_empty() {\n        if strict && verbose {\n            log(\"nothing is kept\");\n        }\n        return None;\n    }\n    Some(kept)\n";

fn bench() -> Bench {
    let store = format!(
        "//! Keeps records.\n\n/// Why a record cannot be kept.\n#[derive(Debug, thiserror::Error)]\npub enum StoreError {{\n    TooLarge,\n    Missing,\n}}\n\n/// Reads the records of a day.\npub fn records_of_day(pool: &Pool) -> Result<Vec<Record>, StoreError> {{\n{SHARED}}}\n\n/// Reads the records of a week.\npub fn records_of_week(pool: &Pool) -> Result<Vec<Record>, StoreError> {{\n{SHARED}}}\n\n/// Keeps a record.\npub fn keep(record: &Record) -> Result<(), StoreError> {{\n    if record.size > RECORD_BYTES_MAX {{\n        return Err(StoreError::TooLarge);\n    }}\n    if record.key.is_empty() {{\n        return Err(StoreError::Missing);\n    }}\n    Ok(())\n}}\n"
    );
    let compact = format!(
        "/// Compacts what is stored.\npub fn compact(key: &Key, strict: bool, verbose: bool) -> Option<Vec<u8>> {{\n{LONG}}}\n\npub fn nightly() {{\n    compact(&Key::all(), true, false);\n}}\n"
    );
    Bench::of(&[
        ("src/store.rs", &store),
        ("src/compact.rs", &compact),
        (
            "src/job.rs",
            "pub fn daily() {\n    crate::compact::compact(&key(), false, false);\n}\n",
        ),
        (
            "tests/store.rs",
            "use store::{StoreError, keep};\n\nfn record(size: u64) -> Record {\n    Record { size }\n}\n\n#[test]\nfn a_large_record_is_refused() {\n    assert_eq!(keep(&record(1 << 40)), Err(StoreError::TooLarge));\n}\n\n#[test]\nfn it_waits() {\n    start();\n    std::thread::sleep(Duration::from_secs(2));\n    assert!(done());\n}\n\n#[test]\n#[ignore]\nfn it_is_switched_off() {\n    assert!(keep(&record(1)).is_ok());\n}\n",
        ),
        (
            "docs/lru.md",
            "# LRU cache\n\n## Eviction\n\nThe LRU cache evicts the entry that was used least recently.\n\n## Limits\n\nIt holds at most 4096 entries.\n",
        ),
        (
            "docs/clock.md",
            "# Clock cache\n\n## Eviction\n\nThe clock cache evicts the first entry whose bit is not set.\n\n## Limits\n\nIt holds at most 16384 entries.\n\n## Crashes\n\nWhat it held is lost when the process crashes.\n",
        ),
        (
            "docs/format.md",
            "# Format\n\nA StoreError is written as `store_error`.\n",
        ),
        ("rustfmt.toml", "max_width = 100\n"),
    ])
}

async fn run(playbook: &str, aspect: &str, query: &str) -> Investigation {
    run_task(&plain(playbook, aspect, query)).await
}

async fn run_task(task: &Task) -> Investigation {
    let outcome = bench().run(task).await;
    assert_eq!(outcome.status, TaskStatus::Complete, "{:?}", outcome.reason);
    outcome
}

fn with<'f>(outcome: &'f Investigation, words: &str) -> &'f Finding {
    let found = outcome.findings.iter().find(|finding| finding.claim.contains(words));
    found.unwrap_or_else(|| panic!("{words}: {:#?}\n{:?}", claims(&outcome.findings), outcome.notes))
}

fn places(finding: &Finding) -> Vec<String> {
    finding.evidence.iter().map(axon_protocol::Evidence::location).collect()
}

#[tokio::test]
async fn what_no_test_names_is_found_and_what_one_names_is_not() {
    let outcome = run("testing", "untested code", "What is untested?").await;
    let first = &outcome.findings[0];
    assert_eq!(first.subject, "compact", "{:?}", claims(&outcome.findings));
    assert!(
        first
            .claim
            .starts_with("The public function `compact` appears in no test; it has 1"),
        "{}",
        first.claim
    );
    assert!(first.rationale.contains("the one to test first"), "{}", first.rationale);
    assert!(!outcome.findings.iter().any(|finding| finding.subject == "keep"));
}

#[tokio::test]
async fn errors_that_no_test_provokes_are_named_with_their_function() {
    let outcome = run("testing", "error paths", "Which errors are not tested?").await;
    let found = with(&outcome, "`StoreError::Missing`");
    assert_eq!(
        found.claim,
        "No test provokes `StoreError::Missing`, which `keep` makes"
    );
    assert!(found.evidence[0].quote().contains("StoreError::Missing"));
    assert!(!claims(&outcome.findings).iter().any(|claim| claim.contains("TooLarge")));
}

#[tokio::test]
async fn weak_tests_are_found() {
    let outcome = run("testing", "weak tests", "Are the tests any good?").await;
    with(&outcome, "wait for a fixed time");
    with(&outcome, "switched off");
}

#[tokio::test]
async fn what_one_file_lacks_is_answered_without_the_weak_tests_of_all() {
    let outcome = run("testing", "testing", "Which tests are missing for src/compact.rs?").await;
    with(&outcome, "`compact` appears in no test");
    let claims = claims(&outcome.findings);
    assert!(!claims.iter().any(|claim| claim.contains("fixed time")), "{claims:?}");
    // What was not looked at is not said to be clean.
    assert!(
        !outcome.notes.iter().any(|note| note.contains("fixed time")),
        "{:?}",
        outcome.notes
    );
}

#[tokio::test]
async fn the_structure_around_one_matter_leaves_out_what_plays_no_role_in_it() {
    let outcome = run("research", "structure", "How is the record of a day read?").await;
    with(&outcome, "`src/store.rs`");
    let claims = claims(&outcome.findings);
    assert!(!claims.iter().any(|claim| claim.contains("files with")), "{claims:?}");
    with(
        &run("research", "structure", "Give an overview of the architecture").await,
        "files with",
    );
}

#[tokio::test]
async fn tests_that_are_asked_for_are_prepared_and_said_not_to_be_written() {
    let outcome = run("testing", "testing", "Write unit tests for keeping a record").await;
    assert!(
        outcome.notes[0].contains("No test was written: that needs a model"),
        "{:?}",
        outcome.notes
    );
    with(&outcome, "`a_large_record_is_refused` is a test to mirror");
}

#[tokio::test]
async fn a_restructuring_names_functions_repetitions_callers_and_steps() {
    let outcome = run("refactoring", "plan", "What should we refactor?").await;
    let function = with(&outcome, "`compact` is worth splitting");
    assert!(function.rationale.contains("touches 2 calls"), "{}", function.rationale);
    assert!(
        places(function).contains(&"src/job.rs:2".to_owned()),
        "{:?}",
        places(function)
    );
    let seams = function.recommendation.clone().unwrap_or_default();
    assert!(seams.contains("(“Decide what is kept.”)"), "{seams}");
    let repeated = with(&outcome, "are written twice: in `records_of_day` and `records_of_week`");
    assert_eq!((repeated.value, repeated.evidence.len()), (Some(8.0), 2));
    let order = with(&outcome, "Order of steps: 1. record what `compact` return");
    assert!(order.claim.contains("split `compact`"), "{}", order.claim);
}

#[tokio::test]
async fn a_renaming_counts_uses_and_names_those_no_compiler_checks() {
    let outcome = run("refactoring", "plan", "Rename `StoreError` to `KeepError`").await;
    let uses = with(&outcome, "`StoreError` stands in");
    assert!(
        uses.claim.contains("in tests") && uses.claim.contains("in documents"),
        "{}",
        uses.claim
    );
    with(&outcome, "checked by no compiler");
    with(&outcome, "Order of steps: 1. change `StoreError` where it is defined");
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.contains("`KeepError` is not used anywhere")),
        "{:?}",
        outcome.notes
    );
}

fn compared(aspect: &str) -> Task {
    task(
        "comparison",
        aspect,
        "Compare the LRU cache and the clock cache",
        |task| {
            task["delegation"]["context"] = json!({"subjects": ["LRU cache", "clock cache"]});
        },
    )
}

#[tokio::test]
async fn things_are_set_side_by_side_with_a_passage_for_each() {
    let outcome = run_task(&compared("differences")).await;
    let eviction = with(
        &outcome,
        "Eviction – LRU cache: “The LRU cache evicts the entry that was used least recently.”; clock cache:",
    );
    assert_eq!(places(eviction), ["docs/lru.md:5", "docs/clock.md:5"]);
    let limits = with(&outcome, "at most 4096 entries");
    assert!(
        limits
            .rationale
            .contains("LRU cache 4096 entries, clock cache 16384 entries"),
        "{}",
        limits.rationale
    );
    with(&outcome, "only of clock cache something is said");
}

#[tokio::test]
async fn a_task_about_one_of_the_things_stays_with_it() {
    let outcome = run_task(&compared("clock cache")).await;
    assert!(
        outcome.findings.iter().all(|finding| finding.subject == "clock cache"),
        "{:?}",
        claims(&outcome.findings)
    );
    assert!(
        outcome
            .findings
            .iter()
            .flat_map(places)
            .all(|place| place.starts_with("docs/clock.md")),
        "{:?}",
        claims(&outcome.findings)
    );
}

#[tokio::test]
async fn code_is_measured_in_the_same_way_on_both_sides() {
    let task = task(
        "comparison",
        "structure and effort",
        "Compare src/store.rs and src/compact.rs",
        |task| {
            task["delegation"]["context"] = json!({"subjects": ["src/store.rs", "src/compact.rs"]});
        },
    );
    let outcome = run_task(&task).await;
    let figures = with(&outcome, "Size and complexity of the code – src/store.rs:");
    assert!(
        figures.claim.contains("src/compact.rs:") && figures.claim.contains("hardest `compact`"),
        "{}",
        figures.claim
    );
}

#[tokio::test]
async fn new_code_is_prepared_and_said_not_to_be_written() {
    let outcome = run(
        "code_generation",
        "implementation",
        "Add a function that reads the records of a month",
    )
    .await;
    assert!(
        outcome.notes[0].contains("No code was written: that needs a model"),
        "{:?}",
        outcome.notes
    );
    let nearest = with(&outcome, "is the nearest to what is asked for");
    assert!(nearest.subject.starts_with("records_of"), "{}", nearest.claim);
    with(&outcome, "is a test to mirror");
    let outcome = run(
        "code_generation",
        "conventions",
        "Add a function that reads the records of a month",
    )
    .await;
    with(&outcome, "Errors here are mostly enums with `thiserror`");
    with(&outcome, "rustfmt.toml");
    with(&outcome, "have documentation");
}

#[tokio::test]
async fn what_is_to_be_added_and_exists_is_said_to_exist_first() {
    let outcome = run("code_generation", "implementation", "Add a function records_of_day").await;
    assert_eq!(
        outcome.findings[0].claim,
        "`records_of_day` exists already, in src/store.rs:11"
    );
    let outcome = run("code_generation", "implementation", "Add a function records_of_month").await;
    let existing = claims(&outcome.findings)
        .iter()
        .any(|claim| claim.contains("exists already"));
    assert!(!existing, "{:?}", claims(&outcome.findings));
}

#[tokio::test]
async fn small_functions_without_a_test_are_listed() {
    let outcome = run("testing", "untested code", "What is untested?").await;
    let list = with(&outcome, "are named by no test");
    assert!(
        list.rationale.starts_with("Most called first: `compact`"),
        "{}",
        list.rationale
    );
    assert!(
        list.rationale.contains("`nightly` (src/compact.rs:"),
        "{}",
        list.rationale
    );
}

#[tokio::test]
async fn whoever_asks_for_panics_gets_every_place_however_minor() {
    let text = "pub fn of(d: Duration) -> Nanos {\n    Nanos(d.as_nanos().try_into().expect(\"584 years\"))\n}\n\npub fn load() -> String {\n    std::fs::read_to_string(\"a\").unwrap()\n}\n";
    let bench = Bench::of(&[("src/nanos.rs", text)]);
    for (query, expected) in [
        (
            "Which functions in src/ could panic?",
            &[
                "`load` panics when `fs::read_to_string` fails",
                "`of` can panic by `expect` in one place",
            ][..],
        ),
        (
            "Review src/ for ignored errors",
            &["`load` panics when `fs::read_to_string` fails"],
        ),
    ] {
        let outcome = bench.run(&plain("code_review", "error handling", query)).await;
        assert_eq!(claims(&outcome.findings), expected, "{query}");
    }
}
