//! What the history keeps of tasks.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Headers;

/// Tasks of one query that were queued together: one message of the history, because a copy of each would cost the server as
/// much as the task itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QueuedTasks {
    /// The tasks, in the order in which they were published.
    pub tasks: Vec<QueuedTask>,
}

/// A task's message as it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedTask {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    #[serde(default)]
    pub headers: Headers,
    /// Its payload; empty where the real one is referenced.
    #[schemars(with = "Vec<u8>")]
    pub payload: Bytes,
}
