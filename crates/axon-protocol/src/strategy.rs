//! Strategies: how a kind of query is worked on, and how well that went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Capability, Feedback, QueryId, StopRule};

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
    /// When a query may end before all of its tasks have; absent where every task is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopRule>,
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
    /// How far its tasks look.
    #[serde(default, skip_serializing_if = "TemplateScope::is_default")]
    pub scope: TemplateScope,
}

/// How far the tasks of a template look, beyond what the query names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateScope {
    /// What they look at may be divided among several tasks, because each part can be judged by itself.
    #[default]
    Divided,
    /// One task looks at everything, because what it finds shows only where parts are seen together.
    Whole,
    /// One task begins at the files that the query names, and may look at everything.
    Around,
    /// One task looks at everything and at the tests of the workspace, wherever they are.
    WithTests,
}

impl TemplateScope {
    fn is_default(&self) -> bool {
        *self == TemplateScope::Divided
    }
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
    /// The last queries whose application succeeded by itself and was marked bad by a reader, oldest first. They are among
    /// `successes` and count as none; kept here, so that a mark and what it changes are one compare-and-set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marked_bad: Vec<QueryId>,
}

/// Queries of one strategy whose mark can still be taken back.
const MARKED_MAX: usize = 1000;

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

    /// Takes in what a reader thinks of a query whose application succeeded by itself. `false` where that changes nothing:
    /// marking twice counts once, and good takes a bad back.
    pub fn mark(&mut self, query: &QueryId, feedback: Feedback) -> bool {
        let standing = self.marked_bad.iter().position(|marked| marked == query);
        match (feedback, standing) {
            (Feedback::Bad, None) => {
                self.marked_bad.push(query.clone());
                if self.marked_bad.len() > MARKED_MAX {
                    // The oldest mark becomes final.
                    self.marked_bad.remove(0);
                    self.successes = self.successes.saturating_sub(1);
                }
                true
            }
            (Feedback::Good, Some(index)) => {
                self.marked_bad.remove(index);
                true
            }
            (Feedback::Bad, Some(_)) | (Feedback::Good, None) => false,
        }
    }

    /// Applications that succeeded and were not marked bad.
    pub fn succeeded(&self) -> u64 {
        // A mark may come before its application is counted, which happens a moment after the answer.
        self.successes.saturating_sub(self.marked_bad.len() as u64)
    }

    /// Share of applications that succeeded and were not marked bad; `None` before the first.
    pub fn success_rate(&self) -> Option<f64> {
        (self.applications > 0).then(|| self.succeeded() as f64 / self.applications as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_once_and_can_be_taken_back() {
        let mut statistics = StrategyStatistics::default();
        for _ in 0..4 {
            statistics.record(true, 1, 0.0, 1.0);
        }
        let query = |name: &str| QueryId::new(name).expect("an id");
        for (name, feedback, changes, rate) in [
            ("a", Feedback::Good, false, 1.0),
            ("a", Feedback::Bad, true, 0.75),
            ("a", Feedback::Bad, false, 0.75),
            ("b", Feedback::Bad, true, 0.5),
            ("a", Feedback::Good, true, 0.75),
            ("a", Feedback::Good, false, 0.75),
            ("b", Feedback::Good, true, 1.0),
        ] {
            assert_eq!(statistics.mark(&query(name), feedback), changes, "{name} {feedback:?}");
            assert_eq!(statistics.success_rate(), Some(rate), "{name} {feedback:?}");
        }
    }

    #[test]
    fn the_oldest_marks_become_final() {
        let mut statistics = StrategyStatistics {
            applications: 3000,
            successes: 3000,
            ..StrategyStatistics::default()
        };
        for index in 0..1500 {
            let query = QueryId::new(format!("q{index}")).expect("an id");
            assert!(statistics.mark(&query, Feedback::Bad));
        }
        assert_eq!((statistics.marked_bad.len(), statistics.successes), (MARKED_MAX, 2500));
        assert_eq!(statistics.success_rate(), Some(0.5));
    }

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
