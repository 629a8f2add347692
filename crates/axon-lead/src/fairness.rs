//! Whose query is next: weighted fair turns between clients, so that one with a thousand queries does not starve another.
//! Pure: time is an argument, and nothing here leases or starts anything.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a query is taken to last before the first one of any client has ended.
const FIRST_GUESS_S: f64 = 1.0;
/// Weight of the latest query in the mean duration of its client.
const MEAN_WEIGHT: f64 = 0.2;

/// The place of a query among those of its client: the higher priority first, then the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: Reverse<u8>,
    sequence: u64,
}

/// One client that has queries here.
#[derive(Debug)]
struct Client<T> {
    waiting: BTreeMap<Place, T>,
    running: usize,
    /// Seconds of execution it has had, divided by its weight. Those of a query that runs are guessed until it ends.
    used: f64,
    mean_s: Option<f64>,
}

/// A query whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn<T> {
    /// What was added.
    pub item: T,
    /// What [`Turns::ended`] needs to know.
    pub charge: Charge,
}

/// What was charged to a client for a query that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    client: String,
    guessed: Duration,
}

/// The queries that wait, by client.
///
/// Whoever has had the least execution time in proportion to its weight is next. A client that comes, or comes back, starts
/// level with the one that was served last: it neither catches up for its absence nor pays for what it had before.
#[derive(Debug)]
pub struct Turns<T> {
    clients: BTreeMap<String, Client<T>>,
    weights: BTreeMap<String, f64>,
    /// What the client that was chosen last had used then.
    level: f64,
    mean_s: f64,
}

impl<T> Turns<T> {
    /// Nobody waits. Clients that are not named weigh 1.
    pub fn new(weights: BTreeMap<String, f64>) -> Self {
        Self {
            clients: BTreeMap::new(),
            weights,
            level: 0.0,
            mean_s: FIRST_GUESS_S,
        }
    }

    /// Queries that wait.
    pub fn waiting(&self) -> usize {
        self.clients.values().map(|client| client.waiting.len()).sum()
    }

    /// Those that wait, in no special order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.clients.values().flat_map(|client| client.waiting.values())
    }

    /// The same, to note something about them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.clients.values_mut().flat_map(|client| client.waiting.values_mut())
    }

    /// A query of `client` waits. `sequence` tells which of two is older; one that waits already is replaced and given back.
    pub fn add(&mut self, client: &str, priority: u8, sequence: u64, item: T) -> Option<T> {
        let place = Place {
            priority: Reverse(priority),
            sequence,
        };
        self.client(client).waiting.insert(place, item)
    }

    /// The query whose turn it is; it counts as running from now on.
    pub fn take(&mut self) -> Option<Turn<T>> {
        let name = self
            .clients
            .iter()
            .filter(|(_, client)| !client.waiting.is_empty())
            .min_by(|(_, a), (_, b)| a.used.total_cmp(&b.used))
            .map(|(name, _)| name.clone())?;
        let client = self.clients.get_mut(&name)?;
        self.level = self.level.max(client.used);
        let (_, item) = client.waiting.pop_first()?;
        let charge = self.begin(&name);
        Some(Turn { item, charge })
    }

    /// A query of `client` runs that never waited.
    pub fn begin(&mut self, client: &str) -> Charge {
        let (weight, mean_s) = (self.weight(client), self.mean_s);
        let entry = self.client(client);
        let guessed = Duration::from_secs_f64(entry.mean_s.unwrap_or(mean_s));
        entry.used += guessed.as_secs_f64() / weight;
        entry.running += 1;
        Charge {
            client: client.to_owned(),
            guessed,
        }
    }

    /// A query has ended after `took`; what was guessed of it is corrected.
    pub fn ended(&mut self, charge: &Charge, took: Duration) {
        let weight = self.weight(&charge.client);
        let took_s = took.as_secs_f64();
        self.mean_s += MEAN_WEIGHT * (took_s - self.mean_s);
        let Some(client) = self.clients.get_mut(&charge.client) else {
            return;
        };
        client.running = client.running.saturating_sub(1);
        client.used += (took_s - charge.guessed.as_secs_f64()) / weight;
        client.mean_s = Some(
            client
                .mean_s
                .map_or(took_s, |mean| mean + MEAN_WEIGHT * (took_s - mean)),
        );
        self.forget(&charge.client.clone());
    }

    /// Up to `limit` queries that `wanted` picks, those first whose key is smallest. They run out of turn, and are charged
    /// like others.
    pub fn take_first_by<K: Ord>(&mut self, limit: usize, wanted: impl Fn(&T) -> Option<K>) -> Vec<Turn<T>> {
        let mut picked: Vec<(K, String, Place)> = self
            .clients
            .iter()
            .flat_map(|(name, client)| client.waiting.iter().map(move |(place, item)| (name, *place, item)))
            .filter_map(|(name, place, item)| Some((wanted(item)?, name.clone(), place)))
            .collect();
        picked.sort();
        picked.truncate(limit);
        picked
            .into_iter()
            .filter_map(|(_, name, place)| {
                let item = self.clients.get_mut(&name)?.waiting.remove(&place)?;
                let charge = self.begin(&name);
                Some(Turn { item, charge })
            })
            .collect()
    }

    /// Gives up to `count` queries away that `may_go`, those first whose turn is furthest: the last of whoever has most.
    pub fn give_away(&mut self, count: usize, may_go: impl Fn(&T) -> bool) -> Vec<T> {
        let mut given = Vec::new();
        while given.len() < count {
            let last = |client: &Client<T>| {
                client
                    .waiting
                    .iter()
                    .rev()
                    .find(|(_, item)| may_go(item))
                    .map(|(place, _)| *place)
            };
            let Some((name, place)) = self
                .clients
                .iter()
                .filter_map(|(name, client)| Some((name, last(client)?, client.waiting.len())))
                .max_by_key(|(_, _, waiting)| *waiting)
                .map(|(name, place, _)| (name.clone(), place))
            else {
                break;
            };
            given.extend(
                self.clients
                    .get_mut(&name)
                    .and_then(|client| client.waiting.remove(&place)),
            );
            self.forget(&name);
        }
        given
    }

    fn weight(&self, client: &str) -> f64 {
        self.weights.get(client).copied().unwrap_or(1.0)
    }

    fn client(&mut self, name: &str) -> &mut Client<T> {
        let level = self.level;
        self.clients.entry(name.to_owned()).or_insert_with(|| Client {
            waiting: BTreeMap::new(),
            running: 0,
            used: level,
            mean_s: None,
        })
    }

    fn forget(&mut self, name: &str) {
        let gone = |client: &Client<T>| client.running == 0 && client.waiting.is_empty();
        if self.clients.get(name).is_some_and(gone) {
            self.clients.remove(name);
        }
    }
}

/// How many waiting queries a lead gives away to leads that have room, `free` executions together. It keeps what it has
/// room for itself.
pub fn surplus(waiting: usize, running: usize, room: usize, free: usize) -> usize {
    waiting.saturating_sub(room.saturating_sub(running)).min(free)
}

#[cfg(test)]
mod tests;
