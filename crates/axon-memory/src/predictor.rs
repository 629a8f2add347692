//! The complexity of a query, learnt from what earlier ones used. Pure and deterministic: the same episodes in the same order
//! give the same model.
//!
//! It is a softmax regression over named traits of a query, trained online by gradient descent. One query in five is held
//! back: on those the model competes with the rules, and as long as it is not better there it is not used. What a query may
//! use is bounded by the class it is planned as, so queries held back are planned by the rules: a model that judged itself by
//! its own plans would always prove right.

use std::collections::{BTreeMap, VecDeque};

use axon_protocol::{AnswerStatus, Complexity, Episode, QueryId, Shape, StopReason};
use serde::Serialize;

use crate::recall::words_of;

const CLASSES: [Complexity; 3] = [Complexity::Simple, Complexity::Medium, Complexity::Complex];
/// Traits with a weight; words that are seen later have none.
const TRAITS_MAX: usize = 4096;
/// Words of a query that are traits of it.
const WORDS_MAX: usize = 24;
/// Size of the first steps, and the number of episodes after which steps are half as large.
const STEP: f64 = 0.3;
const STEP_HALVED_AFTER: f64 = 1000.0;
/// Share by which every weight that is touched shrinks with each step, so that chance does not pile up.
const SHRINK: f64 = 1e-3;
/// One of so many queries is held back, and which of them.
const HELD_BACK: u64 = 5;
pub(crate) const HELD_BACK_PART: u64 = 0;
/// Latest episodes held back that count, and how many there must be.
const JUDGED_MAX: usize = 100;
const JUDGED_MIN: usize = 20;
/// Share of the time, tokens or cents of its class by which what was cut short surely had used them up: of each 15 % are kept
/// for the synthesis.
const USED_UP_SHARE: f64 = 0.8;

/// What a query of a class may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassLimits {
    /// Workers.
    pub workers: usize,
    /// Tool calls of all workers together.
    pub tool_calls: u64,
    /// Time in milliseconds.
    pub duration_ms: f64,
    /// Tokens.
    pub tokens: u64,
    /// US cents.
    pub cents: f64,
}

/// The limits of the default allocation, smallest class first.
pub const DEFAULT_LIMITS: [ClassLimits; 3] = [
    ClassLimits {
        workers: 1,
        tool_calls: 10,
        duration_ms: 30_000.0,
        tokens: 10_000,
        cents: 10.0,
    },
    ClassLimits {
        workers: 4,
        tool_calls: 60,
        duration_ms: 120_000.0,
        tokens: 50_000,
        cents: 50.0,
    },
    ClassLimits {
        workers: 10,
        tool_calls: 200,
        duration_ms: 300_000.0,
        tokens: 150_000,
        cents: 200.0,
    },
];

impl ClassLimits {
    fn cover(&self, episode: &Episode, workers: usize) -> bool {
        workers <= self.workers
            && episode.usage.tool_calls <= self.tool_calls
            && episode.duration_ms <= self.duration_ms
            && episode.usage.tokens <= self.tokens
            && episode.usage.cents <= self.cents
    }

    /// Whether a query that ended incomplete had used up what its class gives: its time, its tokens or cents, or every call
    /// that its tasks may make.
    fn used_up(&self, episode: &Episode) -> bool {
        let nearly = |used: f64, given: f64| given > 0.0 && used >= USED_UP_SHARE * given;
        let calls_each = self.tool_calls / self.workers.max(1) as u64;
        let calls = calls_each.saturating_mul(episode.tasks as u64);
        match episode.stop_reason {
            StopReason::Deadline => nearly(episode.duration_ms, self.duration_ms),
            StopReason::Finished => {
                calls > 0 && episode.usage.tool_calls >= calls
                    || nearly(episode.usage.tokens as f64, self.tokens as f64)
                    || nearly(episode.usage.cents, self.cents)
            }
            StopReason::Cancelled | StopReason::EnoughFound | StopReason::Refused => false,
        }
    }
}

/// The smallest class whose limits cover what a query used: tasks that contributed to what was kept, tool calls, time,
/// tokens and cents. Where it ended incomplete at the limits of its class, it is larger than that class. `None` where it
/// cannot be told: it was cut short by something else, or it was not analysed.
pub fn true_complexity(episode: &Episode, limits: &[ClassLimits; 3]) -> Option<Complexity> {
    let planned = CLASSES.iter().position(|class| Some(*class) == episode.complexity)?;
    let coverage = episode.quality.map_or(1.0, |quality| quality.coverage);
    let workers = ((coverage * episode.tasks as f64).ceil() as usize).max(1);
    let largest = CLASSES.len() - 1;
    let covering = limits
        .iter()
        .position(|limits| limits.cover(episode, workers))
        .unwrap_or(largest);
    match episode.status {
        AnswerStatus::Complete => Some(CLASSES[covering]),
        AnswerStatus::Partial if limits[planned].used_up(episode) => {
            Some(CLASSES[covering.max(planned + 1).min(largest)])
        }
        AnswerStatus::Partial | AnswerStatus::Failed => None,
    }
}

/// What is known of a query before it is planned.
#[derive(Debug, Clone, Copy)]
pub struct Traits<'a> {
    /// Its words.
    pub query: &'a str,
    /// Aspects it names.
    pub aspects: usize,
    /// How its parts depend on each other.
    pub shape: Shape,
    /// What the rules say.
    pub ruled: Complexity,
}

impl<'a> Traits<'a> {
    /// Those of a remembered query, where it was analysed.
    pub fn of(episode: &'a Episode) -> Option<Self> {
        Some(Self {
            query: &episode.query,
            aspects: episode.aspects_asked,
            shape: episode.shape?,
            ruled: episode.ruled.or(episode.complexity)?,
        })
    }

    /// The traits by name, each about as large as 1.
    pub(crate) fn values(&self) -> Vec<(String, f64)> {
        let words = self.query.split_whitespace().count();
        let mut values = vec![
            ("always".to_owned(), 1.0),
            ("length in words".to_owned(), (1.0 + words as f64).ln() / 3.0),
            ("aspects named".to_owned(), self.aspects.min(8) as f64 / 4.0),
            (format!("shape {}", self.shape), 1.0),
            (format!("by the rules {}", self.ruled), 1.0),
        ];
        let words = words_of(self.query);
        values.extend(words.into_iter().take(WORDS_MAX).map(|word| (format!("`{word}`"), 0.5)));
        values
    }
}

/// What the model says of a query, with how it did on the episodes held back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// The complexity.
    pub complexity: Complexity,
    /// How sure the model is of it, from 0 to 1.
    pub probability: f64,
    /// Share of the episodes held back that the model got right, and the rules.
    pub accuracy: f64,
    /// The same of the rules.
    pub rules_accuracy: f64,
}

/// The model.
#[derive(Debug, Clone)]
pub struct Predictor {
    limits: [ClassLimits; 3],
    weights: BTreeMap<String, [f64; 3]>,
    trained: u64,
    /// Whether model and rules were right about the latest episodes held back.
    judged: VecDeque<(bool, bool)>,
}

impl Predictor {
    /// A model that knows nothing, with the limits of the classes, smallest first.
    pub fn new(limits: [ClassLimits; 3]) -> Self {
        Self {
            limits,
            weights: BTreeMap::new(),
            trained: 0,
            judged: VecDeque::new(),
        }
    }

    /// Learns from an episode, or holds it back and judges itself by it.
    pub fn observe(&mut self, episode: &Episode) {
        let (Some(truth), Some(traits)) = (true_complexity(episode, &self.limits), Traits::of(episode)) else {
            return;
        };
        if held_back(&episode.query_id, HELD_BACK_PART) {
            let (said, _) = self.likeliest(&traits.values());
            if self.judged.len() == JUDGED_MAX {
                self.judged.pop_front();
            }
            self.judged.push_back((said == truth, traits.ruled == truth));
        } else {
            self.train(&traits.values(), truth);
        }
    }

    /// What the model says of a query, once it does better than the rules on what was held back. Nothing of one that is
    /// held back itself.
    pub fn predict(&self, query: &QueryId, traits: &Traits<'_>) -> Option<Prediction> {
        let (accuracy, rules_accuracy) = self.accuracy()?;
        if held_back(query, HELD_BACK_PART) || accuracy <= rules_accuracy {
            return None;
        }
        let (complexity, probability) = self.likeliest(&traits.values());
        Some(Prediction {
            complexity,
            probability,
            accuracy,
            rules_accuracy,
        })
    }

    /// Shares that the model and the rules got right of the latest episodes held back, once there are enough.
    pub fn accuracy(&self) -> Option<(f64, f64)> {
        let share = |right: usize| right as f64 / self.judged.len() as f64;
        (self.judged.len() >= JUDGED_MIN).then(|| {
            let model = self.judged.iter().filter(|(model, _)| *model).count();
            let rules = self.judged.iter().filter(|(_, rules)| *rules).count();
            (share(model), share(rules))
        })
    }

    /// Episodes learnt from, and held back among the latest.
    pub fn observed(&self) -> (u64, usize) {
        (self.trained, self.judged.len())
    }

    /// The traits that say most, with their weights for simple, medium and complex.
    pub fn weights(&self, most: usize) -> Vec<(String, [f64; 3])> {
        let spread = |weights: &[f64; 3]| {
            let largest = weights.iter().copied().fold(f64::MIN, f64::max);
            largest - weights.iter().copied().fold(f64::MAX, f64::min)
        };
        let mut all: Vec<(String, [f64; 3])> = self.weights.clone().into_iter().collect();
        all.sort_by(|a, b| spread(&b.1).total_cmp(&spread(&a.1)).then_with(|| a.0.cmp(&b.0)));
        all.truncate(most);
        all
    }

    fn likeliest(&self, values: &[(String, f64)]) -> (Complexity, f64) {
        let chances = self.chances(values);
        let class = (0..CLASSES.len())
            .max_by(|a, b| chances[*a].total_cmp(&chances[*b]))
            .unwrap_or_default();
        (CLASSES[class], chances[class])
    }

    /// Softmax of the weighted traits.
    fn chances(&self, values: &[(String, f64)]) -> [f64; 3] {
        let mut scores = [0.0; 3];
        for (name, value) in values {
            if let Some(weights) = self.weights.get(name) {
                for (score, weight) in scores.iter_mut().zip(weights) {
                    *score += weight * value;
                }
            }
        }
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let powers = scores.map(|score| (score - largest).exp());
        let sum: f64 = powers.iter().sum();
        powers.map(|power| power / sum)
    }

    /// One step down the gradient of the cross entropy.
    fn train(&mut self, values: &[(String, f64)], truth: Complexity) {
        let chances = self.chances(values);
        let step = STEP / (1.0 + self.trained as f64 / STEP_HALVED_AFTER);
        for (name, value) in values {
            if !self.weights.contains_key(name) && self.weights.len() >= TRAITS_MAX {
                continue;
            }
            let weights = self.weights.entry(name.clone()).or_default();
            for (class, weight) in weights.iter_mut().enumerate() {
                let target = if CLASSES[class] == truth { 1.0 } else { 0.0 };
                *weight += step * value * (target - chances[class]) - step * SHRINK * *weight;
            }
        }
        self.trained += 1;
    }
}

/// Whether a query is one of the fifth with this number: by its id alone, so that every lead holds back the same ones.
pub(crate) fn held_back(query: &QueryId, part: u64) -> bool {
    // FNV-1a.
    let hash = query.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % HELD_BACK == part
}

#[cfg(test)]
mod tests {
    use axon_protocol::{QualityMetrics, Usage};
    use chrono::DateTime;

    use super::*;
    use crate::recall::samples;

    fn episode(id: u64, query: &str, ruled: Complexity, tasks: usize) -> Episode {
        Episode {
            query_id: QueryId::from_sequence(id),
            complexity: Some(ruled),
            shape: Some(Shape::Single),
            tasks,
            quality: Some(QualityMetrics {
                coverage: 1.0,
                ..QualityMetrics::default()
            }),
            duration_ms: 1_000.0,
            at: DateTime::UNIX_EPOCH,
            ..samples::episode("q", query, 0)
        }
    }

    #[test]
    fn the_true_complexity_is_the_smallest_class_that_covers_what_was_used() {
        let base = || episode(1, "why?", Complexity::Medium, 1);
        for (name, episode, expected) in [
            ("one worker", base(), Some(Complexity::Simple)),
            ("four workers", Episode { tasks: 4, ..base() }, Some(Complexity::Medium)),
            (
                "more than there are",
                Episode { tasks: 40, ..base() },
                Some(Complexity::Complex),
            ),
            (
                "many tasks of which few contributed",
                Episode {
                    tasks: 8,
                    quality: Some(QualityMetrics {
                        coverage: 0.125,
                        ..QualityMetrics::default()
                    }),
                    ..base()
                },
                Some(Complexity::Simple),
            ),
            (
                "many calls",
                Episode {
                    usage: Usage {
                        tool_calls: 61,
                        ..Usage::default()
                    },
                    ..base()
                },
                Some(Complexity::Complex),
            ),
            (
                "long",
                Episode {
                    duration_ms: 31_000.0,
                    ..base()
                },
                Some(Complexity::Medium),
            ),
            (
                "cut short",
                Episode {
                    status: AnswerStatus::Partial,
                    ..base()
                },
                None,
            ),
            (
                "out of the time of its class",
                Episode {
                    status: AnswerStatus::Partial,
                    stop_reason: StopReason::Deadline,
                    duration_ms: 110_000.0,
                    ..base()
                },
                Some(Complexity::Complex),
            ),
            (
                "out of the shorter time that its asker gave",
                Episode {
                    status: AnswerStatus::Partial,
                    stop_reason: StopReason::Deadline,
                    duration_ms: 10_000.0,
                    ..base()
                },
                None,
            ),
            (
                "out of calls",
                Episode {
                    status: AnswerStatus::Partial,
                    complexity: Some(Complexity::Simple),
                    usage: Usage {
                        tool_calls: 10,
                        ..Usage::default()
                    },
                    ..base()
                },
                Some(Complexity::Medium),
            ),
            (
                "out of tokens",
                Episode {
                    status: AnswerStatus::Partial,
                    complexity: Some(Complexity::Complex),
                    usage: Usage {
                        tokens: 130_000,
                        ..Usage::default()
                    },
                    ..base()
                },
                Some(Complexity::Complex),
            ),
            (
                "cancelled",
                Episode {
                    status: AnswerStatus::Partial,
                    stop_reason: StopReason::Cancelled,
                    duration_ms: 110_000.0,
                    ..base()
                },
                None,
            ),
            (
                "not analysed",
                Episode {
                    complexity: None,
                    ..base()
                },
                None,
            ),
        ] {
            assert_eq!(true_complexity(&episode, &DEFAULT_LIMITS), expected, "{name}");
        }
    }

    /// The id of a query that is held back, or of one that is not.
    fn id(held: bool) -> QueryId {
        let mut ids = (0..).map(QueryId::from_sequence);
        ids.find(|id| held_back(id, HELD_BACK_PART) == held)
            .expect("there are both")
    }

    /// Queries whose true complexity the rules get wrong: they call everything medium.
    fn query(index: u64) -> (&'static str, usize) {
        [
            ("where is the port of the server set", 1),
            ("compare both caches in every module", 10),
            ("which functions read the header", 4),
        ][(index % 3) as usize]
    }

    #[test]
    fn it_learns_what_the_rules_get_wrong_and_is_used_only_then() {
        let mut predictor = Predictor::new(DEFAULT_LIMITS);
        let planned = |predictor: &Predictor, id: &QueryId, index: u64| {
            let (query, _) = query(index);
            let traits = Traits {
                query,
                aspects: 0,
                shape: Shape::Single,
                ruled: Complexity::Medium,
            };
            predictor.predict(id, &traits)
        };
        let (free, held) = (id(false), id(true));
        let ask = |predictor: &Predictor, index: u64| planned(predictor, &free, index);
        assert_eq!(ask(&predictor, 0), None, "a cold start leaves it to the rules");
        for index in 0..300 {
            let (query, tasks) = query(index);
            predictor.observe(&episode(index, query, Complexity::Medium, tasks));
        }
        for (index, expected) in [Complexity::Simple, Complexity::Complex, Complexity::Medium]
            .into_iter()
            .enumerate()
        {
            let prediction = ask(&predictor, index as u64).expect("better than the rules");
            assert_eq!(prediction.complexity, expected);
            assert_eq!(
                planned(&predictor, &held, index as u64),
                None,
                "what judges it is planned by the rules"
            );
            assert!(
                prediction.accuracy > 0.9 && prediction.rules_accuracy < 0.5,
                "{prediction:?}"
            );
        }
        assert!(
            predictor.weights(3).iter().any(|(name, _)| name.starts_with('`')),
            "{:?}",
            predictor.weights(3)
        );
    }

    #[test]
    fn where_the_rules_are_right_they_stay_in_force() {
        let mut predictor = Predictor::new(DEFAULT_LIMITS);
        for index in 0..300 {
            let (query, tasks) = query(index);
            let ruled = match tasks {
                1 => Complexity::Simple,
                4 => Complexity::Medium,
                _ => Complexity::Complex,
            };
            predictor.observe(&episode(index, query, ruled, tasks));
        }
        let (model, rules) = predictor.accuracy().expect("enough were held back");
        assert!((rules - 1.0).abs() < 1e-9 && model <= rules);
        let (query, _) = query(0);
        let traits = Traits {
            query,
            aspects: 0,
            shape: Shape::Single,
            ruled: Complexity::Simple,
        };
        assert_eq!(predictor.predict(&id(false), &traits), None);
    }

    /// A fleet in which no query can use more than the class that it is planned as gives.
    #[test]
    fn a_model_that_plans_too_small_is_found_out() {
        let mut predictor = Predictor::new(DEFAULT_LIMITS);
        // Of old such queries were simple, which the rules, who say medium, never learnt.
        for index in 0..200 {
            predictor.observe(&episode(
                index,
                "which functions read the header",
                Complexity::Medium,
                1,
            ));
        }
        // Now they take four tasks, where they get them.
        let mut planned_small = 0;
        for index in 200..1_200 {
            let traits = Traits {
                query: "which functions read the header",
                aspects: 0,
                shape: Shape::Single,
                ruled: Complexity::Medium,
            };
            let said = predictor.predict(&QueryId::from_sequence(index), &traits);
            let complexity = said.map_or(Complexity::Medium, |said| said.complexity);
            let tasks = match complexity {
                Complexity::Simple => 1,
                Complexity::Medium | Complexity::Complex => 4,
            };
            planned_small += usize::from(index >= 1_000 && tasks == 1);
            predictor.observe(&Episode {
                ruled: Some(Complexity::Medium),
                ..episode(index, traits.query, complexity, tasks)
            });
        }
        assert_eq!(planned_small, 0, "{:?}", predictor.accuracy());
    }

    #[test]
    fn it_is_bounded_and_survives_nonsense() {
        let mut predictor = Predictor::new(DEFAULT_LIMITS);
        for index in 0..2_000 {
            let query = format!("word{index} other{index} more{index} again{index}");
            predictor.observe(&episode(index, &query, Complexity::Medium, 1));
        }
        assert!(predictor.weights.len() <= TRAITS_MAX);
        predictor.observe(&episode(1, "", Complexity::Simple, usize::MAX));
        let all = predictor.weights(usize::MAX);
        assert!(
            all.iter()
                .all(|(_, weights)| weights.iter().all(|weight| weight.is_finite()))
        );
    }
}
