//! The tools on a history that is written down here, and on one that came out of a real repository through the archive.

use std::convert::Infallible;
use std::future::ready;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::testing::Made;
use crate::{ErrorKind, PackLimits, WorkspaceCache, pack};

async fn try_call(context: &CallContext, tool: &str, params: Value) -> Result<Value, ToolError> {
    let mut toolbox = Toolbox::new();
    register(&mut toolbox).expect("registers");
    toolbox.get(tool).expect("registered").call(context, params).await
}

async fn call<T: DeserializeOwned>(context: &CallContext, tool: &str, params: Value) -> T {
    serde_json::from_value(try_call(context, tool, params).await.expect("works")).expect("has its type")
}

/// Days apart: `parse.rs` and `lex.rs` change together, `print.rs` alone, a rename of everything tells nothing.
fn repository() -> Made {
    let mut made = Made::new();
    let branchy = "fn parse(a: u8) -> u8 {\n    if a > 1 { return 1; }\n    if a > 2 { return 2; }\n    0\n}\n";
    let many: Vec<(String, String)> = (0..40).map(|n| (format!("gen/{n}.txt"), "x\n".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    made.commit("Begin", &[("src/parse.rs", branchy), ("src/lex.rs", "fn lex() {}\n")]);
    made.commit(
        "Print",
        &[
            ("src/print.rs", "fn print() {}\n"),
            ("docs/a.md", "# a\n"),
            ("old.rs", "x\n"),
        ],
    );
    made.commit("Generate", &many);
    made.commit(
        "Fix the parser",
        &[
            ("src/parse.rs", &format!("{branchy}// 1\n")),
            ("src/lex.rs", "fn lex() { }\n"),
        ],
    );
    std::fs::remove_file(made.dir.path().join("old.rs")).expect("removed");
    made.commit(
        "Speed up parsing",
        &[("src/parse.rs", &format!("{branchy}// 2\n")), ("docs/a.md", "# b\n")],
    );
    made
}

/// As a worker sees it: packed, fetched, unpacked into a cache.
async fn context(made: &Made) -> (CallContext, tempfile::TempDir) {
    let packed = pack(made.dir.path(), &PackLimits::default()).expect("packed");
    let dir = tempfile::tempdir().expect("a directory");
    let cache = WorkspaceCache::new(dir.path().join("cache"), 1 << 20).expect("a cache");
    let fetch = ready(Ok::<_, Infallible>(packed.bytes));
    let workspace = cache.open(&packed.digest, fetch).await.expect("opened");
    assert_eq!(workspace.history().as_deref(), packed.history.as_ref());
    // Another process finds the same on disk.
    let again = WorkspaceCache::new(dir.path().join("cache"), 1 << 20).expect("a cache");
    let never = async { Err::<Vec<u8>, _>(std::io::Error::other("fetched though it is there")) };
    let again = again.open(&packed.digest, never).await.expect("found");
    assert_eq!(again.history(), workspace.history());
    (CallContext::new(Some(workspace)), dir)
}

#[tokio::test]
async fn commits_are_found_by_path_time_word_and_author() {
    let (context, _dir) = context(&repository()).await;
    let subjects = |result: &LogResult| -> Vec<String> { result.results.iter().map(|c| c.subject.clone()).collect() };
    for (params, expected) in [
        (
            json!({}),
            &["Speed up parsing", "Fix the parser", "Generate", "Print", "Begin"][..],
        ),
        (json!({"paths": ["src/lex.rs"]}), &["Fix the parser", "Begin"]),
        (json!({"paths": ["old.rs"]}), &["Speed up parsing", "Print"]),
        (
            json!({"paths": ["docs", "gen/7.txt"]}),
            &["Speed up parsing", "Generate", "Print"],
        ),
        (json!({"text": ["PARS"]}), &["Speed up parsing", "Fix the parser"]),
        (json!({"author": "ada", "max_results": 1}), &["Speed up parsing"]),
        (json!({"author": "bob"}), &[]),
        (json!({"since": "1d"}), &["Speed up parsing", "Fix the parser"]),
        (json!({"since": "2023-11-19"}), &["Speed up parsing"]),
        (
            json!({"since": "2023-11-18T22:00:00Z"}),
            &["Speed up parsing", "Fix the parser"],
        ),
    ] {
        let result: LogResult = call(&context, "git.log", params.clone()).await;
        assert_eq!(subjects(&result), expected, "{params}");
        assert_eq!(result.omitted, result.matches - expected.len(), "{params}");
        assert!(result.complete && result.commits == 5);
    }
    let result: LogResult = call(
        &context,
        "git.log",
        json!({"paths": ["src/parse.rs"], "text": ["speed"]}),
    )
    .await;
    assert_eq!(
        result.results[0].files,
        [Change {
            path: "src/parse.rs".to_owned(),
            added: Some(1),
            removed: Some(1)
        }]
    );
    assert_eq!(
        (result.results[0].changed, result.results[0].date.as_str()),
        (3, "2023-11-19")
    );
}

#[tokio::test]
async fn the_scope_hides_what_others_changed() {
    let (mut context, _dir) = context(&repository()).await;
    context.scope = Arc::from(["docs".to_owned()]);
    let result: LogResult = call(&context, "git.log", json!({})).await;
    let files: Vec<&str> = result
        .results
        .iter()
        .flat_map(|c| &c.files)
        .map(|f| f.path.as_str())
        .collect();
    assert_eq!((result.matches, files.as_slice()), (2, &["docs/a.md", "docs/a.md"][..]));
    let error = try_call(&context, "git.log", json!({"paths": ["src/parse.rs"]}))
        .await
        .expect_err("refused");
    assert_eq!(error.kind, ErrorKind::InvalidParams);
}

#[tokio::test]
async fn what_changes_together_is_counted_and_bulk_is_not() {
    let (context, _dir) = context(&repository()).await;
    let result: CoChangeResult = call(&context, "git.co_change", json!({"paths": ["src/parse.rs"]})).await;
    let seen: Vec<(&str, usize, f64, f64)> = result
        .results
        .iter()
        .map(|c| (c.path.as_str(), c.support, c.confidence, c.reverse_confidence))
        .collect();
    assert_eq!(seen, [("src/lex.rs", 2, 0.667, 1.0)]);
    assert_eq!((result.commits, result.large_commits), (3, 0));
    assert!(result.results[0].examples[0].ends_with(" Fix the parser"));
    let params = json!({"paths": ["docs/a.md"], "min_support": 1});
    let result: CoChangeResult = call(&context, "git.co_change", params).await;
    // `old.rs` changed with it twice and is gone.
    let paths: Vec<&str> = result.results.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["src/print.rs", "src/parse.rs"]);
    let params = json!({"paths": ["gen/1.txt"], "min_support": 1});
    let result: CoChangeResult = call(&context, "git.co_change", params).await;
    assert_eq!((result.large_commits, result.results.len()), (1, 0));
}

#[tokio::test]
async fn what_changes_often_and_is_complex_is_hottest() {
    let (context, _dir) = context(&repository()).await;
    let result: HotspotsResult = call(&context, "git.hotspots", json!({})).await;
    let seen: Vec<(&str, f64, usize, usize)> = result
        .results
        .iter()
        .map(|h| (h.path.as_str(), h.score, h.commits, h.complexity))
        .collect();
    assert_eq!(
        seen,
        [
            ("src/parse.rs", 1.0, 3, 3),
            ("src/lex.rs", 0.222, 2, 1),
            ("src/print.rs", 0.111, 1, 1)
        ]
    );
    let hottest = &result.results[0];
    assert_eq!(
        (hottest.worst.as_str(), hottest.line, hottest.end_line, hottest.authors),
        ("parse", 1, 5, 1)
    );
    let result: HotspotsResult = call(&context, "git.hotspots", json!({"since": "0d"})).await;
    assert_eq!((result.commits, result.results.len()), (1, 1));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_reason() {
    let (context, _dir) = context(&repository()).await;
    for (tool, params, expected) in [
        ("git.log", json!({"since": "yesterday"}), "90d"),
        ("git.log", json!({"since": "2023-13-01"}), "no time"),
        ("git.log", json!({"paths": ["nowhere.rs"]}), "nowhere.rs"),
        ("git.log", json!({"paths": ["../x"]}), "no path of the workspace"),
        ("git.co_change", json!({}), "needs `paths`"),
        ("git.co_change", json!({"paths": ["."]}), "whole workspace"),
    ] {
        let error = try_call(&context, tool, params.clone()).await.expect_err("refused");
        assert!(
            error.kind == ErrorKind::InvalidParams && error.message.contains(expected),
            "{params}: {error}"
        );
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a.rs"), "fn a() {}\n").expect("written");
    let plain = CallContext::new(Some(Arc::new(
        Workspace::of_directory(dir.path()).expect("a workspace"),
    )));
    for tool in ["git.log", "git.hotspots"] {
        let error = try_call(&plain, tool, json!({})).await.expect_err("no history");
        assert!(
            error.kind == ErrorKind::Permanent && error.message.contains("no history"),
            "{error}"
        );
    }
}

#[test]
fn days_count_from_the_newest_commit() {
    for (since, expected) in [
        ("0d", Some(100 * DAY_S)),
        ("30d", Some(70 * DAY_S)),
        ("1970-01-03", Some(2 * DAY_S)),
        ("-1d", None),
        ("d", None),
        ("", None),
    ] {
        assert_eq!(since_of(since, 100 * DAY_S).ok(), expected, "{since}");
    }
    assert_eq!(
        (date_of(0), date_of(i64::MAX)),
        ("1970-01-01".to_owned(), String::new())
    );
}
