//! Playbooks on a small workspace: what they must find, and what they must stay within.

use std::collections::BTreeSet;
use std::sync::Arc;

use axon_protocol::{Evidence, Finding, Level, Polarity, Task, TaskStatus};
use axon_tools::{CallContext, Config, Executor, Toolbox, Workspace, allowed, in_scope, verify};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::*;

const FILES: &[(&str, &str)] = &[
    (
        "src/store.rs",
        "//! Keeps settings on disk.\n\nuse std::fs;\n\n/// Loads the settings of a user.\npub fn load_settings(path: &Path) -> Result<Settings, Error> {\n    let text = fs::read_to_string(path).unwrap();\n    parse_settings(&text)\n}\n\npub fn save_settings(path: &Path, settings: &Settings) {\n    let mut file = open_new(path);\n    let _ = file.write_all(&settings.bytes());\n}\n",
    ),
    (
        "src/http.rs",
        "/// Reads the head of a request.\npub fn parse_header(data: &[u8]) -> Result<Header, Error> {\n    let version = data[3];\n    if version > 2 {\n        return Err(Error::new(format!(\"unsupported header version {version}\")));\n    }\n    Ok(Header { version })\n}\n\npub fn handle(request: &Request) -> Response {\n    match parse_header(request.bytes()) {\n        Ok(header) => Response::of(header),\n        Err(_) => {}\n    }\n}\n",
    ),
    (
        "src/service.rs",
        "pub async fn serve(state: &State) {\n    loop {\n        let guard = state.clients.lock().unwrap();\n        std::thread::sleep(PAUSE);\n        accept(guard).await;\n    }\n}\n\npub fn start() {\n    load_settings(Path::new(\"a\"));\n    load_settings(Path::new(\"b\"));\n}\n",
    ),
    (
        "src/quiet.rs",
        "/// Adds.\npub fn add(a: u8, b: u8) -> u8 {\n    a.saturating_add(b)\n}\n",
    ),
    ("src/secret.rs", "const API_KEY: &str = \"9f8a7b6c5d4e3f2a\";\n"),
    (
        "docs/cache.md",
        "# Design\n\nGeneral words.\n\n## Eviction\n\nNothing is kept for ever. When the cache is full, the entry that was used least recently is evicted first.\nThe limit is 2 GiB.\n\n## Locks\n\nA lock is held for a moment only.\n",
    ),
    (
        "tests/http.rs",
        "#[test]\nfn a_header_is_read() {\n    assert!(parse_header(b\"abcd\").is_ok());\n}\n",
    ),
    (
        "examples/demo.rs",
        "fn main() {\n    let text = std::fs::read_to_string(\"demo.txt\").unwrap();\n}\n",
    ),
];

pub(super) struct Bench {
    workspace: Arc<Workspace>,
    executor: Executor,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::of(FILES)
    }

    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self::in_directory(dir)
    }

    pub(super) fn in_directory(dir: tempfile::TempDir) -> Self {
        let toolbox = Toolbox::standard(&Config::default()).expect("registers");
        Self {
            workspace: Arc::new(Workspace::of_directory(dir.path()).expect("a workspace")),
            executor: Executor::new(Config::default(), Arc::new(toolbox)),
            _dir: dir,
        }
    }

    pub(super) async fn run(&self, task: &Task) -> Investigation {
        self.run_in(task, &CallContext::new(None)).await.0
    }

    async fn run_in(&self, task: &Task, context: &CallContext) -> (Investigation, Vec<Progress>) {
        let mut seen = Vec::new();
        let mut sink = |progress: Progress| seen.push(progress);
        let outcome = investigate(task, Arc::clone(&self.workspace), &self.executor, context, &mut sink).await;
        for finding in &outcome.findings {
            for evidence in &finding.evidence {
                verify(&self.workspace, evidence).unwrap_or_else(|error| panic!("{error}: {finding:?}"));
            }
        }
        (outcome, seen)
    }
}

pub(super) fn task(playbook: &str, aspect: &str, query: &str, change: impl FnOnce(&mut Value)) -> Task {
    let mut task = json!({
        "query_id": "q1", "query": query, "deadline": "2099-01-01T00:00:00Z", "attempt": 1,
        "delegation": {
            "task_id": "q1-t1", "objective": "", "output_format": "markdown", "allowed_tools": ["code.*"],
            "boundaries": {"scope": [], "constraints": [], "max_tool_calls": 15, "timeout_ms": 60_000},
            "priority": 5, "required_capabilities": ["CodeReview"], "aspect": aspect, "playbook": playbook
        }
    });
    change(&mut task);
    serde_json::from_value(task).expect("a task")
}

pub(super) fn plain(playbook: &str, aspect: &str, query: &str) -> Task {
    task(playbook, aspect, query, |_| {})
}

pub(super) fn claims(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.claim.as_str()).collect()
}

#[tokio::test]
async fn a_review_finds_what_its_aspect_asks_for_and_says_where_and_why() {
    let bench = Bench::new();
    for (aspect, origin, words) in [
        (
            "error handling",
            "src/store.rs:7",
            "`load_settings` panics when `fs::read_to_string` fails",
        ),
        ("error handling", "src/http.rs:13", "`handle` drops an error"),
        (
            "error handling",
            "src/store.rs:13",
            "`save_settings` throws away the outcome of `write_all`",
        ),
        ("correctness", "src/http.rs:3", "`parse_header` indexes its input"),
        (
            "concurrency",
            "src/service.rs:4",
            "`serve` blocks a thread of the runtime",
        ),
        (
            "concurrency",
            "src/service.rs:3",
            "`serve` holds a blocking lock while it awaits",
        ),
    ] {
        let outcome = bench.run(&plain("code_review", aspect, "Review this repository")).await;
        assert_eq!(outcome.status, TaskStatus::Complete, "{:?}", outcome.reason);
        let found = outcome
            .findings
            .iter()
            .find(|finding| finding.origin == origin && finding.claim.starts_with(words));
        let found = found.unwrap_or_else(|| panic!("{aspect}: {words}: {:?}", claims(&outcome.findings)));
        assert!(!found.rationale.is_empty() && found.recommendation.is_some() && found.aspect == aspect);
        assert!(
            !outcome
                .findings
                .iter()
                .any(|finding| finding.origin.starts_with("examples/") || finding.origin.starts_with("tests/"))
        );
    }
}

#[tokio::test]
async fn what_is_central_comes_first_and_its_callers_are_named() {
    let bench = Bench::new();
    let outcome = bench
        .run(&plain("code_review", "error handling", "Review this repository"))
        .await;
    let first = &outcome.findings[0];
    assert_eq!((first.subject.as_str(), first.severity), ("load_settings", Level::High));
    assert!(
        first.rationale.contains("called in 2 places of one file"),
        "{}",
        first.rationale
    );
    assert!(first.rationale.contains("returns a `Result`"), "{}", first.rationale);
    assert!(
        first
            .evidence
            .iter()
            .any(|evidence| evidence.location() == "src/service.rs:10"),
        "{:?}",
        first.evidence
    );
}

#[tokio::test]
async fn a_clean_aspect_is_said_to_be_clean() {
    let bench = Bench::new();
    // The last aspect is the user's own words: nothing is claimed about what no rule knows.
    for (aspect, expected) in [
        (
            "security",
            "No risky pattern for security stands out in one function of one file",
        ),
        (
            "error handling",
            "No risky pattern for error handling stands out in one function of one file",
        ),
        (
            "the quiet part",
            "No risky pattern stands out in one function of one file",
        ),
    ] {
        let task = task("code_review", aspect, "Review this", |task| {
            task["delegation"]["boundaries"]["scope"] = json!(["src/quiet.rs"])
        });
        let outcome = bench.run(&task).await;
        assert_eq!(outcome.findings.len(), 1);
        let only = &outcome.findings[0];
        assert_eq!((only.polarity, only.severity), (Polarity::Negative, Level::Info));
        assert_eq!(only.claim, expected);
    }
}

#[tokio::test]
async fn a_secret_is_reported_and_not_repeated() {
    let bench = Bench::new();
    let outcome = bench.run(&plain("code_review", "security", "Review this")).await;
    let text = serde_json::to_string(&outcome.findings).expect("encodes");
    assert!(text.contains("src/secret.rs:1"), "{text}");
    assert!(!text.contains("9f8a7b6c5d4e3f2a"), "{text}");
}

#[tokio::test]
async fn complexity_and_missing_tests_are_measured() {
    let bench = Bench::new();
    let outcome = bench.run(&plain("code_review", "tests", "Review the tests")).await;
    assert!(
        outcome.notes.iter().any(|note| note.contains("test functions")),
        "{:?}",
        outcome.notes
    );
    let outcome = bench
        .run(&plain("code_review", "complexity", "Review the structure"))
        .await;
    assert_eq!(outcome.findings.len(), 1, "{:?}", claims(&outcome.findings));
    assert_eq!(outcome.findings[0].polarity, Polarity::Negative);
}

#[tokio::test]
async fn a_defect_is_placed_by_names_messages_and_lines() {
    let bench = Bench::new();
    for (query, subject) in [
        ("Why does `parse_header` fail on short input?", "parse_header"),
        ("Requests fail with \"unsupported header version 7\"", "parse_header"),
        ("Crash at src/service.rs:4:9 after an hour", "serve"),
        ("Why are the settings of a user not loaded?", "load_settings"),
    ] {
        let outcome = bench.run(&plain("bug_investigation", "location", query)).await;
        let first = outcome
            .findings
            .iter()
            .find(|finding| finding.claim.contains("likeliest place"));
        let first = first.unwrap_or_else(|| panic!("{query}: {:?}", claims(&outcome.findings)));
        assert_eq!(first.subject, subject, "{query}: {:?}", claims(&outcome.findings));
    }
}

#[tokio::test]
async fn each_side_of_a_defect_is_looked_at() {
    let bench = Bench::new();
    let query = "Why does `parse_header` panic on \"unsupported header version\"?";
    for (aspect, words) in [
        (
            "cause",
            "`parse_header` indexes its input `data[3]` without looking at its length",
        ),
        (
            "error path",
            "`parse_header` makes the message “unsupported header version”",
        ),
        ("inputs and state", "`parse_header` gets its input from `handle`"),
        ("tests and history", "`parse_header` is mentioned by tests in one place"),
    ] {
        let outcome = bench.run(&plain("bug_investigation", aspect, query)).await;
        assert!(
            outcome.findings.iter().any(|finding| finding.claim.starts_with(words)),
            "{aspect}: {:?}",
            claims(&outcome.findings)
        );
    }
}

#[tokio::test]
async fn research_says_what_the_passages_say() {
    let bench = Bench::new();
    for (aspect, query, words, origin) in [
        (
            "answer",
            "What does the cache do when it is full?",
            "`docs/cache.md` (“Eviction”): When the cache is full, the entry that was used least recently is evicted first",
            "docs/cache.md:7",
        ),
        (
            "structure",
            "Describe the store",
            "`src/store.rs`: Keeps settings on disk",
            "src/store.rs:1",
        ),
        (
            "relevant code",
            "Loading settings of a user",
            "`load_settings`: Loads the settings of a user",
            "src/store.rs:5",
        ),
        (
            "answer",
            "What is parse_header?",
            "`parse_header` is defined in src/http.rs: Reads the head of a request",
            "src/http.rs:1",
        ),
    ] {
        let outcome = bench.run(&plain("research", aspect, query)).await;
        let found = outcome.findings.iter().find(|finding| finding.claim == words);
        assert_eq!(
            found.map(|finding| finding.origin.as_str()),
            Some(origin),
            "{aspect}: {:?}",
            claims(&outcome.findings)
        );
    }
}

#[tokio::test]
async fn everything_else_is_answered_with_passages_and_problems() {
    let bench = Bench::new();
    let outcome = bench
        .run(&plain(
            "general",
            "answer",
            "What could go wrong when settings are loaded?",
        ))
        .await;
    assert!(
        outcome.findings.iter().any(|finding| finding.tool == "code.rank"),
        "{:?}",
        claims(&outcome.findings)
    );
    assert!(
        outcome.findings.iter().any(|finding| finding.tool == "code.rules"),
        "{:?}",
        claims(&outcome.findings)
    );
}

#[tokio::test]
async fn the_same_task_gives_the_same_findings() {
    for (playbook, aspect) in [
        ("code_review", "review"),
        ("bug_investigation", "cause"),
        ("research", "answer"),
        ("general", "answer"),
        ("testing", "testing"),
        ("refactoring", "plan"),
        ("comparison", "comparison"),
        ("code_generation", "implementation"),
    ] {
        let task = plain(
            playbook,
            aspect,
            "Why does loading settings fail when the cache is full?",
        );
        let (first, second) = (Bench::new().run(&task).await, Bench::new().run(&task).await);
        assert_eq!(first.findings, second.findings, "{playbook}");
        let ids: BTreeSet<&str> = first.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(ids.len(), first.findings.len(), "{playbook}");
        assert!((1..=FINDINGS_MAX).contains(&first.findings.len()), "{playbook}");
    }
}

#[tokio::test]
async fn a_task_stays_within_its_scope_tools_and_calls() {
    let bench = Bench::new();
    let scope = ["src/http.rs".to_owned()];
    for (playbook, aspect) in [
        ("code_review", "review"),
        ("bug_investigation", "cause"),
        ("research", "structure"),
        ("general", "risks"),
        ("testing", "weak tests"),
        ("refactoring", "plan"),
        ("comparison", "differences"),
        ("code_generation", "related code"),
        ("unknown", "unheard of"),
    ] {
        let task = task(
            playbook,
            aspect,
            "Review load_settings in src/store.rs and src/http.rs",
            |task| {
                task["delegation"]["boundaries"]["scope"] = json!(scope);
                task["delegation"]["boundaries"]["max_tool_calls"] = json!(3);
                task["delegation"]["allowed_tools"] = json!(["code.rules", "code.rank", "code.list"]);
            },
        );
        let (outcome, seen) = bench.run_in(&task, &CallContext::new(None)).await;
        assert!(outcome.usage.tool_calls <= 3, "{playbook}");
        assert_eq!(outcome.status, TaskStatus::Complete, "{playbook}: {:?}", outcome.reason);
        for finding in &outcome.findings {
            for evidence in &finding.evidence {
                assert!(
                    !matches!(evidence, Evidence::Source { path, .. } if !in_scope(path, &scope)),
                    "{playbook}: {finding:?}"
                );
            }
        }
        for progress in seen {
            if let Progress::ToolEnded { tool, .. } = progress {
                assert!(
                    ["code.rules", "code.rank", "code.list"].contains(&tool.as_str()),
                    "{tool}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_investigated_fails_with_the_reason() {
    let bench = Bench::new();
    for (change, reason) in [
        (json!({"scope": ["nowhere"]}), "no file in the task's scope"),
        (json!({"allowed_tools": ["diag.*"]}), "it may use: diag.*"),
        (json!({"max_tool_calls": 0}), "raise its `max_tool_calls`"),
    ] {
        let task = task("code_review", "review", "Review this", |task| {
            for (key, value) in change.as_object().expect("an object") {
                match key.as_str() {
                    "allowed_tools" => task["delegation"][key] = value.clone(),
                    _ => task["delegation"]["boundaries"][key] = value.clone(),
                }
            }
        });
        let outcome = bench.run(&task).await;
        assert_eq!(outcome.status, TaskStatus::Failed);
        let said = outcome.reason.unwrap_or_default();
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn a_task_that_is_stopped_ends_at_once_and_says_so() {
    let bench = Bench::new();
    let task = plain("code_review", "review", "Review this");
    let mut context = CallContext::new(None);
    context.deadline = Some(Instant::now() - Duration::from_secs(1));
    let (outcome, _) = bench.run_in(&task, &context).await;
    assert_eq!((outcome.status, outcome.usage.tool_calls), (TaskStatus::Failed, 0));
    assert!(outcome.reason.unwrap_or_default().contains("deadline"));
    let context = CallContext::new(None);
    context.cancel.cancel();
    let (outcome, _) = bench.run_in(&task, &context).await;
    assert_eq!(outcome.status, TaskStatus::Failed);
    assert!(outcome.reason.unwrap_or_default().contains("cancelled"));
}

#[tokio::test]
async fn what_was_found_before_a_stop_is_reported() {
    let bench = Bench::new();
    let task = plain("code_review", "error handling", "Review this");
    let context = CallContext::new(None);
    let cancel = context.cancel.clone();
    let mut found = 0;
    let mut sink = |progress: Progress| match progress {
        // The first round is over with this call: the second one must not begin.
        Progress::ToolEnded { .. } => cancel.cancel(),
        Progress::Found(_) => found += 1,
        Progress::Round { .. } => {}
    };
    let outcome = investigate(
        &task,
        Arc::clone(&bench.workspace),
        &bench.executor,
        &context,
        &mut sink,
    )
    .await;
    assert_eq!((outcome.status, outcome.usage.tool_calls), (TaskStatus::Partial, 1));
    assert!(outcome.reason.unwrap_or_default().contains("cancelled"));
    assert!(
        outcome
            .findings
            .iter()
            .any(|finding| finding.subject == "load_settings")
    );
    assert_eq!(found, outcome.findings.len());
}

#[tokio::test]
async fn an_earlier_task_leads_to_its_places() {
    let bench = Bench::new();
    let earlier = bench
        .run(&plain("bug_investigation", "location", "Why does parse_header fail?"))
        .await;
    let task = task("bug_investigation", "cause", "What is wrong there?", |task| {
        task["upstream"] = json!([{"task_id": "q1-t0", "findings": earlier.findings}]);
    });
    let outcome = bench.run(&task).await;
    assert!(
        outcome
            .findings
            .iter()
            .any(|finding| finding.origin.starts_with("src/http.rs")),
        "{:?}",
        claims(&outcome.findings)
    );
}

/// The strategies as a lead has them: what their templates allow must be enough for the playbook that follows them.
const STRATEGIES: &[&str] = &[
    include_str!("../../../axon-lead/strategies/bug_investigation.toml"),
    include_str!("../../../axon-lead/strategies/code_generation.toml"),
    include_str!("../../../axon-lead/strategies/code_review.toml"),
    include_str!("../../../axon-lead/strategies/comparison.toml"),
    include_str!("../../../axon-lead/strategies/general.toml"),
    include_str!("../../../axon-lead/strategies/refactoring.toml"),
    include_str!("../../../axon-lead/strategies/research.toml"),
    include_str!("../../../axon-lead/strategies/testing.toml"),
];

#[tokio::test]
async fn every_template_allows_the_tools_that_its_playbook_needs() {
    let bench = Bench::new();
    let mut left_out = BTreeSet::new();
    for text in STRATEGIES {
        let strategy: axon_protocol::StrategyDefinition = toml::from_str(text).expect("a strategy");
        for template in &strategy.templates {
            for query in [
                "Why are the settings of a user lost?",
                "How does `load_settings` read them?",
            ] {
                let task = task(&strategy.name, &template.aspect, query, |task| {
                    task["delegation"]["allowed_tools"] = json!(template.allowed_tools);
                });
                let what = format!("{}, {}, {query}", strategy.name, template.aspect);
                for call in plan_calls(&Brief::of(&task, &bench.workspace)) {
                    // Relevance only orders what the other calls find.
                    let orders = call.tool_id.starts_with("relevan");
                    if !orders && !allowed(&call.tool_name, &template.allowed_tools) {
                        left_out.insert(format!("{what}: {} for `{}`", call.tool_name, call.tool_id));
                    }
                }
                let investigation = bench.run(&task).await;
                assert_eq!(
                    investigation.status,
                    TaskStatus::Complete,
                    "{what}: {:?}",
                    investigation.reason
                );
            }
        }
    }
    assert!(left_out.is_empty(), "{left_out:#?}");
}
