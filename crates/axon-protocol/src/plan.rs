//! The plan of a query: what the asker may bring, what the lead writes, and the record that survives the lead.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Analysis, AppliedPattern, Band, Budget, Capability, Digest, LeadId, PRIORITY_DEFAULT, Query, QueryId, Recalled,
    Route, TaskId, Usage,
};

/// Version of [`ExecutionPlan`] as stored. A lead follows plans of its own version and of the one before.
pub const PLAN_VERSION: u32 = 1;

/// The attempt that a second execution of a slow task has: no retry ever has it, because it is above what
/// `lead.max_attempts` may be.
pub const SECOND_EXECUTION: u32 = 1000;

/// How the text of an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Markdown, the whole answer.
    #[default]
    Markdown,
    /// The structure as JSON.
    Json,
    /// Findings as a Markdown table.
    Table,
    /// The summary and the recommendations alone.
    Brief,
}

/// One call of a tool. Edges of the graph run from a call's `outputs` to the `inputs` of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Names the call within its task.
    pub tool_id: String,
    /// The tool, such as `code.search`.
    pub tool_name: String,
    /// Parameters of the tool. A text `${output.path.to.field}` is replaced by what that output holds.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// Names under which later calls find the result; the call's own `tool_id` is always one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Outputs that must be there before the call starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// 1 (lowest) to 10 (highest), among calls that are ready at once; 5 if absent.
    #[serde(default = "default_priority", skip_serializing_if = "is_default_priority")]
    pub priority: u8,
}

fn default_priority() -> u8 {
    PRIORITY_DEFAULT
}

fn is_default_priority(priority: &u8) -> bool {
    *priority == PRIORITY_DEFAULT
}

/// A plan that comes with a query.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanRequest {
    /// The tasks; at least one.
    pub tasks: Vec<TaskRequest>,
}

/// One task of a plan that comes with a query.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskRequest {
    /// Names the task within the plan; `t1`, `t2`, … in order if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// What the task is to find out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub objective: String,
    /// What its worker must be able to do, ALL of them; `Diagnostics` if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_capabilities: Vec<String>,
    /// Tasks whose results it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// The tool calls to make. Without any, the worker decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Tools it may use; those of its calls if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Paths it looks at; the whole workspace if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// 1 to 10; the query's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Most tool calls it may make; the complexity's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<usize>,
    /// Milliseconds it may take; until the deadline of the tasks if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What a query of some complexity may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceAllocation {
    /// Tasks to delegate.
    pub num_workers: usize,
    /// Most tool calls of one worker.
    pub max_tool_calls_per_worker: usize,
    /// Most tasks at once.
    pub max_parallel_workers: usize,
    /// Time for the whole query, synthesis included, in milliseconds.
    pub timeout_ms: u64,
    /// Tokens for the whole query, synthesis included.
    pub max_tokens_budget: u64,
    /// US cents for the whole query, synthesis included.
    pub max_cost_cents: u64,
}

/// What a task must stay within.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskBoundaries {
    /// Paths (files or directories) of the workspace to look at; the whole workspace if empty.
    pub scope: Vec<String>,
    /// What not to do.
    pub constraints: Vec<String>,
    /// Most tool calls.
    pub max_tool_calls: usize,
    /// Milliseconds from the start of the task.
    pub timeout_ms: u64,
}

/// One task as the lead delegates it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDelegation {
    /// Unique within the query and derived from it.
    pub task_id: TaskId,
    /// The one thing to find out.
    pub objective: String,
    /// The form of the result.
    pub output_format: OutputFormat,
    /// Tools it may use; a `*` at the end stands for any rest.
    pub allowed_tools: Vec<String>,
    /// What it must stay within.
    pub boundaries: TaskBoundaries,
    /// 1 to 10.
    pub priority: u8,
    /// What its worker must be able to do, ALL of them.
    pub required_capabilities: Vec<Capability>,
    /// Anything else a worker should know: keywords, symbols, quotes of the query.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
    /// Tasks whose results it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<TaskId>,
    /// What the findings should answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_questions: Vec<String>,
    /// The aspect of the query it covers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub aspect: String,
    /// Which way of working fits: the name of the strategy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub playbook: String,
    /// Explicit tool calls; empty where the worker decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Its share of the query's budget.
    #[serde(default, skip_serializing_if = "Budget::is_nothing")]
    pub budget: Budget,
    /// Whether the lead added it while the query ran, because its aspect had come back thin.
    #[serde(default, skip_serializing_if = "is_false")]
    pub added: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl TaskDelegation {
    /// The route it queues on.
    pub fn route(&self) -> Route {
        Route::of(&self.required_capabilities.iter().cloned().collect::<BTreeSet<_>>())
    }

    /// The band it queues in.
    pub fn band(&self) -> Band {
        Band::of(self.priority)
    }
}

/// When a query may end before all of its tasks have. It ends once every open task is of an aspect that one of the rules
/// holds for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StopRule {
    /// An aspect is covered by a finding of this confidence, from 0 to 1. Absent where every part of the scope counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_min: Option<f64>,
    /// An aspect that has findings is exhausted after this many results in a row without a new one. Absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barren_results: Option<u32>,
}

/// The strategy a plan follows, and why it was selected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SelectedStrategy {
    /// Its name; `own_plan` where the query brought its plan.
    pub name: String,
    /// Its score.
    pub score: f64,
    /// Why it has that score.
    pub reasons: Vec<String>,
    /// The other candidates with their scores, highest first.
    #[serde(default)]
    pub others: Vec<(String, f64)>,
    /// The strategy that the query itself speaks for most, where experience says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaning: Option<String>,
    /// Whether it is tried here although another one scores higher, so that the fleet learns.
    #[serde(default, skip_serializing_if = "is_false")]
    pub trial: bool,
}

/// How a query is going to be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionPlan {
    /// Version of this structure.
    pub version: u32,
    /// Names the plan: the query's id.
    pub plan_id: String,
    /// The query.
    pub query_id: QueryId,
    /// What was asked.
    pub query: Query,
    /// The workspace the tasks look at.
    #[serde(default)]
    pub workspace: Option<Digest>,
    /// What the analysis found; absent where the query brought its plan.
    #[serde(default)]
    pub analysis: Option<Analysis>,
    /// The strategy.
    pub strategy: SelectedStrategy,
    /// What the query may use.
    pub resource_allocation: ResourceAllocation,
    /// The tasks.
    pub task_delegations: Vec<TaskDelegation>,
    /// The aspects planned, in the order they will be shown.
    pub aspects: Vec<String>,
    /// Whether any two tasks may run at once.
    pub parallelizable: bool,
    /// What is kept back for the synthesis.
    pub synthesis_reserve: Budget,
    /// What a language model did for the plan, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_by: Option<PlannedBy>,
    /// When it may end early; absent where every task is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_rule: Option<StopRule>,
    /// Expected duration in milliseconds.
    pub estimated_duration_ms: u64,
    /// What it is expected to cost, and what the expectation rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Queries like this one that were remembered, most alike first: what memory contributed to the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recalled: Vec<Recalled>,
    /// The patterns that changed it, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns_applied: Vec<AppliedPattern>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When the tasks must have ended and synthesis begins.
    pub tasks_deadline: DateTime<Utc>,
    /// When the answer is due.
    pub deadline: DateTime<Utc>,
}

/// What a language model did for a plan. It is paid from what would be kept back for the synthesis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedBy {
    /// The model.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
    /// What became of what it wanted, for the reader of the answer.
    pub note: String,
}

impl PlannedBy {
    /// What it took out of the budget of the query, in whole cents.
    pub fn budget(&self) -> Budget {
        Budget {
            tokens: self.usage.tokens,
            cents: self.usage.cents.ceil() as u64,
        }
    }
}

/// What a plan is expected to cost. Nothing is decided by it: it is for whoever reads the plan before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Tokens of language models; 0 where no worker has a model.
    pub tokens: u64,
    /// US cents.
    pub cents: f64,
    /// What duration and cost were estimated from, in words.
    pub basis: String,
}

impl ExecutionPlan {
    /// Whether a lead of this version can follow it: it was written by this version or the one before.
    pub fn is_followable(&self) -> bool {
        self.version == PLAN_VERSION || self.version + 1 == PLAN_VERSION
    }
}

/// A value kept in place, or by reference in the store of artifacts when it is larger than 256 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stored<T> {
    /// The value itself.
    Inline(Arc<T>),
    /// Where the encoded value is.
    Reference {
        /// Its digest, which is its name in the store.
        digest: Digest,
        /// Its size in bytes.
        bytes: u64,
    },
}

/// What the bucket of plans holds for each query, created and changed by compare-and-set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRecord {
    /// The plan; absent when the query was cancelled before it was planned.
    pub plan: Option<Stored<ExecutionPlan>>,
    /// Whether somebody cancelled the query.
    #[serde(default)]
    pub cancelled: bool,
    /// The lead that wrote or last took over the plan.
    #[serde(default)]
    pub owner: Option<LeadId>,
    /// Sequence of the query in the stream of queries.
    #[serde(default)]
    pub sequence: u64,
    /// How often the query had been delivered when its owner took it: of two leads that hold the same message, the one with
    /// the later delivery owns it.
    #[serde(default)]
    pub delivery: u64,
}
