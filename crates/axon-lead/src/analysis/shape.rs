//! Tells the shape of a request: whether its parts stand alone, follow each other, or meet. It judges by what the parts
//! need, and looks at what they name only where they need nothing of each other.

use axon_protocol::{Complexity, Shape};

use super::parts::Part;
use super::references::body;
use super::score::{Judged, breadth, listed, surveys};
use super::text::{Kind, Token};
use super::{Facts, words};

/// A shape, and what shows it.
type Reading = (Shape, String);

/// How the parts of a query depend on each other.
pub(super) fn shape(facts: &Facts<'_>, complexity: Complexity) -> Judged<Shape> {
    let (value, reason) = by_needs(facts)
        .or_else(|| by_things(facts, complexity))
        .unwrap_or_else(|| by_size(facts, complexity));
    let mut reasons = vec![reason];
    reasons.extend((0..facts.parts.len()).filter_map(|index| needed(&facts.parts, index)));
    Judged { value, reasons }
}

/// The shape of several parts, by what they need of each other.
fn by_needs(facts: &Facts<'_>) -> Option<Reading> {
    let parts = &facts.parts;
    if parts.len() < 2 {
        return None;
    }
    let in_line = (1..parts.len()).all(|index| parts[index].needs == [index - 1]);
    let linked = parts.iter().filter(|part| !part.needs.is_empty()).count();
    Some(if in_line && parts.len() == 2 && facts.comparison.subjects.len() > 1 {
        // `compare A and B, and recommend one`: several things looked at, then one verdict.
        let reason = format!("the things compared come together in part 2 (`{}`)", parts[1].verb);
        (Shape::Graph, reason)
    } else if let Some(index) = (0..parts.len()).find(|&index| meets(facts, index)) {
        let verb = &parts[index].verb;
        let reason = format!("part {} (`{verb}`) brings several things together", index + 1);
        (Shape::Graph, reason)
    } else if in_line {
        let reason = format!("each of {} steps needs the one before", parts.len());
        (Shape::Chain, reason)
    } else if linked > 0 {
        (Shape::Graph, format!("{linked} of {} parts need others", parts.len()))
    } else {
        let reason = format!("{} parts that do not need each other", parts.len());
        (Shape::FanOut, reason)
    })
}

/// Whether several things of one earlier part meet in a part: `translate it into French and German, then compare both`.
fn meets(facts: &Facts<'_>, index: usize) -> bool {
    let part = &facts.parts[index];
    let [needed] = part.needs.as_slice() else { return false };
    let after_several = part.joins && facts.parts[..index].iter().any(|earlier| coordinates(facts, earlier));
    after_several || (speaks_of_several(facts, part) && names_several(facts, &facts.parts[*needed]))
}

/// The shape of one part, by the things it names beside or behind each other.
fn by_things(facts: &Facts<'_>, complexity: Complexity) -> Option<Reading> {
    if let Some(word) = steps_of_nouns(facts) {
        let reason = format!("the things asked for follow each other: `{word}`");
        return Some((Shape::Chain, reason));
    }
    let small_question = complexity == Complexity::Simple && facts.parts.iter().any(|part| part.question);
    let reason = if facts.comparison.subjects.len() > 1 {
        "the things compared can be looked at independently".to_owned()
    } else if facts.aspects.len() > 1 && !small_question {
        format!("{} aspects that do not need each other", facts.aspects.len())
    } else {
        let count = named_beside(facts)?;
        format!("{count} things named beside each other can be worked on independently")
    };
    Some((Shape::FanOut, reason))
}

/// The shape of one part about one thing, by how much work it is.
fn by_size(facts: &Facts<'_>, complexity: Complexity) -> Reading {
    if complexity == Complexity::Simple {
        return (Shape::Single, "one part".to_owned());
    }
    let divides = surveys(facts) || breadth(facts).is_some() || facts.comparison.compares;
    let reason = if divides {
        "the scope can be divided"
    } else {
        "one question, large enough to be looked at from several sides"
    };
    (Shape::FanOut, reason.to_owned())
}

/// What a part needs and what shows it, in words.
fn needed(parts: &[Part], index: usize) -> Option<String> {
    let part = &parts[index];
    if part.needs.is_empty() {
        return None;
    }
    let needs = listed(part.needs.iter().map(|need| parts[*need].verb.as_str()));
    let sign = match part.sign.as_str() {
        "" => "it has no input of its own",
        sign => sign,
    };
    Some(format!("part {} (`{}`) needs `{needs}`: {sign}", index + 1, part.verb))
}

/// Whether a part speaks of several things as such: `how similar they are`.
fn speaks_of_several(facts: &Facts<'_>, part: &Part) -> bool {
    facts.text.tokens[part.tokens.clone()]
        .iter()
        .any(|token| ["they", "them", "these", "those", "both", "each"].contains(&token.lower.as_str()))
}

/// Whether a part names several things beside each other.
fn names_several(facts: &Facts<'_>, part: &Part) -> bool {
    let body = body(facts.text, part);
    body.windows(3)
        .any(|three| three[0].is_named() && (three[1].is("and") || three[1].kind == Kind::Comma) && three[2].is_named())
}

/// Whether the objects of a part are several: an `and` between them.
fn coordinates(facts: &Facts<'_>, part: &Part) -> bool {
    // The last word of a part may be the `and` that leads to the next.
    let body = body(facts.text, part);
    body.iter()
        .take(body.len().saturating_sub(2))
        .any(|token| token.is("and"))
}

/// A word of order between nouns, where one verb asks for several things one after another.
fn steps_of_nouns<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    let [part] = facts.parts.as_slice() else { return None };
    if part.question {
        return None;
    }
    let body = body(facts.text, part);
    body.windows(2).find_map(|pair| {
        let joined = pair[0].kind == Kind::Comma || pair[0].is("and");
        let order = ["then", "afterwards", "finally", "subsequently", "lastly"].contains(&pair[1].lower.as_str());
        (joined && order).then_some(pair[1].lower.as_str())
    })
}

/// How many things a single part names beside each other, where each is worked on by itself: three at least, or two that
/// are looked over.
fn named_beside(facts: &Facts<'_>) -> Option<usize> {
    let [part] = facts.parts.as_slice() else { return None };
    let body = body(facts.text, part);
    if part.question || words::is_joining(&part.verb) || body.iter().any(|token| words::is_joining(&token.lower)) {
        return None;
    }
    let (things, least) = if words::is_surveying(&part.verb) {
        (things_beside(body).max(phrases_beside(body)), 2)
    } else {
        (things_beside(body), 3)
    };
    (things >= least).then_some(things)
}

/// The longest row of things with nothing but a comma or an `and` between them: `a, b and c`. Two count where an `and` joins
/// them.
fn things_beside(body: &[Token<'_>]) -> usize {
    let (mut longest, mut run, mut apart, mut joined) = (0, 0, 0, false);
    for token in body {
        if is_thing(token) {
            run = if run > 0 && apart > 0 { run + 1 } else { 1 };
            joined = run > 1 && joined;
            apart = 0;
        } else if token.kind == Kind::Comma || token.is("and") || token.is("or") {
            apart += 1;
            joined |= token.is("and");
            continue;
        } else {
            run = 0;
        }
        if joined || run > 2 {
            longest = longest.max(run);
        }
    }
    longest
}

fn is_thing(token: &Token<'_>) -> bool {
    token.is_named() || (token.kind == Kind::Word && token.text.starts_with(|c: char| c.is_uppercase()))
}

/// How many things stand beside each other that each have a determiner of their own: `the web page, the app and the server`;
/// 0 where they are fewer than three.
fn phrases_beside(body: &[Token<'_>]) -> usize {
    const OWN: &[&str] = &["the", "our", "my", "your", "its", "their", "a", "an"];
    const PHRASE_WORDS_MAX: usize = 4;
    let begins: Vec<usize> = body
        .iter()
        .enumerate()
        .filter(|(at, token)| {
            let joined = *at > 0 && (body[at - 1].kind == Kind::Comma || body[at - 1].is("and"));
            OWN.contains(&token.lower.as_str()) && joined
        })
        .map(|(at, _)| at)
        .collect();
    let ends_list = begins.last().is_some_and(|last| body[last - 1].is("and"));
    let near = begins.windows(2).all(|pair| pair[1] - pair[0] <= PHRASE_WORDS_MAX + 2);
    if ends_list && near && begins.len() >= 2 {
        begins.len() + 1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    #[test]
    fn rows_of_things_are_counted() {
        let check = |source: &str, expected: usize| {
            assert_eq!(things_beside(&Text::new(source).tokens), expected, "{source}");
        };
        check("`a`", 0);
        check("`a` and `b`", 2);
        check("`a`, `b`", 0);
        check("`a`, `b`, `c`", 3);
        check("`a`, `b` and `c`, of `d`", 3);
        check("`a` in `b` and `c`", 2);
        check("rows and columns", 0);
        check("English, French and German", 3);
    }

    #[test]
    fn phrases_with_determiners_of_their_own_are_counted() {
        let check = |source: &str, expected: usize| {
            assert_eq!(phrases_beside(&Text::new(source).tokens), expected, "{source}");
        };
        check("the web page, the app and the server", 3);
        check("the web page and the app", 0);
        check("the web page, the app, the server", 0);
        check("web pages, apps and servers", 0);
    }
}
