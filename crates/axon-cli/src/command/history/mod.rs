//! `axon history`: every message of a query that is still kept, in order of time, and the query once more, from what was
//! recorded of it or with another strategy, with the difference between the two answers.

mod difference;
mod lines;
mod replay;
mod retention;

use axon_bus::{Bus, StoredMessage};
use axon_protocol::QueryId;
use chrono::Utc;
use tokio_util::sync::CancellationToken;

use self::lines::{HEAD, Line, Messages, Selection, accepted_at, lines, row};
use crate::command::watch::{is_known, unknown};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::kept;
use crate::output::{self, counted};
use crate::question::check_streams;

/// Which query, and what to do with its history.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    selection: Selection,

    /// Ask the query again with the recorded results of its tasks, and show the difference
    #[arg(long, conflicts_with_all = ["kind", "task", "since", "limit", "full"])]
    replay: bool,

    /// With --replay: work on it for real, with this strategy
    #[arg(long, value_name = "NAME", requires = "replay")]
    strategy: Option<String>,

    /// With --replay: show no progress
    #[arg(long, short, requires = "replay")]
    quiet: bool,
}

pub(crate) async fn run(context: &Context, args: HistoryArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    if args.replay {
        let id = QueryId::new(args.id)?;
        return replay::run(context, &bus, &id, args.strategy, args.quiet, &stop).await;
    }
    list(context, &bus, args).await
}

/// Lists the messages of a query.
async fn list(context: &Context, bus: &Bus, args: HistoryArgs) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let messages = read(bus, &id).await?;
    let planned = kept::planned(bus, &id).await?;
    let plan = planned.as_ref().and_then(|planned| planned.plan.as_ref());
    let accepted_at = accepted_at(&messages).or(plan.map(|plan| plan.created_at));
    let Some(accepted_at) = accepted_at else {
        if planned.is_some() || is_known(bus, &id).await? {
            output::line(&format!("nothing was said about query {id} yet: it waits for a lead"))?;
            return Ok(Exit::Success);
        }
        return Err(unknown(&id));
    };
    let all = lines(&messages, accepted_at, args.selection.full);
    let of_plan =
        |task: &str| plan.is_some_and(|plan| plan.task_delegations.iter().any(|one| one.task_id.as_str() == task));
    if let Some(task) = args.selection.task_missing_in(&all).filter(|task| !of_plan(task)) {
        let message = format!("query {id} has no task `{task}`: `axon history {id} --kind task` lists those it has");
        return Err(Failure::not_found(message).into());
    }
    let (lines, more) = args.selection.of(all);
    if context.json {
        for line in &lines {
            output::json_line(line)?;
        }
        return Ok(Exit::Success);
    }
    output::line(&text_of(&lines))?;
    if more > 0 {
        output::line(&format!("{} more: raise --limit", counted(more, "message")))?;
    }
    if planned.as_ref().is_some_and(|planned| planned.cancelled) {
        output::line("somebody cancelled the query, as the record of its plan says")?;
    }
    for remark in retention::remarks(&retention::read(bus).await?, accepted_at, Utc::now()) {
        output::line(&remark)?;
    }
    Ok(Exit::Success)
}

async fn read(bus: &Bus, id: &QueryId) -> anyhow::Result<Messages> {
    let mut queries = Vec::new();
    for copy in kept::queries(bus, id).await? {
        queries.push(whole(bus, copy).await);
    }
    let mut tasks = Vec::new();
    for (copy, subject) in kept::tasks(bus, id).await? {
        tasks.push((whole(bus, copy).await, subject));
    }
    Ok(Messages {
        queries,
        tasks,
        events: kept::events(bus, id).await?,
        results: kept::results(bus, id).await?,
        letters: kept::letters(bus, id).await?,
        syntheses: kept::syntheses(bus, id).await?,
        answer: kept::answer(bus, id).await?,
    })
}

/// A message with its real payload, as long as that is kept.
async fn whole(bus: &Bus, message: StoredMessage) -> StoredMessage {
    bus.resolved(message.clone()).await.unwrap_or(message)
}

/// One row a message; payloads stand below their rows.
fn text_of(lines: &[Line]) -> String {
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let table = output::table(&HEAD, &rows);
    let mut out = Vec::new();
    let mut shown = table.lines();
    out.extend(shown.next().map(str::to_owned));
    for (line, row) in lines.iter().zip(shown) {
        out.push(row.to_owned());
        if let Some(payload) = &line.payload {
            let pretty = serde_json::to_string_pretty(payload).unwrap_or_default();
            out.extend(pretty.lines().map(|line| format!("    {line}")));
        }
    }
    out.join("\n")
}
