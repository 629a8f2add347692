//! The strategy library: built-in strategies as data files, overridable and extendable by definitions from outside, and
//! the choice among them with scores and reasons. It keeps no experience; that is an argument.

mod experience;

use std::sync::Arc;

use axon_memory::is_of_kind;
use axon_protocol::{Analysis, DelegationTemplate, Query, QueryKind, SelectedStrategy, Stage, StrategyDefinition};
use regex::{RegexSet, RegexSetBuilder};

use crate::analysis::Vocabulary;
use experience::{Scored, is_candidate};

pub(crate) use experience::strategy_patterns;
pub use experience::{Experience, Trial};

/// The strategy that is followed when no other fits.
pub const GENERAL: &str = "general";
/// The aspect of a template that takes aspects no other template covers.
pub const ANY_ASPECT: &str = "*";

/// The strategy whose templates name the qualities of software.
const REVIEWS: &str = "code_review";

const BUILTIN: &[(&str, &str)] = &[
    (REVIEWS, include_str!("../strategies/code_review.toml")),
    (
        "bug_investigation",
        include_str!("../strategies/bug_investigation.toml"),
    ),
    ("code_generation", include_str!("../strategies/code_generation.toml")),
    ("refactoring", include_str!("../strategies/refactoring.toml")),
    ("testing", include_str!("../strategies/testing.toml")),
    ("comparison", include_str!("../strategies/comparison.toml")),
    ("research", include_str!("../strategies/research.toml")),
    (GENERAL, include_str!("../strategies/general.toml")),
];

/// The score of the general strategy: what another must exceed.
const GENERAL_FLOOR: f64 = 0.5;
/// The first pattern that matches, and each further one.
const PATTERN_POINTS: (f64, f64) = (1.0, 0.4);
const PATTERN_POINTS_MAX: f64 = 1.8;
const KEYWORD_POINTS: f64 = 0.3;
const KEYWORD_POINTS_MAX: f64 = 0.9;
const CAPABILITY_POINTS: f64 = 0.5;
/// For an aspect that is the name of a template, and for one that is another word for it.
const ASPECT_POINTS: (f64, f64) = (0.3, 0.1);
const ASPECT_POINTS_MAX: f64 = 0.9;
/// What patterns and keywords are worth to a strategy that knows none of several aspects asked for: they then speak of a
/// part of the query only.
const ASPECTS_UNKNOWN_SHARE: f64 = 0.6;
/// Largest compiled size of the patterns of one strategy, in bytes: definitions come from outside.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a definition is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the strategy `{name}` cannot be used: {problem}. Correct its definition; until then the one before stays in force"
)]
pub struct StrategyError {
    /// The strategy.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The strategies a lead chooses from.
#[derive(Debug, Clone)]
pub struct Library {
    strategies: Vec<Arc<Strategy>>,
    rejected: Vec<StrategyError>,
    vocabulary: Arc<Vocabulary>,
}

#[derive(Debug)]
struct Strategy {
    definition: StrategyDefinition,
    patterns: RegexSet,
}

impl Library {
    /// The built-in strategies. An error means that the binary itself was built from a broken data file.
    pub fn builtin() -> Result<Self, StrategyError> {
        let strategies = BUILTIN.iter().map(|(name, text)| {
            let definition = toml::from_str(text).map_err(|error| StrategyError {
                name: (*name).to_owned(),
                problem: error.to_string(),
            })?;
            Strategy::new(definition).map(Arc::new)
        });
        let mut library = Self {
            strategies: strategies.collect::<Result<_, _>>()?,
            rejected: Vec::new(),
            vocabulary: Arc::default(),
        };
        library.learn_words();
        Ok(library)
    }

    /// This library with definitions added; one of a known name replaces it. What cannot be used is left out and found
    /// in [`Library::rejected`].
    pub fn with_overrides<'a>(&self, definitions: impl IntoIterator<Item = &'a StrategyDefinition>) -> Self {
        let mut library = self.clone();
        let mut changed = false;
        for definition in definitions {
            if definition.stage == Stage::Dropped || library.get(&definition.name) == Some(definition) {
                continue;
            }
            match Strategy::new(definition.clone()) {
                Ok(strategy) => {
                    library.put(Arc::new(strategy));
                    changed = true;
                }
                Err(error) => library.rejected.push(error),
            }
        }
        if changed {
            library.learn_words();
        }
        library
    }

    /// The words by which the strategies in force name what they look at: those of reviews, whose aspects are the
    /// qualities of software, and those of strategies added from outside.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn learn_words(&mut self) {
        // What was generated has the words of what it was generated from.
        let added = |definition: &&StrategyDefinition| {
            definition.learnt_from.is_none() && !BUILTIN.iter().any(|(name, _)| *name == definition.name)
        };
        let vocabulary = Vocabulary::of(self.get(REVIEWS).into_iter().chain(self.definitions().filter(added)));
        self.vocabulary = Arc::new(vocabulary);
    }

    /// The definitions that could not be used, and why.
    pub fn rejected(&self) -> &[StrategyError] {
        &self.rejected
    }

    fn put(&mut self, strategy: Arc<Strategy>) {
        let name = &strategy.definition.name;
        match self.strategies.iter_mut().find(|known| known.definition.name == *name) {
            Some(known) => *known = strategy,
            None => self.strategies.push(strategy),
        }
    }

    /// A strategy by its name.
    pub fn get(&self, name: &str) -> Option<&StrategyDefinition> {
        self.definitions().find(|definition| definition.name == name)
    }

    /// All strategies: the built-in ones first, then the added ones in the order they came.
    pub fn definitions(&self) -> impl Iterator<Item = &StrategyDefinition> {
        self.strategies.iter().map(|strategy| &strategy.definition)
    }

    /// Chooses the strategy with the highest score: patterns, keywords, capabilities and aspects that match, weighed by what
    /// experience says. The general strategy has a floor score. A small share of queries tries another strategy.
    pub fn select(&self, analysis: &Analysis, query: &Query, experience: &Experience<'_>) -> SelectedStrategy {
        let words = Words::of(&query.query);
        let mut scored: Vec<Scored<'_>> = self
            .strategies
            .iter()
            .map(|strategy| {
                let (score, reasons) = strategy.score(analysis, query, &words);
                Scored {
                    definition: &strategy.definition,
                    score: rounded(score),
                    reasons,
                }
            })
            .collect();
        rank(&mut scored);
        // What the fleet generated is compared with what people wrote, so it does not change what a query reads like.
        let own = scored.iter().find(|one| one.definition.learnt_from.is_none());
        let leaning = own.map_or(GENERAL, |one| one.definition.name.as_str());
        for one in &mut scored {
            experience.weigh(one, leaning);
            one.score = rounded(one.score);
        }
        rank(&mut scored);
        let (candidates, mut ranked): (Vec<Scored<'_>>, Vec<Scored<'_>>) = scored
            .into_iter()
            .partition(|one| one.definition.stage != Stage::Trusted);
        let fits = |kind: &QueryKind| is_of_kind(kind, &query.query, analysis.shape, analysis.complexity);
        let candidates: Vec<Scored<'_>> = candidates
            .into_iter()
            .filter(|one| is_candidate(one.definition, leaning, fits))
            .collect();
        let tried = experience.tried(&ranked, &candidates);
        let mut trial = false;
        if let Some((name, why)) = tried {
            ranked.extend(candidates);
            if let Some(index) = ranked.iter().position(|one| one.definition.name == name) {
                let mut one = ranked.remove(index);
                one.reasons.insert(0, why);
                ranked.insert(0, one);
                trial = true;
            }
        }
        let mut ranked = ranked.into_iter();
        let Some(first) = ranked.next() else {
            return SelectedStrategy {
                name: GENERAL.to_owned(),
                score: 0.0,
                reasons: vec!["the library is empty".to_owned()],
                others: Vec::new(),
                leaning: None,
                trial: false,
            };
        };
        let name = first.definition.name.clone();
        SelectedStrategy {
            score: first.score,
            reasons: first.reasons,
            others: ranked.map(|one| (one.definition.name.clone(), one.score)).collect(),
            leaning: (name != leaning).then(|| leaning.to_owned()),
            name,
            trial,
        }
    }
}

/// A stable sort, the highest score first: of equal scores the earlier strategy wins, and the general one loses to any.
fn rank(scored: &mut [Scored<'_>]) {
    let general = |one: &Scored<'_>| one.definition.name == GENERAL;
    scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(general(a).cmp(&general(b))));
}

impl Strategy {
    fn new(definition: StrategyDefinition) -> Result<Self, StrategyError> {
        let refuse = |problem: String| StrategyError {
            name: definition.name.clone(),
            problem,
        };
        let named = (1..=32).contains(&definition.name.len())
            && definition
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named {
            return Err(refuse(
                "its name must be 1 to 32 lower-case letters, digits or `_`".to_owned(),
            ));
        }
        if definition.capabilities.is_empty() {
            return Err(refuse(
                "it names no capability, so nobody could take its tasks".to_owned(),
            ));
        }
        if !(1..=10).contains(&definition.priority) {
            return Err(refuse(format!(
                "its priority {} is not from 1 to 10",
                definition.priority
            )));
        }
        if definition.templates.is_empty() {
            return Err(refuse("it has no template".to_owned()));
        }
        for template in &definition.templates {
            check_template(template).map_err(&refuse)?;
        }
        let patterns = RegexSetBuilder::new(&definition.patterns)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| refuse(format!("a pattern is no regular expression: {error}")))?;
        Ok(Self { definition, patterns })
    }

    fn score(&self, analysis: &Analysis, query: &Query, words: &Words) -> (f64, Vec<String>) {
        let mut score = 0.0;
        let mut reasons = Vec::new();
        if self.definition.name == GENERAL {
            score += GENERAL_FLOOR;
            reasons.push(format!("fits anything ({GENERAL_FLOOR:+})"));
        }
        let patterns = self.patterns.matches(&query.query).iter().count();
        if patterns > 0 {
            let points = (PATTERN_POINTS.0 + PATTERN_POINTS.1 * (patterns - 1) as f64).min(PATTERN_POINTS_MAX);
            score += points;
            let form = if patterns == 1 {
                "pattern matches"
            } else {
                "patterns match"
            };
            reasons.push(format!("{patterns} {form} ({points:+.2})"));
        }
        let mut matching: Vec<&str> = Vec::new();
        let mut stems: Vec<Vec<String>> = Vec::new();
        for keyword in self.definition.keywords.iter().filter(|keyword| words.hold(keyword)) {
            let stem = Words::of(keyword).0;
            // Two forms of one word in a list are one word in a query.
            if !stems.contains(&stem) {
                stems.push(stem);
                matching.push(keyword);
            }
        }
        if !matching.is_empty() {
            let points = (KEYWORD_POINTS * matching.len() as f64).min(KEYWORD_POINTS_MAX);
            score += points;
            reasons.push(format!("keywords: {} ({points:+.2})", matching.join(", ")));
        }
        if let Some(capability) = self
            .definition
            .capabilities
            .iter()
            .find(|capability| words.hold(&spaced(capability.as_str())))
        {
            score += CAPABILITY_POINTS;
            reasons.push(format!("names its capability {capability} ({CAPABILITY_POINTS:+.2})"));
        }
        // Aspects speak for a strategy that has something of its own to say about them.
        let known: Vec<f64> = analysis
            .aspects
            .iter()
            .filter(|_| self.definition.name != GENERAL)
            .filter_map(|aspect| Some((aspect, template_for(&self.definition, aspect)?)))
            .map(
                |(aspect, template)| match template.aspect.eq_ignore_ascii_case(aspect) {
                    true => ASPECT_POINTS.0,
                    false => ASPECT_POINTS.1,
                },
            )
            .collect();
        let aspects = known.len();
        let asked = analysis.aspects.len();
        if asked > 1 && aspects < asked && score > GENERAL_FLOOR {
            let share = ASPECTS_UNKNOWN_SHARE + (1.0 - ASPECTS_UNKNOWN_SHARE) * aspects as f64 / asked as f64;
            score *= share;
            reasons.push(format!(
                "knows only {aspects} of {asked} aspects asked for (×{share:.2})"
            ));
        }
        if aspects > 0 {
            let points = known.iter().sum::<f64>().min(ASPECT_POINTS_MAX);
            score += points;
            reasons.push(format!(
                "has templates for {aspects} of the aspects asked for ({points:+.2})"
            ));
        }
        if reasons.is_empty() {
            reasons.push("nothing speaks for it".to_owned());
        }
        (score, reasons)
    }
}

fn check_template(template: &DelegationTemplate) -> Result<(), String> {
    let aspect = &template.aspect;
    if aspect.trim().is_empty() {
        return Err("a template has no aspect".to_owned());
    }
    if template.objective.trim().is_empty() {
        return Err(format!("the template `{aspect}` has no objective"));
    }
    if template.allowed_tools.is_empty() {
        return Err(format!("the template `{aspect}` allows no tool"));
    }
    Ok(())
}

/// The template of a strategy that covers an aspect by its name or another word for it; never the one for any aspect.
pub fn template_for<'a>(definition: &'a StrategyDefinition, aspect: &str) -> Option<&'a DelegationTemplate> {
    let named = |template: &&DelegationTemplate| template.aspect.eq_ignore_ascii_case(aspect);
    let lower = aspect.to_lowercase();
    let means = |word: &String| match word.strip_suffix('*') {
        Some(stem) => lower.starts_with(&stem.to_lowercase()),
        None => word.eq_ignore_ascii_case(aspect),
    };
    let called = |template: &&DelegationTemplate| template.synonyms.iter().any(means);
    let templates = || {
        definition
            .templates
            .iter()
            .filter(|template| template.aspect != ANY_ASPECT)
    };
    templates().find(named).or_else(|| templates().find(called))
}

fn rounded(score: f64) -> f64 {
    (score * 1000.0).round() / 1000.0
}

/// `CodeReview` as `code review`.
fn spaced(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (index, c) in name.chars().enumerate() {
        if index > 0 && c.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// The words of a query, reduced to their stems.
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Self {
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        Self(words.filter(|word| !word.is_empty()).map(stem).collect())
    }

    /// Whether all words of a phrase stand next to each other.
    fn hold(&self, phrase: &str) -> bool {
        let phrase = Words::of(phrase).0;
        !phrase.is_empty() && self.0.windows(phrase.len()).any(|window| window == phrase)
    }
}

/// A word without the endings of plural, past and progress: good enough to see `fails` and `failing` as one.
fn stem(word: &str) -> String {
    let word = word.to_lowercase();
    for ending in ["ing", "ies", "ied", "es", "ed", "s", "e", "y"] {
        if let Some(root) = word.strip_suffix(ending)
            && root.len() >= 3
            && !(ending == "s" && root.ends_with('s'))
        {
            return root.to_owned();
        }
    }
    word
}

#[cfg(test)]
mod tests;
