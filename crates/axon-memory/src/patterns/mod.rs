//! Patterns in their bucket: every lead mines them from the same episodes, writes by compare-and-set what changed, and follows
//! what the others wrote. What an operator removed stays removed until there is much more to say for it.

mod corpus;
mod mine;
mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axon_bus::{Bus, Entry, Error, Table};
use axon_protocol::{Bucket, Complexity, Pattern, PatternRecord, QueryKind, Shape};
use chrono::{DateTime, TimeDelta, Utc};

use crate::follow::follow;
use crate::recall::words_of;

pub use corpus::Corpus;
pub use mine::{PATTERNS_MAX, mine};
pub use tally::Tally;

/// Differences of a share and of a support below which a pattern is not written anew.
const SHARE_CHANGED: f64 = 0.02;
const SUPPORT_CHANGED: f64 = 1.0;
/// How much surer the evidence must be, as a share, before what was removed comes back, and how long a removal lasts.
const SURER: f64 = 0.2;
const REMOVED_FOR: TimeDelta = TimeDelta::days(90);

/// The patterns known at a moment, by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatternBook {
    /// All of them, the removed ones included.
    pub records: BTreeMap<String, PatternRecord>,
}

impl PatternBook {
    /// The patterns in force.
    pub fn in_force(&self) -> impl Iterator<Item = &Pattern> {
        let records = self.records.values().filter(|record| record.removed.is_none());
        records.map(|record| &record.pattern)
    }

    /// The removal that holds for what was mined: its own, or that of a pattern which says the same of the same queries by
    /// other words.
    pub fn removal_of(&self, mined: &Pattern) -> Option<&PatternRecord> {
        match self.records.get(&mined.key()) {
            Some(own) => Some(own).filter(|own| own.removed.is_some()),
            None => {
                let mut removed = self.records.values().filter(|record| record.removed.is_some());
                removed.find(|record| says_the_same(&record.pattern, mined))
            }
        }
    }

    /// The patterns in force for a query of this shape and complexity, whatever it reads like.
    pub fn matching(&self, query: &str, shape: Shape, complexity: Complexity) -> Vec<Pattern> {
        let words = words_of(query);
        let fits = |pattern: &&Pattern| corpus::fits(&pattern.when, &words, Some(shape), Some(complexity));
        self.in_force().filter(fits).cloned().collect()
    }

    fn apply(&mut self, entry: Entry<PatternRecord>) {
        match entry.value {
            Some(record) => self.records.insert(entry.key, record),
            None => self.records.remove(&entry.key),
        };
    }
}

/// Whether a query is of a kind, whatever it reads like.
pub fn is_of_kind(kind: &QueryKind, query: &str, shape: Shape, complexity: Complexity) -> bool {
    corpus::fits(kind, &words_of(query), Some(shape), Some(complexity))
}

/// Whether a pattern says of the same queries what another one does, by whatever words: as evidence comes in, the words by
/// which a kind of query is told change.
fn says_the_same(one: &Pattern, other: &Pattern) -> bool {
    let within = |one: &Pattern, other: &Pattern| {
        let holds = |word: &String| other.when.words.contains(word) || other.along.contains(word);
        !one.when.words.is_empty() && one.when.words.iter().all(holds)
    };
    let rest = |pattern: &Pattern| {
        (
            pattern.when.shape,
            pattern.when.complexity,
            pattern.when.leaning.clone(),
        )
    };
    one.lesson == other.lesson && rest(one) == rest(other) && (within(one, other) || within(other, one))
}

/// Who mined, and what it knew.
#[derive(Debug, Clone, Copy)]
pub struct Miner {
    /// When the latest query of the evidence ended.
    pub evidence_to: DateTime<Utc>,
    /// Up to when every episode is known, those that are forgotten included.
    pub known_to: DateTime<Utc>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What is to become of a pattern in the bucket when it was mined anew; `None` where it stays as it is.
fn settled(current: Option<&PatternRecord>, mined: &Pattern, miner: Miner) -> Option<PatternRecord> {
    let fresh = PatternRecord {
        pattern: mined.clone(),
        known_to: miner.evidence_to,
        removed: None,
    };
    let Some(current) = current else {
        return Some(fresh);
    };
    let known = &current.pattern;
    let surer = |pattern: &Pattern| (pattern.confidence - pattern.compared).abs();
    let changed = match current.removed {
        Some(removed) => miner.now - removed > REMOVED_FOR || surer(mined) > surer(known) + SURER,
        None => {
            (mined.confidence - known.confidence).abs() >= SHARE_CHANGED
                || (mined.compared - known.compared).abs() >= SHARE_CHANGED
                || (mined.support - known.support).abs() >= SUPPORT_CHANGED
        }
    };
    (changed && miner.known_to >= current.known_to).then_some(fresh)
}

/// Whether a pattern that was not mined again is to go.
fn is_over(current: &PatternRecord, miner: Miner) -> bool {
    match current.removed {
        Some(removed) => miner.now - removed > REMOVED_FOR,
        None => miner.known_to >= current.known_to,
    }
}

/// The patterns of the fleet.
#[derive(Debug, Clone)]
pub struct Patterns {
    table: Table<PatternRecord>,
    book: Arc<RwLock<PatternBook>>,
    loaded: Arc<AtomicBool>,
}

impl Patterns {
    /// Knows nothing until [`Patterns::follow`] runs.
    pub fn new(bus: &Bus) -> Self {
        Self {
            table: bus.table(Bucket::Patterns),
            book: Arc::default(),
            loaded: Arc::default(),
        }
    }

    /// Runs `read` over what is known now, without copying it.
    pub fn with_book<R>(&self, read: impl FnOnce(&PatternBook) -> R) -> R {
        read(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows every change for ever; to be run as a task of its own and dropped at the end.
    pub async fn follow(&self) {
        let write = || self.book.write().unwrap_or_else(PoisonError::into_inner);
        let loaded = |records| {
            write().records = records;
            self.loaded.store(true, Ordering::Release);
        };
        follow(&self.table, loaded, |entry| write().apply(entry)).await;
    }

    /// Whether everything that stood in the bucket is known, since [`Patterns::follow`] runs.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Reads everything once, for whoever does not follow.
    pub async fn read(&self) -> Result<PatternBook, Error> {
        Ok(PatternBook {
            records: self.table.all().await?,
        })
    }

    /// Writes what was mined: what is new or changed, and what does not hold any more. Returns how many keys changed.
    pub async fn write(&self, mined: &[Pattern], miner: Miner) -> Result<usize, Error> {
        let book = self.with_book(PatternBook::clone);
        let mut changed = 0;
        let mut keys = Vec::with_capacity(mined.len());
        for pattern in mined {
            let key = pattern.key();
            let standing = book.removal_of(pattern).or_else(|| book.records.get(&key));
            if settled(standing, pattern, miner).is_some() {
                let mut written = false;
                let settle = |current: Option<PatternRecord>| {
                    let record = settled(current.as_ref(), pattern, miner);
                    written = record.is_some();
                    record
                };
                self.table.modify(&key, settle).await?;
                changed += usize::from(written);
            }
            keys.push(key);
        }
        let gone = book
            .records
            .iter()
            .filter(|(key, record)| !keys.contains(key) && is_over(record, miner));
        for (key, _) in gone {
            changed += usize::from(self.delete_over(key, miner).await?);
        }
        Ok(changed)
    }

    /// Deletes what is over. What somebody else changed in between is theirs to judge.
    async fn delete_over(&self, key: &str, miner: Miner) -> Result<bool, Error> {
        let Some(entry) = self.table.get(key).await? else {
            return Ok(false);
        };
        if !entry.value.is_some_and(|record| is_over(&record, miner)) {
            return Ok(false);
        }
        match self.table.delete_at(key, entry.revision).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a pattern, so that no lead applies it, or lifts the removal again. `false` where nothing changes, `None`
    /// where there is none of this key.
    pub async fn set_removed(&self, key: &str, removed: Option<DateTime<Utc>>) -> Result<Option<bool>, Error> {
        let mut outcome = None;
        self.table
            .modify(key, |current| {
                let current = current?;
                let changes = current.removed.is_some() != removed.is_some();
                outcome = Some(changes);
                changes.then_some(PatternRecord { removed, ..current })
            })
            .await?;
        Ok(outcome)
    }

    /// Adopts a pattern of another fleet, where none of its key is known. `false` where one is.
    pub async fn adopt(&self, record: &PatternRecord) -> Result<bool, Error> {
        match self.table.create(&record.pattern.key(), record).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
