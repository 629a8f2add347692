//! The playbook for restructuring: which functions and repetitions are worth the change, who uses what would change, and in
//! which order the steps leave everything working. It changes nothing itself.

mod mentions;
mod order;
mod seams;
mod uses;

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, ToolCall};
use axon_tools::Workspace;
use axon_tools::code::{
    DuplicatesResult, FunctionMetrics, MetricsResult, RankResult, Role, SearchResult, last_name, query_terms, role_of,
    terms,
};
use serde_json::json;

use super::brief::call;
use super::code_review::{burden, figures};
use super::write::{Draft, Writer, count, listed, tool_evidence};
use super::{Brief, Conclusion, Results};
pub use mentions::definitions;
use order::write_order;
use seams::seams;
use uses::write_uses;

/// Functions one task names.
const FUNCTIONS_MAX: usize = 4;
/// Functions whose callers are looked up.
const CALLED_MAX: usize = 3;
/// Repetitions one task names.
const DUPLICATES_MAX: usize = 3;
/// Burden from which a function is worth splitting: 1 is the edge of what is reasonable.
const BURDEN_MIN: f64 = 0.9;

/// What a task is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Everything,
    Functions,
    Duplication,
    Uses,
    Safety,
}

fn side(brief: &Brief) -> Side {
    let any = |starts: &[&str]| brief.aspect_has(starts);
    if any(&["duplic", "redundan", "clone", "repeat"]) {
        Side::Duplication
    } else if any(&["caller", "uses", "usage", "call", "impact", "coupl"]) {
        Side::Uses
    } else if any(&["safety", "test", "untested", "regression"]) {
        Side::Safety
    } else if any(&["hard", "complex", "readab", "maintain", "function", "nesting"]) {
        Side::Functions
    } else {
        Side::Everything
    }
}

/// Whether the query is about names that it gives, such as one to be changed, and not about what is worth changing.
fn is_about_names(brief: &Brief) -> bool {
    !brief.symbols.is_empty()
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let side = side(brief);
    let mut calls = uses::plan(brief);
    if side != Side::Duplication {
        calls.push(call(
            "metrics",
            "code.metrics",
            json!({"paths": brief.paths, "max_results": 300}),
        ));
    }
    if matches!(side, Side::Everything | Side::Duplication) {
        calls.push(call(
            "duplicates",
            "code.duplicates",
            json!({"paths": brief.paths, "max_results": 20}),
        ));
    }
    if !brief.topic().is_empty() {
        let params = json!({"query": brief.topic().join(" "), "unit": "file", "paths": brief.paths, "roles": ["library", "entry"], "max_results": 40});
        calls.push(call("relevance", "code.rank", params));
    }
    calls
}

/// The second round: who calls the functions that are worth the change.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let mut calls = uses::follow_up(results);
    for (index, function) in worth_changing(brief, results).iter().take(CALLED_MAX).enumerate() {
        let name = last_name(&function.name);
        if function.callers > 0 {
            let params = json!({"pattern": format!(r"\b{}(::<[^>]*>)?\s*\(", regex::escape(name)), "max_results": 60, "case_sensitive": true});
            calls.push(call(format!("callers_{index}"), "code.search", params));
        }
    }
    calls
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let mut writer = Writer::new(brief, workspace);
    let side = side(brief);
    let names = is_about_names(brief);
    if names || side == Side::Uses {
        write_uses(&mut writer, brief, results);
    }
    let functions = match side {
        Side::Everything if names => 0,
        Side::Everything => 3,
        Side::Functions => FUNCTIONS_MAX,
        Side::Uses if !names => 2,
        _ => 0,
    };
    write_functions(&mut writer, brief, results, functions);
    if matches!(side, Side::Everything | Side::Duplication) && !(names && side == Side::Everything) {
        write_duplicates(
            &mut writer,
            results,
            if side == Side::Everything {
                2
            } else {
                DUPLICATES_MAX + 2
            },
        );
    }
    if side == Side::Safety {
        write_safety(&mut writer, brief, results);
    }
    if matches!(side, Side::Everything | Side::Functions) {
        write_order(&mut writer, brief, results);
    }
    if writer.len() == 0 {
        write_nothing(&mut writer, results);
    }
    writer.finish()
}

/// The functions that are worth the change, worst first: by size, paths and nesting, more where the query points.
fn worth_changing(brief: &Brief, results: &Results) -> Vec<FunctionMetrics> {
    let Some(metrics) = results.get::<MetricsResult>("metrics") else {
        return Vec::new();
    };
    let ranked = results.get::<RankResult>("relevance").unwrap_or_default();
    let best = ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON));
    let asked: BTreeMap<&str, f64> = ranked
        .results
        .iter()
        .map(|file| (file.path.as_str(), file.score / best))
        .collect();
    let named = |f: &FunctionMetrics| {
        let own = last_name(&f.name);
        brief
            .symbols
            .iter()
            .any(|symbol| last_name(symbol).eq_ignore_ascii_case(own))
    };
    let words: BTreeSet<String> = query_terms(&brief.keywords.join(" ")).into_iter().collect();
    let spoken_of = |f: &FunctionMetrics| terms(last_name(&f.name)).iter().any(|term| words.contains(term));
    let worth = |f: &FunctionMetrics| {
        let relevant = asked.get(f.path.as_str()).copied().unwrap_or_default();
        let meant = match () {
            () if named(f) => 3.0,
            () if spoken_of(f) => 2.0,
            () => 1.0,
        };
        burden(f) * (1.0 + 0.5 * relevant) * meant
    };
    let mut found: Vec<FunctionMetrics> = metrics
        .results
        .into_iter()
        .filter(|f| matches!(role_of(&f.path), Role::Library | Role::Entry))
        .filter(|f| burden(f) >= BURDEN_MIN || named(f))
        .collect();
    found.sort_by(|a, b| {
        worth(b)
            .total_cmp(&worth(a))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    found
}

fn write_functions(writer: &mut Writer<'_>, brief: &Brief, results: &Results, max: usize) {
    let found = worth_changing(brief, results);
    for (index, function) in found.iter().take(max).enumerate() {
        let mut claim = format!(
            "`{}` is worth splitting: {} through {}",
            function.name,
            count(function.complexity, "path"),
            count(function.code_lines, "line")
        );
        if function.nesting >= 4 {
            claim.push_str(&format!(", nested {} deep", function.nesting));
        }
        if function.parameters >= 7 {
            claim.push_str(&format!(", {} parameters", function.parameters));
        }
        let mut draft = Draft::new(claim, function.name.clone(), "code.metrics");
        let mut evidence: Vec<_> = writer
            .lines(
                &function.path,
                function.line,
                (function.line + 3).min(function.end_line),
            )
            .into_iter()
            .collect();
        let calls = callers(results, index, function);
        let touched = match calls.len() {
            0 => "No call of it is known by its name.".to_owned(),
            number => {
                let mut users: Vec<String> = calls
                    .iter()
                    .map(|(path, _, name)| name.clone().unwrap_or_else(|| path.clone()))
                    .collect();
                users.dedup();
                format!(
                    "A change of its signature touches {}: {}.",
                    count(number, "call"),
                    listed(&users, 5)
                )
            }
        };
        for (path, line, _) in calls.iter().take(3) {
            evidence.extend(writer.lines(path, *line, *line));
        }
        let seams = match writer.workspace().text(&function.path) {
            Ok(text) => seams(&text, function),
            Err(_) => Vec::new(),
        };
        let along = if seams.is_empty() {
            "Split it where decisions end and effects begin, so that each part can be tested alone.".to_owned()
        } else {
            let shown: Vec<String> = seams.iter().map(|seam| seam.shown()).collect();
            format!(
                "Its seams: {}. Move each into a function named for what it decides.",
                shown.join("; ")
            )
        };
        let tested = match function.test_mentions {
            0 => "No test names it: pin its behaviour down first.".to_owned(),
            mentions => format!("Tests name it {}.", count(mentions, "time")),
        };
        draft.rationale = format!("{touched} {tested}");
        draft.recommendation = Some(along);
        draft.confidence = if function.nesting <= 2 { 0.6 } else { 0.8 };
        let heavy = burden(function);
        draft.severity = if heavy >= 2.0 { Level::High } else { Level::Medium };
        draft.impact = if heavy >= 1.5 { Level::High } else { Level::Medium };
        draft.effort = if function.code_lines > 150 || calls.len() > 10 {
            Level::High
        } else {
            Level::Medium
        };
        draft.value = Some((function.complexity as f64, "paths"));
        draft.evidence = evidence;
        writer.write(draft);
    }
    if max > 0 && found.len() > max {
        writer.note(format!(
            "{} more functions are beyond what is easy to hold in the head.",
            found.len() - max
        ));
    }
}

/// The calls of a function outside tests and outside itself: file, line, calling function.
fn callers(results: &Results, index: usize, function: &FunctionMetrics) -> Vec<(String, u32, Option<String>)> {
    let search = results
        .get::<SearchResult>(&format!("callers_{index}"))
        .unwrap_or_default();
    let own = function.line..=function.end_line;
    search
        .results
        .into_iter()
        .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
        .filter(|hit| !(hit.path == function.path && own.contains(&hit.line)))
        .filter(|hit| {
            !hit.text.contains("fn ") && !hit.text.contains("def ") && !hit.text.trim_start().starts_with(['/', '#'])
        })
        .map(|hit| (hit.path, hit.line, hit.function))
        .collect()
}

fn write_duplicates(writer: &mut Writer<'_>, results: &Results, max: usize) {
    let Some(found) = results.get::<DuplicatesResult>("duplicates") else {
        return;
    };
    for piece in found.results.iter().take(max) {
        let Some(first) = piece.places.first() else { continue };
        let mut places: Vec<String> = piece
            .places
            .iter()
            .map(|place| place.function.clone().unwrap_or_else(|| place.path.clone()))
            .collect();
        places.dedup();
        let times = match piece.count {
            2 => "twice".to_owned(),
            times => format!("{times} times"),
        };
        let subject = first.function.clone().unwrap_or_else(|| first.path.clone());
        let mut draft = Draft::new(
            format!(
                "{} are written {times}: in {}",
                count(piece.lines, "line"),
                listed(&places, 4)
            ),
            subject.clone(),
            "code.duplicates",
        );
        let mut files: Vec<&str> = piece.places.iter().map(|place| place.path.as_str()).collect();
        files.dedup();
        draft.rationale = format!(
            "A correction of one copy has to be made in {} more; one copy saves {}.",
            count(piece.count - 1, "place"),
            count(piece.lines * (piece.count - 1), "line")
        );
        draft.recommendation = Some(match files.as_slice() {
            [only] => format!("Move them into one function of {only}, and let what differs be its parameters."),
            _ => format!(
                "Move them into one function where all of {} can reach it, and let what differs be its parameters.",
                count(files.len(), "file")
            ),
        });
        draft.confidence = 0.8;
        draft.severity = if piece.lines * (piece.count - 1) >= 40 {
            Level::Medium
        } else {
            Level::Low
        };
        draft.impact = Level::Medium;
        draft.effort = if files.len() > 2 { Level::Medium } else { Level::Low };
        draft.value = Some((piece.lines as f64, "lines"));
        draft.evidence = piece
            .places
            .iter()
            .take(4)
            .filter_map(|place| writer.lines(&place.path, place.line, (place.line + 3).min(place.end_line)))
            .collect();
        writer.write(draft);
    }
    writer.note(format!(
        "{} of {} lines of code repeat others, in pieces of 6 lines or more.",
        found.repeated_lines, found.code_lines
    ));
}

/// Which of the functions that are worth the change nothing protects.
fn write_safety(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let found = worth_changing(brief, results);
    for function in found
        .iter()
        .filter(|function| function.test_mentions == 0)
        .take(FUNCTIONS_MAX)
    {
        let mut draft = Draft::new(
            format!(
                "Nothing protects a change of `{}`: it has {} and no test names it",
                function.name,
                count(function.complexity, "path")
            ),
            function.name.clone(),
            "code.metrics",
        );
        draft.rationale = format!(
            "It has {}. What it returns today is known to nobody but its code.",
            count(function.callers, "known caller")
        );
        draft.recommendation = Some(
            "Record what it returns for a table of inputs, odd ones included, before the first line is moved."
                .to_owned(),
        );
        draft.confidence = 0.65;
        draft.severity = Level::Medium;
        draft.impact = Level::High;
        draft.effort = Level::Medium;
        draft.value = Some((function.complexity as f64, "paths"));
        draft.evidence = writer
            .lines(
                &function.path,
                function.line,
                (function.line + 4).min(function.end_line),
            )
            .into_iter()
            .collect();
        writer.write(draft);
    }
    let protected = found.iter().filter(|function| function.test_mentions > 0).count();
    if !found.is_empty() {
        writer.note(format!(
            "Tests name {protected} of {} functions that are worth the change.",
            found.len()
        ));
    }
}

fn write_nothing(writer: &mut Writer<'_>, results: &Results) {
    let Some(metrics) = results
        .get::<MetricsResult>("metrics")
        .filter(|metrics| metrics.functions > 0)
    else {
        return;
    };
    let claim = format!(
        "No function among {} is worth splitting by its size, paths or nesting",
        metrics.functions
    );
    let mut draft = Draft::new(claim, "structure", "code.metrics");
    draft.rationale = format!(
        "The mean complexity is {}, the median function has {}.",
        metrics.mean_complexity,
        count(metrics.median_code_lines, "line")
    );
    draft.confidence = 0.6;
    draft.polarity = axon_protocol::Polarity::Negative;
    draft.evidence = vec![tool_evidence("code.metrics", json!({}), &figures(&metrics))];
    draft.origin = Some("code.metrics".to_owned());
    writer.write(draft);
}
