//! A stream of queries whose best strategy and true complexity are hidden, and a lead that learns from what becomes of them:
//! the real choice, statistics, recall, models, patterns and generated strategies, without a server. Deterministic by its seed.

use std::collections::{BTreeMap, BTreeSet};

use axon_lead::analysis::analyze;
use axon_lead::learning::candidates::{Change, Known, changes};
use axon_lead::strategy::{Experience, Library, Trial};
use axon_memory::{Corpus, DEFAULT_LIMITS, DurationModel, EpisodeIndex, PatternBook, Predictor, Traits, mine};
use axon_protocol::{
    Analysis, AnswerStatus, AspectYield, Complexity, Episode, PatternRecord, QualityMetrics, Query, QueryId,
    SelectedStrategy, Stage, StopReason, StrategyDefinition, StrategyStatistics, Usage,
};
use chrono::{DateTime, TimeDelta, Utc};

/// How often a strategy succeeds for a kind: the hidden best one, the others, and one that turned bad.
const BEST: f64 = 0.9;
const OTHERS: f64 = 0.45;
const TURNED_BAD: f64 = 0.1;
/// How often an aspect brings something, and a barren one.
const YIELDS: f64 = 0.85;
const BARREN: f64 = 0.03;
/// Tool calls of each task that a query really takes.
const CALLS_A_TASK: u64 = 9;
/// Queries between two minings: the pause of a lead.
const MINED_EVERY: usize = 5;
/// Time between two queries.
const BETWEEN: TimeDelta = TimeDelta::minutes(10);

/// A kind of query, with what nobody is told of it.
pub struct Kind {
    /// How it is asked, `{}` for the subject.
    pub asked: &'static [&'static str],
    /// The strategy that does best.
    pub best: &'static str,
    /// Tasks that it really takes.
    pub tasks: usize,
    /// The aspect of the best strategy that brings nothing.
    pub barren: &'static str,
}

/// The kinds there are. Their words speak for another strategy than the best one, except for the last.
pub const KINDS: &[Kind] = &[
    Kind {
        asked: &[
            "Where could the {} panic?",
            "Explain how the {} handles errors and where it could panic",
        ],
        best: "research",
        tasks: 4,
        barren: "limits",
    },
    Kind {
        asked: &[
            "Review the tests of the {}",
            "Please review the tests of the {} and its fixtures",
        ],
        best: "testing",
        tasks: 1,
        barren: "",
    },
    Kind {
        asked: &[
            "Audit the security of the {} and compare it with the gateway",
            "Audit the security of the {} compared with that of the gateway",
        ],
        best: "comparison",
        tasks: 10,
        barren: "",
    },
    Kind {
        asked: &[
            "Simplify the {} and review its duplication and complexity",
            "Refactor the {}: review which code smells and duplication it has",
        ],
        best: "code_review",
        tasks: 4,
        barren: "performance",
    },
    Kind {
        asked: &[
            "How is the {} implemented and what breaks when it fails?",
            "Why does the {} stop on empty input?",
        ],
        best: "bug_investigation",
        tasks: 1,
        barren: "",
    },
];

const SUBJECTS: &[&str] = &[
    "cache", "parser", "lease", "server", "header", "queue", "index", "worker", "stream", "token", "planner", "bucket",
];

/// The class that so many tasks take.
fn class_of(tasks: usize) -> Complexity {
    match tasks {
        1 => Complexity::Simple,
        2..=4 => Complexity::Medium,
        _ => Complexity::Complex,
    }
}

/// A small generator of numbers, so that every run of a seed sees the same queries.
struct Chance(u64);

impl Chance {
    fn share(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.share() * limit as f64) as usize
    }
}

/// What happened to one query.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its kind.
    pub kind: usize,
    /// The strategy followed, and the one it was generated from, or itself.
    pub strategy: String,
    pub playbook: String,
    /// Whether something else than the best known was tried.
    pub trial: bool,
    /// What the rules, the model and the truth say of its complexity.
    pub ruled: Complexity,
    pub said: Complexity,
    pub truth: Complexity,
}

impl Step {
    /// Whether the strategy that is best, or was before it turned bad, was followed.
    pub fn is_best(&self) -> bool {
        self.playbook == KINDS[self.kind].best
    }
}

/// The lead and its memory.
pub struct World {
    chance: Chance,
    builtin: Library,
    library: Library,
    definitions: BTreeMap<String, StrategyDefinition>,
    statistics: BTreeMap<String, StrategyStatistics>,
    index: EpisodeIndex,
    predictor: Predictor,
    durations: DurationModel,
    book: PatternBook,
    trial_share: f64,
    now: DateTime<Utc>,
    asked: u64,
    /// The kind whose best strategy has turned bad.
    turned: Option<usize>,
}

impl World {
    /// A world at its beginning.
    pub fn new(seed: u64, trial_share: f64) -> Self {
        let builtin = Library::builtin().unwrap_or_else(|error| panic!("{error}"));
        Self {
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            library: builtin.clone(),
            builtin,
            definitions: BTreeMap::new(),
            statistics: BTreeMap::new(),
            index: EpisodeIndex::new(10_000),
            predictor: Predictor::new(DEFAULT_LIMITS),
            durations: DurationModel::default(),
            book: PatternBook::default(),
            trial_share,
            now: DateTime::UNIX_EPOCH,
            asked: 0,
            turned: None,
        }
    }

    /// From now on the best strategy of a kind does worst.
    pub fn turn(&mut self, kind: usize) {
        self.turned = Some(kind);
    }

    /// The patterns in force and the strategies generated.
    pub fn learnt(&self) -> (Vec<String>, Vec<&StrategyDefinition>) {
        (
            self.book.in_force().map(ToString::to_string).collect(),
            self.definitions.values().collect(),
        )
    }

    /// By which factor the model of durations and the means of strategies are off.
    pub fn durations_off_by(&self) -> Option<(f64, f64)> {
        self.durations.off_by()
    }

    /// Asks one query and learns from it.
    pub fn ask(&mut self) -> Step {
        self.asked += 1;
        self.now += BETWEEN;
        let kind = self.chance.below(KINDS.len());
        let form = self.chance.below(KINDS[kind].asked.len());
        let query = Query::new(KINDS[kind].asked[form].replace("{}", SUBJECTS[self.chance.below(SUBJECTS.len())]));
        let id = QueryId::from_sequence(1_700_000_000_000 + self.asked);
        let mut analysis = analyze(&query, None, self.library.vocabulary());
        let ruled = analysis.complexity;
        let traits = Traits {
            query: &query.query,
            aspects: analysis.aspects.len(),
            shape: analysis.shape,
            ruled,
        };
        if let Some(prediction) = self.predictor.predict(&id, &traits) {
            analysis.complexity = prediction.complexity;
        }
        let selected = self.select(&analysis, &query, &id);
        let episode = self.work((kind, form), &query, id, &analysis, ruled, &selected);
        let step = Step {
            kind,
            playbook: self.playbook(&selected.name),
            strategy: selected.name,
            trial: selected.trial,
            ruled,
            said: analysis.complexity,
            truth: class_of(KINDS[kind].tasks),
        };
        self.learn(episode);
        step
    }

    fn playbook(&self, name: &str) -> String {
        self.library
            .get(name)
            .map_or(name, StrategyDefinition::playbook)
            .to_owned()
    }

    fn select(&self, analysis: &Analysis, query: &Query, id: &QueryId) -> SelectedStrategy {
        let experience = Experience {
            statistics: Some(&self.statistics),
            min_applications: 5,
            recalled: &self.index.recall(&query.query, None, self.now, 3),
            patterns: &self.book.matching(&query.query, analysis.shape, analysis.complexity),
            trial: Some(Trial::of(id, self.trial_share)),
        };
        self.library.select(analysis, query, &experience)
    }

    /// What becomes of a query: the hidden part of the world.
    fn work(
        &mut self,
        (kind, form): (usize, usize),
        query: &Query,
        id: QueryId,
        analysis: &Analysis,
        ruled: Complexity,
        selected: &SelectedStrategy,
    ) -> Episode {
        let hidden = &KINDS[kind];
        let playbook = self.playbook(&selected.name);
        let succeeds = match (playbook == hidden.best, self.turned == Some(kind)) {
            (true, true) => TURNED_BAD,
            (true, false) => BEST,
            (false, _) => OTHERS,
        };
        let given = &DEFAULT_LIMITS[analysis.complexity as usize];
        // What would take more than its class gives is cut short: it makes the calls it may, and some parts are missing.
        let calls = (hidden.tasks as u64 * CALLS_A_TASK).min(given.tool_calls);
        let complete = calls == hidden.tasks as u64 * CALLS_A_TASK;
        let success = self.chance.share() < succeeds && complete;
        let definition = self.library.get(&selected.name);
        let aspects: Vec<String> = definition
            .iter()
            .flat_map(|definition| definition.templates.iter().skip(1))
            .filter(|template| template.aspect != "*")
            .map(|template| template.aspect.clone())
            .take(4)
            .collect();
        let yields: Vec<AspectYield> = aspects
            .iter()
            .map(|aspect| {
                let share = if aspect == hidden.barren { BARREN } else { YIELDS };
                AspectYield {
                    aspect: aspect.clone(),
                    findings: u64::from(self.chance.share() < share),
                }
            })
            .collect();
        let tasks = hidden.tasks.min(given.workers);
        let noise = 0.7 + 0.6 * self.chance.share();
        // Each way to ask takes its own time, which no strategy tells.
        let duration_ms = (noise * 2_000.0 * hidden.tasks as f64 * (1 + 3 * form) as f64).min(given.duration_ms);
        Episode {
            query_id: id,
            query: query.query.clone(),
            session: None,
            workspace: None,
            strategy: selected.name.clone(),
            leaning: selected.leaning.clone(),
            complexity: Some(analysis.complexity),
            ruled: (ruled != analysis.complexity).then_some(ruled),
            shape: Some(analysis.shape),
            aspects,
            aspects_asked: analysis.aspects.len(),
            yields,
            tools: BTreeMap::from([("code.search".to_owned(), 1)]),
            retries: 0,
            hand_overs: 0,
            conflicts: 0,
            tasks: given.workers,
            workers: given.workers,
            status: match complete {
                true => AnswerStatus::Complete,
                false => AnswerStatus::Partial,
            },
            stop_reason: StopReason::Finished,
            success,
            quality: Some(QualityMetrics {
                completeness: if success { 0.9 } else { 0.5 },
                coverage: tasks as f64 / given.workers as f64,
                ..QualityMetrics::default()
            }),
            usage: Usage {
                tool_calls: calls,
                ..Usage::default()
            },
            duration_ms,
            summary: String::new(),
            places: Vec::new(),
            at: self.now,
        }
    }

    fn learn(&mut self, episode: Episode) {
        let quality = episode.quality.map_or(0.0, |quality| quality.completeness);
        let statistics = self.statistics.entry(episode.strategy.clone()).or_default();
        statistics.record(episode.success, episode.duration_ms as u64, 0.0, quality);
        self.predictor.observe(&episode);
        self.durations.observe(&episode);
        self.index.insert(episode);
        if self.asked.is_multiple_of(MINED_EVERY as u64) {
            self.mine();
        }
    }

    fn mine(&mut self) {
        let corpus = Corpus::new(self.index.episodes(), &BTreeSet::new());
        let mined = mine(&corpus, self.now);
        let known = Known {
            corpus: &corpus,
            library: &self.library,
            definitions: &self.definitions,
        };
        for change in changes(&known, &mined, self.now) {
            match change {
                Change::Define { definition, .. } => self.definitions.insert(definition.name.clone(), *definition),
                Change::Delete { name, .. } => self.definitions.remove(&name),
            };
        }
        let in_force = self
            .definitions
            .values()
            .filter(|definition| definition.stage != Stage::Dropped);
        self.library = self.builtin.with_overrides(in_force);
        let records = mined.into_iter().map(|pattern| {
            let record = PatternRecord {
                known_to: self.now,
                removed: None,
                pattern,
            };
            (record.pattern.key(), record)
        });
        self.book.records = records.collect();
    }
}
