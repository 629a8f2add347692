//! A query from its message to its acknowledgement: read it, plan it or adopt its plan, run it, remember it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Cause, Delivery, Error, Fenced, Message, Outcome, Table};
use axon_memory::Application;
use axon_protocol::{
    Answer, AnswerStatus, Author, Bucket, Episode, EventKind, ExecutionPlan, Format, LeadId, PlanRecord, Query,
    QueryId, StopReason, Stored, Stream, header, to_markdown,
};
use axon_service::metrics as names;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::context::Context;
use crate::execution::{Run, lease_until, outline, unreadable_answer};
use crate::preparation::{Prepared, prepare};

/// How long the answer to a query without a plan may take to be written.
const STEP: Duration = Duration::from_secs(20);
/// How often a lead that waits for another lead's answer looks for it.
const ATTACH_POLL: Duration = Duration::from_secs(2);
/// How long past its deadline another lead's answer is waited for, in milliseconds.
const ATTACH_GRACE_MS: i64 = 25_000;
/// Completeness from which a strategy's application may count as a success.
const COMPLETENESS_MIN: f64 = 0.7;

/// Works on a query until it is acknowledged. An error means that it was not: it is handed back and comes again.
pub(crate) async fn work(context: Arc<Context>, delivery: Delivery) -> Result<(), Error> {
    let query = match read(&context, &delivery).await? {
        Ok(query) => query,
        Err(refusal) => return refuse(&context, &delivery, refusal).await,
    };
    let now = Utc::now();
    let until = lease_until(longest_deadline(&context, &query.query, &delivery), now);
    let answer = match delivery
        .hold(Stream::Queries, until, answer(&context, &delivery, &query))
        .await
    {
        Outcome::Done(answer) => answer?,
        Outcome::Deadline => {
            return Err(Error::TimedOut {
                what: format!("query {}", query.id),
                timeout: until.elapsed(),
            });
        }
    };
    deliver(&context, &delivery, &query, &answer).await;
    if !delivery.ack().await {
        warn!(query = %query.id, "the acknowledgement is unconfirmed, the query may come again and find its answer");
    }
    Ok(())
}

/// A query as it was read.
struct Incoming {
    id: QueryId,
    query: Query,
    format: Format,
}

/// Why a message is no query, and under which id its answer says so.
struct Refusal {
    id: QueryId,
    text: String,
    message: String,
    format: Format,
}

async fn read(context: &Context, delivery: &Delivery) -> Result<Result<Incoming, Refusal>, Error> {
    let headers = delivery.headers();
    let numbered = QueryId::from_sequence(delivery.sequence);
    let payload = delivery.resolved().await?;
    let wanted = headers
        .get(header::ACCEPT)
        .and_then(|text| Format::from_content_type(text));
    let refusal = |id: &QueryId, message: String| Refusal {
        id: id.clone(),
        text: String::from_utf8_lossy(&payload).chars().take(200).collect(),
        message,
        format: wanted.unwrap_or(Format::Json),
    };
    let id = match headers.get(header::MESSAGE_ID).map(|text| QueryId::new(text.as_str())) {
        None => numbered,
        Some(Ok(id)) => id,
        Some(Err(error)) => {
            return Ok(Err(refusal(
                &numbered,
                format!("the `Nats-Msg-Id` cannot be used: {error}"),
            )));
        }
    };
    let parsed = Query::parse(&headers, &payload);
    Ok(match parsed {
        Ok((mut query, format)) => {
            if query.workspace.is_none() && query.plan.is_none() {
                query.workspace.clone_from(&context.workspace);
            }
            Ok(Incoming { id, query, format })
        }
        Err(error) => Err(refusal(&id, error.to_string())),
    })
}

/// A message that is no query gets a failed answer and a dead letter, in this order: the letter acknowledges it.
async fn refuse(context: &Context, delivery: &Delivery, refusal: Refusal) -> Result<(), Error> {
    warn!(query = %refusal.id, message = refusal.message, "refusing a message that is no query");
    let answer = Answer::refused(refusal.id.clone(), refusal.text, refusal.message.clone(), Utc::now());
    write_answer(context, &answer, refusal.format).await?;
    count(&answer);
    reply(context, delivery, &answer, refusal.format).await;
    context
        .bus
        .bury(Stream::Queries, delivery, Cause::malformed(refusal.message), Utc::now())
        .await;
    Ok(())
}

async fn answer(context: &Arc<Context>, delivery: &Delivery, incoming: &Incoming) -> Result<Answer, Error> {
    let table: Table<PlanRecord> = context.bus.table(Bucket::Plans);
    // What was delivered before, or carries an id of its publisher's, may have been planned and answered already.
    let maybe_known = delivery.delivered > 1;
    if maybe_known && let Some(answer) = stored_answer(context, &incoming.id).await? {
        return Ok(answer);
    }
    let plan = match prepare(context, &incoming.query, &incoming.id, delivery.stored_at).await {
        Ok(Prepared { plan }) => plan,
        Err(message) => return refused_answer(context, &table, incoming, message).await,
    };
    let stored = context.bus.store(plan).await?;
    let record = PlanRecord {
        plan: Some(stored.clone()),
        cancelled: false,
        owner: Some(context.id.clone()),
        sequence: delivery.sequence,
    };
    match table.create(incoming.id.as_str(), &record).await {
        Ok(_) => begin(context, incoming, stored).await,
        Err(Error::Conflict { .. }) => adopt(context, delivery, incoming, &table, stored).await,
        Err(error) => Err(error),
    }
}

async fn begin(context: &Arc<Context>, incoming: &Incoming, stored: Stored<ExecutionPlan>) -> Result<Answer, Error> {
    let plan: Arc<ExecutionPlan> = Arc::new(context.bus.load(stored.clone()).await?);
    let summary = format!(
        "{} tasks with strategy {}{}",
        plan.task_delegations.len(),
        plan.strategy.name,
        plan.analysis
            .as_ref()
            .map(|analysis| format!(", {} {}", analysis.complexity, analysis.shape))
            .unwrap_or_default()
    );
    context
        .notice(&incoming.id, EventKind::Planned, None, summary, outline(&plan))
        .await;
    run(context, incoming, plan, stored, false, false).await
}

/// The id is known: it was answered, or is being worked on, or its lead died, or it was cancelled before it was planned.
async fn adopt(
    context: &Arc<Context>,
    delivery: &Delivery,
    incoming: &Incoming,
    table: &Table<PlanRecord>,
    mine: Stored<ExecutionPlan>,
) -> Result<Answer, Error> {
    if let Some(answer) = stored_answer(context, &incoming.id).await? {
        return Ok(answer);
    }
    let Some(entry) = table.get(incoming.id.as_str()).await? else {
        return Err(Error::Conflict {
            key: incoming.id.to_string(),
        });
    };
    let Some(mut record) = entry.value else {
        return Err(Error::Conflict {
            key: incoming.id.to_string(),
        });
    };
    let another = record.owner.clone().filter(|owner| {
        // The same message again means that its lease ended, so whoever held it is gone or deaf.
        record.sequence != delivery.sequence && (*owner == context.id || context.fleet.is_alive("lead", owner.as_str()))
    });
    if let Some(owner) = another
        && let Some(answer) = attach(context, incoming, &owner, table).await?
    {
        return Ok(answer);
    }
    let cancelled = record.cancelled;
    let stored = record.plan.take().unwrap_or(mine);
    record.plan = Some(stored.clone());
    record.owner = Some(context.id.clone());
    record.sequence = delivery.sequence;
    match table.update(incoming.id.as_str(), &record, entry.revision).await {
        // Whoever was faster does the same work; the fences keep both from harm.
        Ok(_) | Err(Error::Conflict { .. }) => {}
        Err(error) => return Err(error),
    }
    let plan: Arc<ExecutionPlan> = Arc::new(context.bus.load(stored.clone()).await?);
    info!(query = %incoming.id, "taking over a query that another lead began");
    let message = format!("{} goes on with the plan", context.id);
    context
        .notice(&incoming.id, EventKind::TakenOver, None, message, Value::Null)
        .await;
    run(context, incoming, plan, stored, true, cancelled).await
}

async fn run(
    context: &Arc<Context>,
    incoming: &Incoming,
    plan: Arc<ExecutionPlan>,
    stored: Stored<ExecutionPlan>,
    resumed: bool,
    cancelled: bool,
) -> Result<Answer, Error> {
    let run = Run::open(context.clone(), plan.clone(), stored, incoming.format).await?;
    let answer = run.run(resumed, cancelled).await?;
    remember(context, &plan, &answer).await;
    Ok(answer)
}

/// Waits for the answer of the lead that works on the same id. `None` when that lead is gone.
async fn attach(
    context: &Context,
    incoming: &Incoming,
    owner: &LeadId,
    table: &Table<PlanRecord>,
) -> Result<Option<Answer>, Error> {
    info!(query = %incoming.id, %owner, "the same id is being worked on, waiting for its answer");
    let ns = context.bus.namespace().clone();
    let mut answered = context.bus.subscribe(ns.answered(&incoming.id)).await?;
    let deadline = match table
        .get(incoming.id.as_str())
        .await?
        .and_then(|entry| entry.value)
        .and_then(|r| r.plan)
    {
        Some(stored) => context.bus.load(stored).await?.deadline,
        None => Utc::now(),
    };
    let give_up = deadline + TimeDelta::milliseconds(ATTACH_GRACE_MS);
    loop {
        if let Some(answer) = stored_answer(context, &incoming.id).await? {
            return Ok(Some(answer));
        }
        let gone = *owner != context.id && !context.fleet.is_alive("lead", owner.as_str());
        if gone || Utc::now() >= give_up {
            return Ok(None);
        }
        // The subscription only makes it quicker: the stream is the truth.
        let _ = tokio::time::timeout(ATTACH_POLL, answered.next()).await;
    }
}

/// A query that cannot be planned: its answer says why. One that was cancelled before says that instead.
async fn refused_answer(
    context: &Context,
    table: &Table<PlanRecord>,
    incoming: &Incoming,
    message: String,
) -> Result<Answer, Error> {
    if let Some(answer) = stored_answer(context, &incoming.id).await? {
        return Ok(answer);
    }
    let cancelled = table
        .get(incoming.id.as_str())
        .await?
        .and_then(|entry| entry.value)
        .is_some_and(|record| record.cancelled && record.plan.is_none());
    let message = if cancelled {
        "the query was cancelled before it was planned".to_owned()
    } else {
        message
    };
    info!(query = %incoming.id, message, "refusing a query");
    let mut answer = Answer::refused(incoming.id.clone(), incoming.query.query.clone(), message, Utc::now());
    if cancelled {
        answer.stop_reason = StopReason::Cancelled;
    }
    answer.text = to_markdown(&answer, incoming.query.output_format);
    write_answer(context, &answer, incoming.format).await?;
    count(&answer);
    Ok(stored_answer(context, &incoming.id).await?.unwrap_or(answer))
}

async fn write_answer(context: &Context, answer: &Answer, format: Format) -> Result<(), Error> {
    let message = Message::new(context.bus.namespace().answer(&answer.query_id), format, answer)?;
    match context.bus.publish_fenced(message, Instant::now() + STEP).await? {
        Fenced::Won { .. } | Fenced::Lost => Ok(()),
    }
}

async fn stored_answer(context: &Context, id: &QueryId) -> Result<Option<Answer>, Error> {
    match context
        .bus
        .last(Stream::Answers, &context.bus.namespace().answer(id))
        .await?
    {
        Some(stored) => match context.bus.decode_stored(&stored).await {
            Err(Error::Decode(error)) => Ok(Some(unreadable_answer(id, "", &error))),
            read => read.map(Some),
        },
        None => Ok(None),
    }
}

/// Sends the answer where else it is wanted, and tells the watchers.
async fn deliver(context: &Context, delivery: &Delivery, incoming: &Incoming, answer: &Answer) {
    reply(context, delivery, answer, incoming.format).await;
    let message = format!("the answer is {}", answer.status.as_str());
    let data = json!({ "status": answer.status, "duration_ms": answer.duration_ms });
    context
        .notice(&incoming.id, EventKind::Answered, None, message, data)
        .await;
}

async fn reply(context: &Context, delivery: &Delivery, answer: &Answer, format: Format) {
    let Some(subject) = delivery.header(header::REPLY_TO) else {
        return;
    };
    // A publisher must not make a lead write where only the fleet or the server may.
    let own = format!("{}.", context.bus.namespace());
    if subject.is_empty() || subject.starts_with('$') || subject.starts_with(&own) || subject.contains(['*', '>', ' '])
    {
        warn!(query = %answer.query_id, subject, "not replying to a subject that is reserved");
        return;
    }
    let sent = match Message::new(subject, format, answer) {
        Ok(message) => context.bus.announce(&message).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        warn!(query = %answer.query_id, subject, %error, "cannot reply with the answer, it is in the stream");
    }
}

/// The episode, and for the one lead whose episode was kept the statistics and metrics of the query.
async fn remember(context: &Context, plan: &ExecutionPlan, answer: &Answer) {
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
        tasks: plan.task_delegations.len(),
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

fn count(answer: &Answer) {
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

/// The latest moment at which a query may still be worked on, before its plan tells exactly.
fn longest_deadline(context: &Context, query: &Query, delivery: &Delivery) -> DateTime<Utc> {
    let longest_ms = crate::allocation::timeout_ms_max(&context.config);
    let timeout_ms = query
        .deadline_s
        .map_or(longest_ms, |seconds| seconds.saturating_mul(1000));
    delivery.stored_at.max(Utc::now()) + TimeDelta::milliseconds(i64::try_from(timeout_ms).unwrap_or(i64::MAX / 4))
}
