//! What a line of the console says. Pure: it asks and prints nothing.

use std::path::PathBuf;

use axon_protocol::QueryId;
use clap::{CommandFactory as _, Parser as _};

use crate::command::{
    answer::AnswerArgs, cancel::CancelArgs, explain::ExplainArgs, history::HistoryArgs, queries::QueriesArgs,
    watch::WatchArgs, workers::WorkersArgs,
};

/// Commands about one query: the last one where none is named.
const ABOUT_ONE: [&str; 7] = ["/answer", "/bad", "/cancel", "/explain", "/good", "/history", "/watch"];

/// What a line says.
#[derive(Debug)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// A question.
    Question(String),
    /// A command.
    Slash(Slash),
}

/// The commands of the console.
#[derive(Debug, clap::Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
#[command(help_template = "A line is a question; these are the commands:\n{subcommands}")]
pub(super) enum Slash {
    /// Analyse and plan a question without asking it
    #[command(name = "/plan")]
    Plan {
        /// The question
        #[arg(
            value_name = "QUESTION",
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        words: Vec<String>,
    },
    /// Explain how a query was understood, planned and worked on [ID: the last one]
    #[command(name = "/explain")]
    Explain(ExplainArgs),
    /// List the messages of a query, or replay it [ID: the last one]
    #[command(name = "/history")]
    History(HistoryArgs),
    /// Print the answer of a query [ID: the last one]
    #[command(name = "/answer")]
    Answer(AnswerArgs),
    /// Show what happens to a query, then its answer [ID: the last one]
    #[command(name = "/watch")]
    Watch(WatchArgs),
    /// Stop a query [ID: the last one]
    #[command(name = "/cancel")]
    Cancel(CancelArgs),
    /// Say that an answer was good [ID: the last one]
    #[command(name = "/good")]
    Good {
        /// Id of the query
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Say that an answer was bad [ID: the last one]
    #[command(name = "/bad")]
    Bad {
        /// Id of the query
        #[arg(value_name = "ID")]
        id: String,
    },
    /// List queries
    #[command(name = "/queries")]
    Queries(QueriesArgs),
    /// List the processes of the fleet
    #[command(name = "/workers")]
    Workers(WorkersArgs),
    /// List strategies and how well they did
    #[command(name = "/strategies")]
    Strategies,
    /// Ask about this directory from now on
    #[command(name = "/workspace")]
    Workspace {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// List the commands
    #[command(name = "/help")]
    Help,
    /// Leave
    #[command(name = "/quit", alias = "/exit")]
    Quit,
}

/// Reads a line. `last` is the question asked last. The error says what is wrong with the line.
pub(super) fn parse(line: &str, last: Option<&QueryId>) -> Result<Said, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Said::Nothing);
    }
    if !line.starts_with('/') {
        return Ok(Said::Question(line.to_owned()));
    }
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let unnamed = words.get(1).is_none_or(|word| word.starts_with('-'));
    if ABOUT_ONE.contains(&words[0]) && unnamed {
        let last = last.ok_or_else(|| format!("nothing was asked yet: name a query, `{} ID`", words[0]))?;
        words.insert(1, last.as_str());
    }
    Slash::try_parse_from(words).map(Said::Slash).map_err(|error| {
        let said = error.to_string();
        format!("{}; /help lists the commands", what_is_wrong(&said))
    })
}

/// What an error of the command line says before it shows the usage: its first paragraph, in which what is missing stands
/// on lines of its own.
fn what_is_wrong(said: &str) -> String {
    let paragraph = said.lines().take_while(|line| !line.trim().is_empty());
    let words: Vec<&str> = paragraph.flat_map(str::split_whitespace).collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

/// The commands, for people.
pub(super) fn help() -> String {
    Slash::command().render_help().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line says, in short, where `q7` was asked last.
    fn said(line: &str) -> String {
        let last = QueryId::new("q7").expect("an id");
        match parse(line, Some(&last)) {
            Ok(Said::Nothing) => "nothing".to_owned(),
            Ok(Said::Question(words)) => format!("question {words}"),
            Ok(Said::Slash(slash)) => format!("{slash:?}"),
            Err(error) => format!("error {error}"),
        }
    }

    #[test]
    fn a_line_is_a_question_or_a_command() {
        for (line, expected) in [
            ("  ", "nothing"),
            (" why does it fail? ", "question why does it fail?"),
            ("what is /etc for?", "question what is /etc for?"),
            ("/explain", "Explain(ExplainArgs { id: \"q7\" })"),
            ("/explain q1", "Explain(ExplainArgs { id: \"q1\" })"),
            ("/good", "Good { id: \"q7\" }"),
            ("/quit", "Quit"),
            ("/exit", "Quit"),
            ("/plan why --so?", "Plan { words: [\"why\", \"--so?\"] }"),
            ("/workspace src", "Workspace { dir: \"src\" }"),
        ] {
            assert_eq!(said(line), expected, "{line}");
        }
        let history = said("/history --kind event --limit 3");
        assert!(
            history.contains("id: \"q7\"") && history.contains("limit: Some(3)"),
            "{history}"
        );
    }

    #[test]
    fn a_line_that_is_neither_says_what_to_do() {
        for (line, expected) in [
            ("/nonsense", "/nonsense"),
            ("/plan", "<QUESTION>"),
            ("/workspace", "<DIR>"),
            ("/history --kind nothing", "nothing"),
        ] {
            let error = said(line);
            assert!(
                error.starts_with("error ") && error.contains(expected),
                "{line}: {error}"
            );
            assert!(error.ends_with("/help lists the commands"), "{line}: {error}");
        }
        let error = parse("/explain", None).expect_err("nothing was asked");
        assert!(error.contains("nothing was asked yet"), "{error}");
    }

    #[test]
    fn help_names_every_command() {
        let help = help();
        for command in Slash::command().get_subcommands() {
            assert!(help.contains(command.get_name()), "{}: {help}", command.get_name());
        }
    }
}
