//! One task as the state machine sees it: how far it is, what it may spend, and what came of it. It decides nothing.

use axon_protocol::{Budget, TaskDelegation, TaskId, TaskStatus, WorkerId};
use chrono::{DateTime, Utc};

/// How an accepted result ended its task.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// Why it is not complete.
    pub reason: Option<String>,
    /// Sequence in the stream of results.
    pub sequence: Option<u64>,
    /// Who did it.
    pub worker: Option<WorkerId>,
    /// The try that brought it, counted from 1.
    pub attempt: u32,
    /// Findings that no result before it had.
    pub new_findings: usize,
    /// Confidence of its most certain finding, from 0 to 1.
    pub confidence: f64,
    /// What it spent, cents rounded up.
    pub spent: Budget,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    Waiting { not_before: Option<DateTime<Utc>> },
    Queued { since: DateTime<Utc> },
    Ended(Accepted),
    Skipped(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) id: TaskId,
    pub(super) aspect: String,
    pub(super) dependencies: Vec<usize>,
    pub(super) progress: Progress,
    /// What it may spend.
    pub(super) budget: Budget,
    /// Whether executing it twice at once can do no harm.
    pub(super) repeatable: bool,
    /// Whether it was queued a second time because it is slow.
    pub(super) second: bool,
}

impl Entry {
    pub(super) fn new(task: &TaskDelegation, dependencies: Vec<usize>) -> Self {
        Self {
            id: task.task_id.clone(),
            aspect: task.aspect.clone(),
            dependencies,
            progress: Progress::Waiting { not_before: None },
            budget: task.budget,
            repeatable: only_reads(&task.allowed_tools),
            second: false,
        }
    }

    pub(super) fn ended(&self) -> bool {
        matches!(self.progress, Progress::Ended(_) | Progress::Skipped(_))
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.progress, Progress::Waiting { .. })
    }

    pub(super) fn is_queued(&self) -> bool {
        matches!(self.progress, Progress::Queued { .. })
    }

    pub(super) fn accepted(&self) -> Option<&Accepted> {
        match &self.progress {
            Progress::Ended(accepted) => Some(accepted),
            _ => None,
        }
    }

    pub(super) fn failed(&self) -> bool {
        match &self.progress {
            Progress::Ended(accepted) => accepted.status == TaskStatus::Failed,
            Progress::Skipped(_) => true,
            _ => false,
        }
    }

    pub(super) fn succeeded(&self) -> bool {
        self.accepted()
            .is_some_and(|accepted| accepted.status != TaskStatus::Failed)
    }
}

/// Whether a task may call nothing but tools of families that only read.
fn only_reads(allowed_tools: &[String]) -> bool {
    const READING_FAMILIES: [&str; 3] = ["code.", "git.", "diag."];
    let reads = |tool: &String| READING_FAMILIES.iter().any(|family| tool.starts_with(family));
    allowed_tools.iter().all(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_may_write_is_not_repeatable() {
        for (tools, expected) in [
            (&["code.*"][..], true),
            (&["code.read", "diag.sleep"], true),
            (&[], true),
            (&["*"], false),
            (&["code.*", "cmd.run"], false),
            (&["mcp.git.git_commit"], false),
        ] {
            let tools: Vec<String> = tools.iter().map(ToString::to_string).collect();
            assert_eq!(only_reads(&tools), expected, "{tools:?}");
        }
    }
}
