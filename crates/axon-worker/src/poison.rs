//! Whether a task kills the workers that start it: more starts than ends, read from the events of its query. Deliveries are
//! no measure, because handing back and lost connections raise them too.

use axon_bus::{Bus, Error};
use axon_protocol::{Event, EventKind, QueryId, Stream, TaskId, decode};
use tracing::debug;

use crate::starts::tells_of;

/// Events of a query that are read to count the starts of one task.
const EVENTS_MAX: usize = 1000;

/// Starts of one attempt of a task that neither ended nor were handed back.
pub(crate) fn starts_without_end(events: &[Event], task: &TaskId, attempt: u32) -> usize {
    let count = |kind: EventKind| {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        of_kind.map(|event| tells_of(event, task, attempt)).sum::<usize>()
    };
    count(EventKind::Started).saturating_sub(count(EventKind::HandedBack))
}

/// Reads the starts and hand-backs of a query and counts those of one attempt of a task.
pub(crate) async fn read_starts(bus: &Bus, query: &QueryId, task: &TaskId, attempt: u32) -> Result<usize, Error> {
    let mut events = Vec::new();
    for kind in [EventKind::Started, EventKind::HandedBack] {
        let subject = bus.namespace().event(query, kind);
        for message in bus.messages(Stream::Events, &subject, 0, EVENTS_MAX).await? {
            match decode::<Event>(&message.headers, &message.payload) {
                Ok(event) => events.push(event),
                Err(error) => debug!(subject, %error, "left out an event that cannot be read"),
            }
        }
    }
    Ok(starts_without_end(&events, task, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use serde_json::{Value, json};

    fn event(kind: EventKind, task: &str, data: Value) -> Event {
        Event {
            query_id: QueryId::new("q1").expect("an id"),
            kind,
            at: DateTime::UNIX_EPOCH,
            task_id: TaskId::new(task).ok(),
            by: "w".to_owned(),
            message: String::new(),
            data,
        }
    }

    #[test]
    fn only_starts_of_this_attempt_that_were_not_handed_back_count() {
        let (started, back) = (EventKind::Started, EventKind::HandedBack);
        let first = || json!({"attempt": 1});
        for (events, attempt, expected) in [
            (vec![], 1, 0),
            (vec![event(started, "t1", first())], 1, 1),
            (vec![event(started, "t1", first()), event(started, "t1", first())], 1, 2),
            (vec![event(started, "t1", first()), event(back, "t1", first())], 1, 0),
            (vec![event(started, "t1", first()), event(back, "t2", first())], 1, 1),
            (vec![event(started, "t2", first())], 1, 0),
            (vec![event(started, "t1", first())], 2, 0),
            (
                vec![event(started, "t1", json!({"attempt": 2})), event(back, "t1", first())],
                2,
                1,
            ),
            (vec![event(started, "t1", Value::Null)], 1, 1),
            (vec![event(back, "t1", first())], 1, 0),
            (vec![event(EventKind::Progress, "t1", first())], 1, 0),
        ] {
            let task = TaskId::new("t1").expect("an id");
            assert_eq!(starts_without_end(&events, &task, attempt), expected, "{events:?}");
        }
    }
}
