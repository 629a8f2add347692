//! The fixed words of a message, as they stand in the code that makes it. Pure.

/// Words of a message that are searched for.
const MESSAGE_WORDS_MAX: usize = 10;

/// A regular expression for a message whose changing parts, such as numbers and names, may differ.
pub fn message_pattern(quote: &str) -> Option<String> {
    let words = quote.split_whitespace().take(MESSAGE_WORDS_MAX);
    let mut pattern: Vec<String> = Vec::new();
    let mut fixed = 0;
    for word in words {
        if is_changing(word) {
            if pattern.last().is_none_or(|last| last != ".{0,80}") {
                pattern.push(".{0,80}".to_owned());
            }
        } else {
            fixed += word.len();
            pattern.push(escaped(word));
        }
    }
    while pattern.first().is_some_and(|first| first == ".{0,80}") {
        pattern.remove(0);
    }
    while pattern.last().is_some_and(|last| last == ".{0,80}") {
        pattern.pop();
    }
    (fixed >= 5).then(|| pattern.join(r"\s*"))
}

fn is_changing(word: &str) -> bool {
    word.chars().any(|c| c.is_ascii_digit()) || word.contains(['/', '\\', '`', '\'', '"', '<', '>', '{', '}', '='])
}

fn escaped(word: &str) -> String {
    word.chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' {
                c.to_string()
            } else {
                format!("\\{c}")
            }
        })
        .collect()
}

/// The longest run of plain words of a message, three at most, as a regular expression.
pub fn longest_words(quote: &str) -> Option<String> {
    let words: Vec<&str> = quote.split_whitespace().collect();
    let plain = |word: &&str| !is_changing(word);
    let runs = words.split(|word| !plain(word));
    let run = runs
        .flat_map(|run| run.windows(3.min(run.len().max(1))))
        .max_by_key(|run| run.iter().map(|word| word.len()).sum::<usize>())?;
    let length: usize = run.iter().map(|word| word.len()).sum();
    (run.len() > 1 && length >= 8).then(|| run.iter().map(|word| escaped(word)).collect::<Vec<_>>().join(r"\s+"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_searched_by_its_fixed_words() {
        for (quote, pattern) in [
            ("no such file", Some(r"no\s*such\s*file")),
            (
                "cannot open `x.txt`: no such file",
                Some(r"cannot\s*open\s*.{0,80}\s*no\s*such\s*file"),
            ),
            ("error 42", Some("error")),
            ("42 /a/b", None),
            (
                "line 3 of 7 is wrong (really)",
                Some(r"line\s*.{0,80}\s*of\s*.{0,80}\s*is\s*wrong\s*\(really\)"),
            ),
        ] {
            assert_eq!(message_pattern(quote).as_deref(), pattern, "{quote}");
        }
        assert_eq!(
            longest_words("failed to bind 127.0.0.1:80 to it").as_deref(),
            Some(r"failed\s+to\s+bind")
        );
        assert_eq!(longest_words("x 1"), None);
    }
}
