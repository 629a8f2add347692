//! Advisories: what the server reports of messages that nobody could handle. Each becomes a dead letter, so that nothing
//! stays in a work queue for ever without anybody knowing.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Delivery, Error, LongPull, Message, StoredMessage};
use axon_protocol::{Answer, DeadLetter, Format, Headers, QueryId, Reason, Stream, Usage, Verdict, header};
use bytes::Bytes;
use chrono::Utc;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::letters::write_failed_result;

/// Advisories looked at together.
const ROOM: usize = 16;
/// How long one advisory may take to be settled.
const SETTLE: Duration = Duration::from_secs(10);

/// The part of the server's advisory that is used.
#[derive(Debug, Deserialize)]
struct Advisory {
    #[serde(rename = "type")]
    kind: String,
    stream: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    reason: String,
}

/// What the server gives as the reason when a message that a worker holds is removed from its stream. A work queue
/// refuses when it is full and never removes anything by itself, so somebody has removed it on purpose: a lead purges the
/// tasks of a cancelled query.
const REMOVED: [&str; 2] = ["Message deleted by stream limits", "Unacknowledged message was deleted"];

/// Serves the advisories until stopped.
pub(crate) async fn run(bus: Bus, stop: CancellationToken) -> Result<(), Error> {
    let mut pull = LongPull::open(&bus, Stream::Advisories).await?;
    loop {
        let delivery = tokio::select! {
            () = stop.cancelled() => break,
            delivery = pull.next(ROOM) => delivery,
        };
        match settle(&bus, &delivery).await {
            Ok(()) => {
                delivery.ack().await;
            }
            Err(error) => {
                warn!(sequence = delivery.sequence, %error, "cannot settle an advisory, it will come again");
                delivery.hand_back(Duration::from_secs(2)).await;
            }
        }
    }
    pull.close().await;
    Ok(())
}

async fn settle(bus: &Bus, delivery: &Delivery) -> Result<(), Error> {
    let advisory: Advisory = match serde_json::from_slice(delivery.payload()) {
        Ok(advisory) => advisory,
        Err(error) => {
            warn!(%error, "left out an advisory that cannot be read");
            return Ok(());
        }
    };
    let ns = bus.namespace();
    let Some(stream) = Stream::WORK_QUEUES
        .into_iter()
        .find(|stream| ns.stream(*stream) == advisory.stream)
    else {
        return Ok(());
    };
    let reason = if advisory.kind.ends_with("max_deliver") {
        Reason::MaxDeliveries
    } else {
        Reason::Terminated
    };
    let stored = bus.message_at(stream, advisory.stream_seq).await?;
    if stored.is_none() && REMOVED.contains(&advisory.reason.as_str()) {
        debug!(
            stream = advisory.stream,
            sequence = advisory.stream_seq,
            "a message was purged while it was being worked on"
        );
        return Ok(());
    }
    error!(stream = advisory.stream, sequence = advisory.stream_seq, %reason, cause = advisory.reason, "the server gave up on a message");
    let letter = letter(bus, stream, reason, &advisory, stored.as_ref());
    let id = format!("{}-{}-{}", stream.token(), advisory.stream_seq, reason);
    bus.write_letter(&letter, &id, Instant::now() + SETTLE).await?;
    match (stream, &stored) {
        (Stream::Tasks, _) => write_failed_result(bus, &letter, "the server gave up delivering it").await?,
        (Stream::Queries, Some(stored)) => write_failed_answer(bus, stored, &letter).await?,
        _ => {}
    }
    bus.remove(stream, advisory.stream_seq).await?;
    Ok(())
}

fn letter(
    bus: &Bus,
    stream: Stream,
    reason: Reason,
    advisory: &Advisory,
    stored: Option<&StoredMessage>,
) -> DeadLetter {
    let task = stored.and_then(|stored| bus.namespace().parse_task(&stored.subject));
    DeadLetter {
        stream,
        subject: stored.map(|stored| stored.subject.clone()).unwrap_or_default(),
        reason,
        verdict: Verdict::Park,
        attempt: task.as_ref().map_or(1, |task| task.attempt),
        message: format!("delivered {} times and never acknowledged", advisory.deliveries),
        headers: stored.map_or_else(Headers::new, |stored| stored.headers.clone()),
        payload: stored.map_or_else(Bytes::new, |stored| stored.payload.clone()),
        query_id: task.as_ref().map(|task| task.query.clone()),
        task_id: task.map(|task| task.task),
        deadline: None,
        usage: Usage::default(),
        by: bus.who().to_owned(),
        at: Utc::now(),
    }
}

async fn write_failed_answer(bus: &Bus, stored: &StoredMessage, letter: &DeadLetter) -> Result<(), Error> {
    let given = stored.headers.get(header::MESSAGE_ID).map(String::as_str);
    let id = QueryId::of_published(given, stored.sequence).unwrap_or_else(|| QueryId::from_sequence(stored.sequence));
    let text: String = String::from_utf8_lossy(&stored.payload).chars().take(200).collect();
    let error = format!(
        "No lead could finish this query: {}. See `axon dead ls`.",
        letter.message
    );
    let answer = Answer::refused(id.clone(), text, error, Utc::now());
    let message = Message::new(bus.namespace().answer(&id), Format::Json, &answer)?;
    bus.publish_fenced(message, Instant::now() + SETTLE).await.map(|_| ())
}
