//! The settings of tools, executor and workspace cache, each with its default. Nothing here reads a file or the
//! environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{CommandConfig, FetchConfig, McpConfig};

/// Most tool calls at once in one process, over all its runs.
pub const PROCESS_TOOLS_MAX: usize = 20;

/// Settings of the tools, section `[tools]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tool calls at once within one run, 1 to 20. Default 10.
    pub max_concurrent_tools: usize,
    /// Milliseconds one try of a call may take. Default 60,000.
    pub tool_timeout_ms: u64,
    /// Further tries of a call that failed for a transient reason. Default 2.
    pub transient_retries: u32,
    /// Milliseconds before the first further try; doubled before each next one. Default 100.
    pub retry_delay_ms: u64,
    /// Whether `diag.crash` exists, which aborts the process; for tests of poison tasks. Default false.
    pub allow_crash: bool,
    /// The cache of unpacked workspaces.
    pub workspaces: CacheConfig,
    /// MCP servers by name, sections `[tools.mcp.<name>]`. Default: none.
    pub mcp: BTreeMap<String, McpConfig>,
    /// Commands that may be run by name, sections `[tools.commands.<name>]`. Default: none.
    pub commands: BTreeMap<String, CommandConfig>,
    /// What may be fetched. Default: nothing.
    pub fetch: FetchConfig,
    /// The binary of Axon that supervises foreign programs. Default: the process's own.
    pub supervisor: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_tools: 10,
            tool_timeout_ms: 60_000,
            transient_retries: 2,
            retry_delay_ms: 100,
            allow_crash: false,
            workspaces: CacheConfig::default(),
            mcp: BTreeMap::new(),
            commands: BTreeMap::new(),
            fetch: FetchConfig::default(),
            supervisor: None,
        }
    }
}

impl Config {
    /// Refuses values that cannot work, each by its name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=PROCESS_TOOLS_MAX).contains(&self.max_concurrent_tools) {
            return Err(ConfigError::Concurrency(self.max_concurrent_tools));
        }
        if self.tool_timeout_ms == 0 {
            return Err(ConfigError::Timeout);
        }
        if self.transient_retries > TRANSIENT_RETRIES_MAX {
            return Err(ConfigError::Retries(self.transient_retries));
        }
        let servers = self.mcp.iter().filter_map(|(name, server)| {
            let (key, problem) = server.problem(name)?;
            Some((format!("tools.mcp.{name}{key}"), problem))
        });
        let commands = self.commands.iter().filter_map(|(name, command)| {
            let (key, problem) = command.problem()?;
            Some((format!("tools.commands.{name}{key}"), problem))
        });
        let fetch = self.fetch.problem().into_iter();
        let fetch = fetch.map(|(key, problem)| (format!("tools.fetch{key}"), problem));
        match servers.chain(commands).chain(fetch).next() {
            Some((key, problem)) => Err(ConfigError::Foreign { key, problem }),
            None => Ok(()),
        }
    }

    /// [`Config::tool_timeout_ms`] as a duration.
    pub fn tool_timeout(&self) -> Duration {
        Duration::from_millis(self.tool_timeout_ms)
    }
}

/// Most further tries that can be configured.
const TRANSIENT_RETRIES_MAX: u32 = 10;

/// Settings of the cache of unpacked workspaces, section `[tools.workspaces]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Where workspaces are unpacked; all processes of a user share it. Default: `axon-workspaces-<user id>` in the
    /// directory for temporary files.
    pub dir: Option<PathBuf>,
    /// Bytes of unpacked files to keep; what is in use is kept beyond that. Default 2 GiB.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            dir: None,
            max_bytes: 2 << 30,
        }
    }
}

/// Which setting cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Too many or no calls at once.
    #[error("tools.max_concurrent_tools is {0}: use 1 to {PROCESS_TOOLS_MAX}")]
    Concurrency(usize),
    /// No time at all.
    #[error("tools.tool_timeout_ms is 0: use at least 1, for example 60000")]
    Timeout,
    /// Too many tries.
    #[error("tools.transient_retries is {0}: use 0 to {TRANSIENT_RETRIES_MAX}")]
    Retries(u32),
    /// A foreign program or server that cannot be used in that way.
    #[error("{key}: {problem}")]
    Foreign {
        /// The dotted key.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_what_cannot_work_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate()
        };
        assert_eq!(with(|c| c.max_concurrent_tools = 0), Err(ConfigError::Concurrency(0)));
        assert_eq!(with(|c| c.max_concurrent_tools = 21), Err(ConfigError::Concurrency(21)));
        assert_eq!(with(|c| c.max_concurrent_tools = 20), Ok(()));
        assert_eq!(with(|c| c.tool_timeout_ms = 0), Err(ConfigError::Timeout));
        assert_eq!(with(|c| c.transient_retries = 11), Err(ConfigError::Retries(11)));
    }

    #[test]
    fn a_server_is_a_command_or_an_address() {
        for (name, text, expected) in [
            ("time", "command = 'x'", None),
            ("time", "url = 'http://127.0.0.1:1/mcp'", None),
            ("time", "", Some("tools.mcp.time: give a `command`")),
            (
                "time",
                "command = 'x'\nurl = 'http://y'",
                Some("tools.mcp.time: give a `command` or"),
            ),
            ("time", "url = 'ftp://y'", Some("tools.mcp.time.url: `ftp://y`")),
            (
                "time",
                "command = 'x'\ncall_timeout_ms = 0",
                Some("tools.mcp.time.call_timeout_ms: 0"),
            ),
            ("a.b", "command = 'x'", Some("tools.mcp.a.b: `a.b` cannot name")),
        ] {
            let server: McpConfig = toml::from_str(text).expect("reads");
            let config = Config {
                mcp: [(name.to_owned(), server)].into(),
                ..Config::default()
            };
            let problem = config.validate().map_err(|error| error.to_string()).err();
            assert_eq!(problem.is_some(), expected.is_some(), "{name} {text}: {problem:?}");
            if let (Some(problem), Some(expected)) = (problem, expected) {
                assert!(problem.starts_with(expected), "{problem}");
            }
        }
    }
}
