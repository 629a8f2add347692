//! One query from its plan to its answer: the shell around the state machine. It performs what the machine decides and
//! tells it what happened; every decision is in `state.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Delivery, Error, Message, Subscription};
use axon_protocol::{
    Answer, Band, DecodeError, Event as Notice, EventKind, ExecutionPlan, Finding, Format, PlanRecord, QueryId, Route,
    Stored, Stream, SynthesisRequest, Task, TaskDelegation, TaskId, TaskResult, Upstream, header,
};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tracing::{debug, info, warn};

use crate::context::Context;
use crate::fallback;
use crate::planning::ranks;
use crate::state::{Accepted, Effect, Event, Execution};

/// Publishes of one query that are in flight at once.
const DISPATCH_IN_FLIGHT: usize = 256;
/// How long a single step may try before the machine is asked again.
const STEP: Duration = Duration::from_secs(10);
/// Findings of a dependency that a task is given.
const UPSTREAM_FINDINGS_MAX: usize = 50;

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
    answer: Option<Answer>,
}

impl Run {
    /// Subscribes before anything is queued, so that no accepted result is missed.
    pub(crate) async fn open(
        context: Arc<Context>,
        plan: Arc<ExecutionPlan>,
        stored: Stored<ExecutionPlan>,
        format: Format,
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
        Ok(Self {
            machine: Execution::new(&plan, &ranks(&plan), Utc::now()),
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
            answer: None,
        })
    }

    /// Works until the answer stands and gives it back. `resumed` when another lead, or this one in an earlier life,
    /// began it; `cancelled` when the plan's record says so.
    pub(crate) async fn run(mut self, resumed: bool, cancelled: bool) -> Result<Answer, Error> {
        if resumed {
            self.reconcile().await?;
            self.mark_pending().await?;
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
        let mut connection = self.context.bus.connection();
        loop {
            while let Some(event) = self.queue.pop_front() {
                for effect in self.machine.handle(event, Utc::now()) {
                    self.perform(effect).await?;
                }
            }
            if self.machine.is_finished()
                && let Some(answer) = self.answer.take()
            {
                return Ok(answer);
            }
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

    async fn perform(&mut self, effect: Effect) -> Result<(), Error> {
        debug!(query = %self.plan.query_id, ?effect, "performing");
        match effect {
            Effect::Dispatch(tasks) => self.dispatch(&tasks).await,
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
        let by_id: HashMap<&TaskId, &TaskDelegation> = self
            .plan
            .task_delegations
            .iter()
            .map(|task| (&task.task_id, task))
            .collect();
        let messages: Vec<(TaskId, Result<Message, Error>)> = ids
            .iter()
            .filter_map(|id| by_id.get(id))
            .map(|delegation| (delegation.task_id.clone(), self.message(delegation)))
            .collect();
        let bus = &self.context.bus;
        let outcomes: Vec<(TaskId, Result<(), Error>)> = futures::stream::iter(messages)
            .map(|(id, message)| async move {
                match message {
                    Ok(message) => (id, bus.publish(message).await.map(|_| ())),
                    Err(error) => (id, Err(error)),
                }
            })
            .buffer_unordered(DISPATCH_IN_FLIGHT)
            .collect()
            .await;
        for (task, outcome) in outcomes {
            match outcome {
                // Queued already, by this lead before a lost acknowledgement or by one before it.
                Ok(()) | Err(Error::AlreadyQueued { .. }) => {}
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

    fn message(&self, delegation: &TaskDelegation) -> Result<Message, Error> {
        let task = Task {
            query_id: self.plan.query_id.clone(),
            query: self.plan.query.query.clone(),
            delegation: delegation.clone(),
            workspace: self.plan.workspace.clone(),
            deadline: self.plan.tasks_deadline,
            attempt: 1,
            upstream: delegation
                .dependencies
                .iter()
                .filter_map(|id| self.upstream.get(id).cloned())
                .collect(),
        };
        let subject = self.context.bus.namespace().task(
            &delegation.route(),
            delegation.band(),
            &self.plan.query_id,
            delegation.task_id.as_str(),
        );
        Ok(Message::new(subject, Format::Msgpack, &task)?.with(header::TRY, "1"))
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
            for subject in subjects {
                let Some(task) = ns.last_token_task(&subject).filter(|task| open.contains(task)) else {
                    continue;
                };
                if let Some(stored) = bus.last(Stream::Results, &subject).await? {
                    match bus.decode_stored::<TaskResult>(&stored).await {
                        Ok(result) => self.take(task, result, Some(stored.sequence)),
                        Err(error) => self.take_unreadable(task, Some(stored.sequence), &error),
                    }
                }
            }
        }
        if self.answer.is_none()
            && let Some(stored) = bus.last(Stream::Answers, &ns.answer(&self.plan.query_id)).await?
        {
            let answer = match bus.decode_stored(&stored).await {
                Err(Error::Decode(error)) => unreadable_answer(&self.plan.query_id, &self.plan.query.query, &error),
                read => read?,
            };
            self.answer = Some(answer);
            self.queue.push_back(Event::Answered);
        }
        Ok(())
    }

    /// After a takeover: what is in the queues already is not queued again.
    async fn mark_pending(&mut self) -> Result<(), Error> {
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

    async fn hear_result(&mut self, message: &Delivery) {
        let Some(task) = self.context.bus.namespace().last_token_task(message.subject()) else {
            return;
        };
        let sequence = message.header("Nats-Sequence").and_then(|text| text.parse().ok());
        match message.decode::<TaskResult>().await {
            Ok(result) => self.take(task, result, sequence),
            Err(error) => self.take_unreadable(task, sequence, &error),
        }
        if self.context.config.enable_progress_tracking && self.plan.task_delegations.len() > 1 {
            let (ended, all) = self.machine.progress();
            debug!(query = %self.plan.query_id, ended, all, "a result was accepted");
        }
    }

    fn take(&mut self, task: TaskId, result: TaskResult, sequence: Option<u64>) {
        self.queue.push_back(Event::Accepted(Accepted {
            task: task.clone(),
            status: result.status,
            reason: result.reason,
            sequence,
            worker: result.worker,
            attempt: result.attempt,
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
    fn take_unreadable(&mut self, task: TaskId, sequence: Option<u64>, error: &Error) {
        warn!(query = %self.plan.query_id, %task, %error, "an accepted result cannot be read");
        self.queue.push_back(Event::Accepted(Accepted {
            task,
            status: axon_protocol::TaskStatus::Failed,
            reason: Some(format!("its result cannot be read: {error}")),
            sequence,
            worker: None,
            attempt: 1,
        }));
    }

    async fn hear_answer(&mut self, message: &Delivery) {
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

    async fn request_synthesis(&mut self) {
        let request = SynthesisRequest {
            plan: self.stored.clone(),
            results: self.machine.results(),
            missing: self.machine.missing(),
            stop_reason: self.machine.stop_reason(),
            format: self.format,
            retries: self.machine.retries(),
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
        let published = match Message::new(subject, Format::Msgpack, &request) {
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
        let mut results = Vec::new();
        for reference in self.machine.results() {
            let subject = ns.result(&self.plan.query_id, &reference.task_id);
            if let Some(stored) = bus.last(Stream::Results, &subject).await?
                && let Ok(result) = bus.decode_stored::<TaskResult>(&stored).await
            {
                results.push(result);
            }
        }
        let known = fallback::Known {
            plan: &self.plan,
            results: &results,
            missing: self.machine.missing(),
            stop_reason: self.machine.stop_reason(),
            retries: self.machine.retries(),
            note: "No synthesizer answered in time, so the findings are shown as the workers reported them.".to_owned(),
        };
        let answer = fallback::answer(known, Utc::now());
        let message = Message::new(ns.answer(&self.plan.query_id), self.format, &answer)?;
        bus.publish_fenced(message, Instant::now() + STEP).await.map(|_| ())
    }
}

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
        let event = Notice {
            query_id: query.clone(),
            kind,
            at: Utc::now(),
            task_id: task,
            by: self.id.to_string(),
            message: message.into(),
            data,
        };
        let sent = match Message::new(self.bus.namespace().event(query, kind), Format::Msgpack, &event) {
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

/// How long a lease on a query may be held: its deadline, the grace of the fallback and some to spare.
pub(crate) fn lease_until(deadline: DateTime<Utc>, now: DateTime<Utc>) -> Instant {
    let left = (deadline - now).to_std().unwrap_or_default();
    Instant::now() + left + Duration::from_secs(60)
}

/// Stands for an answer that a foreign program wrote and nobody can read: it is the one answer all the same, and waiting
/// for another would be waiting for ever.
pub(crate) fn unreadable_answer(id: &QueryId, query: &str, error: &DecodeError) -> Answer {
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
