//! Working memory as it stands in the bucket `working`: what calls of tools returned, and what the workers of a query found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Finding, QueryId, TaskId, WorkerId};

/// What is known of one call of a tool. It stands under [`CallMemory::key`] with the digest of all that its result depends on:
/// tool, parameters, workspace, scope and the version of the tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallMemory {
    /// A worker makes it now. The claim is stale when it was not written anew for `lease_ms`.
    Claimed {
        /// The worker.
        by: WorkerId,
        /// How long the claim holds without being renewed, in milliseconds; 0 gives it up.
        lease_ms: u64,
    },
    /// It was made.
    Made {
        /// The worker.
        by: WorkerId,
        /// What it returned.
        result: Value,
        /// What it took to make, in milliseconds.
        took_ms: f64,
    },
}

impl CallMemory {
    /// Where the call with this digest stands.
    pub fn key(call: &Digest) -> String {
        format!("tool.{}", call.hex())
    }
}

/// What the workers of a query have found so far, for those that are still at it. It stands under [`QueryFacts::key`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueryFacts {
    /// The facts, in the order in which they were told.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

impl QueryFacts {
    /// Where the facts of a query stand.
    pub fn key(query: &QueryId) -> String {
        format!("facts.{query}")
    }
}

/// A finding in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// The task that found it.
    pub task: TaskId,
    /// What is claimed.
    pub claim: String,
    /// Where it shows: `path:line`, URLs, tools.
    #[serde(default)]
    pub places: Vec<String>,
    /// How sure the worker is, from 0 to 1.
    pub confidence: f64,
}

/// Most characters of a claim that a fact keeps.
const CLAIM_CHARS_MAX: usize = 300;
/// Most places of a fact, and most characters of each.
const PLACES_MAX: usize = 3;
const PLACE_CHARS_MAX: usize = 200;

impl From<&Finding> for Fact {
    fn from(finding: &Finding) -> Self {
        let cut = |text: &str, chars_max| text.chars().take(chars_max).collect();
        let places = finding.evidence.iter().take(PLACES_MAX);
        Self {
            task: finding.task.clone(),
            claim: cut(&finding.claim, CLAIM_CHARS_MAX),
            places: places
                .map(|evidence| cut(&evidence.location(), PLACE_CHARS_MAX))
                .collect(),
            confidence: finding.confidence,
        }
    }
}
