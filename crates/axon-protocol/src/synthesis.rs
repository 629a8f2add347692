//! What the lead asks of a synthesizer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ExecutionPlan, Format, MissingPart, StopReason, Stored, TaskId};

/// Where one accepted result is: the last message of the task's result subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResultReference {
    /// The task.
    pub task_id: TaskId,
    /// Sequence in the stream of results, if the lead knows it.
    #[serde(default)]
    pub sequence: Option<u64>,
}

/// A request to merge the results of a query into its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SynthesisRequest {
    /// The plan with the query.
    pub plan: Stored<ExecutionPlan>,
    /// The results to read, those of failed tasks included.
    pub results: Vec<ResultReference>,
    /// Tasks that gave no result, and why.
    #[serde(default)]
    pub missing: Vec<MissingPart>,
    /// Why the query stopped.
    pub stop_reason: StopReason,
    /// How the answer is to be encoded.
    pub format: Format,
    /// Tasks started more than once, retries and second executions together.
    #[serde(default)]
    pub retries: u32,
}
