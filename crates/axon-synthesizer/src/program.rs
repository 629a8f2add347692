//! The process from its arguments to its exit code. Here and not in `main.rs`, because a program that awaits what a library
//! defines compiles all of it once more.

use std::sync::Arc;
use std::time::Duration;

use crate::{SummaryBy, Synthesizer, SynthesizerConfig};
use anyhow::Context;
use axon_bus::Bus;
use axon_model::{FleetPauses, LanguageModel};
use axon_service::{Health, Leash, ServiceArgs, health, run_on_leash, telemetry};
use axon_tools::WorkspaceCache;
use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Merges the findings of a query into its one answer.
#[derive(Debug, Parser)]
#[command(name = "axon-synthesizer", version)]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// Address of the NATS server (`bus.url`)
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Syntheses at once (`synthesizer.slots`)
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    bus: axon_bus::Config,
    telemetry: telemetry::Config,
    health: health::Config,
    synthesizer: SynthesizerConfig,
    tools: axon_tools::Config,
    model: axon_model::Config,
}

impl Config {
    fn load(args: Args) -> anyhow::Result<Self> {
        let nats = args.nats.map(|url| ("bus.url", url));
        let slots = args.slots.map(|slots| ("synthesizer.slots", slots.to_string()));
        let flags: Vec<(&str, String)> = nats.into_iter().chain(slots).collect();
        let config: Self = args.service.load(&flags)?;
        config.synthesizer.check()?;
        config.model.validate()?;
        Ok(config)
    }
}

/// Runs the process until it is told to stop.
// One thread: merging goes to threads of its own, and waking another one for each message costs more than handling it.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    let leash = Leash::on_stdin(args.service.exit_with_parent)?;
    let config = Config::load(args)?;
    let telemetry = telemetry::init("axon-synthesizer", &config.telemetry)?;
    let health = Health::new();
    for check in ["nats", "pulling"] {
        health.set_ready(check, false);
    }
    let observed = CancellationToken::new();
    let server = health::serve(&config.health, health.clone(), telemetry, observed.clone()).await?;
    let metrics = server.address().map(|address| address.to_string()).unwrap_or_default();
    let bus = Bus::connect(&config.bus, name()).await?;
    bus.declare().await.context("cannot declare the streams")?;
    let workspaces =
        WorkspaceCache::configured(&config.tools.workspaces).context("cannot open the cache of workspaces")?;
    let drain_timeout = Duration::from_secs(config.synthesizer.drain_timeout_s);
    let model = match config.synthesizer.summary_by {
        SummaryBy::Auto => LanguageModel::open(&config.model, Arc::new(FleetPauses::new(&bus)))?,
        SummaryBy::Rules => None,
    };
    let workspaces = Arc::new(workspaces);
    let synthesizer = Synthesizer::new(config.synthesizer, bus.clone(), workspaces, model, health, metrics);

    let run = async |stop| synthesizer.run(stop).await.map_err(anyhow::Error::from);
    run_on_leash(leash, run, drain_timeout).await?;
    bus.drain().await.context("cannot flush the bus")?;
    observed.cancel();
    server.stopped().await;
    Ok(())
}

/// A fresh name for this process, as the registry and the server show it.
fn name() -> String {
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("synthesizer-{}", &random[random.len() - 10..])
}
