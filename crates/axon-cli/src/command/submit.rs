//! `axon submit`: publishes a query and prints its id. The acknowledgement is the acceptance.

use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::question::{QueryArgs, Question, check_streams};

/// What to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    question: QueryArgs,
}

pub(crate) async fn run(context: &Context, args: SubmitArgs) -> anyhow::Result<Exit> {
    let question = Question::prepare(args.question).await?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    question.store(&bus).await?;
    let published = question.publish(context, &bus).await?;
    if context.json {
        output::json(&json!({
            "id": question.id,
            "sequence": published.sequence,
            "duplicate": published.duplicate,
        }))?;
    } else {
        output::line(question.id.as_str())?;
    }
    Ok(Exit::Success)
}
