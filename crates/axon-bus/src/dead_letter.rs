//! Dead letters: what failed goes to its own stream, and only then is the input acknowledged.

use std::time::{Duration, Instant};

use axon_protocol::{DeadLetter, Format, Reason, Stream, Usage, Verdict, header};
use axon_service::metrics as names;
use chrono::{DateTime, Utc};
use tracing::{error, warn};

use crate::publish::Published;
use crate::{Bus, Delivery, Error, Message};

/// How long a process tries to get rid of a dead letter before it leaves the input to be delivered again.
const BURY_TIMEOUT: Duration = Duration::from_secs(20);

/// What became of an input that was to be buried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buried {
    /// The dead letter is stored and the input acknowledged.
    Done,
    /// The dead-letter stream took nothing; the input stays unacknowledged and will come again.
    Refused,
}

/// Why an input is buried.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// What is to become of it.
    pub verdict: Verdict,
    /// Which attempt failed, counted from 1.
    pub attempt: u32,
    /// What happened, for people.
    pub message: String,
    /// After this it is of no use to try again.
    pub deadline: Option<DateTime<Utc>>,
    /// What was used until then, earlier attempts included.
    pub usage: Usage,
}

impl Cause {
    /// A message that cannot be read, or breaks a limit, and will not become better.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Malformed,
            verdict: Verdict::Park,
            attempt: 1,
            message: message.into(),
            deadline: None,
            usage: Usage::default(),
        }
    }
}

impl Bus {
    /// Writes a dead letter for a delivery, waits until it is stored, then acknowledges the delivery.
    pub async fn bury(&self, stream: Stream, delivery: &Delivery, cause: Cause, now: DateTime<Utc>) -> Buried {
        let task = self.namespace().parse_task(delivery.subject());
        let letter = DeadLetter {
            stream,
            subject: delivery.subject().to_owned(),
            reason: cause.reason,
            verdict: cause.verdict,
            attempt: cause.attempt,
            message: cause.message,
            headers: delivery.headers(),
            payload: delivery.payload().clone(),
            query_id: match (&task, stream) {
                (Some(task), _) => Some(task.query.clone()),
                (None, Stream::Synthesis) => self.namespace().last_token_query(delivery.subject()),
                (None, _) => None,
            },
            task_id: task.map(|task| task.task),
            deadline: cause.deadline,
            usage: cause.usage,
            by: self.who().to_owned(),
            at: now,
        };
        // The input may be delivered again before its acknowledgement is confirmed: the id keeps its letter single.
        let id = format!("{}-{}-{}", stream.token(), delivery.sequence, letter.attempt);
        let writing = self.write_letter(&letter, &id, Instant::now() + BURY_TIMEOUT);
        match delivery.hold(stream, Instant::now() + BURY_TIMEOUT * 2, writing).await {
            crate::Outcome::Done(Ok(_)) => {
                delivery.ack().await;
                Buried::Done
            }
            crate::Outcome::Done(Err(error)) => {
                error!(subject = delivery.subject(), %error, "the dead-letter stream takes nothing: the input stays unacknowledged");
                Buried::Refused
            }
            crate::Outcome::Deadline => Buried::Refused,
        }
    }

    /// Writes a dead letter under an id that keeps it single, trying again until `until`.
    pub async fn write_letter(&self, letter: &DeadLetter, id: &str, until: Instant) -> Result<Published, Error> {
        let subject = self.namespace().dead(letter.stream, letter.reason);
        let message = Message::new(subject, Format::Msgpack, letter)?.with(header::MESSAGE_ID, id);
        let published = self.publish_until(message, until).await?;
        metrics::counter!(names::DEAD_LETTERS_TOTAL, "reason" => letter.reason.as_str()).increment(1);
        warn!(
            subject = letter.subject,
            reason = letter.reason.as_str(),
            verdict = ?letter.verdict,
            attempt = letter.attempt,
            message = letter.message,
            "wrote a dead letter"
        );
        Ok(published)
    }
}
