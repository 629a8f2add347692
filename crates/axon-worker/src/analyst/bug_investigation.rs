//! The playbook for defects: ranked search, names, quoted messages, stack traces and what earlier tasks found are combined
//! into a score for each function, and the likeliest ones are reported with the lines that speak for them.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Evidence, Level, Polarity, ToolCall};
use axon_tools::Workspace;
use axon_tools::code::{
    OutlineItem, OutlineResult, RankResult, Role, RuleMatch, RulesResult, SearchResult, last_name, role_of, terms,
};
use serde_json::json;

use super::brief::call;
use super::research;
use super::write::{Draft, Writer, count, listed, tool_evidence};
use super::{Brief, Conclusion, Results};

/// Quoted texts and names that are searched for.
const SEARCHES_MAX: usize = 3;
/// Files the second round looks into.
const FILES_MAX: usize = 5;
/// Functions that are reported as likely places.
const SUSPECTS_MAX: usize = 5;
/// Words of a message that are searched for.
const MESSAGE_WORDS_MAX: usize = 10;

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

/// What a task about a defect is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Place,
    ErrorPath,
    Inputs,
    Timing,
    Tests,
    Similar,
}

fn side(brief: &Brief) -> Side {
    let aspect = brief.aspect_key();
    let any = |words: &[&str]| {
        aspect
            .split('_')
            .any(|word| words.iter().any(|start| word.starts_with(start)))
    };
    if any(&["similar", "sibling", "duplic"]) {
        Side::Similar
    } else if any(&["test", "histor", "regress", "document"]) {
        Side::Tests
    } else if any(&["tim", "concurr", "race", "deadlock", "perform"]) {
        Side::Timing
    } else if any(&["input", "state", "caller", "edge", "config"]) {
        Side::Inputs
    } else if any(&["error", "propag", "panic", "exception"]) {
        Side::ErrorPath
    } else {
        Side::Place
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let code = json!(["library", "entry"]);
    let question = brief.question();
    let mut calls = vec![call(
        "chunks",
        "code.rank",
        json!({"query": question, "roles": code, "globs": CODE_ONLY, "max_results": 40}),
    )];
    if !brief.symbols.is_empty() {
        let names: Vec<&str> = brief.symbols.iter().map(String::as_str).collect();
        calls.push(call(
            "defined",
            "code.outline",
            json!({"names": names, "max_results": 60}),
        ));
    }
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        if let Some(pattern) = message_pattern(quote) {
            let params = json!({"pattern": pattern, "case_sensitive": false, "max_results": 60});
            calls.push(call(format!("message_{index}"), "code.search", params));
        }
    }
    calls.push(call(
        "files",
        "code.rank",
        json!({"query": question, "unit": "file", "roles": code, "globs": CODE_ONLY, "max_results": 25}),
    ));
    for (index, symbol) in brief.symbols.iter().take(SEARCHES_MAX).enumerate() {
        let params = json!({"pattern": last_name(symbol), "literal": true, "word": true, "case_sensitive": true, "max_results": 80});
        calls.push(call(format!("uses_{index}"), "code.search", params));
    }
    if side(brief) == Side::Tests {
        calls.insert(
            1,
            call(
                "tests",
                "code.rank",
                json!({"query": question, "roles": ["test"], "max_results": 20}),
            ),
        );
        calls.insert(
            2,
            call(
                "docs",
                "code.rank",
                json!({"query": question, "globs": research::DOCS_ONLY, "max_results": 10}),
            ),
        );
    }
    calls
}

/// Settings and documents are not where a defect is.
const CODE_ONLY: &[&str] = &[
    "!*.md", "!*.rst", "!*.txt", "!*.adoc", "!*.toml", "!*.json", "!*.yml", "!*.yaml", "!*.cfg", "!*.ini", "!*.xml",
];

/// The second round: what is risky in the likeliest files, and who names the likeliest functions.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let suspects = suspects(brief, results);
    let mut files: Vec<&str> = Vec::new();
    for suspect in &suspects {
        if !files.contains(&suspect.path.as_str()) && files.len() < FILES_MAX {
            files.push(&suspect.path);
        }
    }
    if files.is_empty() {
        return Vec::new();
    }
    let aspects: &[&str] = match side(brief) {
        Side::Timing => &["concurrency", "performance"],
        Side::ErrorPath => &["error_handling"],
        _ => &["error_handling", "correctness", "concurrency"],
    };
    let mut calls = vec![call(
        "risks",
        "code.rules",
        json!({"paths": files, "aspects": aspects, "max_results": 100}),
    )];
    if side(brief) == Side::Similar
        && let Some(first) = suspects.first()
    {
        let query = format!("{} {}", first.name, brief.topic().join(" "));
        calls.push(call(
            "similar",
            "code.rank",
            json!({"query": query, "roles": ["library", "entry"], "globs": CODE_ONLY, "max_results": 12}),
        ));
        calls.push(call(
            "risks_everywhere",
            "code.rules",
            json!({"aspects": aspects, "max_results": 200}),
        ));
    }
    for (index, suspect) in suspects
        .iter()
        .filter(|suspect| is_telling(&suspect.name))
        .take(SEARCHES_MAX)
        .enumerate()
    {
        let params = json!({"pattern": last_name(&suspect.name), "literal": true, "word": true, "case_sensitive": true, "max_results": 60});
        calls.push(call(format!("mentions_{index}"), "code.search", params));
    }
    // Messages are often put together: the words between the inserted values are looked for where the whole was not found.
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        let found = results
            .get::<SearchResult>(&format!("message_{index}"))
            .is_some_and(|search| search.matches > 0);
        if let Some(pattern) = longest_words(quote).filter(|_| !found) {
            calls.push(call(
                format!("part_{index}"),
                "code.search",
                json!({"pattern": pattern, "case_sensitive": false, "max_results": 40}),
            ));
        }
    }
    calls
}

/// A regular expression for a message whose changing parts, such as numbers and names, may differ.
fn message_pattern(quote: &str) -> Option<String> {
    let words = quote.split_whitespace().take(MESSAGE_WORDS_MAX);
    let mut pattern: Vec<String> = Vec::new();
    let mut fixed = 0;
    for word in words {
        if is_changing(word) {
            if pattern.last().is_none_or(|last| last != ".{0,80}") {
                pattern.push(".{0,80}".to_owned());
            }
        } else {
            fixed += word.len();
            pattern.push(escaped(word));
        }
    }
    while pattern.first().is_some_and(|first| first == ".{0,80}") {
        pattern.remove(0);
    }
    while pattern.last().is_some_and(|last| last == ".{0,80}") {
        pattern.pop();
    }
    (fixed >= 5).then(|| pattern.join(r"\s*"))
}

fn is_changing(word: &str) -> bool {
    word.chars().any(|c| c.is_ascii_digit()) || word.contains(['/', '\\', '`', '\'', '"', '<', '>', '{', '}', '='])
}

fn escaped(word: &str) -> String {
    word.chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' {
                c.to_string()
            } else {
                format!("\\{c}")
            }
        })
        .collect()
}

/// The longest run of plain words of a message, three at most, as a regular expression.
fn longest_words(quote: &str) -> Option<String> {
    let words: Vec<&str> = quote.split_whitespace().collect();
    let plain = |word: &&str| !is_changing(word);
    let runs = words.split(|word| !plain(word));
    let run = runs
        .flat_map(|run| run.windows(3.min(run.len().max(1))))
        .max_by_key(|run| run.iter().map(|word| word.len()).sum::<usize>())?;
    let length: usize = run.iter().map(|word| word.len()).sum();
    (run.len() > 1 && length >= 8).then(|| run.iter().map(|word| escaped(word)).collect::<Vec<_>>().join(r"\s+"))
}

/// Whether a name is long enough to be searched for by itself.
fn is_telling(name: &str) -> bool {
    let last = last_name(name);
    last.len() >= 5
        && !matches!(
            last,
            "default" | "clone" | "build" | "parse" | "write" | "insert" | "remove" | "update"
        )
}

/// A function, or a part of a file, that may be where the defect is.
#[derive(Debug, Clone)]
struct Suspect {
    path: String,
    name: String,
    line: u32,
    end_line: u32,
    score: f64,
    /// Why, strongest first.
    reasons: Vec<(f64, String)>,
    /// Lines that speak for it.
    lines: BTreeSet<u32>,
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
fn suspects(brief: &Brief, results: &Results) -> Vec<Suspect> {
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

fn is_code(path: &str) -> bool {
    axon_tools::language_of(path).kind == axon_tools::Kind::Code
}

fn is_within(risk: &RuleMatch, suspect: &Suspect) -> bool {
    risk.path == suspect.path && (suspect.line..=suspect.end_line).contains(&risk.line)
}

/// Matched terms without those that are parts of a longer one.
fn telling_words(matched: &[String]) -> Vec<String> {
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

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let suspects = suspects(brief, results);
    let risks = results.get::<RulesResult>("risks").unwrap_or_default();
    let mut writer = Writer::new(brief, workspace);
    match side(brief) {
        Side::Place => {
            write_risks_within(&mut writer, brief, &suspects, &risks, 2);
            write_suspects(&mut writer, brief, &suspects, SUSPECTS_MAX);
        }
        Side::ErrorPath => {
            write_messages(&mut writer, brief, results);
            write_risks(&mut writer, &suspects, &risks, 4);
            write_suspects(&mut writer, brief, &suspects, 2);
        }
        Side::Inputs => {
            write_callers(&mut writer, &suspects, results);
            write_risks_within(&mut writer, brief, &suspects, &risks, 2);
            write_suspects(&mut writer, brief, &suspects, 2);
        }
        Side::Timing => {
            write_risks(&mut writer, &suspects, &risks, 5);
            if writer.len() == 0 {
                write_no_timing(&mut writer, brief, &suspects, &risks);
            }
        }
        Side::Tests => write_tests(&mut writer, brief, results, &suspects),
        Side::Similar => {
            write_similar(&mut writer, &suspects, results);
            write_suspects(&mut writer, brief, &suspects, 1);
        }
    }
    if writer.len() == 0 {
        writer.note("Nothing in the scope fits the description. The exact message, the name of a function or a line of the stack trace would help most.");
    }
    writer.finish()
}

fn write_suspects(writer: &mut Writer<'_>, brief: &Brief, suspects: &[Suspect], max: usize) {
    let Some(best) = suspects.first().map(|first| first.score.max(f64::EPSILON)) else {
        return;
    };
    for (rank, suspect) in suspects
        .iter()
        .filter(|suspect| suspect.score >= best * 0.35)
        .take(max)
        .enumerate()
    {
        let share = suspect.score / best;
        let place = name_of(suspect);
        let reasons: Vec<String> = suspect
            .reasons
            .iter()
            .take(3)
            .map(|(_, reason)| reason.clone())
            .collect();
        let claim = match rank {
            0 => format!("{place} is the likeliest place: {}", reasons.join(", ")),
            _ => format!("{place} may be involved: {}", reasons.join(", ")),
        };
        let mut draft = Draft::new(claim, subject_of(suspect), "code.rank");
        let more: Vec<&str> = suspect
            .reasons
            .iter()
            .skip(3)
            .map(|(_, reason)| reason.as_str())
            .collect();
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(" Also: {}.", more.join("; "))
        };
        let compared = match rank {
            0 => format!(
                "Of {} the signs in the question point here most.",
                count(suspects.len(), "place")
            ),
            _ => format!(
                "The signs for it weigh {:.0} % of those for the likeliest place.",
                share * 100.0
            ),
        };
        let says = says_of_itself(writer.workspace(), suspect)
            .map(|says| format!(" It says of itself: “{says}”"))
            .unwrap_or_default();
        draft.rationale = format!("{compared}{more}{says}");
        draft.recommendation = Some(format!(
            "Read it with the failing input in mind, and reproduce the failure in a test that reaches {place}."
        ));
        // A message or a named line is a strong sign, words alone are not.
        let strongest = suspect.reasons.first().map_or(0.0, |(weight, _)| *weight);
        let certain = if strongest >= 1.5 {
            0.8
        } else if strongest >= 1.0 {
            0.6
        } else {
            0.45
        };
        draft.confidence = certain * share;
        draft.severity = if rank == 0 { Level::High } else { Level::Medium };
        draft.impact = draft.severity;
        draft.effort = Level::Medium;
        draft.evidence = evidence_of(writer, brief, suspect);
        writer.write(draft);
    }
}

/// The first sentence of its documentation.
fn says_of_itself(workspace: &Workspace, suspect: &Suspect) -> Option<String> {
    let text = workspace.text(&suspect.path).ok()?;
    let passage = super::passage::passage(&suspect.path, &text, suspect.line, suspect.end_line, &BTreeSet::new())?;
    (!passage.statement.starts_with('`')).then_some(passage.statement)
}

fn name_of(suspect: &Suspect) -> String {
    if suspect.name.is_empty() {
        format!("`{}` around line {}", suspect.path, suspect.line)
    } else {
        format!("`{}`", suspect.name)
    }
}

fn subject_of(suspect: &Suspect) -> String {
    if suspect.name.is_empty() {
        suspect.path.clone()
    } else {
        suspect.name.clone()
    }
}

fn all_reasons(suspect: &Suspect) -> String {
    suspect
        .reasons
        .iter()
        .map(|(_, reason)| reason.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The head of the function, and the lines in it that speak for it.
fn evidence_of(writer: &Writer<'_>, brief: &Brief, suspect: &Suspect) -> Vec<Evidence> {
    let mut lines: Vec<u32> = suspect
        .lines
        .iter()
        .copied()
        .filter(|line| (suspect.line..=suspect.end_line).contains(line))
        .collect();
    if lines.is_empty() {
        lines = words_in(writer.workspace(), brief, suspect);
    }
    let head = writer.lines(
        &suspect.path,
        suspect.line,
        (suspect.line + 3).min(suspect.end_line.max(suspect.line)),
    );
    let mut evidence: Vec<Evidence> = head.into_iter().collect();
    lines.retain(|line| *line > suspect.line + 3);
    evidence.extend(
        writer
            .places(&suspect.path, &lines, Some(suspect.end_line))
            .into_iter()
            .take(3),
    );
    evidence
}

/// The lines of a suspect that hold most words of the question.
fn words_in(workspace: &Workspace, brief: &Brief, suspect: &Suspect) -> Vec<u32> {
    let Ok(text) = workspace.text(&suspect.path) else {
        return Vec::new();
    };
    let wanted: BTreeSet<String> = axon_tools::code::query_terms(&brief.question()).into_iter().collect();
    let mut scored: Vec<(usize, u32)> = (suspect.line..=suspect.end_line)
        .filter_map(|line| {
            let held: BTreeSet<String> = terms(text.line(line)?)
                .into_iter()
                .filter(|term| wanted.contains(term))
                .collect();
            (!held.is_empty()).then_some((held.len(), line))
        })
        .collect();
    scored.sort_by_key(|(held, line)| (std::cmp::Reverse(*held), *line));
    let mut lines: Vec<u32> = scored.into_iter().take(2).map(|(_, line)| line).collect();
    lines.sort_unstable();
    lines
}

fn risk_draft(writer: &Writer<'_>, risk: &RuleMatch, suspect: Option<&Suspect>) -> Draft {
    let subject = risk.function.clone().unwrap_or_else(|| risk.path.clone());
    let mut draft = Draft::new(risk.claim.clone(), subject, "code.rules");
    let near = match suspect {
        Some(suspect) => format!("It is in one of the likeliest places: {}.", all_reasons(suspect)),
        None => "It is in one of the files the question points at.".to_owned(),
    };
    draft.rationale = format!("{} {near}", risk.why);
    draft.recommendation = Some(risk.recommendation.clone());
    draft.confidence = risk.confidence * if suspect.is_some() { 0.85 } else { 0.6 };
    draft.severity = risk.severity.max(Level::Medium);
    draft.impact = risk.impact;
    draft.effort = risk.effort;
    draft.evidence = writer.places(&risk.path, &risk.lines, risk.function_end);
    draft
}

/// Risky lines within the likeliest functions: the strongest sign there is of what goes wrong.
fn write_risks_within(writer: &mut Writer<'_>, brief: &Brief, suspects: &[Suspect], risks: &RulesResult, max: usize) {
    let best = suspects.first().map_or(0.0, |first| first.score);
    let mut written = 0;
    for suspect in suspects.iter().filter(|suspect| suspect.score >= best * 0.6).take(3) {
        for risk in risks
            .results
            .iter()
            .filter(|risk| is_within(risk, suspect) && fits_symptom(brief, risk))
        {
            if written < max {
                let draft = risk_draft(writer, risk, Some(suspect));
                written += usize::from(writer.write(draft));
            }
        }
    }
}

/// Whether what a rule warns of could show as what the query describes.
fn fits_symptom(brief: &Brief, risk: &RuleMatch) -> bool {
    let query = brief.query.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| query.contains(word));
    let panics = risk.rule.contains("unwrap")
        || risk.rule.contains("panic")
        || risk.rule.contains("slice")
        || risk.rule.contains("underflow")
        || risk.rule.contains("text_cut");
    if says(&["panic", "crash", "abort", "unwrap", "overflow"]) {
        return panics || risk.rule.contains("recursion") || risk.rule.contains("unfinished");
    }
    if says(&[
        "hang",
        "stuck",
        "deadlock",
        "slow",
        "block",
        "freeze",
        "timeout",
        "times out",
    ]) {
        return risk.aspect == "concurrency" || risk.aspect == "performance";
    }
    if says(&[
        "lost",
        "lose",
        "missing",
        "silent",
        "ignored",
        "disappear",
        "not written",
        "empty result",
    ]) {
        return !panics;
    }
    true
}

/// Risky lines of the likeliest files, those within suspects first.
fn write_risks(writer: &mut Writer<'_>, suspects: &[Suspect], risks: &RulesResult, max: usize) {
    let mut near: Vec<(&RuleMatch, Option<&Suspect>)> = risks
        .results
        .iter()
        .map(|risk| (risk, suspects.iter().find(|suspect| is_within(risk, suspect))))
        .collect();
    let value = |(risk, suspect): &(&RuleMatch, Option<&Suspect>)| {
        f64::from(risk.severity.weight()) * risk.confidence * (1.0 + suspect.map_or(0.0, |suspect| suspect.score))
    };
    near.sort_by(|a, b| {
        value(b)
            .total_cmp(&value(a))
            .then_with(|| (&a.0.path, a.0.line).cmp(&(&b.0.path, b.0.line)))
    });
    near.retain(|(risk, suspect)| {
        f64::from(risk.severity.weight()) * risk.confidence >= if suspect.is_some() { 0.6 } else { 1.5 }
    });
    for (risk, suspect) in near.into_iter().take(max) {
        let draft = risk_draft(writer, risk, suspect);
        writer.write(draft);
    }
}

/// Where the quoted messages are made.
fn write_messages(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (index, quote) in brief.quotes.iter().take(SEARCHES_MAX).enumerate() {
        let whole = results
            .get::<SearchResult>(&format!("message_{index}"))
            .filter(|search| search.matches > 0);
        let (search, certain) = match whole {
            Some(search) => (search, 0.85),
            None => match results
                .get::<SearchResult>(&format!("part_{index}"))
                .filter(|search| search.matches > 0)
            {
                Some(search) => (search, 0.5),
                None => {
                    writer.note(format!("No file of the scope holds the message “{quote}”, whole or in part: it may come from a dependency."));
                    continue;
                }
            },
        };
        let hits: Vec<_> = search
            .results
            .iter()
            .filter(|hit| is_code(&hit.path) && role_of(&hit.path) != Role::Test)
            .collect();
        let Some(first) = hits.first() else { continue };
        let place = first
            .function
            .as_ref()
            .map_or_else(|| format!("`{}`", first.path), |function| format!("`{function}`"));
        let more = if hits.len() > 1 {
            format!(", and {} more hold it", count(hits.len() - 1, "line"))
        } else {
            String::new()
        };
        let subject = first.function.clone().unwrap_or_else(|| first.path.clone());
        let mut draft = Draft::new(
            format!("{place} makes the message “{}”{more}", shortened(quote)),
            subject,
            "code.search",
        );
        draft.rationale = "The branch that makes the message is the last step of the failure: what leads there is the condition around it and the call that failed before.".to_owned();
        draft.recommendation =
            Some("Follow the condition around this line back to the value that does not fit.".to_owned());
        draft.confidence = certain / (hits.len() as f64).sqrt().max(1.0);
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        draft.evidence = hits
            .iter()
            .take(4)
            .filter_map(|hit| writer.lines(&hit.path, hit.line.saturating_sub(3).max(1), hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

fn shortened(quote: &str) -> String {
    if quote.chars().count() <= 60 {
        quote.to_owned()
    } else {
        quote.chars().take(60).collect::<String>() + "…"
    }
}

/// Who calls the likeliest functions, and with what.
fn write_callers(writer: &mut Writer<'_>, suspects: &[Suspect], results: &Results) {
    let searches = results
        .all::<SearchResult>("mentions_")
        .into_iter()
        .chain(results.all::<SearchResult>("uses_"));
    let hits: Vec<_> = searches.flat_map(|(_, search)| search.results).collect();
    for suspect in suspects.iter().filter(|suspect| is_telling(&suspect.name)).take(3) {
        let name = last_name(&suspect.name);
        let mut calls: Vec<_> = hits
            .iter()
            .filter(|hit| {
                hit.text.contains(&format!("{name}(")) && !hit.text.contains("fn ") && !hit.text.contains("def ")
            })
            .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
            .filter(|hit| !(hit.path == suspect.path && (suspect.line..=suspect.end_line).contains(&hit.line)))
            .collect();
        calls.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        calls.dedup_by(|a, b| (&a.path, a.line) == (&b.path, b.line));
        if calls.is_empty() {
            continue;
        }
        let mut callers: Vec<String> = calls.iter().filter_map(|hit| hit.function.clone()).collect();
        callers.dedup();
        let by = if callers.is_empty() {
            count(calls.len(), "line")
        } else {
            listed(&callers, 3)
        };
        let mut draft = Draft::new(
            format!("`{}` gets its input from {by}", suspect.name),
            suspect.name.clone(),
            "code.search",
        );
        draft.rationale = format!(
            "What these calls pass is what `{name}` has to cope with; {}.",
            all_reasons(suspect)
        );
        draft.recommendation = Some("Check at each call what the arguments are in the failing case, at the limits above all: empty, missing, repeated.".to_owned());
        draft.confidence = 0.6;
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        draft.evidence = calls
            .iter()
            .take(5)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

fn write_no_timing(writer: &mut Writer<'_>, brief: &Brief, suspects: &[Suspect], risks: &RulesResult) {
    if risks.functions == 0 {
        return;
    }
    let named = suspects.iter().filter(|suspect| !suspect.name.is_empty());
    let names: Vec<String> = named.take(4).map(|suspect| suspect.name.clone()).collect();
    let claim = format!(
        "Nothing in the {} of the likeliest {} waits, locks or shares state in a risky way",
        count(risks.functions, "function"),
        count(risks.files, "file")
    );
    let mut draft = Draft::new(claim, brief.aspect.clone(), "code.rules");
    draft.rationale = format!(
        "The likeliest functions are {}; rules for locks, blocking calls, unbounded queues and detached tasks found nothing there.",
        listed(&names, 4)
    );
    draft.confidence = 0.5;
    draft.polarity = Polarity::Negative;
    let quote = format!(
        "{{\"files\":{},\"functions\":{},\"rules\":{},\"matches\":{}}}",
        risks.files, risks.functions, risks.rules, risks.matches
    );
    draft.evidence = vec![tool_evidence(
        "code.rules",
        json!({"aspects": ["concurrency", "performance"]}),
        &quote,
    )];
    writer.write(draft);
}

/// Which tests and documents speak of what fails.
fn write_tests(writer: &mut Writer<'_>, brief: &Brief, results: &Results, suspects: &[Suspect]) {
    let mentions: Vec<_> = results
        .all::<SearchResult>("mentions_")
        .into_iter()
        .chain(results.all::<SearchResult>("uses_"))
        .collect();
    for suspect in suspects.iter().filter(|suspect| is_telling(&suspect.name)).take(3) {
        let name = last_name(&suspect.name);
        let hits = mentions.iter().flat_map(|(_, search)| &search.results);
        let mut tests: Vec<_> = hits
            .filter(|hit| hit.text.contains(name))
            .filter(|hit| {
                role_of(&hit.path) == Role::Test
                    || hit
                        .function
                        .as_deref()
                        .is_some_and(|function| function.contains("test"))
            })
            .collect();
        tests.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        tests.dedup_by(|a, b| (&a.path, a.line) == (&b.path, b.line));
        let mut draft = if tests.is_empty() {
            let mut draft = Draft::new(
                format!("No test mentions `{}`, one of the likeliest places", suspect.name),
                suspect.name.clone(),
                "code.search",
            );
            draft.polarity = Polarity::Negative;
            draft.recommendation = Some(format!(
                "Write the failing case as a test of `{name}` before changing it."
            ));
            draft.confidence = 0.55;
            draft.evidence = writer
                .lines(&suspect.path, suspect.line, suspect.line + 2)
                .into_iter()
                .collect();
            draft
        } else {
            let claim = format!(
                "`{}` is mentioned by tests in {}",
                suspect.name,
                count(tests.len(), "place")
            );
            let mut draft = Draft::new(claim, suspect.name.clone(), "code.search");
            draft.recommendation = Some("Add the failing case beside them.".to_owned());
            draft.confidence = 0.7;
            draft.evidence = tests
                .iter()
                .take(4)
                .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
                .collect();
            draft
        };
        draft.rationale = format!("It is a likely place because {}.", all_reasons(suspect));
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        writer.write(draft);
    }
    research::write_ranked(writer, brief, &["tests"], results, 2);
    research::write_ranked(writer, brief, &["docs"], results, 2);
}

/// Places that share a risky pattern with the likeliest one.
fn write_similar(writer: &mut Writer<'_>, suspects: &[Suspect], results: &Results) {
    let everywhere = results.get::<RulesResult>("risks_everywhere").unwrap_or_default();
    let Some(first) = suspects.first() else { return };
    let within: Vec<&RuleMatch> = everywhere
        .results
        .iter()
        .filter(|risk| is_within(risk, first))
        .collect();
    for pattern in within.iter().take(2) {
        let others: Vec<&RuleMatch> = everywhere
            .results
            .iter()
            .filter(|risk| risk.rule == pattern.rule && !is_within(risk, first))
            .collect();
        if others.is_empty() {
            continue;
        }
        let names: Vec<String> = others
            .iter()
            .map(|risk| risk.function.clone().unwrap_or_else(|| risk.path.clone()))
            .collect();
        let mut draft = Draft::new(
            format!("{}, and so do {}", pattern.claim, listed(&names, 4)),
            subject_of(first),
            "code.rules",
        );
        draft.rationale = format!("{} They share the pattern with the likeliest place.", pattern.why);
        draft.recommendation = Some(pattern.recommendation.clone());
        draft.confidence = pattern.confidence * 0.8;
        draft.severity = pattern.severity;
        draft.impact = pattern.impact;
        draft.effort = pattern.effort;
        draft.evidence = writer.places(&pattern.path, &[pattern.line], pattern.function_end);
        draft.evidence.extend(
            others
                .iter()
                .take(5)
                .flat_map(|risk| writer.places(&risk.path, &[risk.line], risk.function_end)),
        );
        writer.write(draft);
    }
    let alike = results.get::<RankResult>("similar").unwrap_or_default();
    let best = alike.results.first().map_or(1.0, |first| first.score.max(f64::EPSILON));
    for chunk in alike
        .results
        .iter()
        .filter(|chunk| !chunk.name.is_empty() && chunk.name != first.name && chunk.score >= best * 0.5)
        .take(3)
    {
        let mut draft = Draft::new(
            format!("`{}` does similar work and may share the cause", chunk.name),
            chunk.name.clone(),
            "code.rank",
        );
        draft.rationale = format!(
            "It shares {} with `{}`.",
            listed(&telling_words(&chunk.matched), 5),
            first.name
        );
        draft.confidence = 0.4 * chunk.score / best;
        draft.severity = Level::Low;
        draft.impact = Level::Low;
        draft.evidence = writer
            .lines(&chunk.path, chunk.line, (chunk.line + 4).min(chunk.end_line))
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_searched_by_its_fixed_words() {
        for (quote, pattern) in [
            ("no such file", Some(r"no\s*such\s*file")),
            (
                "cannot open `x.txt`: no such file",
                Some(r"cannot\s*open\s*.{0,80}\s*no\s*such\s*file"),
            ),
            ("error 42", Some("error")),
            ("42 /a/b", None),
            (
                "line 3 of 7 is wrong (really)",
                Some(r"line\s*.{0,80}\s*of\s*.{0,80}\s*is\s*wrong\s*\(really\)"),
            ),
        ] {
            assert_eq!(message_pattern(quote).as_deref(), pattern, "{quote}");
        }
        assert_eq!(
            longest_words("failed to bind 127.0.0.1:80 to it").as_deref(),
            Some(r"failed\s+to\s+bind")
        );
        assert_eq!(longest_words("x 1"), None);
    }
}
