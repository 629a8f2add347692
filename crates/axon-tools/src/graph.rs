//! The graph of a task's tool calls: edges run from a call's outputs to the inputs and references of others. Everything
//! here is computed before the first call runs; nothing runs one.

mod reference;

use std::collections::HashMap;
use std::fmt;

use axon_protocol::ToolCall;
use serde_json::Value;

use crate::ToolError;
use reference::Reference;

/// Most calls of one task.
pub const CALLS_MAX: usize = 1000;

/// Longest name of a call or an output, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Why calls are no graph that can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// More than [`CALLS_MAX`] calls.
    #[error("the plan has {0} tool calls, more than the {CALLS_MAX} of one task: split it into several tasks")]
    TooMany(usize),
    /// A name that no reference could name.
    #[error("`{0}` cannot name a call or an output: use 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`")]
    Name(String),
    /// Two calls of one id.
    #[error("two calls have the id `{0}`: give each its own")]
    DuplicateCall(String),
    /// Two calls that give one output.
    #[error("the output `{output}` is given by both `{first}` and `{second}`: rename one of them")]
    DuplicateOutput {
        /// The name.
        output: String,
        /// A call that gives it.
        first: String,
        /// Another one.
        second: String,
    },
    /// An input that no call gives.
    #[error("the call `{call}` needs `{input}`, which no call gives{hint}")]
    UnknownInput {
        /// The call.
        call: String,
        /// What it needs.
        input: String,
        /// More help, where there is some.
        hint: &'static str,
    },
    /// A priority that does not exist.
    #[error("the call `{call}` has priority {priority}: use 1 to 10")]
    Priority {
        /// The call.
        call: String,
        /// Its priority.
        priority: u8,
    },
    /// Calls that wait for each other.
    #[error("the calls wait for each other: {0}")]
    Cycle(Cycle),
}

/// A cycle, its first call repeated at the end: `a -> b -> a` where b needs a and a needs b.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<String>);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" -> "))
    }
}

/// Tool calls in an order in which they can run.
#[derive(Debug, Clone)]
pub struct Graph {
    calls: Vec<ToolCall>,
    /// For each call the calls it waits for, ascending.
    dependencies: Vec<Vec<usize>>,
    /// For each call the calls that wait for it, ascending.
    dependents: Vec<Vec<usize>>,
    /// A topological order.
    order: Vec<usize>,
    /// Which call gives an output.
    producers: HashMap<String, usize>,
    /// Whether the call's parameters hold a reference or an escaped one.
    has_references: Vec<bool>,
}

impl Graph {
    /// Checks the calls and finds their edges.
    pub fn new(calls: Vec<ToolCall>) -> Result<Self, GraphError> {
        if calls.len() > CALLS_MAX {
            return Err(GraphError::TooMany(calls.len()));
        }
        let producers = producers(&calls)?;
        let mut dependencies = Vec::with_capacity(calls.len());
        let mut dependents = vec![Vec::new(); calls.len()];
        let mut has_references = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            if !(1..=10).contains(&call.priority) {
                return Err(GraphError::Priority {
                    call: call.tool_id.clone(),
                    priority: call.priority,
                });
            }
            let (needs, referring) = needs(call, &producers)?;
            for needed in &needs {
                dependents[*needed].push(index);
            }
            dependencies.push(needs);
            has_references.push(referring);
        }
        let order = topological_order(&dependencies, &dependents)
            .ok_or_else(|| GraphError::Cycle(find_cycle(&calls, &dependencies)))?;
        Ok(Self {
            calls,
            dependencies,
            dependents,
            order,
            producers,
            has_references,
        })
    }

    /// The calls, as they were given.
    pub fn calls(&self) -> &[ToolCall] {
        &self.calls
    }

    /// The calls that a call waits for.
    pub fn dependencies(&self, index: usize) -> &[usize] {
        &self.dependencies[index]
    }

    /// The calls that wait for a call.
    pub fn dependents(&self, index: usize) -> &[usize] {
        &self.dependents[index]
    }

    /// For each call the longest path from its start to the end of the graph, its own duration included, in the unit of
    /// the durations.
    pub fn ranks(&self, durations: &[f64]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.calls.len()];
        for &index in self.order.iter().rev() {
            let after = self.dependents[index]
                .iter()
                .map(|next| ranks[*next])
                .fold(0.0, f64::max);
            ranks[index] = durations.get(index).copied().unwrap_or(0.0) + after;
        }
        ranks
    }

    /// The longest path through the graph, in the unit of the durations.
    pub fn critical_path(&self, durations: &[f64]) -> f64 {
        self.ranks(durations).into_iter().fold(0.0, f64::max)
    }

    /// The calls by their distance from the start, for display alone: nothing waits for a whole stage.
    pub fn stages(&self) -> Vec<Vec<&str>> {
        let mut depth = vec![0; self.calls.len()];
        for &index in &self.order {
            depth[index] = self.dependencies[index]
                .iter()
                .map(|before| depth[*before] + 1)
                .max()
                .unwrap_or(0);
        }
        let mut stages = vec![Vec::new(); depth.iter().max().map_or(0, |deepest| deepest + 1)];
        for (index, depth) in depth.into_iter().enumerate() {
            stages[depth].push(self.calls[index].tool_id.as_str());
        }
        stages
    }

    /// The parameters of a call with all references replaced. A text that is one reference becomes what it refers to, of
    /// whatever type; a reference within a longer text is replaced by text, and by JSON where it refers to no text. `$${`
    /// stands for `${`.
    pub(crate) fn resolve<'a>(
        &self,
        index: usize,
        output: impl Fn(usize) -> Option<&'a Value>,
    ) -> Result<Value, ToolError> {
        let params = &self.calls[index].params;
        if !self.has_references[index] {
            return Ok(params.clone());
        }
        reference::fill(params, &|reference: &Reference<'_>| {
            let output = self
                .producers
                .get(reference.output)
                .and_then(|producer| output(*producer));
            output.and_then(|output| reference.find(output)).ok_or_else(|| {
                ToolError::invalid_params(format!(
                    "`${{{}}}` of call `{}` refers to nothing: the output `{}` has no such field",
                    reference.text, self.calls[index].tool_id, reference.output
                ))
            })
        })
    }
}

fn producers(calls: &[ToolCall]) -> Result<HashMap<String, usize>, GraphError> {
    let mut producers = HashMap::with_capacity(calls.len() * 2);
    for (index, call) in calls.iter().enumerate() {
        check_name(&call.tool_id)?;
        if producers.insert(call.tool_id.clone(), index).is_some() {
            return Err(GraphError::DuplicateCall(call.tool_id.clone()));
        }
    }
    for (index, call) in calls.iter().enumerate() {
        for output in call.outputs.iter().filter(|output| **output != call.tool_id) {
            check_name(output)?;
            if let Some(first) = producers.insert(output.clone(), index) {
                return Err(GraphError::DuplicateOutput {
                    output: output.clone(),
                    first: calls[first].tool_id.clone(),
                    second: call.tool_id.clone(),
                });
            }
        }
    }
    Ok(producers)
}

fn check_name(name: &str) -> Result<(), GraphError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(GraphError::Name(name.chars().take(NAME_BYTES_MAX).collect()))
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The calls a call waits for, and whether its parameters must be resolved.
fn needs(call: &ToolCall, producers: &HashMap<String, usize>) -> Result<(Vec<usize>, bool), GraphError> {
    let unknown = |input: &str, hint| GraphError::UnknownInput {
        call: call.tool_id.clone(),
        input: input.to_owned(),
        hint,
    };
    let mut needs = Vec::new();
    for input in &call.inputs {
        needs.push(*producers.get(input).ok_or_else(|| unknown(input, ""))?);
    }
    let hint = " (write `$${` where a text means `${` itself)";
    let has_references = reference::visit(&call.params, &mut |reference| {
        needs.push(
            *producers
                .get(reference.output)
                .ok_or_else(|| unknown(reference.output, hint))?,
        );
        Ok(())
    })?;
    needs.sort_unstable();
    needs.dedup();
    Ok((needs, has_references))
}

fn topological_order(dependencies: &[Vec<usize>], dependents: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut waits: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..waits.len()).filter(|index| waits[*index] == 0).collect();
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        next += 1;
        for &dependent in &dependents[index] {
            waits[dependent] -= 1;
            if waits[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    (order.len() == waits.len()).then_some(order)
}

/// A cycle of a graph that has one, spelled in the direction in which results would flow.
fn find_cycle(calls: &[ToolCall], dependencies: &[Vec<usize>]) -> Cycle {
    // Calls that lie on a cycle or behind one: what stays when everything that can run is taken away.
    let mut stuck: Vec<bool> = vec![true; calls.len()];
    while let Some(free) = (0..calls.len()).find(|i| stuck[*i] && dependencies[*i].iter().all(|needed| !stuck[*needed]))
    {
        stuck[free] = false;
    }
    // Each stuck call needs a stuck one, so walking back along such needs meets a call twice.
    let mut path: Vec<usize> = stuck.iter().position(|stuck| *stuck).into_iter().collect();
    while let Some(needed) = path
        .last()
        .and_then(|last| dependencies[*last].iter().copied().find(|needed| stuck[*needed]))
    {
        if let Some(start) = path.iter().position(|seen| *seen == needed) {
            path.drain(..start);
            break;
        }
        path.push(needed);
    }
    path.reverse();
    // Begin with the call that was named first in the plan, so that the same plan gives the same message.
    if let Some(first) = path
        .iter()
        .enumerate()
        .min_by_key(|(_, index)| **index)
        .map(|(at, _)| at)
    {
        path.rotate_left(first);
    }
    let first = path.first().copied();
    Cycle(
        path.into_iter()
            .chain(first)
            .map(|index| calls[index].tool_id.clone())
            .collect(),
    )
}

#[cfg(test)]
#[path = "graph/tests.rs"]
mod tests;
