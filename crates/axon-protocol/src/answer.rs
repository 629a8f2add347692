//! The one answer of a query.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Complexity, Evidence, Level, Polarity, QueryId, Shape, TaskId, Usage};

/// How a query ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStatus {
    /// Everything planned was done.
    Complete,
    /// Something is missing; the answer names it.
    Partial,
    /// There is nothing to report; the answer says why.
    Failed,
}

impl AnswerStatus {
    /// The word for people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            AnswerStatus::Complete => "complete",
            AnswerStatus::Partial => "partial",
            AnswerStatus::Failed => "failed",
        }
    }
}

/// Why the work on a query stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every task has a result.
    Finished,
    /// The deadline of the tasks came first.
    Deadline,
    /// Somebody cancelled it.
    Cancelled,
    /// Enough was known before every task had ended.
    EnoughFound,
    /// The query was refused before any work.
    Refused,
}

/// Who wrote an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A synthesizer.
    Synthesizer,
    /// The lead itself: no synthesizer answered in time, or there was nothing to synthesize.
    Lead,
}

/// Something that was planned and is not in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingPart {
    /// The task that should have brought it.
    pub task_id: TaskId,
    /// The aspect it was to cover.
    pub aspect: String,
    /// Why it is missing.
    pub reason: String,
}

/// Findings that say the same, merged, with the evidence of all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MergedFinding {
    /// The id of the strongest of them.
    pub id: String,
    /// What is claimed.
    pub claim: String,
    /// What the claim is about.
    pub subject: String,
    /// Whether it says that something is so or is not so.
    pub polarity: Polarity,
    /// A figure, where the claim holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit of the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Confidence combined over independent origins, from 0 to 1.
    pub confidence: f64,
    /// How bad it is.
    pub severity: Level,
    /// How much a change would bring.
    pub impact: Level,
    /// How much work a change would be.
    pub effort: Level,
    /// Why it matters.
    pub rationale: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<String>,
    /// What shows it, each once.
    pub evidence: Vec<Evidence>,
    /// How many raw findings it stands for.
    pub merged: usize,
    /// Independent origins among them: a line that two workers quote is one. 0 where they were not counted.
    #[serde(default)]
    pub origins: usize,
    /// The tasks that reported it.
    pub tasks: BTreeSet<TaskId>,
}

/// The findings of one aspect, most important first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AspectFindings {
    /// The aspect.
    pub aspect: String,
    /// Its findings.
    pub findings: Vec<MergedFinding>,
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// What to do.
    pub action: String,
    /// Why it is worth it.
    pub rationale: String,
    /// `impact × confidence ÷ effort`; the list is ordered by it.
    pub score: f64,
    /// How much it would bring.
    pub impact: Level,
    /// How much work it would be.
    pub effort: Level,
    /// Confidence of the findings behind it, from 0 to 1.
    pub confidence: f64,
    /// Ids of the findings behind it; never empty.
    pub findings: Vec<String>,
}

/// Findings that contradict each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conflict {
    /// What they are about.
    pub subject: String,
    /// Ids of the findings, the strongest side first.
    pub findings: Vec<String>,
    /// The same ids by side: findings of one side do not contradict each other.
    #[serde(default)]
    pub sides: Vec<Vec<String>>,
    /// The id of the finding that won, where one side clearly does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// Why it won, or why none does.
    pub explanation: String,
}

/// Measures of an answer, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QualityMetrics {
    /// Aspects with a kept finding ÷ aspects planned.
    pub completeness: f64,
    /// Mean combined confidence of the kept findings.
    pub consistency: f64,
    /// Tasks that contribute to a kept finding ÷ tasks delegated.
    pub coverage: f64,
    /// Findings merged away ÷ raw findings; lower is better.
    pub redundancy: f64,
    /// Conflicts resolved ÷ conflicts detected; 1 if there were none.
    pub conflict_resolution: f64,
    /// Tasks with a complete result ÷ tasks delegated.
    pub plan_coverage: f64,
}

/// The one answer of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The query.
    pub query_id: QueryId,
    /// Its words.
    pub query: String,
    /// How it ended.
    pub status: AnswerStatus,
    /// Whether everything planned was done.
    pub success: bool,
    /// Why the work stopped.
    pub stop_reason: StopReason,
    /// What is wrong, when it failed, and what to do about it.
    #[serde(default)]
    pub error: Option<String>,
    /// The answer in a few sentences.
    pub summary: String,
    /// All findings, by aspect.
    #[serde(default)]
    pub aspects: Vec<AspectFindings>,
    /// What to do, best first.
    #[serde(default)]
    pub recommendations: Vec<Recommendation>,
    /// What contradicts itself.
    #[serde(default)]
    pub conflicts: Vec<Conflict>,
    /// What is missing.
    #[serde(default)]
    pub missing: Vec<MissingPart>,
    /// What else the reader should know: limits of the method, evidence dropped.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Outputs of explicit tool calls, by task, where the query brought its own plan; bounded.
    #[serde(default)]
    pub outputs: Value,
    /// Measures of the answer; absent when it failed before any work.
    #[serde(default)]
    pub quality: Option<QualityMetrics>,
    /// The strategy followed.
    #[serde(default)]
    pub strategy: Option<String>,
    /// Complexity of the query.
    #[serde(default)]
    pub complexity: Option<Complexity>,
    /// Shape of the query.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// Different workers that did the tasks.
    #[serde(default)]
    pub worker_count: usize,
    /// Tasks delegated.
    #[serde(default)]
    pub tasks_delegated: usize,
    /// Tasks with a complete result.
    #[serde(default)]
    pub tasks_completed: usize,
    /// Tries beyond the first of all tasks.
    #[serde(default)]
    pub retries: u32,
    /// Slow tasks that were executed a second time at once, from unspent budget; not counted as retries.
    #[serde(default)]
    pub second_executions: u32,
    /// Sum of the durations of all tool calls, in milliseconds.
    #[serde(default)]
    pub sequential_ms: f64,
    /// Time from acceptance of the query to the answer, in milliseconds.
    #[serde(default)]
    pub duration_ms: f64,
    /// `(sequential - duration) / sequential` in percent, never below 0: what working in parallel saved.
    #[serde(default)]
    pub time_reduction_percent: f64,
    /// What all tasks and the synthesis used.
    #[serde(default)]
    pub usage: Usage,
    /// Who wrote it.
    pub author: Author,
    /// When.
    pub created_at: DateTime<Utc>,
    /// The answer as text in the format the query asked for.
    #[serde(default)]
    pub text: String,
}

impl Answer {
    /// An answer that says why there is none.
    pub fn refused(query_id: QueryId, query: impl Into<String>, error: impl Into<String>, now: DateTime<Utc>) -> Self {
        let error = error.into();
        let mut answer = Self {
            query_id,
            query: query.into(),
            status: AnswerStatus::Failed,
            success: false,
            stop_reason: StopReason::Refused,
            summary: String::new(),
            error: Some(error),
            aspects: Vec::new(),
            recommendations: Vec::new(),
            conflicts: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
            outputs: Value::Null,
            quality: None,
            strategy: None,
            complexity: None,
            shape: None,
            worker_count: 0,
            tasks_delegated: 0,
            tasks_completed: 0,
            retries: 0,
            second_executions: 0,
            sequential_ms: 0.0,
            duration_ms: 0.0,
            time_reduction_percent: 0.0,
            usage: Usage::default(),
            author: Author::Lead,
            created_at: now,
            text: String::new(),
        };
        answer.text = crate::to_markdown(&answer, crate::OutputFormat::Markdown);
        answer
    }

    /// Every finding, in the order shown.
    pub fn findings(&self) -> impl Iterator<Item = &MergedFinding> {
        self.aspects.iter().flat_map(|aspect| aspect.findings.iter())
    }
}
