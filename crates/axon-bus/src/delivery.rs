//! A message as it was delivered, and what may be done with it: keep it leased, acknowledge it, hand it back.

use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use axon_protocol::{DecodeError, Digest, Headers, ObjectBucket, Stream, decode_by, header};
use axon_service::{RetryPolicy, retry_delay};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::topology::ack_wait;
use crate::{Bus, Error};

/// How often a confirmation is asked for. After that the message may come again, which the fence makes harmless.
const CONFIRM_ATTEMPTS: u32 = 4;

/// How the reply subjects of delivered messages begin.
const ACK_PREFIX: &str = "$JS.ACK.";
/// Letters of a broken reference that an error shows.
const REFERENCE_CHARS_SHOWN: usize = 80;

/// A delivered message.
#[derive(Debug, Clone)]
pub struct Delivery {
    bus: Bus,
    message: async_nats::Message,
    /// Sequence in its stream; 0 for a message that no stream delivered.
    pub sequence: u64,
    /// How often it was delivered, this time included. Handing back counts too, so this is no count of attempts.
    pub delivered: u64,
    /// Messages its consumer had left when it was delivered.
    pub pending: u64,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

/// How a leased piece of work ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The work ended by itself.
    Done(T),
    /// The deadline came first; the lease is no longer renewed.
    Deadline,
}

impl Delivery {
    pub(crate) fn new(bus: Bus, message: async_nats::Message) -> Self {
        let info = message.reply.as_deref().and_then(AckSubject::parse).unwrap_or_default();
        Self {
            bus,
            message,
            sequence: info.sequence,
            delivered: info.delivered,
            pending: info.pending,
            stored_at: info.stored_at,
        }
    }

    /// The subject it was published to.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The payload as delivered; empty where the real one is referenced.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message
            .headers
            .as_ref()?
            .get(name)
            .map(async_nats::HeaderValue::as_str)
    }

    /// All headers.
    pub fn headers(&self) -> Headers {
        crate::publish::from_header_map(self.message.headers.as_ref())
    }

    /// Where a reply is expected.
    pub fn reply_to(&self) -> Option<&str> {
        self.message.reply.as_deref()
    }

    /// The payload, fetched from the store of artifacts where the message only refers to it.
    pub async fn resolved(&self) -> Result<Bytes, Error> {
        match self.header(header::REFERENCE) {
            None => Ok(self.message.payload.clone()),
            Some(text) => {
                let digest = referred(text)?;
                self.bus.objects(ObjectBucket::Artifacts).get(&digest).await
            }
        }
    }

    /// Decodes the payload, following a reference.
    pub async fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let payload = self.resolved().await?;
        Ok(decode_by(|name| self.header(name), &payload)?)
    }

    /// Runs `work` and renews the lease every third of its length until `work` ends or `until` has passed.
    pub async fn hold<F: Future>(&self, stream: Stream, until: Instant, work: F) -> Outcome<F::Output> {
        let every = ack_wait(stream) / 3;
        let next = || (Instant::now() + every).min(until);
        // One timer for both, because most work ends before either.
        let timer = tokio::time::sleep_until(next().into());
        tokio::pin!(work, timer);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Outcome::Done(output),
                () = &mut timer => {
                    if Instant::now() >= until {
                        return Outcome::Deadline;
                    }
                    self.progress().await;
                    timer.as_mut().reset(next().into());
                }
            }
        }
    }

    /// Renews the lease once. A lost renewal is harmless: the next one comes before the lease ends.
    pub async fn progress(&self) {
        if let Some(reply) = self.message.reply.clone()
            && let Err(error) = self.bus.inner.client.publish(reply, "+WPI".into()).await
        {
            debug!(subject = self.subject(), %error, "cannot renew a lease");
        }
    }

    /// Acknowledges and waits for the server to confirm it. `false` when the server never did: the message may come again.
    pub async fn ack(&self) -> bool {
        let Some(reply) = self.message.reply.clone() else {
            return true;
        };
        for attempt in 1..=CONFIRM_ATTEMPTS {
            if self.bus.confirm(&reply).await {
                return true;
            }
            debug!(subject = self.subject(), attempt, "an acknowledgement is unconfirmed");
            tokio::time::sleep(retry_delay(RetryPolicy::QUICK, attempt)).await;
        }
        false
    }

    /// Hands the message back, to be delivered again at once or after a delay of at most 60 s.
    pub async fn hand_back(&self, delay: Duration) {
        let Some(reply) = self.message.reply.clone() else {
            return;
        };
        let payload = if delay.is_zero() {
            "-NAK".to_owned()
        } else {
            // A delayed message holds one of the consumer's pending slots, so the delay is capped.
            format!(
                "-NAK {{\"delay\":{}}}",
                delay.min(RetryPolicy::WORK.delay_max).as_nanos()
            )
        };
        if let Err(error) = self.bus.inner.client.publish(reply, payload.into()).await {
            debug!(subject = self.subject(), %error, "cannot hand a message back, its lease will end");
        }
    }
}

/// The digest that a reference names. What is none will never become one.
pub(crate) fn referred(text: &str) -> Result<Digest, DecodeError> {
    let shown = || text.chars().take(REFERENCE_CHARS_SHOWN).collect();
    text.parse().map_err(|_| DecodeError::Reference(shown()))
}

pub(crate) fn headers_of(map: &HeaderMap) -> Headers {
    map.iter()
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().to_owned())))
        .collect()
}

/// What the reply subject of a delivered message tells: `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.
/// <stream sequence>.<consumer sequence>.<nanoseconds>.<pending>[.<random>]`.
#[derive(Debug, Default, PartialEq)]
struct AckSubject {
    sequence: u64,
    delivered: u64,
    pending: u64,
    stored_at: DateTime<Utc>,
}

/// Tokens that name the consumer, of those behind the prefix.
fn consumer_tokens(tokens: usize) -> usize {
    if tokens >= 9 { 4 } else { 2 }
}

/// The part of a reply subject that all messages of one consumer share.
pub(crate) fn consumer_of(reply: &str) -> &str {
    let Some(rest) = reply.strip_prefix(ACK_PREFIX) else {
        return reply;
    };
    let dots = rest.match_indices('.');
    let last = consumer_tokens(dots.clone().count() + 1);
    let end = dots.map(|(at, _)| at).nth(last - 1).unwrap_or(rest.len());
    &rest[..end]
}

impl AckSubject {
    fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix(ACK_PREFIX)?.split('.').collect();
        let start = consumer_tokens(tokens.len());
        let number = |index: usize| tokens.get(start + index)?.parse::<u64>().ok();
        let nanoseconds = i64::try_from(number(3)?).ok()?;
        Some(Self {
            delivered: number(0)?,
            sequence: number(1)?,
            pending: number(4)?,
            stored_at: DateTime::from_timestamp_nanos(nanoseconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_subject_tells_sequence_and_deliveries() {
        let expected = AckSubject {
            delivered: 2,
            sequence: 1234,
            pending: 7,
            stored_at: DateTime::from_timestamp_nanos(1_700_000_000_000_000_000),
        };
        for reply in [
            "$JS.ACK.AXON_TASKS.axon_r_high.2.1234.9.1700000000000000000.7",
            "$JS.ACK._.hash.AXON_TASKS.axon_r_high.2.1234.9.1700000000000000000.7.rnd",
        ] {
            assert_eq!(AckSubject::parse(reply).as_ref(), Some(&expected), "{reply}");
        }
        assert_eq!(AckSubject::parse("_INBOX.x.y"), None);
    }

    #[test]
    fn messages_of_one_consumer_share_the_beginning_of_their_reply_subjects() {
        for (reply, expected) in [
            (
                "$JS.ACK.AXON_TASKS.axon_r_high.2.1234.9.1700000000000000000.7",
                "AXON_TASKS.axon_r_high",
            ),
            (
                "$JS.ACK._.hash.AXON_TASKS.axon_r_high.2.1234.9.1700000000000000000.7.rnd",
                "_.hash.AXON_TASKS.axon_r_high",
            ),
            ("$JS.ACK.odd", "odd"),
            ("_INBOX.x.y", "_INBOX.x.y"),
        ] {
            assert_eq!(consumer_of(reply), expected);
        }
    }
}
