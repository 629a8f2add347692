//! The synthesizer: merges the findings of a query into its one answer.
//! It believes only what the evidence shows, hides no conflict, and adds nothing that no worker reported.

mod bound;
mod confidence;
mod config;
mod conflict;
mod finding;
mod merge;
mod quality;
mod recommend;
mod summary;
mod synthesize;
mod words;

pub use config::{ConfigError, SynthesizerConfig};
pub use finding::Verification;
pub use synthesize::{Input, synthesize};
