//! A plan as people read it before it runs: how the query was understood, why this strategy, and what each task is to do.
//! It leaves out nothing that decides what happens, and shortens only lists that are long.

use std::fmt;

use crate::{Analysis, ExecutionPlan, TaskDelegation, counted};

/// Reasons and scores that are shown of each list.
const SHOWN_MAX: usize = 6;
/// Characters that are shown of a remembered query.
const QUERY_CHARS_MAX: usize = 100;
/// Paths that are shown of a scope.
const PATHS_SHOWN_MAX: usize = 12;

impl fmt::Display for ExecutionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(analysis) = &self.analysis {
            understood(f, analysis)?;
        }
        let strategy = &self.strategy;
        write!(f, "strategy    {} ({:.2})", strategy.name, strategy.score)?;
        reasons(f, &strategy.reasons)?;
        let others: Vec<String> = strategy
            .others
            .iter()
            .filter(|(_, score)| *score > 0.0)
            .map(|(name, score)| format!("{name} {score:.2}"))
            .collect();
        if !others.is_empty() {
            writeln!(f, "  before    {}", some(&others, SHOWN_MAX))?;
        }
        let allocation = &self.resource_allocation;
        writeln!(
            f,
            "allocation  {} for {}, {} at once, {} each, {:.0} s, {} tokens and {} cents, of which {} and {} are kept for the \
             synthesis",
            counted(allocation.num_workers, "worker"),
            counted(self.task_delegations.len(), "task"),
            allocation.max_parallel_workers,
            counted(allocation.max_tool_calls_per_worker, "tool call"),
            allocation.timeout_ms as f64 / 1000.0,
            allocation.max_tokens_budget,
            allocation.max_cost_cents,
            self.synthesis_reserve.tokens,
            self.synthesis_reserve.cents,
        )?;
        write!(f, "estimate    {:.1} s", self.estimated_duration_ms as f64 / 1000.0)?;
        if !self.parallelizable && self.task_delegations.len() > 1 {
            f.write_str(", one task after the other")?;
        }
        if let Some(estimate) = &self.estimate {
            write!(
                f,
                ", {} tokens, {:.1} cents; from {}",
                estimate.tokens, estimate.cents, estimate.basis
            )?;
        }
        for recalled in &self.recalled {
            write!(
                f,
                "\nmemory      {:.0} % alike: “{}”, {} with {}",
                recalled.similarity * 100.0,
                short(&recalled.query),
                recalled.status.as_str(),
                recalled.strategy
            )?;
        }
        for pattern in &self.patterns_applied {
            write!(f, "\npattern     {} ({})", pattern.effect, pattern.key)?;
        }
        for task in &self.task_delegations {
            f.write_str("\n\n")?;
            delegated(f, task)?;
        }
        Ok(())
    }
}

fn understood(f: &mut fmt::Formatter<'_>, analysis: &Analysis) -> fmt::Result {
    write!(f, "complexity  {}", analysis.complexity)?;
    reasons(f, &analysis.complexity_reasons)?;
    write!(f, "shape       {}", analysis.shape)?;
    reasons(f, &analysis.shape_reasons)?;
    for (name, list) in [
        ("aspects", &analysis.aspects),
        ("compares", &analysis.subjects),
        ("paths", &analysis.paths),
        ("symbols", &analysis.symbols),
        ("quotes", &analysis.quotes),
    ] {
        if !list.is_empty() {
            writeln!(f, "{name:<12}{}", some(list, PATHS_SHOWN_MAX))?;
        }
    }
    for warning in &analysis.warnings {
        writeln!(f, "warning     {warning}")?;
    }
    Ok(())
}

fn delegated(f: &mut fmt::Formatter<'_>, task: &TaskDelegation) -> fmt::Result {
    let needs: Vec<&str> = task
        .required_capabilities
        .iter()
        .map(|needed| needed.as_str())
        .collect();
    write!(
        f,
        "{} [{}] priority {}: {}",
        task.task_id,
        needs.join(" "),
        task.priority,
        task.objective
    )?;
    let boundaries = &task.boundaries;
    let scope = if boundaries.scope.is_empty() {
        "the whole workspace".to_owned()
    } else {
        some(&boundaries.scope, PATHS_SHOWN_MAX)
    };
    write!(f, "\n    scope   {scope}")?;
    if let Some(near) = task
        .context
        .get("near")
        .and_then(|near| near.as_array())
        .filter(|near| !near.is_empty())
    {
        let near: Vec<String> = near
            .iter()
            .filter_map(|path| path.as_str())
            .map(str::to_owned)
            .collect();
        write!(f, "\n    first   {}", some(&near, PATHS_SHOWN_MAX))?;
    }
    if !task.dependencies.is_empty() {
        let after: Vec<&str> = task.dependencies.iter().map(|id| id.as_str()).collect();
        write!(f, "\n    after   {}", after.join(", "))?;
    }
    for question in &task.key_questions {
        write!(f, "\n    asks    {question}")?;
    }
    for constraint in &boundaries.constraints {
        write!(f, "\n    but     {constraint}")?;
    }
    write!(f, "\n    tools   {}", some(&task.allowed_tools, PATHS_SHOWN_MAX))?;
    write!(
        f,
        "\n    within  {}, {:.0} s, {} tokens, {} cents",
        counted(boundaries.max_tool_calls, "call"),
        boundaries.timeout_ms as f64 / 1000.0,
        task.budget.tokens,
        task.budget.cents
    )
}

fn reasons(f: &mut fmt::Formatter<'_>, reasons: &[String]) -> fmt::Result {
    match reasons {
        [] => writeln!(f),
        _ => writeln!(f, ": {}", some(reasons, SHOWN_MAX)),
    }
}

fn some(list: &[String], most: usize) -> String {
    let shown = list.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(most) {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}

/// A remembered query on one line.
fn short(query: &str) -> String {
    let line = query.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUERY_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Budget, Complexity, Estimate, OutputFormat, Query, QueryId, ResourceAllocation, SelectedStrategy, Shape,
        TaskBoundaries, TaskId,
    };
    use chrono::DateTime;

    use super::*;

    fn task(id: &str, scope: &[&str], after: &[&str]) -> TaskDelegation {
        TaskDelegation {
            task_id: TaskId::new(id).expect("an id"),
            objective: "find panics".to_owned(),
            output_format: OutputFormat::Markdown,
            allowed_tools: vec!["code.*".to_owned()],
            boundaries: TaskBoundaries {
                scope: scope.iter().map(|path| (*path).to_owned()).collect(),
                constraints: Vec::new(),
                max_tool_calls: 15,
                timeout_ms: 1000,
            },
            priority: 5,
            required_capabilities: vec!["CodeReview".parse().expect("a capability")],
            context: serde_json::Value::Null,
            dependencies: after.iter().map(|id| TaskId::new(*id).expect("an id")).collect(),
            key_questions: Vec::new(),
            aspect: "errors".to_owned(),
            playbook: String::new(),
            calls: Vec::new(),
            budget: Budget::default(),
            added: false,
        }
    }

    #[test]
    fn a_plan_reads_well() {
        let now = DateTime::UNIX_EPOCH;
        let plan = ExecutionPlan {
            version: 1,
            plan_id: "q1".to_owned(),
            query_id: QueryId::new("q1").expect("an id"),
            query: Query::new("why?"),
            workspace: None,
            analysis: Some(Analysis {
                complexity: Complexity::Medium,
                ruled: None,
                complexity_reasons: vec!["40 files".to_owned()],
                shape: Shape::FanOut,
                shape_reasons: Vec::new(),
                aspects: Vec::new(),
                keywords: Vec::new(),
                paths: Vec::new(),
                symbols: Vec::new(),
                quotes: Vec::new(),
                subjects: Vec::new(),
                warnings: vec!["`foo` is not in the workspace".to_owned()],
            }),
            strategy: SelectedStrategy {
                name: "code_review".to_owned(),
                score: 0.9,
                reasons: vec!["says review".to_owned()],
                others: vec![("general".to_owned(), 0.1)],
                leaning: None,
                trial: false,
            },
            resource_allocation: ResourceAllocation {
                num_workers: 2,
                max_tool_calls_per_worker: 15,
                max_parallel_workers: 4,
                timeout_ms: 120_000,
                max_tokens_budget: 50_000,
                max_cost_cents: 50,
            },
            task_delegations: vec![
                task("t1", &["a", "b", "c", "d", "e", "f", "g", "h"], &[]),
                task("t2", &[], &["t1"]),
            ],
            aspects: Vec::new(),
            parallelizable: false,
            synthesis_reserve: Budget::default(),
            planned_by: None,
            stop_rule: None,
            estimated_duration_ms: 1500,
            recalled: Vec::new(),
            patterns_applied: Vec::new(),
            estimate: Some(Estimate {
                tokens: 0,
                cents: 0.0,
                basis: "the mean of 5 applications of code_review".to_owned(),
            }),
            created_at: now,
            tasks_deadline: now,
            deadline: now,
        };
        let expected = "\
complexity  medium: 40 files
shape       fan-out
warning     `foo` is not in the workspace
strategy    code_review (0.90): says review
  before    general 0.10
allocation  2 workers for 2 tasks, 4 at once, 15 tool calls each, 120 s, 50000 tokens and 50 cents, of which 0 and 0 are kept for the synthesis
estimate    1.5 s, one task after the other, 0 tokens, 0.0 cents; from the mean of 5 applications of code_review

t1 [CodeReview] priority 5: find panics
    scope   a, b, c, d, e, f, g, h
    tools   code.*
    within  15 calls, 1 s, 0 tokens, 0 cents

t2 [CodeReview] priority 5: find panics
    scope   the whole workspace
    after   t1
    tools   code.*
    within  15 calls, 1 s, 0 tokens, 0 cents";
        assert_eq!(plan.to_string(), expected);
    }
}
