//! The command line: global flags and the commands. What a command takes is declared beside the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::command::{
    answer::AnswerArgs, ask::AskArgs, cancel::CancelArgs, console::ConsoleArgs, dead::DeadArgs, demo::DemoArgs,
    doctor::DoctorArgs, drain::DrainArgs, explain::ExplainArgs, feedback::FeedbackArgs, guard::GuardArgs,
    history::HistoryArgs, mcp::McpArgs, memory::MemoryArgs, plan::PlanArgs, queries::QueriesArgs, scale::ScaleArgs,
    submit::SubmitArgs, tools::ToolsArgs, top::TopArgs, up::UpArgs, watch::WatchArgs, workers::WorkersArgs,
};

/// Ask a fleet of workers questions that are too big for one, and run, watch and measure that fleet.
#[derive(Debug, Parser)]
#[command(name = "axon", version, after_long_help = crate::exit::HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Address of NATS [default: `bus.url` of the configuration, $AXON_BUS__URL, nats://127.0.0.1:4222]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) nats: Option<String>,

    /// Namespace of the fleet [default: `bus.namespace`, $AXON_BUS__NAMESPACE, axon]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Configuration file in TOML [default: $AXON_CONFIG, else ./axon.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print JSON instead of text: one document, or lines where the output goes on
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Who asks; the fleet is shared fairly between clients [default: axon@<host>]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) client: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a local fleet: one nats-server, a lead, workers and a synthesizer; Ctrl-C drains
    Up(UpArgs),
    /// Ask a question, watch the progress, print the answer
    Ask(AskArgs),
    /// Publish a query and print its id
    Submit(SubmitArgs),
    /// Show what happened and happens to a query, then its answer
    Watch(WatchArgs),
    /// Print the answer of a query
    Answer(AnswerArgs),
    /// Stop a query; what was found so far becomes a partial answer
    Cancel(CancelArgs),
    /// Analyse and plan a query without running it
    Plan(PlanArgs),
    /// List queries
    Queries(QueriesArgs),
    /// Explain how a query was understood, planned and worked on, and what is missing
    Explain(ExplainArgs),
    /// List the messages of a query, or ask it once more from what was recorded and show the difference
    History(HistoryArgs),
    /// Ask questions of one session, and look at them, line by line
    Console(ConsoleArgs),
    /// Say whether the answer of a query was good or bad; strategies are selected by how well they do
    Feedback(FeedbackArgs),
    /// Look at what the fleet remembers, recall it, forget it, carry it over to another fleet
    Memory(MemoryArgs),
    /// List the processes of the fleet
    Workers(WorkersArgs),
    /// Watch workers, queues and queries, refreshed each second
    Top(TopArgs),
    /// List strategies and how well they did
    Strategies,
    /// Look at dead letters, try them again, drop them
    Dead(DeadArgs),
    /// Ask one process to finish what it holds and exit
    Drain(DrainArgs),
    /// Ask for a number of workers that can do something
    Scale(ScaleArgs),
    /// Ends what is left of a fleet whose command is gone; `axon up` starts it
    #[command(hide = true)]
    Guard(GuardArgs),
    /// List the tools of workers, show what they take, call one on a directory; needs no server
    Tools(ToolsArgs),
    /// Serve the fleet to an MCP client on standard input and output
    Mcp(McpArgs),
    /// Create the streams, consumers, buckets and object stores that are missing
    Init,
    /// Say what is wrong with the server and the fleet, and how to fix it
    Doctor(DoctorArgs),
    /// Show a fleet at work: one query of each complexity, a real question, and the figures
    Demo(DemoArgs),
    /// Measure the fleet
    Bench(BenchArgs),
}

impl Command {
    /// Whether the command ends itself in an orderly way when it is told to stop.
    pub(crate) fn stops_by_itself(&self) -> bool {
        matches!(
            self,
            Command::Up(_)
                | Command::Ask(_)
                | Command::Watch(_)
                | Command::History(_)
                | Command::Demo(_)
                | Command::Top(_)
                | Command::Mcp(_)
                | Command::Bench(_)
        )
    }

    /// Whether the command asks what is meant when it is interrupted.
    pub(crate) fn hears_interrupts(&self) -> bool {
        matches!(self, Command::Console(_))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_behind_the_command() {
        for line in [
            "axon --nats nats://h:1 --json ask why?",
            "axon ask why? --json --nats nats://h:1",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(
                (cli.global.nats.as_deref(), cli.global.json),
                (Some("nats://h:1"), true)
            );
        }
    }

    #[test]
    fn bad_usage_is_refused() {
        for line in [
            "axon",
            "axon ask",
            "axon ask why? --timeout x",
            "axon ask why? --workspace . --no-workspace",
            "axon ask why? --budget-tokens 5",
            "axon dead retry",
            "axon up --workers x",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
