//! The settings of `web.fetch`, section `[tools.fetch]`. Values only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of `web.fetch`, which is there when a host is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Hosts that may be asked: `docs.rs`, `*.example.org` for all below it, `example.org:8443` for a port other than 80
    /// and 443. They are never reached at addresses that are not public. Default: none.
    pub hosts: Vec<String>,
    /// The same for hosts that may have private addresses, such as `127.0.0.1:8080`. Default: none.
    pub private_hosts: Vec<String>,
    /// Milliseconds one fetch may take, redirects included, at most `tools.tool_timeout_ms`. Default 20,000.
    pub timeout_ms: u64,
    /// Bytes that are read of one page. Default 1,048,576.
    pub max_bytes: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            private_hosts: Vec::new(),
            timeout_ms: 20_000,
            max_bytes: 1 << 20,
        }
    }
}

impl FetchConfig {
    pub(super) fn is_on(&self) -> bool {
        !self.hosts.is_empty() || !self.private_hosts.is_empty()
    }

    /// Says what cannot work, if anything: the key within the section, and what to do.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        for (key, zero) in [
            (".timeout_ms", self.timeout_ms == 0),
            (".max_bytes", self.max_bytes == 0),
        ] {
            if zero {
                return Some((key, "is 0: use 1 or more".to_owned()));
            }
        }
        for (key, hosts) in [(".hosts", &self.hosts), (".private_hosts", &self.private_hosts)] {
            let wrong = hosts.iter().find(|host| {
                let name = host.strip_prefix("*.").unwrap_or(host);
                name.is_empty() || name.contains(['*', '/', '@', ' '])
            });
            if let Some(host) = wrong {
                let what = "is no host: write `docs.rs`, `*.example.org` or `example.org:8443`";
                return Some((key, format!("`{host}` {what}")));
            }
        }
        None
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
