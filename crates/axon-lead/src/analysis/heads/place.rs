//! Where a word stands in its sentence: what is before it, what follows, and whether it begins. It says what is there, and
//! never what it means.

use super::super::text::{Kind, Sentence, Text, Token};
use super::super::words;

/// Words behind the one in question among which a finite verb is looked for.
const FINITE_WORDS_MAX: usize = 4;

/// Forms that show that a clause has its verb already.
const FINITE: &[&str] = &["is", "are", "was", "were", "has", "does", "do"];

/// Words that hold a sentence together and end like adverbs, or are nouns and verbs.
const NO_ADVERB: &[&str] = &["finally", "lastly", "reply", "apply", "family", "assembly"];

/// Adverbs that do not end like one.
const ADVERBS: &[&str] = &["first", "also", "just", "simply", "even", "further", "&"];

/// A word and where it stands in its sentence.
pub(super) struct Place<'a> {
    pub text: &'a Text<'a>,
    pub sentence: &'a Sentence,
    pub index: usize,
    /// The word itself, in lower case.
    pub word: &'a str,
    /// The word before, adverbs left out; `,` or `:` for marks; empty at the start.
    pub previous: &'a str,
    /// The word before that.
    pub before: &'a str,
    /// Nothing but filling words before it.
    pub at_start: bool,
    /// The word before is `to`.
    pub after_to: bool,
    /// The next token could begin an object.
    pub object_follows: bool,
    /// One of the next words is `is`, `are` or the like.
    pub finite_follows: bool,
    pub next: &'a str,
    /// A number and a mark follow, as in `Step 2:`.
    pub numbered: bool,
    /// A comma stands directly before the joining word.
    pub comma_before_join: bool,
}

impl<'a> Place<'a> {
    pub(super) fn of(text: &'a Text<'a>, sentence: &'a Sentence, index: usize) -> Self {
        let tokens = &text.tokens;
        let mut back = tokens[sentence.tokens.start..index]
            .iter()
            .rev()
            .filter(|token| !is_adverb(&token.lower))
            .map(mark_or_word);
        let previous = back.next().unwrap_or_default();
        let before = back.next().unwrap_or_default();
        let after = &tokens[index + 1..sentence.tokens.end.max(index + 1)];
        let next = after.first();
        Self {
            text,
            sentence,
            index,
            word: &tokens[index].lower,
            previous,
            before,
            at_start: tokens[sentence.tokens.start..index].iter().all(only_leads),
            after_to: previous == "to",
            object_follows: next.is_some_and(may_begin_object),
            finite_follows: after
                .iter()
                .take(FINITE_WORDS_MAX)
                .any(|token| FINITE.contains(&token.lower.as_str())),
            next: next.map_or("", |token| token.lower.as_str()),
            numbered: next.is_some_and(|token| token.kind == Kind::Number)
                && tokens.get(index + 2).is_none_or(ends_number),
            comma_before_join: before == ",",
        }
    }

    /// The words of the sentence before this one.
    pub(super) fn sentence_before(&self) -> &'a [Token<'a>] {
        &self.text.tokens[self.sentence.tokens.start..self.index]
    }

    pub(super) fn follows_one_of(&self, words: &[&str]) -> bool {
        words.contains(&self.previous)
    }
}

/// Whether a token before the first word that counts says nothing: a mark, or a word like `please`.
fn only_leads(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Comma | Kind::Colon)
        || (words::is_filler(&token.lower) && !["i", "we", "you"].contains(&token.lower.as_str()))
}

fn may_begin_object(token: &Token<'_>) -> bool {
    token.is_named() || token.kind == Kind::Number || words::is_determiner(&token.lower)
}

fn ends_number(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Colon | Kind::Comma | Kind::End)
}

fn mark_or_word<'a>(token: &'a Token<'_>) -> &'a str {
    match token.kind {
        Kind::Comma => ",",
        Kind::Colon => ":",
        _ => &token.lower,
    }
}

/// Words between a verb and what introduces it.
pub(in super::super) fn is_adverb(word: &str) -> bool {
    ADVERBS.contains(&word) || (word.len() > 4 && word.ends_with("ly") && !NO_ADVERB.contains(&word))
}
