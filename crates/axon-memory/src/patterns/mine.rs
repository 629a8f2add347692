//! Finds patterns among episodes: for each kind of query that occurs often enough, what held of it surely more, or less,
//! than of what it is compared with. Pure and deterministic; bounded in words, kinds and patterns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axon_protocol::{Complexity, Lesson, Pattern, QueryKind, Shape, Trouble};
use chrono::{DateTime, Utc};

use super::corpus::{Corpus, Entry};
use super::tally::Tally;
use crate::recall::age_weight;

/// Patterns that are kept.
pub const PATTERNS_MAX: usize = 100;
/// Weight of the queries that a share rests on at least. Each counts less than the one after it: six new ones have it.
pub(super) const SUPPORT_MIN: f64 = 5.0;
/// Applications of a strategy to queries that read alike after which an earlier one counts half.
const OVERTAKEN_AFTER: f64 = 50.0;
/// Words of a query by which it is compared with others, the commonest ones, and those by which more than its strategy is.
const WORDS_MAX: usize = 8;
const WORDS_BEYOND_STRATEGY_MAX: usize = 4;
/// Episodes that hold a word at least, and the share of all that does at most: a word in nearly every query tells no kind.
const WORD_EPISODES_MIN: usize = 5;
const WORD_SHARE_MAX: f64 = 0.7;
/// Words that go with those of a kind.
const ALONG_MAX: usize = 6;
/// An aspect is barren that surely yields at most this often, and fruitful from the other on.
const BARREN_MAX: f64 = 0.2;
const FRUITFUL_MIN: f64 = 0.7;
/// So often a number of tasks is surely enough.
const ENOUGH_MIN: f64 = 0.8;
/// A tool is worth naming that surely contributes this often.
const TOOL_MIN: f64 = 0.5;
/// Trouble is worth telling that surely comes this often.
const TROUBLE_MIN: f64 = 0.25;

/// What is counted of queries of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    /// Whether a strategy succeeds, for queries that read like one.
    Strategy { leaning: String, followed: String },
    /// Whether an aspect that nobody asked for yields.
    Aspect { strategy: String, aspect: String },
    /// Whether findings of a tool are kept.
    Tool { strategy: String, tool: String },
    /// Whether something happens on the way.
    Trouble { strategy: String, trouble: Trouble },
    /// Whether so many tasks contribute at most, where there were more.
    Enough { strategy: String, tasks: usize },
    /// Whether so many tasks succeed, among queries of one class: what is simple has fewer tasks and succeeds more often.
    Tasks {
        strategy: String,
        complexity: Option<Complexity>,
        tasks: usize,
    },
}

/// A property of a query by which kinds are told: an index among the [`Traits`].
type Trait = u32;
/// No property.
const ANY: Trait = 0;

/// Up to two properties, the smaller first.
type Kind = (Trait, Trait);

/// The properties there are, by index.
struct Traits {
    names: Vec<QueryKind>,
    words: HashMap<String, Trait>,
}

const COMPLEXITIES: [Complexity; 3] = [Complexity::Simple, Complexity::Medium, Complexity::Complex];
const SHAPES: [Shape; 4] = [Shape::Single, Shape::Chain, Shape::Graph, Shape::FanOut];

impl Traits {
    fn of(corpus: &Corpus) -> Self {
        let mut names = vec![QueryKind::default()];
        names.extend(COMPLEXITIES.map(|complexity| QueryKind {
            complexity: Some(complexity),
            ..QueryKind::default()
        }));
        names.extend(SHAPES.map(|shape| QueryKind {
            shape: Some(shape),
            ..QueryKind::default()
        }));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for word in corpus.entries.iter().flat_map(|entry| &entry.words) {
            *counts.entry(word).or_default() += 1;
        }
        let most = (corpus.entries.len() as f64 * WORD_SHARE_MAX) as usize;
        let mut common: Vec<(&str, usize)> = counts
            .into_iter()
            .filter(|(_, count)| (WORD_EPISODES_MIN..=most).contains(count))
            .collect();
        // The commonest word has the smallest index; of two as common the first of the alphabet.
        common.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut words = HashMap::new();
        for (word, _) in common {
            words.insert(word.to_owned(), names.len() as Trait);
            names.push(QueryKind {
                words: vec![word.to_owned()],
                ..QueryKind::default()
            });
        }
        Self { names, words }
    }

    /// The words of an episode, the commonest first.
    fn words_of(&self, entry: &Entry) -> Vec<Trait> {
        let mut words: Vec<Trait> = entry
            .words
            .iter()
            .filter_map(|word| self.words.get(word).copied())
            .collect();
        words.sort_unstable();
        words.truncate(WORDS_MAX);
        words
    }

    /// Complexity and shape of an episode.
    fn analysed(entry: &Entry) -> [Trait; 2] {
        let complexity = COMPLEXITIES
            .iter()
            .position(|one| entry.episode.complexity == Some(*one));
        let shape = SHAPES.iter().position(|one| entry.episode.shape == Some(*one));
        [
            complexity.map_or(ANY, |index| 1 + index as Trait),
            shape.map_or(ANY, |index| (1 + COMPLEXITIES.len() + index) as Trait),
        ]
    }

    fn kind(&self, (first, second): Kind) -> QueryKind {
        let mut kind = self.names[first as usize].clone();
        let other = &self.names[second as usize];
        kind.words.extend(other.words.iter().cloned());
        kind.words.sort_unstable();
        kind.shape = kind.shape.or(other.shape);
        kind.complexity = kind.complexity.or(other.complexity);
        kind
    }
}

/// The tallies of every subject for every kind of query.
struct Tallies {
    subjects: Vec<Subject>,
    /// By kind, the more general first; within a kind by subject.
    of_kind: Vec<(Kind, Vec<(u32, Tally)>)>,
}

/// What the episodes say of how queries are best worked on, the surest first, at most [`PATTERNS_MAX`].
pub fn mine(corpus: &Corpus, now: DateTime<Utc>) -> Vec<Pattern> {
    let Some(known_to) = corpus.known_to() else {
        return Vec::new();
    };
    let traits = Traits::of(corpus);
    let tallies = count(corpus, &traits, now);
    let mut found: Vec<(Found, Kind)> = Vec::new();
    for (kind, counted) in &tallies.of_kind {
        let counted: BTreeMap<&Subject, Tally> = counted
            .iter()
            .map(|(subject, tally)| (&tallies.subjects[*subject as usize], *tally))
            .collect();
        for one in lessons(&counted) {
            add(&mut found, one, *kind, &traits);
        }
    }
    let mut patterns: Vec<Pattern> = found
        .into_iter()
        .map(|(one, kind)| one.pattern(traits.kind(kind), known_to))
        .collect();
    let sure = |pattern: &Pattern| (pattern.confidence - pattern.compared).abs() * pattern.support;
    patterns.sort_by(|a, b| {
        sure(b)
            .total_cmp(&sure(a))
            .then_with(|| (&a.when, &a.lesson).cmp(&(&b.when, &b.lesson)))
    });
    patterns.truncate(PATTERNS_MAX);
    patterns
}

fn count(corpus: &Corpus, traits: &Traits, now: DateTime<Utc>) -> Tallies {
    let mut tools: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in &corpus.entries {
        let used = entry.episode.tools.keys().map(String::as_str);
        tools.entry(&entry.episode.strategy).or_default().extend(used);
    }
    let mut subjects: HashMap<Subject, u32> = HashMap::new();
    let mut tallies: HashMap<(Kind, u32), Tally> = HashMap::new();
    for (entry, later) in corpus.entries.iter().zip(later(corpus)) {
        let weight = age_weight(entry.episode.at, now) * 0.5_f64.powf(later as f64 / OVERTAKEN_AFTER);
        let known = tools.get(entry.episode.strategy.as_str());
        let (words, analysed) = (traits.words_of(entry), Traits::analysed(entry));
        for (held, subject) in observed(entry, known) {
            let of_strategy = matches!(subject, Subject::Strategy { .. });
            let next = subjects.len() as u32;
            let subject = *subjects.entry(subject).or_insert(next);
            let kinds = match of_strategy {
                true => kinds(&words, &analysed, true),
                false => kinds(
                    &words[..words.len().min(WORDS_BEYOND_STRATEGY_MAX)],
                    &analysed[..1],
                    false,
                ),
            };
            for kind in kinds {
                tallies.entry((kind, subject)).or_default().add(held, weight);
            }
        }
    }
    let mut names: Vec<Subject> = vec![
        Subject::Tool {
            strategy: String::new(),
            tool: String::new()
        };
        subjects.len()
    ];
    for (subject, index) in subjects {
        names[index as usize] = subject;
    }
    let mut by_kind: BTreeMap<(bool, bool, Kind), Vec<(u32, Tally)>> = BTreeMap::new();
    for ((kind, subject), tally) in tallies {
        by_kind
            .entry((kind.1 != ANY, kind.0 != ANY, kind))
            .or_default()
            .push((subject, tally));
    }
    let of_kind = by_kind
        .into_iter()
        .map(|((_, _, kind), counted)| (kind, counted))
        .collect();
    Tallies {
        subjects: names,
        of_kind,
    }
}

/// For each episode how often its strategy was followed later for queries that read alike. What was found long before tells
/// little of a strategy that has changed since, also for a word that hardly ever comes.
fn later(corpus: &Corpus) -> Vec<usize> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    let mut later = vec![0; corpus.entries.len()];
    for (entry, later) in corpus.entries.iter().zip(&mut later).rev() {
        let seen = seen.entry((entry.leaning(), &entry.episode.strategy)).or_default();
        *later = *seen;
        *seen += 1;
    }
    later
}

/// The kinds that an episode belongs to.
fn kinds(words: &[Trait], analysed: &[Trait], pairs: bool) -> Vec<Kind> {
    let mut kinds = vec![(ANY, ANY)];
    kinds.extend(analysed.iter().filter(|one| **one != ANY).map(|one| (*one, ANY)));
    for (index, word) in words.iter().enumerate() {
        kinds.push((*word, ANY));
        if pairs {
            kinds.extend(words[index + 1..].iter().map(|other| (*word, *other)));
        }
    }
    kinds
}

/// What an episode says of each subject. `tools` are all that ever contributed with its strategy.
fn observed(entry: &Entry, tools: Option<&BTreeSet<&str>>) -> Vec<(bool, Subject)> {
    let episode = &entry.episode;
    let strategy = || episode.strategy.clone();
    let mut said = Vec::new();
    if entry.tells {
        let leaning = entry.leaning().to_owned();
        said.push((
            entry.success,
            Subject::Strategy {
                leaning,
                followed: strategy(),
            },
        ));
    }
    said.extend(episode.yields.iter().map(|brought| {
        let aspect = brought.aspect.clone();
        (
            brought.findings > 0,
            Subject::Aspect {
                strategy: strategy(),
                aspect,
            },
        )
    }));
    // Where no tool is known to have contributed, it is not known which did.
    for tool in tools.into_iter().flatten().filter(|_| !episode.tools.is_empty()) {
        let tool = (*tool).to_owned();
        said.push((
            episode.tools.contains_key(&tool),
            Subject::Tool {
                strategy: strategy(),
                tool,
            },
        ));
    }
    for (happened, trouble) in [
        (episode.retries > 0, Trouble::Retries),
        (episode.hand_overs > 0, Trouble::HandOvers),
        (episode.conflicts > 0, Trouble::Conflicts),
    ] {
        said.push((
            happened,
            Subject::Trouble {
                strategy: strategy(),
                trouble,
            },
        ));
    }
    let tasks = episode.tasks;
    said.push((
        entry.success,
        Subject::Tasks {
            strategy: strategy(),
            complexity: episode.complexity,
            tasks,
        },
    ));
    if let Some(quality) = episode.quality.filter(|_| entry.success) {
        let contributed = (quality.coverage * tasks as f64).ceil() as usize;
        said.extend((1..tasks).map(|fewer| {
            (
                contributed <= fewer,
                Subject::Enough {
                    strategy: strategy(),
                    tasks: fewer,
                },
            )
        }));
    }
    said
}

/// A lesson of one kind of query, with its figures.
struct Found {
    lesson: Lesson,
    complexity: Option<Complexity>,
    leaning: Option<String>,
    tally: Tally,
    /// The bound of its share that matters.
    bound: f64,
    compared: f64,
    compared_with: String,
    along: Vec<String>,
}

impl Found {
    fn pattern(self, mut when: QueryKind, at: DateTime<Utc>) -> Pattern {
        when.leaning = self.leaning;
        when.complexity = when.complexity.or(self.complexity);
        Pattern {
            when,
            along: self.along,
            lesson: self.lesson,
            support: self.tally.weight,
            rate: self.tally.rate(),
            confidence: self.bound,
            compared: self.compared,
            compared_with: self.compared_with,
            at,
        }
    }
}

/// Keeps a lesson unless a more general kind of query says the same. The same evidence by another word is told once.
fn add(found: &mut Vec<(Found, Kind)>, one: Found, kind: Kind, traits: &Traits) {
    let holds =
        |general: Kind| general == (ANY, ANY) || general.1 == ANY && (general.0 == kind.0 || general.0 == kind.1);
    let same = |other: &Found| {
        (&other.lesson, &other.leaning, other.complexity) == (&one.lesson, &one.leaning, one.complexity)
    };
    if found.iter().any(|(other, general)| same(other) && holds(*general)) {
        return;
    }
    let twin = found
        .iter_mut()
        .find(|(other, known)| same(other) && (known.1 == ANY) == (kind.1 == ANY) && other.tally == one.tally);
    let Some((twin, known)) = twin else {
        return found.push((one, kind));
    };
    let known = traits.kind(*known);
    for word in traits.kind(kind).words {
        if twin.along.len() < ALONG_MAX && !known.words.contains(&word) && !twin.along.contains(&word) {
            twin.along.push(word);
        }
    }
}

fn lessons(counted: &BTreeMap<&Subject, Tally>) -> Vec<Found> {
    let mut found = Vec::new();
    // Of several numbers of tasks the smallest says it all.
    let mut enough_found: BTreeSet<&String> = BTreeSet::new();
    let mut needed_found: BTreeSet<(&String, Option<Complexity>)> = BTreeSet::new();
    for (subject, tally) in counted {
        if tally.weight < SUPPORT_MIN {
            continue;
        }
        match subject {
            Subject::Strategy { leaning, followed } => found.extend(better(counted, leaning, followed, *tally)),
            Subject::Aspect { strategy, aspect } => found.extend(yielding(counted, strategy, aspect, *tally)),
            Subject::Tool { strategy, tool } => found.extend(contributing(counted, strategy, tool, *tally)),
            Subject::Trouble { strategy, trouble } => found.extend(troubled(counted, strategy, *trouble, *tally)),
            Subject::Enough { strategy, tasks } if !enough_found.contains(strategy) => {
                let one = enough(counted, strategy, *tasks, *tally);
                enough_found.extend(one.is_some().then_some(strategy));
                found.extend(one);
            }
            Subject::Tasks {
                strategy,
                complexity,
                tasks,
            } if !needed_found.contains(&(strategy, *complexity)) => {
                let one = needed(counted, strategy, *complexity, *tasks);
                needed_found.extend(one.is_some().then_some((strategy, *complexity)));
                found.extend(one);
            }
            Subject::Enough { .. } | Subject::Tasks { .. } => {}
        }
    }
    found
}

fn better(counted: &BTreeMap<&Subject, Tally>, leaning: &str, followed: &str, tally: Tally) -> Option<Found> {
    if followed == leaning {
        return None;
    }
    let usual = Subject::Strategy {
        leaning: leaning.to_owned(),
        followed: leaning.to_owned(),
    };
    let usual = counted.get(&usual).filter(|usual| usual.weight >= SUPPORT_MIN)?;
    tally.exceeds(usual).then(|| Found {
        lesson: Lesson::Strategy {
            follow: followed.to_owned(),
            instead_of: leaning.to_owned(),
        },
        complexity: None,
        leaning: Some(leaning.to_owned()),
        tally,
        bound: tally.bounds().0,
        compared: usual.rate(),
        compared_with: format!("of {:.1} with {leaning}", usual.weight),
        along: Vec::new(),
    })
}

/// All tallies of one sort together.
fn total(counted: &BTreeMap<&Subject, Tally>, belongs: impl Fn(&Subject) -> bool) -> Tally {
    let tallies = counted
        .iter()
        .filter(|(subject, _)| belongs(subject))
        .map(|(_, tally)| *tally);
    tallies.fold(Tally::default(), Tally::with)
}

fn yielding(counted: &BTreeMap<&Subject, Tally>, strategy: &str, aspect: &str, tally: Tally) -> Option<Found> {
    let of_strategy = |subject: &Subject| matches!(subject, Subject::Aspect { strategy: of, .. } if of == strategy);
    let others = total(counted, of_strategy).without(tally);
    let (low, high) = tally.bounds();
    let (strategy, aspect) = (strategy.to_owned(), aspect.to_owned());
    let (lesson, bound) = if high <= BARREN_MAX && others.exceeds(&tally) {
        (Lesson::Barren { strategy, aspect }, high)
    } else if low >= FRUITFUL_MIN && tally.exceeds(&others) {
        (Lesson::Fruitful { strategy, aspect }, low)
    } else {
        return None;
    };
    Some(Found {
        lesson,
        complexity: None,
        leaning: None,
        tally,
        bound,
        compared: others.rate(),
        compared_with: "of its other aspects".to_owned(),
        along: Vec::new(),
    })
}

fn contributing(counted: &BTreeMap<&Subject, Tally>, strategy: &str, tool: &str, tally: Tally) -> Option<Found> {
    let of_strategy = |subject: &Subject| matches!(subject, Subject::Tool { strategy: of, .. } if of == strategy);
    let others = total(counted, of_strategy).without(tally);
    let low = tally.bounds().0;
    (others.weight >= SUPPORT_MIN && low >= TOOL_MIN && tally.exceeds(&others)).then(|| Found {
        lesson: Lesson::Tool {
            strategy: strategy.to_owned(),
            tool: tool.to_owned(),
        },
        complexity: None,
        leaning: None,
        tally,
        bound: low,
        compared: others.rate(),
        compared_with: "of its other tools".to_owned(),
        along: Vec::new(),
    })
}

fn troubled(counted: &BTreeMap<&Subject, Tally>, strategy: &str, trouble: Trouble, tally: Tally) -> Option<Found> {
    let same = |subject: &Subject| matches!(subject, Subject::Trouble { trouble: of, .. } if *of == trouble);
    let others = total(counted, same).without(tally);
    let low = tally.bounds().0;
    (low >= TROUBLE_MIN && (others.weight < SUPPORT_MIN || tally.exceeds(&others))).then(|| Found {
        lesson: Lesson::Trouble {
            strategy: strategy.to_owned(),
            trouble,
        },
        complexity: None,
        leaning: None,
        tally,
        bound: low,
        compared: others.rate(),
        compared_with: "with other strategies".to_owned(),
        along: Vec::new(),
    })
}

fn enough(counted: &BTreeMap<&Subject, Tally>, strategy: &str, tasks: usize, tally: Tally) -> Option<Found> {
    let fewer = Subject::Enough {
        strategy: strategy.to_owned(),
        tasks: tasks - 1,
    };
    let low = tally.bounds().0;
    (low >= ENOUGH_MIN).then(|| Found {
        lesson: Lesson::Enough {
            strategy: strategy.to_owned(),
            tasks,
        },
        complexity: None,
        leaning: None,
        tally,
        bound: low,
        compared: counted.get(&fewer).map_or(0.0, Tally::rate),
        compared_with: "with one task fewer".to_owned(),
        along: Vec::new(),
    })
}

fn needed(
    counted: &BTreeMap<&Subject, Tally>,
    strategy: &str,
    class: Option<Complexity>,
    tasks: usize,
) -> Option<Found> {
    let with = |wanted: std::ops::Range<usize>| {
        let belongs = |subject: &Subject| {
            matches!(subject, Subject::Tasks { strategy: of, complexity, tasks }
                if of == strategy && *complexity == class && wanted.contains(tasks))
        };
        total(counted, belongs)
    };
    let (fewer, more) = (with(0..tasks), with(tasks..usize::MAX));
    (fewer.weight >= SUPPORT_MIN && more.exceeds(&fewer)).then(|| Found {
        lesson: Lesson::Needed {
            strategy: strategy.to_owned(),
            tasks,
        },
        complexity: class,
        leaning: None,
        tally: more,
        bound: more.bounds().0,
        compared: fewer.rate(),
        compared_with: format!("of {:.1} with fewer tasks", fewer.weight),
        along: Vec::new(),
    })
}
