//! Scores the complexity of a request from its facts. Every point given is a reason shown to people.

use axon_protocol::Complexity;

use super::text::Kind;
use super::{Facts, rows, words};
use crate::partition::{Relevance, extent};

/// Points from which a query is more than one worker's work.
const MEDIUM_POINTS: f64 = 1.5;
/// Points from which it has many parts.
const COMPLEX_POINTS: f64 = 4.5;
/// Files of a scope that one worker reads at ease, that are many, and that are very many.
const FILES_FEW: usize = 12;
const FILES_MANY: usize = 60;
const FILES_VERY_MANY: usize = 400;

/// Counted things beyond which more count no further.
const COUNTED_MAX: usize = 4;

/// A judgement with its reasons.
pub(super) struct Judged<T> {
    pub value: T,
    pub reasons: Vec<String>,
}

#[derive(Default)]
struct Tally {
    points: f64,
    reasons: Vec<String>,
}

impl Tally {
    fn add(&mut self, points: f64, reason: impl Into<String>) {
        self.points += points;
        self.reasons.push(format!("{} ({points:+})", reason.into()));
    }
}

/// How much work a query is.
pub(super) fn complexity(facts: &Facts<'_>) -> Judged<Complexity> {
    let mut tally = Tally::default();
    score_parts(facts, &mut tally);
    score_scope(facts, &mut tally);
    score_depth(facts, &mut tally);
    let value = if tally.points >= COMPLEX_POINTS {
        Complexity::Complex
    } else if tally.points >= MEDIUM_POINTS {
        Complexity::Medium
    } else {
        Complexity::Simple
    };
    if tally.reasons.is_empty() {
        tally.reasons.push("one question about one thing".to_owned());
    }
    tally.reasons.push(format!(
        "{:.2} points: medium from {MEDIUM_POINTS}, complex from {COMPLEX_POINTS}",
        tally.points
    ));
    Judged {
        value,
        reasons: tally.reasons,
    }
}

fn score_parts(facts: &Facts<'_>, tally: &mut Tally) {
    let parts = facts.parts.len();
    if parts > 1 {
        let linked = facts.parts.iter().filter(|part| !part.needs.is_empty()).count();
        // A step that follows from the one before is less than a task of its own.
        // The aspects of several parts count by themselves, and one worker answers several questions of fact.
        let small = facts.aspects.len() > 1 || facts.parts.iter().all(|part| asks_for_fact(&part.verb));
        let beside = if small { 0.9 } else { 1.5 };
        let points = 0.75 * linked as f64 + beside * (parts - 1 - linked.min(parts - 1)) as f64;
        tally.add(
            round(points),
            format!(
                "{parts} parts: {}",
                listed(facts.parts.iter().map(|part| part.verb.as_str()))
            ),
        );
    }
    score_things(facts, tally);
}

/// Aspects, things compared and things in a row are often the same words: what gives most counts.
fn score_things(facts: &Facts<'_>, tally: &mut Tally) {
    let mut named = Tally::default();
    let aspects = facts.aspects.len();
    if aspects > 1 {
        // Of a part of the workspace: the whole of it counts by itself.
        let looked_over =
            surveys(facts) && !facts.names_something() && !facts.comparison.compares && !mentions_workspace(facts);
        let points = 0.75 * (aspects - 1 + usize::from(looked_over)) as f64;
        named.add(
            points,
            format!(
                "{aspects} aspects: {}",
                listed(facts.aspects.iter().map(String::as_str))
            ),
        );
    }
    if facts.comparison.compares {
        let subjects = facts.comparison.subjects.len();
        let points = 1.5 + 0.5 * subjects.saturating_sub(2) as f64;
        let what = match subjects {
            0 => "a comparison".to_owned(),
            _ => format!(
                "compares {}",
                listed(facts.comparison.subjects.iter().map(String::as_str))
            ),
        };
        named.add(points, what);
    }
    let mut counted = Tally::default();
    for row in rows::rows(facts.text, &facts.parts) {
        counted.add(0.75 * (row - 1) as f64, format!("{row} things in a row"));
    }
    if let Some((count, word)) = rows::counted(facts.text) {
        let points = 0.75 * (count.min(COUNTED_MAX) - 1) as f64;
        counted.add(points, format!("counted things: `{word}`"));
    }
    let most = if counted.points > named.points { counted } else { named };
    tally.points += most.points;
    tally.reasons.extend(most.reasons);
}

fn score_scope(facts: &Facts<'_>, tally: &mut Tally) {
    let surveys = surveys(facts);
    let broad = breadth(facts);
    let narrow = facts.names_something() && facts.paths.len() + facts.symbols.len() <= 3;
    match (&broad, mentions_workspace(facts)) {
        (Some(word), true) => tally.add(2.0, format!("the whole workspace: `{word}`")),
        (Some(word), false) if facts.paths.is_empty() && facts.symbols.is_empty() => {
            tally.add(1.5, format!("a wide scope: `{word}`"));
        }
        (None, true) if surveys => tally.add(2.0, "looks over the workspace"),
        (None, true) => tally.add(0.75, "about the workspace as a whole"),
        _ => {}
    }
    if narrow && broad.is_none() && !names_directory(facts) {
        let first = [&facts.paths, &facts.symbols, &facts.quotes]
            .into_iter()
            .flatten()
            .next();
        let name = first.map_or("", String::as_str);
        tally.add(-1.5, format!("names what to look at: `{}`", shortened(name)));
    }
    let Some(view) = facts.view else { return };
    let (files, _) = extent(view, &facts.paths, Relevance::Text);
    let points = match files {
        0..=FILES_FEW => return,
        _ if narrow && facts.paths.is_empty() => return,
        _ if files <= FILES_MANY => 0.5,
        _ if files <= FILES_VERY_MANY => 1.0,
        _ => 2.0,
    };
    // A question with one answer stays one question, however large the place where it is.
    let points = if surveys || broad.is_some() || facts.comparison.compares {
        points
    } else {
        points / 2.0
    };
    tally.add(points, format!("{files} files in scope"));
}

fn score_depth(facts: &Facts<'_>, tally: &mut Tally) {
    let mut deep: Vec<&str> = facts.text.words().filter(|word| words::is_depth(word)).collect();
    deep.dedup();
    deep.truncate(2);
    if !deep.is_empty() {
        tally.add(
            0.75 * deep.len() as f64,
            format!("asks for depth: {}", listed(deep.iter().copied())),
        );
    }
    if let [only] = facts.parts.as_slice()
        && !facts.comparison.compares
    {
        match only.verb.as_str() {
            verb if asks_for_fact(verb) => tally.add(-1.0, "asks for a fact"),
            "why" | "how" | "explain" | "describe" => tally.add(0.5, "asks for an explanation"),
            _ => {}
        }
    }
    let length = facts.text.words().count();
    if length > 150 {
        tally.add(1.0, format!("a long request: {length} words"));
    } else if length > 60 {
        tally.add(0.5, format!("a long request: {length} words"));
    }
}

fn asks_for_fact(verb: &str) -> bool {
    [
        "what", "where", "which", "who", "when", "is", "are", "does", "do", "has", "can", "know", "define",
    ]
    .contains(&verb)
}

/// Whether some part looks over whatever it is given.
pub(super) fn surveys(facts: &Facts<'_>) -> bool {
    facts.parts.iter().any(|part| words::is_surveying(&part.verb))
}

/// A word that widens the scope, unless what it widens is named.
pub(super) fn breadth<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    let tokens = &facts.text.tokens;
    tokens.iter().enumerate().find_map(|(index, token)| {
        let next = tokens.get(index + 1);
        // `any idea`, `at all` and `all right` widen nothing.
        // `an endpoint which returns all parcels` speaks of the parcels.
        let described = !surveys(facts) && within_description(facts, index);
        let idle = next
            .is_none_or(|next| ["idea", "way", "chance", "right", "case", "good"].contains(&next.lower.as_str()))
            && ["any", "all", "each"].contains(&token.lower.as_str())
            || token.is("any") && facts.parts.first().is_some_and(|part| part.question);
        (token.kind == Kind::Word && words::is_breadth(&token.lower) && !idle && !described)
            .then_some(token.lower.as_str())
    })
}

/// Whether a word stands in a clause that describes a thing: behind a noun and `which` or `that`.
fn within_description(facts: &Facts<'_>, index: usize) -> bool {
    let tokens = &facts.text.tokens;
    let sentence = facts
        .text
        .sentences
        .iter()
        .find(|sentence| sentence.tokens.contains(&index));
    let Some(sentence) = sentence else { return false };
    let names = |token: &super::text::Token<'_>| {
        token.is_named()
            || (token.kind == Kind::Word
                && !words::is_stop(&token.lower)
                && (!words::is_verb(&token.lower) || words::is_also_noun(&token.lower)))
    };
    (sentence.tokens.start + 1..index)
        .any(|at| ["which", "that", "who", "whose"].contains(&tokens[at].lower.as_str()) && names(&tokens[at - 1]))
}

/// Whether the workspace as such is named: `this repository`, not `a workspace`.
pub(super) fn mentions_workspace(facts: &Facts<'_>) -> bool {
    const POINTING: &[&str] = &[
        "this", "the", "our", "my", "your", "whole", "entire", "full", "complete",
    ];
    facts.text.tokens.windows(2).any(|pair| {
        pair[1].kind == Kind::Word && words::is_workspace(&pair[1].lower) && POINTING.contains(&pair[0].lower.as_str())
    })
}

fn names_directory(facts: &Facts<'_>) -> bool {
    let is_file = |path: &String| {
        facts
            .view
            .is_none_or(|view| view.files.iter().any(|file| file.path == *path))
    };
    !facts.paths.iter().all(is_file)
}

pub(super) fn listed<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.map(shortened).collect::<Vec<_>>().join(", ")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(48) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn round(points: f64) -> f64 {
    (points * 100.0).round() / 100.0
}
