//! When a query that waits for its turn is due, and what has to be done about it before that. Pure: time is an argument.

use chrono::{DateTime, TimeDelta, Utc};

/// Share of its time, as a divisor, that a query must have left to be worked on: with less it is begun out of turn.
const URGENT_DIVISOR: i32 = 3;
/// How long after it was tried in vain to find out when a query is due this is tried again, in milliseconds.
const SEEK_AGAIN_MS: i64 = 5_000;

/// When a query is due, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Then.
    At(DateTime<Utc>),
    /// It names no deadline, or cannot be read without being fetched. Only planning it tells.
    No,
    /// It will be refused, which takes no time.
    Refused,
}

/// What finding out brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It is due then.
    At(DateTime<Utc>),
    /// It cannot be read or planned.
    Refused,
}

/// What has to be done about a query that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it waits for its turn.
    Nothing,
    /// To find out when it is due.
    Prospect,
    /// To begin it out of turn.
    Begin,
    /// To answer it, because its deadline has passed.
    Answer,
}

/// When a query that waits is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    accepted_at: DateTime<Utc>,
    known: Known,
    /// Nothing has to be done before this.
    look_at: DateTime<Utc>,
}

impl Due {
    /// `named` is the deadline of its own, and `soonest` when it is due at the earliest if it has none.
    pub(crate) fn new(accepted_at: DateTime<Utc>, named: Option<DateTime<Utc>>, soonest: DateTime<Utc>) -> Self {
        Self {
            accepted_at,
            known: named.map_or(Known::No, Known::At),
            look_at: urgent_at(accepted_at, named.unwrap_or(soonest)),
        }
    }

    /// What has to be done now.
    pub(crate) fn need(&self, now: DateTime<Utc>) -> Need {
        match self.known {
            Known::At(at) if at <= now => Need::Answer,
            _ if now < self.look_at => Need::Nothing,
            Known::At(_) | Known::Refused => Need::Begin,
            Known::No => Need::Prospect,
        }
    }

    /// The order among those that need the same: whoever has least time left comes first.
    pub(crate) fn order(&self) -> DateTime<Utc> {
        match self.known {
            Known::At(at) => at,
            Known::No | Known::Refused => self.accepted_at,
        }
    }

    /// It is being found out when it is due.
    pub(crate) fn sought(&mut self, now: DateTime<Utc>) {
        self.look_at = now + TimeDelta::milliseconds(SEEK_AGAIN_MS);
    }

    /// It was found out.
    pub(crate) fn found(&mut self, prospect: Prospect) {
        (self.known, self.look_at) = match prospect {
            Prospect::At(at) => (Known::At(at), urgent_at(self.accepted_at, at)),
            Prospect::Refused => (Known::Refused, self.accepted_at),
        };
    }
}

fn urgent_at(accepted_at: DateTime<Utc>, due_at: DateTime<Utc>) -> DateTime<Utc> {
    due_at - (due_at - accepted_at) / URGENT_DIVISOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("a time")
    }

    fn check(name: &str, due: Due, expected: &[(i64, Need)]) {
        for (seconds, need) in expected {
            assert_eq!(due.need(at(*seconds)), *need, "{name} after {seconds} s");
        }
    }

    #[test]
    fn only_a_deadline_that_is_known_passes() {
        let named = Due::new(at(0), Some(at(60)), at(30));
        let known = [
            (39, Need::Nothing),
            (40, Need::Begin),
            (59, Need::Begin),
            (60, Need::Answer),
        ];
        check("named", named, &known);
        let mut guessed = Due::new(at(0), None, at(30));
        let unknown = [
            (19, Need::Nothing),
            (20, Need::Prospect),
            (30, Need::Prospect),
            (1_000, Need::Prospect),
        ];
        check("guessed", guessed, &unknown);
        guessed.sought(at(20));
        check(
            "sought",
            guessed,
            &[(21, Need::Nothing), (24, Need::Nothing), (25, Need::Prospect)],
        );
        guessed.found(Prospect::At(at(300)));
        let found = [
            (30, Need::Nothing),
            (199, Need::Nothing),
            (200, Need::Begin),
            (300, Need::Answer),
        ];
        check("found", guessed, &found);
        guessed.found(Prospect::Refused);
        check("refused", guessed, &[(20, Need::Begin), (1_000, Need::Begin)]);
    }

    #[test]
    fn a_short_deadline_that_is_found_out_is_as_urgent_as_one_that_was_named() {
        let named = Due::new(at(0), Some(at(30)), at(30));
        let mut found = Due::new(at(0), None, at(30));
        found.sought(at(20));
        found.found(Prospect::At(at(30)));
        assert_eq!(found, named);
        assert_eq!(found.need(at(20)), Need::Begin);
    }

    #[test]
    fn whoever_has_least_time_left_comes_first() {
        let mut refused = Due::new(at(5), None, at(35));
        refused.found(Prospect::Refused);
        let dues = [
            refused,
            Due::new(at(0), Some(at(10)), at(30)),
            Due::new(at(1), Some(at(20)), at(31)),
        ];
        assert!(dues.is_sorted_by_key(Due::order));
    }
}
