//! The queries that were cancelled a moment ago. Pure: the clock is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use axon_protocol::QueryId;
use tokio::time::Instant;

/// How long a cancelled query is remembered: the lead takes its tasks out of the queues sooner than that.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Most queries remembered; the oldest goes first.
const QUERIES_MAX: usize = 256;

/// Cancelled queries, the oldest first. Whoever cancels tells workers and leads at once, so that tasks of the query may
/// still be queued when a worker's slots are free again.
#[derive(Debug, Default)]
pub(crate) struct Cancelled(VecDeque<(Instant, QueryId)>);

impl Cancelled {
    pub(crate) fn add(&mut self, query: QueryId, now: Instant) {
        self.0.retain(|(_, known)| *known != query);
        if self.0.len() == QUERIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, query));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a query was cancelled a moment ago.
    pub(crate) fn contains(&mut self, query: &QueryId, now: Instant) -> bool {
        while self.0.front().is_some_and(|(at, _)| now >= *at + REMEMBERED) {
            self.0.pop_front();
        }
        self.0.iter().any(|(_, known)| known == query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: impl ToString) -> QueryId {
        name.to_string().parse().expect("an id")
    }

    #[test]
    fn a_query_is_remembered_for_a_while_from_its_last_cancellation() {
        let now = Instant::now();
        let mut cancelled = Cancelled::default();
        cancelled.add(query("first"), now);
        cancelled.add(query("second"), now);
        cancelled.add(query("first"), now + REMEMBERED / 2);
        let cases = [
            (Duration::ZERO, "third", false),
            (Duration::ZERO, "second", true),
            (REMEMBERED, "second", false),
            (REMEMBERED, "first", true),
            (REMEMBERED * 3 / 2, "first", false),
        ];
        for (after, name, known) in cases {
            assert_eq!(
                cancelled.contains(&query(name), now + after),
                known,
                "{name} after {after:?}"
            );
        }
        assert!(cancelled.is_empty(), "nothing is kept beyond its time");
    }

    #[test]
    fn no_number_of_cancellations_makes_a_worker_grow() {
        let now = Instant::now();
        let mut cancelled = Cancelled::default();
        for index in 0..=QUERIES_MAX {
            cancelled.add(query(index), now);
        }
        assert_eq!(cancelled.0.len(), QUERIES_MAX);
        assert!(!cancelled.contains(&query(0), now), "the oldest went");
        assert!(cancelled.contains(&query(QUERIES_MAX), now));
    }
}
