//! `axon console`: questions of one session and commands about them, one a line, on a running fleet. Whatever it does for a
//! line is the command of that name; it keeps nothing but the session, the directory and the last question.

mod line;
mod terminal;

use std::path::PathBuf;

use axon_bus::Bus;
use axon_protocol::QueryId;
use tokio_util::sync::CancellationToken;

use self::line::{Said, Slash, help, parse};
use self::terminal::{Heard, Terminal};
use crate::command::feedback::FeedbackArgs;
use crate::command::{answer, ask, cancel, explain, feedback, history, plan, queries, strategies, watch, workers};
use crate::context::Context;
use crate::exit::{Exit, Failure, one_line};
use crate::output;
use crate::question::{QueryArgs, Question, check_streams};

/// How to begin.
#[derive(Debug, clap::Args)]
pub(crate) struct ConsoleArgs {
    /// Name of the session, to go on with an earlier one [default: a new one]
    #[arg(long, value_name = "NAME")]
    session: Option<String>,

    /// Directory the questions are about [default: the current one]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,

    /// Seconds until each answer is wanted [default: by the complexity of the question]
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

struct Console<'a> {
    context: &'a Context,
    bus: Bus,
    session: String,
    workspace: Option<PathBuf>,
    timeout: Option<u64>,
    quiet: bool,
    /// The question asked last.
    last: Option<QueryId>,
}

pub(crate) async fn run(context: &Context, args: ConsoleArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let mut console = Console {
        context,
        bus,
        session: args
            .session
            .unwrap_or_else(|| format!("console-{}", QueryId::generate())),
        workspace: args.workspace,
        timeout: args.timeout,
        quiet: args.quiet,
        last: None,
    };
    let mut terminal = Terminal::open()?;
    terminal.say(&format!(
        "session {}: a line is a question, /help lists the commands, Ctrl-D leaves",
        console.session
    ));
    loop {
        terminal.prompt();
        let line = match terminal.heard().await {
            Heard::Line(line) => line,
            Heard::Interrupt => {
                terminal.say("\nnothing is running: Ctrl-D leaves");
                continue;
            }
            Heard::End => break,
        };
        match console.obey(&line, &mut terminal).await {
            Ok(true) => {}
            Ok(false) => break,
            // A line that failed is no reason to leave.
            Err(error) => eprintln!("error: {}", one_line(&error)),
        }
    }
    console.bus.drain().await?;
    Ok(Exit::Success)
}

impl Console<'_> {
    /// Does what a line says; `false` to leave.
    async fn obey(&mut self, line: &str, terminal: &mut Terminal) -> anyhow::Result<bool> {
        match parse(line, self.last.as_ref()).map_err(Failure::bad_input)? {
            Said::Nothing => {}
            Said::Question(words) => self.ask(words, terminal).await?,
            Said::Slash(Slash::Quit) => return Ok(false),
            Said::Slash(slash) => tokio::select! {
                done = self.command(slash) => done.map(|_| ())?,
                () = terminal.interrupted() => terminal.say("\ninterrupted"),
            },
        }
        Ok(true)
    }

    /// Asks a question and shows its answer. Ctrl-C asks whether to cancel it.
    async fn ask(&mut self, words: String, terminal: &mut Terminal) -> anyhow::Result<()> {
        let question = self.question(words).await?;
        let id = question.id.clone();
        self.last = Some(id.clone());
        let never = CancellationToken::new();
        let asking = ask::ask(self.context, &self.bus, question, self.quiet, &never);
        tokio::pin!(asking);
        loop {
            tokio::select! {
                asked = &mut asking => return asked.map(|_| ()),
                () = terminal.interrupted() => terminal.say(&format!("\ncancel query {id}? [y/N]")),
            }
            tokio::select! {
                asked = &mut asking => return asked.map(|_| ()),
                heard = terminal.heard() => match heard {
                    Heard::Line(line) if !matches!(line.trim(), "y" | "Y" | "yes") => terminal.say("it goes on"),
                    // Who asks twice means it, and what was found until now is shown.
                    Heard::Line(_) | Heard::Interrupt => {
                        cancel::cancel(&self.bus, &id).await?;
                    }
                    Heard::End => {}
                },
            }
        }
    }

    async fn question(&self, words: String) -> anyhow::Result<Question> {
        let args = QueryArgs {
            session: Some(self.session.clone()),
            ..QueryArgs::about(words, self.workspace.clone(), self.timeout)
        };
        Question::prepare(args).await
    }

    /// Runs the command of the name.
    async fn command(&mut self, slash: Slash) -> anyhow::Result<Exit> {
        let context = self.context;
        // Whoever is interrupted is dropped.
        let never = CancellationToken::new();
        match slash {
            Slash::Explain(args) => explain::run(context, args).await,
            Slash::History(args) => history::run(context, args, never).await,
            Slash::Answer(args) => answer::run(context, args).await,
            Slash::Watch(args) => watch::run(context, args, never).await,
            Slash::Cancel(args) => cancel::run(context, args).await,
            Slash::Good { id } => feedback::run(context, FeedbackArgs::good(id)).await,
            Slash::Bad { id } => feedback::run(context, FeedbackArgs::bad(id)).await,
            Slash::Queries(args) => queries::run(context, args).await,
            Slash::Workers(args) => workers::run(context, args).await,
            Slash::Strategies => strategies::run(context).await,
            Slash::Plan { words } => {
                let question = self.question(words.join(" ")).await?;
                plan::show(context, &self.bus, &question).await
            }
            Slash::Workspace { dir } => {
                self.workspace = Some(dir);
                Ok(Exit::Success)
            }
            Slash::Help => output::line(&help()).map(|()| Exit::Success),
            Slash::Quit => Ok(Exit::Success),
        }
    }
}
