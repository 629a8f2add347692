//! Publishing with an acknowledgement, announcing without one, and plain subscriptions.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use axon_protocol::{Format, Headers, ObjectBucket, SCHEMA_MAJOR, SCHEMA_MAJOR_UNTOLD, encode, header};
use axon_service::{RetryPolicy, retry_delay};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Serialize;

use crate::connection::ACK_TIMEOUT;
use crate::delivery::headers_of;
use crate::{Bus, Delivery, Error, INLINE_BYTES_MAX};

/// The server's code for "maximum messages, bytes or messages per subject exceeded"; only the text tells which.
const CODE_STORE_FAILED: u64 = 10077;
/// The server's code for a wrong expected last sequence.
const CODE_WRONG_LAST_SEQUENCE: u64 = 10071;
/// The server's code for an account or disk without room.
const CODES_NO_ROOM: [u64; 4] = [10002, 10023, 10028, 10047];

/// Something to publish.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where to.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
}

impl Message {
    /// Encodes a value, with the headers that tell its schema and format.
    pub fn new<T: Serialize>(subject: impl Into<String>, format: Format, value: &T) -> Result<Self, Error> {
        let mut headers = Headers::new();
        headers.insert(header::SCHEMA.to_owned(), SCHEMA_MAJOR.to_string());
        headers.insert(header::CONTENT_TYPE.to_owned(), format.content_type().to_owned());
        Ok(Self {
            subject: subject.into(),
            headers,
            payload: encode(format, value)?.into(),
        })
    }

    /// Encodes a value as what a message without headers is: MessagePack of the first version. For what a fleet writes most,
    /// because the server searches the headers of each message that it stores or passes on.
    pub fn plain<T: Serialize>(subject: impl Into<String>, value: &T) -> Result<Self, Error> {
        const {
            assert!(
                SCHEMA_MAJOR == SCHEMA_MAJOR_UNTOLD,
                "a plain message has to tell its version"
            )
        }
        Ok(Self {
            subject: subject.into(),
            headers: Headers::new(),
            payload: encode(Format::Msgpack, value)?.into(),
        })
    }

    /// Sets a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }
}

/// What the server acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Whether a message with the same id was stored before and this one was not.
    pub duplicate: bool,
}

/// A plain subscription: what is published while it exists, without any guarantee.
#[derive(Debug)]
pub struct Subscription {
    inner: async_nats::Subscriber,
    bus: Bus,
}

impl Subscription {
    /// The next message; `None` once the connection is closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        let message = self.inner.next().await?;
        Some(Delivery::new(self.bus.clone(), message))
    }
}

impl Bus {
    /// Publishes once and waits for the acknowledgement, at most 5 s. A payload above 256 KiB is stored as an artifact
    /// and published by reference.
    pub async fn publish(&self, message: Message) -> Result<Published, Error> {
        let message = self.by_reference(message).await?;
        self.publish_as_is(&message).await
    }

    /// Publishes, trying again after transient errors until `until`.
    pub async fn publish_until(&self, message: Message, until: Instant) -> Result<Published, Error> {
        let message = self.by_reference_until(message, until).await?;
        self.publish_as_is_until(&message, until).await
    }

    pub(crate) async fn publish_as_is_until(&self, message: &Message, until: Instant) -> Result<Published, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.publish_as_is(message).await {
                Err(error) if error.is_transient() => wait_before_retry(attempt, until, error).await?,
                done => return done,
            }
        }
    }

    pub(crate) async fn publish_as_is(&self, message: &Message) -> Result<Published, Error> {
        self.inner.limit.wait().await;
        self.connected(&message.subject).await?;
        self.with_breaker(|breaker| breaker.admit(Instant::now()))
            .map_err(|retry_in| Error::BreakerOpen { retry_in })?;
        let headers = to_header_map(&message.headers);
        let sent = self
            .inner
            .js
            .publish_with_headers(message.subject.clone(), headers, message.payload.clone())
            .await;
        let outcome = match sent {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        let result = outcome
            .map(|ack| Published {
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            })
            .map_err(|error| self.classify(message, &error));
        self.judge(&result);
        result
    }

    /// Waits for the connection. What is given to the client without one is sent when it is back, however late, after its
    /// publisher has given up and somebody else has done the work.
    async fn connected(&self, subject: &str) -> Result<(), Error> {
        if self.inner.state.borrow().connected {
            return Ok(());
        }
        let mut state = self.connection();
        match tokio::time::timeout(ACK_TIMEOUT, state.wait_for(|now| now.connected)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let result = Err(Error::TimedOut {
                    what: format!("publish to `{subject}`, there is no connection"),
                    timeout: ACK_TIMEOUT,
                });
                self.judge(&result);
                result.map(|_| ())
            }
        }
    }

    /// Tells the breaker. A refusal is an answer: only silence and a missing server count as failures.
    fn judge(&self, result: &Result<Published, Error>) {
        let now = Instant::now();
        let state = self.with_breaker(|breaker| {
            match result {
                Err(Error::TimedOut { .. } | Error::Server { .. }) => breaker.failed(now),
                _ => breaker.succeeded(),
            }
            breaker.state(now)
        });
        self.inner.breaker_state.set(state.gauge());
    }

    fn classify(&self, message: &Message, error: &PublishError) -> Error {
        let subject = message.subject.clone();
        let cause =
            std::error::Error::source(error).and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
        let code = cause.map(|cause| cause.error_code().0);
        let detail = cause.map_or_else(|| error.to_string(), |cause| cause.to_string());
        match (error.kind(), code) {
            (PublishErrorKind::StreamNotFound, _) => Error::NoStream { subject },
            (PublishErrorKind::WrongLastSequence, _) | (_, Some(CODE_WRONG_LAST_SEQUENCE)) => {
                Error::Conflict { key: subject }
            }
            (PublishErrorKind::MaxPayloadExceeded, _) => Error::TooLarge {
                subject,
                bytes: message.payload.len(),
                bytes_max: self.payload_bytes_max(),
            },
            (PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe, _) => Error::TimedOut {
                what: format!("publish to `{subject}`"),
                timeout: ACK_TIMEOUT,
            },
            (_, Some(CODE_STORE_FAILED)) if detail.contains("per subject") => Error::AlreadyQueued { subject },
            (_, Some(code)) if code == CODE_STORE_FAILED || CODES_NO_ROOM.contains(&code) => {
                Error::Full { subject, detail }
            }
            _ => Error::server(format!("publishing to `{subject}`"), detail),
        }
    }

    /// Publishes without waiting for anything: for events and control, where a loss is harmless.
    pub async fn announce(&self, message: &Message) -> Result<(), Error> {
        let headers = to_header_map(&message.headers);
        self.inner
            .client
            .publish_with_headers(message.subject.clone(), headers, message.payload.clone())
            .await
            .map_err(|error| Error::server(format!("publishing to `{}`", message.subject), error))
    }

    /// Subscribes to a subject. What is published by this process afterwards is seen.
    pub async fn subscribe(&self, subject: impl Into<String>) -> Result<Subscription, Error> {
        let subject = subject.into();
        let inner = self
            .inner
            .client
            .subscribe(subject.clone())
            .await
            .map_err(|error| Error::server(format!("subscribing to `{subject}`"), error))?;
        Ok(Subscription {
            inner,
            bus: self.clone(),
        })
    }

    /// Sends a request and waits for one reply.
    pub async fn request(&self, message: &Message, timeout: Duration) -> Result<Delivery, Error> {
        let request = async_nats::Request::new()
            .payload(message.payload.clone())
            .headers(to_header_map(&message.headers))
            .timeout(Some(timeout));
        let reply = self
            .inner
            .client
            .send_request(message.subject.clone(), request)
            .await
            .map_err(|error| match error.kind() {
                async_nats::client::RequestErrorKind::TimedOut => Error::TimedOut {
                    what: format!("request to `{}`", message.subject),
                    timeout,
                },
                _ => Error::server(format!("a request to `{}`", message.subject), error),
            })?;
        Ok(Delivery::new(self.clone(), reply))
    }

    pub(crate) async fn by_reference(&self, message: Message) -> Result<Message, Error> {
        if message.payload.len() <= INLINE_BYTES_MAX {
            return Ok(message);
        }
        // Boxed, because the future of every publish would otherwise carry the space of this rare case.
        let objects = self.objects(ObjectBucket::Artifacts);
        let digest = Box::pin(objects.put(message.payload.clone())).await?;
        Ok(Message {
            payload: Bytes::new(),
            ..message.with(header::REFERENCE, digest.as_str())
        })
    }

    pub(crate) async fn by_reference_until(&self, message: Message, until: Instant) -> Result<Message, Error> {
        if message.payload.len() <= INLINE_BYTES_MAX {
            return Ok(message);
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.by_reference(message.clone()).await {
                Err(error) if error.is_transient() => wait_before_retry(attempt, until, error).await?,
                done => return done,
            }
        }
    }
}

/// Waits before the next attempt, or gives the error back when the time is up.
pub(crate) async fn wait_before_retry(attempt: u32, until: Instant, error: Error) -> Result<(), Error> {
    let delay = retry_delay(RetryPolicy::QUICK, attempt);
    if Instant::now() + delay >= until {
        return Err(error);
    }
    tokio::time::sleep(delay).await;
    Ok(())
}

/// Headers as the client takes them. Where there are none, it sends a message without any.
pub(crate) fn to_header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        // A header with a line break would corrupt the protocol: such a value is foreign and of no use.
        if let (Ok(name), Ok(value)) = (
            name.parse::<async_nats::HeaderName>(),
            value.parse::<async_nats::HeaderValue>(),
        ) {
            map.insert(name, value);
        }
    }
    map
}

pub(crate) fn from_header_map(map: Option<&HeaderMap>) -> Headers {
    map.map(headers_of).unwrap_or_default()
}
