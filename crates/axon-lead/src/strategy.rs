//! The strategy library: built-in strategies as data files, overridable and extendable by definitions from outside, and
//! the choice among them with scores and reasons. It keeps no statistics; they are an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use axon_protocol::{
    Analysis, DelegationTemplate, Query, Recalled, SelectedStrategy, StrategyDefinition, StrategyStatistics,
};
use regex::{RegexSet, RegexSetBuilder};

use crate::analysis::Vocabulary;

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
/// A strategy that always succeeds is worth this much more than one that does half of the time, relative to its score.
const SUCCESS_WEIGHT: f64 = 0.4;
/// The same for what became of similar queries, once they are as alike as one equal query.
const MEMORY_WEIGHT: f64 = 0.3;
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
            if library.get(&definition.name) == Some(definition) {
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
        let added = |definition: &&StrategyDefinition| !BUILTIN.iter().any(|(name, _)| *name == definition.name);
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

    /// Chooses the strategy with the highest score: patterns, keywords, capabilities and aspects that match, weighed by
    /// the success rate of those applied at least `min_applications` times and by what became of similar queries. The
    /// general strategy has a floor score.
    pub fn select(
        &self,
        analysis: &Analysis,
        query: &Query,
        statistics: &BTreeMap<String, StrategyStatistics>,
        min_applications: u64,
        recalled: &[Recalled],
    ) -> SelectedStrategy {
        let words = Words::of(&query.query);
        let mut scored: Vec<(&str, f64, Vec<String>)> = self
            .strategies
            .iter()
            .map(|strategy| {
                let (mut score, mut reasons) = strategy.score(analysis, query, &words);
                let name = strategy.definition.name.as_str();
                if let Some((factor, reason)) = boost(statistics.get(name), min_applications) {
                    score *= factor;
                    reasons.push(reason);
                }
                if let Some((factor, reason)) = remembered(name, recalled) {
                    score *= factor;
                    reasons.push(reason);
                }
                (name, rounded(score), reasons)
            })
            .collect();
        // A stable sort: of equal scores the earlier strategy wins, and the general one loses to any.
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then((a.0 == GENERAL).cmp(&(b.0 == GENERAL))));
        let mut scored = scored.into_iter();
        let Some((name, score, reasons)) = scored.next() else {
            return SelectedStrategy {
                name: GENERAL.to_owned(),
                score: 0.0,
                reasons: vec!["the library is empty".to_owned()],
                others: Vec::new(),
            };
        };
        SelectedStrategy {
            name: name.to_owned(),
            score,
            reasons,
            others: scored.map(|(name, score, _)| (name.to_owned(), score)).collect(),
        }
    }
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

/// By how much the success of earlier applications changes a score, and why.
fn boost(statistics: Option<&StrategyStatistics>, min_applications: u64) -> Option<(f64, String)> {
    let statistics = statistics.filter(|statistics| statistics.applications >= min_applications.max(1))?;
    let rate = statistics.success_rate()?;
    let factor = 1.0 + SUCCESS_WEIGHT * (rate - 0.5);
    let reason = format!(
        "{} of {} applications succeeded (×{factor:.2})",
        statistics.succeeded(),
        statistics.applications
    );
    Some((factor, reason))
}

/// What became of similar queries with a strategy: the share that succeeded, weighed by how alike they are, counts the more
/// the more there are.
fn remembered(name: &str, recalled: &[Recalled]) -> Option<(f64, String)> {
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
mod tests {
    use std::sync::LazyLock;

    use axon_protocol::Capability;

    use super::*;
    use crate::analysis::analyze;
    use crate::view::samples::repository;

    fn library() -> Library {
        static LIBRARY: LazyLock<Library> =
            LazyLock::new(|| Library::builtin().expect("built-in strategies are sound"));
        LIBRARY.clone()
    }

    fn select(text: &str, statistics: &BTreeMap<String, StrategyStatistics>) -> SelectedStrategy {
        let query = Query::new(text);
        let library = library();
        let analysis = analyze(&query, Some(&repository()), library.vocabulary());
        library.select(&analysis, &query, statistics, 5, &[])
    }

    fn check(text: &str, expected: &str) {
        let selected = select(text, &BTreeMap::new());
        assert_eq!(selected.name, expected, "{text}\n{selected:#?}");
        assert!(!selected.reasons.is_empty() && selected.others.len() == 7);
        assert!(selected.others.iter().all(|(_, score)| *score <= selected.score));
    }

    #[test]
    fn each_kind_of_question_finds_its_strategy() {
        check("Review this repository for panics and unhandled errors", "code_review");
        check("Please audit crates/bus for security problems", "code_review");
        check("Do a code review of src/lib.rs", "code_review");
        check("Check the worker for race conditions and deadlocks", "code_review");
        check(
            "Are there code smells in the lead crate? Find risky patterns.",
            "code_review",
        );
        check("Why does `parse_header` fail on empty input?", "bug_investigation");
        check(
            "Investigate the crash in the worker after a reconnect",
            "bug_investigation",
        );
        check("axon ask hangs when the server restarts", "bug_investigation");
        check(
            "I get \"error 10071: wrong last sequence\" when publishing",
            "bug_investigation",
        );
        check(
            "Which change causes the timeout in the fleet test?",
            "bug_investigation",
        );
        check("What is the root cause of the duplicate answers?", "bug_investigation");
        check("How does a worker renew its lease?", "research");
        check("Explain the architecture of this project", "research");
        check("Compare the two cache designs in docs/", "comparison");
        check("Where are plans stored?", "research");
        check("Why was NATS chosen instead of Kafka?", "research");
        check("Why does `publish` print \"stream is full\"?", "bug_investigation");
        check("1. Locate the retry logic\n2. Describe its backoff", "research");
        check("Summarize docs/protocol.md", "research");
        check("Write a haiku about tokio", "general");
        check("Add a flag --verbose to the command line", "code_generation");
        check("Implement a rate limiter for the API", "code_generation");
        check(
            "we need a endpoint which is giving back the open tasks",
            "code_generation",
        );
        check("Rename Bus to Transport", "refactoring");
        check("Should we rename `WorkspaceView` to `Manifest`?", "refactoring");
        check("How can we simplify the state machine of the lead?", "refactoring");
        check(
            "Refactor crates/bus/src/publish.rs, it has become too long",
            "refactoring",
        );
        check("Extract the retry logic into its own module", "refactoring");
        check("Write unit tests for the tokenizer", "testing");
        check("Which public functions of the bus are untested?", "testing");
        check("Are our tests any good? Some of them seem flaky", "testing");
        check("What is not covered by tests in crates/lead", "testing");
        check("Should we use tokio or smol for the worker?", "comparison");
        check("LRU vs clock cache, which one is better for us", "comparison");
        check("How does the lead differ from the worker?", "comparison");
    }

    #[test]
    fn success_moves_the_choice_only_once_there_is_experience() {
        let text = "Describe the errors of the bus and review them";
        let before = select(text, &BTreeMap::new());
        let runner_up = before.others[0].0.clone();
        let statistics = |applications, successes| StrategyStatistics {
            applications,
            successes,
            ..StrategyStatistics::default()
        };
        let bad = |applications| {
            BTreeMap::from([
                (before.name.clone(), statistics(applications, 0)),
                (runner_up.clone(), statistics(applications, applications)),
            ])
        };
        let early = select(text, &bad(4));
        assert_eq!((early.name.as_str(), early.score), (before.name.as_str(), before.score));
        let late = select(text, &bad(5));
        let score_of = |selected: &SelectedStrategy, name: &str| {
            if selected.name == name {
                selected.score
            } else {
                selected
                    .others
                    .iter()
                    .find(|(other, _)| other == name)
                    .map_or(0.0, |(_, score)| *score)
            }
        };
        assert!((score_of(&late, &before.name) - 0.8 * before.score).abs() < 0.01);
        assert!((score_of(&late, &runner_up) - 1.2 * before.others[0].1).abs() < 0.01);
    }

    #[test]
    fn definitions_from_outside_replace_and_add() {
        let mut review = library().get("code_review").expect("built in").clone();
        review.description = "our own".to_owned();
        let own = StrategyDefinition {
            name: "licences".to_owned(),
            patterns: vec!["licen[cs]e".to_owned()],
            keywords: vec!["license".to_owned()],
            ..review.clone()
        };
        let broken = StrategyDefinition {
            name: "broken".to_owned(),
            patterns: vec!["(".to_owned()],
            ..review.clone()
        };
        let library = library().with_overrides(&[review, own, broken]);
        let errors = library.rejected();
        assert_eq!(
            library.get("code_review").map(|found| found.description.as_str()),
            Some("our own")
        );
        assert_eq!(library.definitions().count(), 9);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0]
                .to_string()
                .contains("`broken` cannot be used: a pattern is no regular expression")
        );
        let query = Query::new("Which license has each file?");
        let selected = library.select(
            &analyze(&query, None, library.vocabulary()),
            &query,
            &BTreeMap::new(),
            5,
            &[],
        );
        assert_eq!(selected.name, "licences", "{selected:#?}");
    }

    #[test]
    fn what_became_of_similar_queries_moves_the_choice() {
        let recalled = |strategy: &str, success: bool, score: f64| Recalled {
            query_id: axon_protocol::QueryId::from_sequence(1),
            query: "like it".to_owned(),
            strategy: strategy.to_owned(),
            status: axon_protocol::AnswerStatus::Complete,
            success,
            similarity: score,
            score,
            same_workspace: false,
            summary: String::new(),
            places: Vec::new(),
            duration_ms: 1.0,
            at: chrono::DateTime::UNIX_EPOCH,
        };
        for (memory, expected) in [
            (vec![], None),
            (vec![recalled("research", true, 0.0)], None),
            (vec![recalled("testing", true, 1.0)], None),
            (
                vec![recalled("research", true, 1.0)],
                Some("1 of 1 similar queries succeeded with it (×1.15)"),
            ),
            (
                vec![recalled("research", true, 0.5)],
                Some("1 of 1 similar queries succeeded with it (×1.07)"),
            ),
            (
                vec![recalled("research", false, 1.0)],
                Some("0 of 1 similar queries succeeded with it (×0.85)"),
            ),
            (
                vec![recalled("research", true, 0.5), recalled("research", false, 0.5)],
                Some("1 of 2 similar queries succeeded with it (×1.00)"),
            ),
            (
                vec![recalled("research", true, 1.0), recalled("research", true, 1.0)],
                Some("2 of 2 similar queries succeeded with it (×1.15)"),
            ),
        ] {
            assert_eq!(
                remembered("research", &memory).map(|(_, reason)| reason).as_deref(),
                expected
            );
        }
        // Words speak for two strategies, and experience decides between them.
        let text = "Explain how the cache works and why it is slow";
        let query = Query::new(text);
        let library = library();
        let analysis = analyze(&query, Some(&repository()), library.vocabulary());
        let score = |name: &str, memory: &[Recalled]| {
            let selected = library.select(&analysis, &query, &BTreeMap::new(), 5, memory);
            let others = selected.others.into_iter().chain([(selected.name, selected.score)]);
            others
                .into_iter()
                .find(|(other, _)| other == name)
                .map(|(_, score)| score)
        };
        let failed = [recalled("research", false, 1.0)];
        assert!(score("research", &failed) < score("research", &[]));
    }

    #[test]
    fn broken_definitions_are_named_with_the_reason() {
        let good = library().get("research").expect("built in").clone();
        let check = |change: &dyn Fn(&mut StrategyDefinition), expected: &str| {
            let mut definition = good.clone();
            change(&mut definition);
            let library = library().with_overrides([&definition]);
            let errors = library.rejected();
            assert!(
                errors.first().is_some_and(|error| error.problem.contains(expected)),
                "{expected}: {errors:?}"
            );
        };
        check(&|d| d.name = "Own Name".to_owned(), "lower-case");
        check(&|d| d.capabilities.clear(), "no capability");
        check(&|d| d.templates.clear(), "no template");
        check(&|d| d.templates[0].objective.clear(), "no objective");
        check(&|d| d.templates[0].allowed_tools.clear(), "allows no tool");
        check(&|d| d.priority = 0, "priority 0");
    }

    #[test]
    fn built_in_templates_are_whole() {
        for definition in library().definitions() {
            let name = &definition.name;
            assert!(definition.templates.len() >= 5, "{name}");
            assert_eq!(
                definition.templates.iter().filter(|t| t.aspect == ANY_ASPECT).count(),
                1,
                "{name}"
            );
            for template in &definition.templates {
                let objective = &template.objective;
                assert!(
                    objective.contains("{scope}") && objective.contains("{query}"),
                    "{name}: {objective}"
                );
                assert!(
                    objective.ends_with('.') && objective.matches(". ").count() == 0,
                    "one sentence: {objective}"
                );
                assert!(
                    !template.constraints.is_empty() && !template.key_questions.is_empty(),
                    "{name}: {}",
                    template.aspect
                );
                assert!(
                    template
                        .allowed_tools
                        .iter()
                        .all(|tool| tool.starts_with("code.") || tool.starts_with("git.")),
                    "{name}"
                );
            }
        }
        let of = |name: &str| {
            library()
                .get(name)
                .map(|found| found.capabilities.clone())
                .unwrap_or_default()
        };
        assert_eq!(of("general"), [Capability::new("CodeAnalysis").expect("a capability")]);
        assert_eq!(
            of("code_review"),
            [Capability::new("CodeReview").expect("a capability")]
        );
    }
}
