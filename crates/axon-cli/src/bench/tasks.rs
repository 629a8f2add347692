//! `axon bench tasks`: publishes echo tasks directly, as a lead would, and collects what the stream of results accepts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::{Bus, Message, Routes};
use axon_protocol::{
    Band, Budget, Capability, OutputFormat, QueryId, Route, Stream, Task, TaskBoundaries, TaskDelegation, TaskId,
    TaskResult, TaskStatus, ToolCall,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::bench::StageArgs;
use crate::bench::stage::{Cast, Stage, measured};
use crate::bench::statistics::{Latencies, Round};
use crate::context::Context;
use crate::exit::Exit;

/// Tasks before the first round, so that consumers, pulls and caches stand.
const WARM_UP_TASKS: usize = 200;
/// Tasks that are queued together, at most: what there is room for, as a lead queues what has become ready.
const TOGETHER_MAX: usize = 64;
/// Nothing accepted for so long means that something is stuck.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last acknowledgements may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to measure tasks.
#[derive(Debug, clap::Args)]
pub(crate) struct TasksArgs {
    /// Tasks in each round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,

    /// Tasks published and not yet collected, at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    inflight: u32,

    /// Bytes each task echoes
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    payload: usize,

    #[command(flatten)]
    stage: StageArgs,
}

pub(crate) async fn run(context: &Context, args: TasksArgs) -> anyhow::Result<Exit> {
    let cast = Cast {
        leads: 0,
        synthesizers: 0,
        workers: 2,
        slots: 256,
    };
    let settings = json!({
        "bench": "tasks",
        "n": args.n,
        "inflight": args.inflight,
        "payload_bytes": args.payload,
    });
    measured(context, &args.stage, cast, settings, async |stage| {
        measure(stage, &args).await
    })
    .await
}

async fn measure(stage: &Stage, args: &TasksArgs) -> anyhow::Result<Vec<Round>> {
    let route = Routes::new(&stage.bus)
        .ensure(&[Capability::diagnostics()].into())
        .await?;
    let inflight = args.inflight as usize;
    one_round(&stage.bus, &route, WARM_UP_TASKS, inflight, args.payload)
        .await
        .context("warming up")?;
    let mut rounds = Vec::new();
    for _ in 0..args.stage.rounds {
        let n = args.n as usize;
        let before = stage.cpu();
        let (elapsed, latencies) = one_round(&stage.bus, &route, n, inflight, args.payload).await?;
        let mut figures = vec![
            ("rate", n as f64 / elapsed.as_secs_f64()),
            ("seconds", elapsed.as_secs_f64()),
        ];
        figures.extend(latencies.figures());
        figures.extend(stage.cpu().per(before, n));
        rounds.push(figures);
    }
    Ok(rounds)
}

/// Publishes `n` tasks of a query of their own, at most `inflight` at once, until all results are accepted.
async fn one_round(
    bus: &Bus,
    route: &Route,
    n: usize,
    inflight: usize,
    payload: usize,
) -> anyhow::Result<(Duration, Latencies)> {
    let query = QueryId::generate();
    let mut accepted = bus.subscribe(bus.namespace().accepted_of(&query)).await?;
    let permits = Arc::new(Semaphore::new(inflight));
    let begin = Instant::now();
    let (publishing, mut failures) = publish_all(bus, route, &query, n, payload, permits.clone(), begin);
    let mut collected: Vec<Option<(Duration, axon_bus::Delivery)>> = (0..n).map(|_| None).collect();
    let mut missing = n;
    while missing > 0 {
        let delivery = tokio::select! {
            delivery = accepted.next() => delivery.context("the subscription ended")?,
            Some(error) = failures.recv() => return Err(error),
            () = tokio::time::sleep(STALL_TIMEOUT) => anyhow::bail!(
                "{missing} of {n} results are missing and none came for {STALL_TIMEOUT:?}: see the logs of the workers"
            ),
        };
        let at = begin.elapsed();
        let index = bus
            .namespace()
            .last_token_task(delivery.subject())
            .and_then(|task| task.as_str().strip_prefix('t')?.parse::<usize>().ok())
            .and_then(|number| number.checked_sub(1))
            .context("a result has a task's id that was never published")?;
        let slot = collected
            .get_mut(index)
            .context("a result has a task's id that was never published")?;
        anyhow::ensure!(slot.is_none(), "two results were accepted for one task");
        *slot = Some((at, delivery));
        missing -= 1;
        permits.add_permits(1);
    }
    let elapsed = begin.elapsed();
    // The clock has stopped: what follows is proof, not work.
    let published_at = publishing.await.context("publishing broke off")?;
    let mut latencies = Vec::with_capacity(n);
    for ((at, delivery), published) in collected.into_iter().flatten().zip(published_at) {
        let result: TaskResult = delivery.decode().await?;
        anyhow::ensure!(
            result.status == TaskStatus::Complete,
            "task {} is {}: {}",
            result.task_id,
            result.status.as_str(),
            result.reason.unwrap_or_default()
        );
        latencies.push(at.saturating_sub(published));
    }
    settle(bus).await?;
    Ok((elapsed, Latencies::new(latencies)))
}

/// Publishes in the background; yields when each task was published, counted from `begin`.
fn publish_all(
    bus: &Bus,
    route: &Route,
    query: &QueryId,
    n: usize,
    payload: usize,
    permits: Arc<Semaphore>,
    begin: Instant,
) -> (tokio::task::JoinHandle<Vec<Duration>>, mpsc::Receiver<anyhow::Error>) {
    let (bus, route, query) = (bus.clone(), route.clone(), query.clone());
    let (failed, failures) = mpsc::channel(1);
    let publishing = tokio::spawn(async move {
        let body = "x".repeat(payload);
        let mut published_at = Vec::with_capacity(n);
        let mut acknowledged = JoinSet::new();
        let mut messages = Vec::new();
        for index in 1..=n {
            let Ok(permit) = permits.acquire().await else { break };
            // The collector gives the permit back.
            permit.forget();
            match message(&bus, &route, &query, index, &body) {
                Ok(message) => messages.push(message),
                Err(error) => {
                    let _ = failed.try_send(error);
                    break;
                }
            }
            published_at.push(begin.elapsed());
            if messages.len() < TOGETHER_MAX && index < n && permits.available_permits() > 0 {
                continue;
            }
            let (bus, query, failed) = (bus.clone(), query.clone(), failed.clone());
            let messages = std::mem::take(&mut messages);
            acknowledged.spawn(async move {
                for queued in bus.queue(&query, messages).await {
                    if let Err(error) = queued {
                        // The first failure ends the measurement; later ones have nobody to tell.
                        let _ = failed.try_send(error.into());
                    }
                }
            });
            while acknowledged.try_join_next().is_some() {}
        }
        while acknowledged.join_next().await.is_some() {}
        published_at
    });
    (publishing, failures)
}

fn message(bus: &Bus, route: &Route, query: &QueryId, index: usize, body: &str) -> anyhow::Result<Message> {
    let task = task(query, index, "diag.echo", json!({ "body": body }), chrono::Utc::now());
    let name = task.delegation.task_id.to_string();
    let subject = bus.namespace().task(route, Band::Normal, query, &name);
    Ok(Message::plain(subject, &task)?)
}

/// One task with one tool call, as a lead would publish it.
pub(crate) fn task(
    query: &QueryId,
    index: usize,
    tool: &str,
    params: Value,
    now: chrono::DateTime<chrono::Utc>,
) -> Task {
    Task {
        query_id: query.clone(),
        query: "bench".to_owned(),
        delegation: TaskDelegation {
            task_id: TaskId::from_index(index),
            objective: "measure".to_owned(),
            output_format: OutputFormat::Json,
            allowed_tools: vec![tool.to_owned()],
            boundaries: TaskBoundaries {
                scope: Vec::new(),
                constraints: Vec::new(),
                max_tool_calls: 1,
                timeout_ms: 60_000,
            },
            priority: axon_protocol::PRIORITY_DEFAULT,
            required_capabilities: vec![Capability::diagnostics()],
            context: Value::Null,
            dependencies: Vec::new(),
            key_questions: Vec::new(),
            aspect: String::new(),
            playbook: String::new(),
            calls: vec![ToolCall {
                tool_id: "c1".to_owned(),
                tool_name: tool.to_owned(),
                params,
                outputs: Vec::new(),
                inputs: Vec::new(),
                priority: axon_protocol::PRIORITY_DEFAULT,
            }],
            budget: Budget::default(),
            added: false,
        },
        workspace: None,
        deadline: now + chrono::Duration::seconds(300),
        attempt: 1,
        upstream: Vec::new(),
        spent: Default::default(),
        replay: None,
    }
}

/// Waits until every task is acknowledged: a result without its acknowledgement would be done again.
pub(crate) async fn settle(bus: &Bus) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let left = bus.status(Stream::Tasks).await?.messages;
        if left == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < until,
            "{left} tasks have a result and are not acknowledged"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
