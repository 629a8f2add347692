//! What a question names, looked up word for word: whether it occurs at all, who uses it, and whether code holds it. What
//! occurs nowhere is said first, since nothing that is merely alike answers the question.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axon_protocol::{Level, Polarity, ToolCall};
use axon_tools::code::{Hit, Role, SearchResult, last_name, query_terms, role_of};
use axon_tools::{Kind, language_of};
use regex::Regex;
use serde_json::{Value, json};

use crate::analyst::brief::{call, is_generic_word};
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Names of a question that are looked up.
const NAMED_MAX: usize = 3;
/// Hits of one of them that are looked at.
const HITS_MAX: usize = 300;
/// Lines that are shown of those that use it.
const SITES_MAX: usize = 6;
/// Words of a thing whose existence is asked for.
const OBJECT_WORDS_MAX: usize = 3;

/// Searches for each name, in any case and within longer names: only what none of them finds is called absent.
pub fn plan_named(brief: &Brief) -> Vec<ToolCall> {
    let names = brief.named().into_iter().take(NAMED_MAX).enumerate();
    names
        .map(|(index, name)| call(format!("named_{index}"), "code.search", name_params(name)))
        .collect()
}

fn name_params(name: &str) -> Value {
    json!({"pattern": last_name(name), "literal": true, "case_sensitive": false, "max_results": HITS_MAX})
}

/// The names that occur nowhere, each with the number of files searched.
fn absent<'b>(brief: &'b Brief, results: &Results) -> Vec<(&'b str, usize)> {
    let names = brief.named().into_iter().take(NAMED_MAX).enumerate();
    names
        .filter_map(|(index, name)| {
            let search = results.get::<SearchResult>(&format!("named_{index}"))?;
            (search.matches == 0 && search.files > 0).then_some((name, search.files))
        })
        .collect()
}

/// Whether the question names code and none of it occurs.
pub fn all_absent(brief: &Brief, results: &Results) -> bool {
    let named = brief.named().len().min(NAMED_MAX);
    named > 0 && absent(brief, results).len() == named
}

/// The terms of the names that occur nowhere: what merely shares them is not what is asked for.
pub fn absent_terms(brief: &Brief, results: &Results) -> BTreeSet<String> {
    let names = absent(brief, results);
    names.iter().flat_map(|(name, _)| query_terms(name)).collect()
}

/// Says of each name that occurs nowhere that it does not.
pub fn write_absent(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (name, files) in absent(brief, results) {
        let mut draft = nowhere(&format!("`{}`", last_name(name)), name, files);
        // Beside places that only suggest themselves, that there is no such thing matters most.
        (draft.severity, draft.impact) = match brief.playbook.as_str() {
            "bug_investigation" => (Level::Medium, Level::Medium),
            _ => (Level::Info, Level::Info),
        };
        draft.evidence = vec![tool_evidence("code.search", name_params(name), &figures(files))];
        writer.write(draft);
    }
}

/// The claim that something occurs nowhere.
pub fn nowhere(what: &str, subject: &str, files: usize) -> Draft {
    let claim = format!("{what} occurs nowhere in {}", count(files, "file"));
    let mut draft = Draft::new(claim, subject, "code.search");
    draft.rationale =
        "The question holds it in this spelling. It may come from a dependency, from another version, or be spelled otherwise."
            .to_owned();
    draft.confidence = 0.95;
    draft.polarity = Polarity::Negative;
    draft
}

/// The figures of a search that found nothing.
pub fn figures(files: usize) -> String {
    format!("{{\"files\":{files},\"matching_files\":0,\"matches\":0}}")
}

static USES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(call(s|ed|ers?|ing)?|us(e|es|ed|ers?|ing|ages?)|invok(e|es|ed|ing)|references?|referenced)\b")
        .ok()
});

/// Whether the question asks who calls or uses what it names.
pub fn asks_for_uses(brief: &Brief) -> bool {
    !brief.named().is_empty() && USES.as_ref().is_some_and(|uses| uses.is_match(&brief.text))
}

/// Whether a line uses a name: it holds it as a word, and neither defines nor imports it nor only speaks of it.
fn uses(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let is_word = |at: usize| {
        let inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inner(line[..at].chars().next_back()) && !inner(line[at + name.len()..].chars().next())
    };
    if is_comment(line) || is_import(line) {
        return false;
    }
    let mut found = line.match_indices(name).map(|(at, _)| at).filter(|at| is_word(*at));
    found.any(|at| !defines(&line[..at]))
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    ["//", "/*", "* ", "# ", "--", ";;"]
        .iter()
        .any(|mark| line.starts_with(mark))
        || line == "#"
        || line == "*"
}

fn is_import(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    matches!(words.as_slice(), ["use" | "import" | "from" | "#include", ..])
        || words.first().is_some_and(|first| first.starts_with("pub")) && words.get(1) == Some(&"use")
}

/// Whether what stands before a name makes it a definition.
fn defines(before: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default();
    matches!(
        last,
        "fn" | "def"
            | "func"
            | "function"
            | "class"
            | "struct"
            | "enum"
            | "trait"
            | "type"
            | "interface"
            | "mod"
            | "macro_rules!"
    )
}

/// Where what the question names is called or used, calls first. Says whether it wrote something.
pub fn write_uses_of(writer: &mut Writer<'_>, brief: &Brief, results: &Results) -> bool {
    let mut written = false;
    for (index, name) in brief.named().into_iter().take(NAMED_MAX).enumerate() {
        let Some(search) = results.get::<SearchResult>(&format!("named_{index}")) else {
            continue;
        };
        let last = last_name(name);
        let called = |hit: &&Hit| hit.text.contains(&format!("{last}(")) || hit.text.contains(&format!("{last}!("));
        let in_code = |hit: &&Hit| is_code(&hit.path) && uses(&hit.text, last);
        let mut sites: Vec<&Hit> = search.results.iter().filter(in_code).collect();
        sites.sort_by_key(|hit| (role_of(&hit.path) == Role::Test, !called(hit)));
        if sites.is_empty() || search.matches == 0 {
            continue;
        }
        let calls = sites.iter().copied().filter(|hit| called(hit)).count();
        let verb = if calls == sites.len() { "called" } else { "used" };
        let mut users: Vec<String> = Vec::new();
        for user in sites.iter().filter_map(|hit| hit.function.clone()) {
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let places: Vec<String> = sites.iter().map(|hit| format!("{}:{}", hit.path, hit.line)).collect();
        let by = if users.is_empty() {
            format!("at {}", listed(&places, 3))
        } else {
            format!("by {}", listed(&users, 4))
        };
        let claim = format!("`{last}` is {verb} {by}, in {}", count(sites.len(), "line"));
        let mut draft = Draft::new(claim, last, "code.search");
        draft.rationale = match calls {
            _ if calls == sites.len() => format!("Each is a call: {}.", listed(&places, SITES_MAX)),
            0 => format!("None of them is a direct call: {}.", listed(&places, SITES_MAX)),
            _ => format!(
                "Calls are {calls} of them, and come first: {}.",
                listed(&places, SITES_MAX)
            ),
        };
        draft.confidence = 0.9;
        draft.evidence = sites
            .iter()
            .take(SITES_MAX)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line))
            .collect();
        written |= writer.write(draft);
    }
    written
}

static WHETHER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)^\W*(?:(?:do|does|has|have|did)\b.*?\b(?:use|uses|using|contain|have|has|include|hold|rely on|exist)\s+",
        r"|(?:is|are) there\s+)(?P<object>[^.,;:?!()]+)",
    ))
    .ok()
});

/// The thing that the question asks about whether the workspace uses or holds it: its words.
fn object(text: &str) -> Vec<String> {
    let Some(found) = WHETHER.as_ref().and_then(|whether| whether.captures(text)) else {
        return Vec::new();
    };
    let ends = |word: &&str| {
        !matches!(
            word.to_lowercase().as_str(),
            "in" | "to"
                | "for"
                | "when"
                | "with"
                | "on"
                | "at"
                | "by"
                | "that"
                | "which"
                | "where"
                | "from"
                | "and"
                | "or"
        )
    };
    let words = found["object"].trim().to_owned();
    let telling = words
        .split_whitespace()
        .take_while(ends)
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|word| !query_terms(word).is_empty() && !is_generic_word(word) && !word.eq_ignore_ascii_case("code"));
    telling.take(OBJECT_WORDS_MAX).map(str::to_owned).collect()
}

/// An expression for the words as code writes them: joined, apart or with underscores, in any of their forms.
fn occurrence_pattern(words: &[String]) -> Option<String> {
    let form = |word: &String| {
        let stem = query_terms(word)
            .into_iter()
            .next()
            .filter(|stem| word.to_lowercase().starts_with(stem.as_str()));
        format!(
            "{}[a-z]{{0,5}}",
            regex::escape(&stem.unwrap_or_else(|| word.to_lowercase()))
        )
    };
    (!words.is_empty()).then(|| format!(r"\b{}\b", words.iter().map(form).collect::<Vec<_>>().join(r"[\s_-]?")))
}

/// The search for what the question asks about whether it is there.
pub fn plan_occurrences(brief: &Brief) -> Option<ToolCall> {
    let pattern = occurrence_pattern(&object(&brief.text))?;
    Some(call("occurrences", "code.search", occurrence_params(brief, &pattern)))
}

fn occurrence_params(brief: &Brief, pattern: &str) -> Value {
    json!({"pattern": pattern, "case_sensitive": false, "paths": brief.paths, "max_results": HITS_MAX})
}

/// Whether code holds what the question asks about whether it is there, with the lines that do.
pub fn write_occurrences(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let words = object(&brief.text);
    let (Some(search), Some(pattern)) = (results.get::<SearchResult>("occurrences"), occurrence_pattern(&words)) else {
        return;
    };
    let what = words.join(" ");
    let in_code = |hit: &&Hit| is_code(&hit.path) && !is_comment(&hit.text);
    let mut hits: Vec<&Hit> = search.results.iter().filter(in_code).collect();
    let shipped = |hit: &Hit| matches!(role_of(&hit.path), Role::Library | Role::Entry);
    hits.sort_by_key(|hit| !shipped(hit));
    if hits.is_empty() && search.omitted > 0 {
        return;
    }
    let mut draft = if hits.is_empty() {
        let claim = format!("No line of code holds `{what}` in {}", count(search.files, "file"));
        let mut draft = Draft::new(claim, what.clone(), "code.search");
        draft.polarity = Polarity::Negative;
        draft.rationale = match search.matches {
            0 => "Neither code nor documents hold the word.".to_owned(),
            lines => format!("Only comments and documents do, in {}.", count(lines, "line")),
        };
        let quote = format!("{{\"files\":{},\"matches\":{}}}", search.files, search.matches);
        draft.evidence = vec![tool_evidence("code.search", occurrence_params(brief, &pattern), &quote)];
        draft
    } else {
        let files: BTreeSet<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
        let places: Vec<String> = hits.iter().map(|hit| format!("{}:{}", hit.path, hit.line)).collect();
        let only = if hits.iter().any(|hit| shipped(hit)) {
            ""
        } else {
            ", all of them tests or examples"
        };
        let claim = format!(
            "Code holds `{what}` in {} of {}{only}: {}",
            count(hits.len(), "line"),
            count(files.len(), "file"),
            listed(&places, 4)
        );
        let mut draft = Draft::new(claim, what.clone(), "code.search");
        draft.rationale =
            "The question asks whether it is there; lines of code show it, comments and documents do not count."
                .to_owned();
        draft.evidence = hits
            .iter()
            .take(SITES_MAX)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        draft
    };
    draft.confidence = 0.9;
    writer.write(draft);
}

fn is_code(path: &str) -> bool {
    language_of(path).kind == Kind::Code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_neither_a_definition_nor_an_import_nor_a_remark() {
        for (line, expected) in [
            ("    out = get_text()", true),
            ("x = cached(sys.stderr, get_text)", true),
            ("fn other() { get_text() }", true),
            ("def get_text(x):", false),
            ("pub fn get_text() -> u8 {", false),
            ("from .a import get_text as get_text", false),
            ("pub use a::get_text;", false),
            ("// get_text() is slow", false),
            ("# get_text() is slow", false),
            ("get_text_stderr()", false),
            ("_get_text()", false),
        ] {
            assert_eq!(uses(line, "get_text"), expected, "{line}");
        }
    }

    #[test]
    fn what_is_asked_about_whether_it_is_there_is_searched_in_all_its_forms() {
        for (text, words, holds, lacks) in [
            (
                "Does governor use unsafe code?",
                &["unsafe"][..],
                "    unsafe {",
                "#![forbid(unsafe_code)]",
            ),
            (
                "Are there any thread pools in it?",
                &["thread", "pools"],
                "struct ThreadPool;",
                "struct Thread;",
            ),
            (
                "Does it contain mutexes?",
                &["mutexes"],
                "Mutex::new(1)",
                "static MU: u8",
            ),
            ("How does it use threads?", &[], "", ""),
            ("Where is unsafe used?", &[], "", ""),
        ] {
            let found = object(text);
            assert_eq!(found, words, "{text}");
            if let Some(pattern) = occurrence_pattern(&found) {
                let pattern = Regex::new(&format!("(?i){pattern}")).expect("a pattern");
                assert!(pattern.is_match(holds) && !pattern.is_match(lacks), "{text}: {pattern}");
            }
        }
    }
}
