//! The lead: analyses a query, plans it, delegates it and decides when it is done.

mod advisories;
pub mod allocation;
pub mod analysis;
pub mod config;
mod context;
mod execution;
pub mod fallback;
mod fleet;
pub mod letters;
mod options;
pub mod partition;
pub mod planning;
mod preparation;
mod query;
mod recorder;
mod requests;
mod service;
pub mod state;
pub mod strategy;
pub mod validation;
pub mod view;

pub use options::Options;
pub use service::Lead;
