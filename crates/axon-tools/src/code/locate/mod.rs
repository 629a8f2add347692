//! `code.locate`: the files, and the functions in them, where a described defect most likely is. Combines the words of files,
//! of their pieces, names and paths with stack traces, quoted messages, and what earlier commits say.

mod past;
mod scan;
mod score;
mod symptom;

use std::collections::HashMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, LIST_BYTES_MAX};
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

pub use scan::is_candidate;
use scan::{Counts, Scanned};
use score::Scored;
pub use score::Signals;
use symptom::Symptom;

/// Files returned where a call names no number.
const RESULTS_DEFAULT: usize = 20;
/// Most files returned.
const RESULTS_MAX: usize = 500;
/// Pieces returned of one file.
const PIECES_MAX: usize = 3;

/// Parameters of `code.locate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocateParams {
    /// The symptom: a report, an error message, a stack trace. Its first line counts most.
    pub symptom: String,
    /// Files or directories within the scope; the whole scope if empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Most files to return, 1 to 500; 20 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub max_results: Option<usize>,
}

/// A file that may hold the defect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Located {
    /// The file.
    pub path: String,
    /// How much speaks for it; comparable within one call only.
    pub score: f64,
    /// What speaks for it.
    pub signals: Signals,
    /// Words of the description that it or its path holds.
    pub matched: Vec<String>,
    /// Its likeliest pieces, best first; at most three.
    pub pieces: Vec<LocatedPiece>,
}

/// A function or another piece of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LocatedPiece {
    /// The function or type it is; empty where it has no name.
    pub name: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// How well its words fit.
    pub score: f64,
    /// Words of the description that it holds.
    pub matched: Vec<String>,
}

/// What `code.locate` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocateResult {
    /// Files compared: code that is neither test nor foreign.
    pub files: usize,
    /// Whether commits were there to be asked.
    pub history: bool,
    /// The files, likeliest first.
    pub results: Vec<Located>,
}

fn run(files: &Files, params: &LocateParams) -> Result<LocateResult, ToolError> {
    let symptom = Symptom::read(&params.symptom);
    if symptom.terms.is_empty() && symptom.frames.is_empty() {
        return Err(ToolError::invalid_params(
            "the symptom holds no word to look for: describe what goes wrong, or paste the message",
        ));
    }
    let scanned = scan::scan(files, &symptom)?;
    let history = files.workspace().history();
    let past = history
        .as_ref()
        .map_or_else(HashMap::new, |history| past::past(history, &symptom));
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let ranked = score::rank(&scanned, &symptom, &past);
    let located = ranked
        .iter()
        .take(limit)
        .map(|scored| located(&scanned[scored.file], scored, &symptom))
        .collect();
    let (results, _) = fit(located, LIST_BYTES_MAX);
    Ok(LocateResult {
        files: scanned.len(),
        history: history.is_some(),
        results,
    })
}

fn located(file: &Scanned, scored: &Scored, symptom: &Symptom) -> Located {
    let pieces = scored.pieces.iter().filter(|(_, score)| *score > 0.0).take(PIECES_MAX);
    let held = |counts: &[&Counts]| -> Vec<String> {
        let terms = symptom.terms.iter().enumerate();
        let held = terms.filter(|(index, _)| counts.iter().any(|counts| counts.exact.contains_key(index)));
        let mut words: Vec<String> = held.map(|(_, term)| term.word.clone()).collect();
        words.sort();
        words.dedup();
        words
    };
    Located {
        path: file.path.clone(),
        score: rounded(scored.score),
        signals: scored.signals,
        matched: held(&[&file.body, &file.place]),
        pieces: pieces
            .map(|(at, score)| {
                let piece = &file.pieces[*at];
                LocatedPiece {
                    name: piece.name.clone(),
                    line: piece.line,
                    end_line: piece.end_line,
                    score: rounded(*score),
                    matched: held(&[&piece.counts]),
                }
            })
            .collect(),
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

struct Locate;

#[async_trait]
impl Tool for Locate {
    fn name(&self) -> &str {
        "code.locate"
    }

    fn description(&self) -> &str {
        "Names the files and functions where a described defect most likely is: give it the report, message or stack trace. It \
         weighs words, names, paths, stack traces, quoted messages and what earlier commits with like words changed."
    }

    fn schema(&self) -> Value {
        schema_of::<LocateParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: LocateParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Locate)
}

#[cfg(test)]
mod tests;
