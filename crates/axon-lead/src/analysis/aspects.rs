//! Finds the aspects a request names, as nouns, verbs or adjectives, and calls them as the templates of reviews do. The
//! words for an aspect are data of the templates; no rule here knows what an aspect means.

use super::names::unique;
use super::parts::{Part, collapse};
use super::text::{Item, Kind, Text, Token};
use super::vocabulary::Vocabulary;
use super::words;

const ASPECTS_MAX: usize = 12;
/// A listed item longer than this many words is no name of an aspect.
const ITEM_WORDS_MAX: usize = 4;

/// Verbs that judge what they look at; the qualities named with them are aspects.
const JUDGING: &[&str] = &[
    "review", "audit", "check", "inspect", "scan", "examine", "assess", "analyse", "analyze", "evaluate", "survey",
    "rate", "grade", "compare", "contrast", "improve", "judge", "score", "measure", "look", "study", "report",
];

/// Verbs that look for something; the qualities named with them are aspects where the search is broad or for a kind of
/// thing.
const SEEKING: &[&str] = &[
    "find",
    "search",
    "identify",
    "list",
    "detect",
    "locate",
    "enumerate",
    "flag",
    "point",
    "spot",
];

/// The aspects the asker names: by the name of the template that covers them, else by their usual name, and what else
/// is listed after `for`, `regarding` and the like, or as items of a list.
pub(super) fn aspects(text: &Text<'_>, parts: &[Part], vocabulary: &Vocabulary) -> Vec<String> {
    let mut found: Vec<String> = parts
        .iter()
        .flat_map(|part| aspects_of(text, part, vocabulary))
        .collect();
    found.extend(items(text, parts, vocabulary));
    let mut found = unique(found.into_iter());
    found.truncate(ASPECTS_MAX);
    found
}

/// The aspects that one part of a request names.
pub(crate) fn aspects_of(text: &Text<'_>, part: &Part, vocabulary: &Vocabulary) -> Vec<String> {
    let tokens = &text.tokens[part.head + 1..part.tokens.end.max(part.head + 1)];
    let judging = JUDGING.contains(&part.verb.as_str());
    // `Check why X is slow` asks for a cause, whatever it calls the symptom.
    if tokens.first().is_some_and(|token| token.is("why")) || !(judging || asks_to_judge(part, tokens)) {
        return Vec::new();
    }
    let mut found = if judging {
        listed(tokens, vocabulary)
    } else {
        Vec::new()
    };
    found.extend(vocabulary.aspects_in(tokens));
    unique(found.into_iter())
}

/// Whether a part that does not say so asks for a judgement all the same: by a broad search, a search for a kind of
/// thing, or a question about what is or could be so.
fn asks_to_judge(part: &Part, tokens: &[Token<'_>]) -> bool {
    let verb = part.verb.as_str();
    let broad = tokens
        .iter()
        .any(|token| words::is_breadth(&token.lower) || words::is_workspace(&token.lower));
    let has = |wanted: &[&str]| tokens.iter().any(|token| wanted.iter().any(|word| token.is(word)));
    if SEEKING.contains(&verb) {
        // `Find duplicated code` looks for a kind of thing, `find the error` and `find where it fails` for one thing.
        let one = tokens
            .first()
            .is_none_or(|token| token.is_named() || words::is_determiner(&token.lower) || words::is_wh(&token.lower));
        return broad || !one;
    }
    match verb {
        "which" => broad || has(&["is", "are", "seem", "look", "lack", "could", "can", "may", "might"]),
        "where" => {
            let could = tokens.first().is_some_and(|token| {
                ["could", "can", "may", "might", "do", "does"]
                    .iter()
                    .any(|word| token.is(word))
            });
            could && !tokens.get(1).is_some_and(|token| token.is("i"))
        }
        "what" => broad || has(&["could", "might"]),
        _ => broad && part.question && words::is_auxiliary(verb),
    }
}

/// What is listed after the first `for`, `regarding`, … of these words: two items at least.
fn listed(tokens: &[Token<'_>], vocabulary: &Vocabulary) -> Vec<String> {
    const INTRODUCING: &[(&str, &[&str])] = &[
        ("for", &[]),
        ("regarding", &[]),
        ("concerning", &[]),
        ("focus", &["on"]),
        ("focusing", &["on"]),
        ("attention", &["to"]),
        ("emphasis", &["on"]),
        ("terms", &["of"]),
        ("respect", &["to"]),
        ("regard", &["to"]),
    ];
    let introduces = |at: usize| {
        let (_, rest) = INTRODUCING.iter().find(|(first, _)| tokens[at].is(first))?;
        let follows = rest
            .iter()
            .enumerate()
            .all(|(offset, word)| tokens.get(at + 1 + offset).is_some_and(|t| t.is(word)));
        follows.then_some(1 + rest.len())
    };
    let Some(start) = (0..tokens.len()).find_map(|at| introduces(at).map(|length| at + length)) else {
        return Vec::new();
    };
    let mut items: Vec<Vec<&str>> = vec![Vec::new()];
    for token in &tokens[start..] {
        let separates = token.kind == Kind::Comma || token.is("and") || token.is("or") || token.is("plus");
        if separates {
            if items.last().is_some_and(|item| !item.is_empty()) {
                items.push(Vec::new());
            }
            continue;
        }
        let ends = token.kind != Kind::Word
            || [
                "in",
                "of",
                "under",
                "across",
                "within",
                "throughout",
                "from",
                "at",
                "that",
                "which",
                "by",
                "with",
                "on",
            ]
            .contains(&token.lower.as_str());
        if ends {
            break;
        }
        let filling = [
            "the",
            "a",
            "an",
            "any",
            "all",
            "possible",
            "potential",
            "their",
            "its",
            "missing",
        ]
        .contains(&token.lower.as_str());
        if !filling && let Some(item) = items.last_mut() {
            item.push(&token.lower);
        }
    }
    items.retain(|item| (1..=ITEM_WORDS_MAX).contains(&item.len()));
    if items.len() < 2 {
        return Vec::new();
    }
    names_of(&items.iter().map(|item| item.join(" ")).collect::<Vec<_>>(), vocabulary)
}

/// Items of a list that only name something, after a sentence that asks.
fn items(text: &Text<'_>, parts: &[Part], vocabulary: &Vocabulary) -> Vec<String> {
    let nominal = text.sentences.iter().enumerate().filter(|(index, sentence)| {
        sentence.item == Some(Item::Bullet)
            && sentence.tokens.len() <= 6
            && !parts.iter().any(|part| part.sentence == *index)
            && parts.first().is_some_and(|part| part.sentence < *index)
    });
    let labels: Vec<String> = nominal
        .map(|(_, sentence)| collapse(text.slice(&sentence.tokens)).to_lowercase())
        .collect();
    names_of(&labels, vocabulary)
}

/// The names of listed items. What has no name in the templates keeps the asker's words, and so does a narrower word
/// beside a wider one that means the same template: who lists both wants both to be looked at.
fn names_of(items: &[String], vocabulary: &Vocabulary) -> Vec<String> {
    let names: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let known = vocabulary.aspects_in(&Text::new(item).tokens);
            if known.is_empty() { vec![item.clone()] } else { known }
        })
        .collect();
    let named = items.iter().zip(&names).enumerate().flat_map(|(index, (item, own))| {
        let beside = names
            .iter()
            .enumerate()
            .any(|(other, theirs)| other != index && theirs == own);
        match Vocabulary::narrower(item) {
            Some(narrow) if beside => vec![narrow.to_owned()],
            _ => own.clone(),
        }
    });
    unique(named)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::parts::parts;
    use super::*;
    use crate::strategy::Library;

    fn check_aspects(source: &str, expected: &[&str]) {
        let text = Text::new(source);
        static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::builtin().expect("sound"));
        assert_eq!(
            aspects(&text, &parts(&text), LIBRARY.vocabulary()),
            expected,
            "{source}"
        );
    }

    #[test]
    fn aspects_are_what_the_asker_lists() {
        check_aspects(
            "Review this repository for panics and unhandled errors",
            &["panics", "error handling"],
        );
        check_aspects(
            "Check security, performance and test coverage of the bus",
            &["security", "performance", "tests"],
        );
        check_aspects(
            "Audit the API with respect to pagination, versioning and quotas",
            &["pagination", "versioning", "quotas"],
        );
        check_aspects("Where is error handling done?", &[]);
        check_aspects("Find all race conditions", &["concurrency"]);
        check_aspects(
            "Assess the service:\n- latency\n- retry storms\n- cost",
            &["performance", "retry storms", "cost"],
        );
        check_aspects("Review src/lib.rs", &[]);
    }
}
