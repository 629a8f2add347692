//! A worker as `main` sees it: made of its parts, checked, then run until it is told to stop.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axon_bus::{Bus, Error, Sweep};
use axon_memory::WorkingMemory;
use axon_protocol::WorkerId;
use axon_service::{Health, RegistryConfig};
use axon_tools::{CacheConfig, Executor};
use chrono::Utc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::agent::Agent;
use crate::board::Board;
use crate::heartbeat::{self, Identity, Status};
use crate::meters::Meters;
use crate::permits::Permits;
use crate::runtime::{Inputs, Runtime};
use crate::task::Context;
use crate::work::Workshop;
use crate::{Config, ConfigError, routes};

/// Changes of routes that may wait for the loop.
const ROUTE_CHANGES_MAX: usize = 64;
/// Share by which the interval of sweeps varies between workers.
const SWEEP_JITTER: f64 = 0.3;

/// What a worker is made of.
pub struct Parts {
    /// Its id; see [`Worker::name`].
    pub id: WorkerId,
    /// Section `[worker]`.
    pub config: Config,
    /// Section `[registry]`.
    pub registry: RegistryConfig,
    /// Its connection.
    pub bus: Bus,
    /// Its tools.
    pub executor: Executor,
    /// What investigates with a model; absent where the analyst does.
    pub agent: Option<Agent>,
    /// Where it unpacks workspaces.
    pub cache: CacheConfig,
    /// Where it tells whether it is ready.
    pub health: Health,
    /// Where its metrics are, as `host:port`; empty if nowhere.
    pub metrics: String,
}

/// A worker that has not started.
pub struct Worker {
    context: Arc<Context>,
    registry: RegistryConfig,
    identity: Identity,
    health: Health,
}

impl Worker {
    /// A fresh id for a worker of this configuration.
    pub fn name(config: &Config) -> WorkerId {
        WorkerId::generate(&config.agent_type)
    }

    /// Checks the configuration. Nothing is subscribed or taken before [`Worker::run`].
    pub fn new(parts: Parts) -> Result<Self, ConfigError> {
        let Parts {
            id,
            config,
            registry,
            bus,
            executor,
            agent,
            cache,
            health,
            metrics,
        } = parts;
        config.validate(&registry)?;
        let identity = Identity {
            agent_type: config.agent_type.clone(),
            capabilities: config.all_capabilities()?,
            slots: config.slots,
            metrics,
            started_at: Utc::now(),
        };
        let memory = match config.working_memory_bytes {
            0 => None,
            bytes_max => Some(WorkingMemory::new(&bus, id.clone(), bytes_max)),
        };
        let context = Arc::new(Context {
            workshop: Workshop::new(executor, memory, agent, cache, &bus),
            meters: Meters::new(),
            leaving: CancellationToken::new(),
            id,
            config,
            bus,
        });
        Ok(Self {
            context,
            registry,
            identity,
            health,
        })
    }

    /// The worker's id.
    pub fn id(&self) -> &WorkerId {
        &self.context.id
    }

    /// Takes and runs tasks until `stop`, or until it is told to drain; then finishes or hands back what it holds.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Self {
            context,
            registry,
            identity,
            health,
        } = self;
        let (bus, config, now) = (&context.bus, &context.config, Instant::now());
        let sweep_interval = Duration::from_secs(config.sweep_interval_s);
        let (status, status_seen) = watch::channel(Status::new(now));
        let (changes, routes) = mpsc::channel(ROUTE_CHANGES_MAX);
        let inputs = Inputs {
            stop,
            cancels: bus.subscribe(bus.namespace().control_cancel_all()).await?,
            orders: bus.subscribe(bus.namespace().control_of(context.id.as_str())).await?,
            connection: bus.connection(),
            routes,
        };
        let permits = Permits::new(
            config.slots,
            registry.max_load_threshold,
            registry.enable_load_balancing,
            now,
        );
        let board = Board::new(jittered(sweep_interval, &context.id));
        let runtime = Runtime::new(context.clone(), permits, board, Sweep::open(bus).await?, status, now);

        info!(
            worker = %context.id,
            agent_type = %identity.agent_type,
            slots = identity.slots,
            "worker started"
        );
        let (side, end_side) = (TaskTracker::new(), CancellationToken::new());
        side.spawn(routes::follow(
            bus.clone(),
            identity.capabilities.clone(),
            changes,
            end_side.clone(),
        ));
        side.spawn(heartbeat::run(
            context.clone(),
            identity,
            health,
            status_seen,
            sweep_interval * 2,
            end_side.clone(),
        ));
        runtime.serve(inputs).await;
        end_side.cancel();
        side.close();
        side.wait().await;
        info!(worker = %context.id, "worker stopped");
        Ok(())
    }
}

/// The interval varied by the worker's id, so that a fleet that started at once does not sweep at once.
fn jittered(interval: Duration, id: &WorkerId) -> Duration {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let share = (hasher.finish() % 1000) as f64 / 1000.0;
    interval.mul_f64(1.0 - SWEEP_JITTER + 2.0 * SWEEP_JITTER * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_sweep_at_different_times_around_the_interval() {
        let intervals: Vec<Duration> = (0..50)
            .map(|index| {
                let id = WorkerId::new(format!("w{index}")).expect("an id");
                jittered(Duration::from_secs(10), &id)
            })
            .collect();
        assert!(
            intervals
                .iter()
                .all(|every| (7.0..=13.0).contains(&every.as_secs_f64()))
        );
        assert!(intervals.iter().any(|every| every.as_secs_f64() < 9.0));
        assert!(intervals.iter().any(|every| every.as_secs_f64() > 11.0));
    }
}
