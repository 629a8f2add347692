//! What a request names: keywords, symbols, quotes and the subjects of a comparison.

use std::sync::LazyLock;

use regex::Regex;

use super::parts::Part;
use super::text::{Kind, Text, Token};
use super::words;

const KEYWORDS_MAX: usize = 24;
const SUBJECTS_MAX: usize = 8;
const SUBJECT_WORDS_MAX: usize = 8;

/// Words that carry the meaning, in the order of their first use; names of code keep their case.
pub(super) fn keywords(text: &Text<'_>, parts: &[Part]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (index, token) in text.tokens.iter().enumerate() {
        let word = match token.kind {
            Kind::Symbol => token.text.trim_end_matches("()").to_owned(),
            Kind::Code if is_identifier(token.text) => token.text.trim_end_matches("()").to_owned(),
            Kind::Word => {
                let asked = parts.iter().any(|part| part.head == index);
                let plain = token.lower.trim_end_matches("'s").trim_end_matches("’s");
                let stop = words::is_stop(plain) && !is_predicate(text, index);
                if asked || plain.chars().count() < 3 || stop || !plain.contains(char::is_alphabetic) {
                    continue;
                }
                plain.to_owned()
            }
            _ => continue,
        };
        if !found.contains(&word) {
            found.push(word);
        }
    }
    found.truncate(KEYWORDS_MAX);
    found
}

/// Whether a word that says little elsewhere says what is asked of a thing: `need` in `What does a rollback need?`, but not
/// in `What do I need?`.
fn is_predicate(text: &Text<'_>, index: usize) -> bool {
    const PREDICATES: &[&str] = &[
        "get", "give", "keep", "make", "mean", "need", "put", "show", "take", "use",
    ];
    const HELPING: &[&str] = &[
        "do", "does", "did", "can", "could", "will", "would", "must", "should", "may", "might",
    ];
    let Some(sentence) = text.sentences.iter().find(|sentence| sentence.tokens.contains(&index)) else {
        return false;
    };
    let before = &text.tokens[sentence.tokens.start..index];
    let is_thing = |token: &Token<'_>| token.is_named() || (token.kind == Kind::Word && !words::is_stop(&token.lower));
    sentence.question
        && PREDICATES.contains(&text.tokens[index].lower.as_str())
        && before.last().is_some_and(is_thing)
        && before.iter().any(|token| HELPING.contains(&token.lower.as_str()))
}

/// Names of code: what is written as one, and what stands in backticks and could be one.
pub(super) fn symbols(text: &Text<'_>) -> Vec<String> {
    let named = text.tokens.iter().filter(|token| match token.kind {
        Kind::Symbol => true,
        Kind::Code => is_identifier(token.text) && !is_path(token.text),
        Kind::Quote => is_identifier(token.text) && token.text.contains(['_', ':']),
        _ => false,
    });
    let names = named.map(|token| token.text.trim_end_matches("()").to_owned());
    unique(names.filter(|name| !OF_EVERY_FAILURE.contains(&name.as_str())))
}

/// Names that runtimes write around any failure, and that no workspace defines.
const OF_EVERY_FAILURE: &[&str] = &[
    "Result::unwrap",
    "Option::unwrap",
    "Result::expect",
    "Option::expect",
    "RUST_BACKTRACE",
    "Err",
    "Ok",
    "None",
    "Some",
    "NoneType",
];

/// Quoted texts that are no names, such as messages of errors.
pub(super) fn quotes(text: &Text<'_>) -> Vec<String> {
    let quoted = text.tokens.iter().filter(|token| match token.kind {
        Kind::Quote => {
            let symbol = is_identifier(token.text) && token.text.contains(['_', ':']);
            !symbol && !is_path(token.text)
        }
        Kind::Code => !is_identifier(token.text) && !is_path(token.text),
        _ => false,
    });
    // What a program printed quotes names of its own; only whole messages tell where to look.
    let printed = |token: &&super::text::Token<'_>| {
        let around = text.sentences.iter().find(|sentence| {
            text.tokens[sentence.tokens.clone()]
                .iter()
                .any(|t| t.span == token.span)
        });
        around.is_some_and(|sentence| sentence.printed)
    };
    let quoted = quoted.filter(|token| token.text.contains(char::is_whitespace) || !printed(token));
    let quoted = quoted.map(|token| token.text.trim().to_owned());
    let messages = text
        .source
        .split('\n')
        .zip(super::output::printed(text.source))
        .filter(|(_, printed)| *printed)
        .filter_map(|(line, _)| super::output::message(line));
    unique(quoted.chain(messages.map(str::to_owned)))
}

pub(super) fn is_path(text: &str) -> bool {
    !text.contains(char::is_whitespace)
        && !text.contains("::")
        && (text.contains('/')
            || matches!(Text::new(text).tokens.first(), Some(token) if token.kind == Kind::Path && token.text == text))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '@' | '$' | '#' | '.'))
        && text.chars().all(|c| {
            c.is_alphanumeric()
                || matches!(
                    c,
                    '_' | ':' | '.' | '(' | ')' | '<' | '>' | '&' | '!' | '-' | '$' | '@' | '#' | '?'
                )
        })
}

/// Whether the request compares, and what: two things at least where it names them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Comparison {
    pub compares: bool,
    pub subjects: Vec<String>,
}

static COMPARISONS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?is)\b(?:differences?|comparison|trade-?offs?|distinction|choice)\s+between\s+(?P<list>.+)",
        r"(?is)\bhow\s+(?:do|does|is|are)\s+(?P<a>.+?)\s+(?:differ(?:s|ent)?|compare)s?\s+(?:from|to|with)\s+(?P<b>.+)",
        r"(?is)\bhow\s+(?:do|does)\s+(?P<list>.+?)\s+(?:differ|compare)\b",
        r"(?is)\b(?:compar(?:e|ing)|contrast(?:ing)?|weigh)\s+(?P<a>.+?)\s+(?:with|to|against|versus|vs\.?|(?P<and>and))\s+(?P<b>.+)",
        r"(?is)\b(?P<a>[\w`./:-]+(?:\s+[\w`./:-]+){0,2}?)\s+(?:versus|vs\.?)\s+(?P<b>.+)",
        r"(?is)\b(?:better|faster|simpler|safer|cheaper|prefer(?:able)?|choose|pick|use|between)\b[^.?!]*?[,:]?\s+(?P<a>[\w`./:-]+(?:\s+[\w`./:-]+){0,3}?)\s+or\s+(?P<b>[\w`./:-]+(?:\s+[\w`./:-]+){0,8}?)\s*\?",
        r"(?is)\b(?:pros and cons|advantages|benefits)\s+of\s+(?P<a>.+?)\s+(?:over|versus|vs\.?|compared\s+(?:to|with))\s+(?P<b>.+)",
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

static COMPARES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(compar(e|es|ed|ing|ison)|versus|vs\.?|contrast|differences?\s+between|trade-?offs?\s+between|pros\s+and\s+cons|differ(s)?\s+from)(\s|$|[?,:])").ok()
});

pub(super) fn comparison(text: &Text<'_>) -> Comparison {
    // Quotes and code are out of sight, so that an `and` inside them separates nothing.
    let (masked, named) = mask(text);
    let mut comparison = Comparison {
        compares: COMPARES.as_ref().is_some_and(|pattern| pattern.is_match(&masked)),
        subjects: Vec::new(),
    };
    for pattern in COMPARISONS.iter() {
        let Some(captures) = pattern.captures(&masked) else {
            continue;
        };
        let group = |name: &str| captures.name(name).map_or("", |found| found.as_str());
        let (list, joined) = match group("list") {
            "" => (
                format!("{} and {}", group("a"), group("b")),
                captures.name("and").is_some(),
            ),
            list => (list.to_owned(), true),
        };
        let mut things = separate(&list);
        if joined {
            share_head(&mut things);
        }
        let subjects: Vec<String> = things.iter().map(|subject| unmask(subject, &named)).collect();
        let mut subjects = unique(subjects.into_iter());
        subjects.truncate(SUBJECTS_MAX);
        if subjects.len() >= 2 {
            return Comparison {
                compares: true,
                subjects,
            };
        }
    }
    comparison.subjects.clear();
    comparison
}

fn mask<'a>(text: &Text<'a>) -> (String, Vec<&'a str>) {
    let mut masked = String::new();
    let mut named = Vec::new();
    let mut at = 0;
    for token in text.tokens.iter().filter(|token| token.is_named()) {
        masked.push_str(&text.source[at..token.span.start]);
        masked.push_str(&format!("NAMED{}", named.len()));
        named.push(token.text);
        at = token.span.end;
    }
    masked.push_str(&text.source[at..]);
    (masked, named)
}

fn unmask(text: &str, named: &[&str]) -> String {
    let mut text = text.to_owned();
    for (index, name) in named.iter().enumerate().rev() {
        text = text.replace(&format!("NAMED{index}"), name);
    }
    text
}

static SUBJECT_END: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)[.?!;:](\s|$)|\s(in terms of|with (regard|respect) to|regarding|for\b|when\b|and (tell|explain|say|recommend|suggest|which|how|what|why|then|give|list|decide)\b|in (this|the|our)\b|under\b|so that|to (see|decide|find)\b|based on|by\b|that\b|which\b|across\b)",
    )
    .ok()
});

static SEPARATOR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\s*(?:,\s*(?:and|or)\s+|,\s*|\s+and\s+|\s+or\s+|\s+(?:versus|vs\.?|with|to|against|from)\s+)").ok()
});

fn separate(list: &str) -> Vec<String> {
    let list = match SUBJECT_END.as_ref().and_then(|pattern| pattern.find(list)) {
        Some(end) => &list[..end.start()],
        None => list,
    };
    let Some(separator) = SEPARATOR.as_ref() else {
        return Vec::new();
    };
    let mut things: Vec<&str> = separator.split(list).collect();
    // A place behind the last one is where all of them are: `the LRU cache and the clock cache in docs/`.
    let placed = |thing: &&str| without_place(thing).len() < thing.len();
    if let Some((last, others)) = things.split_last_mut()
        && !others.iter().any(|thing| placed(&&**thing))
    {
        *last = without_place(last);
    }
    things
        .into_iter()
        .map(clean_subject)
        .filter(|subject| !subject.is_empty())
        .collect()
}

/// Gives the things before the last one the noun that stands once, behind all of them: `standard and legacy retry modes`
/// are the standard retry modes and the legacy ones. Only a plural belongs to several.
fn share_head(things: &mut [String]) {
    let Some((last, others)) = things.split_last_mut() else {
        return;
    };
    let is_plain = |word: &str| word.chars().all(|c| c.is_lowercase() || c == '-');
    let is_plural = |word: &str| is_plain(word) && word.ends_with('s') && !word.ends_with("ss") && word.len() > 3;
    let Some((first, head)) = last.split_once(' ') else {
        return;
    };
    let shared = is_plain(first) && head.rsplit(' ').next().is_some_and(is_plural);
    // `file based` wants a noun; `clock algorithm` has one.
    let is_attribute = |thing: &str| match thing.split_once(' ') {
        None => is_plain(thing) && !is_plural(thing),
        Some((noun, ending)) => {
            is_plain(noun) && is_plain(ending) && ["ed", "ing"].iter().any(|end| ending.ends_with(end))
        }
    };
    if shared && others.iter().all(|thing| is_attribute(thing)) {
        for thing in others {
            *thing = format!("{thing} {head}");
        }
    }
}

/// A thing compared without the place where it is. Names are masked here.
fn without_place(subject: &str) -> &str {
    match subject.rfind(" in NAMED") {
        Some(at) if at > 0 => &subject[..at],
        _ => subject,
    }
}

/// Whether a word before a thing says nothing of it: an article, or whose it is.
fn is_lead_in(word: &str) -> bool {
    const LEAD_INS: &[&str] = &[
        "the", "a", "an", "both", "between", "our", "of", "its", "their", "his", "her", "my", "your",
    ];
    LEAD_INS.contains(&word.to_lowercase().as_str()) || word.ends_with("'s") || word.ends_with("’s")
}

fn clean_subject(subject: &str) -> String {
    let mut words: Vec<&str> = subject.split_whitespace().collect();
    while words.len() > 1 && words.first().is_some_and(|word| is_lead_in(word)) {
        words.remove(0);
    }
    if words.len() > SUBJECT_WORDS_MAX
        || words.first().is_some_and(|word| {
            ["two", "three", "these", "those", "them", "it", "each", "other"].contains(&word.to_lowercase().as_str())
        })
    {
        return String::new();
    }
    words
        .join(" ")
        .trim_matches(|c: char| matches!(c, '.' | ',' | '?' | '!' | ':' | '(' | ')' | '"' | '\''))
        .to_owned()
}

pub(super) fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for item in items {
        if !item.is_empty() && !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::parts::parts;
    use super::*;

    fn check_subjects(source: &str, compares: bool, subjects: &[&str]) {
        let found = comparison(&Text::new(source));
        assert_eq!(
            (found.compares, found.subjects),
            (compares, subjects.iter().map(|s| (*s).to_owned()).collect()),
            "{source}"
        );
    }

    #[test]
    fn comparisons_and_their_subjects() {
        check_subjects(
            "Compare the LRU cache and the clock cache in docs/",
            true,
            &["LRU cache", "clock cache"],
        );
        check_subjects(
            "Compare the file based and the database cache backends",
            true,
            &["file based cache backends", "database cache backends"],
        );
        check_subjects(
            "Compare the clock algorithm and random policies",
            true,
            &["clock algorithm", "random policies"],
        );
        check_subjects("Compare the two cache designs in docs/", true, &[]);
        check_subjects("Redis vs. Memcached for sessions", true, &["Redis", "Memcached"]);
        check_subjects(
            "What is the difference between `a and b` and `c`?",
            true,
            &["a and b", "c"],
        );
        check_subjects("How does the lead differ from the worker?", true, &["lead", "worker"]);
        check_subjects("Which is faster, tokio or smol?", true, &["tokio", "smol"]);
        check_subjects(
            "Compare axum, actix and warp in terms of speed",
            true,
            &["axum", "actix", "warp"],
        );
        check_subjects(
            "Compare Flask's session handling in sessions.py with its json providers: how are both made pluggable?",
            true,
            &["session handling in sessions.py", "json providers"],
        );
        check_subjects(
            "Compare the cache in src/a.rs and the one in src/b.rs",
            true,
            &["cache in src/a.rs", "one in src/b.rs"],
        );
        check_subjects("Where is the header parsed?", false, &[]);
        for (question, subjects) in [
            (
                "Compare standard and legacy retry modes",
                ["standard retry modes", "legacy retry modes"],
            ),
            (
                "What is the difference between the standard and legacy retry modes?",
                ["standard retry modes", "legacy retry modes"],
            ),
            // Two things of which each has a noun of its own.
            ("Compare tokio with async threads", ["tokio", "async threads"]),
            ("Compare queues and retry modes", ["queues", "retry modes"]),
            ("Compare `tokio` and green threads", ["tokio", "green threads"]),
        ] {
            check_subjects(question, true, &subjects);
        }
    }

    #[test]
    fn a_verb_that_says_what_is_asked_of_a_thing_is_a_keyword() {
        for (question, expected) in [
            ("How long does a rollback take?", &["long", "rollback", "take"][..]),
            ("What does the parser need?", &["parser", "need"]),
            ("Which allocator does the parser use?", &["allocator", "parser", "use"]),
            ("How do I get an index?", &["index"]),
            ("Can you show me the parser?", &["parser"]),
            ("Show the parser, and use the index", &["parser", "index"]),
        ] {
            let text = Text::new(question);
            assert_eq!(keywords(&text, &parts(&text)), expected, "{question}");
        }
    }

    #[test]
    fn names_and_quotes_are_told_apart() {
        let text = Text::new(
            "Why does `parse_header` print \"no such file\" for HeaderMap in `a b`? See 'x_y', `src/a.rs`, foo::bar()",
        );
        assert_eq!(symbols(&text), ["parse_header", "HeaderMap", "x_y", "foo::bar"]);
        assert_eq!(quotes(&text), ["no such file", "a b"]);
        assert_eq!(
            keywords(&text, &parts(&text)),
            ["parse_header", "print", "HeaderMap", "foo::bar"]
        );
    }
}
