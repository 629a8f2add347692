//! The process from its arguments to its exit code. Here and not in `main.rs`, because a program that awaits what a library
//! defines compiles all of it once more.

use std::time::Duration;

use crate::{Lead, Options};
use anyhow::Context as _;
use axon_bus::Bus;
use axon_service::{Health, Leash, ServiceArgs, health, run_on_leash, telemetry};
use clap::Parser;
use tokio_util::sync::CancellationToken;

/// The lead of an Axon fleet.
#[derive(Debug, Parser)]
#[command(name = "axon-lead", version, about)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
    /// Address of NATS (`bus.url`).
    #[arg(long)]
    nats: Option<String>,
    /// Namespace of the fleet (`bus.namespace`).
    #[arg(long)]
    namespace: Option<String>,
}

/// Runs the process until it is told to stop.
// One thread: what a lead does is waiting, and waking another thread for each message costs more than handling it.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let leash = Leash::on_stdin(arguments.service.exit_with_parent)?;
    let flags: Vec<(&str, String)> = [
        ("bus.url", arguments.nats.clone()),
        ("bus.namespace", arguments.namespace.clone()),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect();
    let options: Options = arguments.service.load(&flags)?;
    let telemetry = telemetry::init("axon-lead", &options.telemetry)?;
    let health = Health::new();
    for check in ["nats", "pulling", "serving"] {
        health.set_ready(check, false);
    }
    let serving = CancellationToken::new();
    let server = health::serve(&options.health, health.clone(), telemetry, serving.clone()).await?;
    let bus = Bus::connect(&options.bus, "axon-lead")
        .await
        .context("cannot use NATS")?;
    bus.declare().await.context("cannot declare the topology")?;
    let drain_timeout = Duration::from_secs(options.lead.drain_timeout_s);
    let address = server.address().map(|address| address.to_string()).unwrap_or_default();
    let lead = Lead::new(options, bus.clone(), health, address)?;
    run_on_leash(leash, |stop| lead.run(stop), drain_timeout + Duration::from_secs(5)).await?;
    bus.drain().await.context("cannot flush the bus")?;
    serving.cancel();
    server.stopped().await;
    Ok(())
}
