//! Dead letters: tries again what may succeed, and turns what will not into a failed result, so that the query it belongs
//! to hears of it in the same way as of success. A letter leaves its stream only after its task is queued again.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Delivery, Error, LongPull, Message};
use axon_protocol::{
    Budget, DeadLetter, Event, EventKind, Format, SECOND_EXECUTION, Stream, Task, TaskResult, TaskStatus, Usage,
    Verdict, header,
};
use axon_service::metrics as names;
use axon_service::{RetryPolicy, retry_delay};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long a lead tries to settle one letter before it leaves it to the next delivery.
const SETTLE: Duration = Duration::from_secs(10);
/// Letters a lead looks at together.
const ROOM: usize = 64;
/// A letter due in less than this is waited for instead of being handed back.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What is to become of a letter now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Queue the task again as this attempt.
    Retry {
        /// The attempt, counted from 1.
        attempt: u32,
    },
    /// Look again after this time.
    Wait(Duration),
    /// Keep it; its task, if it is one, gets a failed result.
    Park(&'static str),
    /// Keep it, and say nothing of its task.
    Keep(&'static str),
}

/// Decides what becomes of a letter.
pub fn decide(letter: &DeadLetter, max_attempts: u32, backoff: Duration, now: DateTime<Utc>) -> Decision {
    if letter.attempt >= SECOND_EXECUTION {
        return Decision::Keep("a second execution failed, the first goes on");
    }
    if letter.verdict == Verdict::Park {
        return Decision::Park("it is of no use to try again");
    }
    if letter.stream != Stream::Tasks || letter.task_id.is_none() {
        return Decision::Park("only tasks are tried again");
    }
    if letter.attempt >= max_attempts {
        return Decision::Park("it failed as often as it may");
    }
    let due = letter.at + backoff;
    if letter.deadline.is_some_and(|deadline| due >= deadline) {
        return Decision::Park("there is no time left to try again");
    }
    match (due - now).to_std() {
        Ok(wait) if !wait.is_zero() => Decision::Wait(wait),
        _ => Decision::Retry {
            attempt: letter.attempt + 1,
        },
    }
}

/// The task for its next attempt, with what is left of its budget after all that was `used` until now. Nothing is left where
/// a share that it had is used up; one that it never had, because no worker needs it, keeps nobody from trying.
pub fn remaining(mut task: Task, attempt: u32, used: Usage) -> Option<Task> {
    let (known, all) = (task.spent.cost(), used.cost());
    let left = |share: u64, known: u64, all: u64| share.saturating_sub(all.saturating_sub(known));
    let share = task.delegation.budget;
    let budget = Budget {
        tokens: left(share.tokens, known.tokens, all.tokens),
        cents: left(share.cents, known.cents, all.cents),
    };
    if (share.tokens > 0 && budget.tokens == 0) || (share.cents > 0 && budget.cents == 0) {
        return None;
    }
    (task.delegation.budget, task.spent, task.attempt) = (budget, used, attempt);
    Some(task)
}

/// Serves the dead-letter stream until stopped.
pub(crate) async fn run(bus: Bus, max_attempts: u32, stop: CancellationToken) -> Result<(), Error> {
    let mut pull = LongPull::open(&bus, Stream::Dead).await?;
    loop {
        let delivery = tokio::select! {
            () = stop.cancelled() => break,
            delivery = pull.next(ROOM) => delivery,
        };
        if let Err(error) = settle(&bus, &delivery, max_attempts).await {
            warn!(sequence = delivery.sequence, %error, "cannot settle a dead letter, it will come again");
            delivery.hand_back(Duration::from_secs(2)).await;
        }
    }
    pull.close().await;
    Ok(())
}

async fn settle(bus: &Bus, delivery: &Delivery, max_attempts: u32) -> Result<(), Error> {
    let letter: DeadLetter = match delivery.decode().await {
        Ok(letter) => letter,
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            warn!(sequence = delivery.sequence, %error, "a dead letter cannot be read, it stays where it is");
            delivery.ack().await;
            return Ok(());
        }
    };
    // The delay must be the same at every delivery of the letter, so it has no jitter; letters differ in age anyway.
    let backoff = retry_delay(
        RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::WORK
        },
        letter.attempt,
    );
    match decide(&letter, max_attempts, backoff, Utc::now()) {
        Decision::Wait(wait) if wait <= WAIT_MAX => {
            tokio::time::sleep(wait).await;
            retry(bus, delivery, &letter, letter.attempt + 1).await
        }
        Decision::Wait(wait) => {
            delivery.hand_back(wait).await;
            Ok(())
        }
        Decision::Retry { attempt } => retry(bus, delivery, &letter, attempt).await,
        Decision::Park(why) => park(bus, delivery, &letter, why).await,
        Decision::Keep(why) => {
            debug!(subject = letter.subject, why, "a dead letter is kept");
            delivery.ack().await;
            Ok(())
        }
    }
}

async fn retry(bus: &Bus, delivery: &Delivery, letter: &DeadLetter, attempt: u32) -> Result<(), Error> {
    let Some(task) = bus.namespace().parse_task(&letter.subject) else {
        return park(bus, delivery, letter, "its subject is not one of a task").await;
    };
    if has_result(bus, letter).await? {
        debug!(
            subject = letter.subject,
            "a dead letter is settled, its task has a result from elsewhere"
        );
        bus.remove(Stream::Dead, delivery.sequence).await?;
        delivery.ack().await;
        return Ok(());
    }
    let name = format!("{}~{attempt}", task.task);
    let mut message = Message {
        subject: bus.namespace().task(&task.route, task.band, &task.query, &name),
        headers: letter.headers.clone(),
        payload: letter.payload.clone(),
    };
    if !letter.usage.is_none() {
        let task: Task = match bus.decode_payload(&message.headers, &message.payload).await {
            Ok(task) => task,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => return park(bus, delivery, letter, "its task cannot be read").await,
        };
        let Some(task) = remaining(task, attempt, letter.usage) else {
            return park(bus, delivery, letter, "its budget is used up").await;
        };
        let Message { headers, payload, .. } = Message::new(message.subject.as_str(), Format::Msgpack, &task)?;
        message.headers.remove(header::REFERENCE);
        message.headers.extend(headers);
        message.payload = payload;
    }
    message.headers.remove(header::MESSAGE_ID);
    message = message.with(header::TRY, attempt.to_string());
    match bus.queue_until(&task.query, message, Instant::now() + SETTLE).await {
        Ok(_) | Err(Error::AlreadyQueued { .. }) => {}
        Err(error) => return Err(error),
    }
    info!(
        task = letter.task_id.as_ref().map(ToString::to_string),
        attempt,
        reason = letter.message,
        "retrying task"
    );
    if let (Some(query_id), Some(task_id)) = (&letter.query_id, &letter.task_id) {
        let event = Event {
            query_id: query_id.clone(),
            kind: EventKind::Retrying,
            at: Utc::now(),
            task_id: Some(task_id.clone()),
            by: bus.who().to_owned(),
            message: format!("{task_id} failed ({}), attempt {attempt} is queued", letter.message),
            data: json!({ "attempt": attempt }),
        };
        let subject = bus.namespace().event(query_id, EventKind::Retrying);
        bus.announce(&Message::plain(subject, &event)?).await?;
    }
    bus.remove(Stream::Dead, delivery.sequence).await?;
    delivery.ack().await;
    Ok(())
}

/// Whether the task has its result by another execution: then no further one is needed.
async fn has_result(bus: &Bus, letter: &DeadLetter) -> Result<bool, Error> {
    let (Some(query_id), Some(task_id)) = (&letter.query_id, &letter.task_id) else {
        return Ok(false);
    };
    let subject = bus.namespace().result(query_id, task_id);
    Ok(bus.last(Stream::Results, &subject).await?.is_some())
}

async fn park(bus: &Bus, delivery: &Delivery, letter: &DeadLetter, why: &str) -> Result<(), Error> {
    write_failed_result(bus, letter, why).await?;
    debug!(subject = letter.subject, why, "a dead letter is parked");
    delivery.ack().await;
    Ok(())
}

/// Tells the query of a task that will not be done, by a failed result that is fenced like any other.
pub(crate) async fn write_failed_result(bus: &Bus, letter: &DeadLetter, why: &str) -> Result<(), Error> {
    let (Some(query_id), Some(task_id)) = (&letter.query_id, &letter.task_id) else {
        return Ok(());
    };
    let now = Utc::now();
    let result = TaskResult {
        query_id: query_id.clone(),
        task_id: task_id.clone(),
        status: TaskStatus::Failed,
        reason: Some(format!("{} ({why}, attempt {})", letter.message, letter.attempt)),
        findings: Vec::new(),
        notes: Vec::new(),
        output: serde_json::Value::Null,
        usage: letter.usage,
        run: axon_protocol::RunStatistics::default(),
        worker: None,
        attempt: letter.attempt,
        started_at: letter.at,
        finished_at: now,
    };
    let message = Message::plain(bus.namespace().result(query_id, task_id), &result)?;
    match bus.publish_fenced(message, Instant::now() + SETTLE).await? {
        axon_bus::Fenced::Won { .. } => {
            metrics::counter!(names::TASKS_TOTAL, "outcome" => TaskStatus::Failed.as_str()).increment(1);
        }
        axon_bus::Fenced::Lost => metrics::counter!(names::RESULTS_FENCED_TOTAL).increment(1),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_protocol::{QueryId, Reason, TaskId};
    use chrono::TimeDelta;

    fn letter(verdict: Verdict, attempt: u32, at: DateTime<Utc>) -> DeadLetter {
        DeadLetter {
            stream: Stream::Tasks,
            subject: "axon.tasks.A.high.q1.t1".to_owned(),
            reason: Reason::Failed,
            verdict,
            attempt,
            message: "no luck".to_owned(),
            headers: axon_protocol::Headers::new(),
            payload: Vec::new().into(),
            query_id: QueryId::new("q1").ok(),
            task_id: TaskId::new("t1").ok(),
            deadline: Some(at + TimeDelta::seconds(30)),
            usage: Usage::default(),
            by: "w".to_owned(),
            at,
        }
    }

    #[test]
    fn letters_are_retried_waited_for_or_parked() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        let backoff = Duration::from_secs(2);
        let check = |letter: DeadLetter, after_s: i64, expected: Decision| {
            assert_eq!(decide(&letter, 3, backoff, at + TimeDelta::seconds(after_s)), expected);
        };
        check(letter(Verdict::Retry, 1, at), 0, Decision::Wait(backoff));
        check(letter(Verdict::Retry, 1, at), 2, Decision::Retry { attempt: 2 });
        check(letter(Verdict::Retry, 2, at), 9, Decision::Retry { attempt: 3 });
        check(
            letter(Verdict::Retry, 3, at),
            9,
            Decision::Park("it failed as often as it may"),
        );
        check(
            letter(Verdict::Retry, SECOND_EXECUTION, at),
            9,
            Decision::Keep("a second execution failed, the first goes on"),
        );
        check(
            letter(Verdict::Park, 1, at),
            9,
            Decision::Park("it is of no use to try again"),
        );
        let late = DeadLetter {
            deadline: Some(at + TimeDelta::seconds(1)),
            ..letter(Verdict::Retry, 1, at)
        };
        check(late, 0, Decision::Park("there is no time left to try again"));
        let query = DeadLetter {
            stream: Stream::Queries,
            task_id: None,
            ..letter(Verdict::Retry, 1, at)
        };
        check(query, 0, Decision::Park("only tasks are tried again"));
    }

    /// A task with this share and what earlier attempts had spent, tried again after all these tokens and cents.
    fn tried_again(share: (u64, u64), spent: (u64, f64), used: (u64, f64)) -> Option<Task> {
        let usage = |(tokens, cents): (u64, f64)| Usage {
            tool_calls: 1,
            tokens,
            cents,
        };
        let task = json!({
            "query_id": "q1",
            "query": "why?",
            "delegation": {
                "task_id": "t1",
                "objective": "find out",
                "output_format": "markdown",
                "allowed_tools": ["code.*"],
                "boundaries": { "scope": [], "constraints": [], "max_tool_calls": 5, "timeout_ms": 1000 },
                "priority": 5,
                "required_capabilities": ["Diagnostics"],
                "budget": { "tokens": share.0, "cents": share.1 },
            },
            "deadline": "2026-01-01T00:00:00Z",
            "attempt": 1,
            "spent": usage(spent),
        });
        remaining(serde_json::from_value(task).expect("a task"), 2, usage(used))
    }

    #[test]
    fn another_attempt_gets_what_is_left() {
        for (share, spent, used, expected) in [
            // The first attempt used some, and later ones use more.
            ((100, 10), (0, 0.0), (30, 2.5), Some((70, 7))),
            ((70, 7), (30, 2.5), (60, 2.9), Some((40, 7))),
            ((70, 7), (30, 2.5), (60, 3.1), Some((40, 6))),
            ((100, 10), (0, 0.0), (0, 0.0), Some((100, 10))),
            // Nothing is left of what it had.
            ((100, 10), (0, 0.0), (100, 1.0), None),
            ((100, 10), (0, 0.0), (140, 1.0), None),
            ((100, 10), (0, 0.0), (1, 9.1), None),
            // It never had any.
            ((0, 0), (0, 0.0), (0, 0.0), Some((0, 0))),
            ((0, 10), (0, 0.0), (50, 1.0), Some((0, 9))),
        ] {
            let task = tried_again(share, spent, used);
            let left = task
                .as_ref()
                .map(|task| (task.delegation.budget.tokens, task.delegation.budget.cents));
            assert_eq!(left, expected, "{share:?} after {spent:?}, then {used:?}");
            if let Some(task) = task {
                assert_eq!((task.spent.tokens, task.spent.cents, task.attempt), (used.0, used.1, 2));
            }
        }
    }
}
