//! Measures the code of each thing compared in the same way: lines, functions, paths, and how much of it tests name.

use axon_protocol::ToolCall;
use axon_tools::code::{ListResult, MetricsResult};
use serde_json::json;

use crate::analyst::brief::call;
use crate::analyst::write::{Draft, Writer, count, tool_evidence};
use crate::analyst::{Brief, Results};

/// What was measured of one thing.
struct Measured {
    subject: String,
    lines: u64,
    files: usize,
    metrics: MetricsResult,
}

/// The calls that measure a thing, where it is known which files it is.
pub fn plan(brief: &Brief, index: usize) -> Vec<ToolCall> {
    let paths = &brief.subject_paths[index];
    if paths.is_empty() {
        return Vec::new();
    }
    vec![
        call(
            format!("measured_{index}"),
            "code.metrics",
            json!({"paths": paths, "max_results": 500}),
        ),
        call(
            format!("listed_{index}"),
            "code.list",
            json!({"paths": paths, "max_results": 1_000}),
        ),
    ]
}

/// One finding with the figures of all things that were measured.
pub fn write_figures(writer: &mut Writer<'_>, brief: &Brief, results: &Results, subjects: &[(usize, String)]) {
    let measured: Vec<Measured> = subjects
        .iter()
        .filter_map(|(index, subject)| {
            let metrics = results.get::<MetricsResult>(&format!("measured_{index}"))?;
            let list = results.get::<ListResult>(&format!("listed_{index}"))?;
            (metrics.functions > 0).then(|| Measured {
                subject: subject.clone(),
                lines: list.lines,
                files: list.files,
                metrics,
            })
        })
        .collect();
    let Some(first) = measured.first() else { return };
    // A task about one thing does not see the tests that stand elsewhere.
    let alone = measured.len() == 1;
    let told: Vec<String> = measured.iter().map(|one| shown(one, alone)).collect();
    let mut draft = Draft::new(
        format!("Size and complexity of the code – {}", told.join("; ")),
        if measured.len() == 1 {
            first.subject.clone()
        } else {
            "size and complexity".to_owned()
        },
        "code.metrics",
    );
    draft.rationale = match measured.as_slice() {
        [left, right, ..] => compared(left, right),
        _ => "Measured over the files of this thing.".to_owned(),
    };
    draft.confidence = 0.85;
    draft.value = match measured.as_slice() {
        [left, right, ..] if right.lines > 0 => Some((ratio(left.lines as f64, right.lines as f64), "times the lines")),
        _ => Some((first.lines as f64, "lines")),
    };
    draft.evidence = measured
        .iter()
        .filter_map(|one| {
            let hardest = one.metrics.results.first()?;
            writer.lines(&hardest.path, hardest.line, (hardest.line + 2).min(hardest.end_line))
        })
        .collect();
    for (index, subject) in subjects {
        if let Some(one) = measured.iter().find(|one| one.subject == *subject) {
            let quote = format!(
                "{{\"lines\":{},\"functions\":{},\"mean_complexity\":{}}}",
                one.lines, one.metrics.functions, one.metrics.mean_complexity
            );
            draft.evidence.push(tool_evidence(
                "code.metrics",
                json!({"paths": brief.subject_paths[*index]}),
                &quote,
            ));
        }
    }
    writer.write(draft);
}

fn untested(one: &Measured) -> usize {
    one.metrics
        .results
        .iter()
        .filter(|function| function.test_mentions == 0)
        .count()
}

fn shown(one: &Measured, alone: bool) -> String {
    let hardest = one
        .metrics
        .results
        .first()
        .map(|function| format!(", hardest `{}` with {} paths", function.name, function.complexity))
        .unwrap_or_default();
    let bare = match alone {
        true => String::new(),
        false => format!(", {} named by no test", untested(one)),
    };
    format!(
        "{}: {} in {}, {} of {} paths on average{hardest}{bare}",
        one.subject,
        count(usize::try_from(one.lines).unwrap_or(usize::MAX), "line"),
        count(one.files, "file"),
        count(one.metrics.functions, "function"),
        one.metrics.mean_complexity,
    )
}

fn ratio(left: f64, right: f64) -> f64 {
    (left / right * 100.0).round() / 100.0
}

fn compared(left: &Measured, right: &Measured) -> String {
    let (more, less) = if left.lines >= right.lines {
        (left, right)
    } else {
        (right, left)
    };
    format!(
        "{} has {} times the lines of {}; a function of {} has {} paths on average, one of {} {}.",
        more.subject,
        ratio(more.lines as f64, less.lines.max(1) as f64),
        less.subject,
        left.subject,
        left.metrics.mean_complexity,
        right.subject,
        right.metrics.mean_complexity
    )
}
