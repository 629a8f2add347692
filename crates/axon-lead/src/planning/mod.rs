//! Writes the plan of a query: what to find out, where, by which task, in which order and within which limits. It is a
//! pure function of the query, its analysis, the strategy, the allocation and the workspace's files.

mod error;
mod inquiry;
mod order;
mod own;

use axon_protocol::{
    Analysis, Budget, Digest, ExecutionPlan, PLAN_VERSION, Query, QueryId, ResourceAllocation, SelectedStrategy, Shape,
    StrategyDefinition, TaskBoundaries, TaskDelegation, TaskId,
};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::allocation::{deadlines, split};
use crate::config::Config;
use crate::partition::{Relevance, extent, partition};
use crate::view::WorkspaceView;
use inquiry::{Inquiry, Source, inquiries};

pub use error::PlanError;
pub(crate) use error::named;
pub use order::{batches, ranks};
pub(crate) use order::{cycle, needs};
pub(crate) use own::spelled;
pub use own::{OWN_PLAN, own_plan};

/// A scope smaller than this, in bytes, is not divided further.
const SCOPE_BYTES_MIN: u64 = 40 * 1024;
/// Paths named in an objective before the rest is only counted.
const PATHS_SHOWN_MAX: usize = 4;
/// Paths of a scope that covers everything; where there are more, the scope is the whole workspace.
const PATHS_LISTED_MAX: usize = 12;
/// Longest text of a query within an objective, in characters; the task carries the whole.
const QUERY_CHARS_MAX: usize = 240;
/// What one tool call of an analyst takes on average, and the synthesis, in milliseconds: for the estimate alone.
const CALL_MS: u64 = 120;
const SYNTHESIS_MS: u64 = 400;
/// What a scope is called that holds everything.
const EVERYTHING: &str = "the whole workspace";

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanInput<'a> {
    /// The query.
    pub query: &'a Query,
    /// Its id.
    pub query_id: &'a QueryId,
    /// What the analysis found.
    pub analysis: Analysis,
    /// The strategy chosen.
    pub selected: SelectedStrategy,
    /// Its definition.
    pub definition: &'a StrategyDefinition,
    /// What the query may use.
    pub allocation: ResourceAllocation,
    /// The files of the workspace, where there is one.
    pub view: Option<&'a WorkspaceView>,
    /// The workspace itself.
    pub workspace: Option<Digest>,
    /// The configuration.
    pub config: &'a Config,
    /// When the query was accepted.
    pub now: DateTime<Utc>,
}

/// Writes the plan of a query.
pub fn plan(input: PlanInput<'_>) -> Result<ExecutionPlan, PlanError> {
    let source = Source {
        query: input.query,
        analysis: &input.analysis,
        definition: input.definition,
        view: input.view,
        most: input
            .allocation
            .num_workers
            .clamp(1, input.config.max_tasks_per_plan.max(1)),
    };
    let inquiries = inquiries(&source)?;
    let placed = place(&inquiries, &source);
    let total = Budget {
        tokens: input.allocation.max_tokens_budget,
        cents: input.allocation.max_cost_cents,
    };
    let (budgets, synthesis_reserve) = split(total, placed.len(), input.config.synthesis_share);
    let deadlines = deadlines(input.now, input.allocation.timeout_ms, input.config.synthesis_share);
    let writer = Writer {
        input: &input,
        placed: &placed,
        line: one_line(&input.query.query),
        tasks_ms: deadlines.tasks_ms.max(1),
    };
    let tasks: Vec<TaskDelegation> = budgets
        .into_iter()
        .enumerate()
        .map(|(index, budget)| writer.delegation(index, budget))
        .collect();

    let mut aspects: Vec<String> = Vec::new();
    for inquiry in &inquiries {
        if !aspects.contains(&inquiry.aspect) {
            aspects.push(inquiry.aspect.clone());
        }
    }
    let depth = order::levels(&placed.iter().map(|place| place.needs.clone()).collect::<Vec<_>>())
        .into_iter()
        .max()
        .unwrap_or(0)
        + 1;
    let parallelizable = depth < tasks.len();
    // A chain is one worker's work in several steps; elsewhere each task may have its own worker.
    let workers = if parallelizable { tasks.len() } else { 1 };
    let allocation = ResourceAllocation {
        num_workers: workers,
        max_parallel_workers: input.allocation.max_parallel_workers.clamp(1, workers),
        ..input.allocation
    };
    Ok(ExecutionPlan {
        version: PLAN_VERSION,
        plan_id: input.query_id.as_str().to_owned(),
        query_id: input.query_id.clone(),
        query: input.query.clone(),
        workspace: input.workspace,
        estimated_duration_ms: estimate(&allocation, tasks.len(), depth),
        resource_allocation: allocation,
        task_delegations: tasks,
        aspects,
        parallelizable,
        synthesis_reserve,
        created_at: input.now,
        tasks_deadline: deadlines.tasks,
        deadline: deadlines.answer,
        analysis: Some(input.analysis),
        strategy: input.selected,
    })
}

/// How long a plan will take: the waves of its tasks, at the pace of an analyst, and the synthesis.
fn estimate(allocation: &ResourceAllocation, tasks: usize, depth: usize) -> u64 {
    let waves = depth.max(tasks.div_ceil(allocation.max_parallel_workers.max(1))) as u64;
    let task_ms = allocation.max_tool_calls_per_worker as u64 * CALL_MS;
    waves
        .saturating_mul(task_ms)
        .saturating_add(SYNTHESIS_MS)
        .min(allocation.timeout_ms)
}

/// An inquiry with a scope: one task.
struct Placed<'a> {
    inquiry: &'a Inquiry<'a>,
    scope: Vec<String>,
    needs: Vec<usize>,
}

/// Gives each inquiry its scopes, as many as there are workers for it and files worth dividing.
fn place<'a>(inquiries: &'a [Inquiry<'a>], source: &Source<'_>) -> Vec<Placed<'a>> {
    let relevance = relevance(source.definition);
    let divisible = inquiries.iter().filter(|inquiry| inquiry.divisible).count();
    let ordered = inquiries.iter().any(|inquiry| !inquiry.needs.is_empty());
    let spare = if ordered {
        0
    } else {
        source.most.saturating_sub(inquiries.len())
    };
    let mut placed: Vec<Placed<'a>> = Vec::new();
    let mut tasks_of: Vec<Vec<usize>> = Vec::with_capacity(inquiries.len());
    let mut seen = 0;
    for inquiry in inquiries {
        let mut parts = 1;
        if inquiry.divisible && divisible > 0 {
            // Spare workers go to the inquiries evenly, the first ones first: they matter most.
            parts += spare / divisible + usize::from(seen < spare % divisible);
            seen += 1;
        }
        let needs: Vec<usize> = inquiry
            .needs
            .iter()
            .flat_map(|&need| tasks_of[need].iter().copied())
            .collect();
        let first = placed.len();
        let alone = inquiries.len() == 1;
        for scope in scopes(source.view, &inquiry.focus, parts, relevance, alone) {
            placed.push(Placed {
                inquiry,
                scope,
                needs: needs.clone(),
            });
        }
        tasks_of.push((first..placed.len()).collect());
    }
    placed
}

fn scopes(
    view: Option<&WorkspaceView>,
    focus: &[String],
    parts: usize,
    relevance: Relevance,
    alone: bool,
) -> Vec<Vec<String>> {
    let Some(view) = view else {
        return vec![Vec::new()];
    };
    let (_, bytes) = extent(view, focus, relevance);
    let worth = usize::try_from(bytes / SCOPE_BYTES_MIN).unwrap_or(usize::MAX);
    let parts = parts.min(worth).max(1);
    if parts == 1 && focus.is_empty() && alone {
        return vec![Vec::new()];
    }
    let mut scopes = partition(view, parts, focus, relevance);
    if scopes.is_empty() || (scopes.len() == 1 && focus.is_empty() && scopes[0].len() > PATHS_LISTED_MAX) {
        scopes = vec![focus.to_vec()];
    }
    scopes
}

/// Research reads documents as well; the other strategies read programs.
fn relevance(definition: &StrategyDefinition) -> Relevance {
    let reads = |name: &str| {
        definition
            .capabilities
            .iter()
            .any(|capability| capability.as_str() == name)
    };
    if reads("Research") || reads("Comparison") || reads("CodeAnalysis") {
        Relevance::Text
    } else {
        Relevance::Code
    }
}

struct Writer<'a> {
    input: &'a PlanInput<'a>,
    placed: &'a [Placed<'a>],
    line: String,
    tasks_ms: u64,
}

impl Writer<'_> {
    fn delegation(&self, index: usize, budget: Budget) -> TaskDelegation {
        let place = &self.placed[index];
        let (inquiry, template) = (place.inquiry, place.inquiry.template);
        let scope = scope_in_words(&place.scope);
        let fill = |text: &str| filled(text, &self.line, &scope, &inquiry.aspect);
        let mut key_questions = inquiry.questions.clone();
        key_questions.extend(template.key_questions.iter().map(|question| fill(question)));
        TaskDelegation {
            task_id: TaskId::from_index(index + 1),
            objective: self.objective(place, &scope),
            output_format: self.input.query.output_format,
            allowed_tools: template.allowed_tools.clone(),
            boundaries: TaskBoundaries {
                scope: place.scope.clone(),
                constraints: template.constraints.iter().map(|constraint| fill(constraint)).collect(),
                max_tool_calls: self.input.allocation.max_tool_calls_per_worker.max(1),
                timeout_ms: self.tasks_ms,
            },
            priority: self.input.query.priority.unwrap_or(self.input.definition.priority),
            required_capabilities: self.input.definition.capabilities.clone(),
            context: self.context(inquiry),
            dependencies: place.needs.iter().map(|need| TaskId::from_index(need + 1)).collect(),
            key_questions,
            aspect: inquiry.aspect.clone(),
            playbook: self.input.definition.name.clone(),
            calls: Vec::new(),
            budget,
        }
    }

    /// Exactly one sentence.
    fn objective(&self, place: &Placed<'_>, scope: &str) -> String {
        let inquiry = place.inquiry;
        let Some(part) = &inquiry.part else {
            return filled(&inquiry.template.objective, &self.line, scope, &inquiry.aspect);
        };
        let label = one_line(&part.label);
        let sentence = if part.question {
            format!("answer “{label}?” from {scope}")
        } else {
            format!("{label}, looking at {scope}")
        };
        if place.needs.is_empty() {
            return format!("{}.", capitalised(&sentence));
        }
        let earlier: Vec<String> = place
            .needs
            .iter()
            .map(|need| TaskId::from_index(need + 1).to_string())
            .collect();
        format!("With the results of {}, {sentence}.", in_words(&earlier))
    }

    /// What a worker should know: of its part of the query, and of the whole where the part names nothing.
    fn context(&self, inquiry: &Inquiry<'_>) -> serde_json::Value {
        let whole = &self.input.analysis;
        let part = inquiry.part.as_ref().map_or(whole, |part| &part.analysis);
        let either = |own: &Vec<String>, all: &Vec<String>| if own.is_empty() { all.clone() } else { own.clone() };
        json!({
            "keywords": either(&part.keywords, &whole.keywords),
            "symbols": either(&part.symbols, &whole.symbols),
            "quotes": either(&part.quotes, &whole.quotes),
            "paths": either(&part.paths, &whole.paths),
            "subjects": whole.subjects,
            "template": inquiry.template.aspect,
            "shape": Shape::to_string(&whole.shape),
        })
    }
}

fn filled(text: &str, query: &str, scope: &str, aspect: &str) -> String {
    // In one pass: what is filled in is never filled again.
    let mut out = String::with_capacity(text.len() + query.len() + scope.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = [("{query}", query), ("{scope}", scope), ("{aspect}", aspect)];
        match known.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The words of a query as they can stand within one sentence.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(4 * QUERY_CHARS_MAX));
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let ends = word.len() > 1 && word.ends_with(['.', '?', '!']) && words.peek().is_some();
        line.push_str(if ends {
            word.trim_end_matches(['.', '?', '!'])
        } else {
            word
        });
        if words.peek().is_some() {
            line.push_str(if ends { "; " } else { " " });
        }
    }
    let line = line.trim_end_matches(['.', '?', '!', ' ', ';', ',']);
    match line.char_indices().nth(QUERY_CHARS_MAX) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line.to_owned(),
    }
}

fn scope_in_words(scope: &[String]) -> String {
    match scope.len() {
        0 => EVERYTHING.to_owned(),
        1..=PATHS_SHOWN_MAX => in_words(scope),
        count => {
            let shown = scope[..PATHS_SHOWN_MAX - 1].join(", ");
            format!("{shown} and {} more paths", count - (PATHS_SHOWN_MAX - 1))
        }
    }
}

/// `a`, `a and b`, `a, b and c`.
fn in_words(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
