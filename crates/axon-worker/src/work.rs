//! What is done for a task: its explicit tool calls, or an investigation of its workspace. It stays within the delegation,
//! and reports facts; it neither publishes results nor decides what becomes of the task.

use axon_bus::{Bus, Error as BusError, Objects};
use axon_memory::{SharedFacts, WorkingMemory};
use axon_protocol::{Event, EventKind, Fact, Finding, ObjectBucket, RunStatistics, Task, TaskStatus, ToolCall, Usage};
use axon_tools::{
    CacheConfig, CacheError, CallContext, CallOutcome, CallStatus, ErrorKind, Executor, Graph, Run, ToolEvent,
    Workspace, WorkspaceCache, json_bytes,
};
use chrono::Utc;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;

use crate::agent::Agent;
use crate::analyst::{self, Investigation, Progress};
use crate::memory::Remembering;
use crate::task::{Context, Job, announce};
use crate::verdict::{Facts, Failure, Stop};

/// Most bytes of JSON that the outputs of explicit calls may take in a result.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Events of one task that may wait to be published; further ones are left out.
const EVENTS_WAITING_MAX: usize = 1024;
/// Facts of one task that may wait to be told to others; further ones are left out.
const FACTS_WAITING_MAX: usize = 64;

/// Time kept for writing findings down before an execution has to end: a tenth of it, at most this.
const CONCLUDE_MARGIN: Duration = Duration::from_secs(1);
/// How long an investigation that was told to stop may take to report what it has.
const STOP_GRACE: Duration = Duration::from_millis(600);

const NOTHING_TO_DO: &str = "the task has neither tool calls nor a workspace: ask with `--workspace`, or bring calls";

/// What came out of an execution.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) facts: Facts,
    pub(crate) findings: Vec<Finding>,
    pub(crate) notes: Vec<String>,
    pub(crate) output: Value,
    pub(crate) usage: Usage,
    pub(crate) run: RunStatistics,
}

impl Report {
    fn failed(failure: Failure) -> Self {
        Self {
            facts: Facts {
                failures: vec![failure],
                ..Facts::default()
            },
            ..Self::default()
        }
    }
}

/// The tools of a worker, the workspaces it has unpacked, and what it knows together with others.
pub(crate) struct Workshop {
    executor: Executor,
    /// What calls returned, and what the workers of a query found; absent where nothing is remembered.
    memory: Option<(WorkingMemory, SharedFacts)>,
    /// Investigates with a model; absent where the analyst does.
    agent: Option<Agent>,
    cache: CacheConfig,
    workspaces: OnceCell<WorkspaceCache>,
    archives: Objects,
}

impl Workshop {
    /// With the tools of the executor, and the working memory of the fleet where there is one.
    pub(crate) fn new(
        executor: Executor,
        memory: Option<WorkingMemory>,
        agent: Option<Agent>,
        cache: CacheConfig,
        bus: &Bus,
    ) -> Self {
        Self {
            executor: match &memory {
                Some(memory) => executor.remembering(Arc::new(Remembering::new(memory.clone()))),
                None => executor,
            },
            memory: memory.map(|memory| (memory, SharedFacts::new(bus))),
            agent,
            cache,
            workspaces: OnceCell::new(),
            archives: bus.objects(ObjectBucket::Workspaces),
        }
    }

    /// Lets go of the workspaces that no task uses, which stay on disk, and of what is remembered here; the fleet still
    /// remembers it.
    pub(crate) fn release_idle(&self) {
        if let Some((memory, _)) = &self.memory {
            memory.release();
        }
        if let Some(workspaces) = self.workspaces.get() {
            workspaces.release_idle();
        }
    }

    /// Does what is delegated until it is done, `stop_at` comes, or the task is stopped.
    pub(crate) async fn execute(&self, context: &Context, job: &Job, task: &Task, stop_at: Instant) -> Report {
        let call_context = CallContext {
            workspace: None,
            scope: task.delegation.boundaries.scope.clone().into(),
            cancel: job.stopper.token().clone(),
            deadline: Some(stop_at),
            attempt: job.attempt,
        };
        let mut report = match (task.workspace.is_some(), task.delegation.calls.is_empty()) {
            (false, true) => return Report::failed(Failure::permanent(NOTHING_TO_DO)),
            (false, false) => self.call(task, &call_context, |_| {}).await,
            (true, _) => Box::pin(self.look_into(context, job, task, call_context, stop_at)).await,
        };
        report.facts.stop = job
            .stopper
            .stopped()
            .or((Instant::now() >= stop_at).then_some(Stop::OutOfTime));
        if report.facts.missing.is_empty() && report.facts.failures.is_empty() {
            // What was finished in the very moment of the stop is complete all the same.
            report.facts.stop = None;
        }
        report
    }

    /// Opens the workspace and does there what is delegated.
    async fn look_into(
        &self,
        context: &Context,
        job: &Job,
        task: &Task,
        call_context: CallContext,
        stop_at: Instant,
    ) -> Report {
        let opened = tokio::select! {
            opened = self.open(task) => opened,
            () = tokio::time::sleep_until(stop_at) => return stopped_early(),
            () = job.stopper.token().cancelled() => return stopped_early(),
        };
        let workspace = match opened {
            Ok(Some(workspace)) => workspace,
            Ok(None) => return Report::failed(Failure::permanent(NOTHING_TO_DO)),
            Err(failure) => return Report::failed(failure),
        };
        let call_context = CallContext {
            workspace: Some(workspace.clone()),
            ..call_context
        };
        if task.delegation.calls.is_empty() {
            return self
                .investigate(context, job, task, workspace, call_context, stop_at)
                .await;
        }
        let (events, waiting) = mpsc::channel(EVENTS_WAITING_MAX);
        let on_event = |event: ToolEvent<'_>| {
            if let ToolEvent::Ended { outcome } = event {
                // Events inform: when too many wait, the latest are left out.
                let _ = events.try_send(progress_event(context, task, Progress::ended(outcome)));
            }
        };
        announcing(context, self.call(task, &call_context, on_event), waiting).await
    }

    async fn open(&self, task: &Task) -> Result<Option<Arc<Workspace>>, Failure> {
        let Some(digest) = &task.workspace else { return Ok(None) };
        let workspaces = self
            .workspaces
            .get_or_try_init(|| async { WorkspaceCache::configured(&self.cache) })
            .await
            .map_err(|error| workspace_failure(&error))?;
        let fetch = async { self.archives.get(digest).await };
        workspaces
            .open(digest, fetch)
            .await
            .map(Some)
            .map_err(|error| workspace_failure(&error))
    }

    /// Investigates the workspace. What was found until then is reported when the investigation does not end in time.
    async fn investigate(
        &self,
        context: &Context,
        job: &Job,
        task: &Task,
        workspace: Arc<Workspace>,
        mut call_context: CallContext,
        stop_at: Instant,
    ) -> Report {
        // Calls end a little earlier, so that there is time to write down what they brought.
        let left = stop_at.saturating_duration_since(Instant::now());
        call_context.deadline = Some(stop_at - CONCLUDE_MARGIN.min(left / 10));
        let (events, waiting) = mpsc::channel(EVENTS_WAITING_MAX);
        let (facts, told) = mpsc::channel(FACTS_WAITING_MAX);
        let mut found = Vec::new();
        let finds = &mut found;
        let investigating = async move {
            // The channel of facts ends with this block, and so does telling them.
            let mut sink = |progress: Progress| {
                if let Progress::Found(finding) = &progress {
                    finds.push((**finding).clone());
                    let _ = facts.try_send(Fact::from(finding.as_ref()));
                }
                // Events inform: when too many wait, the latest are left out.
                let _ = events.try_send(progress_event(context, task, progress));
            };
            tokio::select! {
                investigation = self.look(task, workspace, &call_context, &mut sink) => Some(investigation),
                () = tokio::time::sleep_until(stop_at) => None,
                () = stopped_for_long(job) => None,
            }
        };
        let announced = announcing(context, investigating, waiting);
        match tokio::join!(announced, self.tell(task, told)).0 {
            Some(investigation) => report_investigation(investigation),
            None => Report {
                facts: Facts {
                    finished: found.len(),
                    missing: vec!["the rest of the investigation".to_owned()],
                    ..Facts::default()
                },
                findings: found,
                ..Report::default()
            },
        }
    }

    /// Tells the other workers of the query what is found, as it is found.
    async fn tell(&self, task: &Task, mut found: mpsc::Receiver<Fact>) {
        let mut facts = Vec::new();
        while found.recv_many(&mut facts, FACTS_WAITING_MAX).await > 0 {
            let facts = std::mem::take(&mut facts);
            if let Some((_, shared)) = &self.memory {
                shared.tell(&task.query_id, facts).await;
            }
        }
    }

    /// With a model where there is one, as an analyst otherwise.
    async fn look(
        &self,
        task: &Task,
        workspace: Arc<Workspace>,
        context: &CallContext,
        sink: &mut (dyn FnMut(Progress) + Send),
    ) -> Investigation {
        match &self.agent {
            Some(agent) => {
                let facts = self.memory.as_ref().map(|(_, facts)| facts);
                Box::pin(agent.investigate(task, workspace, &self.executor, context, facts, sink)).await
            }
            None => analyst::investigate(task, workspace, &self.executor, context, sink).await,
        }
    }

    /// Runs the explicit calls of a task.
    async fn call(
        &self,
        task: &Task,
        call_context: &CallContext,
        on_event: impl Fn(ToolEvent<'_>) + Send + Sync,
    ) -> Report {
        let delegation = &task.delegation;
        let run = self
            .executor
            .run(
                delegation.calls.clone(),
                call_context,
                &delegation.allowed_tools,
                delegation.boundaries.max_tool_calls,
                on_event,
            )
            .await;
        match run {
            Ok(run) => report_calls(&delegation.calls, run),
            Err(refusal) => Report::failed(Failure::permanent(refusal.to_string())),
        }
    }
}

/// Comes a moment after the task was told to stop, in which it may report what it has.
async fn stopped_for_long(job: &Job) {
    job.stopper.token().cancelled().await;
    tokio::time::sleep(STOP_GRACE).await;
}

/// Drives `work` while publishing the events it sends.
async fn announcing<T>(context: &Context, work: impl Future<Output = T>, mut waiting: mpsc::Receiver<Event>) -> T {
    tokio::pin!(work);
    let output = loop {
        tokio::select! {
            biased;
            Some(event) = waiting.recv() => announce(&context.bus, &event).await,
            output = &mut work => break output,
        }
    };
    while let Ok(event) = waiting.try_recv() {
        announce(&context.bus, &event).await;
    }
    output
}

fn progress_event(context: &Context, task: &Task, progress: Progress) -> Event {
    let (kind, message, data) = match progress {
        Progress::Round { round, calls } => (
            EventKind::Progress,
            format!("round {round}: {calls} tool calls"),
            json!({ "round": round, "calls": calls }),
        ),
        Progress::ToolEnded {
            tool_id,
            tool,
            status,
            duration_ms,
            remembered_ms,
        } => {
            let mut data = json!({ "call": tool_id, "tool": tool, "status": status, "duration_ms": duration_ms });
            let mut message = format!("{tool} {status}");
            if let Some(made_ms) = remembered_ms {
                message.push_str(" from memory");
                data["remembered_ms"] = json!(made_ms);
            }
            (EventKind::ToolCall, message, data)
        }
        Progress::Found(finding) => (
            EventKind::Finding,
            finding.claim.clone(),
            serde_json::to_value(&finding).unwrap_or_default(),
        ),
    };
    Event {
        query_id: task.query_id.clone(),
        kind,
        at: Utc::now(),
        task_id: Some(task.delegation.task_id.clone()),
        by: context.id.to_string(),
        message,
        data,
    }
}

/// What an investigation came to.
fn report_investigation(investigation: Investigation) -> Report {
    let Investigation {
        findings,
        notes,
        usage,
        run,
        status,
        reason,
    } = investigation;
    let reason = || Failure::permanent(reason.unwrap_or_else(|| "the investigation did not say why".to_owned()));
    let (finished, failures) = match status {
        TaskStatus::Complete => (1, Vec::new()),
        TaskStatus::Partial => (1, vec![reason()]),
        TaskStatus::Failed => (0, vec![reason()]),
    };
    Report {
        facts: Facts {
            finished,
            failures,
            paid: usage.tokens > 0,
            ..Facts::default()
        },
        findings,
        notes,
        output: Value::Null,
        usage,
        run,
    }
}

/// What there is to report of a task that was stopped while its workspace was being opened.
fn stopped_early() -> Report {
    let mut report = Report::default();
    report
        .facts
        .missing
        .push("everything, the workspace was still being opened".to_owned());
    report
}

fn workspace_failure(error: &CacheError) -> Failure {
    let message = error.to_string();
    match error {
        CacheError::Fetch { source, .. } => match source.downcast_ref::<BusError>() {
            Some(BusError::NoObject { .. } | BusError::Damaged { .. }) => Failure::permanent(message),
            _ => Failure::transient(message),
        },
        CacheError::Digest { .. } | CacheError::Unpack { .. } => Failure::permanent(message),
        // Another worker's disk may be better.
        CacheError::Directory { .. } | CacheError::Contended(_) => Failure::transient(message),
    }
}

/// What explicit calls came to.
fn report_calls(calls: &[ToolCall], run: Run) -> Report {
    let mut report = Report {
        usage: Usage {
            tool_calls: run.calls_made() as u64,
            ..Usage::default()
        },
        run: run.statistics,
        ..Report::default()
    };
    let last = last_calls(calls);
    let mut output = Map::new();
    let mut bytes = 0;
    for (index, outcome) in run.results.into_iter().enumerate() {
        let CallOutcome { tool_id, status, .. } = outcome;
        match status {
            CallStatus::Done(value) => {
                report.facts.finished += 1;
                if !last.as_ref().is_none_or(|last| last[index]) {
                    continue;
                }
                let size = json_bytes(&*value);
                if bytes + size > OUTPUT_BYTES_MAX {
                    let note = format!("the output of `{tool_id}` ({size} bytes) is left out: the result has no room");
                    report.notes.push(note);
                } else {
                    bytes += size;
                    output.insert(tool_id, Arc::unwrap_or_clone(value));
                }
            }
            CallStatus::Failed(error) => report.facts.failures.push(Failure {
                may_pass: matches!(
                    error.kind,
                    ErrorKind::Transient | ErrorKind::TimedOut | ErrorKind::Cancelled
                ),
                timed_out: error.kind == ErrorKind::TimedOut,
                message: format!("`{tool_id}` failed: {error}"),
            }),
            CallStatus::Skipped(reason) => report.facts.missing.push(format!("`{tool_id}` ({reason})")),
            CallStatus::Cancelled => report.facts.missing.push(format!("`{tool_id}`")),
        }
    }
    report.output = Value::Object(output);
    report
}

/// For each call whether no other call needs it; `None` if that holds for all.
fn last_calls(calls: &[ToolCall]) -> Option<Vec<bool>> {
    if calls.len() < 2 {
        return None;
    }
    let graph = Graph::new(calls.to_vec()).ok()?;
    Some(
        (0..calls.len())
            .map(|index| graph.dependents(index).is_empty())
            .collect(),
    )
}
