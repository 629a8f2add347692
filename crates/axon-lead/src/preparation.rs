//! From a query to its plan: the workspace's manifest, the analysis, the choice of strategy, the allocation, the plan and
//! its validation. The decisions are pure and elsewhere; here they get what they need to know.

use std::sync::Arc;

use axon_bus::Error;
use axon_memory::{Planned, Prediction, Traits, heed_readers};
use axon_protocol::{Analysis, AppliedPattern, Bucket, Digest, ExecutionPlan, PlanRecord, Query, QueryId, Shape};
use chrono::{DateTime, Utc};
use tracing::warn;

use crate::advice::{Advice, followed};
use crate::allocation::allocate;
use crate::analysis::analyze;
use crate::context::Context;
use crate::planning::{self, PlanInput};
use crate::requested::requested;
use crate::strategy::{Experience, Trial};
use crate::validation::validate;
use crate::view::WorkspaceView;

/// A query that can be worked on.
pub(crate) struct Prepared {
    /// Its plan.
    pub(crate) plan: ExecutionPlan,
}

/// Why a query was not planned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprepared {
    /// It cannot be. This is for its asker, and says what to do.
    #[error("{0}")]
    Refused(String),
    /// NATS failed meanwhile, and it may be planned later.
    #[error(transparent)]
    Bus(Error),
}

impl From<Error> for Unprepared {
    fn from(error: Error) -> Self {
        match error.is_transient() {
            true => Self::Bus(error),
            false => Self::Refused(error.to_string()),
        }
    }
}

impl From<String> for Unprepared {
    fn from(message: String) -> Self {
        Self::Refused(message)
    }
}

/// Plans a query. `trial` is what it drew, where something else than the best may be tried.
pub(crate) async fn prepare(
    context: &Arc<Context>,
    query: &Query,
    id: &QueryId,
    accepted_at: DateTime<Utc>,
    trial: Option<Trial>,
) -> Result<Prepared, Unprepared> {
    let plan = if let Some(replay) = &query.replay {
        let recorded = recorded(context, &replay.of).await?;
        planning::replayed(recorded, query, id, &context.config, accepted_at)
    } else if query.plan.is_some() {
        planning::own_plan(query, id, query.workspace.clone(), &context.config, accepted_at)
            .map_err(|error| error.to_string())?
    } else {
        plan(context, query, id, accepted_at, trial).await?
    };
    let problems = match validate(&plan, &context.known_capabilities()) {
        Ok(()) => return Ok(Prepared { plan }),
        Err(problems) => problems,
    };
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(format!("The plan cannot be carried out: {}.", list.join("; ")).into())
}

/// The plan of a query that is to be repeated.
async fn recorded(context: &Context, of: &QueryId) -> Result<ExecutionPlan, Unprepared> {
    let unread = |error: Error| match Unprepared::from(error) {
        Unprepared::Refused(error) => format!("The plan of query {of} cannot be read: {error}.").into(),
        passing => passing,
    };
    let record = context.bus.table::<PlanRecord>(Bucket::Plans).get(of.as_str()).await;
    let record = record.map_err(unread)?.and_then(|entry| entry.value);
    let Some(stored) = record.and_then(|record| record.plan) else {
        return Err(Unprepared::Refused(format!(
            "Query {of} has no recorded plan: it was refused or forgotten, or is too long ago. Ask it as a new query."
        )));
    };
    let plan = context.bus.load(stored).await.map_err(unread)?;
    match plan.is_followable() {
        true => Ok(Arc::unwrap_or_clone(plan)),
        false => Err(Unprepared::Refused(format!(
            "The plan of query {of} has version {}, which this lead does not follow: ask it as a new query.",
            plan.version
        ))),
    }
}

/// The plan as a language model revises it, where one may. A query that brings its plan, or repeats one, has it followed.
pub(crate) async fn revise(context: &Context, plan: ExecutionPlan) -> ExecutionPlan {
    let (Some(planner), Some(workspace)) = (&context.planner, &plan.workspace) else {
        return plan;
    };
    if plan.analysis.is_none() || plan.query.replay.is_some() {
        return plan;
    }
    match context.view(workspace).await {
        Ok(view) => planner.revise(plan, &view, &context.known_capabilities()).await,
        Err(_) => plan,
    }
}

async fn plan(
    context: &Arc<Context>,
    query: &Query,
    id: &QueryId,
    accepted_at: DateTime<Utc>,
    trial: Option<Trial>,
) -> Result<ExecutionPlan, Unprepared> {
    let Some(workspace) = query.workspace.clone() else {
        let message = "The query names no workspace and the fleet has none configured: ask with `--workspace DIR`, or set \
                       `lead.workspace` to the digest of a stored one.";
        return Err(Unprepared::Refused(message.to_owned()));
    };
    let view = context.view(&workspace).await?;
    let (context, query, id) = (context.clone(), query.clone(), id.clone());
    // Beside the loop: it takes milliseconds, in which leases have to be renewed.
    let composing = move || compose(&context, &query, &id, workspace, &view, accepted_at, trial);
    match tokio::task::spawn_blocking(composing).await {
        Ok(plan) => Ok(plan?),
        Err(error) => Err(Unprepared::Refused(format!("The planning broke off: {error}."))),
    }
}

/// Takes over what experience says of the complexity, with the rules' word and the reason kept beside it.
fn take_experience(analysis: &mut Analysis, prediction: &Prediction) {
    if prediction.complexity == analysis.complexity {
        return;
    }
    analysis.complexity_reasons.push(format!(
        "experience says {} where the rules say {} ({:.0} % sure; right about {:.0} % of the episodes held back, the rules \
         about {:.0} %)",
        prediction.complexity,
        analysis.complexity,
        prediction.probability * 100.0,
        prediction.accuracy * 100.0,
        prediction.rules_accuracy * 100.0
    ));
    analysis.ruled = Some(analysis.complexity);
    analysis.complexity = prediction.complexity;
}

fn compose(
    context: &Context,
    query: &Query,
    id: &QueryId,
    workspace: Digest,
    view: &WorkspaceView,
    accepted_at: DateTime<Utc>,
    trial: Option<Trial>,
) -> Result<ExecutionPlan, String> {
    let (library, statistics) = context.strategies.with_book(|book| {
        let library = context.library.with(&book.definitions);
        (library, book.statistics.clone())
    });
    for error in library.rejected() {
        warn!(%error, "left out a strategy of the bucket");
    }
    let mut analysis = analyze(query, Some(view), library.vocabulary());
    let traits = Traits {
        query: &query.query,
        aspects: analysis.aspects.len(),
        shape: analysis.shape,
        ruled: analysis.complexity,
    };
    if let Some(prediction) = context.episodes.predict(id, &traits) {
        take_experience(&mut analysis, &prediction);
    }
    let mut recalled = context.episodes.recall(&query.query, Some(&workspace), accepted_at);
    heed_readers(&mut recalled, &statistics);
    let patterns = context
        .patterns
        .with_book(|book| book.matching(&query.query, analysis.shape, analysis.complexity));
    let experience = Experience {
        statistics: Some(&statistics),
        min_applications: context.config.min_applications,
        recalled: &recalled,
        patterns: &patterns,
        // Who asks for a strategy gets it.
        trial: trial.filter(|_| query.strategy.is_none()),
    };
    let best = library.select(&analysis, query, &experience);
    let selected = match &query.strategy {
        Some(name) => {
            let known: Vec<&str> = library.definitions().map(|one| one.name.as_str()).collect();
            requested(best, name, &known)?
        }
        None => best,
    };
    let definition = library
        .get(&selected.name)
        .ok_or_else(|| format!("the strategy {} has no definition", selected.name))?;
    let needed = definition.capabilities.iter().cloned().collect();
    let idle = context.fleet.free_slots(&needed);
    let mut allocation = allocate(analysis.complexity, &context.config, query, (idle > 0).then_some(idle));
    let mut applied: Vec<AppliedPattern> = followed(&patterns, &selected).into_iter().collect();
    // On its share of queries nothing is taken for granted, so that it is seen when a pattern holds no more.
    let advice = match trial {
        Some(trial) if trial.choice < trial.share => Advice::default(),
        _ => Advice::of(&patterns, &selected.name),
    };
    // Parts of a query are tasks of their own, whatever others needed.
    if analysis.shape == Shape::Single {
        let most = allocate(analysis.complexity, &context.config, query, None).num_workers;
        let asked = analysis.aspects.len().max(analysis.subjects.len());
        let (tasks, why) = advice.tasks(allocation.num_workers, most, asked);
        allocation.num_workers = tasks;
        allocation.max_parallel_workers = allocation.max_parallel_workers.clamp(1, tasks);
        applied.extend(why);
    }
    let (complexity, strategy) = (analysis.complexity, selected.name.clone());
    let input = PlanInput {
        query,
        query_id: id,
        analysis,
        statistics: statistics.get(&selected.name),
        selected,
        definition,
        library: &library,
        allocation,
        view: Some(view),
        workspace: Some(workspace),
        config: &context.config,
        recalled,
        advice: &advice,
        applied,
        now: accepted_at,
    };
    let mut plan = planning::plan(input).map_err(|error| error.to_string())?;
    let planned = Planned {
        traits,
        complexity,
        tasks: plan.task_delegations.len(),
        strategy: &strategy,
    };
    if let Some(expectation) = context.episodes.expect(&planned) {
        planning::take_expectation(&mut plan, &expectation);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use axon_protocol::Complexity;

    use super::*;
    use crate::strategy::Library;

    #[test]
    fn experience_is_taken_over_with_its_reason_and_the_word_of_the_rules() {
        let library = Library::builtin().expect("built-in strategies are sound");
        let rules = analyze(&Query::new("Where is the port set?"), None, library.vocabulary());
        let says = |complexity| Prediction {
            complexity,
            probability: 0.9,
            accuracy: 0.8,
            rules_accuracy: 0.5,
        };
        let mut same = rules.clone();
        take_experience(&mut same, &says(rules.complexity));
        assert_eq!(same, rules);
        let mut other = rules.clone();
        take_experience(&mut other, &says(Complexity::Complex));
        assert_eq!(
            (other.complexity, other.ruled),
            (Complexity::Complex, Some(rules.complexity))
        );
        let reason = other.complexity_reasons.last().expect("a reason");
        assert!(
            reason.contains("experience says complex") && reason.contains("80 %"),
            "{reason}"
        );
    }
}
