//! Writes down what passages say: of the question, of its names, of the things it compares.

use std::collections::BTreeSet;

use axon_tools::code::{OutlineResult, Ranked, Role, SearchResult, last_name, query_terms, role_of};
use axon_tools::{Kind, language_of};

use super::named::{absent_terms, figures, nowhere};
use super::places::{Place, places};
use super::{question, quote_params};
use crate::analyst::passage::passage;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Confidence below which a passage is left out as soon as there are others.
const CONFIDENCE_MIN: f64 = 0.42;

/// The terms of the question, without those of names that occur nowhere.
fn wanted(brief: &Brief, results: &Results) -> BTreeSet<String> {
    let absent = absent_terms(brief, results);
    query_terms(&format!("{} {}", question(brief), brief.symbols.join(" ")))
        .into_iter()
        .filter(|term| !absent.contains(term))
        .collect()
}

/// Whether nothing is left of the question without the names that occur nowhere.
pub fn is_about_absent_names_alone(brief: &Brief, results: &Results) -> bool {
    let absent = absent_terms(brief, results);
    let topic = query_terms(&brief.topic().join(" "));
    topic.into_iter().all(|term| absent.contains(&term))
}

/// What the best places of some rankings say, one finding each.
pub fn write_ranked(writer: &mut Writer<'_>, brief: &Brief, ids: &[&str], results: &Results, max: usize) {
    let places = places(ids, results);
    let wanted = wanted(brief, results);
    let best = places.first().map_or(1.0, |first| first.weight.max(f64::EPSILON));
    let mut written = 0;
    let is_about_it = |place: &&Place| {
        let held = query_terms(&place.ranked.matched.join(" "));
        wanted.is_empty() || held.iter().any(|term| wanted.contains(term))
    };
    for place in places
        .iter()
        .filter(|place| place.weight >= best * 0.3)
        .filter(is_about_it)
    {
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
pub fn draft(
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

pub fn subject(ranked: &Ranked) -> String {
    if ranked.name.is_empty() {
        ranked.path.clone()
    } else {
        ranked.name.rsplit(" › ").next().unwrap_or(&ranked.name).to_owned()
    }
}

/// Where what the question names is defined, and what is said of it there.
pub fn write_defined(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let Some(defined) = results.get::<OutlineResult>("defined") else {
        return;
    };
    let wanted = wanted(brief, results);
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
pub fn write_subject(writer: &mut Writer<'_>, brief: &Brief, results: &Results, index: usize, subject: &str) {
    let id = format!("subject_{index}");
    let places = places(&[&id], results);
    let names: BTreeSet<String> = query_terms(subject).into_iter().collect();
    let mut all = wanted(brief, results);
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

pub fn write_quotes(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    for (id, search) in results.all::<SearchResult>("quote_") {
        let index: usize = id.trim_start_matches("quote_").parse().unwrap_or_default();
        let Some(quote) = brief.quotes.get(index) else { continue };
        let Some(first) = search.results.first() else {
            let mut draft = nowhere(&format!("“{quote}”"), quote, search.files);
            draft.evidence = vec![tool_evidence(
                "code.search",
                quote_params(quote),
                &figures(search.files),
            )];
            writer.write(draft);
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
pub fn write_constants(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
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
pub fn write_uses(writer: &mut Writer<'_>, results: &Results) {
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
