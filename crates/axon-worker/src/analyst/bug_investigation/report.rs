//! Writes down the likeliest places and what is risky in them.

use std::collections::BTreeSet;

use axon_protocol::{Evidence, Level};
use axon_tools::Workspace;
use axon_tools::code::{RuleMatch, RulesResult, terms};

use super::suspects::{Suspect, is_within};
use crate::analyst::Brief;
use crate::analyst::passage::passage;
use crate::analyst::write::{Draft, Writer, count};

/// Lines of a function that are shown as its head.
const HEAD_LINES: u32 = 4;

/// What points at the suspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Names, messages or lines of the question, as far as it holds any.
    Any,
    /// Words alone: what the question names occurs nowhere.
    Words,
}

/// Suspects that are reported where words alone point at them, and how sure that can make.
const BY_WORDS_MAX: usize = 2;
const BY_WORDS_CONFIDENCE_MAX: f64 = 0.3;

pub fn write_suspects(writer: &mut Writer<'_>, brief: &Brief, suspects: &[Suspect], max: usize, signs: Signs) {
    let by_words = signs == Signs::Words;
    let max = if by_words { max.min(BY_WORDS_MAX) } else { max };
    let Some(best) = suspects.first().map(|first| first.score.max(f64::EPSILON)) else {
        return;
    };
    for (rank, suspect) in suspects
        .iter()
        .filter(|suspect| suspect.score >= best * 0.35)
        .take(max)
        .enumerate()
    {
        let share = suspect.score / best;
        let place = name_of(suspect);
        let reasons: Vec<String> = suspect
            .reasons
            .iter()
            .take(3)
            .map(|(_, reason)| reason.clone())
            .collect();
        let claim = match rank {
            _ if by_words => format!("{place} is only like the question in words: {}", reasons.join(", ")),
            0 => format!("{place} is the likeliest place: {}", reasons.join(", ")),
            _ => format!("{place} may be involved: {}", reasons.join(", ")),
        };
        let mut draft = Draft::new(claim, subject_of(suspect), "code.rank");
        let more: Vec<&str> = suspect
            .reasons
            .iter()
            .skip(3)
            .map(|(_, reason)| reason.as_str())
            .collect();
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(" Also: {}.", more.join("; "))
        };
        let compared = match rank {
            0 => format!(
                "Of {} the signs in the question point here most.",
                count(suspects.len(), "place")
            ),
            _ => format!(
                "The signs for it weigh {:.0} % of those for the likeliest place.",
                share * 100.0
            ),
        };
        let says = says_of_itself(writer.workspace(), suspect)
            .map(|says| format!(" It says of itself: “{says}”"))
            .unwrap_or_default();
        draft.rationale = format!("{compared}{more}{says}");
        draft.recommendation = Some(format!(
            "Read it with the failing input in mind, and reproduce the failure in a test that reaches {place}."
        ));
        // A message or a named line is a strong sign, words alone are not.
        let strongest = suspect.reasons.first().map_or(0.0, |(weight, _)| *weight);
        let certain = if strongest >= 1.5 {
            0.8
        } else if strongest >= 1.0 {
            0.6
        } else {
            0.45
        };
        draft.confidence = certain * share;
        draft.severity = if rank == 0 { Level::High } else { Level::Medium };
        draft.impact = draft.severity;
        if by_words {
            draft.confidence = draft.confidence.min(BY_WORDS_CONFIDENCE_MAX);
            (draft.severity, draft.impact) = (Level::Low, Level::Low);
        }
        draft.effort = Level::Medium;
        draft.evidence = evidence_of(writer, brief, suspect);
        writer.write(draft);
    }
}

/// The first sentence of its documentation.
fn says_of_itself(workspace: &Workspace, suspect: &Suspect) -> Option<String> {
    let text = workspace.text(&suspect.path).ok()?;
    let passage = passage(&suspect.path, &text, suspect.line, suspect.end_line, &BTreeSet::new())?;
    (!passage.statement.starts_with('`')).then_some(passage.statement)
}

fn name_of(suspect: &Suspect) -> String {
    if suspect.name.is_empty() {
        format!("`{}` around line {}", suspect.path, suspect.line)
    } else {
        format!("`{}`", suspect.name)
    }
}

pub fn subject_of(suspect: &Suspect) -> String {
    if suspect.name.is_empty() {
        suspect.path.clone()
    } else {
        suspect.name.clone()
    }
}

pub fn all_reasons(suspect: &Suspect) -> String {
    suspect
        .reasons
        .iter()
        .map(|(_, reason)| reason.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The head of the function, and the lines in it that speak for it.
fn evidence_of(writer: &Writer<'_>, brief: &Brief, suspect: &Suspect) -> Vec<Evidence> {
    let head_end = (suspect.line + HEAD_LINES - 1).min(suspect.end_line.max(suspect.line));
    let mut lines: Vec<u32> = suspect
        .lines
        .iter()
        .copied()
        .filter(|line| (head_end + 1..=suspect.end_line).contains(line))
        .collect();
    if lines.is_empty() {
        lines = words_in(writer.workspace(), brief, suspect, head_end + 1);
    }
    let head = writer.lines(&suspect.path, suspect.line, head_end);
    let mut evidence: Vec<Evidence> = head.into_iter().collect();
    evidence.extend(
        writer
            .places(&suspect.path, &lines, Some(suspect.end_line))
            .into_iter()
            .take(3),
    );
    evidence
}

/// The lines of a suspect, from the given one on, that hold most words of the question.
fn words_in(workspace: &Workspace, brief: &Brief, suspect: &Suspect, from: u32) -> Vec<u32> {
    let Ok(text) = workspace.text(&suspect.path) else {
        return Vec::new();
    };
    let wanted: BTreeSet<String> = axon_tools::code::query_terms(&brief.question()).into_iter().collect();
    let mut scored: Vec<(usize, u32)> = (from..=suspect.end_line)
        .filter_map(|line| {
            let held: BTreeSet<String> = terms(text.line(line)?)
                .into_iter()
                .filter(|term| wanted.contains(term))
                .collect();
            (!held.is_empty()).then_some((held.len(), line))
        })
        .collect();
    scored.sort_by_key(|(held, line)| (std::cmp::Reverse(*held), *line));
    let mut lines: Vec<u32> = scored.into_iter().take(2).map(|(_, line)| line).collect();
    lines.sort_unstable();
    lines
}

fn risk_draft(writer: &Writer<'_>, risk: &RuleMatch, suspect: Option<&Suspect>) -> Draft {
    let subject = risk.function.clone().unwrap_or_else(|| risk.path.clone());
    let mut draft = Draft::new(risk.claim.clone(), subject, "code.rules");
    let near = match suspect {
        Some(suspect) => format!("It is in one of the likeliest places: {}.", all_reasons(suspect)),
        None => "It is in one of the files the question points at.".to_owned(),
    };
    draft.rationale = format!("{} {near}", risk.why);
    draft.recommendation = Some(risk.recommendation.clone());
    draft.confidence = risk.confidence * if suspect.is_some() { 0.85 } else { 0.6 };
    draft.severity = risk.severity.max(Level::Medium);
    draft.impact = risk.impact;
    draft.effort = risk.effort;
    draft.evidence = writer.places(&risk.path, &risk.lines, risk.function_end);
    draft
}

/// Risky lines within the likeliest functions: the strongest sign there is of what goes wrong.
pub fn write_risks_within(
    writer: &mut Writer<'_>,
    brief: &Brief,
    suspects: &[Suspect],
    risks: &RulesResult,
    max: usize,
) {
    let best = suspects.first().map_or(0.0, |first| first.score);
    let mut written = 0;
    for suspect in suspects.iter().filter(|suspect| suspect.score >= best * 0.6).take(3) {
        for risk in risks
            .results
            .iter()
            .filter(|risk| is_within(risk, suspect) && fits_symptom(brief, risk))
        {
            if written < max {
                let draft = risk_draft(writer, risk, Some(suspect));
                written += usize::from(writer.write(draft));
            }
        }
    }
}

/// Whether what a rule warns of could show as what the query describes.
fn fits_symptom(brief: &Brief, risk: &RuleMatch) -> bool {
    let query = brief.query.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| query.contains(word));
    let panics = risk.rule.contains("unwrap")
        || risk.rule.contains("panic")
        || risk.rule.contains("slice")
        || risk.rule.contains("underflow")
        || risk.rule.contains("text_cut");
    if says(&["panic", "crash", "abort", "unwrap", "overflow"]) {
        return panics || risk.rule.contains("recursion") || risk.rule.contains("unfinished");
    }
    if says(&[
        "hang",
        "stuck",
        "deadlock",
        "slow",
        "block",
        "freeze",
        "timeout",
        "times out",
    ]) {
        return risk.aspect == "concurrency" || risk.aspect == "performance";
    }
    if says(&[
        "lost",
        "lose",
        "missing",
        "silent",
        "ignored",
        "disappear",
        "not written",
        "empty result",
    ]) {
        return !panics;
    }
    true
}

/// Risky lines of the likeliest files, those within suspects first.
pub fn write_risks(writer: &mut Writer<'_>, suspects: &[Suspect], risks: &RulesResult, max: usize) {
    let mut near: Vec<(&RuleMatch, Option<&Suspect>)> = risks
        .results
        .iter()
        .map(|risk| (risk, suspects.iter().find(|suspect| is_within(risk, suspect))))
        .collect();
    let value = |(risk, suspect): &(&RuleMatch, Option<&Suspect>)| {
        f64::from(risk.severity.weight()) * risk.confidence * (1.0 + suspect.map_or(0.0, |suspect| suspect.score))
    };
    near.sort_by(|a, b| {
        value(b)
            .total_cmp(&value(a))
            .then_with(|| (&a.0.path, a.0.line).cmp(&(&b.0.path, b.0.line)))
    });
    near.retain(|(risk, suspect)| {
        f64::from(risk.severity.weight()) * risk.confidence >= if suspect.is_some() { 0.6 } else { 1.5 }
    });
    for (risk, suspect) in near.into_iter().take(max) {
        let draft = risk_draft(writer, risk, suspect);
        writer.write(draft);
    }
}
