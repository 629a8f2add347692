//! What the streams keep of a query that another one repeats. It only reads; what follows from it is decided elsewhere.

use std::collections::BTreeSet;

use axon_bus::{Bus, Error};
use axon_protocol::{Answer, ExecutionPlan, QueryId, Stream, TaskId};
use tracing::warn;

use crate::planning::{self, Undone};

/// What a repetition does not carry out; `None` where the plan is of a query that repeats nothing.
pub(super) async fn undone(bus: &Bus, plan: &ExecutionPlan) -> Result<Option<Undone>, Error> {
    let Some(replay) = &plan.query.replay else {
        return Ok(None);
    };
    let (answer, kept) = futures::try_join!(answer(bus, &replay.of), kept(bus, &replay.of))?;
    Ok(Some(planning::undone(plan, &replay.of, answer.as_ref(), &kept)))
}

async fn answer(bus: &Bus, of: &QueryId) -> Result<Option<Answer>, Error> {
    let Some(stored) = bus.last(Stream::Answers, &bus.namespace().answer(of)).await? else {
        return Ok(None);
    };
    match bus.decode_stored(&stored).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            warn!(query = %of, %error, "a recorded answer cannot be read");
            Ok(None)
        }
    }
}

/// The tasks that have a result.
async fn kept(bus: &Bus, of: &QueryId) -> Result<BTreeSet<TaskId>, Error> {
    let subjects = bus.subjects(Stream::Results, &bus.namespace().results_of(of)).await?;
    let task = |subject: String| bus.namespace().last_token_task(&subject);
    Ok(subjects.into_iter().filter_map(task).collect())
}
