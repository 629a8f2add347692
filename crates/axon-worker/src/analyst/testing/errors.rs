//! Finds errors that code makes and that no test names: by the variant or class of the error, or by its message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axon_protocol::{Level, ToolCall};
use axon_tools::code::{Hit, OutlineItem, OutlineResult, Role, SearchResult, role_of};
use regex::Regex;
use serde_json::json;

use super::subject_words;
use crate::analyst::brief::call;
use crate::analyst::write::{Draft, Writer, count, listed};
use crate::analyst::{Brief, Results};

/// Errors that are looked up in tests.
const ERRORS_MAX: usize = 60;
/// Bytes of a message that are looked up: formatted messages differ in the rest.
const MESSAGE_CHARS_MIN: usize = 10;

/// Where code makes an error: Rust, Python, and what throws.
const MAKING: &str = r"\bErr\(|\b(bail|ensure)!\(|\.ok_or(_else)?\(|\braise\s+[A-Z]\w*|\bthrow\s+new\s+[A-Z]\w*";

static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:\bErr\(|\.ok_or(?:_else)?\((?:\|\|\s*)?|\bbail!\(|\bensure!\([^,]*,\s*)\s*&?(?P<path>(?:\w+::)*[A-Z]\w*(?:::[A-Z]\w*)*)|\b(?:raise|throw\s+new)\s+(?:\w+\.)*(?P<class>[A-Z]\w*)",
    )
    .ok()
});

static MADE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(MAKING).ok());

static MESSAGE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#""(?P<text>[^"\\]{4,})""#).ok());

/// Names that say nothing of the error itself.
const PLAIN: &[&str] = &[
    "Error",
    "Err",
    "Exception",
    "ValueError",
    "RuntimeError",
    "TypeError",
    "KeyError",
    "String",
    "Box",
    "Some",
];

/// An error and the places that make it.
struct Made {
    /// What a test would mention: a variant, a class or part of a message.
    mark: String,
    /// How it is shown.
    shown: String,
    places: Vec<Hit>,
}

pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    vec![
        call(
            "errors",
            "code.search",
            json!({"pattern": MAKING, "case_sensitive": true, "paths": brief.paths, "max_results": 600}),
        ),
        call(
            "test_modules",
            "code.outline",
            json!({"tests": true, "kinds": ["module"], "max_results": 1_000}),
        ),
    ]
}

pub fn follow_up(results: &Results) -> Vec<ToolCall> {
    let marks: Vec<String> = made(results).iter().map(|made| regex::escape(&made.mark)).collect();
    if marks.is_empty() {
        return Vec::new();
    }
    let pattern = format!("({})", marks.join("|"));
    vec![call(
        "errors_in_tests",
        "code.search",
        json!({"pattern": pattern, "case_sensitive": true, "max_results": 1_000}),
    )]
}

/// Which lines are test code: those of test files, and of modules of tests.
struct TestCode(Vec<OutlineItem>);

impl TestCode {
    fn of(results: &Results) -> Self {
        let modules = results.get::<OutlineResult>("test_modules").unwrap_or_default();
        Self(modules.results.into_iter().filter(|module| module.test).collect())
    }

    fn holds(&self, path: &str, line: u32) -> bool {
        let within = |module: &OutlineItem| module.path == path && (module.line..=module.end_line).contains(&line);
        role_of(path) == Role::Test || self.0.iter().any(within)
    }
}

/// The errors that code outside tests makes, those of most places first.
fn made(results: &Results) -> Vec<Made> {
    let search = results.get::<SearchResult>("errors").unwrap_or_default();
    let tests = TestCode::of(results);
    let mut found: BTreeMap<String, Made> = BTreeMap::new();
    for hit in search.results {
        let outside = matches!(role_of(&hit.path), Role::Library | Role::Entry);
        if !outside || hit.text.trim_start().starts_with(['/', '#']) || tests.holds(&hit.path, hit.line) {
            continue;
        }
        let Some((mark, shown)) = mark(&hit.text) else { continue };
        let made = found.entry(shown.clone()).or_insert(Made {
            mark,
            shown,
            places: Vec::new(),
        });
        made.places.push(hit);
    }
    let mut found: Vec<Made> = found.into_values().collect();
    found.sort_by(|a, b| b.places.len().cmp(&a.places.len()).then_with(|| a.mark.cmp(&b.mark)));
    found.truncate(ERRORS_MAX);
    found
}

/// What a test would mention of the error a line makes, and how to show it.
fn mark(line: &str) -> Option<(String, String)> {
    // `Err(error) => …` and `if let Err(error)` receive an error; what an arm does with it stands behind the arrow.
    let line = line.rsplit("=>").next().unwrap_or(line);
    if line.contains("let Err(") {
        return None;
    }
    let named = NAME.as_ref()?.captures(line);
    let name = named
        .as_ref()
        .and_then(|found| found.name("path").or(found.name("class")));
    if let Some(name) = name {
        let last = name.as_str().rsplit("::").next().unwrap_or_default();
        // A type alone, as in `Error::new(…)`, is made in many ways: only a variant or a class is one error.
        let one = named.as_ref().is_some_and(|found| found.name("class").is_some()) || !last.ends_with("Error");
        if one && !PLAIN.contains(&last) {
            return Some((last.to_owned(), format!("`{}`", name.as_str())));
        }
    }
    let made = MADE.as_ref()?.find(line)?;
    let text = MESSAGE.as_ref()?.captures(&line[made.end()..])?.name("text")?.as_str();
    // What stands between the gaps of a format is what every such message holds.
    let fixed = text
        .split(['{', '}', '%'])
        .map(str::trim)
        .max_by_key(|part| part.len())?;
    (fixed.len() >= MESSAGE_CHARS_MIN && fixed.contains(' ')).then(|| (fixed.to_owned(), format!("“{fixed}”")))
}

/// The errors that no test names, one finding for each function that makes some.
pub fn write_errors(writer: &mut Writer<'_>, brief: &Brief, results: &Results, max: usize) {
    let made = made(results);
    if made.is_empty() {
        return;
    }
    let in_tests = results.get::<SearchResult>("errors_in_tests").unwrap_or_default();
    let tests = TestCode::of(results);
    let tested: Vec<&Hit> = in_tests
        .results
        .iter()
        .filter(|hit| tests.holds(&hit.path, hit.line))
        .collect();
    let open: Vec<&Made> = made
        .iter()
        .filter(|made| !tested.iter().any(|hit| hit.text.contains(&made.mark)))
        .collect();
    writer.note(format!(
        "{} of {} that code makes by name or message {} in no test.",
        open.len(),
        count(made.len(), "error"),
        if open.len() == 1 { "appears" } else { "appear" }
    ));
    let topic: BTreeSet<String> = axon_tools::code::query_terms(&subject_words(brief))
        .into_iter()
        .collect();
    // By function: one test can provoke all errors of one.
    let mut by_function: BTreeMap<(String, String), Vec<(&Made, &Hit)>> = BTreeMap::new();
    for made in &open {
        for place in &made.places {
            let function = place.function.clone().unwrap_or_default();
            by_function
                .entry((place.path.clone(), function))
                .or_default()
                .push((made, place));
        }
    }
    let mut groups: Vec<_> = by_function.into_iter().collect();
    let asked = |path: &str, function: &str| {
        let words = axon_tools::code::terms(&format!("{path} {function}"));
        words
            .into_iter()
            .filter(|word| topic.contains(word))
            .collect::<BTreeSet<_>>()
            .len()
    };
    groups.sort_by_key(|((path, function), errors)| {
        (
            std::cmp::Reverse(asked(path, function)),
            std::cmp::Reverse(errors.len()),
            path.clone(),
            function.clone(),
        )
    });
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for ((path, function), errors) in &groups {
        if writer.len() >= max {
            break;
        }
        let new: Vec<&(&Made, &Hit)> = errors
            .iter()
            .filter(|(made, _)| !told.contains(made.mark.as_str()))
            .collect();
        if new.is_empty() {
            continue;
        }
        let mut names: Vec<String> = new.iter().map(|(made, _)| made.shown.clone()).collect();
        names.dedup();
        let place = if function.is_empty() {
            format!("`{path}`")
        } else {
            format!("`{function}`")
        };
        let subject = if function.is_empty() {
            path.clone()
        } else {
            function.clone()
        };
        let errors_of = match names.len() {
            1 => names[0].clone(),
            _ => joined(&names),
        };
        let mut draft = Draft::new(
            format!("No test provokes {errors_of}, which {place} makes"),
            subject,
            "code.search",
        );
        draft.rationale = "An error that no test names can change its kind or its words, or stop being made, without anybody noticing.".to_owned();
        draft.recommendation = Some(format!(
            "Call {place} with an input that meets the condition above the quoted line, and assert which error comes back."
        ));
        draft.confidence = if names.iter().any(|name| name.starts_with('`')) {
            0.7
        } else {
            0.55
        };
        draft.severity = if new.len() > 2 { Level::Medium } else { Level::Low };
        draft.impact = Level::Medium;
        draft.effort = Level::Low;
        draft.value = Some((names.len() as f64, "errors"));
        draft.evidence = new
            .iter()
            .take(4)
            .filter_map(|(_, hit)| writer.lines(&hit.path, hit.line.saturating_sub(1).max(1), hit.line))
            .collect();
        if writer.write(draft) {
            told.extend(new.iter().map(|(made, _)| made.mark.as_str()));
        }
    }
    let rest: Vec<String> = open
        .iter()
        .filter(|made| !told.contains(made.mark.as_str()))
        .map(|made| made.mark.clone())
        .collect();
    if !rest.is_empty() {
        writer.note(format!("Not provoked by a test either: {}.", listed(&rest, 10)));
    }
}

fn joined(names: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => match shown.split_last() {
            Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            _ => shown.join(", "),
        },
        rest => format!("{} and {rest} more errors", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_known_by_what_a_test_would_mention() {
        for (line, expected) in [
            ("return Err(TariffError::Negative { weight });", Some("Negative")),
            ("    .ok_or(Error::Missing)?", Some("Missing")),
            (".ok_or_else(|| Error::Missing)?", Some("Missing")),
            ("bail!(\"the weight {weight} is below zero\");", Some("is below zero")),
            ("raise TariffError(\"no\")", Some("TariffError")),
            (
                "raise ValueError(\"weight must not be negative\")",
                Some("weight must not be negative"),
            ),
            ("throw new RangeError(x)", Some("RangeError")),
            ("return Err(error);", None),
            ("Err(e) => {}", None),
            ("Err(error) => warn!(%error, \"cannot watch the strategies\"),", None),
            ("None => Err(Error::Missing),", Some("Missing")),
            ("if let Err(error) = send(\"a long message\") {", None),
        ] {
            assert_eq!(mark(line).map(|(mark, _)| mark).as_deref(), expected, "{line}");
        }
    }
}
