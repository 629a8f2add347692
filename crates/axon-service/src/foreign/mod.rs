//! Foreign programs: servers and commands that are not Axon's. Each runs under a supervisor, a process of Axon's own
//! binary that ends the program and everything it started as soon as whoever wanted it is gone, however that came about.

mod confine;
mod environment;
mod spawn;
mod supervise;

pub use environment::PASSED_ON;
pub use spawn::{Foreign, Supervised};

/// What a program, and each program it starts, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of memory one process may write to. `None` is no limit.
    pub memory_bytes: Option<u64>,
    /// Bytes of the largest file one process may write. `None` is no limit.
    pub file_bytes: Option<u64>,
}

/// The word by which a binary of Axon is told to supervise.
const SUPERVISE: &str = "supervise";
/// The word by which it is told to take limits on and to become the program.
const CONFINE: &str = "confine";
/// Stands for what is absent among their arguments.
const NONE: &str = "-";

/// What a binary asks before it reads its arguments: whether it is there as a helper of another process of Axon. Then it
/// is that, and the process has to end with this code. No person calls this.
pub async fn helper() -> Option<u8> {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next()?;
    let ended = match word.to_str()? {
        SUPERVISE => supervise::run(arguments).await,
        CONFINE => confine::run(arguments),
        _ => return None,
    };
    Some(match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            // As a shell tells that a program cannot be started.
            127
        }
    })
}
