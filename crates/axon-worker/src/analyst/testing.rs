//! The playbook for tests: what no test names, which errors no test provokes, which tests prove little, and how tests are
//! written here. It judges by what test code mentions; it runs nothing, and says so where that matters.

mod conventions;
mod errors;
mod untested;
mod weak;

use axon_protocol::ToolCall;
use axon_tools::{Kind, Workspace, language_of};
use serde_json::json;

use super::brief::call;
use super::code_review::write_matches;
use super::write::Writer;
use super::{Brief, Conclusion, FINDINGS_MAX, Results};
pub use conventions::{plan as plan_conventions, write_conventions};
use errors::write_errors;
use untested::write_untested;

/// Functions without a test that one task names.
const UNTESTED_MAX: usize = 5;

/// What a task is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Everything,
    Untested,
    Errors,
    Weak,
    Conventions,
}

fn side(brief: &Brief) -> Side {
    let any = |starts: &[&str]| brief.aspect_has(starts);
    if any(&["untested", "uncovered", "coverage", "public"]) {
        Side::Untested
    } else if any(&["error", "failure", "edge", "correct"]) {
        Side::Errors
    } else if any(&["weak", "flak", "assert", "sleep", "ignored", "brittle", "reliab"]) {
        Side::Weak
    } else if any(&[
        "convention",
        "style",
        "helper",
        "fixture",
        "mock",
        "structure",
        "layout",
    ]) {
        Side::Conventions
    } else {
        Side::Everything
    }
}

/// Whether tests are to be written, which takes a model.
pub fn asks_for_tests(brief: &Brief) -> bool {
    let query = brief.query.to_lowercase();
    let words: Vec<&str> = query.split(|c: char| !c.is_alphanumeric()).collect();
    let at = words.iter().position(|word| {
        [
            "write",
            "add",
            "create",
            "generate",
            "implement",
            "build",
            "make",
            "prepare",
            "draft",
            "need",
            "want",
        ]
        .contains(word)
    });
    at.is_some_and(|at| words[at..].iter().take(8).any(|word| word.starts_with("test")))
}

/// What the query is about, without the words by which tests are asked for.
pub fn subject_words(brief: &Brief) -> String {
    const ASKING: &[&str] = &[
        "test",
        "tests",
        "tested",
        "testing",
        "unit",
        "integration",
        "regression",
        "write",
        "add",
        "create",
        "generate",
        "cover",
        "covered",
        "coverage",
        "untested",
        "cases",
        "case",
        "suite",
        "missing",
        "paths",
        "error",
        "errors",
        "public",
        "flaky",
        "weak",
    ];
    let words = brief
        .topic()
        .into_iter()
        .filter(|word| !ASKING.contains(&word.to_lowercase().as_str()));
    words.collect::<Vec<_>>().join(" ")
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let side = side(brief);
    let mut calls = Vec::new();
    let all = side == Side::Everything;
    if all || side == Side::Untested {
        calls.push(call(
            "untested",
            "code.metrics",
            json!({"paths": brief.paths, "untested": true, "max_results": 120}),
        ));
    }
    if side != Side::Errors {
        calls.push(call(
            "metrics",
            "code.metrics",
            json!({"paths": brief.paths, "max_results": 120}),
        ));
    }
    if all || side == Side::Weak {
        let paths = looked_at(brief);
        calls.push(call(
            "rules",
            "code.rules",
            json!({"aspects": ["tests"], "paths": paths, "max_results": 100}),
        ));
        calls.push(call(
            "inventory",
            "code.tests",
            json!({"paths": paths, "max_results": 50}),
        ));
    }
    if all || side == Side::Errors {
        calls.extend(errors::plan(brief));
    }
    if side == Side::Conventions || (all && asks_for_tests(brief)) {
        calls.extend(conventions::plan(brief));
    }
    let subject = subject_words(brief);
    if !subject.is_empty() {
        for (id, unit) in [("relevance", "chunk"), ("relevant_files", "file")] {
            let params = json!({"query": subject, "unit": unit, "paths": brief.paths, "roles": ["library", "entry"], "max_results": 40});
            calls.push(call(id, "code.rank", params));
        }
    }
    calls
}

/// Where weak tests are looked for. Beside a directory there may be tests of it anywhere: all of the scope is looked at. Of
/// files that the query names, only what stands in them is its business, unless it asks for weak tests.
fn looked_at(brief: &Brief) -> &[String] {
    let are_files = brief.paths.iter().all(|path| language_of(path).kind == Kind::Code);
    if side(brief) == Side::Everything && are_files {
        &brief.paths
    } else {
        &[]
    }
}

/// The second round: whether tests name the errors that were found.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    match side(brief) {
        Side::Errors | Side::Everything => errors::follow_up(results),
        _ => Vec::new(),
    }
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let mut writer = Writer::new(brief, workspace);
    let side = side(brief);
    if asks_for_tests(brief) {
        writer.note(
            "No test was written: that needs a model, and this worker is an analyst without one. What follows says what to test \
             and which tests to mirror.",
        );
    }
    match side {
        Side::Untested => write_untested(&mut writer, results, UNTESTED_MAX),
        Side::Errors => write_errors(&mut writer, brief, results, FINDINGS_MAX - 1),
        Side::Weak => write_weak(&mut writer, brief, results, FINDINGS_MAX),
        Side::Conventions => write_conventions(&mut writer, results, FINDINGS_MAX),
        Side::Everything => {
            let writes = asks_for_tests(brief);
            write_untested(&mut writer, results, if writes { 2 } else { 3 });
            let so_far = writer.len();
            write_errors(&mut writer, brief, results, so_far + 2);
            if writes {
                write_conventions(&mut writer, results, FINDINGS_MAX - 1);
            }
            write_weak(&mut writer, brief, results, FINDINGS_MAX);
        }
    }
    writer.note("Judged by the names that test code mentions: no test was run, and what tests reach by way of other code was not followed.");
    writer.finish()
}

fn write_weak(writer: &mut Writer<'_>, brief: &Brief, results: &Results, max: usize) {
    let before = writer.len();
    write_matches(writer, brief, results, max);
    weak::write_inventory(writer, results, max);
    if writer.len() == before && looked_at(brief).is_empty() {
        writer.note("No test of the scope sleeps for a fixed time, is switched off or asserts nothing, as far as the rules can tell.");
    }
}
