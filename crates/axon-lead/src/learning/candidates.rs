//! Strategies generated from patterns: where a kind of query does better in another way than the one it reads like, that way
//! becomes a strategy of its own, first as a candidate. Results promote or drop it. Pure.

use std::collections::BTreeMap;

use axon_memory::{Corpus, Tally};
use axon_protocol::{DelegationTemplate, Digest, LearntFrom, Lesson, Pattern, QueryKind, Stage, StrategyDefinition};
use chrono::{DateTime, TimeDelta, Utc};

use crate::strategy::{ANY_ASPECT, Library};

/// Generated strategies at once, and markers of dropped ones.
const GENERATED_MAX: usize = 16;
const DROPPED_MAX: usize = 64;
/// Queries that a pattern rests on before a strategy is made of it: more than before it counts.
const SUPPORT_MIN: f64 = 8.0;
/// Applications before one is judged.
const APPLIED_MIN: f64 = 5.0;
/// How long a candidate may wait for its applications, and how long a dropped one is not generated again.
const CANDIDATE_FOR: TimeDelta = TimeDelta::days(30);
const DROPPED_FOR: TimeDelta = TimeDelta::days(90);
/// Words that become keywords, and those by which the queries are told.
const KEYWORDS_MAX: usize = 4;
const WORDS_MAX: usize = 2;
/// An aspect is left out that brought something less often than this, once it was looked at often enough.
const YIELD_MIN: f64 = 0.2;
const LOOKED_MIN: f64 = 4.0;
/// Characters of the word in a name, and digits of the digest that tells names apart.
const WORD_CHARS_MAX: usize = 16;
const NAME_DIGITS: usize = 6;

/// What the generated strategies are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What became of queries.
    pub corpus: &'a Corpus,
    /// The strategies in force.
    pub library: &'a Library,
    /// The definitions of the bucket, by name.
    pub definitions: &'a BTreeMap<String, StrategyDefinition>,
}

/// What is to be done with a generated strategy.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is written: new, or at another stage.
    Define {
        /// The definition.
        definition: Box<StrategyDefinition>,
        /// Why.
        why: String,
    },
    /// It is deleted: the marker of a dropped one has done its part, or nothing is known any more of what it was made of.
    Delete {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
}

/// What the patterns in force, the surest first, and the results so far make of the generated strategies.
pub fn changes(known: &Known<'_>, patterns: &[Pattern], now: DateTime<Utc>) -> Vec<Change> {
    let generated = known
        .definitions
        .values()
        .filter_map(|definition| Some((definition, definition.learnt_from.as_ref()?)));
    // Its words are those of queries: when these are forgotten, so are they.
    let (unfounded, founded): (Vec<_>, Vec<_>) =
        generated.partition(|(definition, from)| !known.has_evidence_of(definition, from));
    let mut changes: Vec<Change> = unfounded
        .iter()
        .map(|(definition, _)| Change::Delete {
            name: definition.name.clone(),
            why: "the queries that it was made of are known no more".to_owned(),
        })
        .collect();
    let (dropped, live): (Vec<_>, Vec<_>) = founded
        .into_iter()
        .partition(|(definition, _)| definition.stage == Stage::Dropped);
    let judgements = live
        .iter()
        .filter_map(|(definition, from)| judged(known, definition, from, now));
    changes.extend(judgements);
    let mut markers: Vec<(&StrategyDefinition, &LearntFrom)> = dropped;
    markers.sort_by_key(|(_, from)| std::cmp::Reverse(from.at));
    let over = markers
        .iter()
        .enumerate()
        .filter(|(index, (_, from))| *index >= DROPPED_MAX || now - from.at > DROPPED_FOR);
    changes.extend(over.map(|(_, (definition, _))| Change::Delete {
        name: definition.name.clone(),
        why: "it was dropped long ago".to_owned(),
    }));
    let mut room = GENERATED_MAX.saturating_sub(live.len());
    let mut tried: Vec<&LearntFrom> = live.iter().chain(&markers).map(|(_, from)| *from).collect();
    let new: Vec<StrategyDefinition> = patterns
        .iter()
        .filter_map(|pattern| generate(known, pattern, now))
        .collect();
    for (definition, from) in new
        .iter()
        .filter_map(|definition| Some((definition, definition.learnt_from.as_ref()?)))
    {
        // The same queries are told by other words as evidence comes in: one of them is enough.
        let shares = |other: &&&LearntFrom| other.when.words.iter().any(|word| definition.keywords.contains(word));
        let same = |other: &&&LearntFrom| other.like == from.like && other.when.leaning == from.when.leaning;
        if room == 0 || tried.iter().any(|other| same(&other) && shares(&other)) {
            continue;
        }
        room -= 1;
        tried.push(from);
        changes.push(Change::Define {
            definition: Box::new(definition.clone()),
            why: "a kind of query does better in this way".to_owned(),
        });
    }
    changes
}

impl Known<'_> {
    /// Whether any query is known that a generated strategy was made of: one that followed it, or the way that it is like.
    fn has_evidence_of(&self, definition: &StrategyDefinition, from: &LearntFrom) -> bool {
        [&definition.name, &from.like]
            .into_iter()
            .any(|name| self.corpus.has_any(name, &from.when))
    }
}

/// What its results make of a generated strategy.
fn judged(known: &Known<'_>, definition: &StrategyDefinition, from: &LearntFrom, now: DateTime<Utc>) -> Option<Change> {
    let of = |strategy: &str| known.corpus.success_of(strategy, &from.when, now);
    let (own, other) = (of(&definition.name), of(&from.instead_of));
    let figures = |other: &Tally, name: &str| {
        format!(
            "{:.0} % of {:.1} succeeded, {:.0} % of {:.1} with {name}",
            own.rate() * 100.0,
            own.weight,
            other.rate() * 100.0,
            other.weight
        )
    };
    let to = |stage: Stage, why: String| {
        let mut changed = definition.clone();
        changed.stage = stage;
        changed.learnt_from = Some(LearntFrom {
            at: now,
            ..from.clone()
        });
        Some(Change::Define {
            definition: Box::new(changed),
            why,
        })
    };
    let better = [&from.instead_of, &from.like]
        .into_iter()
        .find(|name| of(name).exceeds(&own));
    if let Some(name) = better.filter(|_| own.weight >= APPLIED_MIN) {
        return to(Stage::Dropped, figures(&of(name), name));
    }
    match definition.stage {
        Stage::Candidate if own.weight >= APPLIED_MIN && own.exceeds(&other) => {
            to(Stage::Trusted, figures(&other, &from.instead_of))
        }
        Stage::Candidate if now - from.at > CANDIDATE_FOR => to(
            Stage::Dropped,
            format!(
                "after {} days: {}",
                CANDIDATE_FOR.num_days(),
                figures(&other, &from.instead_of)
            ),
        ),
        _ => None,
    }
}

/// The strategy that a pattern suggests, unless it was generated before.
fn generate(known: &Known<'_>, pattern: &Pattern, now: DateTime<Utc>) -> Option<StrategyDefinition> {
    let Lesson::Strategy { follow, instead_of } = &pattern.lesson else {
        return None;
    };
    let better = known
        .library
        .get(follow)
        .filter(|better| better.learnt_from.is_none())?;
    let keywords = known.corpus.words_of_successes(follow, &pattern.when, KEYWORDS_MAX);
    // Without a word there is nothing by which its queries could be told.
    keywords.first().filter(|_| pattern.support >= SUPPORT_MIN)?;
    let when = QueryKind {
        words: keywords.iter().take(WORDS_MAX).cloned().collect(),
        ..pattern.when.clone()
    };
    let name = name_of(&when, follow);
    if known.definitions.contains_key(&name) {
        return None;
    }
    Some(StrategyDefinition {
        description: format!("Works on {when} like {follow}, which does better for them."),
        patterns: vec![pattern_of(&when.words)],
        templates: contributing(known, better, &when),
        stage: Stage::Candidate,
        learnt_from: Some(LearntFrom {
            when,
            like: follow.clone(),
            instead_of: instead_of.clone(),
            at: now,
        }),
        keywords,
        name,
        ..better.clone()
    })
}

/// The same kind of query worked on in the same way has the same name, whoever generates it.
fn name_of(when: &QueryKind, like: &str) -> String {
    // Which of its words comes first is a matter of a few queries.
    let mut when = when.clone();
    when.words.sort_unstable();
    let text = serde_json::to_string(&(&when, like)).unwrap_or_default();
    let digest: String = Digest::of(text.as_bytes()).hex().chars().take(NAME_DIGITS).collect();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let word = when.words.first().map_or("", String::as_str);
    let word: String = word.chars().filter(|c| plain(*c)).take(WORD_CHARS_MAX).collect();
    format!("for_{word}_{digest}")
}

/// A regular expression for a text that holds words which begin like these, in any order.
fn pattern_of(words: &[String]) -> String {
    match words {
        [first, second] => {
            let (first, second) = (regex::escape(first), regex::escape(second));
            format!(r"\b{first}.*\b{second}|\b{second}.*\b{first}")
        }
        words => words
            .iter()
            .map(|word| format!(r"\b{}", regex::escape(word)))
            .collect::<Vec<_>>()
            .join("|"),
    }
}

/// The templates of the better way: the one for everything, those for any aspect, and those of aspects that brought something
/// or were hardly looked at.
fn contributing(known: &Known<'_>, better: &StrategyDefinition, kind: &QueryKind) -> Vec<DelegationTemplate> {
    let yields = known.corpus.aspects_of(&better.name, kind);
    let barren = |template: &DelegationTemplate| {
        let brought = yields.get(template.aspect.as_str());
        brought.is_some_and(|brought| brought.weight >= LOOKED_MIN && brought.rate() < YIELD_MIN)
    };
    let keeps = |(index, template): &(usize, &DelegationTemplate)| {
        *index == 0 || template.aspect == ANY_ASPECT || !barren(template)
    };
    better
        .templates
        .iter()
        .enumerate()
        .filter(keeps)
        .map(|(_, template)| template.clone())
        .collect()
}

#[cfg(test)]
mod tests;
