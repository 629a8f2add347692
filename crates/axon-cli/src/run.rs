//! From the command line to the exit code: reads arguments and configuration, runs the command, reports its error.

use std::process::ExitCode;
use std::time::Duration;

use axon_service::{foreign, run_until_signal, telemetry};
use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::{Exit, Failure, one_line};
use crate::{bench, command};

/// How long a command may take to stop after the first signal. A local fleet drains within 35 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the command that the process's arguments name.
// One thread: a command waits for the server, for processes and for people.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> ExitCode {
    if let Some(code) = foreign::helper().await {
        return ExitCode::from(code);
    }
    let cli = Cli::parse();
    match start(cli).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            Exit::of_error(&error).into()
        }
    }
}

async fn start(cli: Cli) -> anyhow::Result<Exit> {
    let context = Context::load(&cli.global)?;
    // The section `telemetry` is for services; a command shows warnings, and what RUST_LOG asks for. What becomes of the
    // connection it tells itself, where that matters.
    let logs = telemetry::Config {
        filter: "warn,axon_bus::connection=error".to_owned(),
        ..telemetry::Config::default()
    };
    let _telemetry = telemetry::init("axon", &logs)?;
    if cli.command.hears_interrupts() {
        return dispatch(&context, cli.command, CancellationToken::new()).await;
    }
    let mut exit = Exit::Unexpected;
    let slot = &mut exit;
    let running = |stop: CancellationToken| async move {
        let graceful = cli.command.stops_by_itself();
        *slot = tokio::select! {
            ended = dispatch(&context, cli.command, stop.clone()) => ended?,
            () = stop.cancelled(), if !graceful => return Err(Failure::new(Exit::Interrupted, "interrupted").into()),
        };
        Ok(())
    };
    run_until_signal(running, STOP_TIMEOUT).await?;
    Ok(exit)
}

async fn dispatch(context: &Context, command: Command, stop: CancellationToken) -> anyhow::Result<Exit> {
    match command {
        Command::Up(args) => command::up::run(context, args, stop).await,
        Command::Ask(args) => command::ask::run(context, args, stop).await,
        Command::Submit(args) => command::submit::run(context, args).await,
        Command::Watch(args) => command::watch::run(context, args, stop).await,
        Command::Answer(args) => command::answer::run(context, args).await,
        Command::Cancel(args) => command::cancel::run(context, args).await,
        Command::Plan(args) => command::plan::run(context, args).await,
        Command::Queries(args) => command::queries::run(context, args).await,
        Command::Explain(args) => command::explain::run(context, args).await,
        Command::History(args) => command::history::run(context, args, stop).await,
        Command::Console(args) => command::console::run(context, args).await,
        Command::Feedback(args) => command::feedback::run(context, args).await,
        Command::Memory(args) => command::memory::run(context, args).await,
        Command::Workers(args) => command::workers::run(context, args).await,
        Command::Strategies => command::strategies::run(context).await,
        Command::Dead(args) => command::dead::run(context, args).await,
        Command::Drain(args) => command::drain::run(context, args).await,
        Command::Scale(args) => command::scale::run(context, args).await,
        Command::Guard(args) => command::guard::run(args).await,
        Command::Tools(args) => command::tools::run(context, args).await,
        Command::Mcp(args) => command::mcp::run(context, args, stop).await,
        Command::Init => command::init::run(context).await,
        Command::Doctor(args) => command::doctor::run(context, args).await,
        Command::Demo(args) => command::demo::run(context, args, stop).await,
        Command::Top(args) => command::top::run(context, args, stop).await,
        Command::Bench(args) => bench::run(context, args, stop).await,
    }
}
