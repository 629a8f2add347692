//! The worker: takes tasks of its capabilities, runs them within their boundaries, publishes one result each.
//! It knows no lead and no other worker, and keeps nothing between tasks but caches.

pub mod agent;
pub mod analyst;

mod config;
mod worker;

mod program;

mod board;
mod breaker;
mod cancelled;
mod permits;
mod routes;
mod runtime;

mod memory;
mod poison;
mod replay;
mod starts;
mod task;
mod verdict;
mod work;

mod heartbeat;
mod meters;

pub use config::{Config, ConfigError, Mode};
pub use program::run;
pub use worker::{Parts, Worker};
