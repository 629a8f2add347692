//! Finds the words of a part that refer to what an earlier part brings: pronouns, choices without a noun, nouns of one
//! root with an earlier verb. It weighs what it finds; whether the part needs the other is decided in `links`.

use super::parts::Part;
use super::text::{Kind, Text, Token};
use super::words;

/// A word that refers to an earlier part.
pub(super) struct Reference<'a> {
    /// The part it refers to, by index.
    pub earlier: usize,
    /// How strongly.
    pub points: f64,
    pub word: &'a str,
}

/// Words that point at something which was said.
const POINTING: &[&str] = &["this", "that", "these", "those"];

/// Words within a few of which a noun is one that is known already.
const DEFINITE: &[&str] = &["the", "this", "that", "these", "those", "each"];

/// Words before a `this` or `that` which stands for a whole answer: `based on that`.
const BEFORE_BARE: &[&str] = &["of", "from", "on", "with", "using", "into", "for", "to", "in"];

/// Words that bring up a noun as something new.
const INDEFINITE: &[&str] = &["a", "an", "some", "any", "every", "all"];

/// Words that end like superlatives and are none.
const NO_SUPERLATIVE: &[&str] = &["test", "request", "interest", "latest"];

/// Words behind a superlative that has no noun of its own.
const AFTER_ELLIPSIS: &[&str] = &["one", "ones", "and", "or", "then", "of"];

/// What a part says behind its verb.
pub(super) fn body<'a>(text: &'a Text<'_>, part: &Part) -> &'a [Token<'a>] {
    &text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)]
}

/// A pronoun that seems to stand for something outside of the part, with its weight.
pub(super) fn pronoun<'a>(body: &'a [Token<'_>]) -> Option<(f64, &'a str)> {
    let at = (0..body.len()).find(|&at| stands_for_another(body, at))?;
    let before = &body[..at];
    if before.iter().any(Token::is_named) {
        return None;
    }
    let noun_before = before
        .iter()
        .any(|token| is_telling(token) && !words::is_determiner(&token.lower));
    Some((if noun_before { 1.25 } else { 2.0 }, &body[at].lower))
}

/// Whether the word is a pronoun, or a `this` or `that` used as one, and no determiner of a noun behind it.
fn stands_for_another(body: &[Token<'_>], at: usize) -> bool {
    let token = &body[at];
    if token.kind != Kind::Word {
        return false;
    }
    let followed = body.get(at + 1).is_some_and(is_telling);
    if among(token, &["this", "that"]) && !followed && (at == 0 || among(&body[at - 1], BEFORE_BARE)) {
        return true;
    }
    words::is_pronoun(&token.lower) && !(followed && among(token, &["these", "those", "each"]))
}

/// A choice among things that were said before: `the cheapest`, `the best one`, with no noun of its own.
pub(super) fn elliptic<'a>(body: &'a [Token<'_>]) -> Option<&'a str> {
    (1..body.len())
        .find(|&at| body[at - 1].is("the") && is_superlative(&body[at]) && is_without_noun(&body[at + 1..]))
        .map(|at| body[at].lower.as_str())
}

fn is_superlative(token: &Token<'_>) -> bool {
    let formed = token.lower.len() > 4 && token.lower.ends_with("est") && !among(token, NO_SUPERLATIVE);
    token.kind == Kind::Word && (formed || among(token, &["best", "worst"]))
}

/// Whether what follows a superlative leaves open of what it is one: not `of the files`, but `of them`.
fn is_without_noun(after: &[Token<'_>]) -> bool {
    let Some(next) = after.first() else { return true };
    if next.is("of") {
        return after.get(1).is_some_and(|token| words::is_pronoun(&token.lower));
    }
    next.kind != Kind::Word || among(next, AFTER_ELLIPSIS)
}

/// Words that refer to what an earlier part brings. Each word refers to one part.
pub(super) fn references<'a>(text: &Text<'_>, earlier: &[Part], tokens: &'a [Token<'_>]) -> Vec<Reference<'a>> {
    (0..tokens.len())
        .filter(|&at| {
            let definite = tokens[at.saturating_sub(3)..at]
                .iter()
                .any(|token| among(token, DEFINITE));
            definite && is_telling(&tokens[at])
        })
        .filter_map(|at| {
            let (earlier, points) = referred(text, earlier, tokens, at)?;
            Some(Reference {
                earlier,
                points,
                word: &tokens[at].lower,
            })
        })
        .collect()
}

/// The part a definite noun refers to, and how strongly: the surer readings first.
fn referred(text: &Text<'_>, earlier: &[Part], tokens: &[Token<'_>], at: usize) -> Option<(usize, f64)> {
    let word = tokens[at].lower.as_str();
    let latest = |holds: &dyn Fn(&[Token<'_>]) -> bool| {
        earlier
            .iter()
            .rposition(|part| holds(body(text, part)))
            .map(|index| (index, 2.25))
    };
    let determiner = at.checked_sub(1).map(|before| &tokens[before]);
    let pointing = determiner.is_some_and(|token| among(token, POINTING));
    let said = grown_from(earlier, word)
        .map(|index| (index, 3.0))
        .or_else(|| latest(&|body| names(body, word)).filter(|_| pointing))
        .or_else(|| latest(&|body| introduced_new(body, word)));
    let last = earlier.len() - 1;
    if said.is_some() {
        said
    } else if pointing && !words::is_workspace(word) {
        Some((last, 1.5))
    } else if word.ends_with("ed") && determiner.is_some_and(|token| token.is("the")) {
        Some((last, 1.0))
    } else {
        None
    }
}

/// The part whose verb is nearest to the word, of those that have its root.
fn grown_from(earlier: &[Part], word: &str) -> Option<usize> {
    (0..earlier.len())
        .filter(|&index| same_root(&earlier[index].verb, word))
        .max_by_key(|&index| (common_prefix(&earlier[index].verb, word), index))
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Whether a verb and another word grow from one root, as `translate` and `translation`, `summarize` and `summary` do.
fn same_root(verb: &str, word: &str) -> bool {
    let common = common_prefix(verb, word);
    if words::is_light(verb) {
        return false;
    }
    if word == verb && common >= 3 {
        return true;
    }
    let shorter = verb.len().min(word.len());
    common >= 4 && common * 10 >= shorter * 6 && (common >= 5 || common + 1 >= shorter)
}

/// Whether the words bring up this noun as something new: with `a`, or as a plural without a determiner.
fn introduced_new(body: &[Token<'_>], noun: &str) -> bool {
    let same = |token: &Token<'_>| token.kind == Kind::Word && singular(&token.lower) == singular(noun);
    singular(noun).len() >= 3
        && (0..body.len()).any(|at| {
            same(&body[at])
                && body[at.saturating_sub(3)..at]
                    .iter()
                    .any(|token| among(token, INDEFINITE))
        })
}

/// Whether the words name this noun, whatever stands before it.
fn names(body: &[Token<'_>], noun: &str) -> bool {
    noun.len() >= 3
        && body
            .iter()
            .any(|token| token.kind == Kind::Word && singular(&token.lower) == singular(noun))
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

/// Whether the token is a word that says something, rather than one that holds others together.
fn is_telling(token: &Token<'_>) -> bool {
    token.kind == Kind::Word && !words::is_stop(&token.lower)
}

fn among(token: &Token<'_>, words: &[&str]) -> bool {
    words.contains(&token.lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::parts::parts;
    use super::*;

    #[test]
    fn pronouns_weigh_less_behind_a_noun_and_nothing_behind_a_name() {
        let check = |source: &str, expected: Option<(f64, &str)>| {
            let text = Text::new(source);
            assert_eq!(pronoun(&text.tokens), expected, "{source}");
        };
        check("it into German", Some((2.0, "it")));
        check("the rows of it", Some((1.25, "it")));
        check("`rows` of it", None);
        check("those", Some((2.0, "those")));
        check("those rows", None);
        check("on that", Some((2.0, "that")));
        check("that", Some((2.0, "that")));
        check("the rows", None);
    }

    #[test]
    fn superlatives_without_a_noun_choose_among_what_was_said() {
        let check = |source: &str, expected: Option<&str>| {
            let text = Text::new(source);
            assert_eq!(elliptic(&text.tokens), expected, "{source}");
        };
        check("the cheapest", Some("cheapest"));
        check("the best one", Some("best"));
        check("the slowest of them", Some("slowest"));
        check("the slowest of all files", None);
        check("the slowest function", None);
        check("the request", None);
        check("a cheapest", None);
        check("cheapest", None);
    }

    #[test]
    fn words_of_one_root_are_told() {
        let check =
            |verb: &str, word: &str, expected: bool| assert_eq!(same_root(verb, word), expected, "{verb} {word}");
        check("translate", "translation", true);
        check("summarize", "summary", true);
        check("plan", "plan", true);
        check("do", "do", false);
        check("test", "text", false);
        check("make", "make", false);
        check("contain", "contrast", false);
    }

    #[test]
    fn definite_nouns_refer_to_the_part_that_brings_them() {
        let check = |source: &str, expected: &[(usize, f64, &str)]| {
            let text = Text::new(source);
            let parts = parts(&text);
            let (last, earlier) = parts.split_last().expect("a part");
            let found: Vec<_> = references(&text, earlier, &text.tokens[last.tokens.clone()])
                .into_iter()
                .map(|reference| (reference.earlier, reference.points, reference.word))
                .collect();
            assert_eq!(found, expected, "{source}");
        };
        check(
            "Translate `a.txt`. List the rows. Print the translation.",
            &[(0, 3.0, "translation")],
        );
        check("Write a parser. Test the parser.", &[(0, 2.25, "parser")]);
        check("List the rows. Sort these rows.", &[(0, 2.25, "rows")]);
        check("List the rows. Sort the rows.", &[]);
        check("List the rows. Explain these gaps.", &[(0, 1.5, "gaps")]);
    }
}
