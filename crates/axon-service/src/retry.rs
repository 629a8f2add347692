//! How long to wait before the next attempt. The only user of the `backoff` crate, which computes the delays; it is no
//! longer maintained, so nothing outside this file may depend on it: replacing it means replacing `retry_delay`.

use std::time::Duration;

use backoff::backoff::Backoff as _;

/// Delays that grow from `initial` by `factor` up to `delay_max`, each varied by ± `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Delay before the second attempt.
    pub initial: Duration,
    /// What each further delay is multiplied by.
    pub factor: f64,
    /// No delay is longer.
    pub delay_max: Duration,
    /// Share by which a delay is varied at random, from 0 to 1.
    pub jitter: f64,
}

impl RetryPolicy {
    /// For a lost reply or a server that is restarting: 50 ms to 2 s.
    pub const QUICK: Self = Self {
        initial: Duration::from_millis(50),
        factor: 2.0,
        delay_max: Duration::from_secs(2),
        jitter: 0.3,
    };
    /// For work that failed: 500 ms to 60 s. No delay is longer, because a delayed redelivery holds a pending slot.
    pub const WORK: Self = Self {
        initial: Duration::from_millis(500),
        factor: 3.0,
        delay_max: Duration::from_secs(60),
        jitter: 0.2,
    };
    /// For a lost connection: 100 ms to 4 s, so that a fleet is back well within the grace of an answer.
    pub const RECONNECT: Self = Self {
        initial: Duration::from_millis(100),
        factor: 2.0,
        delay_max: Duration::from_secs(4),
        jitter: 0.5,
    };
}

/// The delay after the `attempt`-th failure, counted from 1.
pub fn retry_delay(policy: RetryPolicy, attempt: u32) -> Duration {
    let mut delays = backoff::ExponentialBackoffBuilder::new()
        .with_initial_interval(policy.initial)
        .with_multiplier(policy.factor)
        .with_max_interval(policy.delay_max)
        .with_randomization_factor(policy.jitter)
        .with_max_elapsed_time(None)
        .build();
    // The delay stops growing long before this many steps, so no attempt count makes the loop long.
    for _ in 1..attempt.min(32) {
        delays.next_backoff();
    }
    delays
        .next_backoff()
        .unwrap_or(policy.delay_max)
        .min(policy.delay_max.mul_f64(1.0 + policy.jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit() {
        let policy = RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::QUICK
        };
        for (attempt, delay_ms) in [(0, 50), (1, 50), (2, 100), (3, 200), (6, 1600), (7, 2000), (1000, 2000)] {
            assert_eq!(
                retry_delay(policy, attempt),
                Duration::from_millis(delay_ms),
                "{attempt}"
            );
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        for attempt in 1..200 {
            let delay = retry_delay(RetryPolicy::WORK, attempt);
            assert!(
                delay >= Duration::from_millis(400) && delay <= Duration::from_secs(72),
                "{delay:?}"
            );
        }
    }
}
