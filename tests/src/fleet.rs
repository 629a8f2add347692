//! A fleet of real processes in one namespace: leads, workers and synthesizers, started, killed and restarted by a test.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tempfile::TempDir;

use crate::command::{self, Ended};
use crate::{Bed, Process, binary};

/// How long a process may take until it is ready. Test machines are slow and busy.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A fleet. Its processes belong to whoever started them; the fleet keeps what they have in common.
pub struct Fleet {
    environment: Vec<(String, String)>,
    folder: TempDir,
    started: AtomicUsize,
}

impl Fleet {
    /// A fleet without any process yet.
    pub fn new(bed: &Bed) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("axon-test-fleet-")
            .tempdir()
            .expect("a temporary folder");
        let config = &bed.config;
        let environment = [
            ("AXON_BUS__URL", config.url.clone()),
            ("AXON_BUS__NAMESPACE", config.namespace.to_string()),
            ("AXON_BUS__STREAM_MB_MAX", config.stream_mb_max.to_string()),
            ("AXON_HEALTH__LISTEN", "127.0.0.1:0".to_owned()),
            (
                "AXON_TOOLS__WORKSPACES__DIR",
                folder.path().join("workspaces").display().to_string(),
            ),
        ];
        Self {
            environment: environment.map(|(key, value)| (key.to_owned(), value)).into(),
            folder,
            started: AtomicUsize::new(0),
        }
    }

    /// A fleet whose leads execute no slow task a second time and add none: for tests that count executions.
    pub fn counted(bed: &Bed) -> Self {
        Self::new(bed).set("AXON_LEAD__DYNAMIC_SPAWNING", false)
    }

    /// Sets a variable for all processes started from now on, such as `AXON_WORKER__SLOTS`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.push((key.to_owned(), value.to_string()));
        self
    }

    /// Variables that make any program reach this fleet.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A folder of this fleet, removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the `axon` command against this fleet.
    pub async fn axon(&self, arguments: &[&str]) -> Ended {
        command::run(&binary("axon"), arguments, self.folder(), &self.environment).await
    }

    /// A lead that is ready.
    pub async fn lead(&self) -> Process {
        self.ready("axon-lead", &[]).await
    }

    /// A synthesizer that is ready.
    pub async fn synthesizer(&self) -> Process {
        self.ready("axon-synthesizer", &[]).await
    }

    /// A worker of all groups that is ready.
    pub async fn worker(&self, slots: usize) -> Process {
        self.ready("axon-worker", &[("AXON_WORKER__SLOTS", &slots.to_string())])
            .await
    }

    /// Several workers, started together.
    pub async fn workers(&self, count: usize, slots: usize) -> Vec<Process> {
        join_all((0..count).map(|_| self.worker(slots))).await
    }

    /// One of the binaries with variables of its own, ready.
    pub async fn ready(&self, name: &str, more: &[(&str, &str)]) -> Process {
        let process = self.start(name, more);
        process.ready(READY_TIMEOUT).await;
        process
    }

    /// One of the binaries with variables of its own, just started.
    pub fn start(&self, name: &str, more: &[(&str, &str)]) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut environment = self.environment.clone();
        environment.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Process::start(
            &format!("{name}-{number}"),
            &binary(name),
            self.folder.path(),
            &environment,
        )
    }
}
