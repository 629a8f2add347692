//! `axon demo`: a fleet of its own, one query of each complexity on even work, one real question, and the figures that
//! follow from what came back. Nothing of the figures is known before.

mod figures;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::Bus;
use axon_protocol::{Answer, AnswerStatus, QueryId, Stream, TaskResult};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::figures::{Row, figures, table};
use self::work::CLASSES;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, Limits, Plan, ServerPlan};
use crate::nats::Sync;
use crate::output::{self, counted};
use crate::question::{QueryArgs, Question};
use crate::waiting::{Attached, Ended, patience};

/// Workers of the demo: as many as a complex query works with. Each takes one task at a time, so that a task is a worker.
const WORKERS: usize = 10;
/// Results of a query that are read.
const RESULTS_MAX: usize = 1000;
const QUESTION_DEFAULT: &str = "Review this repository: which functions are risky or hard to maintain, and where could it \
                                panic or ignore an error?";

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The real question that is asked at the end
    #[arg(long, value_name = "QUESTION", default_value = QUESTION_DEFAULT)]
    ask: String,

    /// Directory the question is about [default: the current one]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,

    /// How many times faster the even work is than in the seed's table, whose tasks take 30, 45 and 60 s
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = speed)]
    speed: f64,

    /// nats-server to start, 2.10 or later [default: the one on PATH]
    #[arg(long, value_name = "PATH", env = "AXON_NATS_SERVER")]
    nats_server: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.1..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("use a number from 0.1 to 1000".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: DemoArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    if context.nats_given {
        let message = "the demo measures a fleet of its own on a server of its own: leave --nats out";
        return Err(Failure::bad_input(message).into());
    }
    let asked = QueryArgs::about(args.ask.clone(), args.workspace.clone(), None);
    let question = Question::prepare(asked).await?;
    let data = tempfile::Builder::new()
        .prefix("axon-demo-")
        .tempdir()
        .context("no directory for temporary files")?;
    let plan = Plan {
        data: data.path().to_owned(),
        server: Some(ServerPlan::find(args.nats_server.as_deref(), Sync::Default, false)?),
        leads: 1,
        limits: Limits::fixed(WORKERS, &context.registry),
        synthesizers: 1,
        slots: Some(1),
        env: Vec::new(),
    };
    let mut fleet = Fleet::start(context, plan, async |_| Ok(Vec::new())).await?;
    let shown = tokio::select! {
        shown = async {
            fleet.ready().await.context("the fleet of the demo does not come up")?;
            show(context, &fleet, question, args.speed).await
        } => shown,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted").into()),
    };
    for name in fleet.stop().await {
        eprintln!("warning: {name} did not drain in time and was killed");
    }
    shown
}

async fn show(context: &Context, fleet: &Fleet, question: Question, speed: f64) -> anyhow::Result<Exit> {
    let bus = &fleet.bus;
    say(&format!(
        "a fleet of {WORKERS} workers with one slot each, a lead and a synthesizer at {}",
        fleet.url
    ));
    let mut rows = Vec::new();
    for class in CLASSES {
        let graph = class.graph_text(speed)?;
        say(&format!(
            "\n{}: {}, {graph}",
            class.complexity,
            counted(class.tasks, "task")
        ));
        let even = Question::of(QueryId::generate(), class.query(speed));
        let (answer, row) = ask(
            context,
            bus,
            even,
            class.complexity.to_string(),
            Some(class.aim_percent),
        )
        .await?;
        anyhow::ensure!(
            answer.status == AnswerStatus::Complete,
            "the {} query of the demo is {}: see the logs in {}",
            class.complexity,
            answer.status.as_str(),
            fleet.logs().display()
        );
        say(&told(&row));
        rows.push(row);
    }
    say(&format!("\na real question: {}", question.query.query));
    question.store(bus).await?;
    let (answer, mut row) = ask(context, bus, question, "the question".to_owned(), None).await?;
    if let Some(complexity) = answer.complexity {
        row.query = format!("the question ({complexity})");
    }
    say(&told(&row));
    for line in answer.summary.lines().filter(|line| !line.trim().is_empty()) {
        say(&format!("  {line}"));
    }
    say(&format!("  The whole answer: axon ask \"{}\"", answer.query));
    rows.push(row);
    if context.json {
        output::json(&json!({ "speed": speed, "workers": WORKERS, "queries": rows, "answer": answer }))?;
    } else {
        output::line(&format!("\n{}", table(&rows)))?;
    }
    Ok(Exit::of_answer(answer.status))
}

/// What goes on, for people; standard output is for the figures.
fn say(text: &str) {
    eprintln!("{text}");
}

fn told(row: &Row) -> String {
    let tools = &row.figures.tools;
    format!(
        "  {} on {} in {:.2} s; their tools took {:.2} s instead of {:.2} s one after the other, {:.1} % saved, {:.3} times the \
         shortest possible",
        counted(
            usize::try_from(row.figures.tool_calls).unwrap_or(usize::MAX),
            "tool call"
        ),
        counted(row.figures.workers, "worker"),
        row.figures.parallel_ms / 1000.0,
        tools.parallel_ms / 1000.0,
        tools.sequential_ms / 1000.0,
        tools.time_saved_percent,
        tools.makespan_ratio
    )
}

/// Asks, waits for the answer, reads the results and computes the figures.
async fn ask(
    context: &Context,
    bus: &Bus,
    question: Question,
    name: String,
    aim_percent: Option<f64>,
) -> anyhow::Result<(Answer, Row)> {
    let id = question.id.clone();
    let mut attached = Attached::quietly(bus, &id).await?;
    let begin = Instant::now();
    question.publish(context, bus).await?;
    let patience: Duration = patience(question.query.deadline_s);
    let until = tokio::time::Instant::now() + patience;
    let ended = attached.answer_by(until, &CancellationToken::new(), &mut |_| {}).await;
    let Ended::Answered(answer) = ended else {
        let message = format!("no answer to {name} within {} s", patience.as_secs());
        return Err(Failure::new(Exit::NoAnswer, message).into());
    };
    let parallel_ms = begin.elapsed().as_secs_f64() * 1000.0;
    let mut results: Vec<TaskResult> = Vec::new();
    let filter = bus.namespace().results_of(&id);
    for message in bus.messages(Stream::Results, &filter, 0, RESULTS_MAX).await? {
        results.push(bus.decode_stored(&message).await?);
    }
    let figures = figures(&results, parallel_ms).with_context(|| {
        format!(
            "no task of {name} has a result: {}",
            answer.error.clone().unwrap_or_default()
        )
    })?;
    let row = Row {
        query: name,
        time_saved_aim_percent: aim_percent,
        figures,
    };
    Ok((*answer, row))
}
