//! Writing to standard output: text for people, JSON for machines. It never writes to standard error.

pub(crate) use axon_protocol::counted;
use std::io::{self, Write as _};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// Writes a text and a line break. A reader that went away is no error: it has what it wanted.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value).context("cannot write the JSON")?)
}

/// Writes one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value).context("cannot write the JSON")?)
}

/// Columns as wide as their widest cell. The last one is not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let one = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<String> = std::iter::once(one(&head))
        .chain(rows.iter().map(|row| one(row)))
        .collect();
    lines.join("\n")
}

/// The first line of a text, cut to so many characters.
pub(crate) fn short(text: &str, chars_max: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() <= chars_max {
        return line.to_owned();
    }
    let cut: String = line.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// How long ago something was, in its two largest units.
pub(crate) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let s = (now - at).num_seconds().max(0);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let rows = vec![
            vec!["a".to_owned(), "x".to_owned()],
            vec!["längere".to_owned(), String::new()],
        ];
        assert_eq!(table(&["id", "text"], &rows), "id       text\na        x\nlängere");
    }

    #[test]
    fn ages_have_two_units() {
        let now = Utc::now();
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3_600, "1h00m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(age(now - chrono::Duration::seconds(seconds), now), text);
        }
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "task")), ["0 tasks", "1 task", "2 tasks"]);
    }

    #[test]
    fn a_text_is_cut_to_one_line() {
        assert_eq!(short("  why?\nbecause", 10), "why?");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("", 4), "");
    }
}
