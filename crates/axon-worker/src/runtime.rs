//! The worker's loop: hears of tasks, takes as many as it has room for, starts them and drains. It owns all of its state;
//! a task has its own and tells the loop only how it ended.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axon_bus::{ConnectionState, Delivery, Doorbell, Error, Ring, Subscription, Sweep};
use axon_protocol::{QueryId, Route, TaskSubject, header};
use chrono::Utc;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::board::{Board, Due, Ear};
use crate::breaker::Breaker;
use crate::cancelled::Cancelled;
use crate::heartbeat::Status;
use crate::meters::{Outcome, RouteMeters, StartCause};
use crate::permits::Permits;
use crate::routes::RouteChange;
use crate::starts::Starts;
use crate::task::{self, Context, Job, Stopper};

mod orders;

/// How long a worker that needs no rings goes on listening, so that it does not subscribe anew for each of its short tasks.
const LISTEN_ON: Duration = Duration::from_millis(5);
/// How long a failed request waits before the next one.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// How long announced starts may take to leave the process before their tasks start all the same.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a task of a cancelled query waits, handed back, for the lead to take it out of the queue.
const CANCELLED_DELAY: Duration = Duration::from_secs(1);
/// How long tasks that were told to stop may take to be handed back.
const HAND_BACK_GRACE: Duration = Duration::from_secs(3);
/// How long a worker without tasks keeps workspaces open.
const IDLE_RELEASE: Duration = Duration::from_secs(60);
/// A time that never comes.
const FAR: Duration = Duration::from_secs(86_400);

/// What the loop listens to besides its tasks, pulls and rings.
pub(crate) struct Inputs {
    pub(crate) stop: CancellationToken,
    pub(crate) cancels: Subscription,
    /// What is said to this worker alone.
    pub(crate) orders: Subscription,
    pub(crate) connection: watch::Receiver<ConnectionState>,
    pub(crate) routes: mpsc::Receiver<RouteChange>,
}

/// The loop and its state.
pub(crate) struct Runtime {
    context: Arc<Context>,
    permits: Permits,
    breaker: Breaker,
    board: Board,
    doorbell: Doorbell,
    ear: Ear,
    /// Since when rings have been of no use.
    unneeded_since: Option<Instant>,
    /// Absent while it is in use by `pull`.
    sweep: Option<Sweep>,
    pull: Option<Pin<Box<dyn Future<Output = Pulled> + Send>>>,
    retry_at: Instant,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Running>,
    cancelled: Cancelled,
    meters: HashMap<Route, Arc<RouteMeters>>,
    status: watch::Sender<Status>,
    phase: Phase,
    /// Since when nothing has run, until that has been acted on.
    idle_since: Option<Instant>,
    generation: u64,
}

/// What a request for tasks brought.
struct Pulled {
    sweep: Sweep,
    due: Due,
    asked: usize,
    asked_at: Instant,
    taken: Result<Vec<Delivery>, Error>,
}

/// A task that runs.
struct Running {
    query: Option<QueryId>,
    route: Route,
    started: Instant,
    stopper: Stopper,
}

/// Whether the worker takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It does.
    Serving,
    /// It finishes what it has, until then.
    Draining(Instant),
    /// It hands back what it has, until then.
    Leaving(Instant),
}

enum Event {
    Drain,
    Ended(Result<(Id, Outcome), JoinError>),
    Pulled(Pulled),
    Ring(Ring),
    Cancel(Delivery),
    Order(Delivery),
    Route(RouteChange),
    Connection,
    Timer,
}

impl Runtime {
    pub(crate) fn new(
        context: Arc<Context>,
        permits: Permits,
        board: Board,
        sweep: Sweep,
        status: watch::Sender<Status>,
        now: Instant,
    ) -> Self {
        Self {
            doorbell: Doorbell::new(&context.bus),
            context,
            permits,
            breaker: Breaker::new(),
            board,
            ear: Ear::Muted,
            unneeded_since: None,
            sweep: Some(sweep),
            pull: None,
            retry_at: now,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            cancelled: Cancelled::default(),
            meters: HashMap::new(),
            status,
            phase: Phase::Serving,
            idle_since: None,
            generation: 0,
        }
    }

    /// Runs until it is told to drain and everything it held is finished or handed back.
    pub(crate) async fn serve(mut self, mut inputs: Inputs) {
        self.generation = inputs.connection.borrow_and_update().generation;
        self.tell_status(Instant::now());
        while !self.is_over() {
            let event = self.next_event(&mut inputs).await;
            self.handle_event(event, &inputs).await;
            self.advance().await;
        }
        if !self.tasks.is_empty() {
            warn!(
                tasks = self.tasks.len(),
                "leaving tasks behind, they come again when their leases end"
            );
            self.tasks.shutdown().await;
        }
        // What was handed back may have reached the server after the rings for it.
        for route in self.board.routes() {
            self.doorbell.ring(route).await;
        }
    }

    fn is_over(&self) -> bool {
        match self.phase {
            Phase::Serving => false,
            Phase::Draining(_) => self.tasks.is_empty() && self.pull.is_none(),
            Phase::Leaving(until) => (self.tasks.is_empty() && self.pull.is_none()) || Instant::now() >= until,
        }
    }

    async fn next_event(&mut self, inputs: &mut Inputs) -> Event {
        let wake_at = self.wake_at(Instant::now());
        tokio::select! {
            biased;
            () = inputs.stop.cancelled(), if self.phase == Phase::Serving => Event::Drain,
            Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => Event::Ended(ended),
            pulled = next_pulled(&mut self.pull) => Event::Pulled(pulled),
            Some(message) = inputs.cancels.next() => Event::Cancel(message),
            Some(message) = inputs.orders.next() => Event::Order(message),
            ring = self.doorbell.next() => Event::Ring(ring),
            Some(change) = inputs.routes.recv() => Event::Route(change),
            Ok(()) = inputs.connection.changed() => Event::Connection,
            () = tokio::time::sleep_until(wake_at) => Event::Timer,
        }
    }

    async fn handle_event(&mut self, event: Event, inputs: &Inputs) {
        match event {
            Event::Drain => self.drain().await,
            Event::Ended(ended) => self.ended(ended).await,
            Event::Pulled(pulled) => self.pulled(pulled).await,
            Event::Ring(ring) => self.rung(ring).await,
            Event::Cancel(message) => self.cancel(&message),
            Event::Order(message) => self.obey(&message).await,
            Event::Route(RouteChange::Serve(route)) => {
                if self.board.add(route.clone()) {
                    debug!(%route, "serving a route");
                    self.hear_more().await;
                }
            }
            Event::Route(RouteChange::Leave(key)) => {
                let gone = self.board.routes().iter().find(|route| route.as_str() == key).cloned();
                if let Some(route) = gone {
                    self.board.remove(&route);
                }
            }
            Event::Connection => {
                let generation = inputs.connection.borrow().generation;
                if generation != self.generation {
                    self.generation = generation;
                    // Rings may have been missed, and what was delivered into the void comes again.
                    self.board.forget();
                }
            }
            Event::Timer => {}
        }
    }

    /// Does what has become due: ask for tasks, listen or stop listening, give up waiting.
    async fn advance(&mut self) {
        let now = Instant::now();
        self.permits.set_limit(self.breaker.limit(now), now);
        match self.phase {
            Phase::Serving => {
                self.pull_if_due(now);
                self.tune_ear(now).await;
                self.pull_if_due(now);
            }
            Phase::Draining(until) if now >= until => {
                warn!(tasks = self.tasks.len(), "handing back what did not finish in time");
                self.context.leaving.cancel();
                self.phase = Phase::Leaving(now + HAND_BACK_GRACE);
            }
            Phase::Draining(_) | Phase::Leaving(_) => {}
        }
        if self.idle_since.is_some_and(|since| now >= since + IDLE_RELEASE) {
            self.idle_since = None;
            self.context.workshop.release_idle();
        }
        self.tell_status(now);
    }

    /// When something becomes due though nothing happens.
    fn wake_at(&self, now: Instant) -> Instant {
        let pull_at = match (self.phase, &self.pull) {
            (Phase::Serving, None) => match self.board.next(now, self.ear) {
                Some(due) => self.ask_at(&due),
                None => self.board.next_at(self.ear).filter(|_| self.permits.free() > 0),
            },
            _ => None,
        };
        let phase_at = match self.phase {
            Phase::Serving => None,
            Phase::Draining(until) | Phase::Leaving(until) => Some(until),
        };
        let undecided = self.permits.free() > 0 && self.pull.is_some();
        let mute_at = self
            .unneeded_since
            .filter(|_| !undecided)
            .map(|since| since + LISTEN_ON);
        let release_at = self.idle_since.map(|since| since + IDLE_RELEASE);
        let probe_at = self
            .breaker
            .paused()
            .map(|(until, _)| until)
            .filter(|until| *until > now);
        [pull_at, phase_at, mute_at, release_at, probe_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + FAR)
    }

    /// When to ask a queue that is due; `None` while nothing is free.
    fn ask_at(&self, due: &Due) -> Option<Instant> {
        let share = self.permits.shares(due.quick, due.left);
        Some(self.permits.ask_at(share)?.max(self.retry_at))
    }

    fn pull_if_due(&mut self, now: Instant) {
        if self.pull.is_some() || self.permits.free() == 0 {
            return;
        }
        let Some(due) = self.board.next(now, self.ear) else {
            return;
        };
        if self.ask_at(&due).is_none_or(|at| at > now) {
            return;
        }
        let Some(sweep) = self.sweep.take() else { return };
        let asked = self.permits.batch(self.permits.shares(due.quick, due.left));
        self.board.ask(&due.route, due.band, now);
        self.pull = Some(Box::pin(pull(sweep, due, asked, now)));
    }

    async fn pulled(&mut self, pulled: Pulled) {
        let Pulled {
            sweep,
            due: Due { route, band, quick, .. },
            asked,
            asked_at,
            taken,
        } = pulled;
        self.sweep = Some(sweep);
        let now = Instant::now();
        let deliveries = match taken {
            Ok(deliveries) => deliveries,
            Err(error) => {
                warn!(%route, %band, %error, "cannot ask for tasks");
                self.board.rung(&route, Some(band));
                self.retry_at = now + RETRY_DELAY;
                return;
            }
        };
        if self.phase != Phase::Serving {
            for delivery in &deliveries {
                delivery.hand_back(Duration::ZERO).await;
            }
            return;
        }
        self.status.send_modify(|status| status.pulled_at = Some(now));
        let left = match deliveries.last() {
            // The server counts no task as pending that was handed back, and delivers those first: where one came last,
            // more may follow.
            Some(last) if deliveries.len() == asked => last.pending.max(u64::from(last.delivered > 1)),
            _ => 0,
        };
        self.board.took(&route, band, deliveries.len(), left, now, self.ear);
        let deliveries = self.hand_back_cancelled(deliveries, now).await;
        self.permits.take(deliveries.len(), asked_at);
        self.start(&route, deliveries).await;
        if left > 0 && (self.permits.free() == 0 || self.permits.shares(quick, left)) {
            self.doorbell.ring(&route).await;
        }
    }

    /// Hands back the tasks of queries that were cancelled a moment ago. Returns the others.
    async fn hand_back_cancelled(&mut self, deliveries: Vec<Delivery>, now: Instant) -> Vec<Delivery> {
        if self.cancelled.is_empty() {
            return deliveries;
        }
        let mut others = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let subject = self.context.bus.namespace().parse_task(delivery.subject());
            if subject.is_some_and(|subject| self.cancelled.contains(&subject.query, now)) {
                delivery.hand_back(CANCELLED_DELAY).await;
            } else {
                others.push(delivery);
            }
        }
        others
    }

    /// Starts tasks, the fact that they start told first.
    async fn start(&mut self, route: &Route, deliveries: Vec<Delivery>) {
        let mut jobs = Vec::with_capacity(deliveries.len());
        let mut starts = Starts::default();
        for delivery in deliveries {
            let Some(subject) = self.context.bus.namespace().parse_task(delivery.subject()) else {
                self.refuse(route, delivery);
                continue;
            };
            let attempt = task::attempt_of(delivery.header(header::TRY), subject.attempt);
            // A task that was delivered before tells its own start, after it has looked at the earlier ones.
            if delivery.delivered <= 1 {
                starts.add(&subject, attempt);
            }
            jobs.push((delivery, subject, attempt));
        }
        let events = starts.into_events(&self.context.id, Utc::now());
        for event in &events {
            task::announce(&self.context.bus, event).await;
        }
        if !events.is_empty() {
            match tokio::time::timeout(FLUSH_TIMEOUT, self.context.bus.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "cannot flush the starts of tasks"),
                Err(_) => debug!("cannot flush the starts of tasks in time"),
            }
        }
        for (delivery, subject, attempt) in jobs {
            self.spawn(delivery, subject, attempt);
        }
    }

    fn spawn(&mut self, delivery: Delivery, subject: TaskSubject, attempt: u32) {
        let meters = self
            .meters
            .entry(subject.route.clone())
            .or_insert_with_key(|route| Arc::new(RouteMeters::new(route)))
            .clone();
        let started_at = Utc::now();
        let wait = (started_at - delivery.stored_at).to_std().unwrap_or_default();
        meters.waited(subject.band, wait);
        self.context.meters.started(StartCause::of(attempt, delivery.delivered));
        let running = Running {
            query: Some(subject.query.clone()),
            route: subject.route.clone(),
            started: Instant::now(),
            stopper: Stopper::new(&self.context.leaving),
        };
        let job = Job {
            delivery,
            subject,
            attempt,
            stopper: running.stopper.clone(),
            route: meters,
            started: running.started,
            started_at,
        };
        let handle = self.tasks.spawn(task::run(self.context.clone(), job));
        self.running.insert(handle.id(), running);
    }

    /// Buries what is in the queue of tasks and has a subject no task has.
    fn refuse(&mut self, route: &Route, delivery: Delivery) {
        let running = Running {
            query: None,
            route: route.clone(),
            started: Instant::now(),
            stopper: Stopper::new(&self.context.leaving),
        };
        let handle = self.tasks.spawn(task::refuse_subject(self.context.clone(), delivery));
        self.running.insert(handle.id(), running);
    }

    async fn ended(&mut self, first: Result<(Id, Outcome), JoinError>) {
        let mut next = Some(first);
        let mut ended = 0;
        while let Some(result) = next {
            ended += 1;
            let (id, outcome) = match result {
                Ok(ended) => ended,
                Err(error) => {
                    error!(%error, "a task panicked, it comes again when its lease ends");
                    (error.id(), Outcome::Unsettled)
                }
            };
            if let Some(running) = self.running.remove(&id) {
                self.board.ended(&running.route, running.started.elapsed());
                if outcome == Outcome::HandedBack {
                    self.doorbell.ring(&running.route).await;
                }
            }
            if outcome.succeeded() || outcome.failed() {
                self.probed(outcome.succeeded());
            }
            self.status.send_if_modified(|status| {
                status.succeeded += u64::from(outcome.succeeded());
                status.failed += u64::from(outcome.failed());
                false
            });
            next = self.tasks.try_join_next_with_id();
        }
        self.permits.give_back(ended, Instant::now());
    }

    async fn rung(&mut self, ring: Ring) {
        if self.phase != Phase::Serving {
            self.doorbell.relay(&ring).await;
            return;
        }
        // Who is about to ask there anyway keeps the ring.
        let keeps = self.permits.free() > 0 && self.board.is_left(&ring.route, ring.band);
        let quick = self.board.is_quick(&ring.route);
        if keeps || !self.permits.passes_on(ring.relays, quick) || !self.doorbell.relay(&ring).await {
            self.board.rung(&ring.route, ring.band);
        }
    }

    /// Listens when a new task would find room that nothing known will fill, and stops listening a moment after.
    async fn tune_ear(&mut self, now: Instant) {
        if self.permits.free() > 0 && self.pull.is_some() {
            // Whether rings are of use is known once the request has been answered.
            return;
        }
        if self.permits.free() > 0 && !self.board.has_left() {
            self.unneeded_since = None;
            if self.ear == Ear::Muted {
                self.hear_more().await;
            }
            return;
        }
        if self.ear == Ear::Muted {
            return;
        }
        let since = *self.unneeded_since.get_or_insert(now);
        if now >= since + LISTEN_ON {
            self.unneeded_since = None;
            self.ear = Ear::Muted;
            self.doorbell.mute().await;
            // Whatever was rung here and found no room is passed on, now that it cannot come back.
            for route in self.board.left() {
                self.doorbell.ring(route).await;
            }
        }
    }

    /// Listens on all routes.
    async fn hear_more(&mut self) {
        if self.phase != Phase::Serving || (self.permits.free() == 0 && self.ear == Ear::Muted) {
            return;
        }
        match self.doorbell.listen(self.board.routes()).await {
            Ok(()) if self.ear == Ear::Muted => self.ear = Ear::Listening(Instant::now()),
            Ok(()) => {}
            Err(error) => warn!(%error, "cannot listen for tasks"),
        }
    }

    fn cancel(&mut self, message: &Delivery) {
        let Some(query) = self.context.bus.namespace().last_token_query(message.subject()) else {
            return;
        };
        let stopped = self
            .running
            .values()
            .filter(|running| running.query.as_ref() == Some(&query))
            .inspect(|running| running.stopper.cancel())
            .count();
        if stopped > 0 {
            info!(%query, tasks = stopped, "stopping the tasks of a cancelled query");
        }
        self.cancelled.add(query, Instant::now());
    }

    async fn drain(&mut self) {
        let timeout = self.context.config.drain_timeout();
        info!(worker = %self.context.id, tasks = self.tasks.len(), timeout_s = timeout.as_secs(), "draining");
        self.phase = Phase::Draining(Instant::now() + timeout);
        self.ear = Ear::Muted;
        self.unneeded_since = None;
        self.doorbell.mute().await;
    }

    /// Tells the heartbeat how things stand. It is woken only when the state is another.
    fn tell_status(&mut self, now: Instant) {
        let used = self.permits.used();
        self.idle_since = match (used, self.idle_since) {
            (0, since) => since,
            _ => Some(now),
        };
        let waits_for_tasks =
            self.phase == Phase::Serving && self.permits.free() > 0 && !self.board.routes().is_empty();
        let draining = self.phase != Phase::Serving;
        self.status.send_if_modified(|status| {
            let before = status.state();
            status.use_slots(used, now);
            status.draining = draining;
            status.pulled_at = match (waits_for_tasks, status.pulled_at) {
                (true, pulled_at) => pulled_at.or(Some(now)),
                (false, _) => None,
            };
            status.state() != before
        });
        self.context.meters.slots_busy.set(used as f64);
        self.context.meters.slots_free.set((self.permits.slots() - used) as f64);
    }
}

async fn pull(mut sweep: Sweep, due: Due, asked: usize, asked_at: Instant) -> Pulled {
    let taken = sweep.take(&due.route, due.band, asked).await;
    Pulled {
        sweep,
        due,
        asked,
        asked_at,
        taken,
    }
}

/// The outcome of the request that is open; waits for ever if none is.
async fn next_pulled(pull: &mut Option<Pin<Box<dyn Future<Output = Pulled> + Send>>>) -> Pulled {
    let pulled = match pull {
        Some(open) => open.await,
        None => std::future::pending().await,
    };
    *pull = None;
    pulled
}
