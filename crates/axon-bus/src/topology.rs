//! The one table of streams, consumers, buckets and object stores: what each keeps, how long, how much, and what it does
//! when full. Declares what is missing; never changes what stands, but says where it differs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::consumer::IntoConsumerConfig as _;
use async_nats::jetstream::{consumer, kv, object_store, stream};
use axon_protocol::{Band, Bucket, ObjectBucket, Route, Stream};
use futures::{StreamExt as _, TryStreamExt as _};
use tracing::warn;

use crate::{Bus, Config, Error};

const MB: i64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an unacknowledged query waits for a sign of life of its lead.
const QUERY_ACK_WAIT: Duration = Duration::from_secs(10);
/// The same for tasks and synthesis requests.
const WORK_ACK_WAIT: Duration = Duration::from_secs(6);
/// The same for dead letters and advisories.
const LETTER_ACK_WAIT: Duration = Duration::from_secs(30);

/// Deliveries after which the server gives up. A backstop only: draining and handing back count as deliveries too.
const DELIVERIES_MAX: i64 = 200;
/// Unacknowledged messages of one consumer: a stall risk when too low, a fleet-wide limit when reached.
const ACK_PENDING_MAX: i64 = 20_000;
/// Pull requests that may wait at one consumer.
const PULLS_WAITING_MAX: i64 = 4096;
/// Requests of the declaration that are in flight at once.
const DECLARE_IN_FLIGHT: usize = 8;

/// Something that stands on the server in another way than declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The stream, consumer or bucket.
    pub name: String,
    /// The setting.
    pub setting: &'static str,
    /// What is declared.
    pub declared: String,
    /// What stands.
    pub standing: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} is {}, declared {}",
            self.name, self.setting, self.standing, self.declared
        )
    }
}

/// How long a lease on a message of a work queue lasts without a sign of life.
pub(crate) fn ack_wait(stream: Stream) -> Duration {
    match stream {
        Stream::Queries => QUERY_ACK_WAIT,
        Stream::Tasks | Stream::Synthesis => WORK_ACK_WAIT,
        _ => LETTER_ACK_WAIT,
    }
}

/// Every stream, less those that only remember where nothing is to be remembered.
fn declared_streams(config: &Config) -> Vec<Stream> {
    let remembers = |kind: &Stream| matches!(kind, Stream::History | Stream::Episodes);
    Stream::ALL
        .into_iter()
        .filter(|kind| config.persist_to_episodic || !remembers(kind))
        .collect()
}

fn stream_config(config: &Config, kind: Stream, now_ms: u64) -> stream::Config {
    let ns = &config.namespace;
    let work = Stream::WORK_QUEUES.contains(&kind);
    let (megabytes, max_age) = match kind {
        Stream::Queries => (256, Duration::ZERO),
        Stream::Tasks => (1024, Duration::ZERO),
        Stream::Synthesis => (256, Duration::ZERO),
        // The fence of a result holds as long as the result is there: longer than any lease and any deadline.
        Stream::Results => (2048, 2 * DAY),
        Stream::Answers => (1024, 7 * DAY),
        Stream::Events => (512, DAY),
        Stream::Dead => (512, 30 * DAY),
        Stream::Advisories => (16, 7 * DAY),
        Stream::History => (512, 7 * DAY),
        Stream::Episodes => (512, Duration::ZERO),
    };
    let megabytes = if config.stream_mb_max > 0 {
        megabytes.min(i64::try_from(config.stream_mb_max).unwrap_or(i64::MAX))
    } else {
        megabytes
    };
    // What must not be lost refuses when full; what only informs drops its oldest.
    let refuses = work || matches!(kind, Stream::Results | Stream::Answers | Stream::Dead);
    let one_per_subject = matches!(kind, Stream::Tasks | Stream::Synthesis);
    stream::Config {
        name: ns.stream(kind),
        subjects: ns.stream_subjects(kind),
        retention: if work {
            stream::RetentionPolicy::WorkQueue
        } else {
            stream::RetentionPolicy::Limits
        },
        discard: if refuses {
            stream::DiscardPolicy::New
        } else {
            stream::DiscardPolicy::Old
        },
        max_bytes: megabytes * MB,
        max_age,
        max_messages: match kind {
            Stream::Dead => config.max_dead_letters,
            Stream::History => config.max_history_size,
            _ => -1,
        },
        max_messages_per_subject: if one_per_subject { 1 } else { -1 },
        discard_new_per_subject: one_per_subject,
        num_replicas: config.replicas,
        allow_direct: !work,
        republish: republish(config, kind),
        persist_mode: written_later(config, kind).then_some(stream::PersistenceMode::Async),
        // A recreated stream must never repeat a sequence, because a query's id is made of it.
        first_sequence: (kind == Stream::Queries).then_some(now_ms),
        ..Default::default()
    }
}

/// Whether the server acknowledges a message before it writes it to the file. A server that is killed may then lose the
/// last moments of what only informs, and nothing else. Servers before 2.12 ignore the setting, and refuse it nowhere.
fn written_later(config: &Config, kind: Stream) -> bool {
    config.replicas <= 1 && matches!(kind, Stream::Events | Stream::History)
}

fn republish(config: &Config, kind: Stream) -> Option<stream::Republish> {
    let (source, destination) = config.namespace.republish(kind)?;
    Some(stream::Republish {
        source,
        destination,
        // A doorbell needs no more than to ring.
        headers_only: kind == Stream::Tasks,
    })
}

fn consumer_config(durable: String, filter: String, kind: Stream) -> consumer::pull::Config {
    consumer::pull::Config {
        durable_name: Some(durable),
        filter_subject: filter,
        ack_policy: consumer::AckPolicy::Explicit,
        ack_wait: ack_wait(kind),
        max_deliver: if matches!(kind, Stream::Dead | Stream::Advisories) {
            -1
        } else {
            DELIVERIES_MAX
        },
        max_ack_pending: ACK_PENDING_MAX,
        max_waiting: PULLS_WAITING_MAX,
        ..Default::default()
    }
}

impl Bus {
    /// Creates the streams, consumers, buckets and object stores that are missing, and tells where what stands differs
    /// from what is declared. Any number of processes may call it at once.
    pub async fn declare(&self) -> Result<Vec<Difference>, Error> {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let streams = futures::stream::iter(declared_streams(self.config()))
            .map(|kind| self.declare_stream(kind, now_ms))
            .buffer_unordered(DECLARE_IN_FLIGHT)
            .try_collect::<Vec<_>>();
        let buckets = futures::stream::iter(Bucket::ALL)
            .map(|bucket| self.declare_bucket(bucket))
            .buffer_unordered(DECLARE_IN_FLIGHT)
            .try_collect::<Vec<_>>();
        let objects = futures::stream::iter(ObjectBucket::ALL)
            .map(|bucket| self.declare_objects(bucket))
            .buffer_unordered(DECLARE_IN_FLIGHT)
            .try_collect::<Vec<_>>();
        let (streams, _, _) = futures::try_join!(streams, buckets, objects)?;
        let differences: Vec<Difference> = streams.into_iter().flatten().collect();
        for difference in &differences {
            warn!(%difference, "the topology differs from its declaration");
        }
        Ok(differences)
    }

    /// Tells where what stands differs from what is declared, what is missing included, and changes nothing.
    pub async fn differences(&self) -> Result<Vec<Difference>, Error> {
        let mut all = Vec::new();
        for kind in declared_streams(self.config()) {
            let declared = stream_config(self.config(), kind, 0);
            match self.standing_stream(&declared.name).await? {
                Some(standing) => all.extend(compare(&declared, &standing)),
                None => {
                    all.push(missing(declared.name, "stream"));
                    continue;
                }
            }
            if let Some((durable, filter)) = self.own_consumer(kind) {
                let declared = consumer_config(durable.clone(), filter, kind);
                match self.standing_consumer(kind, &durable).await? {
                    Some(standing) => all.extend(compare_consumer(declared, &standing)),
                    None => all.push(missing(durable, "consumer")),
                }
            }
        }
        for bucket in Bucket::ALL {
            let name = self.namespace().bucket(bucket);
            if self.inner.js.get_key_value(&name).await.is_err() {
                all.push(missing(name, "bucket"));
            }
        }
        for bucket in ObjectBucket::ALL {
            let name = self.namespace().objects(bucket);
            if self.inner.js.get_object_store(&name).await.is_err() {
                all.push(missing(name, "object store"));
            }
        }
        Ok(all)
    }

    async fn declare_stream(&self, kind: Stream, now_ms: u64) -> Result<Vec<Difference>, Error> {
        let declared = stream_config(self.config(), kind, now_ms);
        let standing = match self.standing_stream(&declared.name).await? {
            Some(standing) => standing,
            None => self.create_stream(kind, &declared).await?,
        };
        let mut differences = if self.is_closed(kind, &standing) {
            self.open_queries(&declared, &standing).await?;
            Vec::new()
        } else {
            compare(&declared, &standing)
        };
        if let Some((durable, filter)) = self.own_consumer(kind) {
            differences.extend(self.declare_consumer(kind, durable, filter).await?);
        }
        Ok(differences)
    }

    async fn standing_stream(&self, name: &str) -> Result<Option<stream::Config>, Error> {
        match self.inner.js.get_stream(name).await {
            Ok(standing) => Ok(Some(standing.cached_info().config.clone())),
            Err(error) if missing_stream(&error) => Ok(None),
            Err(error) => Err(Error::server(format!("reading the stream {name}"), error)),
        }
    }

    async fn create_stream(&self, kind: Stream, declared: &stream::Config) -> Result<stream::Config, Error> {
        let mut created = declared.clone();
        if kind == Stream::Queries {
            created.subjects = vec![self.namespace().queries_closed()];
        }
        let Err(error) = self.inner.js.create_stream(created.clone()).await else {
            return Ok(created);
        };
        // Another process may have been faster, perhaps with another first sequence, which is refused as different.
        match self.standing_stream(&declared.name).await? {
            Some(standing) => Ok(standing),
            None => Err(Error::server(format!("creating the stream {}", declared.name), error)),
        }
    }

    /// Whether the stream of queries was created and does not take any yet.
    fn is_closed(&self, kind: Stream, standing: &stream::Config) -> bool {
        kind == Stream::Queries && standing.subjects == [self.namespace().queries_closed()]
    }

    /// Lets the stream of queries take queries. Up to 2.10.27 and 2.11.0 the server forgets, when it restarts, every message
    /// of a stream that holds its configured first sequence. That one is skipped by a purge, and before the stream takes
    /// any query, because a purge afterwards might take one along. Any number of processes may do this at once.
    async fn open_queries(&self, declared: &stream::Config, standing: &stream::Config) -> Result<(), Error> {
        let name = &declared.name;
        let skipped = standing.first_sequence.unwrap_or(0) + 1;
        let failed = |error: &dyn std::fmt::Display| Error::server(format!("opening the stream {name}"), error);
        let js = &self.inner.js;
        let stream = js.get_stream_no_info(name).await.map_err(|error| failed(&error))?;
        stream.purge().sequence(skipped).await.map_err(|error| failed(&error))?;
        let opened = stream::Config {
            subjects: declared.subjects.clone(),
            ..standing.clone()
        };
        js.update_stream(opened)
            .await
            .map(|_| ())
            .map_err(|error| failed(&error))
    }

    /// The single durable consumer of a stream; tasks have one per route and band instead.
    fn own_consumer(&self, kind: Stream) -> Option<(String, String)> {
        let ns = self.namespace();
        match kind {
            Stream::Queries | Stream::Synthesis | Stream::Dead => {
                Some((ns.durable(kind), ns.stream_subjects(kind).first()?.clone()))
            }
            // Its subjects do not share a prefix of their own, so it takes whatever the stream holds.
            Stream::Advisories => Some((ns.durable(kind), String::new())),
            _ => None,
        }
    }

    pub(crate) async fn declare_own_consumer(&self, kind: Stream) -> Result<(), Error> {
        match self.own_consumer(kind) {
            Some((durable, filter)) => self.declare_consumer(kind, durable, filter).await.map(|_| ()),
            None => Ok(()),
        }
    }

    pub(crate) async fn declare_task_consumer(&self, route: &Route, band: Band) -> Result<(), Error> {
        let ns = self.namespace();
        self.declare_consumer(Stream::Tasks, ns.task_durable(route, band), ns.tasks_of(route, band))
            .await
            .map(|_| ())
    }

    /// Creates a consumer that is missing, and tells where one that stands differs: creating it anyway would change it.
    async fn declare_consumer(&self, kind: Stream, durable: String, filter: String) -> Result<Vec<Difference>, Error> {
        let declared = consumer_config(durable.clone(), filter, kind);
        if let Some(standing) = self.standing_consumer(kind, &durable).await? {
            return Ok(compare_consumer(declared, &standing));
        }
        // Whoever creates it at the same time creates the same, which changes nothing.
        self.inner
            .js
            .create_consumer_on_stream(declared, self.namespace().stream(kind))
            .await
            .map(|_: consumer::PullConsumer| Vec::new())
            .map_err(|error| Error::server(format!("creating the consumer {durable}"), error))
    }

    async fn standing_consumer(&self, kind: Stream, durable: &str) -> Result<Option<consumer::Config>, Error> {
        use async_nats::jetstream::{ErrorCode, stream::ConsumerErrorKind};
        let stream = self.namespace().stream(kind);
        let found: Result<consumer::PullConsumer, _> = self.inner.js.get_consumer_from_stream(durable, stream).await;
        match found {
            Ok(standing) => Ok(Some(standing.cached_info().config.clone())),
            Err(error) => match error.kind() {
                ConsumerErrorKind::JetStream(inner) if inner.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
                _ => Err(Error::server(format!("reading the consumer {durable}"), error)),
            },
        }
    }

    async fn declare_bucket(&self, bucket: Bucket) -> Result<(), Error> {
        let name = self.namespace().bucket(bucket);
        if self.inner.js.get_key_value(&name).await.is_ok() {
            return Ok(());
        }
        let (megabytes, max_age) = match bucket {
            Bucket::Registry => (16, Duration::from_secs(30)),
            Bucket::Routes => (4, Duration::ZERO),
            // Not shorter than the answers are kept: the same id must attach as long as its answer can be read.
            Bucket::Plans => (1024, 7 * DAY),
            Bucket::Strategies => (16, Duration::ZERO),
            Bucket::Patterns => (64, Duration::ZERO),
            Bucket::Working => (256, HOUR),
        };
        let config = kv::Config {
            bucket: name.clone(),
            history: 1,
            max_age,
            max_bytes: self.capped_bytes(megabytes),
            num_replicas: self.config().replicas,
            ..Default::default()
        };
        match self.inner.js.create_key_value(config).await {
            Ok(created) if bucket == Bucket::Working => self.drop_oldest(&created).await,
            Ok(_) => Ok(()),
            Err(_) if self.inner.js.get_key_value(&name).await.is_ok() => Ok(()),
            Err(error) => Err(Error::server(format!("creating the bucket {name}"), error)),
        }
    }

    /// Has a full bucket drop its oldest values instead of refusing new ones, which the client cannot declare.
    async fn drop_oldest(&self, created: &kv::Store) -> Result<(), Error> {
        let dropping = stream::Config {
            discard: stream::DiscardPolicy::Old,
            ..created.stream.cached_info().config.clone()
        };
        match self.inner.js.update_stream(dropping).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::server(format!("changing the bucket {}", created.name), error)),
        }
    }

    async fn declare_objects(&self, bucket: ObjectBucket) -> Result<(), Error> {
        let name = self.namespace().objects(bucket);
        if self.inner.js.get_object_store(&name).await.is_ok() {
            return Ok(());
        }
        let (megabytes, max_age) = match bucket {
            ObjectBucket::Workspaces => (4096, 7 * DAY),
            ObjectBucket::Artifacts => (2048, 7 * DAY),
        };
        let config = object_store::Config {
            bucket: name.clone(),
            max_age,
            max_bytes: self.capped_bytes(megabytes),
            num_replicas: self.config().replicas,
            ..Default::default()
        };
        match self.inner.js.create_object_store(config).await {
            Ok(_) => Ok(()),
            Err(_) if self.inner.js.get_object_store(&name).await.is_ok() => Ok(()),
            Err(error) => Err(Error::server(format!("creating the object store {name}"), error)),
        }
    }

    /// Deletes every stream, bucket and object store of the namespace with all they hold: for measurements and tests, which
    /// have a namespace of their own. What is not there is no error.
    pub async fn delete_namespace(&self) -> Result<(), Error> {
        let ns = self.namespace();
        let streams = Stream::ALL.map(|kind| ns.stream(kind));
        // The server keeps buckets and object stores as streams under these names.
        let buckets = Bucket::ALL.map(|bucket| format!("KV_{}", ns.bucket(bucket)));
        let objects = ObjectBucket::ALL.map(|bucket| format!("OBJ_{}", ns.objects(bucket)));
        for name in streams.into_iter().chain(buckets).chain(objects) {
            if let Err(error) = self.inner.js.delete_stream(&name).await
                && !missing_stream_deleted(&error)
            {
                return Err(Error::server(format!("deleting the stream {name}"), error));
            }
        }
        Ok(())
    }

    fn capped_bytes(&self, megabytes: i64) -> i64 {
        let cap = i64::try_from(self.config().stream_mb_max).unwrap_or(i64::MAX);
        (if cap > 0 { megabytes.min(cap) } else { megabytes }) * MB
    }
}

fn missing_stream(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    use async_nats::jetstream::{ErrorCode, context::GetStreamErrorKind};
    matches!(error.kind(), GetStreamErrorKind::JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn missing_stream_deleted(error: &async_nats::jetstream::context::DeleteStreamError) -> bool {
    use async_nats::jetstream::{ErrorCode, context::DeleteStreamErrorKind};
    matches!(error.kind(), DeleteStreamErrorKind::JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn missing(name: String, setting: &'static str) -> Difference {
    Difference {
        name,
        setting,
        declared: "present".to_owned(),
        standing: "missing".to_owned(),
    }
}

/// Settings by name, each as text: only whether they are the same matters, and how a person reads them.
type Settings = Vec<(&'static str, String)>;

fn consumer_settings(config: &consumer::Config) -> Settings {
    vec![
        ("filter_subject", config.filter_subject.clone()),
        ("ack_policy", format!("{:?}", config.ack_policy)),
        ("ack_wait", format!("{:?}", config.ack_wait)),
        ("max_deliver", config.max_deliver.to_string()),
        ("max_ack_pending", config.max_ack_pending.to_string()),
    ]
}

fn stream_settings(config: &stream::Config) -> Settings {
    let republish = config.republish.as_ref();
    let republish = republish.map(|copied| (&copied.source, &copied.destination, copied.headers_only));
    vec![
        ("subjects", format!("{:?}", config.subjects)),
        ("retention", format!("{:?}", config.retention)),
        ("discard", format!("{:?}", config.discard)),
        ("max_bytes", config.max_bytes.to_string()),
        ("max_age", format!("{:?}", config.max_age)),
        ("max_messages", config.max_messages.to_string()),
        ("max_messages_per_subject", config.max_messages_per_subject.to_string()),
        ("discard_new_per_subject", config.discard_new_per_subject.to_string()),
        ("replicas", config.num_replicas.to_string()),
        ("republish", format!("{republish:?}")),
    ]
}

fn compare_consumer(declared: consumer::pull::Config, standing: &consumer::Config) -> Vec<Difference> {
    let declared = declared.into_consumer_config();
    let name = declared.durable_name.clone().unwrap_or_default();
    differences(&name, consumer_settings(&declared), consumer_settings(standing))
}

fn compare(declared: &stream::Config, standing: &stream::Config) -> Vec<Difference> {
    differences(&declared.name, stream_settings(declared), stream_settings(standing))
}

fn differences(name: &str, declared: Settings, standing: Settings) -> Vec<Difference> {
    declared
        .into_iter()
        .zip(standing)
        .filter(|((_, declared), (_, standing))| declared != standing)
        .map(|((setting, declared), (_, standing))| Difference {
            name: name.to_owned(),
            setting,
            declared,
            standing,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_lost_refuses_when_full() {
        let config = Config::default();
        for kind in Stream::ALL {
            let declared = stream_config(&config, kind, 1);
            let informs = matches!(
                kind,
                Stream::Events | Stream::Advisories | Stream::History | Stream::Episodes
            );
            assert_eq!(declared.discard == stream::DiscardPolicy::Old, informs, "{kind:?}");
            assert!(declared.persist_mode.is_none() || informs, "{kind:?}");
            assert!(declared.max_bytes > 0, "{kind:?} is bounded");
        }
        let results = stream_config(&config, Stream::Results, 1);
        assert!(results.max_age >= DAY, "the fence outlives every lease and deadline");
    }

    #[test]
    fn nothing_is_remembered_where_that_is_switched_off() {
        let config = Config {
            persist_to_episodic: false,
            ..Config::default()
        };
        let streams = declared_streams(&config);
        assert!(!streams.contains(&Stream::History) && !streams.contains(&Stream::Episodes));
        assert_eq!(streams.len(), Stream::ALL.len() - 2);
        assert_eq!(declared_streams(&Config::default()).len(), Stream::ALL.len());
    }

    #[test]
    fn a_difference_is_named() {
        let declared = stream_config(&Config::default(), Stream::Dead, 1);
        let standing = stream::Config {
            max_messages: 5,
            ..declared.clone()
        };
        let found = compare(&declared, &standing);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "AXON_DEAD: max_messages is 5, declared 100000");
    }
}
