//! A budget while it is spent: the most that a call can cost is taken out before it is made, and what it did not cost is
//! put back. It never lets a call begin that the budget cannot pay in full.

use axon_protocol::{Budget, Usage};

use crate::{Price, TokenUsage};

/// What is left of a budget, and what was spent.
#[derive(Debug, Clone, PartialEq)]
pub struct Purse {
    tokens_left: u64,
    cents_left: f64,
    spent: TokenUsage,
    /// Tokens of calls whose cost nobody told, at their most.
    unknown_tokens: u64,
    cents: f64,
}

/// What was taken out for one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reserved {
    /// Tokens of request and reply together.
    pub tokens: u64,
    /// US cents.
    pub cents: f64,
    /// Tokens the reply may have.
    pub output_tokens: u64,
}

/// The budget is too short for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Short {
    /// Of tokens.
    #[error("its budget of tokens is used up")]
    Tokens,
    /// Of money.
    #[error("its budget of money is used up")]
    Cents,
}

impl Purse {
    /// A full one.
    pub fn new(budget: Budget) -> Self {
        Self {
            tokens_left: budget.tokens,
            cents_left: budget.cents as f64,
            spent: TokenUsage::default(),
            unknown_tokens: 0,
            cents: 0.0,
        }
    }

    /// Takes out the most that a call can cost whose request has at most `input_tokens` and whose reply may have up to
    /// `output_tokens`; less where the budget is short, but never less than `output_least`.
    pub fn reserve(
        &mut self,
        price: &Price,
        input_tokens: u64,
        output_tokens: u64,
        output_least: u64,
    ) -> Result<Reserved, Short> {
        let by_tokens = self.tokens_left.saturating_sub(input_tokens);
        if by_tokens < output_least {
            return Err(Short::Tokens);
        }
        let input_cents = input_tokens as f64 * price.input_token_max();
        let each = price.output_token();
        let by_cents = match self.cents_left - input_cents {
            left if left < 0.0 => return Err(Short::Cents),
            _ if each <= 0.0 => u64::MAX,
            left => (left / each) as u64,
        };
        if by_cents < output_least {
            return Err(Short::Cents);
        }
        let output_tokens = output_tokens.min(by_tokens).min(by_cents);
        let reserved = Reserved {
            tokens: input_tokens + output_tokens,
            cents: input_cents + output_tokens as f64 * each,
            output_tokens,
        };
        self.tokens_left -= reserved.tokens;
        self.cents_left -= reserved.cents;
        Ok(reserved)
    }

    /// Puts back what a call did not cost.
    pub fn settle(&mut self, reserved: Reserved, price: &Price, usage: &TokenUsage) {
        self.spent += *usage;
        self.pay(reserved, usage.total(), price.of(usage));
    }

    /// Puts everything back: the call was refused and cost nothing.
    pub fn release(&mut self, reserved: Reserved) {
        self.pay(reserved, 0, 0.0);
    }

    /// Puts nothing back: nobody knows what the call cost.
    pub fn forfeit(&mut self, reserved: Reserved) {
        self.unknown_tokens += reserved.tokens;
        self.pay(reserved, reserved.tokens, reserved.cents);
    }

    fn pay(&mut self, reserved: Reserved, tokens: u64, cents: f64) {
        self.tokens_left = (self.tokens_left + reserved.tokens).saturating_sub(tokens);
        self.cents_left = (self.cents_left + reserved.cents - cents).max(0.0);
        self.cents += cents;
    }

    /// Tokens that can still be reserved.
    pub fn tokens_left(&self) -> u64 {
        self.tokens_left
    }

    /// US cents that can still be reserved.
    pub fn cents_left(&self) -> f64 {
        self.cents_left
    }

    /// What was spent, as results report it.
    pub fn usage(&self) -> Usage {
        Usage {
            tool_calls: 0,
            tokens: self.spent.total() + self.unknown_tokens,
            cents: self.cents,
        }
    }

    /// The tokens that providers counted, by kind.
    pub fn tokens(&self) -> TokenUsage {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 100.0,
        output: 500.0,
        cache_read: 10.0,
        cache_write: 125.0,
    };

    fn usage(input: u64, output: u64) -> TokenUsage {
        TokenUsage {
            input,
            output,
            ..TokenUsage::default()
        }
    }

    #[test]
    fn a_call_is_reserved_at_its_most_and_settled_at_what_it_cost() {
        let mut purse = Purse::new(Budget {
            tokens: 10_000,
            cents: 10,
        });
        let reserved = purse.reserve(&PRICE, 4_000, 2_000, 256).expect("enough");
        assert_eq!((reserved.tokens, reserved.output_tokens), (6_000, 2_000));
        assert!((reserved.cents - (4_000.0 * 125.0 + 2_000.0 * 500.0) / 1e6).abs() < 1e-9);
        assert_eq!(purse.tokens_left(), 4_000);
        purse.settle(reserved, &PRICE, &usage(1_500, 300));
        assert_eq!(purse.tokens_left(), 8_200);
        assert_eq!(purse.usage().tokens, 1_800);
        assert!((purse.usage().cents - 0.3).abs() < 1e-9);
        assert!((purse.cents_left() - 9.7).abs() < 1e-9);
    }

    #[test]
    fn a_reply_gets_shorter_before_it_gets_impossible() {
        let mut purse = Purse::new(Budget {
            tokens: 5_000,
            cents: 100,
        });
        assert_eq!(purse.reserve(&PRICE, 4_900, 2_000, 256), Err(Short::Tokens));
        let reserved = purse.reserve(&PRICE, 4_500, 2_000, 256).expect("a short one");
        assert_eq!(reserved.output_tokens, 500);
        assert_eq!(purse.reserve(&PRICE, 0, 1, 1), Err(Short::Tokens), "it is in flight");
        purse.release(reserved);
        assert_eq!(purse.tokens_left(), 5_000);

        let mut poor = Purse::new(Budget {
            tokens: 1_000_000,
            cents: 1,
        });
        assert_eq!(poor.reserve(&PRICE, 9_000, 2_000, 256), Err(Short::Cents));
        let reserved = poor.reserve(&PRICE, 4_000, 2_000, 256).expect("half a cent");
        assert_eq!(reserved.output_tokens, 1_000);
        assert!(reserved.cents <= 1.0);
    }

    #[test]
    fn what_nobody_counted_is_spent_in_full() {
        let mut purse = Purse::new(Budget {
            tokens: 5_000,
            cents: 5,
        });
        let reserved = purse.reserve(&PRICE, 1_000, 500, 256).expect("enough");
        purse.forfeit(reserved);
        assert_eq!((purse.usage().tokens, purse.tokens_left()), (1_500, 3_500));
        assert!((purse.usage().cents - reserved.cents).abs() < 1e-12);
    }

    #[test]
    fn a_budget_of_nothing_pays_nothing() {
        let mut purse = Purse::new(Budget::default());
        assert_eq!(purse.reserve(&Price::default(), 1, 1, 1), Err(Short::Tokens));
    }
}
