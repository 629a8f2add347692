//! `axon answer`: prints the answer of a query that was asked before.

use axon_protocol::QueryId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::ask::{finish, print};
use crate::command::watch::{is_known, unknown};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::question::{check_streams, stored_answer};
use crate::waiting::Attached;

/// Which answer.
#[derive(Debug, clap::Args)]
pub(crate) struct AnswerArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,

    /// Seconds to wait for it
    #[arg(long, value_name = "S", default_value_t = 0)]
    wait: u64,
}

pub(crate) async fn run(context: &Context, args: AnswerArgs) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let mut attached = Attached::quietly(&bus, &id).await?;
    if let Some(answer) = stored_answer(&bus, &id).await? {
        return print(context, &answer);
    }
    if args.wait == 0 {
        return Err(match is_known(&bus, &id).await? {
            true => Failure::new(
                Exit::NoAnswer,
                format!("query {id} is not answered yet: `axon watch {id}` shows it, `--wait S` waits"),
            )
            .into(),
            false => unknown(&id),
        });
    }
    let patience = std::time::Duration::from_secs(args.wait);
    let ended = attached
        .answer_by(Instant::now() + patience, &CancellationToken::new(), &mut |_| {})
        .await;
    finish(context, &id, ended, patience)
}
