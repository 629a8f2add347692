//! Writes which functions no test names, those first that matter most. It judges by names that test code mentions, and says
//! so where tests name everything: that proves little.

use std::collections::BTreeMap;

use axon_protocol::Level;
use axon_tools::code::{FunctionMetrics, MetricsResult, RankResult, Role, last_name, role_of};
use serde_json::json;

use super::super::Results;
use super::super::code_review::figures;
use super::super::write::{Draft, Writer, count, listed, tool_evidence};

/// Paths through a function below which a missing test matters little, unless it is public.
const PATHS_MIN: usize = 4;
/// Paths through a function from which testing it is much work, and a missing test grave.
const PATHS_MANY: usize = 15;
/// Paths through a function from which a missing test is no trifle.
const PATHS_SOME: usize = 6;
/// Callers above which what breaks in a function breaks much.
const CALLERS_MANY: usize = 3;
/// Functions without a test that a claim names, and that its rationale lists.
const CLAIMED_MAX: usize = 3;
const LISTED_MAX: usize = 25;
/// Lines of a function that are quoted.
const QUOTED_LINES: u32 = 5;

/// The functions that no test names, those first that matter most: asked for, public, with many paths and callers.
pub fn write_untested(writer: &mut Writer<'_>, results: &Results, max: usize) {
    let Some(metrics) = results
        .get::<MetricsResult>("metrics")
        .filter(|metrics| metrics.functions > 0)
    else {
        return;
    };
    let untested = results.get::<MetricsResult>("untested").unwrap_or_default();
    let without = untested.results.len() + untested.omitted;
    if without == metrics.functions && has_no_tests(writer, &metrics) {
        write_no_tests(writer, &metrics);
        return;
    }
    let share = format!(
        "{without} of {} outside tests are named by no test",
        count(metrics.functions, "function")
    );
    let open = weightiest(&untested.results, &Relevance::of(results));
    for (index, function) in open.iter().take(max).enumerate() {
        write_function(writer, function, index == 0, &share);
    }
    // Tests in files of their own, outside of what was asked about, count as well, and are not counted here.
    writer.note(match metrics.test_functions {
        0 => format!("{share}; the tests are in other files."),
        tests => format!("{share}; there are {} beside them.", count(tests, "test function")),
    });
    let rest = most_called(&untested.results);
    if !rest.is_empty() {
        write_list(writer, &rest, without, metrics.functions);
    } else if open.is_empty() {
        write_all_named(writer, &metrics);
    }
}

/// Whether there are tests neither beside the functions nor in files of their own.
fn has_no_tests(writer: &Writer<'_>, metrics: &MetricsResult) -> bool {
    metrics.test_functions == 0
        && !writer
            .workspace()
            .manifest()
            .files
            .iter()
            .any(|file| role_of(&file.path) == Role::Test)
}

/// The functions worth a test, those first that matter most.
fn weightiest<'f>(untested: &'f [FunctionMetrics], asked: &Relevance) -> Vec<&'f FunctionMetrics> {
    let mut open: Vec<&FunctionMetrics> = untested.iter().filter(|function| is_worth_a_test(function)).collect();
    open.sort_by(|a, b| {
        weight(b, asked)
            .total_cmp(&weight(a, asked))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    open
}

fn is_worth_a_test(function: &FunctionMetrics) -> bool {
    let branches = function.complexity >= PATHS_MIN || (function.public && function.complexity > 1);
    branches && last_name(&function.name) != "main" && matches!(role_of(&function.path), Role::Library | Role::Entry)
}

/// How much a test of the function matters.
fn weight(function: &FunctionMetrics, asked: &Relevance) -> f64 {
    let callers = 1.0 + (1.0 + function.callers as f64).ln() * 0.3;
    let public = if function.public { 1.5 } else { 1.0 };
    function.complexity as f64 * callers * public * asked.factor(function)
}

fn write_function(writer: &mut Writer<'_>, function: &FunctionMetrics, first: bool, share: &str) {
    let paths = count(function.complexity, "path");
    let visible = if function.public { "public " } else { "" };
    let callers = match function.callers {
        0 => String::new(),
        callers => format!(" and {}", count(callers, "caller")),
    };
    let claim = format!(
        "The {visible}function `{}` appears in no test; it has {paths}{callers}",
        function.name
    );
    let mut draft = Draft::new(claim, function.name.clone(), "code.metrics");
    let first = if first { "It is the one to test first. " } else { "" };
    draft.rationale = format!(
        "{first}A change that breaks one of its paths is noticed only where a test reaches it through other code. {share}."
    );
    draft.recommendation = Some(format!(
        "Test it directly with a table of inputs: one row for each of its {paths} and one for each error it returns."
    ));
    rate(&mut draft, function);
    let end_line = (function.line + QUOTED_LINES).min(function.end_line);
    let quoted = writer.lines(&function.path, function.line, end_line);
    draft.evidence = quoted.into_iter().collect();
    writer.write(draft);
}

/// How sure, grave, useful and laborious a missing test of the function is.
fn rate(draft: &mut Draft, function: &FunctionMetrics) {
    let many = function.complexity >= PATHS_MANY;
    draft.confidence = if function.public { 0.75 } else { 0.6 };
    draft.severity = match function.complexity {
        PATHS_MANY.. => Level::High,
        PATHS_SOME.. => Level::Medium,
        _ => Level::Low,
    };
    draft.impact = if function.callers > CALLERS_MANY {
        Level::High
    } else {
        Level::Medium
    };
    draft.effort = if many { Level::Medium } else { Level::Low };
    draft.value = Some((function.complexity as f64, "paths"));
}

/// All functions without a test, those first that most others call, then those with most paths.
fn most_called(untested: &[FunctionMetrics]) -> Vec<&FunctionMetrics> {
    let mut all: Vec<&FunctionMetrics> = untested
        .iter()
        .filter(|function| matches!(role_of(&function.path), Role::Library | Role::Entry))
        .collect();
    all.sort_by(|a, b| {
        (b.callers, b.complexity)
            .cmp(&(a.callers, a.complexity))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    all
}

/// The list of what no test names, small functions included.
fn write_list(writer: &mut Writer<'_>, all: &[&FunctionMetrics], without: usize, functions: usize) {
    let first: Vec<String> = all.iter().take(CLAIMED_MAX).map(|f| f.name.clone()).collect();
    let claim = format!(
        "{without} of {} outside tests {} named by no test, among them {}",
        count(functions, "function"),
        if without == 1 { "is" } else { "are" },
        listed(&first, CLAIMED_MAX)
    );
    let mut draft = Draft::new(claim, "functions without a test", "code.metrics");
    let shown: Vec<String> = all.iter().take(LISTED_MAX).map(|f| listed_as(f)).collect();
    let left = without.saturating_sub(shown.len());
    let left = match left {
        0 => String::new(),
        left => format!(", and {left} more"),
    };
    draft.rationale = format!("Most called first: {}{left}.", shown.join(", "));
    draft.recommendation = Some("Begin with those that others call: what breaks there breaks its callers.".to_owned());
    draft.confidence = 0.7;
    // A few helpers that tests reach by way of others are no problem; every fourth function is.
    draft.severity = if without * 4 >= functions {
        Level::Medium
    } else {
        Level::Low
    };
    draft.impact = Level::Medium;
    draft.effort = if without > LISTED_MAX {
        Level::High
    } else {
        Level::Medium
    };
    draft.value = Some((without as f64, "functions"));
    draft.origin = Some("functions without a test".to_owned());
    draft.evidence = all
        .iter()
        .filter_map(|f| writer.lines(&f.path, f.line, f.line))
        .take(CLAIMED_MAX + 2)
        .collect();
    writer.write(draft);
}

/// A function with its place and its callers: `` `Chain::new` (src/buf/chain.rs:41, 3 callers) ``.
fn listed_as(function: &FunctionMetrics) -> String {
    let callers = match function.callers {
        0 => String::new(),
        callers => format!(", {}", count(callers, "caller")),
    };
    format!("`{}` ({}:{}{callers})", function.name, function.path, function.line)
}

fn write_all_named(writer: &mut Writer<'_>, metrics: &MetricsResult) {
    let claim = format!(
        "Tests name every function with {PATHS_MIN} paths or more among the {} looked at",
        metrics.functions
    );
    let mut draft = Draft::new(claim, "tests", "code.metrics");
    draft.rationale =
        "That is a sign of care, no proof: a test may name a function and assert little about it.".to_owned();
    draft.confidence = 0.6;
    draft.evidence = vec![tool_evidence(
        "code.metrics",
        json!({"untested": true}),
        &figures(metrics),
    )];
    draft.origin = Some("code.metrics".to_owned());
    writer.write(draft);
}

fn write_no_tests(writer: &mut Writer<'_>, metrics: &MetricsResult) {
    let claim = format!(
        "There is no test for any of the {} in {}",
        count(metrics.functions, "function"),
        count(metrics.files, "file")
    );
    let mut draft = Draft::new(claim, "tests", "code.metrics");
    draft.rationale = "No file of the workspace holds a test, so that no change is checked by anything but the compiler and its users.".to_owned();
    draft.recommendation =
        Some("Begin with the function quoted here, which has most paths, at its boundary to the outside.".to_owned());
    draft.confidence = 0.85;
    draft.severity = Level::High;
    draft.impact = Level::High;
    draft.effort = Level::High;
    let hardest = metrics.results.first();
    draft.evidence = hardest
        .and_then(|f| writer.lines(&f.path, f.line, (f.line + 4).min(f.end_line)))
        .into_iter()
        .collect();
    draft
        .evidence
        .push(tool_evidence("code.metrics", json!({}), &figures(metrics)));
    writer.write(draft);
}

/// How well functions fit what the query is about, by the pieces and files that a ranked search puts first.
struct Relevance {
    pieces: BTreeMap<(String, u32), f64>,
    files: BTreeMap<String, f64>,
}

impl Relevance {
    fn of(results: &Results) -> Self {
        let ranked = |id: &str| {
            let ranked = results.get::<RankResult>(id).unwrap_or_default();
            let best = ranked
                .results
                .first()
                .map_or(1.0, |first| first.score.max(f64::EPSILON));
            ranked.results.into_iter().map(move |piece| {
                let share = piece.score / best;
                (piece, share)
            })
        };
        Self {
            pieces: ranked("relevance")
                .map(|(piece, share)| ((piece.path, piece.end_line), share))
                .collect(),
            files: ranked("relevant_files")
                .map(|(file, share)| (file.path, share))
                .collect(),
        }
    }

    /// A factor: 1 where the query is about nothing in particular, small for what it is not about.
    fn factor(&self, function: &FunctionMetrics) -> f64 {
        if self.files.is_empty() {
            return 1.0;
        }
        let piece = self
            .pieces
            .get(&(function.path.clone(), function.end_line))
            .copied()
            .unwrap_or_default();
        let file = self.files.get(&function.path).copied().unwrap_or_default();
        0.05 + file * file + 2.0 * piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, complexity: usize, callers: usize, public: bool) -> FunctionMetrics {
        FunctionMetrics {
            path: "src/lease.rs".to_owned(),
            name: name.to_owned(),
            line: 10,
            end_line: 40,
            code_lines: 30,
            complexity,
            nesting: 1,
            parameters: 1,
            callers,
            calling_files: callers.min(1),
            test_mentions: 0,
            public,
            documented: true,
            is_async: false,
        }
    }

    fn nothing_asked() -> Relevance {
        Relevance {
            pieces: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn trifles_and_starting_points_need_no_test() {
        let elsewhere = |path: &str| FunctionMetrics {
            path: path.to_owned(),
            ..function("renew", 9, 0, true)
        };
        for (function, expected) in [
            (function("renew", PATHS_MIN, 0, false), true),
            (function("renew", PATHS_MIN - 1, 0, false), false),
            (function("renew", 2, 0, true), true),
            (function("renew", 1, 0, true), false),
            (function("main", 20, 0, true), false),
            (elsewhere("src/main.rs"), true),
            (elsewhere("tests/lease.rs"), false),
        ] {
            assert_eq!(is_worth_a_test(&function), expected, "{function:?}");
        }
    }

    #[test]
    fn paths_callers_visibility_and_the_question_decide_what_comes_first() {
        let order = |asked: &Relevance, functions: &[FunctionMetrics]| -> Vec<String> {
            let ordered = weightiest(functions, asked);
            ordered.iter().map(|function| function.name.clone()).collect()
        };
        let functions = [
            function("plain", 10, 0, false),
            function("called", 10, 5, false),
            function("public", 10, 0, true),
            function("long", 20, 0, false),
        ];
        assert_eq!(
            order(&nothing_asked(), &functions),
            ["long", "called", "public", "plain"]
        );
        let asked = Relevance {
            pieces: [(("src/lease.rs".to_owned(), 50), 1.0)].into(),
            files: [("src/lease.rs".to_owned(), 0.5)].into(),
        };
        let meant = FunctionMetrics {
            end_line: 50,
            ..function("meant", 4, 0, false)
        };
        let [_, called, _, long] = functions;
        assert_eq!(order(&asked, &[called, long, meant]), ["meant", "long", "called"]);
    }

    #[test]
    fn the_list_begins_with_what_most_others_call_and_holds_small_functions() {
        let functions = [
            function("small", 1, 0, false),
            function("branchy", 9, 0, false),
            function("central", 1, 7, false),
        ];
        let shown: Vec<String> = most_called(&functions).into_iter().map(listed_as).collect();
        assert_eq!(
            shown,
            [
                "`central` (src/lease.rs:10, 7 callers)",
                "`branchy` (src/lease.rs:10)",
                "`small` (src/lease.rs:10)"
            ]
        );
    }

    #[test]
    fn a_missing_test_is_rated_by_paths_and_callers() {
        for (complexity, callers, severity, impact, effort) in [
            (4, 0, Level::Low, Level::Medium, Level::Low),
            (6, 3, Level::Medium, Level::Medium, Level::Low),
            (14, 4, Level::Medium, Level::High, Level::Low),
            (15, 4, Level::High, Level::High, Level::Medium),
        ] {
            let mut draft = Draft::new("a claim", "a subject", "code.metrics");
            rate(&mut draft, &function("renew", complexity, callers, false));
            assert_eq!(
                (draft.severity, draft.impact, draft.effort),
                (severity, impact, effort),
                "{complexity} paths, {callers} callers"
            );
        }
    }
}
