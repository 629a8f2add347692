//! `axon bench tools`: how close the executor comes to the shortest time in which a graph of tools can run. Needs no server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axon_protocol::{RunStatistics, ToolCall};
use axon_tools::{CALLS_MAX, CallContext, Config, Executor, PROCESS_TOOLS_MAX, Toolbox};
use serde_json::{Value, json};

use crate::bench::traces::{Numbers, Workflow, made_up};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;

/// Tools of a small graph.
const TOOLS: usize = 20;
/// Most tools one of them may need.
const NEEDS_MAX: usize = 3;

/// How to measure the executor.
#[derive(Debug, clap::Args)]
pub(crate) struct ToolsBenchArgs {
    /// Tools at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=20))]
    slots: u8,

    /// Random graphs of 20 tools
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    graphs: u32,

    /// Least time a workflow takes, in seconds: its tasks are shortened or stretched to that
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,

    /// Traces of workflows in the JSON format of WfCommons; six made-up ones if absent
    #[arg(long, value_name = "FILE")]
    trace: Vec<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: ToolsBenchArgs) -> anyhow::Result<Exit> {
    if !(0.1..=600.0).contains(&args.seconds) {
        return Err(Failure::bad_input(format!("--seconds {}: use 0.1 to 600", args.seconds)).into());
    }
    let slots = usize::from(args.slots).min(PROCESS_TOOLS_MAX);
    let config = Config {
        max_concurrent_tools: slots,
        tool_timeout_ms: 3_600_000,
        ..context.tools.clone()
    };
    let toolbox = Toolbox::standard(&config).context("cannot make the tools")?;
    let executor = Executor::new(config, Arc::new(toolbox));

    let mut small = Vec::new();
    for seed in 0..args.graphs {
        small.push(measure(&executor, random_graph(u64::from(seed))).await?.makespan_ratio);
    }
    let mut independent = Vec::new();
    for tools in [3, 5, 10] {
        let calls = (0..tools).map(|index| sleep(index, 100, Vec::new())).collect();
        let statistics = measure(&executor, calls).await?;
        independent.push(json!({"tools": tools, "time_saved_percent": rounded(statistics.time_saved_percent)}));
    }
    let texts = match args.trace.as_slice() {
        [] => made_up(),
        files => files
            .iter()
            .map(|file| std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display())))
            .collect::<anyhow::Result<_>>()?,
    };
    let mut traces: Vec<Value> = Vec::new();
    for text in texts {
        let workflow = Workflow::read(&text).map_err(|error| Failure::bad_input(format!("{error:#}")))?;
        if workflow.tasks.len() > CALLS_MAX {
            let message = format!(
                "`{}` has {} tasks, more than {CALLS_MAX}",
                workflow.name,
                workflow.tasks.len()
            );
            return Err(Failure::bad_input(message).into());
        }
        let statistics = measure(&executor, workflow.calls(slots, args.seconds)).await?;
        traces.push(json!({
            "trace": workflow.name,
            "tasks": workflow.tasks.len(),
            "makespan_ratio": rounded(statistics.makespan_ratio),
            "best_possible_ratio": rounded(workflow.tightness(slots)),
            "time_saved_percent": rounded(statistics.time_saved_percent),
        }));
    }
    output::json(&json!({
        "bench": "tools",
        "slots": slots,
        "graphs_of_20": {
            "graphs": small.len(),
            "makespan_ratio_mean": rounded(mean(&small)),
            "makespan_ratio_max": rounded(small.iter().copied().fold(0.0, f64::max)),
        },
        "independent": independent,
        "traces": {
            "best_possible_ratio_mean": rounded(mean(&traces.iter().filter_map(|trace| trace["best_possible_ratio"].as_f64()).collect::<Vec<_>>())),
            "makespan_ratio_mean": rounded(mean(&traces.iter().filter_map(|trace| trace["makespan_ratio"].as_f64()).collect::<Vec<_>>())),
            "each": traces,
        },
    }))?;
    Ok(Exit::Success)
}

async fn measure(executor: &Executor, calls: Vec<ToolCall>) -> anyhow::Result<RunStatistics> {
    let limit = calls.len();
    let (context, allowed) = (CallContext::new(None), ["diag.*".to_owned()]);
    let run = executor.run(calls, &context, &allowed, limit, |_| {}).await;
    Ok(run.context("the graph is refused")?.statistics)
}

/// Tools of uneven durations, each needing some of those before it.
fn random_graph(seed: u64) -> Vec<ToolCall> {
    let mut numbers = Numbers(seed);
    let mut call = |index: usize| {
        let needs = if index < NEEDS_MAX {
            0
        } else {
            numbers.below(NEEDS_MAX + 1)
        };
        let inputs = (0..needs).map(|_| format!("t{}", numbers.below(index))).collect();
        sleep(index, (numbers.seconds(0.12) * 1_000.0) as u64, inputs)
    };
    (0..TOOLS).map(&mut call).collect()
}

fn sleep(index: usize, ms: u64, mut inputs: Vec<String>) -> ToolCall {
    inputs.sort();
    inputs.dedup();
    ToolCall {
        tool_id: format!("t{index}"),
        tool_name: "diag.sleep".to_owned(),
        params: json!({"ms": ms}),
        outputs: Vec::new(),
        inputs,
        priority: axon_protocol::PRIORITY_DEFAULT,
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
