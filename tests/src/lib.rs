//! What the tests stand on: a real nats-server, real Axon processes, a proxy that cuts wires, and waiting on conditions.
//! It knows no client library of its own: whatever it says to NATS, it says through the bus.

mod bed;
mod binaries;
pub mod chance;
pub mod client;
pub mod command;
mod fleet;
pub mod frames;
mod guard;
mod process;
pub mod provider;
mod proxy;
mod server;
mod wait;

pub use bed::{Bed, json_request, namespace};
pub use binaries::{binary, root};
pub use fleet::Fleet;
pub use process::Process;
pub use proxy::{Proxy, Stop};
pub use server::{Server, binary as server_binary, free_port, shared};
pub use wait::{eventually, eventually_true, for_a_while};
