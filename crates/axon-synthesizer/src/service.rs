//! The loop of a synthesizer: takes requests while it has free slots, and drains when it is asked to. It settles nothing
//! itself; a handler does, request by request.

use std::sync::Arc;

use axon_bus::{Bus, ConnectionState, Delivery, LongPull, Subscription};
use axon_model::LanguageModel;
use axon_protocol::Stream;
use axon_service::Health;
use axon_tools::WorkspaceCache;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::SynthesizerConfig;
use crate::handler::Handler;
use crate::registry::{Identity, Registration};
use crate::writer::Writer;

/// Merges results into answers until it is stopped.
pub struct Synthesizer {
    config: SynthesizerConfig,
    bus: Bus,
    health: Health,
    handler: Arc<Handler>,
    identity: Identity,
}

impl std::fmt::Debug for Synthesizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Synthesizer")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What the loop waits for.
enum Event {
    Request(Box<Delivery>),
    Ended(Option<Result<bool, JoinError>>),
    Connection,
    Stop,
}

impl Synthesizer {
    /// A synthesizer over a connected bus. `model` writes the summaries, where there is one. `metrics` is where its metrics are, as `host:port`; empty if nowhere.
    pub fn new(
        config: SynthesizerConfig,
        bus: Bus,
        workspaces: Arc<WorkspaceCache>,
        model: Option<LanguageModel>,
        health: Health,
        metrics: String,
    ) -> Self {
        let writer = model.map(Writer::new);
        Self {
            handler: Arc::new(Handler::new(bus.clone(), config.clone(), workspaces, writer)),
            identity: Identity::new(bus.who(), metrics),
            config,
            bus,
            health,
        }
    }

    /// Works until `stop` fires or somebody asks this process to drain, then finishes what it holds.
    pub async fn run(self, stop: CancellationToken) -> Result<(), axon_bus::Error> {
        let pull = LongPull::open(&self.bus, Stream::Synthesis).await?;
        let drain = self
            .bus
            .subscribe(self.bus.namespace().control_drain(&self.identity.id))
            .await?;
        let registration = Registration::start(&self.bus, self.identity.clone(), self.config.slots);
        info!(id = self.identity.id, slots = self.config.slots, "waiting for requests");
        let mut running = Running {
            connection: self.bus.connection(),
            health: self.health,
            handler: self.handler,
            slots: self.config.slots,
            syntheses: JoinSet::new(),
            registration,
            pull,
            drain,
            stop,
        };
        running.note_connection();
        running.health.set_ready("pulling", true);
        loop {
            match running.next_event().await {
                Event::Request(delivery) => running.start(*delivery),
                Event::Ended(ended) => running.ended(ended),
                Event::Connection => running.note_connection(),
                Event::Stop => break,
            }
        }
        running.finish().await;
        Ok(())
    }
}

/// The state of the loop.
struct Running {
    connection: watch::Receiver<ConnectionState>,
    health: Health,
    handler: Arc<Handler>,
    slots: usize,
    syntheses: JoinSet<bool>,
    registration: Registration,
    pull: LongPull,
    drain: Subscription,
    stop: CancellationToken,
}

impl Running {
    async fn next_event(&mut self) -> Event {
        let room = self.slots - self.syntheses.len();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Event::Stop,
            Some(_) = self.drain.next() => Event::Stop,
            Ok(()) = self.connection.changed() => Event::Connection,
            ended = self.syntheses.join_next(), if !self.syntheses.is_empty() => Event::Ended(ended),
            delivery = self.pull.next(room), if room > 0 => Event::Request(Box::new(delivery)),
        }
    }

    fn start(&mut self, delivery: Delivery) {
        let handler = self.handler.clone();
        // Boxed, because it is large and would be moved several times on its way into a task.
        self.syntheses
            .spawn(Box::pin(async move { handler.handle(delivery).await }));
        self.registration.busy(self.syntheses.len());
    }

    fn ended(&mut self, ended: Option<Result<bool, JoinError>>) {
        let answered = match ended {
            Some(Ok(answered)) => answered,
            Some(Err(error)) => {
                // Its lease is no longer renewed, so the request is delivered again.
                error!(%error, "a synthesis broke off");
                false
            }
            None => return,
        };
        self.registration.ended(answered, self.syntheses.len());
    }

    fn note_connection(&mut self) {
        let connected = self.connection.borrow_and_update().connected;
        self.health.set_ready("nats", connected);
    }

    async fn finish(mut self) {
        self.health.set_ready("pulling", false);
        self.registration.draining();
        let handed_back = self.pull.close().await;
        info!(handed_back, running = self.syntheses.len(), "finishing what is held");
        while let Some(ended) = self.syntheses.join_next().await {
            let answered = ended.unwrap_or_else(|error| {
                error!(%error, "a synthesis broke off");
                false
            });
            self.registration.ended(answered, self.syntheses.len());
        }
        self.registration.leave().await;
    }
}
