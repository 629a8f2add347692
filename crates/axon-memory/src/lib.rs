//! Cortex, the memory of the fleet: what became of each query, and how well each strategy does. Decides nothing.

mod episodes;
mod predictor;
mod recall;
mod strategies;

pub use episodes::Episodes;
pub use predictor::{ClassLimits, DEFAULT_LIMITS, Prediction, Predictor, Traits, true_complexity};
pub use recall::EpisodeIndex;
pub use strategies::{Application, Strategies, StrategyBook};
