//! How long a query takes, learnt from those before it. Pure and deterministic: the same episodes in the same order give the
//! same model.
//!
//! It is a linear regression of the logarithm of the duration on named traits of a query and its plan, trained online by
//! normalized gradient descent. On the episodes held back it competes with the mean of the strategy, and as long as it is not
//! better there it is not used.

use std::collections::{BTreeMap, VecDeque};

use axon_protocol::{AnswerStatus, Complexity, Episode};
use serde::Serialize;

use crate::predictor::{Traits, held_back};

/// Traits with a weight; words that are seen later have none.
const TRAITS_MAX: usize = 4096;
/// Share of an error that the first steps take back, and the number of episodes after which steps are half as large.
const STEP: f64 = 0.5;
const STEP_HALVED_AFTER: f64 = 500.0;
/// The fifth of the episodes that is held back. Not the one that judges the complexity: those are planned by the rules, unlike
/// the others.
const HELD_BACK_PART: u64 = 1;
/// Latest episodes held back that count, and how many there must be.
const JUDGED_MAX: usize = 100;
const JUDGED_MIN: usize = 20;

/// What is known of a query when its duration is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// What is known before it is planned.
    pub traits: Traits<'a>,
    /// The class it is planned as.
    pub complexity: Complexity,
    /// Its tasks.
    pub tasks: usize,
    /// The strategy followed.
    pub strategy: &'a str,
}

impl<'a> Planned<'a> {
    fn of(episode: &'a Episode) -> Option<Self> {
        Some(Self {
            traits: Traits::of(episode)?,
            complexity: episode.complexity?,
            tasks: episode.tasks,
            strategy: &episode.strategy,
        })
    }

    fn values(&self) -> Vec<(String, f64)> {
        let mut values = self.traits.values();
        values.push((format!("planned as {}", self.complexity), 1.0));
        values.push(("number of tasks".to_owned(), (1.0 + self.tasks as f64).ln() / 2.0));
        values.push((format!("strategy {}", self.strategy), 1.0));
        values
    }
}

/// What the model expects of a query, with how it did on the episodes held back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Expectation {
    /// The duration in milliseconds.
    pub duration_ms: f64,
    /// By which factor the model is off on average, 1 or more.
    pub off_by: f64,
    /// The same of the mean of the strategy.
    pub mean_off_by: f64,
}

/// The model.
#[derive(Debug, Clone, Default)]
pub struct DurationModel {
    weights: BTreeMap<String, f64>,
    trained: u64,
    /// Applications and mean duration of each strategy.
    means: BTreeMap<String, (u64, f64)>,
    /// How far model and mean were off the latest episodes held back, as logarithms.
    judged: VecDeque<(f64, f64)>,
}

impl DurationModel {
    /// Learns from an episode, or holds it back and judges itself by it. One that was cut short tells nothing.
    pub fn observe(&mut self, episode: &Episode) {
        let Some(planned) = Planned::of(episode).filter(|_| episode.status == AnswerStatus::Complete) else {
            return;
        };
        let (values, truth) = (planned.values(), episode.duration_ms.max(1.0).ln());
        if held_back(&episode.query_id, HELD_BACK_PART) {
            if let Some((_, mean)) = self.means.get(&episode.strategy).filter(|_| self.trained > 0) {
                if self.judged.len() == JUDGED_MAX {
                    self.judged.pop_front();
                }
                let off = |said: f64| (said - truth).abs();
                self.judged
                    .push_back((off(self.expected(&values)), off(mean.max(1.0).ln())));
            }
        } else {
            self.train(&values, truth);
        }
        let (applications, mean) = self.means.entry(episode.strategy.clone()).or_default();
        *applications += 1;
        *mean += (episode.duration_ms - *mean) / *applications as f64;
    }

    /// What the model expects, once it is nearer than the mean of the strategy on what was held back.
    pub fn expect(&self, planned: &Planned<'_>) -> Option<Expectation> {
        let (off_by, mean_off_by) = self.off_by()?;
        (off_by < mean_off_by).then(|| Expectation {
            duration_ms: self.expected(&planned.values()).exp(),
            off_by,
            mean_off_by,
        })
    }

    /// By which factor the model and the means of the strategies are off on average, once enough was held back.
    pub fn off_by(&self) -> Option<(f64, f64)> {
        let mean =
            |of: fn(&(f64, f64)) -> f64| (self.judged.iter().map(of).sum::<f64>() / self.judged.len() as f64).exp();
        (self.judged.len() >= JUDGED_MIN).then(|| (mean(|judged| judged.0), mean(|judged| judged.1)))
    }

    /// Episodes learnt from, and held back among the latest.
    pub fn observed(&self) -> (u64, usize) {
        (self.trained, self.judged.len())
    }

    fn expected(&self, values: &[(String, f64)]) -> f64 {
        let weighed = values
            .iter()
            .filter_map(|(name, value)| Some(self.weights.get(name)? * value));
        weighed.sum()
    }

    fn train(&mut self, values: &[(String, f64)], truth: f64) {
        let error = truth - self.expected(values);
        let length: f64 = values.iter().map(|(_, value)| value * value).sum();
        let step = STEP / (1.0 + self.trained as f64 / STEP_HALVED_AFTER) / length.max(1.0);
        for (name, value) in values {
            if self.weights.contains_key(name) || self.weights.len() < TRAITS_MAX {
                *self.weights.entry(name.clone()).or_default() += step * error * value;
            }
        }
        self.trained += 1;
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::Shape;

    use super::*;
    use crate::recall::samples::episode;

    /// Queries of one strategy that take a second where they ask for a port and a minute where they ask for a review.
    fn queries(count: u64) -> impl Iterator<Item = Episode> {
        (1..=count).map(|id| {
            let (query, duration_ms) = match id % 2 {
                0 => ("where is the port set", 1_000.0),
                _ => ("review the whole repository", 60_000.0),
            };
            Episode {
                complexity: Some(Complexity::Medium),
                shape: Some(Shape::Single),
                duration_ms: duration_ms * (0.9 + 0.02 * (id % 10) as f64),
                ..episode(&format!("q{id}"), query, 0)
            }
        })
    }

    fn expected(model: &DurationModel, query: &str) -> Option<Expectation> {
        model.expect(&Planned {
            traits: Traits {
                query,
                aspects: 0,
                shape: Shape::Single,
                ruled: Complexity::Medium,
            },
            complexity: Complexity::Medium,
            tasks: 1,
            strategy: "research",
        })
    }

    #[test]
    fn durations_that_hang_on_words_are_learnt() {
        let mut model = DurationModel::default();
        queries(20).for_each(|episode| model.observe(&episode));
        assert_eq!(
            expected(&model, "where is the port set"),
            None,
            "too few were held back"
        );
        queries(400).skip(20).for_each(|episode| model.observe(&episode));
        for (query, duration_ms) in [
            ("where is the port set", 1_000.0),
            ("review the whole repository", 60_000.0),
        ] {
            let expectation = expected(&model, query).expect("learnt");
            let off = (expectation.duration_ms / duration_ms).ln().abs();
            assert!(
                off < 0.2 && expectation.off_by < 1.3 && expectation.mean_off_by > 3.0,
                "{query}: {expectation:?}"
            );
        }
    }

    #[test]
    fn what_was_cut_short_or_takes_any_time_teaches_nothing() {
        let mut cut = DurationModel::default();
        queries(200).for_each(|episode| {
            cut.observe(&Episode {
                status: AnswerStatus::Partial,
                ..episode
            });
        });
        assert_eq!(cut.observed(), (0, 0));
        let mut even = DurationModel::default();
        queries(400).for_each(|episode| {
            even.observe(&Episode {
                duration_ms: 1_000.0,
                ..episode
            });
        });
        assert_eq!(expected(&even, "where is the port set"), None, "the mean is as good");
    }
}
