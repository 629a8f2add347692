//! One query from its plan to its answer: the shell around the state machine. It performs what the machine decides and
//! tells it what happened; every decision is in `state.rs`.

mod further;
mod heard;
mod progress;
mod recorded;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Error, Message, Subscription};
use axon_protocol::{
    Answer, Band, EventKind, ExecutionPlan, Format, PlanRecord, QueryId, Route, Stored, Stream, SynthesisRequest, Task,
    TaskDelegation, TaskId, TaskResult, Upstream, Usage, header,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::broadcast;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::context::{Claim, Context};
use crate::fallback;
use crate::novelty::Novelty;
use crate::planning::ranks;
use crate::state::{Effect, Event, Execution, Policy};
use progress::Told;

/// How long a single step may try before the machine is asked again.
const STEP: Duration = Duration::from_secs(10);
/// Silence of this process after which it asks whether the query is still its own: half a lease.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause before it asks again when nobody could tell.
const DOUBT_PAUSE: Duration = Duration::from_millis(500);
/// How long past the deadline a result that cannot be read for a passing reason keeps the fallback from being written, in
/// milliseconds. Afterwards the answer names it as missing.
const READ_AGAIN_UNTIL_MS: i64 = 20_000;
/// Results that are read at once.
const READS_IN_FLIGHT: usize = 64;

/// A query that is being worked on.
pub(crate) struct Run {
    context: Arc<Context>,
    plan: Arc<ExecutionPlan>,
    /// The plan as it was stored, so that a large one is stored once.
    stored: Stored<ExecutionPlan>,
    format: Format,
    machine: Execution,
    accepted: Subscription,
    answered: Subscription,
    cancelled: broadcast::Receiver<QueryId>,
    upstream: HashMap<TaskId, Upstream>,
    needed_upstream: BTreeSet<TaskId>,
    routes: BTreeSet<(Route, Band)>,
    queue: VecDeque<Event>,
    novelty: Novelty,
    /// Small results as they were heard, and their bytes.
    kept: HashMap<TaskId, Bytes>,
    kept_bytes: usize,
    progress: Told,
    answer: Option<Answer>,
    /// By which delivery of the query this lead owns it.
    claim: Claim,
}

/// How a query ended.
pub(crate) struct Ended {
    /// Its answer.
    pub(crate) answer: Answer,
    /// Kept findings by the tool that found them.
    pub(crate) tools: BTreeMap<String, u64>,
}

impl Run {
    /// Subscribes before anything is queued, so that no accepted result is missed.
    pub(crate) async fn open(
        context: Arc<Context>,
        plan: Arc<ExecutionPlan>,
        stored: Stored<ExecutionPlan>,
        format: Format,
        claim: Claim,
    ) -> Result<Self, Error> {
        let ns = context.bus.namespace().clone();
        let accepted = context.bus.subscribe(ns.accepted_of(&plan.query_id)).await?;
        let answered = context.bus.subscribe(ns.answered(&plan.query_id)).await?;
        let cancelled = context.cancelled.subscribe();
        let capabilities: BTreeSet<BTreeSet<_>> = plan
            .task_delegations
            .iter()
            .map(|task| task.required_capabilities.iter().cloned().collect())
            .collect();
        for set in capabilities {
            context.routes.ensure(&set).await?;
        }
        let mut machine = Execution::new(&plan, &ranks(&plan), policy(&context.config, &plan), Utc::now());
        if let Some(undone) = recorded::undone(&context.bus, &plan).await? {
            machine.repeat(undone.tasks, undone.stop);
        }
        Ok(Self {
            machine,
            needed_upstream: plan
                .task_delegations
                .iter()
                .flat_map(|task| task.dependencies.iter().cloned())
                .collect(),
            routes: plan
                .task_delegations
                .iter()
                .map(|task| (task.route(), task.band()))
                .collect(),
            context,
            plan,
            stored,
            format,
            accepted,
            answered,
            cancelled,
            upstream: HashMap::new(),
            queue: VecDeque::new(),
            novelty: Novelty::default(),
            kept: HashMap::new(),
            kept_bytes: 0,
            progress: Told::default(),
            answer: None,
            claim,
        })
    }

    /// Works until the answer stands and gives it back; `None` when another lead has taken the query over meanwhile.
    /// `resumed` when another lead, or this one in an earlier life, began it; `cancelled` when the plan's record says so.
    pub(crate) async fn run(mut self, resumed: bool, cancelled: bool) -> Result<Option<Ended>, Error> {
        // What it was before now is no change.
        let mut connection = self.context.bus.connection();
        let mut generation = connection.borrow_and_update().generation;
        if resumed {
            // In this order: a task that leaves its queue in between has left its result, which is read afterwards.
            self.mark_pending().await?;
            self.reconcile().await?;
            let (before, open): (VecDeque<Event>, VecDeque<Event>) = std::mem::take(&mut self.queue)
                .into_iter()
                .partition(|event| matches!(event, Event::Accepted(_) | Event::Pending(_)));
            self.machine.adopt(before, Utc::now());
            self.queue = open;
        }
        if cancelled {
            self.queue.push_back(Event::Cancelled);
        }
        self.queue.push_back(Event::Begin);
        let mut heard_at = Instant::now();
        loop {
            while let Some(event) = self.queue.pop_front() {
                // A process that was frozen or cut off may have lost its lease, and what it is about to do may be done.
                let now = connection.borrow().generation;
                if heard_at.elapsed() > SILENCE || now != generation {
                    match self.is_mine().await {
                        Ok(true) => generation = now,
                        Ok(false) => return Ok(None),
                        Err(error) => {
                            debug!(query = %self.plan.query_id, %error, "cannot tell whose query it is");
                            self.queue.push_front(event);
                            tokio::time::sleep(DOUBT_PAUSE).await;
                            continue;
                        }
                    }
                }
                heard_at = Instant::now();
                for effect in self.machine.handle(event, Utc::now()) {
                    self.perform(effect).await?;
                }
            }
            if self.machine.is_finished()
                && let Some(answer) = self.answer.take()
            {
                let tools = self.novelty.tools_of(&answer);
                return Ok(Some(Ended { answer, tools }));
            }
            self.tell_progress().await;
            let wait = (self.machine.wake_at() - Utc::now()).to_std().unwrap_or_default();
            tokio::select! {
                biased;
                message = self.answered.next() => match message {
                    Some(message) => self.hear_answer(&message).await,
                    None => return Err(closed()),
                },
                message = self.accepted.next() => match message {
                    Some(message) => self.hear_result(&message).await,
                    None => return Err(closed()),
                },
                cancelled = self.cancelled.recv() => match cancelled {
                    Ok(id) if id == self.plan.query_id => self.queue.push_back(Event::Cancelled),
                    Ok(_) => {}
                    // Some were missed: the record tells whether this query was among them.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.check_cancelled().await?,
                    Err(broadcast::error::RecvError::Closed) => return Err(closed()),
                },
                changed = connection.changed() => {
                    changed.map_err(|_| closed())?;
                    if connection.borrow().connected {
                        self.queue.push_back(Event::Reconnected);
                    }
                }
                () = tokio::time::sleep(wait) => self.queue.push_back(Event::Tick),
            }
        }
    }

    /// Whether no other lead, and no later delivery to this one, has taken the query over.
    async fn is_mine(&self) -> Result<bool, Error> {
        let table = self.context.bus.table::<PlanRecord>(axon_protocol::Bucket::Plans);
        let Some(record) = table
            .get(self.plan.query_id.as_str())
            .await?
            .and_then(|entry| entry.value)
        else {
            return Ok(true);
        };
        // A record without a delivery was written by a process that knows none.
        let same = record.delivery == 0 || Claim::of(&record) == self.claim;
        Ok(same && record.owner.is_none_or(|owner| owner == self.context.id))
    }

    async fn perform(&mut self, effect: Effect) -> Result<(), Error> {
        debug!(query = %self.plan.query_id, ?effect, "performing");
        match effect {
            Effect::Dispatch(tasks) => self.dispatch(&tasks).await,
            Effect::DispatchSecond(task) => self.dispatch_second(&task).await,
            Effect::Spawn {
                aspect,
                like,
                task,
                budget,
            } => self.spawn(aspect, &like, task, budget).await,
            Effect::Inspect => self.inspect().await,
            Effect::StopTasks => self.stop_tasks().await,
            Effect::Reconcile => {
                // A server that is away is no reason to give up: the next tick tries again.
                if let Err(error) = self.reconcile().await {
                    warn!(query = %self.plan.query_id, %error, "cannot reconcile");
                }
                if let Err(error) = self.check_cancelled().await {
                    debug!(query = %self.plan.query_id, %error, "cannot read the plan's record");
                }
            }
            Effect::Synthesize => self.request_synthesis().await,
            Effect::Fallback => self.answer_itself().await,
            // The answer was taken in when it was heard; remembering it is the caller's part.
            Effect::Finish => {}
        }
        Ok(())
    }

    async fn dispatch(&mut self, ids: &[TaskId]) {
        if !self.context.bus.connection().borrow().connected {
            // Whether the query is still its own is known when the connection is back.
            self.queue.extend(ids.iter().map(|task| Event::DispatchFailed {
                task: task.clone(),
                reason: "there is no connection to NATS".to_owned(),
                permanent: false,
            }));
            return;
        }
        let by_id: HashMap<&TaskId, &TaskDelegation> = self
            .plan
            .task_delegations
            .iter()
            .map(|task| (&task.task_id, task))
            .collect();
        let (mut tasks, mut messages, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for delegation in ids.iter().filter_map(|id| by_id.get(id)) {
            let task = delegation.task_id.clone();
            match self.message(delegation, 1) {
                Ok(message) => {
                    tasks.push(task);
                    messages.push(message);
                }
                Err(error) => failed.push((task, Err(error))),
            }
        }
        self.context.overseer.queued(&self.plan, ids);
        let queued = self.context.bus.queue(&self.plan.query_id, messages).await;
        for (task, outcome) in tasks.into_iter().zip(queued).chain(failed) {
            match outcome {
                // Queued already, by this lead before a lost acknowledgement or by one before it.
                Ok(_) | Err(Error::AlreadyQueued { .. }) => {}
                Err(error) => {
                    warn!(query = %self.plan.query_id, %task, %error, "cannot queue a task");
                    let permanent = !error.is_transient();
                    self.queue.push_back(Event::DispatchFailed {
                        task,
                        reason: error.to_string(),
                        permanent,
                    });
                }
            }
        }
    }

    /// A task as it queues. Its budget is what the machine says, which may be more than the plan does.
    fn message(&self, delegation: &TaskDelegation, attempt: u32) -> Result<Message, Error> {
        let task = Task {
            query_id: self.plan.query_id.clone(),
            query: self.plan.query.query.clone(),
            delegation: TaskDelegation {
                budget: self.machine.budget_of(&delegation.task_id),
                ..delegation.clone()
            },
            workspace: self.plan.workspace.clone(),
            deadline: self.plan.tasks_deadline,
            attempt,
            upstream: delegation
                .dependencies
                .iter()
                .filter_map(|id| self.upstream.get(id).cloned())
                .collect(),
            spent: Usage::default(),
            replay: self.plan.query.replay.as_ref().map(|replay| replay.of.clone()),
        };
        let name = match attempt {
            1 => delegation.task_id.to_string(),
            _ => format!("{}~{attempt}", delegation.task_id),
        };
        let (route, band) = (delegation.route(), delegation.band());
        let subject = self
            .context
            .bus
            .namespace()
            .task(&route, band, &self.plan.query_id, &name);
        let mut message = Message::plain(subject, &task)?;
        if attempt > 1 {
            message = message.with(header::TRY, attempt.to_string());
        }
        Ok(message)
    }

    async fn stop_tasks(&mut self) {
        let ns = self.context.bus.namespace().clone();
        for (route, band) in &self.routes {
            // One purge a route and band: a filter wider than the consumer's would leave its pending slots occupied.
            let filter = ns.tasks_of_query(route, *band, &self.plan.query_id);
            if let Err(error) = self.context.bus.purge(Stream::Tasks, &filter).await {
                warn!(query = %self.plan.query_id, %error, "cannot purge queued tasks, they end at their deadline");
            }
        }
        let cancel = axon_protocol::Control::Cancel {
            query_id: self.plan.query_id.clone(),
        };
        let subject = ns.control_cancel(&self.plan.query_id);
        match Message::new(subject, Format::Json, &cancel) {
            Ok(message) => {
                let _ = self.context.bus.announce(&message).await;
            }
            Err(error) => warn!(%error, "cannot write a cancellation"),
        }
    }

    /// Reads from the streams what the subscriptions may have missed: results and the answer.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let bus = self.context.bus.clone();
        let ns = bus.namespace().clone();
        let open: BTreeSet<TaskId> = self.machine.open_tasks().into_iter().collect();
        if !open.is_empty() {
            let subjects = bus
                .subjects(Stream::Results, &ns.results_of(&self.plan.query_id))
                .await?;
            let wanted = subjects.into_iter().filter_map(|subject| {
                let task = ns.last_token_task(&subject).filter(|task| open.contains(task))?;
                Some((task, subject))
            });
            let bus = &bus;
            let mut reading = futures::stream::iter(wanted)
                .map(|(task, subject)| async move {
                    let Some(stored) = bus.last(Stream::Results, &subject).await? else {
                        return Ok(None);
                    };
                    let result = bus.decode_stored::<TaskResult>(&stored).await;
                    Ok::<_, Error>(Some((task, stored.sequence, result)))
                })
                .buffered(READS_IN_FLIGHT);
            while let Some(read) = reading.next().await {
                match read? {
                    Some((task, sequence, Ok(result))) => self.take(task, result, Some(sequence)),
                    // It may be read later, and until then its task is neither failed nor to be done again.
                    Some((_, _, Err(error))) if error.is_transient() => return Err(error),
                    Some((task, sequence, Err(error))) => self.take_unreadable(task, Some(sequence), &error),
                    None => {}
                }
            }
        }
        if self.answer.is_none()
            && let Some(stored) = bus.last(Stream::Answers, &ns.answer(&self.plan.query_id)).await?
        {
            let answer = match bus.decode_stored(&stored).await {
                Err(error) if !error.is_transient() => {
                    unreadable_answer(&self.plan.query_id, &self.plan.query.query, &error)
                }
                read => read?,
            };
            self.answer = Some(answer);
            self.queue.push_back(Event::Answered);
        }
        Ok(())
    }

    /// After a takeover: what is in the queues already is not queued again, nor what failed and lies between two queues, as
    /// a dead letter that is to be tried again. Whatever comes back from there meanwhile is in a queue afterwards.
    async fn mark_pending(&mut self) -> Result<(), Error> {
        self.mark_queued().await?;
        let between = self.context.bus.unsettled_tasks(&self.plan.query_id).await?;
        self.queue.extend(between.into_iter().map(Event::Pending));
        self.mark_queued().await
    }

    async fn mark_queued(&mut self) -> Result<(), Error> {
        let bus = self.context.bus.clone();
        for (route, band) in self.routes.clone() {
            let filter = bus.namespace().tasks_of_query(&route, band, &self.plan.query_id);
            for subject in bus.subjects(Stream::Tasks, &filter).await? {
                if let Some(parsed) = bus.namespace().parse_task(&subject) {
                    self.queue.push_back(Event::Pending(parsed.task));
                }
            }
        }
        Ok(())
    }

    async fn check_cancelled(&mut self) -> Result<(), Error> {
        let table = self.context.bus.table::<PlanRecord>(axon_protocol::Bucket::Plans);
        let record = table
            .get(self.plan.query_id.as_str())
            .await?
            .and_then(|entry| entry.value);
        if record.is_some_and(|record| record.cancelled) {
            self.queue.push_back(Event::Cancelled);
        }
        Ok(())
    }

    async fn request_synthesis(&mut self) {
        let mut results = self.machine.results();
        for reference in &mut results {
            reference.payload = self.kept.remove(&reference.task_id);
        }
        let request = SynthesisRequest {
            plan: self.stored.clone(),
            results,
            missing: self.machine.missing(),
            stop_reason: self.machine.stop_reason(),
            format: self.format,
            retries: self.machine.retries(),
            second_executions: self.machine.second_executions(),
        };
        self.context
            .notice(
                &self.plan.query_id,
                EventKind::Synthesizing,
                None,
                "merging the results",
                Value::Null,
            )
            .await;
        let subject = self.context.bus.namespace().synthesis(&self.plan.query_id);
        let published = match Message::plain(subject, &request) {
            Ok(message) => self
                .context
                .bus
                .publish_until(message, Instant::now() + STEP)
                .await
                .map(|_| ()),
            Err(error) => Err(error),
        };
        match published {
            Ok(()) | Err(Error::AlreadyQueued { .. }) => {}
            // The machine falls back at the deadline.
            Err(error) => warn!(query = %self.plan.query_id, %error, "cannot ask for the synthesis"),
        }
    }

    async fn answer_itself(&mut self) {
        match self.write_fallback().await {
            Ok(()) => info!(query = %self.plan.query_id, "no synthesizer answered in time, the lead did"),
            Err(error) => warn!(query = %self.plan.query_id, %error, "cannot write the fallback answer yet"),
        }
        if let Err(error) = self.reconcile().await {
            warn!(query = %self.plan.query_id, %error, "cannot reconcile");
        }
    }

    async fn write_fallback(&self) -> Result<(), Error> {
        let bus = &self.context.bus;
        let ns = bus.namespace();
        let (mut results, mut unread) = (Vec::new(), Vec::new());
        let is_late = (Utc::now() - self.plan.deadline).num_milliseconds() > READ_AGAIN_UNTIL_MS;
        let tasks = self.machine.results().into_iter().map(|reference| reference.task_id);
        let mut reads = futures::stream::iter(tasks)
            .map(|task| async move { (self.result(&task).await, task) })
            .buffered(READS_IN_FLIGHT);
        while let Some((read, task)) = reads.next().await {
            let reason = match read {
                Ok(Some(result)) => {
                    results.push(result);
                    continue;
                }
                Ok(None) => "its result is no longer stored".to_owned(),
                // The machine asks again for the answer, which is better with it, but has to come.
                Err(error) if error.is_transient() && !is_late => return Err(error),
                Err(error) => format!("its result cannot be read: {error}"),
            };
            warn!(query = %self.plan.query_id, %task, reason, "a result is left out");
            unread.push((task, reason));
        }
        let known = fallback::Known {
            plan: &self.plan,
            results: &results,
            unread,
            missing: self.machine.missing(),
            stop_reason: self.machine.stop_reason(),
            retries: self.machine.retries(),
            second_executions: self.machine.second_executions(),
            note: "No synthesizer answered in time, so the findings are shown as the workers reported them.".to_owned(),
        };
        let answer = fallback::answer(known, Utc::now());
        let message = Message::new(ns.answer(&self.plan.query_id), self.format, &answer)?;
        bus.publish_fenced(message, Instant::now() + STEP).await.map(|_| ())
    }

    async fn result(&self, task: &TaskId) -> Result<Option<TaskResult>, Error> {
        let bus = &self.context.bus;
        let subject = bus.namespace().result(&self.plan.query_id, task);
        match bus.last(Stream::Results, &subject).await? {
            Some(stored) => bus.decode_stored(&stored).await.map(Some),
            None => Ok(None),
        }
    }
}

/// What the configuration lets a query do beyond its plan. A replay does what was done then.
fn policy(config: &Config, plan: &ExecutionPlan) -> Policy {
    Policy {
        dynamic_spawning: config.dynamic_spawning && plan.query.replay.is_none(),
        tasks_max: config.max_tasks_per_plan,
    }
}

/// How long a lease on a query may be held: its deadline, the grace of the fallback and some to spare.
pub(crate) fn lease_until(deadline: DateTime<Utc>, now: DateTime<Utc>) -> Instant {
    let left = (deadline - now).to_std().unwrap_or_default();
    Instant::now() + left + Duration::from_secs(60)
}

/// Stands for an answer that a foreign program wrote and nobody can read: it is the one answer all the same, and waiting
/// for another would be waiting for ever.
pub(crate) fn unreadable_answer(id: &QueryId, query: &str, error: &Error) -> Answer {
    warn!(query = %id, %error, "the answer in the stream cannot be read");
    let error = format!("The answer in the stream of answers cannot be read: {error}.");
    Answer::refused(id.clone(), query, error, Utc::now())
}

fn closed() -> Error {
    Error::Unreachable {
        url: "the connection".to_owned(),
        detail: "it was closed while a query was running".to_owned(),
    }
}
