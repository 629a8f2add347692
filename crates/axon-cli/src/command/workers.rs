//! `axon workers`: the processes of the fleet, as their heartbeats tell.

use std::collections::BTreeMap;

use axon_protocol::{Bucket, Heartbeat, WorkerState};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, age};

/// A process that was silent for so long counts as unhealthy, in seconds.
const UNHEALTHY_AFTER_S: i64 = 15;

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
    /// Healthy workers by what they can do.
    pub(crate) by_capability: BTreeMap<String, usize>,
}

impl Statistics {
    /// Counts workers; leads and synthesizers are left out.
    pub(crate) fn of<'a>(heartbeats: impl IntoIterator<Item = &'a Heartbeat>, now: DateTime<Utc>) -> Self {
        let mut all = Self::default();
        for heartbeat in heartbeats.into_iter().filter(|heartbeat| heartbeat.role == "worker") {
            all.total += 1;
            if !is_healthy(heartbeat, now) {
                all.unhealthy += 1;
                continue;
            }
            match heartbeat.state {
                WorkerState::Idle => all.idle += 1,
                WorkerState::Busy => all.busy += 1,
                WorkerState::Draining => all.draining += 1,
            }
            all.slots_total += heartbeat.slots_total;
            all.slots_used += heartbeat.slots_used;
            for capability in &heartbeat.capabilities {
                *all.by_capability.entry(capability.to_string()).or_default() += 1;
            }
        }
        all
    }
}

/// Whether a process gave a sign of life lately.
pub(crate) fn is_healthy(heartbeat: &Heartbeat, now: DateTime<Utc>) -> bool {
    (now - heartbeat.at).num_seconds() < UNHEALTHY_AFTER_S
}

pub(crate) async fn run(context: &Context, args: WorkersArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let now = Utc::now();
    let mut all: Vec<Heartbeat> = bus.table(Bucket::Registry).all().await?.into_values().collect();
    if let Some(wanted) = &args.capability {
        all.retain(|heartbeat| {
            heartbeat
                .capabilities
                .iter()
                .any(|capability| capability.as_str() == wanted)
        });
    }
    all.sort_by(|a, b| (&a.role, &a.agent_type, &a.id).cmp(&(&b.role, &b.agent_type, &b.id)));
    let statistics = Statistics::of(&all, now);
    if context.json {
        let processes: Vec<_> = all
            .iter()
            .map(|heartbeat| {
                json!({
                    "healthy": is_healthy(heartbeat, now),
                    "success_rate": heartbeat.success_rate(),
                    "heartbeat": heartbeat,
                })
            })
            .collect();
        output::json(&json!({ "statistics": statistics, "processes": processes }))?;
    } else {
        output::line(&text_of(&statistics, &all, now))?;
    }
    Ok(Exit::Success)
}

fn text_of(statistics: &Statistics, all: &[Heartbeat], now: DateTime<Utc>) -> String {
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
    let capabilities: Vec<String> = statistics
        .by_capability
        .iter()
        .map(|(capability, count)| format!("{capability} {count}"))
        .collect();
    if !capabilities.is_empty() {
        out.push(capabilities.join(", "));
    }
    if all.is_empty() {
        out.push("no process shows a heartbeat: start a fleet with `axon up`".to_owned());
        return out.join("\n");
    }
    let rows: Vec<Vec<String>> = all.iter().map(|heartbeat| row(heartbeat, now)).collect();
    out.push(String::new());
    out.push(output::table(
        &[
            "id", "role", "state", "slots", "ok", "failed", "up", "seen", "host", "pid", "metrics",
        ],
        &rows,
    ));
    out.join("\n")
}

fn row(heartbeat: &Heartbeat, now: DateTime<Utc>) -> Vec<String> {
    let state = match is_healthy(heartbeat, now) {
        true => heartbeat.state.as_str().to_owned(),
        false => "unhealthy".to_owned(),
    };
    vec![
        heartbeat.id.clone(),
        heartbeat.role.clone(),
        state,
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
        let statistics = Statistics::of(&all, now);
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
        let count = |name: &str| statistics.by_capability.get(name).copied();
        assert_eq!(
            (count("CodeAnalysis"), count("Testing"), count("Diagnostics")),
            (Some(2), Some(1), Some(3))
        );
        let text = text_of(&statistics, &all, now);
        assert!(
            text.starts_with("4 workers: 1 idle, 1 busy, 1 draining, 1 unhealthy; 3 of 12 slots used"),
            "{text}"
        );
        assert_eq!(text.matches("unhealthy").count(), 2, "{text}");
    }

    #[test]
    fn an_empty_fleet_says_what_to_do() {
        let text = text_of(&Statistics::default(), &[], Utc::now());
        assert!(text.contains("axon up"), "{text}");
    }
}
