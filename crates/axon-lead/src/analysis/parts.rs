//! Finds the parts of a request (each one thing to do or one question) and which of them need which others. It judges
//! by the structure of the sentences: verbs where verbs stand, words of order, references back to what was done.

use std::ops::Range;

use super::text::{Item, Kind, Sentence, Text, Token};
use super::words;

/// Most parts told apart; what follows belongs to the last.
const PARTS_MAX: usize = 64;
/// Points from which a part counts as needing an earlier one.
const LINK_SCORE: f64 = 2.0;

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
        let heads = heads(text, sentence);
        for (position, head) in heads.iter().enumerate() {
            let start = match position {
                0 => sentence.tokens.start,
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
            });
        }
    }
    if parts.len() > PARTS_MAX {
        let end = parts[parts.len() - 1].tokens.end;
        parts.truncate(PARTS_MAX);
        parts[PARTS_MAX - 1].tokens.end = end;
    }
    for index in 1..parts.len() {
        let (needs, sign) = needs(text, &parts, index);
        parts[index].needs = needs;
        parts[index].sign = sign;
    }
    parts
}

struct Head {
    index: usize,
    verb: String,
    question: bool,
    gerund: bool,
}

fn heads(text: &Text<'_>, sentence: &Sentence) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::new();
    for index in sentence.tokens.clone() {
        let token = &text.tokens[index];
        if token.kind != Kind::Word {
            continue;
        }
        let place = Place::of(text, sentence, index);
        if is_question(token, &place, sentence, heads.last(), index) {
            heads.push(Head {
                index,
                verb: token.lower.clone(),
                question: true,
                gerund: false,
            });
            continue;
        }
        let Some((verb, gerund)) = asked_verb(token, &place, &heads) else {
            continue;
        };
        let same_clause = heads.last().is_some_and(|last| {
            !text.tokens[last.index..index]
                .iter()
                .any(|t| t.kind == Kind::Comma || t.is("and") || t.is("then"))
        });
        match heads.last_mut() {
            // `use X to do Y` and `look at X and do Y` ask for Y alone.
            Some(last) if same_clause && place.after_to && !last.question => {
                if words::is_light(&last.verb) {
                    last.verb = verb;
                }
            }
            Some(last) if TAKING.contains(&last.verb.as_str()) && place.previous == "and" && !last.question => {
                last.verb = verb;
            }
            _ => heads.push(Head {
                index,
                verb,
                question: false,
                gerund,
            }),
        }
    }
    name_actions(text, sentence, &mut heads);
    heads
}

/// Reads nouns of action as verbs: `do a review of X` asks to review, `I need a summary and a translation` for two things.
fn name_actions(text: &Text<'_>, sentence: &Sentence, heads: &mut Vec<Head>) {
    let nominal = |from: usize| {
        let tokens = &text.tokens[from..sentence.tokens.end];
        let at = tokens
            .iter()
            .position(|t| ["a", "an", "the", "some"].contains(&t.lower.as_str()))?;
        let stop = |t: &Token<'_>| {
            t.kind != Kind::Word || ["of", "for", "and", "or", "in", "to", "that"].contains(&t.lower.as_str())
        };
        let length = tokens[at + 1..].iter().take(5).take_while(|t| !stop(t)).count();
        // The noun is the last word before `of`, `for` or the end: `a short code review of`.
        let noun = &tokens[(at + length).min(tokens.len() - 1)];
        words::nominal_base(&noun.lower).map(|verb| (from + at + length, verb.to_owned()))
    };
    if let Some(head) = heads
        .first_mut()
        .filter(|head| !head.question && words::is_light(&head.verb))
    {
        if let Some((_, verb)) = nominal(head.index + 1) {
            head.verb = verb;
        }
        return;
    }
    if !heads.is_empty() || sentence.question {
        return;
    }
    let wanted = ["need", "want", "like", "request", "require", "looking"];
    let Some(mut from) = sentence
        .tokens
        .clone()
        .find(|&at| wanted.contains(&text.tokens[at].lower.as_str()))
    else {
        return;
    };
    while let Some((index, verb)) = nominal(from + 1) {
        heads.push(Head {
            index,
            verb,
            question: false,
            gerund: false,
        });
        let next =
            (index..sentence.tokens.end).find(|&at| text.tokens[at].kind == Kind::Comma || text.tokens[at].is("and"));
        match next {
            Some(at) if at + 1 < sentence.tokens.end => from = at,
            _ => break,
        }
    }
}

/// Verbs that only take up what the next one works on.
const TAKING: &[&str] = &["look", "read", "open", "take", "go", "consider", "walk"];

/// Where a word stands in its sentence.
struct Place<'a> {
    /// The word before, adverbs left out; `,` or `:` for marks; empty at the start.
    previous: &'a str,
    /// The word before that.
    before: &'a str,
    /// Nothing but filling words before it.
    at_start: bool,
    /// The word before is `to`.
    after_to: bool,
    /// The next token could begin an object.
    object_follows: bool,
    /// One of the next four words is `is`, `are` or the like.
    finite_follows: bool,
    next: &'a str,
    /// A comma stands directly before the joining word.
    comma_before_join: bool,
}

impl<'a> Place<'a> {
    fn of(text: &'a Text<'_>, sentence: &Sentence, index: usize) -> Self {
        let tokens = &text.tokens;
        let word = |at: Option<usize>| at.map_or("", |at| mark_or_word(&tokens[at]));
        let mut back = (sentence.tokens.start..index)
            .rev()
            .filter(|&at| !is_adverb(&tokens[at].lower));
        let (previous_at, before_at) = (back.next(), back.next());
        let (previous, before) = (word(previous_at), word(before_at));
        let next = tokens.get(index + 1).filter(|_| index + 1 < sentence.tokens.end);
        Self {
            previous,
            before,
            at_start: tokens[sentence.tokens.start..index].iter().all(|t| {
                matches!(t.kind, Kind::Comma | Kind::Colon)
                    || (words::is_filler(&t.lower) && !["i", "we", "you"].contains(&t.lower.as_str()))
            }),
            after_to: previous == "to",
            object_follows: next
                .is_some_and(|t| t.is_named() || t.kind == Kind::Number || words::is_determiner(&t.lower)),
            finite_follows: tokens[index + 1..sentence.tokens.end.max(index + 1)]
                .iter()
                .take(4)
                .any(|t| ["is", "are", "was", "were", "has", "does", "do"].contains(&t.lower.as_str())),
            next: next.map_or("", |t| t.lower.as_str()),
            comma_before_join: before == ",",
        }
    }
}

fn mark_or_word<'a>(token: &'a Token<'_>) -> &'a str {
    match token.kind {
        Kind::Comma => ",",
        Kind::Colon => ":",
        _ => &token.lower,
    }
}

/// Words between a verb and what introduces it.
fn is_adverb(word: &str) -> bool {
    ["first", "also", "just", "simply", "even", "further", "&"].contains(&word)
        || (word.len() > 4
            && word.ends_with("ly")
            && !["finally", "lastly", "reply", "apply", "family", "assembly"].contains(&word))
}

fn is_question(token: &Token<'_>, place: &Place<'_>, sentence: &Sentence, last: Option<&Head>, index: usize) -> bool {
    let word = token.lower.as_str();
    let begins = place.at_start || (place.previous == "," && last.is_none());
    if words::is_wh(word) {
        let joined = ["and", "or", ","].contains(&place.previous)
            && last.is_some_and(|last| last.question && index - last.index >= 3);
        // `When X fails, do Y` and `Which is why` ask nothing.
        let clause = ["when", "which", "who"].contains(&word) && !sentence.question;
        return (begins && !clause) || joined;
    }
    let polite = ["can", "could", "would", "will"].contains(&word) && place.next == "you";
    words::is_auxiliary(word) && begins && sentence.question && !polite
}

/// The verb asked for at this word, in base form, and whether it stands as a gerund.
fn asked_verb(token: &Token<'_>, place: &Place<'_>, heads: &[Head]) -> Option<(String, bool)> {
    let word = token.lower.as_str();
    if word == "help" || !word.chars().all(|c| c.is_alphabetic() || c == '-') {
        return None;
    }
    if let Some(base) = words::gerund_base(word) {
        let introduced = match place.previous {
            "after" | "before" | "then" | "once" => true,
            "by" | "with" => {
                ["followed", "start", "begin", "starting", "beginning", "finish", "end"].contains(&place.before)
            }
            "and" | "," => heads.last().is_some_and(|last| last.gerund),
            _ => false,
        };
        return introduced.then_some((base, true));
    }
    let verb = || Some((token.lower.clone(), false));
    let known = words::is_verb(word);
    let can_be_verb =
        known || ASKING.contains(&word) || (word.len() >= 3 && !words::is_stop(word) && !words::is_determiner(word));
    if place.after_to {
        let wanted = words::is_wanting(place.before) || ["and", ",", "or", "but"].contains(&place.before);
        let light = heads.last().is_some_and(|last| words::is_light(&last.verb)) && known;
        return if can_be_verb && (wanted || light) { verb() } else { None };
    }
    let asked = ["please", "kindly", "let's"].contains(&place.previous)
        || (["can", "could", "would", "will", "should", "must"].contains(&place.before)
            && ["you", "we", "i"].contains(&place.previous))
        || (["me", "us"].contains(&place.previous) && ["help", "let"].contains(&place.before));
    if asked && can_be_verb {
        return verb();
    }
    let noun = words::is_also_noun(word) && !place.object_follows;
    if place.at_start {
        let imperative = known && !(words::is_also_noun(word) && place.finite_follows && !place.object_follows);
        let likely = can_be_verb && place.object_follows && !place.finite_follows && !word.ends_with('s');
        return if imperative || likely { verb() } else { None };
    }
    let asked_before = heads.last();
    match place.previous {
        "then" | "next" | "finally" | "lastly" | "afterwards" | "afterward" | "subsequently" | "later"
        | "additionally" | "thereafter" => {
            if known || (can_be_verb && place.object_follows) {
                verb()
            } else {
                None
            }
        }
        ":" if known && !noun => verb(),
        "and" | "or" | "," | "but" | "plus" if known && !noun => match asked_before {
            // A verb in a list inside a question belongs to the question, unless a new clause begins.
            Some(last) if last.question => {
                if place.object_follows && (place.comma_before_join || place.previous == ",") {
                    verb()
                } else {
                    None
                }
            }
            Some(_) => verb(),
            None => {
                if place.previous == "," {
                    verb()
                } else {
                    None
                }
            }
        },
        _ => None,
    }
}

/// Verbs of asking that are stop-words elsewhere.
const ASKING: &[&str] = &[
    "know",
    "see",
    "learn",
    "understand",
    "find",
    "tell",
    "show",
    "explain",
    "describe",
    "give",
    "make",
    "get",
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
    while start > last + 1 && leads(&tokens[start - 1]) {
        start -= 1;
    }
    // `…, based on that, do Y`: the phrase between the commas belongs to Y.
    if tokens[start].kind == Kind::Comma
        && let Some(comma) = (last + 1..start)
            .rev()
            .find(|&at| tokens[at].kind == Kind::Comma || tokens[at].is("and"))
        && [
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
        ]
        .contains(&tokens[comma + 1].lower.as_str())
    {
        return comma;
    }
    start
}

/// What the part at `index` needs of the parts before it, and what shows it.
fn needs(text: &Text<'_>, parts: &[Part], index: usize) -> (Vec<usize>, String) {
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
        || contains(tokens, &["all", "the"]) && tokens.iter().any(|t| words::is_result(&t.lower));
    if joins && leaves.len() >= 2 && !own {
        return (leaves, "brings them together".to_owned());
    }
    if parallel {
        // Beside the previous part: it needs what that one needs, if it refers back at all.
        let refers = pronoun(body).is_some();
        return (if refers { previous.needs.clone() } else { Vec::new() }, String::new());
    }
    if score < LINK_SCORE {
        return (Vec::new(), String::new());
    }
    sources.sort_unstable();
    (if sources.is_empty() { vec![index - 1] } else { sources }, sign)
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
