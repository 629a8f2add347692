//! The figures of the demo, computed from the results of the tasks and the time the asker waited. Pure.

use std::collections::BTreeSet;

use axon_protocol::TaskResult;
use serde::Serialize;

use crate::output;

/// What one query showed. Times are in milliseconds, shares in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Different workers that did its tasks.
    pub(super) workers: usize,
    /// Calls of tools, over all tasks.
    pub(super) tool_calls: u64,
    /// From the publication of the query until its answer was read.
    pub(super) parallel_ms: f64,
    /// Sum of the times that the tasks' tool graphs took: what one worker would need for one task after the other.
    pub(super) sequential_ms: f64,
    /// `(sequential − parallel) ÷ sequential`, never below 0.
    pub(super) time_saved_percent: f64,
    /// `sequential ÷ (workers × parallel)`: the share of the workers' time until the answer that went into the work.
    pub(super) efficiency_percent: f64,
    /// `sequential ÷ (workers × time from the first start of a task to the last end)`: how evenly they were used meanwhile.
    pub(super) utilisation_percent: f64,
    /// `(parallel − time from the first start of a task to the last end) ÷ parallel`: planning, queues, merging, the answer.
    pub(super) overhead_percent: f64,
    /// What the tools within the tasks showed.
    pub(super) tools: Tools,
}

/// How the tools within the tasks ran, summed over all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Tools {
    /// One call after the other.
    pub(super) sequential_ms: f64,
    /// As they ran.
    pub(super) parallel_ms: f64,
    pub(super) critical_path_ms: f64,
    /// `(sequential − parallel) ÷ sequential`, never below 0.
    pub(super) time_saved_percent: f64,
    /// `parallel ÷ max(critical path, sequential ÷ slots)`: 1 is the shortest possible.
    pub(super) makespan_ratio: f64,
}

/// `None` without any result: there is nothing to divide by.
pub(super) fn figures(results: &[TaskResult], parallel_ms: f64) -> Option<Figures> {
    let first = results.iter().map(|result| result.started_at).min()?;
    let last = results.iter().map(|result| result.finished_at).max()?;
    let working_ms = (last - first).as_seconds_f64().max(0.0) * 1000.0;
    let workers: BTreeSet<&str> = results
        .iter()
        .filter_map(|result| result.worker.as_ref().map(|worker| worker.as_str()))
        .collect();
    let sum = |of: fn(&TaskResult) -> f64| results.iter().map(of).sum::<f64>();
    let sequential_ms = sum(|result| result.run.parallel_ms);
    let tools_ms = sum(|result| result.run.sequential_ms);
    let bound_ms = sum(|result| result.run.lower_bound_ms);
    let of_workers = |time_ms: f64| share(sequential_ms, workers.len() as f64 * time_ms);
    Some(Figures {
        workers: workers.len(),
        tool_calls: results.iter().map(|result| result.usage.tool_calls).sum(),
        parallel_ms,
        sequential_ms,
        time_saved_percent: share(sequential_ms - parallel_ms, sequential_ms),
        efficiency_percent: of_workers(parallel_ms),
        utilisation_percent: of_workers(working_ms),
        overhead_percent: share(parallel_ms - working_ms, parallel_ms),
        tools: Tools {
            sequential_ms: tools_ms,
            parallel_ms: sequential_ms,
            critical_path_ms: sum(|result| result.run.critical_path_ms),
            time_saved_percent: share(tools_ms - sequential_ms, tools_ms),
            makespan_ratio: if bound_ms > 0.0 { sequential_ms / bound_ms } else { 1.0 },
        },
    })
}

/// A part of a whole in percent, never below 0.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (part / whole * 100.0).max(0.0)
    } else {
        0.0
    }
}

/// One line of the table: what was asked, and what the document that Axon comes from says of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) query: String,
    /// Time saved that is aimed for, in percent; none for what is not even work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_saved_aim_percent: Option<f64>,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// The table, with the aims in its last line.
pub(super) fn table(rows: &[Row]) -> String {
    let percent = |value: f64| format!("{value:.1} %");
    let seconds = |ms: f64| format!("{:.2} s", ms / 1000.0);
    let mut cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let found = &row.figures;
            vec![
                row.query.clone(),
                found.workers.to_string(),
                found.tool_calls.to_string(),
                seconds(found.parallel_ms),
                seconds(found.sequential_ms),
                percent(found.time_saved_percent),
                row.time_saved_aim_percent
                    .map_or_else(String::new, |aim| format!("{aim:.0} %")),
                percent(found.efficiency_percent),
                percent(found.utilisation_percent),
                percent(found.overhead_percent),
            ]
        })
        .collect();
    let aims = ["aimed for", "", "", "", "", "", "", "95 %", "80–95 %", "< 5 %"];
    cells.push(aims.map(str::to_owned).to_vec());
    let head = [
        "query",
        "workers",
        "calls",
        "parallel",
        "sequential",
        "saved",
        "(aim)",
        "efficiency",
        "utilisation",
        "overhead",
    ];
    output::table(&head, &cells)
}

#[cfg(test)]
mod tests {
    use axon_protocol::{QueryId, RunStatistics, TaskId, TaskStatus, Usage, WorkerId};
    use chrono::{DateTime, Utc};
    use serde_json::Value;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time")
    }

    /// A task of one worker that ran for a while: four calls, two at a time.
    fn result(worker: &str, from: i64, until: i64) -> TaskResult {
        let took = (until - from) as f64;
        TaskResult {
            query_id: QueryId::new("q1").expect("an id"),
            task_id: TaskId::new("t1").expect("an id"),
            status: TaskStatus::Complete,
            reason: None,
            findings: Vec::new(),
            notes: Vec::new(),
            output: Value::Null,
            usage: Usage {
                tool_calls: 4,
                ..Usage::default()
            },
            run: RunStatistics::new(took * 2.0, took, took, took),
            worker: Some(WorkerId::new(worker).expect("an id")),
            attempt: 1,
            started_at: at(from),
            finished_at: at(until),
        }
    }

    #[test]
    fn the_figures_follow_from_the_results() {
        let four: Vec<TaskResult> = ["a", "b", "c", "d"].map(|worker| result(worker, 100, 1100)).into();
        let uneven = [result("a", 0, 1000), result("b", 0, 500)];
        let one = [result("a", 0, 1000), result("a", 1000, 2000)];
        for (what, results, parallel_ms, expected) in [
            // Workers, sequential, saved, efficiency, utilisation, overhead.
            ("four at once", &four[..], 1250.0, (4, 4000.0, 68.75, 80.0, 100.0, 20.0)),
            (
                "one is done early",
                &uneven,
                1000.0,
                (2, 1500.0, 100.0 / 3.0, 75.0, 75.0, 0.0),
            ),
            ("one after the other", &one, 2500.0, (1, 2000.0, 0.0, 80.0, 100.0, 20.0)),
        ] {
            let found = figures(results, parallel_ms).expect("results");
            let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
            assert_eq!((found.workers, found.sequential_ms), (expected.0, expected.1), "{what}");
            assert!(close(found.time_saved_percent, expected.2), "{what}: {found:?}");
            assert!(close(found.efficiency_percent, expected.3), "{what}: {found:?}");
            assert!(close(found.utilisation_percent, expected.4), "{what}: {found:?}");
            assert!(close(found.overhead_percent, expected.5), "{what}: {found:?}");
            assert!(close(found.tools.time_saved_percent, 50.0) && close(found.tools.makespan_ratio, 1.0));
            assert_eq!(found.tool_calls, 4 * results.len() as u64);
        }
        assert_eq!(figures(&[], 1.0), None);
    }

    #[test]
    fn the_table_shows_each_query_beside_what_is_aimed_for() {
        let row = Row {
            query: "medium".to_owned(),
            time_saved_aim_percent: Some(75.0),
            figures: figures(&[result("a", 0, 1000)], 1010.0).expect("a result"),
        };
        let table = table(&[row]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        for said in ["medium", "1.01 s", "1.00 s", "75 %", "99.0 %"] {
            assert!(lines[1].contains(said), "{said}: {table}");
        }
        assert!(lines[2].contains("< 5 %"), "{table}");
    }
}
