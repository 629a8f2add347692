//! The loop that keeps a fleet as it should be: restarts what dies, replaces what is silent, starts workers on request and
//! drains those that have nothing to do. What it decides is decided in `crew`; it never touches a process it did not start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use axon_bus::{Bus, ConnectionState, Delivery, Entry, Subscription, Table, Watch};
use axon_protocol::{Bucket, Capability, Heartbeat};
use chrono::Utc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::DRAIN_TIMEOUT;
use super::child::{Child, Notice, ORDERS_MAX, Order};
use super::crew::{self, Cause, Limits, Member, Silent};
use super::guard::Guard;
use super::roles::{Part, Roles};
use crate::command::guard::Watched;
use crate::nats::SERVER;
use crate::process::{Process, Spec};

/// How often it is looked who is silent or idle.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What asking the server whether a silence is real may take. No reply means that nobody could be heard.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a supervisor is made of.
pub(super) struct Parts {
    pub(super) bus: Bus,
    pub(super) limits: Limits,
    pub(super) roles: Roles,
    pub(super) guard: Guard,
    /// Orders to the server, where the fleet has one of its own.
    pub(super) server: Option<mpsc::Sender<Order>>,
    /// What the children tell, the server included.
    pub(super) told: mpsc::Receiver<Notice>,
    pub(super) tell: mpsc::Sender<Notice>,
    /// Who wants to know.
    pub(super) listener: mpsc::Sender<Notice>,
    /// Drains the roles.
    pub(super) stop: CancellationToken,
    /// Cancelled when they have ended.
    pub(super) roles_ended: CancellationToken,
}

/// A supervisor at work.
pub(super) struct Supervisor {
    pub(super) parts: Parts,
    registry: Table<Heartbeat>,
    host: String,
    pub(super) members: BTreeMap<String, Member>,
    orders: BTreeMap<String, mpsc::Sender<Order>>,
    /// Processes that somebody else started.
    pub(super) others: BTreeMap<String, (Instant, Heartbeat)>,
    /// The processes that the guard knows.
    pids: BTreeMap<String, u32>,
    children: JoinSet<()>,
    /// Registry entries of dead processes that are being deleted.
    chores: JoinSet<()>,
    /// How many workers have had a number in their name: no two share a name, or a log.
    pub(super) workers_named: usize,
    listening_since: Instant,
    /// Whether a silence of all was given a second chance.
    suspected: bool,
    /// The request that was refused last, and when that was said.
    pub(super) refused: Option<(BTreeSet<Capability>, Instant)>,
}

struct Inputs {
    heartbeats: Watch<Heartbeat>,
    requests: Subscription,
    connection: watch::Receiver<ConnectionState>,
    tick: tokio::time::Interval,
}

enum Event {
    Heard(Entry<Heartbeat>),
    Asked(Delivery),
    Told(Notice),
    Connected(bool),
    Tick,
    Stop,
}

impl Supervisor {
    pub(super) fn new(parts: Parts, workers: usize) -> Self {
        Self {
            registry: parts.bus.table(Bucket::Registry),
            host: axon_service::process::hostname(),
            members: BTreeMap::new(),
            orders: BTreeMap::new(),
            others: BTreeMap::new(),
            pids: BTreeMap::new(),
            children: JoinSet::new(),
            chores: JoinSet::new(),
            workers_named: workers,
            listening_since: Instant::now(),
            suspected: false,
            refused: None,
            parts,
        }
    }

    /// Starts a process and keeps it running.
    pub(super) fn start(&mut self, part: Part) -> anyhow::Result<u32> {
        clear(&part.spec.log)?;
        let first = Process::spawn(&part.spec)?;
        let pid = first.pid;
        let name = part.spec.name.clone();
        let mut member = Member::new(part.kind, part.capabilities);
        member.running = Some((pid, Instant::now()));
        self.members.insert(name.clone(), member);
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        self.orders.insert(name, orders);
        let child = child_of(part.spec, Some(first));
        self.children
            .spawn(child.supervise(self.parts.stop.clone(), receiver, self.parts.tell.clone()));
        Ok(pid)
    }

    /// Runs until the roles have been stopped and have ended, and then until the server has.
    pub(super) async fn run(mut self) {
        let inputs = self.inputs().await;
        let mut inputs = match inputs {
            Ok(inputs) => Some(inputs),
            Err(error) => {
                // Without it the fleet works all the same, and children that die are started again.
                warn!(%error, "cannot watch the registry: silent processes are not replaced");
                None
            }
        };
        loop {
            match next_event(&mut inputs, &mut self.parts.told, &self.parts.stop).await {
                Event::Heard(entry) => self.hear(entry, Instant::now()),
                Event::Asked(delivery) => self.asked(&delivery).await,
                Event::Told(notice) => self.told(notice).await,
                Event::Connected(true) => self.listening_since = Instant::now(),
                Event::Connected(false) => {}
                Event::Tick => {
                    let connected = inputs
                        .as_ref()
                        .is_some_and(|inputs| inputs.connection.borrow().connected);
                    self.look(connected).await;
                }
                Event::Stop => break,
            }
        }
        loop {
            tokio::select! {
                biased;
                Some(notice) = self.parts.told.recv() => self.told(notice).await,
                ended = self.children.join_next() => if ended.is_none() { break },
            }
        }
        self.parts.roles_ended.cancel();
        // Only the server's child can tell anything from now on.
        let Self {
            parts,
            mut pids,
            chores,
            ..
        } = self;
        drop(chores);
        let Parts {
            mut guard,
            mut told,
            tell,
            listener,
            ..
        } = parts;
        drop(tell);
        while let Some(notice) = told.recv().await {
            follow(&notice, &mut pids, &mut guard).await;
            let _ = listener.try_send(notice);
        }
        guard.leave().await;
    }

    async fn inputs(&self) -> Result<Inputs, axon_bus::Error> {
        let bus = &self.parts.bus;
        let mut tick = interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Inputs {
            heartbeats: self.registry.watch().await?,
            requests: bus.subscribe(bus.namespace().control_scale()).await?,
            connection: bus.connection(),
            tick,
        })
    }

    fn hear(&mut self, entry: Entry<Heartbeat>, now: Instant) {
        let Some(heartbeat) = entry.value else {
            self.others.remove(&entry.key);
            return;
        };
        self.suspected = false;
        let own = self
            .members
            .values_mut()
            .find(|member| heartbeat.host == self.host && member.running.is_some_and(|(pid, _)| pid == heartbeat.pid));
        match own {
            Some(member) => member.hear(&entry.key, &heartbeat, now),
            None => {
                self.others.insert(entry.key, (now, heartbeat));
            }
        }
    }

    async fn told(&mut self, notice: Notice) {
        follow(&notice, &mut self.pids, &mut self.parts.guard).await;
        match &notice {
            Notice::Started { name, pid } => {
                if let Some(member) = self.members.get_mut(name)
                    && member.running.is_none_or(|(known, _)| known != *pid)
                {
                    member.running = Some((*pid, Instant::now()));
                    member.beat = None;
                }
            }
            Notice::Died { name, .. } => {
                if let Some(member) = self.members.get_mut(name) {
                    member.running = None;
                    let beat = member.beat.take();
                    self.unregister(beat.map(|beat| beat.key));
                }
            }
            Notice::GivenUp { name, .. } | Notice::Stopped { name, .. } => {
                self.orders.remove(name);
                let member = self.members.remove(name);
                self.unregister(member.and_then(|member| member.beat).map(|beat| beat.key));
            }
            _ => {}
        }
        self.say(notice);
    }

    /// Nobody listens while a fleet is only measured; nothing waits for a listener.
    pub(super) fn say(&self, notice: Notice) {
        let _ = self.parts.listener.try_send(notice);
    }

    /// Deletes what a dead process has left in the registry, so that nobody counts on it until it expires.
    fn unregister(&mut self, key: Option<String>) {
        let Some(key) = key else { return };
        let registry = self.registry.clone();
        while self.chores.try_join_next().is_some() {}
        self.chores.spawn(async move {
            // It expires by itself where this does not work.
            let _ = tokio::time::timeout(ASK_TIMEOUT, registry.delete(&key)).await;
        });
    }

    async fn look(&mut self, connected: bool) {
        self.parts.guard.check().await;
        let now = Instant::now();
        let forget_after = self.parts.limits.heartbeat_timeout;
        self.others
            .retain(|_, (heard_at, _)| now.saturating_duration_since(*heard_at) < forget_after);
        if !connected {
            return;
        }
        let silent = crew::silent(&self.members, self.listening_since, &self.parts.limits, now);
        if !silent.is_empty() {
            self.replace(silent).await;
        }
        for (name, idle_for) in crew::surplus(&self.members, &self.parts.limits, Instant::now()) {
            self.drain(&name).await;
            self.say(Notice::Idle { name, idle_for });
        }
    }

    /// Replaces those that are silent, once the server has confirmed that it is them and not the way to it.
    async fn replace(&mut self, silent: Vec<Silent>) {
        let answer = tokio::time::timeout(ASK_TIMEOUT, self.parts.bus.round_trip()).await;
        let all = crew::all_silent(&self.members, &silent);
        match crew::cause(matches!(answer, Ok(Ok(_))), all, self.suspected) {
            Cause::Unknown => {
                self.suspected = true;
                self.listening_since = Instant::now();
                return;
            }
            Cause::Server => {
                self.suspected = false;
                self.listening_since = Instant::now();
                return self.replace_server();
            }
            Cause::Processes => {}
        }
        for one in silent {
            if self.is_registered_freshly(&one).await {
                if let Some(beat) = self.members.get_mut(&one.name).and_then(|member| member.beat.as_mut()) {
                    beat.heard_at = Instant::now();
                }
                continue;
            }
            let why = format!("was silent for {} s and was killed", one.silent_for.as_secs());
            if self.order(&one.name, Order::Replace(why)).await {
                self.say(Notice::Silent {
                    name: one.name,
                    pid: one.pid,
                    silent_for: one.silent_for,
                });
            }
        }
    }

    /// Replaces a server of the fleet's own. One that somebody else runs is somebody else's to care for.
    fn replace_server(&self) {
        let Some(orders) = &self.parts.server else { return };
        let why = "answered nothing and was killed".to_owned();
        if orders.try_send(Order::Replace(why)).is_ok()
            && let Some(pid) = self.pids.get(SERVER)
        {
            self.say(Notice::Silent {
                name: SERVER.to_owned(),
                pid: *pid,
                silent_for: self.parts.limits.heartbeat_timeout * 2,
            });
        }
    }

    /// Whether the registry holds a recent heartbeat of it, which the watch has not brought yet. It is written on this very
    /// machine, so that its time and the own one come from the same clock.
    async fn is_registered_freshly(&self, silent: &Silent) -> bool {
        let Some(key) = &silent.key else { return false };
        let stored = tokio::time::timeout(ASK_TIMEOUT, self.registry.get(key)).await;
        let at = match stored {
            Ok(Ok(entry)) => entry.and_then(|entry| entry.value).map(|heartbeat| heartbeat.at),
            // What cannot be read now is no proof of a silence.
            _ => return true,
        };
        at.is_some_and(|at| (Utc::now() - at).to_std().unwrap_or_default() < self.parts.limits.heartbeat_timeout)
    }

    pub(super) async fn drain(&mut self, name: &str) {
        if self.order(name, Order::Drain).await
            && let Some(member) = self.members.get_mut(name)
        {
            member.leaving = true;
        }
    }

    async fn order(&self, name: &str, order: Order) -> bool {
        match self.orders.get(name) {
            Some(orders) => orders.try_send(order).is_ok(),
            None => false,
        }
    }
}

async fn next_event(inputs: &mut Option<Inputs>, told: &mut mpsc::Receiver<Notice>, stop: &CancellationToken) -> Event {
    let Some(inputs) = inputs else {
        return tokio::select! {
            biased;
            () = stop.cancelled() => Event::Stop,
            Some(notice) = told.recv() => Event::Told(notice),
        };
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Event::Stop,
        Some(notice) = told.recv() => Event::Told(notice),
        Ok(()) = inputs.connection.changed() => {
            let connected = inputs.connection.borrow_and_update().connected;
            Event::Connected(connected)
        }
        Some(delivery) = inputs.requests.next() => Event::Asked(delivery),
        _ = inputs.tick.tick() => Event::Tick,
        Some(entry) = inputs.heartbeats.next() => Event::Heard(entry),
    }
}

/// Keeps the guard up to date.
async fn follow(notice: &Notice, pids: &mut BTreeMap<String, u32>, guard: &mut Guard) {
    match notice {
        Notice::Started { name, pid } => {
            let what = if name == SERVER { Watched::Server } else { Watched::Role };
            pids.insert(name.clone(), *pid);
            guard.watch(*pid, what).await;
        }
        Notice::Died { name, .. } | Notice::GivenUp { name, .. } | Notice::Stopped { name, .. } => {
            if let Some(pid) = pids.remove(name) {
                guard.forget(pid).await;
            }
        }
        _ => {}
    }
}

/// A child of a role, as opposed to the server.
fn child_of(spec: Spec, first: Option<Process>) -> Child {
    Child {
        spec,
        first,
        grace: DRAIN_TIMEOUT,
        for_ever: false,
    }
}

/// Begins a log anew.
pub(super) fn clear(log: &Path) -> anyhow::Result<()> {
    use anyhow::Context as _;
    std::fs::File::create(log)
        .map(|_| ())
        .with_context(|| format!("cannot write the log {}", log.display()))
}
