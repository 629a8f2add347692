//! Analyses a query: how much work it is, how its parts depend on each other, what it names and what is unclear about
//! it, each with reasons for people. It scores the structure of the request; it never asks a model, and reads no file.

mod aspects;
mod heads;
mod links;
mod names;
mod output;
mod paths;
mod references;
mod rows;
mod score;
mod shape;
mod text;
mod vocabulary;
mod warnings;
mod words;

pub(crate) mod parts;

use axon_protocol::{Analysis, Query};

use crate::view::WorkspaceView;

pub(crate) use aspects::aspects_of;
pub(crate) use output::written;
pub(crate) use text::Text;
pub use vocabulary::Vocabulary;
pub(crate) use words::{is_filling, is_surveying};

/// What the structure of a request shows; the facts that scores and warnings are made from.
struct Facts<'a> {
    text: &'a Text<'a>,
    parts: Vec<parts::Part>,
    aspects: Vec<String>,
    keywords: Vec<String>,
    symbols: Vec<String>,
    quotes: Vec<String>,
    paths: Vec<String>,
    comparison: names::Comparison,
    view: Option<&'a WorkspaceView>,
}

impl Facts<'_> {
    /// Whether the request names what to look at.
    fn names_something(&self) -> bool {
        !self.paths.is_empty() || !self.symbols.is_empty() || !self.quotes.is_empty()
    }
}

/// Analyses a query, knowing the files of its workspace where there is one, and the words by which the strategies in force
/// name what they look at.
pub fn analyze(query: &Query, view: Option<&WorkspaceView>, vocabulary: &Vocabulary) -> Analysis {
    let text = Text::new(&query.query);
    let parts = parts::parts(&text);
    let named = paths::named(&text, view);
    let facts = Facts {
        aspects: aspects::aspects(&text, &parts, vocabulary),
        keywords: names::keywords(&text, &parts),
        symbols: names::symbols(&text),
        quotes: names::quotes(&text),
        paths: named.paths,
        comparison: names::comparison(&text),
        text: &text,
        parts,
        view,
    };
    let complexity = score::complexity(&facts);
    let shape = shape::shape(&facts, complexity.value);
    let mut warnings = warnings::warnings(&facts);
    warnings.extend(named.warnings);
    Analysis {
        complexity: complexity.value,
        ruled: None,
        complexity_reasons: complexity.reasons,
        shape: shape.value,
        shape_reasons: shape.reasons,
        aspects: facts.aspects,
        keywords: facts.keywords,
        paths: facts.paths,
        symbols: facts.symbols,
        quotes: facts.quotes,
        subjects: facts.comparison.subjects,
        warnings,
    }
}

#[cfg(test)]
mod evaluation;
#[cfg(test)]
mod tests;
