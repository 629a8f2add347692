//! Decides whether a word is a verb that asks for something, by what stands around it. Each function is one way to ask; a
//! word that none of them knows asks for nothing.

use super::super::text::{Kind, Token};
use super::super::words;
use super::Head;
use super::place::Place;

/// Words of a phrase between the start of a clause and its verb.
const PHRASE_WORDS_MAX: usize = 5;

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

/// Words that begin a phrase before a verb: `after the booking send …`, `in the end produce …`, `independently of that add …`.
const LEADING: &[&str] = &[
    "after",
    "before",
    "following",
    "upon",
    "with",
    "from",
    "using",
    "given",
    "based",
    "for",
    "in",
    "on",
    "at",
    "by",
    "out",
    "through",
    "besides",
    "independently",
    "separately",
    "building",
    "depending",
    "knowing",
    "once",
];

/// Verbs that say where a piece of work begins or ends: `start by listing`.
const BEGINNING: &[&str] = &["followed", "start", "begin", "starting", "beginning", "finish", "end"];

/// Words of order directly before a verb.
const ORDER: &[&str] = &[
    "then",
    "next",
    "finally",
    "lastly",
    "afterwards",
    "afterward",
    "subsequently",
    "later",
    "additionally",
    "thereafter",
];

/// Words that join a verb to what stands before it.
const JOINING: &[&str] = &["and", "or", ",", "but", "plus"];

/// Endings of words that are seldom orders where no list knows them.
const NO_ORDER: &[&str] = &["s", "ly", "ed", "ing", "er", "or", "ion"];

/// Words that stand for a thing.
const THINGS: &[&str] = &["it", "them", "this", "that", "these", "those"];

/// Words that say that something is to be done to a thing: `I'd like it transcribed`.
const WANTING: &[&str] = &["like", "want", "need", "have", "get", "prefer"];

/// Words that make what stands between a thing and its participle a clause of its own.
const FINITE_BETWEEN: &[&str] = &["to", "that", "which", "been", "be", "you"];

/// Words that make a phrase before a verb a clause of its own.
const CLAUSE: &[&str] = &["to", "which", "who", "i", "we", "you", "not"];

/// What may follow a participle that ends what is wanted.
const AFTER_PARTICIPLE: &[&str] = &[
    "", "and", ",", "then", "into", "to", "for", "from", "by", "with", "in", "on", "at", "as", "before", "after",
];

/// A verb that asks, in base form, and whether it stands as a gerund.
pub(super) type Asked = (String, bool);

/// The verb asked for at this word.
pub(super) fn asked_verb(place: &Place<'_>, last: Option<&Head>) -> Option<Asked> {
    let word = place.word;
    if word == "help" || !word.chars().all(|c| c.is_alphabetic() || c == '-') {
        return None;
    }
    if let Some(base) = words::gerund_base(word) {
        return introduces_gerund(place, last).then_some((base, true));
    }
    // `Step 2: …` names a place in an order.
    let asks = !place.numbered && Candidate::of(place, last).asks();
    asks.then(|| (word.to_owned(), false))
}

/// `before listing …`, `start by listing …`, and further gerunds of a list.
fn introduces_gerund(place: &Place<'_>, last: Option<&Head>) -> bool {
    match place.previous {
        "after" | "before" | "then" | "once" => true,
        "by" | "with" => BEGINNING.contains(&place.before),
        "and" | "," => last.is_some_and(|last| last.gerund),
        _ => false,
    }
}

/// A word that may be a verb which asks.
struct Candidate<'a> {
    place: &'a Place<'a>,
    last: Option<&'a Head>,
    /// A list knows it as a verb.
    known: bool,
    /// It has the form of a verb.
    can_be_verb: bool,
    /// It is a noun as often, and nothing shows that it is none here.
    noun: bool,
}

impl<'a> Candidate<'a> {
    fn of(place: &'a Place<'a>, last: Option<&'a Head>) -> Self {
        let word = place.word;
        let known = words::is_verb(word);
        Self {
            place,
            last,
            known,
            can_be_verb: known
                || ASKING.contains(&word)
                || (word.len() >= 3 && !words::is_stop(word) && !words::is_determiner(word)),
            noun: words::is_also_noun(word) && !place.object_follows,
        }
    }

    fn asks(&self) -> bool {
        if self.place.after_to {
            return self.is_infinitive_asked();
        }
        if self.is_requested() {
            return true;
        }
        if self.place.at_start {
            return self.is_imperative();
        }
        self.follows_source() || self.continues_orders() || self.follows_order() || self.is_joined()
    }

    /// `I want to list …`, `use X to list …`.
    fn is_infinitive_asked(&self) -> bool {
        let wanted = words::is_wanting(self.place.before) || ["and", ",", "or", "but"].contains(&self.place.before);
        let light = self.known && self.last.is_some_and(|last| words::is_light(&last.verb));
        self.can_be_verb && (wanted || light)
    }

    /// `please list …`, `could you list …`, `help me list …`.
    fn is_requested(&self) -> bool {
        const REQUESTS: &[(&[&str], &[&str])] = &[
            (
                &["can", "could", "would", "will", "should", "must"],
                &["you", "we", "i"],
            ),
            (&["help", "let"], &["me", "us"]),
        ];
        let (before, previous) = (self.place.before, self.place.previous);
        let polite = ["please", "kindly", "let's"].contains(&previous);
        let requested = || {
            REQUESTS
                .iter()
                .any(|(first, second)| first.contains(&before) && second.contains(&previous))
        };
        self.can_be_verb && (polite || requested())
    }

    /// An order at the start of a sentence: `list …`.
    fn is_imperative(&self) -> bool {
        if self.known && !(self.noun && self.place.finite_follows) {
            return true;
        }
        let word = self.place.word;
        let leading = LEADING.contains(&word) || ["ing", "ed", "s"].iter().any(|end| word.ends_with(end));
        self.can_be_verb && !leading && self.place.object_follows && !self.place.finite_follows
    }

    /// `based on both decide …`: the phrase before the verb only says with what.
    fn follows_source(&self) -> bool {
        let source = self.place.previous == "both" || self.place.follows_one_of(THINGS);
        source
            && ["on", "with", "from"].contains(&self.place.before)
            && self.known
            && !self.noun
            && !self.place.finite_follows
    }

    /// A word that nobody lists as a verb is one where a list of orders goes on with it and an object follows.
    fn continues_orders(&self) -> bool {
        let place = self.place;
        let listed = place.previous == "," || (place.previous == "and" && place.comma_before_join);
        listed
            && !self.known
            && self.can_be_verb
            && words::is_determiner(place.next)
            && !place.finite_follows
            && !NO_ORDER.iter().any(|end| place.word.ends_with(end))
            && self.last.is_some_and(|last| !last.question)
    }

    /// `then list …`.
    fn follows_order(&self) -> bool {
        self.place.follows_one_of(ORDER) && (self.known || (self.can_be_verb && self.place.object_follows))
    }

    /// `…: list …`, `… and list …`.
    fn is_joined(&self) -> bool {
        let place = self.place;
        if !self.known || self.noun {
            return false;
        }
        if place.previous == ":" {
            return true;
        }
        let after_comma = place.previous == ",";
        place.follows_one_of(JOINING)
            && match self.last {
                // A verb in a list inside a question belongs to the question, unless a new clause begins.
                Some(last) if last.question => place.object_follows && (place.comma_before_join || after_comma),
                Some(_) => true,
                None => after_comma,
            }
    }
}

/// A verb behind a phrase that leads up to it, with no comma between.
pub(super) fn behind_phrase(place: &Place<'_>) -> Option<Asked> {
    let noun_before = !words::is_determiner(place.previous) || place.follows_one_of(THINGS);
    let plain =
        words::is_verb(place.word) && place.object_follows && noun_before && !place.after_to && !place.finite_follows;
    if !plain {
        return None;
    }
    let phrase = phrase_before(place.sentence_before())?;
    let leads = phrase.len() > 1 && LEADING.contains(&phrase[0].lower.as_str());
    // A verb inside the phrase would be its own.
    let clause = phrase.iter().any(|token| is_finite(token, CLAUSE));
    (leads && !clause).then(|| (place.word.to_owned(), false))
}

/// The words since the last mark or joining word; nothing where they are too many for a phrase.
fn phrase_before<'a>(before: &'a [Token<'a>]) -> Option<&'a [Token<'a>]> {
    let ends =
        |token: &Token<'_>| matches!(token.kind, Kind::Comma | Kind::Colon) || token.is("and") || token.is("then");
    let start = before.iter().rposition(ends).map_or(0, |at| at + 1);
    let phrase = &before[start..];
    (phrase.len() <= PHRASE_WORDS_MAX).then_some(phrase)
}

/// A participle that says what somebody wants done: `I'd like it transcribed and the transcript translated`.
pub(super) fn wanted_done(place: &Place<'_>) -> Option<Asked> {
    let base = words::participle_base(place.word)?;
    let before = place.sentence_before();
    let want = before
        .iter()
        .rposition(|token| WANTING.contains(&token.lower.as_str()))?;
    // What stands between is the thing: nothing that is or was done already.
    let between = &before[want + 1..];
    let thing = !between.is_empty() && !between.iter().any(|token| is_finite(token, FINITE_BETWEEN));
    let thing_before = is_noun(place.previous) || place.follows_one_of(THINGS);
    (thing && thing_before && AFTER_PARTICIPLE.contains(&place.next)).then_some((base, false))
}

/// Whether the word before can be a noun: neither a mark nor a word that needs one.
fn is_noun(previous: &str) -> bool {
    !words::is_determiner(previous) && !["", ",", "and", ":"].contains(&previous)
}

fn is_finite(token: &Token<'_>, others: &[&str]) -> bool {
    words::is_auxiliary(&token.lower) || others.contains(&token.lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::super::text::Text;
    use super::*;

    /// The first word of the request that `asks` takes for a verb; `asks` is not told what was asked before.
    fn first(source: &str, asks: impl Fn(&Place<'_>) -> Option<Asked>) -> Option<Asked> {
        let text = Text::new(source);
        let sentence = text.sentences.first().expect("a sentence");
        sentence
            .tokens
            .clone()
            .filter(|&index| text.tokens[index].kind == Kind::Word)
            .find_map(|index| asks(&Place::of(&text, sentence, index)))
    }

    fn check(source: &str, asks: impl Fn(&Place<'_>) -> Option<Asked>, expected: Option<(&str, bool)>) {
        let found = first(source, asks);
        let found = found.as_ref().map(|(verb, gerund)| (verb.as_str(), *gerund));
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn verbs_ask_where_something_introduces_them() {
        let check = |source: &str, expected| check(source, |place| asked_verb(place, None), expected);
        check("List the rows", Some(("list", false)));
        check("Frobnicate the rows", Some(("frobnicate", false)));
        check("Rows are long", None);
        check("The list is long", None);
        check("I want to sort the rows", Some(("sort", false)));
        check("The rows to sort", None);
        check("Could you sort the rows", Some(("sort", false)));
        check("The rows, then sort the columns", Some(("sort", false)));
        check("The rows, then sort", Some(("sort", false)));
        check("The rows: sort the columns", Some(("sort", false)));
        check("The rows, sort the columns", Some(("sort", false)));
        check("The rows and sort the columns", None);
        check("Before sorting the rows", Some(("sort", true)));
        check("The sorting of rows", None);
        check("Step 2: the rows", None);
    }

    #[test]
    fn a_verb_may_stand_behind_a_phrase() {
        let check = |source: &str, expected| check(source, behind_phrase, expected);
        check("After the booking send the bill", Some(("send", false)));
        check("In the end print the rows", Some(("print", false)));
        check("The booking clerks send the bill", None);
        check("After the booking that we send the bill", None);
        check("After the very long and slow booking of many rooms send the bill", None);
    }

    #[test]
    fn a_participle_may_say_what_is_wanted() {
        let check = |source: &str, expected| check(source, wanted_done, expected);
        check("I'd like it transcribed", Some(("transcribe", false)));
        check("I'd like the talk translated into German", Some(("translate", false)));
        check("I'd like what is translated", None);
        check("The talk translated into German", None);
        check("I'd like the translated talk", None);
    }
}
