//! Cortex, the memory of the fleet: what became of each query, and how well each strategy does. Decides nothing.

mod episodes;
mod recall;
mod strategies;

pub use episodes::Episodes;
pub use recall::EpisodeIndex;
pub use strategies::{Application, Strategies, StrategyBook};
