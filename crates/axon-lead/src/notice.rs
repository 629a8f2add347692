//! What a lead tells the watchers of a query. Nothing waits for an event, and nothing is decided by one.

use std::collections::BTreeMap;

use axon_bus::Message;
use axon_protocol::{Event, EventKind, ExecutionPlan, QueryId, TaskId};
use chrono::Utc;
use serde_json::{Value, json};
use tracing::debug;

use crate::context::Context;

impl Context {
    /// Publishes an event of a query. Events inform: one that is lost changes nothing.
    pub(crate) async fn notice(
        &self,
        query: &QueryId,
        kind: EventKind,
        task: Option<TaskId>,
        message: impl Into<String>,
        data: Value,
    ) {
        let event = Event {
            query_id: query.clone(),
            kind,
            at: Utc::now(),
            task_id: task,
            by: self.id.to_string(),
            message: message.into(),
            data,
        };
        let sent = match Message::plain(self.bus.namespace().event(query, kind), &event) {
            Ok(message) => self.bus.announce(&message).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            debug!(%query, %kind, %error, "cannot publish an event");
        }
    }
}

/// What the event `planned` tells a watcher.
pub(crate) fn outline(plan: &ExecutionPlan) -> Value {
    let tasks: Vec<Value> = plan
        .task_delegations
        .iter()
        .take(100)
        .map(|task| {
            json!({
                "task": task.task_id,
                "aspect": task.aspect,
                "objective": task.objective,
                "scope": task.boundaries.scope,
                "route": task.route(),
            })
        })
        .collect();
    let complexity: BTreeMap<&str, String> = plan
        .analysis
        .iter()
        .flat_map(|analysis| {
            [
                ("complexity", analysis.complexity.to_string()),
                ("shape", analysis.shape.to_string()),
            ]
        })
        .collect();
    json!({
        "strategy": plan.strategy.name,
        "analysis": complexity,
        "task_count": plan.task_delegations.len(),
        "tasks": tasks,
        "deadline": plan.deadline.to_rfc3339(),
        "estimated_duration_ms": plan.estimated_duration_ms,
    })
}
