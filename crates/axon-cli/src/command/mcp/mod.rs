//! `axon mcp`: the fleet as an MCP server on standard input and output, for clients that speak MCP. It serves until its
//! input ends. What it offers is what the commands of the same names do.

mod server;
mod tools;

use std::path::PathBuf;

use anyhow::Context as _;
use rmcp::ServiceExt as _;
use rmcp::transport::stdio_pipes;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::question::check_streams;
use server::FleetServer;

/// What is served.
#[derive(Debug, clap::Args)]
pub(crate) struct McpArgs {
    /// Directory that questions may be about, with all below it [default: the current one]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: McpArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let directory = args.workspace.unwrap_or_else(|| PathBuf::from("."));
    let root = directory.canonicalize().map_err(|error| {
        let message = format!("cannot use the directory {}: {error}", directory.display());
        Failure::bad_input(message)
    })?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let server = FleetServer::new(context.clone(), bus.clone(), root);
    let serving = server
        .serve_with_ct(stdio_pipes(), stop)
        .await
        .context("the client does not speak MCP: `axon mcp` is started by MCP clients")?;
    // However it ends, there is nobody left to tell.
    let _ = serving.waiting().await;
    bus.drain().await?;
    Ok(Exit::Success)
}
