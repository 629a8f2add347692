//! What is remembered of a query.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AnswerStatus, Complexity, Digest, QualityMetrics, QueryId, Shape, StopReason, Usage};

/// One query as the fleet remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Episode {
    /// The query.
    pub query_id: QueryId,
    /// Its words.
    pub query: String,
    /// The session it belonged to.
    #[serde(default)]
    pub session: Option<String>,
    /// The workspace it looked at.
    #[serde(default)]
    pub workspace: Option<Digest>,
    /// The strategy followed.
    pub strategy: String,
    /// The strategy that its own words speak for most, where another one was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaning: Option<String>,
    /// Complexity, as analysed.
    #[serde(default)]
    pub complexity: Option<Complexity>,
    /// What the rules of the analysis say of it, where experience said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruled: Option<Complexity>,
    /// Shape, as analysed.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// The aspects planned.
    #[serde(default)]
    pub aspects: Vec<String>,
    /// How many aspects the query itself names.
    #[serde(default)]
    pub aspects_asked: usize,
    /// What became of the planned aspects that the query does not name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<AspectYield>,
    /// Kept findings by the tool that found them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, u64>,
    /// Tries of tasks beyond the first.
    #[serde(default)]
    pub retries: u32,
    /// How often a task changed hands: handed back, executed a second time, taken over with its query.
    #[serde(default)]
    pub hand_overs: u32,
    /// Contradictions among its findings.
    #[serde(default)]
    pub conflicts: u32,
    /// Tasks delegated.
    pub tasks: usize,
    /// Different workers that did them.
    pub workers: usize,
    /// How it ended.
    pub status: AnswerStatus,
    /// Why the work stopped.
    pub stop_reason: StopReason,
    /// Whether the strategy's application counts as a success.
    pub success: bool,
    /// Measures of the answer.
    #[serde(default)]
    pub quality: Option<QualityMetrics>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// The beginning of the answer's summary.
    #[serde(default)]
    pub summary: String,
    /// Files that the most important findings cite.
    #[serde(default)]
    pub places: Vec<String>,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// What an aspect brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AspectYield {
    /// The aspect.
    pub aspect: String,
    /// Findings of it that were kept.
    pub findings: u64,
}

/// An episode that is like a query, as it was recalled for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recalled {
    /// The query remembered.
    pub query_id: QueryId,
    /// Its words.
    pub query: String,
    /// The strategy followed.
    pub strategy: String,
    /// How it ended.
    pub status: AnswerStatus,
    /// Whether the strategy's application counts as a success.
    pub success: bool,
    /// Weight of the words in common ÷ weight of the words of either, from 0 to 1.
    pub similarity: f64,
    /// The similarity, less for what was long ago.
    pub score: f64,
    /// Whether it looked at the same workspace, byte for byte.
    pub same_workspace: bool,
    /// The beginning of its answer's summary.
    #[serde(default)]
    pub summary: String,
    /// Files that its most important findings cite.
    #[serde(default)]
    pub places: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// What a reader thinks of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    /// It helped.
    Good,
    /// It did not.
    Bad,
}
