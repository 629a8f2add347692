//! The plan of a query that repeats an earlier one: the recorded plan with new names and times. Pure.

use axon_protocol::{ExecutionPlan, Query, QueryId};
use chrono::{DateTime, Utc};

use crate::allocation::deadlines;
use crate::config::Config;

/// The recorded plan as the plan of a query that was accepted `now`: the same tasks with the same limits. What a model once
/// did for it is not done again, and nothing is recalled.
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
        recalled: Vec::new(),
        created_at: now,
        tasks_deadline: deadlines.tasks,
        deadline: deadlines.answer,
        ..recorded
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::{PlanRequest, Replay, TaskRequest};
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
}
