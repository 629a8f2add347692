//! The even work of the demo: for each complexity a plan of its own, of tasks whose tools form a graph. Pure.

use axon_protocol::{Complexity, PRIORITY_DEFAULT, PlanRequest, Query, TaskRequest, ToolCall};
use axon_tools::{Graph, GraphError};
use serde_json::json;

/// What a complexity is shown with: the workers and times of the document that Axon comes from, and as many tool calls as
/// it gives to each worker, in stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Class {
    pub(super) complexity: Complexity,
    /// Tasks, each for a worker of its own.
    pub(super) tasks: usize,
    /// Calls in each stage of a task's graph; every call waits for the whole stage before it.
    stages: &'static [usize],
    /// What a task takes at the pace of that document, in milliseconds.
    task_ms: u64,
    /// Time saved that is aimed for, in percent.
    pub(super) aim_percent: f64,
}

pub(super) const CLASSES: [Class; 3] = [
    Class {
        complexity: Complexity::Simple,
        tasks: 1,
        stages: &[2, 3, 1],
        task_ms: 30_000,
        aim_percent: 0.0,
    },
    Class {
        complexity: Complexity::Medium,
        tasks: 4,
        stages: &[4, 4, 3, 1],
        task_ms: 45_000,
        aim_percent: 75.0,
    },
    Class {
        complexity: Complexity::Complex,
        tasks: 10,
        stages: &[6, 6, 5, 1],
        task_ms: 60_000,
        aim_percent: 90.0,
    },
];

/// Time beyond the work that a query of the demo has until its deadline, in seconds.
const SPARE_S: u64 = 60;

impl Class {
    /// The calls of one task, `speed` times as fast as in that document.
    fn calls(&self, speed: f64) -> Vec<ToolCall> {
        let ms = (self.task_ms as f64 / self.stages.len() as f64 / speed)
            .round()
            .max(1.0) as u64;
        let name = |stage: usize, index: usize| format!("{}{}", char::from(b'a' + stage as u8), index + 1);
        let mut calls = Vec::new();
        for (stage, width) in self.stages.iter().enumerate() {
            let before = stage.checked_sub(1).map_or(0, |before| self.stages[before]);
            calls.extend((0..*width).map(|index| ToolCall {
                tool_id: name(stage, index),
                tool_name: "diag.sleep".to_owned(),
                params: json!({ "ms": ms }),
                outputs: Vec::new(),
                inputs: (0..before).map(|index| name(stage - 1, index)).collect(),
                priority: PRIORITY_DEFAULT,
            }));
        }
        calls
    }

    /// The query that shows this complexity.
    pub(super) fn query(&self, speed: f64) -> Query {
        let calls = self.calls(speed);
        let task = TaskRequest {
            objective: format!("even work of a {} query", self.complexity),
            max_tool_calls: Some(calls.len()),
            calls,
            ..TaskRequest::default()
        };
        Query {
            deadline_s: Some((self.task_ms as f64 / 1000.0 / speed).ceil() as u64 + SPARE_S),
            plan: Some(PlanRequest {
                tasks: vec![task; self.tasks],
            }),
            ..Query::new(format!("the demo of a {} query", self.complexity))
        }
    }

    /// The tool graph of each of its tasks, for people.
    pub(super) fn graph_text(&self, speed: f64) -> Result<String, GraphError> {
        let graph = Graph::new(self.calls(speed))?;
        let durations: Vec<f64> = graph
            .calls()
            .iter()
            .map(|call| call.params["ms"].as_f64().unwrap_or_default())
            .collect();
        let stages: Vec<String> = graph.stages().iter().map(|stage| stage.join(" ")).collect();
        Ok(format!(
            "each with {} tool calls in {} stages: {}; critical path {:.2} s, one call after the other {:.2} s",
            durations.len(),
            stages.len(),
            stages.join(" → "),
            graph.critical_path(&durations) / 1000.0,
            durations.iter().sum::<f64>() / 1000.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_the_workers_calls_and_times_it_stands_for() {
        for (class, (tasks, calls, task_s)) in
            CLASSES
                .iter()
                .zip([(1, 3..=10, 30.0), (4, 10..=15, 45.0), (10, 15..=20, 60.0)])
        {
            let query = class.query(10.0);
            query.check().expect("a query");
            let plan = query.plan.expect("a plan");
            assert_eq!(plan.tasks.len(), tasks);
            assert!(
                plan.tasks.iter().all(|task| calls.contains(&task.calls.len())),
                "{class:?}"
            );
            let graph = Graph::new(plan.tasks[0].calls.clone()).expect("a graph");
            let durations: Vec<f64> = graph
                .calls()
                .iter()
                .map(|call| call.params["ms"].as_f64().expect("a time"))
                .collect();
            let critical_s = graph.critical_path(&durations) / 1000.0;
            assert!((critical_s - task_s / 10.0).abs() < 0.01, "{class:?}: {critical_s}");
            assert_eq!(graph.stages().len(), class.stages.len());
        }
    }

    #[test]
    fn the_graph_is_shown_by_stages() {
        let text = CLASSES[0].graph_text(10.0).expect("a graph");
        assert_eq!(
            text,
            "each with 6 tool calls in 3 stages: a1 a2 → b1 b2 b3 → c1; critical path 3.00 s, one call after the other 6.00 s"
        );
    }
}
