//! Strategies: how a kind of query is worked on, and how well that went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Capability;

/// One way to work on a kind of query. Built-in ones are data files; the bucket of strategies overrides and adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyDefinition {
    /// Its name, such as `code_review`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// Regular expressions that speak for it, matched without regard to case.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// Words that speak for it.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// What its tasks need of a worker, ALL of them.
    pub capabilities: Vec<Capability>,
    /// How its tasks are written, one for each aspect.
    pub templates: Vec<DelegationTemplate>,
    /// Priority of its tasks where the query gives none.
    #[serde(default = "default_priority")]
    pub priority: u8,
}

fn default_priority() -> u8 {
    crate::PRIORITY_DEFAULT
}

/// How the task for one aspect is written. `{query}`, `{scope}` and `{aspect}` are filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DelegationTemplate {
    /// What the task looks at.
    pub aspect: String,
    /// Other words an asker may use for the aspect.
    #[serde(default)]
    pub synonyms: Vec<String>,
    /// What the task is to find out.
    pub objective: String,
    /// Tools the task may use; a `*` at the end stands for any rest.
    pub allowed_tools: Vec<String>,
    /// What the task must not do.
    #[serde(default)]
    pub constraints: Vec<String>,
    /// What the findings should answer.
    #[serde(default)]
    pub key_questions: Vec<String>,
}

/// What became of a strategy's applications. Kept by compare-and-set, one key a strategy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StrategyStatistics {
    /// How often it was applied.
    pub applications: u64,
    /// How often that succeeded: complete, within budget, completeness ≥ 0.7, not marked bad.
    pub successes: u64,
    /// Mean duration of a query, in milliseconds.
    pub mean_duration_ms: f64,
    /// Mean cost of a query, in US cents.
    pub mean_cost_cents: f64,
    /// Mean completeness, from 0 to 1.
    pub mean_quality: f64,
}

impl StrategyStatistics {
    /// Adds one application.
    pub fn record(&mut self, success: bool, duration_ms: u64, cost_cents: f64, quality: f64) {
        self.applications += 1;
        self.successes += u64::from(success);
        let n = self.applications as f64;
        self.mean_duration_ms += (duration_ms as f64 - self.mean_duration_ms) / n;
        self.mean_cost_cents += (cost_cents - self.mean_cost_cents) / n;
        self.mean_quality += (quality - self.mean_quality) / n;
    }

    /// Share of applications that succeeded; `None` before the first.
    pub fn success_rate(&self) -> Option<f64> {
        (self.applications > 0).then(|| self.successes as f64 / self.applications as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_means() {
        let mut statistics = StrategyStatistics::default();
        assert_eq!(statistics.success_rate(), None);
        statistics.record(true, 100, 2.0, 1.0);
        statistics.record(false, 300, 4.0, 0.5);
        assert_eq!(statistics.success_rate(), Some(0.5));
        assert_eq!(
            (
                statistics.mean_duration_ms,
                statistics.mean_cost_cents,
                statistics.mean_quality
            ),
            (200.0, 3.0, 0.75)
        );
    }
}
