//! Programs that run to their end: the `axon` command and clients in other languages.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

/// What a test may wait for a command; those that wait for answers are told to wait less.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs a program to its end. One that hangs is killed and fails the test.
pub async fn run(program: &Path, arguments: &[&str], folder: &Path, environment: &[(String, String)]) -> Ended {
    let started = Instant::now();
    let running = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .env_remove("AXON_CONFIG")
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_TIMEOUT, running)
        .await
        .unwrap_or_else(|_| panic!("{} {arguments:?} does not end", program.display()))
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    }
}
