//! What experience changes of the scores of strategies: how often each succeeds, what became of similar queries, the patterns
//! mined from them all; and when another strategy than the best is tried, without which nothing would be learnt. Pure: chance
//! is the id of the query.

use std::collections::BTreeMap;

use axon_protocol::{Lesson, Pattern, QueryId, QueryKind, Recalled, Stage, StrategyDefinition, StrategyStatistics};

/// A strategy that always succeeds is worth this much more than one that does half of the time, relative to its score.
const SUCCESS_WEIGHT: f64 = 0.4;
/// The same for what became of similar queries, once they are as alike as one equal query.
const MEMORY_WEIGHT: f64 = 0.3;
/// What a pattern is worth by the share that it is surely better, and at most: enough for a strategy whose score is half as
/// high, because it did better for this very kind of query.
const PATTERN_WEIGHT: f64 = 6.0;
const PATTERN_FACTOR_MAX: f64 = 2.5;
/// Score, relative to the best, from which another strategy may be tried.
const TRIAL_SCORE_MIN: f64 = 0.4;
/// Where similar queries failed, so many times the share more is tried.
const TRIAL_MORE: f64 = 3.0;

/// What is known from before when a strategy is selected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Experience<'a> {
    /// Statistics of strategies by name.
    pub statistics: Option<&'a BTreeMap<String, StrategyStatistics>>,
    /// Applications before they count.
    pub min_applications: u64,
    /// Queries like this one.
    pub recalled: &'a [Recalled],
    /// Patterns for queries with its words, shape and complexity.
    pub patterns: &'a [Pattern],
    /// Whether something else than the best may be tried.
    pub trial: Option<Trial>,
}

/// A share of trials, and the lot that this query drew.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Share of queries on which something else than the best is tried, from 0 to 1.
    pub share: f64,
    /// Drawn from 0 to 1: whether this query is one of them.
    pub lot: f64,
    /// Drawn from 0 to 1: which strategy is tried.
    pub choice: f64,
}

impl Trial {
    /// What a query drew: the same one always draws the same.
    pub fn of(query: &QueryId, share: f64) -> Self {
        // FNV-1a, and the finalizer of MurmurHash3, without which ids that count up would draw alike.
        let hash = query.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mix = |hash: u64| (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = mix(mix(hash));
        let part = |bits: u64| (bits & 0xffff_ffff) as f64 / 4_294_967_296.0;
        Self {
            share,
            lot: part(mixed >> 32),
            choice: part(mixed),
        }
    }
}

/// A strategy with its score.
#[derive(Debug)]
pub(super) struct Scored<'a> {
    pub(super) definition: &'a StrategyDefinition,
    pub(super) score: f64,
    pub(super) reasons: Vec<String>,
}

impl Experience<'_> {
    fn statistics_of(&self, name: &str) -> Option<&StrategyStatistics> {
        let statistics = self.statistics?.get(name)?;
        (statistics.applications >= self.min_applications.max(1)).then_some(statistics)
    }

    /// Weighs the score of a strategy for a query that reads like `leaning`.
    pub(super) fn weigh(&self, scored: &mut Scored<'_>, leaning: &str) {
        let name = scored.definition.name.as_str();
        let changes = [
            self.statistics_of(name).and_then(boost),
            remembered(name, self.recalled),
            self.pattern_for(name, leaning),
        ];
        for (factor, reason) in changes.into_iter().flatten() {
            scored.score *= factor;
            scored.reasons.push(reason);
        }
    }

    fn pattern_for(&self, name: &str, leaning: &str) -> Option<(f64, String)> {
        let worth = |pattern: &Pattern| (pattern.confidence - pattern.compared).max(0.0);
        let best = strategy_patterns(self.patterns, name, leaning).max_by(|a, b| worth(a).total_cmp(&worth(b)))?;
        let factor = (1.0 + PATTERN_WEIGHT * worth(best)).min(PATTERN_FACTOR_MAX);
        Some((factor, format!("{best} (×{factor:.2})")))
    }

    /// Which of the strategies is tried instead of the first, which is the best, and why.
    pub(super) fn tried<'a>(&self, ranked: &[Scored<'a>], candidates: &[Scored<'a>]) -> Option<(&'a str, String)> {
        let trial = self.trial?;
        let best = ranked.first()?;
        // Before there are figures of the best, there is nothing that another one could be compared with.
        self.statistics_of(&best.definition.name)?;
        let share = (trial.share * (1.0 + TRIAL_MORE * failing(&best.definition.name, self.recalled))).min(0.5);
        if trial.lot >= share {
            return None;
        }
        let close = |scored: &&Scored<'_>| scored.score > 0.0 && scored.score >= TRIAL_SCORE_MIN * best.score;
        let close: Vec<&Scored<'a>> = ranked[1..].iter().filter(close).collect();
        // Half of the trials go to what was generated for these queries, the others to what else there is.
        let (from, choice) = match (candidates.is_empty(), close.is_empty()) {
            (true, true) => return None,
            (false, true) => (candidates.iter().collect(), trial.choice),
            (false, false) if trial.choice < 0.5 => (candidates.iter().collect(), trial.choice * 2.0),
            (false, false) => (close, (trial.choice - 0.5) * 2.0),
            (true, false) => (close, trial.choice),
        };
        let index = ((choice * from.len() as f64) as usize).min(from.len() - 1);
        let tried: &Scored<'a> = from[index];
        let why = format!(
            "tried on {:.0} % of the queries for which {} scores best, here with {:.2}, so that the fleet learns",
            share * 100.0,
            best.definition.name,
            best.score
        );
        Some((&tried.definition.name, why))
    }
}

/// Whether a strategy is a candidate for this query: one that reads like `leaning`, and of which kind `fits` tells.
pub(super) fn is_candidate(definition: &StrategyDefinition, leaning: &str, fits: impl Fn(&QueryKind) -> bool) -> bool {
    let reads_like = |kind: &QueryKind| kind.leaning.as_deref().is_none_or(|wanted| wanted == leaning);
    let learnt_from = definition
        .learnt_from
        .as_ref()
        .filter(|_| definition.stage == Stage::Candidate);
    learnt_from.is_some_and(|from| reads_like(&from.when) && fits(&from.when))
}

/// The patterns that speak for a strategy where a query reads like `leaning`.
pub(crate) fn strategy_patterns<'a>(
    patterns: &'a [Pattern],
    name: &'a str,
    leaning: &'a str,
) -> impl Iterator<Item = &'a Pattern> {
    patterns.iter().filter(move |pattern| {
        matches!(&pattern.lesson, Lesson::Strategy { follow, .. } if follow == name)
            && pattern.when.leaning.as_deref().is_none_or(|wanted| wanted == leaning)
    })
}

/// By how much the success of earlier applications changes a score, and why: the latest ones count most.
fn boost(statistics: &StrategyStatistics) -> Option<(f64, String)> {
    let rate = statistics.recent_rate()?;
    let factor = 1.0 + SUCCESS_WEIGHT * (rate - 0.5);
    let reason = format!(
        "{} of {} applications succeeded, {:.0} % of late (×{factor:.2})",
        statistics.succeeded(),
        statistics.applications,
        rate * 100.0
    );
    Some((factor, reason))
}

/// What became of similar queries with a strategy: the share that succeeded, weighed by how alike they are, counts the more
/// the more there are.
pub(super) fn remembered(name: &str, recalled: &[Recalled]) -> Option<(f64, String)> {
    let similar: Vec<&Recalled> = recalled.iter().filter(|one| one.strategy == name).collect();
    let weight: f64 = similar.iter().map(|one| one.score).sum();
    if weight <= 0.0 {
        return None;
    }
    let succeeded: f64 = similar.iter().filter(|one| one.success).map(|one| one.score).sum();
    let factor = 1.0 + MEMORY_WEIGHT * (succeeded / weight - 0.5) * weight.min(1.0);
    let reason = format!(
        "{} of {} similar queries succeeded with it (×{factor:.2})",
        similar.iter().filter(|one| one.success).count(),
        similar.len()
    );
    Some((factor, reason))
}

/// Share of similar queries that failed with a strategy, as far as there are any.
fn failing(name: &str, recalled: &[Recalled]) -> f64 {
    let similar = recalled.iter().filter(|one| one.strategy == name);
    let (weight, failed) = similar.fold((0.0, 0.0), |(weight, failed), one| {
        (weight + one.score, failed + if one.success { 0.0 } else { one.score })
    });
    if weight > 0.0 {
        failed / weight * f64::min(weight, 1.0)
    } else {
        0.0
    }
}
