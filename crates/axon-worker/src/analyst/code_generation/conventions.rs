//! What the code of a workspace does by convention, in figures: errors, documentation, sizes, and the checks that are
//! configured.

use std::collections::BTreeMap;

use axon_protocol::ToolCall;
use axon_tools::code::{ListResult, MetricsResult, Role, SearchResult, role_of};
use axon_tools::language_of;
use serde_json::json;

use crate::analyst::brief::call;
use crate::analyst::code_review::figures;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Ways of making errors, each by its language and by what its lines hold; the first that fits says which it is.
const ERRORS: &[(&str, &str, &str)] = &[
    ("rust", "thiserror", "enums with `thiserror`"),
    ("rust", "anyhow", "`anyhow`"),
    ("rust", "impl std::error::Error", "types that implement `Error` by hand"),
    ("rust", "impl Error for", "types that implement `Error` by hand"),
    ("rust", "derive(", "enums that derive `Error`"),
    ("python", "class ", "classes of exceptions"),
];

/// The way of making errors that a line shows, if it is one of its language.
fn way_of_errors(path: &str, line: &str) -> Option<&'static str> {
    let language = language_of(path).name;
    ERRORS
        .iter()
        .find(|(of, mark, _)| *of == language && line.contains(mark))
        .map(|(_, _, way)| *way)
}

const ERROR_LINES: &str =
    r"derive\(.*\bError\b|thiserror|anyhow::|impl (std::error::)?Error for|^\s*class \w+\((\w*Error|Exception)\)";

/// Files that say what checks demand.
const CHECKS: &[&str] = &[
    "rustfmt.toml",
    ".rustfmt.toml",
    "clippy.toml",
    ".clippy.toml",
    ".editorconfig",
    "deny.toml",
    "ruff.toml",
    ".flake8",
    "mypy.ini",
    "tox.ini",
    ".pre-commit-config.yaml",
    "eslint.config.js",
    ".eslintrc.json",
    ".prettierrc",
    "tsconfig.json",
    "CONTRIBUTING.md",
    "STYLE.md",
];

pub fn plan(_brief: &Brief) -> Vec<ToolCall> {
    let globs: Vec<String> = CHECKS.iter().map(|name| (*name).to_owned()).collect();
    vec![
        call("metrics", "code.metrics", json!({"max_results": 100})),
        call(
            "errors",
            "code.search",
            json!({"pattern": ERROR_LINES, "case_sensitive": true, "max_results": 500}),
        ),
        call("checks", "code.list", json!({"globs": globs, "max_results": 50})),
        call(
            "lints",
            "code.search",
            json!({"pattern": r"^\[(workspace\.)?lints|^\[tool\.(ruff|mypy|black)", "globs": ["*.toml"], "max_results": 20}),
        ),
    ]
}

pub fn write_conventions(writer: &mut Writer<'_>, results: &Results, max: usize) {
    for write in [write_errors, write_documentation, write_checks] {
        if writer.len() < max {
            write(writer, results);
        }
    }
}

fn write_errors(writer: &mut Writer<'_>, results: &Results) {
    let search = results.get::<SearchResult>("errors").unwrap_or_default();
    let hits: Vec<_> = search
        .results
        .iter()
        .filter(|hit| matches!(role_of(&hit.path), Role::Library | Role::Entry))
        .filter_map(|hit| Some((way_of_errors(&hit.path, &hit.text)?, hit)))
        .collect();
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (index, (kind, _)) in hits.iter().enumerate() {
        let (number, _) = kinds.entry(kind).or_insert((0, index));
        *number += 1;
    }
    let mut kinds: Vec<(&str, (usize, usize))> = kinds.into_iter().collect();
    kinds.sort_by_key(|(kind, (number, _))| (std::cmp::Reverse(*number), *kind));
    let Some((most, (_, example))) = kinds.first().copied() else {
        return;
    };
    let shares: Vec<String> = kinds
        .iter()
        .map(|(kind, (number, _))| format!("{kind} ({})", count(*number, "line")))
        .collect();
    let mut draft = Draft::new(format!("Errors here are mostly {most}"), "errors", "code.search");
    draft.rationale = format!(
        "In use: {}. New code that makes errors another way would have to be converted at each call.",
        shares.join(", ")
    );
    draft.confidence = 0.65;
    let (_, example) = hits[example];
    // What is quoted shows the way that is claimed, and no other.
    let others = hits
        .iter()
        .filter(|(kind, hit)| *kind == most && hit.path != example.path);
    draft.evidence = std::iter::once(example)
        .chain(others.map(|(_, hit)| *hit).take(2))
        .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 2))
        .collect();
    writer.write(draft);
}

fn write_documentation(writer: &mut Writer<'_>, results: &Results) {
    let Some(metrics) = results
        .get::<MetricsResult>("metrics")
        .filter(|metrics| metrics.public_functions > 0)
    else {
        return;
    };
    let documented = metrics.public_functions - metrics.undocumented_public_functions;
    let share = documented * 100 / metrics.public_functions;
    let rule = match share {
        80.. => "document the new ones, too",
        30.. => "it is mixed; document the new ones",
        _ => "it is rare here",
    };
    let mut draft = Draft::new(
        format!(
            "{share} % of {} have documentation: {rule}",
            count(metrics.public_functions, "public function")
        ),
        "documentation",
        "code.metrics",
    );
    draft.rationale = format!(
        "The median function has {}, the mean complexity is {}: keep to that size.",
        count(metrics.median_code_lines, "line"),
        metrics.mean_complexity
    );
    draft.confidence = 0.8;
    draft.value = Some((share as f64, "percent"));
    let example = metrics
        .results
        .iter()
        .find(|function| function.public && function.documented);
    draft.evidence = example
        .and_then(|function| writer.lines(&function.path, function.line.saturating_sub(3).max(1), function.line))
        .into_iter()
        .collect();
    draft
        .evidence
        .push(tool_evidence("code.metrics", json!({}), &figures(&metrics)));
    writer.write(draft);
}

fn write_checks(writer: &mut Writer<'_>, results: &Results) {
    let list = results.get::<ListResult>("checks").unwrap_or_default();
    let lints = results.get::<SearchResult>("lints").unwrap_or_default();
    let mut names: Vec<String> = list.results.iter().map(|file| file.path.clone()).collect();
    names.extend(
        lints
            .results
            .iter()
            .map(|hit| format!("{} ({})", hit.path, hit.text.trim())),
    );
    if names.is_empty() {
        return;
    }
    let mut draft = Draft::new(
        format!("New code is checked by what {} demand", listed(&names, 5)),
        "checks",
        "code.list",
    );
    draft.rationale = "They decide on format, lints and rules of contribution before a reviewer does.".to_owned();
    draft.confidence = 0.7;
    let files = list.results.iter().filter_map(|file| writer.lines(&file.path, 1, 4));
    let lines = lints
        .results
        .iter()
        .filter_map(|hit| writer.lines(&hit.path, hit.line, hit.line + 3));
    draft.evidence = lines.chain(files).take(4).collect();
    writer.write(draft);
}

#[cfg(test)]
mod tests {
    use super::way_of_errors;

    #[test]
    fn a_way_of_making_errors_belongs_to_its_language() {
        for (path, line, expected) in [
            (
                "a.rs",
                "#[derive(Debug, thiserror::Error)]",
                Some("enums with `thiserror`"),
            ),
            ("a.rs", "#[derive(Debug, Error)]", Some("enums that derive `Error`")),
            (
                "a.rs",
                "impl Error for Closed {}",
                Some("types that implement `Error` by hand"),
            ),
            (
                "a.py",
                "class UsageError(ClickException):",
                Some("classes of exceptions"),
            ),
            ("a.py", "class BadParameter(UsageError):", Some("classes of exceptions")),
            ("a.py", "# see anyhow::Error", None),
            ("a.go", "// derive(Error)", None),
        ] {
            assert_eq!(way_of_errors(path, line), expected, "{path}: {line}");
        }
    }
}
