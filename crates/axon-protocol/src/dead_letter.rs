//! What failed, with all that is needed to try it again.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Headers, QueryId, Stream, TaskId, Usage};

/// Why something became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The message cannot be decoded, or breaks a limit.
    Malformed,
    /// The work failed in a way that may pass.
    Failed,
    /// The work failed in a way that will not pass.
    Rejected,
    /// It took longer than it may.
    Timeout,
    /// It killed the workers that tried it.
    Poison,
    /// The server gave up delivering it.
    MaxDeliveries,
    /// Somebody terminated it without a dead letter.
    Terminated,
}

impl Reason {
    /// The subject token of the reason, and the value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Failed => "failed",
            Reason::Rejected => "rejected",
            Reason::Timeout => "timeout",
            Reason::Poison => "poison",
            Reason::MaxDeliveries => "max_deliveries",
            Reason::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Try again, after a backoff that grows with the attempts.
    Retry,
    /// Keep it until somebody decides.
    Park,
}

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The stream it came from.
    pub stream: Stream,
    /// Its original subject.
    pub subject: String,
    /// Why it is here.
    pub reason: Reason,
    /// What is to become of it.
    pub verdict: Verdict,
    /// Which attempt failed, counted from 1.
    pub attempt: u32,
    /// What happened, for people.
    pub message: String,
    /// Its original headers.
    #[serde(default)]
    pub headers: Headers,
    /// Its original payload.
    #[schemars(with = "Vec<u8>")]
    pub payload: Bytes,
    /// The query it belongs to, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<QueryId>,
    /// The task it is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// After this it is of no use to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
    /// What the task used until then, earlier attempts included: its next attempt has that much less.
    #[serde(default, skip_serializing_if = "Usage::is_none")]
    pub usage: Usage,
    /// The process that gave up.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}
