//! The plan of a query that repeats an earlier one: the recorded plan with new names and times, and what of it is not carried
//! out because it came to nothing then. Pure.

use std::collections::{BTreeSet, HashMap};

use axon_protocol::{Answer, ExecutionPlan, Query, QueryId, StopReason, TaskId};
use chrono::{DateTime, Utc};

use crate::allocation::deadlines;
use crate::config::Config;

/// The recorded plan as the plan of a query that was accepted `now`: the same tasks with the same limits. What a model once
/// did for it is not done again, and nothing is recalled. It ends where it ended then, whatever the order in which the
/// recorded results come.
pub fn replayed(
    recorded: ExecutionPlan,
    query: &Query,
    query_id: &QueryId,
    config: &Config,
    now: DateTime<Utc>,
) -> ExecutionPlan {
    let deadlines = deadlines(now, recorded.resource_allocation.timeout_ms, config.synthesis_share);
    let mut strategy = recorded.strategy;
    strategy.reasons = vec![format!("the plan of query {} is followed again", recorded.query_id)];
    ExecutionPlan {
        plan_id: query_id.as_str().to_owned(),
        query_id: query_id.clone(),
        query: Query {
            // A query that brought its plan is still one that did.
            plan: recorded.query.plan,
            ..query.clone()
        },
        strategy,
        planned_by: None,
        stop_rule: None,
        recalled: Vec::new(),
        created_at: now,
        tasks_deadline: deadlines.tasks,
        deadline: deadlines.answer,
        ..recorded
    }
}

/// What became of a query that is repeated, where that is not a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The tasks that were never done, or came to nothing, and why: they are not carried out in a repetition either.
    pub tasks: Vec<(TaskId, String)>,
    /// Why the work on it stopped.
    pub stop: StopReason,
}

/// What a repetition of the query `of` does not carry out, by the recorded answer and the tasks whose results are `kept`. A
/// task that has no result is missing again where the answer says that it was missing; only where the answer says that it
/// had one, which is gone, is it worked on. Without an answer nobody knows which of them were done.
pub fn undone(plan: &ExecutionPlan, of: &QueryId, answer: Option<&Answer>, kept: &BTreeSet<TaskId>) -> Undone {
    // An answer that refuses its query tells nothing of tasks.
    let answer = answer.filter(|answer| answer.stop_reason != StopReason::Refused);
    let missing: Option<HashMap<&TaskId, &str>> = answer.map(|answer| {
        let parts = answer.missing.iter();
        parts.map(|part| (&part.task_id, part.reason.as_str())).collect()
    });
    let reason = |task: &TaskId| match &missing {
        Some(missing) => missing.get(task).map(|reason| (*reason).to_owned()),
        None => Some(format!(
            "query {of} has no recorded answer that tells whether it was done"
        )),
    };
    let without = plan.task_delegations.iter().map(|task| &task.task_id);
    Undone {
        tasks: without
            .filter(|task| !kept.contains(*task))
            .filter_map(|task| Some((task.clone(), reason(task)?)))
            .collect(),
        stop: answer.map_or(StopReason::Finished, |answer| answer.stop_reason),
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::{MissingPart, PlanRequest, Replay, TaskRequest};
    use chrono::TimeDelta;

    use super::*;
    use crate::planning::own_plan;

    #[test]
    fn a_replay_has_the_recorded_tasks_with_new_names_and_times() {
        let config = Config::default();
        let ids = ["q1", "q2"].map(|id| QueryId::new(id).expect("an id"));
        let task = TaskRequest {
            objective: "look around".to_owned(),
            ..TaskRequest::default()
        };
        let asked = Query {
            deadline_s: Some(100),
            plan: Some(PlanRequest { tasks: vec![task] }),
            ..Query::new("why?")
        };
        let then = DateTime::<Utc>::UNIX_EPOCH;
        let recorded = own_plan(&asked, &ids[0], None, &config, then).expect("a plan");
        let query = Query {
            deadline_s: Some(100),
            replay: Some(Replay { of: ids[0].clone() }),
            ..Query::new("why?")
        };
        let now = then + TimeDelta::days(1);
        let plan = replayed(recorded.clone(), &query, &ids[1], &config, now);
        assert_eq!(plan.task_delegations, recorded.task_delegations);
        assert_eq!((&plan.query_id, plan.plan_id.as_str()), (&ids[1], "q2"));
        assert_eq!(
            (&plan.query.replay, &plan.query.plan),
            (&query.replay, &recorded.query.plan)
        );
        assert_eq!(plan.tasks_deadline - now, recorded.tasks_deadline - then);
        assert_eq!(plan.deadline - now, TimeDelta::seconds(100));
        assert_eq!(plan.strategy.name, recorded.strategy.name);
        assert_eq!(plan.strategy.reasons, ["the plan of query q1 is followed again"]);
    }

    #[test]
    fn what_came_to_nothing_is_not_done_and_what_is_lost_is() {
        let of = QueryId::new("q1").expect("an id");
        let tasks = vec![TaskRequest::default(); 3].into_iter().map(|task| TaskRequest {
            objective: "look around".to_owned(),
            ..task
        });
        let asked = Query {
            plan: Some(PlanRequest { tasks: tasks.collect() }),
            ..Query::new("why?")
        };
        let plan = own_plan(&asked, &of, None, &Config::default(), DateTime::UNIX_EPOCH).expect("a plan");
        let answer = |stop_reason, missing: &[usize]| Answer {
            stop_reason,
            missing: missing
                .iter()
                .map(|index| MissingPart {
                    task_id: TaskId::from_index(*index),
                    aspect: String::new(),
                    reason: format!("reason {index}"),
                })
                .collect(),
            ..Answer::refused(of.clone(), "why?", "", DateTime::UNIX_EPOCH)
        };
        let unknown = "no recorded answer";
        for (recorded, kept, expected, stop) in [
            (
                Some(answer(StopReason::Finished, &[])),
                vec![1, 2, 3],
                vec![],
                StopReason::Finished,
            ),
            (
                Some(answer(StopReason::Finished, &[])),
                vec![1, 3],
                vec![],
                StopReason::Finished,
            ),
            (
                Some(answer(StopReason::Cancelled, &[2, 3])),
                vec![1],
                vec![(2, "reason 2"), (3, "reason 3")],
                StopReason::Cancelled,
            ),
            // A failure that has its result fails again by itself.
            (
                Some(answer(StopReason::Finished, &[2])),
                vec![1, 2, 3],
                vec![],
                StopReason::Finished,
            ),
            (
                Some(answer(StopReason::EnoughFound, &[3])),
                vec![1],
                vec![(3, "reason 3")],
                StopReason::EnoughFound,
            ),
            (None, vec![1], vec![(2, unknown), (3, unknown)], StopReason::Finished),
            (
                Some(answer(StopReason::Refused, &[])),
                vec![],
                vec![(1, unknown), (2, unknown), (3, unknown)],
                StopReason::Finished,
            ),
        ] {
            let kept = kept.into_iter().map(TaskId::from_index).collect();
            let undone = undone(&plan, &of, recorded.as_ref(), &kept);
            assert_eq!((undone.tasks.len(), undone.stop), (expected.len(), stop), "{undone:?}");
            for ((task, reason), (index, said)) in undone.tasks.iter().zip(expected) {
                assert!(
                    *task == TaskId::from_index(index) && reason.contains(said),
                    "{undone:?}"
                );
            }
        }
    }
}
