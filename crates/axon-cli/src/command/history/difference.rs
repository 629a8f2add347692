//! How two answers to the same question differ: in what they say, and in what they took. Pure: it reads and prints nothing.

use std::collections::HashMap;

use axon_protocol::{
    Answer, AnswerStatus, Conflict, Level, MergedFinding, MissingPart, Polarity, QualityMetrics, QueryId,
    Recommendation, Usage, counted,
};
use serde::Serialize;

/// Confidences and measures that differ by less are the same: they are shown with two digits.
const TOLERANCE: f64 = 0.005;

/// What one answer comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Side {
    id: QueryId,
    status: AnswerStatus,
    strategy: Option<String>,
    findings: usize,
    recommendations: usize,
    conflicts: usize,
    usage: Usage,
    duration_ms: f64,
}

/// A value before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change<T> {
    recorded: T,
    new: T,
}

/// What only one of the answers holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Lists {
    gone: Vec<String>,
    new: Vec<String>,
}

/// A finding that both answers hold, with what is another in them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ChangedFinding {
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Change<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Change<Level>>,
}

/// A measure that is another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ChangedMeasure {
    measure: &'static str,
    #[serde(flatten)]
    values: Change<Option<f64>>,
}

/// How the new answer differs from the recorded one. What they took never counts as a difference of what they say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Difference {
    equal: bool,
    recorded: Side,
    new: Side,
    status: Option<Change<AnswerStatus>>,
    findings: Lists,
    changed: Vec<ChangedFinding>,
    recommendations: Lists,
    conflicts: Lists,
    missing: Lists,
    quality: Vec<ChangedMeasure>,
}

/// Compares two answers.
pub(super) fn difference(recorded: &Answer, new: &Answer) -> Difference {
    let (findings, changed) = findings(recorded, new);
    let mut difference = Difference {
        equal: false,
        recorded: side(recorded),
        new: side(new),
        status: change(recorded.status, new.status),
        findings,
        changed,
        recommendations: lists(
            recorded.recommendations.iter().map(recommended),
            new.recommendations.iter().map(recommended),
        ),
        conflicts: lists(
            recorded.conflicts.iter().map(contradicting),
            new.conflicts.iter().map(contradicting),
        ),
        missing: lists(recorded.missing.iter().map(missing), new.missing.iter().map(missing)),
        quality: quality(recorded.quality.as_ref(), new.quality.as_ref()),
    };
    let same = |lists: &Lists| lists.gone.is_empty() && lists.new.is_empty();
    difference.equal = difference.status.is_none()
        && difference.changed.is_empty()
        && difference.quality.is_empty()
        && [
            &difference.findings,
            &difference.recommendations,
            &difference.conflicts,
            &difference.missing,
        ]
        .into_iter()
        .all(same);
    difference
}

fn side(answer: &Answer) -> Side {
    Side {
        id: answer.query_id.clone(),
        status: answer.status,
        strategy: answer.strategy.clone(),
        findings: answer.findings().count(),
        recommendations: answer.recommendations.len(),
        conflicts: answer.conflicts.len(),
        usage: answer.usage,
        duration_ms: answer.duration_ms,
    }
}

fn change<T: PartialEq>(recorded: T, new: T) -> Option<Change<T>> {
    (recorded != new).then_some(Change { recorded, new })
}

fn changed_figure(recorded: f64, new: f64) -> bool {
    (recorded - new).abs() >= TOLERANCE
}

/// A finding by what it says: ids are unique within an answer only.
type Key = (String, String, Polarity);

fn key(finding: &MergedFinding) -> Key {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    (spaced(&finding.claim), spaced(&finding.subject), finding.polarity)
}

/// Pairs the findings that say the same, each with one of the other answer.
fn findings(recorded: &Answer, new: &Answer) -> (Lists, Vec<ChangedFinding>) {
    let mut before: HashMap<Key, Vec<&MergedFinding>> = HashMap::new();
    for finding in recorded.findings() {
        before.entry(key(finding)).or_default().push(finding);
    }
    for same in before.values_mut() {
        // The first one recorded is the first one to be taken.
        same.reverse();
    }
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for finding in new.findings() {
        match before.get_mut(&key(finding)).and_then(Vec::pop) {
            Some(earlier) => changed.extend(changes(earlier, finding)),
            None => added.push(told(finding)),
        }
    }
    let mut gone = Vec::new();
    for finding in recorded.findings() {
        let left = before.get_mut(&key(finding));
        if left.and_then(Vec::pop).is_some() {
            gone.push(told(finding));
        }
    }
    (Lists { gone, new: added }, changed)
}

fn changes(recorded: &MergedFinding, new: &MergedFinding) -> Option<ChangedFinding> {
    let confidence = changed_figure(recorded.confidence, new.confidence).then_some(Change {
        recorded: recorded.confidence,
        new: new.confidence,
    });
    let severity = change(recorded.severity, new.severity);
    (confidence.is_some() || severity.is_some()).then(|| ChangedFinding {
        finding: told(new),
        confidence,
        severity,
    })
}

/// A finding in one line.
fn told(finding: &MergedFinding) -> String {
    let place = finding.evidence.first().map(|evidence| evidence.location());
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    format!("{}{place}", finding.claim)
}

fn recommended(recommendation: &Recommendation) -> String {
    recommendation.action.clone()
}

fn missing(part: &MissingPart) -> String {
    part.task_id.to_string()
}

/// A conflict with how it stands: one that is settled now is another one than when it was open.
fn contradicting(conflict: &Conflict) -> String {
    let settled = if conflict.resolved_by.is_some() {
        "settled"
    } else {
        "open"
    };
    format!(
        "{}: {}, {settled}",
        conflict.subject,
        counted(conflict.findings.len(), "finding")
    )
}

fn lists(recorded: impl Iterator<Item = String>, new: impl Iterator<Item = String>) -> Lists {
    let mut gone: Vec<String> = recorded.collect();
    let mut added = Vec::new();
    for one in new {
        match gone.iter().position(|other| *other == one) {
            Some(place) => {
                gone.remove(place);
            }
            None => added.push(one),
        }
    }
    Lists { gone, new: added }
}

fn quality(recorded: Option<&QualityMetrics>, new: Option<&QualityMetrics>) -> Vec<ChangedMeasure> {
    type Measure = fn(&QualityMetrics) -> f64;
    let measures: [(&'static str, Measure); 6] = [
        ("completeness", |quality| quality.completeness),
        ("consistency", |quality| quality.consistency),
        ("coverage", |quality| quality.coverage),
        ("redundancy", |quality| quality.redundancy),
        ("conflict resolution", |quality| quality.conflict_resolution),
        ("plan coverage", |quality| quality.plan_coverage),
    ];
    let each = measures.into_iter().filter_map(|(measure, of)| {
        let values = Change {
            recorded: recorded.map(of),
            new: new.map(of),
        };
        let same = match (values.recorded, values.new) {
            (Some(recorded), Some(new)) => !changed_figure(recorded, new),
            (recorded, new) => recorded == new,
        };
        (!same).then_some(ChangedMeasure { measure, values })
    });
    each.collect()
}

impl Difference {
    /// The difference for people: one line where there is none.
    pub(super) fn to_text(&self) -> String {
        let (recorded, new) = (&self.recorded, &self.new);
        if self.equal {
            return format!(
                "no difference: {}, {}; {} → {}, {} → {}",
                new.status.as_str(),
                contents(new),
                used(&recorded.usage),
                used(&new.usage),
                seconds(recorded.duration_ms),
                seconds(new.duration_ms),
            );
        }
        let mut out = vec![one_side("recorded", recorded), one_side("new", new)];
        if let Some(status) = &self.status {
            out.push(format!(
                "status: {} → {}",
                status.recorded.as_str(),
                status.new.as_str()
            ));
        }
        push_lists(&mut out, "findings", &self.findings);
        if !self.changed.is_empty() {
            out.push("findings that changed:".to_owned());
            out.extend(self.changed.iter().map(changed_line));
        }
        push_lists(&mut out, "recommendations", &self.recommendations);
        push_lists(&mut out, "conflicts", &self.conflicts);
        push_lists(&mut out, "missing tasks", &self.missing);
        if !self.quality.is_empty() {
            out.push("quality:".to_owned());
            let shown = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.2}"));
            out.extend(self.quality.iter().map(|changed| {
                let ChangedMeasure { measure, values } = changed;
                format!("  ~ {measure}: {} → {}", shown(values.recorded), shown(values.new))
            }));
        }
        out.join("\n")
    }
}

fn one_side(name: &str, side: &Side) -> String {
    let strategy = side.strategy.as_deref().unwrap_or("no strategy");
    format!(
        "{name:<9} {}: {} with {strategy}, {}; {}, {}",
        side.id,
        side.status.as_str(),
        contents(side),
        used(&side.usage),
        seconds(side.duration_ms)
    )
}

fn contents(side: &Side) -> String {
    format!(
        "{}, {}, {}",
        counted(side.findings, "finding"),
        counted(side.recommendations, "recommendation"),
        counted(side.conflicts, "conflict")
    )
}

fn used(usage: &Usage) -> String {
    let calls = counted(usize::try_from(usage.tool_calls).unwrap_or(usize::MAX), "tool call");
    match usage.tokens {
        0 => calls,
        tokens => format!("{calls} and {tokens} tokens for {:.2} cents", usage.cents),
    }
}

fn seconds(ms: f64) -> String {
    format!("{:.2} s", ms / 1000.0)
}

fn push_lists(out: &mut Vec<String>, name: &str, lists: &Lists) {
    if lists.gone.is_empty() && lists.new.is_empty() {
        return;
    }
    out.push(format!("{name}: {} gone, {} new", lists.gone.len(), lists.new.len()));
    out.extend(lists.gone.iter().map(|one| format!("  - {one}")));
    out.extend(lists.new.iter().map(|one| format!("  + {one}")));
}

fn changed_line(changed: &ChangedFinding) -> String {
    let mut what = Vec::new();
    if let Some(Change { recorded, new }) = &changed.confidence {
        what.push(format!("confidence {recorded:.2} → {new:.2}"));
    }
    if let Some(Change { recorded, new }) = &changed.severity {
        what.push(format!("severity {} → {}", recorded.as_str(), new.as_str()));
    }
    format!("  ~ {}: {}", changed.finding, what.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axon_protocol::{AspectFindings, TaskId};
    use chrono::{DateTime, Utc};

    use super::*;

    fn finding(claim: &str, confidence: f64, severity: Level) -> MergedFinding {
        MergedFinding {
            id: claim.to_owned(),
            claim: claim.to_owned(),
            subject: "src/a.rs".to_owned(),
            polarity: Polarity::Positive,
            value: None,
            unit: None,
            confidence,
            severity,
            impact: Level::Medium,
            effort: Level::Low,
            rationale: String::new(),
            recommendation: None,
            evidence: Vec::new(),
            merged: 1,
            origins: 1,
            tasks: BTreeSet::new(),
        }
    }

    fn answer() -> Answer {
        let id = QueryId::new("q1").expect("an id");
        let at = DateTime::<Utc>::UNIX_EPOCH;
        let mut answer = Answer::refused(id, "why?", "", at);
        answer.status = AnswerStatus::Complete;
        answer.strategy = Some("research".to_owned());
        answer.aspects = vec![AspectFindings {
            aspect: "errors".to_owned(),
            findings: vec![
                finding("it panics", 0.8, Level::High),
                finding("it leaks", 0.6, Level::Low),
            ],
        }];
        answer.recommendations = vec![Recommendation {
            action: "check the length".to_owned(),
            rationale: String::new(),
            score: 1.0,
            impact: Level::High,
            effort: Level::Low,
            confidence: 0.8,
            findings: vec!["it panics".to_owned()],
        }];
        answer.conflicts = vec![Conflict {
            subject: "timeout".to_owned(),
            findings: vec!["a".to_owned(), "b".to_owned()],
            sides: Vec::new(),
            resolved_by: None,
            explanation: String::new(),
        }];
        answer.quality = Some(QualityMetrics {
            completeness: 1.0,
            ..QualityMetrics::default()
        });
        answer.usage.tool_calls = 5;
        answer.duration_ms = 3210.0;
        answer
    }

    /// Changes a copy of the answer and compares: the lines below the two of the sides, or the only one.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Answer), expected: &[&str]) {
        let recorded = answer();
        let mut new = recorded.clone();
        new.query_id = QueryId::new("q2").expect("an id");
        new.usage.tool_calls = 0;
        new.duration_ms = 400.0;
        change(&mut new);
        let difference = difference(&recorded, &new);
        let text = difference.to_text();
        let lines: Vec<&str> = text.lines().skip(if difference.equal { 0 } else { 2 }).collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn what_an_answer_took_is_no_difference() {
        let equal = "no difference: complete, 2 findings, 1 recommendation, 1 conflict; 5 tool calls → 0 tool calls, \
                     3.21 s → 0.40 s";
        check(|_| {}, &[equal]);
        check(|new| new.aspects[0].findings.reverse(), &[equal]);
        check(|new| new.aspects[0].aspect = "failures".to_owned(), &[equal]);
        check(|new| new.aspects[0].findings[0].id = "x".to_owned(), &[equal]);
        check(
            |new| new.aspects[0].findings[0].claim = "it  panics".to_owned(),
            &[equal],
        );
        check(|new| new.aspects[0].findings[0].confidence += 0.004, &[equal]);
        check(|new| new.summary = "other words".to_owned(), &[equal]);
    }

    #[test]
    fn each_difference_is_told() {
        check(
            |new| new.status = AnswerStatus::Partial,
            &["status: complete → partial"],
        );
        check(
            |new| {
                new.aspects[0].findings.remove(0);
            },
            &["findings: 1 gone, 0 new", "  - it panics"],
        );
        check(
            |new| new.aspects[0].findings[0].claim = "it hangs".to_owned(),
            &["findings: 1 gone, 1 new", "  - it panics", "  + it hangs"],
        );
        check(
            |new| new.aspects[0].findings[0].polarity = Polarity::Negative,
            &["findings: 1 gone, 1 new", "  - it panics", "  + it panics"],
        );
        check(
            |new| {
                let twice = new.aspects[0].findings[0].clone();
                new.aspects[0].findings.push(twice);
            },
            &["findings: 0 gone, 1 new", "  + it panics"],
        );
        check(
            |new| {
                new.aspects[0].findings[0].confidence = 0.9;
                new.aspects[0].findings[0].severity = Level::Low;
            },
            &[
                "findings that changed:",
                "  ~ it panics: confidence 0.80 → 0.90, severity high → low",
            ],
        );
        check(
            |new| new.recommendations[0].action = "return an error".to_owned(),
            &[
                "recommendations: 1 gone, 1 new",
                "  - check the length",
                "  + return an error",
            ],
        );
        check(
            |new| new.conflicts[0].resolved_by = Some("a".to_owned()),
            &[
                "conflicts: 1 gone, 1 new",
                "  - timeout: 2 findings, open",
                "  + timeout: 2 findings, settled",
            ],
        );
        check(
            |new| {
                new.missing.push(MissingPart {
                    task_id: TaskId::new("t2").expect("an id"),
                    aspect: String::new(),
                    reason: "late".to_owned(),
                });
            },
            &["missing tasks: 0 gone, 1 new", "  + t2"],
        );
        check(
            |new| new.quality = None,
            &[
                "quality:",
                "  ~ completeness: 1.00 → none",
                "  ~ consistency: 0.00 → none",
                "  ~ coverage: 0.00 → none",
                "  ~ redundancy: 0.00 → none",
                "  ~ conflict resolution: 0.00 → none",
                "  ~ plan coverage: 0.00 → none",
            ],
        );
    }

    #[test]
    fn both_sides_are_shown_with_what_they_took() {
        let mut new = answer();
        new.query_id = QueryId::new("q2").expect("an id");
        new.strategy = None;
        new.aspects.clear();
        new.usage = Usage {
            tool_calls: 1,
            tokens: 900,
            cents: 0.5,
        };
        let text = difference(&answer(), &new).to_text();
        let sides: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(
            sides,
            [
                "recorded  q1: complete with research, 2 findings, 1 recommendation, 1 conflict; 5 tool calls, 3.21 s",
                "new       q2: complete with no strategy, 0 findings, 1 recommendation, 1 conflict; 1 tool call and 900 \
                 tokens for 0.50 cents, 3.21 s",
            ]
        );
    }
}
