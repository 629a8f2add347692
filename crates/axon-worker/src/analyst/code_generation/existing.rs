//! What a query asks to add by its name, so that it is said first where it exists already. Pure, but for what it writes.

use axon_protocol::Level;
use axon_tools::code::OutlineResult;

use crate::analyst::refactoring::definitions;
use crate::analyst::write::{Draft, Writer};
use crate::analyst::{Brief, Results};

/// What asks for something new.
const ADDING: &[&str] = &["add", "create", "implement", "write", "introduce", "define", "generate"];
/// What stands before the name of the new thing.
const NOUNS: &[&str] = &[
    "method",
    "function",
    "fn",
    "def",
    "struct",
    "class",
    "type",
    "trait",
    "enum",
    "interface",
    "constant",
    "macro",
];
/// What stands between the new thing and the type it is to belong to.
const BELONGING: &[&str] = &["to", "on", "for", "in", "of"];
/// Words between a verb and its noun: `add a small public method`.
const BETWEEN_MAX: usize = 4;

/// The name of what a query asks to add: `Bytes::is_empty` of “Add a method is_empty to Bytes”.
pub fn added(query: &str) -> Option<String> {
    let words: Vec<&str> = query
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|word| {
            !matches!(
                word.to_lowercase().as_str(),
                "a" | "an" | "the" | "called" | "named" | ""
            )
        })
        .collect();
    let is = |word: &str, list: &[&str]| list.contains(&word.to_lowercase().as_str());
    let verb = words.iter().position(|word| is(word, ADDING))?;
    let noun = (verb + 1..words.len().min(verb + 1 + BETWEEN_MAX)).find(|at| is(words[*at], NOUNS));
    let at = noun.unwrap_or(verb) + 1;
    let name = *words.get(at)?;
    let is_name = |word: &str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '.'))
    };
    let owner = match words.get(at + 1..at + 3) {
        Some([joint, owner]) if is(joint, BELONGING) && is_name(owner) => Some(*owner),
        _ => None,
    };
    let looks_like_code = name.contains('_') || name.contains("::") || name.chars().skip(1).any(char::is_uppercase);
    // A plain word is a name only where the noun before it or the type after it says so.
    let meant = looks_like_code || (noun.is_some() && owner.is_some_and(|owner| owner.starts_with(char::is_uppercase)));
    if !is_name(name) || !meant {
        return None;
    }
    match owner.filter(|owner| owner.starts_with(char::is_uppercase)) {
        Some(owner) if !name.contains("::") => Some(format!("{owner}::{name}")),
        _ => Some(name.to_owned()),
    }
}

/// Says first that what is asked for exists already.
pub fn write_existing(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let Some(name) = added(&brief.text) else { return };
    let outline = results.get::<OutlineResult>("existing").unwrap_or_default();
    let found = definitions(&name, &outline);
    let Some(first) = found.first() else { return };
    let claim = format!("`{}` exists already, in {}:{}", first.name, first.path, first.line);
    let mut draft = Draft::new(claim, first.name.clone(), "code.outline");
    draft.rationale = "The query asks to add it. A second one of the same name is refused where both are seen at once, and misleads where they are not.".to_owned();
    draft.recommendation =
        Some("Use what is there or change it; if something else is meant, give it a name of its own.".to_owned());
    draft.confidence = 0.9;
    draft.severity = Level::Medium;
    draft.impact = Level::High;
    draft.evidence = found
        .iter()
        .take(3)
        .filter_map(|item| writer.lines(&item.path, item.line, (item.line + 3).min(item.end_line)))
        .collect();
    writer.write(draft);
}

#[cfg(test)]
mod tests {
    use super::added;

    #[test]
    fn what_is_to_be_added_is_known_by_its_name() {
        for (query, expected) in [
            ("Add a method is_empty to Bytes", Some("Bytes::is_empty")),
            ("Add a method `len` to `Bytes`", Some("Bytes::len")),
            (
                "Please add a public method named is_empty() on the Bytes type",
                Some("Bytes::is_empty"),
            ),
            ("Implement Bytes::is_empty", Some("Bytes::is_empty")),
            ("Write a function parse_header", Some("parse_header")),
            ("Create a struct StoreError in src/store.rs", Some("StoreError")),
            ("Add a function that reads the records of a month", None),
            ("Add a method for Bytes", None),
            ("Add a --quiet flag to every command", None),
            ("Rename Bytes::slice", None),
        ] {
            assert_eq!(added(query).as_deref(), expected, "{query}");
        }
    }
}
