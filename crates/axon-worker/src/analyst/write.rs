//! Writes findings: with evidence read from the files, an id made of the content, and no two that say the same. A finding
//! without evidence is not written.

use std::collections::BTreeSet;

use axon_protocol::{Digest, Evidence, Finding, Level, Polarity};
use axon_tools::{Workspace, cite};
use serde_json::Value;

use super::{Brief, Conclusion, FINDINGS_MAX};

/// Pieces of evidence of one finding.
const EVIDENCE_MAX: usize = 6;
/// Lines shown after the one that counts.
const LINES_AFTER: u32 = 2;
/// Places closer than this are quoted as one piece.
const LINES_JOINED: u32 = 6;
/// Characters of a tool's result that are quoted.
const TOOL_QUOTE_CHARS_MAX: usize = 400;

/// What is to be said, before it is checked and numbered.
#[derive(Debug, Clone)]
pub struct Draft {
    /// One sentence.
    pub claim: String,
    /// What it is about.
    pub subject: String,
    /// Why it matters, here.
    pub rationale: String,
    /// What to do.
    pub recommendation: Option<String>,
    /// How sure, from 0 to 1.
    pub confidence: f64,
    /// How bad.
    pub severity: Level,
    /// How much a change brings.
    pub impact: Level,
    /// How much work it is.
    pub effort: Level,
    /// A figure with its unit.
    pub value: Option<(f64, &'static str)>,
    /// Whether it says that something is so or not.
    pub polarity: Polarity,
    /// The tool that found it.
    pub tool: &'static str,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// Where it comes from; the place of the first evidence if absent.
    pub origin: Option<String>,
}

impl Draft {
    /// A claim with middling measures.
    pub fn new(claim: impl Into<String>, subject: impl Into<String>, tool: &'static str) -> Self {
        Self {
            claim: claim.into(),
            subject: subject.into(),
            rationale: String::new(),
            recommendation: None,
            confidence: 0.5,
            severity: Level::Info,
            impact: Level::Info,
            effort: Level::Low,
            value: None,
            polarity: Polarity::Positive,
            tool,
            evidence: Vec::new(),
            origin: None,
        }
    }
}

/// Collects findings and notes.
pub struct Writer<'w> {
    brief: &'w Brief,
    workspace: &'w Workspace,
    seen: BTreeSet<String>,
    conclusion: Conclusion,
    limit: usize,
}

impl<'w> Writer<'w> {
    /// A writer for a task.
    pub fn new(brief: &'w Brief, workspace: &'w Workspace) -> Self {
        Self {
            brief,
            workspace,
            seen: BTreeSet::new(),
            conclusion: Conclusion::default(),
            limit: FINDINGS_MAX,
        }
    }

    /// The workspace.
    pub fn workspace(&self) -> &'w Workspace {
        self.workspace
    }

    /// How many findings are written.
    pub fn len(&self) -> usize {
        self.conclusion.findings.len()
    }

    /// Whether a finding about this was written.
    pub fn has_subject(&self, subject: &str) -> bool {
        self.conclusion
            .findings
            .iter()
            .any(|finding| finding.subject == subject)
    }

    /// Adds a remark for the reader of the answer.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.conclusion.notes.contains(&note) {
            self.conclusion.notes.push(note);
        }
    }

    /// Evidence for lines of a file; `None` where they are not there or say nothing.
    pub fn lines(&self, path: &str, first: u32, last: u32) -> Option<Evidence> {
        let lines = self.workspace.text(path).ok()?.line_count();
        cite(self.workspace, path, first, last.min(lines)).ok()
    }

    /// Evidence for places of a file: each with what follows it, near ones as one piece.
    pub fn places(&self, path: &str, lines: &[u32], last: Option<u32>) -> Vec<Evidence> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for line in lines {
            match ranges.last_mut() {
                Some((_, end)) if *line <= end.saturating_add(LINES_JOINED) => *end = *line,
                _ => ranges.push((*line, *line)),
            }
        }
        let single = ranges.len() == 1;
        ranges
            .into_iter()
            .take(EVIDENCE_MAX)
            .filter_map(|(first, end)| {
                let after = if single { LINES_AFTER } else { 0 };
                let end = (end + after).min(last.unwrap_or(u32::MAX));
                self.lines(path, first, end.max(first))
            })
            .collect()
    }

    /// Writes a finding, unless it has no evidence, was written before, or there are enough. Says whether it did.
    pub fn write(&mut self, draft: Draft) -> bool {
        let Some(first) = draft.evidence.first() else {
            return false;
        };
        let origin = draft.origin.clone().unwrap_or_else(|| first.location());
        let claim = sentence(&draft.claim);
        let key = format!("{}|{origin}|{claim}", self.brief.aspect);
        if self.conclusion.findings.len() >= self.limit || !self.seen.insert(format!("{origin}|{claim}")) {
            return false;
        }
        let digest = Digest::of(key.as_bytes());
        let mut evidence = draft.evidence;
        evidence.dedup_by(|a, b| a.location() == b.location());
        evidence.truncate(EVIDENCE_MAX);
        self.conclusion.findings.push(Finding {
            id: format!("f{}", digest.hex().get(..12).unwrap_or_default()),
            aspect: self.brief.aspect.clone(),
            claim,
            subject: draft.subject,
            value: draft.value.map(|(value, _)| value),
            unit: draft.value.map(|(_, unit)| unit.to_owned()),
            polarity: draft.polarity,
            confidence: (draft.confidence.clamp(0.05, 0.95) * 100.0).round() / 100.0,
            severity: draft.severity,
            impact: draft.impact,
            effort: draft.effort,
            rationale: draft.rationale.trim().to_owned(),
            recommendation: draft.recommendation,
            evidence,
            origin,
            tool: draft.tool.to_owned(),
            task: self.brief.task.clone(),
        });
        true
    }

    /// What was written.
    pub fn finish(self) -> Conclusion {
        self.conclusion
    }
}

/// Evidence that is a tool's own figures, where a claim is about everything looked at.
pub fn tool_evidence(tool: &str, params: Value, figures: &str) -> Evidence {
    Evidence::ToolCall {
        tool: tool.to_owned(),
        params,
        quote: figures.chars().take(TOOL_QUOTE_CHARS_MAX).collect(),
    }
}

/// One line that begins with a capital and ends without a full stop.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches('.').trim_end();
    let mut chars = text.chars();
    let is_name = text
        .split(' ')
        .next()
        .is_some_and(|word| word.contains(['/', '_', '.']));
    match chars.next() {
        Some(_) if is_name => text.to_owned(),
        Some(first) => first.to_uppercase().collect::<String>() + chars.as_str(),
        None => String::new(),
    }
}

/// `one place`, `3 places`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("one {noun}"),
        _ if noun.ends_with("ss") || noun.ends_with("ch") => format!("{number} {noun}es"),
        _ => format!("{number} {noun}s"),
    }
}

/// Names as a sentence lists them, at most `max` of them: `` `a`, `b` and 3 more ``.
pub fn listed(names: &[String], max: usize) -> String {
    let shown: Vec<String> = names.iter().take(max).map(|name| format!("`{name}`")).collect();
    let rest = names.len().saturating_sub(max);
    match (shown.as_slice(), rest) {
        ([], _) => String::new(),
        (shown, 1..) => format!("{} and {rest} more", shown.join(", ")),
        ([one], 0) => one.clone(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
    }
}
