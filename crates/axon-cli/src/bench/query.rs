//! `axon bench query`: queries that bring their own plan of diagnostic tasks, from publication to answer.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Format, PlanRequest, Query, QueryId, TaskRequest, ToolCall, header};
use chrono::Utc;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::StageArgs;
use crate::bench::hops::{self, Asked};
use crate::bench::stage::{Cast, Stage, measured};
use crate::bench::statistics::{Latencies, Round};
use crate::context::Context;
use crate::exit::Exit;
use crate::waiting::{Attached, Ended};

/// Queries before the first round.
const WARM_UP_QUERIES: usize = 5;
/// Deadline of each query, in seconds.
const DEADLINE_S: u64 = 60;

/// How to measure queries.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryBenchArgs {
    /// Tasks of each query, independent of each other
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tasks: u32,

    /// Milliseconds each task sleeps; 0 echoes instead
    #[arg(long, value_name = "MS", default_value_t = 100)]
    sleep_ms: u64,

    /// Queries in each round
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,

    /// Queries published and not yet answered, at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    inflight: u32,

    /// Also tell where the time goes: the median of each hop, from what streams and events hold of each query
    #[arg(long)]
    hops: bool,

    #[command(flatten)]
    stage: StageArgs,
}

pub(crate) async fn run(context: &Context, args: QueryBenchArgs) -> anyhow::Result<Exit> {
    let cast = Cast {
        leads: 1,
        synthesizers: 1,
        workers: 2,
        slots: 64,
    };
    let settings = json!({
        "bench": "query",
        "tasks": args.tasks,
        "sleep_ms": args.sleep_ms,
        "n": args.n,
        "inflight": args.inflight,
    });
    measured(context, &args.stage, cast, settings, async |stage| {
        measure(context, stage, &args).await
    })
    .await
}

async fn measure(context: &Context, stage: &Stage, args: &QueryBenchArgs) -> anyhow::Result<Vec<Round>> {
    let query = query(args.tasks as usize, args.sleep_ms);
    let inflight = args.inflight as usize;
    one_round(context, &stage.bus, &query, WARM_UP_QUERIES.max(inflight), inflight).await?;
    let mut rounds = Vec::new();
    for _ in 0..args.stage.rounds {
        let n = args.n as usize;
        let before = stage.cpu();
        let begin = Instant::now();
        let answered = one_round(context, &stage.bus, &query, n, inflight).await?;
        let elapsed = begin.elapsed().as_secs_f64();
        let cpu = stage.cpu();
        let mut figures = vec![("rate", n as f64 / elapsed), ("seconds", elapsed)];
        let (asked, latencies): (Vec<Asked>, Vec<Duration>) = answered.into_iter().unzip();
        figures.extend(Latencies::new(latencies).figures());
        figures.extend(cpu.per(before, n));
        if args.hops {
            figures.extend(hops::figures(&stage.bus, &asked).await?);
        }
        rounds.push(figures);
    }
    Ok(rounds)
}

async fn one_round(
    context: &Context,
    bus: &Bus,
    query: &Query,
    n: usize,
    inflight: usize,
) -> anyhow::Result<Vec<(Asked, Duration)>> {
    stream::iter(0..n)
        .map(|_| one(context, bus, query))
        .buffer_unordered(inflight)
        .try_collect()
        .await
}

/// From before the publication until the answer is read; an answer that is not complete fails the measurement.
async fn one(context: &Context, bus: &Bus, query: &Query) -> anyhow::Result<(Asked, Duration)> {
    let id = QueryId::generate();
    let mut attached = Attached::quietly(bus, &id).await?;
    let message = Message::new(bus.namespace().queries(), Format::Msgpack, query)?
        .with(header::MESSAGE_ID, id.as_str())
        .with(header::CLIENT, context.client.as_str());
    let (begin, published_at) = (Instant::now(), Utc::now());
    bus.publish(message).await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(DEADLINE_S + 30);
    match attached.answer_by(until, &CancellationToken::new(), &mut |_| {}).await {
        Ended::Answered(answer) if answer.status == AnswerStatus::Complete => {
            let (latency, read_at) = (begin.elapsed(), Utc::now());
            let asked = Asked {
                id,
                published_at,
                read_at,
            };
            Ok((asked, latency))
        }
        Ended::Answered(answer) => anyhow::bail!(
            "the answer of query {id} is {}: {}",
            answer.status.as_str(),
            answer
                .error
                .or_else(|| answer.missing.first().map(|part| part.reason.clone()))
                .unwrap_or_default()
        ),
        Ended::TimeUp(_) | Ended::Stopped => {
            anyhow::bail!("query {id} got no answer within {DEADLINE_S} s and 30 more")
        }
    }
}

fn query(tasks: usize, sleep_ms: u64) -> Query {
    let (tool, params) = match sleep_ms {
        0 => ("diag.echo", json!({ "body": "x" })),
        ms => ("diag.sleep", json!({ "ms": ms })),
    };
    let task = TaskRequest {
        objective: "measure".to_owned(),
        calls: vec![ToolCall {
            tool_id: "c1".to_owned(),
            tool_name: tool.to_owned(),
            params,
            outputs: Vec::new(),
            inputs: Vec::new(),
            priority: axon_protocol::PRIORITY_DEFAULT,
        }],
        ..TaskRequest::default()
    };
    Query {
        deadline_s: Some(DEADLINE_S),
        plan: Some(PlanRequest {
            tasks: vec![task; tasks],
        }),
        ..Query::new("bench")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_is_an_echo() {
        for (sleep_ms, tool) in [(0, "diag.echo"), (100, "diag.sleep")] {
            let query = query(10, sleep_ms);
            assert!(query.check().is_ok());
            let tasks = query.plan.expect("a plan").tasks;
            assert_eq!(tasks.len(), 10);
            assert!(tasks.iter().all(|task| task.calls[0].tool_name == tool));
        }
    }
}
