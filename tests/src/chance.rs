//! Chance that can be had again: everything a test leaves to it comes from a seed that it prints.

use std::time::Duration;

/// The variable that fixes the seed.
pub const SEED_VARIABLE: &str = "AXON_TEST_SEED";

/// A sequence of numbers that depends on its seed alone.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From the seed of the environment, else from a new one. Says which, for a test that fails.
    pub fn seeded() -> Self {
        let given = std::env::var(SEED_VARIABLE).ok();
        let seed = match given {
            Some(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("`{SEED_VARIABLE}={text}` is no number")),
            None => uuid::Uuid::new_v4().as_u64_pair().0,
        };
        eprintln!("to repeat the chances of this test: {SEED_VARIABLE}={seed}");
        Self(seed)
    }

    /// The next number: SplitMix64, which needs no more than this.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// A time from `low` to `high` milliseconds.
    pub fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// Whether something that happens once in `times` happens.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }
}
