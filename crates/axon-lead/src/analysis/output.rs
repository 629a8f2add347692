//! Tells lines that a program printed from lines that a person wrote, so that nothing in a log or a stack trace is read
//! as something asked for. It judges lines by their form.

use std::sync::LazyLock;

use regex::Regex;

/// What only programs begin lines with, or write in the middle of them.
static PRINTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        ^\s*(
            thread\s'            # a panic of Rust
          | [Tt]raceback\s\(       # of Python
          | [Cc]aused\sby:
          | note:\s|help:\s|hint:\s
          | ([Ee]rror|[Ww]arning|[Ff]atal|[Pp]anic|[Ee]xception)(\[\w+\])?:\s
          | [\w.:]*(Error|Exception|Failure|Panic)(:\s|$)
          | \[?(ERROR|WARN|WARNING|INFO|DEBUG|FATAL|TRACE|CRITICAL)\b
          | \[?\d{4}-\d{2}-\d{2}[T\s]\d{2}:\d{2}
          | \[?\d{2}:\d{2}:\d{2}\b
          | \d+:\s+(0x)?[\w:<]+  # a frame
          | at\s\S+(\s\(|:\d+) # a frame
          | [Ff]ile\s".+",\sline\s\d+
          | -->\s|=\snote:|\|
          | [\w./-]+:\d+(:\d+)?:
          | exit\s(code|status)\b
          | (test\s\S+\s\.\.\.\s)
        )
        | \bpanicked\sat\b | \bstack\sbacktrace\b | \bexited\swith\s(code|status)\b
        "#,
    )
    .ok()
});

/// For each line of a text whether a program printed it. A line that follows a printed one directly belongs to it, unless it
/// asks something; a text of a single line was written by its asker.
pub(super) fn printed(source: &str) -> Vec<bool> {
    let lines: Vec<&str> = source.split('\n').collect();
    if lines.len() < 2 {
        return vec![false; lines.len()];
    }
    let mut before = false;
    let mut found = Vec::with_capacity(lines.len());
    for line in lines {
        let asks = line.trim_end().ends_with('?');
        let form = PRINTED.as_ref().is_some_and(|form| form.is_match(line));
        before = !line.trim().is_empty() && !asks && (form || before);
        found.push(before);
    }
    found
}

/// The message in a printed line: what follows `Error:` or the name of an exception.
pub(super) fn message(line: &str) -> Option<&str> {
    static MESSAGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)^\s*(?:[\w.:]*(?:error|exception)|fatal|panic)(?:\[\w+\])?:\s+(?P<message>[^\n]+)").ok()
    });
    let captures = MESSAGE.as_ref()?.captures(line)?;
    let message = captures.name("message")?.as_str().trim().trim_matches('"');
    (message.split_whitespace().count() > 1).then_some(message)
}

/// A text without what a program printed, and with the first message in its place: what can be said of it in one sentence.
pub(crate) fn written(source: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut told = false;
    let mut first = None;
    for (line, printed) in source.split('\n').zip(printed(source)) {
        if !printed {
            kept.push(line.to_owned());
            continue;
        }
        first.get_or_insert((kept.len(), line));
        if let Some(message) = message(line).filter(|_| !told) {
            kept.push(format!("“{message}”."));
            told = true;
        }
    }
    if let Some((at, line)) = first.filter(|_| !told) {
        kept.insert(at, format!("“{}”.", line.trim()));
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_printed_is_told_from_what_was_written() {
        let source =
            "The import dies, see below.\n\nthread 'main' panicked at src/a.rs:3:5:\ncalled `unwrap()` on None\n\nWhy?";
        assert_eq!(printed(source), [false, false, true, true, false, false]);
        for line in [
            "Traceback (most recent call last):",
            "  File \"a.py\", line 3, in main",
            "ValueError: bad header",
            "2024-11-03T10:00:01Z WARN pool is empty",
            "    at parse (src/a.ts:10:3)",
            "   4: core::panicking::panic_fmt",
            "error[E0308]: mismatched types",
            "src/a.rs:3:5: unexpected token",
        ] {
            assert_eq!(printed(&format!("{line}\n")), [true, false], "{line}");
        }
        for line in [
            "Find the error: it is in a.rs",
            "1. Locate it",
            "At noon it stops",
            "Why does it say error 5?",
        ] {
            assert_eq!(printed(&format!("{line}\n")), [false, false], "{line}");
        }
        assert_eq!(message("ValueError: bad header"), Some("bad header"));
        assert_eq!(message("Error: \"import of 5 failed\""), Some("import of 5 failed"));
        assert_eq!(message("at x (y:1)"), None);
        assert_eq!(
            written("It dies:\n\nthread 'x' panicked at a.rs:1:\nError: no room left\n\nWhy?"),
            "It dies:\n\n“no room left”.\n\nWhy?"
        );
        assert_eq!(
            written("It dies:\n\nthread 'x' panicked at a.rs:1:\nboo\n"),
            "It dies:\n\n“thread 'x' panicked at a.rs:1:”.\n"
        );
        assert_eq!(written("Why?"), "Why?");
    }
}
