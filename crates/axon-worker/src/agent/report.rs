//! What a model reports becomes findings only where the evidence holds: the quoted words have to stand in the workspace, or
//! in the result of a call that was made. A refusal says what does not hold, for the model to correct.

use std::collections::BTreeMap;

use axon_protocol::{Digest, Evidence, Finding, Level, Polarity, TaskDelegation};
use axon_tools::{QUOTE_LINES_MAX, Workspace, cite, in_scope};
use serde::Deserialize;
use serde_json::Value;

use crate::analyst::FINDINGS_MAX;

/// Most pieces of evidence of one finding.
const EVIDENCE_MAX: usize = 6;
/// Most characters of a claim, and of what is said about it.
const CLAIM_CHARS_MAX: usize = 400;
const TEXT_CHARS_MAX: usize = 1_200;
/// Most characters quoted of a tool's result.
const TOOL_QUOTE_CHARS_MAX: usize = 600;

/// A report as it is called.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    #[serde(default)]
    findings: Vec<Value>,
    #[serde(default)]
    pub(super) done: bool,
}

#[derive(Debug, Deserialize)]
struct Draft {
    claim: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    rationale: String,
    #[serde(default)]
    recommendation: Option<String>,
    confidence: f64,
    #[serde(default)]
    severity: Level,
    #[serde(default)]
    impact: Level,
    #[serde(default)]
    effort: Level,
    #[serde(default)]
    negative: bool,
    evidence: Vec<Quote>,
}

#[derive(Debug, Deserialize)]
struct Quote {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    call: Option<String>,
    quote: String,
}

/// A call that was made, and what it returned.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) tool: String,
    pub(super) params: Value,
    pub(super) text: String,
}

/// What findings are checked against.
pub(super) struct Checks<'c> {
    pub(super) delegation: &'c TaskDelegation,
    pub(super) workspace: &'c Workspace,
    pub(super) made: &'c BTreeMap<String, Made>,
}

/// What became of a report.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Findings that hold.
    pub(super) accepted: Vec<Finding>,
    /// Why others do not.
    pub(super) refused: Vec<String>,
}

impl Checks<'_> {
    /// Checks a report. `known` are the findings that were accepted before.
    pub(super) fn judge(&self, report: Report, known: &[Finding]) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, draft) in report.findings.into_iter().enumerate() {
            if known.len() + verdict.accepted.len() >= FINDINGS_MAX {
                verdict
                    .refused
                    .push(format!("{FINDINGS_MAX} findings are enough for one task"));
                break;
            }
            match self.check(draft) {
                Ok(finding) => {
                    let again = known
                        .iter()
                        .chain(&verdict.accepted)
                        .any(|other| other.id == finding.id);
                    if !again {
                        verdict.accepted.push(finding);
                    }
                }
                Err(reason) => verdict.refused.push(format!("finding {}: {reason}", index + 1)),
            }
        }
        verdict
    }

    fn check(&self, draft: Value) -> Result<Finding, String> {
        let draft: Draft =
            serde_json::from_value(draft).map_err(|error| format!("it does not fit the schema: {error}"))?;
        let claim = one_line(&draft.claim, CLAIM_CHARS_MAX);
        if claim.is_empty() {
            return Err("it claims nothing".to_owned());
        }
        if !draft.confidence.is_finite() {
            return Err("its confidence is no number from 0 to 1".to_owned());
        }
        let mut evidence: Vec<Evidence> = Vec::new();
        let mut reasons = Vec::new();
        for quote in draft.evidence.iter().take(EVIDENCE_MAX) {
            match self.prove(quote) {
                Ok(piece) if evidence.iter().any(|known| known.location() == piece.location()) => {}
                Ok(piece) => evidence.push(piece),
                Err(reason) => reasons.push(reason),
            }
        }
        let Some(first) = evidence.first() else {
            return Err(match reasons.is_empty() {
                true => "it has no evidence".to_owned(),
                false => format!("its evidence does not hold: {}", reasons.join("; ")),
            });
        };
        let origin = first.location();
        let aspect = self.delegation.aspect.clone();
        let digest = Digest::of(format!("{aspect}|{origin}|{claim}").as_bytes());
        Ok(Finding {
            id: format!("f{}", digest.hex().get(..12).unwrap_or_default()),
            aspect,
            claim,
            subject: one_line(&draft.subject, CLAIM_CHARS_MAX),
            value: None,
            unit: None,
            polarity: if draft.negative {
                Polarity::Negative
            } else {
                Polarity::Positive
            },
            confidence: (draft.confidence.clamp(0.05, 0.95) * 100.0).round() / 100.0,
            severity: draft.severity,
            impact: draft.impact,
            effort: draft.effort,
            rationale: cut(draft.rationale.trim(), TEXT_CHARS_MAX),
            recommendation: draft
                .recommendation
                .map(|text| one_line(&text, TEXT_CHARS_MAX))
                .filter(|text| !text.is_empty()),
            origin,
            tool: "agent".to_owned(),
            task: self.delegation.task_id.clone(),
            evidence,
        })
    }

    fn prove(&self, quote: &Quote) -> Result<Evidence, String> {
        let words = quote.quote.trim();
        if words.is_empty() {
            return Err("a quote is empty".to_owned());
        }
        match (&quote.path, &quote.call) {
            (Some(path), _) => self.prove_source(path, quote.line, words),
            (None, Some(call)) => self.prove_call(call, words),
            (None, None) => Err("a quote names neither a path nor a call".to_owned()),
        }
    }

    /// The lines of a file that hold the quoted words; of several places the one nearest to the line that was named.
    fn prove_source(&self, path: &str, line: Option<u32>, words: &str) -> Result<Evidence, String> {
        let path = Workspace::normalize(path).map_err(|error| error.to_string())?;
        if !in_scope(&path, &self.delegation.boundaries.scope) {
            return Err(format!("`{path}` is outside of the task's scope"));
        }
        let text = self.workspace.text(&path).map_err(|error| error.to_string())?;
        let last = text.line_count();
        let whole = text.lines(1, last).unwrap_or_default();
        let lines: Vec<&str> = whole.lines().map(str::trim).collect();
        let wanted: Vec<&str> = words.lines().map(str::trim).take(QUOTE_LINES_MAX as usize).collect();
        let near = line.unwrap_or(1);
        let place = lines
            .windows(wanted.len())
            .enumerate()
            .filter(|(_, window)| holds(window, &wanted))
            .filter_map(|(index, _)| u32::try_from(index + 1).ok())
            .min_by_key(|found| found.abs_diff(near));
        let Some(first) = place else {
            return Err(format!("`{path}` does not hold the words {}", shown(words)));
        };
        let end = first + u32::try_from(wanted.len()).unwrap_or(1) - 1;
        cite(self.workspace, &path, first, end).map_err(|error| error.to_string())
    }

    fn prove_call(&self, call: &str, words: &str) -> Result<Evidence, String> {
        let made = self
            .made
            .get(call)
            .ok_or_else(|| format!("no call `{call}` was made"))?;
        if !made.text.contains(words) {
            return Err(format!(
                "the result of `{call}` does not hold the words {}",
                shown(words)
            ));
        }
        Ok(Evidence::ToolCall {
            tool: made.tool.clone(),
            params: made.params.clone(),
            quote: cut(words, TOOL_QUOTE_CHARS_MAX),
        })
    }
}

/// Whether lines are those that were quoted. A single line may be quoted in part.
fn holds(lines: &[&str], wanted: &[&str]) -> bool {
    match wanted {
        [only] => lines.iter().any(|line| line.contains(only)),
        _ => lines == wanted,
    }
}

fn shown(words: &str) -> String {
    format!("\"{}\"", one_line(words, 60))
}

fn one_line(text: &str, chars_max: usize) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), chars_max)
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_tools::verify;
    use serde_json::json;

    fn check(evidence: Value) -> Result<Vec<Evidence>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("src")).expect("made");
        let text = "fn a() {\n    let x = get().unwrap();\n}\n\nfn b() {\n    let x = get().unwrap();\n}\n";
        std::fs::write(dir.path().join("src/lib.rs"), text).expect("written");
        std::fs::write(dir.path().join("secret.txt"), "token\n").expect("written");
        let workspace = Workspace::of_directory(dir.path()).expect("a workspace");
        let delegation = serde_json::from_value(json!({
            "task_id": "t1", "objective": "o", "output_format": "markdown", "allowed_tools": [],
            "boundaries": {"scope": ["src"], "constraints": [], "max_tool_calls": 1, "timeout_ms": 0},
            "priority": 5, "required_capabilities": [], "aspect": "panics",
        }))
        .expect("a delegation");
        let made = Made {
            tool: "code.search".to_owned(),
            params: json!({"pattern": "x"}),
            text: "{\"hits\":[]}".to_owned(),
        };
        let checks = Checks {
            delegation: &delegation,
            workspace: &workspace,
            made: &BTreeMap::from([("a1".to_owned(), made)]),
        };
        let draft = json!({"claim": "It panics", "confidence": 3.0, "severity": "high", "evidence": evidence});
        let report = serde_json::from_value(json!({"findings": [draft], "done": true})).expect("a report");
        let verdict = checks.judge(report, &[]);
        match (verdict.accepted.into_iter().next(), verdict.refused.into_iter().next()) {
            (Some(finding), _) => {
                for piece in &finding.evidence {
                    verify(&workspace, piece).expect("what is accepted holds");
                }
                assert!((finding.confidence - 0.95).abs() < 1e-9, "nobody is surer than that");
                Ok(finding.evidence)
            }
            (None, refused) => Err(refused.expect("a reason")),
        }
    }

    #[test]
    fn words_are_found_where_they_stand() {
        for (piece, location) in [
            (
                json!({"path": "src/lib.rs", "line": 2, "quote": "let x = get().unwrap();"}),
                "src/lib.rs:2",
            ),
            (
                json!({"path": "src/lib.rs", "line": 7, "quote": "let x = get().unwrap();"}),
                "src/lib.rs:6",
            ),
            (
                json!({"path": "./src/lib.rs", "quote": "fn b() {\n let x = get().unwrap();\n}"}),
                "src/lib.rs:5",
            ),
            (
                json!({"path": "src/lib.rs", "line": 1, "quote": "get().unwrap()"}),
                "src/lib.rs:2",
            ),
            (json!({"call": "a1", "quote": "\"hits\":[]"}), "code.search"),
        ] {
            let evidence = check(json!([piece])).expect("it holds");
            assert_eq!(evidence[0].location(), location, "{piece}");
        }
    }

    #[test]
    fn what_does_not_stand_there_is_refused_with_the_reason() {
        for (evidence, words) in [
            (json!([]), "no evidence"),
            (
                json!([{"path": "src/lib.rs", "line": 2, "quote": "panic!()"}]),
                "does not hold the words",
            ),
            (
                json!([{"path": "src/lib.rs", "line": 1, "quote": "fn a() {\nfn b() {"}]),
                "does not hold the words",
            ),
            (json!([{"path": "src/other.rs", "line": 1, "quote": "x"}]), "no file"),
            (json!([{"path": "secret.txt", "line": 1, "quote": "token"}]), "outside"),
            (
                json!([{"path": "../etc/passwd", "line": 1, "quote": "root"}]),
                "no path",
            ),
            (json!([{"path": "src/lib.rs", "line": 1, "quote": " "}]), "empty"),
            (json!([{"call": "a2", "quote": "hits"}]), "no call"),
            (json!([{"call": "a1", "quote": "misses"}]), "does not hold"),
            (json!([{"quote": "x"}]), "neither"),
            (json!("src/lib.rs:1"), "schema"),
        ] {
            let reason = check(evidence.clone()).expect_err("refused");
            assert!(reason.contains(words), "{evidence}: {reason}");
        }
    }

    #[test]
    fn one_piece_that_holds_is_enough_and_the_others_are_dropped() {
        let evidence = check(json!([
            {"path": "src/lib.rs", "line": 1, "quote": "panic!()"},
            {"path": "src/lib.rs", "line": 1, "quote": "fn a() {"},
        ]));
        assert_eq!(evidence.expect("one holds").len(), 1);
    }
}
