//! What the results so far say about the rest: whether enough is known, which aspect came back thin, which task is so slow
//! that executing it again helps. Pure functions of the tasks; they change nothing.

use axon_protocol::{StopRule, TaskStatus};
use chrono::{DateTime, TimeDelta, Utc};

use super::task::{Entry, Progress};

/// Confidence below which all findings of an aspect together count as thin.
const THIN_CONFIDENCE: f64 = 0.5;
/// Results that must have come before an execution counts as slow.
const COMPARED_MIN: usize = 3;
/// A task is not executed again before it took this long, in milliseconds.
const SLOW_MS_MIN: i64 = 2_000;
/// Nor before it took this much longer than the longest of the others.
const SLOW_FACTOR: f64 = 1.5;
/// The end is near when at most one in this many tasks is open.
const END_SHARE: usize = 10;

/// Whether every open task is of an aspect about which enough is known. `order` holds the ended tasks as they came.
pub(super) fn is_enough(rule: &StopRule, tasks: &[Entry], order: &[usize]) -> bool {
    let mut open = tasks.iter().filter(|task| !task.ended()).peekable();
    open.peek().is_some() && open.all(|task| is_known(rule, tasks, order, &task.aspect))
}

fn is_known(rule: &StopRule, tasks: &[Entry], order: &[usize], aspect: &str) -> bool {
    let results: Vec<(usize, f64)> = order
        .iter()
        .filter_map(|index| tasks.get(*index))
        .filter(|task| task.aspect == aspect)
        .filter_map(|task| task.accepted())
        .filter(|accepted| accepted.status == TaskStatus::Complete)
        .map(|accepted| (accepted.new_findings, accepted.confidence))
        .collect();
    let covered = |least: f64| results.iter().any(|(_, confidence)| *confidence >= least);
    let exhausted = |count: u32| {
        let count = (count.max(1) as usize).min(results.len() + 1);
        let (before, last) = results.split_at(results.len().saturating_sub(count));
        last.len() == count && last.iter().all(|(new, _)| *new == 0) && before.iter().any(|(new, _)| *new > 0)
    };
    rule.confidence_min.is_some_and(covered) || rule.barren_results.is_some_and(exhausted)
}

/// The first task of an aspect all of whose tasks have ended, at least one of them well, and brought next to nothing.
/// Aspects that other tasks wait for are left alone, and so are those that `tried` names.
pub(super) fn thin(tasks: &[Entry], tried: &[String]) -> Option<usize> {
    let needed = |index: usize| tasks.iter().any(|task| task.dependencies.contains(&index));
    tasks.iter().position(|task| {
        let mut same = tasks
            .iter()
            .enumerate()
            .filter(|(_, other)| other.aspect == task.aspect);
        !task.aspect.is_empty()
            && !tried.contains(&task.aspect)
            && task.succeeded()
            && same.all(|(index, other)| {
                let confidence = other.accepted().map_or(0.0, |accepted| accepted.confidence);
                other.ended() && confidence < THIN_CONFIDENCE && !needed(index)
            })
    })
}

/// How long an execution may take before it is slow; `None` while it cannot be told or the end is not near.
pub(super) fn slow_after(tasks: &[Entry]) -> Option<TimeDelta> {
    let open = tasks.iter().filter(|task| !task.ended()).count();
    let durations = tasks
        .iter()
        .filter_map(|task| task.accepted())
        .filter(|accepted| accepted.status == TaskStatus::Complete)
        .map(|accepted| accepted.duration_ms);
    let (count, longest) = durations.fold((0, 0), |(count, longest), ms| (count + 1, ms.max(longest)));
    let near = open > 0 && open <= (tasks.len() / END_SHARE).max(1) && tasks.iter().all(|task| !task.is_waiting());
    (near && count >= COMPARED_MIN).then(|| {
        let slow = (longest as f64 * SLOW_FACTOR) as i64;
        TimeDelta::milliseconds(slow.max(SLOW_MS_MIN))
    })
}

/// When the first open task may turn out to be slow: none can have run for longer than it is queued.
pub(super) fn slow_at(tasks: &[Entry]) -> Option<DateTime<Utc>> {
    let after = slow_after(tasks)?;
    let queued = tasks.iter().filter_map(|task| match task.progress {
        Progress::Queued { since } if task.repeatable && !task.second => Some(since + after),
        _ => None,
    });
    queued.min()
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Budget, TaskId};

    use super::super::task::Accepted;
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time")
    }

    /// A task by its aspect: open, or ended with so many new findings of this confidence.
    fn task(index: usize, aspect: &str, ended: Option<(usize, f64)>) -> Entry {
        let id = TaskId::from_index(index + 1);
        let progress = match ended {
            None => Progress::Queued { since: at(0) },
            Some((new_findings, confidence)) => Progress::Ended(Accepted {
                task: id.clone(),
                status: TaskStatus::Complete,
                reason: None,
                sequence: None,
                worker: None,
                attempt: 1,
                new_findings,
                confidence,
                spent: Budget::default(),
                duration_ms: 1_000 * (index as u64 + 1),
            }),
        };
        Entry {
            id,
            aspect: aspect.to_owned(),
            dependencies: Vec::new(),
            progress,
            budget: Budget::default(),
            repeatable: true,
            second: false,
        }
    }

    fn tasks(all: &[(&str, Option<(usize, f64)>)]) -> Vec<Entry> {
        let entries = all.iter().enumerate();
        entries
            .map(|(index, (aspect, ended))| task(index, aspect, *ended))
            .collect()
    }

    #[test]
    fn enough_is_known_when_every_open_aspect_is_covered_or_exhausted() {
        let sure = StopRule {
            confidence_min: Some(0.9),
            barren_results: None,
        };
        let barren = StopRule {
            confidence_min: None,
            barren_results: Some(2),
        };
        let (open, good, weak, none) = (None, Some((1, 0.9)), Some((2, 0.6)), Some((0, 0.0)));
        for (rule, all, expected) in [
            (sure, &[("a", good), ("a", open)][..], true),
            (sure, &[("a", good), ("b", open)], false),
            (sure, &[("a", good), ("a", open), ("b", open)], false),
            (sure, &[("a", weak), ("a", open)], false),
            (sure, &[("a", good), ("a", good)], false),
            (sure, &[], false),
            (barren, &[("a", weak), ("a", none), ("a", none), ("a", open)], true),
            (barren, &[("a", weak), ("a", none), ("a", open)], false),
            (barren, &[("a", none), ("a", none), ("a", none), ("a", open)], false),
            (barren, &[("a", none), ("a", none), ("a", weak), ("a", open)], false),
            (StopRule::default(), &[("a", good), ("a", open)], false),
        ] {
            let tasks = tasks(all);
            let order: Vec<usize> = (0..tasks.len()).filter(|index| tasks[*index].ended()).collect();
            assert_eq!(is_enough(&rule, &tasks, &order), expected, "{rule:?} {all:?}");
        }
    }

    #[test]
    fn an_aspect_is_thin_when_all_its_tasks_ended_and_none_found_much() {
        let (open, good, weak, none) = (None, Some((1, 0.7)), Some((1, 0.4)), Some((0, 0.0)));
        for (all, expected) in [
            (&[("a", none), ("b", good)][..], Some(0)),
            (&[("a", good), ("b", weak)], Some(1)),
            (&[("a", none), ("a", good)], None),
            (&[("a", none), ("a", open)], None),
            (&[("tried", none)], None),
            (&[("", none)], None),
        ] {
            assert_eq!(thin(&tasks(all), &["tried".to_owned()]), expected, "{all:?}");
        }
        let mut needed = tasks(&[("a", none), ("b", open)]);
        needed[1].dependencies = vec![0];
        assert_eq!(thin(&needed, &[]), None, "another task goes on from it");
        let mut failed = tasks(&[("a", none)]);
        failed[0].progress = Progress::Skipped("no".to_owned());
        assert_eq!(thin(&failed, &[]), None, "what failed was tried often enough");
    }

    #[test]
    fn a_task_is_slow_near_the_end_and_well_after_the_others() {
        let (open, done) = (None, Some((1, 0.7)));
        for (all, expected_ms) in [
            (&[("a", done), ("b", done), ("c", done), ("d", open)][..], Some(4_500)),
            (&[("a", done), ("b", done), ("d", open)], None),
            (&[("a", done), ("b", done), ("c", done), ("d", open), ("e", open)], None),
            (&[("a", done), ("b", done), ("c", done)], None),
        ] {
            let after = slow_after(&tasks(all)).map(|after| after.num_milliseconds());
            assert_eq!(after, expected_ms, "{all:?}");
        }
        let mut all = tasks(&[("a", done), ("b", done), ("c", done), ("d", open)]);
        assert_eq!(slow_at(&all), Some(at(4_500)));
        all[3].repeatable = false;
        assert_eq!(slow_at(&all), None);
    }
}
