//! The local cache of working memory: results by key within a limit of bytes. Pure: it reads no clock.
//!
//! Who has to go is decided by GreedyDual-Size (P. Cao and S. Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997):
//! an entry has the priority `age + cost ÷ size`, with the milliseconds that it took to make and the bytes that it takes to
//! keep, and has it anew with each use. The lowest goes, and its priority is the new `age`. So what is dear for its size stays
//! longer, and what nobody uses any more goes in the end, however dear it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axon_protocol::Digest;
use serde_json::Value;
use tokio::time::Instant;

/// What an entry takes beside its value: its key twice, its place in the order and in the map.
const ENTRY_BYTES: usize = 320;
/// What an object takes beside its fields: its table, and room for further fields.
const OBJECT_BYTES: usize = 64;
/// What a field takes beside its name and value: its hash, its place, and the text that holds the name.
const FIELD_BYTES: usize = 48;

/// A result that is kept. Whoever asks for it shares it: reading copies nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The result.
    pub value: Arc<Value>,
    /// What it takes in memory, in bytes.
    pub bytes: usize,
    /// What it took to make.
    pub took: Duration,
}

impl Kept {
    /// A result that took so long to make.
    pub fn new(value: Arc<Value>, took: Duration) -> Self {
        let bytes = held_bytes(&value);
        Self { value, bytes, took }
    }

    fn bytes(&self) -> usize {
        self.bytes.saturating_add(ENTRY_BYTES)
    }
}

/// What a value takes in memory, in bytes: about as much as its JSON where it is mostly text, several times that where it is
/// a list of small objects.
fn held_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => {
            let spare = (items.capacity() - items.len()) * size_of::<Value>();
            items.iter().map(held_bytes).sum::<usize>() + spare
        }
        Value::Object(fields) => {
            let held = |(name, value): (&String, &Value)| FIELD_BYTES + name.capacity() + held_bytes(value);
            fields.iter().map(held).sum::<usize>() + OBJECT_BYTES
        }
    };
    size_of::<Value>() + inner
}

/// Results by key.
#[derive(Debug)]
pub struct LocalCache {
    bytes_max: usize,
    ttl: Duration,
    bytes: usize,
    /// The priority of the last entry that had to go.
    age: f64,
    uses: u64,
    slots: HashMap<Digest, Slot>,
    /// Who goes first.
    order: BTreeMap<Rank, Digest>,
}

#[derive(Debug)]
struct Slot {
    kept: Kept,
    rank: Rank,
    until: Instant,
}

/// The bits of the priority, which is never negative and therefore ordered as they are, and the number of the latest use.
type Rank = (u64, u64);

impl LocalCache {
    /// A cache that holds `bytes_max` at most, and nothing for longer than `ttl`.
    pub fn new(bytes_max: usize, ttl: Duration) -> Self {
        Self {
            bytes_max,
            ttl,
            bytes: 0,
            age: 0.0,
            uses: 0,
            slots: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// What is kept under a key.
    pub fn get(&mut self, key: &Digest, now: Instant) -> Option<Kept> {
        let slot = self.slots.get(key)?;
        if now >= slot.until {
            self.remove(key);
            return None;
        }
        let kept = slot.kept.clone();
        let rank = self.next_rank(&kept);
        let slot = self.slots.get_mut(key)?;
        if let Some(key) = self.order.remove(&slot.rank) {
            self.order.insert(rank, key);
        }
        slot.rank = rank;
        Some(kept)
    }

    /// Keeps a result, and drops others until there is room. One that is larger than the cache is not kept.
    pub fn insert(&mut self, key: Digest, kept: Kept, now: Instant) {
        self.remove(&key);
        if kept.bytes() > self.bytes_max {
            return;
        }
        while self.bytes + kept.bytes() > self.bytes_max {
            let Some(((priority, _), last)) = self.order.pop_first() else {
                break;
            };
            self.age = f64::from_bits(priority);
            self.forget(&last);
        }
        let rank = self.next_rank(&kept);
        self.bytes += kept.bytes();
        self.order.insert(rank, key.clone());
        let until = now + self.ttl;
        self.slots.insert(key, Slot { kept, rank, until });
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max, self.ttl);
    }

    /// Entries that are kept.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn next_rank(&mut self, kept: &Kept) -> Rank {
        self.uses += 1;
        let priority = self.age + kept.took.as_secs_f64() * 1000.0 / kept.bytes() as f64;
        (priority.to_bits(), self.uses)
    }

    fn remove(&mut self, key: &Digest) {
        if let Some(slot) = self.slots.get(key) {
            self.order.remove(&slot.rank);
            self.forget(key);
        }
    }

    /// Forgets an entry that has no place in the order any more.
    fn forget(&mut self, key: &Digest) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= slot.kept.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn kept(bytes: usize, took_ms: u64) -> Kept {
        Kept {
            value: Arc::default(),
            bytes,
            took: Duration::from_millis(took_ms),
        }
    }

    #[test]
    fn a_result_takes_what_its_texts_lists_and_fields_take() {
        let value = size_of::<Value>();
        for (result, expected) in [
            (json!(null), value),
            (json!(7), value),
            (json!("four"), value + 4),
            (json!(["four", 1]), 3 * value + 4),
            (json!({"name": "four"}), 2 * value + OBJECT_BYTES + FIELD_BYTES + 8),
            (
                json!({"a": {"b": []}}),
                3 * value + 2 * (OBJECT_BYTES + FIELD_BYTES + 1),
            ),
        ] {
            let kept = Kept::new(Arc::new(result.clone()), Duration::ZERO);
            assert_eq!(kept.bytes, expected, "{result}");
        }
    }

    /// What is left of `a`, `b`, … after results of these bytes and milliseconds were kept and `used` were used, and then one
    /// more result wants room.
    #[track_caller]
    fn check(entries: &[(usize, u64)], used: &str, next: (usize, u64), left: &str) {
        let now = Instant::now();
        let mut cache = LocalCache::new(3 * (1000 + ENTRY_BYTES), HOUR);
        let names: Vec<String> = ('a'..).take(entries.len() + 1).map(String::from).collect();
        for (name, (bytes, took)) in names.iter().zip(entries) {
            cache.insert(key(name), kept(*bytes, *took), now);
        }
        for name in used.chars() {
            assert!(cache.get(&key(&name.to_string()), now).is_some(), "{name} is there");
        }
        cache.insert(key(&names[entries.len()]), kept(next.0, next.1), now);
        let there = |name: &&String| cache.slots.contains_key(&key(name));
        let found: String = names.iter().filter(there).cloned().collect();
        assert_eq!(found, left, "{entries:?} then {next:?}, used {used:?}");
    }

    #[test]
    fn what_is_cheap_for_its_size_goes_first() {
        let same = (1000, 100);
        check(&[same, same], "", same, "abc");
        // The least recently used of equal ones.
        check(&[same, same, same], "", same, "bcd");
        check(&[same, same, same], "a", same, "acd");
        // The cheapest one, wherever it stands.
        check(&[(1000, 500), (1000, 10), (1000, 200)], "", same, "acd");
        // Cheap as it is, it was small: what it takes counts for each byte.
        check(&[(1000, 100), (200, 50), (1000, 100)], "", (1500, 100), "bcd");
        // What does not fit into an empty cache drops nobody.
        check(&[same, same, same], "", (5000, 9000), "abc");
    }

    #[test]
    fn what_nobody_uses_goes_in_the_end_however_dear_it_was() {
        let now = Instant::now();
        let mut cache = LocalCache::new(3 * (1000 + ENTRY_BYTES), HOUR);
        cache.insert(key("dear"), kept(1000, 1000), now);
        let gone = (1..100).find(|turn| {
            cache.insert(key(&format!("cheap {turn}")), kept(1000, 100), now);
            !cache.slots.contains_key(&key("dear"))
        });
        assert!(gone.is_some_and(|turn| turn > 10), "{gone:?}");
    }

    #[test]
    fn an_entry_is_there_for_its_time_alone_and_is_replaced() {
        let now = Instant::now();
        let mut cache = LocalCache::new(10_000, HOUR);
        cache.insert(key("a"), kept(10, 1), now);
        cache.insert(key("a"), kept(20, 1), now);
        assert_eq!((cache.len(), cache.bytes), (1, 20 + ENTRY_BYTES));
        let almost = now + HOUR - Duration::from_millis(1);
        assert_eq!(cache.get(&key("a"), almost), Some(kept(20, 1)));
        assert_eq!(cache.get(&key("a"), now + HOUR), None);
        assert_eq!((cache.len(), cache.bytes, cache.order.len()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_what_is_there_is_what_was_kept(
            steps in prop::collection::vec((0_u8..12, 0_usize..1500, 0_u64..2000, any::<bool>()), 0..200),
        ) {
            let now = Instant::now();
            let mut cache = LocalCache::new(4000, HOUR);
            let mut last: HashMap<u8, Kept> = HashMap::new();
            for (name, bytes, took, read) in steps {
                let digest = key(&name.to_string());
                if read {
                    let found = cache.get(&digest, now);
                    prop_assert!(found.is_none() || found.as_ref() == last.get(&name));
                } else {
                    cache.insert(digest, kept(bytes, took), now);
                    last.insert(name, kept(bytes, took));
                }
                let bytes: usize = cache.slots.values().map(|slot| slot.kept.bytes()).sum();
                prop_assert_eq!(bytes, cache.bytes);
                prop_assert!(bytes <= 4000);
                prop_assert_eq!(cache.slots.len(), cache.order.len());
                for (rank, key) in &cache.order {
                    prop_assert_eq!(cache.slots[key].rank, *rank);
                }
            }
        }
    }
}
