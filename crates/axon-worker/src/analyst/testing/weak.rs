//! Writes down which tests prove nothing, by the inventory of tests, for languages whose rules say nothing about tests.

use axon_protocol::Level;
use axon_tools::code::{FoundTest, TestsResult};
use serde_json::json;

use crate::analyst::Results;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};

/// Languages that rules for tests look at, more closely than by names.
const RULED: &[&str] = &["rust", "python"];
/// Tests one finding quotes.
const QUOTED_MAX: usize = 4;

/// Tests that are switched off, and tests in which nothing is checked, as long as fewer than `max` findings are written.
pub fn write_inventory(writer: &mut Writer<'_>, results: &Results, max: usize) {
    let Some(found) = results.get::<TestsResult>("inventory") else {
        return;
    };
    let unruled = |tests: &[FoundTest]| -> Vec<FoundTest> {
        let other = |test: &&FoundTest| !RULED.contains(&axon_tools::language_of(&test.path).name);
        tests.iter().filter(other).cloned().collect()
    };
    let total: usize = found
        .languages
        .iter()
        .filter(|(language, _)| !RULED.contains(&language.as_str()))
        .map(|(_, figures)| figures.tests)
        .sum();
    for (tests, what, why, advice) in [
        (
            unruled(&found.without_check),
            "check nothing",
            "They pass whatever the code under test returns, as long as it does not fail by itself.",
            "Assert what should be true afterwards.",
        ),
        (
            unruled(&found.switched_off),
            "are switched off",
            "A test that does not run protects nothing, and looks as if it did.",
            "Make them run, move them to a suite that does, or remove them.",
        ),
    ] {
        let Some(first) = tests.first().filter(|_| writer.len() < max) else {
            continue;
        };
        let names: Vec<String> = tests.iter().map(|test| test.name.clone()).collect();
        let claim = match tests.as_slice() {
            [one] => format!(
                "The test `{}` {}",
                one.name,
                what.replacen("check", "checks", 1).replacen("are", "is", 1)
            ),
            _ => format!("{} {what}: {}", count(tests.len(), "test"), listed(&names, 3)),
        };
        let mut draft = Draft::new(claim, first.path.clone(), "code.tests");
        draft.rationale = why.to_owned();
        draft.recommendation = Some(advice.to_owned());
        draft.confidence = 0.55;
        draft.severity = Level::Medium;
        draft.impact = Level::Medium;
        draft.value = Some((tests.len() as f64, "tests"));
        draft.evidence = tests
            .iter()
            .take(QUOTED_MAX)
            .filter_map(|test| {
                let line = test.switched_off.unwrap_or(test.line);
                writer.lines(&test.path, line, (line + 3).min(test.end_line.max(line)))
            })
            .collect();
        let figures = format!("{{\"tests\":{total},\"found\":{}}}", tests.len());
        draft.evidence.push(tool_evidence("code.tests", json!({}), &figures));
        writer.write(draft);
    }
}
