//! Keeps what the episodes taught up to date: hears what is published, and reads the stream beside that, which tells what
//! was not heard, what was heard and refused, and what was forgotten.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use axon_bus::{Error, StreamStatus};
use axon_protocol::{Episode, QueryId, Stream};
use chrono::Utc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::learnt::Source;
use super::{Episodes, OWN_PLAN};

/// Pause before a subscription or a reading that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the strategies are known yet.
const LOOK: Duration = Duration::from_millis(50);
/// Episodes of queries with a plan of their own that are kept: there may be a thousand a second, they teach nothing, and the
/// stream drops its oldest, whichever they are.
const OWN_PLANS_MAX: u64 = 10_000;

/// How far the stream was read.
#[derive(Debug, Default)]
struct Reader {
    /// By strategy, the sequence to go on from.
    next: BTreeMap<String, u64>,
    /// The sequence from which on there are as many episodes as can be recalled.
    first: Option<u64>,
    /// Messages that are missing between the first and the last one.
    gaps: Option<u64>,
}

impl Episodes {
    /// Follows what anybody remembers of queries with these strategies, once they are known, for ever; to be run as a task of
    /// its own and dropped at the end. Queries that bring their own plan have nothing to teach, and there may be a thousand
    /// of them a second.
    pub async fn follow(&self, strategies: impl Fn() -> Option<BTreeSet<String>>) {
        if self.episodes_max == 0 {
            return;
        }
        let mut listeners = JoinSet::new();
        let mut reader = Reader::default();
        let mut read = tokio::time::interval(self.read_every);
        loop {
            read.tick().await;
            let names = loop {
                match strategies() {
                    Some(names) => break names,
                    None => tokio::time::sleep(LOOK).await,
                }
            };
            for name in &names {
                if !reader.next.contains_key(name) {
                    let subject = self.bus.namespace().episodes_with(name);
                    listeners.spawn(self.clone().listen(subject));
                    reader.next.insert(name.clone(), 0);
                }
            }
            if let Err(error) = self.round(&mut reader).await {
                debug!(%error, "cannot read episodes, it is tried again");
                if error.is_transient() {
                    read.reset_after(PAUSE);
                }
            }
        }
    }

    /// Takes in what is published. A publish that was refused says nearly the same as the one that was kept.
    async fn listen(self, subject: String) {
        loop {
            match self.bus.subscribe(subject.clone()).await {
                Ok(mut heard) => {
                    while let Some(message) = heard.next().await {
                        match message.decode::<Episode>().await {
                            Ok(episode) => self.change(|learnt| learnt.take_in([episode], Source::Heard)),
                            Err(error) => debug!(%error, "left out an episode that cannot be read"),
                        }
                    }
                }
                Err(error) => warn!(subject, %error, "cannot hear of new episodes"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads what is new of all strategies, and takes it in at once in the order in which it happened: what the models learn
    /// and what the index drops hangs on that.
    async fn round(&self, reader: &mut Reader) -> Result<(), Error> {
        let (began, heard) = (Utc::now(), self.learnt().heard().clone());
        let status = self.bus.status(Stream::Episodes).await?;
        let gaps = self.gaps(&status).await?;
        let first = match reader.first {
            Some(first) => first,
            None => self.first_of_latest(reader.next.keys(), &status).await?,
        };
        let mut read: Vec<(u64, Episode)> = Vec::new();
        let mut next = reader.next.clone();
        for (strategy, next) in &mut next {
            let subject = self.bus.namespace().episodes_with(strategy);
            loop {
                let page = self.after(first.max(*next), &subject, self.episodes_max).await?;
                *next = page.next;
                read.extend(page.episodes);
                if page.is_last {
                    break;
                }
            }
        }
        read.sort_by_key(|(sequence, _)| *sequence);
        let episodes = read.into_iter().map(|(_, episode)| episode);
        self.change(|learnt| learnt.take_in(episodes, Source::Stream));
        (reader.next, reader.first) = (next, Some(first));

        let removed = reader.gaps.is_some_and(|known| known != gaps);
        let refused = !self.learnt().heard().is_disjoint(&heard);
        if removed || refused {
            self.compare(reader.next.keys()).await?;
        }
        reader.gaps = Some(gaps);
        self.change(|learnt| learnt.read_to_the_end(began));
        if status.messages > OWN_PLANS_MAX {
            let own = self.bus.namespace().episodes_with(OWN_PLAN);
            self.bus.purge_all_but(Stream::Episodes, &own, OWN_PLANS_MAX).await?;
        }
        Ok(())
    }

    /// How many messages are missing between the first and the last one of the stream: it changes when one is removed.
    async fn gaps(&self, status: &StreamStatus) -> Result<u64, Error> {
        let all = self.bus.namespace().episodes();
        let oldest = self.bus.messages(Stream::Episodes, &all, 0, 1).await?;
        let first = oldest
            .first()
            .map_or(status.last_sequence + 1, |oldest| oldest.sequence);
        Ok((status.last_sequence + 1).saturating_sub(first + status.messages))
    }

    /// The sequence from which on the stream holds as many episodes of these strategies as can be recalled.
    async fn first_of_latest(
        &self,
        strategies: impl Iterator<Item = &String>,
        status: &StreamStatus,
    ) -> Result<u64, Error> {
        if status.messages <= self.episodes_max as u64 {
            return Ok(0);
        }
        let mut sequences = Vec::new();
        for strategy in strategies {
            let subject = self.bus.namespace().episodes_with(strategy);
            let stored = self.bus.headers(Stream::Episodes, &subject).await?;
            sequences.extend(stored.into_iter().map(|message| message.sequence));
        }
        sequences.sort_unstable();
        let older = sequences.len().saturating_sub(self.episodes_max);
        Ok(sequences.get(older).copied().unwrap_or(0))
    }

    /// Forgets what the stream keeps no more, or never kept. Whoever forgets a query says so once, which a lead may miss that
    /// is not connected or has not read so far.
    async fn compare(&self, strategies: impl Iterator<Item = &String>) -> Result<(), Error> {
        // Taken before the listing, so that nothing is missed that is remembered meanwhile.
        let known: BTreeSet<QueryId> = {
            let learnt = self.learnt();
            learnt.index.queries().chain(learnt.heard()).cloned().collect()
        };
        let mut stored: HashSet<QueryId> = HashSet::new();
        for strategy in strategies {
            let subject = self.bus.namespace().episodes_with(strategy);
            let subjects = self.bus.subjects(Stream::Episodes, &subject).await?;
            stored.extend(
                subjects
                    .iter()
                    .filter_map(|subject| self.bus.namespace().last_token_query(subject)),
            );
        }
        let gone: Vec<QueryId> = known.into_iter().filter(|query| !stored.contains(query)).collect();
        if !gone.is_empty() {
            debug!(episodes = gone.len(), "forgetting what the stream keeps no more");
            self.change(|learnt| learnt.forget(&gone));
        }
        Ok(())
    }
}
