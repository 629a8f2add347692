//! The only user of the NATS client: topology, publish, consume, fence, retry, dead letters, tables and objects.
//! No other crate knows a stream, a consumer or an acknowledgement; this one knows nothing of queries and plans.

mod config;
mod confirm;
mod connection;
mod dead_letter;
mod delivery;
mod doorbell;
mod error;
mod fence;
mod inspect;
mod limit;
mod objects;
mod pages;
mod publish;
mod pull;
mod queue;
mod responder;
mod route;
mod stored;
mod table;
mod topology;

pub use config::Config;
pub use connection::{Bus, ConnectionState, OLDEST_SERVER};
pub use dead_letter::{Buried, Cause};
pub use delivery::{Delivery, Outcome};
pub use doorbell::{Doorbell, Ring};
pub use error::Error;
pub use fence::Fenced;
pub use inspect::{ConsumerStatus, StoredMessage, StreamStatus};
pub use objects::Objects;
pub use pages::Pages;
pub use publish::{Message, Published, Subscription};
pub use pull::{LongPull, Pulled, Sweep};
pub use responder::{Request, Responder};
pub use route::Routes;
pub use stored::INLINE_BYTES_MAX;
pub use table::{Entry, Table, Watch};
pub use topology::Difference;
