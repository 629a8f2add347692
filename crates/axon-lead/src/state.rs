//! The state machine of one query: what has happened so far, and what is to be done about the next event. Pure: it never
//! publishes, waits or looks at a clock, so every behaviour of a lead can be tested as a table.

mod judgement;
mod ledger;
mod repetition;
mod report;
mod task;

use std::collections::HashMap;

use axon_protocol::{Budget, ExecutionPlan, StopReason, StopRule, TaskDelegation, TaskId};
use chrono::{DateTime, TimeDelta, Utc};

use ledger::Ledger;
pub use report::Snapshot;
pub use task::Accepted;
use task::{Entry, Progress};

/// How long after the end of the tasks partial results are waited for, in milliseconds.
const GRACE_MS: i64 = 1_000;
/// How often the streams are asked what the subscriptions may have missed, in milliseconds.
const RECONCILE_MS: i64 = 2_000;
/// How long a failed dispatch waits, in milliseconds.
const REDISPATCH_MS: i64 = 500;
/// How long after its deadline a query waits for a synthesizer before the lead answers itself, in milliseconds.
pub const FALLBACK_AFTER_MS: i64 = 5_000;
/// How long a fallback that could not be written waits, in milliseconds.
const FALLBACK_RETRY_MS: i64 = 1_000;

/// How long after a look at slow tasks the next one comes, in milliseconds.
const INSPECT_MS: i64 = 1_000;
/// Share of the time for tasks that must be left for a further task to be worth it.
const SPAWN_TIME_SHARE: f64 = 0.25;

/// What a query may do beyond its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Add a task where an aspect came back thin, and execute a slow one a second time.
    pub dynamic_spawning: bool,
    /// Most tasks, added ones included.
    pub tasks_max: usize,
}

/// A task that some worker is working on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The task.
    pub task: TaskId,
    /// When it was started.
    pub since: DateTime<Utc>,
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
    /// A further task stands in the plan.
    Spawned(Box<TaskDelegation>),
    /// The further task for this aspect could not be added, or there is none that makes sense.
    NotSpawned {
        /// The aspect.
        aspect: String,
        /// What it would have had.
        budget: Budget,
    },
    /// What is running, and how many slots are free for the same work.
    Inspected {
        /// The tasks that were started and have not ended.
        running: Vec<Running>,
        /// Free slots.
        idle: usize,
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
    /// Queue this task once more, beside the execution that takes long.
    DispatchSecond(TaskId),
    /// Write a further task for an aspect that came back thin, save the plan with it, and tell.
    Spawn {
        /// The aspect.
        aspect: String,
        /// A task of that aspect.
        like: TaskId,
        /// The id it gets.
        task: TaskId,
        /// What it may spend.
        budget: Budget,
    },
    /// Find out which tasks are running and who is idle, and tell.
    Inspect,
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
    created_at: DateTime<Utc>,
    policy: Policy,
    /// Absent where every task is to end.
    stop_rule: Option<StopRule>,
    ledger: Ledger,
    /// The ended tasks as they came.
    ended: Vec<usize>,
    /// Aspects for which a further task was asked for; only queries that the lead planned itself get any.
    spawned: Option<Vec<String>>,
    /// Further tasks that are being written.
    spawning: usize,
    inspect_after: DateTime<Utc>,
}

impl Execution {
    /// A query whose plan stands. Of the tasks that are ready the one with the highest rank is queued first, then the one
    /// with the highest priority; see [`crate::planning::ranks`].
    pub fn new(plan: &ExecutionPlan, ranks: &[usize], policy: Policy, now: DateTime<Utc>) -> Self {
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
        let needs = |task: &TaskDelegation| {
            let needed = task.dependencies.iter();
            needed.filter_map(|id| index.get(id).copied()).collect::<Vec<usize>>()
        };
        let tasks = plan
            .task_delegations
            .iter()
            .map(|task| Entry::new(task, needs(task)))
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
            created_at: plan.created_at,
            policy,
            stop_rule: plan.stop_rule,
            ledger: Ledger::default(),
            ended: Vec::new(),
            spawned: plan.analysis.is_some().then(|| spawned_before(plan)),
            spawning: 0,
            inspect_after: now,
        }
    }

    /// Takes in what happened before this lead came, all of it before anything is decided: a decision after the first of
    /// several results would queue the tasks of the others again.
    pub fn adopt(&mut self, events: impl IntoIterator<Item = Event>, now: DateTime<Utc>) {
        for event in events {
            match event {
                Event::Pending(task) => self.mark_queued(&task, now),
                Event::Accepted(accepted) => self.accept(accepted),
                _ => {}
            }
        }
        // What they left may have been given to tasks that are queued already: nobody knows any more.
        self.ledger = Ledger::default();
    }

    /// Takes in an event and tells what is to be done.
    pub fn handle(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Begin | Event::Tick => {}
            Event::Pending(task) => self.mark_queued(&task, now),
            Event::Accepted(accepted) => self.accept(accepted),
            Event::Spawned(task) => self.add(&task),
            Event::NotSpawned { aspect, budget } => self.not_added(&aspect, budget),
            Event::Inspected { running, idle } => self.execute_slow_again(running, idle, now, &mut effects),
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
                // Where no place is free, time makes none: a task that ends does.
                let any_free = self.free_places() > 0;
                retry
                    .filter(|_| any_free)
                    .chain(self.inspect_at())
                    .chain([self.tasks_deadline, self.reconcile_at])
                    .min()
                    .unwrap_or(self.tasks_deadline)
            }
            Phase::Stopping { until } => until.min(self.reconcile_at),
            Phase::Synthesizing => self.fallback_at().min(self.reconcile_at),
            Phase::FallingBack { retry_at } => retry_at,
            Phase::Finished => DateTime::<Utc>::MAX_UTC,
        }
    }

    fn fallback_at(&self) -> DateTime<Utc> {
        self.deadline + TimeDelta::milliseconds(FALLBACK_AFTER_MS)
    }

    fn mark_queued(&mut self, task: &TaskId, now: DateTime<Utc>) {
        if let Some(entry) = self.index.get(task).and_then(|index| self.tasks.get_mut(*index))
            && entry.is_waiting()
        {
            entry.progress = Progress::Queued { since: now };
        }
    }

    fn accept(&mut self, accepted: Accepted) {
        // The first result is the only one: the broker refuses others, and one that comes twice changes nothing.
        let Some(index) = self.index.get(&accepted.task).copied() else {
            return;
        };
        let Some(entry) = self.tasks.get_mut(index) else { return };
        if entry.accepted().is_some() {
            return;
        }
        if !entry.ended() {
            self.ledger.settle(entry.budget, accepted.spent);
        }
        entry.progress = Progress::Ended(accepted);
        self.ended.push(index);
    }

    fn dispatch_failed(&mut self, task: &TaskId, reason: String, permanent: bool, now: DateTime<Utc>) {
        let Some(entry) = self.index.get(task).and_then(|index| self.tasks.get_mut(*index)) else {
            return;
        };
        if entry.ended() {
            return;
        }
        entry.progress = if permanent {
            // Its share is not given to others: should it have been queued after all, it is spending it.
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
        self.spawning = 0;
        let running = self.tasks.iter().any(Entry::is_queued);
        let grace = if running { GRACE_MS } else { 0 };
        self.phase = Phase::Stopping {
            until: now + TimeDelta::milliseconds(grace),
        };
        // What was finished and not heard of is not missing.
        self.reconcile_at = now;
    }

    fn advance(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        self.bound_waits(now);
        if self.phase == Phase::Working {
            self.skip_dependents();
            self.spawn(now, effects);
            if self.spawning == 0 && self.tasks.iter().all(Entry::ended) {
                self.end_second_executions(effects);
                self.begin_synthesis(now, effects);
            } else if now >= self.tasks_deadline {
                self.stop_early(StopReason::Deadline, now, effects);
            } else if self.is_enough() {
                self.stop_early(StopReason::EnoughFound, now, effects);
            } else {
                self.dispatch_ready(now, effects);
                self.inspect(now, effects);
            }
        }
        if let Phase::Stopping { until } = self.phase
            && (now >= until || !self.tasks.iter().any(Entry::is_queued))
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
        let waiting = matches!(
            self.phase,
            Phase::Working | Phase::Stopping { .. } | Phase::Synthesizing
        );
        if waiting && now >= self.reconcile_at {
            self.reconcile_at = now + TimeDelta::milliseconds(RECONCILE_MS);
            effects.push(Effect::Reconcile);
        }
    }

    /// A clock that was set back must not make a short wait a long one.
    fn bound_waits(&mut self, now: DateTime<Utc>) {
        self.reconcile_at = self.reconcile_at.min(now + TimeDelta::milliseconds(RECONCILE_MS));
        if let Phase::Stopping { until } = &mut self.phase {
            *until = (*until).min(now + TimeDelta::milliseconds(GRACE_MS));
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
                if !self.tasks[index].is_waiting() {
                    continue;
                }
                let failed = self.tasks[index]
                    .dependencies
                    .iter()
                    .find(|dep| self.tasks[**dep].failed())
                    .copied();
                if let Some(dependency) = failed {
                    let reason = format!("it needs {}, which failed", self.tasks[dependency].id);
                    self.ledger.put(self.tasks[index].budget);
                    self.tasks[index].progress = Progress::Skipped(reason);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Tasks that may be queued beside those that are.
    fn free_places(&self) -> usize {
        let running = self.tasks.iter().filter(|task| task.is_queued()).count();
        self.max_parallel.saturating_sub(running)
    }

    fn dispatch_ready(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        let room = self.free_places();
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
        let mut waiting = self.tasks.iter().filter(|task| task.is_waiting()).count();
        for index in &ready {
            // Each task that is still to be queued gets an even part of what others left.
            let grant = self.ledger.grant(waiting);
            waiting -= 1;
            let task = &mut self.tasks[*index];
            task.budget.tokens += grant.tokens;
            task.budget.cents += grant.cents;
            task.progress = Progress::Queued { since: now };
        }
        effects.push(Effect::Dispatch(
            ready.iter().map(|index| self.tasks[*index].id.clone()).collect(),
        ));
    }

    fn is_enough(&self) -> bool {
        let Some(rule) = &self.stop_rule else { return false };
        judgement::is_enough(rule, &self.tasks, &self.ended)
    }

    /// Asks for a further task where an aspect came back thin, one an aspect, if there is time and budget for it.
    fn spawn(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        let (Some(spawned), true) = (&mut self.spawned, self.policy.dynamic_spawning) else {
            return;
        };
        let all = (self.tasks_deadline - self.created_at).as_seconds_f64();
        if (self.tasks_deadline - now).as_seconds_f64() < all * SPAWN_TIME_SHARE {
            return;
        }
        while let Some(index) = judgement::thin(&self.tasks, spawned) {
            if self.tasks.len() + self.spawning >= self.policy.tasks_max {
                return;
            }
            let (aspect, like) = (self.tasks[index].aspect.clone(), self.tasks[index].id.clone());
            spawned.push(aspect.clone());
            let budget = self.tasks[index].budget;
            if !self.ledger.take(budget) {
                continue;
            }
            self.spawning += 1;
            effects.push(Effect::Spawn {
                aspect,
                like,
                task: TaskId::from_index(self.tasks.len() + self.spawning),
                budget,
            });
        }
    }

    fn add(&mut self, task: &TaskDelegation) {
        self.spawning = self.spawning.saturating_sub(1);
        if self.index.contains_key(&task.task_id) {
            return;
        }
        let index = self.tasks.len();
        self.index.insert(task.task_id.clone(), index);
        self.order.push(index);
        self.tasks.push(Entry::new(task, Vec::new()));
    }

    fn not_added(&mut self, aspect: &str, budget: Budget) {
        if self
            .spawned
            .as_ref()
            .is_some_and(|spawned| spawned.iter().any(|known| known == aspect))
            && self.spawning > 0
        {
            self.spawning -= 1;
            self.ledger.put(budget);
        }
    }

    /// When slow tasks are to be looked for.
    fn inspect_at(&self) -> Option<DateTime<Utc>> {
        if !self.policy.dynamic_spawning {
            return None;
        }
        Some(judgement::slow_at(&self.tasks)?.max(self.inspect_after))
    }

    fn inspect(&mut self, now: DateTime<Utc>, effects: &mut Vec<Effect>) {
        if self.inspect_at().is_some_and(|at| now >= at) {
            self.inspect_after = now + TimeDelta::milliseconds(INSPECT_MS);
            effects.push(Effect::Inspect);
        }
    }

    /// Queues what has been running for too long a second time, the slowest first, where somebody is idle, time is left
    /// for a second execution to end first, and unspent budget pays for it.
    fn execute_slow_again(
        &mut self,
        mut running: Vec<Running>,
        idle: usize,
        now: DateTime<Utc>,
        effects: &mut Vec<Effect>,
    ) {
        let (Phase::Working, Some(after), true) = (
            self.phase,
            judgement::slow_after(&self.tasks),
            self.policy.dynamic_spawning,
        ) else {
            return;
        };
        running.sort_by(|a, b| (a.since, &a.task).cmp(&(b.since, &b.task)));
        let slow = running
            .into_iter()
            .filter(|one| now - one.since >= after && self.tasks_deadline - now > after);
        let slow: Vec<Running> = slow.collect();
        let mut idle = idle;
        for one in slow {
            let Some(index) = self.index.get(&one.task).copied() else {
                continue;
            };
            let task = &self.tasks[index];
            if idle == 0 || !task.is_queued() || !task.repeatable || task.second {
                continue;
            }
            if self.ledger.take(task.budget) {
                idle -= 1;
                self.tasks[index].second = true;
                effects.push(Effect::DispatchSecond(one.task));
            }
        }
    }

    /// Every task has its result: what still runs a second time is stopped.
    fn end_second_executions(&self, effects: &mut Vec<Effect>) {
        if self.tasks.iter().any(|task| task.second) {
            effects.push(Effect::StopTasks);
        }
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

/// The aspects that got a further task before this lead came: those of tasks that the plan says were added.
fn spawned_before(plan: &ExecutionPlan) -> Vec<String> {
    let added = plan.task_delegations.iter().filter(|task| task.added);
    added.map(|task| task.aspect.clone()).collect()
}

#[cfg(test)]
mod tests;
