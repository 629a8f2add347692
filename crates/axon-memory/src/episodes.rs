//! Episodic memory: one episode a query, written once however many leads try.

use std::time::Instant;

use axon_bus::{Bus, Error, Fenced, Message};
use axon_protocol::{Episode, Format, QueryId, Stream};

/// Writes episodes.
#[derive(Debug, Clone)]
pub struct Episodes {
    bus: Bus,
    enabled: bool,
}

impl Episodes {
    /// Episodes over a bus; none are written where `persist_to_episodic` is off.
    pub fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            enabled: bus.config().persist_to_episodic,
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
}
