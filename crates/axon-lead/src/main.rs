//! `axon-lead`: analyses queries, plans and delegates them, and sees to it that each gets exactly one answer.

use std::time::Duration;

use anyhow::Context as _;
use axon_bus::Bus;
use axon_lead::{Lead, Options};
use axon_service::{Health, Leash, ServiceArgs, health, run_on_leash, telemetry};
use clap::Parser;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

// One thread: what a lead does is waiting, and waking another thread for each message costs more than handling it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
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
