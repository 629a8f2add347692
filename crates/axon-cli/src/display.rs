//! Shows progress on standard error: a spinner and lines on a terminal, plain lines elsewhere. Standard output stays free
//! for the answer.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::progress::{Progress, Step};
use crate::waiting::Heard;

/// Where progress goes.
#[derive(Debug)]
pub(crate) struct Display {
    progress: Progress,
    bar: Option<ProgressBar>,
    silent: bool,
}

impl Display {
    /// A display; `silent` shows nothing.
    pub(crate) fn new(silent: bool) -> Self {
        let bar = (!silent && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let display = Self {
            progress: Progress::default(),
            bar,
            silent,
        };
        display.status(display.progress.status());
        display
    }

    /// Shows what was heard of the query.
    pub(crate) fn heard(&mut self, heard: &Heard) {
        let step = match heard {
            Heard::Event(event) => self.progress.on(event),
            Heard::Result(result) => self.progress.on_result(result),
            Heard::Connection(true) => Step::of("connected to NATS again"),
            Heard::Connection(false) => Step::of("the connection to NATS is lost, waiting for it"),
        };
        if let Some(line) = step.line {
            self.line(&line);
        }
        if let Some(status) = step.status {
            self.status(status);
        }
    }

    /// Shows a line.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            _ if self.silent => {}
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn status(&self, status: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(status);
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
