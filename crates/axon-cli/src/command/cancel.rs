//! `axon cancel`: says durably that a query is to stop, in the record of its plan, then tells everybody at once.

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Bucket, Control, Format, PlanRecord, QueryId};
use serde_json::json;

use crate::command::watch::{is_known, unknown};
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::question::stored_answer;

/// Which query.
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) async fn run(context: &Context, args: CancelArgs) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let bus = context.connect().await?;
    let answered = cancel(&bus, &id).await?;
    // An announcement is only buffered: draining sends it.
    bus.drain().await?;
    match (context.json, answered) {
        (true, answered) => {
            output::json(&json!({ "id": id, "cancelled": answered.is_none(), "answered": answered }))?;
        }
        (false, None) => output::line(&format!(
            "cancelled; `axon answer {id} --wait 60` shows what was found until now"
        ))?,
        (false, Some(status)) => {
            output::line(&format!("nothing to cancel: the answer is there ({})", status.as_str()))?
        }
    }
    Ok(Exit::Success)
}

/// Cancels a query, unless it is answered: then this is the status of its answer. The announcement is only buffered.
pub(crate) async fn cancel(bus: &Bus, id: &QueryId) -> anyhow::Result<Option<AnswerStatus>> {
    if let Some(answer) = stored_answer(bus, id).await? {
        return Ok(Some(answer.status));
    }
    if !is_known(bus, id).await? {
        return Err(unknown(id));
    }
    bus.table::<PlanRecord>(Bucket::Plans)
        .modify(id.as_str(), |record| Some(cancelled(record)))
        .await?;
    let control = Control::Cancel { query_id: id.clone() };
    let subject = bus.namespace().control_cancel(id);
    bus.announce(&Message::new(subject, Format::Msgpack, &control)?).await?;
    // This process may end next.
    bus.flush().await?;
    Ok(None)
}

/// The record of a cancelled query. One that is not planned yet gets a record without a plan.
fn cancelled(record: Option<PlanRecord>) -> PlanRecord {
    let record = record.unwrap_or(PlanRecord {
        plan: None,
        cancelled: true,
        owner: None,
        sequence: 0,
        delivery: 0,
    });
    PlanRecord {
        cancelled: true,
        ..record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_keeps_what_the_record_says() {
        let standing = PlanRecord {
            plan: None,
            cancelled: false,
            owner: Some(axon_protocol::LeadId::generate()),
            sequence: 7,
            delivery: 1,
        };
        let after = cancelled(Some(standing.clone()));
        assert!(after.cancelled);
        assert_eq!((after.owner, after.sequence), (standing.owner, 7));
        assert!(cancelled(None).cancelled);
    }
}
