//! Who is there: the registry as this lead sees it, with a clock of its own, because an expired heartbeat is not announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Error, Table};
use axon_protocol::{Bucket, Capability, Heartbeat, RouteAnnouncement, WorkerState};
use axon_service::{RegistryConfig, metrics as names};
use chrono::Utc;
use tracing::warn;

use crate::demand::Supply;

/// Pause before a watch that ended is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The processes of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    table: Table<Heartbeat>,
    routes: Table<RouteAnnouncement>,
    registry: RegistryConfig,
    timeout: Duration,
    seen: Arc<RwLock<BTreeMap<String, (Instant, Heartbeat)>>>,
    announced: Arc<RwLock<BTreeMap<String, BTreeSet<Capability>>>>,
}

impl Fleet {
    /// Sees nobody until [`Fleet::follow`] runs.
    pub(crate) fn new(bus: &Bus, registry: RegistryConfig) -> Self {
        Self {
            table: bus.table(Bucket::Registry),
            routes: bus.table(Bucket::Routes),
            timeout: Duration::from_secs(registry.heartbeat_timeout_secs),
            registry,
            seen: Arc::default(),
            announced: Arc::default(),
        }
    }

    /// Follows the registry and the routes for ever; to be run as a task of its own and dropped at the end.
    pub(crate) async fn follow(&self) {
        tokio::join!(self.follow_processes(), self.follow_routes());
    }

    async fn follow_routes(&self) {
        loop {
            match self.routes.watch().await {
                Ok(mut watch) => {
                    while let Some(entry) = watch.next().await {
                        let mut announced = self.announced.write().unwrap_or_else(PoisonError::into_inner);
                        match entry.value {
                            Some(route) => announced.insert(entry.key, route.capabilities),
                            None => announced.remove(&entry.key),
                        };
                    }
                }
                Err(error) => warn!(%error, "cannot watch the routes"),
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    async fn follow_processes(&self) {
        loop {
            match self.table.watch().await {
                Ok(mut watch) => {
                    while let Some(entry) = watch.next().await {
                        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
                        match entry.value {
                            Some(heartbeat) => seen.insert(entry.key, (Instant::now(), heartbeat)),
                            None => seen.remove(&entry.key),
                        };
                    }
                }
                Err(error) => warn!(%error, "cannot watch the registry"),
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    fn alive<R>(&self, read: impl FnOnce(&mut dyn Iterator<Item = &Heartbeat>) -> R) -> R {
        let now = Instant::now();
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let mut alive = seen
            .values()
            .filter(|(at, _)| now.saturating_duration_since(*at) < self.timeout)
            .map(|(_, heartbeat)| heartbeat);
        read(&mut alive)
    }

    /// What the living workers can do, all together.
    pub(crate) fn capabilities(&self) -> BTreeSet<Capability> {
        self.alive(|all| {
            all.flat_map(|heartbeat| heartbeat.capabilities.iter().cloned())
                .collect()
        })
    }

    /// Free slots of living workers that can do all of this.
    pub(crate) fn free_slots(&self, needed: &BTreeSet<Capability>) -> usize {
        self.supply(needed).free
    }

    /// Who takes tasks that need all of this.
    pub(crate) fn supply(&self, needed: &BTreeSet<Capability>) -> Supply {
        self.alive(|all| supply(all, needed, &self.registry))
    }

    /// The living workers, each with the time its last heartbeat came.
    pub(crate) fn workers(&self) -> Vec<(Instant, Heartbeat)> {
        let now = Instant::now();
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.values()
            .filter(|(at, heartbeat)| heartbeat.role == "worker" && now.saturating_duration_since(*at) < self.timeout)
            .cloned()
            .collect()
    }

    /// What each route needs.
    pub(crate) fn announced(&self) -> Vec<BTreeSet<Capability>> {
        let announced = self.announced.read().unwrap_or_else(PoisonError::into_inner);
        announced.values().cloned().collect()
    }

    /// Whether no living lead has a smaller id: one that does what one lead has to do for all.
    pub(crate) fn is_first_lead(&self, own_id: &str) -> bool {
        self.alive(|all| {
            all.filter(|heartbeat| heartbeat.role == "lead" && heartbeat.state != WorkerState::Draining)
                .all(|heartbeat| heartbeat.id.as_str() >= own_id)
        })
    }

    /// Queries that living leads other than this one could begin at once.
    pub(crate) fn free_for_queries(&self, own_id: &str) -> usize {
        self.alive(|all| {
            all.filter(|heartbeat| {
                heartbeat.role == "lead" && heartbeat.state != WorkerState::Draining && heartbeat.id != own_id
            })
            .map(|heartbeat| {
                let taken = heartbeat.slots_used.saturating_add(heartbeat.waiting);
                heartbeat.slots_total.saturating_sub(taken) as usize
            })
            .sum()
        })
    }

    /// Whether a process of a role with this id is alive. One that has not been seen yet is looked up: a lead that has just
    /// started knows nobody.
    pub(crate) async fn is_there(&self, role: &str, id: &str) -> Result<bool, Error> {
        let key = format!("{role}.{id}");
        let heard = {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            seen.get(&key).map(|(at, _)| at.elapsed())
        };
        if let Some(silence) = heard {
            return Ok(silence < self.timeout);
        }
        let heartbeat = self.table.get(&key).await?.and_then(|entry| entry.value);
        Ok(heartbeat.is_some_and(|heartbeat| (Utc::now() - heartbeat.at).to_std().unwrap_or_default() < self.timeout))
    }

    /// Forgets the dead and publishes how many workers of each group are in each state.
    pub(crate) fn publish_metrics(&self) {
        let now = Instant::now();
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<(String, &'static str), u32> = BTreeMap::new();
        for (at, heartbeat) in seen.values().filter(|(_, heartbeat)| heartbeat.role == "worker") {
            let silent = now.saturating_duration_since(*at) >= self.timeout;
            for state in ["idle", "busy", "draining", "unhealthy"] {
                let is = if silent {
                    state == "unhealthy"
                } else {
                    state == heartbeat.state.as_str()
                };
                *counts.entry((heartbeat.agent_type.to_string(), state)).or_default() += u32::from(is);
            }
        }
        for ((agent_type, state), count) in counts {
            metrics::gauge!(names::WORKERS, "agent_type" => agent_type, "state" => state).set(f64::from(count));
        }
        let forget_after = self.timeout * 8;
        seen.retain(|_, (at, _)| now.saturating_duration_since(*at) < forget_after);
    }
}

/// Who takes tasks that need all of `needed`. A worker that drains, is paused or fails too much of what it does counts as
/// none, and its slots count up to the load at which it stops taking more.
fn supply<'a>(
    processes: impl Iterator<Item = &'a Heartbeat>,
    needed: &BTreeSet<Capability>,
    registry: &RegistryConfig,
) -> Supply {
    let serves = |worker: &&Heartbeat| {
        worker.role == "worker"
            && matches!(worker.state, WorkerState::Idle | WorkerState::Busy)
            && needed.is_subset(&worker.capabilities)
    };
    processes.filter(serves).fold(Supply::default(), |supply, worker| {
        let slots = worker.slots_total as usize;
        let most = ((registry.max_load_threshold * slots as f64 - 1e-9).ceil().max(1.0) as usize).min(slots);
        Supply {
            workers: supply.workers + 1,
            slots: supply.slots + most,
            free: supply.free + most.saturating_sub(worker.slots_used as usize),
        }
    })
}

#[cfg(test)]
mod tests {
    use axon_protocol::AgentType;

    use super::*;

    fn worker(capabilities: &[&str], state: WorkerState, used: u32, total: u32) -> Heartbeat {
        Heartbeat {
            id: "w".to_owned(),
            role: "worker".to_owned(),
            agent_type: AgentType::all(),
            capabilities: set(capabilities),
            slots_total: total,
            slots_used: used,
            load: f64::from(used) / f64::from(total),
            state,
            succeeded: 0,
            failed: 0,
            pid: 1,
            host: "h".to_owned(),
            metrics: String::new(),
            version: "1".to_owned(),
            started_at: Utc::now(),
            at: Utc::now(),
            pause: None,
            waiting: 0,
            wanted: Vec::new(),
        }
    }

    fn set(names: &[&str]) -> BTreeSet<Capability> {
        names
            .iter()
            .map(|name| Capability::new(*name).expect("a name"))
            .collect()
    }

    #[test]
    fn a_route_is_served_by_who_can_do_all_of_it_and_takes_tasks() {
        use WorkerState::{Busy, Draining, Idle, Unhealthy};
        let lead = Heartbeat {
            role: "lead".to_owned(),
            ..worker(&["A"], Idle, 0, 64)
        };
        for (all, expected) in [
            (vec![], (0, 0, 0)),
            (vec![lead], (0, 0, 0)),
            (vec![worker(&["A"], Idle, 0, 4)], (1, 4, 4)),
            (vec![worker(&["B"], Idle, 0, 4)], (0, 0, 0)),
            (vec![worker(&["A", "B"], Busy, 3, 10)], (1, 8, 5)),
            (
                vec![worker(&["A"], Busy, 8, 10), worker(&["A"], Busy, 10, 10)],
                (2, 16, 0),
            ),
            (
                vec![worker(&["A"], Draining, 0, 4), worker(&["A"], Unhealthy, 0, 4)],
                (0, 0, 0),
            ),
        ] {
            let Supply { workers, slots, free } = supply(all.iter(), &set(&["A"]), &RegistryConfig::default());
            assert_eq!((workers, slots, free), expected, "{all:?}");
        }
    }
}
