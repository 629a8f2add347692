//! What ended tasks did not spend, and who gets it. Nothing is ever given out that was not returned before, so that the
//! shares of the tasks and the reserve never exceed the budget of the query.

use axon_protocol::Budget;

/// Unspent budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ledger {
    pool: Budget,
}

impl Ledger {
    /// A task ended: what it left of its share comes back.
    pub(super) fn settle(&mut self, share: Budget, spent: Budget) {
        self.put(Budget {
            tokens: share.tokens.saturating_sub(spent.tokens),
            cents: share.cents.saturating_sub(spent.cents),
        });
    }

    /// A share that will not be used comes back whole.
    pub(super) fn put(&mut self, budget: Budget) {
        self.pool.tokens = self.pool.tokens.saturating_add(budget.tokens);
        self.pool.cents = self.pool.cents.saturating_add(budget.cents);
    }

    /// Takes the part of one of `waiting` tasks that are still to be queued.
    pub(super) fn grant(&mut self, waiting: usize) -> Budget {
        let parts = waiting.max(1) as u64;
        let part = Budget {
            tokens: self.pool.tokens / parts,
            cents: self.pool.cents / parts,
        };
        self.pool.tokens -= part.tokens;
        self.pool.cents -= part.cents;
        part
    }

    /// Takes exactly this; `false`, and nothing is taken, when there is less.
    pub(super) fn take(&mut self, budget: Budget) -> bool {
        let enough = self.pool.tokens >= budget.tokens && self.pool.cents >= budget.cents;
        if enough {
            self.pool.tokens -= budget.tokens;
            self.pool.cents -= budget.cents;
        }
        enough
    }

    /// What is left.
    pub(super) fn unspent(&self) -> Budget {
        self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(tokens: u64, cents: u64) -> Budget {
        Budget { tokens, cents }
    }

    #[test]
    fn only_what_came_back_is_given_out() {
        let mut ledger = Ledger::default();
        assert!(!ledger.take(budget(1, 0)));
        assert!(ledger.take(budget(0, 0)));
        ledger.settle(budget(100, 10), budget(40, 12));
        assert_eq!(ledger.unspent(), budget(60, 0), "an overshoot brings nothing back");
        assert_eq!(ledger.grant(4), budget(15, 0));
        assert!(!ledger.take(budget(46, 0)));
        assert!(ledger.take(budget(45, 0)));
        assert_eq!(ledger.unspent(), Budget::default());
    }
}
