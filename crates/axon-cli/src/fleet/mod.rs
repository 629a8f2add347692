//! A fleet of child processes: roles beside this binary, and a nats-server where wanted. Supervised: what dies or falls silent
//! is replaced, workers come and go with the work. Stopped in the right order: workers, leads and synthesizers drain first,
//! the server goes last. Nothing of it outlives the command, however that ends.

mod child;
mod crew;
mod guard;
mod requests;
mod roles;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axon_bus::Bus;
use axon_protocol::{Bucket, Heartbeat};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use child::Notice;
pub(crate) use crew::Limits;

use crate::command::guard::Watched;
use crate::context::Context;
use crate::exit::Failure;
use crate::nats::{self, SERVER, Server, Sync};
use crate::process::{Process, log_tail};
use child::{Child, ORDERS_MAX};
use guard::Guard;
use roles::{Programs, Roles};
use supervisor::{Parts, Supervisor, clear};

/// How long a role may take to finish or hand back what it holds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(35);
/// The same for nats-server, which only has to close its files.
const SERVER_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all processes may take to show in the registry.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Notices that wait to be read: more than the largest fleet sends when it starts.
const NOTICES_MAX: usize = 4096;

/// What a fleet consists of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Configuration, logs and the server's store are kept here.
    pub(crate) data: PathBuf,
    /// The server to start; a running one is used where there is none.
    pub(crate) server: Option<ServerPlan>,
    pub(crate) leads: usize,
    /// How many workers there are, and how the supervisor treats them.
    pub(crate) limits: Limits,
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

/// A running fleet. Dropping it kills its processes; [`Fleet::stop`] drains them.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Address of its server.
    pub(crate) url: String,
    /// Reaches its server and namespace.
    pub(crate) context: Context,
    /// Connection of the command itself.
    pub(crate) bus: Bus,
    /// The loop that owns the roles; aborted, and they killed, when the fleet is dropped.
    supervisor: JoinSet<()>,
    server: JoinSet<()>,
    stop_roles: CancellationToken,
    roles_ended: CancellationToken,
    stop_server: CancellationToken,
    notices: mpsc::Receiver<Notice>,
    pids: BTreeMap<String, u32>,
    logs: PathBuf,
    expected: usize,
    /// Held as long as the fleet runs, so that no second one uses the same data.
    _lock: DataLock,
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
        let (tell, told) = mpsc::channel(NOTICES_MAX);
        let (listener, notices) = mpsc::channel(NOTICES_MAX);
        let (stop_roles, stop_server) = (CancellationToken::new(), CancellationToken::new());
        let mut guard = Guard::start(&data, logs.join("guard.log"))?;
        let mut server = JoinSet::new();
        let mut server_orders = None;
        let mut url = context.bus.url.clone();
        if let Some(wanted) = plan.server {
            let prepared = Server::prepare(wanted.program, &data, &logs, wanted.sync, wanted.usual_port)?;
            clear(&prepared.spec.log)?;
            let mut first = Process::spawn(&prepared.spec)?;
            guard.watch(first.pid, Watched::Server).await;
            prepared.ready(context, &mut first).await?;
            url.clone_from(&prepared.url);
            let child = Child {
                spec: prepared.spec,
                first: Some(first),
                grace: SERVER_STOP_TIMEOUT,
                for_ever: true,
            };
            let (orders, receiver) = mpsc::channel(ORDERS_MAX);
            server_orders = Some(orders);
            server.spawn(child.supervise(stop_server.clone(), receiver, tell.clone()));
        }
        let context = context.with_server(&url);
        let bus = context.connect().await?;
        bus.declare().await.context("cannot declare the topology")?;
        let mut env = plan.env;
        env.extend(before(&bus).await?);
        let roles = Roles::new(programs, &context, &logs, plan.slots, env);
        let parts = roles.first(plan.leads, plan.limits.workers, plan.synthesizers);
        let roles_ended = CancellationToken::new();
        let mut working = Supervisor::new(
            Parts {
                bus: bus.clone(),
                limits: plan.limits,
                roles,
                guard,
                server: server_orders,
                told,
                tell,
                listener,
                stop: stop_roles.clone(),
                roles_ended: roles_ended.clone(),
            },
            plan.limits.workers,
        );
        let expected = parts.len();
        for part in parts {
            working.start(part)?;
        }
        let mut supervisor = JoinSet::new();
        supervisor.spawn(working.run());
        Ok(Self {
            url,
            context,
            bus,
            supervisor,
            server,
            stop_roles,
            roles_ended,
            stop_server,
            notices,
            pids: BTreeMap::new(),
            logs,
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
            _ => {}
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
        self.roles_ended.cancelled().await;
    }

    async fn stop_server(&mut self) -> Vec<String> {
        // Nothing of it is needed any more; a connection that cannot be closed is closed by the server's end.
        let _ = self.bus.drain().await;
        self.stop_server.cancel();
        while self.server.join_next().await.is_some() {}
        while self.supervisor.join_next().await.is_some() {}
        let mut killed = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Stopped { name, drained: false } = notice {
                killed.push(name);
            }
        }
        killed
    }
}

/// The exclusive use of a data directory. It is given up explicitly: a child that is just being started shares the open
/// file for a moment, and closing this side alone would leave the lock with it.
#[derive(Debug)]
pub(crate) struct DataLock(File);

impl Drop for DataLock {
    fn drop(&mut self) {
        // What cannot be unlocked is released when the last process that shares it closes the file.
        let _ = self.0.unlock();
    }
}

/// Takes a data directory for this process alone.
pub(crate) fn lock(data: &Path) -> anyhow::Result<DataLock> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(DataLock(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::bad_input(format!(
            "another fleet uses {}: stop it (what is left of one that was killed is gone within 20 s), or choose another \
             directory with --data",
            data.display()
        ))
        .into()),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(anyhow::Error::new(error).context(format!("cannot lock {}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fleets_do_not_share_their_data() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("free");
        let error = lock(dir.path()).expect_err("held");
        assert!(error.to_string().contains("--data"), "{error}");
        drop(held);
        lock(dir.path()).expect("free again");
    }
}
