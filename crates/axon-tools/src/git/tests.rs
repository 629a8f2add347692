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
    assert_eq!(workspace.patches().as_deref(), packed.patches.as_ref());
    assert_eq!(again.patches(), workspace.patches());
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

/// A branch that is merged, where both sides changed one file, and what is not committed.
fn branched() -> Made {
    let mut made = Made::new();
    made.commit("Begin", &[("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n"), ("gone.txt", "x\n")]);
    made.git(&["checkout", "-q", "-b", "side"]);
    made.commit(
        "Change the end",
        &[("a.txt", "1\n2\n3\n4\n5\n6\n7\neight\n"), ("b.txt", "b\n")],
    );
    made.git(&["checkout", "-q", "main"]);
    made.commit("Change the beginning", &[("a.txt", "one\n2\n3\n4\n5\n6\n7\n8\n")]);
    made.wait();
    made.git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"]);
    std::fs::remove_file(made.dir.path().join("gone.txt")).expect("removed");
    made.commit("Insert", &[("a.txt", "one\n2\n3\nnew\n4\n5\n6\n7\neight\n")]);
    made.write(&[("a.txt", "one\n2\n3\nnew\n4\n5\nsix\n7\neight\n"), ("c.txt", "c\n")]);
    made
}

#[tokio::test]
async fn lines_are_blamed_as_git_does_also_across_a_merge() {
    let made = branched();
    let (context, _dir) = context(&made).await;
    for path in ["a.txt", "b.txt"] {
        let output = std::process::Command::new("git")
            .current_dir(made.dir.path())
            .args(["blame", "--line-porcelain", path])
            .output()
            .expect("git is installed");
        let shown = String::from_utf8(output.stdout).expect("text");
        let ids = shown.lines().filter(|line| {
            line.split(' ')
                .next()
                .is_some_and(|id| id.len() == 40 && !line.starts_with('\t'))
        });
        let expected: Vec<String> = ids
            .map(|line| match &line[..40] {
                id if id.bytes().all(|byte| byte == b'0') => UNCOMMITTED.to_owned(),
                id => id.to_owned(),
            })
            .collect();
        let result: BlameResult = call(&context, "git.blame", json!({"path": path})).await;
        let lines = |range: &BlamedRange| vec![range.commit.clone(); (range.end_line - range.line + 1) as usize];
        let found: Vec<String> = result.results.iter().flat_map(lines).collect();
        assert_eq!(found, expected, "{path}");
    }
    let result: BlameResult = call(
        &context,
        "git.blame",
        json!({"path": "a.txt", "line": 9, "end_line": 12}),
    )
    .await;
    let range = &result.results[0];
    assert_eq!(
        (range.line, range.end_line, range.subject.as_str()),
        (9, 9, "Change the end")
    );
    assert_eq!(
        (result.commits, result.older_lines, result.oldest.as_str()),
        (5, 0, "2023-11-15")
    );
    let result: BlameResult = call(&context, "git.blame", json!({"path": "c.txt"})).await;
    assert_eq!(result.results[0].commit, UNCOMMITTED);
}

#[tokio::test]
async fn revisions_are_compared_line_by_line() {
    let (context, _dir) = context(&branched()).await;
    let seen = |result: &DiffResult| -> Vec<String> {
        let file = |file: &DiffedFile| format!("{} {:?} +{} -{}", file.path, file.change, file.added, file.removed);
        result.results.iter().map(file).collect()
    };
    for (params, expected) in [
        (
            json!({"from": "HEAD"}),
            &["a.txt Modified +1 -1", "c.txt Added +1 -0"][..],
        ),
        (
            json!({"commit": "HEAD"}),
            &["a.txt Modified +1 -0", "gone.txt Removed +0 -1"],
        ),
        (
            json!({"commit": "HEAD~1"}),
            &["a.txt Modified +1 -1", "b.txt Added +1 -0"],
        ),
        (
            json!({"from": "HEAD~2", "to": "HEAD", "paths": ["a.txt"]}),
            &["a.txt Modified +2 -1"],
        ),
        (json!({"from": "HEAD~3", "to": "HEAD~2"}), &["a.txt Modified +1 -1"]),
        (
            json!({"from": "HEAD~3"}),
            &[
                "a.txt Modified +4 -3",
                "b.txt Added +1 -0",
                "c.txt Added +1 -0",
                "gone.txt Removed +0 -1",
            ],
        ),
    ] {
        let result: DiffResult = call(&context, "git.diff", params.clone()).await;
        assert_eq!(seen(&result), expected, "{params}");
        assert!(
            result
                .results
                .iter()
                .all(|file| !file.unknown && file.text.starts_with("@@"))
        );
    }
    let result: DiffResult = call(&context, "git.diff", json!({"from": "HEAD", "paths": ["a.txt"]})).await;
    assert_eq!(
        result.results[0].text,
        "@@ -4,6 +4,6 @@\n new\n 4\n 5\n-6\n+six\n 7\n eight\n"
    );
    let log: LogResult = call(&context, "git.log", json!({"text": ["end"]})).await;
    let side = log.results[0].id.as_str();
    let result: DiffResult = call(&context, "git.diff", json!({"commit": &side[..8]})).await;
    assert_eq!(seen(&result), ["a.txt Modified +1 -1", "b.txt Added +1 -0"]);
    for (params, expected) in [
        (json!({"from": side}), "came by a merge"),
        (json!({"from": "HEAD~9"}), "names no commit"),
        (json!({"from": "HEAD", "to": "HEAD~1"}), "exchange them"),
        (json!({}), "either `commit`"),
        (json!({"commit": "HEAD", "from": "HEAD"}), "either `commit`"),
        (json!({"commit": "zz"}), "`git.log` lists ids"),
    ] {
        let error = try_call(&context, "git.diff", params.clone())
            .await
            .expect_err("refused");
        assert!(
            error.kind == ErrorKind::InvalidParams && error.message.contains(expected),
            "{params}: {error}"
        );
    }
    let error = try_call(&context, "git.blame", json!({"path": "gone.txt"}))
        .await
        .expect_err("refused");
    assert!(error.message.contains("no file"), "{error}");
}
