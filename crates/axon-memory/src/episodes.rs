//! Episodic memory: one episode a query, written once however many leads try, and an index of the latest ones for recall.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Error, Fenced, Message};
use axon_protocol::{Digest, Episode, Format, QueryId, Recalled, Stream};
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::{ClassLimits, DurationModel, EpisodeIndex, Expectation, Planned, Prediction, Predictor, Traits};

/// Episodes recalled for one query.
const RECALLED_MAX: usize = 3;
/// How often the stream is read beside the subscription, which may miss some.
const READ_EVERY: Duration = Duration::from_secs(30);
/// Pause before a subscription that failed is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes and recalls episodes.
#[derive(Debug, Clone)]
pub struct Episodes {
    bus: Bus,
    enabled: bool,
    episodes_max: usize,
    limits: [ClassLimits; 3],
    learnt: Arc<RwLock<Learnt>>,
}

/// What the episodes taught.
#[derive(Debug)]
struct Learnt {
    index: EpisodeIndex,
    predictor: Predictor,
    durations: DurationModel,
    /// Grows with every change.
    generation: u64,
    /// Whether the stream was read to its end since this process started.
    complete: bool,
}

impl Learnt {
    fn new(episodes_max: usize, limits: [ClassLimits; 3]) -> Self {
        Self {
            index: EpisodeIndex::new(episodes_max),
            predictor: Predictor::new(limits),
            durations: DurationModel::default(),
            generation: 0,
            complete: false,
        }
    }

    fn observe(&mut self, episode: &Episode) {
        self.predictor.observe(episode);
        self.durations.observe(episode);
    }
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
            limits,
            learnt: Arc::new(RwLock::new(Learnt::new(episodes_max, limits))),
        }
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
        learnt.complete.then_some(learnt.generation)
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

    /// Recalls a query no more and learns anew without it; its episode stays in the stream, which is for whoever asks for
    /// this to purge.
    pub fn forget(&self, query: &QueryId) {
        let mut learnt = self.learnt.write().unwrap_or_else(PoisonError::into_inner);
        if learnt.index.remove(query) {
            learnt.generation += 1;
            learnt.predictor = Predictor::new(self.limits);
            learnt.durations = DurationModel::default();
            for episode in learnt.index.episodes().collect::<Vec<_>>() {
                learnt.observe(&episode);
            }
        }
    }

    /// The latest episodes of the stream, whatever their strategy, oldest first.
    pub async fn latest(&self, limit: usize) -> Result<Vec<Episode>, Error> {
        let from = self.first_of_latest(limit).await?;
        let (_, episodes) = self.after(from, &self.bus.namespace().episodes(), limit).await?;
        Ok(episodes)
    }

    /// Reads the latest episodes, so that they can be recalled.
    pub async fn read(&self) -> Result<(), Error> {
        let episodes = self.latest(self.episodes_max).await?;
        self.take_in(episodes);
        self.complete();
        Ok(())
    }

    /// Follows what anybody remembers of queries with these strategies, for ever; to be run as a task of its own and dropped
    /// at the end. Queries that bring their own plan have nothing to teach, and there may be a thousand of them a second.
    pub async fn follow(&self, strategies: impl Fn() -> BTreeSet<String>) {
        if self.episodes_max == 0 {
            return;
        }
        let mut listeners = JoinSet::new();
        let mut read_to: BTreeMap<String, u64> = BTreeMap::new();
        let mut read = tokio::time::interval(READ_EVERY);
        loop {
            read.tick().await;
            let Ok(first) = self.first_of_latest(self.episodes_max).await else {
                continue;
            };
            let mut complete = true;
            for strategy in strategies() {
                let subject = self.bus.namespace().episodes_with(&strategy);
                if !read_to.contains_key(&strategy) {
                    listeners.spawn(self.clone().listen(subject.clone()));
                }
                let next = read_to.entry(strategy).or_insert(first);
                match self.after(*next, &subject, self.episodes_max).await {
                    Ok((after, episodes)) => {
                        *next = after;
                        self.take_in(episodes);
                    }
                    Err(error) => {
                        complete = false;
                        debug!(subject, %error, "cannot read episodes");
                    }
                }
            }
            if complete {
                self.complete();
            }
        }
    }

    /// Takes in what is published. A publish that was refused says the same as the one that was kept.
    async fn listen(self, subject: String) {
        loop {
            match self.bus.subscribe(subject.clone()).await {
                Ok(mut heard) => {
                    while let Some(message) = heard.next().await {
                        match message.decode::<Episode>().await {
                            Ok(episode) => self.take_in(vec![episode]),
                            Err(error) => debug!(%error, "left out an episode that cannot be read"),
                        }
                    }
                }
                Err(error) => warn!(subject, %error, "cannot hear of new episodes"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn complete(&self) {
        self.learnt.write().unwrap_or_else(PoisonError::into_inner).complete = true;
    }

    fn take_in(&self, episodes: Vec<Episode>) {
        let mut learnt = self.learnt.write().unwrap_or_else(PoisonError::into_inner);
        for episode in episodes {
            if learnt.index.insert(episode.clone()) {
                learnt.generation += 1;
                learnt.observe(&episode);
            }
        }
    }

    /// The sequence after which the stream holds at most `limit` episodes.
    async fn first_of_latest(&self, limit: usize) -> Result<u64, Error> {
        let last = self.bus.status(Stream::Episodes).await?.last_sequence;
        Ok((last + 1).saturating_sub(limit as u64))
    }

    /// Episodes of a subject from a sequence on, with the sequence to go on from.
    async fn after(&self, from: u64, subject: &str, limit: usize) -> Result<(u64, Vec<Episode>), Error> {
        let mut episodes = Vec::new();
        let mut next = from;
        for stored in self.bus.messages(Stream::Episodes, subject, from, limit).await? {
            next = next.max(stored.sequence + 1);
            match self.bus.decode_stored(&stored).await {
                Ok(episode) => episodes.push(episode),
                Err(error) => debug!(sequence = stored.sequence, %error, "left out an episode that cannot be read"),
            }
        }
        Ok((next, episodes))
    }
}
