//! Writes the plan of a query: what to find out, where, by which task, in which order and within which limits. It is a
//! pure function of the query, its analysis, the strategy, the allocation and the workspace's files.

mod again;
mod error;
mod estimate;
mod inquiry;
mod near;
mod order;
mod own;
mod replayed;
mod revised;

use axon_protocol::{
    Analysis, AppliedPattern, Budget, Complexity, DelegationTemplate, Digest, ExecutionPlan, PLAN_VERSION, Query,
    QueryId, Recalled, ResourceAllocation, SelectedStrategy, Shape, StrategyDefinition, StrategyStatistics,
    TaskBoundaries, TaskDelegation, TaskId, TemplateScope, Trouble,
};
use axon_tools::allowed;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::advice::{Advice, applied};
use crate::allocation::{deadlines, split};
use crate::analysis::written;
use crate::config::Config;
use crate::partition::{Relevance, extent, outermost, overlap, partition, without};
use crate::strategy::Library;
use crate::view::{WorkspaceView, holds};
use estimate::{Known, estimate};
use inquiry::{Inquiry, Source, inquiries};

pub use again::again;
pub use error::PlanError;
pub(crate) use error::named;
pub(crate) use estimate::take_expectation;
pub use order::{batches, ranks};
pub(crate) use order::{cycle, needs};
pub(crate) use own::spelled;
pub use own::{OWN_PLAN, own_plan};
pub use replayed::{Undone, replayed, undone};
pub use revised::{WantedTask, paid, revised};

/// A scope smaller than this, in bytes, is not divided further.
const SCOPE_BYTES_MIN: u64 = 40 * 1024;
/// Files of earlier answers that are pointed out to a task.
const REMEMBERED_PATHS_MAX: usize = 4;
/// Paths named in an objective before the rest is only counted.
const PATHS_SHOWN_MAX: usize = 4;
/// Longest text of a query within an objective, in characters; the task carries the whole.
const QUERY_CHARS_MAX: usize = 240;
/// What tasks are asked of whose kind findings often contradict each other.
const CONFLICTS_QUESTION: &str = "Which places say otherwise, and which of them decides?";
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
    /// What became of its applications, where there were any.
    pub statistics: Option<&'a StrategyStatistics>,
    /// The strategies in force: a part of the query may be work for another one than the whole.
    pub library: &'a Library,
    /// What the query may use.
    pub allocation: ResourceAllocation,
    /// The files of the workspace, where there is one.
    pub view: Option<&'a WorkspaceView>,
    /// The workspace itself.
    pub workspace: Option<Digest>,
    /// The configuration.
    pub config: &'a Config,
    /// Queries like this one that are remembered.
    pub recalled: Vec<Recalled>,
    /// What patterns say of queries like this one.
    pub advice: &'a Advice,
    /// The patterns that were applied already.
    pub applied: Vec<AppliedPattern>,
    /// When the query was accepted.
    pub now: DateTime<Utc>,
}

/// Writes the plan of a query.
pub fn plan(input: PlanInput<'_>) -> Result<ExecutionPlan, PlanError> {
    let source = Source {
        query: input.query,
        analysis: &input.analysis,
        definition: input.definition,
        library: input.library,
        view: input.view,
        advice: input.advice,
        most: input
            .allocation
            .num_workers
            .clamp(1, input.config.max_tasks_per_plan.max(1)),
    };
    let (inquiries, chosen) = inquiries(&source)?;
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
        paths: input.view.map(near::Paths::of),
        line: one_line(&written(&input.query.query)),
        recommended: input.advice.tools(|tool| {
            let templates = &input.definition.templates;
            templates.iter().any(|template| allowed(tool, &template.allowed_tools))
        }),
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
    // A chain is one worker's work in several steps, and so are the parts of a simple query; elsewhere each task may have its
    // own worker.
    let workers = match (parallelizable, input.analysis.complexity) {
        (false, _) => 1,
        (true, Complexity::Simple) => tasks.len().min(source.most),
        (true, _) => tasks.len(),
    };
    let allocation = ResourceAllocation {
        num_workers: workers,
        max_parallel_workers: input.allocation.max_parallel_workers.clamp(1, workers),
        ..input.allocation
    };
    let mut patterns_applied = input.applied.clone();
    patterns_applied.extend(chosen);
    patterns_applied.extend(writer.recommended.iter().map(|(_, applied)| applied.clone()));
    let (estimated_duration_ms, mut estimate) = estimate(&Known {
        allocation: &allocation,
        tasks: tasks.len(),
        depth,
        strategy: &input.selected.name,
        statistics: input.statistics,
        min_applications: input.config.min_applications,
    });
    for (trouble, what) in [(Trouble::Retries, "tried again"), (Trouble::HandOvers, "handed over")] {
        if let Some(pattern) = input.advice.trouble(trouble) {
            estimate.basis.push_str(&format!(
                "; {:.0} % of queries like it had tasks {what}",
                pattern.rate * 100.0
            ));
            patterns_applied.push(applied(pattern, "the estimate says so"));
        }
    }
    if let Some(pattern) = input.advice.trouble(Trouble::Conflicts) {
        patterns_applied.push(applied(pattern, "its tasks are asked what says otherwise"));
    }
    Ok(ExecutionPlan {
        version: PLAN_VERSION,
        plan_id: input.query_id.as_str().to_owned(),
        query_id: input.query_id.clone(),
        query: input.query.clone(),
        workspace: input.workspace,
        estimated_duration_ms,
        estimate: Some(estimate),
        recalled: input.recalled,
        patterns_applied,
        resource_allocation: allocation,
        task_delegations: tasks,
        aspects,
        parallelizable,
        synthesis_reserve,
        planned_by: None,
        stop_rule: input.definition.stop.filter(|_| input.config.early_termination),
        created_at: input.now,
        tasks_deadline: deadlines.tasks,
        deadline: deadlines.answer,
        analysis: Some(input.analysis),
        strategy: input.selected,
    })
}

/// An inquiry with a scope: one task.
struct Placed<'a> {
    inquiry: &'a Inquiry<'a>,
    scope: Vec<String>,
    /// The scope as an objective names it.
    named: String,
    needs: Vec<usize>,
}

/// Gives each inquiry its scopes, as many as there are workers for it and files worth dividing.
fn place<'a>(inquiries: &'a [Inquiry<'a>], source: &Source<'_>) -> Vec<Placed<'a>> {
    let divisible = inquiries.iter().filter(|inquiry| inquiry.divisible()).count();
    let ordered = inquiries.iter().any(|inquiry| !inquiry.needs.is_empty());
    let spare = if ordered {
        0
    } else {
        source.most.saturating_sub(inquiries.len())
    };
    let mut placed: Vec<Placed<'a>> = Vec::new();
    let mut tasks_of: Vec<Vec<usize>> = Vec::with_capacity(inquiries.len());
    let mut seen = 0;
    for (index, inquiry) in inquiries.iter().enumerate() {
        let mut parts = 1;
        if inquiry.divisible() && divisible > 0 {
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
        let relevance = relevance(inquiry.definition);
        let focus = focus_of(inquiries, index, source.view);
        for scope in scopes(source.view, &focus, parts, relevance) {
            if inquiry.template.scope == TemplateScope::Around && only_files(&scope, source.view) {
                placed.push(Placed {
                    inquiry,
                    named: format!("and around {}", scope_in_words(&scope)),
                    scope: Vec::new(),
                    needs: needs.clone(),
                });
                continue;
            }
            let tests = tests_beside(inquiry, &scope, source.view);
            let named = match tests.is_empty() {
                true => scope_in_words(&scope),
                false => format!("{} (with its tests)", scope_in_words(&scope)),
            };
            placed.push(Placed {
                inquiry,
                scope: outermost(&[scope, tests].concat()),
                named,
                needs: needs.clone(),
            });
        }
        tasks_of.push((first..placed.len()).collect());
    }
    placed
}

/// What an inquiry looks at: the paths it names, without those that another inquiry of the same template names more
/// narrowly. `Check crates for races, and crates/bus for deadlocks` looks at crates/bus once.
fn focus_of(inquiries: &[Inquiry<'_>], index: usize, view: Option<&WorkspaceView>) -> Vec<String> {
    let inquiry = &inquiries[index];
    let Some(view) = view.filter(|_| inquiry.divisible() && inquiry.template.aspect != crate::strategy::ANY_ASPECT)
    else {
        return inquiry.focus.clone();
    };
    let others = inquiries.iter().enumerate().filter(|(other, theirs)| {
        *other != index
            && theirs.template.aspect == inquiry.template.aspect
            && !theirs.focus.is_empty()
            && theirs.focus != inquiry.focus
            && overlap(&theirs.focus, &inquiry.focus)
    });
    let mut focus = inquiry.focus.clone();
    for (_, theirs) in others {
        let rest = without(view, &focus, &theirs.focus, relevance(inquiry.definition));
        // Where nothing would be left, the other one is the wider one and leaves this out.
        if !rest.is_empty() {
            focus = rest;
        }
    }
    focus
}

fn only_files(scope: &[String], view: Option<&WorkspaceView>) -> bool {
    let is_file = |path: &String| view.is_some_and(|view| view.files.iter().any(|file| file.path == *path));
    !scope.is_empty() && scope.iter().all(is_file)
}

/// Directories and files of tests that a task has to see beside its scope: those of the packages it is in, and of the whole.
fn tests_beside(inquiry: &Inquiry<'_>, scope: &[String], view: Option<&WorkspaceView>) -> Vec<String> {
    let Some(view) = view.filter(|_| inquiry.template.scope == TemplateScope::WithTests && !scope.is_empty()) else {
        return Vec::new();
    };
    let beside = |path: &String| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        !scope.iter().any(|own| holds(own, path)) && scope.iter().any(|own| holds(parent, own))
    };
    view.tests().into_iter().filter(beside).collect()
}

fn scopes(view: Option<&WorkspaceView>, focus: &[String], parts: usize, relevance: Relevance) -> Vec<Vec<String>> {
    let Some(view) = view else {
        return vec![Vec::new()];
    };
    let (_, bytes) = extent(view, focus, relevance);
    let worth = usize::try_from(bytes / SCOPE_BYTES_MIN).unwrap_or(usize::MAX);
    let parts = parts.min(worth).max(1);
    if parts == 1 && focus.is_empty() {
        return vec![Vec::new()];
    }
    let scopes = partition(view, parts, focus, relevance);
    if scopes.is_empty() {
        return vec![focus.to_vec()];
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
    paths: Option<near::Paths<'a>>,
    line: String,
    /// Tools whose findings were kept, with the patterns that say so.
    recommended: Vec<(String, AppliedPattern)>,
    tasks_ms: u64,
}

impl Writer<'_> {
    fn delegation(&self, index: usize, budget: Budget) -> TaskDelegation {
        let place = &self.placed[index];
        let (inquiry, template) = (place.inquiry, place.inquiry.template);
        let scope = &place.named;
        let fill = |text: &str| filled(text, &self.line, scope, &inquiry.aspect);
        let mut key_questions = inquiry.questions.clone();
        // A step's words are a clause, which no question about an aspect can hold.
        let fits = |text: &&String| inquiry.part.is_none() || !text.contains("{aspect}");
        key_questions.extend(
            template
                .key_questions
                .iter()
                .filter(fits)
                .map(|question| fill(question)),
        );
        if self.input.advice.trouble(Trouble::Conflicts).is_some() {
            key_questions.push(CONFLICTS_QUESTION.to_owned());
        }
        TaskDelegation {
            task_id: TaskId::from_index(index + 1),
            objective: self.objective(place, scope),
            output_format: self.input.query.output_format,
            allowed_tools: template.allowed_tools.clone(),
            boundaries: TaskBoundaries {
                scope: place.scope.clone(),
                constraints: self.constraints(inquiry, fill),
                max_tool_calls: self.input.allocation.max_tool_calls_per_worker.max(1),
                timeout_ms: self.tasks_ms,
            },
            priority: self.input.query.priority.unwrap_or(inquiry.definition.priority),
            required_capabilities: inquiry.definition.capabilities.clone(),
            context: self.context(place),
            dependencies: place.needs.iter().map(|need| TaskId::from_index(need + 1)).collect(),
            key_questions,
            aspect: inquiry.aspect.clone(),
            playbook: inquiry.definition.playbook().to_owned(),
            calls: Vec::new(),
            budget,
            added: false,
        }
    }

    /// Files that the answers to similar queries cite, as far as they are still there and within a scope.
    fn remembered(&self, scope: &[String]) -> Vec<String> {
        let Some(view) = self.input.view else { return Vec::new() };
        let mut paths: Vec<String> = Vec::new();
        for path in self.input.recalled.iter().flat_map(|recalled| &recalled.places) {
            let inside = scope.is_empty() || scope.iter().any(|part| holds(part, path));
            let there = || view.files.iter().any(|file| file.path == *path);
            if paths.len() < REMEMBERED_PATHS_MAX && inside && !paths.contains(path) && there() {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// The recommended tools that tasks of a template may use.
    fn proven_tools(&self, template: &DelegationTemplate) -> Vec<&str> {
        let tools = self.recommended.iter().map(|(tool, _)| tool.as_str());
        tools.filter(|tool| allowed(tool, &template.allowed_tools)).collect()
    }

    /// What was asked before, and what came of it.
    fn recalled_queries(&self) -> Vec<serde_json::Value> {
        let recalled = self.input.recalled.iter();
        recalled
            .map(|one| {
                json!({
                    "query": one.query,
                    "status": one.status.as_str(),
                    "summary": one.summary,
                    "places": one.places,
                })
            })
            .collect()
    }

    fn constraints(&self, inquiry: &Inquiry<'_>, fill: impl Fn(&str) -> String) -> Vec<String> {
        let constraints = inquiry.template.constraints.iter();
        constraints
            .map(|constraint| match inquiry.part {
                Some(_) if constraint.contains("{aspect}") => {
                    "Stay with this part: the rest belongs to other tasks".to_owned()
                }
                _ => fill(constraint),
            })
            .collect()
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
    fn context(&self, place: &Placed<'_>) -> serde_json::Value {
        let inquiry = place.inquiry;
        let whole = &self.input.analysis;
        let part = inquiry.part.as_ref().map_or(whole, |part| &part.analysis);
        let either = |own: &Vec<String>, all: &Vec<String>| if own.is_empty() { all.clone() } else { own.clone() };
        // Files are looked up by what a question is about, not by the qualities it asks for.
        let subjects = &whole.subjects;
        let mut words = match subjects.iter().find(|subject| **subject == inquiry.aspect) {
            Some(subject) => vec![subject.clone()],
            None if subjects.is_empty() || inquiry.part.is_some() => either(&part.keywords, &whole.keywords),
            None => subjects.clone(),
        };
        words.retain(|word| !self.input.library.vocabulary().knows(&word.to_lowercase()));
        let near = self
            .paths
            .as_ref()
            .map(|paths| near::near(paths, &words, &place.scope, relevance(inquiry.definition)));
        let mut near = near.unwrap_or_default();
        for path in self.remembered(&place.scope) {
            if !near.contains(&path) {
                near.push(path);
            }
        }
        json!({
            "near": near,
            "remembered": self.recalled_queries(),
            "proven_tools": self.proven_tools(inquiry.template),
            "keywords": either(&part.keywords, &whole.keywords),
            "symbols": either(&part.symbols, &whole.symbols),
            "quotes": either(&part.quotes, &whole.quotes),
            "paths": either(&part.paths, &whole.paths),
            "subjects": whole.subjects,
            "aspects": whole.aspects,
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
mod snapshots;
#[cfg(test)]
mod tests;
