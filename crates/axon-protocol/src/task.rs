//! What a worker is given and what it gives back.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Budget, Digest, Finding, QueryId, TaskDelegation, TaskId, WorkerId};

/// A task as it queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The query it belongs to.
    pub query_id: QueryId,
    /// The words of the query.
    pub query: String,
    /// What is delegated.
    pub delegation: TaskDelegation,
    /// The workspace to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Digest>,
    /// When it must have ended.
    pub deadline: DateTime<Utc>,
    /// How many times it was published to be executed, this one included.
    pub attempt: u32,
    /// The results it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<Upstream>,
    /// What earlier attempts used. It is taken from the budget of the delegation already, and part of what the result says
    /// was used.
    #[serde(default, skip_serializing_if = "Usage::is_none")]
    pub spent: Usage,
    /// The query that this one repeats: the recorded result of its task of the same id is the result of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<QueryId>,
}

/// A result another task depends on, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Upstream {
    /// The task that gave it.
    pub task_id: TaskId,
    /// What it found.
    pub findings: Vec<Finding>,
    /// What its last tool calls returned, where that is small.
    #[serde(default)]
    pub output: Value,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// All that was delegated was done.
    Complete,
    /// Some of it was done; `reason` says what stopped the rest.
    Partial,
    /// Nothing usable came out; `reason` says why.
    Failed,
}

impl TaskStatus {
    /// The value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Complete => "complete",
            TaskStatus::Partial => "partial",
            TaskStatus::Failed => "failed",
        }
    }
}

/// What a task used.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tool calls made.
    pub tool_calls: u64,
    /// Tokens used.
    pub tokens: u64,
    /// US cents spent.
    pub cents: f64,
}

impl Usage {
    /// Whether nothing was used.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What it takes from a budget: cents rounded up.
    pub fn cost(&self) -> Budget {
        Budget {
            tokens: self.tokens,
            cents: self.cents.max(0.0).ceil() as u64,
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.tool_calls += other.tool_calls;
        self.tokens += other.tokens;
        self.cents += other.cents;
    }
}

/// Figures of one run of the parallel tool executor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunStatistics {
    /// Sum of the durations of all calls, in milliseconds.
    pub sequential_ms: f64,
    /// From the first start to the last end, in milliseconds.
    pub parallel_ms: f64,
    /// `(sequential - parallel) / sequential`, in percent, never below 0.
    pub time_saved_percent: f64,
    /// Longest path through the graph, in milliseconds.
    pub critical_path_ms: f64,
    /// `max(critical path, sequential / slots)`: no schedule is shorter.
    pub lower_bound_ms: f64,
    /// `parallel / lower bound`: 1.0 is optimal.
    pub makespan_ratio: f64,
    /// Calls that were answered from working memory. The durations above are those of the answers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls_remembered: u64,
    /// What these calls took when they were made, beyond what the answers took, in milliseconds.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub saved_by_memory_ms: f64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_nothing(duration_ms: &f64) -> bool {
    *duration_ms == 0.0
}

impl RunStatistics {
    /// The figures of a run from its four durations in milliseconds; the ratios follow from them.
    pub fn new(sequential_ms: f64, parallel_ms: f64, critical_path_ms: f64, lower_bound_ms: f64) -> Self {
        let saved = if sequential_ms > 0.0 {
            (sequential_ms - parallel_ms) / sequential_ms * 100.0
        } else {
            0.0
        };
        Self {
            sequential_ms,
            parallel_ms,
            time_saved_percent: saved.max(0.0),
            critical_path_ms,
            lower_bound_ms,
            makespan_ratio: if lower_bound_ms > 0.0 {
                parallel_ms / lower_bound_ms
            } else {
                1.0
            },
            calls_remembered: 0,
            saved_by_memory_ms: 0.0,
        }
    }

    /// The figures of two runs, one after the other.
    pub fn then(&self, next: &Self) -> Self {
        Self {
            calls_remembered: self.calls_remembered + next.calls_remembered,
            saved_by_memory_ms: self.saved_by_memory_ms + next.saved_by_memory_ms,
            ..Self::new(
                self.sequential_ms + next.sequential_ms,
                self.parallel_ms + next.parallel_ms,
                self.critical_path_ms + next.critical_path_ms,
                self.lower_bound_ms + next.lower_bound_ms,
            )
        }
    }
}

/// The one result of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// The query it belongs to.
    pub query_id: QueryId,
    /// The task.
    pub task_id: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// Why it is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found, with evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What was looked at and what could not be, for the reader of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Outputs of the last tool calls of an explicit plan, by call; bounded.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// What it used, earlier attempts included.
    #[serde(default)]
    pub usage: Usage,
    /// Figures of its tool graph.
    #[serde(default)]
    pub run: RunStatistics,
    /// Who did it; absent when no worker did.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    /// The try that succeeded.
    pub attempt: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}
