//! Reads nouns of action as verbs: `do a review of X` asks to review, `I need a summary and a translation` for two things.
//! It does so only where no verb of the sentence says more.

use super::super::text::{Kind, Sentence, Text, Token};
use super::super::words;
use super::Head;

/// Words of a phrase among which its noun is looked for.
const NOUN_WORDS_MAX: usize = 5;

/// Words that say that a thing is wanted.
const WANTED: &[&str] = &["need", "want", "like", "request", "require", "looking"];

/// Words that begin the phrase of a noun.
const ARTICLES: &[&str] = &["a", "an", "the", "some"];

/// Words that end it.
const PHRASE_ENDS: &[&str] = &["of", "for", "and", "or", "in", "to", "that"];

/// Puts the verbs of nouns where the heads say nothing by themselves.
pub(super) fn name_actions(text: &Text<'_>, sentence: &Sentence, heads: &mut Vec<Head>) {
    match heads.first_mut() {
        Some(head) if !head.question && words::is_light(&head.verb) => {
            if let Some((_, verb)) = action(text, sentence, head.index + 1) {
                head.verb = verb;
            }
        }
        None if !sentence.question => heads.extend(wanted(text, sentence)),
        _ => {}
    }
}

/// The things a sentence without a verb of its own says are wanted.
fn wanted(text: &Text<'_>, sentence: &Sentence) -> Vec<Head> {
    let end = sentence.tokens.end;
    let mut from = sentence
        .tokens
        .clone()
        .find(|&at| WANTED.contains(&text.tokens[at].lower.as_str()));
    let mut heads = Vec::new();
    while let Some((index, verb)) = from.and_then(|from| action(text, sentence, from + 1)) {
        heads.push(Head {
            index,
            verb,
            question: false,
            gerund: false,
            passive: false,
        });
        from = (index..end)
            .find(|&at| text.tokens[at].kind == Kind::Comma || text.tokens[at].is("and"))
            .filter(|at| at + 1 < end);
    }
    heads
}

/// The first noun of action from a token on, and its verb: the last word before `of`, `for` or the end.
fn action(text: &Text<'_>, sentence: &Sentence, from: usize) -> Option<(usize, String)> {
    let tokens = &text.tokens[from..sentence.tokens.end];
    let article = tokens
        .iter()
        .position(|token| ARTICLES.contains(&token.lower.as_str()))?;
    let length = tokens[article + 1..]
        .iter()
        .take(NOUN_WORDS_MAX)
        .take_while(|token| !ends_phrase(token))
        .count();
    // `a short code review of`.
    let noun = &tokens[article + length];
    words::nominal_base(&noun.lower).map(|verb| (from + article + length, verb.to_owned()))
}

fn ends_phrase(token: &Token<'_>) -> bool {
    token.kind != Kind::Word || PHRASE_ENDS.contains(&token.lower.as_str())
}
