//! Configuration of the worker: section `[worker]`. Values only; loading is done by `axon-service`.

use std::collections::BTreeSet;
use std::time::Duration;

use axon_protocol::{AgentType, Capability, GROUPS};
use axon_service::RegistryConfig;
use serde::{Deserialize, Serialize};

/// Most tasks one worker process may run at once.
const SLOTS_MAX: usize = 4096;

/// How a worker thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With a language model where one is configured, without one otherwise.
    #[default]
    Auto,
    /// Without a language model.
    Analyst,
    /// With a language model.
    Agent,
}

/// The `[worker]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The group the worker belongs to: `developer`, `reviewer`, `researcher`, `tester`, `investigator`, `all`, or a name
    /// of your own together with `capabilities`. Default: `all`.
    pub agent_type: AgentType,
    /// What it can do beyond its group; for a name of your own, all it can do. `Diagnostics` is always added. Default: none.
    pub capabilities: Vec<Capability>,
    /// `analyst` works without a language model, `agent` with the one of the section `[model]`, `auto` with it where it is
    /// configured. Default: `auto`.
    pub mode: Mode,
    /// Tasks it runs at once, 1 to 4096. Default: 4.
    pub slots: usize,
    /// Seconds between two heartbeats. Default: 2.
    pub heartbeat_interval_s: u64,
    /// Seconds a draining worker lets its tasks go on before it hands them back. Default: 30.
    pub drain_timeout_s: u64,
    /// Starts without an end, over all workers, after which a task counts as what killed them. Default: 2.
    pub poison_starts: usize,
    /// Deliveries of one task after which it counts as poison whatever is known of its starts. Default: 20.
    pub max_deliveries: u64,
    /// Attempts after which finished parts of a task are reported instead of being done once more; the same as
    /// `lead.max_attempts`. Default: 3.
    pub max_attempts: u32,
    /// Bytes of results of tools that it keeps in its memory, beside what all workers share; 0 remembers and shares nothing.
    /// Default: 16 MiB.
    pub working_memory_bytes: usize,
    /// Seconds between two looks at every queue, varied by ± 30 %; new tasks are heard of at once, this finds what was
    /// missed. Default: 10.
    pub sweep_interval_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_type: AgentType::all(),
            capabilities: Vec::new(),
            mode: Mode::Auto,
            slots: 4,
            heartbeat_interval_s: 2,
            drain_timeout_s: 30,
            poison_starts: 2,
            max_deliveries: 20,
            max_attempts: 3,
            working_memory_bytes: 16 << 20,
            sweep_interval_s: 10,
        }
    }
}

/// Why a worker cannot run with its configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A group that is not built in and says nothing of what it can do.
    #[error(
        "worker.agent_type is `{0}`, which is no built-in group ({groups}): give worker.capabilities as well",
        groups = group_names()
    )]
    UnknownGroup(AgentType),
    /// An agent without a model.
    #[error("worker.mode is agent and there is no model: set model.provider, model.name and AXON_MODEL__API_KEY")]
    NoModel,
    /// A number that cannot work.
    #[error("{key} is {value}: use {range}")]
    OutOfRange {
        /// The dotted key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: &'static str,
    },
}

fn group_names() -> String {
    let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).chain(["all"]).collect();
    names.join(", ")
}

impl Config {
    /// Everything the worker can do.
    pub fn all_capabilities(&self) -> Result<BTreeSet<Capability>, ConfigError> {
        let mut all: BTreeSet<Capability> = self.capabilities.iter().cloned().collect();
        match self.agent_type.capabilities() {
            Some(group) => all.extend(group),
            None if all.is_empty() => return Err(ConfigError::UnknownGroup(self.agent_type.clone())),
            None => {}
        }
        all.insert(Capability::diagnostics());
        Ok(all)
    }

    /// [`Config::drain_timeout_s`] as a duration.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout_s)
    }

    /// Refuses values that cannot work, each by its name.
    pub fn validate(&self, registry: &RegistryConfig) -> Result<(), ConfigError> {
        self.all_capabilities()?;
        let refuse = |key, value: String, range| Err(ConfigError::OutOfRange { key, value, range });
        if !(1..=SLOTS_MAX).contains(&self.slots) {
            return refuse("worker.slots", self.slots.to_string(), "1 to 4096");
        }
        for (key, value) in [
            ("worker.heartbeat_interval_s", self.heartbeat_interval_s),
            ("worker.sweep_interval_s", self.sweep_interval_s),
            ("worker.max_deliveries", self.max_deliveries),
            ("worker.poison_starts", self.poison_starts as u64),
        ] {
            if value == 0 {
                return refuse(key, value.to_string(), "1 or more");
            }
        }
        let threshold = registry.max_load_threshold;
        if !(threshold > 0.0 && threshold <= 1.0) {
            return refuse(
                "registry.max_load_threshold",
                threshold.to_string(),
                "more than 0, at most 1",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_tells_what_it_can_do_and_more_can_be_added() {
        let check = |agent_type: &str, capabilities: &[&str]| {
            let config = Config {
                agent_type: AgentType::new(agent_type).expect("a name"),
                capabilities: capabilities
                    .iter()
                    .map(|name| Capability::new(*name).expect("a name"))
                    .collect(),
                ..Config::default()
            };
            let all = config.all_capabilities().map_err(|error| error.to_string())?;
            Ok::<_, String>(all.iter().map(Capability::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(check("tester", &[]).expect("built in"), "Diagnostics Testing");
        assert_eq!(
            check("tester", &["Fuzzing"]).expect("extended"),
            "Diagnostics Fuzzing Testing"
        );
        assert_eq!(check("mine", &["Fuzzing"]).expect("its own"), "Diagnostics Fuzzing");
        let error = check("mine", &[]).expect_err("unknown");
        assert!(error.contains("`mine`") && error.contains("investigator"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let registry = RegistryConfig::default();
        assert_eq!(Config::default().validate(&registry), Ok(()));
        let refused = |change: fn(&mut Config, &mut RegistryConfig)| {
            let (mut config, mut registry) = (Config::default(), RegistryConfig::default());
            change(&mut config, &mut registry);
            config.validate(&registry).expect_err("refused").to_string()
        };
        for (message, key) in [
            (refused(|c, _| c.slots = 0), "worker.slots is 0"),
            (refused(|c, _| c.slots = 5000), "worker.slots is 5000"),
            (
                refused(|c, _| c.heartbeat_interval_s = 0),
                "worker.heartbeat_interval_s",
            ),
            (
                refused(|_, r| r.max_load_threshold = 0.0),
                "registry.max_load_threshold is 0",
            ),
            (
                refused(|_, r| r.max_load_threshold = f64::NAN),
                "registry.max_load_threshold is NaN",
            ),
        ] {
            assert!(message.contains(key), "{message}");
        }
    }
}
