//! The lead as a service: takes queries as long as it has room, serves the dead letters, the advisories and the micro
//! services beside them, and gives back what it cannot finish when it stops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::{Bus, Delivery, Error, Routes, Subscription};
use axon_memory::{Episodes, Patterns, Strategies};
use axon_model::{FleetPauses, LanguageModel};
use axon_protocol::{Control, Digest, LeadId, QueryId, Stream};
use axon_service::{Health, RegistryConfig, metrics as names};
use chrono::Utc;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::allocation::class_limits;
use crate::config::PlanBy;
use crate::context::{Context, Held, Manifests};
use crate::due::Prospect;
use crate::fleet::Fleet;
use crate::heartbeat::{Business, HEARTBEAT, Pulse};
use crate::intake::{Intake, Lane, Running, Start};
use crate::overseer::Overseer;
use crate::planner::Planner;
use crate::shelf::Shelf;
use crate::strategy::Library;
use crate::{Options, advisories, learning, letters, overseer, query, recorder, requests};

/// How often it is looked for queries that wait and cannot wait any longer.
const LOOK: Duration = Duration::from_millis(250);
/// How often the leases of waiting queries are renewed: three times in the length of one.
const RENEW: Duration = Duration::from_secs(3);
/// Waiting queries of which it is found out at once when they are due, and how long that may take.
const PROSPECTS_MAX: usize = 8;
const PROSPECT_TIMEOUT: Duration = Duration::from_secs(10);
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
    registry: RegistryConfig,
    oversight: overseer::Inputs,
    applications: mpsc::Receiver<axon_memory::Application>,
    health: Health,
    metrics_address: String,
    drain_timeout: Duration,
}

enum Event {
    Query(Delivery),
    Ended(Id),
    /// When a waiting query is due, by its sequence; nothing where that was not to be found out.
    Found(Option<(u64, Prospect)>),
    Control(Delivery),
    Beat,
    Poll,
    Look,
    Renew,
    Stop,
}

struct State {
    intake: Intake,
    queries: JoinSet<()>,
    running: HashMap<Id, Running>,
    prospects: JoinSet<Option<(u64, Prospect)>>,
    /// Cancelled when running queries have to be given up, after the time they had to finish.
    give_up: CancellationToken,
    control: Subscription,
    beat: tokio::time::Interval,
    poll: tokio::time::Interval,
    look: tokio::time::Interval,
    renew: tokio::time::Interval,
    done: u64,
}

impl Lead {
    /// A lead on a bus whose topology is declared.
    pub fn new(options: Options, bus: Bus, health: Health, metrics_address: String) -> anyhow::Result<Self> {
        let Options {
            lead: config,
            registry,
            model,
            ..
        } = options;
        model.validate()?;
        let planner = match config.plan_by {
            PlanBy::Auto => LanguageModel::open(&model, Arc::new(FleetPauses::new(&bus)))?.map(Planner::new),
            PlanBy::Rules => None,
        };
        config.validate().map_err(anyhow::Error::msg)?;
        let workspace = match config.workspace.as_str() {
            "" => None,
            text => Some(text.parse::<Digest>().context("`lead.workspace` cannot be used")?),
        };
        let (overseer, oversight) = Overseer::new();
        let drain_timeout = Duration::from_secs(config.drain_timeout_s);
        let (tx, applications) = mpsc::channel(APPLICATIONS_MAX);
        let context = Context {
            id: LeadId::generate(),
            routes: Routes::new(&bus),
            fleet: Fleet::new(&bus, registry.clone()),
            overseer,
            planner,
            library: Shelf::new(Library::builtin()?),
            strategies: Strategies::new(&bus),
            episodes: Episodes::new(&bus, config.max_episodes, class_limits(&config)),
            patterns: Patterns::new(&bus),
            applications: tx,
            cancelled: broadcast::channel(CANCELLATIONS_MAX).0,
            manifests: Manifests::default(),
            held: Held::default(),
            workspace,
            config,
            bus,
        };
        Ok(Self {
            context: Arc::new(context),
            registry,
            oversight,
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
            registry,
            oversight,
            applications,
            health,
            metrics_address,
            drain_timeout,
        } = self;
        info!(lead = %context.id, "lead started");
        let counting = tokio::spawn(recorder::run(context.strategies.clone(), applications));
        let mut background = background(&context, &stop, &health);
        background.spawn(overseer::run(context.clone(), registry, oversight, stop.clone()));
        let mut state = State {
            intake: Intake::open(&context.bus, &context.config).await?,
            queries: JoinSet::new(),
            running: HashMap::new(),
            prospects: JoinSet::new(),
            give_up: CancellationToken::new(),
            control: context.bus.subscribe(control_subjects(&context.bus)).await?,
            beat: every(HEARTBEAT),
            poll: every(QUEUE_POLL),
            look: every(LOOK),
            renew: every(RENEW),
            done: 0,
        };
        let mut pulse = Pulse::new(context.clone(), health.clone(), metrics_address);
        health.set_ready("pulling", true);
        loop {
            match next_event(&mut state, &stop).await {
                Event::Query(delivery) => {
                    let start = state.intake.take_in(delivery);
                    state.begin(&context, start);
                }
                Event::Ended(id) => {
                    state.done += 1;
                    if let Some(running) = state.running.remove(&id) {
                        state.intake.ended(&running);
                        if let Some(id) = running.id {
                            context.overseer.ended(id);
                        }
                    }
                }
                Event::Found(found) => {
                    if let Some((sequence, prospect)) = found {
                        state.intake.found(sequence, prospect);
                    }
                    state.find_out(&context);
                }
                Event::Control(message) => {
                    let cancelled = hear(&context, &message, &stop).await;
                    let start = cancelled.and_then(|id| state.intake.cancelled(&id));
                    state.begin(&context, start);
                }
                Event::Beat => pulse.beat(state.business()),
                Event::Poll => poll(&context).await,
                Event::Look => {
                    let urgent = state.intake.out_of_turn(Utc::now());
                    state.begin(&context, urgent);
                    state.find_out(&context);
                    let free = context.fleet.free_for_queries(context.id.as_str());
                    state.intake.share(free, Instant::now()).await;
                }
                Event::Renew => state.intake.renew().await,
                Event::Stop => break,
            }
            while let Some(start) = state.intake.next_turn(Utc::now()) {
                state.begin(&context, [start]);
            }
            metrics::gauge!(names::QUERIES_IN_FLIGHT).set(state.queries.len() as f64);
            metrics::gauge!(names::QUERIES_WAITING).set(state.intake.waiting() as f64);
        }
        health.set_ready("pulling", false);
        drain(state, &mut pulse, drain_timeout).await;
        background.shutdown().await;
        if let Err(error) = pulse.stop().await {
            debug!(%error, "cannot leave the registry, the entry expires");
        }
        // The last sender goes with the context; what is still counted is written before the process ends.
        drop(context);
        let _ = tokio::time::timeout(drain_timeout, counting).await;
        Ok(())
    }
}

impl State {
    fn begin(&mut self, context: &Arc<Context>, starts: impl IntoIterator<Item = Start>) {
        for Start { delivery, running } in starts {
            // Boxed, because it is large and would be moved several times on its way into a task.
            let work = Box::pin(work(context.clone(), delivery, running.lane, self.give_up.clone()));
            self.running.insert(self.queries.spawn(work).id(), running);
        }
    }

    /// Begins to find out when waiting queries are due of which that has to be known now.
    fn find_out(&mut self, context: &Arc<Context>) {
        let limit = PROSPECTS_MAX.saturating_sub(self.prospects.len());
        for delivery in self.intake.unknown(limit, Utc::now()) {
            self.prospects.spawn(prospect(context.clone(), delivery));
        }
    }

    fn business(&self) -> Business {
        Business {
            running: self.queries.len(),
            room: self.intake.room(),
            waiting: self.intake.waiting(),
            done: self.done,
            draining: false,
        }
    }
}

/// A clock that leaves out what it missed: a loop that was kept from its work must not do it several times over.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn next_event(state: &mut State, stop: &CancellationToken) -> Event {
    tokio::select! {
        biased;
        () = stop.cancelled() => Event::Stop,
        Some(ended) = state.queries.join_next_with_id(), if !state.queries.is_empty() => Event::Ended(match ended {
            Ok((id, ())) => id,
            Err(error) => {
                warn!(%error, "working on a query panicked, it comes again when its lease ends");
                error.id()
            }
        }),
        Some(found) = state.prospects.join_next(), if !state.prospects.is_empty() => {
            Event::Found(found.unwrap_or_else(|error| {
                warn!(%error, "finding out when a query is due panicked, it is tried again");
                None
            }))
        }
        Some(message) = state.control.next() => Event::Control(message),
        _ = state.beat.tick() => Event::Beat,
        _ = state.poll.tick() => Event::Poll,
        _ = state.look.tick() => Event::Look,
        _ = state.renew.tick() => Event::Renew,
        delivery = state.intake.next() => Event::Query(delivery),
    }
}

async fn work(context: Arc<Context>, delivery: Delivery, lane: Lane, give_up: CancellationToken) {
    let working = async {
        match lane {
            Lane::Expired => query::expire(context, delivery.clone()).await,
            Lane::Turn | Lane::Urgent => query::work(context, delivery.clone()).await,
        }
    };
    let outcome = tokio::select! {
        outcome = working => outcome,
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

/// When a query that waits is due, if that can be told now.
async fn prospect(context: Arc<Context>, delivery: Delivery) -> Option<(u64, Prospect)> {
    let sequence = delivery.sequence;
    match tokio::time::timeout(PROSPECT_TIMEOUT, query::prospect(&context, &delivery)).await {
        Ok(Ok(prospect)) => Some((sequence, prospect)),
        // Working on it will say what is wrong.
        Ok(Err(error)) if !error.is_transient() => Some((sequence, Prospect::Refused)),
        Ok(Err(error)) => {
            debug!(sequence, %error, "cannot find out now when a query is due");
            None
        }
        Err(_) => {
            debug!(sequence, "finding out when a query is due takes too long");
            None
        }
    }
}

/// Takes nothing more, lets what runs finish for a while, and hands back what does not. Until then it beats, because whoever
/// is silent is taken for dead.
async fn drain(state: State, pulse: &mut Pulse, drain_timeout: Duration) {
    let mut business = Business {
        waiting: 0,
        draining: true,
        ..state.business()
    };
    let State {
        intake,
        mut queries,
        give_up,
        mut beat,
        prospects,
        ..
    } = state;
    drop(prospects);
    beat.reset_immediately();
    let mut closing = std::pin::pin!(intake.close());
    let mut closed = false;
    let mut last_moment = std::pin::pin!(tokio::time::sleep(Duration::MAX));
    while !closed || !queries.is_empty() {
        tokio::select! {
            biased;
            _ = beat.tick() => {
                business.running = queries.len();
                pulse.beat(business);
            }
            handed_back = &mut closing, if !closed => {
                closed = true;
                info!(running = queries.len(), handed_back, "draining");
                last_moment.set(tokio::time::sleep(drain_timeout.mul_f64(FINISH_SHARE)));
            }
            Some(_) = queries.join_next(), if !queries.is_empty() => {}
            () = &mut last_moment, if closed && !give_up.is_cancelled() => give_up.cancel(),
        }
    }
}

fn background(context: &Arc<Context>, stop: &CancellationToken, health: &Health) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let strategies = context.strategies.clone();
    tasks.spawn(async move { strategies.follow().await });
    let patterns = context.patterns.clone();
    tasks.spawn(async move { patterns.follow().await });
    let shared = context.clone();
    tasks.spawn(async move { shared.episodes.follow(|| shared.strategy_names()).await });
    // Who forgets episodes knows too little to say what does not hold any more.
    if context.config.max_episodes > 0 && context.bus.config().persist_to_episodic {
        tasks.spawn(learning::run(context.clone()));
    }
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
    let (shared, stopping, health) = (context.clone(), stop.clone(), health.clone());
    tasks.spawn(restarting("requests", stop.clone(), move || {
        requests::run(shared.clone(), health.clone(), stopping.clone())
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

/// Does what it is told. Returns the query that was cancelled, if one was.
async fn hear(context: &Context, message: &Delivery, stop: &CancellationToken) -> Option<QueryId> {
    match message.decode::<Control>().await {
        Ok(Control::Cancel { query_id }) => {
            // Nobody listens while no query runs.
            let _: Result<usize, broadcast::error::SendError<QueryId>> = context.cancelled.send(query_id.clone());
            return Some(query_id);
        }
        Ok(Control::Forget { query_id }) => context.episodes.forget(&query_id),
        Ok(Control::Drain { id }) if id == context.id.as_str() => {
            info!(%id, "asked to drain");
            stop.cancel();
        }
        Ok(Control::Drain { .. } | Control::Scale { .. } | Control::Pause { .. } | Control::Resume { .. }) => {}
        Err(error) => warn!(subject = message.subject(), %error, "left out a control message that cannot be read"),
    }
    None
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
