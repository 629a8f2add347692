//! What stays of a query when its answer stands: its episode, the statistics of its strategy, its metrics. Nothing of it
//! changes the answer, and a query is counted once however many leads try.

use std::time::{Duration, Instant};

use axon_memory::Application;
use axon_protocol::{Answer, AnswerStatus, Author, Episode, ExecutionPlan};
use axon_service::metrics as names;
use chrono::Utc;
use tracing::warn;

use crate::context::Context;

/// How long writing an episode may take.
const STEP: Duration = Duration::from_secs(20);
/// Completeness from which a strategy's application may count as a success.
const COMPLETENESS_MIN: f64 = 0.7;

/// Writes the episode, and for the one lead whose episode was kept the statistics and metrics of the query.
pub(crate) async fn remember(context: &Context, plan: &ExecutionPlan, answer: &Answer) {
    let within_budget = answer.usage.tokens <= plan.resource_allocation.max_tokens_budget
        && answer.usage.cents <= plan.resource_allocation.max_cost_cents as f64;
    let completeness = answer.quality.map_or(0.0, |quality| quality.completeness);
    let success = answer.status == AnswerStatus::Complete && within_budget && completeness >= COMPLETENESS_MIN;
    let episode = Episode {
        query_id: plan.query_id.clone(),
        query: plan.query.query.clone(),
        session: plan.query.session.clone(),
        workspace: plan.workspace.clone(),
        strategy: plan.strategy.name.clone(),
        complexity: plan.analysis.as_ref().map(|analysis| analysis.complexity),
        shape: plan.analysis.as_ref().map(|analysis| analysis.shape),
        aspects: plan.aspects.clone(),
        tasks: answer.tasks_delegated,
        workers: answer.worker_count,
        status: answer.status,
        stop_reason: answer.stop_reason,
        success,
        quality: answer.quality,
        usage: answer.usage,
        duration_ms: answer.duration_ms,
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
