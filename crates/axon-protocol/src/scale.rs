//! What whoever starts processes replies to a request for workers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reply to a [`crate::Control::Scale`] that was sent as a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ScaleReply {
    /// Who replies.
    pub by: String,
    /// Workers that could do it before.
    pub serving: u32,
    /// Workers started for it.
    #[serde(default)]
    pub started: Vec<StartedProcess>,
    /// Names of the workers that drain, because a lower number was fixed.
    #[serde(default)]
    pub draining: Vec<String>,
    /// Workers that were not started, because of a limit or because they did not start.
    #[serde(default)]
    pub refused: u32,
    /// Workers that the one who replies may run in all.
    pub workers_max: u32,
}

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedProcess {
    /// Its name, which is also its log's.
    pub name: String,
    /// Its id on the host of whoever started it.
    pub pid: u32,
}
