//! Finds the verbs and question words that ask for something. It judges by where a word stands in its sentence; a list
//! of verbs only confirms.

mod asked;
mod nouns;
mod place;

use super::text::{Kind, Sentence, Text};
use super::words;
use asked::{asked_verb, behind_phrase, wanted_done};
use place::Place;
pub(super) use place::is_adverb;

/// Words by which a question goes on to its verb: `how should we split it`.
const INVERTED_WORDS_MAX: usize = 4;
/// Words of a clause before another of the same question word is one of its own.
const CLAUSE_WORDS_MIN: usize = 4;
/// Words of a question before a further one can be joined to it.
const QUESTION_WORDS_MIN: usize = 3;

/// Verbs that only take up what the next one works on.
const TAKING: &[&str] = &["look", "read", "open", "take", "go", "consider", "walk"];

/// Words behind `look` that leave it without a result of its own: `look at X`, but not `look X up`.
const LOOKING: &[&str] = &["at", "through", "over", "into", "inside", "closely"];

/// Verbs that only say where the next one stands: `start by listing`.
const FRAMING: &[&str] = &["start", "begin", "finish", "end"];

const MODAL: &[&str] = &[
    "can", "could", "would", "will", "should", "shall", "must", "may", "might",
];

/// The word that begins what is asked.
pub(super) struct Head {
    pub index: usize,
    /// The verb in base form, or the question word.
    pub verb: String,
    pub question: bool,
    pub gerund: bool,
    /// It stands behind the thing it is done to: `the text translated`.
    pub passive: bool,
}

/// The heads of a sentence, in order.
pub(super) fn heads(text: &Text<'_>, sentence: &Sentence) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::new();
    for index in sentence.tokens.clone() {
        if text.tokens[index].kind == Kind::Word {
            take(&mut heads, &Place::of(text, sentence, index));
        }
    }
    nouns::name_actions(text, sentence, &mut heads);
    heads
}

/// Adds what the word at a place asks to what was asked before it.
fn take(heads: &mut Vec<Head>, place: &Place<'_>) {
    let last = heads.last();
    if is_question(place, last) || is_beside_clause(place, last) {
        heads.push(Head {
            index: place.index,
            verb: place.word.to_owned(),
            question: true,
            gerund: false,
            passive: false,
        });
        return;
    }
    let asked = asked_verb(place, last)
        .or_else(|| behind_phrase(place))
        .or_else(|| wanted_done(place));
    let Some((verb, gerund)) = asked.filter(|_| !is_inverted(place, last)) else {
        return;
    };
    match (role(place, last, gerund), heads.last_mut()) {
        (Role::Purpose, Some(_)) => {}
        (Role::Substance, Some(last)) => last.verb = verb,
        _ => heads.push(Head {
            index: place.index,
            passive: !gerund && verb != place.word && words::participle_base(place.word).is_some(),
            verb,
            question: false,
            gerund,
        }),
    }
}

/// What a verb is to the one asked before it.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// It only says what the other is for: `list the rows to find the longest`.
    Purpose,
    /// It says what the other only leads up to: `use X to do Y`, `look at X and do Y`.
    Substance,
    /// It asks for something by itself.
    Another,
}

fn role(place: &Place<'_>, last: Option<&Head>, gerund: bool) -> Role {
    let Some(last) = last else { return Role::Another };
    let same_clause = !place.text.tokens[last.index..place.index]
        .iter()
        .any(|token| token.kind == Kind::Comma || token.is("and") || token.is("then"));
    if same_clause && place.after_to && !last.question {
        return if words::is_light(&last.verb) {
            Role::Substance
        } else {
            Role::Purpose
        };
    }
    let framed = same_clause && gerund && FRAMING.contains(&last.verb.as_str());
    let taken_up = !last.question && place.follows_one_of(&["and", ","]) && takes_up(place.text, last);
    if framed || taken_up {
        Role::Substance
    } else {
        Role::Another
    }
}

/// Whether a verb only takes up what the next one works on: `look at X and do Y`, but not `look X up and do Y`.
fn takes_up(text: &Text<'_>, head: &Head) -> bool {
    TAKING.contains(&head.verb.as_str()) && (head.verb != "look" || LOOKING.contains(&word_behind(text, head)))
}

fn word_behind<'a>(text: &'a Text<'_>, head: &Head) -> &'a str {
    text.tokens.get(head.index + 1).map_or("", |token| token.lower.as_str())
}

/// Whether a verb belongs to the question before it: `how should we split it` and `should we use it` are one question each,
/// whose verb follows its subject.
fn is_inverted(place: &Place<'_>, last: Option<&Head>) -> bool {
    let Some(last) = last.filter(|last| last.question) else {
        return false;
    };
    let distance = place.index - last.index;
    place.follows_one_of(&["we", "i", "you", "one"])
        && (words::is_auxiliary(place.before) || MODAL.contains(&place.before))
        && distance <= INVERTED_WORDS_MAX
        && (words::is_wh(&last.verb) || distance == 2)
}

/// Whether a clause begins that is asked beside the last one: `Investigate why A fails and, in parallel, why B is slow`.
fn is_beside_clause(place: &Place<'_>, last: Option<&Head>) -> bool {
    let Some(last) = last else { return false };
    let first = word_behind(place.text, last);
    let between = &place.text.tokens[last.index + 1..place.index];
    words::is_wh(place.word)
        && words::is_wh(first)
        && place.follows_one_of(&["and", ","])
        && place.index - last.index >= CLAUSE_WORDS_MIN
        && (first == place.word || between.iter().any(|token| words::is_parallel(&token.lower)))
}

fn is_question(place: &Place<'_>, last: Option<&Head>) -> bool {
    let begins = place.at_start || (place.previous == "," && last.is_none());
    if words::is_wh(place.word) {
        return (begins && asks_by_itself(place)) || is_joined_question(place, last);
    }
    let polite = ["can", "could", "would", "will"].contains(&place.word) && place.next == "you";
    words::is_auxiliary(place.word) && begins && place.sentence.question && !polite
}

/// Whether a question word that begins a sentence asks something.
fn asks_by_itself(place: &Place<'_>) -> bool {
    if place.sentence.question {
        return true;
    }
    // `When X fails, do Y` and `Which is why` ask nothing.
    let clause = ["when", "which", "who"].contains(&place.word);
    // `What I want is …` says what is wanted and asks nothing by itself.
    let cleft = place.word == "what" && ["i", "we", "i'd", "we'd", "i'm"].contains(&place.next);
    !clause && !cleft
}

/// `how does it start, and why`.
fn is_joined_question(place: &Place<'_>, last: Option<&Head>) -> bool {
    place.follows_one_of(&["and", "or", ","])
        && last.is_some_and(|last| last.question && place.index - last.index >= QUESTION_WORDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let text = Text::new(source);
        let sentence = text.sentences.first().expect("a sentence");
        let found: Vec<String> = heads(&text, sentence)
            .into_iter()
            .map(|head| format!("{}{}", head.verb, if head.question { "?" } else { "" }))
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn a_verb_that_only_leads_up_gives_way_to_the_next() {
        check("Use the parser to list the rows", &["list"]);
        check("List the rows to find the longest", &["list"]);
        check("Look at the rows and sort the columns", &["sort"]);
        check("Look the rows up and sort the columns", &["look", "sort"]);
        check("Start by listing the rows", &["list"]);
        check("List the rows and sort the columns", &["list", "sort"]);
    }

    #[test]
    fn a_question_keeps_the_verbs_of_its_clause() {
        check("How should we split the parser?", &["how?"]);
        check("Should we split the parser?", &["should?"]);
        check("How does it start, and why does it stop?", &["how?", "why?"]);
        check("When it fails, sort the rows", &["sort"]);
        check("What I want is to sort the rows", &["sort"]);
        check(
            "Investigate why the parser fails and, in parallel, why the lexer is slow",
            &["investigate", "why?"],
        );
    }

    #[test]
    fn nouns_of_action_ask_where_no_verb_does() {
        check("Do a short code review of the parser", &["review"]);
        check("I need a summary and a translation", &["summarise", "translate"]);
        check("The summary is long", &[]);
    }
}
