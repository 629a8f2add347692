//! `axon bench burst`: as many tasks as there are idle one-slot workers, all at once. Tells how many workers had one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::{Bus, Message, Routes};
use axon_protocol::{Band, Capability, QueryId, Route, TaskResult, TaskStatus};
use serde_json::json;

use crate::bench::StageArgs;
use crate::bench::stage::{Cast, measured};
use crate::bench::statistics::Round;
use crate::bench::tasks::{settle, task};
use crate::context::Context;
use crate::exit::Exit;

/// No result for so long means that something is stuck.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How to measure a burst.
#[derive(Debug, clap::Args)]
pub(crate) struct BurstArgs {
    /// Tasks of the burst
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: u32,

    /// Milliseconds each task sleeps
    #[arg(long, value_name = "MS", default_value_t = 200)]
    sleep_ms: u64,

    #[command(flatten)]
    stage: StageArgs,
}

pub(crate) async fn run(context: &Context, args: BurstArgs) -> anyhow::Result<Exit> {
    let cast = Cast {
        leads: 0,
        synthesizers: 0,
        workers: 200,
        slots: 1,
    };
    let settings = json!({
        "bench": "burst",
        "tasks": args.tasks,
        "sleep_ms": args.sleep_ms,
    });
    measured(context, &args.stage, cast, settings, async |stage| {
        measure(&stage.bus, &args).await
    })
    .await
}

async fn measure(bus: &Bus, args: &BurstArgs) -> anyhow::Result<Vec<Round>> {
    let route = Routes::new(bus).ensure(&[Capability::diagnostics()].into()).await?;
    let mut rounds = Vec::new();
    for _ in 0..args.stage.rounds {
        let begin = Instant::now();
        let by_worker = one_burst(bus, &route, args.tasks as usize, args.sleep_ms).await?;
        let elapsed = begin.elapsed().as_secs_f64();
        rounds.push(vec![
            ("workers_used", by_worker.len() as f64),
            (
                "tasks_per_worker_max",
                by_worker.values().copied().max().unwrap_or_default() as f64,
            ),
            ("seconds", elapsed),
        ]);
    }
    Ok(rounds)
}

/// How many tasks each worker did.
async fn one_burst(bus: &Bus, route: &Route, n: usize, sleep_ms: u64) -> anyhow::Result<BTreeMap<String, usize>> {
    let query = QueryId::generate();
    let mut accepted = bus.subscribe(bus.namespace().accepted_of(&query)).await?;
    let mut messages = Vec::with_capacity(n);
    for index in 1..=n {
        let task = task(
            &query,
            index,
            "diag.sleep",
            json!({ "ms": sleep_ms }),
            chrono::Utc::now(),
        );
        let subject = bus
            .namespace()
            .task(route, Band::Normal, &query, task.delegation.task_id.as_str());
        messages.push(Message::plain(subject, &task)?);
    }
    let queued = bus.queue(&query, messages).await;
    queued.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut by_worker = BTreeMap::new();
    for done in 0..n {
        let delivery = tokio::time::timeout(STALL_TIMEOUT, accepted.next())
            .await
            .with_context(|| {
                format!(
                    "{} of {n} results are missing and none came for {STALL_TIMEOUT:?}",
                    n - done
                )
            })?
            .context("the subscription ended")?;
        let result: TaskResult = delivery.decode().await?;
        anyhow::ensure!(
            result.status == TaskStatus::Complete,
            "task {} is {}: {}",
            result.task_id,
            result.status.as_str(),
            result.reason.unwrap_or_default()
        );
        let worker = result.worker.map_or_else(String::new, |worker| worker.to_string());
        *by_worker.entry(worker).or_default() += 1;
    }
    settle(bus).await?;
    Ok(by_worker)
}
