//! The plans of twenty questions, as `axon plan` prints them, on the manifest of an invented repository: a service that
//! tracks parcels, with a server of several crates, a web page, a Python client and documents. Whoever changes the
//! analysis, a strategy or the planning reads what that does to them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use axon_protocol::{Query, QueryId};
use chrono::DateTime;

use super::tests::{LIBRARY, known};
use super::{PlanInput, plan};
use crate::advice::Advice;
use crate::allocation::allocate;
use crate::analysis::analyze;
use crate::config::Config;
use crate::strategy::Experience;
use crate::validation::validate;
use crate::view::WorkspaceView;
use crate::view::samples::view;

/// Name of the file and the question.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "01-review-aspects",
        "Review this repository for panics, unhandled errors and race conditions",
    ),
    (
        "02-review-directory",
        "can you check crates/api for security problems pls",
    ),
    (
        "03-bug-symbol",
        "Why does `decode_label` in crates/scan return an empty string for some barcodes?",
    ),
    (
        "04-bug-long-error",
        "Since yesterday our nightly import dies. This is what we get:\n\n\
         thread 'tokio-runtime-worker' panicked at crates/store/src/postgres/rows.rs:142:37:\n\
         called `Result::unwrap()` on an `Err` value: Db(PoolTimedOut)\n\
         note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
         Error: \"import of manifest 2024-11-03 failed after 311 of 5000 rows\"\n\n\
         It worked before we raised the batch size. What is going on?",
    ),
    ("05-bug-terse", "deadlock in route planner under load"),
    ("06-generation-flag", "Add a --dry-run flag to the import command"),
    (
        "07-generation-non-native",
        "Please I need that you make for me a endpoint which gives back all the parcels that are late",
    ),
    (
        "08-refactor-file",
        "crates/store/src/postgres/rows.rs became a monster, how should we split it?",
    ),
    (
        "09-refactor-rename",
        "Rename `ParcelState` to `ParcelStatus` everywhere",
    ),
    (
        "10-research-fact",
        "Where is the retention period of scan events configured?",
    ),
    (
        "11-research-how",
        "Explain how a parcel gets from the scanner to the customer notification",
    ),
    (
        "12-comparison-named",
        "Compare the in-memory store and the Postgres store in terms of durability, performance and complexity",
    ),
    (
        "13-comparison-or",
        "Should we use crates/queue or a Postgres table for the outbox?",
    ),
    (
        "14-testing-gaps",
        "Which error paths of the billing crate are not covered by any test?",
    ),
    ("15-testing-write", "write unit tests for the tariff calculation"),
    (
        "16-chain",
        "First find out where webhooks are signed, then explain how the key is rotated, and finally suggest what to log when \
         a signature is refused",
    ),
    (
        "17-graph",
        "Describe the retry policy of crates/queue, describe the one of clients/python, and based on both propose a common \
         policy",
    ),
    ("18-vague", "make it better"),
    (
        "19-two-questions",
        "Which database migrations lock a table? What does the web page do when the session expires?",
    ),
    (
        "20-everything",
        "I'd like a thorough audit of the whole project: arhitecture, error handling, securty, performance, tests and \
         documentation",
    ),
];

/// About 170 files, 1.3 MB.
fn parcels() -> WorkspaceView {
    let mut files: Vec<(String, u64)> = Vec::new();
    let mut seed = 7_u64;
    // Sizes that vary as those of real files do, the same at each run.
    let mut size = |most: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        1_200 + (seed >> 33) % most
    };
    for (crate_name, modules) in [
        (
            "api",
            &[
                "lib",
                "main",
                "routes/parcels",
                "routes/scans",
                "routes/webhooks",
                "routes/admin",
                "auth",
                "session",
                "errors",
                "pagination",
                "openapi",
            ][..],
        ),
        ("billing", &["lib", "tariff", "invoice", "tax", "currency", "ledger"]),
        ("cli", &["main", "import", "export", "migrate", "doctor", "output"]),
        ("core", &["lib", "parcel", "address", "event", "state", "clock", "ids"]),
        ("notify", &["lib", "mail", "sms", "webhook", "template", "signature"]),
        ("queue", &["lib", "publish", "consume", "retry", "dead_letter", "lease"]),
        ("route", &["lib", "planner", "graph", "lock", "estimate", "geo"]),
        ("scan", &["lib", "barcode", "label", "device", "upload", "retention"]),
        (
            "store",
            &[
                "lib",
                "memory",
                "postgres/mod",
                "postgres/rows",
                "postgres/pool",
                "postgres/outbox",
                "cache",
                "migrations",
            ],
        ),
        ("worker", &["lib", "main", "schedule", "jobs", "metrics"]),
    ] {
        files.push((format!("crates/{crate_name}/Cargo.toml"), 900));
        for module in modules {
            files.push((format!("crates/{crate_name}/src/{module}.rs"), size(16_000)));
        }
        files.push((format!("crates/{crate_name}/tests/{crate_name}.rs"), size(9_000)));
    }
    files.push(("crates/store/src/postgres/rows.rs".to_owned(), 61_000));
    files.retain(|(path, bytes)| path != "crates/store/src/postgres/rows.rs" || *bytes == 61_000);
    for page in ["index", "login", "parcel", "search", "admin", "settings"] {
        files.push((format!("web/src/pages/{page}.tsx"), size(9_000)));
        files.push((format!("web/src/pages/{page}.test.tsx"), size(4_000)));
    }
    for part in ["api", "session", "format", "store", "router"] {
        files.push((format!("web/src/lib/{part}.ts"), size(8_000)));
    }
    for module in ["__init__", "client", "retry", "models", "errors", "pagination"] {
        files.push((format!("clients/python/parcels/{module}.py"), size(7_000)));
    }
    files.push(("clients/python/tests/test_client.py".to_owned(), 6_500));
    files.push(("clients/python/tests/test_retry.py".to_owned(), 3_800));
    for number in 1..=14 {
        files.push((format!("migrations/{number:04}_change.sql"), size(2_500)));
    }
    for page in [
        "architecture",
        "api",
        "operations",
        "retention",
        "webhooks",
        "billing",
        "adr/0001-queue",
        "adr/0002-store",
        "adr/0003-outbox",
    ] {
        files.push((format!("docs/{page}.md"), size(9_000)));
    }
    for scenario in ["import", "webhook", "late_parcels", "failover"] {
        files.push((format!("tests/e2e/{scenario}.rs"), size(9_000)));
    }
    files.extend([
        ("README.md".to_owned(), 7_400),
        ("Cargo.toml".to_owned(), 2_100),
        ("Cargo.lock".to_owned(), 96_000),
        ("docker-compose.yml".to_owned(), 2_300),
        ("web/package.json".to_owned(), 1_900),
        ("web/package-lock.json".to_owned(), 210_000),
        ("scripts/release.sh".to_owned(), 2_800),
        ("config/default.toml".to_owned(), 3_100),
    ]);
    view(
        &files
            .iter()
            .map(|(path, bytes)| (path.as_str(), *bytes))
            .collect::<Vec<_>>(),
    )
}

/// What `axon plan` prints for a question.
fn printed(question: &str, view: &WorkspaceView) -> String {
    let (config, query) = (Config::default(), Query::new(question));
    let analysis = analyze(&query, Some(view), LIBRARY.vocabulary());
    let selected = LIBRARY.select(&analysis, &query, &Experience::default());
    let definition = LIBRARY.get(&selected.name).expect("selected");
    let allocation = allocate(analysis.complexity, &config, &query, None);
    let plan = plan(PlanInput {
        recalled: Vec::new(),
        advice: &Advice::default(),
        applied: Vec::new(),
        query: &query,
        query_id: &QueryId::from_sequence(1),
        analysis,
        selected,
        definition,
        statistics: None,
        library: &LIBRARY,
        allocation,
        view: Some(view),
        workspace: None,
        config: &config,
        now: DateTime::UNIX_EPOCH,
    })
    .expect("a plan");
    assert_eq!(validate(&plan, &known()), Ok(()), "{question}");
    format!("$ axon plan {question:?}\n\n{plan}\n")
}

#[test]
fn twenty_plans_read_as_committed() {
    let parcels = parcels();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/planning/snapshots");
    let produced = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/plans");
    fs::create_dir_all(&produced).expect("the folder for temporary files can be made");
    let mut differ = String::new();
    for (name, question) in QUESTIONS {
        let text = printed(question, &parcels);
        let committed = folder.join(format!("{name}.txt"));
        if fs::read_to_string(&committed).unwrap_or_default() != text {
            let kept = produced.join(format!("{name}.txt"));
            fs::write(&kept, &text).expect("written");
            writeln!(differ, "  cp {} {}", kept.display(), committed.display()).expect("a text");
        }
    }
    assert!(
        differ.is_empty(),
        "these plans are not what is committed; read the difference, and to accept it:\n{differ}"
    );
}
