//! Which remembered queries are like another one: an index of episodes in memory. Pure: time is an argument.
//!
//! Two queries are as similar as the words they share: the weight of the common words ÷ the weight of the words of either,
//! each word weighed by how rare it is among the episodes (`ln(1 + N ÷ n)`). What was long ago counts less: the score halves
//! with each half-life.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use axon_protocol::{Digest, Episode, QueryId, Recalled};
use chrono::{DateTime, TimeDelta, Utc};

/// Words of a query that are indexed; the rest is ignored.
const WORDS_MAX: usize = 64;
/// Similarity below which a query is not like another one.
const SIMILARITY_MIN: f64 = 0.25;
/// Time in which the score of an episode halves.
const HALF_LIFE: TimeDelta = TimeDelta::days(30);
/// Words that say nothing about a question.
const FILLERS: &[&str] = &[
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for",
    "from", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or", "our",
    "please", "should", "so", "some", "that", "the", "their", "them", "there", "these", "this", "those", "to", "us",
    "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
];

/// The latest episodes.
#[derive(Debug)]
pub struct EpisodeIndex {
    episodes_max: usize,
    /// Episodes by a number that grows.
    episodes: BTreeMap<u64, Indexed>,
    numbers: HashMap<QueryId, u64>,
    /// Oldest first; some may be forgotten already.
    order: VecDeque<u64>,
    words: HashMap<String, u32>,
    /// Each word by its number, with the episodes that hold it.
    held: Vec<Held>,
    /// Numbers of words that no episode holds any more.
    free: Vec<u32>,
    next: u64,
}

#[derive(Debug, Default)]
struct Held {
    word: String,
    by: Vec<u64>,
}

#[derive(Debug)]
struct Indexed {
    episode: Arc<Episode>,
    words: Vec<u32>,
}

impl EpisodeIndex {
    /// An index of at most so many episodes; beyond them the oldest go. With 0 nothing is remembered.
    pub fn new(episodes_max: usize) -> Self {
        Self {
            episodes_max,
            episodes: BTreeMap::new(),
            numbers: HashMap::new(),
            order: VecDeque::new(),
            words: HashMap::new(),
            held: Vec::new(),
            free: Vec::new(),
            next: 0,
        }
    }

    /// Episodes that can be recalled.
    pub fn len(&self) -> usize {
        self.episodes.len()
    }

    /// Whether nothing can be recalled.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Takes in an episode; a second one of the same query replaces the first. `true` where it is the first.
    pub fn insert(&mut self, episode: Episode) -> bool {
        if self.episodes_max == 0 {
            return false;
        }
        let new = !self.remove(&episode.query_id);
        while self.episodes.len() >= self.episodes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.drop_number(oldest);
        }
        let mut words: Vec<u32> = words_of(&episode.query)
            .into_iter()
            .map(|word| self.number_of(word))
            .collect();
        words.sort_unstable();
        words.dedup();
        let number = self.next;
        self.next += 1;
        for word in &words {
            self.held[*word as usize].by.push(number);
        }
        self.numbers.insert(episode.query_id.clone(), number);
        self.order.push_back(number);
        let episode = Arc::new(episode);
        self.episodes.insert(number, Indexed { episode, words });
        new
    }

    /// Forgets the episode of a query. `false` where there was none.
    pub fn remove(&mut self, query: &QueryId) -> bool {
        match self.numbers.get(query) {
            Some(number) => {
                let number = *number;
                self.order.retain(|other| *other != number);
                self.drop_number(number);
                true
            }
            None => false,
        }
    }

    fn drop_number(&mut self, number: u64) {
        let Some(indexed) = self.episodes.remove(&number) else {
            return;
        };
        self.numbers.remove(&indexed.episode.query_id);
        for word in indexed.words {
            let held = &mut self.held[word as usize];
            held.by.retain(|holder| *holder != number);
            if held.by.is_empty() {
                self.words.remove(&std::mem::take(&mut held.word));
                self.free.push(word);
            }
        }
    }

    fn number_of(&mut self, word: String) -> u32 {
        if let Some(number) = self.words.get(&word) {
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.held.push(Held::default());
            self.held.len() as u32 - 1
        });
        self.held[number as usize].word.clone_from(&word);
        self.words.insert(word, number);
        number
    }

    fn weight(&self, word: u32) -> f64 {
        let holders = self.held[word as usize].by.len().max(1);
        (1.0 + self.episodes.len() as f64 / holders as f64).ln()
    }

    /// The episode of a query.
    pub fn get(&self, query: &QueryId) -> Option<&Arc<Episode>> {
        let number = self.numbers.get(query)?;
        self.episodes.get(number).map(|indexed| &indexed.episode)
    }

    /// The queries whose episodes can be recalled.
    pub fn queries(&self) -> impl Iterator<Item = &QueryId> {
        self.numbers.keys()
    }

    /// All episodes.
    pub fn episodes(&self) -> impl Iterator<Item = Arc<Episode>> {
        self.episodes.values().map(|indexed| indexed.episode.clone())
    }

    /// The episodes most like a query, best first, at most `limit` of them.
    pub fn recall(&self, query: &str, workspace: Option<&Digest>, now: DateTime<Utc>, limit: usize) -> Vec<Recalled> {
        let asked = words_of(query);
        let mut known: Vec<u32> = asked.iter().filter_map(|word| self.words.get(word).copied()).collect();
        known.sort_unstable();
        known.dedup();
        // A word that no episode holds is the rarest there can be.
        let strange = (asked.len() - known.len()) as f64 * (1.0 + self.episodes.len() as f64).ln();
        let mut shared: HashMap<u64, f64> = HashMap::new();
        let mut whole = strange;
        for word in &known {
            let weight = self.weight(*word);
            whole += weight;
            for holder in &self.held[*word as usize].by {
                *shared.entry(*holder).or_default() += weight;
            }
        }
        let mut found: Vec<(f64, f64, u64)> = shared
            .into_iter()
            .filter_map(|(number, shared)| {
                let indexed = self.episodes.get(&number)?;
                let own: f64 = indexed.words.iter().map(|word| self.weight(*word)).sum();
                let similarity = shared / (whole + own - shared);
                let score = similarity * age_weight(indexed.episode.at, now);
                (similarity >= SIMILARITY_MIN).then_some((score, similarity, number))
            })
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.2.cmp(&a.2)));
        found.truncate(limit);
        found
            .into_iter()
            .filter_map(|(score, similarity, number)| {
                let episode = &self.episodes.get(&number)?.episode;
                Some(Recalled {
                    query_id: episode.query_id.clone(),
                    query: episode.query.clone(),
                    strategy: episode.strategy.clone(),
                    status: episode.status,
                    success: episode.success,
                    similarity,
                    score,
                    same_workspace: workspace.is_some() && episode.workspace.as_ref() == workspace,
                    summary: episode.summary.clone(),
                    places: episode.places.clone(),
                    duration_ms: episode.duration_ms,
                    at: episode.at,
                })
            })
            .collect()
    }
}

/// What something of an earlier time still counts, from 0 to 1.
pub(crate) fn age_weight(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    let age = (now - at).max(TimeDelta::zero());
    0.5_f64.powf(age.as_seconds_f64() / HALF_LIFE.as_seconds_f64())
}

/// The words of a query that say what it is about, each once: lower case, without a plural, identifiers whole and in parts.
pub(crate) fn words_of(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        let lower = word.to_lowercase();
        let stem = match lower.strip_suffix('s') {
            Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem,
            _ => lower.as_str(),
        };
        if words.len() < WORDS_MAX && !FILLERS.contains(&lower.as_str()) && !words.iter().any(|known| known == stem) {
            words.push(stem.to_owned());
        }
    };
    for word in query.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        if word.is_empty() {
            continue;
        }
        add(word);
        if word.contains('_') {
            word.split('_').filter(|part| part.len() > 1).for_each(&mut add);
        }
    }
    words
}

#[cfg(test)]
pub(crate) mod samples {
    use axon_protocol::{AnswerStatus, StopReason, Usage};

    use super::*;

    pub(crate) fn at(days: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time") + TimeDelta::days(days)
    }

    pub(crate) fn episode(id: &str, query: &str, days: i64) -> Episode {
        Episode {
            query_id: QueryId::new(id).expect("an id"),
            query: query.to_owned(),
            session: None,
            workspace: None,
            strategy: "research".to_owned(),
            leaning: None,
            complexity: None,
            ruled: None,
            shape: None,
            aspects: Vec::new(),
            aspects_asked: 0,
            yields: Vec::new(),
            tools: BTreeMap::new(),
            retries: 0,
            hand_overs: 0,
            conflicts: 0,
            tasks: 1,
            workers: 1,
            status: AnswerStatus::Complete,
            stop_reason: StopReason::Finished,
            success: true,
            quality: None,
            usage: Usage::default(),
            duration_ms: 1.0,
            summary: String::new(),
            places: Vec::new(),
            at: at(days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{at, episode};
    use super::*;

    fn recalled(index: &EpisodeIndex, query: &str, days: i64) -> Vec<String> {
        let found = index.recall(query, None, at(days), 3);
        found.into_iter().map(|one| one.query_id.to_string()).collect()
    }

    fn filled() -> EpisodeIndex {
        let mut index = EpisodeIndex::new(100);
        for (id, query, days) in [
            ("panic", "Why does parse_header panic on empty input?", 0),
            ("review", "Review the error handling of the cache", 0),
            ("cache", "How does the cache evict entries?", 0),
            ("docs", "Which functions have no documentation?", 0),
        ] {
            index.insert(episode(id, query, days));
        }
        index
    }

    #[test]
    fn the_queries_with_the_rarest_words_in_common_come_first() {
        let index = filled();
        for (query, expected) in [
            ("Why does parse_header panic on empty input?", vec!["panic"]),
            ("parse_header panics with empty inputs", vec!["panic"]),
            ("How are entries of the cache evicted?", vec!["cache"]),
            ("What is the meaning of life?", vec![]),
            ("", vec![]),
            ("the of and", vec![]),
        ] {
            assert_eq!(recalled(&index, query, 0), expected, "{query}");
        }
        let same = &index.recall("How does the cache evict entries?", None, at(0), 1)[0];
        assert!((same.similarity - 1.0).abs() < 1e-9, "{same:?}");
    }

    #[test]
    fn what_was_long_ago_counts_less() {
        let mut index = EpisodeIndex::new(100);
        index.insert(episode("old", "How does the cache evict entries?", 0));
        index.insert(episode("new", "How does the cache evict old entries?", 60));
        assert_eq!(
            recalled(&index, "How does the cache evict entries?", 60),
            ["new", "old"]
        );
        let old = &index.recall("How does the cache evict entries?", None, at(60), 2)[1];
        assert!(
            (old.score - old.similarity / 4.0).abs() < 1e-9,
            "two half-lives: {old:?}"
        );
        let early = &index.recall("How does the cache evict entries?", None, at(-5), 1)[0];
        assert!(
            early.score <= early.similarity,
            "a clock that is behind makes nothing surer: {early:?}"
        );
    }

    #[test]
    fn it_is_bounded_and_forgets() {
        let mut index = EpisodeIndex::new(2);
        for (id, query) in [("a", "alpha words"), ("b", "beta words"), ("c", "gamma words")] {
            index.insert(episode(id, query, 0));
        }
        assert_eq!(index.len(), 2);
        assert_eq!(recalled(&index, "alpha", 0), [""; 0]);
        assert_eq!(recalled(&index, "gamma words", 0), ["c"]);
        // The same query again replaces its episode.
        index.insert(episode("c", "delta words", 0));
        assert_eq!((index.len(), recalled(&index, "gamma", 0).len()), (2, 0));
        assert!(index.remove(&QueryId::new("c").expect("an id")));
        assert!(!index.remove(&QueryId::new("c").expect("an id")));
        assert_eq!(recalled(&index, "delta", 0), [""; 0]);
        assert_eq!(index.len(), 1);
        assert!(
            index.words.len() == 2 && index.held.len() == 3,
            "words that nobody holds are forgotten: {index:?}"
        );
        let mut none = EpisodeIndex::new(0);
        none.insert(episode("a", "alpha", 0));
        assert!(none.is_empty());
    }
}
