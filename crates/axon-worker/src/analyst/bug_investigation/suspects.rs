//! Scores the functions that the signs of a defect point at. Pure: the same results give the same order.

use std::collections::BTreeSet;

use axon_tools::code::{
    Hit, LocateResult, OutlineItem, OutlineResult, RankResult, Ranked, Role, RuleMatch, RulesResult, SearchResult,
    role_of,
};

use crate::analyst::brief::{Frame, Lead};
use crate::analyst::write::listed;
use crate::analyst::{Brief, Results};

/// What each sign is worth. A message or a line of a stack trace points at code by itself; words only suggest.
const WEIGHT_CHUNK: f64 = 1.0;

/// What the likeliest file is worth to what is in it; others as their part of its score, squared: near the top each part of
/// it counts.
const WEIGHT_FILE: f64 = 1.6;

/// What the best piece of all files is worth, beside the words that are counted already.
const WEIGHT_PIECE: f64 = 0.6;

const WEIGHT_NAMED: f64 = 1.6;

const WEIGHT_MESSAGE: f64 = 2.2;

const WEIGHT_FRAME: f64 = 3.0;

const WEIGHT_PATH: f64 = 0.5;

const WEIGHT_LEAD: f64 = 0.8;

const WEIGHT_RULE: f64 = 0.35;

const WEIGHT_USES: f64 = 0.5;

/// What a single line is worth beside a piece: it is a name or a constant, and ranks high for being short.
const SINGLE_LINE_SHARE: f64 = 0.4;

/// Searches for messages, by the beginning of their ids, and what a hit of each is worth: a part of a message says less.
const MESSAGES: &[(&str, f64)] = &[("message_", 1.0), ("part_", 0.6)];

/// How reasons begin that are looked for again.
const NAMED: &str = "the question names";
const SPEAKS: &str = "it speaks of";
const USES: &str = "it uses";

/// Why a file is suspected whose commits speak of the same.
const LIKE_COMMITS: &str = "earlier commits about the same changed its file";

/// How like the commits must be for that, of the most any file has.
const SIMILAR_MIN: f64 = 0.5;

/// Why a place is suspected when no single word of it stands out.
const WORDS_FIT: &str = "its words fit";

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

    /// Pieces of code whose words fit the question.
    fn add_chunks(&mut self, chunks: &RankResult) {
        let best = best_score(chunks);
        for chunk in &chunks.results {
            let suspect = self.at(&chunk.path, &chunk.name, chunk.line, chunk.end_line);
            suspect.add_words(words_weight(chunk) * chunk.score / best, words_reason(&chunk.matched));
            if chunk.snippet_line > chunk.line {
                suspect.lines.insert(chunk.snippet_line);
            }
        }
    }

    /// What the question names.
    fn add_named(&mut self, defined: &OutlineResult) {
        let items: Vec<&OutlineItem> = defined.results.iter().filter(|item| !item.test).collect();
        // A name that many things have points at none of them in particular.
        let weight = WEIGHT_NAMED * share_of(items.len()).max(0.3);
        for item in items {
            let reason = format!("{NAMED} `{}`", item.name);
            self.at(&item.path, &item.name, item.line, item.end_line)
                .add(weight, reason, Some(item.line));
        }
    }

    /// Where a message, or a part of it, is made.
    fn add_message(&mut self, search: &SearchResult, whole: f64) {
        let hits: Vec<&Hit> = search
            .results
            .iter()
            .filter(|hit| is_shipped(&hit.path) && is_code(&hit.path))
            .collect();
        let weight = WEIGHT_MESSAGE * whole * share_of(hits.len());
        for hit in hits {
            let name = hit.function.as_deref().unwrap_or_default();
            let reason = format!("the message is made at line {}", hit.line);
            self.at(&hit.path, name, hit.line, hit.line)
                .add(weight, reason, Some(hit.line));
        }
    }

    /// Users of what is named: they count only where something else speaks for them.
    fn add_users(&mut self, search: &SearchResult) {
        for hit in search.results.iter().filter(|hit| is_shipped(&hit.path)) {
            let Some(name) = hit.function.as_deref().filter(|name| self.knows(&hit.path, name)) else {
                continue;
            };
            let suspect = self.at(&hit.path, name, hit.line, hit.line);
            if !suspect.is_suspected(|reason| reason.starts_with(USES) || reason.starts_with(NAMED)) {
                suspect.add(WEIGHT_USES, format!("{USES} what the question names"), Some(hit.line));
            }
        }
    }

    /// Lines the question names, such as those of a stack trace.
    fn add_frames(&mut self, frames: &[Frame]) {
        for frame in frames {
            let reason = format!("{NAMED} line {}", frame.line);
            self.at(&frame.path, "", frame.line, frame.line)
                .add(WEIGHT_FRAME, reason, Some(frame.line));
        }
    }

    /// Places that earlier tasks found.
    fn add_leads(&mut self, leads: &[Lead]) {
        for lead in leads {
            let reason = "an earlier task points here".to_owned();
            self.at(&lead.path, &lead.subject, lead.line, lead.line)
                .add(WEIGHT_LEAD, reason, None);
        }
    }

    /// The likeliest files, by all that speaks for them, and the likeliest pieces in them.
    fn add_located(&mut self, located: &LocateResult) {
        let Some(best) = located.results.first().map(|file| file.score.max(f64::EPSILON)) else {
            return;
        };
        let pieces = || located.results.iter().flat_map(|file| &file.pieces);
        let best_piece = pieces().map(|piece| piece.score).fold(f64::EPSILON, f64::max);
        for file in &located.results {
            for piece in &file.pieces {
                let suspect = self.at(&file.path, &piece.name, piece.line, piece.end_line);
                suspect.add_words(WEIGHT_PIECE * piece.score / best_piece, words_reason(&piece.matched));
            }
        }
        for file in &located.results {
            for suspect in self.suspects.iter_mut().filter(|suspect| suspect.path == file.path) {
                suspect.score += WEIGHT_FILE * (file.score / best).powi(2);
                if file.signals.similar >= SIMILAR_MIN {
                    suspect
                        .reasons
                        .push((WEIGHT_FILE * file.signals.similar / 4.0, LIKE_COMMITS.to_owned()));
                }
            }
        }
    }

    /// Files and directories the question names.
    fn add_paths(&mut self, paths: &[String]) {
        for suspect in &mut self.suspects {
            if paths.iter().any(|path| lies_in(&suspect.path, path)) {
                suspect.add(WEIGHT_PATH, format!("{NAMED} its file"), None);
            }
        }
    }

    /// What the rules take for risky; it speaks once against each suspect.
    fn add_risks(&mut self, risks: &RulesResult) {
        for risk in &risks.results {
            for suspect in self.suspects.iter_mut().filter(|suspect| is_within(risk, suspect)) {
                if !suspect.is_suspected(|reason| reason.contains("risky")) {
                    let reason = "there is something risky in it".to_owned();
                    suspect.add(WEIGHT_RULE * risk.confidence, reason, Some(risk.line));
                }
            }
        }
    }

    fn knows(&self, path: &str, name: &str) -> bool {
        self.suspects
            .iter()
            .any(|known| known.path == path && known.name == name)
    }

    /// The suspects, likeliest first, with their strongest reasons first.
    fn ranked(mut self) -> Vec<Suspect> {
        for suspect in &mut self.suspects {
            suspect
                .reasons
                .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        }
        self.suspects.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
        });
        self.suspects
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

    fn is_suspected(&self, because: impl Fn(&str) -> bool) -> bool {
        self.reasons.iter().any(|(_, reason)| because(reason))
    }

    /// Adds what its words are worth: of several pieces of one function the best.
    fn add_words(&mut self, weight: f64, reason: String) {
        let is_words = |reason: &str| reason.starts_with(SPEAKS) || reason == WORDS_FIT;
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

/// The functions that the signs of the first round, and of the second if it is there, point at; likeliest first.
pub fn suspects(brief: &Brief, results: &Results) -> Vec<Suspect> {
    let mut board = Board::default();
    board.add_chunks(&results.get("chunks").unwrap_or_default());
    board.add_named(&results.get("defined").unwrap_or_default());
    for (prefix, whole) in MESSAGES {
        for (_, search) in results.all(prefix) {
            board.add_message(&search, *whole);
        }
    }
    for (_, search) in results.all("uses_") {
        board.add_users(&search);
    }
    board.add_frames(&brief.frames);
    board.add_leads(&brief.leads);
    board.add_located(&results.get("located").unwrap_or_default());
    board.add_paths(&brief.paths);
    board.add_risks(&results.get("risks").unwrap_or_default());
    board.ranked()
}

fn best_score(ranked: &RankResult) -> f64 {
    ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON))
}

fn words_weight(chunk: &Ranked) -> f64 {
    if chunk.line == chunk.end_line {
        WEIGHT_CHUNK * SINGLE_LINE_SHARE
    } else {
        WEIGHT_CHUNK
    }
}

fn words_reason(matched: &[String]) -> String {
    let telling = telling_words(matched);
    if telling.is_empty() {
        WORDS_FIT.to_owned()
    } else {
        format!("{SPEAKS} {}", listed(&telling, 4))
    }
}

/// What one of several hits is worth: the more there are, the less each says.
fn share_of(hits: usize) -> f64 {
    1.0 / (hits.max(1) as f64).sqrt()
}

/// Whether a file is part of what is shipped, rather than a test or an example.
fn is_shipped(path: &str) -> bool {
    matches!(role_of(path), Role::Library | Role::Entry)
}

fn lies_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &str, lines: (u32, u32), score: f64, matched: &[&str]) -> Ranked {
        Ranked {
            path: "src/lease.rs".to_owned(),
            line: lines.0,
            end_line: lines.1,
            name: name.to_owned(),
            score,
            matched: matched.iter().map(|&word| word.to_owned()).collect(),
            snippet: String::new(),
            snippet_line: lines.0,
            role: Role::Library,
        }
    }

    fn hits(places: &[(&str, u32, Option<&str>)]) -> SearchResult {
        let hit = |&(path, line, function): &(&str, u32, Option<&str>)| Hit {
            path: path.to_owned(),
            line,
            text: String::new(),
            function: function.map(str::to_owned),
            before: Vec::new(),
            after: Vec::new(),
        };
        SearchResult {
            results: places.iter().map(hit).collect(),
            ..SearchResult::default()
        }
    }

    /// A board with two functions of which the words of the first fit best.
    fn board() -> Board {
        let mut board = Board::default();
        board.add_chunks(&RankResult {
            results: vec![
                chunk("renew", (10, 20), 8.0, &["lease", "leases"]),
                chunk("expire", (30, 30), 4.0, &[]),
            ],
            ..RankResult::default()
        });
        board
    }

    fn check(signs: impl FnOnce(&mut Board), expected: &[(&str, f64, &str)]) {
        let mut board = board();
        signs(&mut board);
        let ranked = board.ranked();
        let found: Vec<(&str, f64, &str)> = ranked
            .iter()
            .map(|suspect| {
                let score = (suspect.score * 1_000.0).round() / 1_000.0;
                (suspect.name.as_str(), score, suspect.reasons[0].1.as_str())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_sign_adds_what_it_is_worth() {
        let renew = ("renew", 1.0, "it speaks of `leases`");
        let expire = ("expire", 0.2, WORDS_FIT);
        check(|_| {}, &[renew, expire]);
        check(
            |board| board.add_message(&hits(&[("src/lease.rs", 30, Some("expire"))]), 1.0),
            &[("expire", 2.4, "the message is made at line 30"), renew],
        );
        check(
            |board| board.add_message(&hits(&[("tests/lease.rs", 30, None), ("notes.md", 3, None)]), 1.0),
            &[renew, expire],
        );
        check(
            |board| {
                board.add_frames(&[Frame {
                    path: "src/lease.rs".to_owned(),
                    line: 12,
                }]);
            },
            &[("renew", 4.0, "the question names line 12"), expire],
        );
        check(
            |board| {
                board.add_leads(&[Lead {
                    path: "src/lease.rs".to_owned(),
                    line: 30,
                    subject: "expire".to_owned(),
                }]);
            },
            &[renew, ("expire", 1.0, "an earlier task points here")],
        );
        check(
            |board| board.add_paths(&["src".to_owned()]),
            &[
                ("renew", 1.5, "it speaks of `leases`"),
                ("expire", 0.7, "the question names its file"),
            ],
        );
        check(|board| board.add_paths(&["src/lease".to_owned()]), &[renew, expire]);
    }

    #[test]
    fn users_count_once_and_only_where_something_else_speaks_for_them() {
        let expire = ("expire", 0.2, WORDS_FIT);
        check(
            |board| {
                board.add_users(&hits(&[
                    ("src/lease.rs", 12, Some("renew")),
                    ("src/lease.rs", 14, Some("renew")),
                    ("src/other.rs", 3, Some("other")),
                    ("src/lease.rs", 30, None),
                ]));
            },
            &[("renew", 1.5, "it speaks of `leases`"), expire],
        );
    }

    #[test]
    fn many_hits_share_what_one_is_worth() {
        let one = hits(&[("src/a.rs", 1, Some("a"))]);
        let four = hits(&[
            ("src/a.rs", 1, Some("a")),
            ("src/b.rs", 1, Some("b")),
            ("src/c.rs", 1, Some("c")),
            ("src/d.rs", 1, Some("d")),
        ]);
        for (search, whole, expected) in [(&one, 1.0, 2.2), (&four, 1.0, 1.1), (&one, 0.5, 1.1)] {
            let mut board = Board::default();
            board.add_message(search, whole);
            assert_eq!(board.ranked()[0].score, expected, "{} hits", search.results.len());
        }
    }
}
