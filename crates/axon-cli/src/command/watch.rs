//! `axon watch`: what happened and happens to a query, then its answer.

use std::collections::BTreeSet;
use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{PlanRecord, QueryId, Stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::ask::finish;
use crate::context::Context;
use crate::display::Display;
use crate::exit::{Exit, Failure};
use crate::kept;
use crate::output;
use crate::question::stored_answer;
use crate::waiting::{Attached, Ended, Heard, patience};

/// Queued queries among which an id is looked for.
const QUEUED_MAX: usize = 10_000;

/// Which query.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,

    /// Seconds to wait for the answer [default: until its deadline]
    #[arg(long, value_name = "S")]
    wait: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: WatchArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let bus = context.connect().await?;
    let mut attached = Attached::open(&bus, &id).await?;
    let past = heard_until_now(&bus, &id).await?;
    let answer = stored_answer(&bus, &id).await?;
    if past.is_empty() && answer.is_none() && !is_known(&bus, &id).await? {
        return Err(unknown(&id));
    }
    let mut display = Display::new(context.json);
    // Events that came between the subscription and the reading are in both.
    let mut seen = BTreeSet::new();
    let mut show = |heard: Heard| {
        if let Heard::Event(event) = &heard {
            let Ok(line) = serde_json::to_string(event) else {
                return;
            };
            if seen.contains(&line) {
                return;
            }
            if context.json {
                // A reader that went away is noticed by the answer at the latest.
                let _ = output::line(&line);
            }
            seen.insert(line);
        }
        display.heard(&heard);
    };
    past.into_iter().for_each(&mut show);
    let patience = args.wait.map_or_else(|| patience(None), Duration::from_secs);
    let until = Instant::now() + patience;
    let ended = match answer {
        Some(answer) => Ended::Answered(Box::new(answer)),
        None if args.wait.is_some() => attached.answer_by(until, &stop, &mut show).await,
        None => attached.answer(until, &stop, &mut show).await,
    };
    drop(display);
    match ended {
        Ended::Answered(answer) if context.json => {
            output::json_line(&answer)?;
            Ok(Exit::of_answer(answer.status))
        }
        ended => finish(context, &id, ended, patience),
    }
}

/// What was told of a query until now and which results it has, in order of time.
async fn heard_until_now(bus: &Bus, id: &QueryId) -> anyhow::Result<Vec<Heard>> {
    let events = kept::events(bus, id).await?.into_iter();
    let results = kept::results(bus, id).await?.into_iter();
    let mut heard: Vec<_> = events
        .map(|(message, event)| (message.stored_at, Heard::Event(event)))
        .chain(results.map(|(message, result)| (message.stored_at, Heard::Result(Box::new(result)))))
        .collect();
    heard.sort_by_key(|(at, _)| *at);
    Ok(heard.into_iter().map(|(_, heard)| heard).collect())
}

/// Whether a query of this id is planned or queued.
pub(crate) async fn is_known(bus: &Bus, id: &QueryId) -> anyhow::Result<bool> {
    let plans = bus.table::<PlanRecord>(axon_protocol::Bucket::Plans);
    Ok(
        plans.get(id.as_str()).await?.is_some()
            || queued(bus, QUEUED_MAX).await?.iter().any(|(queued, _)| queued == id),
    )
}

/// The queries in the queue, waiting or worked on, with what was published.
pub(crate) async fn queued(bus: &Bus, limit: usize) -> anyhow::Result<Vec<(QueryId, axon_bus::StoredMessage)>> {
    let stored = bus
        .messages(Stream::Queries, &bus.namespace().queries(), 0, limit)
        .await?;
    let with_id = stored.into_iter().filter_map(|message| {
        let given = message.headers.get(axon_protocol::header::MESSAGE_ID);
        let id = QueryId::of_published(given.map(String::as_str), message.sequence)?;
        Some((id, message))
    });
    Ok(with_id.collect())
}

pub(crate) fn unknown(id: &QueryId) -> anyhow::Error {
    Failure::not_found(format!(
        "no query `{id}` is known here: `axon queries` lists them; answers are kept for 7 days"
    ))
    .into()
}
