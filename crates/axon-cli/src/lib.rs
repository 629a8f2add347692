//! The `axon` command: run a local fleet, ask, watch, operate, measure. It talks to a fleet through the bus alone, as any
//! other client could; it never depends on a role's crate.

mod args;
mod exit;
mod run;

mod context;
mod output;

mod kept;

mod display;
mod progress;
mod question;
mod waiting;

mod fleet;
mod nats;
mod process;

mod bench;
mod command;

pub use run::run;
