//! Strategies: how a kind of query is worked on, and how well that went.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Capability, Feedback, QueryId, QueryKind, StopRule};

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
    /// How far it is trusted.
    #[serde(default, skip_serializing_if = "Stage::is_trusted")]
    pub stage: Stage,
    /// What it was generated from, where the fleet did so by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt_from: Option<LearntFrom>,
}

impl StrategyDefinition {
    /// The name of the way of working that its tasks are for: its own, or that of the strategy it was generated from.
    pub fn playbook(&self) -> &str {
        self.learnt_from.as_ref().map_or(&self.name, |from| &from.like)
    }
}

/// How far a strategy is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is chosen like any other.
    #[default]
    Trusted,
    /// It is only tried, on a share of the queries it is for.
    Candidate,
    /// It did not do better. It stays as a marker, so that it is not generated again at once.
    Dropped,
}

impl Stage {
    fn is_trusted(&self) -> bool {
        *self == Stage::Trusted
    }
}

/// What a strategy was generated from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearntFrom {
    /// The queries it is for.
    pub when: QueryKind,
    /// The strategy that does better for them, whose templates it has.
    pub like: String,
    /// The strategy it competes with: the one that is followed for them otherwise.
    pub instead_of: String,
    /// When its stage changed last.
    pub at: DateTime<Utc>,
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
    /// Applications of late: each counts half as much after twenty more.
    #[serde(default)]
    pub recent_applications: f64,
    /// Those of them that succeeded and were not marked bad.
    #[serde(default)]
    pub recent_successes: f64,
    /// The group that each of the last writers counted last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted_last: Vec<CountedGroup>,
}

/// Applications that are counted together. Whoever gets no acknowledgement writes its group again, and it counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountedGroup {
    /// Who counts: a random token of each process.
    pub by: String,
    /// Grows with each group of the same writer.
    pub number: u64,
}

/// Writers whose last group is known: more than leads that write at the same time.
const WRITERS_MAX: usize = 32;

/// Queries of one strategy whose mark can still be taken back.
const MARKED_MAX: usize = 1000;
/// What an application counts of late when another one follows: `0.5^(1 ÷ 20)`.
const RECENT_SHARE: f64 = 0.965_936;

impl StrategyStatistics {
    /// Notes that a group of applications is counted next. `false` where it was counted before.
    pub fn begin_group(&mut self, group: &CountedGroup) -> bool {
        if let Some(index) = self.counted_last.iter().position(|last| last.by == group.by) {
            if self.counted_last[index].number >= group.number {
                return false;
            }
            self.counted_last.remove(index);
        }
        if self.counted_last.len() >= WRITERS_MAX {
            self.counted_last.remove(0);
        }
        self.counted_last.push(group.clone());
        true
    }

    /// Adds one application.
    pub fn record(&mut self, success: bool, duration_ms: u64, cost_cents: f64, quality: f64) {
        self.applications += 1;
        self.successes += u64::from(success);
        let n = self.applications as f64;
        self.mean_duration_ms += (duration_ms as f64 - self.mean_duration_ms) / n;
        self.mean_cost_cents += (cost_cents - self.mean_cost_cents) / n;
        self.mean_quality += (quality - self.mean_quality) / n;
        if self.recent_applications <= 0.0 && self.applications > 1 {
            // It was counted before there was such a figure: what is known of all stands for the latest.
            let most = 1.0 / (1.0 - RECENT_SHARE);
            let before = (self.applications - 1) as f64;
            let succeeded = self.succeeded().saturating_sub(u64::from(success)) as f64;
            self.recent_applications = before.min(most);
            self.recent_successes = self.recent_applications * succeeded / before;
        }
        self.recent_applications = self.recent_applications * RECENT_SHARE + 1.0;
        self.recent_successes = self.recent_successes * RECENT_SHARE + f64::from(u8::from(success));
    }

    /// Takes back one application whose query is forgotten, as far as that is possible: the means lose its part exactly, the
    /// latest applications the part of an average one.
    pub fn forget(&mut self, query: &QueryId, success: bool, duration_ms: u64, cost_cents: f64, quality: f64) {
        let marked = self.marked_bad.iter().position(|marked| marked == query);
        if let Some(index) = marked {
            self.marked_bad.remove(index);
        }
        if self.applications <= 1 {
            *self = Self {
                counted_last: std::mem::take(&mut self.counted_last),
                ..Self::default()
            };
            return;
        }
        let before = self.applications as f64;
        let without = |mean: f64, value: f64| ((mean * before - value) / (before - 1.0)).max(0.0);
        self.mean_duration_ms = without(self.mean_duration_ms, duration_ms as f64);
        self.mean_cost_cents = without(self.mean_cost_cents, cost_cents);
        self.mean_quality = without(self.mean_quality, quality);
        self.applications -= 1;
        self.successes = self.successes.saturating_sub(u64::from(success));
        let part = self.recent_applications / before;
        self.recent_applications -= part;
        if success && marked.is_none() {
            self.recent_successes = (self.recent_successes - part).max(0.0);
        }
        self.recent_successes = self.recent_successes.min(self.recent_applications);
    }

    /// Takes in what a reader thinks of a query whose application succeeded by itself. `false` where that changes nothing:
    /// marking twice counts once, and good takes a bad back.
    pub fn mark(&mut self, query: &QueryId, feedback: Feedback) -> bool {
        let standing = self.marked_bad.iter().position(|marked| marked == query);
        match (feedback, standing) {
            (Feedback::Bad, None) => {
                self.marked_bad.push(query.clone());
                self.recent_successes = (self.recent_successes - 1.0).max(0.0);
                if self.marked_bad.len() > MARKED_MAX {
                    // The oldest mark becomes final.
                    self.marked_bad.remove(0);
                    self.successes = self.successes.saturating_sub(1);
                }
                true
            }
            (Feedback::Good, Some(index)) => {
                self.marked_bad.remove(index);
                self.recent_successes = (self.recent_successes + 1.0).min(self.recent_applications);
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

    /// The same share of late, so that a strategy that turns bad, or good, shows it soon.
    pub fn recent_rate(&self) -> Option<f64> {
        match self.recent_applications > 0.0 {
            true => Some((self.recent_successes / self.recent_applications).clamp(0.0, 1.0)),
            // Counted before there was such a figure.
            false => self.success_rate(),
        }
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
    fn a_group_that_is_written_again_counts_once() {
        let mut statistics = StrategyStatistics::default();
        for (by, number, counts) in [
            ("a", 1, true),
            ("a", 1, false),
            ("b", 1, true),
            ("a", 1, false),
            ("a", 2, true),
            ("a", 1, false),
            ("b", 1, false),
        ] {
            let group = CountedGroup {
                by: by.to_owned(),
                number,
            };
            assert_eq!(statistics.begin_group(&group), counts, "{by} {number}");
        }
        for writer in 0..100 {
            let group = CountedGroup {
                by: format!("writer {writer}"),
                number: 1,
            };
            assert!(statistics.begin_group(&group));
        }
        assert_eq!(statistics.counted_last.len(), WRITERS_MAX);
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
    fn the_latest_applications_count_most() {
        let mut statistics = StrategyStatistics {
            applications: 1000,
            successes: 900,
            ..StrategyStatistics::default()
        };
        assert_eq!(
            statistics.recent_rate(),
            Some(0.9),
            "counted before there was such a figure"
        );
        statistics.record(true, 1, 0.0, 1.0);
        let rate = |statistics: &StrategyStatistics| statistics.recent_rate().expect("applied");
        assert!((rate(&statistics) - 0.9).abs() < 0.01, "{statistics:?}");
        for _ in 0..20 {
            statistics.record(false, 1, 0.0, 0.0);
        }
        assert!((rate(&statistics) - 0.45).abs() < 0.02, "{statistics:?}");
        assert!(statistics.success_rate() > Some(0.87));
        let (before, query) = (statistics.clone(), QueryId::new("a").expect("an id"));
        assert!(statistics.mark(&query, Feedback::Bad) && rate(&statistics) < rate(&before));
        assert!(statistics.mark(&query, Feedback::Good));
        assert!((rate(&statistics) - rate(&before)).abs() < 1e-9);
    }

    #[test]
    fn a_forgotten_application_is_counted_no_more() {
        let mut statistics = StrategyStatistics::default();
        let query = |name: &str| QueryId::new(name).expect("an id");
        statistics.record(true, 100, 2.0, 1.0);
        statistics.record(false, 300, 4.0, 0.5);
        statistics.record(true, 500, 0.0, 1.0);
        statistics.mark(&query("a"), Feedback::Bad);
        statistics.forget(&query("b"), false, 300, 4.0, 0.5);
        assert_eq!(
            (statistics.applications, statistics.successes, statistics.succeeded()),
            (2, 2, 1)
        );
        assert!((statistics.mean_duration_ms - 300.0).abs() < 1e-9 && (statistics.mean_cost_cents - 1.0).abs() < 1e-9);
        statistics.forget(&query("a"), true, 100, 2.0, 1.0);
        assert_eq!((statistics.succeeded(), statistics.marked_bad.len()), (1, 0));
        assert!((statistics.mean_duration_ms - 500.0).abs() < 1e-9, "{statistics:?}");
        let rate = statistics.recent_rate().expect("one is left");
        assert!((0.0..=1.0).contains(&rate), "{statistics:?}");
        statistics.forget(&query("c"), true, 500, 0.0, 1.0);
        assert_eq!(statistics, StrategyStatistics::default());
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
