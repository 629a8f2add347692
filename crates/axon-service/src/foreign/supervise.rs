//! The supervisor: runs a program in a process group of its own, and ends the group, and whatever else the program
//! started, when the program ends or the pipe of whoever wanted it closes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::{NONE, SUPERVISE};

/// How long a program may take to end by itself when it is told to.
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// How long what is left is looked for and killed.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the program that the arguments name until it ends, or must. Its code is the outcome.
pub(super) async fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let mut next = |what: &str| {
        let error = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{SUPERVISE}` needs {what}"));
        arguments.next().ok_or_else(error)
    };
    let watched = next("the number of a pipe")?;
    let scratch = Scratch(next("a directory to remove")?);
    let program = next("a program")?;
    let watched = File::open(format!("/dev/fd/{}", watched.display()))?;
    let mut watched = pipe::Receiver::from_file(watched)?;
    // What outlives the process that started it comes to this one, so that it is found in the end.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = Command::new(&program)
        .args(arguments)
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start `{}`: {error}", program.display())))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut ignored = [0; 16];
    let ended = tokio::select! {
        ended = child.wait() => Some(ended?),
        // Nothing is ever written.
        _ = watched.read(&mut ignored) => None,
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let ended = match (ended, group) {
        (Some(ended), _) => ended,
        (None, Some(group)) => {
            // Whoever is gone already needs no signal.
            let _ = kill_process_group(group, Signal::TERM);
            match timeout(END_TIMEOUT, child.wait()).await {
                Ok(ended) => ended?,
                Err(_) => {
                    let _ = kill_process_group(group, Signal::KILL);
                    child.wait().await?
                }
            }
        }
        (None, None) => child.wait().await?,
    };
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    sweep().await;
    drop(scratch);
    Ok(code_of(ended))
}

/// A directory that is removed in the end, also when the program does not start.
struct Scratch(OsString);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left in the directory for temporary files.
        if self.0 != NONE {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Kills what is left, also what left the group. Each kill may bring more: what the killed had started.
async fn sweep() {
    let until = Instant::now() + SWEEP_TIMEOUT;
    loop {
        let left = children();
        if left.is_empty() || Instant::now() >= until {
            return;
        }
        for child in left {
            let _ = kill_process(child, Signal::KILL);
        }
        sleep(SWEEP_INTERVAL).await;
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// The processes that this one is the parent of. None where the system tells nothing of processes.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent(&stat) == Some(own)))
        .filter_map(Pid::from_raw)
        .collect()
}

/// The parent in a line of `/proc/*/stat`, which comes after the name, which may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn code_of(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| Some(128 + ended.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_stands_behind_any_name() {
        for (stat, expected) in [
            ("7 (sh) S 3 7 7 0", Some(3)),
            ("7 (a) (b c) S 4 7 7 0", Some(4)),
            ("7 (sh", None),
            ("", None),
        ] {
            assert_eq!(parent(stat), expected, "{stat}");
        }
    }

    #[test]
    fn a_code_is_that_of_a_shell() {
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(code_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}
