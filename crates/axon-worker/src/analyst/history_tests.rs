//! Playbooks on a repository with a past: what they say of it, and that they say nothing where there is none.

use std::path::Path;
use std::process::Command;

use axon_protocol::TaskStatus;
use serde_json::json;

use super::tests::{Bench, claims, plain, task};

fn git(dir: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .current_dir(dir)
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A function of many paths.
fn hard(name: &str) -> String {
    let branches: String = (0..24)
        .map(|n| format!("    if a > {n} {{\n        while b > {n} {{\n            if c == {n} {{\n                b -= 1;\n            }}\n        }}\n    }}\n"))
        .collect();
    format!("/// Decides.\npub fn {name}(a: u32, mut b: u32, c: u32) -> u32 {{\n{branches}    b\n}}\n")
}

/// `busy.rs` and its companion change again and again, `quiet.rs` never does.
fn repository() -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let commit = |subject: &str| {
        git(dir.path(), &["add", "-A"]);
        git(dir.path(), &["commit", "-q", "-m", subject]);
    };
    git(dir.path(), &["init", "-q"]);
    write("src/quiet.rs", &hard("settle"));
    write("src/busy.rs", &hard("dispatch"));
    write("src/wire.rs", "pub fn encode() {}\n");
    commit("Begin");
    for (round, subject) in ["Retry what was dropped", "Dispatch in batches", "Tidy"]
        .into_iter()
        .enumerate()
    {
        write("src/busy.rs", &format!("{}// {round}\n", hard("dispatch")));
        write("src/wire.rs", &format!("pub fn encode() {{}} // {round}\n"));
        commit(subject);
    }
    Bench::in_directory(dir)
}

fn with_history(task: &mut serde_json::Value) {
    task["delegation"]["allowed_tools"] = json!(["code.*", "git.*"]);
}

#[tokio::test]
async fn of_two_hard_functions_the_one_that_keeps_changing_comes_first() {
    let bench = repository();
    let query = "Which functions are hard to maintain?";
    let outcome = bench.run(&task("code_review", "complexity", query, with_history)).await;
    let first = &outcome.findings[0];
    assert!(first.claim.contains("`dispatch`"), "{:?}", claims(&outcome.findings));
    assert!(
        first
            .rationale
            .contains("Its file changed in 4 of the latest 4 commits, by one person"),
        "{}",
        first.rationale
    );
    assert!(
        first
            .evidence
            .iter()
            .any(|evidence| evidence.location().contains("git.hotspots"))
    );
    // Without leave to look at the history, what is the same is told apart by its path alone.
    let outcome = bench.run(&plain("code_review", "complexity", query)).await;
    assert_eq!(outcome.status, TaskStatus::Complete);
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| !finding.rationale.contains("commits"))
    );
}

#[tokio::test]
async fn the_history_of_likely_places_is_told_with_what_changes_with_them() {
    let bench = repository();
    let query = "Why does `dispatch` in src/busy.rs lose batches?";
    let outcome = bench
        .run(&task("bug_investigation", "tests and history", query, with_history))
        .await;
    let found = claims(&outcome.findings);
    assert!(
        found
            .iter()
            .any(|claim| claim.starts_with("`src/busy.rs` changed in 4 commits")),
        "{found:?}"
    );
    assert!(
        found.contains(&"Changes of `src/busy.rs` usually come with changes of `src/quiet.rs` and `src/wire.rs`")
            || found.contains(&"Changes of `src/busy.rs` usually come with changes of `src/wire.rs`"),
        "{found:?}"
    );
    let history = outcome
        .findings
        .iter()
        .find(|finding| finding.tool == "git.log")
        .expect("there");
    assert!(
        history.rationale.starts_with("Closest to the question: "),
        "{}",
        history.rationale
    );
    assert!(
        history.rationale.contains("“Dispatch in batches” (Ada, "),
        "{}",
        history.rationale
    );
}

#[tokio::test]
async fn a_workspace_without_a_past_is_investigated_all_the_same() {
    let bench = Bench::of(&[("src/busy.rs", &hard("dispatch"))]);
    for (playbook, aspect) in [
        ("code_review", "complexity"),
        ("bug_investigation", "tests and history"),
    ] {
        let outcome = bench
            .run(&task(playbook, aspect, "Why does `dispatch` fail?", with_history))
            .await;
        assert_eq!(outcome.status, TaskStatus::Complete, "{playbook}: {:?}", outcome.reason);
    }
}

#[tokio::test]
async fn tests_that_prove_nothing_are_found_where_no_rule_looks() {
    let tests = "describe('a', () => {\n  it('loads', async () => {\n    await load()\n    await save()\n  })\n  it.skip('saves', () => {\n    expect(save()).toBe(1)\n  })\n  it('counts', () => {\n    expect(count()).toBe(1)\n  })\n})\n";
    let bench = Bench::of(&[
        ("src/a.ts", "export function load() { return 1 }\n"),
        ("src/a.test.ts", tests),
    ]);
    let outcome = bench
        .run(&plain("testing", "weak tests", "Which tests prove little?"))
        .await;
    let found = claims(&outcome.findings);
    assert!(found.contains(&"The test `loads` checks nothing"), "{found:?}");
    assert!(found.contains(&"The test `saves` is switched off"), "{found:?}");
}
