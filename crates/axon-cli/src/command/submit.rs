//! `axon submit`: publishes a query and prints its id. The acknowledgement is the acceptance.

use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::question::{LeftOut, QueryArgs, Question, check_streams};

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
    question.remarks().for_each(|remark| eprintln!("{remark}"));
    question.store(&bus).await?;
    let published = question.publish(context, &bus).await?;
    if context.json {
        let accepted = json!({
            "id": question.id,
            "sequence": published.sequence,
            "duplicate": published.duplicate,
        });
        output::json(&LeftOut::beside(question.left_out.as_ref(), &accepted)?)?;
    } else {
        output::line(question.id.as_str())?;
    }
    Ok(Exit::Success)
}
