//! What the tests stand on: a real nats-server, real Axon processes, a proxy that cuts wires, and waiting on conditions.
//! It knows no client library of its own: whatever it says to NATS, it says through the bus.

mod bed;
mod guard;
mod proxy;
mod server;
mod wait;

pub use bed::{Bed, free_port, json_request, namespace};
pub use guard::{forget, remove_at_exit, watch};
pub use proxy::Proxy;
pub use server::{Server, shared};
pub use wait::{eventually, eventually_true, for_a_while};
