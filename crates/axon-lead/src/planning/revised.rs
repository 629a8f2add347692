//! A plan as a model would have it, made of the plan that was drafted without one: the model says what to find out and where,
//! everything else (tools, capabilities, limits, budget) stays the draft's. Pure.

use axon_protocol::{Budget, ExecutionPlan, PlannedBy, ResourceAllocation, TaskDelegation, TaskId};
use serde::Deserialize;

use super::order::{levels, needs};
use crate::allocation::split;
use crate::view::{WorkspaceView, holds};

/// Longest objective and question, in characters.
const TEXT_CHARS_MAX: usize = 600;
/// Most questions and paths of one task.
const ITEMS_MAX: usize = 12;

/// A task as a model wants it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WantedTask {
    /// The task of the draft that it is made of.
    pub like: String,
    /// What to find out.
    pub objective: String,
    /// Where; as in the draft if absent.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
    /// What the findings should answer; as in the draft if empty.
    #[serde(default)]
    pub key_questions: Vec<String>,
    /// Tasks of this list, counted from 1, whose results it needs.
    #[serde(default)]
    pub after: Vec<usize>,
}

/// The draft with these tasks in place of its own. The error says what cannot be followed, and the draft stays.
pub fn revised(draft: &ExecutionPlan, wanted: &[WantedTask], view: &WorkspaceView) -> Result<ExecutionPlan, String> {
    let most = draft.resource_allocation.num_workers.max(draft.task_delegations.len());
    if wanted.is_empty() || wanted.len() > most {
        return Err(format!("it has {} tasks where 1 to {most} are possible", wanted.len()));
    }
    let total = draft
        .task_delegations
        .iter()
        .fold(Budget::default(), |sum, task| Budget {
            tokens: sum.tokens + task.budget.tokens,
            cents: sum.cents + task.budget.cents,
        });
    let (budgets, _) = split(total, wanted.len(), 0.0);
    let tasks: Vec<TaskDelegation> = wanted
        .iter()
        .zip(budgets)
        .enumerate()
        .map(|(index, (wanted, budget))| task(draft, index, wanted, budget, view))
        .collect::<Result<_, String>>()?;
    let mut aspects: Vec<String> = Vec::new();
    for task in &tasks {
        if !aspects.contains(&task.aspect) {
            aspects.push(task.aspect.clone());
        }
    }
    let mut plan = ExecutionPlan {
        task_delegations: tasks,
        aspects,
        ..draft.clone()
    };
    let count = plan.task_delegations.len();
    let depth = levels(&needs(&plan)).into_iter().max().unwrap_or(0) + 1;
    plan.parallelizable = depth < count;
    let workers = if plan.parallelizable { count } else { 1 };
    plan.resource_allocation = ResourceAllocation {
        num_workers: workers,
        max_parallel_workers: draft.resource_allocation.max_parallel_workers.clamp(1, workers),
        ..draft.resource_allocation.clone()
    };
    Ok(plan)
}

fn task(
    draft: &ExecutionPlan,
    index: usize,
    wanted: &WantedTask,
    budget: Budget,
    view: &WorkspaceView,
) -> Result<TaskDelegation, String> {
    let number = index + 1;
    let like = draft
        .task_delegations
        .iter()
        .find(|task| task.task_id.as_str() == wanted.like)
        .ok_or_else(|| {
            format!(
                "task {number} is like `{}`, which is no task of the draft",
                text(&wanted.like)
            )
        })?;
    let objective = text(&wanted.objective);
    if objective.is_empty() {
        return Err(format!("task {number} has no objective"));
    }
    let mut boundaries = like.boundaries.clone();
    if let Some(scope) = &wanted.scope {
        boundaries.scope = scope
            .iter()
            .take(ITEMS_MAX)
            .map(|path| path.trim_end_matches('/').to_owned())
            .collect();
        let unknown = boundaries
            .scope
            .iter()
            .find(|path| !view.files.iter().any(|file| holds(path, &file.path)));
        if let Some(path) = unknown {
            return Err(format!(
                "task {number} looks at `{}`, which the workspace does not have",
                text(path)
            ));
        }
    }
    if let Some(after) = wanted.after.iter().find(|after| !(1..number).contains(*after)) {
        return Err(format!(
            "task {number} comes after task {after}, which does not come before it"
        ));
    }
    let questions: Vec<String> = wanted
        .key_questions
        .iter()
        .take(ITEMS_MAX)
        .map(|question| text(question))
        .collect();
    Ok(TaskDelegation {
        task_id: TaskId::from_index(number),
        objective,
        boundaries,
        dependencies: wanted.after.iter().map(|after| TaskId::from_index(*after)).collect(),
        key_questions: if questions.is_empty() {
            like.key_questions.clone()
        } else {
            questions
        },
        budget,
        ..like.clone()
    })
}

fn text(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

/// The plan with what its planning took out of what is kept for the synthesis.
pub fn paid(mut plan: ExecutionPlan, planned_by: PlannedBy) -> ExecutionPlan {
    let taken = planned_by.budget();
    plan.synthesis_reserve.tokens = plan.synthesis_reserve.tokens.saturating_sub(taken.tokens);
    plan.synthesis_reserve.cents = plan.synthesis_reserve.cents.saturating_sub(taken.cents);
    plan.planned_by = Some(planned_by);
    plan
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Query, Usage};

    use super::*;
    use crate::validation::validate;
    use crate::view::FileView;

    fn view() -> WorkspaceView {
        let file = |path: &str| FileView {
            path: path.to_owned(),
            bytes: 1_000,
            language: "rust".to_owned(),
        };
        WorkspaceView {
            revision: None,
            files: vec![file("src/a.rs"), file("src/net/b.rs"), file("docs/x.md")],
        }
    }

    fn draft() -> ExecutionPlan {
        let task = |id: &str, scope: &str| {
            serde_json::json!({
                "task_id": id, "objective": "draft", "output_format": "markdown", "priority": 5, "aspect": "panics",
                "allowed_tools": ["code.read"], "required_capabilities": ["CodeReview"], "playbook": "code_review",
                "key_questions": ["what?"], "budget": {"tokens": 101, "cents": 5},
                "boundaries": {"scope": [scope], "constraints": [], "max_tool_calls": 3, "timeout_ms": 1000},
            })
        };
        serde_json::from_value(serde_json::json!({
            "version": 1, "plan_id": "q1", "query_id": "q1", "query": Query::new("Review it"),
            "strategy": {"name": "code_review", "score": 1.0, "reasons": []},
            "resource_allocation": {"num_workers": 2, "max_tool_calls_per_worker": 3, "max_parallel_workers": 2,
                "timeout_ms": 60000, "max_tokens_budget": 302, "max_cost_cents": 20},
            "task_delegations": [task("t1", "src"), task("t2", "docs")],
            "aspects": ["panics"], "parallelizable": true, "synthesis_reserve": {"tokens": 100, "cents": 10},
            "estimated_duration_ms": 1, "created_at": "2026-01-01T00:00:00Z",
            "tasks_deadline": "2026-01-01T00:00:50Z", "deadline": "2026-01-01T00:01:00Z",
        }))
        .expect("a plan")
    }

    fn wanted(like: &str, scope: &[&str], after: &[usize]) -> WantedTask {
        WantedTask {
            like: like.to_owned(),
            objective: "Find  what\nfails".to_owned(),
            scope: Some(scope.iter().map(|path| (*path).to_owned()).collect()),
            key_questions: Vec::new(),
            after: after.to_vec(),
        }
    }

    #[test]
    fn a_model_says_what_and_where_and_nothing_else() {
        let draft = draft();
        let plan = revised(
            &draft,
            &[wanted("t1", &["src/net/"], &[]), wanted("t1", &["src/a.rs"], &[1])],
            &view(),
        )
        .expect("it can be followed");
        let planned_by = PlannedBy {
            model: "m".to_owned(),
            usage: Usage {
                tokens: 40,
                cents: 1.2,
                ..Usage::default()
            },
            note: String::new(),
        };
        let plan = paid(plan, planned_by);
        let known = draft.task_delegations[0]
            .required_capabilities
            .iter()
            .cloned()
            .collect();
        validate(&plan, &known).expect("its budget adds up with what the planning cost");
        assert_eq!(plan.synthesis_reserve, Budget { tokens: 60, cents: 8 });
        let [first, second] = plan.task_delegations.as_slice() else {
            panic!("two tasks")
        };
        assert_eq!(
            (first.objective.as_str(), first.boundaries.scope.as_slice()),
            ("Find what fails", &["src/net".to_owned()][..])
        );
        assert_eq!(first.allowed_tools, draft.task_delegations[0].allowed_tools);
        assert_eq!(first.boundaries.max_tool_calls, 3);
        assert_eq!(second.dependencies, std::slice::from_ref(&first.task_id));
        assert!(!plan.parallelizable);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (tasks, words) in [
            (vec![], "0 tasks"),
            (vec![wanted("t1", &["src"], &[]); 3], "3 tasks"),
            (vec![wanted("t9", &["src"], &[])], "`t9`"),
            (vec![wanted("t1", &["../etc"], &[])], "../etc"),
            (vec![wanted("t1", &["src"], &[1])], "does not come before"),
            (
                vec![WantedTask {
                    objective: " ".to_owned(),
                    ..wanted("t1", &["src"], &[])
                }],
                "no objective",
            ),
        ] {
            let reason = revised(&draft(), &tasks, &view()).expect_err("refused");
            assert!(reason.contains(words), "{reason}");
        }
    }
}
