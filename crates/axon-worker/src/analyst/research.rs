//! The playbook for questions about what is there: it finds the passages that answer, and says what they say, word for
//! word where it can. It claims nothing that no passage shows.

mod named;
mod places;
mod report;
mod structure;

use std::collections::BTreeSet;

use axon_protocol::ToolCall;
use axon_tools::Workspace;
use axon_tools::code::{OutlineResult, RankResult, last_name};
use serde_json::{Value, json};

use super::brief::call;
use super::write::Writer;
use super::{Brief, Conclusion, Results, bug_investigation, dependencies};
pub use named::{all_absent, figures, nowhere, plan_named, write_absent};
use named::{asks_for_uses, plan_occurrences, write_occurrences, write_uses_of};
use report::{is_about_absent_names_alone, write_constants, write_quotes, write_subject, write_uses};
pub use report::{write_defined, write_ranked};
use structure::{is_overview, parts, write_structure};

/// Globs of texts for people.
pub const DOCS_ONLY: &[&str] = &["*.md", "*.markdown", "*.rst", "*.txt", "*.adoc", "README*"];

/// Things compared that are looked up.
const SUBJECTS_MAX: usize = 4;

/// Passages reported.
const PASSAGES_MAX: usize = 6;

/// What a task of research is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Passages,
    Structure,
    Behaviour,
    Limits,
    Usage,
    Code,
}

fn side(brief: &Brief) -> Side {
    let aspect = brief.aspect_key();
    let any = |words: &[&str]| {
        aspect
            .split('_')
            .any(|word| words.iter().any(|start| word.starts_with(start)))
    };
    if any(&["structur", "overview", "architect", "module", "layout", "depend"]) {
        Side::Structure
    } else if any(&["behavi", "flow", "mechanism", "lifecycle"]) {
        Side::Behaviour
    } else if any(&["limit", "decision", "config", "setting", "rationale", "default"]) {
        Side::Limits
    } else if any(&["usage", "example", "test", "caller"]) {
        Side::Usage
    } else if aspect == "relevant_code" {
        Side::Code
    } else {
        Side::Passages
    }
}

/// What to rank by: the words of the question that carry its meaning, and those of an aspect of the asker's own.
fn question(brief: &Brief) -> String {
    let mut words = brief.topic();
    let own = !matches!(
        brief.aspect_key().as_str(),
        "" | "answer" | "passages" | "relevant_code" | "result"
    ) && side(brief) == Side::Passages;
    if own {
        words.push(brief.aspect.clone());
    }
    if side(brief) == Side::Limits {
        words.push("default limit maximum timeout because".to_owned());
    }
    if words.is_empty() {
        brief.question()
    } else {
        words.join(" ")
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let question = question(brief);
    let names: Vec<&str> = brief.symbols.iter().map(String::as_str).collect();
    let docs = call(
        "docs",
        "code.rank",
        json!({"query": question, "globs": DOCS_ONLY, "paths": brief.paths, "max_results": 15}),
    );
    let code = call(
        "code",
        "code.rank",
        json!({"query": question, "paths": brief.paths, "roles": ["library", "entry"], "max_results": 25}),
    );
    let files = call(
        "files",
        "code.rank",
        json!({"query": question, "unit": "file", "paths": brief.paths, "max_results": 30}),
    );
    let defined = call("defined", "code.outline", json!({"names": names, "max_results": 40}));
    let mut calls = Vec::new();
    match side(brief) {
        Side::Passages => calls.extend([docs, code, files]),
        Side::Code => calls.extend([code, files]),
        Side::Behaviour => calls.extend([code, docs, files]),
        Side::Limits => {
            calls.extend([docs, code]);
            let params = json!({"pattern": r"\b(const|static)\s+\w*(MAX|MIN|LIMIT|DEFAULT|TIMEOUT|SIZE|INTERVAL|RETRIES|CAPACITY)\w*|^[A-Z_]*(MAX|LIMIT|DEFAULT|TIMEOUT)[A-Z_]*\s*=", "paths": brief.paths, "case_sensitive": true, "max_results": 300});
            calls.push(call("constants", "code.search", params));
        }
        Side::Usage => {
            calls.push(call(
                "uses",
                "code.rank",
                json!({"query": question, "roles": ["test", "example"], "max_results": 20}),
            ));
            calls.extend([docs, code]);
        }
        Side::Structure => {
            if is_overview(brief) {
                calls.push(call(
                    "list",
                    "code.list",
                    json!({"paths": brief.paths, "max_results": 1_500}),
                ));
            }
            calls.push(call("files", "code.rank", json!({"query": question, "unit": "file", "paths": brief.paths, "roles": ["library", "entry"], "max_results": 20})));
            calls.push(docs);
        }
    }
    if dependencies::asked(brief) {
        calls.insert(0, dependencies::plan(brief));
    }
    if !names.is_empty() {
        calls.insert(1.min(calls.len()), defined);
    }
    // Whether what is named is there at all decides what everything else is worth.
    calls.splice(0..0, plan_named(brief).into_iter().chain(plan_occurrences(brief)));
    for (index, subject) in subjects(brief).iter().enumerate() {
        calls.push(call(
            format!("subject_{index}"),
            "code.rank",
            json!({"query": subject, "max_results": 10}),
        ));
    }
    for (index, quote) in brief.quotes.iter().take(2).enumerate() {
        calls.push(call(format!("quote_{index}"), "code.search", quote_params(quote)));
    }
    calls
}

/// A search for a quoted text; the numbers in it are what a message was given, and stand in no file.
fn quote_params(quote: &str) -> Value {
    let numbered = quote.contains(|c: char| c.is_ascii_digit());
    match bug_investigation::message_pattern(quote).filter(|_| numbered) {
        Some(pattern) => json!({"pattern": pattern, "case_sensitive": false, "max_results": 20}),
        None => json!({"pattern": quote, "literal": true, "case_sensitive": false, "max_results": 20}),
    }
}

/// The things compared, unless the task is about one of them alone.
fn subjects(brief: &Brief) -> Vec<String> {
    if side(brief) != Side::Passages {
        return Vec::new();
    }
    let own = brief
        .subjects
        .iter()
        .find(|subject| subject.eq_ignore_ascii_case(&brief.aspect));
    match own {
        Some(own) => vec![own.clone()],
        None => brief.subjects.iter().take(SUBJECTS_MAX).cloned().collect(),
    }
}

/// The second round: what the best files hold, and who uses what is named.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    if side(brief) == Side::Structure {
        let files = parts(brief, results);
        if !files.is_empty() {
            calls.push(call(
                "parts",
                "code.outline",
                json!({"paths": files, "public": true, "max_results": 300}),
            ));
        }
        return calls;
    }
    let named = results.get::<OutlineResult>("defined").unwrap_or_default();
    let best = results.get::<RankResult>("code").unwrap_or_default();
    let mut names: Vec<String> = named.results.iter().map(|item| item.name.clone()).collect();
    if matches!(side(brief), Side::Behaviour | Side::Usage) {
        names.extend(best.results.iter().take(3).map(|chunk| chunk.name.clone()));
    }
    let mut seen = BTreeSet::new();
    for name in names.iter().map(|name| last_name(name)).filter(|name| name.len() >= 4) {
        if seen.len() < 3 && seen.insert(name.to_owned()) {
            let params =
                json!({"pattern": name, "literal": true, "word": true, "case_sensitive": true, "max_results": 60});
            calls.push(call(format!("uses_of_{}", seen.len()), "code.search", params));
        }
    }
    calls
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let mut writer = Writer::new(brief, workspace);
    write(&mut writer, brief, results);
    if writer.len() == 0 {
        writer.note("No passage of the scope speaks of what is asked. Other words, or the name of a file or function, would help.");
    }
    writer.finish()
}

/// Writes the findings of the task's side, after what answers the question word for word.
pub fn write(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    write_absent(writer, brief, results);
    if all_absent(brief, results) && is_about_absent_names_alone(brief, results) {
        return;
    }
    write_occurrences(writer, brief, results);
    let uses_written = asks_for_uses(brief) && write_uses_of(writer, brief, results);
    dependencies::write_inventory(writer, results);
    match side(brief) {
        // The lines that use a name answer who does; functions with a similar name do not.
        Side::Passages | Side::Code | Side::Behaviour | Side::Usage if uses_written => {
            write_defined(writer, brief, results);
        }
        Side::Structure => {
            write_structure(writer, brief, results);
            write_ranked(writer, brief, &["docs"], results, 2);
        }
        Side::Limits => {
            write_constants(writer, brief, results);
            write_ranked(writer, brief, &["docs", "code"], results, 5);
        }
        Side::Usage => {
            write_uses(writer, results);
            write_ranked(writer, brief, &["uses"], results, 4);
            if writer.len() < 2 {
                write_ranked(writer, brief, &["docs"], results, 2);
            }
        }
        Side::Behaviour => {
            write_defined(writer, brief, results);
            write_ranked(writer, brief, &["code", "docs"], results, PASSAGES_MAX);
        }
        Side::Code => {
            write_defined(writer, brief, results);
            write_ranked(writer, brief, &["code"], results, PASSAGES_MAX);
        }
        Side::Passages => {
            write_quotes(writer, brief, results);
            write_defined(writer, brief, results);
            for (index, subject) in subjects(brief).iter().enumerate() {
                write_subject(writer, brief, results, index, subject);
            }
            write_ranked(writer, brief, &["docs", "code"], results, PASSAGES_MAX);
        }
    }
}
