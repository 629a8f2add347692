//! One task from its delivery to its settlement: outcome published fenced, acknowledged by the server, then the input
//! acknowledged. It decides nothing itself; what becomes of a task is the verdict's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axon_bus::{Buried, Bus, Cause, Delivery, Fenced, Message};
use axon_protocol::{
    Event, EventKind, QueryId, Reason, Stream, Task, TaskResult, TaskStatus, TaskSubject, Usage, Verdict, WorkerId,
    header,
};
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Config;
use crate::meters::{Meters, Outcome, RouteMeters};
use crate::poison;
use crate::replay::{Recorded, not_recorded, recorded};
use crate::starts::attempt_event;
use crate::verdict::{Settlement, Stop, settle};
use crate::work::{Report, Workshop};

/// How long reading a task may take, where its payload is only referenced.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after the deadline of a task its outcome may still be published.
const SETTLE_GRACE: Duration = Duration::from_secs(30);
/// Time kept for publishing what is finished before the deadline passes: a tenth of what is left, at most this.
const SETTLE_MARGIN: Duration = Duration::from_millis(200);
/// How long the next worker waits before it tries to read a task that could not be fetched.
const FETCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What all tasks of a worker share.
pub(crate) struct Context {
    pub(crate) id: WorkerId,
    pub(crate) bus: Bus,
    pub(crate) config: Config,
    pub(crate) workshop: Workshop,
    pub(crate) meters: Meters,
    /// Cancelled when tasks must be handed back unfinished.
    pub(crate) leaving: CancellationToken,
}

/// Stops one task.
#[derive(Debug, Clone)]
pub(crate) struct Stopper {
    token: CancellationToken,
    query_cancelled: Arc<AtomicBool>,
}

impl Stopper {
    /// Stops also when `leaving` is cancelled.
    pub(crate) fn new(leaving: &CancellationToken) -> Self {
        Self {
            token: leaving.child_token(),
            query_cancelled: Arc::default(),
        }
    }

    /// Its query was cancelled.
    pub(crate) fn cancel(&self) {
        self.query_cancelled.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// What stopped it, if anything did.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        match (self.query_cancelled.load(Ordering::Acquire), self.token.is_cancelled()) {
            (true, _) => Some(Stop::Cancelled),
            (false, true) => Some(Stop::Leaving),
            (false, false) => None,
        }
    }
}

/// A task that was taken.
pub(crate) struct Job {
    pub(crate) delivery: Delivery,
    pub(crate) subject: TaskSubject,
    pub(crate) attempt: u32,
    pub(crate) stopper: Stopper,
    pub(crate) route: Arc<RouteMeters>,
    pub(crate) started: Instant,
    pub(crate) started_at: DateTime<Utc>,
}

/// Which attempt a delivery is: its header, else what its subject says.
pub(crate) fn attempt_of(try_header: Option<&str>, in_subject: u32) -> u32 {
    try_header
        .and_then(|text| text.parse().ok())
        .unwrap_or(in_subject)
        .max(1)
}

/// Publishes an event without waiting for anything: a lost one is harmless.
pub(crate) async fn announce(bus: &Bus, event: &Event) {
    let subject = bus.namespace().event(&event.query_id, event.kind);
    let sent = match Message::plain(subject, event) {
        Ok(message) => bus.announce(&message).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        debug!(query = %event.query_id, kind = %event.kind, %error, "cannot announce an event");
    }
}

/// Runs a task and settles it.
pub(crate) async fn run(context: Arc<Context>, job: Job) -> Outcome {
    // What few tasks need is kept apart on the heap: every task carries the space of its longest path.
    let read = if job.delivery.header(header::REFERENCE).is_none() && job.delivery.delivered <= 1 {
        read_inline(&job)
    } else {
        let read_until = (job.started + READ_TIMEOUT).into_std();
        match Box::pin(job.delivery.hold(Stream::Tasks, read_until, read(&context, &job))).await {
            axon_bus::Outcome::Done(read) => read,
            axon_bus::Outcome::Deadline => Err(Unread::Settled(Outcome::Unsettled)),
        }
    };
    let outcome = match read {
        Ok(task) => lead_through(&context, &job, task).await,
        Err(Unread::Malformed(message)) => Box::pin(refuse(&context, &job, message)).await,
        Err(Unread::Settled(outcome)) => outcome,
    };
    job.route.took(job.started.elapsed());
    context.meters.ended(outcome);
    debug!(query = %job.subject.query, task = %job.subject.task, attempt = job.attempt, ?outcome, "task ended");
    outcome
}

/// Why there is no task to run.
enum Unread {
    /// It is none.
    Malformed(String),
    /// It is settled already.
    Settled(Outcome),
}

/// Reads a task that the message itself holds.
fn read_inline(job: &Job) -> Result<Box<Task>, Unread> {
    let task = axon_protocol::decode_by(|name| job.delivery.header(name), job.delivery.payload());
    check_names(
        job,
        task.map_err(|error| Unread::Malformed(format!("this is no task: {error}")))?,
    )
}

/// Reads a task wherever it is, and looks at what became of it before.
async fn read(context: &Context, job: &Job) -> Result<Box<Task>, Unread> {
    let task: Task = match job.delivery.decode().await {
        Ok(task) => task,
        Err(error) if error.is_transient() => {
            warn!(query = %job.subject.query, task = %job.subject.task, %error, "cannot fetch a task");
            return Err(Unread::Settled(hand_back(context, job, FETCH_RETRY_DELAY).await));
        }
        Err(error) => return Err(Unread::Malformed(format!("this is no task: {error}"))),
    };
    let task = check_names(job, task)?;
    if job.delivery.delivered > 1 {
        check_redelivery(context, job, &task).await.map_err(Unread::Settled)?;
    }
    Ok(task)
}

fn check_names(job: &Job, task: Task) -> Result<Box<Task>, Unread> {
    let (query, name) = (&task.query_id, &task.delegation.task_id);
    if *query != job.subject.query || *name != job.subject.task {
        let message = format!("the payload is task {name} of query {query}, which its subject does not say");
        return Err(Unread::Malformed(message));
    }
    Ok(Box::new(task))
}

/// A task that was delivered before may have its result already, or may be what killed those who had it.
async fn check_redelivery(context: &Context, job: &Job, task: &Task) -> Result<(), Outcome> {
    let subject = context.bus.namespace().result(&task.query_id, &job.subject.task);
    match context.bus.last(Stream::Results, &subject).await {
        Ok(None) => {}
        Ok(Some(_)) => {
            job.delivery.ack().await;
            return Err(Outcome::Fenced);
        }
        Err(error) => debug!(subject, %error, "cannot look for an earlier result"),
    }
    let starts = match poison::read_starts(&context.bus, &task.query_id, &job.subject.task, job.attempt).await {
        Ok(starts) => starts,
        Err(error) => {
            debug!(query = %task.query_id, task = %job.subject.task, %error, "cannot read the starts of a task");
            0
        }
    };
    let delivered = job.delivery.delivered;
    if starts >= context.config.poison_starts || delivered > context.config.max_deliveries {
        let message = format!("started {starts} times without an end and delivered {delivered} times");
        return Err(bury(
            context,
            job,
            Some(task),
            Reason::Poison,
            Verdict::Park,
            message,
            Usage::default(),
        )
        .await);
    }
    // This start counts for the next one who looks, so it has to be stored before anything happens.
    let event = event_of(context, job, EventKind::Started);
    let subject = context.bus.namespace().event(&event.query_id, event.kind);
    let stored = match Message::plain(subject, &event) {
        Ok(message) => context.bus.publish(message).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = stored {
        debug!(query = %task.query_id, task = %job.subject.task, %error, "cannot store the start of a task");
    }
    Ok(())
}

async fn lead_through(context: &Context, job: &Job, task: Box<Task>) -> Outcome {
    let left = (task.deadline - Utc::now()).to_std().unwrap_or_default();
    let deadline = Instant::now() + left;
    let work = async {
        if left.is_zero() {
            let reason = "the deadline had passed before a worker could start it".to_owned();
            return publish(
                context,
                job,
                &task,
                TaskStatus::Failed,
                Some(reason),
                Report::default(),
                deadline,
            )
            .await;
        }
        if let Some(of) = &task.replay
            && let Some(outcome) = Box::pin(repeat(context, job, &task, of, deadline)).await
        {
            return outcome;
        }
        let stop_at = stop_at(Instant::now(), left, task.delegation.boundaries.timeout_ms);
        let mut report = context.workshop.execute(context, job, &task, stop_at).await;
        report
            .notes
            .extend(task.replay.as_ref().map(|of| not_recorded(of, &task)));
        report.facts.attempt = job.attempt;
        report.facts.attempts_max = context.config.max_attempts;
        match settle(&report.facts) {
            Settlement::Publish { status, reason } => {
                publish(context, job, &task, status, reason, report, deadline).await
            }
            Settlement::Bury {
                reason,
                verdict,
                message,
            } => Box::pin(bury(context, job, Some(&task), reason, verdict, message, report.usage)).await,
            Settlement::HandBack => Box::pin(hand_back(context, job, Duration::ZERO)).await,
        }
    };
    tokio::pin!(work);
    // After its deadline a task is not leased any more, yet its outcome is worth some more time.
    match job.delivery.hold(Stream::Tasks, deadline.into_std(), &mut work).await {
        axon_bus::Outcome::Done(outcome) => outcome,
        axon_bus::Outcome::Deadline => tokio::time::timeout(SETTLE_GRACE * 2, work)
            .await
            .unwrap_or(Outcome::Unsettled),
    }
}

/// Publishes the recorded result of a task; `None` where there is none.
async fn repeat(context: &Context, job: &Job, task: &Task, of: &QueryId, deadline: Instant) -> Option<Outcome> {
    match recorded(&context.bus, of, task).await {
        Ok(Some(Recorded { status, reason, report })) => {
            Some(publish(context, job, task, status, reason, report, deadline).await)
        }
        Ok(None) => None,
        Err(error) => {
            warn!(query = %task.query_id, task = %job.subject.task, %error, "cannot read a recorded result");
            Some(hand_back(context, job, FETCH_RETRY_DELAY).await)
        }
    }
}

/// When the execution ends whatever is unfinished. `timeout_ms` of 0 is no limit of its own.
fn stop_at(now: Instant, left: Duration, timeout_ms: u64) -> Instant {
    let before_deadline = now + left.saturating_sub(SETTLE_MARGIN.min(left / 10));
    match timeout_ms {
        0 => before_deadline,
        _ => before_deadline.min(now + Duration::from_millis(timeout_ms)),
    }
}

/// The message of a result. Made apart from its publishing, which would carry the space of the result while it waits.
fn result_message(
    context: &Context,
    job: &Job,
    task: &Task,
    status: TaskStatus,
    reason: Option<String>,
    report: Report,
) -> Result<Message, axon_bus::Error> {
    let mut usage = task.spent;
    usage += report.usage;
    let result = TaskResult {
        query_id: task.query_id.clone(),
        task_id: job.subject.task.clone(),
        status,
        reason,
        findings: report.findings,
        notes: report.notes,
        output: report.output,
        usage,
        run: report.run,
        worker: Some(context.id.clone()),
        attempt: job.attempt,
        started_at: job.started_at,
        finished_at: Utc::now(),
    };
    let subject = context.bus.namespace().result(&result.query_id, &result.task_id);
    let message = Message::plain(subject, &result)?;
    Ok(match job.delivery.header(header::TRACEPARENT) {
        Some(trace) => message.with(header::TRACEPARENT, trace),
        None => message,
    })
}

async fn publish(
    context: &Context,
    job: &Job,
    task: &Task,
    status: TaskStatus,
    reason: Option<String>,
    report: Report,
    deadline: Instant,
) -> Outcome {
    let until = (deadline + SETTLE_GRACE).into_std();
    let published = match result_message(context, job, task, status, reason, report) {
        Ok(message) => context.bus.publish_fenced(message, until).await,
        Err(error) => Err(error),
    };
    match published {
        Ok(Fenced::Won { .. }) => {
            job.delivery.ack().await;
            match status {
                TaskStatus::Complete => Outcome::Complete,
                TaskStatus::Partial => Outcome::Partial,
                TaskStatus::Failed => Outcome::Failed,
            }
        }
        Ok(Fenced::Lost) => {
            context.meters.fenced.increment(1);
            warn!(query = %task.query_id, task = %job.subject.task, attempt = job.attempt, "another result was accepted before");
            job.delivery.ack().await;
            Outcome::Fenced
        }
        Err(error) => {
            warn!(query = %task.query_id, task = %job.subject.task, attempt = job.attempt, %error, "cannot publish a result, its task comes again");
            Outcome::Unsettled
        }
    }
}

async fn bury(
    context: &Context,
    job: &Job,
    task: Option<&Task>,
    reason: Reason,
    verdict: Verdict,
    message: String,
    used: Usage,
) -> Outcome {
    let mut usage = task.map(|task| task.spent).unwrap_or_default();
    usage += used;
    let cause = Cause {
        reason,
        verdict,
        attempt: job.attempt,
        message,
        deadline: task.map(|task| task.deadline),
        usage,
    };
    match context.bus.bury(Stream::Tasks, &job.delivery, cause, Utc::now()).await {
        Buried::Refused => Outcome::Unsettled,
        Buried::Done => match verdict {
            Verdict::Retry => Outcome::Retried,
            Verdict::Park => Outcome::Parked,
        },
    }
}

/// Buries what has a subject that no task has.
pub(crate) async fn refuse_subject(context: Arc<Context>, delivery: Delivery) -> Outcome {
    let message = format!("`{}` is no subject of a task", delivery.subject());
    let buried = context
        .bus
        .bury(Stream::Tasks, &delivery, Cause::malformed(message), Utc::now())
        .await;
    let outcome = match buried {
        Buried::Done => Outcome::Parked,
        Buried::Refused => Outcome::Unsettled,
    };
    context.meters.ended(outcome);
    outcome
}

/// Buries what is no task of this fleet.
async fn refuse(context: &Context, job: &Job, message: String) -> Outcome {
    bury(
        context,
        job,
        None,
        Reason::Malformed,
        Verdict::Park,
        message,
        Usage::default(),
    )
    .await
}

fn event_of(context: &Context, job: &Job, kind: EventKind) -> Event {
    let TaskSubject { query, task, .. } = job.subject.clone();
    attempt_event(kind, query, task, job.attempt, &context.id, Utc::now())
}

async fn hand_back(context: &Context, job: &Job, delay: Duration) -> Outcome {
    let event = event_of(context, job, EventKind::HandedBack);
    announce(&context.bus, &event).await;
    job.delivery.hand_back(delay).await;
    Outcome::HandedBack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_attempt_and_else_the_subject() {
        for (header, in_subject, expected) in [
            (None, 1, 1),
            (None, 3, 3),
            (Some("2"), 1, 2),
            (Some("2"), 3, 2),
            (Some("x"), 3, 3),
            (Some("0"), 0, 1),
        ] {
            assert_eq!(attempt_of(header, in_subject), expected, "{header:?} {in_subject}");
        }
    }

    #[test]
    fn an_execution_ends_early_enough_to_report() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (left, timeout_ms, expected) in [
            (10_000, 0, 9_800),
            (1_000, 0, 900),
            (10_000, 500, 500),
            (400, 1_000, 360),
            (0, 1_000, 0),
        ] {
            assert_eq!(
                stop_at(now, ms(left), timeout_ms),
                now + ms(expected),
                "{left} {timeout_ms}"
            );
        }
    }

    #[test]
    fn a_cancelled_query_and_a_leaving_process_are_told_apart() {
        let leaving = CancellationToken::new();
        let (one, other) = (Stopper::new(&leaving), Stopper::new(&leaving));
        assert_eq!(one.stopped(), None);
        one.cancel();
        assert_eq!((one.stopped(), other.stopped()), (Some(Stop::Cancelled), None));
        leaving.cancel();
        assert_eq!(
            (one.stopped(), other.stopped()),
            (Some(Stop::Cancelled), Some(Stop::Leaving))
        );
    }
}
