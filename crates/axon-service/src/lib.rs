//! What every Axon process has: configuration, telemetry, health endpoints, shutdown, the supervision of
//! foreign programs, and how long to wait before trying again.
//!
//! It knows nothing of queries, tasks or NATS and depends on no other crate of this workspace. No other crate reads the
//! environment, installs a subscriber or handles a signal.

pub mod args;
pub mod breaker;
pub mod config;
pub mod foreign;
pub mod health;
pub mod metrics;
pub mod process;
pub mod registry;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod telemetry;

pub use args::ServiceArgs;
pub use health::Health;
pub use registry::RegistryConfig;
pub use retry::{RetryPolicy, retry_delay};
pub use secret::Secret;
pub use shutdown::{Interrupts, Leash, run_on_leash, run_until_signal};
pub use telemetry::Telemetry;
