//! Finds which parts of a request need what an earlier part brings: by words of order, references back, words of one
//! root, and parts that name nothing of their own. Every sign has a weight; none decides alone.

use super::parts::Part;
use super::text::{Item, Kind, Text, Token};
use super::words;

/// Points from which a part counts as needing an earlier one.
const LINK_SCORE: f64 = 2.0;

/// What a part needs of earlier ones.
#[derive(Default)]
pub(super) struct Link {
    pub needs: Vec<usize>,
    /// What shows it.
    pub sign: String,
    /// It brings several things together.
    pub joins: bool,
}

/// What the part at `index` needs of the parts before it.
pub(super) fn link(text: &Text<'_>, parts: &[Part], index: usize) -> Link {
    let part = &parts[index];
    let previous = &parts[index - 1];
    let tokens = &text.tokens[part.tokens.clone()];
    let lead = &text.tokens[part.tokens.start..part.head];
    let body = &text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)];
    let mut score = 0.0;
    let mut sign = String::new();
    let mut note = |points: f64, why: &str| {
        score += points;
        if points >= 1.5 && sign.is_empty() {
            sign = format!("`{why}`");
        }
    };

    let parallel = lead.iter().find(|t| words::is_parallel(&t.lower)).is_some()
        || tokens.last().is_some_and(|t| t.is("too"))
        || contains(tokens, &["as", "well"]) && !contains(tokens, &["as", "well", "as"])
        || contains(tokens, &["at", "the", "same", "time"]);
    if parallel {
        note(-3.0, "");
    } else if let Some(order) = lead.iter().find(|t| words::is_sequence(&t.lower) || t.is("before")) {
        note(3.0, &order.lower);
    } else if part.sentence == previous.sentence
        && text.tokens[previous.tokens.start..previous.head]
            .iter()
            .any(|t| t.is("after") || t.is("once") || t.is("before"))
    {
        note(3.0, "after");
    }
    if let Some(result) = tokens.iter().find(|t| words::is_result(&t.lower)) {
        note(3.0, &result.lower);
    }
    if contains(tokens, &["based", "on"]) && !tokens.iter().any(Token::is_named) {
        note(2.0, "based on");
    }
    if let Some((points, word)) = pronoun(body) {
        note(if part.question { points / 2.0 } else { points }, word);
    }

    let mut sources = Vec::new();
    for (earlier, points, word) in references(text, &parts[..index], tokens) {
        note(points, word);
        if points >= 2.0 && !sources.contains(&earlier) {
            sources.push(earlier);
        }
    }

    let own = body
        .iter()
        .any(|t| t.is_named() && !named_before(text, part.tokens.start, t));
    if own {
        note(-1.5, "");
    } else {
        note(0.5, "");
        if words::is_consuming(&part.verb) {
            note(1.25, &part.verb);
        }
        if contains(tokens, &["from", "the"])
            || contains(tokens, &["with", "the"])
            || contains(tokens, &["using", "the"])
        {
            note(0.75, "");
        }
        let creates = body.first().is_some_and(|t| t.is("a") || t.is("an"));
        if creates && !words::is_surveying(&part.verb) {
            note(0.75, "");
        }
    }
    if part.sentence == previous.sentence {
        note(0.5, "");
    } else if text.sentences[part.sentence].item == Some(Item::Numbered) && previous.sentence + 1 == part.sentence {
        note(0.75, "");
    }
    if part.verb == previous.verb {
        note(-1.0, "");
    }
    if part.question && previous.question && part.sentence != previous.sentence {
        note(-0.5, "");
    }

    let leaves: Vec<usize> = (0..index)
        .filter(|&earlier| !parts[..index].iter().any(|other| other.needs.contains(&earlier)))
        .collect();
    let joins = tokens.iter().any(|t| words::is_joining(&t.lower))
        || contains(tokens, &["the", "two"])
        || contains(tokens, &["all", "of"])
        || contains(tokens, &["for", "each"])
        || contains(tokens, &["all", "the"]) && tokens.iter().any(|t| words::is_result(&t.lower));
    if joins && leaves.len() >= 2 && !own {
        return Link {
            needs: leaves,
            sign: "brings them together".to_owned(),
            joins,
        };
    }
    if parallel {
        // Beside the previous part: it needs what that one needs, if it refers back at all.
        let needs = pronoun(body).map_or_else(Vec::new, |_| previous.needs.clone());
        return Link {
            needs,
            ..Link::default()
        };
    }
    if score < LINK_SCORE {
        return Link::default();
    }
    sources.sort_unstable();
    let needs = if sources.is_empty() { vec![index - 1] } else { sources };
    Link { needs, sign, joins }
}

/// A pronoun that seems to stand for something outside of the part, with its weight.
fn pronoun<'a>(body: &'a [Token<'_>]) -> Option<(f64, &'a str)> {
    let at = body.iter().enumerate().position(|(at, token)| {
        let followed = body
            .get(at + 1)
            .is_some_and(|next| next.kind == Kind::Word && !words::is_stop(&next.lower));
        let bare = ["this", "that"].contains(&token.lower.as_str())
            && !followed
            && (at == 0
                || ["of", "from", "on", "with", "using", "into", "for", "to", "in"]
                    .contains(&body[at - 1].lower.as_str()));
        token.kind == Kind::Word
            && (bare
                || (words::is_pronoun(&token.lower)
                    && !(["these", "those", "each"].contains(&token.lower.as_str()) && followed)))
    })?;
    let before = &body[..at];
    if before.iter().any(Token::is_named) {
        return None;
    }
    let noun_before = before
        .iter()
        .any(|t| t.kind == Kind::Word && !words::is_stop(&t.lower) && !words::is_determiner(&t.lower));
    Some((if noun_before { 1.25 } else { 2.0 }, &body[at].lower))
}

/// Words that refer to what an earlier part brings: the part, how strongly, and the word. Each word refers to one part.
fn references<'a>(text: &Text<'_>, earlier: &[Part], tokens: &'a [Token<'_>]) -> Vec<(usize, f64, &'a str)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let definite = tokens[at.saturating_sub(3)..at]
            .iter()
            .any(|t| ["the", "this", "that", "these", "those", "each"].contains(&t.lower.as_str()));
        if !definite || token.kind != Kind::Word || words::is_stop(&token.lower) {
            continue;
        }
        let word = token.lower.as_str();
        let grown = (0..earlier.len())
            .filter(|&index| same_root(&earlier[index].verb, word))
            .max_by_key(|&index| (common_prefix(&earlier[index].verb, word), index));
        let brought_up = || {
            (0..earlier.len()).rev().find(|&index| {
                let part = &earlier[index];
                introduced_new(&text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)], word)
            })
        };
        if let Some(index) = grown {
            found.push((index, 3.0, word));
        } else if let Some(index) = brought_up() {
            found.push((index, 2.25, word));
        } else if word.ends_with("ed") && tokens[at - 1].is("the") {
            found.push((earlier.len() - 1, 1.0, word));
        }
    }
    found
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Whether a verb and another word grow from one root, as `translate` and `translation`, `summarize` and `summary` do.
fn same_root(verb: &str, word: &str) -> bool {
    let common = common_prefix(verb, word);
    if word == verb && common >= 3 {
        return !words::is_light(verb);
    }
    let shorter = verb.len().min(word.len());
    !words::is_light(verb) && common >= 4 && common * 10 >= shorter * 6 && (common >= 5 || common + 1 >= shorter)
}

/// Whether the words bring up this noun as something new: with `a`, or as a plural without a determiner.
fn introduced_new(body: &[Token<'_>], noun: &str) -> bool {
    let singular = noun.strip_suffix('s').unwrap_or(noun);
    body.iter().enumerate().any(|(at, token)| {
        token.kind == Kind::Word
            && singular.len() >= 3
            && token.lower.strip_suffix('s').unwrap_or(&token.lower) == singular
            && body[at.saturating_sub(3)..at]
                .iter()
                .any(|t| ["a", "an", "some", "any", "every", "all"].contains(&t.lower.as_str()))
    })
}

fn named_before(text: &Text<'_>, before: usize, token: &Token<'_>) -> bool {
    text.tokens[..before]
        .iter()
        .any(|t| t.is_named() && t.text == token.text)
}

fn contains(tokens: &[Token<'_>], phrase: &[&str]) -> bool {
    tokens
        .windows(phrase.len())
        .any(|window| window.iter().zip(phrase).all(|(token, word)| token.is(word)))
}
