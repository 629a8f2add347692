//! Finds how tests are written here: where they stand, how they are built, and which of them a new one should mirror.

use std::collections::BTreeMap;

use axon_protocol::ToolCall;
use axon_tools::code::{OutlineResult, RankResult, Ranked, Role, SearchResult, role_of};
use serde_json::json;

use super::subject_words;
use crate::analyst::brief::call;
use crate::analyst::write::{Draft, Writer, count, listed};
use crate::analyst::{Brief, Results};

/// Lines between the mark of a test and its name.
const BEGIN_LINES: u32 = 4;
/// Tests that are named as models.
const MODELS_MAX: usize = 3;

/// What begins a test, or marks a helper of tests.
const FORMS: &str = r"#\[\s*(\w+::)*test\b|\bproptest!|\binsta::|assert_snapshot|#\[rstest|#\[case|@pytest\.(mark\.parametrize|fixture)|^\s*(async )?def test_|\b(it|test|describe)\(";

/// A form of tests: what its lines hold, and what it is called.
const KINDS: &[(&str, &str)] = &[
    ("proptest!", "properties over generated input"),
    ("insta", "snapshots"),
    ("assert_snapshot", "snapshots"),
    ("rstest", "tables of cases"),
    ("#[case", "tables of cases"),
    ("parametrize", "tables of cases"),
    ("pytest.fixture", "fixtures"),
    ("tokio::test", "asynchronous tests"),
];

pub fn plan(brief: &Brief) -> Vec<ToolCall> {
    let mut calls = vec![call(
        "forms",
        "code.search",
        json!({"pattern": FORMS, "case_sensitive": true, "max_results": 1_000}),
    )];
    let subject = subject_words(brief);
    let question = if subject.is_empty() { brief.question() } else { subject };
    calls.push(call(
        "models",
        "code.rank",
        json!({"query": question, "roles": ["test"], "max_results": 15}),
    ));
    calls.push(call(
        "helpers",
        "code.outline",
        json!({"tests": true, "kinds": ["function", "method"], "max_results": 1_000}),
    ));
    calls
}

/// How tests are written, and the nearest ones.
pub fn write_conventions(writer: &mut Writer<'_>, results: &Results, max: usize) {
    write_models(writer, results, max);
    if writer.len() < max {
        write_layout(writer, results);
    }
    if writer.len() < max {
        write_helpers(writer, results);
    }
}

/// Where tests and their helpers begin.
fn beginnings(results: &Results) -> Vec<(String, u32)> {
    let search = results.get::<SearchResult>("forms").unwrap_or_default();
    search.results.into_iter().map(|hit| (hit.path, hit.line)).collect()
}

fn write_models(writer: &mut Writer<'_>, results: &Results, max: usize) {
    let ranked = results.get::<RankResult>("models").unwrap_or_default();
    let best = ranked
        .results
        .first()
        .map_or(1.0, |first| first.score.max(f64::EPSILON));
    let begins = beginnings(results);
    let is_model = |piece: &&Ranked| {
        let first = piece.line.saturating_sub(BEGIN_LINES);
        !piece.name.is_empty()
            && piece.end_line > piece.line + 1
            && begins
                .iter()
                .any(|(path, line)| *path == piece.path && (first..=piece.end_line).contains(line))
    };
    for piece in ranked.results.iter().filter(is_model).take(MODELS_MAX) {
        if writer.len() >= max || piece.score < best * 0.4 {
            break;
        }
        let mut draft = Draft::new(
            format!(
                "`{}` is a test to mirror: it is the nearest in form and subject",
                piece.name
            ),
            piece.name.clone(),
            "code.rank",
        );
        draft.rationale = format!(
            "It speaks of {}; it stands in {}, lines {} to {}.",
            listed(&piece.matched, 5),
            piece.path,
            piece.line,
            piece.end_line
        );
        draft.confidence = 0.4 + 0.3 * (piece.score / best);
        draft.evidence = writer
            .lines(&piece.path, piece.line, (piece.line + 9).min(piece.end_line))
            .into_iter()
            .collect();
        writer.write(draft);
    }
}

/// Where tests stand, and which forms they have.
fn write_layout(writer: &mut Writer<'_>, results: &Results) {
    let search = results.get::<SearchResult>("forms").unwrap_or_default();
    let begins = |text: &str| {
        text.contains("test]") || text.contains("test(") || text.contains("def test_") || text.contains("it(")
    };
    let tests: Vec<_> = search.results.iter().filter(|hit| begins(&hit.text)).collect();
    let Some(first) = tests.first() else { return };
    let apart = tests.iter().filter(|hit| role_of(&hit.path) == Role::Test).count();
    let beside = tests.len() - apart;
    let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
    for hit in &search.results {
        for (mark, kind) in KINDS.iter().filter(|(mark, _)| hit.text.contains(mark)) {
            let _ = mark;
            *forms.entry(kind).or_default() += 1;
        }
    }
    let forms: Vec<String> = forms
        .iter()
        .map(|(kind, number)| format!("{kind} ({number})"))
        .collect();
    let place = match (beside, apart) {
        (0, _) => "in files of their own".to_owned(),
        (_, 0) => "in the files they test".to_owned(),
        _ => format!("{beside} in the files they test and {apart} in files of their own"),
    };
    let mut draft = Draft::new(
        format!("The scope has {}: {place}", count(tests.len(), "test")),
        "tests",
        "code.search",
    );
    draft.rationale = if forms.is_empty() {
        "They are plain functions.".to_owned()
    } else {
        format!("Forms in use beside plain functions: {}.", forms.join(", "))
    };
    draft.confidence = 0.8;
    draft.value = Some((tests.len() as f64, "tests"));
    let example = tests.iter().find(|hit| role_of(&hit.path) == Role::Test);
    draft.evidence = [Some(first), example]
        .into_iter()
        .flatten()
        .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 3))
        .collect();
    writer.write(draft);
}

/// The functions of test code that are no tests: what a new test should use instead of building its own.
fn write_helpers(writer: &mut Writer<'_>, results: &Results) {
    let outline = results.get::<OutlineResult>("helpers").unwrap_or_default();
    let begins = beginnings(results);
    let is_test = |path: &str, line: u32| {
        begins
            .iter()
            .any(|(of, at)| of == path && (*at..=*at + BEGIN_LINES).contains(&line))
    };
    let mut by_file: BTreeMap<&str, Vec<&axon_tools::code::OutlineItem>> = BTreeMap::new();
    for item in outline
        .results
        .iter()
        .filter(|item| item.test && !is_test(&item.path, item.line))
    {
        by_file.entry(&item.path).or_default().push(item);
    }
    let Some((path, items)) = by_file
        .into_iter()
        .max_by_key(|(path, items)| (items.len(), std::cmp::Reverse(*path)))
    else {
        return;
    };
    let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
    let mut draft = Draft::new(
        format!(
            "`{path}` holds {} of tests: {}",
            count(names.len(), "helper"),
            listed(&names, 6)
        ),
        path.to_owned(),
        "code.outline",
    );
    draft.rationale = "What they build and compare need not be written again.".to_owned();
    draft.confidence = 0.65;
    draft.evidence = items
        .iter()
        .take(4)
        .filter_map(|item| writer.lines(&item.path, item.line, (item.line + 2).min(item.end_line)))
        .collect();
    writer.write(draft);
}
