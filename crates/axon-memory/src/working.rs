//! Working memory: what expensive calls of tools returned, so that the same call on the same workspace is made once in the
//! whole fleet, and what the workers of one query have found so far. It only ever saves work: where the server is slow, full
//! or away, calls are made as if there were no memory.

mod cache;
mod claim;
mod facts;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axon_bus::{Bus, Entry, Error, Table};
use axon_protocol::{Bucket, CallMemory, Digest, WorkerId};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};
use tracing::debug;

pub use cache::{Kept, LocalCache};
pub use facts::SharedFacts;

use claim::{LEASE, LOOK_FIRST, Lookout, RENEW_EVERY, Step, half_time, patience};

/// How long anything is remembered after it was learnt; the bucket forgets as fast.
const TTL: Duration = Duration::from_secs(3600);
/// What a call must have taken to be kept in this process: the room is for what is worth it.
const KEPT_FROM: Duration = Duration::from_millis(1);
/// What a call must take, or be expected to take, to be shared with other workers: ten times what asking, claiming and telling
/// take with a server that syncs every write.
const SHARED_FROM: Duration = Duration::from_millis(20);
/// Largest result that is shared, in bytes of JSON; tools return no larger ones.
const SHARED_BYTES_MAX: usize = 256 * 1024;
/// Longest wait for one reply of the server, and how long it is left alone after it did not come.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(10);

/// A call that somebody wants the result of.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Digest of all that the result depends on.
    pub key: Digest,
    /// How long making it is expected to take.
    pub expected: Duration,
    /// When the result must be there, however it comes: half of the time until then may be spent waiting for others.
    pub deadline: Option<Instant>,
}

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The call was made now.
    Made,
    /// This process knew it; making it took so long.
    Local(Duration),
    /// Another worker made it, which took so long.
    Shared(Duration),
}

/// The working memory of a worker. Clones share it.
#[derive(Debug, Clone)]
pub struct WorkingMemory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    local: Mutex<LocalCache>,
    gates: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    /// What all workers share; nothing where this process keeps its results to itself.
    table: Option<Table<CallMemory>>,
    by: WorkerId,
    /// Until when the server is left alone.
    resting: Mutex<Option<Instant>>,
}

impl WorkingMemory {
    /// The working memory of the worker `by`, which keeps `bytes_max` in this process. Nothing is opened before the first call.
    pub fn new(bus: &Bus, by: WorkerId, bytes_max: usize) -> Self {
        Self::over(Some(bus.table(Bucket::Working)), by, bytes_max)
    }

    /// A working memory that shares nothing with other processes and needs no server.
    pub fn unshared(by: WorkerId, bytes_max: usize) -> Self {
        Self::over(None, by, bytes_max)
    }

    fn over(table: Option<Table<CallMemory>>, by: WorkerId, bytes_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                local: Mutex::new(LocalCache::new(bytes_max, TTL)),
                gates: Mutex::default(),
                table,
                by,
                resting: Mutex::default(),
            }),
        }
    }

    /// Drops what this process keeps; what is shared stays.
    pub fn release(&self) {
        lock(&self.inner.local).clear();
    }

    /// The result of a call: remembered, or made by `make`, which then is the only one that runs among all who want it. Waits
    /// for others only as long as they are at it, a few times as long as the call is expected to take, and calls `waits`
    /// before it does, so that nothing is held meanwhile that others could use. What failed is not remembered.
    pub async fn answer<E>(
        &self,
        wanted: &Wanted,
        waits: &(dyn Fn() + Send + Sync),
        make: impl Future<Output = Result<Value, E>> + Send,
    ) -> (Result<Arc<Value>, E>, Source)
    where
        E: Send,
    {
        if let Some(kept) = self.kept(&wanted.key) {
            return (Ok(kept.value), Source::Local(kept.took));
        }
        let (begun, patience) = (Instant::now(), patience(wanted.expected));
        let half = wanted.deadline.map(|deadline| half_time(begun, deadline));
        let until = |end: Instant| half.map_or(end, |half| half.min(end));
        // Who is first in this process may have to wait for another process before it makes the call.
        let alone = self.alone(&wanted.key, until(begun + 2 * patience), waits).await;
        if let Some(kept) = self.kept(&wanted.key) {
            return (Ok(kept.value), Source::Local(kept.took));
        }
        let asked = match alone.is_some() && wanted.expected >= SHARED_FROM {
            true => self.ask(&wanted.key, until(Instant::now() + patience), waits).await,
            false => Asked::Nobody,
        };
        let claimed = match asked {
            Asked::Known(value, took) => {
                let value = Arc::new(value);
                self.keep(&wanted.key, &value, took);
                return (Ok(value), Source::Shared(took));
            }
            Asked::Mine(revision) => Some(AtomicU64::new(revision)),
            Asked::Nobody => None,
        };
        let begun = Instant::now();
        let result = match &claimed {
            Some(revision) => tokio::select! {
                result = make => result,
                never = self.renew(&wanted.key, revision) => match never {},
            },
            None => make.await,
        };
        let (took, result) = (begun.elapsed(), result.map(Arc::new));
        let told = match &result {
            Ok(value) if claimed.is_some() || took >= KEPT_FROM => {
                self.keep(&wanted.key, value, took);
                let worth = claimed.is_some() || took >= SHARED_FROM;
                worth && self.tell(&wanted.key, value, took).await
            }
            _ => false,
        };
        if let (Some(revision), false) = (claimed, told) {
            self.give_up(&wanted.key, revision.into_inner()).await;
        }
        (result, Source::Made)
    }

    /// What this process knows.
    fn kept(&self, key: &Digest) -> Option<Kept> {
        lock(&self.inner.local).get(key, Instant::now())
    }

    /// Keeps a result in this process.
    fn keep(&self, key: &Digest, value: &Arc<Value>, took: Duration) {
        let kept = Kept::new(value.clone(), took);
        lock(&self.inner.local).insert(key.clone(), kept, Instant::now());
    }

    /// Waits until nobody else in this process is at the same call, or until `patience` ends.
    async fn alone(
        &self,
        key: &Digest,
        patience: Instant,
        waits: &(dyn Fn() + Send + Sync),
    ) -> Option<OwnedMutexGuard<()>> {
        let gate: Arc<tokio::sync::Mutex<()>> = {
            let mut gates = lock(&self.inner.gates);
            gates.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
                gates.retain(|_, gate| gate.strong_count() > 0);
                let gate = Arc::default();
                gates.insert(key.clone(), Arc::downgrade(&gate));
                gate
            })
        };
        match gate.clone().try_lock_owned() {
            Ok(alone) => Some(alone),
            Err(_) => {
                waits();
                timeout_at(patience, gate.lock_owned()).await.ok()
            }
        }
    }

    /// Asks the fleet for a result: somebody made it, or makes it now, or it is claimed for this worker.
    async fn ask(&self, key: &Digest, patience: Instant, waits: &(dyn Fn() + Send + Sync)) -> Asked {
        let Some(table) = &self.inner.table else {
            return Asked::Nobody;
        };
        let name = CallMemory::key(key);
        let mut lookout = Lookout::default();
        while Instant::now() < patience {
            let held = match self.request(table.get(&name)).await {
                Ok(entry) => entry.and_then(|Entry { value, revision, .. }| Some((revision, value?))),
                Err(_) => return Asked::Nobody,
            };
            let pause = match lookout.look(held, Instant::now()) {
                Step::Take(result, took) => return Asked::Known(result, took),
                Step::Wait(pause) => pause,
                Step::Claim(over) => {
                    let claim = self.claim(LEASE);
                    let claimed = match over {
                        Some(revision) => self.request(table.update(&name, &claim, revision)).await,
                        None => self.request(table.create(&name, &claim)).await,
                    };
                    match claimed {
                        Ok(revision) => return Asked::Mine(revision),
                        Err(Refused::Conflict) => LOOK_FIRST,
                        Err(Refused::Trouble) => return Asked::Nobody,
                    }
                }
            };
            waits();
            sleep(pause).await;
        }
        Asked::Nobody
    }

    fn claim(&self, lease: Duration) -> CallMemory {
        CallMemory::Claimed {
            by: self.inner.by.clone(),
            lease_ms: lease.as_millis() as u64,
        }
    }

    /// Renews a claim for ever. One that was lost is left alone: the call goes on, and somebody else makes it as well.
    async fn renew(&self, key: &Digest, revision: &AtomicU64) -> Infallible {
        let Some(table) = &self.inner.table else {
            return pending().await;
        };
        let (name, claim) = (CallMemory::key(key), self.claim(LEASE));
        let mut due = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let known = revision.load(Ordering::Relaxed);
            match self.request(table.update(&name, &claim, known)).await {
                Ok(renewed) => revision.store(renewed, Ordering::Relaxed),
                Err(_) => return pending().await,
            }
        }
    }

    /// Tells everybody what a call returned, whatever stands there: the same call returns the same.
    async fn tell(&self, key: &Digest, value: &Value, took: Duration) -> bool {
        let Some(table) = &self.inner.table else {
            return false;
        };
        if !serde_json::to_vec(value).is_ok_and(|encoded| encoded.len() <= SHARED_BYTES_MAX) {
            return false;
        }
        let made = CallMemory::Made {
            by: self.inner.by.clone(),
            result: value.clone(),
            took_ms: took.as_secs_f64() * 1000.0,
        };
        let name = CallMemory::key(key);
        self.request(table.put(&name, &made)).await.is_ok()
    }

    /// Lets others make a call at once that was claimed and came to nothing.
    async fn give_up(&self, key: &Digest, revision: u64) {
        let Some(table) = &self.inner.table else { return };
        let (name, over) = (CallMemory::key(key), self.claim(Duration::ZERO));
        // Without it they wait until the claim is stale.
        let _ = self.request(table.update(&name, &over, revision)).await;
    }

    /// What the server replies. One that does not is left alone for a while, and so is one that refuses.
    async fn request<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Refused> {
        if lock(&self.inner.resting).is_some_and(|until| Instant::now() < until) {
            return Err(Refused::Trouble);
        }
        let trouble = match timeout(REPLY_TIMEOUT, request).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(Error::Conflict { .. })) => return Err(Refused::Conflict),
            // One entry that another program wrote says nothing about the others.
            Ok(Err(Error::Decode(_))) => return Err(Refused::Trouble),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no reply within {REPLY_TIMEOUT:?}"),
        };
        debug!(trouble, "calls are not shared for a while");
        *lock(&self.inner.resting) = Some(Instant::now() + REST);
        Err(Refused::Trouble)
    }
}

/// What the fleet says of a call.
enum Asked {
    /// It was made, which took so long.
    Known(Value, Duration),
    /// It is claimed for this worker, in this revision.
    Mine(u64),
    /// Nobody can say, or nobody came to an end in time.
    Nobody,
}

/// Why the server did not do what it was asked.
enum Refused {
    /// Somebody else was faster.
    Conflict,
    /// It cannot, or does not answer.
    Trouble,
}

/// A poisoned lock is taken all the same: a panic leaves nothing half changed here that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
