//! Turns the plan that comes with a query into an execution plan. It is on the way of every such query: one pass over
//! tasks and calls, and nothing cloned that the plan does not keep.

use std::collections::{HashMap, HashSet};

use axon_protocol::{
    Budget, Capability, Complexity, Digest, ExecutionPlan, PLAN_VERSION, PlanRequest, Query, QueryId,
    ResourceAllocation, SelectedStrategy, TaskBoundaries, TaskDelegation, TaskId, TaskRequest, ToolCall,
};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::error::{PlanError, named};
use super::order::{cycle, levels};
use crate::allocation::{Deadlines, allocate, deadlines, split};
use crate::config::Config;

/// The name of the strategy of a query that brings its plan.
pub const OWN_PLAN: &str = axon_memory::OWN_PLAN;

/// Most tasks of a plan that counts as Medium.
const MEDIUM_TASKS_MAX: usize = 4;
/// What a task may use that names neither tools nor calls.
const DEFAULT_TOOLS: &str = "code.*";
/// Letters of an objective that name its aspect.
const ASPECT_CHARS_MAX: usize = 60;

/// The execution plan of a query that brings its own. The plan kept within the query is emptied: its tasks stand in the
/// delegations, and nobody needs them twice.
pub fn own_plan(
    query: &Query,
    query_id: &QueryId,
    workspace: Option<Digest>,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<ExecutionPlan, PlanError> {
    let requests = query.plan.as_ref().map_or(&[][..], |plan| plan.tasks.as_slice());
    let count = requests.len();
    if count == 0 {
        return Err(PlanError::Empty);
    }
    if count > config.max_tasks_per_plan {
        return Err(PlanError::TooManyTasks {
            count,
            max: config.max_tasks_per_plan,
        });
    }
    let allocation = own_allocation(query, count, config);
    let total = Budget {
        tokens: allocation.max_tokens_budget,
        cents: allocation.max_cost_cents,
    };
    let (budgets, synthesis_reserve) = split(total, count, config.synthesis_share);
    let deadlines = deadlines(now, allocation.timeout_ms, config.synthesis_share);

    let ids = ids(requests)?;
    let needs = dependencies(requests, &ids)?;
    let defaults = Defaults {
        query,
        allocation: &allocation,
        deadlines,
    };
    let mut tasks = Vec::with_capacity(count);
    for (index, (request, budget)) in requests.iter().zip(budgets).enumerate() {
        let mut task = delegation(request, &ids[index], budget, &defaults)?;
        task.dependencies = needs[index].iter().map(|&needed| ids[needed].clone()).collect();
        tasks.push(task);
    }
    let depth = levels(&needs).into_iter().max().unwrap_or(0) + 1;
    // Tasks with explicit calls report outputs; only an open objective is an aspect that an answer should cover.
    let aspects = tasks
        .iter()
        .filter(|task| task.calls.is_empty())
        .map(|task| task.aspect.clone())
        .collect();
    Ok(ExecutionPlan {
        version: PLAN_VERSION,
        plan_id: query_id.as_str().to_owned(),
        query_id: query_id.clone(),
        query: without_tasks(query),
        workspace,
        analysis: None,
        strategy: SelectedStrategy {
            name: OWN_PLAN.to_owned(),
            score: 1.0,
            reasons: vec!["the query brings its own plan".to_owned()],
            others: Vec::new(),
            leaning: None,
            trial: false,
        },
        estimated_duration_ms: super::estimate::paced(&allocation, count, depth),
        estimate: None,
        recalled: Vec::new(),
        patterns_applied: Vec::new(),
        resource_allocation: allocation,
        task_delegations: tasks,
        aspects,
        parallelizable: depth < count,
        synthesis_reserve,
        planned_by: None,
        // Who brings a plan wants all of it.
        stop_rule: None,
        created_at: now,
        tasks_deadline: deadlines.tasks,
        deadline: deadlines.answer,
    })
}

/// A plan of the asker's own is as large as its number of tasks, and all of them may run at once.
fn own_allocation(query: &Query, tasks: usize, config: &Config) -> ResourceAllocation {
    let complexity = match tasks {
        1 => Complexity::Simple,
        2..=MEDIUM_TASKS_MAX => Complexity::Medium,
        _ => Complexity::Complex,
    };
    ResourceAllocation {
        num_workers: tasks,
        max_parallel_workers: tasks,
        ..allocate(complexity, config, query, None)
    }
}

fn without_tasks(query: &Query) -> Query {
    Query {
        query: query.query.clone(),
        workspace: query.workspace.clone(),
        session: query.session.clone(),
        deadline_s: query.deadline_s,
        budget: query.budget,
        priority: query.priority,
        output_format: query.output_format,
        plan: Some(PlanRequest::default()),
        strategy: None,
        replay: None,
    }
}

fn ids(requests: &[TaskRequest]) -> Result<Vec<TaskId>, PlanError> {
    let mut seen = HashSet::with_capacity(requests.len());
    let mut ids = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        let id = match &request.task_id {
            None => TaskId::from_index(index + 1),
            Some(text) => TaskId::new(text.as_str()).map_err(|error| PlanError::TaskId {
                number: index + 1,
                error,
            })?,
        };
        if !seen.insert(id.clone()) {
            return Err(PlanError::DuplicateTask(id.to_string()));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// For each task the places of those it needs, each once.
fn dependencies(requests: &[TaskRequest], ids: &[TaskId]) -> Result<Vec<Vec<usize>>, PlanError> {
    if requests.iter().all(|request| request.dependencies.is_empty()) {
        return Ok(vec![Vec::new(); requests.len()]);
    }
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
    let mut needs = Vec::with_capacity(requests.len());
    for (request, id) in requests.iter().zip(ids) {
        let mut needed = Vec::with_capacity(request.dependencies.len());
        for dependency in &request.dependencies {
            let place = *places
                .get(dependency.as_str())
                .ok_or_else(|| PlanError::UnknownDependency {
                    task: id.to_string(),
                    dependency: dependency.clone(),
                    known: named(ids.iter().map(TaskId::as_str)),
                })?;
            needed.push(place);
        }
        needed.sort_unstable();
        needed.dedup();
        needs.push(needed);
    }
    match cycle(&needs) {
        Some(cycle) => Err(PlanError::Cycle(spelled(&cycle, |task| ids[task].as_str()))),
        None => Ok(needs),
    }
}

/// `a → b → a`, where each waits for the next.
pub(crate) fn spelled<'a>(cycle: &[usize], name: impl Fn(usize) -> &'a str) -> String {
    cycle.iter().map(|&index| name(index)).collect::<Vec<_>>().join(" → ")
}

struct Defaults<'a> {
    query: &'a Query,
    allocation: &'a ResourceAllocation,
    deadlines: Deadlines,
}

fn delegation(
    request: &TaskRequest,
    id: &TaskId,
    budget: Budget,
    defaults: &Defaults<'_>,
) -> Result<TaskDelegation, PlanError> {
    let task = || id.to_string();
    let calls = &request.calls;
    let objective = request.objective.trim();
    if objective.is_empty() && calls.is_empty() {
        return Err(PlanError::NothingToDo(task()));
    }
    let priority = request.priority.unwrap_or_else(|| defaults.query.priority());
    if !(1..=10).contains(&priority) {
        return Err(PlanError::Priority { task: task(), priority });
    }
    for (limit, zero) in [
        ("max_tool_calls", request.max_tool_calls == Some(0)),
        ("timeout_ms", request.timeout_ms == Some(0)),
    ] {
        if zero {
            return Err(PlanError::ZeroLimit { task: task(), limit });
        }
    }
    check_calls(calls, id)?;
    let max_tool_calls = match request.max_tool_calls {
        Some(max) if max < calls.len() => {
            return Err(PlanError::TooManyCalls {
                task: task(),
                calls: calls.len(),
                max,
            });
        }
        Some(max) => max,
        None => defaults.allocation.max_tool_calls_per_worker.max(calls.len()),
    };
    let boundaries = TaskBoundaries {
        scope: request.scope.clone(),
        constraints: Vec::new(),
        max_tool_calls,
        timeout_ms: request.timeout_ms.unwrap_or(defaults.deadlines.tasks_ms).max(1),
    };
    Ok(TaskDelegation {
        task_id: id.clone(),
        objective: match objective {
            "" => format!("Run {}.", named(unique_tools(calls).iter().map(String::as_str))),
            text => text.to_owned(),
        },
        output_format: defaults.query.output_format,
        allowed_tools: allowed_tools(request, id)?,
        boundaries,
        priority,
        required_capabilities: capabilities(request, id)?,
        context: Value::Null,
        dependencies: Vec::new(),
        key_questions: Vec::new(),
        aspect: aspect(objective, id, calls),
        playbook: String::new(),
        calls: calls.clone(),
        budget,
        added: false,
    })
}

/// The objective in short; the id where the calls say it all. The id keeps equal objectives apart.
fn aspect(objective: &str, id: &TaskId, calls: &[ToolCall]) -> String {
    if calls.is_empty() {
        let short: String = objective.chars().take(ASPECT_CHARS_MAX).collect();
        format!("{id}: {}", short.trim_end())
    } else {
        id.to_string()
    }
}

fn capabilities(request: &TaskRequest, id: &TaskId) -> Result<Vec<Capability>, PlanError> {
    if request.required_capabilities.is_empty() {
        return Ok(vec![Capability::diagnostics()]);
    }
    let mut capabilities = Vec::with_capacity(request.required_capabilities.len());
    for name in &request.required_capabilities {
        let capability = Capability::new(name.as_str()).map_err(|error| PlanError::Capability {
            task: id.to_string(),
            error,
        })?;
        if !capabilities.contains(&capability) {
            capabilities.push(capability);
        }
    }
    Ok(capabilities)
}

fn allowed_tools(request: &TaskRequest, id: &TaskId) -> Result<Vec<String>, PlanError> {
    if request.allowed_tools.is_empty() {
        return Ok(if request.calls.is_empty() {
            vec![DEFAULT_TOOLS.to_owned()]
        } else {
            unique_tools(&request.calls)
        });
    }
    let refused = request.calls.iter().find(|call| {
        !request
            .allowed_tools
            .iter()
            .any(|pattern| allows(pattern, &call.tool_name))
    });
    match refused {
        Some(call) => Err(PlanError::ToolNotAllowed {
            task: id.to_string(),
            call: call.tool_id.clone(),
            tool: call.tool_name.clone(),
        }),
        None => Ok(request.allowed_tools.clone()),
    }
}

fn allows(pattern: &str, tool: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => tool.starts_with(beginning),
        None => pattern == tool,
    }
}

fn unique_tools(calls: &[ToolCall]) -> Vec<String> {
    let mut tools: Vec<String> = Vec::new();
    for call in calls {
        if !tools.contains(&call.tool_name) {
            tools.push(call.tool_name.clone());
        }
    }
    tools
}

/// Ids once, inputs known, no cycle. Where every call stands alone nothing is built.
fn check_calls(calls: &[ToolCall], id: &TaskId) -> Result<(), PlanError> {
    let duplicate = |call: &ToolCall| PlanError::DuplicateCall {
        task: id.to_string(),
        call: call.tool_id.clone(),
    };
    if let [only] = calls
        && only.inputs.is_empty()
    {
        return Ok(());
    }
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        if places.insert(&call.tool_id, index).is_some() {
            return Err(duplicate(call));
        }
    }
    if calls.iter().all(|call| call.inputs.is_empty()) {
        return Ok(());
    }
    for (index, call) in calls.iter().enumerate() {
        for output in &call.outputs {
            places.entry(output).or_insert(index);
        }
    }
    let mut needs = Vec::with_capacity(calls.len());
    for call in calls {
        let mut needed = Vec::with_capacity(call.inputs.len());
        for input in &call.inputs {
            let place = places.get(input.as_str());
            needed.push(*place.ok_or_else(|| PlanError::UnknownInput {
                task: id.to_string(),
                call: call.tool_id.clone(),
                input: input.clone(),
                known: named(calls.iter().map(|call| call.tool_id.as_str())),
            })?);
        }
        needs.push(needed);
    }
    match cycle(&needs) {
        Some(cycle) => Err(PlanError::CallCycle {
            task: id.to_string(),
            cycle: spelled(&cycle, |call| calls[call].tool_id.as_str()),
        }),
        None => Ok(()),
    }
}
