//! A fleet of child processes: roles beside this binary, and a nats-server where wanted. Supervised: what dies is started
//! again. Stopped in the right order: workers, leads and synthesizers drain first, the server goes last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axon_bus::Bus;
use axon_protocol::{Bucket, Heartbeat, Namespace};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::exit::Failure;
use crate::nats::{self, Server, Sync};
use crate::process::{Process, Spec, log_tail, sibling};

/// Name of the server among the processes.
const SERVER: &str = "nats-server";
/// How long a role may take to finish or hand back what it holds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(35);
/// The same for nats-server, which only has to close its files.
const SERVER_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all processes may take to show in the registry.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const RESTART_DELAY_MIN: Duration = Duration::from_secs(1);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(10);
/// Deaths in a row after which a process is given up.
const RESTARTS_MAX: u32 = 10;
/// Notices that wait to be read: more than the largest fleet sends when it starts.
const NOTICES_MAX: usize = 4096;
/// A process that lived so long has not died "in a row".
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// What a fleet consists of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Configuration, logs and the server's store are kept here.
    pub(crate) data: PathBuf,
    /// The server to start; a running one is used where there is none.
    pub(crate) server: Option<ServerPlan>,
    pub(crate) leads: usize,
    pub(crate) workers: usize,
    pub(crate) synthesizers: usize,
    /// Tasks a worker takes at once; its own default if absent.
    pub(crate) slots: Option<u32>,
    /// Further settings of all roles, as environment variables.
    pub(crate) env: Vec<(String, String)>,
}

/// The server of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct ServerPlan {
    pub(crate) program: PathBuf,
    pub(crate) sync: Sync,
    /// Whether to listen on 4222 if that is free.
    pub(crate) usual_port: bool,
}

impl ServerPlan {
    /// A server that `--nats-server` names, or that is found.
    pub(crate) fn find(named: Option<&Path>, sync: Sync, usual_port: bool) -> anyhow::Result<Self> {
        Ok(Self {
            program: nats::find(named)?,
            sync,
            usual_port,
        })
    }
}

/// What happens to the processes of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It was started.
    Started { name: String, pid: u32 },
    /// It died and is going to be started again.
    Died {
        name: String,
        how: String,
        restart_in: Duration,
    },
    /// It died too often.
    GivenUp { name: String, how: String },
    /// It ended as it was told to, by this fleet or by `axon drain`; not so if it had to be killed.
    Stopped { name: String, drained: bool },
}

/// A running fleet. Dropping it kills its processes; [`Fleet::stop`] drains them.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Address of its server.
    pub(crate) url: String,
    /// Reaches its server and namespace.
    pub(crate) context: Context,
    /// Connection of the command itself.
    pub(crate) bus: Bus,
    roles: JoinSet<()>,
    server: JoinSet<()>,
    stop_roles: CancellationToken,
    stop_server: CancellationToken,
    notices: mpsc::Receiver<Notice>,
    pids: BTreeMap<String, u32>,
    logs: PathBuf,
    expected: usize,
    /// Held as long as the fleet runs, so that no second one uses the same data.
    _lock: File,
}

impl Fleet {
    /// Starts the server, declares the topology, lets `before` prepare what the roles need (it returns settings for them),
    /// starts the roles. It does not wait for them.
    pub(crate) async fn start<F>(context: &Context, plan: Plan, before: F) -> anyhow::Result<Self>
    where
        F: AsyncFnOnce(&Bus) -> anyhow::Result<Vec<(String, String)>>,
    {
        let logs = plan.data.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let data = plan.data.canonicalize().context("cannot use the data directory")?;
        let lock = lock(&data)?;
        let programs = Programs::find(&plan)?;
        let (tell, notices) = mpsc::channel(NOTICES_MAX);
        let (stop_roles, stop_server) = (CancellationToken::new(), CancellationToken::new());
        let mut server = JoinSet::new();
        let mut url = context.bus.url.clone();
        if let Some(wanted) = plan.server {
            let prepared = Server::prepare(wanted.program, &data, &logs, wanted.sync, wanted.usual_port)?;
            clear(&prepared.spec.log)?;
            let mut first = Process::spawn(&prepared.spec)?;
            prepared.ready(context, &mut first).await?;
            url.clone_from(&prepared.url);
            let (stop, tell) = (stop_server.clone(), tell.clone());
            server.spawn(supervise(prepared.spec, Some(first), stop, SERVER_STOP_TIMEOUT, tell));
        }
        let context = context.with_server(&url);
        let bus = context.connect().await?;
        bus.declare().await.context("cannot declare the topology")?;
        let mut env = plan.env;
        env.extend(before(&bus).await?);
        let mut roles = JoinSet::new();
        let specs = role_specs(
            &programs,
            &context,
            &logs,
            plan.workers,
            plan.leads,
            plan.synthesizers,
            plan.slots,
            &env,
        );
        let expected = specs.len();
        for spec in specs {
            clear(&spec.log)?;
            roles.spawn(supervise(spec, None, stop_roles.clone(), DRAIN_TIMEOUT, tell.clone()));
        }
        Ok(Self {
            url,
            context,
            bus,
            roles,
            server,
            stop_roles,
            stop_server,
            notices,
            pids: BTreeMap::new(),
            logs: plan.data.join("logs"),
            expected,
            _lock: lock,
        })
    }

    /// The next thing that happens; `None` when everything has ended.
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        let notice = self.notices.recv().await?;
        self.take(&notice);
        Some(notice)
    }

    fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Started { name, pid } => {
                self.pids.insert(name.clone(), *pid);
            }
            Notice::Died { name, .. } | Notice::GivenUp { name, .. } | Notice::Stopped { name, .. } => {
                self.pids.remove(name);
            }
        }
    }

    /// The processes that run, by name.
    pub(crate) fn pids(&self) -> &BTreeMap<String, u32> {
        &self.pids
    }

    /// Where the logs are.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Waits until every role shows in the registry. A role that dies before is an error with the end of its log.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let table = self.bus.table::<Heartbeat>(Bucket::Registry);
        let until = Instant::now() + READY_TIMEOUT;
        let mut delay = Duration::from_millis(10);
        loop {
            while let Ok(notice) = self.notices.try_recv() {
                self.take(&notice);
                if let Notice::Died { name, how, .. } | Notice::GivenUp { name, how } = notice {
                    anyhow::bail!("{name} {how}: {}", log_tail(&self.logs.join(format!("{name}.log"))));
                }
            }
            let seen: BTreeSet<u32> = table
                .all()
                .await?
                .into_values()
                .map(|heartbeat| heartbeat.pid)
                .collect();
            let roles: Vec<(&String, &u32)> = self.pids.iter().filter(|(name, _)| name.as_str() != SERVER).collect();
            if roles.len() == self.expected && roles.iter().all(|(_, pid)| seen.contains(pid)) {
                return Ok(());
            }
            if Instant::now() > until {
                let silent: Vec<&str> = roles
                    .iter()
                    .filter(|(_, pid)| !seen.contains(pid))
                    .map(|(name, _)| name.as_str())
                    .collect();
                let logs = self.logs.display();
                anyhow::bail!(
                    "no heartbeat from {} within {READY_TIMEOUT:?}: see the logs in {logs}",
                    silent.join(", ")
                );
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(Duration::from_millis(200));
        }
    }

    /// Drains the roles, then stops the server. Returns those that had to be killed.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        self.stop_roles().await;
        self.stop_server().await
    }

    /// Drains the roles, lets `last` do what must come after them, then stops the server.
    pub(crate) async fn stop_around<T>(mut self, last: impl AsyncFnOnce(&Bus) -> T) -> T {
        self.stop_roles().await;
        let done = last(&self.bus).await;
        self.stop_server().await;
        done
    }

    async fn stop_roles(&mut self) {
        self.stop_roles.cancel();
        while self.roles.join_next().await.is_some() {}
    }

    async fn stop_server(&mut self) -> Vec<String> {
        // Nothing of it is needed any more; a connection that cannot be closed is closed by the server's end.
        let _ = self.bus.drain().await;
        self.stop_server.cancel();
        while self.server.join_next().await.is_some() {}
        let mut killed = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Stopped { name, drained: false } = notice {
                killed.push(name);
            }
        }
        killed
    }
}

/// The binaries of the roles; only those that are needed have to be there.
#[derive(Debug, Default)]
struct Programs {
    lead: PathBuf,
    worker: PathBuf,
    synthesizer: PathBuf,
}

impl Programs {
    fn find(plan: &Plan) -> anyhow::Result<Self> {
        let needed = |count: usize, name: &str| if count > 0 { sibling(name) } else { Ok(PathBuf::new()) };
        Ok(Self {
            lead: needed(plan.leads, "axon-lead")?,
            worker: needed(plan.workers, "axon-worker")?,
            synthesizer: needed(plan.synthesizers, "axon-synthesizer")?,
        })
    }
}

#[allow(clippy::too_many_arguments)]
fn role_specs(
    programs: &Programs,
    context: &Context,
    logs: &Path,
    workers: usize,
    leads: usize,
    synthesizers: usize,
    slots: Option<u32>,
    further: &[(String, String)],
) -> Vec<Spec> {
    let mut env = environment(&context.bus.url, &context.bus.namespace, context.config_file.as_deref());
    env.extend_from_slice(further);
    let one = |name: String, program: &Path, own: &[(&str, String)]| Spec {
        log: logs.join(format!("{name}.log")),
        name,
        program: program.to_owned(),
        args: Vec::new(),
        env: env
            .iter()
            .cloned()
            .chain(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())))
            .collect(),
    };
    let mut worker_env = vec![("AXON_WORKER__AGENT_TYPE", "all".to_owned())];
    worker_env.extend(slots.map(|slots| ("AXON_WORKER__SLOTS", slots.to_string())));
    let numbered = |role: &str, count: usize| -> Vec<String> {
        match count {
            1 => vec![role.to_owned()],
            _ => (1..=count).map(|index| format!("{role}-{index}")).collect(),
        }
    };
    let leads = numbered("axon-lead", leads)
        .into_iter()
        .map(|name| one(name, &programs.lead, &[]));
    let workers = numbered("axon-worker", workers)
        .into_iter()
        .map(|name| one(name, &programs.worker, &worker_env));
    let synthesizers = numbered("axon-synthesizer", synthesizers)
        .into_iter()
        .map(|name| one(name, &programs.synthesizer, &[]));
    leads.chain(workers).chain(synthesizers).collect()
}

fn environment(url: &str, namespace: &Namespace, config: Option<&Path>) -> Vec<(String, String)> {
    let mut env = vec![
        ("AXON_BUS__URL".to_owned(), url.to_owned()),
        ("AXON_BUS__NAMESPACE".to_owned(), namespace.to_string()),
        ("AXON_HEALTH__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    env.extend(config.map(|path| ("AXON_CONFIG".to_owned(), path.display().to_string())));
    env
}

/// Keeps one process running until it is told to stop.
async fn supervise(
    spec: Spec,
    first: Option<Process>,
    stop: CancellationToken,
    grace: Duration,
    tell: mpsc::Sender<Notice>,
) {
    let tell = |notice| {
        // Nobody listens once the fleet is dropped, or while it is only measured; a supervisor never waits for a listener.
        let _ = tell.try_send(notice);
    };
    let name = spec.name.clone();
    let mut first = first;
    let mut deaths = 0;
    loop {
        let started = Instant::now();
        let how = match first.take().map_or_else(|| Process::spawn(&spec), Ok) {
            Err(error) => crate::exit::one_line(&error),
            Ok(mut process) => {
                tell(Notice::Started {
                    name: name.clone(),
                    pid: process.pid,
                });
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        let drained = process.terminate(grace).await.is_some();
                        return tell(Notice::Stopped { name, drained });
                    }
                    ended = process.wait() => match ended {
                        // A role that ends well was asked to drain: it is not wanted any more.
                        Ok(status) if status.success() && name != SERVER => {
                            return tell(Notice::Stopped { name, drained: true });
                        }
                        Ok(status) => format!("ended with {status}"),
                        Err(error) => format!("cannot be waited for: {error}"),
                    },
                }
            }
        };
        deaths = if started.elapsed() > STEADY_AFTER {
            1
        } else {
            deaths + 1
        };
        let Some(restart_in) = restart_delay(deaths) else {
            return tell(Notice::GivenUp { name, how });
        };
        tell(Notice::Died {
            name: name.clone(),
            how,
            restart_in,
        });
        tokio::select! {
            () = stop.cancelled() => return tell(Notice::Stopped { name, drained: true }),
            () = tokio::time::sleep(restart_in) => {}
        }
    }
}

/// How long to wait after so many deaths in a row; `None` when it is enough.
fn restart_delay(deaths: u32) -> Option<Duration> {
    (deaths <= RESTARTS_MAX).then(|| {
        let doubled = 2_u32.saturating_pow(deaths.saturating_sub(1));
        RESTART_DELAY_MIN.saturating_mul(doubled).min(RESTART_DELAY_MAX)
    })
}

fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::bad_input(format!(
            "another fleet uses {}: stop it, or choose another directory with --data",
            data.display()
        ))
        .into()),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(anyhow::Error::new(error).context(format!("cannot lock {}", path.display())))
        }
    }
}

fn clear(log: &Path) -> anyhow::Result<()> {
    File::create(log)
        .map(|_| ())
        .with_context(|| format!("cannot write the log {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(workers: usize) -> Vec<String> {
        let context = Context {
            bus: axon_bus::Config::default(),
            config_file: Some("my.toml".into()),
            nats_given: false,
            json: false,
            client: "test".to_owned(),
        };
        let further = [("A".to_owned(), "b".to_owned())];
        let specs = role_specs(
            &Programs::default(),
            &context,
            Path::new("logs"),
            workers,
            1,
            1,
            Some(3),
            &further,
        );
        for spec in &specs {
            let has = |key: &str, value: &str| spec.env.contains(&(key.to_owned(), value.to_owned()));
            assert!(has("AXON_BUS__URL", "nats://127.0.0.1:4222") && has("AXON_BUS__NAMESPACE", "axon"));
            assert!(has("AXON_CONFIG", "my.toml") && has("A", "b"));
            assert_eq!(has("AXON_WORKER__SLOTS", "3"), spec.name.starts_with("axon-worker"));
            assert_eq!(spec.log, Path::new("logs").join(format!("{}.log", spec.name)));
        }
        specs.into_iter().map(|spec| spec.name).collect()
    }

    #[test]
    fn every_process_has_a_name_of_its_own() {
        assert_eq!(
            names(2),
            ["axon-lead", "axon-worker-1", "axon-worker-2", "axon-synthesizer"]
        );
        assert_eq!(names(1), ["axon-lead", "axon-worker", "axon-synthesizer"]);
    }

    #[test]
    fn what_dies_is_started_again_ever_later_and_then_given_up() {
        for (deaths, seconds) in [
            (1, Some(1)),
            (2, Some(2)),
            (4, Some(8)),
            (5, Some(10)),
            (10, Some(10)),
            (11, None),
        ] {
            assert_eq!(restart_delay(deaths).map(|delay| delay.as_secs()), seconds, "{deaths}");
        }
    }

    #[test]
    fn two_fleets_do_not_share_their_data() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("free");
        let error = lock(dir.path()).expect_err("held");
        assert!(error.to_string().contains("--data"), "{error}");
        drop(held);
        lock(dir.path()).expect("free again");
    }

    #[tokio::test]
    async fn a_supervised_process_is_restarted_and_stops_when_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let flag = dir.path().join("second");
        let spec = Spec {
            name: "child".to_owned(),
            program: "/bin/sh".into(),
            args: vec![
                "-c".to_owned(),
                format!("[ -e {0} ] && exec sleep 60; touch {0}; exit 3", flag.display()),
            ],
            env: Vec::new(),
            log: dir.path().join("child.log"),
        };
        let (tell, mut told) = mpsc::channel(NOTICES_MAX);
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(spec, None, stop.clone(), Duration::from_secs(10), tell));
        assert!(matches!(told.recv().await, Some(Notice::Started { .. })));
        let Some(Notice::Died { how, restart_in, .. }) = told.recv().await else {
            panic!("it dies");
        };
        assert_eq!(
            (how.as_str(), restart_in),
            ("ended with exit status: 3", RESTART_DELAY_MIN)
        );
        assert!(matches!(told.recv().await, Some(Notice::Started { .. })));
        stop.cancel();
        assert_eq!(
            told.recv().await,
            Some(Notice::Stopped {
                name: "child".to_owned(),
                drained: true
            })
        );
        task.await.expect("no panic");
    }
}
