//! Episodic memory: one episode a query, written once however many leads try, and an index of the latest ones for recall.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axon_bus::{Bus, Error, Fenced, Message};
use axon_protocol::{Digest, Episode, Format, QueryId, Recalled, Stream};
use chrono::{DateTime, Utc};
use tracing::{debug, warn};

use crate::EpisodeIndex;

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
    index: Arc<RwLock<EpisodeIndex>>,
}

impl Episodes {
    /// Episodes over a bus, of which the latest `episodes_max` can be recalled once [`Episodes::follow`] runs or
    /// [`Episodes::read`] has ended. None are written where `persist_to_episodic` is off.
    pub fn new(bus: &Bus, episodes_max: usize) -> Self {
        Self {
            bus: bus.clone(),
            enabled: bus.config().persist_to_episodic,
            episodes_max,
            index: Arc::new(RwLock::new(EpisodeIndex::new(episodes_max))),
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
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .recall(query, workspace, now, RECALLED_MAX)
    }

    /// Recalls a query no more; its episode stays in the stream, which is for whoever asks for this to purge.
    pub fn forget(&self, query: &QueryId) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).remove(query);
    }

    /// The latest episodes of the stream, oldest first.
    pub async fn latest(&self, limit: usize) -> Result<Vec<Episode>, Error> {
        Ok(self.after(0, limit).await?.1)
    }

    /// Reads the latest episodes, so that they can be recalled.
    pub async fn read(&self) -> Result<(), Error> {
        let (_, episodes) = self.after(0, self.episodes_max).await?;
        self.take_in(episodes);
        Ok(())
    }

    /// Follows what is remembered by anybody, for ever; to be run as a task of its own and dropped at the end.
    pub async fn follow(&self) {
        if self.episodes_max == 0 {
            return;
        }
        let mut from = 0;
        loop {
            match self.bus.subscribe(self.bus.namespace().episodes()).await {
                Ok(mut heard) => {
                    let mut read = tokio::time::interval(READ_EVERY);
                    loop {
                        tokio::select! {
                            _ = read.tick() => match self.after(from, self.episodes_max).await {
                                Ok((next, episodes)) => {
                                    from = next;
                                    self.take_in(episodes);
                                }
                                Err(error) => debug!(%error, "cannot read the episodes"),
                            },
                            message = heard.next() => match message {
                                // A publish that was refused says the same as the one that was kept.
                                Some(message) => match message.decode::<Episode>().await {
                                    Ok(episode) => self.take_in(vec![episode]),
                                    Err(error) => debug!(%error, "left out an episode that cannot be read"),
                                },
                                None => break,
                            },
                        }
                    }
                }
                Err(error) => warn!(%error, "cannot hear of new episodes"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take_in(&self, episodes: Vec<Episode>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for episode in episodes {
            index.insert(episode);
        }
    }

    /// The latest episodes from a sequence on, at most `limit`, with the sequence to go on from.
    async fn after(&self, from: u64, limit: usize) -> Result<(u64, Vec<Episode>), Error> {
        let last = self.bus.status(Stream::Episodes).await?.last_sequence;
        let from = from.max((last + 1).saturating_sub(limit as u64));
        let mut episodes = Vec::new();
        let mut next = from;
        let filter = self.bus.namespace().episodes();
        for stored in self.bus.messages(Stream::Episodes, &filter, from, limit).await? {
            next = next.max(stored.sequence + 1);
            match self.bus.decode_stored(&stored).await {
                Ok(episode) => episodes.push(episode),
                Err(error) => debug!(sequence = stored.sequence, %error, "left out an episode that cannot be read"),
            }
        }
        Ok((next, episodes))
    }
}
