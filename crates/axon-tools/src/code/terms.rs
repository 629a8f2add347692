//! Words of code and prose: identifiers split into their parts, endings removed, empty words dropped. The same for what is
//! indexed and what is asked, so that `parse_header` is found by "parsing headers".

use std::collections::BTreeSet;

/// Longer words are cut; nobody asks for them.
const TERM_BYTES_MAX: usize = 64;

/// Words that carry no meaning of their own in a question.
const EMPTY_WORDS: &[&str] = &[
    "a",
    "about",
    "again",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "being",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "done",
    "each",
    "either",
    "ever",
    "every",
    "explain",
    "find",
    "for",
    "from",
    "get",
    "gets",
    "give",
    "go",
    "had",
    "happen",
    "happens",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "instead",
    "into",
    "is",
    "it",
    "its",
    "just",
    "know",
    "let",
    "like",
    "look",
    "make",
    "makes",
    "many",
    "may",
    "me",
    "might",
    "more",
    "most",
    "much",
    "must",
    "my",
    "no",
    "not",
    "now",
    "of",
    "off",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "over",
    "own",
    "please",
    "review",
    "same",
    "say",
    "says",
    "see",
    "seem",
    "seems",
    "shall",
    "she",
    "should",
    "show",
    "so",
    "some",
    "such",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "us",
    "use",
    "used",
    "uses",
    "using",
    "very",
    "was",
    "way",
    "we",
    "well",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "whole",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "would",
    "yes",
    "you",
    "your",
    "repository",
    "repo",
    "codebase",
    "project",
    "code",
];

/// The words of a text in order; identifiers whole.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(|word| word.trim_matches('_'))
        .filter(|word| !word.is_empty())
}

/// The terms of a text in order, repeats included: every word as a whole and, where it is made of several, its parts.
pub fn terms(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for_each_term(text, |term| out.push(term));
    out
}

/// Calls `found` with each term of a text, in order.
pub fn for_each_term(text: &str, mut found: impl FnMut(String)) {
    for word in words(text) {
        let parts = split_identifier(word);
        if parts.len() > 1 {
            found(cut(word.to_lowercase()));
        }
        for part in parts {
            if part.len() > 1 || parts_is_word(word) {
                found(cut(stem(&part.to_lowercase())));
            }
        }
    }
}

fn parts_is_word(word: &str) -> bool {
    word.chars().nth(1).is_none()
}

fn cut(mut term: String) -> String {
    let mut end = TERM_BYTES_MAX.min(term.len());
    while !term.is_char_boundary(end) {
        end -= 1;
    }
    term.truncate(end);
    term
}

/// The terms of a question, each once, in order, without words that carry no meaning.
pub fn query_terms(text: &str) -> Vec<String> {
    query_words(text).into_iter().map(|(term, _)| term).collect()
}

/// The terms of a question with the words they were made of, for people.
pub fn query_words(text: &str) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    let mut add = |term: String, word: &str| {
        if term.len() > 1 && seen.insert(term.clone()) {
            out.push((term, word.to_lowercase()));
        }
    };
    for word in words(text).filter(|word| !is_empty_word(word)) {
        let parts = split_identifier(word);
        if parts.len() > 1 {
            add(cut(word.to_lowercase()), word);
        }
        for part in parts {
            add(cut(stem(&part.to_lowercase())), part);
        }
    }
    out
}

/// Whether a word carries no meaning of its own in a question.
pub fn is_empty_word(word: &str) -> bool {
    EMPTY_WORDS.contains(&word.to_lowercase().as_str())
}

/// The parts of an identifier: `parse_HTTPHeader2` gives `parse`, `HTTP`, `Header`, `2`.
pub fn split_identifier(word: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = word.char_indices().collect();
    let mut parts = Vec::new();
    let mut start = 0;
    for (index, (at, c)) in chars.iter().enumerate() {
        let previous = index.checked_sub(1).map(|i| chars[i].1);
        let next = chars.get(index + 1).map(|(_, c)| *c);
        let boundary = previous.is_some_and(|previous| {
            *c == '_'
                || previous == '_'
                || (c.is_uppercase() && previous.is_lowercase())
                || (c.is_uppercase() && previous.is_uppercase() && next.is_some_and(char::is_lowercase))
                || (c.is_numeric() != previous.is_numeric())
        });
        if boundary {
            parts.push(&word[start..*at]);
            start = *at;
        }
    }
    parts.push(&word[start..]);
    parts.retain(|part| !part.is_empty() && *part != "_");
    parts
}

/// A word without the endings of plural, past and progressive: `retries`, `retried` and `retrying` give `retry`'s stem.
/// Rough on purpose: both sides are treated alike, and a stem need not be a word.
pub fn stem(word: &str) -> String {
    if !word.is_ascii() || word.len() < 4 || word.bytes().any(|b| b.is_ascii_digit()) {
        return word.to_owned();
    }
    let mut root = word;
    if let Some(base) = root.strip_suffix("ies").filter(|base| base.len() >= 2) {
        return format!("{base}i");
    }
    if let Some(base) = ["sses", "xes", "ches", "shes"]
        .iter()
        .find_map(|end| root.strip_suffix(end).map(|b| b.len() + end.len() - 2))
    {
        root = &root[..base];
    } else if root.ends_with('s') && !root.ends_with("ss") && !root.ends_with("us") && !root.ends_with("is") {
        root = &root[..root.len() - 1];
    }
    let has_vowel = |text: &str| {
        text.bytes()
            .any(|b| matches!(b, b'a' | b'e' | b'i' | b'o' | b'u' | b'y'))
    };
    for ending in ["ing", "ed"] {
        if let Some(base) = root
            .strip_suffix(ending)
            .filter(|base| base.len() >= 3 && has_vowel(base))
        {
            root = base;
            let bytes = root.as_bytes();
            let (last, before) = (bytes[bytes.len() - 1], bytes[bytes.len() - 2]);
            if last == before && !matches!(last, b'l' | b's' | b'z' | b'e') {
                root = &root[..root.len() - 1];
            }
            break;
        }
    }
    if root.len() >= 4 {
        root = root.strip_suffix('e').unwrap_or(root);
    }
    match root.strip_suffix('y').filter(|base| base.len() >= 2) {
        Some(base) => format!("{base}i"),
        None => root.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_split() {
        for (word, parts) in [
            ("parse_header", vec!["parse", "header"]),
            ("parseHTTPHeader2", vec!["parse", "HTTP", "Header", "2"]),
            ("HttpServer", vec!["Http", "Server"]),
            ("utf8", vec!["utf", "8"]),
            ("SCREAMING_CASE", vec!["SCREAMING", "CASE"]),
            ("plain", vec!["plain"]),
            ("größeMax", vec!["größe", "Max"]),
        ] {
            assert_eq!(split_identifier(word), parts, "{word}");
        }
    }

    #[test]
    fn forms_of_a_word_meet() {
        for forms in [
            &["parse", "parses", "parsed", "parsing"][..],
            &["retry", "retries", "retried", "retrying"],
            &["error", "errors"],
            &["cache", "caches", "cached", "caching"],
            &["stop", "stops", "stopped", "stopping"],
            &["handle", "handled", "handles", "handling"],
            &["fail", "failed", "failing", "fails"],
            &["match", "matches", "matched"],
        ] {
            let stems: BTreeSet<String> = forms.iter().map(|form| stem(form)).collect();
            assert_eq!(stems.len(), 1, "{forms:?}: {stems:?}");
        }
        for word in ["class", "status", "this", "analysis", "red", "string"] {
            assert!(
                stem(word).len() + 1 >= word.len() || word == "string",
                "{word}: {}",
                stem(word)
            );
        }
    }

    #[test]
    fn a_question_keeps_what_carries_meaning() {
        assert_eq!(
            query_terms("Why does `parse_header` fail on empty input?"),
            ["parse_header", "pars", "header", "fail", "empti", "input"]
        );
        assert_eq!(query_terms("how is it?"), Vec::<String>::new());
        assert_eq!(terms("HttpServer x"), ["httpserver", "http", "server", "x"]);
    }
}
