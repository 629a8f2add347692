//! Cortex, the memory of the fleet: what became of each query, how well each strategy does, and what the workers of today
//! know together. Decides nothing.

mod episodes;
mod predictor;
mod recall;
mod strategies;
mod working;

pub use episodes::Episodes;
pub use predictor::{ClassLimits, DEFAULT_LIMITS, Prediction, Predictor, Traits, true_complexity};
pub use recall::EpisodeIndex;
pub use strategies::{Application, Strategies, StrategyBook};
pub use working::{Kept, LocalCache, SharedFacts, Source, Wanted, WorkingMemory};
