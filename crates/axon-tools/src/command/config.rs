//! The settings of a command, section `[tools.commands.<name>]`. Values only.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_service::Secret;
use axon_service::foreign::Limits;
use serde::{Deserialize, Serialize};

/// Settings of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandConfig {
    /// The program to run.
    pub command: String,
    /// Its arguments. Default: none.
    pub args: Vec<String>,
    /// What it does and when to use it, for people and models. Default: the command line.
    pub about: String,
    /// Further arguments that a call may add; a `*` at the end stands for any rest. Default: none.
    pub allow_args: Vec<String>,
    /// Its variables. It gets no others but what any program needs, with `HOME` and `TMPDIR` in its private directory.
    pub env: BTreeMap<String, Secret>,
    /// Milliseconds it may take, at most `tools.tool_timeout_ms`. Default 60,000.
    pub timeout_ms: u64,
    /// Megabytes of memory each of its processes may write to. Default 2,048.
    pub memory_mb: u64,
    /// Megabytes of the largest file it may write. Default 256.
    pub file_mb: u64,
}

impl Default for CommandConfig {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            about: String::new(),
            allow_args: Vec::new(),
            env: BTreeMap::new(),
            timeout_ms: 60_000,
            memory_mb: 2048,
            file_mb: 256,
        }
    }
}

impl CommandConfig {
    /// Says what cannot work, if anything: the key within the section, and what to do.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        if self.command.is_empty() {
            return Some((".command", "is empty: name the program to run".to_owned()));
        }
        [
            (".timeout_ms", self.timeout_ms),
            (".memory_mb", self.memory_mb),
            (".file_mb", self.file_mb),
        ]
        .into_iter()
        .find(|(_, value)| *value == 0)
        .map(|(key, _)| (key, "is 0: use 1 or more".to_owned()))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: Some(self.memory_mb.saturating_mul(1 << 20)),
            file_bytes: Some(self.file_mb.saturating_mul(1 << 20)),
        }
    }
}
