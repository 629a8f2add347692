//! Says what is unclear about a request, and what would help. A warning never refuses anything.

use super::text::Kind;
use super::{Facts, words};

/// What is unclear about the request.
pub(super) fn warnings(facts: &Facts<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_vague(facts) {
        warnings.push(
            "the question is vague: name what to look at (a file, a symbol, the text of an error) or an aspect such as \
             security or error handling, and what you want to know about it"
                .to_owned(),
        );
    }
    if let Some(count) = unrelated(facts) {
        warnings.push(format!(
            "these look like {count} unrelated questions: ask each as a query of its own, so that each gets the whole \
             budget and an answer to itself"
        ));
    }
    warnings
}

/// Nothing in the request says what it is about.
fn is_vague(facts: &Facts<'_>) -> bool {
    if facts.names_something() || !facts.aspects.is_empty() || !facts.comparison.subjects.is_empty() {
        return false;
    }
    let telling = facts.keywords.iter().filter(|word| !words::is_generic(word)).count();
    let about_everything = super::score::mentions_workspace(facts)
        && facts.parts.iter().any(|part| {
            words::is_surveying(&part.verb)
                || part.question
                || ["explain", "describe", "summarize", "summarise", "outline", "document"]
                    .contains(&part.verb.as_str())
        });
    telling == 0 && !about_everything
}

/// How many questions stand beside each other with nothing in common.
fn unrelated(facts: &Facts<'_>) -> Option<usize> {
    let questions: Vec<_> = facts.parts.iter().filter(|part| part.question).collect();
    // What stands in one sentence belongs together for who wrote it.
    let apart = questions.windows(2).all(|pair| pair[0].sentence != pair[1].sentence);
    if questions.len() < 2 || !apart || facts.parts.iter().any(|part| !part.needs.is_empty()) {
        return None;
    }
    let content: Vec<Vec<&str>> = questions
        .iter()
        .map(|part| {
            facts.text.tokens[part.tokens.clone()]
                .iter()
                .filter(|token| token.is_named() || (token.kind == Kind::Word && !words::is_stop(&token.lower)))
                .map(|token| token.lower.trim_end_matches('s'))
                .collect()
        })
        .collect();
    let refers_back = questions.iter().skip(1).any(|part| {
        facts.text.tokens[part.tokens.clone()]
            .iter()
            .any(|token| words::is_pronoun(&token.lower) || token.is("this") || token.is("that"))
    });
    let shares = content.iter().enumerate().any(|(index, left)| {
        content[index + 1..]
            .iter()
            .any(|right| left.iter().any(|word| right.contains(word)))
    });
    (content.iter().all(|words| !words.is_empty()) && !shares && !refers_back).then_some(questions.len())
}
