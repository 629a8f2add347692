//! The lines somebody types or pipes in, and Ctrl-C. Lines are read by a thread of their own, because nothing can interrupt
//! the reading of a terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use axon_service::Interrupts;
use tokio::sync::mpsc;

/// Lines that may wait until the one before is done; whoever pipes in more waits.
const LINES_MAX: usize = 64;

/// What comes from the other side.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// There is no more.
    End,
}

pub(super) struct Terminal {
    lines: mpsc::Receiver<String>,
    interrupts: Interrupts,
    /// Whether somebody sits there.
    interactive: bool,
}

impl Terminal {
    pub(super) fn open() -> anyhow::Result<Self> {
        let (typed, lines) = mpsc::channel(LINES_MAX);
        std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || {
                // Input that cannot be read is at its end.
                for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                    if typed.blocking_send(line).is_err() {
                        return;
                    }
                }
            })
            .context("cannot read standard input")?;
        Ok(Self {
            lines,
            interrupts: Interrupts::listen()?,
            interactive: std::io::stdin().is_terminal(),
        })
    }

    /// Asks for a line, where somebody sits there.
    pub(super) fn prompt(&self) {
        if self.interactive {
            eprint!("axon> ");
            // A prompt that cannot be shown is missed by nobody who could see it.
            let _ = std::io::stderr().flush();
        }
    }

    /// Says something that is no result.
    pub(super) fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// The next line, or Ctrl-C.
    pub(super) async fn heard(&mut self) -> Heard {
        tokio::select! {
            biased;
            () = self.interrupts.next() => Heard::Interrupt,
            line = self.lines.recv() => line.map_or(Heard::End, Heard::Line),
        }
    }

    /// Comes with Ctrl-C.
    pub(super) async fn interrupted(&mut self) {
        self.interrupts.next().await;
    }
}
