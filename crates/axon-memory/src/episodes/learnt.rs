//! What the episodes taught: the index that recalls them and the models trained on them. Pure. Only what the stream keeps
//! replaces what is known, and what it keeps no more is known no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use axon_protocol::{Episode, QueryId};
use chrono::{DateTime, Utc};

use crate::{ClassLimits, DurationModel, EpisodeIndex, Predictor};

/// Where an episode comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The subscription, which hears those as well that the stream refuses.
    Heard,
    /// The stream, which is the truth.
    Stream,
}

/// What the episodes taught.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) index: EpisodeIndex,
    pub(super) predictor: Predictor,
    pub(super) durations: DurationModel,
    limits: [ClassLimits; 3],
    /// Grows with every change.
    pub(super) generation: u64,
    /// When the last reading of the stream to its end began.
    read_at: Option<DateTime<Utc>>,
    /// When the latest query ended that was ever known: forgetting does not lower it.
    latest: Option<DateTime<Utc>>,
    /// Queries that were heard of and not read in the stream yet.
    heard: BTreeSet<QueryId>,
}

impl Learnt {
    pub(super) fn new(episodes_max: usize, limits: [ClassLimits; 3]) -> Self {
        Self {
            index: EpisodeIndex::new(episodes_max),
            predictor: Predictor::new(limits),
            durations: DurationModel::default(),
            limits,
            generation: 0,
            read_at: None,
            latest: None,
            heard: BTreeSet::new(),
        }
    }

    /// Takes in episodes in their order.
    pub(super) fn take_in(&mut self, episodes: impl IntoIterator<Item = Episode>, source: Source) {
        let mut replaced = false;
        for episode in episodes {
            self.latest = self.latest.max(Some(episode.at));
            let known = self.index.get(&episode.query_id);
            match source {
                Source::Heard if known.is_some() => continue,
                Source::Heard => {
                    self.heard.insert(episode.query_id.clone());
                }
                Source::Stream => {
                    self.heard.remove(&episode.query_id);
                }
            }
            match known {
                Some(known) if **known == episode => continue,
                Some(_) => replaced = true,
                None => self.observe(&episode),
            }
            self.index.insert(episode);
            self.generation += 1;
        }
        if replaced {
            self.learn_anew();
        }
    }

    /// Recalls queries no more and learns anew without them.
    pub(super) fn forget<'a>(&mut self, queries: impl IntoIterator<Item = &'a QueryId>) {
        let mut forgotten = 0;
        for query in queries {
            self.heard.remove(query);
            forgotten += u64::from(self.index.remove(query));
        }
        if forgotten > 0 {
            self.generation += forgotten;
            self.learn_anew();
        }
    }

    /// The stream was read to its end, beginning at this time.
    pub(super) fn read_to_the_end(&mut self, began: DateTime<Utc>) {
        self.read_at = self.read_at.max(Some(began));
    }

    /// Up to when everything is known; `None` before the stream was read to its end.
    pub(super) fn known_to(&self) -> Option<DateTime<Utc>> {
        let read_at = self.read_at?;
        Some(self.latest.map_or(read_at, |latest| latest.max(read_at)))
    }

    /// The queries that were heard of and not read yet.
    pub(super) fn heard(&self) -> &BTreeSet<QueryId> {
        &self.heard
    }

    fn observe(&mut self, episode: &Episode) {
        self.predictor.observe(episode);
        self.durations.observe(episode);
    }

    fn learn_anew(&mut self) {
        self.predictor = Predictor::new(self.limits);
        self.durations = DurationModel::default();
        let episodes: Vec<Arc<Episode>> = self.index.episodes().collect();
        episodes.iter().for_each(|episode| self.observe(episode));
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Complexity, Shape};

    use super::*;
    use crate::DEFAULT_LIMITS;
    use crate::recall::samples::{at, episode};

    fn analysed(id: &str, query: &str, days: i64) -> Episode {
        Episode {
            complexity: Some(Complexity::Medium),
            shape: Some(Shape::Single),
            ..episode(id, query, days)
        }
    }

    fn query(id: &str) -> QueryId {
        QueryId::new(id).expect("an id")
    }

    #[test]
    fn an_episode_counts_once_and_what_the_stream_keeps_stands() {
        let mut learnt = Learnt::new(10, DEFAULT_LIMITS);
        let (kept, refused) = (analysed("a", "why does it fail", 0), analysed("a", "refused words", 0));
        for (name, episode, source, generation, words) in [
            ("heard first", &refused, Source::Heard, 1, "refused words"),
            ("read", &kept, Source::Stream, 2, "why does it fail"),
            ("a refused one is heard", &refused, Source::Heard, 2, "why does it fail"),
            ("read again", &kept, Source::Stream, 2, "why does it fail"),
        ] {
            learnt.take_in([episode.clone()], source);
            let known = learnt.index.get(&query("a")).expect("known");
            assert_eq!((learnt.generation, known.query.as_str()), (generation, words), "{name}");
            let (trained, held_back) = learnt.predictor.observed();
            assert_eq!(trained + held_back as u64, 1, "{name}");
            assert_eq!(learnt.heard().is_empty(), generation == 2, "{name}");
        }
    }

    #[test]
    fn forgetting_lowers_no_mark_and_teaches_anew() {
        let mut learnt = Learnt::new(10, DEFAULT_LIMITS);
        learnt.take_in([analysed("a", "one", 0), analysed("b", "two", 5)], Source::Stream);
        assert_eq!(learnt.known_to(), None, "not everything was read");
        learnt.read_to_the_end(at(1));
        assert_eq!(learnt.known_to(), Some(at(5)));
        learnt.forget([&query("b"), &query("nobody")]);
        assert_eq!((learnt.known_to(), learnt.generation), (Some(at(5)), 3));
        assert_eq!(learnt.index.len(), 1);
        let (trained, held_back) = learnt.predictor.observed();
        assert_eq!(trained + held_back as u64, 1);
        learnt.read_to_the_end(at(7));
        assert_eq!(learnt.known_to(), Some(at(7)));
    }
}
