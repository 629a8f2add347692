//! `axon ask`: publishes a query, shows what happens, prints the one answer.

use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{Answer, QueryId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::display::Display;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::question::{LeftOut, QueryArgs, Question, check_streams, stored_answer};
use crate::waiting::{Attached, Ended, patience};

/// What to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) question: QueryArgs,

    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

pub(crate) async fn run(context: &Context, args: AskArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let question = Question::prepare(args.question).await?;
    let bus = context.connect().await?;
    ask(context, &bus, question, args.quiet, &stop).await
}

/// Asks a prepared question over an open connection and prints its answer.
pub(crate) async fn ask(
    context: &Context,
    bus: &Bus,
    question: Question,
    quiet: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let left_out = question.left_out.clone();
    let answer = pose(context, bus, question, quiet, stop).await?;
    if context.json {
        output::json(&LeftOut::beside(left_out.as_ref(), &answer)?)?;
        return Ok(Exit::of_answer(answer.status));
    }
    print(context, &answer)
}

/// Asks a prepared question over an open connection, shows the progress, and gives back its answer.
pub(crate) async fn pose(
    context: &Context,
    bus: &Bus,
    question: Question,
    quiet: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Answer> {
    let id = question.id.clone();
    check_streams(bus).await?;
    // A subscription sees only what comes after it, so it stands before the query is published.
    let attached = Attached::open(bus, &id).await?;
    if let Some(answer) = stored_answer(bus, &id).await? {
        tracing::warn!(query = %id, "this id was asked before: this is its answer");
        return Ok(answer);
    }
    let mut display = Display::new(quiet);
    display.line(&format!("query {id}"));
    for remark in question.remarks() {
        display.line(&remark);
    }
    question.store(bus).await?;
    if question.publish(context, bus).await?.duplicate {
        display.line("this id is being worked on already: waiting for its answer");
    }
    let patience = patience(question.query.deadline_s);
    let ended = attached
        .answer(Instant::now() + patience, stop, &mut |heard| display.heard(&heard))
        .await;
    drop(display);
    answer_of(&id, ended, patience)
}

/// Prints the answer, or says why there is none and how to go on.
pub(crate) fn finish(context: &Context, id: &QueryId, ended: Ended, patience: Duration) -> anyhow::Result<Exit> {
    print(context, &answer_of(id, ended, patience)?)
}

/// The answer; the error says why there is none and how to go on.
fn answer_of(id: &QueryId, ended: Ended, patience: Duration) -> anyhow::Result<Answer> {
    match ended {
        Ended::Answered(answer) => Ok(*answer),
        Ended::TimeUp(failure) => {
            let why = failure.map_or_else(String::new, |error| format!(" (the last look at it failed: {error})"));
            Err(Failure::new(
                Exit::NoAnswer,
                format!(
                    "no answer within {} s{why}. See whether the fleet is alive with `axon doctor`; the answer, once there, \
                     is shown by `axon answer {id}`",
                    patience.as_secs()
                ),
            )
            .into())
        }
        Ended::Stopped => Err(Failure::new(
            Exit::Interrupted,
            format!("interrupted; the query goes on: `axon watch {id}` shows it, `axon cancel {id}` stops it"),
        )
        .into()),
    }
}

/// Prints an answer; tells the exit code by its status.
pub(crate) fn print(context: &Context, answer: &Answer) -> anyhow::Result<Exit> {
    if context.json {
        output::json(answer)?;
    } else {
        output::line(&text_of(answer))?;
    }
    Ok(Exit::of_answer(answer.status))
}

/// The text that came with the answer; a foreign synthesizer may have written none.
pub(crate) fn text_of(answer: &Answer) -> String {
    if answer.text.is_empty() {
        axon_protocol::to_markdown(answer, axon_protocol::OutputFormat::Markdown)
    } else {
        answer.text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_text_is_written_here() {
        let id = QueryId::new("q1").expect("an id");
        let mut answer = Answer::refused(id, "why?", "no plan", chrono::Utc::now());
        let written = answer.text.clone();
        answer.text = String::new();
        assert_eq!(text_of(&answer), written);
        answer.text = "short".to_owned();
        assert_eq!(text_of(&answer), "short");
    }
}
