//! Runs the tool calls of a task as a graph: every call starts as soon as its inputs are there and a slot is free, the one
//! with the longest path behind it first. It never waits for a whole stage, and never starts a call that is not allowed.

mod durations;
mod memory;
mod schedule;
mod slot;
mod statistics;

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axon_protocol::{RunStatistics, ToolCall};
use axon_service::metrics::TOOL_DURATION_SECONDS;
use axon_service::{RetryPolicy, retry_delay};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::PROCESS_TOOLS_MAX;
use crate::{
    CallContext, Config, ErrorKind, Graph, GraphError, OUTPUT_BYTES_MAX, Tool, ToolError, Toolbox, allowed, json_bytes,
    mcp,
};
use durations::Durations;
use memory::key_of;
pub use memory::{Answer, MemorableCall, Memory};
use schedule::{End, Schedule};
use slot::Slot;

/// Longest delay between two tries of a call.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Runs graphs of tool calls. Clones share their slots and what they learnt about durations; a process has one.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
    /// What is asked before a deterministic call is made.
    memory: Option<Arc<dyn Memory>>,
}

struct Inner {
    config: Config,
    toolbox: Arc<Toolbox>,
    /// Slots of the whole process, over all runs.
    slots: Arc<Semaphore>,
    durations: Mutex<Durations>,
}

/// Why a graph is refused before anything of it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The calls are no graph that can run.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tool that does not exist here.
    #[error("the call `{call}` names the tool `{tool}`, which this worker does not have{hint}; it has: {known}")]
    UnknownTool {
        /// The call.
        call: String,
        /// The tool.
        tool: String,
        /// What would have to be configured, where that is known.
        hint: String,
        /// The tools there are.
        known: String,
    },
    /// A tool that the task may not use.
    #[error("the call `{call}` uses the tool `{tool}`, which the task may not; it may use: {allowed}")]
    NotAllowed {
        /// The call.
        call: String,
        /// The tool.
        tool: String,
        /// The patterns that are allowed.
        allowed: String,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum CallStatus {
    /// It returned this, which memory may share.
    Done(Arc<Value>),
    /// It failed for this reason, after all its tries.
    Failed(ToolError),
    /// It was never started, for this reason.
    Skipped(String),
    /// The run was cancelled before it ended.
    Cancelled,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallOutcome {
    /// The call.
    pub tool_id: String,
    /// Its tool.
    pub tool: String,
    /// How it ended.
    pub status: CallStatus,
    /// When it started, counted from the start of the run; zero if it never did.
    pub started: Duration,
    /// How long it took, all tries, the delays between them and what it waited for others included.
    pub duration: Duration,
    /// How many times it was tried; 1 where it was remembered.
    pub attempts: u32,
    /// How long making it took once, where it was answered from memory.
    pub remembered: Option<Duration>,
}

impl CallOutcome {
    /// What the call returned.
    pub fn value(&self) -> Option<&Value> {
        match &self.status {
            CallStatus::Done(value) => Some(value.as_ref()),
            _ => None,
        }
    }
}

/// What became of all calls of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// One outcome for each call, in the order of the calls.
    pub results: Vec<CallOutcome>,
    /// Figures of the run.
    pub statistics: RunStatistics,
}

impl Run {
    /// What the call with that id returned.
    pub fn value(&self, tool_id: &str) -> Option<&Value> {
        self.results.iter().find(|outcome| outcome.tool_id == tool_id)?.value()
    }

    /// Calls that were started.
    pub fn calls_made(&self) -> usize {
        self.results.iter().filter(|outcome| outcome.attempts > 0).count()
    }

    /// Whether every call returned something.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|outcome| outcome.value().is_some())
    }
}

/// What happens during a run.
#[derive(Debug, Clone, Copy)]
pub enum ToolEvent<'a> {
    /// A call starts.
    Started {
        /// The call.
        call: &'a ToolCall,
    },
    /// A try failed and another follows.
    Retrying {
        /// The call.
        call: &'a ToolCall,
        /// The try that failed, counted from 1.
        attempt: u32,
        /// Why it failed.
        error: &'a ToolError,
    },
    /// A call ended, or never will be started.
    Ended {
        /// What became of it.
        outcome: &'a CallOutcome,
    },
}

impl Executor {
    /// An executor over these tools.
    pub fn new(config: Config, toolbox: Arc<Toolbox>) -> Self {
        let slots = Arc::new(Semaphore::new(PROCESS_TOOLS_MAX));
        Self {
            inner: Arc::new(Inner {
                config,
                toolbox,
                slots,
                durations: Mutex::default(),
            }),
            memory: None,
        }
    }

    /// The same executor, asking this memory before it makes a call whose result depends on nothing else.
    pub fn remembering(mut self, memory: Arc<dyn Memory>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The tools.
    pub fn toolbox(&self) -> &Arc<Toolbox> {
        &self.inner.toolbox
    }

    /// Checks calls without running them: the graph, and that each tool is there and allowed.
    pub fn check(&self, calls: Vec<ToolCall>, allowed_tools: &[String]) -> Result<Graph, Refusal> {
        let graph = Graph::new(calls)?;
        for call in graph.calls() {
            if !allowed(&call.tool_name, allowed_tools) {
                return Err(Refusal::NotAllowed {
                    call: call.tool_id.clone(),
                    tool: call.tool_name.clone(),
                    allowed: if allowed_tools.is_empty() {
                        "none".to_owned()
                    } else {
                        allowed_tools.join(", ")
                    },
                });
            }
            if self.inner.toolbox.get(&call.tool_name).is_none() {
                return Err(Refusal::UnknownTool {
                    call: call.tool_id.clone(),
                    tool: call.tool_name.clone(),
                    hint: hint(&call.tool_name),
                    known: self.inner.toolbox.names().collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(graph)
    }

    /// Runs the calls, or refuses them all. A failed call skips those that need it, and the rest goes on. Cancellation
    /// and the deadline of the context stop the run and keep what is finished. At most `max_tool_calls` calls are
    /// started; further tries of a call count as one.
    pub async fn run(
        &self,
        calls: Vec<ToolCall>,
        context: &CallContext,
        allowed_tools: &[String],
        max_tool_calls: usize,
        on_event: impl Fn(ToolEvent<'_>) + Send + Sync,
    ) -> Result<Run, Refusal> {
        let graph = self.check(calls, allowed_tools)?;
        let origin = Instant::now();
        let mut schedule = Schedule::new(&graph, &self.estimates(&graph));
        let mut running = FuturesUnordered::new();
        let mut waiting: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>> = None;
        let mut granted = None;
        loop {
            if context.cancel.is_cancelled() {
                // One last look, so that nothing that is finished gets lost.
                while let Some(Some(tried)) = running.next().now_or_never() {
                    self.settle(&mut schedule, tried, context);
                }
                schedule.cancel_rest(origin.elapsed());
                schedule.report(&on_event);
                break;
            }
            if schedule.started() >= max_tool_calls {
                schedule.skip_waiting(&format!("the limit of {max_tool_calls} tool calls was reached"));
            } else if context.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                schedule.skip_waiting("the deadline of the task has passed");
            }
            schedule.report(&on_event);

            if !schedule.has_ready() || running.len() >= self.inner.config.max_concurrent_tools {
                // A slot that is granted to a request nobody polls would be lost to other runs.
                (waiting, granted) = (None, None);
                if running.is_empty() {
                    break;
                }
            } else if let Some(slot) = granted.take().or_else(|| self.free_slot(&waiting)) {
                if let Some((index, params)) = schedule.start_next(origin.elapsed()) {
                    on_event(ToolEvent::Started {
                        call: &graph.calls()[index],
                    });
                    running.push(self.execute(&graph, index, params, context, slot, &on_event));
                }
                continue;
            } else if waiting.is_none() {
                waiting = Some(self.inner.slots.clone().acquire_owned().boxed());
            }

            let slot = async {
                match waiting.as_mut() {
                    Some(slot) => slot.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(tried) = running.next(), if !running.is_empty() => self.settle(&mut schedule, tried, context),
                slot = slot => {
                    granted = slot.ok();
                    waiting = None;
                }
                () = context.cancel.cancelled() => {}
            }
        }
        let results = schedule.into_outcomes();
        let statistics = statistics::of(&graph, &results, self.inner.config.max_concurrent_tools);
        Ok(Run { results, statistics })
    }

    /// A slot that is free at once. Who already waits in the queue for one must not overtake it.
    fn free_slot<T>(&self, waiting: &Option<T>) -> Option<OwnedSemaphorePermit> {
        if waiting.is_some() {
            None
        } else {
            self.inner.slots.clone().try_acquire_owned().ok()
        }
    }

    /// The durations to expect, in milliseconds.
    fn estimates(&self, graph: &Graph) -> Vec<f64> {
        if graph.calls().len() < 2 {
            // Nothing to order: spare the lock.
            return vec![0.0; graph.calls().len()];
        }
        let durations = self.inner.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let estimate = |call: &ToolCall| {
            let tool = self.inner.toolbox.get(&call.tool_name);
            tool.map_or(0.0, |tool| {
                expected_ms(tool.as_ref(), &call.params, |tool| durations.of_tool(tool.name()))
            })
        };
        graph.calls().iter().map(estimate).collect()
    }

    /// The call as memory knows it, where its result depends on nothing else. What it is expected to take is learnt from
    /// this workspace alone: another one says nothing of whether it is worth asking others.
    fn memorable(&self, tool: &dyn Tool, params: &Value, context: &CallContext) -> Option<MemorableCall> {
        let workspace = context.workspace.as_ref()?.digest();
        let key = key_of(tool, params, context)?;
        let durations = self.inner.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let expected_ms = expected_ms(tool, params, |tool| durations.of_workspace(tool.name(), workspace));
        Some(MemorableCall {
            key,
            expected: Duration::from_secs_f64(expected_ms / 1000.0),
            deadline: context.deadline,
        })
    }

    /// Has one call answered, from memory or by making it. It holds its slot unless it waits for others.
    async fn execute(
        &self,
        graph: &Graph,
        index: usize,
        params: Result<Value, ToolError>,
        context: &CallContext,
        slot: OwnedSemaphorePermit,
        on_event: &(impl Fn(ToolEvent<'_>) + Send + Sync),
    ) -> Tried {
        let call = &graph.calls()[index];
        let started = Instant::now();
        let (attempts, made) = (AtomicU32::new(0), OnceLock::new());
        let slot = Slot::new(self.inner.slots.clone(), slot);
        let tool = self.inner.toolbox.get(&call.tool_name);
        let answer = match (params, &tool) {
            (Err(error), _) => Answer::made(Err(error)),
            (Ok(_), None) => Answer::made(Err(ToolError::permanent(format!(
                "there is no tool `{}`",
                call.tool_name
            )))),
            (Ok(params), Some(tool)) => {
                let memory = self.memory.as_ref();
                let memorable =
                    memory.and_then(|memory| Some((memory, self.memorable(tool.as_ref(), &params, context)?)));
                let make = async {
                    slot.hold().await;
                    let begun = Instant::now();
                    let result = self
                        .make(call, tool.as_ref(), params, context, &attempts, on_event)
                        .await;
                    let _ = made.set(begun.elapsed());
                    result
                };
                match memorable {
                    Some((memory, call)) => memory.answer(&call, &|| slot.give_back(), make.boxed()).await,
                    None => Answer::made(make.await),
                }
            }
        };
        slot.give_back();
        let made = made.into_inner();
        if let (Some(tool), Some(made)) = (tool, made) {
            metrics::histogram!(TOOL_DURATION_SECONDS, "tool" => tool.label().to_owned()).record(made.as_secs_f64());
        }
        Tried {
            index,
            attempts: match answer.remembered {
                Some(_) => 1,
                None => attempts.into_inner(),
            },
            duration: started.elapsed(),
            made,
            answer,
        }
    }

    /// Makes one call, with all its tries and the delays between them.
    async fn make(
        &self,
        call: &ToolCall,
        tool: &dyn Tool,
        params: Value,
        context: &CallContext,
        attempts: &AtomicU32,
        on_event: &(impl Fn(ToolEvent<'_>) + Send + Sync),
    ) -> Result<Value, ToolError> {
        let policy = RetryPolicy {
            initial: Duration::from_millis(self.inner.config.retry_delay_ms),
            factor: 2.0,
            delay_max: RETRY_DELAY_MAX,
            jitter: 0.0,
        };
        loop {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let retries_left = self.inner.config.transient_retries.saturating_sub(attempt - 1);
            match self.try_once(tool, params.clone(), context).await {
                Err(error) if error.kind == ErrorKind::Transient && retries_left > 0 => {
                    let delay = retry_delay(policy, attempt);
                    if context
                        .deadline
                        .is_some_and(|deadline| Instant::now() + delay >= deadline)
                    {
                        return Err(error);
                    }
                    on_event(ToolEvent::Retrying {
                        call,
                        attempt,
                        error: &error,
                    });
                    sleep(delay).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_once(&self, tool: &dyn Tool, params: Value, context: &CallContext) -> Result<Value, ToolError> {
        let context = CallContext {
            cancel: context.cancel.child_token(),
            ..context.clone()
        };
        // Work that was started elsewhere stops when this try is over, however it ends.
        let _stop = context.cancel.clone().drop_guard();
        let timeout = Instant::now() + self.inner.config.tool_timeout();
        let until = context.deadline.map_or(timeout, |deadline| deadline.min(timeout));
        match timeout_at(until, AssertUnwindSafe(tool.call(&context, params)).catch_unwind()).await {
            Ok(Ok(Ok(value))) if json_bytes(&value) > OUTPUT_BYTES_MAX => Err(ToolError::permanent(format!(
                "the output of `{}` is larger than {OUTPUT_BYTES_MAX} bytes: ask it for less",
                tool.name()
            ))),
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(ToolError::permanent(format!(
                "the tool `{}` panicked, which is a defect of it: {}",
                tool.name(),
                panic_message(panic.as_ref())
            ))),
            Err(_) if until < timeout => Err(ToolError::timed_out(format!(
                "the tool `{}` had not ended when the deadline of the task passed",
                tool.name()
            ))),
            Err(_) => Err(ToolError::timed_out(format!(
                "the tool `{}` took longer than {} ms (tools.tool_timeout_ms)",
                tool.name(),
                self.inner.config.tool_timeout_ms
            ))),
        }
    }

    fn settle(&self, schedule: &mut Schedule<'_>, tried: Tried, context: &CallContext) {
        let Tried {
            index,
            attempts,
            duration,
            made,
            answer: Answer { result, remembered },
        } = tried;
        let status = match result {
            Ok(value) => {
                if let Some(made) = made {
                    self.learn(&schedule.call(index).tool_name, context, made);
                }
                CallStatus::Done(value)
            }
            Err(error) if error.kind == ErrorKind::Cancelled && context.cancel.is_cancelled() => CallStatus::Cancelled,
            Err(error) => CallStatus::Failed(error),
        };
        let end = End {
            status,
            attempts,
            duration,
            remembered,
        };
        schedule.finish(index, end);
    }

    /// Takes in how long making a call took, without what it waited for others.
    fn learn(&self, tool: &str, context: &CallContext, made: Duration) {
        let workspace = context.workspace.as_ref().map(|workspace| workspace.digest());
        let mut durations = self.inner.durations.lock().unwrap_or_else(PoisonError::into_inner);
        durations.learn(tool, workspace, milliseconds(made));
    }
}

/// How long making a call is expected to take, in milliseconds: what its tool says, else what was learnt, else what is typical.
fn expected_ms(tool: &dyn Tool, params: &Value, learnt: impl FnOnce(&dyn Tool) -> Option<f64>) -> f64 {
    tool.estimate(params)
        .map(milliseconds)
        .or_else(|| learnt(tool))
        .unwrap_or_else(|| milliseconds(tool.cost().typical()))
}

/// What came out of one call.
struct Tried {
    index: usize,
    attempts: u32,
    duration: Duration,
    /// What making it took, where it was made here.
    made: Option<Duration>,
    answer: Answer,
}

/// What to configure, to have a tool that is missing.
fn hint(tool: &str) -> String {
    let server = tool.strip_prefix(mcp::PREFIX).and_then(|rest| rest.split('.').next());
    match server {
        Some(server) => format!(": no MCP server `{server}` is configured in its section tools.mcp"),
        None => String::new(),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
#[path = "executor/memory_tests.rs"]
mod memory_tests;
#[cfg(test)]
#[path = "executor/tests.rs"]
mod tests;
