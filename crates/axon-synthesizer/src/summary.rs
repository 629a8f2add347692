//! The first sentences of an answer: what a person wants to know before anything else. First statements, which the
//! citation pass checks against the findings; then the account of the work, which is counted and not claimed.

use std::collections::BTreeMap;

use axon_protocol::{
    AspectFindings, Conflict, Evidence, ExecutionPlan, Level, MergedFinding, MissingPart, StopReason, counted,
};

use crate::citation::{Cited, cited};
use crate::conflict::Conflicts;
use crate::prose::{Prose, standing};

/// Findings a review's summary names.
const PROBLEMS_MAX: usize = 3;
/// Findings the summary of a question's answer names.
const STATEMENTS_MAX: usize = 5;
/// Missing parts it names.
const MISSING_MAX: usize = 3;

/// What kind of answer the reader expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A list of problems, the worst first.
    Problems,
    /// The cause of a symptom.
    Cause,
    /// What is the case.
    Statements,
}

impl Kind {
    fn of(strategy: &str) -> Self {
        match strategy {
            "bug_investigation" => Kind::Cause,
            "code_review" | "refactoring" | "testing" => Kind::Problems,
            _ => Kind::Statements,
        }
    }
}

/// What the summary is written from.
pub(crate) struct Facts<'a> {
    pub plan: &'a ExecutionPlan,
    pub aspects: &'a [AspectFindings],
    pub missing: &'a [MissingPart],
    pub conflicts: &'a Conflicts,
    pub tasks_complete: usize,
    pub stop_reason: StopReason,
    pub prose: Option<&'a Prose>,
    pub citation_support_min: f64,
}

/// A summary, and how it came to be.
pub(crate) struct Summary {
    pub text: String,
    /// Sentences that were left out.
    pub unsupported: Vec<String>,
    /// Whether a model wrote what it says of the findings.
    pub by_model: bool,
}

/// A claim with the place that shows it, without a full stop.
pub(crate) fn cite(finding: &MergedFinding) -> String {
    let claim = finding.claim.trim_end_matches('.');
    match finding.evidence.first() {
        Some(evidence) => format!("{claim} (`{}`)", Evidence::location(evidence)),
        None => claim.to_owned(),
    }
}

/// How much a finding matters: severity × confidence × impact.
pub(crate) fn weight(finding: &MergedFinding) -> f64 {
    f64::from(finding.severity.weight()) * finding.confidence * f64::from(finding.impact.weight())
}

/// Writes the summary.
pub(crate) fn summary(facts: &Facts<'_>) -> Summary {
    let kind = Kind::of(&facts.plan.strategy.name);
    let count: usize = facts.aspects.iter().map(|aspect| aspect.findings.len()).sum();
    if count == 0 {
        return Summary {
            text: nothing_found(kind, facts) + &rest(facts),
            unsupported: Vec::new(),
            by_model: false,
        };
    }
    let named = named(kind, facts);
    let written = facts
        .prose
        .and_then(|prose| standing(prose, &standing_findings(facts), facts.citation_support_min));
    let by_model = written.is_some();
    let Cited { text, unsupported } =
        written.unwrap_or_else(|| cited(&statements(kind, &named), &named, facts.citation_support_min));
    let mut summary = Summary {
        text,
        unsupported,
        by_model,
    };
    if kind == Kind::Problems && named.is_empty() && !by_model {
        summary.text.push_str("No problem stands out.");
    }
    if !summary.text.is_empty() && !summary.text.ends_with('\n') {
        summary.text.push(' ');
    }
    summary.text.push_str(&totals(kind, count, facts.aspects));
    summary.text.push_str(&disputed(&facts.conflicts.all));
    summary.text.push_str(&rest(facts));
    summary
}

/// Every finding that lost no conflict.
fn standing_findings<'a>(facts: &Facts<'a>) -> Vec<&'a MergedFinding> {
    let all = facts.aspects.iter().flat_map(|aspect| &aspect.findings);
    all.filter(|finding| !facts.conflicts.outweighed.contains(&finding.id))
        .collect()
}

/// Why the work ended before everything was there.
fn rest(facts: &Facts<'_>) -> String {
    match facts.stop_reason {
        StopReason::EnoughFound => unneeded(facts),
        _ => missing(facts.missing),
    }
}

/// How many contradictions there are, and what became of them.
fn disputed(conflicts: &[Conflict]) -> String {
    let settled = conflicts
        .iter()
        .filter(|conflict| conflict.resolved_by.is_some())
        .count();
    let contradictions = |count: usize| counted(count, "contradiction");
    match (settled, conflicts.len() - settled) {
        (0, 0) => String::new(),
        (0, open) => format!(" {} among the findings: all sides are shown.", contradictions(open)),
        (settled, 0) => format!(
            " {} among the findings: one side outweighs the other, see why below.",
            contradictions(settled)
        ),
        (settled, open) => format!(
            " {} among the findings: {settled} where one side outweighs the other, {open} open.",
            contradictions(settled + open)
        ),
    }
}

/// A query that ended early says so, and what it left out for that reason.
fn unneeded(facts: &Facts<'_>) -> String {
    let tasks = facts.plan.task_delegations.len();
    let left = tasks.saturating_sub(facts.tasks_complete);
    format!(" Stopped early, because enough was known: {left} of {tasks} tasks were not needed.")
}

fn nothing_found(kind: Kind, facts: &Facts<'_>) -> String {
    let tasks = facts.plan.task_delegations.len();
    let noun = if tasks == 1 { "task" } else { "tasks" };
    let done = format!("{} of {tasks} {noun} complete", facts.tasks_complete);
    if facts.plan.query.plan.is_some() {
        return format!("{done}.");
    }
    match kind {
        Kind::Problems => format!("No problem was found ({done})."),
        Kind::Cause => format!("No cause was found ({done})."),
        Kind::Statements => format!("Nothing was found that answers this ({done})."),
    }
}

/// What the named findings say, before it is cited.
fn statements(kind: Kind, named: &[&MergedFinding]) -> String {
    let mut text = String::new();
    let mut items = named;
    match (kind, named) {
        (Kind::Cause, [cause, others @ ..]) => {
            // A claim that says itself how likely it is needs no second word for it.
            let prefix = if cause.claim.contains("likel") {
                ""
            } else {
                "Most likely: "
            };
            text.push_str(&format!("{prefix}{}", claim(cause)));
            items = others;
            if !items.is_empty() {
                text.push_str("\n\nAlso to consider:\n\n");
            }
        }
        (Kind::Problems, [_]) => text.push_str("What was found:\n\n"),
        (Kind::Problems, [_, ..]) => text.push_str("What matters most:\n\n"),
        (_, []) | (Kind::Statements, _) => {}
    }
    for (index, finding) in items.iter().enumerate() {
        match kind {
            Kind::Statements => text.push_str(&format!("- {}\n", claim(finding))),
            Kind::Problems | Kind::Cause => text.push_str(&format!("{}. {}\n", index + 1, claim(finding))),
        }
    }
    if !items.is_empty() {
        text.push('\n');
    }
    text
}

/// A claim on one line, with a stop.
fn claim(finding: &MergedFinding) -> String {
    let words: Vec<&str> = finding.claim.split_whitespace().collect();
    let said = words.join(" ");
    let said = said.trim_end_matches('.');
    let stop = if said.ends_with(['?', '!']) { "" } else { "." };
    format!("{said}{stop}")
}

/// The findings the summary names. Problems and causes: the weightiest of all, and no problem that is only for information. Statements: the weightiest of each aspect
/// in the plan's order, so that every part of the question is answered before any is answered twice. Nothing that lost a
/// conflict.
fn named<'a>(kind: Kind, facts: &Facts<'a>) -> Vec<&'a MergedFinding> {
    let mut all: Vec<(usize, usize, &MergedFinding)> = Vec::new();
    for (aspect, findings) in facts.aspects.iter().enumerate() {
        let standing = findings
            .findings
            .iter()
            .filter(|finding| !facts.conflicts.outweighed.contains(&finding.id));
        for (rank, finding) in standing.take(STATEMENTS_MAX).enumerate() {
            all.push((rank, aspect, finding));
        }
    }
    if kind == Kind::Statements {
        all.sort_by_key(|(rank, aspect, _)| (*rank, *aspect));
        all.truncate(STATEMENTS_MAX);
        all.sort_by_key(|(rank, aspect, _)| (*aspect, *rank));
    } else {
        all.retain(|(_, _, finding)| kind != Kind::Problems || finding.severity > Level::Info);
        all.sort_by(|a, b| {
            weight(b.2)
                .total_cmp(&weight(a.2))
                .then_with(|| (a.1, a.0).cmp(&(b.1, b.0)))
        });
        all.truncate(PROBLEMS_MAX);
    }
    all.into_iter().map(|(_, _, finding)| finding).collect()
}

fn totals(kind: Kind, count: usize, aspects: &[AspectFindings]) -> String {
    let findings = || aspects.iter().flat_map(|aspect| &aspect.findings);
    let noun = if count == 1 { "finding" } else { "findings" };
    if kind == Kind::Statements {
        let files: std::collections::BTreeSet<&str> = findings()
            .flat_map(|finding| &finding.evidence)
            .filter_map(|evidence| match evidence {
                Evidence::Source { path, .. } => Some(path.as_str()),
                _ => None,
            })
            .collect();
        return match files.len() {
            0 => format!("{count} {noun} in all."),
            1 => format!("{count} {noun} in all, from 1 file."),
            many => format!("{count} {noun} in all, from {many} files."),
        };
    }
    let mut levels: BTreeMap<Level, usize> = BTreeMap::new();
    for finding in findings() {
        *levels.entry(finding.severity).or_default() += 1;
    }
    let levels: Vec<String> = levels
        .iter()
        .rev()
        .map(|(level, count)| format!("{count} {}", level.as_str()))
        .collect();
    let parts: Vec<String> = aspects
        .iter()
        .filter(|aspect| !aspect.findings.is_empty())
        .map(|aspect| format!("{} {}", name(aspect), aspect.findings.len()))
        .collect();
    let mut text = format!("{count} {noun} in all: {}", levels.join(", "));
    if parts.len() > 1 {
        text.push_str(&format!("; {}", parts.join(", ")));
    }
    text.push('.');
    let calm: Vec<String> = aspects
        .iter()
        .filter(|aspect| {
            kind == Kind::Problems
                && !aspect.findings.is_empty()
                && aspect.findings.iter().all(|finding| finding.severity == Level::Info)
        })
        .map(name)
        .collect();
    if !calm.is_empty() && calm.len() < parts.len() {
        text.push_str(&format!(" Nothing stands out for {}.", calm.join(", ")));
    }
    text
}

fn name(aspect: &AspectFindings) -> String {
    aspect.aspect.replace('_', " ")
}

fn missing(missing: &[MissingPart]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let named: Vec<String> = missing
        .iter()
        .take(MISSING_MAX)
        .map(|part| {
            let name = if part.aspect.is_empty() {
                part.task_id.as_str()
            } else {
                &part.aspect
            };
            format!("{} ({})", name.replace('_', " "), part.reason)
        })
        .collect();
    let rest = missing.len() - named.len();
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!(" Missing: {}{more}.", named.join("; "))
}
