//! `axon guard`, which no person calls: outlives the command that runs a fleet and ends what is left of the fleet when that
//! command is gone. It is told whom to watch on its standard input, whose end is the sign.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::fleet::lock;
use crate::process::started_at_ticks;

/// How long the roles may take to drain. They notice by themselves that the command is gone; what is left then is killed,
/// and its leases end by themselves, as after any crash.
const ROLES_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nats-server may take to close its files.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether they are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What a watched process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A lead, worker or synthesizer, which notices by itself.
    Role,
    /// nats-server, which does not, and goes last.
    Server,
}

/// One line of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Watch(Watched, u32),
    Forget(u32),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Watch(Watched::Role, pid) => write!(f, "role {pid}"),
            Line::Watch(Watched::Server, pid) => write!(f, "server {pid}"),
            Line::Forget(pid) => write!(f, "forget {pid}"),
        }
    }
}

impl FromStr for Line {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (verb, pid) = text.trim().split_once(' ').ok_or(())?;
        let pid = pid.parse().map_err(drop)?;
        match verb {
            "role" => Ok(Line::Watch(Watched::Role, pid)),
            "server" => Ok(Line::Watch(Watched::Server, pid)),
            "forget" => Ok(Line::Forget(pid)),
            _ => Err(()),
        }
    }
}

/// A process as it was when it was named: another one of the same id is never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ward {
    what: Watched,
    pid: Pid,
    started_at_ticks: Option<u64>,
}

impl Ward {
    fn new(what: Watched, pid: u32) -> Option<Self> {
        Some(Self {
            what,
            pid: Pid::from_raw(i32::try_from(pid).ok()?)?,
            started_at_ticks: started_at_ticks(pid),
        })
    }

    fn lives(&self) -> bool {
        match self.started_at_ticks {
            Some(ticks) => started_at_ticks(self.pid.as_raw_nonzero().get().unsigned_abs()) == Some(ticks),
            // Where the system tells nothing of processes, that there is one of this id has to do.
            None => test_kill_process(self.pid).is_ok(),
        }
    }
}

/// What belongs to the fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct GuardArgs {
    /// Its data directory
    data: PathBuf,
}

pub(crate) async fn run(args: GuardArgs) -> anyhow::Result<Exit> {
    let mut wards: BTreeMap<u32, Ward> = BTreeMap::new();
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input = input.context("cannot use standard input")?;
    let input = pipe::Receiver::from_owned_fd(input).context("standard input is no pipe: `axon up` calls this")?;
    let mut lines = BufReader::new(input).lines();
    // An input that cannot be read is as good as its end.
    while let Ok(Some(line)) = lines.next_line().await {
        match line.parse() {
            Ok(Line::Watch(what, pid)) => {
                wards.extend(Ward::new(what, pid).map(|ward| (pid, ward)));
            }
            Ok(Line::Forget(pid)) => {
                wards.remove(&pid);
            }
            Err(()) => tracing::warn!(line, "left out a line that is no instruction"),
        }
    }
    // The next fleet must not begin on the same store while this one's server still writes into it.
    let _lock = lock(&args.data);
    let (roles, servers): (Vec<Ward>, Vec<Ward>) = wards.into_values().partition(|ward| ward.what == Watched::Role);
    end(&roles, ROLES_TIMEOUT).await;
    for server in servers.iter().filter(|server| server.lives()) {
        // It may have ended in between; then there is nobody to tell.
        let _ = kill_process(server.pid, Signal::TERM);
    }
    end(&servers, SERVER_TIMEOUT).await;
    Ok(Exit::Success)
}

/// Waits until they are gone, then kills those that are not, with what they started.
async fn end(wards: &[Ward], timeout: Duration) {
    let until = Instant::now() + timeout;
    while wards.iter().any(Ward::lives) {
        if Instant::now() >= until {
            for ward in wards.iter().filter(|ward| ward.lives()) {
                let _ = kill_process_group(ward.pid, Signal::KILL);
            }
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        for line in [
            Line::Watch(Watched::Role, 7),
            Line::Watch(Watched::Server, 8),
            Line::Forget(9),
        ] {
            assert_eq!(line.to_string().parse(), Ok(line));
        }
        for bad in ["", "role", "role x", "kill 7", "role -1"] {
            assert_eq!(bad.parse::<Line>(), Err(()), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_does_not_go_is_killed_and_another_process_of_the_same_id_is_not() {
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let ward = Ward::new(Watched::Role, child.id().expect("a pid")).expect("a process");
        let another = Ward {
            started_at_ticks: ward.started_at_ticks.map(|ticks| ticks + 1),
            ..ward
        };
        assert!(ward.lives() && !another.lives());
        end(&[another], Duration::ZERO).await;
        assert!(ward.lives());
        end(&[ward], Duration::from_millis(10)).await;
        assert!(!child.wait().await.expect("ends").success());
        assert!(!ward.lives());
    }
}
