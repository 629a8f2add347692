//! Cortex, the memory of the fleet: what became of each query, what follows from it for the next, how well each strategy does,
//! and what the workers of today know together.

mod duration;
mod episodes;
mod follow;
mod patterns;
mod predictor;
mod recall;
mod strategies;
mod working;

pub use duration::{DurationModel, Expectation, Planned};
pub use episodes::{Episodes, OWN_PLAN};
pub use patterns::{Corpus, Miner, PATTERNS_MAX, PatternBook, Patterns, Tally, is_of_kind, mine};
pub use predictor::{ClassLimits, DEFAULT_LIMITS, Prediction, Predictor, Traits, true_complexity};
pub use recall::EpisodeIndex;
pub use strategies::{Application, Strategies, StrategyBook, heed_readers};
pub use working::{Kept, LocalCache, SharedFacts, Source, Wanted, WorkingMemory};
