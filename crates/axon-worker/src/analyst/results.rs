//! What the calls of a task returned, read back into their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use axon_tools::{CallOutcome, CallStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What the calls of a task returned, by call.
#[derive(Debug, Clone, Default)]
pub struct Results {
    values: BTreeMap<String, (String, Arc<Value>)>,
    failures: BTreeMap<String, String>,
}

impl Results {
    /// Adds what a run of the executor returned.
    pub fn add(&mut self, outcomes: Vec<CallOutcome>) {
        for outcome in outcomes {
            match outcome.status {
                CallStatus::Done(value) => {
                    self.values.insert(outcome.tool_id, (outcome.tool, value));
                }
                CallStatus::Failed(error) => {
                    self.failures
                        .insert(outcome.tool_id, format!("`{}` failed: {error}", outcome.tool));
                }
                CallStatus::Skipped(reason) => {
                    self.failures
                        .insert(outcome.tool_id, format!("`{}` was not run: {reason}", outcome.tool));
                }
                CallStatus::Cancelled => {
                    self.failures.insert(
                        outcome.tool_id,
                        format!("`{}` was stopped before it ended", outcome.tool),
                    );
                }
            }
        }
    }

    /// What a call returned, as the type of its tool; `None` where it did not end well.
    pub fn get<T: DeserializeOwned>(&self, tool_id: &str) -> Option<T> {
        let (_, value) = self.values.get(tool_id)?;
        T::deserialize(&**value).ok()
    }

    /// What the calls whose ids begin with `prefix` returned, in the order of their ids.
    pub fn all<T: DeserializeOwned>(&self, prefix: &str) -> Vec<(String, T)> {
        let named = self.values.iter().filter(|(id, _)| id.starts_with(prefix));
        named
            .filter_map(|(id, (_, value))| Some((id.clone(), T::deserialize(&**value).ok()?)))
            .collect()
    }

    /// Whether no call returned anything.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Why calls returned nothing, one sentence each, each once.
    pub fn failures(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.failures.values().cloned().collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}
