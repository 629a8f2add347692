//! What the state machine tells of a query: how far it is, which results there are, what is missing and why.

use axon_protocol::{Budget, MissingPart, ResultReference, SECOND_EXECUTION, StopReason, TaskId};

use super::task::{Entry, Progress};
use super::{Execution, Phase};

/// How far a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Tasks with a result that is worth something.
    pub done: usize,
    /// Tasks that failed, or will not be tried because others did.
    pub failed: usize,
    /// Tasks that are queued or being worked on.
    pub running: usize,
    /// Tasks that are not queued yet.
    pub waiting: usize,
}

impl Execution {
    /// Whether the answer stands.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Why the work stopped, as far as it has.
    pub fn stop_reason(&self) -> StopReason {
        self.stop
    }

    /// How far it is.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for task in &self.tasks {
            match &task.progress {
                Progress::Waiting { .. } => snapshot.waiting += 1,
                Progress::Queued { .. } => snapshot.running += 1,
                _ if task.failed() => snapshot.failed += 1,
                _ => snapshot.done += 1,
            }
        }
        snapshot
    }

    /// What a task may spend: its share of the plan, and what ended tasks left for it.
    pub fn budget_of(&self, task: &TaskId) -> Budget {
        self.index
            .get(task)
            .and_then(|index| self.tasks.get(*index))
            .map_or_else(Budget::default, |entry| entry.budget)
    }

    /// What ended tasks did not spend and nobody has been given.
    pub fn unspent(&self) -> Budget {
        self.ledger.unspent()
    }

    /// Where the accepted results are.
    pub fn results(&self) -> Vec<ResultReference> {
        let reference = |task: &Entry| {
            Some(ResultReference {
                task_id: task.id.clone(),
                sequence: task.accepted()?.sequence,
                payload: None,
            })
        };
        self.tasks.iter().filter_map(reference).collect()
    }

    /// The tasks without a result, and why.
    pub fn missing(&self) -> Vec<MissingPart> {
        self.tasks
            .iter()
            .filter_map(|task| {
                let reason = match &task.progress {
                    Progress::Ended(_) => return None,
                    Progress::Skipped(reason) => reason.clone(),
                    _ if self.stop == StopReason::EnoughFound => "not needed, enough was known before".to_owned(),
                    Progress::Queued { .. } => match self.stop {
                        StopReason::Cancelled => "the query was cancelled before it ended".to_owned(),
                        _ => "it had not ended by the deadline".to_owned(),
                    },
                    Progress::Waiting { .. } => match self.stop {
                        StopReason::Cancelled => "the query was cancelled before it started".to_owned(),
                        _ => "it had not started by the deadline".to_owned(),
                    },
                };
                Some(MissingPart {
                    task_id: task.id.clone(),
                    aspect: task.aspect.clone(),
                    reason,
                })
            })
            .collect()
    }

    /// Tries beyond the first of all accepted results.
    pub fn retries(&self) -> u32 {
        self.tasks
            .iter()
            .filter_map(|task| task.accepted())
            .filter(|accepted| accepted.attempt < SECOND_EXECUTION)
            .map(|accepted| accepted.attempt.saturating_sub(1))
            .sum()
    }

    /// Slow tasks that were executed a second time.
    pub fn second_executions(&self) -> u32 {
        self.tasks.iter().map(|task| u32::from(task.second)).sum()
    }

    /// Ids of the tasks that have no result yet.
    pub fn open_tasks(&self) -> Vec<TaskId> {
        self.tasks
            .iter()
            .filter(|task| !task.ended())
            .map(|task| task.id.clone())
            .collect()
    }
}
