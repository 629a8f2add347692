//! A tool of an MCP server as a tool of the toolbox, and the server as a source of them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::server::{PREFIX, Server};
use super::session::Described;
use crate::{CallContext, Cost, Tool, ToolError, ToolSource};

/// All tools of a server.
pub(super) struct Source {
    server: Arc<Server>,
    prefix: String,
}

impl Source {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            prefix: format!("{PREFIX}{}.", server.name()),
            server,
        }
    }

    fn tool_of(&self, short: &str, described: Option<Described>) -> Arc<dyn Tool> {
        Arc::new(McpTool {
            server: self.server.clone(),
            prefix_bytes: self.prefix.len(),
            name: format!("{}{short}", self.prefix),
            described,
        })
    }
}

#[async_trait]
impl ToolSource for Source {
    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn tool(&self, short: &str) -> Arc<dyn Tool> {
        self.tool_of(short, None)
    }

    async fn list(&self) -> Result<Vec<Arc<dyn Tool>>, ToolError> {
        let session = self.server.session().await?;
        let tools = session.tools().iter();
        Ok(tools
            .map(|(short, described)| self.tool_of(short, Some(described.clone())))
            .collect())
    }
}

/// One tool. Before its server was asked nothing is known of it but its name.
struct McpTool {
    server: Arc<Server>,
    name: String,
    /// How much of the name is not the server's own name of the tool.
    prefix_bytes: usize,
    described: Option<Described>,
}

impl McpTool {
    fn short(&self) -> &str {
        &self.name[self.prefix_bytes..]
    }
}

#[async_trait]
impl Tool for McpTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        match &self.described {
            Some(described) => &described.description,
            None => "A tool of an MCP server that was not asked yet.",
        }
    }

    fn schema(&self) -> Value {
        match &self.described {
            Some(described) => Value::Object(described.schema.as_ref().clone()),
            None => json!({ "type": "object" }),
        }
    }

    fn read_only(&self) -> bool {
        self.described.as_ref().is_some_and(|described| described.read_only)
    }

    fn permitted(&self) -> bool {
        self.described
            .as_ref()
            .is_none_or(|described| self.server.permits(self.short(), described.read_only))
    }

    fn label(&self) -> &str {
        // Without the dot.
        &self.name[..self.prefix_bytes - 1]
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        self.server.call(&self.name, self.short(), context, params).await
    }
}
