//! One child process: started in a process group of its own, its output in a log file, ended by SIGTERM and, when that
//! does not help, by SIGKILL. A dropped child is killed.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::exit::Failure;

/// How much of a log is shown when a process dies, in bytes.
const LOG_TAIL_BYTES: u64 = 2000;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Names the process among its siblings.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    /// Whether it ends with this process: its standard input is a pipe that closes when this process is gone, however
    /// that came about. The program has to know of it.
    pub(crate) leash: bool,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: tokio::process::Child,
    pub(crate) pid: u32,
    /// Kept apart from the child, because waiting for a child closes the input that it holds.
    _leash: Option<tokio::process::ChildStdin>,
}

impl Process {
    /// Starts it. Its output is added to its log.
    pub(crate) fn spawn(spec: &Spec) -> anyhow::Result<Self> {
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&spec.log)
                .with_context(|| format!("cannot write the log {}", spec.log.display()))
        };
        let mut child = tokio::process::Command::new(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(if spec.leash { Stdio::piped() } else { Stdio::null() })
            .stdout(open()?)
            .stderr(open()?)
            // Ctrl-C in a terminal reaches the whole foreground group: the fleet must be drained, not struck down.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", spec.program.display()))?;
        let pid = child.id().context("the process ended at once")?;
        let _leash = child.stdin.take();
        Ok(Self { child, pid, _leash })
    }

    /// Kills it, also when it is frozen, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.child.kill().await;
    }

    /// Waits until it ends.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end and waits, then kills it. Tells how it ended; `None` if it had to be killed.
    pub(crate) async fn terminate(&mut self, grace: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may have ended in between; then there is nobody to tell.
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(Ok(status)) = tokio::time::timeout(grace, self.child.wait()).await {
            return Some(status);
        }
        self.kill().await;
        None
    }
}

/// The binary of a role, beside the running one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let path = own.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::bad_input(format!(
        "there is no {name} beside {}: build the whole workspace (`cargo build --release`), or install all binaries in one \
         directory",
        own.display()
    ))
    .into())
}

/// The end of a log on one line, for an error message; empty where there is none.
pub(crate) fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// Processor time of a process in seconds, user and system together; `None` where the system does not tell.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    parse_cpu_seconds(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process of this id runs, and when it was started, in clock ticks since the machine was: together they name a
/// process for good, because ids are used again. `None` when there is none, or only the entry of a dead one.
pub(crate) fn started_at_ticks(pid: u32) -> Option<u64> {
    parse_started_at_ticks(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_started_at_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Clock ticks in a second, as Linux reports processor time on every machine it runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The name may hold blanks and parentheses, so that fields are counted from its end: user time is the 12th there.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &Path, script: &str) -> Spec {
        Spec {
            name: "child".to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            log: dir.join("child.log"),
            leash: false,
        }
    }

    #[tokio::test]
    async fn a_leash_holds_until_the_child_is_let_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut spec = spec(dir.path(), "echo up; cat; echo let go; exit 5");
        spec.leash = true;
        let mut child = Process::spawn(&spec).expect("starts");
        while log_tail(&spec.log) != "up" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let waited = tokio::time::timeout(Duration::from_millis(50), child.wait()).await;
        assert!(waited.is_err(), "waiting for it does not let it go");
        child._leash = None;
        assert_eq!(child.wait().await.expect("ends").code(), Some(5));
        assert_eq!(log_tail(&spec.log), "up | let go");
    }

    #[tokio::test]
    async fn a_child_writes_its_log_and_ends_on_sigterm() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = "trap 'echo drained; exit 7' TERM; echo $GREETING; while :; do sleep 0.05; done";
        let spec = spec(dir.path(), script);
        let mut child = Process::spawn(&spec).expect("starts");
        while log_tail(&spec.log) != "hello" {
            assert_eq!(child.ended(), None);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(cpu_seconds(child.pid).is_some_and(|seconds| seconds < 10.0));
        let status = child.terminate(Duration::from_secs(10)).await.expect("ends by itself");
        assert_eq!(
            (status.code(), log_tail(&spec.log).as_str()),
            (Some(7), "hello | drained")
        );
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let spec = spec(dir.path(), "trap '' TERM; echo up; while :; do sleep 0.05; done");
        let mut child = Process::spawn(&spec).expect("starts");
        while log_tail(&spec.log) != "up" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(child.terminate(Duration::from_millis(20)).await, None);
        assert!(child.ended().is_some());
    }

    #[test]
    fn processor_time_is_counted_behind_the_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
        assert_eq!(parse_cpu_seconds("42 (a"), None);
        assert_eq!(parse_started_at_ticks(stat), Some(100));
        assert_eq!(parse_started_at_ticks(&stat.replace(" S ", " Z ")), None);
        assert!(started_at_ticks(std::process::id()).is_some());
    }
}
