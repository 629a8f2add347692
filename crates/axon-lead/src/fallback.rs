//! The answer a lead writes itself when no synthesizer did: the raw findings as they are, nothing merged, nothing ranked
//! beyond their severity. Pure.

use std::collections::BTreeSet;

use axon_protocol::{
    Answer, AnswerStatus, AspectFindings, Author, ExecutionPlan, Finding, MergedFinding, MissingPart, QualityMetrics,
    StopReason, TaskId, TaskResult, TaskStatus, Usage, to_markdown,
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// What is known when a lead answers itself.
#[derive(Debug)]
pub struct Known<'a> {
    /// The plan.
    pub plan: &'a ExecutionPlan,
    /// The results that could be read.
    pub results: &'a [TaskResult],
    /// The tasks whose results could not be read, and why.
    pub unread: Vec<(TaskId, String)>,
    /// The tasks without a result.
    pub missing: Vec<MissingPart>,
    /// Why the work stopped.
    pub stop_reason: StopReason,
    /// Tries beyond the first.
    pub retries: u32,
    /// Slow tasks that were executed a second time.
    pub second_executions: u32,
    /// Why the lead answers itself.
    pub note: String,
}

/// Writes the answer.
pub fn answer(known: Known<'_>, now: DateTime<Utc>) -> Answer {
    let Known {
        plan,
        results,
        unread,
        mut missing,
        stop_reason,
        retries,
        second_executions,
        note,
    } = known;
    missing.extend(unread.into_iter().map(|(task, why)| missing_part(plan, &task, why)));
    for result in results.iter().filter(|result| result.status != TaskStatus::Complete) {
        let why = result.reason.clone();
        let why = why.unwrap_or_else(|| "it did not end completely".to_owned());
        missing.push(missing_part(plan, &result.task_id, why));
    }
    let completed = results
        .iter()
        .filter(|result| result.status == TaskStatus::Complete)
        .count();
    let delegated = plan.task_delegations.len();
    let aspects = by_aspect(plan, results);
    let found: usize = aspects.iter().map(|aspect| aspect.findings.len()).sum();
    let mut answer = Answer::refused(plan.query_id.clone(), plan.query.query.clone(), String::new(), now);
    answer.status = if completed == 0 && found == 0 {
        AnswerStatus::Failed
    } else {
        AnswerStatus::Partial
    };
    answer.error = (answer.status == AnswerStatus::Failed)
        .then(|| format!("None of the {delegated} tasks brought a result. {note}"));
    answer.stop_reason = stop_reason;
    answer.summary = format!("{found} findings from {completed} of {delegated} tasks, not merged or ranked. {note}");
    answer.quality = Some(quality(plan, &aspects, results, completed));
    answer.aspects = aspects;
    answer.missing = missing;
    answer.notes = vec![note];
    answer.outputs = outputs(results);
    answer.strategy = Some(plan.strategy.name.clone());
    answer.complexity = plan.analysis.as_ref().map(|analysis| analysis.complexity);
    answer.shape = plan.analysis.as_ref().map(|analysis| analysis.shape);
    answer.worker_count = results
        .iter()
        .filter_map(|result| result.worker.as_ref())
        .collect::<BTreeSet<_>>()
        .len();
    answer.tasks_delegated = delegated;
    answer.tasks_completed = completed;
    answer.retries = retries;
    answer.second_executions = second_executions;
    answer.sequential_ms = results.iter().map(|result| result.run.sequential_ms).sum();
    answer.duration_ms = (now - plan.created_at).num_milliseconds().max(0) as f64;
    if answer.sequential_ms > answer.duration_ms {
        answer.time_reduction_percent = (answer.sequential_ms - answer.duration_ms) / answer.sequential_ms * 100.0;
    }
    let planning = plan
        .planned_by
        .as_ref()
        .map_or(Usage::default(), |planned| planned.usage);
    answer.usage = results.iter().fold(planning, |mut sum, result| {
        sum += result.usage;
        sum
    });
    answer.author = Author::Lead;
    answer.text = to_markdown(&answer, plan.query.output_format);
    answer
}

fn missing_part(plan: &ExecutionPlan, task_id: &TaskId, reason: String) -> MissingPart {
    let task = plan.task_delegations.iter().find(|task| task.task_id == *task_id);
    MissingPart {
        task_id: task_id.clone(),
        aspect: task.map(|task| task.aspect.clone()).unwrap_or_default(),
        reason,
    }
}

fn by_aspect(plan: &ExecutionPlan, results: &[TaskResult]) -> Vec<AspectFindings> {
    let mut names: Vec<String> = plan.aspects.clone();
    for finding in results.iter().flat_map(|result| &result.findings) {
        if !names.contains(&finding.aspect) {
            names.push(finding.aspect.clone());
        }
    }
    names
        .into_iter()
        .map(|aspect| {
            let mut findings: Vec<MergedFinding> = results
                .iter()
                .flat_map(|result| &result.findings)
                .filter(|finding| finding.aspect == aspect && !finding.evidence.is_empty())
                .map(as_it_is)
                .collect();
            findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.id.cmp(&b.id)));
            AspectFindings { aspect, findings }
        })
        .collect()
}

fn as_it_is(finding: &Finding) -> MergedFinding {
    MergedFinding {
        id: finding.id.clone(),
        claim: finding.claim.clone(),
        subject: finding.subject.clone(),
        polarity: finding.polarity,
        value: finding.value,
        unit: finding.unit.clone(),
        confidence: finding.confidence,
        severity: finding.severity,
        impact: finding.impact,
        effort: finding.effort,
        rationale: finding.rationale.clone(),
        recommendation: finding.recommendation.clone(),
        evidence: finding.evidence.clone(),
        merged: 1,
        origins: 1,
        tasks: BTreeSet::from([finding.task.clone()]),
    }
}

fn quality(
    plan: &ExecutionPlan,
    aspects: &[AspectFindings],
    results: &[TaskResult],
    completed: usize,
) -> QualityMetrics {
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let covered = aspects
        .iter()
        .filter(|aspect| plan.aspects.contains(&aspect.aspect) && !aspect.findings.is_empty())
        .count();
    let kept: Vec<f64> = aspects
        .iter()
        .flat_map(|a| &a.findings)
        .map(|finding| finding.confidence)
        .collect();
    let contributing = results.iter().filter(|result| !result.findings.is_empty()).count();
    QualityMetrics {
        completeness: ratio(covered, plan.aspects.len()),
        consistency: if kept.is_empty() {
            0.0
        } else {
            kept.iter().sum::<f64>() / kept.len() as f64
        },
        coverage: ratio(contributing, plan.task_delegations.len()),
        redundancy: 0.0,
        conflict_resolution: 1.0,
        plan_coverage: ratio(completed, plan.task_delegations.len()),
    }
}

fn outputs(results: &[TaskResult]) -> Value {
    let all: Map<String, Value> = results
        .iter()
        .filter(|result| !result.output.is_null())
        .map(|result| (result.task_id.to_string(), result.output.clone()))
        .collect();
    if all.is_empty() {
        Value::Null
    } else {
        Value::Object(all)
    }
}
