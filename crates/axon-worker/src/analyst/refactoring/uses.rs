//! Finds everything that a change of a name would touch: code, tests, and what no compiler checks, such as documents,
//! settings and texts.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, ToolCall};
use axon_tools::code::{Hit, OutlineItem, OutlineResult, SearchResult, last_name};
use serde_json::json;

use super::mentions::{Name, Place, definitions, is_compiled, mentions};

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

pub fn write_uses(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let defined = results.get::<OutlineResult>("defined").unwrap_or_default();
    for (index, symbol) in brief.symbols.iter().take(NAMES_MAX).enumerate() {
        let Some(search) = results.get::<SearchResult>(&format!("uses_{index}")) else {
            continue;
        };
        if search.matches == 0 {
            writer.note(format!(
                "`{symbol}` is not used anywhere in the scope yet, so that the name is free."
            ));
            continue;
        }
        let defined = definitions(symbol, &defined);
        // Of two names in a renaming the second is the new one.
        let new = index > 0 && brief.query.to_lowercase().contains("renam");
        if new && defined.is_empty() {
            writer.note(format!(
                "Nothing that is defined bears the new name `{symbol}` yet, so that it is free; its letters stand in {} for other things.",
                count(search.matches, "line")
            ));
            continue;
        }
        let name = Name::of(symbol, &defined);
        let found = mentions(&name, &defined, &search, writer.workspace());
        let definition = defined.first().copied();
        if found.is_empty() {
            writer.note(format!(
                "Nothing uses `{symbol}`: the {} that hold its letters mean other things.",
                count(search.matches, "line")
            ));
            continue;
        }
        write_name(writer, symbol, definition, &found, new);
        if index == 0 {
            write_unchecked(writer, results, symbol, definition, &found);
        }
    }
}

/// Where one name stands, and what a change of it takes.
fn write_name(
    writer: &mut Writer<'_>,
    symbol: &str,
    definition: Option<&OutlineItem>,
    found: &[(Hit, Place)],
    taken: bool,
) {
    let mut kinds: BTreeMap<Place, usize> = BTreeMap::new();
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for (hit, place) in found {
        *kinds.entry(*place).or_default() += 1;
        *files.entry(hit.path.as_str()).or_default() += 1;
    }
    let by_kind: Vec<String> = kinds
        .iter()
        .map(|(place, number)| format!("{number} in {}", place.shown()))
        .collect();
    let mut most: Vec<(&str, usize)> = files.into_iter().collect();
    most.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let places = format!(
        "{} of {}: {}",
        count(found.len(), "line"),
        count(most.len(), "file"),
        by_kind.join(", ")
    );
    let claim = match definition {
        Some(item) if taken => format!(
            "The new name `{symbol}` is taken: {}:{} defines it, and it stands in {places}",
            item.path, item.line
        ),
        _ => format!("`{symbol}` stands in {places}"),
    };
    let mut draft = Draft::new(claim, symbol.to_owned(), "code.search");
    let top: Vec<String> = most
        .iter()
        .take(5)
        .map(|(path, number)| format!("{path} ({number})"))
        .collect();
    draft.rationale = format!("Most of them: {}.", top.join(", "));
    draft.recommendation = definition.map(|item| way_through(item, taken).to_owned());
    draft.confidence = 0.9;
    draft.severity = if taken { Level::Medium } else { Level::Info };
    draft.impact = if most.len() > 10 { Level::High } else { Level::Medium };
    draft.effort = match found.len() {
        0..=10 => Level::Low,
        11..=80 => Level::Medium,
        _ => Level::High,
    };
    draft.value = Some((found.len() as f64, "lines"));
    draft.evidence = definition
        .and_then(|item| writer.lines(&item.path, item.line, (item.line + 2).min(item.end_line)))
        .into_iter()
        .collect();
    let mut uses = found.iter().map(|(hit, _)| hit).collect::<Vec<_>>();
    uses.retain(|hit| definition.is_none_or(|item| (&hit.path, hit.line) != (&item.path, item.line)));
    for (path, _) in &most {
        let Some(hit) = uses.iter().find(|hit| hit.path == *path) else {
            continue;
        };
        draft.evidence.extend(writer.lines(&hit.path, hit.line, hit.line));
    }
    writer.write(draft);
}

/// How to get from the definition to all uses: a compiler finds them, where there is one.
fn way_through(definition: &OutlineItem, taken: bool) -> &'static str {
    if taken {
        return "Choose another name, or make sure that no file sees both.";
    }
    if is_compiled(&definition.path) {
        "Change the definition first and let the compiler lead to the uses in code; go through texts, settings and documents by hand."
    } else {
        "Change the definition and all of these lines in one commit and run the tests: nothing looks a name up before the line runs. Look for names that are put together at run time, too."
    }
}

/// The uses that no compiler finds: texts, settings, documents, and the name in another spelling.
fn write_unchecked(
    writer: &mut Writer<'_>,
    results: &Results,
    symbol: &str,
    definition: Option<&OutlineItem>,
    found: &[(Hit, Place)],
) {
    let name = last_name(symbol);
    let others = results.get::<SearchResult>("other_forms").unwrap_or_default();
    let spelled = others.results.iter().filter(|hit| !hit.text.contains(name));
    let unchecked: Vec<&Hit> = found
        .iter()
        .filter(|(_, place)| !place.is_code())
        .map(|(hit, _)| hit)
        .chain(spelled)
        .collect();
    let Some(first) = unchecked.first() else { return };
    let files: BTreeSet<&str> = unchecked.iter().map(|hit| hit.path.as_str()).collect();
    let names: Vec<String> = files.iter().map(|path| (*path).to_owned()).collect();
    let lines = count(unchecked.len(), "line");
    let claim = if definition.is_none_or(|item| is_compiled(&item.path)) {
        format!("{lines} that mention `{symbol}` are checked by no compiler")
    } else {
        format!("{lines} that mention `{symbol}` stand outside code: no test notices when they go stale")
    };
    let mut draft = Draft::new(claim, symbol.to_owned(), "code.search");
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
