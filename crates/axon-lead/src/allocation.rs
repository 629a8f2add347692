//! What a query may use: the table by complexity, what its asker fixes, who is idle; and how a budget is split so that
//! it adds up exactly. It spends nothing and reads no clock.

use axon_memory::ClassLimits;
use axon_protocol::{Budget, Complexity, Query, ResourceAllocation};
use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{ClassAllocation, Config};

/// What a query of this complexity may use. `idle` is the number of idle, healthy workers for its route, if known.
///
/// Deadline and budget of the query replace those of its class. With `adaptive_allocation`, fewer idle workers mean
/// fewer and larger tasks, down to half of the class's number: a busy moment must not turn a large question into one task.
pub fn allocate(complexity: Complexity, config: &Config, query: &Query, idle: Option<usize>) -> ResourceAllocation {
    let class = class(complexity, config);
    let most = class.num_workers.clamp(1, config.max_tasks_per_plan.max(1));
    let num_workers = match idle {
        Some(idle) if config.adaptive_allocation => idle.clamp(most.div_ceil(2), most),
        _ => most,
    };
    let budget = query.budget.unwrap_or(Budget {
        tokens: class.max_tokens_budget,
        cents: class.max_cost_cents,
    });
    let timeout_s = query.deadline_s.or(class.timeout_s).unwrap_or(config.default_timeout);
    ResourceAllocation {
        num_workers,
        max_tool_calls_per_worker: class.max_tool_calls_per_worker.max(1),
        max_parallel_workers: class.max_parallel_workers.clamp(1, num_workers),
        timeout_ms: timeout_s.saturating_mul(1000),
        max_tokens_budget: budget.tokens,
        max_cost_cents: budget.cents,
    }
}

/// What a query of each class may use, smallest class first: what experience is measured by.
pub fn class_limits(config: &Config) -> [ClassLimits; 3] {
    let table = &config.allocation;
    [&table.simple, &table.medium, &table.complex].map(|class| ClassLimits {
        workers: class.num_workers,
        tool_calls: (class.num_workers * class.max_tool_calls_per_worker) as u64,
        duration_ms: class.timeout_s.unwrap_or(config.default_timeout) as f64 * 1000.0,
        tokens: class.max_tokens_budget,
        cents: class.max_cost_cents as f64,
    })
}

fn class(complexity: Complexity, config: &Config) -> &ClassAllocation {
    match complexity {
        Complexity::Simple => &config.allocation.simple,
        Complexity::Medium => &config.allocation.medium,
        Complexity::Complex => &config.allocation.complex,
    }
}

/// The longest timeout of any class, in milliseconds: what a query may take that names no deadline.
pub fn timeout_ms_max(config: &Config) -> u64 {
    let table = &config.allocation;
    let timeouts =
        [&table.simple, &table.medium, &table.complex].map(|class| class.timeout_s.unwrap_or(config.default_timeout));
    timeouts
        .into_iter()
        .max()
        .unwrap_or(config.default_timeout)
        .saturating_mul(1000)
}

/// The shortest timeout of any class, in milliseconds: how long a query that names no deadline has at least.
pub fn timeout_ms_min(config: &Config) -> u64 {
    let table = &config.allocation;
    let timeouts =
        [&table.simple, &table.medium, &table.complex].map(|class| class.timeout_s.unwrap_or(config.default_timeout));
    timeouts
        .into_iter()
        .min()
        .unwrap_or(config.default_timeout)
        .saturating_mul(1000)
}

/// Splits a budget evenly into `parts` and a reserve. Parts and reserve add up to the total exactly; what does not
/// divide goes to the first parts. Without parts everything is reserve.
pub fn split(total: Budget, parts: usize, reserve_share: f64) -> (Vec<Budget>, Budget) {
    let (tokens, tokens_kept) = split_amount(total.tokens, parts, reserve_share);
    let (cents, cents_kept) = split_amount(total.cents, parts, reserve_share);
    let budgets = tokens
        .into_iter()
        .zip(cents)
        .map(|(tokens, cents)| Budget { tokens, cents })
        .collect();
    let reserve = Budget {
        tokens: tokens_kept,
        cents: cents_kept,
    };
    (budgets, reserve)
}

fn split_amount(total: u64, parts: usize, reserve_share: f64) -> (Vec<u64>, u64) {
    let count = parts as u64;
    if count == 0 {
        return (Vec::new(), total);
    }
    let reserve = ((total as f64 * reserve_share.clamp(0.0, 1.0)).round() as u64).min(total);
    let rest = total - reserve;
    let (each, left) = (rest / count, rest % count);
    let amounts = (0..count).map(|index| each + u64::from(index < left)).collect();
    (amounts, reserve)
}

/// When the tasks must have ended and when the answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The tasks end, the synthesis begins.
    pub tasks: DateTime<Utc>,
    /// The answer is due.
    pub answer: DateTime<Utc>,
    /// Milliseconds from now to `tasks`.
    pub tasks_ms: u64,
}

/// The deadlines of a query that starts now: `synthesis_share` of its time is kept for the synthesis.
pub fn deadlines(now: DateTime<Utc>, timeout_ms: u64, synthesis_share: f64) -> Deadlines {
    let share = 1.0 - synthesis_share.clamp(0.0, 0.9);
    let tasks_ms = (timeout_ms as f64 * share).round() as u64;
    Deadlines {
        tasks: later(now, tasks_ms),
        answer: later(now, timeout_ms),
        tasks_ms,
    }
}

fn later(now: DateTime<Utc>, ms: u64) -> DateTime<Utc> {
    let delta = i64::try_from(ms).ok().and_then(TimeDelta::try_milliseconds);
    delta
        .and_then(|delta| now.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(complexity: Complexity, adaptive: bool, idle: Option<usize>, workers: usize, parallel: usize) {
        let config = Config {
            adaptive_allocation: adaptive,
            ..Config::default()
        };
        let allocation = allocate(complexity, &config, &Query::new("x"), idle);
        assert_eq!(
            (allocation.num_workers, allocation.max_parallel_workers),
            (workers, parallel),
            "{complexity} {adaptive} {idle:?}"
        );
    }

    #[test]
    fn workers_follow_the_class_and_who_is_idle() {
        check(Complexity::Simple, true, None, 1, 1);
        check(Complexity::Simple, true, Some(9), 1, 1);
        check(Complexity::Simple, true, Some(0), 1, 1);
        check(Complexity::Medium, true, None, 4, 4);
        check(Complexity::Medium, true, Some(3), 3, 3);
        check(Complexity::Medium, true, Some(0), 2, 2);
        check(Complexity::Medium, false, Some(0), 4, 4);
        check(Complexity::Complex, true, Some(200), 10, 10);
        check(Complexity::Complex, true, Some(4), 5, 5);
    }

    #[test]
    fn the_table_is_the_default_and_the_query_comes_first() {
        let config = Config::default();
        let plain = allocate(Complexity::Complex, &config, &Query::new("x"), None);
        assert_eq!(
            plain,
            ResourceAllocation {
                num_workers: 10,
                max_tool_calls_per_worker: 20,
                max_parallel_workers: 10,
                timeout_ms: 300_000,
                max_tokens_budget: 150_000,
                max_cost_cents: 200,
            }
        );
        let fixed = Query {
            deadline_s: Some(7),
            budget: Some(Budget { tokens: 1, cents: 0 }),
            ..Query::new("x")
        };
        let own = allocate(Complexity::Complex, &config, &fixed, None);
        assert_eq!(
            (own.timeout_ms, own.max_tokens_budget, own.max_cost_cents),
            (7_000, 1, 0)
        );
        let mut bare = Config::default();
        bare.allocation.simple.timeout_s = None;
        assert_eq!(timeout_ms_max(&bare), 300_000);
        assert_eq!(
            allocate(Complexity::Simple, &bare, &Query::new("x"), None).timeout_ms,
            120_000
        );
    }

    #[test]
    fn tasks_end_before_the_answer_is_due() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let deadlines = deadlines(now, 100_000, 0.15);
        assert_eq!(deadlines.tasks_ms, 85_000);
        assert_eq!((deadlines.tasks - now).num_seconds(), 85);
        assert_eq!((deadlines.answer - now).num_seconds(), 100);
        assert_eq!(super::deadlines(now, u64::MAX, 0.15).answer, DateTime::<Utc>::MAX_UTC);
    }

    proptest! {
        #[test]
        fn a_split_budget_adds_up_exactly(
            tokens in any::<u64>(), cents in 0_u64..100_000, parts in 0_usize..1_200, share in -0.5_f64..1.5,
        ) {
            let total = Budget { tokens, cents };
            let (budgets, reserve) = split(total, parts, share);
            prop_assert_eq!(budgets.len(), parts);
            let tokens_sum = budgets.iter().map(|b| u128::from(b.tokens)).sum::<u128>() + u128::from(reserve.tokens);
            let cents_sum = budgets.iter().map(|b| b.cents).sum::<u64>() + reserve.cents;
            prop_assert_eq!(tokens_sum, u128::from(tokens));
            prop_assert_eq!(cents_sum, cents);
            let most = budgets.iter().map(|b| b.cents).max().unwrap_or(0);
            let least = budgets.iter().map(|b| b.cents).min().unwrap_or(0);
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn the_reserve_is_the_share_to_the_nearest_unit(tokens in 0_u64..10_000_000, parts in 1_usize..50) {
            let (_, reserve) = split(Budget { tokens, cents: 0 }, parts, 0.15);
            prop_assert!((reserve.tokens as f64 - tokens as f64 * 0.15).abs() <= 0.5);
        }
    }
}
