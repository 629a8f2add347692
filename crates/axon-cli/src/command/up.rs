//! `axon up`: a whole local fleet as child processes, or one question to a fleet that lives as long as the question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axon_bus::Bus;
use axon_protocol::ObjectBucket;
use axon_tools::{PackError, PackLimits, pack};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::command::ask::ask;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, Limits, Notice, Plan, ServerPlan};
use crate::nats::Sync;
use crate::output;
use crate::question::{LeftOut, QueryArgs, Question};

/// Where a fleet keeps its data unless told otherwise.
const DATA_DEFAULT: &str = ".axon/data";

/// Workers started on request at most, unless told otherwise: the tasks a complex query has at once, so that one query of
/// a kind that nobody serves is not slower than its plan.
const REQUESTED_MAX_DEFAULT: usize = 10;

/// What to start.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Workers that are always there; 0 starts workers only when there is work for them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    workers: u16,

    /// Workers there may be with those that are started on request [default: 10 more than --workers, as many as a complex
    /// query works with at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    workers_max: Option<u16>,

    /// Seconds without a task after which a worker that was started on request drains
    #[arg(long, value_name = "S", default_value_t = 60)]
    idle_timeout: u64,

    /// Tasks one worker takes at once [default: `worker.slots`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,

    /// Directory for the server's store and the logs [default: .axon/data; a temporary one with --ask]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// nats-server to start, 2.10 or later; none is started with --nats [default: the one on PATH]
    #[arg(long, value_name = "PATH", env = "AXON_NATS_SERVER")]
    nats_server: Option<PathBuf>,

    /// When the local server writes to the disk. `default` loses nothing when processes die; `always` also survives a power
    /// failure, and is slower
    #[arg(long, value_enum, default_value_t = Sync::Default)]
    sync: Sync,

    /// Ask this one question, print the answer, drain and end with its exit code
    #[arg(long, value_name = "QUESTION")]
    ask: Option<String>,

    /// Directory that questions are about [default: the current one]
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,

    /// With --ask: seconds until the answer is wanted
    #[arg(long, value_name = "S", requires = "ask")]
    timeout: Option<u64>,
}

impl UpArgs {
    fn limits(&self, context: &Context) -> anyhow::Result<Limits> {
        let workers = usize::from(self.workers);
        let workers_max = self.workers_max.map_or(workers + REQUESTED_MAX_DEFAULT, usize::from);
        if workers_max < workers {
            let message = format!("--workers-max {workers_max} is less than --workers {workers}: raise it");
            return Err(Failure::bad_input(message).into());
        }
        Ok(Limits {
            workers_max,
            idle_timeout: Duration::from_secs(self.idle_timeout),
            ..Limits::fixed(workers, &context.registry)
        })
    }
}

pub(crate) async fn run(context: &Context, args: UpArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    // Bad input is told before anything is started.
    let question = match &args.ask {
        Some(text) => {
            let asked = QueryArgs::about(text.clone(), args.workspace.clone(), args.timeout);
            Some(Question::prepare(asked).await?)
        }
        None => None,
    };
    let server = match context.nats_given {
        true => None,
        false => Some(ServerPlan::find(args.nats_server.as_deref(), args.sync, true)?),
    };
    let data = Data::choose(args.data.as_deref(), question.is_some())?;
    let plan = Plan {
        data: data.path().to_owned(),
        server,
        leads: 1,
        limits: args.limits(context)?,
        synthesizers: 1,
        slots: args.slots,
        env: Vec::new(),
    };
    let outcome = match question {
        Some(question) => once(context, plan, question, &stop).await,
        None => serve(context, plan, args.workspace, &stop).await,
    };
    match &outcome {
        Ok(Exit::Success | Exit::Partial) => {}
        // Who wants to know why needs the logs.
        _ => data.keep(),
    }
    outcome
}

/// One question to a fleet of its own.
async fn once(context: &Context, plan: Plan, question: Question, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let mut fleet = tokio::select! {
        started = start(context, plan, async |_| Ok(Vec::new())) => started?,
        () = stop.cancelled() => return Err(interrupted()),
    };
    eprintln!("{}", described(&fleet));
    let fleet_context = fleet.context.clone();
    let bus = fleet.bus.clone();
    let asking = ask(&fleet_context, &bus, question, false, stop);
    tokio::pin!(asking);
    let outcome = loop {
        tokio::select! {
            outcome = &mut asking => break outcome,
            Some(notice) = fleet.next() => report(&notice),
        }
    };
    for name in fleet.stop().await {
        eprintln!("warning: {name} did not drain in time and was killed");
    }
    outcome
}

/// A fleet that runs until it is told to stop.
async fn serve(
    context: &Context,
    plan: Plan,
    workspace: Option<PathBuf>,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let prepare = async |bus: &Bus| default_workspace(bus, workspace.clone()).await;
    let mut fleet = tokio::select! {
        started = start(context, plan, prepare) => started?,
        () = stop.cancelled() => return Ok(Exit::Success),
    };
    if context.json {
        let processes: Vec<_> = fleet
            .pids()
            .iter()
            .map(|(name, pid)| json!({ "name": name, "pid": pid }))
            .collect();
        output::json(&json!({
            "url": fleet.url,
            "namespace": fleet.context.bus.namespace,
            "logs": fleet.logs(),
            "processes": processes,
        }))?;
    } else {
        output::line(&described(&fleet))?;
        let url = if fleet.url == axon_bus::Config::default().url {
            String::new()
        } else {
            format!(" --nats {}", fleet.url)
        };
        output::line(&format!("ask it with: axon ask{url} \"…\"; Ctrl-C drains"))?;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            notice = fleet.next() => match notice {
                Some(notice) => report(&notice),
                None => break,
            },
        }
    }
    eprintln!("draining");
    let killed = fleet.stop().await;
    for name in &killed {
        eprintln!("warning: {name} did not drain in time and was killed");
    }
    Ok(if killed.is_empty() {
        Exit::Success
    } else {
        Exit::Unexpected
    })
}

async fn start<F>(context: &Context, plan: Plan, prepare: F) -> anyhow::Result<Fleet>
where
    F: AsyncFnOnce(&Bus) -> anyhow::Result<Vec<(String, String)>>,
{
    let mut fleet = Fleet::start(context, plan, prepare).await?;
    if let Err(error) = fleet.ready().await {
        fleet.stop().await;
        return Err(error.context("the fleet does not come up"));
    }
    Ok(fleet)
}

/// Stores the directory that the fleet was started in, for questions that bring none.
async fn default_workspace(bus: &Bus, named: Option<PathBuf>) -> anyhow::Result<Vec<(String, String)>> {
    let directory = named.clone().unwrap_or_else(|| PathBuf::from("."));
    let packing = tokio::task::spawn_blocking(move || pack(&directory, &PackLimits::default()));
    match packing.await.context("packing the workspace broke off")? {
        Ok(packed) => {
            if let Some(left_out) = LeftOut::of(&packed.manifest) {
                eprintln!("{left_out}");
            }
            let digest = bus.objects(ObjectBucket::Workspaces).put(packed.bytes).await?;
            Ok(vec![("AXON_LEAD__WORKSPACE".to_owned(), digest.to_string())])
        }
        Err(error) if named.is_some() => Err(error.into()),
        Err(error @ (PackError::Empty(_) | PackError::TooLarge { .. } | PackError::TooMany { .. })) => {
            eprintln!("warning: questions that bring no workspace have none: {error}");
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

fn described(fleet: &Fleet) -> String {
    let processes: Vec<String> = fleet.pids().iter().map(|(name, pid)| format!("{name} {pid}")).collect();
    format!(
        "fleet at {} with {}; logs in {}",
        fleet.url,
        processes.join(", "),
        fleet.logs().display()
    )
}

fn report(notice: &Notice) {
    match notice {
        Notice::Started { name, pid } => eprintln!("{name} started, pid {pid}"),
        Notice::Died {
            name,
            pid,
            how,
            restart_in,
        } => {
            eprintln!(
                "warning: {name} (pid {pid}) {how}; it is started again in {} s",
                restart_in.as_secs()
            );
        }
        Notice::Silent { name, pid, silent_for } => eprintln!(
            "warning: {name} (pid {pid}) gives no sign of life for {} s and is replaced",
            silent_for.as_secs()
        ),
        Notice::Scaled { needs, started } => eprintln!("asked for workers for {needs}: started {}", started.join(", ")),
        Notice::ScaleRefused { needs, refused, limit } => eprintln!(
            "warning: asked for workers for {needs}: {refused} not started, {limit} workers are the limit; raise \
             --workers-max"
        ),
        Notice::Idle { name, idle_for } => {
            eprintln!("{name} has had nothing to do for {} s and drains", idle_for.as_secs());
        }
        Notice::GivenUp { name, how } => eprintln!("error: {name} {how}, again and again: it is given up, see its log"),
        Notice::Stopped { name, .. } => eprintln!("{name} has ended"),
    }
}

fn interrupted() -> anyhow::Error {
    Failure::new(Exit::Interrupted, "interrupted before the fleet was up").into()
}

/// Where a fleet keeps its data: a directory that stays, or one that goes with the command.
#[derive(Debug)]
enum Data {
    Stays(PathBuf),
    Goes(tempfile::TempDir),
}

/// Makes the directory where there is none. One that holds nothing yet is kept out of repositories and workspaces: it may
/// lie within the one that is asked about.
fn prepare_data(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    if std::fs::read_dir(path)?.next().is_none() {
        std::fs::write(path.join(".gitignore"), "*\n")?;
    }
    Ok(())
}

impl Data {
    fn choose(named: Option<&Path>, temporary: bool) -> anyhow::Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None if temporary => {
                let dir = tempfile::Builder::new().prefix("axon-").tempdir();
                return Ok(Self::Goes(dir.context("no directory for temporary files")?));
            }
            None => PathBuf::from(DATA_DEFAULT),
        };
        prepare_data(&path)
            .map_err(|error| Failure::bad_input(format!("cannot use {} for data: {error}", path.display())))?;
        Ok(Self::Stays(path))
    }

    fn path(&self) -> &Path {
        match self {
            Data::Stays(path) => path,
            Data::Goes(dir) => dir.path(),
        }
    }

    /// Leaves the logs where they are and says so.
    fn keep(self) {
        if let Data::Goes(dir) = self {
            eprintln!("the logs are kept in {}", dir.keep().join("logs").display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_within_a_workspace_are_no_part_of_it() {
        let workspace = tempfile::tempdir().expect("a directory");
        std::fs::write(workspace.path().join("a.txt"), "words\n").expect("written");
        let data = workspace.path().join("data");
        for _ in 0..2 {
            prepare_data(&data).expect("made");
            std::fs::write(data.join("stored.txt"), "words\n").expect("written");
        }
        prepare_data(workspace.path()).expect("there already");
        let packed = pack(workspace.path(), &PackLimits::default()).expect("packed");
        let files: Vec<&str> = packed.manifest.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["a.txt"]);
    }
}
