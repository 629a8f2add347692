//! What the rule matches of a review are worth, here and for this question. Pure.

use std::collections::BTreeMap;

use axon_tools::code::{RankResult, RuleMatch, RulesResult, last_name};

use super::matches::PANICS;
use crate::analyst::{Brief, Results};

/// Severity times confidence below which a match is not worth a reader's time.
const WORTH_MIN: f64 = 1.0;

/// A rule match with what it is worth here.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub matched: RuleMatch,
    pub worth: f64,
}

pub fn candidates(brief: &Brief, results: &Results) -> Vec<Candidate> {
    let Some(rules) = results.get::<RulesResult>("rules") else {
        return Vec::new();
    };
    let relevance = relevance(results);
    let told: Vec<RuleMatch> = without_listed_twice(rules.results);
    let mut out: Vec<Candidate> = told
        .into_iter()
        .filter(worth_telling)
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

/// The matches without those that only list what another rule says is a problem, and why.
fn without_listed_twice(matches: Vec<RuleMatch>) -> Vec<RuleMatch> {
    let (listed, mut kept): (Vec<RuleMatch>, Vec<RuleMatch>) =
        matches.into_iter().partition(|matched| matched.aspect == PANICS);
    let is_told = |listed: &RuleMatch| {
        let there = |line| {
            kept.iter()
                .any(|other| other.path == listed.path && worth_telling(other) && other.lines.contains(line))
        };
        listed.lines.iter().all(there)
    };
    let open: Vec<RuleMatch> = listed.into_iter().filter(|listed| !is_told(listed)).collect();
    kept.extend(open);
    kept
}

fn worth_telling(matched: &RuleMatch) -> bool {
    f64::from(matched.severity.weight()) * matched.confidence >= WORTH_MIN
}

pub fn place(matched: &RuleMatch) -> (&str, u32, &str) {
    (&matched.path, matched.line, &matched.rule)
}

/// How well files fit what the query is about, from 0 to 1.
pub fn relevance(results: &Results) -> BTreeMap<String, f64> {
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
pub fn worth(brief: &Brief, matched: &RuleMatch, relevance: &BTreeMap<String, f64>) -> f64 {
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
