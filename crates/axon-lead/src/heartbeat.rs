//! The heartbeats of a lead: what it tells of itself in the registry. Whoever is silent is taken for dead, so it beats until
//! its last query has ended; and it never waits for a heartbeat, so that a slow server keeps it from nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axon_bus::{Error, Table};
use axon_protocol::{AgentType, Bucket, Heartbeat, WorkerState};
use axon_service::{Health, process};
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::context::Context;

/// How often a lead writes its heartbeat, and how long that may take.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);

/// How much a lead has to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Business {
    /// Queries it works on.
    pub(crate) running: usize,
    /// Queries it may work on at once.
    pub(crate) room: usize,
    /// Queries that wait for their turn.
    pub(crate) waiting: usize,
    /// Queries it has worked on.
    pub(crate) done: u64,
    /// Whether it stops.
    pub(crate) draining: bool,
}

/// Writes the heartbeats of a lead, one at a time.
pub(crate) struct Pulse {
    context: Arc<Context>,
    health: Health,
    metrics_address: String,
    started_at: DateTime<Utc>,
    writing: JoinSet<()>,
}

impl Pulse {
    pub(crate) fn new(context: Arc<Context>, health: Health, metrics_address: String) -> Self {
        Self {
            context,
            health,
            metrics_address,
            started_at: Utc::now(),
            writing: JoinSet::new(),
        }
    }

    /// Begins to write a heartbeat, unless the one before is still being written.
    pub(crate) fn beat(&mut self, business: Business) {
        let connected = self.context.bus.connection().borrow().connected;
        self.health.set_ready("nats", connected);
        self.context.fleet.publish_metrics();
        while self.writing.try_join_next().is_some() {}
        if !connected || !self.writing.is_empty() {
            debug!(connected, "left out a heartbeat");
            return;
        }
        if let Some(heartbeat) = self.heartbeat(business) {
            self.writing.spawn(write(self.table(), self.key(), heartbeat));
        }
    }

    /// Takes the lead out of the registry.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        // What is being written must not come after it.
        self.writing.shutdown().await;
        self.table().delete(&self.key()).await
    }

    fn table(&self) -> Table<Heartbeat> {
        self.context.bus.table(Bucket::Registry)
    }

    fn key(&self) -> String {
        format!("lead.{}", self.context.id)
    }

    fn heartbeat(&self, business: Business) -> Option<Heartbeat> {
        let Business {
            running,
            room,
            waiting,
            done,
            draining,
        } = business;
        Some(Heartbeat {
            id: self.context.id.to_string(),
            role: "lead".to_owned(),
            agent_type: AgentType::new("lead").ok()?,
            capabilities: BTreeSet::new(),
            slots_total: u32::try_from(room).unwrap_or(u32::MAX),
            slots_used: u32::try_from(running).unwrap_or(u32::MAX),
            load: running as f64 / room as f64,
            state: match (draining, running) {
                (true, _) => WorkerState::Draining,
                (false, 0) => WorkerState::Idle,
                (false, _) => WorkerState::Busy,
            },
            succeeded: done,
            failed: 0,
            pid: std::process::id(),
            host: process::hostname(),
            metrics: self.metrics_address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            at: Utc::now(),
            pause: None,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            wanted: self.context.overseer.wanted(),
        })
    }
}

async fn write(table: Table<Heartbeat>, key: String, heartbeat: Heartbeat) {
    match tokio::time::timeout(HEARTBEAT, table.put(&key, &heartbeat)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "cannot write the heartbeat"),
        Err(_) => warn!("writing the heartbeat takes too long"),
    }
}
