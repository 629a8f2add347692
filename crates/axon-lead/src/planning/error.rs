//! Why a query cannot be planned, in words for its asker.

use axon_protocol::{CapabilityError, IdError};

/// Names shown in a message before the rest is only counted.
const NAMES_SHOWN_MAX: usize = 12;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The plan of the query has no task.
    #[error("the plan has no tasks: give it at least one")]
    Empty,
    /// The plan of the query has too many tasks.
    #[error("the plan has {count} tasks, {max} at most: split it into several queries")]
    TooManyTasks {
        /// Its tasks.
        count: usize,
        /// What is allowed.
        max: usize,
    },
    /// A task's id cannot be one.
    #[error("task {number} of the plan: {error}")]
    TaskId {
        /// Its place in the plan, counted from 1.
        number: usize,
        /// What is wrong with it.
        error: IdError,
    },
    /// Two tasks of one id.
    #[error("two tasks have the id `{0}`: give each its own")]
    DuplicateTask(String),
    /// A task with nothing to do.
    #[error("task `{0}` has neither an objective nor tool calls: say what it is to find out, or which tools to call")]
    NothingToDo(String),
    /// A text that is no capability.
    #[error("task `{task}`: {error}")]
    Capability {
        /// The task.
        task: String,
        /// What is wrong.
        error: CapabilityError,
    },
    /// A dependency that is no task.
    #[error("task `{task}` depends on `{dependency}`, which is no task of the plan; its tasks are {known}")]
    UnknownDependency {
        /// The task.
        task: String,
        /// What it depends on.
        dependency: String,
        /// The tasks there are.
        known: String,
    },
    /// Tasks that wait for each other.
    #[error("the tasks wait for each other: {0}; remove one of these dependencies")]
    Cycle(String),
    /// A priority that does not exist.
    #[error("task `{task}` has the priority {priority}: use 1 to 10")]
    Priority {
        /// The task.
        task: String,
        /// Its priority.
        priority: u8,
    },
    /// A limit of zero.
    #[error("task `{task}` has `{limit}` 0: leave it out, or give it more")]
    ZeroLimit {
        /// The task.
        task: String,
        /// The field.
        limit: &'static str,
    },
    /// Two calls of one id.
    #[error("task `{task}` has two tool calls with the id `{call}`: give each its own")]
    DuplicateCall {
        /// The task.
        task: String,
        /// The id.
        call: String,
    },
    /// An input that no call gives.
    #[error(
        "task `{task}`: the call `{call}` needs `{input}`, which no call of the task gives; its calls give {known}"
    )]
    UnknownInput {
        /// The task.
        task: String,
        /// The call.
        call: String,
        /// What it needs.
        input: String,
        /// What there is.
        known: String,
    },
    /// Calls that wait for each other.
    #[error("task `{task}`: the calls wait for each other: {cycle}; remove one of these inputs")]
    CallCycle {
        /// The task.
        task: String,
        /// The cycle.
        cycle: String,
    },
    /// A call of a tool that the task does not allow.
    #[error("task `{task}`: the call `{call}` uses `{tool}`, which its `allowed_tools` leave out: add it there")]
    ToolNotAllowed {
        /// The task.
        task: String,
        /// The call.
        call: String,
        /// The tool.
        tool: String,
    },
    /// More calls than the task may make.
    #[error("task `{task}` lists {calls} tool calls but may make {max}: raise its `max_tool_calls`")]
    TooManyCalls {
        /// The task.
        task: String,
        /// Its calls.
        calls: usize,
        /// What it allows itself.
        max: usize,
    },
    /// A strategy that cannot make tasks.
    #[error("the strategy `{0}` has no template to write tasks with: correct its definition")]
    NoTemplate(String),
}

/// Names in a row, cut to what can be read.
pub(crate) fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>();
    match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
