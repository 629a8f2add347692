//! How many more tasks a worker may take, and when it is worth asking for them. Pure: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Share of the slots, as a divisor, that must be free before a worker asks again at once.
const QUORUM_DIVISOR: usize = 8;
/// How long a smaller number of free slots waits for more of them. A timer does not measure less.
const QUORUM_WAIT: Duration = Duration::from_millis(1);
/// Load from which a worker passes a fresh ring on to another one.
const PASS_ON_LOAD: f64 = 0.25;
/// Share of what is free, as a divisor, that a worker which leaves tasks to others asks for at once.
const SHARE_DIVISOR: usize = 4;
/// How long a worker under full load delays its next request, so that others come first; less with less load.
const BALANCE_WAIT: Duration = Duration::from_millis(2);
/// With that many tasks more than this worker has slots waiting, there are enough for everybody.
const PLENTY_BEYOND_SLOTS: u64 = 4;

/// The slots of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Permits {
    slots: usize,
    capacity: usize,
    /// Most tasks at once for the time being, where fewer are allowed than there is capacity for.
    limit: Option<usize>,
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
            limit: None,
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
        self.limit
            .map_or(self.capacity, |limit| limit.min(self.capacity))
            .saturating_sub(self.used)
    }

    /// Allows that many tasks at once from now on; `None` for all there is capacity for.
    pub(crate) fn set_limit(&mut self, limit: Option<usize>, now: Instant) {
        if self.limit == limit {
            return;
        }
        self.limit = limit;
        self.free_since = (self.free() > 0).then_some(self.free_since.unwrap_or(now));
    }

    /// Whether tasks are worth being left to others: not those that end at once (`quick`), and not where plenty are left.
    pub(crate) fn shares(&self, quick: bool, left: u64) -> bool {
        self.balancing && !quick && left < self.slots as u64 + PLENTY_BEYOND_SLOTS
    }

    /// How many tasks to ask for in one request: all there is room for, or a share of it, so that a burst spreads over the
    /// workers that are idle instead of filling the first one.
    pub(crate) fn batch(&self, share: bool) -> usize {
        if share {
            self.free().div_ceil(SHARE_DIVISOR)
        } else {
            self.free()
        }
    }

    /// A request made at `asked_at` brought that many tasks. After one that brought some, what is still free waits anew.
    pub(crate) fn take(&mut self, tasks: usize, asked_at: Instant) {
        self.used += tasks;
        if self.free() == 0 {
            self.free_since = None;
        } else if tasks > 0 {
            self.free_since = Some(asked_at);
        }
    }

    pub(crate) fn give_back(&mut self, tasks: usize, now: Instant) {
        self.used = self.used.saturating_sub(tasks);
        if self.free() > 0 {
            self.free_since.get_or_insert(now);
        }
    }

    /// From when on asking is worth a request; `None` while nothing is free. With many slots a few more tasks are about to
    /// end, and one request for all of them costs the server as much as one for the first. Who shares lets others come
    /// first, the more so the more it has.
    pub(crate) fn ask_at(&self, share: bool) -> Option<Instant> {
        let since = self.free_since?;
        let quorum = (self.capacity / QUORUM_DIVISOR).max(1);
        let wait = if self.free() >= quorum {
            Duration::ZERO
        } else {
            QUORUM_WAIT
        };
        let others_first = if share {
            BALANCE_WAIT.mul_f64(self.load())
        } else {
            Duration::ZERO
        };
        Some(since + wait.max(others_first))
    }

    /// Whether a ring is better passed on: always when there is no room, and once when others are likely to have more of
    /// it and the tasks do not end at once.
    pub(crate) fn passes_on(&self, relays: u8, quick: bool) -> bool {
        self.free() == 0 || (self.balancing && !quick && relays == 0 && self.load() >= PASS_ON_LOAD)
    }

    fn load(&self) -> f64 {
        self.used as f64 / self.slots as f64
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
            permits.take(capacity, now);
            assert_eq!(
                (permits.free(), permits.ask_at(false)),
                (0, None),
                "{slots} at {max_load}"
            );
            permits.give_back(1, now);
            assert_eq!(permits.free(), 1, "{slots} at {max_load}");
        }
    }

    #[test]
    fn a_limit_holds_until_it_is_lifted() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut permits = Permits::new(4, 1.0, true, start);
        permits.take(2, start);
        permits.set_limit(Some(0), start);
        assert_eq!((permits.free(), permits.ask_at(false)), (0, None));
        permits.give_back(1, later);
        permits.set_limit(Some(1), later);
        assert_eq!((permits.free(), permits.ask_at(false)), (0, None), "one still runs");
        permits.give_back(1, later);
        assert_eq!(permits.free(), 1);
        assert_eq!(permits.ask_at(false), Some(later), "nothing runs and one may");
        permits.set_limit(None, later);
        assert_eq!(permits.free(), 4);
    }

    #[test]
    fn with_many_slots_a_few_free_ones_wait_for_more() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut permits = Permits::new(64, 1.0, false, start);
        permits.take(64, start);
        permits.give_back(1, at(10));
        assert_eq!(permits.ask_at(false), Some(at(11)));
        permits.give_back(7, at(10));
        assert_eq!(permits.ask_at(false), Some(at(10)), "an eighth is worth a request");
        permits.take(2, at(12));
        assert_eq!(permits.ask_at(false), Some(at(13)));
        permits.take(0, at(20));
        assert_eq!(
            permits.ask_at(false),
            Some(at(13)),
            "a request for nothing is no reason to wait"
        );
        let mut few = Permits::new(4, 1.0, false, start);
        few.take(4, start);
        few.give_back(1, at(10));
        assert_eq!(few.ask_at(false), Some(at(10)), "one of four does not wait");
    }

    #[test]
    fn a_loaded_worker_that_shares_asks_later_and_for_less() {
        let start = Instant::now();
        for (slots, used, batch, wait_us) in [
            (4, 0, 1, 0),
            (4, 1, 1, 500),
            (4, 3, 1, 1500),
            (256, 0, 64, 0),
            (256, 128, 32, 1000),
        ] {
            let mut permits = Permits::new(slots, 1.0, true, start);
            permits.take(used, start);
            let wait = Duration::from_micros(wait_us);
            assert_eq!(permits.batch(true), batch, "{used} of {slots}");
            assert_eq!(permits.ask_at(true), Some(start + wait), "{used} of {slots}");
            assert_eq!(
                (permits.batch(false), permits.ask_at(false)),
                (slots - used, Some(start))
            );
        }
    }

    #[test]
    fn only_tasks_that_last_and_are_few_are_left_to_others() {
        let now = Instant::now();
        for (slots, balancing, quick, left, expected) in [
            (4, true, false, 0, true),
            (4, true, false, 7, true),
            (4, true, false, 8, false),
            (4, true, true, 1, false),
            (4, false, false, 1, false),
            (256, true, false, 259, true),
            (256, true, false, 260, false),
        ] {
            let permits = Permits::new(slots, 1.0, balancing, now);
            assert_eq!(
                permits.shares(quick, left),
                expected,
                "{slots} slots, {left} left, quick {quick}"
            );
        }
    }

    #[test]
    fn a_loaded_worker_passes_a_fresh_ring_on_and_a_full_one_every_ring() {
        let now = Instant::now();
        for (slots, used, balancing, quick, relays, expected) in [
            (4, 0, true, false, 0, false),
            (8, 1, true, false, 0, false),
            (4, 1, true, false, 0, true),
            (4, 1, true, true, 0, false),
            (4, 2, true, false, 1, false),
            (4, 2, false, false, 0, false),
            (4, 4, false, true, 3, true),
            (1, 0, true, false, 0, false),
            (1, 1, true, true, 2, true),
        ] {
            let mut permits = Permits::new(slots, 1.0, balancing, now);
            permits.take(used, now);
            assert_eq!(
                permits.passes_on(relays, quick),
                expected,
                "{used} of {slots}, {relays} relays"
            );
        }
    }
}
