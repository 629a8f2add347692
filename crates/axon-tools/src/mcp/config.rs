//! The settings of MCP servers, section `[tools.mcp.<server>]`. Values only.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_service::Secret;
use serde::{Deserialize, Serialize};

/// Longest name of a server, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Settings of one MCP server: a command to start, or an address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpConfig {
    /// The program to start, which speaks MCP on its standard input and output. Default: none.
    pub command: String,
    /// Its arguments. Default: none.
    pub args: Vec<String>,
    /// Its variables. It gets no others but what any program needs: see [`axon_service::foreign::PASSED_ON`].
    pub env: BTreeMap<String, Secret>,
    /// The address of a server that is there already, which speaks streamable HTTP. Default: none.
    pub url: String,
    /// What authorises requests to that address: a bearer token. Default: none.
    pub token: Secret,
    /// Tools that may be called although the server does not say that they change nothing; a `*` at the end stands for any
    /// rest. Default: none.
    pub allow: Vec<String>,
    /// Milliseconds until it must be ready after its start. Default 30,000.
    pub start_timeout_ms: u64,
    /// Milliseconds one call may take, at most `tools.tool_timeout_ms`. Default 30,000.
    pub call_timeout_ms: u64,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            url: String::new(),
            token: Secret::default(),
            allow: Vec::new(),
            start_timeout_ms: 30_000,
            call_timeout_ms: 30_000,
        }
    }
}

impl McpConfig {
    /// Says what cannot work, if anything: the key within the section, and what to do.
    pub(crate) fn problem(&self, name: &str) -> Option<(&'static str, String)> {
        let named = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !named {
            return Some((
                "",
                format!("`{name}` cannot name a server: use 1 to 32 letters, digits, `-` and `_`"),
            ));
        }
        match (self.command.is_empty(), self.url.is_empty()) {
            (true, true) => return Some(("", "give a `command` to start, or a `url` to connect to".to_owned())),
            (false, false) => return Some(("", "give a `command` or a `url`, not both".to_owned())),
            _ => {}
        }
        let http = self.url.starts_with("http://") || self.url.starts_with("https://");
        if !self.url.is_empty() && !http {
            return Some((".url", format!("`{}` is no http or https address", self.url)));
        }
        for (key, zero) in [
            (".start_timeout_ms", self.start_timeout_ms == 0),
            (".call_timeout_ms", self.call_timeout_ms == 0),
        ] {
            if zero {
                return Some((key, "0 is no time: use at least 1, for example 30000".to_owned()));
            }
        }
        None
    }

    pub(super) fn start_timeout(&self) -> Duration {
        Duration::from_millis(self.start_timeout_ms)
    }

    pub(super) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }
}
