//! An MCP server as the tasks of a process share it: opened when it is first needed, kept, opened again after it was
//! lost, with a growing delay. It never decides what a task may call; it holds back what may change things.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axon_service::{RetryPolicy, retry_delay};
use rmcp::model::CallToolResponse;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::McpConfig;
use super::content::output_of;
use super::failure::{self, Failure};
use super::session::Session;
use crate::{CallContext, ToolError, allowed};

/// What the names of all tools of MCP servers begin with.
pub const PREFIX: &str = "mcp.";
/// How long a server is kept that nobody calls.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How often it is looked whether anybody does.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// One server.
pub(super) struct Server {
    name: String,
    config: McpConfig,
    supervisor: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Starts and sessions that failed since a call was last answered.
    failures: u32,
    /// No start before this.
    not_before: Option<Instant>,
}

impl Server {
    /// Nothing is started. `supervisor` is this process's own program if absent.
    pub(super) fn new(name: &str, config: McpConfig, supervisor: Option<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            config,
            supervisor,
            state: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a tool may be called: its server says that it changes nothing, or the configuration allows it.
    pub(super) fn permits(&self, tool: &str, read_only: bool) -> bool {
        read_only || allowed(tool, &self.config.allow)
    }

    /// The open session; opened, after a delay where it failed before, if there is none.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Arc<Session>, ToolError> {
        if let Some(session) = self.state.lock().await.open_session() {
            return Ok(session);
        }
        // Whoever waits for it may give up: the start goes on for the next one.
        let server = self.clone();
        tokio::spawn(async move { server.open().await })
            .await
            .unwrap_or_else(|_| Err(ToolError::permanent("opening an MCP server panicked: this is a defect")))
    }

    async fn open(self: &Arc<Self>) -> Result<Arc<Session>, ToolError> {
        let mut state = self.state.lock().await;
        if let Some(session) = state.open_session() {
            return Ok(session);
        }
        if let Some(not_before) = state.not_before {
            sleep_until(not_before).await;
        }
        let started = Instant::now();
        let opening = async {
            let supervisor = match &self.supervisor {
                Some(program) => program.clone(),
                None => std::env::current_exe().map_err(|error| format!("cannot find the own program: {error}"))?,
            };
            Session::open(&self.config, &supervisor).await
        };
        let opened = timeout(self.config.start_timeout(), opening).await.unwrap_or_else(|_| {
            let Self { name, config, .. } = self.as_ref();
            Err(format!(
                "it was not ready within {} ms (tools.mcp.{name}.start_timeout_ms)",
                config.start_timeout_ms
            ))
        });
        match opened {
            Ok(session) => {
                info!(
                    server = self.name,
                    tools = session.tools().len(),
                    duration_ms = started.elapsed().as_millis() as u64,
                    "opened an MCP server"
                );
                let session = Arc::new(session);
                state.session = Some(session.clone());
                tokio::spawn(retire(Arc::downgrade(self), Arc::downgrade(&session)));
                Ok(session)
            }
            Err(reason) => {
                state.failed();
                warn!(
                    server = self.name,
                    failures = state.failures,
                    reason,
                    "cannot open an MCP server"
                );
                Err(ToolError::transient(format!(
                    "cannot open the MCP server `{}`: {reason}",
                    self.name
                )))
            }
        }
    }

    /// Calls a tool by the name the server gives it; `full` is its name here.
    pub(super) async fn call(
        self: &Arc<Self>,
        full: &str,
        tool: &str,
        context: &CallContext,
        params: Value,
    ) -> Result<Value, ToolError> {
        let arguments = match params {
            Value::Null => None,
            Value::Object(map) => Some(map),
            other => {
                return Err(ToolError::invalid_params(format!(
                    "parameters of `{full}` are {other}: give an object"
                )));
            }
        };
        let session = tokio::select! {
            session = self.session() => session?,
            () = context.cancel.cancelled() => return Err(ToolError::cancelled()),
        };
        let Some(described) = session.tools().get(tool) else {
            let known: Vec<&str> = session.tools().keys().map(String::as_str).collect();
            return Err(ToolError::invalid_params(format!(
                "the MCP server `{}` has no tool `{tool}`; it has: {}",
                self.name,
                known.join(", ")
            )));
        };
        if !self.permits(tool, described.read_only) {
            return Err(ToolError::permanent(format!(
                "`{full}` is held back: its server does not say that it changes nothing; to allow it all the same, add \
                 \"{tool}\" to tools.mcp.{}.allow of the workers",
                self.name
            )));
        }
        let started = Instant::now();
        let answered = tokio::select! {
            answered = timeout(self.config.call_timeout(), session.call(tool, arguments)) => answered,
            () = context.cancel.cancelled() => return Err(ToolError::cancelled()),
        };
        match answered {
            Ok(Ok(CallToolResponse::Complete(result))) => {
                self.state.lock().await.failures = 0;
                output_of(result).map_err(|reason| ToolError::permanent(format!("`{full}` failed: {reason}")))
            }
            Ok(Ok(_)) => Err(ToolError::permanent(format!(
                "`{full}` wants to ask somebody or to go on later: that is not supported here"
            ))),
            Ok(Err(error)) => match failure::of_call(full, error) {
                Failure::Answered(error) => Err(error),
                Failure::Lost(reason) => {
                    self.lose(&session).await;
                    let reason = session.explain(reason).await;
                    warn!(server = self.name, reason, "an MCP server was lost");
                    Err(failure::lost(full, &self.name, &reason, described.read_only))
                }
            },
            Err(_) => {
                let mut message = format!(
                    "`{full}` took longer than {} ms (tools.mcp.{}.call_timeout_ms)",
                    self.config.call_timeout_ms, self.name
                );
                if session.answered_at() < started {
                    // It answers nobody: the next call gets another one.
                    self.lose(&session).await;
                    message += "; its server answered nothing else either and is started again at the next call";
                }
                Err(ToolError::timed_out(message))
            }
        }
    }

    /// Lets go of a session that is of no use any more.
    async fn lose(&self, lost: &Arc<Session>) {
        let mut state = self.state.lock().await;
        if state.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            state.session = None;
            state.failed();
        }
    }
}

impl State {
    fn open_session(&self) -> Option<Arc<Session>> {
        self.session.as_ref().filter(|session| session.is_open()).cloned()
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + retry_delay(RetryPolicy::RECONNECT, self.failures));
    }
}

/// Ends a session that nobody has used for a while.
async fn retire(server: Weak<Server>, session: Weak<Session>) {
    loop {
        sleep(IDLE_LOOK).await;
        let (Some(server), Some(session)) = (server.upgrade(), session.upgrade()) else {
            return;
        };
        let mut state = server.state.lock().await;
        // One is the server's, one is held here; whoever calls holds another.
        if session.answered_at().elapsed() >= IDLE_MAX && Arc::strong_count(&session) <= 2 {
            state.session = None;
            info!(server = server.name, "closed an MCP server that nobody used");
            return;
        }
    }
}
