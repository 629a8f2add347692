//! The synthesizer: merges the findings of a query into its one answer.
//! It believes only what the evidence shows, hides no conflict, and adds nothing that no worker reported.

mod bound;
mod citation;
mod confidence;
mod config;
mod conflict;
mod evidence;
mod finding;
mod handler;
mod merge;
mod program;
mod prose;
mod quality;
mod recommend;
mod registry;
mod service;
mod stated;
mod summary;
mod synthesize;
mod words;
mod writer;

pub use config::{ConfigError, SummaryBy, SynthesizerConfig};
pub use finding::Verification;
pub use program::run;
pub use prose::{Prose, Sentence};
pub use service::Synthesizer;
pub use synthesize::{Input, synthesize};
