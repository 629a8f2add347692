use axon_protocol::{
    Answer, AnswerStatus, Conflict, Evidence, Finding, Level, OutputFormat, PlanRequest, Polarity, StopReason, TaskId,
    TaskStatus,
};
use axon_synthesizer::SynthesizerConfig;
use serde_json::{Value, json};

use crate::fixture::{answer, answer_with, finding, plan, result, shown, source};
use crate::large;

const CLAIM: &str = "`parse_header` panics when the input is empty";

/// Merges these findings of one task and expects as many to be left.
fn check_merge(findings: &[Finding], kept: usize) {
    let answer = answer(
        &plan("code_review", &["errors", "security"]),
        &[result(1, findings.to_vec())],
        StopReason::Finished,
    );
    assert_eq!(answer.findings().count(), kept, "{:#?}", shown(&answer));
    let evidence: usize = answer.findings().map(|finding| finding.merged).sum();
    assert_eq!(evidence, findings.len(), "every finding is counted once");
}

#[test]
fn what_says_the_same_is_merged_and_nothing_else() {
    let base = || finding("errors", CLAIM, "parse_header", "a.rs", 5);
    let at = |line| finding("errors", CLAIM, "parse_header", "a.rs", line);
    let claim = |claim: &str, line| finding("errors", claim, "parse_header", "a.rs", line);
    let spanning = |claim: &str, line, end_line| Finding {
        evidence: vec![source("a.rs", line, end_line)],
        ..finding("errors", claim, "parse_header", "a.rs", line)
    };

    check_merge(&[base(), base()], 1);
    // One claim about one subject at several places is one finding with several places.
    check_merge(&[base(), at(90), at(200)], 1);
    // Nearly the same words about the same subject.
    check_merge(
        &[base(), claim("`parse_header` panics when its input is empty!", 90)],
        1,
    );
    // Other words at the same line.
    check_merge(&[base(), claim("`parse_header` panics on empty bytes", 5)], 1);
    // Another defect of the same line.
    check_merge(&[base(), claim("The comment is out of date", 5)], 2);
    // Other words elsewhere.
    check_merge(&[base(), claim("`parse_header` panics on short bytes", 90)], 2);
    // An overlap and half of the words, and an overlap alone.
    check_merge(
        &[
            spanning("the lock is held across the await", 10, 14),
            spanning("lock held across this await point", 12, 13),
        ],
        1,
    );
    check_merge(
        &[
            spanning("function `outer` is long", 1, 200),
            spanning("function `inner` is long", 50, 140),
        ],
        2,
    );
    // Another subject, another identifier, another direction, another figure.
    check_merge(
        &[
            base(),
            Finding {
                subject: "read".to_owned(),
                ..at(90)
            },
        ],
        2,
    );
    check_merge(&[base(), claim("`parse_body` panics when the input is empty", 90)], 2);
    check_merge(
        &[
            base(),
            Finding {
                polarity: Polarity::Negative,
                ..base()
            },
        ],
        2,
    );
    check_merge(
        &[
            Finding {
                value: Some(3.0),
                ..base()
            },
            Finding {
                value: Some(4.0),
                ..base()
            },
        ],
        2,
    );
    // The same rule at the same place counts across aspects, another aspect alone does not.
    let other = Finding {
        aspect: "security".to_owned(),
        ..claim("`parse_header` panics on empty bytes", 5)
    };
    check_merge(&[base(), other.clone()], 2);
    let rule = |finding: Finding| Finding {
        tool: "code.rules".to_owned(),
        ..finding
    };
    check_merge(&[rule(base()), rule(other)], 1);
}

/// Confidences and origins of findings that say the same, and the confidence of them together.
fn check_confidence(given: &[(f64, &str, u32)], expected: f64) {
    let findings = given
        .iter()
        .map(|(confidence, origin, line)| Finding {
            confidence: *confidence,
            origin: (*origin).to_owned(),
            ..finding("errors", CLAIM, "parse_header", "a.rs", *line)
        })
        .collect();
    let answer = answer(
        &plan("code_review", &["errors"]),
        &[result(1, findings)],
        StopReason::Finished,
    );
    let measured: Vec<f64> = answer.findings().map(|finding| finding.confidence).collect();
    assert!(
        measured.len() == 1 && (measured[0] - expected).abs() < 1e-9,
        "{given:?}: {measured:?}"
    );
}

#[test]
fn confidence_grows_with_independent_origins_only() {
    check_confidence(&[(0.7, "a", 1)], 0.7);
    check_confidence(&[(0.7, "a", 1), (0.5, "b", 9)], 0.85);
    // One named origin; one line quoted twice; no names and one place.
    check_confidence(&[(0.7, "a", 1), (0.5, "a", 9)], 0.7);
    check_confidence(&[(0.7, "a", 1), (0.5, "b", 1)], 0.7);
    check_confidence(&[(0.7, "", 1), (0.5, "", 1), (0.5, "", 9)], 0.85);
    // Agreement is capped, a single certainty is not, and nonsense counts nothing.
    check_confidence(&[(0.95, "a", 1), (0.95, "b", 9)], 0.99);
    check_confidence(&[(1.0, "a", 1), (0.5, "b", 9)], 1.0);
    check_confidence(&[(f64::NAN, "a", 1), (0.5, "b", 9)], 0.5);
    check_confidence(&[(7.0, "a", 1)], 1.0);
}

#[test]
fn the_most_important_comes_first_in_the_plans_order_of_aspects() {
    let of = |aspect: &str, claim: &str, severity, impact, confidence| Finding {
        severity,
        impact,
        confidence,
        ..finding(aspect, claim, claim, claim, 1)
    };
    let results = [result(
        2,
        vec![
            of("b", "small", Level::Low, Level::Low, 0.9),
            of("b", "sure", Level::High, Level::Medium, 0.9),
            of("a", "other", Level::Low, Level::Low, 0.5),
            of("b", "unsure", Level::High, Level::Medium, 0.6),
            of("z", "unplanned", Level::Critical, Level::Critical, 1.0),
        ],
    )];
    let answer = answer(&plan("code_review", &["a", "b"]), &results, StopReason::Finished);
    assert_eq!(
        shown(&answer),
        ["a: other", "b: sure", "b: unsure", "b: small", "z: unplanned"]
    );
    assert!(
        answer
            .summary
            .starts_with("What matters most:\n\n1. unplanned (`unplanned:1`).\n2. sure"),
        "{}",
        answer.summary
    );
    assert!(
        answer
            .summary
            .contains("5 findings in all: 1 critical, 2 high, 2 low; a 1, b 3, z 1."),
        "{}",
        answer.summary
    );
}

#[test]
fn what_is_only_for_information_is_no_problem() {
    let calm = |aspect: &str| Finding {
        severity: Level::Info,
        ..finding(aspect, &format!("nothing risky in {aspect}"), aspect, aspect, 1)
    };
    let plan = plan("code_review", &["errors", "locks"]);
    let quiet = answer(
        &plan,
        &[result(1, vec![calm("errors")]), result(2, vec![calm("locks")])],
        StopReason::Finished,
    );
    assert_eq!(
        quiet.summary,
        "No problem stands out. 2 findings in all: 2 info; errors 1, locks 1."
    );
    let bad = finding("errors", "it panics", "it", "a.rs", 1);
    let mixed = answer(
        &plan,
        &[result(1, vec![bad]), result(2, vec![calm("locks")])],
        StopReason::Finished,
    );
    assert_eq!(
        mixed.summary,
        "What was found:\n\n1. it panics (`a.rs:1`).\n\n2 findings in all: 1 medium, 1 info; errors 1, locks 1. Nothing stands out for locks."
    );
}

#[test]
fn evidence_is_believed_only_where_it_holds() {
    let mut mixed = finding("errors", "mixed", "m", "a.rs", 1);
    mixed.evidence.push(source("false.rs", 2, 2));
    let mut linked = finding("errors", "linked", "l", "a.rs", 9);
    linked.evidence = vec![Evidence::Url {
        url: "https://example.org".to_owned(),
        quote: "so it is".to_owned(),
    }];
    let bare = Finding {
        evidence: Vec::new(),
        ..finding("errors", "bare", "b", "a.rs", 3)
    };
    let wrong = finding("errors", "wrong", "w", "false.rs", 4);
    let answer = answer(
        &plan("code_review", &["errors"]),
        &[result(1, vec![mixed, bare, wrong, linked])],
        StopReason::Finished,
    );
    assert_eq!(shown(&answer), ["errors: mixed", "errors: linked"], "{answer:#?}");
    assert!(answer.findings().all(|finding| finding.evidence.len() == 1));
    assert_eq!(
        answer.notes,
        [
            "1 finding was left out because it shows no evidence (bare).",
            "1 finding was left out because its evidence does not hold (`false.rs:4`: the quote differs).",
            "1 piece of evidence was left out because it does not hold; its finding has others (`false.rs:2`: the quote differs).",
            "1 piece of evidence was not checked a second time (it is not in the workspace).",
        ]
    );
}

#[test]
fn recommendations_come_from_sure_findings_and_are_ranked() {
    let advise = |claim: &str, action: &str, impact, effort, confidence| Finding {
        recommendation: Some(action.to_owned()),
        impact,
        effort,
        confidence,
        ..finding("errors", claim, claim, claim, 1)
    };
    let results = [result(
        1,
        vec![
            advise("a", "Return an error.", Level::High, Level::Low, 0.9),
            advise("b", "return an error", Level::Medium, Level::Medium, 0.7),
            advise("c", "Rewrite it", Level::Critical, Level::Critical, 1.0),
            advise("d", "Guess", Level::Critical, Level::Info, 0.59),
            finding("errors", "e", "e", "e", 1),
        ],
    )];
    let answer = answer(&plan("code_review", &["errors"]), &results, StopReason::Finished);
    let found: Vec<(&str, f64, usize)> = answer
        .recommendations
        .iter()
        .map(|item| (item.action.as_str(), item.score, item.findings.len()))
        .collect();
    assert_eq!(
        found,
        [("Return an error.", 4.0 * 0.9 / 3.0, 2), ("`c`: Rewrite it", 1.0, 1)]
    );
    assert_eq!(
        answer.recommendations[0].rationale,
        "a (`a:1`). 1 more finding calls for the same: `b:1`."
    );
}

/// The conflicts of these findings of one task.
fn conflicts_of(findings: &[Finding]) -> (Answer, Vec<Conflict>) {
    let answer = answer(
        &plan("research", &["speed", "design"]),
        &[result(1, findings.to_vec())],
        StopReason::Finished,
    );
    let conflicts = answer.conflicts.clone();
    (answer, conflicts)
}

#[test]
fn contradictions_are_found_and_show_both_sides() {
    let claim = |value: f64, unit: &str, path: &str, tool: &str| Finding {
        value: Some(value),
        unit: Some(unit.to_owned()),
        tool: tool.to_owned(),
        ..finding("speed", &format!("a read takes {value} {unit}"), "cache", path, 1)
    };
    let said = |claim: &str, path: &str| finding("speed", claim, "`cache`", path, 7);
    let denied = |claim: &str, path: &str| Finding {
        polarity: Polarity::Negative,
        ..said(claim, path)
    };
    for (name, findings, conflicts) in [
        (
            "figures",
            vec![claim(5.0, "ms", "a.md", "x"), claim(9.0, "ms", "b.md", "y")],
            1,
        ),
        (
            "no tools",
            vec![claim(5.0, "ms", "a.md", ""), claim(9.0, "ms", "b.md", "")],
            1,
        ),
        (
            "within tolerance",
            vec![claim(5.0, "ms", "a.md", "x"), claim(5.2, "ms", "b.md", "y")],
            0,
        ),
        (
            "one tool at two places",
            vec![claim(5.0, "ms", "a.md", "x"), claim(9.0, "ms", "b.md", "x")],
            0,
        ),
        (
            "another unit",
            vec![claim(5.0, "ms", "a.md", "x"), claim(9.0, "MB", "b.md", "y")],
            0,
        ),
        (
            "another scale of it",
            vec![claim(5.0, "ms", "a.md", "x"), claim(0.005, "s", "b.md", "y")],
            0,
        ),
        (
            "figures in words",
            vec![said("the timeout is 30 s", "a.md"), said("the timeout is 60 s", "b.md")],
            1,
        ),
        (
            "figures at one line",
            vec![said("the timeout is 30 s", "a.md"), said("the timeout is 60 s", "a.md")],
            1,
        ),
        (
            "dates",
            vec![said("added on 2024-03-01", "a.md"), said("added on 2 May 2025", "b.md")],
            1,
        ),
        (
            "values",
            vec![
                said("the format is `json`", "a.md"),
                said("the format is `yaml`", "b.md"),
            ],
            1,
        ),
        (
            "a denial",
            vec![
                said("the cache is shared", "a.md"),
                denied("the cache is shared", "b.md"),
            ],
            1,
        ),
        (
            "the opposite in words",
            vec![
                said("the cache is shared", "a.md"),
                said("the cache is not shared", "b.md"),
            ],
            1,
        ),
        (
            "the opposite in words, marked as such",
            vec![
                said("the cache is shared", "a.md"),
                denied("the cache is not shared", "b.md"),
            ],
            1,
        ),
        (
            "about something else",
            vec![
                said("the cache is shared", "a.md"),
                said("the log is not written twice", "b.md"),
            ],
            0,
        ),
        (
            "another subject",
            vec![
                said("the cache is shared", "a.md"),
                Finding {
                    subject: "log".to_owned(),
                    ..said("the cache is not shared", "b.md")
                },
            ],
            0,
        ),
        (
            "another aspect",
            vec![
                said("the cache is shared", "a.md"),
                Finding {
                    aspect: "design".to_owned(),
                    ..said("the cache is not shared", "b.md")
                },
            ],
            1,
        ),
    ] {
        let (answer, found) = conflicts_of(&findings);
        assert_eq!(found.len(), conflicts, "{name}: {:#?}", shown(&answer));
        for conflict in &found {
            assert_eq!((conflict.findings.len(), &conflict.resolved_by), (2, &None), "{name}");
            assert_eq!(conflict.sides.concat(), conflict.findings, "{name}");
            assert!(answer.text.contains("## Conflicts"), "{name}: {}", answer.text);
            assert_eq!(
                answer.text.matches("; disputed, see Conflicts").count(),
                2,
                "{name}: {}",
                answer.text
            );
        }
        let expected = if conflicts == 0 { 1.0 } else { 0.0 };
        assert_eq!(
            answer.quality.expect("measured").conflict_resolution,
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_conflict_is_resolved_where_one_side_clearly_outweighs_the_other() {
    let says = |seconds: u32, confidence: f64, path: &str| Finding {
        confidence,
        recommendation: Some(format!("set the timeout to {seconds} s")),
        ..finding("speed", &format!("the timeout is {seconds} s"), "timeout", path, 7)
    };
    let page = |seconds: u32, confidence: f64| Finding {
        evidence: vec![Evidence::Url {
            url: "https://example.org/manual".to_owned(),
            quote: format!("timeout: {seconds}"),
        }],
        ..says(seconds, confidence, "page")
    };
    for (name, findings, winner, why) in [
        (
            "as sure",
            vec![says(30, 0.8, "a.rs"), says(60, 0.8, "b.rs")],
            None,
            "None outweighs",
        ),
        (
            "a little surer",
            vec![says(30, 0.9, "a.rs"), says(60, 0.75, "b.rs")],
            None,
            "None outweighs",
        ),
        (
            "much surer",
            vec![says(30, 0.95, "a.rs"), says(60, 0.7, "b.rs")],
            Some("30 s"),
            "it is surer",
        ),
        (
            "more origins",
            vec![says(30, 0.7, "a.rs"), says(30, 0.7, "b.rs"), says(60, 0.7, "c.rs")],
            Some("30 s"),
            "2 independent origins against 1",
        ),
        (
            "one origin several times",
            vec![
                says(30, 0.7, "a.rs"),
                says(30, 0.7, "a.rs"),
                says(30, 0.7, "a.rs"),
                says(60, 0.7, "c.rs"),
            ],
            None,
            "None outweighs",
        ),
        (
            "code against a page",
            vec![says(30, 0.85, "a.rs"), page(60, 0.8)],
            Some("30 s"),
            "it cites the code itself",
        ),
        (
            "three sides",
            vec![says(30, 0.98, "a.rs"), says(60, 0.7, "b.rs"), says(90, 0.6, "c.rs")],
            Some("30 s"),
            "it is surer",
        ),
    ] {
        let (answer, found) = conflicts_of(&findings);
        let [conflict] = found.as_slice() else {
            panic!("{name}: {found:#?}");
        };
        let claim_of = |id: &String| {
            answer
                .findings()
                .find(|finding| finding.id == *id)
                .expect("shown")
                .claim
                .clone()
        };
        let resolved = conflict.resolved_by.as_ref().map(claim_of);
        assert_eq!(
            resolved.as_deref().map(|claim| claim.contains(winner.unwrap_or("?"))),
            winner.map(|_| true),
            "{name}: {conflict:#?}"
        );
        assert!(conflict.explanation.contains(why), "{name}: {}", conflict.explanation);
        // Whoever lost is shown, and leads to no advice and no statement above.
        let lost = winner.map_or(0, |_| conflict.sides.len() - 1);
        assert_eq!(
            answer.text.matches("; outweighed, see Conflicts").count(),
            lost,
            "{name}: {}",
            answer.text
        );
        assert_eq!(answer.recommendations.len(), conflict.sides.len() - lost, "{name}");
        if winner.is_some() {
            assert!(!answer.summary.contains("60 s"), "{name}: {}", answer.summary);
        }
        let resolution = if winner.is_some() { 1.0 } else { 0.0 };
        assert_eq!(
            answer.quality.expect("measured").conflict_resolution,
            resolution,
            "{name}"
        );
    }
}

#[test]
fn measures_of_a_constructed_set() {
    let plan = plan("code_review", &["errors", "security", "tests", "docs"]);
    let twice = finding("errors", CLAIM, "parse_header", "a.rs", 5);
    let security = Finding {
        confidence: 0.6,
        ..finding("security", "the key is logged", "key", "b.rs", 9)
    };
    let mut partial = result(3, Vec::new());
    partial.status = TaskStatus::Partial;
    partial.reason = Some("the time is up.".to_owned());
    let mut failed = result(4, Vec::new());
    failed.status = TaskStatus::Failed;
    let results = [
        result(
            1,
            vec![twice.clone(), twice, finding("errors", "gone", "g", "false.rs", 1)],
        ),
        result(2, vec![security]),
        partial,
        failed,
    ];
    let answer = answer(&plan, &results, StopReason::Finished);
    let quality = answer.quality.expect("measured");
    let close = |measured: f64, expected: f64| {
        assert!(
            (measured - expected).abs() < 1e-9,
            "{measured} is not {expected}: {quality:?}"
        )
    };
    close(quality.completeness, 2.0 / 4.0);
    close(quality.consistency, (0.8 + 0.6) / 2.0);
    close(quality.coverage, 2.0 / 4.0);
    close(quality.redundancy, 1.0 / 4.0);
    close(quality.conflict_resolution, 1.0);
    close(quality.plan_coverage, 2.0 / 4.0);
    assert_eq!((answer.status, answer.success), (AnswerStatus::Partial, false));
    assert_eq!(
        (answer.worker_count, answer.tasks_delegated, answer.tasks_completed),
        (4, 4, 2)
    );
    assert_eq!(
        (answer.usage.tool_calls, answer.usage.tokens, answer.usage.cents),
        (8, 40, 2.0)
    );
    assert_eq!(
        (answer.sequential_ms, answer.duration_ms, answer.time_reduction_percent),
        (4_000.0, 2_000.0, 50.0)
    );
    let missing: Vec<(&str, &str)> = answer
        .missing
        .iter()
        .map(|part| (part.aspect.as_str(), part.reason.as_str()))
        .collect();
    assert_eq!(
        missing,
        [("tests", "only in part: the time is up"), ("docs", "its task failed")]
    );
}

#[test]
fn the_status_says_whether_everything_planned_was_done() {
    let plan = plan("code_review", &["errors", "security"]);
    let failed = |task, reason: &str| {
        let mut result = result(task, Vec::new());
        result.status = TaskStatus::Failed;
        result.reason = Some(reason.to_owned());
        result
    };
    let partial = |task| {
        let mut result = failed(task, "cancelled");
        result.status = TaskStatus::Partial;
        result
    };
    for (results, stop_reason, status, words) in [
        (
            vec![result(1, Vec::new()), result(2, Vec::new())],
            StopReason::Finished,
            AnswerStatus::Complete,
            "No problem was found (2 of 2 tasks complete).",
        ),
        (
            vec![result(1, Vec::new())],
            StopReason::Deadline,
            AnswerStatus::Partial,
            "Missing: security (not finished by the deadline).",
        ),
        (
            vec![result(1, Vec::new()), result(2, Vec::new())],
            StopReason::Cancelled,
            AnswerStatus::Partial,
            "2 of 2",
        ),
        (
            Vec::new(),
            StopReason::Cancelled,
            AnswerStatus::Failed,
            "No task gave a usable result: cancelled (2 tasks).",
        ),
        (
            vec![failed(1, "no such tool"), failed(2, "timeout")],
            StopReason::Finished,
            AnswerStatus::Failed,
            "no such tool (task `t1`); timeout (task `t2`). `axon dead ls`",
        ),
        (
            vec![result(1, Vec::new())],
            StopReason::EnoughFound,
            AnswerStatus::Complete,
            "Stopped early, because enough was known: 1 of 2 tasks were not needed.",
        ),
        (
            // What the stop cut off is missed by nobody, what failed before it is.
            vec![result(1, Vec::new()), partial(2)],
            StopReason::EnoughFound,
            AnswerStatus::Complete,
            "Stopped early",
        ),
        (
            vec![result(1, Vec::new()), failed(2, "no such tool")],
            StopReason::EnoughFound,
            AnswerStatus::Partial,
            "Stopped early",
        ),
    ] {
        let answer = answer(&plan, &results, stop_reason);
        let text = format!("{} {}", answer.summary, answer.error.unwrap_or_default());
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_plan_of_diagnostic_tools_is_answered_with_its_outputs() {
    let mut plan = plan("own_plan", &["", "", ""]);
    plan.aspects.clear();
    plan.query.plan = Some(PlanRequest::default());
    let results: Vec<_> = (1..=3)
        .map(|task| {
            let mut result = result(task, Vec::new());
            result.output = if task == 2 {
                Value::Null
            } else {
                json!({ "echo": task })
            };
            result
        })
        .collect();
    let whole = answer(&plan, &results, StopReason::Finished);
    assert_eq!(
        (whole.status, whole.summary.as_str()),
        (AnswerStatus::Complete, "3 of 3 tasks complete.")
    );
    assert_eq!(whole.outputs, json!({ "t1": { "echo": 1 }, "t3": { "echo": 3 } }));
    assert_eq!(whole.quality.expect("measured").completeness, 1.0);

    plan.aspects = vec!["an open objective".to_owned()];
    assert_eq!(
        answer(&plan, &results, StopReason::Finished)
            .quality
            .expect("measured")
            .completeness,
        1.0
    );
    plan.aspects.clear();

    let part = answer(&plan, &results[..2], StopReason::Deadline);
    assert_eq!(part.status, AnswerStatus::Partial);
    assert_eq!(
        part.summary,
        "2 of 3 tasks complete. Missing: t3 (not finished by the deadline)."
    );
    assert_eq!(part.quality.expect("measured").completeness, 2.0 / 3.0);

    let mut large = results;
    large[0].output = Value::String("x".repeat(1024 * 1024));
    let bounded = answer(&plan, &large, StopReason::Finished);
    assert_eq!(bounded.outputs["t1"], json!("left out: 1048578 bytes"));
}

#[test]
fn a_question_is_answered_aspect_by_aspect_with_places() {
    let results = [
        result(
            1,
            vec![
                Finding {
                    confidence: 0.9,
                    ..finding("first cache", "The first cache evicts by age", "lru", "docs/a.md", 4)
                },
                finding("first cache", "It keeps a copy in memory", "copy", "docs/a.md", 30),
            ],
        ),
        result(
            2,
            vec![finding(
                "second cache",
                "The second cache never evicts",
                "arc",
                "docs/b.md",
                7,
            )],
        ),
    ];
    let answer = answer(
        &plan("research", &["first cache", "second cache"]),
        &results,
        StopReason::Finished,
    );
    assert_eq!(
        answer.summary,
        "- The first cache evicts by age (`docs/a.md:4`).\n- It keeps a copy in memory (`docs/a.md:30`).\n- The second cache never evicts (`docs/b.md:7`).\n\n3 findings in all, from 2 files."
    );
    let cause = crate::fixture::answer(
        &plan("bug_investigation", &["first cache", "second cache"]),
        &results,
        StopReason::Finished,
    );
    assert!(
        cause
            .summary
            .starts_with("Most likely: The first cache evicts by age (`docs/a.md:4`).\n\nAlso to consider:\n\n1. "),
        "{}",
        cause.summary
    );
}

#[test]
fn foreign_and_malformed_results_break_nothing() {
    let mut other_query = result(1, vec![finding("errors", "not ours", "n", "a.rs", 1)]);
    other_query.query_id = axon_protocol::QueryId::new("q2").expect("an id");
    let unknown_task = result(9, vec![finding("errors", "not planned", "n", "a.rs", 1)]);
    let mut strange = finding("", "", "", "a.rs", 0);
    strange.id = String::new();
    strange.value = Some(f64::INFINITY);
    strange.confidence = f64::NEG_INFINITY;
    strange.recommendation = Some("  ".to_owned());
    strange.task = TaskId::from_index(77);
    strange.evidence = vec![Evidence::Source {
        path: "a.rs".to_owned(),
        line: 9,
        end_line: 3,
        quote: "x".repeat(100_000),
        digest: axon_protocol::Digest::of(b""),
        revision: None,
    }];
    let mut huge = finding("errors", &"word ".repeat(100_000), "h", "a.rs", 5);
    huge.aspect = "errors".to_owned();
    let answer = answer(
        &plan("code_review", &["errors"]),
        &[
            other_query,
            unknown_task,
            result(1, vec![strange.clone(), strange, huge]),
        ],
        StopReason::Finished,
    );
    assert_eq!(answer.findings().count(), 2, "{:#?}", shown(&answer));
    assert!(
        answer
            .findings()
            .all(|finding| finding.tasks == [TaskId::from_index(1)].into())
    );
    assert!(serde_json::to_vec(&answer).expect("encodes").len() < 64 * 1024);
}

#[test]
fn an_answer_too_large_for_a_message_keeps_what_matters_and_says_so() {
    let config = SynthesizerConfig {
        answer_bytes_max: 64 * 1024,
        ..SynthesizerConfig::default()
    };
    for format in [
        OutputFormat::Markdown,
        OutputFormat::Json,
        OutputFormat::Table,
        OutputFormat::Brief,
    ] {
        let mut plan = plan("code_review", &["errors"]);
        plan.query.output_format = format;
        let findings = (0..2_000)
            .map(|index| Finding {
                severity: if index == 1_234 { Level::Critical } else { Level::Low },
                recommendation: Some(format!("change place {index}")),
                ..finding(
                    "errors",
                    &format!("thing_{index} is \"wrong\""),
                    &format!("thing_{index}"),
                    "a.rs",
                    index,
                )
            })
            .collect();
        let answer = answer_with(&plan, &[result(1, findings)], StopReason::Finished, &config);
        assert!(
            serde_json::to_vec(&answer).expect("encodes").len() <= config.answer_bytes_max,
            "{format:?}"
        );
        assert_eq!(answer.findings().next().expect("kept").claim, "thing_1234 is \"wrong\"");
        let kept = answer.findings().count();
        assert!(
            answer
                .notes
                .iter()
                .any(|note| note.contains(&format!("its {} least important", 2_000 - kept))),
            "{:?}",
            answer.notes
        );
        let ids: Vec<&str> = answer.findings().map(|finding| finding.id.as_str()).collect();
        assert!(
            answer
                .recommendations
                .iter()
                .all(|item| item.findings.iter().all(|id| ids.contains(&id.as_str())))
        );
        assert!(!answer.text.is_empty());
    }
}

#[test]
fn a_large_set_is_put_together_whatever_it_holds() {
    for (name, findings) in large::sets(1_000) {
        let answer = answer(&large::plan(), &large::results(&findings), StopReason::Finished);
        let kept: usize = answer.findings().map(|finding| finding.merged).sum();
        let redundancy = answer.quality.expect("measured").redundancy;
        assert!(kept > 0 && kept <= findings.len(), "{name}: {kept}");
        assert!((0.0..1.0).contains(&redundancy), "{name}: {redundancy}");
    }
}
