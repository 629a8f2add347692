//! Takes limits on, then becomes the program: it never runs without them.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{CONFINE, Limits, NONE};

/// The arguments that make a binary of Axon run a program within limits, before those of the program.
pub(super) fn arguments(limits: Limits) -> [String; 3] {
    let text = |limit: Option<u64>| limit.map_or_else(|| NONE.to_owned(), |bytes| bytes.to_string());
    [CONFINE.to_owned(), text(limits.memory_bytes), text(limits.file_bytes)]
}

/// Only returns when the program cannot be started.
pub(super) fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let mut next = |what: &str| arguments.next().ok_or_else(|| missing(what));
    let memory = limit(&next("a limit of memory")?)?;
    let file = limit(&next("a limit of files")?)?;
    let program = next("a program")?;
    // Memory that is only reserved does not count, unlike with `As`: several runtimes reserve far more than they use.
    set(Resource::Data, memory)?;
    set(Resource::Fsize, file)?;
    set(Resource::Core, Some(0))?;
    let error = Command::new(&program).args(arguments).exec();
    Err(io::Error::new(
        error.kind(),
        format!("cannot start `{}`: {error}", program.display()),
    ))
}

fn set(resource: Resource, bytes: Option<u64>) -> io::Result<()> {
    if bytes.is_some() {
        setrlimit(
            resource,
            Rlimit {
                current: bytes,
                maximum: bytes,
            },
        )?;
    }
    Ok(())
}

fn limit(text: &OsString) -> io::Result<Option<u64>> {
    match text.to_str() {
        Some(NONE) => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_| missing("a number of bytes")),
        None => Err(missing("a number of bytes")),
    }
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("`{CONFINE}` needs {what}"))
}
