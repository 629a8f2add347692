//! Tells the fleet, the probes and Prometheus how this worker stands. It is a loop of its own, so that a server that does
//! not answer never keeps tasks from being taken; it decides nothing about them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axon_bus::Table;
use axon_protocol::{AgentType, Bucket, Capability, Heartbeat, Pause, WorkerState};
use axon_service::{Health, process};
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::task::Context;

/// Shortest time between two heartbeats, however often the state changes.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How long deleting the own entry may take when the worker leaves.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How the worker stands, told by its loop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) slots_used: usize,
    pub(crate) draining: bool,
    /// While it takes nothing, or one task at a time, because too many failed.
    pub(crate) pause: Option<Pause>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Slot-seconds worked until `at`.
    pub(crate) busy_s: f64,
    pub(crate) at: Instant,
    /// The last time it asked for tasks successfully, or began to have a reason to; `None` while it has none.
    pub(crate) pulled_at: Option<Instant>,
}

impl Status {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            slots_used: 0,
            draining: false,
            pause: None,
            succeeded: 0,
            failed: 0,
            busy_s: 0.0,
            at: now,
            pulled_at: None,
        }
    }

    /// Accounts for the time since the last change, then notes another number of used slots.
    pub(crate) fn use_slots(&mut self, used: usize, now: Instant) {
        self.busy_s = self.busy_until(now);
        self.at = self.at.max(now);
        self.slots_used = used;
    }

    /// Slot-seconds worked until `now`.
    pub(crate) fn busy_until(&self, now: Instant) -> f64 {
        self.busy_s + self.slots_used as f64 * now.saturating_duration_since(self.at).as_secs_f64()
    }

    pub(crate) fn state(&self) -> WorkerState {
        match (self.draining, &self.pause, self.slots_used) {
            (true, _, _) => WorkerState::Draining,
            (false, Some(_), _) => WorkerState::Unhealthy,
            (false, None, 0) => WorkerState::Idle,
            (false, None, _) => WorkerState::Busy,
        }
    }
}

/// What never changes while a worker lives.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) agent_type: AgentType,
    pub(crate) capabilities: BTreeSet<Capability>,
    pub(crate) slots: usize,
    pub(crate) metrics: String,
    pub(crate) started_at: DateTime<Utc>,
}

/// Writes heartbeats until `stop`, then takes the entry away.
pub(crate) async fn run(
    context: Arc<Context>,
    identity: Identity,
    health: Health,
    mut status: watch::Receiver<Status>,
    pull_within: Duration,
    stop: CancellationToken,
) {
    let table: Table<Heartbeat> = context.bus.table(Bucket::Registry);
    let key = format!("worker.{}", context.id);
    let connection = context.bus.connection();
    let host = process::hostname();
    let every = Duration::from_secs(context.config.heartbeat_interval_s);
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measured = (Instant::now(), 0.0);
    let mut told: Option<(Instant, WorkerState)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
            () = changed(&mut status, &told) => {}
        }
        let now = Instant::now();
        let current = status.borrow_and_update().clone();
        health.set_ready("nats", connection.borrow().connected);
        let silent = current.pulled_at.map(|at| now.saturating_duration_since(at));
        health.set_ready("pulling", silent.is_none_or(|silent| silent < pull_within));
        let busy_s = current.busy_until(now);
        let elapsed_s = now.saturating_duration_since(measured.0).as_secs_f64();
        if elapsed_s >= every.as_secs_f64() * 0.5 {
            context
                .meters
                .utilisation
                .set(((busy_s - measured.1) / (elapsed_s * identity.slots as f64)).clamp(0.0, 1.0));
            measured = (now, busy_s);
        }
        let heartbeat = Heartbeat {
            id: context.id.to_string(),
            role: "worker".to_owned(),
            agent_type: identity.agent_type.clone(),
            capabilities: identity.capabilities.clone(),
            slots_total: identity.slots as u32,
            slots_used: current.slots_used as u32,
            load: current.slots_used as f64 / identity.slots as f64,
            state: current.state(),
            succeeded: current.succeeded,
            failed: current.failed,
            pid: std::process::id(),
            host: host.clone(),
            metrics: identity.metrics.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: identity.started_at,
            at: Utc::now(),
            pause: current.pause.clone(),
            waiting: 0,
            wanted: Vec::new(),
        };
        told = Some((now, current.state()));
        tokio::select! {
            () = stop.cancelled() => break,
            written = table.put(&key, &heartbeat) => if let Err(error) = written {
                debug!(%error, "cannot write a heartbeat");
            },
        }
    }
    match tokio::time::timeout(FAREWELL_TIMEOUT, table.delete(&key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "cannot take the own heartbeat away, it expires"),
        Err(_) => debug!("cannot take the own heartbeat away in time, it expires"),
    }
}

/// Waits until the state is another one than was told last, and some time has passed since then.
async fn changed(status: &mut watch::Receiver<Status>, told: &Option<(Instant, WorkerState)>) {
    let Some((at, state)) = told else { return };
    if status.wait_for(|current| current.state() != *state).await.is_err() {
        // The worker's loop is gone; `stop` follows.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(*at + PAUSE_MIN).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_measured_in_slot_seconds() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut status = Status::new(start);
        assert_eq!(status.state(), WorkerState::Idle);
        status.use_slots(2, at(1));
        assert_eq!((status.busy_until(at(1)), status.busy_until(at(3))), (0.0, 4.0));
        assert_eq!(status.state(), WorkerState::Busy);
        status.use_slots(1, at(3));
        status.use_slots(0, at(5));
        assert_eq!((status.busy_until(at(9)), status.state()), (6.0, WorkerState::Idle));
        status.pause = Some(Pause {
            reason: "1 of 5".to_owned(),
            until: Utc::now(),
        });
        assert_eq!(status.state(), WorkerState::Unhealthy);
        status.draining = true;
        assert_eq!(status.state(), WorkerState::Draining);
    }
}
