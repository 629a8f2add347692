//! Plans, results and findings with as few words as possible.

use axon_protocol::{
    Answer, Budget, Digest, Evidence, ExecutionPlan, Finding, Level, OutputFormat, PLAN_VERSION, Polarity, Query,
    QueryId, ResourceAllocation, RunStatistics, SelectedStrategy, StopReason, TaskBoundaries, TaskDelegation, TaskId,
    TaskResult, TaskStatus, Usage, WorkerId,
};
use axon_synthesizer::{Input, Prose, SynthesizerConfig, Verification, synthesize};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
}

/// A plan with one task for each aspect: `t1`, `t2`, …
pub fn plan(strategy: &str, aspects: &[&str]) -> ExecutionPlan {
    ExecutionPlan {
        version: PLAN_VERSION,
        plan_id: "q1".to_owned(),
        query_id: QueryId::new("q1").expect("an id"),
        query: Query::new("What is wrong here?"),
        workspace: Some(Digest::of(b"workspace")),
        analysis: None,
        strategy: SelectedStrategy {
            name: strategy.to_owned(),
            score: 1.0,
            reasons: Vec::new(),
            others: Vec::new(),
            leaning: None,
            trial: false,
        },
        resource_allocation: ResourceAllocation {
            num_workers: aspects.len(),
            max_tool_calls_per_worker: 10,
            max_parallel_workers: 4,
            timeout_ms: 30_000,
            max_tokens_budget: 10_000,
            max_cost_cents: 10,
        },
        task_delegations: aspects
            .iter()
            .enumerate()
            .map(|(index, aspect)| TaskDelegation {
                task_id: TaskId::from_index(index + 1),
                objective: format!("look at {aspect}"),
                output_format: OutputFormat::Markdown,
                allowed_tools: Vec::new(),
                boundaries: TaskBoundaries {
                    scope: Vec::new(),
                    constraints: Vec::new(),
                    max_tool_calls: 10,
                    timeout_ms: 1_000,
                },
                priority: 5,
                required_capabilities: Vec::new(),
                context: Value::Null,
                dependencies: Vec::new(),
                key_questions: Vec::new(),
                aspect: (*aspect).to_owned(),
                playbook: strategy.to_owned(),
                calls: Vec::new(),
                budget: Budget::default(),
                added: false,
            })
            .collect(),
        aspects: aspects.iter().map(|aspect| (*aspect).to_owned()).collect(),
        parallelizable: true,
        synthesis_reserve: Budget::default(),
        planned_by: None,
        stop_rule: None,
        estimated_duration_ms: 1_000,
        estimate: None,
        recalled: Vec::new(),
        patterns_applied: Vec::new(),
        created_at: start(),
        tasks_deadline: start() + TimeDelta::seconds(20),
        deadline: start() + TimeDelta::seconds(30),
    }
}

/// A complete result of the `task`-th task, by worker `worker-<task>`, with one second of work.
pub fn result(task: usize, findings: Vec<Finding>) -> TaskResult {
    TaskResult {
        query_id: QueryId::new("q1").expect("an id"),
        task_id: TaskId::from_index(task),
        status: TaskStatus::Complete,
        reason: None,
        findings,
        notes: Vec::new(),
        output: Value::Null,
        usage: Usage {
            tool_calls: 2,
            tokens: 10,
            cents: 0.5,
        },
        run: RunStatistics {
            sequential_ms: 1_000.0,
            ..RunStatistics::default()
        },
        worker: Some(WorkerId::new(format!("worker-{task}")).expect("an id")),
        attempt: 1,
        started_at: start(),
        finished_at: start(),
    }
}

/// A finding about `subject` at `path:line`, each place its own origin.
pub fn finding(aspect: &str, claim: &str, subject: &str, path: &str, line: u32) -> Finding {
    Finding {
        id: format!("{aspect}-{path}-{line}-{}", claim.len()),
        aspect: aspect.to_owned(),
        claim: claim.to_owned(),
        subject: subject.to_owned(),
        value: None,
        unit: None,
        polarity: Polarity::Positive,
        confidence: 0.8,
        severity: Level::Medium,
        impact: Level::Medium,
        effort: Level::Medium,
        rationale: String::new(),
        recommendation: None,
        evidence: vec![source(path, line, line)],
        origin: format!("{path}:{line}"),
        tool: String::new(),
        task: TaskId::from_index(1),
    }
}

pub fn source(path: &str, line: u32, end_line: u32) -> Evidence {
    Evidence::Source {
        path: path.to_owned(),
        line,
        end_line,
        quote: format!("line {line} of {path}"),
        digest: Digest::of(path.as_bytes()),
        revision: None,
    }
}

/// Two seconds after the start, with every piece of evidence accepted but those in files named `false…`.
pub fn answer(plan: &ExecutionPlan, results: &[TaskResult], stop_reason: StopReason) -> Answer {
    answer_with(plan, results, stop_reason, &SynthesizerConfig::default())
}

pub fn answer_with(
    plan: &ExecutionPlan,
    results: &[TaskResult],
    stop_reason: StopReason,
    config: &SynthesizerConfig,
) -> Answer {
    answer_by(plan, results, stop_reason, config, None)
}

/// The same with what a model wrote for its summary.
pub fn answer_by(
    plan: &ExecutionPlan,
    results: &[TaskResult],
    stop_reason: StopReason,
    config: &SynthesizerConfig,
    prose: Option<&Prose>,
) -> Answer {
    let input = Input {
        plan,
        results,
        missing: &[],
        stop_reason,
        retries: 0,
        second_executions: 0,
        accepted_at: start(),
        now: start() + TimeDelta::seconds(2),
        prose,
        config,
    };
    synthesize(&input, |evidence| match evidence {
        Evidence::Source { path, .. } if path.starts_with("false") => {
            Verification::Fails("the quote differs".to_owned())
        }
        Evidence::Source { .. } => Verification::Holds,
        _ => Verification::Unchecked("it is not in the workspace".to_owned()),
    })
}

/// The kept findings as `aspect: claim`, in the order shown.
pub fn shown(answer: &Answer) -> Vec<String> {
    answer
        .aspects
        .iter()
        .flat_map(|aspect| {
            aspect
                .findings
                .iter()
                .map(|finding| format!("{}: {}", aspect.aspect, finding.claim))
        })
        .collect()
}
