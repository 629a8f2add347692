//! Pulling from work queues. Never are more messages asked for than the caller has room for, because the lease of a
//! message begins when the server sends it, not when somebody looks at it.

use std::collections::VecDeque;
use std::time::Duration;

use axon_protocol::{Band, Route, Stream};
use axon_service::metrics as names;
use axon_service::{RetryPolicy, retry_delay};
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::connection::ConnectionState;
use crate::{Bus, Delivery, Error};

/// How long one pull request stays open at the server. Its end is the sign of life of an idle pull, and what a pull that is
/// closed waits for: nothing else tells that no message is on its way, and one that is lost there waits out its lease.
const EXPIRES: Duration = Duration::from_secs(1);
/// Silence after which an open pull is opened anew.
const SILENCE: Duration = Duration::from_millis(12_500);
/// Pause of a pull whose connection is closed for good.
const CLOSED_PAUSE: Duration = Duration::from_secs(5);
/// How long a request that does not wait may take to be answered.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a subscription that is given up may take to bring what was on its way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer than its requests a pull that is closed waits for their ends.
const CLOSE_MARGIN: Duration = Duration::from_millis(500);

/// What came out of a pull.
#[derive(Debug)]
pub enum Pulled {
    /// A message.
    Message(Box<Delivery>),
    /// A request ended without filling up.
    Ended,
    /// The server refuses the request, for instance because too many wait already.
    Refused,
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
    /// The subscription before this one, which may still bring messages until the given time.
    former: Option<(async_nats::Subscriber, Instant)>,
    open: VecDeque<(u64, usize)>,
    next_token: u64,
}

impl Inbox {
    async fn new(bus: &Bus) -> Result<Self, Error> {
        let (prefix, subscriber) = subscribe(bus).await?;
        Ok(Self {
            bus: bus.clone(),
            prefix,
            subscriber,
            former: None,
            open: VecDeque::new(),
            next_token: 0,
        })
    }

    /// Gives up every open request, by receiving elsewhere from now on. What was on its way comes from [`Inbox::former`].
    async fn renew(&mut self) -> Result<(), Error> {
        let (prefix, subscriber) = subscribe(&self.bus).await?;
        let mut former = std::mem::replace(&mut self.subscriber, subscriber);
        self.prefix = prefix;
        self.open.clear();
        // Sent after the new subscription; a failure means that the connection is gone for good, with all it carried.
        let _ = former.drain().await;
        self.former = Some((former, Instant::now() + DRAIN_TIMEOUT));
        Ok(())
    }

    /// The next message that was on its way when the inbox was renewed. Cancel-safe.
    async fn former(&mut self) -> Option<Delivery> {
        while let Some((former, until)) = &mut self.former {
            match tokio::time::timeout_at(*until, former.next()).await {
                Ok(Some(message)) if is_status(&message) => {}
                Ok(Some(message)) => return Some(Delivery::new(self.bus.clone(), message)),
                Ok(None) | Err(_) => self.former = None,
            }
        }
        None
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
        if !is_status(&message) {
            return Some(self.delivered(message));
        }
        let token = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|token| token.parse::<u64>().ok());
        let pulled = judge(
            message.status.map_or(0, |status| status.as_u16()),
            message.description.as_deref().unwrap_or_default(),
        );
        match (&pulled, token) {
            (Some(Pulled::NoConsumer), _) => self.open.clear(),
            (Some(_), Some(token)) => self.open.retain(|(open, _)| *open != token),
            _ => {}
        }
        pulled
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

async fn subscribe(bus: &Bus) -> Result<(String, async_nats::Subscriber), Error> {
    let prefix = bus.inner.client.new_inbox();
    let subscriber = bus
        .inner
        .client
        .subscribe(format!("{prefix}.*"))
        .await
        .map_err(|error| Error::server("subscribing to an inbox", error))?;
    Ok((prefix, subscriber))
}

/// Whether a message is the server's word on a request and no message of a stream, which may be empty as well.
fn is_status(message: &async_nats::Message) -> bool {
    message.status.is_some() && message.payload.is_empty()
}

/// What a status of the server means. `None` is a sign of life.
fn judge(status: u16, description: &str) -> Option<Pulled> {
    match status {
        100 => None,
        // Nothing there, or the time or the batch is used up.
        404 | 408 => Some(Pulled::Ended),
        503 => Some(Pulled::NoConsumer),
        409 if description.contains("Consumer Deleted") => Some(Pulled::NoConsumer),
        409 if description.contains("Batch Completed") => Some(Pulled::Ended),
        _ => Some(Pulled::Refused),
    }
}

/// A pull that stays open: for a stream with one durable consumer, where a message is to be taken the moment it comes.
pub struct LongPull {
    inbox: Inbox,
    stream: Stream,
    durable: String,
    connection: watch::Receiver<ConnectionState>,
    /// Which connection the open requests were made on.
    generation: u64,
    /// Whether the inbox was opened anew since that connection broke.
    renewed: bool,
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
        let mut connection = bus.connection();
        let generation = connection.borrow_and_update().generation;
        Ok(Self {
            inbox: Inbox::new(bus).await?,
            stream,
            durable: bus.namespace().durable(stream),
            connection,
            generation,
            renewed: false,
            alive_at: Instant::now(),
            failures: 0,
        })
    }

    /// Messages that were asked for and may still come, within a second if nothing more is asked for.
    pub fn outstanding(&self) -> usize {
        self.inbox.outstanding()
    }

    /// The next message, for a caller that has room for `room` more. Without room nothing more is asked for, and only what
    /// was asked for before still comes. Cancel-safe: an open request stays open and what it brings is given out by the
    /// next call.
    pub async fn next(&mut self, room: usize) -> Delivery {
        loop {
            // First what was already given to this process: asking for more before would be asking for too much.
            if let Some(delivery) = self.inbox.former().await {
                return delivery;
            }
            let state = *self.connection.borrow_and_update();
            if !self.renewed && (!state.connected || state.generation != self.generation) {
                // A server that crashed has forgotten the open requests, one that did not may still serve them. Asking
                // elsewhere is right in both cases, and best arranged while there is no connection: then nothing is on
                // its way to the former inbox.
                self.reopen().await;
                self.renewed = true;
                continue;
            }
            if state.connected {
                self.generation = state.generation;
                self.renewed = false;
            }
            if state.connected {
                self.ask(room).await;
            }
            let waits = self.inbox.outstanding() > 0 || room > 0;
            let silent_at = self.alive_at + SILENCE;
            tokio::select! {
                biased;
                changed = self.connection.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => tokio::time::sleep(CLOSED_PAUSE).await,
                },
                pulled = self.inbox.receive() => {
                    self.alive_at = Instant::now();
                    match pulled {
                        Some(Pulled::Message(delivery)) => {
                            self.failures = 0;
                            return *delivery;
                        }
                        Some(Pulled::NoConsumer) => self.recover().await,
                        Some(Pulled::Refused) => self.pause().await,
                        Some(Pulled::Stalled) => tokio::time::sleep(CLOSED_PAUSE).await,
                        Some(Pulled::Ended) | None => {}
                    }
                },
                () = tokio::time::sleep_until(silent_at), if waits => self.rebuild().await,
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
        self.reopen().await;
    }

    async fn reopen(&mut self) {
        if let Err(error) = self.inbox.renew().await {
            debug!(durable = self.durable, %error, "cannot open an inbox");
        }
        self.alive_at = Instant::now();
    }

    async fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(retry_delay(RetryPolicy::QUICK, self.failures)).await;
    }

    /// Takes nothing more. Messages the server had already sent are handed back at once. Returns how many.
    pub async fn close(mut self) -> usize {
        let mut unwanted = Vec::new();
        // The open requests are filled or expire within a second. Waiting for that is safe, taking them back is a race; and
        // to hand back only afterwards keeps what is handed back from coming here again.
        let until = Instant::now() + EXPIRES + CLOSE_MARGIN;
        while self.inbox.outstanding() > 0 {
            match tokio::time::timeout_at(until, self.inbox.receive()).await {
                Ok(Some(Pulled::Message(delivery))) => unwanted.push(*delivery),
                Ok(Some(Pulled::Ended | Pulled::Refused) | None) => {}
                Ok(Some(Pulled::NoConsumer | Pulled::Stalled)) | Err(_) => break,
            }
        }
        while let Some(delivery) = self.inbox.former().await {
            unwanted.push(delivery);
        }
        if self.inbox.renew().await.is_ok() {
            while let Some(delivery) = self.inbox.former().await {
                unwanted.push(delivery);
            }
        }
        for delivery in &unwanted {
            delivery.hand_back(Duration::ZERO).await;
        }
        unwanted.len()
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
                Ok(Some(Pulled::Ended | Pulled::Refused) | None) => {}
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

impl Bus {
    /// Waits until everything announced so far has left this process. What announces the start of a task must not be lost
    /// with a process that the task kills.
    pub async fn flush(&self) -> Result<(), Error> {
        self.inner
            .client
            .flush()
            .await
            .map_err(|error| Error::server("flushing", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_sign_of_life_an_end_or_a_refusal() {
        for (status, description, expected) in [
            (100, "Idle Heartbeat", "None"),
            (404, "No Messages", "Some(Ended)"),
            (408, "Request Timeout", "Some(Ended)"),
            (409, "Batch Completed", "Some(Ended)"),
            (409, "Consumer Deleted", "Some(NoConsumer)"),
            (503, "", "Some(NoConsumer)"),
            (409, "Exceeded MaxWaiting", "Some(Refused)"),
            (409, "Server Shutdown", "Some(Refused)"),
            (400, "Bad Request", "Some(Refused)"),
        ] {
            assert_eq!(
                format!("{:?}", judge(status, description)),
                expected,
                "{status} {description}"
            );
        }
    }
}
