//! The name, kind, unit and help text of every metric that any Axon process exports. No other file names a metric.
//!
//! Labels are bounded sets (a route, a band, an outcome); ids go into logs and traces, never into labels.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// Answered queries by `complexity`, `strategy` and `outcome`.
pub const QUERIES_TOTAL: &str = "axon_queries_total";
/// Time from acceptance of a query to its published answer.
pub const QUERY_DURATION_SECONDS: &str = "axon_query_duration_seconds";
/// Queries that this lead works on now.
pub const QUERIES_IN_FLIGHT: &str = "axon_queries_in_flight";
/// Queries that this lead holds and that wait for their turn.
pub const QUERIES_WAITING: &str = "axon_queries_waiting";
/// Time from publishing a task to its start, by `route` and `band`.
pub const TASK_QUEUE_WAIT_SECONDS: &str = "axon_task_queue_wait_seconds";
/// Time from the start of a task to its outcome, by `route`.
pub const TASK_DURATION_SECONDS: &str = "axon_task_duration_seconds";
/// Time of one tool call that was made, not remembered, by `tool`.
pub const TOOL_DURATION_SECONDS: &str = "axon_tool_duration_seconds";
/// Calls of deterministic tools by `source` (made, local, shared): made now, known to this process, or made by another one.
pub const WORKING_MEMORY_CALLS_TOTAL: &str = "axon_working_memory_calls_total";
/// Finished tasks by `outcome`.
pub const TASKS_TOTAL: &str = "axon_tasks_total";
/// Started tasks by `cause` (first, retry, redelivery, speculation).
pub const TASK_STARTS_TOTAL: &str = "axon_task_starts_total";
/// Results that the broker refused because another one had been accepted.
pub const RESULTS_FENCED_TOTAL: &str = "axon_results_fenced_total";
/// Task slots of this worker by `state` (busy, free).
pub const SLOTS: &str = "axon_slots";
/// Workers in the registry by `agent_type` and `state`.
pub const WORKERS: &str = "axon_workers";
/// Workers that this lead paused because too many of their tasks failed.
pub const WORKERS_PAUSED_TOTAL: &str = "axon_workers_paused_total";
/// Workers that a `route` should have in all while it misses some; 0 once there are enough.
pub const WORKERS_WANTED: &str = "axon_workers_wanted";
/// Dead letters published, by `reason`.
pub const DEAD_LETTERS_TOTAL: &str = "axon_dead_letters_total";
/// Age of the oldest message that waits to be taken.
pub const OLDEST_PENDING_SECONDS: &str = "axon_oldest_pending_seconds";
/// Pull requests that went silent and were rebuilt.
pub const PULLS_STALLED_TOTAL: &str = "axon_pulls_stalled_total";
/// Round trip to nats-server.
pub const NATS_RTT_SECONDS: &str = "axon_nats_rtt_seconds";
/// Times a subscription was too slow and lost messages that its stream still has.
pub const SUBSCRIPTION_DROPS_TOTAL: &str = "axon_subscription_drops_total";
/// State of the circuit breaker: 0 closed, 1 half open, 2 open.
pub const BREAKER_STATE: &str = "axon_breaker_state";
/// Slots used ÷ slots of this worker.
pub const WORKER_UTILISATION_RATIO: &str = "axon_worker_utilisation_ratio";
/// Coverage of each answer: tasks that contribute ÷ tasks delegated.
pub const ANSWER_COVERAGE_RATIO: &str = "axon_answer_coverage_ratio";
/// Constant 1 with `version` and `role`.
pub const BUILD_INFO: &str = "axon_build_info";
/// Resident memory of the process.
pub const PROCESS_RESIDENT_BYTES: &str = "axon_process_resident_bytes";

/// Calls of language models, all tries counted, by `provider` and `outcome`.
pub const MODEL_CALLS_TOTAL: &str = "axon_model_calls_total";
/// Time of one try of a call of a language model, by `provider`.
pub const MODEL_DURATION_SECONDS: &str = "axon_model_duration_seconds";
/// Tokens of language models by `kind` (input, cache_read, cache_write, output).
pub const MODEL_TOKENS_TOTAL: &str = "axon_model_tokens_total";
/// US cents spent on language models since the process started.
pub const MODEL_CENTS: &str = "axon_model_cents";

/// Bucket bounds of histograms in seconds.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Bucket bounds of histograms between 0 and 1.
pub const RATIO_BUCKETS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0];

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Samples in buckets.
    Histogram,
}

/// One metric as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The exported name.
    pub name: &'static str,
    /// What it is to Prometheus.
    pub kind: Kind,
    /// The unit of its value.
    pub unit: Unit,
    /// The help text.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, unit, help }
}

/// Every metric, for registration and for documentation.
pub const ALL: &[Metric] = &[
    metric(
        QUERIES_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Answered queries by complexity, strategy and outcome",
    ),
    metric(
        QUERY_DURATION_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from acceptance of a query to its answer",
    ),
    metric(
        QUERIES_IN_FLIGHT,
        Kind::Gauge,
        Unit::Count,
        "Queries that this lead works on now",
    ),
    metric(
        QUERIES_WAITING,
        Kind::Gauge,
        Unit::Count,
        "Queries that this lead holds and that wait for their turn",
    ),
    metric(
        TASK_QUEUE_WAIT_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from publishing a task to its start",
    ),
    metric(
        TASK_DURATION_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from the start of a task to its outcome",
    ),
    metric(
        TOOL_DURATION_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time of one tool call that was made, not remembered",
    ),
    metric(
        WORKING_MEMORY_CALLS_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Calls of deterministic tools by where their results come from",
    ),
    metric(TASKS_TOTAL, Kind::Counter, Unit::Count, "Finished tasks by outcome"),
    metric(TASK_STARTS_TOTAL, Kind::Counter, Unit::Count, "Started tasks by cause"),
    metric(
        RESULTS_FENCED_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Results refused because another one had been accepted",
    ),
    metric(SLOTS, Kind::Gauge, Unit::Count, "Task slots of this worker by state"),
    metric(
        WORKERS,
        Kind::Gauge,
        Unit::Count,
        "Workers in the registry by agent type and state",
    ),
    metric(
        WORKERS_PAUSED_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Workers paused because too many of their tasks failed",
    ),
    metric(
        WORKERS_WANTED,
        Kind::Gauge,
        Unit::Count,
        "Workers a route should have in all while it misses some",
    ),
    metric(
        DEAD_LETTERS_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Dead letters published by reason",
    ),
    metric(
        OLDEST_PENDING_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        "Age of the oldest message that waits to be taken",
    ),
    metric(
        PULLS_STALLED_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Pull requests that went silent and were rebuilt",
    ),
    metric(
        NATS_RTT_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Round trip to nats-server",
    ),
    metric(
        SUBSCRIPTION_DROPS_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Times a subscription was too slow and lost messages that its stream still has",
    ),
    metric(
        BREAKER_STATE,
        Kind::Gauge,
        Unit::Count,
        "Circuit breaker: 0 closed, 1 half open, 2 open",
    ),
    metric(
        WORKER_UTILISATION_RATIO,
        Kind::Gauge,
        Unit::Count,
        "Slots used divided by slots of this worker",
    ),
    metric(
        ANSWER_COVERAGE_RATIO,
        Kind::Histogram,
        Unit::Count,
        "Tasks that contribute to an answer divided by tasks delegated",
    ),
    metric(
        BUILD_INFO,
        Kind::Gauge,
        Unit::Count,
        "Always 1; the labels name version and role",
    ),
    metric(
        PROCESS_RESIDENT_BYTES,
        Kind::Gauge,
        Unit::Bytes,
        "Resident memory of the process",
    ),
    metric(
        MODEL_CALLS_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Calls of language models by provider and outcome",
    ),
    metric(
        MODEL_DURATION_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time of one try of a call of a language model",
    ),
    metric(
        MODEL_TOKENS_TOTAL,
        Kind::Counter,
        Unit::Count,
        "Tokens of language models by kind",
    ),
    metric(
        MODEL_CENTS,
        Kind::Gauge,
        Unit::Count,
        "US cents spent on language models since the process started",
    ),
];

/// Registers help text and unit of every metric with the installed recorder.
pub fn describe_all() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
    // A counter that has never been counted is absent; zero is what an alert on its rate needs.
    counter!(RESULTS_FENCED_TOTAL).absolute(0);
    counter!(PULLS_STALLED_TOTAL).absolute(0);
}

pub(crate) fn set_build_info(role: &'static str) {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "role" => role).set(1.0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for Metric { name, kind, unit, help } in ALL {
            assert!(name.starts_with("axon_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(*unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn every_constant_is_registered() {
        let source = include_str!("metrics.rs");
        let constants = source
            .lines()
            .filter(|line| line.starts_with("pub const ") && line.contains(": &str = "))
            .count();
        assert_eq!(constants, ALL.len(), "a metric constant is missing in ALL");
    }
}
