//! Learns beside the queries: mines patterns from what is remembered, writes what changed, and generates, promotes and drops
//! strategies by them. Every lead does so from the same episodes; compare-and-set settles who writes.

pub mod candidates;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::Error;
use axon_memory::{Corpus, Miner, mine};
use axon_protocol::{Pattern, QueryId};
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, info, warn};

use crate::context::Context;
use candidates::{Change, Known, changes};

/// How often it is looked whether there is something new.
const LOOK: Duration = Duration::from_secs(1);
/// So many times longer than mining took is waited before the next time: it costs 2 % of a core at most.
const REST: u32 = 50;
/// What is old counts less without anything new: how often it is mined all the same.
const MINED_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);

/// What a lead mined last.
struct Mined {
    /// The state of the memory it was mined from.
    from: (u64, usize),
    at: DateTime<Utc>,
}

/// Learns for ever; to be run as a task of its own and dropped at the end.
pub(crate) async fn run(context: Arc<Context>) {
    let mut last: Option<Mined> = None;
    // Whoever never had anything to learn from knows nothing that would not hold any more.
    let mut taught = false;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (Some(generation), Some(known_to)) = (context.episodes.generation(), context.episodes.known_to()) else {
            continue;
        };
        if !context.patterns.is_loaded() {
            continue;
        }
        let (bad, now) = (marked_bad(&context), Utc::now());
        let from = (generation, bad.len());
        if last
            .as_ref()
            .is_some_and(|last| last.from == from && now - last.at < MINED_AGAIN_AFTER)
        {
            continue;
        }
        let begun = Instant::now();
        match learn(&context, bad, known_to, now, &mut taught).await {
            Ok(()) => last = Some(Mined { from, at: now }),
            Err(error) => warn!(%error, "cannot write what was learnt, it is tried again"),
        }
        let took = begun.elapsed();
        debug!(?took, "learnt from what is remembered");
        tokio::time::sleep(took * REST).await;
    }
}

/// The queries whose answers were marked bad.
fn marked_bad(context: &Context) -> BTreeSet<QueryId> {
    context.strategies.with_book(|book| {
        let marked = book
            .statistics
            .values()
            .flat_map(|statistics| statistics.marked_bad.iter().cloned());
        marked.collect()
    })
}

async fn learn(
    context: &Arc<Context>,
    bad: BTreeSet<QueryId>,
    known_to: DateTime<Utc>,
    now: DateTime<Utc>,
    taught: &mut bool,
) -> Result<(), Error> {
    let shared = context.clone();
    // Beside the loop: thousands of episodes take a while.
    let mining = tokio::task::spawn_blocking(move || {
        let corpus = Corpus::new(shared.episodes.remembered(), &bad);
        let mined = mine(&corpus, now);
        let (library, definitions) = shared
            .strategies
            .with_book(|book| (shared.library.with(&book.definitions), book.definitions.clone()));
        let known = Known {
            corpus: &corpus,
            library: &library,
            definitions: &definitions,
        };
        let changes = changes(&known, &in_force(&shared, &mined), now);
        (corpus.known_to(), mined, definitions, changes)
    });
    let Ok((evidence_to, mined, definitions, changes)) = mining.await else {
        // It panicked, and would again.
        return Ok(());
    };
    *taught |= evidence_to.is_some();
    if !*taught {
        return Ok(());
    }
    let miner = Miner {
        evidence_to: evidence_to.unwrap_or(known_to),
        known_to,
        now,
    };
    let written = context.patterns.write(&mined, miner).await?;
    if written > 0 {
        info!(patterns = mined.len(), written, "the patterns changed");
    }
    for change in changes {
        match change {
            Change::Define { definition, why } => {
                let known = definitions.get(&definition.name);
                if context.strategies.define(&definition, known).await? {
                    info!(strategy = definition.name, stage = ?definition.stage, why, "a generated strategy changed its stage");
                }
            }
            Change::Delete { name, why } => {
                if let Some(known) = definitions.get(&name)
                    && context.strategies.undefine(known).await?
                {
                    info!(strategy = name, why, "a generated strategy was deleted");
                }
            }
        }
    }
    Ok(())
}

/// What was mined, without what an operator removed.
fn in_force(context: &Context, mined: &[Pattern]) -> Vec<Pattern> {
    context.patterns.with_book(|book| {
        let stands = mined.iter().filter(|pattern| book.removal_of(pattern).is_none());
        stands.cloned().collect()
    })
}
