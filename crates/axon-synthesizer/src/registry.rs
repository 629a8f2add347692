//! Tells the fleet every few seconds that this synthesizer is there. Nothing is decided by it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axon_bus::{Bus, Table};
use axon_protocol::{AgentType, Bucket, Heartbeat, WorkerState};
use axon_service::process;
use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tracing::debug;

/// The role as the registry knows it.
const ROLE: &str = "synthesizer";
/// As often as leads and workers: who replaces silent processes treats all alike, and may be told to wait less than the
/// default of 15 s.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// Who this process is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub id: String,
    metrics: String,
    started_at: DateTime<Utc>,
}

impl Identity {
    /// `id` is the name under which the bus was connected.
    pub fn new(id: &str, metrics: String) -> Self {
        Self {
            id: id.to_owned(),
            metrics,
            started_at: Utc::now(),
        }
    }
}

/// What changes between heartbeats.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    used: usize,
    draining: bool,
    succeeded: u64,
    failed: u64,
}

/// The running heartbeat.
#[derive(Debug)]
pub(crate) struct Registration {
    // Written by the loop and read by the task that beats; nothing is awaited while it is locked.
    work: Arc<Mutex<Work>>,
    table: Table<Heartbeat>,
    key: String,
    beating: JoinHandle<()>,
}

impl Registration {
    pub fn start(bus: &Bus, identity: Identity, slots: usize) -> Self {
        let work = Arc::new(Mutex::new(Work::default()));
        let table = bus.table(Bucket::Registry);
        let key = format!("{ROLE}.{}", identity.id);
        let beating = tokio::spawn(beat(
            table.clone(),
            key.clone(),
            identity,
            slots,
            work.clone(),
            bus.clone(),
        ));
        Self {
            work,
            table,
            key,
            beating,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn busy(&self, used: usize) {
        self.change(|work| work.used = used);
    }

    pub fn ended(&self, answered: bool, used: usize) {
        self.change(|work| {
            work.used = used;
            work.succeeded += u64::from(answered);
            work.failed += u64::from(!answered);
        });
    }

    pub fn draining(&self) {
        self.change(|work| work.draining = true);
    }

    /// Takes the entry away, so that nobody counts on this process.
    pub async fn leave(self) {
        self.beating.abort();
        if let Err(error) = self.table.delete(&self.key).await {
            debug!(%error, "cannot leave the registry, the entry expires by itself");
        }
    }
}

async fn beat(
    table: Table<Heartbeat>,
    key: String,
    identity: Identity,
    slots: usize,
    work: Arc<Mutex<Work>>,
    bus: Bus,
) {
    // The name is a constant that fits; a registry without the entry would only be less informative.
    let Ok(agent_type) = AgentType::new(ROLE) else {
        return;
    };
    let mut tick = tokio::time::interval(BEAT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = *work.lock().unwrap_or_else(PoisonError::into_inner);
        let heartbeat = Heartbeat {
            id: identity.id.clone(),
            role: ROLE.to_owned(),
            agent_type: agent_type.clone(),
            capabilities: BTreeSet::new(),
            slots_total: u32::try_from(slots).unwrap_or(u32::MAX),
            slots_used: u32::try_from(now.used).unwrap_or(u32::MAX),
            load: now.used as f64 / slots.max(1) as f64,
            state: match now {
                Work { draining: true, .. } => WorkerState::Draining,
                Work { used: 0, .. } => WorkerState::Idle,
                Work { .. } => WorkerState::Busy,
            },
            succeeded: now.succeeded,
            failed: now.failed,
            pid: std::process::id(),
            host: process::hostname(),
            metrics: identity.metrics.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: identity.started_at,
            at: Utc::now(),
            pause: None,
            waiting: 0,
            wanted: Vec::new(),
        };
        if let Err(error) = table.put(&key, &heartbeat).await {
            debug!(%error, "cannot write a heartbeat");
        }
        if let Err(error) = bus.round_trip().await {
            debug!(%error, "cannot measure the round trip");
        }
    }
}
