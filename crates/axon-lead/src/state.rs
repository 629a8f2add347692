//! The state machine of one query: what has happened so far, and what is to be done about the next event. Pure: it never
//! publishes, waits or looks at a clock, so every behaviour of a lead can be tested as a table.

use std::collections::HashMap;

use axon_protocol::{ExecutionPlan, MissingPart, ResultReference, StopReason, TaskId, TaskStatus, WorkerId};
use chrono::{DateTime, TimeDelta, Utc};

/// How long after the end of the tasks partial results are waited for, in milliseconds.
const GRACE_MS: i64 = 1_000;
/// How long after silence the streams are asked what the subscription may have missed, in milliseconds.
const RECONCILE_MS: i64 = 2_000;
/// How long a failed dispatch waits, in milliseconds.
const REDISPATCH_MS: i64 = 500;
/// How long after its deadline a query waits for a synthesizer before the lead answers itself, in milliseconds.
pub const FALLBACK_AFTER_MS: i64 = 5_000;
/// How long a fallback that could not be written waits, in milliseconds.
const FALLBACK_RETRY_MS: i64 = 1_000;

/// How an accepted result ended its task.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The lead begins, or goes on with what another began.
    Begin,
    /// A task is in its queue already.
    Pending(TaskId),
    /// A result was accepted.
    Accepted(Accepted),
    /// A task could not be queued; `permanent` when trying again is of no use.
    DispatchFailed {
        /// The task.
        task: TaskId,
        /// What happened.
        reason: String,
        /// Whether it will not pass.
        permanent: bool,
    },
    /// Somebody cancelled the query.
    Cancelled,
    /// The connection was lost and is back.
    Reconnected,
    /// The answer stands.
    Answered,
    /// Time has passed.
    Tick,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Queue these tasks, in this order.
    Dispatch(Vec<TaskId>),
    /// Purge the queued tasks and tell the workers to stop.
    StopTasks,
    /// Look in the streams for what the subscriptions may have missed.
    Reconcile,
    /// Ask for the synthesis.
    Synthesize,
    /// Write the answer without a synthesizer.
    Fallback,
    /// Remember the query, acknowledge it, and forget it.
    Finish,
}

#[derive(Debug, Clone, PartialEq)]
enum Progress {
    Waiting { not_before: Option<DateTime<Utc>> },
    Queued,
    Ended(Accepted),
    Skipped(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    id: TaskId,
    aspect: String,
    dependencies: Vec<usize>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    Stopping { until: DateTime<Utc> },
    Synthesizing,
    FallingBack { retry_at: DateTime<Utc> },
    Finished,
}

/// One query on its way to its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    tasks: Vec<Entry>,
    index: HashMap<TaskId, usize>,
    order: Vec<usize>,
    max_parallel: usize,
    tasks_deadline: DateTime<Utc>,
    deadline: DateTime<Utc>,
    phase: Phase,
    stop: StopReason,
    reconcile_at: DateTime<Utc>,
}

impl Execution {
    /// A query whose plan stands. Of the tasks that are ready the one with the highest rank is queued first, then the one
    /// with the highest priority; see [`crate::planning::ranks`].
    pub fn new(plan: &ExecutionPlan, ranks: &[usize], now: DateTime<Utc>) -> Self {
        let urgency = |index: &usize| {
            let priority = plan.task_delegations.get(*index).map_or(0, |task| task.priority);
            std::cmp::Reverse((ranks.get(*index).copied().unwrap_or_default(), priority))
        };
        let mut order: Vec<usize> = (0..plan.task_delegations.len()).collect();
        order.sort_by_key(urgency);
        let index: HashMap<TaskId, usize> = plan
            .task_delegations
            .iter()
            .enumerate()
            .map(|(i, task)| (task.task_id.clone(), i))
            .collect();
        let tasks = plan
            .task_delegations
            .iter()
            .map(|task| Entry {
                id: task.task_id.clone(),
                aspect: task.aspect.clone(),
                dependencies: task
                    .dependencies
                    .iter()
                    .filter_map(|id| index.get(id).copied())
                    .collect(),
                progress: Progress::Waiting { not_before: None },
            })
            .collect();
        Self {
            tasks,
            index,
            order,
            max_parallel: plan.resource_allocation.max_parallel_workers.max(1),
            tasks_deadline: plan.tasks_deadline,
            deadline: plan.deadline,
            phase: Phase::Working,
            stop: StopReason::Finished,
            reconcile_at: now + TimeDelta::milliseconds(RECONCILE_MS),
        }
    }

    /// Takes in what happened before this lead came, all of it before anything is decided: a decision after the first of
    /// several results would queue the tasks of the others again.
    pub fn adopt(&mut self, events: impl IntoIterator<Item = Event>, now: DateTime<Utc>) {
        for event in events {
            match event {
                Event::Pending(task) => self.mark_queued(&task),
                Event::Accepted(accepted) => self.accept(accepted, now),
                Event::Begin
                | Event::DispatchFailed { .. }
                | Event::Cancelled
                | Event::Reconnected
                | Event::Answered
                | Event::Tick => {}
            }
        }
    }

    /// Takes in an event and tells what is to be done.
    pub fn handle(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Begin | Event::Tick => {}
            Event::Pending(task) => self.mark_queued(&task),
            Event::Accepted(accepted) => self.accept(accepted, now),
            Event::DispatchFailed {
                task,
                reason,
                permanent,
            } => self.dispatch_failed(&task, reason, permanent, now),
            Event::Cancelled => self.stop_early(StopReason::Cancelled, now, &mut effects),
            Event::Reconnected => self.reconcile_at = now,
            Event::Answered => {
                if self.phase != Phase::Finished {
                    self.phase = Phase::Finished;
                    effects.push(Effect::Finish);
                }
            }
        }
        self.advance(now, &mut effects);
        effects
    }

    /// When [`Event::Tick`] is due if nothing else happens.
    pub fn wake_at(&self) -> DateTime<Utc> {
        match self.phase {
            Phase::Working => {
                let retry = self.tasks.iter().filter_map(|task| match task.progress {
                    Progress::Waiting { not_before } => not_before,
                    _ => None,
                });
                retry
                    .chain([self.tasks_deadline, self.reconcile_at])
                    .min()
                    .unwrap_or(self.tasks_deadline)
            }
            Phase::Stopping { until } => until,
            Phase::Synthesizing => self.fallback_at().min(self.reconcile_at),
            Phase::FallingBack { retry_at } => retry_at,
            Phase::Finished => DateTime::<Utc>::MAX_UTC,
        }
    }

    /// Whether the answer stands.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Why the work stopped, as far as it has.
    pub fn stop_reason(&self) -> StopReason {
        self.stop
    }

    /// Tasks that have ended, and all tasks.
    pub fn progress(&self) -> (usize, usize) {
        (self.tasks.iter().filter(|task| task.ended()).count(), self.tasks.len())
    }

    /// Where the accepted results are.
    pub fn results(&self) -> Vec<ResultReference> {
        let ended = |task: &Entry| match &task.progress {
            Progress::Ended(accepted) => Some(accepted.sequence),
            _ => None,
        };
        self.tasks
            .iter()
            .filter_map(|task| {
                Some(ResultReference {
                    task_id: task.id.clone(),
                    sequence: ended(task)?,
                })
            })
            .collect()
    }

    /// The tasks without a result, and why.
    pub fn missing(&self) -> Vec<MissingPart> {
        self.tasks
            .iter()
            .filter_map(|task| {
                let reason = match &task.progress {
                    Progress::Ended(_) => return None,
                    Progress::Skipped(reason) => reason.clone(),
                    Progress::Queued => match self.stop {
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
            .map(|task| match &task.progress {
                Progress::Ended(accepted) => accepted.attempt.saturating_sub(1),
                _ => 0,
            })
            .sum()
    }

    /// Ids of the tasks that have no result yet.
    pub fn open_tasks(&self) -> Vec<TaskId> {
        self.tasks
            .iter()
            .filter(|task| !task.ended())
            .map(|task| task.id.clone())
            .collect()
    }

    fn fallback_at(&self) -> DateTime<Utc> {
        self.deadline + TimeDelta::milliseconds(FALLBACK_AFTER_MS)
    }

    fn mark_queued(&mut self, task: &TaskId) {
        if let Some(entry) = self.index.get(task).and_then(|index| self.tasks.get_mut(*index))
            && matches!(entry.progress, Progress::Waiting { .. })
        {
            entry.progress = Progress::Queued;
        }
    }

    fn accept(&mut self, accepted: Accepted, now: DateTime<Utc>) {
        // The first result is the only one: the broker refuses others, and one that comes twice changes nothing.
        let Some(entry) = self
            .index
            .get(&accepted.task)
            .and_then(|index| self.tasks.get_mut(*index))
        else {
            return;
        };
        if !matches!(entry.progress, Progress::Ended(_)) {
            entry.progress = Progress::Ended(accepted);
            self.reconcile_at = now + TimeDelta::milliseconds(RECONCILE_MS);
        }
    }

    fn dispatch_failed(&mut self, task: &TaskId, reason: String, permanent: bool, now: DateTime<Utc>) {
        let Some(entry) = self.index.get(task).and_then(|index| self.tasks.get_mut(*index)) else {
            return;
        };
        if entry.ended() {
            return;
        }
        entry.progress = if permanent {
            Progress::Skipped(reason)
        } else {
            Progress::Waiting {
                not_before: Some(now + TimeDelta::milliseconds(REDISPATCH_MS)),
            }
        };
    }

    fn stop_early(&mut self, reason: StopReason, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Working {
            return;
        }
        self.stop = reason;
        effects.push(Effect::StopTasks);
        let running = self.tasks.iter().any(|task| task.progress == Progress::Queued);
        let grace = if running { GRACE_MS } else { 0 };
        self.phase = Phase::Stopping {
            until: now + TimeDelta::milliseconds(grace),
        };
    }

    fn advance(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Working {
            self.skip_dependents();
            if self.tasks.iter().all(Entry::ended) {
                self.begin_synthesis(now, effects);
            } else if now >= self.tasks_deadline {
                self.stop_early(StopReason::Deadline, now, effects);
            } else {
                self.dispatch_ready(now, effects);
            }
        }
        if let Phase::Stopping { until } = self.phase
            && (now >= until || !self.tasks.iter().any(|task| task.progress == Progress::Queued))
        {
            self.begin_synthesis(now, effects);
        }
        if self.phase == Phase::Synthesizing && now >= self.fallback_at() {
            self.fall_back(now, effects);
        }
        if let Phase::FallingBack { retry_at } = self.phase
            && now >= retry_at
        {
            self.fall_back(now, effects);
        }
        if matches!(self.phase, Phase::Working | Phase::Synthesizing) && now >= self.reconcile_at {
            self.reconcile_at = now + TimeDelta::milliseconds(RECONCILE_MS);
            effects.push(Effect::Reconcile);
        }
    }

    fn begin_synthesis(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        self.phase = Phase::Synthesizing;
        self.reconcile_at = now + TimeDelta::milliseconds(RECONCILE_MS);
        // After a takeover it may be too late for a synthesizer already.
        if now < self.fallback_at() {
            effects.push(Effect::Synthesize);
        }
    }

    fn fall_back(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        self.phase = Phase::FallingBack {
            retry_at: now + TimeDelta::milliseconds(FALLBACK_RETRY_MS),
        };
        effects.push(Effect::Fallback);
    }

    fn skip_dependents(&mut self) {
        // Tasks may depend on tasks that come later in the plan, so one pass is not always enough.
        loop {
            let mut changed = false;
            for index in 0..self.tasks.len() {
                if !matches!(self.tasks[index].progress, Progress::Waiting { .. }) {
                    continue;
                }
                let failed = self.tasks[index]
                    .dependencies
                    .iter()
                    .find(|dep| self.tasks[**dep].failed())
                    .copied();
                if let Some(dependency) = failed {
                    let reason = format!("it needs {}, which failed", self.tasks[dependency].id);
                    self.tasks[index].progress = Progress::Skipped(reason);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn dispatch_ready(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        let running = self
            .tasks
            .iter()
            .filter(|task| task.progress == Progress::Queued)
            .count();
        let room = self.max_parallel.saturating_sub(running);
        let ready: Vec<usize> = self
            .order
            .iter()
            .copied()
            .filter(|i| self.is_ready(*i, now))
            .take(room)
            .collect();
        if ready.is_empty() {
            return;
        }
        for index in &ready {
            self.tasks[*index].progress = Progress::Queued;
        }
        effects.push(Effect::Dispatch(
            ready.iter().map(|index| self.tasks[*index].id.clone()).collect(),
        ));
    }

    fn is_ready(&self, index: usize, now: DateTime<Utc>) -> bool {
        let Some(task) = self.tasks.get(index) else {
            return false;
        };
        matches!(task.progress, Progress::Waiting { not_before } if not_before.is_none_or(|at| now >= at))
            && task
                .dependencies
                .iter()
                .all(|dependency| self.tasks[*dependency].succeeded())
    }
}

impl Entry {
    fn ended(&self) -> bool {
        matches!(self.progress, Progress::Ended(_) | Progress::Skipped(_))
    }

    fn failed(&self) -> bool {
        match &self.progress {
            Progress::Ended(accepted) => accepted.status == TaskStatus::Failed,
            Progress::Skipped(_) => true,
            _ => false,
        }
    }

    fn succeeded(&self) -> bool {
        matches!(&self.progress, Progress::Ended(accepted) if accepted.status != TaskStatus::Failed)
    }
}

#[cfg(test)]
mod tests;
