//! A further task for an aspect that came back thin. It is a pure function of the plan: it asks the same question where
//! or how nobody has looked yet, and never the same again.

use axon_protocol::{Budget, ExecutionPlan, TaskBoundaries, TaskDelegation, TaskId};
use serde_json::{Value, json};

use super::{one_line, scope_in_words};
use crate::strategy::GENERAL;

/// The tools of the widest search there is.
const WIDEST: &str = "code.*";

/// Writes a task like `like` that looks at the whole workspace where `like` looked at a part, and works in the general
/// way where it had looked at everything. `None` where neither would be new.
pub fn again(plan: &ExecutionPlan, like: &TaskId, task_id: TaskId, budget: Budget) -> Option<TaskDelegation> {
    let first = plan.task_delegations.iter().find(|task| task.task_id == *like)?;
    let (query, aspect) = (one_line(&plan.query.query), &first.aspect);
    let looked_at = scope_in_words(&first.boundaries.scope);
    let (playbook, allowed_tools, how) = if !first.boundaries.scope.is_empty() {
        (
            &*first.playbook,
            first.allowed_tools.clone(),
            "now in the whole workspace",
        )
    } else if first.playbook != GENERAL {
        (
            GENERAL,
            vec![WIDEST.to_owned()],
            "now by whatever search brings anything",
        )
    } else {
        return None;
    };
    let mut context = first.context.clone();
    if let Value::Object(known) = &mut context {
        // Who reads this looks beyond the paths that the query names.
        known.insert("again".to_owned(), json!(like));
    }
    Some(TaskDelegation {
        task_id,
        objective: format!(
            "Examine {aspect} once more for “{query}”, {how}, because {looked_at} brought next to nothing."
        ),
        allowed_tools,
        boundaries: TaskBoundaries {
            scope: Vec::new(),
            ..first.boundaries.clone()
        },
        context,
        dependencies: Vec::new(),
        playbook: playbook.to_owned(),
        budget,
        added: true,
        ..first.clone()
    })
}
