//! What an executor asks before it makes a call whose result depends on nothing but workspace, scope and parameters. What
//! remembers is somebody else's business; what a call is known by is decided here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axon_protocol::Digest;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::{CallContext, Tool, ToolError};

/// Changes with everything that decides what tools return.
const TOOLS_VERSION: &str = env!("AXON_TOOLS_VERSION");

/// Remembers what calls returned.
#[async_trait]
pub trait Memory: Send + Sync {
    /// The result of a call: remembered, or what `make` comes to. `make` is dropped unmade where it is not needed. `waits` is
    /// called before it waits for somebody else who makes the same call: the call then holds no slot until `make` begins.
    async fn answer(
        &self,
        call: &MemorableCall,
        waits: &(dyn Fn() + Send + Sync),
        make: BoxFuture<'_, Result<Value, ToolError>>,
    ) -> Answer;
}

/// A call that may be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorableCall {
    /// Digest of all that its result depends on: tool, parameters, workspace, scope, and the version of the tools. Two tasks
    /// of different scopes never share a result.
    pub key: Digest,
    /// How long making it is expected to take in this workspace.
    pub expected: Duration,
    /// When its task must have ended.
    pub deadline: Option<Instant>,
}

/// The key of a call, where its result depends on nothing else.
pub(super) fn key_of(tool: &dyn Tool, params: &Value, context: &CallContext) -> Option<Digest> {
    let workspace = context.workspace.as_ref().filter(|_| tool.deterministic())?;
    let mut params = params.clone();
    params.sort_all_objects();
    let named = (
        TOOLS_VERSION,
        tool.name(),
        workspace.digest(),
        &context.scope[..],
        params,
    );
    Some(Digest::of(&serde_json::to_vec(&named).ok()?))
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it returned.
    pub result: Result<Arc<Value>, ToolError>,
    /// How long making it took once, where it was remembered.
    pub remembered: Option<Duration>,
}

impl Answer {
    /// A call that was made now.
    pub fn made(result: Result<Value, ToolError>) -> Self {
        Self {
            result: result.map(Arc::new),
            remembered: None,
        }
    }
}
