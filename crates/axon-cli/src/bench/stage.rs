//! Where a measurement takes place: a namespace of its own on a server, with processes of its own, or a fleet that stands.

use std::path::PathBuf;

use anyhow::Context as _;
use axon_bus::Bus;
use axon_protocol::Namespace;
use serde_json::{Map, Value, json};

use crate::bench::statistics::{Round, document};
use crate::context::Context;
use crate::exit::Exit;
use crate::fleet::{Fleet, Limits, Plan, ServerPlan};
use crate::nats::Sync;
use crate::output;
use crate::process::cpu_seconds;

/// Namespaces of measurements begin with this, and only those are deleted.
const NAMESPACE_PREFIX: &str = "bench_";
/// What each stream of a measurement reserves, in megabytes, so that it fits on a small server.
const STREAM_MB_MAX: u64 = 256;

/// Where to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArgs {
    /// Use the fleet that stands in the configured namespace; start nothing, delete nothing
    #[arg(long, conflicts_with_all = ["nats_server", "workers", "slots"])]
    pub(crate) fleet: bool,

    /// Start this nats-server for the measurement instead of using the one at --nats
    #[arg(long, value_name = "PATH")]
    pub(crate) nats_server: Option<PathBuf>,

    /// When that server writes to the disk
    #[arg(long, value_enum, default_value_t = Sync::Default, requires = "nats_server")]
    pub(crate) sync: Sync,

    /// Worker processes to start [default: 2; burst: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) workers: Option<u16>,

    /// Tasks one worker takes at once [default: tasks 256, query 64, burst 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slots: Option<u32>,

    /// Rounds; each is printed, and the median of each figure
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
}

/// Which processes a measurement needs besides workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) leads: usize,
    pub(crate) synthesizers: usize,
    /// Workers unless told otherwise.
    pub(crate) workers: u16,
    /// Slots of each unless told otherwise.
    pub(crate) slots: u32,
}

/// A place to measure in.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Connected to server and namespace.
    pub(crate) bus: Bus,
    own: Option<Own>,
    about: Map<String, Value>,
}

#[derive(Debug)]
struct Own {
    fleet: Fleet,
    /// Data of the fleet; goes with it.
    _data: tempfile::TempDir,
}

impl Stage {
    async fn open(context: &Context, args: &StageArgs, cast: Cast) -> anyhow::Result<Self> {
        if args.fleet {
            let bus = context.connect().await?;
            let about = about(&bus, &[("fleet", json!(bus.namespace()))]);
            return Ok(Self { bus, own: None, about });
        }
        let workers = args.workers.unwrap_or(cast.workers);
        let slots = args.slots.unwrap_or(cast.slots);
        let server = match &args.nats_server {
            Some(path) => Some(ServerPlan::find(Some(path), args.sync, false)?),
            None => None,
        };
        let data = tempfile::Builder::new()
            .prefix("axon-bench-")
            .tempdir()
            .context("no directory for temporary files")?;
        let sync = server.as_ref().map(|server| server.sync.as_str());
        let plan = Plan {
            data: data.path().to_owned(),
            server,
            leads: cast.leads,
            limits: Limits::fixed(usize::from(workers), &context.registry),
            synthesizers: cast.synthesizers,
            slots: Some(slots),
            env: vec![("AXON_BUS__STREAM_MB_MAX".to_owned(), STREAM_MB_MAX.to_string())],
        };
        let mut own = context.clone();
        own.bus.namespace = private_namespace()?;
        own.bus.stream_mb_max = STREAM_MB_MAX;
        let mut fleet = Fleet::start(&own, plan, async |_| Ok(Vec::new())).await?;
        if let Err(error) = fleet.ready().await {
            Own { fleet, _data: data }.close().await;
            return Err(error.context("the fleet of the measurement does not come up"));
        }
        let bus = fleet.bus.clone();
        let mut facts = vec![("workers", json!(workers)), ("slots", json!(slots))];
        facts.extend(sync.map(|sync| ("sync", json!(sync))));
        Ok(Self {
            about: about(&bus, &facts),
            own: Some(Own { fleet, _data: data }),
            bus,
        })
    }

    /// Processor time used until now by workers, by the other roles, by nats-server and by this process, in seconds.
    pub(crate) fn cpu(&self) -> Cpu {
        let mut cpu = Cpu {
            own: cpu_seconds(std::process::id()).unwrap_or_default(),
            ..Cpu::default()
        };
        for (name, pid) in self.own.iter().flat_map(|own| own.fleet.pids()) {
            let seconds = cpu_seconds(*pid).unwrap_or_default();
            match name.as_str() {
                "nats-server" => cpu.server += seconds,
                name if name.starts_with("axon-worker") => cpu.workers += seconds,
                _ => cpu.roles += seconds,
            }
        }
        cpu
    }

    /// Stops what was started and deletes the namespace.
    async fn close(self) {
        if let Some(own) = self.own {
            own.close().await;
        }
    }
}

/// Opens a stage, measures on it, closes it whatever came of that, and prints the figures.
pub(crate) async fn measured<F>(
    context: &Context,
    args: &StageArgs,
    cast: Cast,
    settings: Value,
    measure: F,
) -> anyhow::Result<Exit>
where
    F: AsyncFnOnce(&Stage) -> anyhow::Result<Vec<Round>>,
{
    let stage = Stage::open(context, args, cast).await?;
    let rounds = measure(&stage).await;
    let about = stage.about.clone();
    stage.close().await;
    output::json_line(&document(settings, about, &rounds?))?;
    Ok(Exit::Success)
}

impl Own {
    async fn close(self) {
        let context = self.fleet.context.clone();
        if !context.bus.namespace.as_str().starts_with(NAMESPACE_PREFIX) {
            return;
        }
        // The roles drain first: they would create again, or miss, what is deleted below them.
        let deleted = self.fleet.stop_around(async |bus| bus.delete_namespace().await).await;
        if let Err(error) = deleted {
            eprintln!(
                "warning: the streams of the namespace `{}` are left: {error}",
                context.bus.namespace
            );
        }
    }
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Cpu {
    pub(crate) workers: f64,
    pub(crate) roles: f64,
    pub(crate) server: f64,
    pub(crate) own: f64,
}

impl Cpu {
    /// What was used since `earlier` for each of `n`, in microseconds; only of processes that used any.
    pub(crate) fn per(self, earlier: Self, n: usize) -> Vec<(&'static str, f64)> {
        let each = |now: f64, then: f64| (now - then).max(0.0) / n.max(1) as f64 * 1e6;
        vec![
            ("cpu_us_workers", each(self.workers, earlier.workers)),
            ("cpu_us_roles", each(self.roles, earlier.roles)),
            ("cpu_us_server", each(self.server, earlier.server)),
            ("cpu_us_client", each(self.own, earlier.own)),
        ]
    }
}

fn about(bus: &Bus, facts: &[(&str, Value)]) -> Map<String, Value> {
    let mut about = Map::new();
    about.insert("server".to_owned(), json!(bus.server_version()));
    about.extend(facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    about
}

fn private_namespace() -> anyhow::Result<Namespace> {
    let random = uuid::Uuid::new_v4().simple().to_string();
    Ok(Namespace::new(format!("{NAMESPACE_PREFIX}{}", &random[..12]))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_has_a_namespace_of_its_own() {
        let one = private_namespace().expect("fits");
        assert!(one.as_str().starts_with(NAMESPACE_PREFIX));
        assert_ne!(one, private_namespace().expect("fits"));
    }

    #[test]
    fn processor_time_is_told_for_each() {
        let then = Cpu {
            workers: 1.0,
            ..Cpu::default()
        };
        let now = Cpu {
            workers: 3.0,
            server: 0.5,
            ..then
        };
        let per = now.per(then, 1000);
        assert_eq!(per[0], ("cpu_us_workers", 2000.0));
        assert_eq!(per[2], ("cpu_us_server", 500.0));
        assert_eq!(per[3], ("cpu_us_client", 0.0));
    }
}
