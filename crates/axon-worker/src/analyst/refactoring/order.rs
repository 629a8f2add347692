//! The order of the steps of a change: each leaves everything working, what is unprotected is tested first, and what most
//! others use is changed last.

use axon_protocol::Level;
use axon_tools::Workspace;
use axon_tools::code::{DuplicatesResult, OutlineResult, SearchResult};

use super::mentions::{Name, Place, definitions, mentions};
use super::{FUNCTIONS_MAX, burden, is_about_names, worth_changing};
use crate::analyst::write::{Draft, Writer, count};
use crate::analyst::{Brief, Results};

/// A step with the place it begins at.
struct Step {
    what: String,
    path: String,
    line: u32,
}

pub fn write_order(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    let steps = if is_about_names(brief) {
        of_names(brief, results, writer.workspace())
    } else {
        of_functions(brief, results)
    };
    if steps.len() < 2 {
        return;
    }
    let numbered: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("{}. {}", index + 1, step.what))
        .collect();
    let mut draft = Draft::new(
        format!("Order of steps: {}", numbered.join("; ")),
        "order of steps",
        "code.metrics",
    );
    draft.rationale = "Each step leaves everything working and can be reviewed by itself: what no test protects is pinned down before it moves, and what most others use comes last.".to_owned();
    draft.recommendation = Some("Make each step a commit of its own, and run the tests after each.".to_owned());
    draft.confidence = 0.65;
    draft.impact = Level::High;
    draft.effort = if steps.len() > 4 { Level::High } else { Level::Medium };
    draft.value = Some((steps.len() as f64, "steps"));
    draft.evidence = steps
        .iter()
        .filter_map(|step| writer.lines(&step.path, step.line, step.line + 1))
        .collect();
    let origin = draft.evidence.first().map(axon_protocol::Evidence::location);
    draft.origin = origin.map(|place| format!("order of steps from {place}"));
    writer.write(draft);
}

/// Tests for what none names, repetitions into one place, then the functions: those first that fewest others call.
fn of_functions(brief: &Brief, results: &Results) -> Vec<Step> {
    let mut functions = worth_changing(brief, results);
    functions.truncate(FUNCTIONS_MAX);
    let mut steps = Vec::new();
    let bare: Vec<_> = functions
        .iter()
        .filter(|function| function.test_mentions == 0)
        .collect();
    if let Some(first) = bare.first() {
        let names: Vec<String> = bare.iter().map(|function| format!("`{}`", function.name)).collect();
        steps.push(Step {
            what: format!("record what {} return today in tests", names.join(", ")),
            path: first.path.clone(),
            line: first.line,
        });
    }
    let duplicates = results.get::<DuplicatesResult>("duplicates").unwrap_or_default();
    if let Some(piece) = duplicates.results.first()
        && let Some(place) = piece.places.first()
    {
        let name = place.function.as_deref().unwrap_or(&place.path);
        steps.push(Step {
            what: format!(
                "write the {} once that `{name}` shares with {}",
                count(piece.lines, "line"),
                count(piece.count - 1, "other place")
            ),
            path: place.path.clone(),
            line: place.line,
        });
    }
    functions.sort_by(|a, b| (a.callers, a.path.as_str(), a.line).cmp(&(b.callers, b.path.as_str(), b.line)));
    for function in functions
        .iter()
        .filter(|function| burden(function) >= 1.0 || functions.len() == 1)
    {
        let callers = match function.callers {
            0 => "no known caller".to_owned(),
            callers => format!("its signature stays for {}", count(callers, "caller")),
        };
        steps.push(Step {
            what: format!("split `{}` ({callers})", function.name),
            path: function.path.clone(),
            line: function.line,
        });
    }
    steps
}

/// Definition, uses in code, tests, and what no compiler checks.
fn of_names(brief: &Brief, results: &Results, workspace: &Workspace) -> Vec<Step> {
    let defined = results.get::<OutlineResult>("defined").unwrap_or_default();
    let Some(symbol) = brief.symbols.first() else {
        return Vec::new();
    };
    let meant = definitions(symbol, &defined);
    let Some(item) = meant.first() else {
        return Vec::new();
    };
    let uses = results.get::<SearchResult>("uses_0").unwrap_or_default();
    let uses = mentions(&Name::of(symbol, &meant), &meant, &uses, workspace);
    let mut steps = vec![Step {
        what: format!("change `{symbol}` where it is defined, and keep the old name as an alias"),
        path: item.path.clone(),
        line: item.line,
    }];
    let elsewhere = |of: Place| {
        let hits = uses
            .iter()
            .filter(move |(hit, place)| *place == of && hit.path != item.path);
        hits.map(|(hit, _)| hit).collect::<Vec<_>>()
    };
    for place in [Place::Code, Place::Tests] {
        let hits = elsewhere(place);
        if let Some(first) = hits.first() {
            steps.push(Step {
                what: format!("follow it through {} of {}", count(hits.len(), "line"), place.shown()),
                path: first.path.clone(),
                line: first.line,
            });
        }
    }
    if let Some((hit, _)) = uses.iter().find(|(_, place)| !place.is_code()) {
        steps.push(Step {
            what: "go through comments, documents and settings by hand".to_owned(),
            path: hit.path.clone(),
            line: hit.line,
        });
    }
    if steps.len() > 1 {
        steps.push(Step {
            what: "remove the alias".to_owned(),
            path: item.path.clone(),
            line: item.line,
        });
    }
    steps
}
