//! Large sets of findings, each hard in its own way.

use axon_protocol::{ExecutionPlan, Finding, Polarity, TaskResult};

use crate::fixture::{finding, plan as plan_of, result, source};

/// Findings of one result.
const OF_ONE_TASK: usize = 1_000;

/// A plan of ten tasks.
pub fn plan() -> ExecutionPlan {
    plan_of("code_review", &["errors"; 10])
}

/// The findings as results of its tasks.
pub fn results(findings: &[Finding]) -> Vec<TaskResult> {
    findings
        .chunks(OF_ONE_TASK)
        .enumerate()
        .map(|(index, part)| result(index + 1, part.to_vec()))
        .collect()
}

/// Sets of `count` findings each, with a name.
pub fn sets(count: u32) -> Vec<(&'static str, Vec<Finding>)> {
    let set = |make: &dyn Fn(u32) -> Finding| (0..count).map(make).collect::<Vec<_>>();
    let panics = |subject: &str, path: &str, line| {
        finding(
            "errors",
            &format!("`{subject}` panics when the input is empty"),
            subject,
            path,
            line,
        )
    };
    vec![
        (
            "spread over files",
            set(&|index| panics(&format!("f{index}"), &format!("f{}.rs", index % 300), index)),
        ),
        ("equal", set(&|_| panics("parse_header", "a.rs", 5))),
        (
            "one subject, many places",
            set(&|index| panics("parse_header", "a.rs", index)),
        ),
        (
            "one line, other words",
            set(&|index| {
                let claim = format!("word{index} other{} some{} of{}", index / 2, index / 3, index / 5);
                finding("errors", &claim, "x", "a.rs", 1)
            }),
        ),
        (
            "one file, all overlapping",
            set(&|index| Finding {
                evidence: vec![source("a.rs", index, count)],
                ..finding(
                    "errors",
                    &format!("the thing number {index} of this file is wrong in some way or other"),
                    "",
                    "a.rs",
                    index,
                )
            }),
        ),
        (
            "opposites",
            set(&|index| Finding {
                polarity: if index % 2 == 0 {
                    Polarity::Positive
                } else {
                    Polarity::Negative
                },
                value: Some(f64::from(index)),
                unit: Some("ms".to_owned()),
                ..finding("errors", "the read takes long", "read", &format!("{index}.rs"), index)
            }),
        ),
    ]
}
