//! The playbook for defects: ranked search, names, quoted messages, stack traces and what earlier tasks found are combined
//! into a score for each function, and the likeliest ones are reported with the lines that speak for them.

mod history;
mod message;
mod report;
mod sides;
mod suspects;

use axon_protocol::ToolCall;
use axon_tools::Workspace;
use axon_tools::code::{RulesResult, SearchResult, last_name};
use serde_json::json;

use super::brief::call;
use super::write::Writer;
use super::{Brief, Conclusion, Results, research};
use history::{write_blame, write_history};
use message::longest_words;
pub use message::message_pattern;
use report::{Signs, write_risks, write_risks_within, write_suspects};
use sides::{
    write_absent_messages, write_bare_frames, write_callers, write_messages, write_no_timing, write_similar,
    write_tests,
};
use suspects::suspects;

/// Quoted texts and names that are searched for.
const SEARCHES_MAX: usize = 3;

/// Files the second round looks into.
const FILES_MAX: usize = 5;

/// Files whose commits are looked at.
const HISTORY_FILES_MAX: usize = 3;

/// Likely files that are asked for.
const LOCATED_MAX: usize = 30;

/// Suspects whose lines are looked up in the history.
const BLAMED_MAX: usize = 2;

/// Functions that are reported as likely places.
const SUSPECTS_MAX: usize = 5;

/// What a task about a defect is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Place,
    ErrorPath,
    Inputs,
    Timing,
    Tests,
    Similar,
}

fn side(brief: &Brief) -> Side {
    let aspect = brief.aspect_key();
    let any = |words: &[&str]| {
        aspect
            .split('_')
            .any(|word| words.iter().any(|start| word.starts_with(start)))
    };
    if any(&["similar", "sibling", "duplic"]) {
        Side::Similar
    } else if any(&["test", "histor", "regress", "document"]) {
        Side::Tests
    } else if any(&["tim", "concurr", "race", "deadlock", "perform"]) {
        Side::Timing
    } else if any(&["input", "state", "caller", "edge", "config"]) {
        Side::Inputs
    } else if any(&["error", "propag", "panic", "exception"]) {
        Side::ErrorPath
    } else {
        Side::Place
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let code = json!(["library", "entry"]);
    let question = brief.question();
    let mut calls = vec![
        call(
            "located",
            "code.locate",
            json!({"symptom": brief.symptom(), "max_results": LOCATED_MAX}),
        ),
        call(
            "chunks",
            "code.rank",
            json!({"query": question, "roles": code, "globs": CODE_ONLY, "max_results": 40}),
        ),
    ];
    if !brief.symbols.is_empty() {
        let names: Vec<&str> = brief.symbols.iter().map(String::as_str).collect();
        calls.push(call(
            "defined",
            "code.outline",
            json!({"names": names, "max_results": 60}),
        ));
    }
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        if let Some(pattern) = message_pattern(quote) {
            let params = json!({"pattern": pattern, "case_sensitive": false, "max_results": 60});
            calls.push(call(format!("message_{index}"), "code.search", params));
        }
    }
    for (index, symbol) in brief.symbols.iter().take(SEARCHES_MAX).enumerate() {
        let params = json!({"pattern": last_name(symbol), "literal": true, "word": true, "case_sensitive": true, "max_results": 80});
        calls.push(call(format!("uses_{index}"), "code.search", params));
    }
    if side(brief) == Side::Tests {
        calls.insert(
            1,
            call(
                "tests",
                "code.rank",
                json!({"query": question, "roles": ["test"], "max_results": 20}),
            ),
        );
        calls.insert(
            2,
            call(
                "docs",
                "code.rank",
                json!({"query": question, "globs": research::DOCS_ONLY, "max_results": 10}),
            ),
        );
    }
    calls
}

/// Settings and documents are not where a defect is.
const CODE_ONLY: &[&str] = &[
    "!*.md", "!*.rst", "!*.txt", "!*.adoc", "!*.toml", "!*.json", "!*.yml", "!*.yaml", "!*.cfg", "!*.ini", "!*.xml",
];

/// The second round: what is risky in the likeliest files, and who names the likeliest functions.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let suspects = suspects(brief, results);
    let unused = |(_, search): &(String, SearchResult)| search.matches == 0;
    // A name that is found in this spelling nowhere is looked for in any other before it is called absent.
    let mut calls = if results.all::<SearchResult>("uses_").iter().any(unused) {
        research::plan_named(brief)
    } else {
        Vec::new()
    };
    calls.extend(plan_parts(brief, results));
    let mut files: Vec<&str> = Vec::new();
    for suspect in &suspects {
        if !files.contains(&suspect.path.as_str()) && files.len() < FILES_MAX {
            files.push(&suspect.path);
        }
    }
    if files.is_empty() {
        return calls;
    }
    let aspects: &[&str] = match side(brief) {
        Side::Timing => &["concurrency", "performance"],
        Side::ErrorPath => &["error_handling"],
        _ => &["error_handling", "correctness", "concurrency"],
    };
    calls.push(call(
        "risks",
        "code.rules",
        json!({"paths": files, "aspects": aspects, "max_results": 100}),
    ));
    if side(brief) == Side::Similar
        && let Some(first) = suspects.first()
    {
        let query = format!("{} {}", first.name, brief.topic().join(" "));
        calls.push(call(
            "similar",
            "code.rank",
            json!({"query": query, "roles": ["library", "entry"], "globs": CODE_ONLY, "max_results": 12}),
        ));
        calls.push(call(
            "risks_everywhere",
            "code.rules",
            json!({"aspects": aspects, "max_results": 200}),
        ));
    }
    if side(brief) == Side::Tests && brief.history {
        let files = &files[..files.len().min(HISTORY_FILES_MAX)];
        calls.push(call("history", "git.log", json!({"paths": files, "max_results": 100})));
        let first = files[..1].to_vec();
        calls.push(call(
            "companions",
            "git.co_change",
            json!({"paths": first, "max_results": 10}),
        ));
    }
    if brief.history && matches!(side(brief), Side::Place | Side::Tests) {
        for (index, suspect) in suspects.iter().take(BLAMED_MAX).enumerate() {
            let params = json!({"path": suspect.path, "line": suspect.line, "end_line": suspect.end_line});
            calls.push(call(format!("blame_{index}"), "git.blame", params));
        }
    }
    for (index, suspect) in suspects
        .iter()
        .filter(|suspect| is_telling(&suspect.name))
        .take(SEARCHES_MAX)
        .enumerate()
    {
        let params = json!({"pattern": last_name(&suspect.name), "literal": true, "word": true, "case_sensitive": true, "max_results": 60});
        calls.push(call(format!("mentions_{index}"), "code.search", params));
    }
    calls
}

/// Messages are often put together: the words between the inserted values are looked for where the whole was not found.
fn plan_parts(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let quotes = brief.quotes.iter().take(SEARCHES_MAX).enumerate();
    let lost = quotes.filter(|(index, _)| {
        results
            .get::<SearchResult>(&format!("message_{index}"))
            .is_none_or(|search| search.matches == 0)
    });
    lost.filter_map(|(index, quote)| {
        let params = json!({"pattern": longest_words(quote)?, "case_sensitive": false, "max_results": 40});
        Some(call(format!("part_{index}"), "code.search", params))
    })
    .collect()
}

/// Whether a name is long enough to be searched for by itself.
fn is_telling(name: &str) -> bool {
    let last = last_name(name);
    last.len() >= 5
        && !matches!(
            last,
            "default" | "clone" | "build" | "parse" | "write" | "insert" | "remove" | "update"
        )
}

/// Whether anything but words points at code: of what the question names, nothing may occur.
fn signs(brief: &Brief, results: &Results) -> Signs {
    let mut messages = results.all::<SearchResult>("message_");
    messages.extend(results.all("part_"));
    let said = messages.iter().any(|(_, search)| search.matches > 0);
    if research::all_absent(brief, results) && !said && brief.frames.is_empty() {
        Signs::Words
    } else {
        Signs::Any
    }
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let suspects = suspects(brief, results);
    let risks = results.get::<RulesResult>("risks").unwrap_or_default();
    let mut writer = Writer::new(brief, workspace);
    research::write_absent(&mut writer, brief, results);
    write_absent_messages(&mut writer, brief, results);
    write_bare_frames(&mut writer, brief);
    let signs = signs(brief, results);
    match side(brief) {
        Side::Place if signs == Signs::Words => write_suspects(&mut writer, brief, &suspects, SUSPECTS_MAX, signs),
        _ if signs == Signs::Words => {}
        Side::Place => {
            write_messages(&mut writer, brief, results);
            write_risks_within(&mut writer, brief, &suspects, &risks, 2);
            write_suspects(&mut writer, brief, &suspects, SUSPECTS_MAX, signs);
            write_blame(&mut writer, brief, results, &suspects);
        }
        Side::ErrorPath => {
            write_messages(&mut writer, brief, results);
            write_risks(&mut writer, &suspects, &risks, 4);
            write_suspects(&mut writer, brief, &suspects, 2, signs);
        }
        Side::Inputs => {
            write_callers(&mut writer, &suspects, results);
            write_risks_within(&mut writer, brief, &suspects, &risks, 2);
            write_suspects(&mut writer, brief, &suspects, 2, signs);
        }
        Side::Timing => {
            write_risks(&mut writer, &suspects, &risks, 5);
            if writer.len() == 0 {
                write_no_timing(&mut writer, brief, &suspects, &risks);
            }
        }
        Side::Tests => {
            write_history(&mut writer, brief, results, &suspects);
            write_blame(&mut writer, brief, results, &suspects);
            write_tests(&mut writer, brief, results, &suspects);
        }
        Side::Similar => {
            write_similar(&mut writer, &suspects, results);
            write_suspects(&mut writer, brief, &suspects, 1, signs);
        }
    }
    if writer.len() == 0 {
        writer.note("Nothing in the scope fits the description. The exact message, the name of a function or a line of the stack trace would help most.");
    }
    writer.finish()
}
