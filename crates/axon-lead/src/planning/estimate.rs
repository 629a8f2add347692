//! What a plan is expected to take and to cost, and what the expectation rests on. Nothing is decided by it.

use axon_memory::Expectation;
use axon_protocol::{Estimate, ExecutionPlan, ResourceAllocation, StrategyStatistics};

/// What one tool call of an analyst takes on average, and the synthesis, in milliseconds.
const CALL_MS: u64 = 120;
const SYNTHESIS_MS: u64 = 400;

/// What is known when a plan is estimated.
pub(super) struct Known<'a> {
    pub allocation: &'a ResourceAllocation,
    pub tasks: usize,
    /// Tasks on the longest path.
    pub depth: usize,
    /// The strategy and what became of it, where it was applied before.
    pub strategy: &'a str,
    pub statistics: Option<&'a StrategyStatistics>,
    pub min_applications: u64,
}

/// Duration in milliseconds, and cost: the means of the strategy once it was applied often enough, the pace of an analyst
/// before, which has no model and therefore costs nothing.
pub(super) fn estimate(known: &Known<'_>) -> (u64, Estimate) {
    let allocation = known.allocation;
    let applied = known.statistics.map_or(0, |statistics| statistics.applications);
    let enough = known.min_applications.max(1);
    if let Some(statistics) = known.statistics.filter(|_| applied >= enough) {
        let cents = statistics.mean_cost_cents.max(0.0);
        // What a cent buys is as good as the budget of this query says.
        let tokens = if allocation.max_cost_cents > 0 {
            (allocation.max_tokens_budget as f64 * cents / allocation.max_cost_cents as f64) as u64
        } else {
            0
        };
        let estimate = Estimate {
            tokens: tokens.min(allocation.max_tokens_budget),
            cents,
            basis: format!("the mean of {applied} applications of {}", known.strategy),
        };
        return (
            (statistics.mean_duration_ms.max(0.0) as u64).min(allocation.timeout_ms),
            estimate,
        );
    }
    let basis = format!(
        "the pace of workers without a model: {} has {applied} of the {enough} applications from which its own figures count",
        known.strategy
    );
    let estimate = Estimate {
        tokens: 0,
        cents: 0.0,
        basis,
    };
    (paced(allocation, known.tasks, known.depth), estimate)
}

/// Takes over the duration that the model of durations expects, with how far it is off.
pub(crate) fn take_expectation(plan: &mut ExecutionPlan, expectation: &Expectation) {
    plan.estimated_duration_ms = (expectation.duration_ms.max(0.0) as u64).min(plan.resource_allocation.timeout_ms);
    if let Some(estimate) = &mut plan.estimate {
        estimate.basis.push_str(&format!(
            "; the duration from queries before, which is off by a factor of {:.2} on those held back, the mean by {:.2}",
            expectation.off_by, expectation.mean_off_by
        ));
    }
}

/// The waves of the tasks at the pace of an analyst, and the synthesis.
pub(super) fn paced(allocation: &ResourceAllocation, tasks: usize, depth: usize) -> u64 {
    let waves = depth.max(tasks.div_ceil(allocation.max_parallel_workers.max(1))) as u64;
    let task_ms = allocation.max_tool_calls_per_worker as u64 * CALL_MS;
    waves
        .saturating_mul(task_ms)
        .saturating_add(SYNTHESIS_MS)
        .min(allocation.timeout_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statistics: Option<StrategyStatistics>, expected: (u64, u64, f64), basis: &str) {
        let allocation = ResourceAllocation {
            num_workers: 4,
            max_tool_calls_per_worker: 10,
            max_parallel_workers: 2,
            timeout_ms: 60_000,
            max_tokens_budget: 50_000,
            max_cost_cents: 50,
        };
        let (duration, estimate) = estimate(&Known {
            allocation: &allocation,
            tasks: 4,
            depth: 1,
            strategy: "testing",
            statistics: statistics.as_ref(),
            min_applications: 5,
        });
        assert_eq!((duration, estimate.tokens, estimate.cents), expected);
        assert!(estimate.basis.contains(basis), "{}", estimate.basis);
    }

    #[test]
    fn the_pace_of_an_analyst_counts_until_there_is_experience() {
        let applied = |applications, mean_cost_cents| {
            Some(StrategyStatistics {
                applications,
                mean_duration_ms: 7_300.4,
                mean_cost_cents,
                ..StrategyStatistics::default()
            })
        };
        check(None, (2_800, 0, 0.0), "testing has 0 of the 5 applications");
        check(applied(4, 2.0), (2_800, 0, 0.0), "testing has 4 of the 5 applications");
        check(
            applied(5, 0.0),
            (7_300, 0, 0.0),
            "the mean of 5 applications of testing",
        );
        check(applied(9, 2.5), (7_300, 2_500, 2.5), "the mean of 9 applications");
    }
}
