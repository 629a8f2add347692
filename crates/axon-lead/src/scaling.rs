//! Asks for workers where a route has work and nobody, or too few, to do it, and says so wherever somebody may look. It
//! starts no worker itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Error, StreamStatus};
use axon_protocol::{Band, Capability, Control, EventKind, GROUPS, QueryId, Route, Stream, Wanted};
use axon_service::metrics as names;
use chrono::Utc;
use serde_json::json;
use tracing::{info, warn};

use crate::context::Context;
use crate::demand::{Backlog, workers_wanted};
use crate::overseer::send;

/// Time between two requests for workers of the same route.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How often one of the leads looks how the queues of tasks stand.
const POLL_EVERY: Duration = Duration::from_secs(3);
/// How long a lead listens to heartbeats before it says that nobody is there.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Queries that are followed.
const QUERIES_MAX: usize = 8192;

/// Tasks that a query queued on each route and that have no result.
type Queued = BTreeMap<Route, (BTreeSet<Capability>, u64)>;

/// What is known of the work and of who misses.
pub(crate) struct Scaling {
    context: Arc<Context>,
    queries: BTreeMap<QueryId, Queued>,
    /// Whom it was told that nobody serves a route.
    told: BTreeSet<(QueryId, Route)>,
    /// What the queues showed last, by route.
    backlogs: BTreeMap<Route, (BTreeSet<Capability>, Backlog)>,
    polled_at: Option<Instant>,
    missing: BTreeMap<Route, Missing>,
    since: Instant,
}

struct Missing {
    wanted: Wanted,
    asked_at: Option<Instant>,
}

impl Scaling {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            queries: BTreeMap::new(),
            told: BTreeSet::new(),
            backlogs: BTreeMap::new(),
            polled_at: None,
            missing: BTreeMap::new(),
            since: Instant::now(),
        }
    }

    pub(crate) fn queued(&mut self, query: QueryId, routes: Queued) {
        if self.queries.len() >= QUERIES_MAX && !self.queries.contains_key(&query) {
            return;
        }
        let known = self.queries.entry(query).or_default();
        for (route, (needed, tasks)) in routes {
            known.entry(route).or_insert_with(|| (needed, 0)).1 += tasks;
        }
    }

    /// A task of the query has its result.
    pub(crate) fn settled(&mut self, query: &QueryId, route: &Route) {
        if let Some((_, tasks)) = self.queries.get_mut(query).and_then(|routes| routes.get_mut(route)) {
            *tasks = tasks.saturating_sub(1);
        }
    }

    pub(crate) fn ended(&mut self, query: &QueryId) {
        self.queries.remove(query);
        self.told.retain(|(told, _)| told != query);
    }

    /// Whether this lead works on the query.
    pub(crate) fn is_own(&self, query: &QueryId) -> bool {
        self.queries.contains_key(query)
    }

    /// Asks for what is missing. Returns all that is.
    pub(crate) async fn conclude(&mut self) -> Vec<Wanted> {
        let now = Instant::now();
        if now < self.since + SETTLED_AFTER {
            return Vec::new();
        }
        if self.polled_at.is_none_or(|at| now >= at + POLL_EVERY) {
            self.polled_at = Some(now);
            // One lead looks for all: reading the state of every consumer is work for the server.
            self.backlogs = if self.context.fleet.is_first_lead(self.context.id.as_str()) {
                self.poll().await.unwrap_or_else(|error| {
                    warn!(%error, "cannot read how the queues of tasks stand");
                    BTreeMap::new()
                })
            } else {
                BTreeMap::new()
            };
        }
        let wanted = self.wanted();
        self.missing.retain(|route, _| {
            let still = wanted.contains_key(route);
            if !still {
                info!(%route, "enough workers serve a route again");
                metrics::gauge!(names::WORKERS_WANTED, "route" => route.to_string()).set(0.0);
            }
            still
        });
        for (route, (capabilities, workers, reason)) in wanted {
            let missing = self.missing.entry(route.clone()).or_insert_with(|| {
                warn!(%route, workers, reason, "a route misses workers");
                Missing {
                    wanted: Wanted {
                        capabilities,
                        workers,
                        reason: reason.clone(),
                        since: Utc::now(),
                    },
                    asked_at: None,
                }
            });
            missing.wanted.workers = workers;
            missing.wanted.reason = reason;
            metrics::gauge!(names::WORKERS_WANTED, "route" => route.to_string()).set(f64::from(workers));
        }
        self.ask(now).await;
        self.tell_queries().await;
        self.missing.values().map(|missing| missing.wanted.clone()).collect()
    }

    /// What each route misses, from the queries of this lead and, on one of the leads, from the queues.
    fn wanted(&self) -> BTreeMap<Route, (BTreeSet<Capability>, u32, String)> {
        let most = self.context.config.max_scaled_workers;
        let mut routes: BTreeMap<&Route, (&BTreeSet<Capability>, Backlog)> = self
            .backlogs
            .iter()
            .map(|(route, (needed, backlog))| (route, (needed, *backlog)))
            .collect();
        for (route, (needed, tasks)) in self.queries.values().flatten() {
            let known = routes.entry(route).or_insert((needed, Backlog::default()));
            if self.context.fleet.supply(needed).workers == 0 && known.1.tasks < *tasks {
                known.1.tasks = *tasks;
            }
        }
        routes
            .into_iter()
            .filter_map(|(route, (needed, backlog))| {
                let supply = self.context.fleet.supply(needed);
                let workers = workers_wanted(backlog, supply, most)?;
                let reason = match supply.workers {
                    0 => format!("no worker serves {route} and {} tasks wait for one", backlog.tasks),
                    serving => format!(
                        "{} tasks of {route} wait, the oldest for {} s, and all {serving} workers are busy",
                        backlog.tasks,
                        backlog.oldest.as_secs()
                    ),
                };
                Some((route.clone(), (needed.clone(), workers, reason)))
            })
            .collect()
    }

    async fn ask(&mut self, now: Instant) {
        if !self.context.config.dynamic_spawning {
            return;
        }
        let bus = &self.context.bus;
        for missing in self.missing.values_mut() {
            if missing.asked_at.is_some_and(|at| now < at + ASK_EVERY) {
                continue;
            }
            missing.asked_at = Some(now);
            let control = Control::Scale {
                capabilities: missing.wanted.capabilities.clone(),
                workers: missing.wanted.workers,
                minimum: true,
                reason: missing.wanted.reason.clone(),
            };
            send(bus, bus.namespace().control_scale(), &control).await;
        }
    }

    /// Says in each query concerned, once for each route, that nobody can do what it waits for.
    async fn tell_queries(&mut self) {
        for (query, routes) in &self.queries {
            for (route, (needed, tasks)) in routes {
                let Some(missing) = self.missing.get(route) else {
                    continue;
                };
                let key = (query.clone(), route.clone());
                if *tasks == 0 || self.told.contains(&key) || self.context.fleet.supply(needed).workers > 0 {
                    continue;
                }
                self.told.insert(key);
                let workers = missing.wanted.workers;
                let asked = match self.context.config.dynamic_spawning {
                    true => format!("asked for {workers}; "),
                    false => String::new(),
                };
                let message = format!(
                    "no worker serves {route}; {asked}start one with `{}`",
                    how_to_start(needed)
                );
                let data = json!({ "route": route, "capabilities": needed, "workers_wanted": workers });
                self.context
                    .notice(query, EventKind::Progress, None, message, data)
                    .await;
            }
        }
    }

    async fn poll(&self) -> Result<BTreeMap<Route, (BTreeSet<Capability>, Backlog)>, Error> {
        let bus = &self.context.bus;
        let status = bus.status(Stream::Tasks).await?;
        let mut backlogs = BTreeMap::new();
        for needed in self.context.fleet.announced() {
            let route = Route::of(&needed);
            let tasks = pending(&status, |band| bus.namespace().task_durable(&route, band));
            if tasks == 0 {
                continue;
            }
            let mut oldest = Duration::ZERO;
            if self.context.fleet.supply(&needed).free == 0 {
                for band in Band::ALL {
                    let durable = bus.namespace().task_durable(&route, band);
                    let Some(consumer) = status.consumers.iter().find(|consumer| consumer.name == durable) else {
                        continue;
                    };
                    if consumer.pending == 0 {
                        continue;
                    }
                    let filter = bus.namespace().tasks_of(&route, band);
                    let first = bus
                        .messages(Stream::Tasks, &filter, consumer.last_delivered + 1, 1)
                        .await?;
                    let age = first.first().map(|task| Utc::now() - task.stored_at);
                    oldest = oldest.max(age.and_then(|age| age.to_std().ok()).unwrap_or_default());
                }
            }
            backlogs.insert(route, (needed, Backlog { tasks, oldest }));
        }
        Ok(backlogs)
    }
}

fn pending(status: &StreamStatus, durable: impl Fn(Band) -> String) -> u64 {
    let names = Band::ALL.map(durable);
    status
        .consumers
        .iter()
        .filter(|consumer| names.contains(&consumer.name))
        .map(|consumer| consumer.pending)
        .sum()
}

/// A command that starts a worker which can do all of this.
fn how_to_start(needed: &BTreeSet<Capability>) -> String {
    let covers = |names: &[&str]| {
        needed
            .iter()
            .all(|one| *one == Capability::diagnostics() || names.contains(&one.as_str()))
    };
    if let Some((group, _)) = GROUPS.iter().find(|(_, names)| covers(names)) {
        return format!("axon-worker --set worker.agent_type={group}");
    }
    let built_in = |one: &Capability| GROUPS.iter().any(|(_, names)| names.contains(&one.as_str()));
    if needed.iter().all(built_in) {
        return "axon-worker --set worker.agent_type=all".to_owned();
    }
    let names: Vec<&str> = needed.iter().map(Capability::as_str).collect();
    format!(
        "axon-worker --set worker.agent_type=custom --set worker.capabilities={}",
        names.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_starts_whoever_can_do_it() {
        for (needed, expected) in [
            (&["CodeReview"][..], "worker.agent_type=reviewer"),
            (&["CodeAnalysis", "CodeReview"], "worker.agent_type=reviewer"),
            (&["CodeReview", "Diagnostics"], "worker.agent_type=reviewer"),
            (&["BugInvestigation"], "worker.agent_type=investigator"),
            (&["CodeReview", "Research"], "worker.agent_type=all"),
            (&["Poetry", "Research"], "worker.capabilities=Poetry,Research"),
        ] {
            let set = needed
                .iter()
                .map(|name| Capability::new(*name).expect("a name"))
                .collect();
            let command = how_to_start(&set);
            assert!(command.ends_with(expected), "{needed:?}: {command}");
        }
    }
}
