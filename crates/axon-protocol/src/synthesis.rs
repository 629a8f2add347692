//! What the lead asks of a synthesizer.

use bytes::Bytes;
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
    /// The result as the lead heard it, where it is small: nobody has to fetch it. The stream holds it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<u8>>")]
    pub payload: Option<Bytes>,
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
    /// Tries beyond the first of all tasks.
    #[serde(default)]
    pub retries: u32,
    /// Slow tasks that were executed a second time.
    #[serde(default)]
    pub second_executions: u32,
}
