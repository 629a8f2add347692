//! Whether a worker may take tasks: a circuit breaker that leads open when too many of its tasks fail, and that closes again
//! when a task succeeds. Pure: the clock is an argument; it neither pulls nor tells anybody.

use std::time::Duration;

use tokio::time::Instant;

/// Longest pause, however often a worker relapses.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A worker that fails within this time after its recovery pauses longer than before.
const RELAPSE_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It takes what it has room for. Since when, if it was paused before.
    Closed { since: Option<Instant> },
    /// It takes nothing until then, and one task at a time afterwards.
    Open { until: Instant },
}

/// The breaker of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breaker {
    state: State,
    /// How long the last pause was meant to be.
    pause: Duration,
    reason: String,
}

impl Breaker {
    /// Of a worker that has done nothing wrong.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Closed { since: None },
            pause: Duration::ZERO,
            reason: String::new(),
        }
    }

    /// Somebody wants it to pause. Shortly after a recovery the pause is at least twice the one before.
    pub(crate) fn pause(&mut self, pause: Duration, reason: String, now: Instant) {
        let relapse = match self.state {
            State::Closed { since } => since.is_some_and(|since| now < since + RELAPSE_WITHIN),
            // The same order may come more than once: it is no relapse.
            State::Open { .. } => false,
        };
        let least = if relapse { self.pause * 2 } else { Duration::ZERO };
        self.reason = reason;
        self.open(pause.max(least), now);
    }

    /// Somebody wants it to go on.
    pub(crate) fn resume(&mut self, now: Instant) {
        if matches!(self.state, State::Open { .. }) {
            self.state = State::Closed { since: Some(now) };
        }
    }

    /// A task has ended, well or not. It matters once the pause is over: then it was a probe.
    pub(crate) fn ended(&mut self, well: bool, now: Instant) {
        if !self.is_probing(now) {
            return;
        }
        if well {
            self.state = State::Closed { since: Some(now) };
        } else {
            self.open(self.pause * 2, now);
        }
    }

    fn open(&mut self, pause: Duration, now: Instant) {
        self.pause = pause.min(PAUSE_MAX);
        self.state = State::Open {
            until: now + self.pause,
        };
    }

    /// Most tasks at once; `None` is no limit of its own.
    pub(crate) fn limit(&self, now: Instant) -> Option<usize> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(usize::from(now >= until)),
        }
    }

    /// Whether it takes one task at a time to see how it ends.
    pub(crate) fn is_probing(&self, now: Instant) -> bool {
        self.limit(now) == Some(1)
    }

    /// When a pause that has not ended will, and why it was made.
    pub(crate) fn paused(&self) -> Option<(Instant, &str)> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some((until, &self.reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Pause(u64),
        Resume,
        Ends(bool),
    }
    use Step::{Ends, Pause, Resume};

    /// Goes through `steps`, each at its second, and tells the limit at the end: `-` for none.
    fn check(steps: &[(u64, Step)], at_s: u64, expected: &str) {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut breaker = Breaker::new();
        for (s, step) in steps {
            match step {
                Pause(s_long) => breaker.pause(Duration::from_secs(*s_long), "bad".to_owned(), at(*s)),
                Resume => breaker.resume(at(*s)),
                Ends(well) => breaker.ended(*well, at(*s)),
            }
        }
        let limit = breaker
            .limit(at(at_s))
            .map_or("-".to_owned(), |limit| limit.to_string());
        assert_eq!(limit, expected, "at {at_s} s: {breaker:?}");
        assert_eq!(breaker.paused().is_some(), expected != "-", "at {at_s} s");
    }

    #[test]
    fn a_pause_is_followed_by_probes_until_one_succeeds() {
        check(&[], 0, "-");
        check(&[(0, Ends(false)), (1, Ends(false))], 2, "-");
        check(&[(0, Pause(10))], 9, "0");
        check(&[(0, Pause(10))], 10, "1");
        check(&[(0, Pause(10)), (11, Ends(true))], 11, "-");
        check(&[(0, Pause(10)), (11, Ends(false))], 30, "0");
        check(&[(0, Pause(10)), (11, Ends(false))], 31, "1");
        check(&[(0, Pause(10)), (11, Ends(false)), (31, Ends(true))], 31, "-");
    }

    #[test]
    fn what_ends_during_a_pause_is_no_probe() {
        check(&[(0, Pause(10)), (5, Ends(true))], 9, "0");
        check(&[(0, Pause(10)), (5, Ends(false))], 10, "1");
    }

    #[test]
    fn an_order_may_come_twice_and_be_taken_back() {
        check(&[(0, Pause(10)), (2, Pause(10))], 11, "0");
        check(&[(0, Pause(10)), (2, Pause(10))], 12, "1");
        check(&[(0, Pause(10)), (2, Resume)], 2, "-");
        check(&[(0, Resume)], 0, "-");
    }

    #[test]
    fn a_relapse_pauses_longer_and_none_longer_than_the_longest() {
        check(&[(0, Pause(10)), (11, Ends(true)), (20, Pause(10))], 39, "0");
        check(&[(0, Pause(10)), (11, Ends(true)), (20, Pause(10))], 40, "1");
        check(&[(0, Pause(10)), (11, Ends(true)), (400, Pause(10))], 410, "1");
        check(&[(0, Pause(200)), (201, Ends(false))], 500, "0");
        check(&[(0, Pause(200)), (201, Ends(false))], 501, "1");
    }
}
