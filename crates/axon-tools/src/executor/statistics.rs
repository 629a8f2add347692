//! The figures of a run, from the outcomes of its calls alone.

use axon_protocol::RunStatistics;

use super::{CallOutcome, milliseconds};
use crate::Graph;

/// The figures of a run on that many slots. Calls that never started count as nothing.
pub(super) fn of(graph: &Graph, outcomes: &[CallOutcome], slots: usize) -> RunStatistics {
    let ran = || outcomes.iter().filter(|outcome| outcome.attempts > 0);
    let first = ran().map(|outcome| outcome.started).min();
    let last = ran().map(|outcome| outcome.started + outcome.duration).max();
    let (Some(first), Some(last)) = (first, last) else {
        return RunStatistics::default();
    };

    let durations: Vec<f64> = outcomes.iter().map(|outcome| milliseconds(outcome.duration)).collect();
    let sequential_ms: f64 = durations.iter().sum();
    let parallel_ms = milliseconds(last.saturating_sub(first));
    let critical_path_ms = graph.critical_path(&durations);
    let lower_bound_ms = critical_path_ms.max(sequential_ms / slots.max(1) as f64);
    let remembered = || {
        outcomes
            .iter()
            .filter_map(|outcome| Some((outcome.remembered?, outcome.duration)))
    };
    RunStatistics {
        calls_remembered: remembered().count() as u64,
        saved_by_memory_ms: remembered()
            .map(|(made, answered)| milliseconds(made.saturating_sub(answered)))
            .sum(),
        ..RunStatistics::new(sequential_ms, parallel_ms, critical_path_ms, lower_bound_ms)
    }
}
