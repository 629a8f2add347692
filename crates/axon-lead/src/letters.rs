//! Dead letters: tries again what may succeed, and turns what will not into a failed result, so that the query it belongs
//! to hears of it in the same way as of success. A letter leaves its stream only after its task is queued again.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Delivery, Error, LongPull, Message};
use axon_protocol::{
    DeadLetter, Event, EventKind, Format, SECOND_EXECUTION, Stream, TaskResult, TaskStatus, Usage, Verdict, header,
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
    let Some(subject) = retry_subject(&letter.subject, attempt) else {
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
    let mut headers = letter.headers.clone();
    headers.remove(header::MESSAGE_ID);
    headers.insert(header::TRY.to_owned(), attempt.to_string());
    let message = Message {
        subject,
        headers,
        payload: letter.payload.clone(),
    };
    match bus.publish_until(message, Instant::now() + SETTLE).await {
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
        bus.announce(&Message::new(subject, Format::Msgpack, &event)?).await?;
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
        usage: Usage::default(),
        run: axon_protocol::RunStatistics::default(),
        worker: None,
        attempt: letter.attempt,
        started_at: letter.at,
        finished_at: now,
    };
    let message = Message::new(bus.namespace().result(query_id, task_id), Format::Msgpack, &result)?;
    match bus.publish_fenced(message, Instant::now() + SETTLE).await? {
        axon_bus::Fenced::Won { .. } => {
            metrics::counter!(names::TASKS_TOTAL, "outcome" => TaskStatus::Failed.as_str()).increment(1);
        }
        axon_bus::Fenced::Lost => metrics::counter!(names::RESULTS_FENCED_TOTAL).increment(1),
    }
    Ok(())
}

fn retry_subject(subject: &str, attempt: u32) -> Option<String> {
    let (prefix, name) = subject.rsplit_once('.')?;
    let task = name.split('~').next().filter(|task| !task.is_empty())?;
    Some(format!("{prefix}.{task}~{attempt}"))
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

    #[test]
    fn a_retry_has_a_subject_of_its_own() {
        for (subject, attempt, expected) in [
            ("axon.tasks.A.high.q1.t1", 2, Some("axon.tasks.A.high.q1.t1~2")),
            ("axon.tasks.A.high.q1.t1~2", 3, Some("axon.tasks.A.high.q1.t1~3")),
            ("nothing", 2, None),
        ] {
            assert_eq!(retry_subject(subject, attempt).as_deref(), expected);
        }
    }
}
