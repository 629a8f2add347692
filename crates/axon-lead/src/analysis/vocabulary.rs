//! The words by which people name the qualities of software: those of the templates of reviews, and the usual names of
//! what no template covers. It matches words; it never judges whether a request means them.

use std::sync::LazyLock;

use super::text::{Kind, Token};
use super::words;
use crate::strategy::{ANY_ASPECT, Library};

/// The strategy whose templates name the qualities of software.
const REVIEWS: &str = "code_review";
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
pub(super) struct Vocabulary {
    phrases: Vec<Phrase>,
}

struct Phrase {
    aspect: String,
    words: Vec<String>,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let mut phrases = Vec::new();
    let mut add = |aspect: &str, text: &str| {
        phrases.push(Phrase {
            aspect: aspect.to_owned(),
            words: text.to_lowercase().split_whitespace().map(str::to_owned).collect(),
        });
    };
    let library = Library::builtin().ok();
    let reviews = library.as_ref().and_then(|library| library.get(REVIEWS));
    // The first template covers everything: its words name no aspect.
    for template in reviews
        .iter()
        .flat_map(|definition| definition.templates.iter().skip(1))
    {
        if template.aspect == ANY_ASPECT {
            continue;
        }
        add(&template.aspect, &template.aspect);
        template.synonyms.iter().for_each(|word| add(&template.aspect, word));
    }
    for (aspect, others) in OTHERS.lines().filter_map(|line| line.split_once(": ")) {
        add(aspect, aspect);
        others.split(", ").for_each(|word| add(aspect, word));
    }
    Vocabulary { phrases }
});

/// The words for qualities of software.
pub(super) fn reviews() -> &'static Vocabulary {
    &VOCABULARY
}

impl Vocabulary {
    /// The aspects that these words name, in order; of phrases that begin at the same word the longest counts.
    pub(super) fn aspects_in(&self, tokens: &[Token<'_>]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let here = self
                .phrases
                .iter()
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
            None => token.lower == word,
        }
}
