//! The words by which people name the qualities of software: those of the templates in force, and the usual names of
//! what no template covers. It matches words; it never judges whether a request means them.

use axon_protocol::StrategyDefinition;

use super::text::{Kind, Token};
use super::words;
use crate::strategy::ANY_ASPECT;

/// Words that may stand between two words of a phrase: `ignore an error`, `swallows any of the errors`.
const GAP_WORDS_MAX: usize = 3;

/// Qualities that no template of a review covers, each with other words for it; a `*` stands for any rest of a word.
const OTHERS: &str = "\
documentation: docs, doc comments, comments, document*, undocumented
unsafe code: unsafe, unsafe block*, memory safe*, soundness, unsound
logging: observability, metrics, tracing, telemetry
dependencies: third-party crate*, outdated package*, outdated dependenc*
architecture: structure, layering, coupling, coupled, modularity, design, dependency injection
naming: names, style, consistency, inconsistent naming
scalability: scaling, scales, scalable
usability: ergonomics, user experience, accessibility
cost: price, pricing
configuration: settings, config handling
compatibility: portability, interoperability";

/// Words narrower than the aspect they mean, with their usual name.
const NARROWER: &[(&str, &[&str])] = &[("panics", &["panic", "panics", "crashes"])];

/// Phrases and the aspects they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    phrases: Vec<Phrase>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Phrase {
    aspect: String,
    words: Vec<String>,
}

impl Vocabulary {
    /// The words of some strategies' templates, earlier ones first, and the usual names of what no template covers.
    pub fn of<'a>(definitions: impl IntoIterator<Item = &'a StrategyDefinition>) -> Self {
        let mut vocabulary = Self::default();
        // The first template of a strategy covers everything: its words name no aspect.
        let templates = definitions
            .into_iter()
            .flat_map(|definition| definition.templates.iter().skip(1));
        for template in templates.filter(|template| template.aspect != ANY_ASPECT) {
            vocabulary.add(&template.aspect, &template.aspect);
            template
                .synonyms
                .iter()
                .for_each(|word| vocabulary.add(&template.aspect, word));
        }
        for (aspect, others) in OTHERS.lines().filter_map(|line| line.split_once(": ")) {
            vocabulary.add(aspect, aspect);
            others.split(", ").for_each(|word| vocabulary.add(aspect, word));
        }
        vocabulary
    }

    fn add(&mut self, aspect: &str, text: &str) {
        let words: Vec<String> = text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        // Of several strategies that have a word the first one names it.
        if !words.is_empty() && !self.phrases.iter().any(|phrase| phrase.words == words) {
            self.phrases.push(Phrase {
                aspect: aspect.to_owned(),
                words,
            });
        }
    }

    /// The aspects that these words name, in order; of phrases that begin at the same word the longest counts.
    pub(super) fn aspects_in(&self, tokens: &[Token<'_>]) -> Vec<String> {
        self.found_in(tokens, 1)
    }

    /// The same by phrases of several words alone: a single word of a strategy's own is said in passing too often.
    pub(crate) fn aspects_by_phrase(&self, tokens: &[Token<'_>]) -> Vec<String> {
        self.found_in(tokens, 2)
    }

    fn found_in(&self, tokens: &[Token<'_>], words_min: usize) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let here = self
                .phrases
                .iter()
                .filter(|phrase| phrase.words.len() >= words_min)
                .filter_map(|phrase| Some((phrase, length(&tokens[at..], &phrase.words)?)))
                .max_by_key(|(phrase, _)| (phrase.words.len(), phrase.words.iter().map(String::len).sum::<usize>()));
            match here {
                Some((phrase, length)) => {
                    if !found.contains(&phrase.aspect) {
                        found.push(phrase.aspect.clone());
                    }
                    at += length;
                }
                None => at += 1,
            }
        }
        found
    }

    /// Whether a word is one of those that name qualities.
    pub(crate) fn knows(&self, word: &str) -> bool {
        self.phrases
            .iter()
            .flat_map(|phrase| &phrase.words)
            .any(|known| match known.strip_suffix('*') {
                // A lone star in a definition stands for any word of a phrase, and for no word by itself.
                Some(stem) => !stem.is_empty() && word.starts_with(stem),
                None => known == word || is_misspelled(word, known),
            })
    }

    /// The usual name of an item that says less than the aspect it means.
    pub(super) fn narrower(item: &str) -> Option<&'static str> {
        let known = NARROWER.iter().find(|(_, words)| words.contains(&item));
        known.map(|(name, _)| *name)
    }
}

/// How many tokens a phrase takes, if they begin with it; determiners and the like may stand between its words.
fn length(tokens: &[Token<'_>], phrase: &[String]) -> Option<usize> {
    let mut at = 0;
    for (index, word) in phrase.iter().enumerate() {
        let mut gap = 0;
        while !matches(tokens.get(at)?, word) {
            let between = tokens[at].kind == Kind::Word
                && (words::is_determiner(&tokens[at].lower) || words::is_stop(&tokens[at].lower))
                && !["and", "or", "but"].contains(&tokens[at].lower.as_str());
            gap += 1;
            if index == 0 || !between || gap > GAP_WORDS_MAX {
                return None;
            }
            at += 1;
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

fn matches(token: &Token<'_>, word: &str) -> bool {
    token.kind == Kind::Word
        && match word.strip_suffix('*') {
            Some(stem) => token.lower.starts_with(stem),
            None => token.lower == word || is_misspelled(&token.lower, word),
        }
}

/// Letters a word must have before it can be recognised in spite of a mistake.
const MISSPELLED_CHARS_MIN: usize = 7;

/// Whether a word is another one with one letter missing, added, changed or exchanged with its neighbour; never a word that
/// is known by itself.
fn is_misspelled(written: &str, word: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (written.chars().collect(), word.chars().collect());
    if a.len().min(b.len()) < MISSPELLED_CHARS_MIN || a.len().abs_diff(b.len()) > 1 || a[0] != b[0] {
        return false;
    }
    if words::is_verb(written) || words::is_stop(written) || words::gerund_base(written).is_some() {
        return false;
    }
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let same = |a: &[char], b: &[char]| a == b;
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => same(a, &b[1..]),
        std::cmp::Ordering::Greater => same(&a[1..], b),
        std::cmp::Ordering::Equal => {
            a.is_empty()
                || same(&a[1..], &b[1..])
                || (a.len() > 1 && a[0] == b[1] && a[1] == b[0] && same(&a[2..], &b[2..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistake_in_a_long_word_is_forgiven() {
        for (written, word, expected) in [
            ("securty", "security", true),
            ("arhitecture", "architecture", true),
            ("perfromance", "performance", true),
            ("documentaton", "documentation", true),
            ("concurrancy", "concurrency", true),
            ("looking", "locking", false),
            ("currency", "concurrency", false),
            ("latent", "latency", false),
            ("race", "rate", false),
        ] {
            assert_eq!(is_misspelled(written, word), expected, "{written} {word}");
        }
    }
}
