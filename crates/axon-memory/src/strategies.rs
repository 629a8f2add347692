//! Statistics and definitions of strategies in their bucket: read through a watch, written by compare-and-set so that two
//! leads never lose each other's updates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axon_bus::{Bus, Entry, Error, Table};
use axon_protocol::{
    Bucket, CountedGroup, Episode, Feedback, QueryId, Recalled, StrategyDefinition, StrategyStatistics,
};
use serde_json::Value;
use tracing::warn;

use crate::follow::follow;

/// Prefix of the keys that hold statistics.
const STATISTICS: &str = "stats.";
/// Prefix of the keys that hold definitions.
const DEFINITIONS: &str = "def.";

/// One application of a strategy, as it is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// The strategy.
    pub strategy: String,
    /// Whether it succeeded.
    pub success: bool,
    /// How long the query took, in milliseconds.
    pub duration_ms: u64,
    /// What it cost, in US cents.
    pub cost_cents: f64,
    /// Completeness of the answer, from 0 to 1.
    pub quality: f64,
}

/// What is known of strategies at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StrategyBook {
    /// Statistics by name.
    pub statistics: BTreeMap<String, StrategyStatistics>,
    /// Definitions that override or extend the built-in ones, by name.
    pub definitions: BTreeMap<String, StrategyDefinition>,
}

impl StrategyBook {
    fn of(all: BTreeMap<String, Value>) -> Self {
        let mut book = Self::default();
        for (key, value) in all {
            book.apply(Entry {
                key,
                value: Some(value),
                revision: 0,
            });
        }
        book
    }

    fn apply(&mut self, entry: Entry<Value>) {
        let Entry { key, value, .. } = entry;
        if let Some(name) = key.strip_prefix(STATISTICS) {
            set(&mut self.statistics, name, value, &key);
        } else if let Some(name) = key.strip_prefix(DEFINITIONS) {
            set(&mut self.definitions, name, value, &key);
        } else {
            warn!(
                key,
                "left out a key that is neither a definition nor statistics of a strategy"
            );
        }
    }
}

fn set<T: serde::de::DeserializeOwned>(map: &mut BTreeMap<String, T>, name: &str, value: Option<Value>, key: &str) {
    match value.map(serde_json::from_value) {
        None => {
            map.remove(name);
        }
        Some(Ok(value)) => {
            map.insert(name.to_owned(), value);
        }
        Some(Err(error)) => warn!(key, %error, "left out a strategy that cannot be read, the one before stays"),
    }
}

/// Takes in what readers think of the answers that are recalled: one that was marked bad is no success.
pub fn heed_readers(recalled: &mut [Recalled], statistics: &BTreeMap<String, StrategyStatistics>) {
    for one in recalled {
        let statistics = statistics.get(&one.strategy);
        one.success &= !statistics.is_some_and(|statistics| statistics.marked_bad.contains(&one.query_id));
    }
}

/// The strategies of the fleet.
#[derive(Debug, Clone)]
pub struct Strategies {
    table: Table<Value>,
    book: Arc<RwLock<StrategyBook>>,
    loaded: Arc<AtomicBool>,
}

impl Strategies {
    /// Knows nothing until [`Strategies::follow`] runs.
    pub fn new(bus: &Bus) -> Self {
        Self {
            table: bus.table(Bucket::Strategies),
            book: Arc::default(),
            loaded: Arc::default(),
        }
    }

    /// What is known now.
    pub fn book(&self) -> StrategyBook {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `read` over what is known now, without copying it.
    pub fn with_book<R>(&self, read: impl FnOnce(&StrategyBook) -> R) -> R {
        read(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows every change for ever; to be run as a task of its own and dropped at the end.
    pub async fn follow(&self) {
        let write = || self.book.write().unwrap_or_else(PoisonError::into_inner);
        let loaded = |all| {
            *write() = StrategyBook::of(all);
            self.loaded.store(true, Ordering::Release);
        };
        follow(&self.table, loaded, |entry| write().apply(entry)).await;
    }

    /// Whether everything that stood in the bucket is known, since [`Strategies::follow`] runs.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Counts applications, one compare-and-set a strategy, and takes out those that are counted: after an error the others
    /// are left, to be given again as the same group. What was written although its acknowledgement was lost counts once.
    pub async fn record(&self, group: &CountedGroup, applications: &mut Vec<Application>) -> Result<(), Error> {
        let mut by_name: BTreeMap<String, Vec<Application>> = BTreeMap::new();
        for application in applications.drain(..) {
            let name = application.strategy.clone();
            by_name.entry(name).or_default().push(application);
        }
        let mut failed = None;
        for (name, same) in by_name {
            if let Err(error) = self.record_of(&name, group, &same).await {
                applications.extend(same);
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn record_of(&self, name: &str, group: &CountedGroup, applications: &[Application]) -> Result<(), Error> {
        self.table
            .modify(&format!("{STATISTICS}{name}"), |current| {
                // Statistics that cannot be read are of no use to anybody: counting starts again.
                let mut statistics: StrategyStatistics = current
                    .and_then(|value| serde_json::from_value(value).ok())
                    .unwrap_or_default();
                if !statistics.begin_group(group) {
                    return None;
                }
                for one in applications {
                    statistics.record(one.success, one.duration_ms, one.cost_cents, one.quality);
                }
                serde_json::to_value(statistics).ok()
            })
            .await
    }
}

impl Strategies {
    /// Takes in what a reader thinks of a query whose application of `strategy` succeeded by itself, by compare-and-set.
    /// `false` where that changes nothing.
    pub async fn mark(&self, strategy: &str, query: &QueryId, feedback: Feedback) -> Result<bool, Error> {
        let mut changed = false;
        let key = format!("{STATISTICS}{strategy}");
        self.table
            .modify(&key, |current| {
                let mut statistics: StrategyStatistics = current
                    .and_then(|value| serde_json::from_value(value).ok())
                    .unwrap_or_default();
                changed = statistics.mark(query, feedback);
                changed.then(|| serde_json::to_value(statistics).ok())?
            })
            .await?;
        Ok(changed)
    }

    /// Adopts what another fleet knows of a strategy, where this one knows nothing yet. `false` where it does.
    pub async fn adopt_statistics(&self, strategy: &str, statistics: &StrategyStatistics) -> Result<bool, Error> {
        self.adopt(&format!("{STATISTICS}{strategy}"), statistics).await
    }

    /// Adopts the definition of a strategy, where none of its name is stored. `false` where one is.
    pub async fn adopt_definition(&self, definition: &StrategyDefinition) -> Result<bool, Error> {
        self.adopt(&format!("{DEFINITIONS}{}", definition.name), definition)
            .await
    }

    /// Writes a definition, where the one that stands is still `known`. `false` where somebody changed it.
    pub async fn define(
        &self,
        definition: &StrategyDefinition,
        known: Option<&StrategyDefinition>,
    ) -> Result<bool, Error> {
        let mut written = false;
        let key = format!("{DEFINITIONS}{}", definition.name);
        self.table
            .modify(&key, |current| {
                let current: Option<StrategyDefinition> = current.and_then(|value| serde_json::from_value(value).ok());
                written = current.as_ref() == known;
                written.then(|| serde_json::to_value(definition).ok())?
            })
            .await?;
        Ok(written)
    }

    /// Deletes a definition, where the one that stands is still `known`. `false` where somebody changed it.
    pub async fn undefine(&self, known: &StrategyDefinition) -> Result<bool, Error> {
        let key = format!("{DEFINITIONS}{}", known.name);
        let Some(entry) = self.table.get(&key).await? else {
            return Ok(false);
        };
        let current = entry.value.and_then(|value| serde_json::from_value(value).ok());
        if current.as_ref() != Some(known) {
            return Ok(false);
        }
        match self.table.delete_at(&key, entry.revision).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counts the application no more whose episode is forgotten. `false` where nothing was counted.
    pub async fn forget(&self, episode: &Episode) -> Result<bool, Error> {
        let mut counted = false;
        self.table
            .modify(&format!("{STATISTICS}{}", episode.strategy), |current| {
                let mut statistics: StrategyStatistics = serde_json::from_value(current?).ok()?;
                counted = statistics.applications > 0;
                let quality = episode.quality.map_or(0.0, |quality| quality.completeness);
                let duration_ms = episode.duration_ms as u64;
                statistics.forget(
                    &episode.query_id,
                    episode.success,
                    duration_ms,
                    episode.usage.cents,
                    quality,
                );
                serde_json::to_value(statistics).ok()
            })
            .await?;
        Ok(counted)
    }

    async fn adopt(&self, key: &str, value: &impl serde::Serialize) -> Result<bool, Error> {
        let value = serde_json::to_value(value).unwrap_or_default();
        match self.table.create(key, &value).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads everything once and knows it from then on.
    pub async fn load(&self) -> Result<(), Error> {
        let book = self.read().await?;
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = book;
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Reads everything once, for whoever does not follow.
    pub async fn read(&self) -> Result<StrategyBook, Error> {
        Ok(StrategyBook::of(self.table.all().await?))
    }

    /// The statistics of one strategy as they stand now.
    pub async fn statistics(&self, strategy: &str) -> Result<StrategyStatistics, Error> {
        let entry = self.table.get(&format!("{STATISTICS}{strategy}")).await?;
        let value = entry.and_then(|entry| entry.value);
        Ok(value
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(key: &str, value: Option<Value>) -> Entry<Value> {
        Entry {
            key: key.to_owned(),
            value,
            revision: 1,
        }
    }

    #[test]
    fn an_answer_that_its_reader_marked_bad_is_recalled_as_no_success() {
        let id = |id: &str| QueryId::new(id).expect("an id");
        let recalled = |query: &str, strategy: &str, success: bool| Recalled {
            query_id: id(query),
            query: String::new(),
            strategy: strategy.to_owned(),
            status: axon_protocol::AnswerStatus::Complete,
            success,
            similarity: 1.0,
            score: 1.0,
            same_workspace: false,
            summary: String::new(),
            places: Vec::new(),
            duration_ms: 1.0,
            at: chrono::DateTime::UNIX_EPOCH,
        };
        let statistics = StrategyStatistics {
            marked_bad: vec![id("bad")],
            ..StrategyStatistics::default()
        };
        let statistics = BTreeMap::from([("research".to_owned(), statistics)]);
        for (query, strategy, success, expected) in [
            ("bad", "research", true, false),
            ("good", "research", true, true),
            ("failed", "research", false, false),
            ("bad", "testing", true, true),
        ] {
            let mut one = [recalled(query, strategy, success)];
            heed_readers(&mut one, &statistics);
            assert_eq!(one[0].success, expected, "{query} {strategy}");
        }
    }

    #[test]
    fn the_book_follows_its_entries() {
        let mut book = StrategyBook::default();
        let statistics = json!({"applications": 2, "successes": 1, "mean_duration_ms": 1.0, "mean_cost_cents": 0.0, "mean_quality": 0.5});
        book.apply(entry("stats.general", Some(statistics)));
        assert_eq!(book.statistics["general"].success_rate(), Some(0.5));
        book.apply(entry("stats.general", Some(json!("nonsense"))));
        assert_eq!(
            book.statistics["general"].applications, 2,
            "what cannot be read changes nothing"
        );
        book.apply(entry("other", Some(json!(1))));
        book.apply(entry("stats.general", None));
        assert_eq!(book, StrategyBook::default());
    }
}
