//! What every command needs: the configuration, how to print, and a connection. Loaded once.

use std::path::Path;

use axon_bus::Bus;
use axon_service::RegistryConfig;
use serde::{Deserialize, Serialize};

use crate::args::GlobalArgs;

/// The part of `axon.toml` that the command reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) bus: axon_bus::Config,
    pub(crate) registry: RegistryConfig,
    pub(crate) tools: axon_tools::Config,
    /// The settings of the leads, which they check.
    pub(crate) lead: serde_json::Map<String, serde_json::Value>,
}

/// What every command needs.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) bus: axon_bus::Config,
    /// When a process counts as gone.
    pub(crate) registry: RegistryConfig,
    pub(crate) tools: axon_tools::Config,
    /// The settings of the leads.
    pub(crate) lead: serde_json::Map<String, serde_json::Value>,
    pub(crate) config_file: Option<std::path::PathBuf>,
    /// Whether the command line names a server, so that none of its own is started.
    pub(crate) nats_given: bool,
    pub(crate) json: bool,
    pub(crate) client: String,
}

impl Context {
    pub(crate) fn load(args: &GlobalArgs) -> anyhow::Result<Self> {
        let mut flags = Vec::new();
        if let Some(url) = &args.nats {
            flags.push(("bus.url", url.clone()));
        }
        if let Some(namespace) = &args.namespace {
            flags.push(("bus.namespace", namespace.clone()));
        }
        let config: Config = axon_service::config::load(args.config.as_deref(), &flags)?;
        let client = match &args.client {
            Some(name) => name.clone(),
            None => format!("axon@{}", axon_service::process::hostname()),
        };
        Ok(Self {
            bus: config.bus,
            registry: config.registry,
            tools: config.tools,
            lead: config.lead,
            config_file: args.config.as_deref().map(Path::to_owned),
            nats_given: args.nats.is_some(),
            json: args.json,
            client,
        })
    }

    /// Connects; refused servers and silence are errors that say what to do.
    pub(crate) async fn connect(&self) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.bus, self.client.clone()).await?)
    }

    /// The same with another server and namespace: a fleet of the command's own.
    pub(crate) fn with_server(&self, url: &str) -> Self {
        let mut own = self.clone();
        own.bus.url = url.to_owned();
        own
    }
}
