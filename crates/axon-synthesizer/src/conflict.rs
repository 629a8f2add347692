//! Findings that contradict each other. Both sides are shown; nothing is settled here that the evidence does not settle.

use std::collections::HashMap;

use axon_protocol::{Conflict, Evidence, MergedFinding};

use crate::SynthesizerConfig;
use crate::merge::place;
use crate::summary::cite;
use crate::words::{Vocabulary, Words, similarity};

/// Least share of common words, figures and negations aside, for two claims to be about one thing.
const ABOUT_THE_SAME_MIN: f64 = 0.6;
/// Findings of one subject that are compared with each other; a subject with more of them is a topic, not a subject.
const COMPARED_MAX: usize = 64;
/// Pieces of evidence of each side that are compared.
const EVIDENCE_COMPARED_MAX: usize = 32;

/// One kept finding with what the comparison needs beyond it.
pub(crate) struct Side<'a> {
    pub finding: &'a MergedFinding,
    pub aspect: &'a str,
    /// The tools that reported it.
    pub tools: Vec<&'a str>,
}

/// Finds contradictions: one aspect, one subject, claims about the same, and either the opposite direction or figures
/// of one unit that differ beyond tolerance. One tool that measures two places measures two things.
pub(crate) fn conflicts(sides: &[Side<'_>], config: &SynthesizerConfig) -> Vec<Conflict> {
    let mut vocabulary = Vocabulary::default();
    let mut subjects: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    let mut words: Vec<Words> = Vec::with_capacity(sides.len());
    for (index, side) in sides.iter().enumerate() {
        words.push(vocabulary.read(&side.finding.claim));
        let subject = side.finding.subject.trim_matches('`').trim_end_matches("()");
        if !subject.is_empty() {
            subjects.entry((side.aspect, subject)).or_default().push(index);
        }
    }
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for members in subjects.values() {
        let members = &members[..members.len().min(COMPARED_MAX)];
        for (at, left) in members.iter().enumerate() {
            for right in &members[at + 1..] {
                let about_the_same = similarity(&words[*left].core, &words[*right].core) >= ABOUT_THE_SAME_MIN;
                if about_the_same && contradict(&sides[*left], &sides[*right], config) {
                    pairs.push((*left, *right));
                }
            }
        }
    }
    pairs.sort_unstable();
    pairs
        .into_iter()
        .map(|(left, right)| show(sides[left].finding, sides[right].finding))
        .collect()
}

fn contradict(left: &Side<'_>, right: &Side<'_>, config: &SynthesizerConfig) -> bool {
    let (a, b) = (left.finding, right.finding);
    let one_tool = left
        .tools
        .iter()
        .any(|tool| !tool.is_empty() && right.tools.contains(tool));
    if one_tool && !overlap(&a.evidence, &b.evidence) {
        return false;
    }
    if a.polarity != b.polarity {
        return true;
    }
    match (a.value, b.value, &a.unit, &b.unit) {
        (Some(x), Some(y), Some(unit), Some(other)) if unit == other => {
            (x - y).abs() > config.conflict_tolerance * x.abs().max(y.abs())
        }
        _ => false,
    }
}

fn overlap(left: &[Evidence], right: &[Evidence]) -> bool {
    left.iter().take(EVIDENCE_COMPARED_MAX).any(|evidence| {
        let (name, line, end_line) = place(evidence);
        right.iter().take(EVIDENCE_COMPARED_MAX).any(|other| {
            let (other_name, other_line, other_end) = place(other);
            name == other_name && line <= other_end && other_line <= end_line
        })
    })
}

fn show(left: &MergedFinding, right: &MergedFinding) -> Conflict {
    let (stronger, weaker) = if right.confidence > left.confidence {
        (right, left)
    } else {
        (left, right)
    };
    Conflict {
        subject: stronger.subject.clone(),
        findings: vec![stronger.id.clone(), weaker.id.clone()],
        resolved_by: None,
        explanation: format!(
            "{} (confidence {:.0} %), but {} (confidence {:.0} %). Neither is settled: read both places.",
            cite(stronger),
            stronger.confidence * 100.0,
            cite(weaker),
            weaker.confidence * 100.0
        ),
    }
}
