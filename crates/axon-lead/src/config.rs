//! Configuration of the lead: section `[lead]`. Values only; loading is done by `axon-service`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who plans a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanBy {
    /// The rules of the strategies alone.
    #[default]
    Rules,
    /// A language model revises what the rules drafted, where one is configured.
    Auto,
}

/// Section `[lead]`: how queries are planned and run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Delegate fewer tasks when fewer workers are idle for the route. Default: true.
    pub adaptive_allocation: bool,
    /// Stop a query when enough is known, and say so in the answer. Default: true.
    pub early_termination: bool,
    /// Run a failed or silent worker's task again elsewhere, add tasks where results came back thin, and ask for workers
    /// where a route misses some. Default: true.
    pub dynamic_spawning: bool,
    /// Most workers for one route that a lead asks for, those that are there included. Default: 8.
    pub max_scaled_workers: usize,
    /// Queries one lead works on at once. Default: 64.
    pub max_concurrent_executions: usize,
    /// Queries one lead holds at once, running and waiting for their turn. It is what turns are shared out among: a
    /// client's queries are seen when fewer than this are before them. Each that waits costs a renewal of its lease every
    /// three seconds and its payload in memory. Default: 2048.
    pub max_leased_queries: usize,
    /// Weights of clients, by the header `Axon-Client`, when turns are shared out; more than 0. Default: none, which
    /// means 1 for everybody.
    pub client_weights: BTreeMap<String, f64>,
    /// Seconds for a query that names no deadline, where its class of complexity has no timeout. Default: 120.
    pub default_timeout: u64,
    /// Publish events about the progress of queries. Default: true.
    pub enable_progress_tracking: bool,
    /// Who plans: `rules`, or `auto`, with which a language model revises what the rules drafted, where the section `[model]`
    /// names one; it is paid from half of what is kept for the synthesis. Default: `rules`.
    pub plan_by: PlanBy,
    /// Share of time, tokens and cents kept for the synthesis, from 0 to 0.9. Default: 0.15.
    pub synthesis_share: f64,
    /// How often a task is tried before it counts as failed. Default: 3.
    pub max_attempts: u32,
    /// Most tasks of one plan, and most of them at once where a query brings its own plan. Default: 1000.
    pub max_tasks_per_plan: usize,
    /// Applications of a strategy before its success rate changes its score. Default: 5.
    pub min_applications: u64,
    /// Share of queries on which another strategy than the best one is tried, or no pattern is followed, from 0 to 0.5: without
    /// trials nothing is learnt. Default: 0.1.
    pub trial_share: f64,
    /// Latest episodes that similar queries are looked for in; 0 recalls nothing. About 2 KiB of memory each. Default: 10,000.
    pub max_episodes: usize,
    /// Digest of the stored workspace that queries look at which name none; none if empty. Default: empty.
    pub workspace: String,
    /// Seconds a stopping lead waits for what it works on before it hands it back. Default: 20.
    pub drain_timeout_s: u64,
    /// What a query may use, by complexity.
    pub allocation: AllocationTable,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            adaptive_allocation: true,
            early_termination: true,
            dynamic_spawning: true,
            max_scaled_workers: 8,
            max_concurrent_executions: 64,
            max_leased_queries: 2048,
            client_weights: BTreeMap::new(),
            default_timeout: 120,
            enable_progress_tracking: true,
            plan_by: PlanBy::Rules,
            synthesis_share: 0.15,
            max_attempts: 3,
            max_tasks_per_plan: 1000,
            min_applications: 5,
            trial_share: 0.1,
            max_episodes: 10_000,
            workspace: String::new(),
            drain_timeout_s: 20,
            allocation: AllocationTable::default(),
        }
    }
}

impl Config {
    /// Refuses values that cannot work, each by its name.
    pub fn validate(&self) -> Result<(), String> {
        match self
            .client_weights
            .iter()
            .find(|(_, weight)| !(**weight > 0.0 && weight.is_finite()))
        {
            Some((client, weight)) => Err(format!(
                "lead.client_weights.{client} is {weight}: use a number above 0"
            )),
            None if !(0.0..=0.5).contains(&self.trial_share) => Err(format!(
                "lead.trial_share is {}: use a number from 0 to 0.5",
                self.trial_share
            )),
            None => Ok(()),
        }
    }
}

/// What a query may use, by complexity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocationTable {
    /// For one worker. Default: 1 worker, 10 tool calls, 30 s, 10,000 tokens, 10 cents.
    pub simple: ClassAllocation,
    /// For a few parts. Default: 4 workers, 15 tool calls each, 120 s, 50,000 tokens, 50 cents.
    pub medium: ClassAllocation,
    /// For many parts or a large scope. Default: 10 workers, 20 tool calls each, 300 s, 150,000 tokens, 200 cents.
    pub complex: ClassAllocation,
}

impl Default for AllocationTable {
    fn default() -> Self {
        Self {
            simple: ClassAllocation {
                num_workers: 1,
                max_tool_calls_per_worker: 10,
                max_parallel_workers: 1,
                timeout_s: Some(30),
                max_tokens_budget: 10_000,
                max_cost_cents: 10,
            },
            medium: ClassAllocation {
                num_workers: 4,
                max_tool_calls_per_worker: 15,
                max_parallel_workers: 4,
                timeout_s: Some(120),
                max_tokens_budget: 50_000,
                max_cost_cents: 50,
            },
            complex: ClassAllocation {
                num_workers: 10,
                max_tool_calls_per_worker: 20,
                max_parallel_workers: 10,
                timeout_s: Some(300),
                max_tokens_budget: 150_000,
                max_cost_cents: 200,
            },
        }
    }
}

/// What a query of one class of complexity may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassAllocation {
    /// Tasks to delegate.
    pub num_workers: usize,
    /// Most tool calls of one worker.
    pub max_tool_calls_per_worker: usize,
    /// Most tasks at once.
    pub max_parallel_workers: usize,
    /// Seconds for the whole query, synthesis included; `default_timeout` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Tokens for the whole query, synthesis included.
    pub max_tokens_budget: u64,
    /// US cents for the whole query, synthesis included.
    pub max_cost_cents: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_is_none_is_named() {
        for (weight, fits) in [(2.0, true), (0.5, true), (0.0, false), (-1.0, false), (f64::NAN, false)] {
            let config = Config {
                client_weights: BTreeMap::from([("nightly".to_owned(), weight)]),
                ..Config::default()
            };
            let refused = config.validate().err().unwrap_or_default();
            assert_eq!(refused.is_empty(), fits, "{weight}: {refused}");
            assert!(fits || refused.contains("lead.client_weights.nightly"), "{refused}");
        }
    }

    #[test]
    fn a_share_of_trials_that_is_none_is_named() {
        for (trial_share, fits) in [
            (0.0, true),
            (0.5, true),
            (0.51, false),
            (-0.1, false),
            (f64::NAN, false),
        ] {
            let config = Config {
                trial_share,
                ..Config::default()
            };
            let refused = config.validate().err().unwrap_or_default();
            assert_eq!(refused.is_empty(), fits, "{trial_share}: {refused}");
            assert!(fits || refused.contains("lead.trial_share"), "{refused}");
        }
    }

    #[test]
    fn defaults_survive_a_round_trip_and_a_file_may_name_one_key() {
        let text = toml::to_string(&Config::default()).expect("serializes");
        assert_eq!(toml::from_str::<Config>(&text).expect("parses"), Config::default());
        let one: Config = toml::from_str("max_attempts = 5").expect("parses");
        assert_eq!((one.max_attempts, one.max_concurrent_executions), (5, 64));
    }
}
