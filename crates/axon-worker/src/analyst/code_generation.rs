//! The playbook for new code, without a model: it writes none and says so, and delivers what its writer needs instead:
//! related code, places to wire it in, conventions in figures, and tests to mirror.

mod conventions;
mod existing;

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Level, ToolCall};
use axon_tools::Workspace;
use axon_tools::code::{OutlineResult, RankResult, Ranked, Role, SearchResult, last_name, role_of};
use serde_json::json;

use super::brief::call;
use super::research::write_defined;
use super::testing::write_conventions as write_tests;
use super::write::{Draft, Writer, count, listed};
use super::{Brief, Conclusion, FINDINGS_MAX, Results, code_review, testing};
use conventions::write_conventions;
use existing::{added, write_existing};

/// Related places one task names.
const RELATED_MAX: usize = 5;
/// Neighbours whose uses show where such a thing is wired in.
const NEIGHBOURS_MAX: usize = 3;

/// What a task is to gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Everything,
    Related,
    Integration,
    Conventions,
    Tests,
    Risks,
}

fn side(brief: &Brief) -> Side {
    let any = |starts: &[&str]| brief.aspect_has(starts);
    match () {
        () if any(&["related", "similar", "location"]) => Side::Related,
        () if any(&["integration", "interface", "wiring", "caller"]) => Side::Integration,
        () if any(&["convention", "style", "naming"]) => Side::Conventions,
        () if any(&["test", "coverage"]) => Side::Tests,
        () if any(&["risk", "limit", "secur", "perform", "concurr"]) => Side::Risks,
        () => Side::Everything,
    }
}

/// The first round.
pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let side = side(brief);
    let all = side == Side::Everything;
    if side == Side::Risks {
        return code_review::plan(brief);
    }
    let question = brief.question();
    let names: Vec<&str> = brief.symbols.iter().map(String::as_str).collect();
    let mut calls = Vec::new();
    if all || matches!(side, Side::Related | Side::Integration) {
        calls.push(call(
            "code",
            "code.rank",
            json!({"query": question, "paths": brief.paths, "roles": ["library", "entry"], "max_results": 25}),
        ));
        if let Some(name) = added(&brief.text) {
            // All of its name: whether one belongs to the type is seen by the type in front.
            let params = json!({"names": [last_name(&name)], "max_results": 200});
            calls.push(call("existing", "code.outline", params));
        }
        if !names.is_empty() {
            calls.push(call(
                "defined",
                "code.outline",
                json!({"names": names, "max_results": 40}),
            ));
        }
    }
    if all || side == Side::Conventions {
        calls.extend(conventions::plan(brief));
    }
    if all || side == Side::Tests {
        calls.extend(testing::plan_conventions(brief));
    }
    calls
}

/// The second round: where the nearest neighbours are used, which is where the new code has to be wired in.
pub fn follow_up(brief: &Brief, results: &Results) -> Vec<ToolCall> {
    let side = side(brief);
    if side == Side::Risks {
        return code_review::follow_up(brief, results);
    }
    if !matches!(side, Side::Everything | Side::Integration) {
        return Vec::new();
    }
    neighbours(results)
        .iter()
        .enumerate()
        .map(|(index, piece)| {
            let params = json!({"pattern": last_name(&piece.name), "literal": true, "word": true, "case_sensitive": true, "max_results": 60});
            call(format!("uses_of_{index}"), "code.search", params)
        })
        .collect()
}

/// The findings.
pub fn conclude(brief: &Brief, results: &Results, workspace: &Workspace) -> Conclusion {
    let side = side(brief);
    let said = "No code was written: that needs a model, and this worker is an analyst without one. What follows is the context \
                for whoever writes it: related code, places to wire it in, conventions, and tests to mirror.";
    if side == Side::Risks {
        let mut conclusion = code_review::conclude(brief, results, workspace);
        conclusion.notes.insert(0, said.to_owned());
        return conclusion;
    }
    let mut writer = Writer::new(brief, workspace);
    writer.note(said);
    write_existing(&mut writer, brief, results);
    match side {
        Side::Related => write_related(&mut writer, brief, results, RELATED_MAX + 2),
        Side::Integration => write_integration(&mut writer, results, FINDINGS_MAX),
        Side::Conventions => write_conventions(&mut writer, results, FINDINGS_MAX),
        Side::Tests => write_tests(&mut writer, results, FINDINGS_MAX),
        _ => {
            let so_far = writer.len();
            write_related(&mut writer, brief, results, so_far + 3);
            let so_far = writer.len();
            write_integration(&mut writer, results, so_far + 1);
            let so_far = writer.len();
            write_conventions(&mut writer, results, so_far + 2);
            write_tests(&mut writer, results, FINDINGS_MAX);
        }
    }
    if writer.len() == 0 {
        writer.note("Nothing in the scope resembles what is asked for. The name of a file or function to begin from would help.");
    }
    writer.finish()
}

/// The functions and types nearest to what is asked for.
fn nearest(results: &Results) -> Vec<Ranked> {
    let ranked = results.get::<RankResult>("code").unwrap_or_default();
    let best = ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON));
    let mut of_file: BTreeMap<String, usize> = BTreeMap::new();
    ranked
        .results
        .into_iter()
        .filter(|piece| !piece.name.is_empty() && piece.end_line > piece.line && piece.score >= best * 0.35)
        .filter(|piece| !is_head_of_file(piece))
        .filter(|piece| {
            let seen = of_file.entry(piece.path.clone()).or_default();
            *seen += 1;
            *seen <= 2
        })
        .collect()
}

/// Whether a piece is what stands above the first function: a licence, imports. It bears the name of its file.
fn is_head_of_file(piece: &Ranked) -> bool {
    let file = piece.path.rsplit('/').next().unwrap_or(&piece.path);
    let stem = file.split('.').next().unwrap_or(file);
    piece.line == 1 && piece.name == stem
}

fn neighbours(results: &Results) -> Vec<Ranked> {
    let mut seen = BTreeSet::new();
    nearest(results)
        .into_iter()
        .filter(|piece| last_name(&piece.name).len() >= 4 && seen.insert(last_name(&piece.name).to_owned()))
        .take(NEIGHBOURS_MAX)
        .collect()
}

fn write_related(writer: &mut Writer<'_>, brief: &Brief, results: &Results, max: usize) {
    if results
        .get::<OutlineResult>("defined")
        .is_some_and(|defined| !defined.results.is_empty())
    {
        write_defined(writer, brief, results);
    }
    let found = nearest(results);
    let best = found.first().map_or(1.0, |first| first.score.max(f64::EPSILON));
    for (index, piece) in found.iter().enumerate() {
        if writer.len() >= max {
            break;
        }
        let claim = if index == 0 {
            format!(
                "`{}` in {} is the nearest to what is asked for: build on it, or beside it",
                piece.name, piece.path
            )
        } else {
            format!("`{}` in {} does something alike", piece.name, piece.path)
        };
        let mut draft = Draft::new(claim, piece.name.clone(), "code.rank");
        draft.rationale = format!(
            "It speaks of {}, lines {} to {}.",
            listed(&piece.matched, 5),
            piece.line,
            piece.end_line
        );
        draft.confidence = 0.3 + 0.35 * (piece.score / best);
        draft.evidence = writer
            .lines(&piece.path, piece.line, (piece.line + 7).min(piece.end_line))
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

/// Where the neighbours are used: such places register, configure or call what is like the new code.
fn write_integration(writer: &mut Writer<'_>, results: &Results, max: usize) {
    for (index, piece) in neighbours(results).iter().enumerate() {
        if writer.len() >= max {
            break;
        }
        let search = results
            .get::<SearchResult>(&format!("uses_of_{index}"))
            .unwrap_or_default();
        let elsewhere: Vec<_> = search
            .results
            .iter()
            .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
            .filter(|hit| !(hit.path == piece.path && (piece.line..=piece.end_line).contains(&hit.line)))
            .filter(|hit| !hit.text.trim_start().starts_with("//") && !hit.text.trim_start().starts_with('#'))
            .collect();
        if elsewhere.is_empty() {
            continue;
        }
        let mut users: Vec<String> = elsewhere
            .iter()
            .map(|hit| hit.function.clone().unwrap_or_else(|| hit.path.clone()))
            .collect();
        users.sort();
        users.dedup();
        let mut draft = Draft::new(
            format!(
                "What is like `{}` is wired in by {}: the new code has to be, too",
                piece.name,
                listed(&users, 4)
            ),
            piece.name.clone(),
            "code.search",
        );
        draft.rationale = format!(
            "{} of it stand outside of its definition.",
            count(elsewhere.len(), "mention")
        );
        draft.confidence = 0.55;
        draft.impact = Level::Medium;
        draft.evidence = elsewhere
            .iter()
            .take(4)
            .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 1))
            .collect();
        writer.write(draft);
    }
}
