//! The playbook for reviews: rules and figures for the aspect, ranked by what can go wrong where it would hurt most, then a
//! second look at the strongest candidates. It writes few findings, and none a reviewer would wave through.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, Polarity, ToolCall};
use axon_tools::Workspace;
use axon_tools::code::{
    FunctionMetrics, ListResult, MetricsResult, RankResult, ReadResult, Role, RuleMatch, RulesResult, last_name,
    role_of,
};
use serde_json::json;

use super::brief::call;
use super::write::{Draft, Writer, count, listed, tool_evidence};
use super::{Brief, Conclusion, FINDINGS_MAX, Results};

/// Rule matches one task looks at.
const MATCHES_MAX: usize = 200;
/// Candidates that get a second look.
const SECOND_LOOKS_MAX: usize = 4;
/// Lines of a function the second look reads.
const READ_LINES_MAX: u32 = 160;
/// Severity times confidence below which a match is not worth a reader's time.
const WORTH_MIN: f64 = 1.0;
/// Minor matters one task reports.
const MINOR_MAX: usize = 2;
/// Functions of one rule that get a finding of their own before the rest is summed up.
const SINGLE_MAX: usize = 2;

/// Rules whose matches hold what must not be repeated.
const SECRET_RULES: &[&str] = &["any.private_key", "any.cloud_key", "any.hard_coded_secret"];

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
    let aspect = brief.aspect_key();
    let words: Vec<&str> = aspect.split('_').collect();
    let known = FOCUSES
        .iter()
        .filter(|(start, _)| words.iter().any(|word| word.starts_with(start)));
    let found: BTreeSet<Focus> = known.flat_map(|(_, focuses)| focuses.iter().copied()).collect();
    if found.is_empty() {
        EVERYTHING.iter().copied().collect()
    } else {
        found
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let focuses = focuses(brief);
    let mut calls = Vec::new();
    let aspects: Vec<&str> = focuses
        .iter()
        .filter_map(|focus| {
            if let Focus::Rules(aspect) = focus {
                Some(*aspect)
            } else {
                None
            }
        })
        .collect();
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
    }
    if !brief.topic().is_empty() {
        let params = json!({"query": brief.topic().join(" "), "unit": "file", "paths": brief.paths, "roles": ["library", "entry"], "max_results": 40});
        calls.push(call("relevance", "code.rank", params));
    }
    calls
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

/// A rule match with what it is worth here.
#[derive(Debug, Clone)]
struct Candidate {
    matched: RuleMatch,
    worth: f64,
}

fn candidates(brief: &Brief, results: &Results) -> Vec<Candidate> {
    let Some(rules) = results.get::<RulesResult>("rules") else {
        return Vec::new();
    };
    let relevance = relevance(results);
    let mut out: Vec<Candidate> = rules
        .results
        .into_iter()
        .filter(|matched| f64::from(matched.severity.weight()) * matched.confidence >= WORTH_MIN)
        .map(|matched| Candidate {
            worth: worth(brief, &matched, &relevance),
            matched,
        })
        .collect();
    out.sort_by(|a, b| {
        b.worth
            .total_cmp(&a.worth)
            .then_with(|| place(&a.matched).cmp(&place(&b.matched)))
    });
    out
}

fn place(matched: &RuleMatch) -> (&str, u32, &str) {
    (&matched.path, matched.line, &matched.rule)
}

/// How well files fit what the query is about, from 0 to 1.
fn relevance(results: &Results) -> BTreeMap<String, f64> {
    let Some(ranked) = results.get::<RankResult>("relevance") else {
        return BTreeMap::new();
    };
    let best = ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON));
    ranked
        .results
        .into_iter()
        .map(|file| (file.path, file.score / best))
        .collect()
}

/// Severity times confidence, more where the function is central, complex or can report an error, where there are several
/// places, and where the query points.
fn worth(brief: &Brief, matched: &RuleMatch, relevance: &BTreeMap<String, f64>) -> f64 {
    let base = f64::from(matched.severity.weight()).powf(1.5) * matched.confidence;
    let central = (1.0 + matched.callers as f64).ln() * 0.12;
    let complex = (matched.complexity as f64 / 20.0).min(1.0) * 0.3;
    let exposed = if matched.public { 0.1 } else { 0.0 } + if matched.in_fallible { 0.1 } else { 0.0 };
    let several = (matched.places as f64).ln() * 0.1;
    let named = matched.function.as_ref().is_some_and(|function| {
        brief
            .symbols
            .iter()
            .any(|symbol| last_name(symbol).eq_ignore_ascii_case(last_name(function)))
    });
    let asked = relevance.get(&matched.path).map_or(0.0, |score| score * 0.4) + if named { 1.0 } else { 0.0 };
    base * (1.0 + central + complex + exposed + several + asked)
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
            write_complexity(&mut writer, &metrics, functions);
            write_large_files(&mut writer, results);
        }
        if focuses.contains(&Focus::Untested) {
            write_untested(&mut writer, results, &metrics, functions.min(4));
        }
        if focuses.contains(&Focus::Documentation) {
            write_undocumented(&mut writer, &metrics);
        }
    }
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

/// One finding for each of the strongest matches; where a rule applies in many functions, one for all of them.
pub fn write_matches(writer: &mut Writer<'_>, brief: &Brief, results: &Results, max: usize) {
    let reads: Vec<ReadResult> = results
        .all::<ReadResult>("read_")
        .into_iter()
        .map(|(_, read)| read)
        .collect();
    let mut candidates = candidates(brief, results);
    for candidate in &mut candidates {
        if explained(&candidate.matched, &reads) {
            candidate.worth *= 0.5;
            candidate.matched.confidence *= 0.7;
        }
    }
    candidates.sort_by(|a, b| {
        b.worth
            .total_cmp(&a.worth)
            .then_with(|| place(&a.matched).cmp(&place(&b.matched)))
    });
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for candidate in candidates {
        match groups
            .iter_mut()
            .find(|group| group[0].matched.rule == candidate.matched.rule)
        {
            Some(group) => group.push(candidate),
            None => groups.push(vec![candidate]),
        }
    }
    let mut queue: Vec<(f64, Vec<Candidate>)> = Vec::new();
    for group in groups {
        if group.len() <= SINGLE_MAX {
            queue.extend(group.into_iter().map(|one| (one.worth, vec![one])));
        } else {
            // Many of a kind weigh more than one, but not as much as many kinds.
            let worth = group[0].worth * (1.0 + (group.len() as f64).ln() * 0.15);
            queue.push((worth, group));
        }
    }
    queue.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| place(&a.1[0].matched).cmp(&place(&b.1[0].matched)))
    });
    let mut minor = 0;
    for (_, group) in queue {
        let is_minor = group[0].matched.severity <= Level::Low;
        if writer.len() >= max || (is_minor && minor >= MINOR_MAX) {
            continue;
        }
        if writer.write(draft(writer, results, &group)) {
            minor += usize::from(is_minor);
        }
    }
}

/// Whether the function's own documentation says what the match is about.
fn explained(matched: &RuleMatch, reads: &[ReadResult]) -> bool {
    let Some(line) = matched.function_line else {
        return false;
    };
    let Some(read) = reads
        .iter()
        .find(|read| read.path == matched.path && (read.line..=read.end_line).contains(&line))
    else {
        return false;
    };
    let above: Vec<&str> = read.text.lines().take((line - read.line) as usize).collect();
    let documentation: String = above
        .iter()
        .rev()
        .take_while(|text| text.trim_start().starts_with(['/', '#', '*']))
        .map(|text| text.to_lowercase())
        .collect();
    match matched.aspect.as_str() {
        "error_handling" => {
            documentation.contains("panics")
                || documentation.contains("best effort")
                || documentation.contains("ignored")
        }
        "concurrency" => documentation.contains("block"),
        _ => false,
    }
}

fn draft(writer: &Writer<'_>, results: &Results, group: &[Candidate]) -> Draft {
    let first = &group[0].matched;
    let others: Vec<&RuleMatch> = group.iter().skip(1).map(|candidate| &candidate.matched).collect();
    let subject = first.function.clone().unwrap_or_else(|| first.path.clone());
    let mut claim = first.claim.clone();
    if !others.is_empty() {
        let noun = if first.function.is_some() { "function" } else { "file" };
        claim = format!(
            "{claim}, and {} more {noun}{} do alike",
            others.len(),
            if others.len() == 1 { "" } else { "s" }
        );
    }
    let mut draft = Draft::new(claim, subject, "code.rules");
    let here = here(first, &others);
    draft.rationale = format!("{} {here}", first.why);
    draft.recommendation = Some(first.recommendation.clone());
    draft.confidence = first.confidence;
    draft.severity = first.severity;
    draft.impact = first.impact;
    draft.effort = if others.len() >= 8 {
        raised(first.effort)
    } else {
        first.effort
    };
    if SECRET_RULES.contains(&first.rule.as_str()) {
        // A quote would spread what it warns of.
        let places: Vec<String> = group
            .iter()
            .map(|candidate| format!("{}:{}", candidate.matched.path, candidate.matched.line))
            .collect();
        draft.origin = places.first().cloned();
        draft.evidence = vec![tool_evidence(
            "code.rules",
            json!({"rules": [first.rule]}),
            &places.join(" "),
        )];
        return draft;
    }
    draft.evidence = writer.places(&first.path, &first.lines, first.function_end);
    let room = if others.is_empty() { 0 } else { 5 };
    draft.evidence.truncate(if room > 0 { 2 } else { 6 });
    for other in others.iter().take(room) {
        draft
            .evidence
            .extend(writer.places(&other.path, &[other.line], other.function_end));
    }
    if others.is_empty()
        && let Some(site) = call_site(results, first)
    {
        draft.evidence.extend(writer.lines(&site.0, site.1, site.1));
        draft.rationale = format!("{} One call is at `{}:{}`.", draft.rationale.trim_end(), site.0, site.1);
    }
    draft
}

fn raised(effort: Level) -> Level {
    if effort <= Level::Low { Level::Medium } else { effort }
}

/// What is special about the place.
fn here(first: &RuleMatch, others: &[&RuleMatch]) -> String {
    let mut sentences = Vec::new();
    let Some(function) = &first.function else {
        return also(others);
    };
    if first.callers > 1 {
        let files = count(first.calling_files, "file");
        sentences.push(format!(
            "`{function}` is called in {} of {files}.",
            count(first.callers, "place")
        ));
    }
    if first.in_fallible && first.aspect == "error_handling" {
        sentences.push(format!(
            "`{function}` returns a `Result` already, so its callers are ready for an error."
        ));
    }
    if first.complexity >= 15 {
        sentences.push(format!(
            "{} paths run through it, among which this one is easily overlooked.",
            first.complexity
        ));
    }
    sentences.push(also(others));
    sentences.join(" ").trim().to_owned()
}

fn also(others: &[&RuleMatch]) -> String {
    let names: Vec<String> = others
        .iter()
        .map(|other| other.function.clone().unwrap_or_else(|| other.path.clone()))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("The others: {}.", listed(&names, 6))
    }
}

/// A call of the function outside tests and outside itself.
fn call_site(results: &Results, matched: &RuleMatch) -> Option<(String, u32)> {
    if matched.callers == 0 {
        // The name does not tell which function is called.
        return None;
    }
    let name = last_name(matched.function.as_deref()?).to_owned();
    let own = matched.function_line?..=matched.function_end?;
    let searches = results.all::<axon_tools::code::SearchResult>("callers_");
    let hits = searches.iter().flat_map(|(_, search)| &search.results);
    hits.filter(|hit| {
        hit.text.contains(&format!("{name}(")) && !hit.text.contains("fn ") && !hit.text.trim_start().starts_with("//")
    })
    .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
    .find(|hit| hit.function.is_some() && !(hit.path == matched.path && own.contains(&hit.line)))
    .map(|hit| (hit.path.clone(), hit.line))
}

/// How hard a function is to hold in the head: the larger the worse, 1 at the edge of what is reasonable.
fn burden(function: &FunctionMetrics) -> f64 {
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

fn write_complexity(writer: &mut Writer<'_>, metrics: &MetricsResult, max: usize) {
    let mut heavy: Vec<(f64, &FunctionMetrics)> = metrics
        .results
        .iter()
        .map(|function| (burden(function), function))
        .filter(|(burden, _)| *burden >= 1.0)
        .collect();
    heavy.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
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
        draft.rationale = format!("{compared}{tested}{callers}");
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

fn write_large_files(writer: &mut Writer<'_>, results: &Results) {
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

fn write_untested(writer: &mut Writer<'_>, results: &Results, metrics: &MetricsResult, max: usize) {
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

fn write_undocumented(writer: &mut Writer<'_>, metrics: &MetricsResult) {
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

fn figures(metrics: &MetricsResult) -> String {
    format!(
        "{{\"files\":{},\"functions\":{},\"test_functions\":{},\"mean_complexity\":{}}}",
        metrics.files, metrics.functions, metrics.test_functions, metrics.mean_complexity
    )
}

/// What was looked at, where nothing was found: that too is an answer.
fn write_clean(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    if let Some(rules) = results.get::<RulesResult>("rules").filter(|rules| rules.functions > 0) {
        let claim = format!(
            "No risky pattern for {} stands out in {} of {}",
            brief.aspect,
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
            "No function stands out for {} among {}",
            brief.aspect,
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
