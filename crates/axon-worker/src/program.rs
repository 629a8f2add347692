//! The process from its arguments to its exit code. Here and not in `main.rs`, because a program that awaits what a library
//! defines compiles all of it once more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::{ConfigError, Mode, Parts, Worker};
use anyhow::Context as _;
use axon_bus::Bus;
use axon_model::{FleetPauses, LanguageModel};
use axon_service::{Health, Leash, RegistryConfig, ServiceArgs, foreign, health, process, run_on_leash, telemetry};
use axon_tools::{Executor, Toolbox};
use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// What handing tasks back and saying goodbye may take after the drain timeout.
const FAREWELL: Duration = Duration::from_secs(10);

/// Takes tasks of its capabilities, runs them within their boundaries, publishes one result each.
#[derive(Parser)]
#[command(name = "axon-worker", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,

    /// Group of the worker: developer, reviewer, researcher, tester, investigator or all (`worker.agent_type`)
    #[arg(long, value_name = "GROUP")]
    agent_type: Option<String>,

    /// Capabilities beyond those of the group, separated by commas (`worker.capabilities`)
    #[arg(long, value_name = "NAMES")]
    capabilities: Option<String>,

    /// Tasks to run at once (`worker.slots`)
    #[arg(long, value_name = "N")]
    slots: Option<String>,

    /// Address of the nats-server (`bus.url`)
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    /// Namespace of the fleet (`bus.namespace`)
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

/// The sections of the configuration that a worker reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    bus: axon_bus::Config,
    telemetry: telemetry::Config,
    health: health::Config,
    worker: crate::Config,
    registry: RegistryConfig,
    tools: axon_tools::Config,
    model: axon_model::Config,
}

impl Args {
    fn load(self) -> anyhow::Result<Config> {
        let flags: Vec<(&str, String)> = [
            ("worker.agent_type", self.agent_type),
            ("worker.capabilities", self.capabilities),
            ("worker.slots", self.slots),
            ("bus.url", self.nats),
            ("bus.namespace", self.namespace),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let config: Config = self.service.load(&flags)?;
        config.worker.validate(&config.registry)?;
        config.tools.validate()?;
        config.model.validate()?;
        if config.worker.mode == Mode::Agent && !config.model.is_set() {
            return Err(ConfigError::NoModel.into());
        }
        Ok(config)
    }
}

/// Runs the process until it is told to stop.
// One thread: tasks wait for tools, which run on the pool of blocking threads, and for the server. Measured against two
// threads it takes a fifth less processor time per task and less memory.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> anyhow::Result<()> {
    if let Some(code) = foreign::helper().await {
        std::process::exit(code.into());
    }
    let args = Args::parse();
    let leash = Leash::on_stdin(args.service.exit_with_parent)?;
    let config = args.load()?;
    let telemetry = telemetry::init("axon-worker", &config.telemetry)?;
    let (health, over) = (Health::new(), CancellationToken::new());
    health.set_ready("nats", false);
    let probes = health::serve(&config.health, health.clone(), telemetry, over.clone()).await?;
    let id = Worker::name(&config.worker);
    let bus = Bus::connect(&config.bus, id.as_str()).await?;
    bus.declare().await.context("cannot declare the streams")?;
    let toolbox = Arc::new(Toolbox::standard(&config.tools)?);
    let agent = match config.worker.mode {
        Mode::Analyst => None,
        Mode::Auto | Mode::Agent => {
            LanguageModel::open(&config.model, Arc::new(FleetPauses::new(&bus)))?.map(Agent::new)
        }
    };
    let drain_timeout = config.worker.drain_timeout();
    let worker = Worker::new(Parts {
        id,
        config: config.worker,
        registry: config.registry,
        bus: bus.clone(),
        executor: Executor::new(config.tools.clone(), toolbox),
        agent,
        cache: config.tools.workspaces,
        health,
        metrics: probes.address().map(reachable).unwrap_or_default(),
    })?;

    let ended = run_on_leash(
        leash,
        |stop| async move { worker.run(stop).await.context("the worker cannot run") },
        drain_timeout + FAREWELL,
    )
    .await;
    if let Err(error) = bus.drain().await {
        debug!(%error, "the connection was gone already");
    }
    over.cancel();
    probes.stopped().await;
    ended
}

/// Where others reach what listens on an address: a wildcard is reached by the machine's name.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("{}:{}", process::hostname(), address.port())
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_wildcard_is_reached_by_name() {
        let address = |text: &str| reachable(text.parse().expect("an address"));
        assert_eq!(address("127.0.0.1:9100"), "127.0.0.1:9100");
        assert_eq!(address("0.0.0.0:9100"), format!("{}:9100", process::hostname()));
    }
}
