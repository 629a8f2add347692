//! The recorded result of a task, where its query repeats an earlier one: what was found then is published again, and
//! nothing is done for it. It runs no tool.

use axon_bus::{Bus, Error};
use axon_protocol::{QueryId, Stream, Task, TaskResult, TaskStatus, Usage};

use crate::work::Report;

/// What there is to publish for a task of a replay.
pub(crate) struct Recorded {
    pub(crate) status: TaskStatus,
    pub(crate) reason: Option<String>,
    pub(crate) report: Report,
}

/// The recorded result of the same task of the query that is repeated; `None` where there is none that can be read.
pub(crate) async fn recorded(bus: &Bus, of: &QueryId, task: &Task) -> Result<Option<Recorded>, Error> {
    let subject = bus.namespace().result(of, &task.delegation.task_id);
    let Some(stored) = bus.last(Stream::Results, &subject).await? else {
        return Ok(None);
    };
    match bus.decode_stored::<TaskResult>(&stored).await {
        Ok(result) => Ok(Some(Recorded::of(result))),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

impl Recorded {
    /// What was found, without what finding it took: nothing of that is spent again.
    fn of(result: TaskResult) -> Self {
        Self {
            status: result.status,
            reason: result.reason,
            report: Report {
                findings: result.findings,
                notes: result.notes,
                output: result.output,
                usage: Usage::default(),
                ..Report::default()
            },
        }
    }
}

/// What the reader of an answer is told of a task that was worked on in spite of the replay.
pub(crate) fn not_recorded(of: &QueryId, task: &Task) -> String {
    format!(
        "Task {} was worked on anew: query {of} has no recorded result of it.",
        task.delegation.task_id
    )
}
