//! How many more tasks a worker may take, and when it is worth asking for them. Pure: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Share of the slots, as a divisor, that must be free before a worker asks again at once.
const QUORUM_DIVISOR: usize = 8;
/// How long a smaller number of free slots waits for more of them. A timer does not measure less.
const QUORUM_WAIT: Duration = Duration::from_millis(1);
/// Load from which a worker passes a fresh ring on to another one.
const PASS_ON_LOAD: f64 = 0.25;
/// Share of what is free, as a divisor, that a worker which leaves room to others asks for at once.
const SHARE_DIVISOR: usize = 4;
/// How long a worker under full load delays its next request, so that others come first; less with less load.
const BALANCE_WAIT: Duration = Duration::from_millis(2);

/// The slots of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Permits {
    slots: usize,
    capacity: usize,
    used: usize,
    balancing: bool,
    /// Since when something has been free that nothing was asked for.
    free_since: Option<Instant>,
}

impl Permits {
    /// All free. Nothing is taken once used ÷ slots has reached `max_load`.
    pub(crate) fn new(slots: usize, max_load: f64, balancing: bool, now: Instant) -> Self {
        // Slightly less, so that the product of an exact tenth is not rounded up past itself.
        let reach = (max_load * slots as f64 - 1e-9).ceil();
        Self {
            slots,
            capacity: (reach.max(1.0) as usize).min(slots),
            used: 0,
            balancing,
            free_since: Some(now),
        }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// How many more tasks may be taken.
    pub(crate) fn free(&self) -> usize {
        self.capacity.saturating_sub(self.used)
    }

    /// How many tasks to ask for in one request: all there is room for, or a share of it, so that a burst spreads over the
    /// workers that are idle instead of filling the first one.
    pub(crate) fn batch(&self) -> usize {
        if self.balancing {
            self.free().div_ceil(SHARE_DIVISOR)
        } else {
            self.free()
        }
    }

    /// Whether a worker that leaves tasks behind tells another one.
    pub(crate) fn shares(&self) -> bool {
        self.balancing || self.free() == 0
    }

    pub(crate) fn take(&mut self, tasks: usize) {
        self.used += tasks;
        if self.free() == 0 {
            self.free_since = None;
        }
    }

    pub(crate) fn give_back(&mut self, tasks: usize, now: Instant) {
        self.used = self.used.saturating_sub(tasks);
        if self.free() > 0 {
            self.free_since.get_or_insert(now);
        }
    }

    /// Tells that tasks were asked for: what stays free waits anew.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.free_since = (self.free() > 0).then_some(now);
    }

    /// From when on asking is worth a request; `None` while nothing is free. With many slots a few more tasks are about to
    /// end, and one request for all of them costs the server as much as one for the first.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        let since = self.free_since?;
        let quorum = (self.capacity / QUORUM_DIVISOR).max(1);
        let wait = if self.free() >= quorum {
            Duration::ZERO
        } else {
            QUORUM_WAIT
        };
        let others_first = if self.balancing {
            BALANCE_WAIT.mul_f64(self.used as f64 / self.slots as f64)
        } else {
            Duration::ZERO
        };
        Some(since + wait.max(others_first))
    }

    /// Whether a ring is better passed on: at once when there is no room, and once when others are likely to have more of it.
    pub(crate) fn passes_on(&self, relays: u8) -> bool {
        let load = self.used as f64 / self.slots as f64;
        self.free() == 0 || (self.balancing && relays == 0 && load >= PASS_ON_LOAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_from_the_load_threshold_on() {
        let now = Instant::now();
        for (slots, max_load, capacity) in [
            (1, 0.8, 1),
            (2, 0.8, 2),
            (4, 0.8, 4),
            (5, 0.8, 4),
            (10, 0.8, 8),
            (256, 0.8, 205),
            (10, 0.1, 1),
            (10, 0.3, 3),
            (1, 0.01, 1),
            (7, 1.0, 7),
        ] {
            let mut permits = Permits::new(slots, max_load, true, now);
            assert_eq!(permits.free(), capacity, "{slots} at {max_load}");
            permits.take(capacity);
            assert_eq!((permits.free(), permits.ask_at()), (0, None), "{slots} at {max_load}");
            permits.give_back(1, now);
            assert_eq!(permits.free(), 1, "{slots} at {max_load}");
        }
    }

    #[test]
    fn with_many_slots_a_few_free_ones_wait_for_more() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut permits = Permits::new(64, 1.0, false, start);
        permits.take(64);
        permits.give_back(1, start + ms(10));
        assert_eq!(permits.ask_at(), Some(start + ms(11)));
        permits.give_back(7, start + ms(10));
        assert_eq!(permits.ask_at(), Some(start + ms(10)), "an eighth is worth a request");
        permits.take(2);
        permits.asked(start + ms(12));
        assert_eq!(permits.ask_at(), Some(start + ms(13)));
        let mut few = Permits::new(4, 1.0, false, start);
        few.take(4);
        few.give_back(1, start + ms(10));
        assert_eq!(few.ask_at(), Some(start + ms(10)), "one of four does not wait");
    }

    #[test]
    fn a_loaded_worker_asks_later_and_for_a_share() {
        let start = Instant::now();
        for (slots, used, batch, wait_us) in [
            (4, 0, 1, 0),
            (4, 1, 1, 500),
            (4, 3, 1, 1500),
            (256, 0, 64, 0),
            (256, 128, 32, 1000),
        ] {
            let mut permits = Permits::new(slots, 1.0, true, start);
            permits.take(used);
            assert_eq!(permits.batch(), batch, "{used} of {slots}");
            assert_eq!(
                permits.ask_at(),
                Some(start + Duration::from_micros(wait_us)),
                "{used} of {slots}"
            );
            let alone = Permits::new(slots, 1.0, false, start);
            assert_eq!((alone.batch(), alone.ask_at()), (slots, Some(start)));
        }
    }

    #[test]
    fn a_loaded_worker_passes_a_fresh_ring_on_and_a_full_one_every_ring() {
        let now = Instant::now();
        for (slots, used, balancing, relays, expected) in [
            (4, 0, true, 0, false),
            (8, 1, true, 0, false),
            (4, 1, true, 0, true),
            (4, 2, true, 0, true),
            (4, 2, true, 1, false),
            (4, 2, false, 0, false),
            (4, 4, false, 3, true),
            (1, 0, true, 0, false),
            (1, 1, true, 2, true),
        ] {
            let mut permits = Permits::new(slots, 1.0, balancing, now);
            permits.take(used);
            assert_eq!(
                permits.passes_on(relays),
                expected,
                "{used} of {slots}, {relays} relays"
            );
        }
    }
}
