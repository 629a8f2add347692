//! What stays of a query when its answer stands: its episode, the statistics of its strategy, its metrics. Nothing of it
//! changes the answer, and a query is counted once however many leads try.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axon_memory::Application;
use axon_protocol::{
    Answer, AnswerStatus, AspectYield, Author, Episode, EventKind, Evidence, ExecutionPlan, Stream, TaskDelegation,
};
use axon_service::metrics as names;
use chrono::Utc;
use tracing::{debug, warn};

use crate::context::Context;

/// How long writing an episode may take.
const STEP: Duration = Duration::from_secs(20);
/// Characters of a summary that are remembered.
const SUMMARY_CHARS_MAX: usize = 400;
/// Events of one kind that are counted.
const EVENTS_MAX: usize = 100;
/// Files of an answer that are remembered.
const PLACES_MAX: usize = 8;
/// Completeness from which a strategy's application may count as a success.
const COMPLETENESS_MIN: f64 = 0.7;

/// Writes the episode, and for the one lead whose episode was kept the statistics and metrics of the query. A replay
/// teaches nothing that was not learnt then. `tools` are the kept findings by the tool that found them, as far as that is
/// known.
pub(crate) async fn remember(context: &Context, plan: &ExecutionPlan, answer: &Answer, tools: BTreeMap<String, u64>) {
    if plan.query.replay.is_some() {
        return count(answer);
    }
    let within_budget = answer.usage.tokens <= plan.resource_allocation.max_tokens_budget
        && answer.usage.cents <= plan.resource_allocation.max_cost_cents as f64;
    let completeness = answer.quality.map_or(0.0, |quality| quality.completeness);
    let success = answer.status == AnswerStatus::Complete && within_budget && completeness >= COMPLETENESS_MIN;
    let told = match plan.analysis {
        Some(_) => told(context, plan).await,
        None => Told::default(),
    };
    let episode = Episode {
        query_id: plan.query_id.clone(),
        query: plan.query.query.clone(),
        session: plan.query.session.clone(),
        workspace: plan.workspace.clone(),
        strategy: plan.strategy.name.clone(),
        leaning: plan.strategy.leaning.clone(),
        complexity: plan.analysis.as_ref().map(|analysis| analysis.complexity),
        ruled: plan.analysis.as_ref().and_then(|analysis| analysis.ruled),
        aspects_asked: plan.analysis.as_ref().map_or(0, |analysis| analysis.aspects.len()),
        shape: plan.analysis.as_ref().map(|analysis| analysis.shape),
        aspects: plan.aspects.clone(),
        yields: yields(plan, answer),
        tools,
        retries: answer.retries.max(told.retries),
        hand_overs: answer.second_executions + told.hand_overs,
        conflicts: answer.conflicts.len() as u32,
        tasks: answer.tasks_delegated,
        workers: answer.worker_count,
        status: answer.status,
        stop_reason: answer.stop_reason,
        success,
        quality: answer.quality,
        usage: answer.usage,
        duration_ms: answer.duration_ms,
        summary: answer.summary.chars().take(SUMMARY_CHARS_MAX).collect(),
        places: places(answer),
        at: Utc::now(),
    };
    match context.episodes.remember(&episode, Instant::now() + STEP).await {
        Ok(true) => {
            count(answer);
            let application = Application {
                strategy: episode.strategy,
                success,
                duration_ms: answer.duration_ms as u64,
                cost_cents: answer.usage.cents,
                quality: completeness,
            };
            if context.applications.send(application).await.is_err() {
                warn!(query = %plan.query_id, "the statistics of strategies are no longer written");
            }
        }
        Ok(false) => {}
        Err(error) => warn!(query = %plan.query_id, %error, "cannot remember the query"),
    }
}

/// What the events of a query tell of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Told {
    retries: u32,
    hand_overs: u32,
}

/// Counts the messages of a query that say that something did not go smoothly. What cannot be read was not.
async fn told(context: &Context, plan: &ExecutionPlan) -> Told {
    let count = async |kind: EventKind| {
        let subject = context.bus.namespace().event(&plan.query_id, kind);
        match context.bus.messages(Stream::Events, &subject, 0, EVENTS_MAX).await {
            Ok(messages) => messages.len() as u32,
            Err(error) => {
                debug!(query = %plan.query_id, %kind, %error, "cannot read events of a query");
                0
            }
        }
    };
    let (retries, handed_back, taken_over) = futures::join!(
        count(EventKind::Retrying),
        count(EventKind::HandedBack),
        count(EventKind::TakenOver)
    );
    Told {
        retries,
        hand_overs: handed_back + taken_over,
    }
}

/// What came of the aspects that the strategy chose by itself, as far as they were looked at.
fn yields(plan: &ExecutionPlan, answer: &Answer) -> Vec<AspectYield> {
    let asked = plan.analysis.iter().flat_map(|analysis| &analysis.aspects);
    let asked: Vec<&String> = asked.collect();
    let own = |aspect: &&String| {
        let mut tasks = plan
            .task_delegations
            .iter()
            .filter(|task| task.aspect == **aspect)
            .peekable();
        let of_template =
            |task: &TaskDelegation| task.context.get("template").is_some_and(|name| name == aspect.as_str());
        let looked_at = |task: &TaskDelegation| answer.missing.iter().all(|part| part.task_id != task.task_id);
        tasks.peek().is_some() && tasks.all(|task| of_template(task) && looked_at(task))
    };
    let chosen = plan
        .aspects
        .iter()
        .filter(|aspect| !asked.iter().any(|one| one.eq_ignore_ascii_case(aspect)));
    chosen
        .filter(own)
        .map(|aspect| AspectYield {
            aspect: aspect.clone(),
            findings: answer
                .aspects
                .iter()
                .filter(|found| found.aspect == *aspect)
                .map(|found| found.findings.len() as u64)
                .sum(),
        })
        .collect()
}

/// The files that the most important findings cite, in the order of the aspects.
fn places(answer: &Answer) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    let deepest = answer
        .aspects
        .iter()
        .map(|aspect| aspect.findings.len())
        .max()
        .unwrap_or(0);
    let by_rank = (0..deepest).flat_map(|rank| {
        answer
            .aspects
            .iter()
            .filter_map(move |aspect| aspect.findings.get(rank))
    });
    for evidence in by_rank.flat_map(|finding| &finding.evidence) {
        if places.len() == PLACES_MAX {
            break;
        }
        if let Evidence::Source { path, .. } = evidence
            && !places.contains(path)
        {
            places.push(path.clone());
        }
    }
    places
}

/// Counts an answer.
pub(crate) fn count(answer: &Answer) {
    let complexity = answer
        .complexity
        .map_or_else(|| "none".to_owned(), |complexity| complexity.to_string());
    let strategy = answer.strategy.clone().unwrap_or_else(|| "none".to_owned());
    metrics::counter!(
        names::QUERIES_TOTAL,
        "complexity" => complexity,
        "strategy" => strategy,
        "outcome" => answer.status.as_str()
    )
    .increment(1);
    metrics::histogram!(names::QUERY_DURATION_SECONDS).record(answer.duration_ms / 1000.0);
    // Whoever writes an answer records its coverage.
    if answer.author == Author::Lead
        && let Some(quality) = &answer.quality
    {
        metrics::histogram!(names::ANSWER_COVERAGE_RATIO).record(quality.coverage);
    }
}
