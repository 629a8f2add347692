//! `axon bench`: measures a fleet in a namespace of its own, which is deleted afterwards. Prints JSON and nothing else.

mod burst;
mod hops;
mod query;
mod stage;
mod statistics;
mod tasks;
mod tools;
mod traces;

use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::exit::{Exit, Failure};

pub(crate) use stage::StageArgs;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// Tasks per second: published, done by workers, results collected
    Tasks(tasks::TasksArgs),
    /// Queries with an own plan of diagnostic tasks: rate and time to the answer
    Query(query::QueryBenchArgs),
    /// One burst of tasks to as many idle one-slot workers: how evenly they are spread
    Burst(burst::BurstArgs),
    /// Graphs of tools in one process: how close the executor comes to the shortest possible time; needs no server
    Tools(tools::ToolsBenchArgs),
}

pub(crate) async fn run(context: &Context, args: BenchArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let measuring = async {
        match args.command {
            BenchCommand::Tasks(args) => tasks::run(context, args).await,
            BenchCommand::Query(args) => query::run(context, args).await,
            BenchCommand::Burst(args) => burst::run(context, args).await,
            BenchCommand::Tools(args) => tools::run(context, args).await,
        }
    };
    // Dropping the measurement kills its processes; its namespace is left and can be told by its name.
    tokio::select! {
        done = measuring => done,
        () = stop.cancelled() => {
            let message = "interrupted: streams of a namespace `bench_…` may be left on the server";
            Err(Failure::new(Exit::Interrupted, message).into())
        }
    }
}
