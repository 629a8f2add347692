//! The agent: a language model investigates with the tools of the task. What the model wants is a wish: only allowed tools
//! are run, only verified findings are reported, and every call is paid in advance from the task's own budget. When the
//! model fails, or has to stop before it found anything, the analyst does the task.

mod guard;
mod offer;
mod prompt;
mod report;
mod run;
mod show;

use std::sync::Arc;

use axon_memory::SharedFacts;
use axon_model::LanguageModel;
use axon_protocol::Task;
use axon_tools::{CallContext, Executor, Workspace};
use tokio::time::Instant;

use crate::analyst::{self, Investigation, Progress};
use run::{Ended, Session};

/// Share of the time, and the most of it, that is kept for the analyst, should the model fail.
const ANALYST_SHARE: u32 = 4;
const ANALYST_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Investigates tasks with a language model.
#[derive(Debug, Clone)]
pub struct Agent {
    model: LanguageModel,
}

impl Agent {
    /// An agent with this model.
    pub fn new(model: LanguageModel) -> Self {
        Self { model }
    }

    /// Investigates a task within its boundaries and its budget, knowing what others of the same query found. A model that cannot be used, or finds nothing until it has
    /// to stop, leaves the task to the analyst, with a note that says so.
    pub async fn investigate(
        &self,
        task: &Task,
        workspace: Arc<Workspace>,
        executor: &Executor,
        context: &CallContext,
        facts: Option<&SharedFacts>,
        sink: &mut (dyn FnMut(Progress) + Send),
    ) -> Investigation {
        let mut own = context.clone();
        own.workspace = Some(Arc::clone(&workspace));
        own.scope = task.delegation.boundaries.scope.clone().into();
        own.deadline = context.deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            deadline - (left / ANALYST_SHARE).min(ANALYST_TIME_MAX)
        });
        // Servers of tools are opened now, where the task may use any.
        let tools = executor.toolbox().offer(&task.delegation.allowed_tools).await;
        // A recording depends on the task alone.
        let facts = facts.filter(|_| !self.model.tape().is_in_use());
        let session = Session::new(&self.model, task, Arc::clone(&workspace), executor, own, &tools).hearing(facts);
        let (mut found, ended) = session.run(sink).await;
        let model = self.model.title();
        let note = match (ended, &found.reason) {
            (Ended::Failed(failure), _) => format!("the model {model} could not be used: {failure}"),
            (Ended::Over, Some(reason)) if found.findings.is_empty() => {
                format!("the model {model} found nothing: {reason}")
            }
            (Ended::Over, _) => return found,
        };
        let made = usize::try_from(found.usage.tool_calls).unwrap_or(usize::MAX);
        let calls_left = task.delegation.boundaries.max_tool_calls.saturating_sub(made);
        if !found.findings.is_empty() || calls_left == 0 || context.cancel.is_cancelled() {
            found.reason = Some(note);
            return found;
        }
        let mut rest = task.clone();
        rest.delegation.boundaries.max_tool_calls = calls_left;
        let investigation = analyst::investigate(&rest, workspace, executor, context, sink).await;
        after(found, investigation, note)
    }
}

/// What the analyst brought after a model that failed: its findings, and what both used.
fn after(failed: Investigation, analyst: Investigation, note: String) -> Investigation {
    let mut usage = failed.usage;
    usage += analyst.usage;
    let mut notes = vec![format!("{note}; the analyst did the task")];
    notes.extend(failed.notes);
    notes.extend(analyst.notes);
    let run = match failed.usage.tool_calls {
        0 => analyst.run,
        _ => failed.run.then(&analyst.run),
    };
    Investigation {
        usage,
        run,
        notes,
        ..analyst
    }
}
