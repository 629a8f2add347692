//! What a query hears while it runs: results that were accepted, and its answer. It only tells the machine of them.

use axon_bus::{Delivery, Error};
use axon_protocol::{Answer, Budget, Finding, TaskId, TaskResult, TaskStatus, Upstream, header};
use tracing::warn;

use super::Run;
use crate::state::{Accepted, Event};

/// Findings of a dependency that a task is given.
const UPSTREAM_FINDINGS_MAX: usize = 50;
/// Largest result that goes with the request for the synthesis, in bytes, and all of them together.
const KEPT_BYTES_MAX: usize = 4 * 1024;
const KEPT_ALL_BYTES_MAX: usize = 64 * 1024;

impl Run {
    pub(super) async fn hear_result(&mut self, message: &Delivery) {
        let Some(task) = self.context.bus.namespace().last_token_task(message.subject()) else {
            return;
        };
        let sequence = message.header("Nats-Sequence").and_then(|text| text.parse().ok());
        match message.decode::<TaskResult>().await {
            Ok(result) => {
                self.keep(&task, message);
                self.take(task, result, sequence);
            }
            Err(error) if error.is_transient() => {
                warn!(query = %self.plan.query_id, %task, %error, "a result cannot be read now, it is looked for again");
            }
            Err(error) => self.take_unreadable(task, sequence, &error),
        }
    }

    /// Keeps a small result as it came, for the synthesis.
    fn keep(&mut self, task: &TaskId, message: &Delivery) {
        let bytes = message.payload().len();
        let small = bytes <= KEPT_BYTES_MAX && self.kept_bytes + bytes <= KEPT_ALL_BYTES_MAX;
        if small && message.header(header::REFERENCE).is_none() && !self.kept.contains_key(task) {
            self.kept_bytes += bytes;
            self.kept.insert(task.clone(), message.payload().clone());
        }
    }

    pub(super) fn take(&mut self, task: TaskId, result: TaskResult, sequence: Option<u64>) {
        self.context.overseer.accepted(&self.plan, &self.routes, &result);
        let gained = self.novelty.take(&result);
        let took = result.finished_at - result.started_at;
        self.queue.push_back(Event::Accepted(Accepted {
            task: task.clone(),
            status: result.status,
            reason: result.reason,
            sequence,
            worker: result.worker,
            attempt: result.attempt,
            new_findings: gained.new_findings,
            confidence: gained.confidence,
            spent: Budget {
                tokens: result.usage.tokens,
                // Whole cents, and never less than was spent.
                cents: result.usage.cents.max(0.0).ceil() as u64,
            },
            duration_ms: u64::try_from(took.num_milliseconds()).unwrap_or_default(),
        }));
        if self.needed_upstream.contains(&task) {
            let findings: Vec<Finding> = result.findings.into_iter().take(UPSTREAM_FINDINGS_MAX).collect();
            self.upstream.insert(
                task.clone(),
                Upstream {
                    task_id: task,
                    findings,
                    output: result.output,
                },
            );
        }
    }

    /// A worker in another language may have published what nobody can read: its task has failed, visibly.
    pub(super) fn take_unreadable(&mut self, task: TaskId, sequence: Option<u64>, error: &Error) {
        warn!(query = %self.plan.query_id, %task, %error, "an accepted result cannot be read");
        // What it spent cannot be read, so nothing of its share comes back.
        let spent = self.machine.budget_of(&task);
        self.queue.push_back(Event::Accepted(Accepted {
            task,
            status: TaskStatus::Failed,
            reason: Some(format!("its result cannot be read: {error}")),
            sequence,
            worker: None,
            attempt: 1,
            new_findings: 0,
            confidence: 0.0,
            spent,
            duration_ms: 0,
        }));
    }

    pub(super) async fn hear_answer(&mut self, message: &Delivery) {
        match message.decode::<Answer>().await {
            Ok(answer) => {
                self.answer = Some(answer);
                self.queue.push_back(Event::Answered);
            }
            Err(error) => {
                // What was heard may be anybody's; what the stream holds is the answer.
                warn!(query = %self.plan.query_id, %error, "an answer that was heard cannot be read");
                if let Err(error) = self.reconcile().await {
                    warn!(query = %self.plan.query_id, %error, "cannot reconcile");
                }
            }
        }
    }
}
