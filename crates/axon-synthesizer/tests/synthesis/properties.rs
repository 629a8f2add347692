use axon_protocol::{Answer, Finding, Level, Polarity, StopReason, TaskResult};
use proptest::prelude::*;

use crate::fixture::{answer, finding, plan, result};

const ASPECTS: &[&str] = &["errors", "security", "tests"];

fn one() -> impl Strategy<Value = Finding> {
    (
        (0..4usize, 0..8usize, 0..3usize, 0..4usize, 1..12u32),
        (0..=10u32, 0..3usize, 0..2usize, 0..4usize, any::<bool>()),
    )
        .prop_map(
            |((aspect, claim, subject, file, line), (confidence, level, polarity, value, advice))| {
                let claims = [
                    "the lock is held across an await point",
                    "the lock is held across the await",
                    "a lock stays held across an await point here",
                    "`parse` panics on empty input",
                    "`parse` may panic on empty input",
                    "`read` panics on empty input",
                    "the key is written to the log",
                    "",
                ];
                Finding {
                    confidence: f64::from(confidence) / 10.0,
                    severity: [Level::Low, Level::Medium, Level::Critical][level],
                    polarity: [Polarity::Positive, Polarity::Negative][polarity],
                    value: [None, None, Some(1.0), Some(2.0)][value],
                    unit: Some("ms".to_owned()),
                    recommendation: advice.then(|| format!("do something about {claim}")),
                    tool: ["", "rules", "search"][subject].to_owned(),
                    ..finding(
                        ["errors", "security", "unplanned", ""][aspect],
                        claims[claim],
                        ["lock", "parse", ""][subject],
                        ["a.rs", "b.rs", "c.rs", "false.rs"][file],
                        line,
                    )
                }
            },
        )
}

fn sets() -> impl Strategy<Value = Vec<TaskResult>> {
    prop::collection::vec(prop::collection::vec(one(), 0..12), 1..=3).prop_map(|tasks| {
        tasks
            .into_iter()
            .enumerate()
            .map(|(index, findings)| result(index + 1, findings))
            .collect()
    })
}

/// The answer without what may depend on repeats: counts of merged findings, redundancy, and the words that state them.
fn without_counts(mut answer: Answer) -> Answer {
    for finding in answer.aspects.iter_mut().flat_map(|aspect| &mut aspect.findings) {
        finding.merged = 0;
    }
    if let Some(quality) = &mut answer.quality {
        quality.redundancy = 0.0;
    }
    answer.text.clear();
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_results_changes_nothing(results in sets(), turn in 0..3usize) {
        let plan = plan("code_review", ASPECTS);
        let mut turned = results.clone();
        turned.rotate_left(turn % results.len());
        turned.reverse();
        prop_assert_eq!(answer(&plan, &results, StopReason::Finished), answer(&plan, &turned, StopReason::Finished));
    }

    #[test]
    fn a_repeat_changes_redundancy_and_counts_only(results in sets(), task in 0..3usize, which in 0..12usize, place in 0..12usize) {
        let plan = plan("code_review", ASPECTS);
        let mut repeated = results.clone();
        let task = task % results.len();
        // A finding whose evidence fails is counted in a note, which is no repeat of anything kept.
        let kept: Vec<&Finding> =
            results[task].findings.iter().filter(|finding| !finding.origin.starts_with("false")).collect();
        prop_assume!(!kept.is_empty());
        let repeat = kept[which % kept.len()].clone();
        let place = place % (results[task].findings.len() + 1);
        repeated[task].findings.insert(place, repeat);
        let (before, after) = (answer(&plan, &results, StopReason::Finished), answer(&plan, &repeated, StopReason::Finished));
        let redundancy = |answer: &Answer| answer.quality.expect("measured").redundancy;
        prop_assert!(redundancy(&after) > redundancy(&before) || redundancy(&before) == 1.0);
        prop_assert_eq!(without_counts(before), without_counts(after));
    }

    #[test]
    fn what_is_kept_has_evidence_and_what_is_cited_is_kept(results in sets()) {
        let answer = answer(&plan("code_review", ASPECTS), &results, StopReason::Finished);
        let ids: std::collections::BTreeSet<&str> = answer.findings().map(|finding| finding.id.as_str()).collect();
        prop_assert_eq!(ids.len(), answer.findings().count(), "ids are unique");
        for finding in answer.findings() {
            prop_assert!(!finding.evidence.is_empty());
            prop_assert!(finding.evidence.iter().all(|evidence| !evidence.location().starts_with("false")));
            prop_assert!((0.0..=1.0).contains(&finding.confidence));
        }
        for recommendation in &answer.recommendations {
            prop_assert!(!recommendation.findings.is_empty());
            prop_assert!(recommendation.findings.iter().all(|id| ids.contains(id.as_str())));
        }
        for conflict in &answer.conflicts {
            prop_assert!(conflict.findings.iter().all(|id| ids.contains(id.as_str())));
        }
        prop_assert!(!answer.notes.iter().any(|note| note.contains("of the summary left out")), "{:?}", answer.notes);
        for statement in answer.summary.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(". `")) {
            prop_assert!(statement.contains("(`"), "{}", statement);
        }
        let reported: usize = results.iter().map(|result| result.findings.len()).sum();
        let left_out = results.iter().flat_map(|result| &result.findings).filter(|finding| finding.origin.starts_with("false")).count();
        prop_assert_eq!(answer.findings().map(|finding| finding.merged).sum::<usize>(), reported - left_out);
        let quality = answer.quality.expect("measured");
        for measure in [quality.completeness, quality.consistency, quality.coverage, quality.redundancy, quality.conflict_resolution, quality.plan_coverage] {
            prop_assert!((0.0..=1.0).contains(&measure), "{:?}", quality);
        }
    }
}
