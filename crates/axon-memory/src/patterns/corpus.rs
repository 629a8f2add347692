//! Episodes made ready for mining: in the order they happened, with their words, and with what their readers think of them.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axon_protocol::{AnswerStatus, Complexity, Episode, QueryId, QueryKind, Shape, StopReason};
use chrono::{DateTime, Utc};

use super::tally::Tally;
use crate::predictor::{HELD_BACK_PART, held_back};
use crate::recall::{age_weight, words_of};

/// Share of the queries of a kind that hold a word which belongs to the kind.
const SHARED_BY: f64 = 0.8;

/// What there is to learn from.
#[derive(Debug, Default)]
pub struct Corpus {
    pub(super) entries: Vec<Entry>,
}

/// One episode.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) episode: Arc<Episode>,
    /// Whether its strategy succeeded and no reader marked the answer bad.
    pub(super) success: bool,
    /// Whether that tells how good the strategy is. A query held back is planned by the rules, whatever is known of them, so that it
    /// may have ended incomplete for their sake.
    pub(super) tells: bool,
    pub(super) words: Vec<String>,
}

impl Entry {
    pub(super) fn leaning(&self) -> &str {
        self.episode.leaning.as_ref().unwrap_or(&self.episode.strategy)
    }

    fn is(&self, kind: &QueryKind) -> bool {
        fits(kind, &self.words, self.episode.shape, self.episode.complexity)
            && kind.leaning.as_ref().is_none_or(|leaning| leaning == self.leaning())
    }
}

/// Whether a query is of a kind, whatever it reads like.
pub(super) fn fits(kind: &QueryKind, words: &[String], shape: Option<Shape>, complexity: Option<Complexity>) -> bool {
    kind.words.iter().all(|word| words.contains(word))
        && (kind.shape.is_none() || kind.shape == shape)
        && (kind.complexity.is_none() || kind.complexity == complexity)
}

impl Corpus {
    /// The episodes in the order they happened, however they come. `bad` are the queries whose answers were marked bad.
    /// What was not analysed or was cancelled teaches nothing.
    pub fn new(episodes: impl IntoIterator<Item = Arc<Episode>>, bad: &BTreeSet<QueryId>) -> Self {
        let teaches = |episode: &Arc<Episode>| {
            episode.complexity.is_some() && episode.stop_reason != StopReason::Cancelled && !episode.query.is_empty()
        };
        let mut entries: Vec<Entry> = episodes
            .into_iter()
            .filter(teaches)
            .map(|episode| Entry {
                success: episode.success && !bad.contains(&episode.query_id),
                tells: episode.status != AnswerStatus::Partial || !held_back(&episode.query_id, HELD_BACK_PART),
                words: words_of(&episode.query),
                episode,
            })
            .collect();
        entries.sort_by(|a, b| (a.episode.at, &a.episode.query_id).cmp(&(b.episode.at, &b.episode.query_id)));
        Self { entries }
    }

    /// When the latest of them ended.
    pub fn known_to(&self) -> Option<DateTime<Utc>> {
        self.entries.last().map(|entry| entry.episode.at)
    }

    /// Whether a query of a kind is known that followed a strategy.
    pub fn has_any(&self, strategy: &str, kind: &QueryKind) -> bool {
        self.of(kind).any(|entry| entry.episode.strategy == strategy)
    }

    /// How a strategy does for a kind of query.
    pub fn success_of(&self, strategy: &str, kind: &QueryKind, now: DateTime<Utc>) -> Tally {
        let mut tally = Tally::default();
        let tells = |entry: &&Entry| entry.tells && entry.episode.strategy == strategy;
        for entry in self.of(kind).filter(tells) {
            tally.add(entry.success, age_weight(entry.episode.at, now));
        }
        tally
    }

    /// The words by which the queries of a kind for which a strategy succeeded differ most from all others: those that nearly
    /// all of them hold.
    pub fn words_of_successes(&self, strategy: &str, kind: &QueryKind, most: usize) -> Vec<String> {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut total = (0, 0);
        for entry in &self.entries {
            let inside = entry.success && entry.episode.strategy == strategy && entry.is(kind);
            let add = |count: &mut (usize, usize)| *(if inside { &mut count.0 } else { &mut count.1 }) += 1;
            add(&mut total);
            entry.words.iter().for_each(|word| add(counts.entry(word).or_default()));
        }
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let shares = counts
            .into_iter()
            .map(|(word, count)| (word, share(count.0, total.0), share(count.1, total.1)));
        let mut shared: Vec<(&str, f64)> = shares
            .filter(|(_, inside, outside)| *inside >= SHARED_BY && inside >= outside)
            .map(|(word, inside, outside)| (word, inside - outside))
            .collect();
        // A stable sort of what is in the order of the alphabet.
        shared.sort_by(|a, b| b.1.total_cmp(&a.1));
        shared.into_iter().take(most).map(|(word, _)| word.to_owned()).collect()
    }

    /// Kept findings by aspect, of the queries of a kind that followed a strategy.
    pub fn aspects_of<'a>(&'a self, strategy: &str, kind: &'a QueryKind) -> HashMap<&'a str, Tally> {
        let mut aspects: HashMap<&str, Tally> = HashMap::new();
        for entry in self.of(kind).filter(|entry| entry.episode.strategy == strategy) {
            for brought in &entry.episode.yields {
                aspects
                    .entry(&brought.aspect)
                    .or_default()
                    .add(brought.findings > 0, 1.0);
            }
        }
        aspects
    }

    fn of<'a>(&'a self, kind: &'a QueryKind) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(|entry| entry.is(kind))
    }
}
