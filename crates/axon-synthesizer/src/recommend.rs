//! What to do, from findings that are sure enough. There is no recommendation without a finding, and no finding without
//! evidence.

use std::collections::HashMap;

use axon_protocol::{Evidence, MergedFinding, Recommendation};

use crate::summary::cite;

/// Words by which an action leaves open what it is about.
const REFERRING: &[&str] = &["it", "its", "them", "their", "this", "these"];
/// Subjects named in front of such an action.
const SUBJECTS_MAX: usize = 3;
/// Places named in a rationale beside the first.
const PLACES_MAX: usize = 4;

/// Recommendations from the findings with at least `confidence_min`, best first: `impact × confidence ÷ effort`.
pub(crate) fn recommendations(findings: &[&MergedFinding], confidence_min: f64) -> Vec<Recommendation> {
    let mut actions: Vec<Vec<&MergedFinding>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for finding in findings {
        let Some(action) = finding
            .recommendation
            .as_deref()
            .filter(|_| finding.confidence >= confidence_min)
        else {
            continue;
        };
        let place = *known.entry(normalized(action)).or_insert_with(|| {
            actions.push(Vec::new());
            actions.len() - 1
        });
        actions[place].push(finding);
    }
    let mut recommendations: Vec<Recommendation> = actions.iter().filter_map(|findings| recommend(findings)).collect();
    recommendations.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| b.impact.cmp(&a.impact))
            .then_with(|| b.findings.len().cmp(&a.findings.len()))
            .then_with(|| a.action.cmp(&b.action))
    });
    recommendations
}

/// One recommendation from findings that call for the same action, the most important first.
fn recommend(findings: &[&MergedFinding]) -> Option<Recommendation> {
    let first = findings.first()?;
    let impact = findings.iter().map(|finding| finding.impact).max()?;
    let effort = findings.iter().map(|finding| finding.effort).max()?;
    let confidence = findings.iter().map(|finding| finding.confidence).fold(0.0, f64::max);
    Some(Recommendation {
        action: addressed(first.recommendation.as_deref()?, findings),
        rationale: rationale(first, &findings[1..]),
        score: f64::from(impact.weight()) * confidence / f64::from(effort.weight()),
        impact,
        effort,
        confidence,
        findings: findings.iter().map(|finding| finding.id.clone()).collect(),
    })
}

/// The action with what it is about in front, where it only says "it": read alone it would mean nothing.
fn addressed(action: &str, findings: &[&MergedFinding]) -> String {
    let refers = action
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| REFERRING.iter().any(|refers| refers.eq_ignore_ascii_case(word)));
    let mut subjects: Vec<&str> = Vec::new();
    for finding in findings {
        let subject = finding.subject.trim_matches('`');
        if !subject.is_empty() && !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    if !refers || subjects.is_empty() || subjects.iter().any(|subject| action.contains(subject)) {
        return action.to_owned();
    }
    let shown: Vec<String> = subjects
        .iter()
        .take(SUBJECTS_MAX)
        .map(|subject| format!("`{subject}`"))
        .collect();
    let more = subjects.len() - shown.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}: {action}", shown.join(", "))
}

fn rationale(first: &MergedFinding, others: &[&MergedFinding]) -> String {
    let mut text = format!("{}.", cite(first));
    if !first.rationale.is_empty() {
        text.push(' ');
        text.push_str(&first.rationale);
        if !first
            .rationale
            .trim_end_matches(['"', '”', '’', ')', '`'])
            .ends_with(['.', '!', '?'])
        {
            text.push('.');
        }
    }
    if !others.is_empty() {
        let places: Vec<String> = others
            .iter()
            .filter_map(|finding| finding.evidence.first())
            .take(PLACES_MAX)
            .map(|evidence| format!("`{}`", Evidence::location(evidence)))
            .collect();
        let more = if others.len() > places.len() {
            " among others"
        } else {
            ""
        };
        let (count, noun) = (
            others.len(),
            if others.len() == 1 {
                "finding calls"
            } else {
                "findings call"
            },
        );
        text.push_str(&format!(
            " {count} more {noun} for the same: {}{more}.",
            places.join(", ")
        ));
    }
    text
}

/// An action as it is compared: its letters and digits, whatever the case and the marks between them.
fn normalized(action: &str) -> String {
    action
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}
