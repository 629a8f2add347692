//! The lead: analyses a query, plans it, delegates it and decides when it is done.

pub mod allocation;
pub mod analysis;
pub mod config;
pub mod partition;
pub mod strategy;
pub mod view;

mod advisories;
pub mod fallback;
mod fleet;
pub mod letters;
mod recorder;
pub mod state;
