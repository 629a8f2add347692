//! Who is there: the registry as this lead sees it, with a clock of its own, because an expired heartbeat is not announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Table};
use axon_protocol::{Bucket, Capability, Heartbeat, WorkerState};
use axon_service::metrics as names;
use tracing::warn;

/// Pause before a watch that ended is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The processes of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    table: Table<Heartbeat>,
    timeout: Duration,
    seen: Arc<RwLock<BTreeMap<String, (Instant, Heartbeat)>>>,
}

impl Fleet {
    /// Sees nobody until [`Fleet::follow`] runs.
    pub(crate) fn new(bus: &Bus, timeout: Duration) -> Self {
        Self {
            table: bus.table(Bucket::Registry),
            timeout,
            seen: Arc::default(),
        }
    }

    /// Follows the registry for ever; to be run as a task of its own and dropped at the end.
    pub(crate) async fn follow(&self) {
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
        self.alive(|all| {
            all.filter(|heartbeat| {
                heartbeat.role == "worker"
                    && heartbeat.state != WorkerState::Draining
                    && needed.is_subset(&heartbeat.capabilities)
            })
            .map(|heartbeat| heartbeat.slots_total.saturating_sub(heartbeat.slots_used) as usize)
            .sum()
        })
    }

    /// Whether a process of a role with this id is alive.
    pub(crate) fn is_alive(&self, role: &str, id: &str) -> bool {
        self.alive(|all| {
            all.filter(|heartbeat| heartbeat.role == role)
                .any(|heartbeat| heartbeat.id == id)
        })
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
