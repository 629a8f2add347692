//! Reads the files once and counts what a symptom looks for: in each file, and in each of its pieces.

use std::collections::HashMap;

use super::symptom::Symptom;
use crate::code::chunk::chunks;
use crate::code::files::Files;
use crate::code::source::{Role, role_of};
use crate::code::terms::for_each_term;
use crate::{Kind, ToolError, language_of};

/// Larger files are left out: they are data or generated.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Terms the halves of a pair may be apart in a text.
const PAIR_DISTANCE: u32 = 3;

/// How often the terms of a symptom occur in a text, by their position in it, and how long the text is.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Occurrences by term; only those that occur.
    pub exact: HashMap<usize, u32>,
    /// How often the terms of a pair stand near each other, by its position; only those that do.
    pub pairs: HashMap<usize, u32>,
    /// All terms.
    pub length: u32,
}

/// A piece of a file.
#[derive(Debug, Clone)]
pub struct Piece {
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// The function or type it is; empty where it has no name.
    pub name: String,
    /// Whether it is test code.
    pub test: bool,
    /// What it holds.
    pub counts: Counts,
}

/// What was counted of one file.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Its path.
    pub path: String,
    /// Its text.
    pub body: Counts,
    /// The names of its pieces.
    pub names: Counts,
    /// The parts of its path.
    pub place: Counts,
    /// Its pieces, in order.
    pub pieces: Vec<Piece>,
    /// Names of the symptom that it defines, by their position.
    pub defines: Vec<usize>,
    /// Quoted texts of the symptom that it holds: the quote's position, and the line.
    pub quotes: Vec<(usize, u32)>,
}

/// Finds the terms of a symptom in texts.
pub struct Counter {
    exact: HashMap<String, usize>,
    pairs: HashMap<(usize, usize), usize>,
}

impl Counter {
    /// For the terms of a symptom.
    pub fn new(symptom: &Symptom) -> Self {
        let exact = symptom.terms.iter().enumerate();
        let pairs = symptom.pairs.iter().enumerate();
        Self {
            exact: exact.map(|(index, term)| (term.text.clone(), index)).collect(),
            pairs: pairs.map(|(index, pair)| (*pair, index)).collect(),
        }
    }

    /// Adds what a text holds.
    pub fn count(&self, text: &str, counts: &mut Counts) {
        let mut near: Vec<(usize, u32)> = Vec::new();
        for_each_term(text, |term| {
            counts.length += 1;
            let Some(index) = self.exact.get(&term) else { return };
            *counts.exact.entry(*index).or_default() += 1;
            let here = counts.length;
            near.retain(|(_, at)| here - at <= PAIR_DISTANCE);
            for (other, _) in &near {
                if let Some(pair) = self.pairs.get(&(*other.min(index), *other.max(index))) {
                    *counts.pairs.entry(*pair).or_default() += 1;
                }
            }
            near.push((*index, here));
        });
    }
}

impl Counts {
    /// Adds what another text holds.
    pub fn add(&mut self, other: &Self) {
        self.length += other.length;
        for (index, count) in &other.exact {
            *self.exact.entry(*index).or_default() += count;
        }
        for (index, count) in &other.pairs {
            *self.pairs.entry(*index).or_default() += count;
        }
    }
}

/// Whether a defect can be in the file: code that is not a test and not foreign.
pub fn is_candidate(path: &str) -> bool {
    language_of(path).kind == Kind::Code && matches!(role_of(path), Role::Library | Role::Entry)
}

/// Scans the candidates among the files a call asks for, in the order of their paths.
pub fn scan(files: &Files, symptom: &Symptom) -> Result<Vec<Scanned>, ToolError> {
    let counter = Counter::new(symptom);
    let mut out = Vec::new();
    for file in files.selected() {
        files.check_cancelled()?;
        if file.bytes == 0 || file.bytes > FILE_BYTES_MAX || !is_candidate(&file.path) {
            continue;
        }
        // A file that cannot be read any more is not found; the others still are.
        let Ok(text) = files.text(&file.path) else { continue };
        let source = files.source(&file.path);
        let mut scanned = Scanned {
            path: file.path.clone(),
            body: Counts::default(),
            names: Counts::default(),
            place: Counts::default(),
            pieces: Vec::new(),
            defines: Vec::new(),
            quotes: Vec::new(),
        };
        counter.count(&file.path, &mut scanned.place);
        for chunk in chunks(&file.path, text.as_str(), source.as_deref()) {
            let mut counts = Counts::default();
            counter.count(text.lines(chunk.line, chunk.end_line).unwrap_or_default(), &mut counts);
            scanned.body.add(&counts);
            if !chunk.test {
                counter.count(&chunk.name, &mut scanned.names);
            }
            scanned.pieces.push(Piece {
                line: chunk.line,
                end_line: chunk.end_line,
                name: chunk.name,
                test: chunk.test,
                counts,
            });
        }
        if let Some(source) = &source {
            let defined = |name: &String| source.items.iter().any(|item| !item.test && item.name == *name);
            scanned.defines = (0..symptom.names.len())
                .filter(|index| defined(&symptom.names[*index]))
                .collect();
        }
        scanned.quotes = quotes(text.as_str(), symptom);
        out.push(scanned);
    }
    Ok(out)
}

/// The first line of each quoted text.
fn quotes(text: &str, symptom: &Symptom) -> Vec<(usize, u32)> {
    if symptom.quotes.is_empty() {
        return Vec::new();
    }
    let lower = text.to_lowercase();
    let at = |quote: &String| lower.find(quote.as_str());
    let found = symptom
        .quotes
        .iter()
        .enumerate()
        .filter_map(|(index, quote)| Some((index, at(quote)?)));
    found
        .map(|(index, at)| {
            let lines = lower[..at].bytes().filter(|byte| *byte == b'\n').count();
            (index, u32::try_from(lines + 1).unwrap_or(u32::MAX))
        })
        .collect()
}
