//! Which call starts next. Pure state: it knows neither tools nor clocks, and runs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use axon_protocol::ToolCall;
use serde_json::Value;

use super::{CallOutcome, CallStatus, ToolEvent};
use crate::{Graph, ToolError};

/// The state of a run.
pub(super) struct Schedule<'g> {
    graph: &'g Graph,
    ranks: Vec<u64>,
    /// How many calls each call still waits for.
    waits: Vec<usize>,
    ready: BinaryHeap<Ready>,
    states: Vec<State>,
    started: usize,
    /// Calls that ended and were not reported yet, in the order in which they ended.
    unreported: Vec<usize>,
}

/// Longest path first, then the higher priority, then the order of the plan.
type Ready = (u64, u8, Reverse<usize>);

/// How a call ended.
pub(super) struct End {
    pub(super) status: CallStatus,
    pub(super) attempts: u32,
    pub(super) duration: Duration,
    pub(super) remembered: Option<Duration>,
}

impl End {
    /// Nobody made it, or not to its end.
    fn unmade(status: CallStatus, attempts: u32, duration: Duration) -> Self {
        Self {
            status,
            attempts,
            duration,
            remembered: None,
        }
    }
}

enum State {
    Waiting,
    Running { started: Duration },
    Ended(CallOutcome),
}

impl<'g> Schedule<'g> {
    /// Nothing has run; durations are expected in milliseconds.
    pub(super) fn new(graph: &'g Graph, durations_ms: &[f64]) -> Self {
        let calls = graph.calls().len();
        let mut schedule = Self {
            graph,
            // Whole milliseconds: differences below are noise, and must not keep priorities from deciding.
            ranks: graph
                .ranks(durations_ms)
                .into_iter()
                .map(|rank| rank.round() as u64)
                .collect(),
            waits: (0..calls).map(|index| graph.dependencies(index).len()).collect(),
            ready: BinaryHeap::new(),
            states: (0..calls).map(|_| State::Waiting).collect(),
            started: 0,
            unreported: Vec::new(),
        };
        for index in 0..calls {
            if schedule.waits[index] == 0 {
                schedule.push_ready(index);
            }
        }
        schedule
    }

    pub(super) fn call(&self, index: usize) -> &'g ToolCall {
        &self.graph.calls()[index]
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many calls were started.
    pub(super) fn started(&self) -> usize {
        self.started
    }

    /// Starts the most urgent call; its parameters come with the outputs it refers to filled in.
    pub(super) fn start_next(&mut self, now: Duration) -> Option<(usize, Result<Value, ToolError>)> {
        let (_, _, Reverse(index)) = self.ready.pop()?;
        self.states[index] = State::Running { started: now };
        self.started += 1;
        let params = self.graph.resolve(index, |producer| match &self.states[producer] {
            State::Ended(outcome) => outcome.value(),
            State::Waiting | State::Running { .. } => None,
        });
        Some((index, params))
    }

    /// Takes the outcome of a running call: what it kept waiting becomes ready, or is skipped if it failed.
    pub(super) fn finish(&mut self, index: usize, end: End) {
        let succeeded = matches!(end.status, CallStatus::Done(_));
        self.end(index, end);
        if !succeeded {
            self.skip_dependents(index);
            return;
        }
        for &dependent in self.graph.dependents(index) {
            self.waits[dependent] -= 1;
            if self.waits[dependent] == 0 && matches!(self.states[dependent], State::Waiting) {
                self.push_ready(dependent);
            }
        }
    }

    /// Skips everything that was not started.
    pub(super) fn skip_waiting(&mut self, reason: &str) {
        self.ready.clear();
        for index in 0..self.states.len() {
            if matches!(self.states[index], State::Waiting) {
                let status = CallStatus::Skipped(reason.to_owned());
                self.end(index, End::unmade(status, 0, Duration::ZERO));
            }
        }
    }

    /// Gives up everything that has not ended.
    pub(super) fn cancel_rest(&mut self, now: Duration) {
        self.ready.clear();
        for index in 0..self.states.len() {
            match self.states[index] {
                State::Waiting => self.end(index, End::unmade(CallStatus::Cancelled, 0, Duration::ZERO)),
                State::Running { started } => {
                    let duration = now.saturating_sub(started);
                    self.end(index, End::unmade(CallStatus::Cancelled, 1, duration));
                }
                State::Ended(_) => {}
            }
        }
    }

    /// Reports the calls that ended since the last report.
    pub(super) fn report(&mut self, on_event: &impl Fn(ToolEvent<'_>)) {
        for index in self.unreported.drain(..) {
            if let State::Ended(outcome) = &self.states[index] {
                on_event(ToolEvent::Ended { outcome });
            }
        }
    }

    /// The outcomes in the order of the calls. A call that never ended counts as cancelled.
    pub(super) fn into_outcomes(mut self) -> Vec<CallOutcome> {
        self.cancel_rest(Duration::ZERO);
        let ended = |state| match state {
            State::Ended(outcome) => Some(outcome),
            State::Waiting | State::Running { .. } => None,
        };
        self.states.into_iter().filter_map(ended).collect()
    }

    fn push_ready(&mut self, index: usize) {
        self.ready
            .push((self.ranks[index], self.call(index).priority, Reverse(index)));
    }

    fn skip_dependents(&mut self, failed: usize) {
        let mut causes = vec![failed];
        while let Some(cause) = causes.pop() {
            let how = match &self.states[cause] {
                State::Ended(CallOutcome {
                    status: CallStatus::Skipped(_),
                    ..
                }) => "was skipped",
                State::Ended(CallOutcome {
                    status: CallStatus::Cancelled,
                    ..
                }) => "was cancelled",
                _ => "failed",
            };
            let reason = format!("it needs `{}`, which {how}", self.call(cause).tool_id);
            for &dependent in self.graph.dependents(cause) {
                if matches!(self.states[dependent], State::Waiting) {
                    let status = CallStatus::Skipped(reason.clone());
                    self.end(dependent, End::unmade(status, 0, Duration::ZERO));
                    causes.push(dependent);
                }
            }
        }
    }

    fn end(&mut self, index: usize, end: End) {
        let started = match self.states[index] {
            State::Running { started } => started,
            State::Waiting | State::Ended(_) => Duration::ZERO,
        };
        let call = self.call(index);
        self.states[index] = State::Ended(CallOutcome {
            tool_id: call.tool_id.clone(),
            tool: call.tool_name.clone(),
            status: end.status,
            started,
            duration: end.duration,
            attempts: end.attempts,
            remembered: end.remembered,
        });
        self.unreported.push(index);
    }
}
