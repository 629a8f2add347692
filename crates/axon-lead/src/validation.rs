//! Validates a plan before it is saved: every delegation whole, every capability known, budgets that add up, no cycle, no
//! work done twice. It changes nothing; what it finds is said in words for the asker.

use std::collections::{BTreeSet, HashMap, HashSet};

use axon_protocol::{Budget, Capability, ExecutionPlan, PRIORITY_MAX, PlannedBy, TaskDelegation, TaskId};

use crate::partition::overlap;
use crate::planning::{cycle, named, needs, spelled};

/// Problems reported of one plan; a plan with as many as this is beyond a list.
const PROBLEMS_MAX: usize = 20;

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has no task.
    #[error("the plan has no tasks: give it at least one")]
    NoTasks,
    /// Two tasks of one id.
    #[error("two tasks have the id `{0}`: give each its own")]
    DuplicateTask(TaskId),
    /// A task lacks a part that a worker needs.
    #[error("task `{task}` lacks {what}")]
    Lacks {
        /// The task.
        task: TaskId,
        /// What is missing, and what to do.
        what: &'static str,
    },
    /// A path that leaves the workspace.
    #[error(
        "task `{task}` has the path `{path}` in its scope: use paths relative to the root of the workspace, without `..`"
    )]
    ScopePath {
        /// The task.
        task: TaskId,
        /// The path.
        path: String,
    },
    /// A priority that does not exist.
    #[error("task `{task}` has the priority {priority}: use 1 to {PRIORITY_MAX}")]
    Priority {
        /// The task.
        task: TaskId,
        /// Its priority.
        priority: u8,
    },
    /// A capability that nobody has.
    #[error(
        "task `{task}` needs the capability `{capability}`, which is unknown here; known are {known}: correct the name, \
         or start a worker that has it"
    )]
    UnknownCapability {
        /// The task.
        task: TaskId,
        /// What it needs.
        capability: Capability,
        /// What there is.
        known: String,
    },
    /// A dependency that is no task.
    #[error("task `{task}` depends on `{dependency}`, which is no task of the plan")]
    UnknownDependency {
        /// The task.
        task: TaskId,
        /// What it depends on.
        dependency: TaskId,
    },
    /// Tasks that wait for each other.
    #[error("the tasks wait for each other: {0}; remove one of these dependencies")]
    Cycle(String),
    /// Parts and reserve are not the whole.
    #[error(
        "the budget does not add up: tasks and synthesis have {given_tokens} tokens and {given_cents} cents, the query \
         {tokens} and {cents}"
    )]
    Budget {
        /// Tokens of the tasks and the reserve.
        given_tokens: u128,
        /// Cents of the tasks and the reserve.
        given_cents: u128,
        /// Tokens of the query.
        tokens: u64,
        /// Cents of the query.
        cents: u64,
    },
    /// Two tasks would do the same.
    #[error(
        "tasks `{first}` and `{second}` both look for `{aspect}` in overlapping scopes: divide the scope, or drop one"
    )]
    Overlap {
        /// One task.
        first: TaskId,
        /// The other.
        second: TaskId,
        /// What both look for.
        aspect: String,
    },
}

/// Validates a plan against the capabilities that exist. All problems are reported at once, up to a limit.
pub fn validate(plan: &ExecutionPlan, known_capabilities: &BTreeSet<Capability>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let tasks = &plan.task_delegations;
    if tasks.is_empty() {
        return Err(vec![Problem::NoTasks]);
    }
    let mut ids: HashSet<&TaskId> = HashSet::with_capacity(tasks.len());
    for task in tasks {
        if !ids.insert(&task.task_id) {
            problems.push(Problem::DuplicateTask(task.task_id.clone()));
        }
    }
    for task in tasks {
        check_task(task, known_capabilities, &mut problems);
        let unknown = task.dependencies.iter().filter(|dependency| !ids.contains(dependency));
        problems.extend(unknown.map(|dependency| Problem::UnknownDependency {
            task: task.task_id.clone(),
            dependency: dependency.clone(),
        }));
    }
    if let Some(cycle) = cycle(&needs(plan)) {
        problems.push(Problem::Cycle(spelled(&cycle, |task| tasks[task].task_id.as_str())));
    }
    check_budget(plan, &mut problems);
    check_overlap(tasks, &mut problems);
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_task(task: &TaskDelegation, known: &BTreeSet<Capability>, problems: &mut Vec<Problem>) {
    let id = &task.task_id;
    let boundaries = &task.boundaries;
    for (missing, what) in [
        (
            task.objective.trim().is_empty(),
            "an objective: say the one thing it is to find out",
        ),
        (
            task.allowed_tools.is_empty(),
            "tools: name those it may use in `allowed_tools`",
        ),
        (
            boundaries.max_tool_calls == 0,
            "a boundary: `max_tool_calls` must be 1 at least",
        ),
        (
            boundaries.timeout_ms == 0,
            "a boundary: `timeout_ms` must be 1 at least",
        ),
        (
            task.required_capabilities.is_empty(),
            "a capability: name what its worker must be able to do",
        ),
    ] {
        if missing {
            problems.push(Problem::Lacks { task: id.clone(), what });
        }
    }
    if !(1..=PRIORITY_MAX).contains(&task.priority) {
        problems.push(Problem::Priority {
            task: id.clone(),
            priority: task.priority,
        });
    }
    for capability in task
        .required_capabilities
        .iter()
        .filter(|capability| !known.contains(capability))
    {
        problems.push(Problem::UnknownCapability {
            task: id.clone(),
            capability: capability.clone(),
            known: named(known.iter().map(Capability::as_str)),
        });
    }
    let leaves = |path: &&String| path.starts_with('/') || path.split('/').any(|part| part == "..");
    problems.extend(boundaries.scope.iter().filter(leaves).map(|path| Problem::ScopePath {
        task: id.clone(),
        path: path.clone(),
    }));
}

fn check_budget(plan: &ExecutionPlan, problems: &mut Vec<Problem>) {
    let parts = || {
        plan.task_delegations
            .iter()
            .map(|task| task.budget)
            .chain([plan.synthesis_reserve])
            .chain(plan.planned_by.as_ref().map(PlannedBy::budget))
    };
    let sum = |amount: &dyn Fn(Budget) -> u64| parts().map(|budget| u128::from(amount(budget))).sum::<u128>();
    let (given_tokens, given_cents) = (sum(&|budget| budget.tokens), sum(&|budget| budget.cents));
    let (tokens, cents) = (
        plan.resource_allocation.max_tokens_budget,
        plan.resource_allocation.max_cost_cents,
    );
    if given_tokens != u128::from(tokens) || given_cents != u128::from(cents) {
        problems.push(Problem::Budget {
            given_tokens,
            given_cents,
            tokens,
            cents,
        });
    }
}

/// Two tasks do the same where they look for one aspect in overlapping scopes. Explicit calls do what they say, and an
/// aspect with a single task overlaps with nothing.
fn check_overlap(tasks: &[TaskDelegation], problems: &mut Vec<Problem>) {
    let mut of_aspect: HashMap<&str, Vec<&TaskDelegation>> = HashMap::with_capacity(tasks.len());
    for task in tasks.iter().filter(|task| task.calls.is_empty()) {
        of_aspect.entry(&task.aspect).or_default().push(task);
    }
    let mut shared: Vec<(&str, Vec<&TaskDelegation>)> =
        of_aspect.into_iter().filter(|(_, tasks)| tasks.len() > 1).collect();
    shared.sort_by_key(|(aspect, _)| *aspect);
    for (aspect, tasks) in shared {
        for (index, first) in tasks.iter().enumerate() {
            for second in &tasks[index + 1..] {
                if overlap(&first.boundaries.scope, &second.boundaries.scope) && problems.len() < PROBLEMS_MAX {
                    problems.push(Problem::Overlap {
                        first: first.task_id.clone(),
                        second: second.task_id.clone(),
                        aspect: aspect.to_owned(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Query, QueryId, TaskRequest};
    use chrono::DateTime;

    use super::*;
    use crate::config::Config;
    use crate::planning::own_plan;

    fn known() -> BTreeSet<Capability> {
        BTreeSet::from(["Diagnostics", "Research"].map(|name| Capability::new(name).expect("a capability")))
    }

    fn plan() -> ExecutionPlan {
        let task = |objective: &str| TaskRequest {
            objective: objective.to_owned(),
            ..TaskRequest::default()
        };
        let mut query = Query::new("x");
        query.plan = Some(axon_protocol::PlanRequest {
            tasks: vec![task("a"), task("b"), task("c")],
        });
        let id = QueryId::from_sequence(1);
        own_plan(&query, &id, None, &Config::default(), DateTime::UNIX_EPOCH).expect("a plan")
    }

    fn check(change: impl Fn(&mut ExecutionPlan), expected: &[&str]) {
        let mut plan = plan();
        change(&mut plan);
        let problems = match validate(&plan, &known()) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }

    #[test]
    fn a_plan_is_whole_or_says_what_is_wrong() {
        let id = |index| TaskId::from_index(index);
        check(|_| {}, &[]);
        check(|plan| plan.task_delegations.clear(), &["no tasks"]);
        check(
            |plan| plan.task_delegations[0].objective = " ".to_owned(),
            &["`t1` lacks an objective"],
        );
        check(
            |plan| plan.task_delegations[1].allowed_tools.clear(),
            &["`t2` lacks tools"],
        );
        check(
            |plan| plan.task_delegations[1].boundaries.max_tool_calls = 0,
            &["`max_tool_calls` must be 1"],
        );
        check(
            |plan| plan.task_delegations[1].boundaries.timeout_ms = 0,
            &["`timeout_ms` must be 1"],
        );
        check(
            |plan| plan.task_delegations[1].required_capabilities.clear(),
            &["lacks a capability"],
        );
        check(
            |plan| plan.task_delegations[1].priority = 11,
            &["priority 11: use 1 to 10"],
        );
        check(
            |plan| plan.task_delegations[1].boundaries.scope = vec!["/etc".to_owned(), "a/../b".to_owned()],
            &["`/etc`", "`a/../b`"],
        );
        check(
            |plan| {
                plan.task_delegations[2].required_capabilities = vec![Capability::new("Cooking").expect("a capability")]
            },
            &[
                "task `t3` needs the capability `Cooking`, which is unknown here; known are `Diagnostics`, `Research`: correct the name, or start a worker",
            ],
        );
        check(
            |plan| plan.task_delegations[2].dependencies = vec![TaskId::new("x").expect("an id")],
            &["depends on `x`"],
        );
        check(
            |plan| {
                plan.task_delegations[0].dependencies = vec![id(2)];
                plan.task_delegations[1].dependencies = vec![id(1)];
            },
            &["t1 → t2 → t1"],
        );
        check(
            |plan| plan.task_delegations[2].task_id = id(1),
            &["two tasks have the id `t1`"],
        );
        check(|plan| plan.task_delegations[2].budget.cents += 1, &["does not add up"]);
        check(|plan| plan.synthesis_reserve.tokens = 0, &["does not add up"]);
        check(
            |plan| {
                for (task, path) in plan.task_delegations.iter_mut().zip(["src", "src/bus", "docs"]) {
                    task.aspect = "security".to_owned();
                    task.boundaries.scope = vec![path.to_owned()];
                }
            },
            &["tasks `t1` and `t2` both look for `security`"],
        );
    }
}
