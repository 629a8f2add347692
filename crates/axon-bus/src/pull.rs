//! Pulling from work queues. Never are more messages asked for than the caller has room for, because the lease of a
//! message begins when the server sends it, not when somebody looks at it.

use std::collections::VecDeque;
use std::time::Duration;

use axon_protocol::{Band, Route, Stream};
use axon_service::metrics as names;
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::connection::ConnectionState;
use crate::retry::{RetryPolicy, retry_delay};
use crate::{Bus, Delivery, Error};

/// How long one pull request stays open at the server.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server shows that an open request is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a request that does not wait may take to be answered.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(3);

/// What came out of a pull.
#[derive(Debug)]
pub enum Pulled {
    /// A message.
    Message(Box<Delivery>),
    /// A request ended without filling up.
    Ended,
    /// The consumer is gone.
    NoConsumer,
    /// The server did not answer in time.
    Stalled,
}

/// One inbox and the requests that are open on it.
struct Inbox {
    bus: Bus,
    prefix: String,
    subscriber: async_nats::Subscriber,
    open: VecDeque<(u64, usize)>,
    next_token: u64,
}

impl Inbox {
    async fn new(bus: &Bus) -> Result<Self, Error> {
        let prefix = bus.inner.client.new_inbox();
        let subscriber = bus
            .inner
            .client
            .subscribe(format!("{prefix}.*"))
            .await
            .map_err(|error| Error::server("subscribing to an inbox", error))?;
        Ok(Self {
            bus: bus.clone(),
            prefix,
            subscriber,
            open: VecDeque::new(),
            next_token: 0,
        })
    }

    fn outstanding(&self) -> usize {
        self.open.iter().map(|(_, remaining)| remaining).sum()
    }

    /// Opens a request for `batch` messages. Without `expires` the server answers with what it has and waits for nothing.
    async fn request(
        &mut self,
        stream: Stream,
        durable: &str,
        batch: usize,
        expires: Option<Duration>,
    ) -> Result<(), Error> {
        self.next_token += 1;
        let token = self.next_token;
        let body = match expires {
            Some(expires) => json!({
                "batch": batch,
                "expires": expires.as_nanos() as u64,
                "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            }),
            None => json!({ "batch": batch, "no_wait": true }),
        };
        let stream = self.bus.namespace().stream(stream);
        self.bus
            .inner
            .client
            .publish_with_reply(
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"),
                format!("{}.{token}", self.prefix),
                body.to_string().into(),
            )
            .await
            .map_err(|error| Error::server(format!("pulling from {durable}"), error))?;
        self.open.push_back((token, batch));
        Ok(())
    }

    /// The next message or end of a request. `None` for a sign of life.
    async fn receive(&mut self) -> Option<Pulled> {
        let Some(message) = self.subscriber.next().await else {
            return Some(Pulled::Stalled);
        };
        let Some(status) = message
            .status
            .map(|status| status.as_u16())
            .filter(|_| message.payload.is_empty())
        else {
            return Some(self.delivered(message));
        };
        let token = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|token| token.parse::<u64>().ok());
        match status {
            100 => None,
            503 => {
                self.open.clear();
                Some(Pulled::NoConsumer)
            }
            _ => {
                if let Some(token) = token {
                    self.open.retain(|(open, _)| *open != token);
                }
                let deleted = message
                    .description
                    .as_deref()
                    .is_some_and(|text| text.contains("Consumer Deleted"));
                if deleted {
                    self.open.clear();
                    return Some(Pulled::NoConsumer);
                }
                Some(Pulled::Ended)
            }
        }
    }

    fn delivered(&mut self, message: async_nats::Message) -> Pulled {
        // The server fills requests in the order they came, and a message does not tell which one it fills.
        if let Some((_, remaining)) = self.open.front_mut() {
            *remaining -= 1;
            if *remaining == 0 {
                self.open.pop_front();
            }
        }
        Pulled::Message(Box::new(Delivery::new(self.bus.clone(), message)))
    }
}

/// A pull that stays open: for a stream with one durable consumer, where a message is to be taken the moment it comes.
pub struct LongPull {
    inbox: Inbox,
    stream: Stream,
    durable: String,
    connection: watch::Receiver<ConnectionState>,
    alive_at: Instant,
    failures: u32,
}

impl std::fmt::Debug for LongPull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongPull").field("durable", &self.durable).finish()
    }
}

impl LongPull {
    /// Prepares to pull from the single durable consumer of a stream.
    pub async fn open(bus: &Bus, stream: Stream) -> Result<Self, Error> {
        Ok(Self {
            inbox: Inbox::new(bus).await?,
            stream,
            durable: bus.namespace().durable(stream),
            connection: bus.connection(),
            alive_at: Instant::now(),
            failures: 0,
        })
    }

    /// The next message, for a caller that has room for `room` more (at least 1). Cancel-safe: an open request stays
    /// open and what it brings is given out by the next call.
    pub async fn next(&mut self, room: usize) -> Delivery {
        loop {
            self.ask(room.max(1)).await;
            let silent_at = self.alive_at + HEARTBEAT * 2 + HEARTBEAT / 2;
            tokio::select! {
                biased;
                changed = self.connection.changed() => match changed {
                    // Open requests do not survive the server's side of a connection.
                    Ok(()) => self.inbox.open.clear(),
                    Err(_) => tokio::time::sleep(HEARTBEAT).await,
                },
                pulled = self.inbox.receive() => {
                    self.alive_at = Instant::now();
                    match pulled {
                        Some(Pulled::Message(delivery)) => {
                            self.failures = 0;
                            return *delivery;
                        }
                        Some(Pulled::NoConsumer) => self.recover().await,
                        Some(Pulled::Stalled) => tokio::time::sleep(HEARTBEAT).await,
                        Some(Pulled::Ended) | None => {}
                    }
                },
                () = tokio::time::sleep_until(silent_at) => self.rebuild().await,
            }
        }
    }

    async fn ask(&mut self, room: usize) {
        let open = self.inbox.outstanding();
        let lacking = room.saturating_sub(open);
        // Asking anew for every message that came would double the traffic: top up in steps of a quarter.
        if open > 0 && lacking < room.div_ceil(4) {
            return;
        }
        if lacking > 0 {
            if let Err(error) = self
                .inbox
                .request(self.stream, &self.durable, lacking, Some(EXPIRES))
                .await
            {
                debug!(durable = self.durable, %error, "cannot open a pull");
                self.pause().await;
            } else if open == 0 {
                self.alive_at = Instant::now();
            }
        }
    }

    /// The consumer is gone: declare it again, a little later each time.
    async fn recover(&mut self) {
        self.pause().await;
        let bus = self.inbox.bus.clone();
        match bus.declare_own_consumer(self.stream).await {
            Ok(()) => warn!(durable = self.durable, "the consumer was gone and is declared again"),
            Err(error) => warn!(durable = self.durable, %error, "the consumer is gone and cannot be declared"),
        }
    }

    /// The server fell silent: a fresh inbox and fresh requests.
    async fn rebuild(&mut self) {
        metrics::counter!(names::PULLS_STALLED_TOTAL).increment(1);
        warn!(
            durable = self.durable,
            "no sign of life from an open pull, opening it again"
        );
        self.pause().await;
        let bus = self.inbox.bus.clone();
        match Inbox::new(&bus).await {
            Ok(inbox) => self.inbox = inbox,
            Err(error) => debug!(%error, "cannot open an inbox"),
        }
        self.alive_at = Instant::now();
    }

    async fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(retry_delay(RetryPolicy::QUICK, self.failures)).await;
    }

    /// Takes nothing more. Messages the server had already sent are handed back at once. Returns how many.
    pub async fn close(mut self) -> usize {
        let mut handed_back = 0;
        if self.inbox.subscriber.unsubscribe().await.is_ok() {
            while let Ok(Some(message)) = tokio::time::timeout(SWEEP_TIMEOUT, self.inbox.subscriber.next()).await {
                if message.status.is_none() || !message.payload.is_empty() {
                    Delivery::new(self.inbox.bus.clone(), message)
                        .hand_back(Duration::ZERO)
                        .await;
                    handed_back += 1;
                }
            }
        }
        handed_back
    }
}

/// Pulls that do not wait: for a worker that serves many queues and takes from whichever has something.
pub struct Sweep {
    inbox: Inbox,
}

impl std::fmt::Debug for Sweep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweep").finish_non_exhaustive()
    }
}

impl Sweep {
    /// Prepares to pull.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        Ok(Self {
            inbox: Inbox::new(bus).await?,
        })
    }

    /// Up to `batch` tasks of one route and band, without waiting for any to come. A consumer that is missing is declared
    /// again and gives nothing this time.
    pub async fn take(&mut self, route: &Route, band: Band, batch: usize) -> Result<Vec<Delivery>, Error> {
        let bus = self.inbox.bus.clone();
        let durable = bus.namespace().task_durable(route, band);
        self.inbox.open.clear();
        self.inbox.request(Stream::Tasks, &durable, batch, None).await?;
        let mut taken = Vec::new();
        let until = Instant::now() + SWEEP_TIMEOUT;
        while !self.inbox.open.is_empty() {
            match tokio::time::timeout_at(until, self.inbox.receive()).await {
                Ok(Some(Pulled::Message(delivery))) => taken.push(*delivery),
                Ok(Some(Pulled::Ended) | None) => {}
                Ok(Some(Pulled::NoConsumer)) => {
                    bus.declare_task_consumer(route, band).await?;
                    break;
                }
                Ok(Some(Pulled::Stalled)) | Err(_) => {
                    metrics::counter!(names::PULLS_STALLED_TOTAL).increment(1);
                    // What the old request still brings must not be counted to the next one.
                    self.inbox = Inbox::new(&bus).await?;
                    break;
                }
            }
        }
        Ok(taken)
    }
}
