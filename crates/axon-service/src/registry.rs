//! The `[registry]` section: which workers count as able to take work. Workers obey it, leads judge by it.

use serde::{Deserialize, Serialize};

/// Section `[registry]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryConfig {
    /// Load (slots used ÷ slots), from 0 to 1, at which a worker takes nothing more. Default: 0.8.
    pub max_load_threshold: f64,
    /// Seconds without a heartbeat after which a worker counts as gone. Default: 15.
    pub heartbeat_timeout_secs: u64,
    /// Pause a worker whose success rate is too low, and probe it until it recovers. Default: true.
    pub auto_health_check: bool,
    /// Share of its tasks, from 0 to 1, a worker must end well to be given more. Default: 0.5.
    pub min_success_rate: f64,
    /// Let a loaded worker leave new tasks to others that are less so. Default: true.
    pub enable_load_balancing: bool,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            max_load_threshold: 0.8,
            heartbeat_timeout_secs: 15,
            auto_health_check: true,
            min_success_rate: 0.5,
            enable_load_balancing: true,
        }
    }
}
