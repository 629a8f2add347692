//! What the workers of one query have found so far, for those that are still at it. A fact is a finding in short: what counts
//! is in the results.

use std::time::Duration;

use axon_bus::{Bus, Error, Table};
use axon_protocol::{Bucket, Fact, QueryFacts, QueryId};
use tokio::time::timeout;
use tracing::debug;

/// Most facts of one query; further ones are left out.
const FACTS_MAX: usize = 64;
/// Longest wait for the server.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The facts of queries.
#[derive(Debug, Clone)]
pub struct SharedFacts {
    table: Table<QueryFacts>,
}

impl SharedFacts {
    /// Facts over a bus. Nothing is opened before the first is told or asked for.
    pub fn new(bus: &Bus) -> Self {
        Self {
            table: bus.table(Bucket::Working),
        }
    }

    /// Tells the other workers of a query. Facts that cannot be told are lost, which costs others their time alone.
    pub async fn tell(&self, query: &QueryId, facts: Vec<Fact>) {
        let key = QueryFacts::key(query);
        let told = self.table.modify(&key, |known| with(known, &facts));
        match timeout(TIMEOUT, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%query, %error, "cannot tell others what was found"),
            Err(_) => debug!(%query, "no reply within {TIMEOUT:?} when telling what was found"),
        }
    }

    /// All that is known of a query; nothing where the server does not say.
    pub async fn of(&self, query: &QueryId) -> Vec<Fact> {
        match timeout(TIMEOUT, self.table.get(&QueryFacts::key(query))).await {
            Ok(Ok(entry)) => entry.and_then(|entry| entry.value).unwrap_or_default().facts,
            Ok(Err(error)) => {
                debug!(%query, %error, "cannot read what others found");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Deletes the facts of a query. Returns how many there were.
    pub async fn forget(&self, query: &QueryId) -> Result<usize, Error> {
        let key = QueryFacts::key(query);
        let known = self.table.get(&key).await?.and_then(|entry| entry.value);
        if known.is_some() {
            self.table.delete(&key).await?;
        }
        Ok(known.unwrap_or_default().facts.len())
    }
}

/// What is known with these facts; `None` where none of them is new, or there is no room.
fn with(known: Option<QueryFacts>, facts: &[Fact]) -> Option<QueryFacts> {
    let mut all = known.unwrap_or_default().facts;
    let before = all.len();
    for fact in facts {
        let told = all.iter().any(|one| one.task == fact.task && one.claim == fact.claim);
        if !told && all.len() < FACTS_MAX {
            all.push(fact.clone());
        }
    }
    (all.len() > before).then_some(QueryFacts { facts: all })
}

#[cfg(test)]
mod tests {
    use axon_protocol::TaskId;

    use super::*;

    fn fact(task: usize, claim: &str) -> Fact {
        Fact {
            task: TaskId::from_index(task),
            claim: claim.to_owned(),
            places: Vec::new(),
            confidence: 0.9,
        }
    }

    #[test]
    fn a_fact_is_told_once_by_each_task_and_only_while_there_is_room() {
        let check = |known: &[Fact], new: &[Fact], expected: Option<usize>| {
            let known = (!known.is_empty()).then(|| QueryFacts { facts: known.to_vec() });
            let all = with(known, new);
            assert_eq!(all.map(|all| all.facts.len()), expected, "{new:?}");
        };
        check(&[], &[], None);
        check(&[], &[fact(1, "a"), fact(1, "a")], Some(1));
        check(&[fact(1, "a")], &[fact(1, "a")], None);
        check(&[fact(1, "a")], &[fact(2, "a"), fact(1, "b")], Some(3));
        let many: Vec<Fact> = (0..FACTS_MAX + 9).map(|index| fact(1, &index.to_string())).collect();
        check(&[], &many, Some(FACTS_MAX));
        check(&many[..FACTS_MAX], &[fact(2, "more")], None);
    }
}
