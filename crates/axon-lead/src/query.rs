//! A query from its message to its acknowledgement: read it, plan it or adopt its plan, run it, remember it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Cause, Delivery, Error, Fenced, Message, Outcome, Table};
use axon_protocol::{
    Answer, Bucket, EventKind, ExecutionPlan, Format, LeadId, PLAN_VERSION, PlanRecord, Query, QueryId, StopReason,
    Stored, Stream, header, to_markdown,
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::allocation::{deadlines, timeout_ms_max};
use crate::context::{Claim, Context};
use crate::due::Prospect;
use crate::execution::{Ended, Run, lease_until, unreadable_answer};
use crate::notice::outline;
use crate::outcome::{count, remember};
use crate::preparation::{Prepared, Unprepared, prepare, revise};
use crate::strategy::Trial;

/// How long the answer to a query without a plan may take to be written.
const STEP: Duration = Duration::from_secs(20);
/// How often a lead that waits for another lead's answer looks for it.
const ATTACH_POLL: Duration = Duration::from_secs(2);
/// How long past its deadline another lead's answer is waited for, in milliseconds.
const ATTACH_GRACE_MS: i64 = 25_000;

/// Works on a query until it is acknowledged. An error means that it was not: it is handed back and comes again.
pub(crate) async fn work(context: Arc<Context>, delivery: Delivery) -> Result<(), Error> {
    let query = match read(&context, &delivery).await? {
        Ok(query) => query,
        Err(refusal) => return refuse(&context, &delivery, refusal).await,
    };
    let now = Utc::now();
    let until = lease_until(due_at_last(&context, &query.query, delivery.stored_at.max(now)), now);
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
    let (payload, missing) = match delivery.resolved().await {
        Ok(payload) => (payload, None),
        Err(error) if error.is_transient() => return Err(error),
        // What it refers to will never be there.
        Err(error) => (Bytes::new(), Some(error)),
    };
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
    if let Some(error) = missing {
        return Ok(Err(refusal(&id, format!("the query cannot be fetched: {error}"))));
    }
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

/// A message that is no query gets a failed answer and a dead letter, in this order: the letter acknowledges it. Where its
/// id is that of a query which is being worked on, the answer is that query's.
async fn refuse(context: &Context, delivery: &Delivery, refusal: Refusal) -> Result<(), Error> {
    warn!(query = %refusal.id, message = refusal.message, "refusing a message that is no query");
    let table: Table<PlanRecord> = context.bus.table(Bucket::Plans);
    if planned(&table, &refusal.id).await?.is_none() {
        let answer = Answer::refused(refusal.id.clone(), refusal.text, refusal.message.clone(), Utc::now());
        write_answer(context, &answer, refusal.format).await?;
        count(&answer);
        reply(context, delivery, &answer, refusal.format).await;
    }
    context
        .bus
        .bury(Stream::Queries, delivery, Cause::malformed(refusal.message), Utc::now())
        .await;
    Ok(())
}

/// The record of a query that has a plan.
async fn planned(table: &Table<PlanRecord>, id: &QueryId) -> Result<Option<PlanRecord>, Error> {
    let record = table.get(id.as_str()).await?.and_then(|entry| entry.value);
    Ok(record.filter(|record| record.plan.is_some()))
}

/// The one answer of a query. What will fail in the same way whenever it is tried again is an answer too.
async fn answer(context: &Arc<Context>, delivery: &Delivery, incoming: &Incoming) -> Result<Answer, Error> {
    let _held = context.held.enter(claim_of(delivery));
    match find_answer(context, delivery, incoming).await {
        Err(error) if is_hopeless(&error) => {
            let message = format!("The query cannot be carried out: {error}.");
            write_refusal(context, incoming, message, false).await
        }
        found => found,
    }
}

fn claim_of(delivery: &Delivery) -> Claim {
    Claim {
        sequence: delivery.sequence,
        delivery: delivery.delivered,
    }
}

/// Whether no lead will ever get further than this error. A stream that is missing, for one, may be declared again.
fn is_hopeless(error: &Error) -> bool {
    matches!(
        error,
        Error::Decode(_)
            | Error::Encode(_)
            | Error::NoObject { .. }
            | Error::Damaged { .. }
            | Error::TooLarge { .. }
            | Error::TooManyRoutes { .. }
    )
}

async fn find_answer(context: &Arc<Context>, delivery: &Delivery, incoming: &Incoming) -> Result<Answer, Error> {
    let table: Table<PlanRecord> = context.bus.table(Bucket::Plans);
    if delivery.delivered > 1 {
        if let Some(answer) = stored_answer(context, &incoming.id).await? {
            remember_late(context, &table, &answer).await;
            return Ok(answer);
        }
        // Another lead's plan holds, whether or not this one would come to a plan.
        if planned(&table, &incoming.id).await?.is_some() {
            return pursue(context, delivery, incoming, &table, None).await;
        }
    }
    let trial = Trial::of(&incoming.id, context.config.trial_share);
    let plan = match prepare(context, &incoming.query, &incoming.id, delivery.stored_at, Some(trial)).await {
        Ok(Prepared { plan }) => plan,
        // It comes again, as long as there is time.
        Err(Unprepared::Bus(error)) if Utc::now() < due_at_last(context, &incoming.query, delivery.stored_at) => {
            return Err(error);
        }
        Err(error) => return refused_answer(context, delivery, incoming, &table, error.to_string()).await,
    };
    // Whoever has an earlier plan pays for none.
    let plan = match context.planner.is_some() && planned(&table, &incoming.id).await?.is_none() {
        true => Box::pin(revise(context, plan)).await,
        false => plan,
    };
    let mut record = PlanRecord {
        plan: Some(context.bus.store(Arc::new(plan)).await?),
        cancelled: false,
        owner: Some(context.id.clone()),
        sequence: delivery.sequence,
        delivery: delivery.delivered,
    };
    // An id of its publisher's may have an answer without a plan, because it was refused.
    let earlier = async {
        match delivery.header(header::MESSAGE_ID) {
            Some(_) => stored_answer(context, &incoming.id).await,
            None => Ok(None),
        }
    };
    let (created, earlier) = futures::join!(table.create(incoming.id.as_str(), &record), earlier);
    if let Some(answer) = earlier? {
        return Ok(answer);
    }
    match (created, record.plan.take()) {
        (Ok(_), Some(stored)) => match begin(context, delivery, incoming, stored).await? {
            Some(answer) => Ok(answer),
            None => pursue(context, delivery, incoming, &table, None).await,
        },
        (Ok(_) | Err(Error::Conflict { .. }), mine) => pursue(context, delivery, incoming, &table, mine).await,
        (Err(error), _) => Err(error),
    }
}

async fn begin(
    context: &Arc<Context>,
    delivery: &Delivery,
    incoming: &Incoming,
    stored: Stored<ExecutionPlan>,
) -> Result<Option<Answer>, Error> {
    let plan = context.bus.load(stored.clone()).await?;
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
    run(context, delivery, incoming, plan, stored, None).await
}

/// The id is known: it was answered, or is being worked on, or its lead died, or it was cancelled before it was planned.
/// Waits for whoever has the better right to it, and goes on with the plan when there is nobody.
async fn pursue(
    context: &Arc<Context>,
    delivery: &Delivery,
    incoming: &Incoming,
    table: &Table<PlanRecord>,
    mine: Option<Stored<ExecutionPlan>>,
) -> Result<Answer, Error> {
    let mut patient = true;
    loop {
        if let Some(answer) = stored_answer(context, &incoming.id).await? {
            return Ok(answer);
        }
        let conflict = || Error::Conflict {
            key: incoming.id.to_string(),
        };
        let entry = table.get(incoming.id.as_str()).await?.ok_or_else(conflict)?;
        let revision = entry.revision;
        let mut record = entry.value.ok_or_else(conflict)?;
        if patient
            && let Some(owner) = rival(&record, delivery)
            && is_at_work(context, &record, &owner).await?
        {
            match attach(context, incoming, &owner, &record).await? {
                Attached::Answered(answer) => return Ok(*answer),
                Attached::Gone => {}
                Attached::Late => patient = false,
            }
            continue;
        }
        let stored = record.plan.take().or_else(|| mine.clone()).ok_or_else(conflict)?;
        let plan = context.bus.load(stored.clone()).await?;
        if !plan.is_followable() {
            let other = Error::OtherVersion {
                what: format!("the plan of query {}", incoming.id),
                version: plan.version,
                supported: PLAN_VERSION,
            };
            if Utc::now() > plan.deadline {
                // No lead that understands it came in time, and a failed answer is better than none.
                return write_refusal(
                    context,
                    incoming,
                    format!("The query cannot be finished: {other}."),
                    false,
                )
                .await;
            }
            // Handed back, the query comes to a lead that understands the plan.
            return Err(other);
        }
        record.plan = Some(stored.clone());
        record.owner = Some(context.id.clone());
        record.sequence = delivery.sequence;
        record.delivery = delivery.delivered;
        match table.update(incoming.id.as_str(), &record, revision).await {
            Ok(_) => {}
            // Whoever was faster may have a better right to it.
            Err(Error::Conflict { .. }) => continue,
            Err(error) => return Err(error),
        }
        info!(query = %incoming.id, "taking over a query that another lead began");
        let message = format!("{} goes on with the plan", context.id);
        context
            .notice(&incoming.id, EventKind::TakenOver, None, message, Value::Null)
            .await;
        let resumed = Some(record.cancelled);
        if let Some(answer) = run(context, delivery, incoming, plan, stored, resumed).await? {
            return Ok(answer);
        }
    }
}

/// Who may have a better right to a query than this delivery of it: whoever took a later delivery of the same message, or
/// came first with another message of the same id. The same message again means that its lease ended, so whoever held it
/// is gone or deaf.
fn rival(record: &PlanRecord, delivery: &Delivery) -> Option<LeadId> {
    let ended = record.sequence == delivery.sequence && record.delivery <= delivery.delivered;
    record.owner.clone().filter(|_| !ended)
}

/// Whether the owner whom a record names works on the query, as far as anybody can tell.
async fn is_at_work(context: &Context, record: &PlanRecord, owner: &LeadId) -> Result<bool, Error> {
    if *owner == context.id {
        return Ok(context.held.contains(Claim::of(record)));
    }
    context.fleet.is_there("lead", owner.as_str()).await
}

/// Works on a query that this lead owns. `resumed` tells, of one that another began, whether it was cancelled. `None` when
/// another lead has taken it over.
async fn run(
    context: &Arc<Context>,
    delivery: &Delivery,
    incoming: &Incoming,
    plan: Arc<ExecutionPlan>,
    stored: Stored<ExecutionPlan>,
    resumed: Option<bool>,
) -> Result<Option<Answer>, Error> {
    let run = Run::open(
        context.clone(),
        plan.clone(),
        stored,
        incoming.format,
        claim_of(delivery),
    )
    .await?;
    let Some(Ended { answer, tools }) = run.run(resumed.is_some(), resumed.unwrap_or_default()).await? else {
        warn!(query = %incoming.id, "another lead has taken the query over, waiting for its answer");
        return Ok(None);
    };
    remember(context, &plan, &answer, tools).await;
    Ok(Some(answer))
}

/// What came of waiting for another lead.
enum Attached {
    /// The answer.
    Answered(Box<Answer>),
    /// It does not work on the query any more.
    Gone,
    /// It should have answered long ago.
    Late,
}

/// Waits for the answer of the lead that works on the same id.
async fn attach(
    context: &Context,
    incoming: &Incoming,
    owner: &LeadId,
    record: &PlanRecord,
) -> Result<Attached, Error> {
    info!(query = %incoming.id, %owner, "the same id is being worked on, waiting for its answer");
    let ns = context.bus.namespace().clone();
    let mut answered = context.bus.subscribe(ns.answered(&incoming.id)).await?;
    let deadline = match record.plan.clone() {
        Some(stored) => context.bus.load(stored).await?.deadline,
        None => Utc::now(),
    };
    let give_up = deadline + TimeDelta::milliseconds(ATTACH_GRACE_MS);
    loop {
        if let Some(answer) = stored_answer(context, &incoming.id).await? {
            return Ok(Attached::Answered(Box::new(answer)));
        }
        if !is_at_work(context, record, owner).await? {
            return Ok(Attached::Gone);
        }
        if Utc::now() >= give_up {
            return Ok(Attached::Late);
        }
        // The subscription only makes it quicker: the stream is the truth.
        let _ = tokio::time::timeout(ATTACH_POLL, answered.next()).await;
    }
}

/// A query that cannot be planned: its answer says why. One that was cancelled before says that instead, and one whose id
/// is being worked on gets the answer of that work.
async fn refused_answer(
    context: &Arc<Context>,
    delivery: &Delivery,
    incoming: &Incoming,
    table: &Table<PlanRecord>,
    message: String,
) -> Result<Answer, Error> {
    if let Some(answer) = stored_answer(context, &incoming.id).await? {
        return Ok(answer);
    }
    match table.get(incoming.id.as_str()).await?.and_then(|entry| entry.value) {
        Some(record) if record.plan.is_some() => pursue(context, delivery, incoming, table, None).await,
        Some(record) if record.cancelled => {
            let message = "the query was cancelled before it was planned".to_owned();
            write_refusal(context, incoming, message, true).await
        }
        _ => write_refusal(context, incoming, message, false).await,
    }
}

async fn write_refusal(
    context: &Context,
    incoming: &Incoming,
    message: String,
    cancelled: bool,
) -> Result<Answer, Error> {
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
            Err(error) if !error.is_transient() => Ok(Some(unreadable_answer(id, "", &error))),
            read => read.map(Some),
        },
        None => Ok(None),
    }
}

/// Remembers a query whose lead died between its answer and its episode.
async fn remember_late(context: &Context, table: &Table<PlanRecord>, answer: &Answer) {
    // Without episodes nobody can tell whether it was counted.
    if !context.bus.config().persist_to_episodic {
        return;
    }
    let plan = match planned(table, &answer.query_id).await {
        Ok(Some(PlanRecord { plan: Some(stored), .. })) => context.bus.load(stored).await,
        Ok(_) => return,
        Err(error) => Err(error),
    };
    match plan {
        // Which tools contributed went with the lead that heard their results.
        Ok(plan) => remember(context, &plan, answer, BTreeMap::new()).await,
        Err(error) => warn!(query = %answer.query_id, %error, "cannot remember the query"),
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

/// When a query that has been there since then is due at the latest, before its plan tells exactly.
fn due_at_last(context: &Context, query: &Query, since: DateTime<Utc>) -> DateTime<Utc> {
    let timeout_ms = match query.deadline_s {
        Some(seconds) => seconds.saturating_mul(1000),
        None => timeout_ms_max(&context.config),
    };
    deadlines(since, timeout_ms, 0.0).answer
}

/// When a query that waits for its turn is due: as it says itself, as its plan does if it was begun before, or as the plan
/// does that it would get now.
pub(crate) async fn prospect(context: &Arc<Context>, delivery: &Delivery) -> Result<Prospect, Error> {
    let Ok(Incoming { id, query, .. }) = read(context, delivery).await? else {
        return Ok(Prospect::Refused);
    };
    if query.deadline_s.is_some() {
        return Ok(Prospect::At(due_at_last(context, &query, delivery.stored_at)));
    }
    let record = planned(&context.bus.table(Bucket::Plans), &id).await?;
    if let Some(begun) = record.and_then(|record| record.plan) {
        return Ok(Prospect::At(context.bus.load(begun).await?.deadline));
    }
    match prepare(context, &query, &id, delivery.stored_at, None).await {
        Ok(Prepared { plan }) => Ok(Prospect::At(plan.deadline)),
        Err(Unprepared::Refused(_)) => Ok(Prospect::Refused),
        Err(Unprepared::Bus(error)) => Err(error),
    }
}

/// Answers a query whose deadline passed while it waited for its turn. One that was begun or answered before is worked on
/// as ever: what is finished of it must not be lost.
pub(crate) async fn expire(context: Arc<Context>, delivery: Delivery) -> Result<(), Error> {
    let incoming = match read(&context, &delivery).await? {
        Ok(incoming) => incoming,
        Err(refusal) => return refuse(&context, &delivery, refusal).await,
    };
    let table: Table<PlanRecord> = context.bus.table(Bucket::Plans);
    let begun = table.get(incoming.id.as_str()).await?.is_some();
    if begun || stored_answer(&context, &incoming.id).await?.is_some() {
        return work(context, delivery).await;
    }
    let message = "The deadline passed while the query waited for its turn, so nothing was done: the fleet is busy. Ask \
                   again with more time, or run more leads and workers.";
    info!(query = %incoming.id, "answering a query whose turn did not come in time");
    let mut answer = Answer::refused(
        incoming.id.clone(),
        incoming.query.query.clone(),
        message.to_owned(),
        Utc::now(),
    );
    answer.stop_reason = StopReason::Deadline;
    answer.text = to_markdown(&answer, incoming.query.output_format);
    write_answer(&context, &answer, incoming.format).await?;
    count(&answer);
    let answer = stored_answer(&context, &incoming.id).await?.unwrap_or(answer);
    deliver(&context, &delivery, &incoming, &answer).await;
    delivery.ack().await;
    Ok(())
}
