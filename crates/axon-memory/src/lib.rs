//! Cortex, the memory of the fleet: what became of each query, and how well each strategy does. Decides nothing.

mod episodes;
mod strategies;

pub use episodes::Episodes;
pub use strategies::{Application, Strategies, StrategyBook};
