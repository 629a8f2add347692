//! A query once more: from what was recorded of it, or worked on for real with another strategy; then how the new answer
//! differs from the recorded one.

use std::collections::BTreeSet;

use axon_bus::Bus;
use axon_protocol::{ExecutionPlan, Query, QueryId, Replay, StopReason, TaskId};
use tokio_util::sync::CancellationToken;

use super::difference::difference;
use crate::command::ask::pose;
use crate::command::watch::{is_known, unknown};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::kept;
use crate::output::{self, counted};
use crate::question::{Question, stored_answer};

pub(super) async fn run(
    context: &Context,
    bus: &Bus,
    id: &QueryId,
    strategy: Option<String>,
    quiet: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let Some(recorded) = stored_answer(bus, id).await? else {
        if !is_known(bus, id).await? {
            return Err(unknown(id));
        }
        let message = format!("query {id} has no answer yet that could be compared: `axon watch {id}` shows it");
        return Err(Failure::new(Exit::NoAnswer, message).into());
    };
    let Some(plan) = kept::planned(bus, id).await?.and_then(|planned| planned.plan) else {
        let message =
            format!("query {id} has no recorded plan: it was refused or forgotten, so that nothing can be repeated");
        return Err(Failure::not_found(message).into());
    };
    let query = again(&plan, strategy)?;
    if query.replay.is_some() {
        let results = kept::results(bus, id).await?;
        let kept: BTreeSet<&TaskId> = results.iter().map(|(_, result)| &result.task_id).collect();
        let undone: BTreeSet<&TaskId> = recorded.missing.iter().map(|part| &part.task_id).collect();
        let tasks = plan.task_delegations.iter().map(|task| &task.task_id);
        let lost = tasks
            .filter(|task| !kept.contains(task) && !undone.contains(task))
            .count();
        if lost > 0 {
            let tasks = counted(plan.task_delegations.len(), "task");
            tracing::warn!("{lost} of {tasks} have lost their recorded result and are worked on for real");
        }
    }
    let question = Question::of(QueryId::generate(), query);
    let new = pose(context, bus, question, quiet, stop).await?;
    if new.stop_reason == StopReason::Refused {
        let message = new.error.unwrap_or_else(|| "the lead refuses it".to_owned());
        return Err(Failure::new(Exit::of_answer(new.status), message).into());
    }
    let difference = difference(&recorded, &new);
    if context.json {
        output::json(&difference)?;
    } else {
        output::line(&difference.to_text())?;
    }
    Ok(Exit::of_answer(new.status))
}

/// The query to ask: the same words, workspace, limits and form. It belongs to no session, because nobody asked it there.
fn again(plan: &ExecutionPlan, strategy: Option<String>) -> anyhow::Result<Query> {
    if strategy.is_some() && plan.query.plan.is_some() {
        let message = "the query brought its own plan, which no strategy changes: leave --strategy out";
        return Err(Failure::bad_input(message).into());
    }
    Ok(Query {
        workspace: plan.workspace.clone(),
        session: None,
        plan: None,
        replay: strategy.is_none().then(|| Replay {
            of: plan.query_id.clone(),
        }),
        strategy,
        ..plan.query.clone()
    })
}
