//! `axon plan`: a dry run. A lead analyses and plans the query; nothing is run.

use std::time::Duration;

use axon_bus::{Bus, Delivery, Message};
use axon_protocol::{ExecutionPlan, Format, header};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::question::{LeftOut, QueryArgs, Question, check_streams};

/// How long a lead may take to plan, the reading of the workspace's manifest included.
const PLAN_TIMEOUT: Duration = Duration::from_secs(20);

/// What to plan.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    question: QueryArgs,
}

pub(crate) async fn run(context: &Context, args: PlanArgs) -> anyhow::Result<Exit> {
    let question = Question::prepare(args.question).await?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    show(context, &bus, &question).await
}

/// Prints what a lead plans for a question.
pub(crate) async fn show(context: &Context, bus: &Bus, question: &Question) -> anyhow::Result<Exit> {
    question.remarks().for_each(|remark| eprintln!("{remark}"));
    let plan = planned(context, bus, question).await?;
    if context.json {
        output::json(&LeftOut::beside(question.left_out.as_ref(), &plan)?)?;
    } else {
        output::line(&plan.to_string())?;
    }
    Ok(Exit::Success)
}

/// What a lead plans for a question.
pub(crate) async fn planned(context: &Context, bus: &Bus, question: &Question) -> anyhow::Result<ExecutionPlan> {
    question.store(bus).await?;
    let request = Message::new(bus.namespace().plan(), Format::Msgpack, &question.query)?
        .with(header::MESSAGE_ID, question.id.as_str())
        .with(header::CLIENT, context.client.as_str());
    let reply = match bus.request(&request, PLAN_TIMEOUT).await {
        Ok(reply) => reply,
        Err(error) => {
            let message = format!("no lead is running that could plan it ({error}): start one, e.g. with `axon up`");
            return Err(Failure::new(Exit::NoAnswer, message).into());
        }
    };
    if let Some(refusal) = refusal(&reply) {
        return Err(Failure::bad_input(refusal).into());
    }
    Ok(reply.decode().await?)
}

/// What a micro service says when it refuses a request.
fn refusal(reply: &Delivery) -> Option<String> {
    let said = reply.header("Nats-Service-Error")?;
    Some(format!("the lead refuses the query: {said}"))
}
