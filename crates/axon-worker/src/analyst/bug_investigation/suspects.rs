//! Scores the functions that the signs of a defect point at. Pure: the same results give the same order.

use std::collections::{BTreeMap, BTreeSet};

use axon_tools::code::{OutlineItem, OutlineResult, RankResult, Role, RuleMatch, RulesResult, SearchResult, role_of};

use crate::analyst::write::listed;
use crate::analyst::{Brief, Results};

/// What each sign is worth. A message or a line of a stack trace points at code by itself; words only suggest.
const WEIGHT_CHUNK: f64 = 1.0;

const WEIGHT_FILE: f64 = 0.45;

const WEIGHT_NAMED: f64 = 1.6;

const WEIGHT_MESSAGE: f64 = 2.2;

const WEIGHT_FRAME: f64 = 3.0;

const WEIGHT_PATH: f64 = 0.5;

const WEIGHT_LEAD: f64 = 0.8;

const WEIGHT_RULE: f64 = 0.35;

const WEIGHT_USES: f64 = 0.5;

/// A function, or a part of a file, that may be where the defect is.
#[derive(Debug, Clone)]
pub struct Suspect {
    pub path: String,
    pub name: String,
    pub line: u32,
    pub end_line: u32,
    pub score: f64,
    /// Why, strongest first.
    pub reasons: Vec<(f64, String)>,
    /// Lines that speak for it.
    pub lines: BTreeSet<u32>,
}

#[derive(Default)]
struct Board {
    suspects: Vec<Suspect>,
}

impl Board {
    /// The suspect around a line, made if there is none. A long function comes in several pieces, which are one suspect.
    fn at(&mut self, path: &str, name: &str, line: u32, end_line: u32) -> &mut Suspect {
        let same = |known: &Suspect| {
            let named = !name.is_empty() && known.name == name;
            let touches = known.end_line + 1 == line || end_line + 1 == known.line;
            let around = (known.line..=known.end_line).contains(&line);
            known.path == path && (around || (named && (touches || line == end_line)))
        };
        let index = match self.suspects.iter().position(same) {
            Some(index) => index,
            None => {
                self.suspects.push(Suspect {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    line,
                    end_line,
                    score: 0.0,
                    reasons: Vec::new(),
                    lines: BTreeSet::new(),
                });
                self.suspects.len() - 1
            }
        };
        let suspect = &mut self.suspects[index];
        if suspect.name == name && line < end_line {
            suspect.line = suspect.line.min(line);
            suspect.end_line = suspect.end_line.max(end_line);
        }
        suspect
    }
}

impl Suspect {
    fn add(&mut self, weight: f64, reason: String, line: Option<u32>) {
        self.lines.extend(line);
        if !self.reasons.iter().any(|(_, known)| *known == reason) {
            self.score += weight;
            self.reasons.push((weight, reason));
        }
    }

    /// Adds what its words are worth: of several pieces of one function the best.
    fn add_words(&mut self, weight: f64, reason: String) {
        let is_words = |reason: &str| reason.starts_with("it speaks of") || reason == WORDS_FIT;
        match self.reasons.iter_mut().find(|(_, known)| is_words(known)) {
            Some((known, _)) if *known >= weight => {}
            Some(entry) => {
                self.score += weight - entry.0;
                *entry = (weight, reason);
            }
            None => self.add(weight, reason, None),
        }
    }
}

/// Why a place is suspected when no single word of it stands out.
const WORDS_FIT: &str = "its words fit";

/// The functions that the signs of the first round, and of the second if it is there, point at; likeliest first.
pub fn suspects(brief: &Brief, results: &Results) -> Vec<Suspect> {
    let mut board = Board::default();
    if let Some(chunks) = results.get::<RankResult>("chunks") {
        let best = chunks
            .results
            .first()
            .map_or(1.0, |first| first.score.max(f64::EPSILON));
        for chunk in &chunks.results {
            // A single line is a name or a constant: it ranks high for being short.
            let weight = if chunk.line == chunk.end_line {
                WEIGHT_CHUNK * 0.4
            } else {
                WEIGHT_CHUNK
            };
            let suspect = board.at(&chunk.path, &chunk.name, chunk.line, chunk.end_line);
            let telling = telling_words(&chunk.matched);
            let reason = if telling.is_empty() {
                WORDS_FIT.to_owned()
            } else {
                format!("it speaks of {}", listed(&telling, 4))
            };
            suspect.add_words(weight * chunk.score / best, reason);
            if chunk.snippet_line > chunk.line {
                suspect.lines.insert(chunk.snippet_line);
            }
        }
    }
    if let Some(defined) = results.get::<OutlineResult>("defined") {
        let items: Vec<&OutlineItem> = defined.results.iter().filter(|item| !item.test).collect();
        // A name that many things have points at none of them in particular.
        let share = 1.0 / (items.len().max(1) as f64).sqrt();
        for item in items {
            let suspect = board.at(&item.path, &item.name, item.line, item.end_line);
            suspect.add(
                WEIGHT_NAMED * share.max(0.3),
                format!("the question names `{}`", item.name),
                Some(item.line),
            );
        }
    }
    for (id, search) in results
        .all::<SearchResult>("message_")
        .into_iter()
        .chain(results.all::<SearchResult>("part_"))
    {
        let whole = if id.starts_with("message_") { 1.0 } else { 0.6 };
        let hits: Vec<_> = search
            .results
            .iter()
            .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry) && is_code(&hit.path))
            .collect();
        let share = 1.0 / (hits.len().max(1) as f64).sqrt();
        for hit in hits {
            let name = hit.function.clone().unwrap_or_default();
            let suspect = board.at(&hit.path, &name, hit.line, hit.line);
            suspect.add(
                WEIGHT_MESSAGE * whole * share,
                format!("the message is made at line {}", hit.line),
                Some(hit.line),
            );
        }
    }
    for (_, search) in results.all::<SearchResult>("uses_") {
        for hit in search
            .results
            .iter()
            .filter(|hit| hit.function.is_some() && matches!(role_of(&hit.path), Role::Library | Role::Entry))
        {
            let name = hit.function.clone().unwrap_or_default();
            let known = board
                .suspects
                .iter()
                .any(|known| known.path == hit.path && known.name == name);
            // Users of what is named count only where something else speaks for them.
            if known {
                let suspect = board.at(&hit.path, &name, hit.line, hit.line);
                if !suspect
                    .reasons
                    .iter()
                    .any(|(_, reason)| reason.starts_with("it uses") || reason.starts_with("the question names"))
                {
                    suspect.add(
                        WEIGHT_USES,
                        "it uses what the question names".to_owned(),
                        Some(hit.line),
                    );
                }
            }
        }
    }
    for frame in &brief.frames {
        board.at(&frame.path, "", frame.line, frame.line).add(
            WEIGHT_FRAME,
            format!("the question names line {}", frame.line),
            Some(frame.line),
        );
    }
    for lead in &brief.leads {
        board.at(&lead.path, &lead.subject, lead.line, lead.line).add(
            WEIGHT_LEAD,
            "an earlier task points here".to_owned(),
            None,
        );
    }
    let ranked = results.get::<RankResult>("files").unwrap_or_default();
    let best = ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON));
    let by_file: BTreeMap<&str, f64> = ranked
        .results
        .iter()
        .map(|file| (file.path.as_str(), file.score / best))
        .collect();
    for suspect in &mut board.suspects {
        suspect.score += WEIGHT_FILE * by_file.get(suspect.path.as_str()).copied().unwrap_or_default();
        if brief
            .paths
            .iter()
            .any(|path| suspect.path == *path || suspect.path.starts_with(&format!("{path}/")))
        {
            suspect.add(WEIGHT_PATH, "the question names its file".to_owned(), None);
        }
    }
    if let Some(risks) = results.get::<RulesResult>("risks") {
        for risk in &risks.results {
            for suspect in board.suspects.iter_mut().filter(|suspect| is_within(risk, suspect)) {
                if !suspect.reasons.iter().any(|(_, reason)| reason.contains("risky")) {
                    suspect.add(
                        WEIGHT_RULE * risk.confidence,
                        "there is something risky in it".to_owned(),
                        Some(risk.line),
                    );
                }
            }
        }
    }
    let mut suspects = board.suspects;
    for suspect in &mut suspects {
        suspect
            .reasons
            .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    }
    suspects.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    suspects
}

pub fn is_code(path: &str) -> bool {
    axon_tools::language_of(path).kind == axon_tools::Kind::Code
}

pub fn is_within(risk: &RuleMatch, suspect: &Suspect) -> bool {
    risk.path == suspect.path && (suspect.line..=suspect.end_line).contains(&risk.line)
}

/// Matched terms without those that are parts of a longer one.
pub fn telling_words(matched: &[String]) -> Vec<String> {
    let mut words: Vec<String> = matched
        .iter()
        .filter(|word| {
            !matched
                .iter()
                .any(|other| other != *word && other.contains(word.as_str()))
        })
        .cloned()
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}
