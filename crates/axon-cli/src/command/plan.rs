//! `axon plan`: a dry run. A lead analyses and plans the query; nothing is run.

use std::time::Duration;

use axon_bus::{Delivery, Message};
use axon_protocol::{ExecutionPlan, Format, header};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::question::{QueryArgs, Question, check_streams};

/// How long a lead may take to plan, the reading of the workspace's manifest included.
const PLAN_TIMEOUT: Duration = Duration::from_secs(20);
/// Reasons, paths and scores that are shown of each list.
const SHOWN_MAX: usize = 6;

/// What to plan.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    question: QueryArgs,
}

pub(crate) async fn run(context: &Context, args: PlanArgs) -> anyhow::Result<Exit> {
    let question = Question::prepare(args.question).await?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    question.store(&bus).await?;
    let request = Message::new(bus.namespace().plan(), Format::Msgpack, &question.query)?
        .with(header::MESSAGE_ID, question.id.as_str())
        .with(header::CLIENT, context.client.as_str());
    let reply = match bus.request(&request, PLAN_TIMEOUT).await {
        Ok(reply) => reply,
        Err(error) => {
            let message = format!("no lead is running that could plan it ({error}): start one, e.g. with `axon up`");
            return Err(Failure::new(Exit::NoAnswer, message).into());
        }
    };
    if let Some(refusal) = refusal(&reply) {
        return Err(Failure::bad_input(refusal).into());
    }
    let plan: ExecutionPlan = reply.decode().await?;
    if context.json {
        output::json(&plan)?;
    } else {
        output::line(&text_of(&plan))?;
    }
    Ok(Exit::Success)
}

/// What a micro service says when it refuses a request.
fn refusal(reply: &Delivery) -> Option<String> {
    let said = reply.header("Nats-Service-Error")?;
    Some(format!("the lead refuses the query: {said}"))
}

fn text_of(plan: &ExecutionPlan) -> String {
    let mut out: Vec<String> = Vec::new();
    if let Some(analysis) = &plan.analysis {
        out.push(because(
            format!("complexity  {}", analysis.complexity),
            &analysis.complexity_reasons,
        ));
        out.push(because(
            format!("shape       {}", analysis.shape),
            &analysis.shape_reasons,
        ));
        out.extend(analysis.warnings.iter().map(|warning| format!("warning     {warning}")));
    }
    let strategy = &plan.strategy;
    out.push(because(
        format!("strategy    {} ({:.2})", strategy.name, strategy.score),
        &strategy.reasons,
    ));
    for (name, score) in strategy.others.iter().take(SHOWN_MAX) {
        out.push(format!("            {name} ({score:.2})"));
    }
    let allocation = &plan.resource_allocation;
    out.push(format!(
        "allocation  {} tasks, {} at once, {} tool calls each, {:.0} s, {} tokens, {} cents",
        allocation.num_workers,
        allocation.max_parallel_workers,
        allocation.max_tool_calls_per_worker,
        allocation.timeout_ms as f64 / 1000.0,
        allocation.max_tokens_budget,
        allocation.max_cost_cents
    ));
    out.push(format!(
        "estimate    {:.1} s{}",
        plan.estimated_duration_ms as f64 / 1000.0,
        if plan.parallelizable || plan.task_delegations.len() < 2 {
            ""
        } else {
            ", one task after the other"
        }
    ));
    out.push(String::new());
    for task in &plan.task_delegations {
        let needs: Vec<&str> = task
            .required_capabilities
            .iter()
            .map(|needed| needed.as_str())
            .collect();
        out.push(format!(
            "{} [{}] priority {}: {}",
            task.task_id,
            needs.join(" "),
            task.priority,
            task.objective
        ));
        out.push(format!(
            "    scope {}",
            some(&task.boundaries.scope, "the whole workspace")
        ));
        out.push(format!("    tools {}", some(&task.allowed_tools, "none")));
        if !task.dependencies.is_empty() {
            let after: Vec<String> = task.dependencies.iter().map(ToString::to_string).collect();
            out.push(format!("    after {}", after.join(", ")));
        }
    }
    out.join("\n")
}

fn because(what: String, reasons: &[String]) -> String {
    if reasons.is_empty() {
        what
    } else {
        format!("{what}: {}", some(reasons, ""))
    }
}

fn some(list: &[String], none: &str) -> String {
    if list.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<&str> = list.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let rest = list.len() - shown.len();
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use axon_protocol::{
        Analysis, Budget, Complexity, OutputFormat, Query, QueryId, ResourceAllocation, SelectedStrategy, Shape,
        TaskBoundaries, TaskDelegation, TaskId,
    };
    use chrono::Utc;

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
        }
    }

    #[test]
    fn a_plan_reads_well() {
        let now = Utc::now();
        let plan = ExecutionPlan {
            version: 1,
            plan_id: "q1".to_owned(),
            query_id: QueryId::new("q1").expect("an id"),
            query: Query::new("why?"),
            workspace: None,
            analysis: Some(Analysis {
                complexity: Complexity::Medium,
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
            estimated_duration_ms: 1500,
            created_at: now,
            tasks_deadline: now,
            deadline: now,
        };
        let expected = "\
complexity  medium: 40 files
shape       fan-out
warning     `foo` is not in the workspace
strategy    code_review (0.90): says review
            general (0.10)
allocation  2 tasks, 4 at once, 15 tool calls each, 120 s, 50000 tokens, 50 cents
estimate    1.5 s, one task after the other

t1 [CodeReview] priority 5: find panics
    scope a, b, c, d, e, f and 2 more
    tools code.*
t2 [CodeReview] priority 5: find panics
    scope the whole workspace
    tools code.*
    after t1";
        assert_eq!(text_of(&plan), expected);
    }
}
