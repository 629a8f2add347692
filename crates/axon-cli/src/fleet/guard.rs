//! The guard of a fleet: a process of this binary that outlives the command, however that ends, and then ends what is left
//! of the fleet. This is the side of the command: it starts the guard and tells it whom to watch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

use crate::command::guard::{Line, Watched};

/// How long telling the guard something may take. It reads at once, unless it is frozen.
const TELL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may take to leave when there is nothing left to guard.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running guard, started again when it dies.
#[derive(Debug)]
pub(super) struct Guard {
    /// The data directory, which nobody else may use until everything has ended.
    data: PathBuf,
    log: PathBuf,
    running: Option<(Child, ChildStdin)>,
    watched: BTreeMap<u32, Watched>,
}

impl Guard {
    pub(super) fn start(data: &Path, log: PathBuf) -> anyhow::Result<Self> {
        let running = Some(spawn(data, &log)?);
        Ok(Self {
            data: data.to_owned(),
            log,
            running,
            watched: BTreeMap::new(),
        })
    }

    /// Ends this process when the command is gone.
    pub(super) async fn watch(&mut self, pid: u32, what: Watched) {
        self.watched.insert(pid, what);
        self.tell(&[Line::Watch(what, pid)]).await;
    }

    /// Leaves a process alone that has ended: its id may be another's soon.
    pub(super) async fn forget(&mut self, pid: u32) {
        if self.watched.remove(&pid).is_some() {
            self.tell(&[Line::Forget(pid)]).await;
        }
    }

    /// Starts it again where it is gone.
    pub(super) async fn check(&mut self) {
        let lives = |(child, _): &mut (Child, ChildStdin)| matches!(child.try_wait(), Ok(None));
        if self.running.as_mut().is_some_and(lives) {
            return;
        }
        match spawn(&self.data, &self.log) {
            Ok(running) => self.running = Some(running),
            Err(error) => return tracing::warn!(%error, "the guard of the fleet is gone and does not start again"),
        }
        let all: Vec<Line> = self
            .watched
            .iter()
            .map(|(pid, what)| Line::Watch(*what, *pid))
            .collect();
        self.tell(&all).await;
    }

    /// Lets it go when everything it watches has ended.
    pub(super) async fn leave(mut self) {
        if let Some((mut child, input)) = self.running.take() {
            drop(input);
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, child.wait()).await;
        }
    }

    async fn tell(&mut self, lines: &[Line]) {
        let Some((_, input)) = &mut self.running else { return };
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let told = tokio::time::timeout(TELL_TIMEOUT, input.write_all(text.as_bytes())).await;
        if !matches!(told, Ok(Ok(()))) {
            // The next look finds it gone, or starts another one that is told everything.
            if let Some((mut child, _)) = self.running.take() {
                let _ = child.start_kill();
            }
        }
    }
}

fn spawn(data: &Path, log: &Path) -> anyhow::Result<(Child, ChildStdin)> {
    let open = || {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))
    };
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut child = Command::new(own)
        .arg("guard")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(open()?)
        .stderr(open()?)
        // Ctrl-C in a terminal must not end the one who cleans up.
        .process_group(0)
        .spawn()
        .context("cannot start the guard of the fleet")?;
    let input = child.stdin.take().context("the guard has no input")?;
    Ok((child, input))
}
