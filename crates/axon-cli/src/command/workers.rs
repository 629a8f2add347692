//! `axon workers`: the processes of the fleet, as their heartbeats tell.

use std::collections::BTreeMap;

use axon_bus::Bus;
use axon_protocol::{Bucket, Heartbeat, WorkerState};
use axon_service::RegistryConfig;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, age};

/// Which processes.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkersArgs {
    /// Only those with this capability
    #[arg(long, value_name = "NAME")]
    capability: Option<String>,
}

/// How many workers there are, and what they do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Statistics {
    pub(crate) total: usize,
    pub(crate) idle: usize,
    pub(crate) busy: usize,
    pub(crate) draining: usize,
    pub(crate) unhealthy: usize,
    pub(crate) slots_total: u32,
    pub(crate) slots_used: u32,
    /// Workers by what they can do.
    pub(crate) by_capability: BTreeMap<String, Able>,
}

impl Statistics {
    /// Counts workers; leads and synthesizers are left out.
    pub(crate) fn of<'a>(
        heartbeats: impl IntoIterator<Item = &'a Heartbeat>,
        registry: &RegistryConfig,
        now: DateTime<Utc>,
    ) -> Self {
        let mut all = Self::default();
        for heartbeat in heartbeats.into_iter().filter(|heartbeat| heartbeat.role == "worker") {
            all.total += 1;
            let state = state_of(heartbeat, registry, now);
            *match state {
                WorkerState::Idle => &mut all.idle,
                WorkerState::Busy => &mut all.busy,
                WorkerState::Draining => &mut all.draining,
                WorkerState::Unhealthy => &mut all.unhealthy,
            } += 1;
            for capability in &heartbeat.capabilities {
                all.by_capability.entry(capability.to_string()).or_default().add(state);
            }
            if state != WorkerState::Unhealthy {
                all.slots_total += heartbeat.slots_total;
                all.slots_used += heartbeat.slots_used;
            }
        }
        all
    }
}

/// How many workers have a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Able {
    pub(crate) total: usize,
    /// Those that would take a task now.
    pub(crate) idle: usize,
    /// Those that are paused or silent.
    pub(crate) unhealthy: usize,
}

impl Able {
    fn add(&mut self, state: WorkerState) {
        self.total += 1;
        self.idle += usize::from(state == WorkerState::Idle);
        self.unhealthy += usize::from(state == WorkerState::Unhealthy);
    }
}

/// What a process is doing; one that is silent counts as unhealthy, whatever it said last.
pub(crate) fn state_of(heartbeat: &Heartbeat, registry: &RegistryConfig, now: DateTime<Utc>) -> WorkerState {
    if is_alive(heartbeat, registry, now) {
        heartbeat.state
    } else {
        WorkerState::Unhealthy
    }
}

/// Whether a process gave a sign of life lately.
pub(crate) fn is_alive(heartbeat: &Heartbeat, registry: &RegistryConfig, now: DateTime<Utc>) -> bool {
    let timeout_s = i64::try_from(registry.heartbeat_timeout_secs).unwrap_or(i64::MAX);
    (now - heartbeat.at).num_seconds() < timeout_s
}

pub(crate) async fn run(context: &Context, args: WorkersArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let now = Utc::now();
    let all = processes(&bus, args.capability.as_deref()).await?;
    if context.json {
        output::json(&structure_of(&all, &context.registry, now))?;
    } else {
        output::line(&shown(&all, &context.registry, now))?;
    }
    Ok(Exit::Success)
}

/// The processes that have shown a heartbeat, in order; only those with a capability where one is named.
pub(crate) async fn processes(bus: &Bus, capability: Option<&str>) -> anyhow::Result<Vec<Heartbeat>> {
    let mut all: Vec<Heartbeat> = bus.table(Bucket::Registry).all().await?.into_values().collect();
    if let Some(wanted) = capability {
        all.retain(|heartbeat| {
            heartbeat
                .capabilities
                .iter()
                .any(|capability| capability.as_str() == wanted)
        });
    }
    all.sort_by(|a, b| (&a.role, &a.agent_type, &a.id).cmp(&(&b.role, &b.agent_type, &b.id)));
    Ok(all)
}

/// Processes for people.
pub(crate) fn shown(all: &[Heartbeat], registry: &RegistryConfig, now: DateTime<Utc>) -> String {
    text_of(&Statistics::of(all, registry, now), all, registry, now)
}

/// Processes for programs.
pub(crate) fn structure_of(all: &[Heartbeat], registry: &RegistryConfig, now: DateTime<Utc>) -> Value {
    let processes: Vec<Value> = all
        .iter()
        .map(|heartbeat| {
            json!({
                "healthy": state_of(heartbeat, registry, now) != WorkerState::Unhealthy,
                "success_rate": heartbeat.success_rate(),
                "heartbeat": heartbeat,
            })
        })
        .collect();
    json!({ "statistics": Statistics::of(all, registry, now), "processes": processes })
}

fn text_of(statistics: &Statistics, all: &[Heartbeat], registry: &RegistryConfig, now: DateTime<Utc>) -> String {
    let mut out = vec![format!(
        "{} workers: {} idle, {} busy, {} draining, {} unhealthy; {} of {} slots used",
        statistics.total,
        statistics.idle,
        statistics.busy,
        statistics.draining,
        statistics.unhealthy,
        statistics.slots_used,
        statistics.slots_total
    )];
    if !statistics.by_capability.is_empty() {
        let rows: Vec<Vec<String>> = statistics
            .by_capability
            .iter()
            .map(|(capability, able)| {
                let counts = [able.total, able.idle, able.unhealthy].map(|count| count.to_string());
                std::iter::once(capability.clone()).chain(counts).collect()
            })
            .collect();
        out.push(String::new());
        out.push(output::table(&["capability", "workers", "idle", "unhealthy"], &rows));
    }
    if all.is_empty() {
        out.push("no process shows a heartbeat: start a fleet with `axon up`".to_owned());
        return out.join("\n");
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|heartbeat| row(heartbeat, state_of(heartbeat, registry, now), now))
        .collect();
    out.push(String::new());
    out.push(output::table(
        &[
            "id", "role", "state", "slots", "ok", "failed", "up", "seen", "host", "pid", "metrics",
        ],
        &rows,
    ));
    for heartbeat in all {
        if let Some(pause) = &heartbeat.pause {
            out.push(format!("{} is paused: {}", heartbeat.id, pause.reason));
        }
        for wanted in &heartbeat.wanted {
            let needs: Vec<&str> = wanted.capabilities.iter().map(|one| one.as_str()).collect();
            out.push(format!(
                "{} misses {} for {}: {}; `axon scale {} {}` starts them where `axon up` runs",
                heartbeat.id,
                output::counted(wanted.workers as usize, "worker"),
                needs.join(" and "),
                wanted.reason,
                needs.join(","),
                wanted.workers
            ));
        }
    }
    out.join("\n")
}

fn row(heartbeat: &Heartbeat, state: WorkerState, now: DateTime<Utc>) -> Vec<String> {
    vec![
        heartbeat.id.clone(),
        heartbeat.role.clone(),
        state.as_str().to_owned(),
        format!("{}/{}", heartbeat.slots_used, heartbeat.slots_total),
        heartbeat.succeeded.to_string(),
        heartbeat.failed.to_string(),
        age(heartbeat.started_at, now),
        age(heartbeat.at, now),
        heartbeat.host.clone(),
        heartbeat.pid.to_string(),
        heartbeat.metrics.clone(),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use axon_protocol::AgentType;

    use super::*;

    pub(crate) fn heartbeat(
        role: &str,
        group: &str,
        state: WorkerState,
        silent_s: i64,
        now: DateTime<Utc>,
    ) -> Heartbeat {
        let agent_type = AgentType::new(group).expect("a group");
        Heartbeat {
            id: format!("{group}-1"),
            role: role.to_owned(),
            capabilities: agent_type.capabilities().unwrap_or_default(),
            agent_type,
            slots_total: 4,
            slots_used: 1,
            load: 0.25,
            state,
            succeeded: 3,
            failed: 1,
            pid: 7,
            host: "h".to_owned(),
            metrics: String::new(),
            version: "0.1.0".to_owned(),
            started_at: now - chrono::Duration::seconds(100),
            at: now - chrono::Duration::seconds(silent_s),
            pause: None,
            waiting: 0,
            wanted: Vec::new(),
        }
    }

    #[test]
    fn workers_are_counted_by_state_and_capability() {
        let now = Utc::now();
        let all = [
            heartbeat("worker", "reviewer", WorkerState::Idle, 1, now),
            heartbeat("worker", "investigator", WorkerState::Busy, 14, now),
            heartbeat("worker", "tester", WorkerState::Draining, 0, now),
            heartbeat("worker", "tester", WorkerState::Busy, 15, now),
            heartbeat("lead", "lead", WorkerState::Busy, 0, now),
        ];
        let registry = RegistryConfig::default();
        let statistics = Statistics::of(&all, &registry, now);
        assert_eq!(
            (
                statistics.total,
                statistics.idle,
                statistics.busy,
                statistics.draining,
                statistics.unhealthy
            ),
            (4, 1, 1, 1, 1)
        );
        assert_eq!((statistics.slots_total, statistics.slots_used), (12, 3));
        let count = |name: &str| {
            let able = statistics.by_capability[name];
            (able.total, able.idle, able.unhealthy)
        };
        assert_eq!(
            (count("CodeAnalysis"), count("Testing"), count("Diagnostics")),
            ((2, 1, 0), (2, 0, 1), (4, 1, 1))
        );
        let text = text_of(&statistics, &all, &registry, now);
        assert!(
            text.starts_with("4 workers: 1 idle, 1 busy, 1 draining, 1 unhealthy; 3 of 12 slots used"),
            "{text}"
        );
        assert_eq!(text.matches("unhealthy").count(), 3, "{text}");
    }

    #[test]
    fn a_paused_worker_counts_as_unhealthy_and_missing_ones_are_told() {
        let now = Utc::now();
        let mut paused = heartbeat("worker", "tester", WorkerState::Unhealthy, 0, now);
        paused.pause = Some(axon_protocol::Pause {
            reason: "8 of 10 tasks failed".to_owned(),
            until: now,
        });
        let mut lead = heartbeat("lead", "lead", WorkerState::Busy, 0, now);
        lead.wanted = vec![axon_protocol::Wanted {
            capabilities: ["Research", "Testing"]
                .map(|name| name.parse().expect("a capability"))
                .into(),
            workers: 2,
            reason: "work waits".to_owned(),
            since: now,
        }];
        let (all, registry) = ([paused, lead], RegistryConfig::default());
        let statistics = Statistics::of(&all, &registry, now);
        assert_eq!(
            (statistics.total, statistics.unhealthy, statistics.slots_total),
            (1, 1, 0)
        );
        let text = text_of(&statistics, &all, &registry, now);
        for said in ["is paused: 8 of 10 tasks failed", "axon scale Research,Testing 2"] {
            assert!(text.contains(said), "{text}");
        }
        let impatient = RegistryConfig {
            heartbeat_timeout_secs: 1,
            ..registry
        };
        let silent = [heartbeat("worker", "tester", WorkerState::Idle, 1, now)];
        assert_eq!(Statistics::of(&silent, &impatient, now).unhealthy, 1);
    }

    #[test]
    fn an_empty_fleet_says_what_to_do() {
        let text = text_of(&Statistics::default(), &[], &RegistryConfig::default(), Utc::now());
        assert!(text.contains("axon up"), "{text}");
    }
}
