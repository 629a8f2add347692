//! Tools of MCP servers: `mcp.<server>.<tool>`. A server is opened when it is first needed and kept for all tasks of the
//! process. What it answers is data: nothing in it changes what a task may do.

mod config;
mod content;
mod failure;
mod server;
mod session;
mod tool;

use std::sync::Arc;

use crate::{Config, Toolbox, ToolboxError};

pub use config::McpConfig;
pub use server::PREFIX;

/// Adds the servers that are configured. Nothing is opened.
pub(crate) fn register(toolbox: &mut Toolbox, config: &Config) -> Result<(), ToolboxError> {
    for (name, server) in &config.mcp {
        let server = server::Server::new(name, server.clone(), config.supervisor.clone());
        toolbox.register_source(tool::Source::new(Arc::new(server)))?;
    }
    Ok(())
}
