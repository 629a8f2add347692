//! Episodic memory: one episode a query, written once however many leads try, and what the latest ones teach.

mod follow;
mod learnt;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Error, Fenced, Message};
use axon_protocol::{Digest, Episode, Format, QueryId, Recalled, Stream};
use chrono::{DateTime, Utc};
use tracing::debug;

use crate::{ClassLimits, DurationModel, Expectation, Planned, Prediction, Predictor, Traits};
use learnt::{Learnt, Source};

/// The strategy of queries that bring their own plan. Their episodes teach nothing.
pub const OWN_PLAN: &str = "own_plan";

/// How often the stream is read beside the subscription, which may miss some.
const READ_EVERY: Duration = Duration::from_secs(30);
/// Episodes recalled for one query.
const RECALLED_MAX: usize = 3;

/// Writes and recalls episodes.
#[derive(Debug, Clone)]
pub struct Episodes {
    bus: Bus,
    enabled: bool,
    episodes_max: usize,
    read_every: Duration,
    learnt: Arc<RwLock<Learnt>>,
}

/// Episodes of a subject, oldest first, each with its sequence.
struct Page {
    episodes: Vec<(u64, Episode)>,
    /// The sequence to go on from.
    next: u64,
    /// Whether there were no more.
    is_last: bool,
}

impl Episodes {
    /// Episodes over a bus, of which the latest `episodes_max` can be recalled once [`Episodes::follow`] runs or
    /// [`Episodes::read`] has ended. None are written where `persist_to_episodic` is off.
    /// `limits` are those of the classes of complexity, smallest first.
    pub fn new(bus: &Bus, episodes_max: usize, limits: [ClassLimits; 3]) -> Self {
        Self {
            bus: bus.clone(),
            enabled: bus.config().persist_to_episodic,
            episodes_max,
            read_every: READ_EVERY,
            learnt: Arc::new(RwLock::new(Learnt::new(episodes_max, limits))),
        }
    }

    /// The same, but [`Episodes::follow`] reads the stream so often, instead of every 30 s.
    pub fn reading_every(mut self, pause: Duration) -> Self {
        self.read_every = pause;
        self
    }

    /// Remembers a query. `true` for the one caller whose episode was kept: only that one may count it.
    pub async fn remember(&self, episode: &Episode, until: Instant) -> Result<bool, Error> {
        if !self.enabled {
            return Ok(true);
        }
        let subject = self.bus.namespace().episode(&episode.strategy, &episode.query_id);
        let message = Message::new(subject, Format::Msgpack, episode)?;
        Ok(matches!(
            self.bus.publish_fenced(message, until).await?,
            Fenced::Won { .. }
        ))
    }

    /// The episode of a query that followed `strategy`, where it was remembered.
    pub async fn of(&self, strategy: &str, query: &QueryId) -> Result<Option<Episode>, Error> {
        let subject = self.bus.namespace().episode(strategy, query);
        match self.bus.last(Stream::Episodes, &subject).await? {
            Some(stored) => Ok(Some(self.bus.decode_stored(&stored).await?)),
            None => Ok(None),
        }
    }

    /// The remembered queries most like this one, best first.
    pub fn recall(&self, query: &str, workspace: Option<&Digest>, now: DateTime<Utc>) -> Vec<Recalled> {
        self.learnt().index.recall(query, workspace, now, RECALLED_MAX)
    }

    /// What experience says of the complexity of a query, once it says more than the rules.
    pub fn predict(&self, query: &QueryId, traits: &Traits<'_>) -> Option<Prediction> {
        self.learnt().predictor.predict(query, traits)
    }

    /// What experience says of the duration of a query, once it says more than the mean of its strategy.
    pub fn expect(&self, planned: &Planned<'_>) -> Option<Expectation> {
        self.learnt().durations.expect(planned)
    }

    /// The model of durations as it stands.
    pub fn durations(&self) -> DurationModel {
        self.learnt().durations.clone()
    }

    /// A number that grows with every change of what is remembered, once everything was read; `None` before.
    pub fn generation(&self) -> Option<u64> {
        let learnt = self.learnt();
        learnt.known_to().map(|_| learnt.generation)
    }

    /// Up to when everything is known that was remembered; `None` before everything was read. Forgetting does not lower it.
    pub fn known_to(&self) -> Option<DateTime<Utc>> {
        self.learnt().known_to()
    }

    /// Everything that can be recalled.
    pub fn remembered(&self) -> Vec<Arc<Episode>> {
        self.learnt().index.episodes().collect()
    }

    /// The model of complexity as it stands, for whoever looks into it.
    pub fn predictor(&self) -> Predictor {
        self.learnt().predictor.clone()
    }

    fn learnt(&self) -> RwLockReadGuard<'_, Learnt> {
        self.learnt.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Learnt)) {
        change(&mut self.learnt.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Recalls a query no more and learns anew without it; its episode stays in the stream, which is for whoever asks for
    /// this to purge.
    pub fn forget(&self, query: &QueryId) {
        self.change(|learnt| learnt.forget([query]));
    }

    /// The latest episodes of a strategy, or of all, oldest first.
    pub async fn latest(&self, strategy: Option<&str>, limit: usize) -> Result<Vec<Episode>, Error> {
        let ns = self.bus.namespace();
        let subject = strategy.map_or_else(|| ns.episodes(), |strategy| ns.episodes_with(strategy));
        self.latest_of(&subject, |_| true, limit).await
    }

    /// The latest episodes that teach something, oldest first: those of queries that were analysed, however many others came
    /// with a plan of their own.
    pub async fn latest_analysed(&self, limit: usize) -> Result<Vec<Episode>, Error> {
        let own = self.bus.namespace().episodes_with(OWN_PLAN);
        let own = own.trim_end_matches('*');
        let analysed = |subject: &str| !subject.starts_with(own);
        self.latest_of(&self.bus.namespace().episodes(), analysed, limit).await
    }

    async fn latest_of(
        &self,
        subject: &str,
        wanted: impl Fn(&str) -> bool,
        limit: usize,
    ) -> Result<Vec<Episode>, Error> {
        let mut stored = self.bus.headers(Stream::Episodes, subject).await?;
        stored.retain(|message| wanted(&message.subject));
        let mut episodes = Vec::new();
        for message in &stored[stored.len().saturating_sub(limit)..] {
            // It may have been forgotten in between.
            let Some(message) = self.bus.message_at(Stream::Episodes, message.sequence).await? else {
                continue;
            };
            match self.bus.decode_stored(&message).await {
                Ok(episode) => episodes.push(episode),
                Err(error) => debug!(sequence = message.sequence, %error, "left out an episode that cannot be read"),
            }
        }
        Ok(episodes)
    }

    /// Reads the latest episodes that teach something, so that they can be recalled.
    pub async fn read(&self) -> Result<(), Error> {
        let began = Utc::now();
        let episodes = self.latest_analysed(self.episodes_max).await?;
        self.change(|learnt| {
            learnt.take_in(episodes, Source::Stream);
            learnt.read_to_the_end(began);
        });
        Ok(())
    }

    /// At most `limit` episodes of a subject from a sequence on.
    async fn after(&self, from: u64, subject: &str, limit: usize) -> Result<Page, Error> {
        let stored = self.bus.messages(Stream::Episodes, subject, from, limit).await?;
        let mut page = Page {
            episodes: Vec::new(),
            next: stored.last().map_or(from, |last| last.sequence + 1),
            is_last: stored.len() < limit,
        };
        for message in stored {
            match self.bus.decode_stored(&message).await {
                Ok(episode) => page.episodes.push((message.sequence, episode)),
                Err(error) => debug!(sequence = message.sequence, %error, "left out an episode that cannot be read"),
            }
        }
        Ok(page)
    }
}
