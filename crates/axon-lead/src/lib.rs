//! The lead: analyses a query, plans it, delegates it and decides when it is done.

mod advisories;
pub mod allocation;
pub mod analysis;
pub mod conduct;
pub mod config;
mod context;
pub mod demand;
mod execution;
pub mod fairness;
pub mod fallback;
mod fleet;
mod intake;
pub mod letters;
mod notice;
mod novelty;
mod options;
mod outcome;
mod overseer;
pub mod partition;
mod planner;
pub mod planning;
mod preparation;
mod query;
mod recorder;
pub mod requested;
mod requests;
mod scaling;
mod service;
mod shelf;
pub mod state;
pub mod strategy;
pub mod validation;
pub mod view;

pub use options::Options;
pub use service::Lead;
