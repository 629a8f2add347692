//! Finds everything that a change of a name would touch: code, tests, and what no compiler checks, such as documents,
//! settings and texts.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, ToolCall};
use axon_tools::code::{Hit, OutlineResult, Role, SearchResult, last_name, role_of};
use axon_tools::{Kind, language_of};
use serde_json::json;

use crate::analyst::brief::call;
use crate::analyst::write::{Draft, Writer, count, listed};
use crate::analyst::{Brief, Results};

/// Names whose uses are looked up.
const NAMES_MAX: usize = 3;

pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    if brief.symbols.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = brief.symbols.iter().map(String::as_str).take(NAMES_MAX).collect();
    let mut calls = vec![call(
        "defined",
        "code.outline",
        json!({"names": names, "max_results": 40}),
    )];
    for (index, name) in names.iter().enumerate() {
        let params = json!({"pattern": last_name(name), "literal": true, "word": true, "case_sensitive": true, "max_results": 1_000});
        calls.push(call(format!("uses_{index}"), "code.search", params));
    }
    calls
}

/// The same name written in another way, as in keys, routes and documents.
pub fn follow_up(results: &Results) -> Vec<ToolCall> {
    let defined = results.get::<OutlineResult>("defined").unwrap_or_default();
    let Some(first) = defined.results.first() else {
        return Vec::new();
    };
    let name = last_name(&first.name);
    let parts = axon_tools::code::split_identifier(name);
    if parts.len() < 2 {
        return Vec::new();
    }
    let pattern = parts
        .iter()
        .map(|part| regex::escape(part))
        .collect::<Vec<_>>()
        .join("[_ -]?");
    let params = json!({"pattern": format!(r"\b{pattern}s?\b"), "case_sensitive": false, "max_results": 500});
    vec![call("other_forms", "code.search", params)]
}

/// Whom a use belongs to.
fn place_of(hit: &Hit) -> &'static str {
    match (language_of(&hit.path).kind, role_of(&hit.path)) {
        (Kind::Code, Role::Test) => "tests",
        (Kind::Code, _) => "code",
        (Kind::Docs, _) => "documents",
        _ => "settings and data",
    }
}

pub fn write_uses(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let defined = results.get::<OutlineResult>("defined").unwrap_or_default();
    for (index, symbol) in brief.symbols.iter().take(NAMES_MAX).enumerate() {
        let Some(search) = results.get::<SearchResult>(&format!("uses_{index}")) else {
            continue;
        };
        let name = last_name(symbol);
        let definition = defined
            .results
            .iter()
            .find(|item| last_name(&item.name).eq_ignore_ascii_case(name));
        if search.matches == 0 {
            writer.note(format!(
                "`{symbol}` is not used anywhere in the scope yet, so that the name is free."
            ));
            continue;
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files: BTreeMap<&str, usize> = BTreeMap::new();
        for hit in &search.results {
            *kinds.entry(place_of(hit)).or_default() += 1;
            *files.entry(hit.path.as_str()).or_default() += 1;
        }
        let by_kind: Vec<String> = ["code", "tests", "documents", "settings and data"]
            .iter()
            .filter_map(|kind| Some(format!("{} in {kind}", kinds.get(kind)?)))
            .collect();
        let mut most: Vec<(&str, usize)> = files.into_iter().collect();
        most.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let places = format!(
            "{} of {}: {}",
            count(search.matches, "line"),
            count(search.matching_files, "file"),
            by_kind.join(", ")
        );
        // Of two names in a renaming the second is the new one.
        let taken = index > 0 && brief.query.to_lowercase().contains("renam");
        let claim = if taken {
            format!("The new name `{symbol}` is taken: it stands in {places}")
        } else {
            format!("`{symbol}` stands in {places}")
        };
        let mut draft = Draft::new(claim, symbol.clone(), "code.search");
        let top: Vec<String> = most
            .iter()
            .take(5)
            .map(|(path, number)| format!("{path} ({number})"))
            .collect();
        draft.rationale = format!("Most of them: {}.", top.join(", "));
        draft.recommendation = definition.map(|_| {
            "Change the definition first and let the compiler lead to the uses in code; go through texts, settings and documents by hand.".to_owned()
        });
        if taken {
            draft.recommendation = Some("Choose another name, or make sure that no file sees both.".to_owned());
        }
        draft.confidence = 0.9;
        draft.severity = if taken { Level::Medium } else { Level::Info };
        draft.impact = if search.matching_files > 10 {
            Level::High
        } else {
            Level::Medium
        };
        draft.effort = match search.matches {
            0..=10 => Level::Low,
            11..=80 => Level::Medium,
            _ => Level::High,
        };
        draft.value = Some((search.matches as f64, "lines"));
        draft.evidence = definition
            .and_then(|item| writer.lines(&item.path, item.line, (item.line + 2).min(item.end_line)))
            .into_iter()
            .collect();
        let uses = search
            .results
            .iter()
            .filter(|hit| definition.is_none_or(|item| (&hit.path, hit.line) != (&item.path, item.line)));
        for (path, _) in &most {
            let Some(hit) = uses.clone().find(|hit| hit.path == *path) else {
                continue;
            };
            draft.evidence.extend(writer.lines(&hit.path, hit.line, hit.line));
        }
        writer.write(draft);
        if index == 0 {
            write_unchecked(writer, results, symbol, &search);
        }
    }
}

/// The uses that no compiler finds: texts, settings, documents, and the name in another spelling.
fn write_unchecked(writer: &mut Writer<'_>, results: &Results, symbol: &str, search: &SearchResult) {
    let name = last_name(symbol);
    let quoted = |hit: &Hit| {
        hit.text
            .split('"')
            .skip(1)
            .step_by(2)
            .any(|text| text.to_lowercase().contains(&name.to_lowercase()))
    };
    let others = results.get::<SearchResult>("other_forms").unwrap_or_default();
    let spelled = others.results.iter().filter(|hit| !hit.text.contains(name));
    let unchecked: Vec<&Hit> = search
        .results
        .iter()
        .filter(|hit| place_of(hit) != "code" && place_of(hit) != "tests" || quoted(hit))
        .chain(spelled)
        .collect();
    let Some(first) = unchecked.first() else { return };
    let files: BTreeSet<&str> = unchecked.iter().map(|hit| hit.path.as_str()).collect();
    let names: Vec<String> = files.iter().map(|path| (*path).to_owned()).collect();
    let mut draft = Draft::new(
        format!(
            "{} that mention `{symbol}` are checked by no compiler",
            count(unchecked.len(), "line")
        ),
        symbol.to_owned(),
        "code.search",
    );
    draft.rationale = format!(
        "They are texts, settings, documents, or the name in another spelling, in {}. What is stored or sent under the old name must stay readable.",
        listed(&names, 5)
    );
    draft.recommendation = Some(
        "Decide for each whether it is a name on the wire or on disk, which has to stay, or a mention, which follows."
            .to_owned(),
    );
    draft.confidence = 0.6;
    draft.severity = Level::Low;
    draft.impact = Level::Medium;
    draft.effort = Level::Low;
    draft.value = Some((unchecked.len() as f64, "lines"));
    draft.origin = Some(format!("{}:{}", first.path, first.line));
    draft.evidence = unchecked
        .iter()
        .take(5)
        .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line))
        .collect();
    writer.write(draft);
}
