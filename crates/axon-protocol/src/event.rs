//! What happens to a query while it is worked on.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{QueryId, TaskId};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A lead took the query.
    Accepted,
    /// The plan stands; `data` holds its outline.
    Planned,
    /// A worker started a task.
    Started,
    /// A task made progress.
    Progress,
    /// A finding, as found; `data` holds it.
    Finding,
    /// A tool call ended.
    ToolCall,
    /// A worker handed a task back unfinished, on purpose.
    HandedBack,
    /// A result was accepted.
    Finished,
    /// A task failed and will be tried again.
    Retrying,
    /// Another lead took the query over.
    TakenOver,
    /// The synthesis was asked for.
    Synthesizing,
    /// The answer stands.
    Answered,
}

impl EventKind {
    /// The subject token of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Accepted => "accepted",
            EventKind::Planned => "planned",
            EventKind::Started => "started",
            EventKind::Progress => "progress",
            EventKind::Finding => "finding",
            EventKind::ToolCall => "tool_call",
            EventKind::HandedBack => "handed_back",
            EventKind::Finished => "finished",
            EventKind::Retrying => "retrying",
            EventKind::TakenOver => "taken_over",
            EventKind::Synthesizing => "synthesizing",
            EventKind::Answered => "answered",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event of a query. Events inform; nothing is decided by one that is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The query.
    pub query_id: QueryId,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: DateTime<Utc>,
    /// The task, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The process that says so.
    #[serde(default)]
    pub by: String,
    /// For people, in one line.
    #[serde(default)]
    pub message: String,
    /// For machines.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}
