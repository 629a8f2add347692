//! The parts of a request: each one thing to do or one question, with the parts it needs. What begins a part and what it
//! needs is judged elsewhere; here the text is divided.

use std::ops::Range;

use super::heads::{heads, is_adverb};
use super::links::link;
use super::text::{Kind, Text, Token};
use super::words;

/// Most parts told apart; what follows belongs to the last.
const PARTS_MAX: usize = 64;

/// One thing to do or to answer.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// All its tokens.
    pub tokens: Range<usize>,
    /// The token of its verb or question word.
    pub head: usize,
    /// Its verb in base form, or its question word.
    pub verb: String,
    /// It is a question.
    pub question: bool,
    /// Where it stands.
    pub sentence: usize,
    /// Earlier parts it needs, by index.
    pub needs: Vec<usize>,
    /// What shows that it needs them.
    pub sign: String,
    /// It brings several things together.
    pub joins: bool,
}

impl Part {
    /// The words of the part from its verb on, without what joins it to the next.
    pub(crate) fn label(&self, text: &Text<'_>) -> String {
        let joins = |token: &Token<'_>| {
            matches!(token.kind, Kind::Comma | Kind::Colon | Kind::End)
                || ["and", "or", "but", "then", "so"].contains(&token.lower.as_str())
        };
        let mut end = self.tokens.end;
        while end > self.head + 1 && joins(&text.tokens[end - 1]) && text.tokens[end - 1].text != ")" {
            end -= 1;
        }
        collapse(text.slice(&(self.head..end)))
    }
}

/// The text on one line, with single spaces.
pub(crate) fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a request in order, with what each needs.
pub(crate) fn parts(text: &Text<'_>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (index, sentence) in text.sentences.iter().enumerate() {
        if sentence.printed {
            continue;
        }
        let heads = heads(text, sentence);
        for (position, head) in heads.iter().enumerate() {
            let start = match position {
                0 => sentence.tokens.start,
                _ if head.passive => thing_before(text, heads[position - 1].index, head.index),
                _ => boundary(text, heads[position - 1].index, head.index),
            };
            if position > 0
                && let Some(last) = parts.last_mut()
            {
                last.tokens.end = start;
            }
            parts.push(Part {
                tokens: start..sentence.tokens.end,
                head: head.index,
                verb: head.verb.clone(),
                question: head.question,
                sentence: index,
                needs: Vec::new(),
                sign: String::new(),
                joins: false,
            });
        }
        if heads.is_empty() && sentence.question {
            parts.push(Part {
                tokens: sentence.tokens.clone(),
                head: sentence.tokens.start,
                verb: "what".to_owned(),
                question: true,
                sentence: index,
                needs: Vec::new(),
                sign: String::new(),
                joins: false,
            });
        }
    }
    if parts.len() > PARTS_MAX {
        let end = parts[parts.len() - 1].tokens.end;
        parts.truncate(PARTS_MAX);
        parts[PARTS_MAX - 1].tokens.end = end;
    }
    for index in 1..parts.len() {
        let link = link(text, &parts, index);
        let part = &mut parts[index];
        (part.needs, part.sign, part.joins) = (link.needs, link.sign, link.joins);
    }
    parts
}

/// Words that begin a phrase which says with what the next verb works.
const SUBORDINATE: &[&str] = &[
    "based",
    "using",
    "with",
    "from",
    "after",
    "once",
    "given",
    "if",
    "when",
    "according",
    "for",
    "depending",
    "considering",
];

/// Where the part of the verb at `head` begins: behind the part of the verb at `last`, together with the words that lead up to it.
fn boundary(text: &Text<'_>, last: usize, head: usize) -> usize {
    let tokens = &text.tokens;
    let leads = |token: &Token<'_>| {
        matches!(token.kind, Kind::Comma | Kind::Colon)
            || (token.kind == Kind::Word
                && (words::is_filler(&token.lower)
                    || words::is_wanting(&token.lower)
                    || is_adverb(&token.lower)
                    || [
                        "i'd",
                        "would",
                        "could",
                        "can",
                        "let's",
                        "let",
                        "before",
                        "followed",
                        "by",
                        "additionally",
                    ]
                    .contains(&token.lower.as_str())))
    };
    let mut start = head;
    loop {
        while start > last + 1 && leads(&tokens[start - 1]) {
            start -= 1;
        }
        // `based on both do Y`: the phrase belongs to Y.
        let phrase = (3..=5).find(|&length| {
            start > last + length
                && ["based", "depending", "building"].contains(&tokens[start - length].lower.as_str())
                && tokens[start - length + 1].is("on")
        });
        match phrase {
            Some(length) => start -= length,
            None => break,
        }
    }
    // `…, based on that, do Y`: the phrase between the commas belongs to Y.
    if tokens[start].kind == Kind::Comma
        && let Some(comma) = (last + 1..start)
            .rev()
            .find(|&at| tokens[at].kind == Kind::Comma || tokens[at].is("and"))
        && SUBORDINATE.contains(&tokens[comma + 1].lower.as_str())
    {
        return comma;
    }
    start
}

/// Where the part of a participle begins: with the thing that stands before it, behind the last joining word.
fn thing_before(text: &Text<'_>, last: usize, head: usize) -> usize {
    let joins = |token: &Token<'_>| token.kind == Kind::Comma || token.is("and");
    (last + 1..head)
        .rev()
        .find(|&at| joins(&text.tokens[at]))
        .unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verbs of the parts with the indices of what they need.
    fn check(source: &str, expected: &[(&str, &[usize])]) {
        let text = Text::new(source);
        let parts = parts(&text);
        let found: Vec<(&str, &[usize])> = parts
            .iter()
            .map(|part| (part.verb.as_str(), part.needs.as_slice()))
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn verbs_are_found_where_they_ask() {
        check("Review src/lib.rs.", &[("review", &[])]);
        check("I would like you to translate this letter.", &[("translate", &[])]);
        check("Can you please check the logs?", &[("check", &[])]);
        check("Use the parser to count the words in a.txt", &[("count", &[])]);
        check("Look at src/main.rs and tell me what it prints", &[("tell", &[])]);
        check("The design and review process is slow.", &[]);
        check("Which functions check the header and return early?", &[("which", &[])]);
        check("In `a.rs`, why does it fail?", &[("why", &[])]);
        check("Test coverage is bad. Fix the worst file.", &[("fix", &[])]);
        check("Explain how to parse a header", &[("explain", &[])]);
        check("Do a thorough code review of the bus", &[("review", &[])]);
        check("I need a summary of the report", &[("summarise", &[])]);
        check("I have a file and a dream.", &[]);
        check("I get an error in the log. What is it?", &[("what", &[])]);
        check("Show me what happens when a worker dies", &[("show", &[])]);
    }

    #[test]
    fn steps_that_need_the_one_before_are_linked() {
        check(
            "Find the slowest test and then explain why it is slow",
            &[("find", &[]), ("explain", &[0])],
        );
        check(
            "Transcribe 'a.wav', translate the transcript, and summarize the translation.",
            &[("transcribe", &[]), ("translate", &[0]), ("summarize", &[1])],
        );
        check(
            "After extracting the names, sort them by length",
            &[("extract", &[]), ("sort", &[0])],
        );
        check(
            "1. List the public functions\n2. Rank them by size\n3. Based on the result, propose a split",
            &[("list", &[]), ("rank", &[0]), ("propose", &[1])],
        );
    }

    #[test]
    fn steps_beside_each_other_are_not_linked() {
        check(
            "Review the bus, check the worker, and audit the lead",
            &[("review", &[]), ("check", &[]), ("audit", &[])],
        );
        check(
            "What is a lease? Where are plans stored?",
            &[("what", &[]), ("where", &[])],
        );
        check(
            "Translate 'a.txt' into French. Also, count the words in 'b.txt'.",
            &[("translate", &[]), ("count", &[])],
        );
    }

    #[test]
    fn a_step_may_bring_several_together() {
        check(
            "Describe 'x.jpg', transcribe 'y.wav', and combine both into a report",
            &[("describe", &[]), ("transcribe", &[]), ("combine", &[0, 1])],
        );
    }
}
