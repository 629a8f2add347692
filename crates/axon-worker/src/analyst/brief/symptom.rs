//! What a pasted failure says: the message after its kind, and whether the lines it names hold code. Pure.

use std::sync::LazyLock;

use regex::Regex;

use super::BOILERPLATE;

/// What stands before a message: a panic with or without its place, or the kind of an error.
static MESSAGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"panicked at '(?P<old>[^'\n]+)'",
        r"|(?:panicked(?: at [^\n]*?)?|\bpanic|\b\w*(?:Error|Exception)):\s+(?P<message>[^\n]+)",
    ))
    .ok()
});

/// Where a sentence goes on after a message that it holds without quotes.
const AFTER_MESSAGE: &[&str] = &[" when ", " if ", " after ", " while ", " whenever ", " as soon as "];

static THREAD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"thread '[^']*'(?: \(\d+\))? (?:has )?panicked(?: at)?").ok());

/// The messages of a failure that are not quoted, without what every failure says.
pub fn messages(query: &str) -> Vec<String> {
    let Some(pattern) = MESSAGE.as_ref() else {
        return Vec::new();
    };
    let found = pattern
        .captures_iter(query)
        .filter_map(|found| found.name("old").or_else(|| found.name("message")));
    let bare = found.map(|found| {
        let text = found.as_str().trim();
        // Only a question goes on after the message.
        let end = AFTER_MESSAGE.iter().filter_map(|word| text.find(word)).min();
        let text = if text.ends_with('?') {
            &text[..end.unwrap_or(text.len())]
        } else {
            text
        };
        text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '?' | '"' | '`' | '“' | '”' | '.'))
    });
    bare.filter(|text| text.split_whitespace().count() > 1)
        .filter(|text| !BOILERPLATE.iter().any(|phrase| text.contains(phrase)))
        .map(str::to_owned)
        .collect()
}

/// A text without the words with which every panic begins.
pub fn without_thread(query: &str) -> String {
    THREAD.as_ref().map_or_else(
        || query.to_owned(),
        |thread| thread.replace_all(query, " ").into_owned(),
    )
}

/// Why a line that a failure names holds no code; `None` where it does.
pub fn holds_no_code(line: u32, text: &str) -> Option<String> {
    let Some(line) = text.lines().nth(line.saturating_sub(1) as usize) else {
        return Some(format!("the file ends at line {}", text.lines().count()));
    };
    let line = line.trim();
    let is_comment = ["//", "/*", "* ", "# "].iter().any(|mark| line.starts_with(mark));
    if line.is_empty() {
        Some("the line is empty".to_owned())
    } else if is_comment {
        Some("the line is a comment".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_failure_is_read_without_quotes() {
        for (query, expected) in [
            (
                "thread 'main' panicked: advance out of bounds: the len is 3 but advancing by 5",
                &["advance out of bounds: the len is 3 but advancing by 5"][..],
            ),
            (
                "thread 'main' (12) panicked at src/a.rs:3:5:\nno room for 7 cells\nnote: run with",
                &["no room for 7 cells"],
            ),
            (
                "thread 'main' panicked at 'no room left', src/a.rs:3:5",
                &["no room left"],
            ),
            (
                "Why does Context.frobnicate() fail with ValueError: bad widget?",
                &["bad widget"],
            ),
            (
                "Why does it raise KeyError: no such key when I close it?",
                &["no such key"],
            ),
            (
                "panicked at src/a.rs:3:5:\ncalled `Result::unwrap()` on an `Err` value: Parse",
                &[],
            ),
            ("Why is it slow?", &[]),
        ] {
            assert_eq!(messages(query), expected, "{query}");
        }
    }

    #[test]
    fn a_line_holds_code_or_it_is_said_why_not() {
        let text = "fn a() {\n\n    // nothing\n}\n";
        for (line, expected) in [
            (1, None),
            (2, Some("the line is empty")),
            (3, Some("the line is a comment")),
            (9, Some("the file ends at line 4")),
        ] {
            assert_eq!(holds_no_code(line, text).as_deref(), expected, "{line}");
        }
    }
}
