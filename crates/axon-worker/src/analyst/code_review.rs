//! The playbook for reviews: rules and figures for the aspect, ranked by what can go wrong where it would hurt most, then a
//! second look at the strongest candidates. It writes few findings, and none a reviewer would wave through.

mod candidates;
mod figures;
mod matches;

use std::collections::BTreeSet;

use axon_protocol::ToolCall;
use axon_tools::Workspace;
use axon_tools::code::{MetricsResult, RulesResult, last_name};
use serde_json::json;

use super::brief::call;
use super::write::{Writer, count, listed};
use super::{Brief, Conclusion, FINDINGS_MAX, Results, dependencies};
use candidates::candidates;
pub use figures::{burden, figures};
use figures::{write_clean, write_complexity, write_large_files, write_undocumented, write_untested};
pub use matches::write_matches;

/// Rule matches one task looks at.
const MATCHES_MAX: usize = 200;

/// Candidates that get a second look.
const SECOND_LOOKS_MAX: usize = 4;

/// Lines of a function the second look reads.
const READ_LINES_MAX: u32 = 160;

/// Files whose changes are looked at.
const HOTSPOTS_MAX: usize = 60;

/// What an aspect asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Focus {
    Rules(&'static str),
    Complexity,
    Untested,
    Documentation,
}

/// Words of aspects and what they ask for. An aspect nobody here knows asks for everything.
const FOCUSES: &[(&str, &[Focus])] = &[
    ("error", &[Focus::Rules("error_handling")]),
    ("panic", &[Focus::Rules("error_handling")]),
    ("exception", &[Focus::Rules("error_handling")]),
    ("robust", &[Focus::Rules("error_handling"), Focus::Rules("correctness")]),
    ("reliab", &[Focus::Rules("error_handling"), Focus::Rules("concurrency")]),
    ("correct", &[Focus::Rules("correctness")]),
    ("bug", &[Focus::Rules("correctness")]),
    ("logic", &[Focus::Rules("correctness")]),
    ("edge", &[Focus::Rules("correctness")]),
    ("validation", &[Focus::Rules("correctness"), Focus::Rules("security")]),
    ("secur", &[Focus::Rules("security")]),
    ("vulnerab", &[Focus::Rules("security")]),
    ("inject", &[Focus::Rules("security")]),
    ("secret", &[Focus::Rules("security")]),
    ("unsafe", &[Focus::Rules("security")]),
    ("concurren", &[Focus::Rules("concurrency"), Focus::Rules("performance")]),
    ("async", &[Focus::Rules("concurrency")]),
    ("race", &[Focus::Rules("concurrency")]),
    ("lock", &[Focus::Rules("concurrency")]),
    ("perform", &[Focus::Rules("performance")]),
    ("speed", &[Focus::Rules("performance")]),
    ("efficien", &[Focus::Rules("performance")]),
    ("complex", &[Focus::Complexity, Focus::Rules("maintainability")]),
    ("maintain", &[Focus::Complexity, Focus::Rules("maintainability")]),
    ("readab", &[Focus::Complexity, Focus::Rules("maintainability")]),
    ("structure", &[Focus::Complexity]),
    ("architect", &[Focus::Complexity]),
    ("design", &[Focus::Complexity]),
    ("debt", &[Focus::Complexity, Focus::Rules("maintainability")]),
    ("test", &[Focus::Untested, Focus::Rules("tests")]),
    ("coverage", &[Focus::Untested, Focus::Rules("tests")]),
    ("document", &[Focus::Documentation]),
];

/// What a review without an aspect of its own asks for.
const EVERYTHING: &[Focus] = &[
    Focus::Rules("error_handling"),
    Focus::Rules("correctness"),
    Focus::Rules("security"),
    Focus::Rules("concurrency"),
    Focus::Rules("performance"),
    Focus::Rules("maintainability"),
    Focus::Complexity,
    Focus::Untested,
];

fn focuses(brief: &Brief) -> BTreeSet<Focus> {
    let known = known_focuses(brief);
    if known.is_empty() {
        EVERYTHING.iter().copied().collect()
    } else {
        known
    }
}

/// What the words of the aspect ask for; nothing where none of them is known.
fn known_focuses(brief: &Brief) -> BTreeSet<Focus> {
    let aspect = brief.aspect_key();
    let words: Vec<&str> = aspect.split('_').collect();
    let known = FOCUSES
        .iter()
        .filter(|(start, _)| words.iter().any(|word| word.starts_with(start)));
    known.flat_map(|(_, focuses)| focuses.iter().copied()).collect()
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let focuses = focuses(brief);
    let mut calls = Vec::new();
    let mut aspects: Vec<&str> = focuses
        .iter()
        .filter_map(|focus| {
            if let Focus::Rules(aspect) = focus {
                Some(*aspect)
            } else {
                None
            }
        })
        .collect();
    if asks_for_panics(&brief.text) && aspects.contains(&"error_handling") {
        aspects.push(matches::PANICS);
    }
    if !aspects.is_empty() {
        calls.push(call(
            "rules",
            "code.rules",
            json!({"aspects": aspects, "paths": brief.paths, "max_results": MATCHES_MAX}),
        ));
    }
    if focuses.iter().any(|focus| !matches!(focus, Focus::Rules(_))) {
        calls.push(call(
            "metrics",
            "code.metrics",
            json!({"paths": brief.paths, "max_results": 200}),
        ));
    }
    if focuses.contains(&Focus::Untested) {
        calls.push(call(
            "untested",
            "code.metrics",
            json!({"paths": brief.paths, "untested": true, "max_results": 60}),
        ));
    }
    if focuses.contains(&Focus::Complexity) {
        calls.push(call(
            "list",
            "code.list",
            json!({"paths": brief.paths, "max_results": 1_000}),
        ));
        if brief.history {
            let params = json!({"paths": brief.paths, "max_results": HOTSPOTS_MAX});
            calls.push(call("hotspots", "git.hotspots", params));
        }
    }
    if asks_for_dependencies(brief, &focuses) {
        calls.push(dependencies::plan(brief));
    }
    if !brief.topic().is_empty() {
        let params = json!({"query": brief.topic().join(" "), "unit": "file", "paths": brief.paths, "roles": ["library", "entry"], "max_results": 40});
        calls.push(call("relevance", "code.rank", params));
    }
    calls
}

/// Whether a query asks for panics by name: then every place is wanted, and not only those that are likely a mistake.
fn asks_for_panics(query: &str) -> bool {
    let query = query.to_lowercase();
    let mut words = query.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        ["panic", "unwrap", "crash", "abort"]
            .iter()
            .any(|start| word.starts_with(start))
    })
}

/// Dependencies matter to security, to a review of everything, and where they are asked for.
fn asks_for_dependencies(brief: &Brief, focuses: &BTreeSet<Focus>) -> bool {
    focuses.contains(&Focus::Rules("security")) || dependencies::asked(brief)
}

/// The second round: the functions of the strongest candidates, to see what their authors say about them, and who calls them.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    let candidates = candidates(brief, results);
    let chosen = candidates
        .iter()
        .filter(|candidate| candidate.matched.function_line.is_some())
        .take(SECOND_LOOKS_MAX);
    for (index, candidate) in chosen.enumerate() {
        let matched = &candidate.matched;
        let first = matched.function_line.unwrap_or(matched.line).saturating_sub(12).max(1);
        let last = matched
            .function_end
            .unwrap_or(matched.line + 40)
            .min(first + READ_LINES_MAX);
        calls.push(call(
            format!("read_{index}"),
            "code.read",
            json!({"path": matched.path, "start_line": first, "end_line": last}),
        ));
        let name = matched.function.as_deref().map(last_name).unwrap_or_default();
        if matched.callers > 0 && !name.is_empty() {
            let params =
                json!({"pattern": format!(r"\b{name}(::<[^>]*>)?\s*\("), "max_results": 40, "case_sensitive": true});
            calls.push(call(format!("callers_{index}"), "code.search", params));
        }
    }
    calls
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let focuses = focuses(brief);
    let mut writer = Writer::new(brief, workspace);
    if let Some(rules) = results.get::<RulesResult>("rules") {
        note_coverage(&mut writer, &rules);
    }
    // A review of everything shows the worst of each kind before the rest of any.
    let all = focuses.len() == EVERYTHING.len();
    let (matches, functions) = if all { (5, 2) } else { (FINDINGS_MAX, 5) };
    write_matches(&mut writer, brief, results, matches);
    if let Some(metrics) = results.get::<MetricsResult>("metrics") {
        if focuses.contains(&Focus::Complexity) {
            write_complexity(&mut writer, brief, results, &metrics, functions);
            write_large_files(&mut writer, results);
        }
        if focuses.contains(&Focus::Untested) {
            write_untested(&mut writer, results, &metrics, functions.min(4));
        }
        if focuses.contains(&Focus::Documentation) {
            write_undocumented(&mut writer, &metrics);
        }
    }
    if dependencies::asked(brief) {
        dependencies::write_inventory(&mut writer, results);
    }
    dependencies::write_risks(&mut writer, results);
    write_matches(&mut writer, brief, results, FINDINGS_MAX);
    if writer.len() == 0 {
        write_clean(&mut writer, brief, results);
    }
    writer.finish()
}

fn note_coverage(writer: &mut Writer<'_>, rules: &RulesResult) {
    if !rules.skipped.is_empty() {
        let mut languages: Vec<String> = rules
            .skipped
            .iter()
            .map(|path| axon_tools::language_of(path).name.to_owned())
            .collect();
        languages.sort();
        languages.dedup();
        writer.note(format!(
            "There are no rules yet for {}; only secrets were looked for there.",
            listed(&languages, 5)
        ));
    }
    if rules.omitted > 0 {
        writer.note(format!(
            "{} of lesser weight were left out.",
            count(rules.omitted, "match")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::asks_for_panics;

    #[test]
    fn panics_are_listed_only_for_those_who_name_them() {
        for (query, expected) in [
            ("Which functions in src/ could panic?", true),
            ("Check src/ for unwraps", true),
            ("What can crash the worker?", true),
            ("Review src/ for ignored errors", false),
            ("Review the code", false),
        ] {
            assert_eq!(asks_for_panics(query), expected, "{query}");
        }
    }
}
