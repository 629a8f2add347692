//! Writes down the strongest rule matches of a review: one finding for what is one problem.

use axon_protocol::Level;
use axon_tools::code::{ReadResult, Role, RuleMatch, SearchResult, last_name, role_of};
use serde_json::json;

use super::candidates::{Candidate, candidates, place};
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Minor matters one task reports.
const MINOR_MAX: usize = 2;

/// Functions of one rule that get a finding of their own before the rest is summed up.
const SINGLE_MAX: usize = 2;

/// The aspect of rules that list what can panic; they are applied only where somebody asks, so that all of it is listed.
pub const PANICS: &str = "panics";

/// Places of what was asked for that are listed.
const PLACES_MAX: usize = 25;

/// Rules whose matches hold what must not be repeated.
const SECRET_RULES: &[&str] = &["any.private_key", "any.cloud_key", "any.hard_coded_secret"];

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
        // What was asked for by name is told however minor it is.
        let is_minor = group[0].matched.severity <= Level::Low && group[0].matched.aspect != PANICS;
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

pub fn draft(writer: &Writer<'_>, results: &Results, group: &[Candidate]) -> Draft {
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
    if first.aspect == PANICS && !others.is_empty() {
        draft.rationale = format!("{} {}", first.why, all_places(group));
    }
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
pub fn here(first: &RuleMatch, others: &[&RuleMatch]) -> String {
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

/// All places of a group by their lines: `Places: src/a.rs:3, src/a.rs:7 and 4 more.`
fn all_places(group: &[Candidate]) -> String {
    let places: Vec<String> = group
        .iter()
        .flat_map(|one| {
            one.matched
                .lines
                .iter()
                .map(|line| format!("{}:{line}", one.matched.path))
        })
        .collect();
    let shown = &places[..places.len().min(PLACES_MAX)];
    let rest = match places.len() - shown.len() {
        0 => String::new(),
        rest => format!(" and {rest} more"),
    };
    format!("Places: {}{rest}.", shown.join(", "))
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
    let searches = results.all::<SearchResult>("callers_");
    let hits = searches.iter().flat_map(|(_, search)| &search.results);
    hits.filter(|hit| {
        hit.text.contains(&format!("{name}(")) && !hit.text.contains("fn ") && !hit.text.trim_start().starts_with("//")
    })
    .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
    .find(|hit| hit.function.is_some() && !(hit.path == matched.path && own.contains(&hit.line)))
    .map(|hit| (hit.path.clone(), hit.line))
}
