//! The playbook for everything else: passages that bear on the question, and, where it asks for problems or for risks, what
//! a review would say. It is put together from the other playbooks and adds no way of its own.

use axon_protocol::ToolCall;
use axon_tools::Workspace;
use serde_json::json;

use super::brief::call;
use super::write::Writer;
use super::{Brief, Conclusion, FINDINGS_MAX, Results, code_review, research};

/// Words that ask for what is wrong or could be better.
const PROBLEM_WORDS: &[&str] = &[
    "problem", "wrong", "improv", "risk", "issue", "weak", "bad", "danger", "fail", "bug", "quality", "smell", "fix",
    "safe", "secur", "robust", "refactor", "clean", "debt", "panic", "error", "change",
];

fn is_review(brief: &Brief) -> bool {
    let aspect = brief.aspect_key();
    ["risk", "complex", "secur", "concurr", "maintain", "perform"]
        .iter()
        .any(|word| aspect.contains(word))
}

fn asks_for_problems(brief: &Brief) -> bool {
    let query = brief.query.to_lowercase();
    PROBLEM_WORDS.iter().any(|word| query.contains(word))
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    if is_review(brief) {
        let mut calls = research::plan_named(brief);
        calls.extend(code_review::plan(brief));
        return calls;
    }
    let mut calls = research::plan(brief);
    if asks_for_problems(brief) {
        calls.push(call(
            "rules",
            "code.rules",
            json!({"paths": brief.paths, "min_severity": "medium", "max_results": 100}),
        ));
    }
    calls
}

/// The second round.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    if is_review(brief) {
        return code_review::follow_up(brief, results);
    }
    research::follow_up(brief, results)
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    if is_review(brief) && research::all_absent(brief, results) {
        // A review of other code would answer a question that nobody asked.
        let mut writer = Writer::new(brief, workspace);
        research::write_absent(&mut writer, brief, results);
        return writer.finish();
    }
    if is_review(brief) {
        return code_review::conclude(brief, results, workspace);
    }
    let mut writer = Writer::new(brief, workspace);
    research::write(&mut writer, brief, results);
    if asks_for_problems(brief) && !research::all_absent(brief, results) {
        code_review::write_matches(&mut writer, brief, results, FINDINGS_MAX);
    }
    if writer.len() == 0 {
        writer.note(
            "Nothing in the scope fits the question. Other words, or the name of a file or function, would help.",
        );
    }
    writer.finish()
}
