//! Reading what streams hold and how their consumers stand, and removing single messages or subjects.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::{consumer, message::StreamMessage};
use axon_protocol::{DeadLetter, Headers, ObjectBucket, QueryId, Stream, TaskId, decode, header};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::debug;

use crate::delivery::{headers_of, referred};
use crate::{Bus, Error};

/// How the client spells the server's code for a stream that does not exist.
const STREAM_NOT_FOUND: &str = "error code 10059";

/// What the client says where nothing serves a stream's direct reads: there is no such stream, or none of its servers is up.
const NOBODY_SERVES: &str = "no responders";

/// Messages that one request of a look through a stream brings, and those of a look at headers alone.
const LOOK_BATCH: usize = 100;
const HEADERS_BATCH: usize = 1000;
/// How long one request may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server keeps the consumer of a look that broke off.
const LOOK_INACTIVE: Duration = Duration::from_secs(10);

/// A message as a stream keeps it.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its payload; empty where the real one is referenced.
    pub payload: Bytes,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

/// How a stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Messages it holds.
    pub messages: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Bytes it may hold.
    pub bytes_max: i64,
    /// Seconds a message is kept; 0 for as long as there is room.
    pub age_max_s: u64,
    /// Sequence of its last message.
    pub last_sequence: u64,
    /// When its oldest message was stored.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Its consumers.
    pub consumers: Vec<ConsumerStatus>,
}

/// How a consumer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// What it filters; empty for everything.
    pub filter: String,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Sequence, in the stream, of the latest message it delivered for the first time.
    pub last_delivered: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: usize,
    /// Messages delivered more than once and not acknowledged.
    pub redelivered: usize,
    /// Pull requests that wait.
    pub waiting: usize,
}

impl From<StreamMessage> for StoredMessage {
    fn from(message: StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            headers: headers_of(&message.headers),
            payload: message.payload,
            stored_at: utc(message.time),
        }
    }
}

fn utc(time: async_nats::datetime::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(i64::try_from(time.unix_timestamp_nanos()).unwrap_or_default())
}

/// What a look through a stream shows of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Headers,
    All,
}

/// A look through a stream, oldest message first, at what it held when the look began. It changes nothing there.
struct Look {
    stream: async_nats::jetstream::stream::Stream<()>,
    consumer: consumer::PullConsumer,
    filter: String,
    batch: usize,
    /// Messages not seen yet.
    left: usize,
}

impl Look {
    /// Looks at what matches `filter` from the sequence `from` on.
    async fn open(bus: &Bus, kind: Stream, filter: &str, from: u64, seen: Seen) -> Result<Self, Error> {
        let stream = bus.stream(kind).await?;
        let config = consumer::pull::Config {
            filter_subject: filter.to_owned(),
            deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: from },
            ack_policy: consumer::AckPolicy::None,
            headers_only: seen == Seen::Headers,
            memory_storage: true,
            inactive_threshold: LOOK_INACTIVE,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| bus.unread(kind, format!("looking through `{filter}`"), error))?;
        Ok(Self {
            left: usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX),
            stream,
            consumer,
            filter: filter.to_owned(),
            batch: match seen {
                Seen::Headers => HEADERS_BATCH,
                Seen::All => LOOK_BATCH,
            },
        })
    }

    /// The next messages; none when all have been seen.
    async fn next(&mut self) -> Result<Vec<StoredMessage>, Error> {
        // The client would wait for ever for what was lost with a connection.
        let next = tokio::time::timeout(LOOK_TIMEOUT, self.fetch()).await;
        next.unwrap_or_else(|_| {
            Err(Error::TimedOut {
                what: format!("looking through `{}`", self.filter),
                timeout: LOOK_TIMEOUT,
            })
        })
    }

    async fn fetch(&mut self) -> Result<Vec<StoredMessage>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::server(format!("looking through `{}`", self.filter), error);
        let mut found = Vec::new();
        if self.left == 0 {
            return Ok(found);
        }
        let batch = self.consumer.fetch().max_messages(self.batch).messages().await;
        let mut batch = batch.map_err(|error| failed(&error))?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| failed(&error))?;
            let info = message.info().map_err(|error| failed(&error))?;
            found.push(StoredMessage {
                sequence: info.stream_sequence,
                subject: message.subject.to_string(),
                headers: message.headers.as_ref().map(headers_of).unwrap_or_default(),
                payload: message.payload.clone(),
                stored_at: utc(info.published),
            });
        }
        // Some may have been dropped meanwhile: then it ends with an empty batch.
        self.left = self.left.saturating_sub(found.len());
        Ok(found)
    }

    /// The server forgets its consumer by itself; this is only sooner.
    async fn close(self) {
        let name = &self.consumer.cached_info().name;
        if let Err(error) = self.stream.delete_consumer(name).await {
            debug!(consumer = name, %error, "cannot delete a consumer");
        }
    }
}

impl Bus {
    async fn stream(&self, kind: Stream) -> Result<async_nats::jetstream::stream::Stream<()>, Error> {
        let name = self.namespace().stream(kind);
        self.inner
            .js
            .get_stream_no_info(&name)
            .await
            .map_err(|error| Error::server(format!("opening the stream {name} (run `axon init`)"), error))
    }

    /// The client has an error of its own for each request; that the stream does not exist is the same in all of them.
    fn unread(&self, kind: Stream, what: String, error: impl std::fmt::Display) -> Error {
        let error = error.to_string();
        if error.contains(STREAM_NOT_FOUND) {
            return Error::NoStream {
                subject: self.namespace().stream(kind),
            };
        }
        Error::server(what, error)
    }

    /// The last message of a subject, from any server that has it: the quickest read.
    pub async fn last(&self, kind: Stream, subject: &str) -> Result<Option<StoredMessage>, Error> {
        use async_nats::jetstream::stream::DirectGetErrorKind;
        match self.stream(kind).await?.direct_get_last_for_subject(subject).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => {
                let error = error.to_string();
                // Such a read goes past the API of JetStream, which knows whether the stream exists.
                if error.contains(NOBODY_SERVES) {
                    self.status(kind).await?;
                }
                Err(self.unread(kind, format!("reading the last message of `{subject}`"), error))
            }
        }
    }

    /// The last message of a subject, from the leader of its stream: what a fence compares.
    pub(crate) async fn last_of_leader(&self, subject: &str) -> Result<Option<StoredMessage>, Error> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind;
        let token = subject.split('.').nth(1).unwrap_or_default();
        let Some(kind) = Stream::ALL.into_iter().find(|kind| kind.token() == token) else {
            return Err(Error::NoStream {
                subject: subject.to_owned(),
            });
        };
        match self.stream(kind).await?.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(self.unread(kind, format!("reading the last message of `{subject}`"), error)),
        }
    }

    /// A message by its sequence.
    pub async fn message_at(&self, kind: Stream, sequence: u64) -> Result<Option<StoredMessage>, Error> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        match self.stream(kind).await?.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(self.unread(kind, format!("reading message {sequence}"), error)),
        }
    }

    /// Up to `limit` messages of a stream that match `filter`, oldest first, with those after `from` only.
    pub async fn messages(
        &self,
        kind: Stream,
        filter: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredMessage>, Error> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        let stream = self.stream(kind).await?;
        let mut found = Vec::new();
        let mut next = from.max(1);
        while found.len() < limit {
            match stream
                .raw_message_builder()
                .sequence(next)
                .next_by_subject(filter)
                .send()
                .await
            {
                Ok(message) => {
                    next = message.sequence + 1;
                    found.push(message.into());
                }
                Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => break,
                Err(error) => return Err(self.unread(kind, format!("reading `{filter}`"), error)),
            }
        }
        Ok(found)
    }

    /// The messages of a stream that match `filter`, oldest first, without their payloads: a quick look at many.
    pub async fn headers(&self, kind: Stream, filter: &str) -> Result<Vec<StoredMessage>, Error> {
        let mut look = Look::open(self, kind, filter, 1, Seen::Headers).await?;
        let mut found: Vec<StoredMessage> = Vec::new();
        loop {
            let batch = look.next().await?;
            if batch.is_empty() {
                break;
            }
            found.extend(batch);
        }
        look.close().await;
        Ok(found)
    }

    /// The tasks of a query whose dead letters may not be settled yet: those that wait for their next try, and those that
    /// a lead has and may have died with. Some of them may be settled: letters that are kept lie between the others. A letter
    /// that cannot be read is left out.
    pub async fn unsettled_tasks(&self, query: &QueryId) -> Result<BTreeSet<TaskId>, Error> {
        let (durable, stream) = (
            self.namespace().durable(Stream::Dead),
            self.namespace().stream(Stream::Dead),
        );
        let consumer: consumer::PullConsumer = self
            .inner
            .js
            .get_consumer_from_stream(&durable, &stream)
            .await
            .map_err(|error| Error::server(format!("reading the consumer {durable}"), error))?;
        let info = consumer.cached_info();
        let mut tasks = BTreeSet::new();
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Ok(tasks);
        }
        let (filter, from) = (
            self.namespace().dead_of(Stream::Tasks),
            info.ack_floor.stream_sequence + 1,
        );
        let mut look = Look::open(self, Stream::Dead, &filter, from, Seen::All).await?;
        loop {
            let batch = look.next().await?;
            if batch.is_empty() {
                break;
            }
            for stored in batch {
                match self.decode_stored::<DeadLetter>(&stored).await {
                    Ok(letter) if letter.query_id.as_ref() == Some(query) => tasks.extend(letter.task_id),
                    Ok(_) => {}
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => debug!(sequence = stored.sequence, %error, "left out a dead letter"),
                }
            }
        }
        look.close().await;
        Ok(tasks)
    }

    /// The last sequence and number of messages per subject that matches `filter`.
    pub async fn subjects(&self, kind: Stream, filter: &str) -> Result<Vec<String>, Error> {
        let name = self.namespace().stream(kind);
        let stream = self
            .inner
            .js
            .get_stream(&name)
            .await
            .map_err(|error| Error::server(format!("opening the stream {name}"), error))?;
        let mut listing = stream
            .info_with_subjects(filter)
            .await
            .map_err(|error| Error::server(format!("listing the subjects of {name}"), error))?;
        let mut subjects = Vec::new();
        while let Some(entry) = listing.next().await {
            let (subject, _) =
                entry.map_err(|error| Error::server(format!("listing the subjects of {name}"), error))?;
            subjects.push(subject);
        }
        Ok(subjects)
    }

    /// Decodes a stored message, following a reference.
    pub async fn decode_stored<T: DeserializeOwned>(&self, message: &StoredMessage) -> Result<T, Error> {
        self.decode_payload(&message.headers, &message.payload).await
    }

    /// Decodes a payload by the headers it came with, following a reference.
    pub async fn decode_payload<T: DeserializeOwned>(&self, headers: &Headers, payload: &[u8]) -> Result<T, Error> {
        match self.referred(headers).await? {
            Some(payload) => Ok(decode(headers, &payload)?),
            None => Ok(decode(headers, payload)?),
        }
    }

    /// The message with its real payload where it only refers to one.
    pub async fn resolved(&self, mut message: StoredMessage) -> Result<StoredMessage, Error> {
        if let Some(payload) = self.referred(&message.headers).await? {
            message.payload = payload;
        }
        Ok(message)
    }

    /// The payload to which the headers of a message refer.
    async fn referred(&self, headers: &Headers) -> Result<Option<Bytes>, Error> {
        match headers.get(header::REFERENCE) {
            Some(reference) => {
                let digest = referred(reference)?;
                self.objects(ObjectBucket::Artifacts).get(&digest).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Removes one message. `false` where there was none.
    pub async fn remove(&self, kind: Stream, sequence: u64) -> Result<bool, Error> {
        use async_nats::jetstream::stream::DeleteMessageErrorKind;
        match self.stream(kind).await?.delete_message(sequence).await {
            Ok(removed) => Ok(removed),
            Err(error) if matches!(error.kind(), DeleteMessageErrorKind::JetStream(_)) => Ok(false),
            Err(error) => Err(Error::server(format!("removing message {sequence}"), error)),
        }
    }

    /// Purges what matches a filter; returns how many messages that were. A filter wider than a consumer's would leave
    /// that consumer's pending slots occupied, so the queues of tasks are purged one route and band at a time.
    pub async fn purge(&self, kind: Stream, filter: &str) -> Result<u64, Error> {
        let purged = self
            .stream(kind)
            .await?
            .purge()
            .filter(filter)
            .await
            .map_err(|error| Error::server(format!("purging `{filter}`"), error))?;
        Ok(purged.purged)
    }

    /// Purges what matches a filter, all but the latest `keep` messages; returns how many messages that were.
    pub async fn purge_all_but(&self, kind: Stream, filter: &str, keep: u64) -> Result<u64, Error> {
        let stream = self.stream(kind).await?;
        let purged = stream
            .purge()
            .filter(filter)
            .keep(keep)
            .await
            .map_err(|error| Error::server(format!("purging `{filter}`"), error))?;
        Ok(purged.purged)
    }

    /// How a stream and its consumers stand. Not for hot paths: one poller per fleet.
    pub async fn status(&self, kind: Stream) -> Result<StreamStatus, Error> {
        let name = self.namespace().stream(kind);
        let failed = |error: &dyn std::fmt::Display| Error::server(format!("reading the stream {name}"), error);
        let stream = self.inner.js.get_stream(&name).await;
        let stream = stream.map_err(|error| Error::opening(&name, &error))?;
        let info = stream.cached_info();
        let consumers = stream
            .consumers()
            .map_err(|error| failed(&error))
            .try_collect::<Vec<_>>()
            .await?;
        Ok(StreamStatus {
            name: name.clone(),
            messages: info.state.messages,
            bytes: info.state.bytes,
            bytes_max: info.config.max_bytes,
            age_max_s: info.config.max_age.as_secs(),
            last_sequence: info.state.last_sequence,
            oldest_at: (info.state.messages > 0).then(|| utc(info.state.first_timestamp)),
            consumers: consumers
                .into_iter()
                .map(|consumer| ConsumerStatus {
                    name: consumer.name,
                    filter: consumer.config.filter_subject,
                    pending: consumer.num_pending,
                    last_delivered: consumer.delivered.stream_sequence,
                    ack_pending: consumer.num_ack_pending,
                    redelivered: consumer.num_redelivered,
                    waiting: consumer.num_waiting,
                })
                .collect(),
        })
    }
}
