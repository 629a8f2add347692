//! The side of whoever wants a foreign program: it starts the supervisor and holds the pipe that keeps it going.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::process::{Child, Command};

use super::{Limits, NONE, SUPERVISE, confine, environment};

/// A program to run.
#[derive(Debug)]
pub struct Foreign {
    /// The binary of Axon that supervises; see [`super::helper`].
    pub supervisor: PathBuf,
    /// The program, looked for in `PATH` where it is a bare name.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its variables, besides those of [`super::PASSED_ON`].
    pub environment: Vec<(String, OsString)>,
    /// Where it runs; where this process runs if absent.
    pub directory: Option<PathBuf>,
    /// What it may take.
    pub limits: Limits,
    /// A directory that is removed when the program has ended, however that came about.
    pub scratch: Option<PathBuf>,
}

/// A program that runs. Dropping it ends the program and everything it started, within a second.
#[derive(Debug)]
pub struct Supervised {
    /// The supervisor, whose standard streams are those of the program. It ends with the program's code, or with 128
    /// plus the signal that ended the program.
    pub child: Child,
    /// What the supervisor watches: nothing is ever written, its end is the sign.
    leash: OwnedFd,
}

impl Supervised {
    /// Ends the program and everything it started, and returns the supervisor to wait for.
    pub fn end(self) -> Child {
        drop(self.leash);
        self.child
    }
}

impl Foreign {
    /// Starts it with these standard streams.
    pub fn spawn(self, input: Stdio, output: Stdio, error: Stdio) -> io::Result<Supervised> {
        // Nobody inherits this side. The other one is inherited by the supervisor, and by what else is started in this
        // moment, where it does no harm: a pipe has ended when all that could write are gone.
        let (watched, leash) = pipe_with(PipeFlags::CLOEXEC)?;
        let inherited = rustix::io::dup(&watched)?;
        let mut command = Command::new(&self.supervisor);
        command
            .arg(SUPERVISE)
            .arg(inherited.as_raw_fd().to_string())
            .arg(self.scratch.as_deref().unwrap_or_else(|| Path::new(NONE)));
        if self.limits != Limits::default() {
            command.arg(&self.supervisor).args(confine::arguments(self.limits));
        }
        command
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(environment::passed_on())
            .envs(self.environment)
            .stdin(input)
            .stdout(output)
            .stderr(error)
            // What is sent to the group of this process must not end the one who cleans up.
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().map_err(|error| {
            let message = format!("cannot start the supervisor `{}`: {error}", self.supervisor.display());
            io::Error::new(error.kind(), message)
        })?;
        Ok(Supervised { child, leash })
    }
}
