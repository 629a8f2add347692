//! The lead as a service: takes queries as long as it has room, serves the dead letters, the advisories and the micro
//! services beside them, and gives back what it cannot finish when it stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axon_bus::{Bus, Delivery, Error, LongPull, Routes, Subscription};
use axon_memory::{Episodes, Strategies};
use axon_protocol::{AgentType, Bucket, Control, Digest, Heartbeat, LeadId, QueryId, Stream, WorkerState};
use axon_service::{Health, metrics as names, process};
use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::context::{Context, Manifests};
use crate::fleet::Fleet;
use crate::strategy::Library;
use crate::{Options, advisories, letters, query, recorder, requests};

/// How often a lead writes its heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often the state of the queues is read.
const QUEUE_POLL: Duration = Duration::from_secs(10);
/// Cancellations that may wait to be looked at by a running query.
const CANCELLATIONS_MAX: usize = 1024;
/// Applications of strategies that may wait to be counted.
const APPLICATIONS_MAX: usize = 4096;
/// Pause before a background loop that failed is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Share of the drain time in which running queries may finish before they are handed back.
const FINISH_SHARE: f64 = 0.8;

/// A lead.
pub struct Lead {
    context: Arc<Context>,
    applications: mpsc::Receiver<axon_memory::Application>,
    health: Health,
    metrics_address: String,
    drain_timeout: Duration,
}

enum Event {
    Query(Delivery),
    Ended,
    Control(Delivery),
    Beat,
    Poll,
    Stop,
}

struct State {
    pull: LongPull,
    running: JoinSet<()>,
    control: Subscription,
    beat: tokio::time::Interval,
    poll: tokio::time::Interval,
    started_at: DateTime<Utc>,
    done: u64,
}

impl Lead {
    /// A lead on a bus whose topology is declared.
    pub fn new(options: Options, bus: Bus, health: Health, metrics_address: String) -> anyhow::Result<Self> {
        let Options {
            lead: config, registry, ..
        } = options;
        let workspace = match config.workspace.as_str() {
            "" => None,
            text => Some(text.parse::<Digest>().context("`lead.workspace` cannot be used")?),
        };
        let heartbeat_timeout = Duration::from_secs(registry.heartbeat_timeout_secs);
        let drain_timeout = Duration::from_secs(config.drain_timeout_s);
        let (tx, applications) = mpsc::channel(APPLICATIONS_MAX);
        let context = Context {
            id: LeadId::generate(),
            routes: Routes::new(&bus),
            fleet: Fleet::new(&bus, heartbeat_timeout),
            library: Library::builtin()?,
            strategies: Strategies::new(&bus),
            episodes: Episodes::new(&bus),
            applications: tx,
            cancelled: broadcast::channel(CANCELLATIONS_MAX).0,
            manifests: Manifests::default(),
            workspace,
            config,
            bus,
        };
        Ok(Self {
            context: Arc::new(context),
            applications,
            health,
            metrics_address,
            drain_timeout,
        })
    }

    /// Runs until `stop` is cancelled and everything is finished or handed back.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            context,
            applications,
            health,
            metrics_address,
            drain_timeout,
        } = self;
        info!(lead = %context.id, "lead started");
        let counting = tokio::spawn(recorder::run(context.strategies.clone(), applications));
        let mut background = background(&context, &stop);
        let mut state = State {
            pull: LongPull::open(&context.bus, Stream::Queries).await?,
            running: JoinSet::new(),
            control: context.bus.subscribe(control_subjects(&context.bus)).await?,
            beat: tokio::time::interval(HEARTBEAT),
            poll: tokio::time::interval(QUEUE_POLL),
            started_at: Utc::now(),
            done: 0,
        };
        health.set_ready("pulling", true);
        // Cancelled when running queries have to be given up, after the time they had to finish.
        let give_up = CancellationToken::new();
        let room = context.config.max_concurrent_executions.max(1);
        loop {
            match next_event(&mut state, room, &stop).await {
                Event::Query(delivery) => {
                    let (context, give_up) = (context.clone(), give_up.clone());
                    state.running.spawn(work(context, delivery, give_up));
                }
                Event::Ended => state.done += 1,
                Event::Control(message) => hear(&context, &message, &stop).await,
                Event::Beat => beat(&context, &state, room, &metrics_address, WorkerState::Idle, &health).await,
                Event::Poll => poll(&context).await,
                Event::Stop => break,
            }
            metrics::gauge!(names::QUERIES_IN_FLIGHT).set(state.running.len() as f64);
        }
        health.set_ready("pulling", false);
        beat(&context, &state, room, &metrics_address, WorkerState::Draining, &health).await;
        drain(state, &give_up, drain_timeout).await;
        background.shutdown().await;
        let registry = context.bus.table::<Heartbeat>(Bucket::Registry);
        let _ = registry.delete(&format!("lead.{}", context.id)).await;
        // The last sender goes with the context; what is still counted is written before the process ends.
        drop(context);
        let _ = tokio::time::timeout(drain_timeout, counting).await;
        Ok(())
    }
}

async fn next_event(state: &mut State, room: usize, stop: &CancellationToken) -> Event {
    let free = room.saturating_sub(state.running.len());
    tokio::select! {
        biased;
        () = stop.cancelled() => Event::Stop,
        Some(_) = state.running.join_next(), if !state.running.is_empty() => Event::Ended,
        Some(message) = state.control.next() => Event::Control(message),
        _ = state.beat.tick() => Event::Beat,
        _ = state.poll.tick() => Event::Poll,
        delivery = state.pull.next(free), if free > 0 => Event::Query(delivery),
    }
}

async fn work(context: Arc<Context>, delivery: Delivery, give_up: CancellationToken) {
    let outcome = tokio::select! {
        outcome = query::work(context, delivery.clone()) => outcome,
        () = give_up.cancelled() => {
            info!(sequence = delivery.sequence, "handing back a query that did not finish in time");
            delivery.hand_back(Duration::ZERO).await;
            return;
        }
    };
    if let Err(error) = outcome {
        warn!(sequence = delivery.sequence, %error, "cannot work on a query now, it comes again");
        delivery.hand_back(RESTART_PAUSE).await;
    }
}

async fn drain(mut state: State, give_up: &CancellationToken, drain_timeout: Duration) {
    let handed_back = state.pull.close().await;
    info!(running = state.running.len(), handed_back, "draining");
    let finish = async { while state.running.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_timeout.mul_f64(FINISH_SHARE), finish)
        .await
        .is_err()
    {
        give_up.cancel();
        while state.running.join_next().await.is_some() {}
    }
}

fn background(context: &Arc<Context>, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let strategies = context.strategies.clone();
    tasks.spawn(async move { strategies.follow().await });
    let fleet = context.fleet.clone();
    tasks.spawn(async move { fleet.follow().await });
    let (bus, stopping, attempts) = (context.bus.clone(), stop.clone(), context.config.max_attempts);
    tasks.spawn(restarting("dead letters", stop.clone(), move || {
        letters::run(bus.clone(), attempts, stopping.clone())
    }));
    let (bus, stopping) = (context.bus.clone(), stop.clone());
    tasks.spawn(restarting("advisories", stop.clone(), move || {
        advisories::run(bus.clone(), stopping.clone())
    }));
    let (shared, stopping) = (context.clone(), stop.clone());
    tasks.spawn(restarting("requests", stop.clone(), move || {
        requests::run(shared.clone(), stopping.clone())
    }));
    tasks
}

async fn restarting<F, R>(name: &'static str, stop: CancellationToken, start: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<(), Error>>,
{
    while !stop.is_cancelled() {
        if let Err(error) = start().await {
            warn!(name, %error, "a part of the lead failed and is started again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }
}

fn control_subjects(bus: &Bus) -> String {
    bus.namespace().control_all()
}

async fn hear(context: &Context, message: &Delivery, stop: &CancellationToken) {
    match message.decode::<Control>().await {
        Ok(Control::Cancel { query_id }) => {
            // Nobody listens while no query runs.
            let _: Result<usize, broadcast::error::SendError<QueryId>> = context.cancelled.send(query_id);
        }
        Ok(Control::Drain { id }) if id == context.id.as_str() => {
            info!(%id, "asked to drain");
            stop.cancel();
        }
        Ok(Control::Drain { .. } | Control::Scale { .. }) => {}
        Err(error) => warn!(subject = message.subject(), %error, "left out a control message that cannot be read"),
    }
}

async fn beat(
    context: &Context,
    state: &State,
    room: usize,
    metrics_address: &str,
    quiet: WorkerState,
    health: &Health,
) {
    let connected = context.bus.connection().borrow().connected;
    health.set_ready("nats", connected);
    context.fleet.publish_metrics();
    let Ok(agent_type) = AgentType::new("lead") else { return };
    let used = state.running.len();
    let busy = quiet == WorkerState::Idle && used > 0;
    let heartbeat = Heartbeat {
        id: context.id.to_string(),
        role: "lead".to_owned(),
        agent_type,
        capabilities: std::collections::BTreeSet::new(),
        slots_total: u32::try_from(room).unwrap_or(u32::MAX),
        slots_used: u32::try_from(used).unwrap_or(u32::MAX),
        load: used as f64 / room as f64,
        state: if busy { WorkerState::Busy } else { quiet },
        succeeded: state.done,
        failed: 0,
        pid: std::process::id(),
        host: process::hostname(),
        metrics: metrics_address.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: state.started_at,
        at: Utc::now(),
    };
    if !connected {
        return;
    }
    let table = context.bus.table::<Heartbeat>(Bucket::Registry);
    let key = format!("lead.{}", context.id);
    match tokio::time::timeout(HEARTBEAT, table.put(&key, &heartbeat)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "cannot write the heartbeat"),
        Err(_) => warn!("writing the heartbeat takes too long"),
    }
}

/// Reads how the work queues stand: the age of the oldest message nobody has finished.
async fn poll(context: &Arc<Context>) {
    let context = context.clone();
    // Beside the loop, because reading the state of a busy server may take a while.
    tokio::spawn(async move {
        for stream in Stream::WORK_QUEUES {
            match context.bus.status(stream).await {
                Ok(status) => {
                    let age = status
                        .oldest_at
                        .map_or(0.0, |at| (Utc::now() - at).as_seconds_f64().max(0.0));
                    metrics::gauge!(names::OLDEST_PENDING_SECONDS, "stream" => stream.token()).set(age);
                }
                Err(error) => warn!(%error, "cannot read how a work queue stands"),
            }
        }
        if let Err(error) = context.bus.round_trip().await {
            warn!(%error, "cannot measure the round trip");
        }
    });
}
