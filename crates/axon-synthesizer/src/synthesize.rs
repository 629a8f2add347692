//! From the results of a query to its one answer, as a pure function: equal input gives an equal answer, in whatever
//! order the results come. It reads no clock, no file and no network.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axon_protocol::{
    Answer, AnswerStatus, AspectFindings, Author, Conflict, Evidence, ExecutionPlan, MergedFinding, MissingPart,
    StopReason, TaskId, TaskResult, TaskStatus, Usage, counted,
};
use chrono::{DateTime, Utc};

use crate::SynthesizerConfig;
use crate::bound;
use crate::confidence::combined;
use crate::conflict::{Candidate, conflicts};
use crate::finding::{Gathered, Kept, Verification, clip, gather};
use crate::merge::{place, sets};
use crate::prose::Prose;
use crate::quality::{Counts, metrics};
use crate::recommend::recommendations;
use crate::summary::{Facts, summary, weight};
use crate::words::{Vocabulary, Words};

/// Notes an answer shows.
const NOTES_MAX: usize = 40;
/// Longest note or reason, in characters.
const NOTE_CHARS_MAX: usize = 500;

/// All that an answer is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The plan with the query.
    pub plan: &'a ExecutionPlan,
    /// The accepted results, in any order.
    pub results: &'a [TaskResult],
    /// Tasks the lead knows to be missing, and why.
    pub missing: &'a [MissingPart],
    /// Why the query stopped.
    pub stop_reason: StopReason,
    /// Tasks started more than once.
    pub retries: u32,
    /// Slow tasks that were executed a second time.
    pub second_executions: u32,
    /// When the query was accepted.
    pub accepted_at: DateTime<Utc>,
    /// Now.
    pub now: DateTime<Utc>,
    /// What a model wrote for the summary, where one was asked.
    pub prose: Option<&'a Prose>,
    /// The thresholds.
    pub config: &'a SynthesizerConfig,
}

/// Merges results into the answer. `check` says of each piece of evidence whether it holds.
pub fn synthesize(input: &Input<'_>, check: impl Fn(&Evidence) -> Verification) -> Answer {
    let plan = input.plan;
    let results = in_plan_order(plan, input.results);
    let missing = missing_parts(input, &results);
    let tasks_complete = results
        .iter()
        .filter(|(_, result)| result.status == TaskStatus::Complete)
        .count();

    let gathered = gather(plan, &results, check);
    let merged = merge(&gathered, input.config);
    let candidates: Vec<Candidate<'_>> = merged.iter().map(|merged| merged.candidate(&gathered)).collect();
    let conflicts = conflicts(&candidates, input.config);
    let stands = |finding: &&MergedFinding| !conflicts.outweighed.contains(&finding.id);
    let mut ranked: Vec<&MergedFinding> = merged.iter().map(|merged| &merged.finding).filter(stands).collect();
    ranked.sort_by(|a, b| by_weight(a, b));
    let recommendations = recommendations(&ranked, input.config.recommendation_confidence_min);

    let quality = metrics(&counts(input, &gathered, &merged, &conflicts.all, tasks_complete));
    let mut notes = notes(plan, &results, &gathered, &merged);
    let aspects = by_aspect(&gathered, merged);
    let summary = summary(&Facts {
        plan,
        aspects: &aspects,
        missing: &missing,
        conflicts: &conflicts,
        tasks_complete,
        stop_reason: input.stop_reason,
        prose: input.prose,
        citation_support_min: input.config.citation_support_min,
    });
    notes.extend(plan.query.replay.as_ref().map(|replay| {
        format!(
            "This repeats query {}: its plan was followed again, with the recorded results of its tasks.",
            replay.of
        )
    }));
    notes.extend(plan.planned_by.as_ref().map(|planned_by| planned_by.note.clone()));
    notes.extend(input.prose.map(|prose| about(prose, summary.by_model)));
    if let Some(first) = summary.unsupported.first() {
        notes.push(format!(
            "{} of the summary left out, because no finding supports it (the first: {}).",
            counted(summary.unsupported.len(), "sentence"),
            clip(first, NOTE_CHARS_MAX)
        ));
    }
    let outputs = bound::outputs(
        results
            .iter()
            .map(|(_, result)| (result.task_id.as_str(), &result.output)),
    );

    // A query that stopped because enough was known has reached its goal: what was not needed is missed by nobody.
    let finished = match input.stop_reason {
        StopReason::Finished => tasks_complete == plan.task_delegations.len(),
        StopReason::EnoughFound => {
            tasks_complete > 0 && results.iter().all(|(_, result)| result.status != TaskStatus::Failed)
        }
        StopReason::Deadline | StopReason::Cancelled | StopReason::Refused => false,
    };
    let usable = tasks_complete > 0 || !outputs.is_null() || aspects.iter().any(|aspect| !aspect.findings.is_empty());
    let status = match (finished, usable) {
        (true, _) => AnswerStatus::Complete,
        (false, true) => AnswerStatus::Partial,
        (false, false) => AnswerStatus::Failed,
    };
    let error = (status == AnswerStatus::Failed).then(|| why_nothing(input.stop_reason, &missing));
    let mut usage = Usage::default();
    for (_, result) in &results {
        usage += result.usage;
    }
    if let Some(planned_by) = &plan.planned_by {
        usage += planned_by.usage;
    }
    if let Some(prose) = input.prose {
        usage += prose.usage;
    }
    let sequential_ms: f64 = results
        .iter()
        .map(|(_, result)| result.run.sequential_ms.max(0.0))
        .sum();
    let duration_ms = (input.now - input.accepted_at).as_seconds_f64().max(0.0) * 1000.0;
    let saved = if sequential_ms > 0.0 {
        (sequential_ms - duration_ms) / sequential_ms
    } else {
        0.0
    };

    let mut answer = Answer {
        query_id: plan.query_id.clone(),
        query: plan.query.query.clone(),
        status,
        success: status == AnswerStatus::Complete,
        stop_reason: input.stop_reason,
        summary: if error.is_some() { String::new() } else { summary.text },
        error,
        aspects,
        recommendations,
        conflicts: conflicts.all,
        missing,
        notes,
        outputs,
        quality: Some(quality),
        strategy: Some(plan.strategy.name.clone()),
        complexity: plan.analysis.as_ref().map(|analysis| analysis.complexity),
        shape: plan.analysis.as_ref().map(|analysis| analysis.shape),
        worker_count: results
            .iter()
            .filter_map(|(_, result)| result.worker.as_ref())
            .collect::<BTreeSet<_>>()
            .len(),
        tasks_delegated: plan.task_delegations.len(),
        tasks_completed: tasks_complete,
        retries: input.retries,
        second_executions: input.second_executions,
        sequential_ms,
        duration_ms,
        time_reduction_percent: saved.max(0.0) * 100.0,
        usage,
        author: Author::Synthesizer,
        created_at: input.now,
        text: String::new(),
    };
    bound::fit(&mut answer, plan.query.output_format, input.config.answer_bytes_max);
    answer
}

/// What the reader should know of a model's part in the summary.
fn about(prose: &Prose, used: bool) -> String {
    let Prose {
        model,
        usage,
        sentences,
    } = prose;
    match sentences {
        Ok(_) if used => format!(
            "The summary was written by {model}, from the findings alone ({} tokens).",
            usage.tokens
        ),
        Ok(_) => format!("The findings support nothing of what {model} wrote for the summary."),
        Err(reason) => {
            let reason = clip(reason, NOTE_CHARS_MAX);
            format!("The summary is not written by {model}: {reason}.")
        }
    }
}

/// The results with the places of their tasks in the plan, in the plan's order; one for each task, none of other plans.
fn in_plan_order<'a>(plan: &ExecutionPlan, results: &'a [TaskResult]) -> Vec<(usize, &'a TaskResult)> {
    let places: HashMap<&TaskId, usize> = plan
        .task_delegations
        .iter()
        .enumerate()
        .map(|(place, delegation)| (&delegation.task_id, place))
        .collect();
    let mut ordered: Vec<(usize, &TaskResult)> = results
        .iter()
        .filter(|result| result.query_id == plan.query_id)
        .filter_map(|result| Some((*places.get(&result.task_id)?, result)))
        .collect();
    ordered.sort_by_key(|(place, result)| (*place, result.attempt, result.finished_at));
    ordered.dedup_by_key(|(place, _)| *place);
    ordered
}

/// What was planned and is not there in full, in the plan's order.
fn missing_parts(input: &Input<'_>, results: &[(usize, &TaskResult)]) -> Vec<MissingPart> {
    let ended: HashMap<usize, &TaskResult> = results.iter().copied().collect();
    let known: BTreeMap<&TaskId, &MissingPart> = input.missing.iter().map(|part| (&part.task_id, part)).collect();
    let mut parts = Vec::new();
    for (place, delegation) in input.plan.task_delegations.iter().enumerate() {
        let reason = match ended.get(&place) {
            Some(result) if result.status == TaskStatus::Complete => continue,
            // The lead stopped it itself.
            Some(result) if result.status == TaskStatus::Partial && input.stop_reason == StopReason::EnoughFound => {
                "not needed in full: enough was known before".to_owned()
            }
            Some(result) => match (&result.reason, result.status) {
                (Some(reason), TaskStatus::Partial) => format!("only in part: {reason}"),
                (Some(reason), _) => reason.clone(),
                (None, TaskStatus::Partial) => "only in part".to_owned(),
                (None, _) => "its task failed".to_owned(),
            },
            None => match known.get(&delegation.task_id) {
                Some(part) => part.reason.clone(),
                None => match input.stop_reason {
                    StopReason::Deadline => "not finished by the deadline".to_owned(),
                    StopReason::Cancelled => "cancelled".to_owned(),
                    StopReason::EnoughFound => "not needed: enough was known before".to_owned(),
                    StopReason::Finished | StopReason::Refused => "no result".to_owned(),
                },
            },
        };
        parts.push(MissingPart {
            task_id: delegation.task_id.clone(),
            aspect: delegation.aspect.clone(),
            reason: clip(reason.trim().trim_end_matches('.'), NOTE_CHARS_MAX),
        });
    }
    parts
}

/// Why there is nothing to show, from the reasons of the tasks, and what to do.
fn why_nothing(stop_reason: StopReason, missing: &[MissingPart]) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in missing {
        reasons.entry(&part.reason).or_default().push(part.task_id.as_str());
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, tasks)| (std::cmp::Reverse(tasks.len()), *reason));
    let shown: Vec<String> = reasons
        .iter()
        .take(3)
        .map(|(reason, tasks)| match tasks.as_slice() {
            [task] => format!("{reason} (task `{task}`)"),
            tasks => format!("{reason} ({} tasks)", tasks.len()),
        })
        .collect();
    let advice = match stop_reason {
        StopReason::Deadline => "Give it more time, or see with `axon workers` whether enough workers are there.",
        StopReason::Cancelled => "Ask again to start anew.",
        _ => "`axon dead ls` shows what failed and why.",
    };
    if shown.is_empty() {
        return format!("The plan has no tasks, so there is no result. {advice}");
    }
    format!("No task gave a usable result: {}. {advice}", shown.join("; "))
}

/// A merged finding and where it came from.
struct Merged {
    finding: MergedFinding,
    aspect: usize,
    members: Vec<usize>,
}

impl Merged {
    fn candidate<'a>(&'a self, gathered: &'a Gathered) -> Candidate<'a> {
        let members = self.members.iter().map(|member| &gathered.findings[*member].finding);
        Candidate {
            finding: &self.finding,
            members: members.collect(),
        }
    }
}

/// Puts together what says the same.
fn merge(gathered: &Gathered, config: &SynthesizerConfig) -> Vec<Merged> {
    let mut vocabulary = Vocabulary::default();
    let words: Vec<Words> = gathered
        .findings
        .iter()
        .map(|kept| vocabulary.read(&kept.finding.claim))
        .collect();
    let mut ids = HashSet::new();
    sets(&gathered.findings, &words, &vocabulary, config)
        .into_iter()
        .map(|members| one(&gathered.findings, members, &mut ids, config))
        .collect()
}

/// One finding for all members: the words of the strongest, the worst severity, the evidence of all.
fn one(findings: &[Kept], mut members: Vec<usize>, ids: &mut HashSet<String>, config: &SynthesizerConfig) -> Merged {
    members.sort_by(|a, b| {
        let (left, right) = (&findings[*a].finding, &findings[*b].finding);
        right
            .confidence
            .total_cmp(&left.confidence)
            .then_with(|| right.severity.cmp(&left.severity))
            .then_with(|| right.impact.cmp(&left.impact))
            .then_with(|| right.recommendation.is_some().cmp(&left.recommendation.is_some()))
            .then_with(|| a.cmp(b))
    });
    let all: Vec<_> = members.iter().map(|member| &findings[*member].finding).collect();
    let lead = all[0];
    let mut seen = HashSet::new();
    let evidence: Vec<Evidence> = all
        .iter()
        .flat_map(|finding| &finding.evidence)
        .filter(|evidence| seen.insert((place(evidence), evidence.quote())))
        .cloned()
        .collect();
    let (confidence, origins) = combined(&all, config.combined_confidence_max);
    let finding = MergedFinding {
        id: unique(lead, ids),
        claim: lead.claim.clone(),
        subject: lead.subject.clone(),
        polarity: lead.polarity,
        value: lead.value,
        unit: lead.unit.clone(),
        confidence,
        severity: all
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(lead.severity),
        impact: all.iter().map(|finding| finding.impact).max().unwrap_or(lead.impact),
        effort: lead.effort,
        rationale: all
            .iter()
            .map(|finding| &finding.rationale)
            .find(|rationale| !rationale.is_empty())
            .cloned()
            .unwrap_or_default(),
        recommendation: all.iter().find_map(|finding| finding.recommendation.clone()),
        evidence,
        merged: all.len(),
        origins,
        tasks: all.iter().map(|finding| finding.task.clone()).collect(),
    };
    Merged {
        aspect: findings[members[0]].aspect,
        finding,
        members,
    }
}

/// The finding's own id, made unique within the answer, because recommendations and conflicts cite by it.
fn unique(finding: &axon_protocol::Finding, ids: &mut HashSet<String>) -> String {
    let plain = if finding.id.is_empty() {
        "finding".to_owned()
    } else {
        finding.id.clone()
    };
    let candidates = std::iter::once(plain.clone())
        .chain(std::iter::once(format!("{}-{plain}", finding.task)))
        .chain((2..).map(|number| format!("{}-{plain}-{number}", finding.task)));
    for candidate in candidates {
        if ids.insert(candidate.clone()) {
            return candidate;
        }
    }
    plain
}

/// The most important first; the rest of the order only has to be the same every time.
fn by_weight(a: &MergedFinding, b: &MergedFinding) -> std::cmp::Ordering {
    weight(b)
        .total_cmp(&weight(a))
        .then_with(|| b.severity.cmp(&a.severity))
        .then_with(|| b.evidence.len().cmp(&a.evidence.len()))
        .then_with(|| a.evidence.first().map(place).cmp(&b.evidence.first().map(place)))
        .then_with(|| a.id.cmp(&b.id))
}

fn by_aspect(gathered: &Gathered, merged: Vec<Merged>) -> Vec<AspectFindings> {
    let mut aspects: Vec<AspectFindings> = gathered
        .aspects
        .iter()
        .map(|aspect| AspectFindings {
            aspect: aspect.clone(),
            findings: Vec::new(),
        })
        .collect();
    for merged in merged {
        aspects[merged.aspect].findings.push(merged.finding);
    }
    for aspect in &mut aspects {
        aspect.findings.sort_by(by_weight);
    }
    aspects
}

fn counts(
    input: &Input<'_>,
    gathered: &Gathered,
    merged: &[Merged],
    conflicts: &[Conflict],
    tasks_complete: usize,
) -> Counts {
    // A plan that came with its query and brought outputs instead of findings is as complete as its tasks are.
    let outputs_only = input.plan.query.plan.is_some() && gathered.reported == 0;
    let aspects = if outputs_only { 0 } else { gathered.planned };
    let found: BTreeSet<usize> = gathered
        .findings
        .iter()
        .map(|kept| kept.aspect)
        .filter(|place| *place < aspects)
        .collect();
    let contributing: BTreeSet<usize> = gathered.findings.iter().map(|kept| kept.task).collect();
    // Summed in a fixed order, because floating-point sums depend on it.
    let mut confidences: Vec<f64> = merged.iter().map(|merged| merged.finding.confidence).collect();
    confidences.sort_by(f64::total_cmp);
    Counts {
        aspects,
        aspects_found: found.len(),
        tasks: input.plan.task_delegations.len(),
        tasks_complete,
        tasks_contributing: contributing.len(),
        reported: gathered.reported,
        merged_away: gathered.findings.len() - merged.len(),
        kept: merged.len(),
        confidence_sum: confidences.iter().sum(),
        conflicts: conflicts.len(),
        conflicts_resolved: conflicts
            .iter()
            .filter(|conflict| conflict.resolved_by.is_some())
            .count(),
    }
}

/// What else the reader should know: doubts about the question, what was left out, what the tasks say of their method.
fn notes(
    plan: &ExecutionPlan,
    results: &[(usize, &TaskResult)],
    gathered: &Gathered,
    merged: &[Merged],
) -> Vec<String> {
    let mut notes: Vec<String> = plan
        .analysis
        .iter()
        .flat_map(|analysis| analysis.warnings.iter().cloned())
        .collect();
    notes.extend(gathered.notes.iter().cloned());
    let shown: BTreeSet<usize> = merged.iter().map(|merged| merged.aspect).collect();
    let found: BTreeSet<usize> = gathered.findings.iter().map(|kept| kept.aspect).collect();
    for aspect in found.difference(&shown) {
        notes.push(format!(
            "What was found for {} says the same as findings shown under another aspect.",
            gathered.aspects[*aspect].replace('_', " ")
        ));
    }
    let mut said: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (place, result) in results {
        for note in result
            .notes
            .iter()
            .map(|note| note.trim())
            .filter(|note| !note.is_empty())
        {
            let tasks = said.entry(note).or_default();
            if tasks.is_empty() {
                order.push(note);
            }
            tasks.push(*place);
        }
    }
    for note in order {
        let of: BTreeSet<&str> = said[note]
            .iter()
            .map(|place| plan.task_delegations[*place].aspect.as_str())
            .collect();
        match of.into_iter().collect::<Vec<_>>().as_slice() {
            [aspect] if !aspect.is_empty() && results.len() > 1 => {
                notes.push(format!("{}: {note}", aspect.replace('_', " ")));
            }
            _ => notes.push(note.to_owned()),
        }
    }
    let more = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    for note in &mut notes {
        *note = clip(note, NOTE_CHARS_MAX);
    }
    if more > 0 {
        notes.push(format!("{more} more notes are in the results of the tasks."));
    }
    notes
}
