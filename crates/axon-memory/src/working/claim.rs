//! Who makes a call that several workers want at once: whoever claimed it in the bucket, as long as the claim is renewed. Pure:
//! what the bucket holds and the time are arguments.

use std::time::Duration;

use axon_protocol::CallMemory;
use serde_json::Value;
use tokio::time::Instant;

/// How long a claim holds that is not renewed: what a worker that was killed costs the others.
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// How often a claim is renewed.
pub(super) const RENEW_EVERY: Duration = Duration::from_millis(300);
/// Pause before the second look at a call that somebody else makes; doubled before each further one up to the longest, so
/// that a result is seen within 50 ms.
pub(super) const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(40);

/// Shortest patience with somebody else who makes a call and renews its claim. It is several times what a call usually takes,
/// because in a workspace that nobody has measured, or on a busy machine, it takes that much longer than expected, and
/// whoever loses patience then only adds to the load.
const PATIENCE_MIN: Duration = Duration::from_secs(8);
/// Longest patience.
const PATIENCE_MAX: Duration = Duration::from_secs(30);
/// Patience with a call as a multiple of what making it is expected to take: whoever makes it then is much slower than
/// usual, and it is not certain that he comes to an end.
const PATIENCE_FACTOR: u32 = 4;

/// Longest time that is believed of a call, in milliseconds: a day.
const TOOK_MS_MAX: f64 = 86_400_000.0;

/// How long a call that is expected to take so long is waited for while somebody else makes it.
pub(super) fn patience(expected: Duration) -> Duration {
    expected
        .saturating_mul(PATIENCE_FACTOR)
        .clamp(PATIENCE_MIN, PATIENCE_MAX)
}

/// When waiting for others ends for the sake of the own deadline: half of what is left is kept for making the call.
pub(super) fn half_time(now: Instant, deadline: Instant) -> Instant {
    now + deadline.saturating_duration_since(now) / 2
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Take what somebody made, which took so long.
    Take(Value, Duration),
    /// Claim the call, in place of this revision where there is one.
    Claim(Option<u64>),
    /// Look again after this time.
    Wait(Duration),
}

/// Looks at a call that somebody else may be making. Whether a claim is renewed is judged by changes of its revision on the
/// clock of who looks: clocks of machines differ.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    seen: Option<(u64, Instant)>,
    looks: u32,
}

impl Lookout {
    /// What to do about what the bucket holds now, with its revision.
    pub(super) fn look(&mut self, held: Option<(u64, CallMemory)>, now: Instant) -> Step {
        let (revision, lease_ms) = match held {
            None => return Step::Claim(None),
            Some((_, CallMemory::Made { result, took_ms, .. })) => {
                return Step::Take(
                    result,
                    Duration::from_secs_f64(took_ms.clamp(0.0, TOOK_MS_MAX) / 1000.0),
                );
            }
            Some((revision, CallMemory::Claimed { lease_ms, .. })) => (revision, lease_ms),
        };
        let since = match self.seen {
            Some((seen, since)) if seen == revision => since,
            _ => now,
        };
        self.seen = Some((revision, since));
        if now.saturating_duration_since(since) >= Duration::from_millis(lease_ms) {
            return Step::Claim(Some(revision));
        }
        let pause = LOOK_FIRST * 2_u32.saturating_pow(self.looks.min(8));
        self.looks += 1;
        Step::Wait(pause.min(LOOK_LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::WorkerId;
    use serde_json::json;

    use super::*;

    fn worker() -> WorkerId {
        WorkerId::new("w1").expect("an id")
    }

    fn claimed(lease_ms: u64) -> CallMemory {
        CallMemory::Claimed { by: worker(), lease_ms }
    }

    /// The millisecond of a look, what the bucket holds then, and what is done about it.
    type Look = (u64, Option<(u64, CallMemory)>, Step);

    #[track_caller]
    fn check(looks: &[Look]) {
        let (begin, mut lookout) = (Instant::now(), Lookout::default());
        for (index, (at, held, expected)) in looks.iter().enumerate() {
            let step = lookout.look(held.clone(), begin + Duration::from_millis(*at));
            assert_eq!(step, *expected, "look {index}");
        }
    }

    #[test]
    fn patience_is_a_matter_of_what_is_expected_and_leaves_half_of_the_time() {
        let seconds = Duration::from_secs;
        for (expected_ms, patience_ms) in [
            (0, 8_000),
            (300, 8_000),
            (3_000, 12_000),
            (5_000, 20_000),
            (60_000, 30_000),
        ] {
            let found = patience(Duration::from_millis(expected_ms));
            assert_eq!(found, Duration::from_millis(patience_ms), "{expected_ms} ms");
        }
        assert!(
            patience(Duration::ZERO) > LEASE,
            "a claim whose owner died is taken over"
        );
        assert_eq!(patience(Duration::MAX), PATIENCE_MAX);
        let now = Instant::now() + seconds(60);
        for (left, half) in [(0, 0), (10, 5)] {
            assert_eq!(half_time(now, now + seconds(left)), now + seconds(half));
        }
        assert_eq!(half_time(now, now - seconds(1)), now, "the deadline has passed");
    }

    #[test]
    fn what_nobody_makes_is_claimed_and_what_is_made_is_taken() {
        let made = CallMemory::Made {
            by: worker(),
            result: json!({"a": 1}),
            took_ms: 5.0,
        };
        check(&[(0, None, Step::Claim(None))]);
        let taken = Step::Take(json!({"a": 1}), Duration::from_millis(5));
        check(&[(0, Some((3, made.clone())), taken.clone())]);
        let wait = |ms| Step::Wait(Duration::from_millis(ms));
        check(&[
            (0, Some((1, claimed(1000))), wait(5)),
            (5, Some((1, claimed(1000))), wait(10)),
            (15, Some((1, claimed(1000))), wait(20)),
            (35, Some((1, claimed(1000))), wait(40)),
            (75, Some((1, claimed(1000))), wait(40)),
            (115, Some((2, made)), taken),
        ]);
    }

    #[test]
    fn a_claim_that_is_not_renewed_is_taken_over_and_one_that_is_holds() {
        let wait = |ms| Step::Wait(Duration::from_millis(ms));
        check(&[
            (0, Some((1, claimed(1000))), wait(5)),
            (999, Some((1, claimed(1000))), wait(10)),
            (1000, Some((1, claimed(1000))), Step::Claim(Some(1))),
        ]);
        check(&[
            (0, Some((1, claimed(1000))), wait(5)),
            (900, Some((2, claimed(1000))), wait(10)),
            (1800, Some((3, claimed(1000))), wait(20)),
            (2799, Some((3, claimed(1000))), wait(40)),
            (2800, Some((3, claimed(1000))), Step::Claim(Some(3))),
        ]);
        // Given up by its owner.
        check(&[(0, Some((4, claimed(0))), Step::Claim(Some(4)))]);
        // Expired, or deleted.
        check(&[(0, Some((1, claimed(1000))), wait(5)), (5, None, Step::Claim(None))]);
    }
}
