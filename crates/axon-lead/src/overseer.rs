//! Looks after the workers: counts how their tasks end, pauses who fails too much of what others do well, and asks for
//! workers where there are too few. One loop owns what is known; it never touches a query or a task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Delivery, Doorbell, Error, Message};
use axon_protocol::{
    Band, Capability, Control, DeadLetter, ExecutionPlan, Format, Heartbeat, QueryId, Reason, Route, Stream, TaskId,
    TaskResult, TaskStatus, Wanted, WorkerState,
};
use axon_service::{RegistryConfig, metrics as names};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::conduct::{Conduct, Fault, TaskKey, is_dispensable};
use crate::context::Context;
use crate::scaling::Scaling;

/// Observations that may wait for the loop; further ones are left out, which only delays what is concluded.
const OBSERVED_MAX: usize = 8192;
/// How often conclusions are drawn.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time between two judgements of all workers: a broken one fails tasks faster than others end one.
const JUDGE_EVERY: Duration = Duration::from_millis(100);
/// How long a worker pauses at first.
const PAUSE: Duration = Duration::from_secs(10);
/// How long after an order a heartbeat must have been written to tell that it was not obeyed.
const OBEYED_WITHIN: Duration = Duration::from_secs(1);
/// Silence of a worker with tasks, from and to, during which it is rung for others: the leases of a dead worker end then.
const SILENCE: std::ops::Range<Duration> = Duration::from_secs(6)..Duration::from_secs(11);
/// Pause between two requests to the same worker to go on.
const RESUME_EVERY: Duration = Duration::from_secs(5);

/// Something that happened to a query of this lead.
#[derive(Debug)]
pub(crate) enum Observed {
    /// Tasks were queued, that many on each route.
    Queued {
        query: QueryId,
        routes: BTreeMap<Route, (BTreeSet<Capability>, u64)>,
    },
    /// A result was accepted; of a worker if it is worth something.
    Accepted {
        worker: Option<String>,
        task: TaskKey,
        route: Route,
    },
    /// It is answered, or handed back.
    Ended(QueryId),
}

/// Tells the overseer what happens. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct Overseer {
    observed: mpsc::Sender<Observed>,
    wanted: watch::Receiver<Vec<Wanted>>,
}

/// What the overseer's loop works with.
pub(crate) struct Inputs {
    observed: mpsc::Receiver<Observed>,
    wanted: watch::Sender<Vec<Wanted>>,
}

impl Overseer {
    pub(crate) fn new() -> (Self, Inputs) {
        let (observing, observed) = mpsc::channel(OBSERVED_MAX);
        let (wanting, wanted) = watch::channel(Vec::new());
        let handle = Self {
            observed: observing,
            wanted,
        };
        let inputs = Inputs {
            observed,
            wanted: wanting,
        };
        (handle, inputs)
    }

    /// Workers this lead misses.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        self.wanted.borrow().clone()
    }

    pub(crate) fn queued(&self, plan: &ExecutionPlan, tasks: &[TaskId]) {
        let queued: BTreeSet<&TaskId> = tasks.iter().collect();
        let mut routes: BTreeMap<Route, (BTreeSet<Capability>, u64)> = BTreeMap::new();
        for task in plan
            .task_delegations
            .iter()
            .filter(|task| queued.contains(&task.task_id))
        {
            let needed = || task.required_capabilities.iter().cloned().collect();
            routes.entry(task.route()).or_insert_with(|| (needed(), 0)).1 += 1;
        }
        self.tell(Observed::Queued {
            query: plan.query_id.clone(),
            routes,
        });
    }

    /// `routes` are those of the plan.
    pub(crate) fn accepted(&self, plan: &ExecutionPlan, routes: &BTreeSet<(Route, Band)>, result: &TaskResult) {
        // A plan may have a thousand tasks, and most have one route.
        let only = routes
            .first()
            .filter(|_| routes.len() == 1)
            .map(|(route, _)| route.clone());
        let of_task = || {
            let mut tasks = plan.task_delegations.iter();
            tasks
                .find(|task| task.task_id == result.task_id)
                .map(|task| task.route())
        };
        let Some(route) = only.or_else(of_task) else { return };
        // What failed for good was a dead letter before, which tells who failed it.
        let worker = result.worker.as_ref().filter(|_| result.status != TaskStatus::Failed);
        self.tell(Observed::Accepted {
            worker: worker.map(ToString::to_string),
            task: (plan.query_id.clone(), result.task_id.clone()),
            route,
        });
    }

    pub(crate) fn ended(&self, query: QueryId) {
        self.tell(Observed::Ended(query));
    }

    fn tell(&self, observed: Observed) {
        if let Err(error) = self.observed.try_send(observed) {
            debug!(%error, "an observation is left out");
        }
    }
}

/// An order to pause that has not been seen to be obeyed.
struct Order {
    reason: String,
    sent_at: Instant,
    until: Instant,
}

struct Oversight {
    context: Arc<Context>,
    registry: RegistryConfig,
    conduct: Conduct,
    orders: BTreeMap<String, Order>,
    resumed_at: BTreeMap<String, Instant>,
    judged_at: Option<Instant>,
    scaling: Scaling,
    wanted: watch::Sender<Vec<Wanted>>,
}

/// Runs until stopped.
pub(crate) async fn run(context: Arc<Context>, registry: RegistryConfig, mut inputs: Inputs, stop: CancellationToken) {
    let mut oversight = Oversight {
        scaling: Scaling::new(context.clone()),
        context: context.clone(),
        registry,
        conduct: Conduct::default(),
        orders: BTreeMap::new(),
        resumed_at: BTreeMap::new(),
        judged_at: None,
        wanted: inputs.wanted,
    };
    let Ok(mut letters) = context
        .bus
        .subscribe(context.bus.namespace().dead_of(Stream::Tasks))
        .await
    else {
        warn!("cannot hear of dead letters, no worker will be judged");
        return;
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(observed) = inputs.observed.recv() => oversight.observe(observed),
            Some(letter) = letters.next() => oversight.hear(&letter).await,
            _ = tick.tick() => oversight.conclude().await,
        }
    }
}

impl Oversight {
    fn observe(&mut self, observed: Observed) {
        match observed {
            Observed::Queued { query, routes } => self.scaling.queued(query, routes),
            Observed::Accepted { worker, task, route } => {
                self.scaling.settled(&task.0, &route);
                if let Some(worker) = worker {
                    self.conduct.succeeded(&worker, &task, &route, Instant::now());
                }
            }
            Observed::Ended(query) => self.scaling.ended(&query),
        }
    }

    async fn hear(&mut self, message: &Delivery) {
        let letter: DeadLetter = match message.decode().await {
            Ok(letter) => letter,
            Err(error) => return debug!(%error, "a dead letter cannot be read"),
        };
        // What is poison or cannot be read says nothing about who found that out.
        let attempted = matches!(letter.reason, Reason::Failed | Reason::Rejected | Reason::Timeout);
        let Some(subject) = self.context.bus.namespace().parse_task(&letter.subject) else {
            return;
        };
        // Successes are heard of own queries alone, so failures must be counted of the same ones.
        if attempted && self.scaling.is_own(&subject.query) {
            let task = (subject.query, subject.task);
            let now = Instant::now();
            self.conduct.failed(&letter.by, &task, &subject.route, now);
            if self.judged_at.is_none_or(|at| now >= at + JUDGE_EVERY)
                && self
                    .conduct
                    .fault(&letter.by, self.registry.min_success_rate, now)
                    .is_some()
            {
                self.judge().await;
            }
        }
    }

    async fn conclude(&mut self) {
        self.judge().await;
        self.ring_for_the_silent().await;
        let wanted = self.scaling.conclude().await;
        self.wanted.send_if_modified(|standing| {
            let changed = *standing != wanted;
            *standing = wanted;
            changed
        });
    }

    /// Nobody hears of tasks that come back because their worker died: a ring lets somebody look before the next sweep.
    async fn ring_for_the_silent(&self) {
        if !self.context.fleet.is_first_lead(self.context.id.as_str()) {
            return;
        }
        let workers = self.context.fleet.workers();
        let silent: Vec<&BTreeSet<Capability>> = workers
            .iter()
            .filter(|(received, worker)| worker.slots_used > 0 && SILENCE.contains(&received.elapsed()))
            .map(|(_, worker)| &worker.capabilities)
            .collect();
        for needed in self.context.fleet.announced() {
            if silent.iter().any(|capabilities| needed.is_subset(capabilities)) {
                Doorbell::new(&self.context.bus).ring(&Route::of(&needed)).await;
            }
        }
    }

    async fn judge(&mut self) {
        if !self.registry.auto_health_check {
            return;
        }
        let now = Instant::now();
        self.judged_at = Some(now);
        let workers = self.context.fleet.workers();
        let routes = self.context.fleet.announced();
        let there: BTreeSet<&str> = workers.iter().map(|(_, worker)| worker.id.as_str()).collect();
        self.conduct.keep(|worker| there.contains(worker));
        self.orders
            .retain(|worker, order| there.contains(worker.as_str()) && now < order.until);
        self.resumed_at.retain(|worker, _| there.contains(worker.as_str()));
        for (received, worker) in &workers {
            let serving: Vec<&BTreeSet<Capability>> = workers
                .iter()
                .filter(|(_, other)| {
                    other.id != worker.id && takes_tasks(other) && !self.orders.contains_key(&other.id)
                })
                .map(|(_, other)| &other.capabilities)
                .collect();
            let dispensable = is_dispensable(&worker.capabilities, &routes, &serving);
            match worker.state {
                WorkerState::Draining => {}
                WorkerState::Unhealthy => {
                    self.conduct.forget(&worker.id);
                    self.orders.remove(&worker.id);
                    if !dispensable {
                        self.resume(worker, now).await;
                    }
                }
                WorkerState::Idle | WorkerState::Busy => {
                    if let Some(order) = self.orders.get_mut(&worker.id) {
                        if *received > order.sent_at + OBEYED_WITHIN {
                            debug!(worker = worker.id, "an order to pause was lost and is sent again");
                            order.sent_at = now;
                            send_pause(&self.context.bus, &worker.id, &order.reason).await;
                        }
                    } else if let Some(fault) = self.conduct.fault(&worker.id, self.registry.min_success_rate, now)
                        && dispensable
                    {
                        self.pause(worker, &fault, now).await;
                    }
                }
            }
        }
    }

    async fn pause(&mut self, worker: &Heartbeat, fault: &Fault, now: Instant) {
        let Fault { succeeded, of } = fault;
        let reason = format!(
            "{succeeded} of its last {of} tasks succeeded, while others do well; at least {} of them should \
             (registry.min_success_rate)",
            self.registry.min_success_rate
        );
        warn!(worker = worker.id, reason, "pausing a worker");
        metrics::counter!(names::WORKERS_PAUSED_TOTAL).increment(1);
        send_pause(&self.context.bus, &worker.id, &reason).await;
        let order = Order {
            reason,
            sent_at: now,
            until: now + PAUSE,
        };
        self.orders.insert(worker.id.clone(), order);
    }

    /// A bad worker is better than none.
    async fn resume(&mut self, worker: &Heartbeat, now: Instant) {
        if self
            .resumed_at
            .get(&worker.id)
            .is_some_and(|at| now < *at + RESUME_EVERY)
        {
            return;
        }
        self.resumed_at.insert(worker.id.clone(), now);
        info!(
            worker = worker.id,
            "asking a paused worker to go on, nobody else serves what it serves"
        );
        let bus = &self.context.bus;
        let control = Control::Resume { id: worker.id.clone() };
        send(bus, bus.namespace().control_resume(&worker.id), &control).await;
    }
}

/// Whether a living worker takes tasks.
pub(crate) fn takes_tasks(worker: &Heartbeat) -> bool {
    matches!(worker.state, WorkerState::Idle | WorkerState::Busy)
}

async fn send_pause(bus: &Bus, worker: &str, reason: &str) {
    let control = Control::Pause {
        id: worker.to_owned(),
        for_ms: u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX),
        reason: reason.to_owned(),
    };
    send(bus, bus.namespace().control_pause(worker), &control).await;
}

/// Says something on a control subject. Whoever needs to know whether it was heard looks at what comes of it.
pub(crate) async fn send(bus: &Bus, subject: String, control: &Control) {
    let sent: Result<(), Error> = match Message::new(subject, Format::Json, control) {
        Ok(message) => bus.announce(&message).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        warn!(%error, "cannot send a control message");
    }
}
