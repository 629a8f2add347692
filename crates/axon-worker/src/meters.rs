//! The metrics of a worker as handles, so that recording a task looks nothing up. Names come from `axon-service`.

use std::time::Duration;

use axon_protocol::{Band, Route, SECOND_EXECUTION};
use axon_service::metrics as names;
use metrics::{Counter, Gauge, Histogram};

/// Why a task was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartCause {
    /// Its first attempt, delivered once.
    First,
    /// A later attempt.
    Retry,
    /// The same attempt once more.
    Redelivery,
    /// Beside another execution that takes long.
    Second,
}

impl StartCause {
    /// Why a delivery of an attempt is started.
    pub(crate) fn of(attempt: u32, delivered: u64) -> Self {
        match (attempt, delivered) {
            (_, 2..) => StartCause::Redelivery,
            (SECOND_EXECUTION.., _) => StartCause::Second,
            (2.., _) => StartCause::Retry,
            _ => StartCause::First,
        }
    }
}

/// How a task ended for this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A complete result was accepted.
    Complete,
    /// A partial result was accepted.
    Partial,
    /// A failed result was accepted.
    Failed,
    /// A dead letter asks for another attempt.
    Retried,
    /// A dead letter is parked.
    Parked,
    /// It went back to its queue.
    HandedBack,
    /// Another result had been accepted.
    Fenced,
    /// Nothing could be published; it comes again when its lease ends.
    Unsettled,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 8] = [
        (Outcome::Complete, "complete"),
        (Outcome::Partial, "partial"),
        (Outcome::Failed, "failed"),
        (Outcome::Retried, "retried"),
        (Outcome::Parked, "parked"),
        (Outcome::HandedBack, "handed_back"),
        (Outcome::Fenced, "fenced"),
        (Outcome::Unsettled, "unsettled"),
    ];

    /// Whether an accepted result came of it that is worth something.
    pub(crate) fn succeeded(self) -> bool {
        matches!(self, Outcome::Complete | Outcome::Partial)
    }

    /// Whether the worker could not do it.
    pub(crate) fn failed(self) -> bool {
        matches!(
            self,
            Outcome::Failed | Outcome::Retried | Outcome::Parked | Outcome::Unsettled
        )
    }
}

/// Counters of the whole worker.
pub(crate) struct Meters {
    starts: [Counter; 4],
    outcomes: [Counter; 8],
    /// Results that were refused.
    pub(crate) fenced: Counter,
    /// Slots in use.
    pub(crate) slots_busy: Gauge,
    /// Slots free.
    pub(crate) slots_free: Gauge,
    /// Slots used ÷ slots over the last interval.
    pub(crate) utilisation: Gauge,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let start = |cause: &'static str| metrics::counter!(names::TASK_STARTS_TOTAL, "cause" => cause);
        Self {
            starts: [start("first"), start("retry"), start("redelivery"), start("second")],
            outcomes: Outcome::ALL.map(|(_, word)| metrics::counter!(names::TASKS_TOTAL, "outcome" => word)),
            fenced: metrics::counter!(names::RESULTS_FENCED_TOTAL),
            slots_busy: metrics::gauge!(names::SLOTS, "state" => "busy"),
            slots_free: metrics::gauge!(names::SLOTS, "state" => "free"),
            utilisation: metrics::gauge!(names::WORKER_UTILISATION_RATIO),
        }
    }

    pub(crate) fn started(&self, cause: StartCause) {
        self.starts[cause as usize].increment(1);
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment(1);
    }
}

/// Histograms of one route.
pub(crate) struct RouteMeters {
    waits: [Histogram; 3],
    duration: Histogram,
}

impl RouteMeters {
    pub(crate) fn new(route: &Route) -> Self {
        let wait = |band: Band| {
            metrics::histogram!(
                names::TASK_QUEUE_WAIT_SECONDS,
                "route" => route.to_string(),
                "band" => band.as_str(),
            )
        };
        Self {
            waits: Band::ALL.map(wait),
            duration: metrics::histogram!(names::TASK_DURATION_SECONDS, "route" => route.to_string()),
        }
    }

    pub(crate) fn waited(&self, band: Band, wait: Duration) {
        self.waits[band as usize].record(wait.as_secs_f64());
    }

    pub(crate) fn took(&self, duration: Duration) {
        self.duration.record(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_has_one_cause() {
        for (attempt, delivered, cause) in [
            (1, 1, StartCause::First),
            (1, 0, StartCause::First),
            (2, 1, StartCause::Retry),
            (1, 2, StartCause::Redelivery),
            (3, 2, StartCause::Redelivery),
            (SECOND_EXECUTION, 1, StartCause::Second),
            (SECOND_EXECUTION, 2, StartCause::Redelivery),
        ] {
            assert_eq!(StartCause::of(attempt, delivered), cause, "{attempt} {delivered}");
        }
    }

    #[test]
    fn outcomes_stand_at_their_own_index() {
        for (index, (outcome, _)) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
