//! The findings of all results as they enter the synthesis: in a fixed order, with their evidence checked once more.
//! A finding that shows nothing is never kept.

use std::collections::HashMap;

use axon_protocol::{Evidence, ExecutionPlan, Finding, TaskResult};

/// Longest claim, rationale or recommendation that is kept, in characters; workers write a sentence.
const TEXT_CHARS_MAX: usize = 2_000;
/// Longest quote that is kept whole, in characters. Workers cut theirs far below.
const QUOTE_CHARS_MAX: usize = 8_000;
/// Longest id, aspect, subject, unit or origin that is kept, in characters.
const NAME_CHARS_MAX: usize = 200;

/// What a check of one piece of evidence came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It shows what it says.
    Holds,
    /// It cannot be checked here, for this reason; it is kept and counted.
    Unchecked(String),
    /// It does not, for this reason; it is dropped and counted.
    Fails(String),
}

/// A finding with evidence that holds.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub finding: Finding,
    /// Place of its task in the plan.
    pub task: usize,
    /// Place of its aspect in [`Gathered::aspects`].
    pub aspect: usize,
}

/// All findings of a query and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub findings: Vec<Kept>,
    /// The plan's aspects in its order, then those that only findings name.
    pub aspects: Vec<String>,
    /// How many of the aspects are planned.
    pub planned: usize,
    /// Findings reported, those left out included.
    pub reported: usize,
    /// What was left out and why, for the reader.
    pub notes: Vec<String>,
}

/// One kind of loss: how often, and what the first was.
#[derive(Debug, Default)]
struct Loss {
    count: usize,
    first: String,
}

impl Loss {
    fn add(&mut self, first: impl FnOnce() -> String) {
        self.count += 1;
        if self.count == 1 {
            self.first = first();
        }
    }
}

/// Collects the findings of `results`, which are in the order of the plan, each with the place of its task.
pub(crate) fn gather(
    plan: &ExecutionPlan,
    results: &[(usize, &TaskResult)],
    check: impl Fn(&Evidence) -> Verification,
) -> Gathered {
    let mut gathered = Gathered::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for aspect in &plan.aspects {
        places.entry(aspect.clone()).or_insert_with(|| {
            gathered.aspects.push(aspect.clone());
            gathered.aspects.len() - 1
        });
    }
    gathered.planned = gathered.aspects.len();
    let (mut bare, mut false_findings, mut false_evidence, mut unchecked) =
        (Loss::default(), Loss::default(), Loss::default(), Loss::default());
    for (task, result) in results {
        for raw in &result.findings {
            gathered.reported += 1;
            if raw.evidence.is_empty() {
                bare.add(|| clip(&raw.claim, NAME_CHARS_MAX));
                continue;
            }
            let mut failed = Loss::default();
            let evidence: Vec<Evidence> = raw
                .evidence
                .iter()
                .filter(|evidence| match check(evidence) {
                    Verification::Holds => true,
                    Verification::Unchecked(reason) => {
                        unchecked.add(|| reason);
                        true
                    }
                    Verification::Fails(reason) => {
                        failed.add(|| {
                            format!(
                                "`{}`: {}",
                                clip(&evidence.location(), NAME_CHARS_MAX),
                                clip(&reason, NAME_CHARS_MAX)
                            )
                        });
                        false
                    }
                })
                .map(clip_evidence)
                .collect();
            if evidence.is_empty() {
                false_findings.add(|| failed.first);
                continue;
            }
            if failed.count > 0 {
                false_evidence.count += failed.count - 1;
                false_evidence.add(|| failed.first);
            }
            let mut finding = clean(raw, evidence);
            finding.task = result.task_id.clone();
            if finding.aspect.is_empty() {
                finding.aspect = plan.task_delegations[*task].aspect.clone();
            }
            let aspect = *places.entry(finding.aspect.clone()).or_insert_with(|| {
                gathered.aspects.push(finding.aspect.clone());
                gathered.aspects.len() - 1
            });
            gathered.findings.push(Kept {
                finding,
                task: *task,
                aspect,
            });
        }
    }
    gathered.findings.sort_by(by_content);
    for (loss, one, many) in [
        (
            &bare,
            "finding was left out because it shows no evidence",
            "findings were left out because they show no evidence",
        ),
        (
            &false_findings,
            "finding was left out because its evidence does not hold",
            "findings were left out because their evidence does not hold",
        ),
        (
            &false_evidence,
            "piece of evidence was left out because it does not hold; its finding has others",
            "pieces of evidence were left out because they do not hold; their findings have others",
        ),
        (
            &unchecked,
            "piece of evidence was not checked a second time",
            "pieces of evidence were not checked a second time",
        ),
    ] {
        match loss.count {
            0 => {}
            1 => gathered.notes.push(format!("1 {one} ({}).", loss.first)),
            count => gathered
                .notes
                .push(format!("{count} {many} (the first: {}).", loss.first)),
        }
    }
    gathered
}

/// An order that depends on what findings say and not on where they stood in their result, so that a repeat comes next to
/// its original and moves nothing else.
fn by_content(a: &Kept, b: &Kept) -> std::cmp::Ordering {
    let (x, y) = (&a.finding, &b.finding);
    (a.task, a.aspect, &x.id, &x.claim, &x.subject, &x.origin, &x.tool)
        .cmp(&(b.task, b.aspect, &y.id, &y.claim, &y.subject, &y.origin, &y.tool))
        .then_with(|| x.confidence.total_cmp(&y.confidence))
        // Findings that agree in all of this are rare; whatever else they differ in shows in their words.
        .then_with(|| {
            if x == y {
                std::cmp::Ordering::Equal
            } else {
                format!("{x:?}").cmp(&format!("{y:?}"))
            }
        })
}

/// A finding within its limits, whatever its worker wrote.
fn clean(raw: &Finding, evidence: Vec<Evidence>) -> Finding {
    let mut finding = Finding {
        id: clip(&raw.id, NAME_CHARS_MAX),
        aspect: clip(raw.aspect.trim(), NAME_CHARS_MAX),
        claim: clip(raw.claim.trim(), TEXT_CHARS_MAX),
        subject: clip(raw.subject.trim(), NAME_CHARS_MAX),
        value: raw.value.filter(|value| value.is_finite()),
        unit: raw.unit.as_deref().map(|unit| clip(unit.trim(), NAME_CHARS_MAX)),
        polarity: raw.polarity,
        confidence: if raw.confidence.is_finite() {
            raw.confidence.clamp(0.0, 1.0)
        } else {
            0.0
        },
        severity: raw.severity,
        impact: raw.impact,
        effort: raw.effort,
        rationale: clip(raw.rationale.trim(), TEXT_CHARS_MAX),
        recommendation: raw
            .recommendation
            .as_deref()
            .map(|text| clip(text.trim(), TEXT_CHARS_MAX))
            .filter(|text| !text.is_empty()),
        evidence,
        origin: clip(&raw.origin, NAME_CHARS_MAX),
        tool: clip(&raw.tool, NAME_CHARS_MAX),
        task: raw.task.clone(),
    };
    if finding.claim.is_empty()
        && let Some(first) = finding.evidence.first()
    {
        finding.claim = clip(first.quote().lines().next().unwrap_or_default().trim(), TEXT_CHARS_MAX);
    }
    finding
}

/// At most this many characters, with a mark where something is missing.
pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Evidence with a bounded quote. A quote is cut to whole lines where it has several, so that it stays word for word.
fn clip_evidence(evidence: &Evidence) -> Evidence {
    let mut evidence = evidence.clone();
    let (Evidence::Source { quote, .. } | Evidence::Url { quote, .. } | Evidence::ToolCall { quote, .. }) =
        &mut evidence;
    if let Some((end, _)) = quote.char_indices().nth(QUOTE_CHARS_MAX) {
        quote.truncate(end);
        if let Some(line_end) = quote.rfind('\n') {
            quote.truncate(line_end);
        }
    }
    evidence
}
