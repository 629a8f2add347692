//! The connection: opens it, refuses servers that are too old, follows its state, and drains it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use axon_protocol::{Bucket, Namespace};
use axon_service::metrics as names;
use axon_service::{RetryPolicy, retry_delay};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::confirm::Confirmations;
use crate::limit::PublishLimit;
use crate::table::StoreCell;
use crate::{Config, Error};
use axon_service::breaker::Breaker;

/// The oldest server that keeps the promises Axon builds on.
pub const OLDEST_SERVER: (u64, u64, u64) = (2, 10, 0);

/// How long a publish waits for its acknowledgement. A request in flight when the connection breaks waits it out.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Acknowledgements that may be outstanding at once; further publishes wait.
const ACKS_IN_FLIGHT_MAX: usize = 8192;

/// Whether the connection stands, and how often it was established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionState {
    /// Whether it stands now.
    pub connected: bool,
    /// How often it was established; a change means that open pulls are gone.
    pub generation: u64,
}

/// A handle to the bus; clones share one connection.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
    pub(crate) config: Config,
    pub(crate) limit: PublishLimit,
    /// With the generation of the connection it speaks of: what failed on an earlier one says nothing of this one.
    pub(crate) breaker: Mutex<(u64, Breaker)>,
    /// Kept, because looking a metric up for each publish costs more than setting it.
    pub(crate) breaker_state: metrics::Gauge,
    pub(crate) state: watch::Receiver<ConnectionState>,
    pub(crate) confirmations: Confirmations,
    pub(crate) who: String,
    pub(crate) stores: BTreeMap<Bucket, StoreCell>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("who", &self.inner.who)
            .field("namespace", &self.inner.config.namespace)
            .finish()
    }
}

impl Bus {
    /// Connects as `who`, a name that the server shows to operators. Declares nothing.
    pub async fn connect(config: &Config, who: impl Into<String>) -> Result<Self, Error> {
        let who = who.into();
        let url = without_password(&config.url);
        let (tx, mut state) = watch::channel(ConnectionState::default());
        let options = options(config, &who, tx).await?;
        let timeout = Duration::from_secs(config.connect_timeout_s.max(1));
        let addresses = addresses(&config.url)?;
        let connecting = tokio::time::timeout(timeout, options.connect(addresses));
        let client = match connecting.await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                return Err(Error::Unreachable {
                    url,
                    detail: chain(&error),
                });
            }
            Err(_) => {
                return Err(Error::Unreachable {
                    url,
                    detail: format!("no reply within {timeout:?}"),
                });
            }
        };
        let server = client.server_info();
        if !recent_enough(&server.version) {
            let (major, minor, patch) = OLDEST_SERVER;
            return Err(Error::TooOld {
                url,
                version: server.version,
                oldest: format!("{major}.{minor}.{patch}"),
            });
        }
        if !server.jetstream {
            return Err(Error::NoJetStream { url });
        }
        // The client tells of its first connection a little later: whoever follows the state must not take that for a new one.
        let told = tokio::time::timeout(timeout, state.wait_for(|now| now.connected))
            .await
            .is_ok();
        if !told {
            warn!(who, "the client does not tell that it is connected");
        }
        let js = jetstream::context::ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(ACKS_IN_FLIGHT_MAX)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let breaker = Breaker::new(
            config.circuit_breaker_threshold,
            Duration::from_secs(config.circuit_breaker_timeout),
        );
        let inner = Inner {
            client,
            js,
            limit: PublishLimit::new(config.rate_limit_per_agent),
            breaker: Mutex::new((0, breaker)),
            breaker_state: metrics::gauge!(names::BREAKER_STATE),
            config: config.clone(),
            state,
            confirmations: Confirmations::default(),
            who,
            stores: Bucket::ALL
                .into_iter()
                .map(|bucket| (bucket, StoreCell::default()))
                .collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The namespace of the fleet.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.config.namespace
    }

    /// The configuration it was connected with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The name it was connected as.
    pub fn who(&self) -> &str {
        &self.inner.who
    }

    /// Follows the state of the connection.
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.inner.state.clone()
    }

    /// Version of the server.
    pub fn server_version(&self) -> String {
        self.inner.client.server_info().version
    }

    /// Largest payload the server takes, in bytes.
    pub fn payload_bytes_max(&self) -> usize {
        self.inner.client.max_payload()
    }

    /// One round trip to the server, also recorded as a metric.
    pub async fn round_trip(&self) -> Result<Duration, Error> {
        let start = Instant::now();
        // `flush` only empties the socket's buffer; asking JetStream for the account is a real round trip.
        self.inner
            .js
            .query_account()
            .await
            .map_err(|error| Error::server("the round trip", error))?;
        let elapsed = start.elapsed();
        metrics::gauge!(names::NATS_RTT_SECONDS).set(elapsed.as_secs_f64());
        Ok(elapsed)
    }

    /// Sends what is buffered and closes the connection. Call it last. A server that is away is waited for no longer than
    /// for an acknowledgement, because a process that stops must end.
    pub async fn drain(&self) -> Result<(), Error> {
        let closing = async {
            self.inner
                .client
                .flush()
                .await
                .map_err(|error| Error::server("flushing", error))?;
            self.inner
                .client
                .drain()
                .await
                .map_err(|error| Error::server("draining", error))
        };
        let closed = tokio::time::timeout(ACK_TIMEOUT, closing).await;
        closed.unwrap_or_else(|_| {
            Err(Error::TimedOut {
                what: "the last messages of a process that stops".to_owned(),
                timeout: ACK_TIMEOUT,
            })
        })
    }

    pub(crate) fn with_breaker<R>(&self, use_it: impl FnOnce(&mut Breaker) -> R) -> R {
        let generation = self.inner.state.borrow().generation;
        // A breaker is always consistent, so a panic of another holder is no reason to stop.
        let mut held = self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, breaker) = &mut *held;
        if *known != generation {
            *known = generation;
            breaker.succeeded();
        }
        use_it(breaker)
    }
}

async fn options(
    config: &Config,
    who: &str,
    state: watch::Sender<ConnectionState>,
) -> Result<async_nats::ConnectOptions, Error> {
    let name = who.to_owned();
    let mut options = async_nats::ConnectOptions::new()
        .name(who)
        .subscription_capacity(config.broadcast_capacity)
        .client_capacity(8192)
        .request_timeout(Some(ACK_TIMEOUT))
        .ping_interval(Duration::from_secs(15))
        .reconnect_delay_callback(|attempts| {
            retry_delay(RetryPolicy::RECONNECT, u32::try_from(attempts).unwrap_or(u32::MAX))
        })
        .event_callback(move |event| {
            let (state, name) = (state.clone(), name.clone());
            async move { follow(&event, &state, &name) }
        });
    if !config.credentials.is_empty() {
        options = options
            .credentials_file(&config.credentials)
            .await
            .map_err(|error| Error::Config {
                key: "credentials",
                detail: format!("{}: {error}", config.credentials),
            })?;
    }
    if !config.user.is_empty() {
        options = options.user_and_password(config.user.clone(), config.password.expose().to_owned());
    }
    if !config.token.expose().is_empty() {
        options = options.token(config.token.expose().to_owned());
    }
    if !config.tls_ca.is_empty() {
        options = options.add_root_certificates(config.tls_ca.clone().into());
    }
    Ok(options)
}

fn follow(event: &async_nats::Event, state: &watch::Sender<ConnectionState>, who: &str) {
    match event {
        async_nats::Event::Connected => {
            state.send_modify(|now| {
                now.connected = true;
                now.generation += 1;
            });
            if state.borrow().generation > 1 {
                info!(who, "connected to nats again");
            }
        }
        async_nats::Event::Disconnected => {
            state.send_modify(|now| now.connected = false);
            warn!(who, "connection to nats lost");
        }
        async_nats::Event::SlowConsumer(subscription) => {
            metrics::counter!(names::SUBSCRIPTION_DROPS_TOTAL).increment(1);
            warn!(
                who,
                subscription, "a subscription was too slow and lost messages, the stream still has them"
            );
        }
        async_nats::Event::Draining | async_nats::Event::Closed => debug!(who, event = %event, "leaving nats"),
        other => warn!(who, event = %other, "nats reports"),
    }
}

/// The addresses of a list separated by commas, each checked: what the client says of a bad one helps nobody.
fn addresses(list: &str) -> Result<Vec<async_nats::ServerAddr>, Error> {
    let each = list.split(',').map(|part| {
        part.trim().parse().map_err(|error| Error::Config {
            key: "url",
            detail: format!(
                "`{}` is no address of a NATS server ({error}): write nats://HOST:PORT with a port from 1 to 65535, several \
                 separated by commas",
                without_password(part.trim())
            ),
        })
    });
    each.collect()
}

fn recent_enough(version: &str) -> bool {
    let mut parts = version
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map(|part| part.parse::<u64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) >= OLDEST_SERVER
}

fn without_password(url: &str) -> String {
    url.split(',')
        .map(|address| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
            _ => address.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_servers_are_accepted() {
        for (version, accepted) in [
            ("2.10.0", true),
            ("2.9.10", false),
            ("2.15.1", true),
            ("v2.10.27", true),
            ("2.11.0-preview.1", true),
            ("3.0.0", true),
            ("1.4.1", false),
            ("", false),
        ] {
            assert_eq!(recent_enough(version), accepted, "{version}");
        }
    }

    #[test]
    fn a_bad_address_is_named_and_its_password_is_not() {
        assert_eq!(addresses("nats://a:4222, b:4223,c").map(|all| all.len()).ok(), Some(3));
        for (list, named) in [
            ("nats://127.0.0.1:99999", "`nats://127.0.0.1:99999`"),
            ("nats://a:1,127.0.0.1:4222:x", "`127.0.0.1:4222:x`"),
            ("nats://u:secret@h:port", "`nats://***@h:port`"),
        ] {
            let error = addresses(list).expect_err(list).to_string();
            assert!(error.contains(named) && error.contains("nats://HOST:PORT"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(
            without_password("nats://u:p@h:1,nats://h:2"),
            "nats://***@h:1,nats://h:2"
        );
    }
}
