//! Finds the verbs and question words that ask for something. It judges by where a word stands in its sentence; a list
//! of verbs only confirms.

use super::text::{Kind, Sentence, Text, Token};
use super::words;

/// The word that begins what is asked.
pub(super) struct Head {
    pub index: usize,
    /// The verb in base form, or the question word.
    pub verb: String,
    pub question: bool,
    pub gerund: bool,
}

/// The heads of a sentence, in order.
pub(super) fn heads(text: &Text<'_>, sentence: &Sentence) -> Vec<Head> {
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
            Some(last)
                if TAKING.contains(&last.verb.as_str()) && ["and", ","].contains(&place.previous) && !last.question =>
            {
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
pub(super) fn is_adverb(word: &str) -> bool {
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
    // `based on both decide …`: the phrase before the verb only says with what.
    let after_phrase = ["both", "that", "this", "them", "it", "these", "those"].contains(&place.previous)
        && ["on", "with", "from"].contains(&place.before);
    if after_phrase && known && !noun && !place.finite_follows {
        return verb();
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
