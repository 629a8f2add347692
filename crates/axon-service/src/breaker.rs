//! A circuit breaker as a pure state machine: the clock is an argument, and it never performs the call itself.

use std::time::{Duration, Instant};

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing until the time is up.
    Open,
    /// One probe, whose outcome decides.
    HalfOpen,
}

impl BreakerState {
    /// The value of the metric: 0 closed, 1 half-open, 2 open.
    pub fn gauge(self) -> f64 {
        match self {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        }
    }
}

/// Opens after a number of failures in a row, lets one probe through after a while, closes when that succeeds.
#[derive(Debug, Clone)]
pub struct Breaker {
    threshold: u32,
    timeout: Duration,
    failures: u32,
    opened_at: Option<Instant>,
    probe_since: Option<Instant>,
}

impl Breaker {
    /// A closed breaker. A threshold of 0 never opens.
    pub fn new(threshold: u32, timeout: Duration) -> Self {
        Self {
            threshold,
            timeout,
            failures: 0,
            opened_at: None,
            probe_since: None,
        }
    }

    /// Asks to make a call. `Err` says how long to wait.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(opened_at) = self.opened_at else { return Ok(()) };
        let waited = now.saturating_duration_since(opened_at);
        if waited < self.timeout {
            return Err(self.timeout - waited);
        }
        match self.probe_since {
            // A probe whose outcome never came (its caller was dropped) must not block for ever.
            Some(since) if now.saturating_duration_since(since) < self.timeout => {
                Err(self.timeout - now.saturating_duration_since(since))
            }
            _ => {
                self.probe_since = Some(now);
                Ok(())
            }
        }
    }

    /// Tells that a call succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.opened_at = None;
        self.probe_since = None;
    }

    /// Tells that a call failed.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let probed = self.probe_since.take().is_some();
        if probed || (self.threshold > 0 && self.failures >= self.threshold) {
            self.opened_at = Some(now);
        }
    }

    /// What it lets through at this moment.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.opened_at {
            None => BreakerState::Closed,
            Some(at) if now.saturating_duration_since(at) < self.timeout => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_probes_and_closes() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut breaker = Breaker::new(2, Duration::from_millis(100));
        breaker.failed(at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        breaker.succeeded();
        breaker.failed(at(1));
        breaker.failed(at(2));
        assert_eq!(breaker.admit(at(52)), Err(Duration::from_millis(50)));
        assert_eq!(breaker.state(at(102)), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(at(102)), Ok(()));
        assert!(breaker.admit(at(103)).is_err(), "only one probe");
        breaker.failed(at(104));
        assert_eq!(breaker.state(at(104)), BreakerState::Open);
        assert_eq!(breaker.admit(at(204)), Ok(()));
        assert_eq!(breaker.admit(at(304)), Ok(()), "a probe that never ended is replaced");
        breaker.succeeded();
        assert_eq!(breaker.state(at(305)), BreakerState::Closed);
    }

    #[test]
    fn a_threshold_of_zero_never_opens() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0, Duration::from_secs(1));
        (0..100).for_each(|_| breaker.failed(now));
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
