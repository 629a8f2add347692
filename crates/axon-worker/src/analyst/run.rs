//! Runs a playbook within the boundaries of a task: two rounds of calls, then the findings. What is known when the task is
//! stopped is reported all the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axon_protocol::{Finding, RunStatistics, Task, TaskStatus, ToolCall, Usage};
use axon_tools::{CallContext, CallOutcome, CallStatus, Executor, ToolEvent, Workspace, allowed};
use tracing::debug;

use super::{Brief, Conclusion, Results, conclude, follow_up, plan_calls};

/// What happens while a task is investigated.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A round of calls begins.
    Round {
        /// 1 or 2.
        round: u32,
        /// How many calls it makes.
        calls: usize,
    },
    /// A call ended.
    ToolEnded {
        /// The call.
        tool_id: String,
        /// Its tool.
        tool: String,
        /// How it ended, in one word.
        status: &'static str,
        /// How long it took, in milliseconds.
        duration_ms: f64,
        /// How long making it took once, in milliseconds, where it was answered from working memory.
        remembered_ms: Option<f64>,
    },
    /// Something was found.
    Found(Box<Finding>),
}

impl Progress {
    /// What is told of a call that ended.
    pub(crate) fn ended(outcome: &CallOutcome) -> Self {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Self::ToolEnded {
            tool_id: outcome.tool_id.clone(),
            tool: outcome.tool.clone(),
            status: match outcome.status {
                CallStatus::Done(_) => "done",
                CallStatus::Failed(_) => "failed",
                CallStatus::Skipped(_) => "skipped",
                CallStatus::Cancelled => "cancelled",
            },
            duration_ms: milliseconds(outcome.duration),
            remembered_ms: outcome.remembered.map(milliseconds),
        }
    }
}

/// What came out of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Investigation {
    /// What was found, most important first.
    pub findings: Vec<Finding>,
    /// What was looked at, and what could not be.
    pub notes: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// Figures of its tool calls.
    pub run: RunStatistics,
    /// How it ended.
    pub status: TaskStatus,
    /// Why it is not complete.
    pub reason: Option<String>,
}

type Sink<'s> = &'s mut (dyn FnMut(Progress) + Send);

/// Investigates a task. Only allowed tools are used, at most as many calls are made as the boundaries say, and the
/// context's scope, cancellation and deadline are obeyed; on a stop the findings so far are returned as partial.
pub async fn investigate(
    task: &Task,
    workspace: Arc<Workspace>,
    executor: &Executor,
    context: &CallContext,
    sink: Sink<'_>,
) -> Investigation {
    let brief = Arc::new(Brief::of(task, &workspace));
    let mut context = context.clone();
    context.workspace = Some(Arc::clone(&workspace));
    context.scope = task.delegation.boundaries.scope.clone().into();
    let mut work = Work {
        task,
        executor,
        context,
        results: Results::default(),
        usage: 0,
        run: RunStatistics::default(),
    };
    if brief.files == 0 {
        let reason = "there is no file in the task's scope: look at its `scope` and at the workspace".to_owned();
        return work.end(Conclusion::default(), TaskStatus::Failed, Some(reason));
    }
    let mut refused = work.round(1, plan_calls(&brief), sink).await.err();
    if refused.is_none() && work.stopped().is_none() {
        refused = work.round(2, follow_up(&brief, &work.results), sink).await.err();
    }
    if work.results.is_empty() {
        let reason = refused
            .or_else(|| work.stopped())
            .or_else(|| work.results.failures().first().cloned());
        let reason = reason.unwrap_or_else(|| match task.delegation.boundaries.max_tool_calls {
            0 => "the task may make no tool call: raise its `max_tool_calls`".to_owned(),
            _ => {
                let may_use = task.delegation.allowed_tools.join(", ");
                format!("none of the tools this task may use helps here; it may use: {may_use}")
            }
        });
        return work.end(Conclusion::default(), TaskStatus::Failed, Some(reason));
    }
    // Quoting reads files, which blocks.
    let results = work.results.clone();
    let concluded = tokio::task::spawn_blocking(move || conclude(&brief, &results, &workspace)).await;
    let (conclusion, defect) = match concluded {
        Ok(conclusion) => (conclusion, None),
        Err(error) => (
            Conclusion::default(),
            Some(format!("the findings could not be written: {error}")),
        ),
    };
    for finding in &conclusion.findings {
        sink(Progress::Found(Box::new(finding.clone())));
    }
    let reason = defect
        .or(refused)
        .or_else(|| work.stopped())
        .or_else(|| work.results.failures().first().cloned());
    let status = if reason.is_some() {
        TaskStatus::Partial
    } else {
        TaskStatus::Complete
    };
    work.end(conclusion, status, reason)
}

/// The state of an investigation between its rounds.
struct Work<'t> {
    task: &'t Task,
    executor: &'t Executor,
    context: CallContext,
    results: Results,
    usage: usize,
    run: RunStatistics,
}

impl Work<'_> {
    async fn round(&mut self, round: u32, calls: Vec<ToolCall>, sink: Sink<'_>) -> Result<(), String> {
        let calls = self.within_boundaries(calls);
        if calls.is_empty() {
            return Ok(());
        }
        sink(Progress::Round {
            round,
            calls: calls.len(),
        });
        let sink = Mutex::new(sink);
        let on_event = |event: ToolEvent<'_>| {
            if let ToolEvent::Ended { outcome } = event {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink(Progress::ended(outcome));
            }
        };
        let limit = self
            .task
            .delegation
            .boundaries
            .max_tool_calls
            .saturating_sub(self.usage);
        let run = self
            .executor
            .run(
                calls,
                &self.context,
                &self.task.delegation.allowed_tools,
                limit,
                on_event,
            )
            .await;
        let run = run.map_err(|refusal| format!("the calls of round {round} were refused: {refusal}"))?;
        self.usage += run.calls_made();
        self.run = self.run.then(&run.statistics);
        self.results.add(run.results);
        Ok(())
    }

    /// The calls the task may still make, most important first.
    fn within_boundaries(&self, calls: Vec<ToolCall>) -> Vec<ToolCall> {
        let delegation = &self.task.delegation;
        let toolbox = self.executor.toolbox();
        let usable = |call: &ToolCall| {
            allowed(&call.tool_name, &delegation.allowed_tools) && toolbox.get(&call.tool_name).is_some()
        };
        let (mut kept, left_out): (Vec<ToolCall>, Vec<ToolCall>) = calls.into_iter().partition(usable);
        if !left_out.is_empty() {
            let tools: BTreeSet<&str> = left_out.iter().map(|call| call.tool_name.as_str()).collect();
            debug!(
                aspect = delegation.aspect,
                ?tools,
                "the task may not use every tool that would help"
            );
        }
        kept.truncate(delegation.boundaries.max_tool_calls.saturating_sub(self.usage));
        kept
    }

    /// Why no more calls may be made.
    fn stopped(&self) -> Option<String> {
        if self.context.cancel.is_cancelled() {
            return Some("the task was cancelled".to_owned());
        }
        let late = self
            .context
            .deadline
            .is_some_and(|deadline| tokio::time::Instant::now() >= deadline);
        late.then(|| "the deadline of the task passed".to_owned())
    }

    fn end(self, conclusion: Conclusion, status: TaskStatus, reason: Option<String>) -> Investigation {
        let mut notes = conclusion.notes;
        notes.extend(self.results.failures());
        Investigation {
            findings: conclusion.findings,
            notes,
            usage: Usage {
                tool_calls: self.usage as u64,
                ..Usage::default()
            },
            run: self.run,
            status,
            reason,
        }
    }
}
