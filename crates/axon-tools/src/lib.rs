//! Tools, the executor that runs graphs of them in parallel, and the workspace they look at. Nothing here knows the bus,
//! and nothing here changes a workspace.

mod config;
mod tool;
mod toolbox;

mod executor;
mod graph;

pub mod code;
mod diag;
pub mod git;

mod command;
mod http;
mod mcp;
mod web;

mod evidence;
mod workspace;

mod testing;

pub use command::CommandConfig;
pub use config::{CacheConfig, Config, ConfigError, PROCESS_TOOLS_MAX};
pub use evidence::{EvidenceError, QUOTE_LINES_MAX, cite, verify};
pub use executor::{Answer, CallOutcome, CallStatus, Executor, MemorableCall, Memory, Refusal, Run, ToolEvent};
pub use graph::{CALLS_MAX, Graph, GraphError};
pub use mcp::McpConfig;
pub use tool::{
    CallContext, Cost, ErrorKind, OUTPUT_BYTES_MAX, Tool, ToolError, ToolSource, blocking, fit, json_bytes,
    parse_params, schema_of,
};
pub use toolbox::{Offer, Toolbox, ToolboxError, allowed};
pub use web::FetchConfig;
pub use workspace::{
    CacheError, Change, Commit, FileChange, FileEntry, FilePatch, FileText, History, HistoryLimits, Hunk, Kind,
    Language, Manifest, PackError, PackLimits, Packed, PatchedCommit, Patches, Skipped, UnpackError, UnpackLimits,
    Workspace, WorkspaceCache, WorkspaceError, in_scope, language_of, pack, unpack,
};
