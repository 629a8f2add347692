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

/// One attempt of a task, as the `data` of an event tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Absent where the event itself names the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Which attempt, counted from 1.
    pub attempt: u32,
}

/// What the `data` of an event that several tasks share holds.
#[derive(Serialize, Deserialize)]
struct Shared {
    tasks: Vec<Attempt>,
}

impl Event {
    /// The `data` of an event that several tasks share.
    pub fn shared_data(tasks: Vec<Attempt>) -> Value {
        serde_json::to_value(Shared { tasks }).unwrap_or(Value::Null)
    }

    /// The attempts of tasks it tells of: one, or several where tasks share an event.
    pub fn attempts(&self) -> Vec<(TaskId, u32)> {
        match &self.task_id {
            Some(task) => {
                // An event that does not tell its attempt is another program's, which has no retries of its own.
                let attempt = Attempt::deserialize(&self.data).map_or(1, |data| data.attempt);
                vec![(task.clone(), attempt)]
            }
            None => {
                let shared = Shared::deserialize(&self.data).map_or(Vec::new(), |shared| shared.tasks);
                let named = shared.into_iter().filter_map(|one| Some((one.task?, one.attempt)));
                named.collect()
            }
        }
    }
}
