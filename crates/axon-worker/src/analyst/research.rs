//! The playbook for questions about what is there: it finds the passages that answer, and says what they say, word for
//! word where it can. It claims nothing that no passage shows.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, ToolCall};
use axon_tools::code::{
    ListResult, OutlineResult, RankResult, Ranked, Role, SearchResult, last_name, query_terms, role_of,
};
use axon_tools::{Kind, Workspace, language_of};
use serde_json::json;

use super::brief::call;
use super::passage::{head, passage};
use super::write::{Draft, Writer, count, listed, tool_evidence};
use super::{Brief, Conclusion, Results};

/// Globs of texts for people.
pub const DOCS_ONLY: &[&str] = &["*.md", "*.markdown", "*.rst", "*.txt", "*.adoc", "README*"];
/// Things compared that are looked up.
const SUBJECTS_MAX: usize = 4;
/// Passages of one file, as long as others have some.
const PER_FILE_MAX: usize = 2;
/// Passages reported.
const PASSAGES_MAX: usize = 6;
/// Confidence below which a passage is left out as soon as there are others.
const CONFIDENCE_MIN: f64 = 0.42;
/// Files a description of the structure names.
const PARTS_MAX: usize = 5;

/// What a task of research is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Passages,
    Structure,
    Behaviour,
    Limits,
    Usage,
    Code,
}

fn side(brief: &Brief) -> Side {
    let aspect = brief.aspect_key();
    let any = |words: &[&str]| {
        aspect
            .split('_')
            .any(|word| words.iter().any(|start| word.starts_with(start)))
    };
    if any(&["structur", "overview", "architect", "module", "layout", "depend"]) {
        Side::Structure
    } else if any(&["behavi", "flow", "mechanism", "lifecycle"]) {
        Side::Behaviour
    } else if any(&["limit", "decision", "config", "setting", "rationale", "default"]) {
        Side::Limits
    } else if any(&["usage", "example", "test", "caller"]) {
        Side::Usage
    } else if aspect == "relevant_code" {
        Side::Code
    } else {
        Side::Passages
    }
}

/// What to rank by: the words of the question that carry its meaning, and those of an aspect of the asker's own.
fn question(brief: &Brief) -> String {
    let mut words = brief.topic();
    let own = !matches!(
        brief.aspect_key().as_str(),
        "" | "answer" | "passages" | "relevant_code" | "result"
    ) && side(brief) == Side::Passages;
    if own {
        words.push(brief.aspect.clone());
    }
    if side(brief) == Side::Limits {
        words.push("default limit maximum timeout because".to_owned());
    }
    if words.is_empty() {
        brief.question()
    } else {
        words.join(" ")
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let question = question(brief);
    let names: Vec<&str> = brief.symbols.iter().map(String::as_str).collect();
    let docs = call(
        "docs",
        "code.rank",
        json!({"query": question, "globs": DOCS_ONLY, "paths": brief.paths, "max_results": 15}),
    );
    let code = call(
        "code",
        "code.rank",
        json!({"query": question, "paths": brief.paths, "roles": ["library", "entry"], "max_results": 25}),
    );
    let files = call(
        "files",
        "code.rank",
        json!({"query": question, "unit": "file", "paths": brief.paths, "max_results": 30}),
    );
    let defined = call("defined", "code.outline", json!({"names": names, "max_results": 40}));
    let mut calls = Vec::new();
    match side(brief) {
        Side::Passages => calls.extend([docs, code, files]),
        Side::Code => calls.extend([code, files]),
        Side::Behaviour => calls.extend([code, docs, files]),
        Side::Limits => {
            calls.extend([docs, code]);
            let params = json!({"pattern": r"\b(const|static)\s+\w*(MAX|MIN|LIMIT|DEFAULT|TIMEOUT|SIZE|INTERVAL|RETRIES|CAPACITY)\w*|^[A-Z_]*(MAX|LIMIT|DEFAULT|TIMEOUT)[A-Z_]*\s*=", "paths": brief.paths, "case_sensitive": true, "max_results": 300});
            calls.push(call("constants", "code.search", params));
        }
        Side::Usage => {
            calls.push(call(
                "uses",
                "code.rank",
                json!({"query": question, "roles": ["test", "example"], "max_results": 20}),
            ));
            calls.extend([docs, code]);
        }
        Side::Structure => {
            calls.push(call(
                "list",
                "code.list",
                json!({"paths": brief.paths, "max_results": 1_500}),
            ));
            calls.push(call("files", "code.rank", json!({"query": question, "unit": "file", "paths": brief.paths, "roles": ["library", "entry"], "max_results": 20})));
            calls.push(docs);
        }
    }
    if !names.is_empty() {
        calls.insert(1.min(calls.len()), defined);
    }
    for (index, subject) in subjects(brief).iter().enumerate() {
        calls.push(call(
            format!("subject_{index}"),
            "code.rank",
            json!({"query": subject, "max_results": 10}),
        ));
    }
    for (index, quote) in brief.quotes.iter().take(2).enumerate() {
        calls.push(call(
            format!("quote_{index}"),
            "code.search",
            json!({"pattern": quote, "literal": true, "case_sensitive": false, "max_results": 20}),
        ));
    }
    calls
}

/// The things compared, unless the task is about one of them alone.
fn subjects(brief: &Brief) -> Vec<String> {
    if side(brief) != Side::Passages {
        return Vec::new();
    }
    let own = brief
        .subjects
        .iter()
        .find(|subject| subject.eq_ignore_ascii_case(&brief.aspect));
    match own {
        Some(own) => vec![own.clone()],
        None => brief.subjects.iter().take(SUBJECTS_MAX).cloned().collect(),
    }
}

/// The second round: what the best files hold, and who uses what is named.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    if side(brief) == Side::Structure {
        let files = parts(brief, results);
        if !files.is_empty() {
            calls.push(call(
                "parts",
                "code.outline",
                json!({"paths": files, "public": true, "max_results": 300}),
            ));
        }
        return calls;
    }
    let named = results.get::<OutlineResult>("defined").unwrap_or_default();
    let best = results.get::<RankResult>("code").unwrap_or_default();
    let mut names: Vec<String> = named.results.iter().map(|item| item.name.clone()).collect();
    if matches!(side(brief), Side::Behaviour | Side::Usage) {
        names.extend(best.results.iter().take(3).map(|chunk| chunk.name.clone()));
    }
    let mut seen = BTreeSet::new();
    for name in names.iter().map(|name| last_name(name)).filter(|name| name.len() >= 4) {
        if seen.len() < 3 && seen.insert(name.to_owned()) {
            let params =
                json!({"pattern": name, "literal": true, "word": true, "case_sensitive": true, "max_results": 60});
            calls.push(call(format!("uses_of_{}", seen.len()), "code.search", params));
        }
    }
    calls
}

/// A ranked place with its weight over all rankings.
struct Place {
    ranked: Ranked,
    weight: f64,
}

/// The places of several rankings, best first: texts for people before code, code before tests, and not all of one file.
fn places(ids: &[&str], results: &Results) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let files = results.get::<RankResult>("files").unwrap_or_default();
    let best_file = files.results.first().map_or(1.0, |first| first.score.max(f64::EPSILON));
    let by_file: BTreeMap<&str, f64> = files
        .results
        .iter()
        .map(|file| (file.path.as_str(), file.score / best_file))
        .collect();
    for id in ids {
        let Some(ranking) = results.get::<RankResult>(id) else {
            continue;
        };
        let best = ranking
            .results
            .first()
            .map_or(1.0, |first| first.score.max(f64::EPSILON));
        let terms = ranking.terms.len().max(1) as f64;
        for ranked in ranking.results {
            let covered = ranked.matched.len() as f64 / terms;
            let file = by_file.get(ranked.path.as_str()).copied().unwrap_or_default();
            let weight = (ranked.score / best + 0.35 * file) * (0.4 + 0.6 * covered) * kind_weight(&ranked);
            let overlaps = |known: &Place| {
                known.ranked.path == ranked.path
                    && known.ranked.line <= ranked.end_line
                    && ranked.line <= known.ranked.end_line
            };
            match places.iter_mut().find(|known| overlaps(known)) {
                Some(known) => known.weight = known.weight.max(weight),
                None => places.push(Place { ranked, weight }),
            }
        }
    }
    places.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then_with(|| (&a.ranked.path, a.ranked.line).cmp(&(&b.ranked.path, b.ranked.line)))
    });
    let mut per_file: BTreeMap<String, usize> = BTreeMap::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for place in places {
        let used = per_file.entry(place.ranked.path.clone()).or_default();
        *used += 1;
        if *used <= PER_FILE_MAX {
            first.push(place)
        } else {
            rest.push(place)
        }
    }
    first.extend(rest);
    first
}

fn kind_weight(ranked: &Ranked) -> f64 {
    let by_kind = match language_of(&ranked.path).kind {
        Kind::Docs => 1.0,
        // The head of a file says what the file is for; other code without a name is imports and the like.
        Kind::Code if ranked.line == 1 && !ranked.name.is_empty() => 1.0,
        Kind::Code if ranked.name.is_empty() => 0.5,
        // One line says little, and ranks high for being short.
        Kind::Code if ranked.line == ranked.end_line => 0.55,
        Kind::Code => 0.85,
        Kind::Config => 0.6,
        Kind::Data => 0.3,
    };
    match ranked.role {
        Role::Library | Role::Entry => by_kind,
        Role::Example => by_kind * 0.8,
        Role::Test => by_kind * 0.6,
        Role::Foreign => 0.0,
    }
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let mut writer = Writer::new(brief, workspace);
    write(&mut writer, brief, results);
    if writer.len() == 0 {
        writer.note("No passage of the scope speaks of what is asked. Other words, or the name of a file or function, would help.");
    }
    writer.finish()
}

/// Writes the findings of the task's side.
pub fn write(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    match side(brief) {
        Side::Structure => {
            write_structure(writer, brief, results);
            write_ranked(writer, brief, &["docs"], results, 2);
        }
        Side::Limits => {
            write_constants(writer, brief, results);
            write_ranked(writer, brief, &["docs", "code"], results, 5);
        }
        Side::Usage => {
            write_uses(writer, results);
            write_ranked(writer, brief, &["uses"], results, 4);
            if writer.len() < 2 {
                write_ranked(writer, brief, &["docs"], results, 2);
            }
        }
        Side::Behaviour => {
            write_defined(writer, brief, results);
            write_ranked(writer, brief, &["code", "docs"], results, PASSAGES_MAX);
        }
        Side::Code => {
            write_defined(writer, brief, results);
            write_ranked(writer, brief, &["code"], results, PASSAGES_MAX);
        }
        Side::Passages => {
            write_quotes(writer, brief, results);
            write_defined(writer, brief, results);
            for (index, subject) in subjects(brief).iter().enumerate() {
                write_subject(writer, brief, results, index, subject);
            }
            write_ranked(writer, brief, &["docs", "code"], results, PASSAGES_MAX);
        }
    }
}

/// The terms of the question.
fn wanted(brief: &Brief) -> BTreeSet<String> {
    query_terms(&format!("{} {}", question(brief), brief.symbols.join(" ")))
        .into_iter()
        .collect()
}

/// What the best places of some rankings say, one finding each.
pub fn write_ranked(writer: &mut Writer<'_>, brief: &Brief, ids: &[&str], results: &Results, max: usize) {
    let places = places(ids, results);
    let wanted = wanted(brief);
    let best = places.first().map_or(1.0, |first| first.weight.max(f64::EPSILON));
    let mut written = 0;
    for place in places.iter().filter(|place| place.weight >= best * 0.3) {
        if written >= max {
            break;
        }
        let Some(draft) = draft(writer, &place.ranked, &wanted, place.weight / best, None) else {
            continue;
        };
        // A weak passage is better than none, and worse than nothing beside good ones.
        if written < 2 || draft.confidence >= CONFIDENCE_MIN {
            written += usize::from(writer.write(draft));
        }
    }
}

/// A finding that says what a place says.
fn draft(
    writer: &Writer<'_>,
    ranked: &Ranked,
    wanted: &BTreeSet<String>,
    share: f64,
    about: Option<&str>,
) -> Option<Draft> {
    let text = writer.workspace().text(&ranked.path).ok()?;
    let passage = passage(&ranked.path, &text, ranked.line, ranked.end_line, wanted)?;
    let is_code = language_of(&ranked.path).kind == Kind::Code;
    if passage.held == 0 && !is_code {
        return None;
    }
    let title = match (is_code, ranked.name.rsplit(" › ").next().unwrap_or_default()) {
        (_, "") => format!("`{}`", ranked.path),
        (true, _) if ranked.line == 1 => format!("`{}`", ranked.path),
        (true, name) => format!("`{name}`"),
        (false, heading) => format!("`{}` (“{heading}”)", ranked.path),
    };
    let mut draft = Draft::new(
        format!("{title}: {}", passage.statement),
        about.map_or_else(|| subject(ranked), str::to_owned),
        "code.rank",
    );
    draft.evidence = writer
        .lines(&ranked.path, passage.line, passage.end_line)
        .into_iter()
        .collect();
    if is_code && passage.end_line < ranked.snippet_line {
        draft.evidence.extend(writer.lines(
            &ranked.path,
            ranked.snippet_line,
            (ranked.snippet_line + 4).min(ranked.end_line),
        ));
    }
    // What the statement itself holds counts as much as what stands around it.
    let covered = (ranked.matched.len() as f64 / wanted.len().max(1) as f64).min(1.0);
    let stated = (passage.held as f64 / wanted.len().clamp(1, 4) as f64).min(1.0);
    draft.confidence = 0.15 + 0.35 * covered + 0.35 * stated + 0.1 * share;
    let words: Vec<String> = ranked.matched.iter().take(6).cloned().collect();
    let within = if ranked.name.is_empty() {
        String::new()
    } else {
        format!(" in “{}”", ranked.name)
    };
    draft.rationale = format!(
        "It speaks of {}{within}, lines {} to {}.",
        listed(&words, 6),
        ranked.line,
        ranked.end_line
    );
    Some(draft)
}

fn subject(ranked: &Ranked) -> String {
    if ranked.name.is_empty() {
        ranked.path.clone()
    } else {
        ranked.name.rsplit(" › ").next().unwrap_or(&ranked.name).to_owned()
    }
}

/// Where what the question names is defined, and what is said of it there.
fn write_defined(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let Some(defined) = results.get::<OutlineResult>("defined") else {
        return;
    };
    let wanted = wanted(brief);
    for item in defined
        .results
        .iter()
        .filter(|item| !item.test && item.kind != axon_tools::code::ItemKind::Impl)
        .take(4)
    {
        let Ok(text) = writer.workspace().text(&item.path) else {
            continue;
        };
        let first = with_documentation(&text, item.line);
        let Some(passage) = passage(&item.path, &text, first, item.end_line, &wanted) else {
            continue;
        };
        let uses = results.all::<SearchResult>("uses_of_");
        let name = last_name(&item.name);
        let hits: Vec<_> = uses
            .iter()
            .flat_map(|(_, search)| &search.results)
            .filter(|hit| hit.text.contains(name))
            .collect();
        let files: BTreeSet<&str> = hits.iter().map(|hit| hit.path.as_str()).collect();
        let mut draft = Draft::new(
            format!("`{}` is defined in {}: {}", item.name, item.path, passage.statement),
            item.name.clone(),
            "code.outline",
        );
        draft.rationale = if hits.len() > 1 {
            format!(
                "The question names it; it is mentioned in {} of {}.",
                count(hits.len(), "line"),
                count(files.len(), "file")
            )
        } else {
            "The question names it.".to_owned()
        };
        draft.confidence = 0.85;
        draft.evidence = writer
            .lines(&item.path, passage.line, passage.end_line.max(item.line))
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

fn with_documentation(text: &axon_tools::FileText, line: u32) -> u32 {
    let is_above = |line: u32| {
        text.line(line).is_some_and(|above| {
            ["//", "#", "@", "*", "/*"]
                .iter()
                .any(|mark| above.trim_start().starts_with(mark))
        })
    };
    let mut first = line;
    while first > 1 && is_above(first - 1) {
        first -= 1;
    }
    first
}

/// What is said of one of the things compared.
fn write_subject(writer: &mut Writer<'_>, brief: &Brief, results: &Results, index: usize, subject: &str) {
    let id = format!("subject_{index}");
    let places = places(&[&id], results);
    let names: BTreeSet<String> = query_terms(subject).into_iter().collect();
    let mut all = wanted(brief);
    all.extend(names.iter().cloned());
    let best = places.first().map_or(1.0, |first| first.weight.max(f64::EPSILON));
    let speaks_of_it = |place: &&Place| {
        let held = query_terms(&place.ranked.matched.join(" "));
        names.iter().all(|name| held.contains(name))
    };
    let mut written = 0;
    for place in places
        .iter()
        .filter(speaks_of_it)
        .chain(places.iter().filter(|place| !speaks_of_it(place)).take(1))
    {
        if written >= 2 || (written > 0 && !speaks_of_it(&place)) {
            break;
        }
        if let Some(draft) = draft(writer, &place.ranked, &all, place.weight / best, Some(subject)) {
            written += usize::from(writer.write(draft));
        }
    }
    if written == 0 {
        writer.note(format!("No passage of the scope speaks of “{subject}”."));
    }
}

fn write_quotes(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (id, search) in results.all::<SearchResult>("quote_") {
        let index: usize = id.trim_start_matches("quote_").parse().unwrap_or_default();
        let (Some(quote), Some(first)) = (brief.quotes.get(index), search.results.first()) else {
            continue;
        };
        let more = if search.matches > 1 {
            format!(", and {} more do", count(search.matches - 1, "line"))
        } else {
            String::new()
        };
        let place = first.function.clone().unwrap_or_else(|| first.path.clone());
        let mut draft = Draft::new(format!("`{place}` holds “{quote}”{more}"), place, "code.search");
        draft.rationale = "The question quotes it.".to_owned();
        draft.confidence = 0.85;
        draft.evidence = search
            .results
            .iter()
            .take(4)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

/// Constants whose names fit the question.
fn write_constants(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let Some(constants) = results.get::<SearchResult>("constants") else {
        return;
    };
    let topic: BTreeSet<String> = query_terms(&format!("{} {}", brief.topic().join(" "), brief.symbols.join(" ")))
        .into_iter()
        .collect();
    let mut scored: Vec<(usize, _)> = constants
        .results
        .iter()
        .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
        .map(|hit| {
            let words = axon_tools::code::terms(&format!("{} {}", hit.text, hit.path));
            (
                words
                    .into_iter()
                    .filter(|word| topic.contains(word))
                    .collect::<BTreeSet<_>>()
                    .len(),
                hit,
            )
        })
        .filter(|(held, _)| *held > 0 || topic.is_empty())
        .collect();
    scored.sort_by(|a, b| {
        b.0.cmp(&a.0)
            .then_with(|| (&a.1.path, a.1.line).cmp(&(&b.1.path, b.1.line)))
    });
    for (held, hit) in scored.into_iter().take(3) {
        let line = hit.text.trim().trim_end_matches([';', '{']).trim().to_owned();
        let Ok(text) = writer.workspace().text(&hit.path) else {
            continue;
        };
        let first = with_documentation(&text, hit.line)
            .max(hit.line.saturating_sub(6))
            .max(1);
        let says = passage(&hit.path, &text, first, hit.line, &topic).filter(|says| !says.statement.starts_with('`'));
        let says = says.map(|says| format!(": {}", says.statement)).unwrap_or_default();
        let mut draft = Draft::new(
            format!("`{}` sets `{line}`{says}", hit.path),
            line.clone(),
            "code.search",
        );
        draft.rationale = "It is a limit or default whose name fits the question.".to_owned();
        draft.confidence = 0.45 + 0.15 * (held.min(2) as f64);
        draft.evidence = writer.lines(&hit.path, first, hit.line).into_iter().collect();
        writer.write(draft);
    }
}

/// Who uses what the question names.
fn write_uses(writer: &mut Writer<'_>, results: &Results) {
    for (_, search) in results.all::<SearchResult>("uses_of_") {
        let uses: Vec<_> = search
            .results
            .iter()
            .filter(|hit| {
                hit.function.is_some()
                    && !["fn ", "def ", "use ", "import ", "struct ", "//"]
                        .iter()
                        .any(|start| hit.text.trim_start().trim_start_matches("pub ").starts_with(start))
            })
            .collect();
        let Some(first) = uses.first() else { continue };
        let mut users: Vec<String> = uses.iter().filter_map(|hit| hit.function.clone()).collect();
        users.sort();
        users.dedup();
        let name = shared_name(&uses.iter().map(|hit| hit.text.as_str()).collect::<Vec<_>>())
            .unwrap_or_else(|| first.text.trim().to_owned());
        let mut draft = Draft::new(
            format!("`{name}` is used by {}", listed(&users, 4)),
            name.clone(),
            "code.search",
        );
        draft.rationale = format!("{} use it.", count(uses.len(), "line"));
        draft.confidence = 0.75;
        draft.evidence = uses
            .iter()
            .take(4)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        writer.write(draft);
    }
}

/// The longest identifier that all lines share.
fn shared_name(lines: &[&str]) -> Option<String> {
    let words = |line: &str| -> BTreeSet<String> {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| word.len() >= 4)
            .map(str::to_owned)
            .collect()
    };
    let mut shared = words(lines.first()?);
    for line in lines {
        let here = words(line);
        shared.retain(|word| here.contains(word));
    }
    shared.into_iter().max_by_key(|word| word.len())
}

/// The files a description of the structure names: those the question is about, or those that stand for a part.
fn parts(brief: &Brief, results: &Results) -> Vec<String> {
    let list = results.get::<ListResult>("list").unwrap_or_default();
    let heads = [
        "lib.rs",
        "mod.rs",
        "main.rs",
        "__init__.py",
        "index.ts",
        "index.js",
        "main.go",
        "main.py",
    ];
    let is_head = |path: &str| heads.contains(&path.rsplit('/').next().unwrap_or(path));
    let code =
        |path: &str| language_of(path).kind == Kind::Code && matches!(role_of(path), Role::Library | Role::Entry);
    let mut files: Vec<String> = Vec::new();
    if !brief.topic().is_empty() {
        let ranked = results.get::<RankResult>("files").unwrap_or_default();
        files.extend(
            ranked
                .results
                .iter()
                .filter(|file| code(&file.path))
                .take(PARTS_MAX)
                .map(|file| file.path.clone()),
        );
    }
    if files.len() < 2 {
        // The heads of the largest directories.
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for file in list.results.iter().filter(|file| code(&file.path)) {
            *sizes.entry(directory(&file.path)).or_default() += u64::from(file.lines);
        }
        let mut heads: Vec<_> = list
            .results
            .iter()
            .filter(|file| code(&file.path) && is_head(&file.path))
            .collect();
        heads.sort_by_key(|file| {
            (
                std::cmp::Reverse(sizes.get(&directory(&file.path)).copied().unwrap_or_default()),
                file.path.clone(),
            )
        });
        files.extend(heads.into_iter().take(PARTS_MAX).map(|file| file.path.clone()));
    }
    files.dedup();
    files.truncate(PARTS_MAX);
    files
}

fn directory(path: &str) -> String {
    path.rsplit_once('/')
        .map_or(String::new(), |(directory, _)| directory.to_owned())
}

fn write_structure(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    if let Some(list) = results.get::<ListResult>("list").filter(|list| list.files > 0) {
        let mut languages: Vec<(&String, &u64)> = list.languages.iter().filter(|(_, lines)| **lines > 0).collect();
        languages.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let shown: Vec<String> = languages
            .iter()
            .take(4)
            .map(|(language, lines)| format!("{language} {lines}"))
            .collect();
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        for file in list
            .results
            .iter()
            .filter(|file| language_of(&file.path).kind == Kind::Code)
        {
            *groups.entry(group(&file.path)).or_default() += u64::from(file.lines);
        }
        let mut groups: Vec<(String, u64)> = groups.into_iter().collect();
        groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let parts: Vec<String> = groups
            .iter()
            .map(|(group, lines)| format!("{group} ({lines})"))
            .collect();
        let claim = format!(
            "The scope has {} with {} lines: {}",
            count(list.files, "file"),
            list.lines,
            shown.join(", ")
        );
        let mut draft = Draft::new(claim, "structure", "code.list");
        draft.rationale = format!(
            "Lines of code by part: {}.",
            parts.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
        );
        draft.confidence = 0.95;
        draft.value = Some((list.lines as f64, "lines"));
        let quote = format!(
            "{{\"files\":{},\"lines\":{},\"languages\":{}}}",
            list.files,
            list.lines,
            json!(list.languages)
        );
        draft.evidence = vec![tool_evidence("code.list", json!({"paths": brief.paths}), &quote)];
        draft.origin = Some("code.list".to_owned());
        writer.write(draft);
    }
    let outline = results.get::<OutlineResult>("parts").unwrap_or_default();
    for path in parts(brief, results) {
        let Ok(text) = writer.workspace().text(&path) else {
            continue;
        };
        let mut names: Vec<String> = outline
            .results
            .iter()
            .filter(|item| {
                item.path == path
                    && !item.test
                    && !matches!(
                        item.kind,
                        axon_tools::code::ItemKind::Impl
                            | axon_tools::code::ItemKind::Method
                            | axon_tools::code::ItemKind::Module
                    )
            })
            .map(|item| item.name.clone())
            .collect();
        names.dedup();
        let about = head(&text);
        let holds = if names.is_empty() {
            String::new()
        } else {
            format!("it defines {}", listed(&names, 6))
        };
        let claim = match (&about, holds.is_empty()) {
            (Some(about), _) => format!("`{path}`: {}", about.statement),
            (None, false) => format!("`{path}`: {holds}"),
            (None, true) => continue,
        };
        let mut draft = Draft::new(claim, path.clone(), "code.outline");
        let mut holds = holds;
        if holds.is_empty() {
            holds = "It is one of the files that the question, or the size of its part, points at.".to_owned();
        } else {
            holds.replace_range(..1, "I");
            holds.push('.');
        }
        draft.rationale = holds;
        draft.confidence = if about.is_some() { 0.8 } else { 0.6 };
        draft.evidence = match about {
            Some(about) => writer.lines(&path, about.line, about.end_line).into_iter().collect(),
            None => outline
                .results
                .iter()
                .filter(|item| item.path == path)
                .take(3)
                .filter_map(|item| writer.lines(&path, item.line, item.line))
                .collect(),
        };
        draft.severity = Level::Info;
        writer.write(draft);
    }
}

/// The part of the workspace a file belongs to: `crates/axon-bus`, `src`, or the root.
fn group(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [] | [_] => ".".to_owned(),
        [top, second, _, ..] if matches!(*top, "crates" | "packages" | "libs" | "apps" | "services" | "src") => {
            format!("{top}/{second}")
        }
        [top, ..] => (*top).to_owned(),
    }
}
