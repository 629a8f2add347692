//! How many workers a route needs: what waits there against who serves it. Pure; it asks nobody for anything.

use std::time::Duration;

/// How long tasks may wait for busy workers before more are asked for.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Slots a worker is taken to have where there is none to look at: its default.
const SLOTS_GUESS: u64 = 4;

/// What waits on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Tasks that were not delivered to anybody.
    pub tasks: u64,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
}

/// Who serves a route: living workers that take tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Supply {
    /// Workers.
    pub workers: usize,
    /// Their slots.
    pub slots: usize,
    /// Slots that could take a task now.
    pub free: usize,
}

/// How many workers a route should have in all, at most `workers_max`; `None` if those there are will do.
pub fn workers_wanted(backlog: Backlog, supply: Supply, workers_max: usize) -> Option<u32> {
    if backlog.tasks == 0 || supply.workers >= workers_max {
        return None;
    }
    let each = if supply.workers == 0 {
        SLOTS_GUESS
    } else if supply.free == 0 && backlog.oldest >= WAIT_MAX {
        (supply.slots as u64).div_ceil(supply.workers as u64).max(1)
    } else {
        return None;
    };
    let wanted = (supply.workers as u64 + backlog.tasks.div_ceil(each)).min(workers_max as u64);
    u32::try_from(wanted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_asked_for_where_nobody_serves_or_all_are_busy_for_long() {
        for (tasks, oldest_s, workers, slots, free, expected) in [
            (0, 0, 0, 0, 0, None),
            (1, 0, 0, 0, 0, Some(1)),
            (4, 0, 0, 0, 0, Some(1)),
            (5, 0, 0, 0, 0, Some(2)),
            (500, 0, 0, 0, 0, Some(8)),
            (5, 60, 1, 4, 1, None),
            (5, 9, 1, 4, 0, None),
            (5, 10, 1, 4, 0, Some(3)),
            (1, 10, 3, 3, 0, Some(4)),
            (100, 10, 3, 3, 0, Some(8)),
            (100, 10, 8, 8, 0, None),
            (100, 10, 9, 9, 0, None),
        ] {
            let backlog = Backlog {
                tasks,
                oldest: Duration::from_secs(oldest_s),
            };
            let supply = Supply { workers, slots, free };
            assert_eq!(workers_wanted(backlog, supply, 8), expected, "{backlog:?} {supply:?}");
        }
    }
}
