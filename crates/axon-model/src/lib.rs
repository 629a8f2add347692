//! Language models behind one trait: Anthropic, and everything that speaks OpenAI's protocol, Ollama included. Retries, a
//! breaker and pauses that the whole fleet keeps, what calls cost, and record and replay. It knows no task and no tool.

mod config;
mod model;

mod chat;
mod error;

mod price;
mod purse;

mod dialect;
mod http;
mod sse;

mod client;
mod pause;
mod telemetry;

mod tape;

pub use chat::{Call, CallResult, Choice, Message, Reply, Request, Stop, TokenUsage, ToolSpec, text_tokens_max};
pub use config::{Config, ConfigError, Provider};
pub use error::{Error, ErrorKind, Spent};
pub use model::{LanguageModel, Model, OpenError};
pub use pause::{FleetPauses, KeyId, Pauses};
pub use price::{Price, PriceError, Prices};
pub use purse::{Purse, Reserved, Short};
pub use tape::{Tape, TapeError};
