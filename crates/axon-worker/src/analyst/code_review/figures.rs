//! Writes down what the figures of a review say: what is hard to change, untested, undocumented, or clean.

use std::collections::BTreeMap;

use axon_protocol::{Level, Polarity};
use axon_tools::code::{FunctionMetrics, ListResult, MetricsResult, Role, RulesResult, last_name, role_of};
use axon_tools::git::{Hotspot, HotspotsResult};
use serde_json::json;

use super::known_focuses;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// How hard a function is to hold in the head: the larger the worse, 1 at the edge of what is reasonable.
pub fn burden(function: &FunctionMetrics) -> f64 {
    let complexity = function.complexity as f64 / 20.0;
    // A flat list of arms is long and still easy to read.
    let complexity = if function.nesting <= 2 {
        complexity * 0.5
    } else {
        complexity
    };
    let length = function.code_lines as f64 / 100.0;
    let nesting = function.nesting as f64 / 5.0;
    // However many there are, parameters alone do not make a function the hardest one.
    let parameters = (function.parameters as f64 / 8.0).min(1.8);
    complexity.max(length).max(nesting * 0.9).max(parameters * 0.8) * 0.7 + (complexity + length + nesting) / 3.0 * 0.3
}

/// An aspect of more words is a part of the query in the user's own words.
const ASPECT_WORDS_MAX: usize = 3;
/// How much the changes of its file add to the rank of a function that is hard: what nobody touches can wait.
const WEIGHT_HOT: f64 = 0.5;

/// Commits of a file from which its changes are worth a word.
const COMMITS_MIN: usize = 3;

pub fn write_complexity(
    writer: &mut Writer<'_>,
    brief: &Brief,
    results: &Results,
    metrics: &MetricsResult,
    max: usize,
) {
    let hotspots = results.get::<HotspotsResult>("hotspots").unwrap_or_default();
    let hot: BTreeMap<&str, &Hotspot> = hotspots.results.iter().map(|file| (file.path.as_str(), file)).collect();
    let rank = |burden: f64, function: &FunctionMetrics| {
        let heat = hot.get(function.path.as_str()).map_or(0.0, |file| file.score);
        burden * (1.0 + WEIGHT_HOT * heat)
    };
    let mut heavy: Vec<(f64, &FunctionMetrics)> = metrics
        .results
        .iter()
        .map(|function| (burden(function), function))
        .filter(|(burden, _)| *burden >= 1.0)
        .collect();
    heavy.sort_by(|a, b| {
        rank(b.0, b.1)
            .total_cmp(&rank(a.0, a.1))
            .then_with(|| (&a.1.path, a.1.line).cmp(&(&b.1.path, b.1.line)))
    });
    let total = heavy.len();
    for (burden, function) in heavy.into_iter().take(max) {
        let mut claim = format!(
            "`{}` is hard to change safely: {} through {}",
            function.name,
            count(function.complexity, "path"),
            count(function.code_lines, "line"),
        );
        if function.nesting >= 4 {
            claim.push_str(&format!(", nested {} deep", function.nesting));
        }
        if function.parameters >= 7 {
            claim.push_str(&format!(", {} parameters", function.parameters));
        }
        let mut draft = Draft::new(claim, function.name.clone(), "code.metrics");
        let times = function.complexity as f64 / metrics.mean_complexity.max(1.0);
        let tested = match function.test_mentions {
            0 => "No test names it.".to_owned(),
            mentions => format!("Tests name it {}.", count(mentions, "time")),
        };
        let callers = if function.callers > 1 {
            format!(" It is called in {}.", count(function.callers, "place"))
        } else {
            String::new()
        };
        let compared = if times >= 2.0 {
            format!(
                "That is {times:.0} times the mean complexity of the {} functions here. ",
                metrics.functions
            )
        } else {
            String::new()
        };
        let changes = hot
            .get(function.path.as_str())
            .filter(|file| file.commits >= COMMITS_MIN)
            .map(|file| {
                let people = if file.authors == 1 {
                    "one person".to_owned()
                } else {
                    format!("{} people", file.authors)
                };
                format!(
                    " Its file changed in {} of the latest {}, by {people}, last on {}.",
                    file.commits,
                    count(hotspots.commits, "commit"),
                    file.last
                )
            });
        draft.rationale = format!("{compared}{tested}{callers}{}", changes.as_deref().unwrap_or_default());
        draft.recommendation = Some(advice(function));
        draft.confidence = if function.nesting <= 2 { 0.6 } else { 0.8 };
        draft.severity = if burden >= 2.0 { Level::High } else { Level::Medium };
        draft.impact = Level::Medium;
        draft.effort = if function.code_lines > 150 {
            Level::High
        } else {
            Level::Medium
        };
        draft.value = Some((function.complexity as f64, "paths"));
        draft.evidence = writer
            .lines(
                &function.path,
                function.line,
                (function.line + 7).min(function.end_line),
            )
            .into_iter()
            .collect();
        if let Some(file) = hot.get(function.path.as_str()).filter(|_| changes.is_some()) {
            let quote = format!(
                "{{\"path\":\"{}\",\"commits\":{},\"authors\":{},\"score\":{}}}",
                file.path, file.commits, file.authors, file.score
            );
            draft
                .evidence
                .push(tool_evidence("git.hotspots", json!({"paths": brief.paths}), &quote));
        }
        writer.write(draft);
    }
    if total > max {
        writer.note(format!(
            "{} more functions are beyond what is easy to hold in the head; the {max} hardest are reported.",
            total - max
        ));
    }
}

fn advice(function: &FunctionMetrics) -> String {
    if function.parameters >= 8 && function.complexity < 15 {
        return "Group parameters that travel together into a structure.".to_owned();
    }
    if function.nesting >= 5 {
        return "Return early for the special cases and move the inner loops and conditions into functions named for what they decide.".to_owned();
    }
    if function.nesting <= 2 && function.complexity >= 20 {
        return "Split the arms by kind, or turn them into a table, so that a new case is one line.".to_owned();
    }
    "Split it where its comments or blank lines already separate steps, decisions first, so that each part can be tested alone.".to_owned()
}

pub fn write_large_files(writer: &mut Writer<'_>, results: &Results) {
    let Some(list) = results.get::<ListResult>("list") else {
        return;
    };
    let code = list
        .results
        .iter()
        .filter(|file| matches!(file.role, Role::Library | Role::Entry));
    let mut large: Vec<_> = code
        .filter(|file| axon_tools::language_of(&file.path).kind == axon_tools::Kind::Code && file.lines > 1_500)
        .collect();
    large.sort_by(|a, b| (b.lines, &a.path).cmp(&(a.lines, &b.path)));
    let Some(first) = large.first() else { return };
    let more = large.len() - 1;
    let rest = match more {
        0 => String::new(),
        1 => ", and one more file has over 1,500".to_owned(),
        more => format!(", and {more} more files have over 1,500"),
    };
    let mut draft = Draft::new(
        format!("`{}` has {} lines{rest}", first.path, first.lines),
        first.path.clone(),
        "code.list",
    );
    draft.rationale = "A file of that size holds several concerns; changes to unrelated things meet in it, and nobody reads it as a whole.".to_owned();
    draft.recommendation =
        Some("Split it by concern, moving types together with the functions that work on them.".to_owned());
    draft.confidence = 0.6;
    draft.severity = Level::Low;
    draft.impact = Level::Medium;
    draft.effort = Level::High;
    draft.value = Some((f64::from(first.lines), "lines"));
    draft.evidence = (1..20)
        .find_map(|line| writer.lines(&first.path, line, line + 3))
        .into_iter()
        .collect();
    writer.write(draft);
}

pub fn write_untested(writer: &mut Writer<'_>, results: &Results, metrics: &MetricsResult, max: usize) {
    if metrics.functions == 0 {
        return;
    }
    let elsewhere = writer
        .workspace()
        .manifest()
        .files
        .iter()
        .any(|file| role_of(&file.path) == Role::Test);
    if metrics.test_functions == 0 && elsewhere {
        writer.note(
            "The scope holds no tests, and the workspace has some elsewhere: which of them cover it was not looked at.",
        );
        return;
    }
    if metrics.test_functions == 0 {
        let mut draft = Draft::new(
            format!(
                "There is no test for any of the {} functions in {}",
                metrics.functions,
                count(metrics.files, "file")
            ),
            "tests",
            "code.metrics",
        );
        draft.rationale = "No file of the scope holds a test function, so no change here is checked by anything but the compiler and its users.".to_owned();
        draft.recommendation =
            Some("Begin with the function that has most paths and callers, at its boundary to the outside.".to_owned());
        draft.confidence = 0.8;
        draft.severity = Level::High;
        draft.impact = Level::High;
        draft.effort = Level::High;
        let hardest = metrics
            .results
            .first()
            .and_then(|f| writer.lines(&f.path, f.line, (f.line + 4).min(f.end_line)));
        draft.evidence = hardest.into_iter().collect();
        draft
            .evidence
            .push(tool_evidence("code.metrics", json!({}), &figures(metrics)));
        writer.write(draft);
        return;
    }
    let Some(untested) = results.get::<MetricsResult>("untested") else {
        return;
    };
    let weight = |f: &FunctionMetrics| {
        (f.complexity as f64) * (1.0 + (1.0 + f.callers as f64).ln() * 0.3) * if f.public { 1.3 } else { 1.0 }
    };
    let mut open: Vec<&FunctionMetrics> = untested
        .results
        .iter()
        .filter(|f| {
            f.complexity >= 6 && last_name(&f.name) != "main" && matches!(role_of(&f.path), Role::Library | Role::Entry)
        })
        .collect();
    // What was reported as hard to change is not reported twice.
    open.retain(|f| !writer.has_subject(&f.name));
    open.sort_by(|a, b| {
        weight(b)
            .total_cmp(&weight(a))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    let share = format!(
        "{} of {} functions outside tests are named by no test; there are {} test functions.",
        untested.results.len() + untested.omitted,
        metrics.functions,
        metrics.test_functions
    );
    writer.note(share.clone());
    for function in open.iter().take(max) {
        let callers = if function.callers > 0 {
            format!(" and {}", count(function.callers, "caller"))
        } else {
            String::new()
        };
        let mut draft = Draft::new(
            format!(
                "No test names `{}`, which has {}{callers}",
                function.name,
                count(function.complexity, "path")
            ),
            function.name.clone(),
            "code.metrics",
        );
        draft.rationale = format!(
            "A change that breaks one of its branches goes unnoticed, unless a test reaches it by way of others. {share}"
        );
        draft.recommendation =
            Some("Test it directly with a table of inputs, one for each branch, the failing ones first.".to_owned());
        draft.confidence = 0.55;
        draft.severity = if function.complexity >= 15 {
            Level::High
        } else {
            Level::Medium
        };
        draft.impact = Level::Medium;
        draft.effort = Level::Medium;
        draft.value = Some((function.complexity as f64, "paths"));
        draft.evidence = writer
            .lines(
                &function.path,
                function.line,
                (function.line + 5).min(function.end_line),
            )
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

pub fn write_undocumented(writer: &mut Writer<'_>, metrics: &MetricsResult) {
    let (open, all) = (metrics.undocumented_public_functions, metrics.public_functions);
    if all == 0 || open * 10 < all {
        return;
    }
    let mut bare: Vec<&FunctionMetrics> = metrics.results.iter().filter(|f| f.public && !f.documented).collect();
    bare.sort_by(|a, b| {
        (b.callers, b.complexity)
            .cmp(&(a.callers, a.complexity))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    let names: Vec<String> = bare.iter().map(|f| f.name.clone()).collect();
    let mut draft = Draft::new(
        format!("{open} of {all} public functions have no documentation"),
        "documentation",
        "code.metrics",
    );
    draft.rationale = format!(
        "Whoever calls them must read their code to learn units, limits and errors. Most used among them: {}.",
        listed(&names, 5)
    );
    draft.recommendation = Some("Document those other modules call, beginning with what can go wrong.".to_owned());
    draft.confidence = 0.8;
    draft.severity = Level::Low;
    draft.impact = Level::Medium;
    draft.effort = Level::Medium;
    draft.value = Some((open as f64, "functions"));
    draft.evidence = bare
        .iter()
        .take(4)
        .filter_map(|f| writer.lines(&f.path, f.line, f.line))
        .collect();
    writer.write(draft);
}

pub fn figures(metrics: &MetricsResult) -> String {
    format!(
        "{{\"files\":{},\"functions\":{},\"test_functions\":{},\"mean_complexity\":{}}}",
        metrics.files, metrics.functions, metrics.test_functions, metrics.mean_complexity
    )
}

/// Which aspect a sentence is about. Where the aspect is the user's own words for a part of the query, rules and figures
/// know nothing of it, and the sentence claims nothing about it.
fn for_aspect(brief: &Brief) -> String {
    let named = brief.aspect.split_whitespace().count() <= ASPECT_WORDS_MAX && !known_focuses(brief).is_empty();
    if named {
        format!(" for {}", brief.aspect)
    } else {
        String::new()
    }
}

/// What was looked at, where nothing was found: that too is an answer.
pub fn write_clean(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    if let Some(rules) = results.get::<RulesResult>("rules").filter(|rules| rules.functions > 0) {
        let claim = format!(
            "No risky pattern{} stands out in {} of {}",
            for_aspect(brief),
            count(rules.functions, "function"),
            count(rules.files, "file")
        );
        let mut draft = Draft::new(claim, brief.aspect.clone(), "code.rules");
        draft.rationale = format!(
            "{} were applied to code outside tests; what they found, if anything, was too weak or too minor to report. Rules know patterns, not intentions: a mistake in logic would not show.",
            count(rules.rules, "rule")
        );
        draft.confidence = 0.6;
        draft.polarity = Polarity::Negative;
        let quote = format!(
            "{{\"files\":{},\"functions\":{},\"rules\":{},\"matches\":{}}}",
            rules.files, rules.functions, rules.rules, rules.matches
        );
        draft.evidence = vec![tool_evidence("code.rules", json!({"paths": brief.paths}), &quote)];
        writer.write(draft);
    } else if let Some(metrics) = results
        .get::<MetricsResult>("metrics")
        .filter(|metrics| metrics.functions > 0)
    {
        let claim = format!(
            "No function stands out{} among {}",
            for_aspect(brief),
            count(metrics.functions, "function")
        );
        let mut draft = Draft::new(claim, brief.aspect.clone(), "code.metrics");
        draft.rationale = format!(
            "The mean complexity is {}, the median function has {}.",
            metrics.mean_complexity,
            count(metrics.median_code_lines, "line")
        );
        draft.confidence = 0.6;
        draft.polarity = Polarity::Negative;
        draft.evidence = vec![tool_evidence(
            "code.metrics",
            json!({"paths": brief.paths}),
            &figures(&metrics),
        )];
        writer.write(draft);
    }
}
