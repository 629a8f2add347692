//! Whether a task kills the workers that start it: more starts than ends, read from the events of its query. Deliveries are
//! no measure, because handing back and lost connections raise them too.

use axon_bus::{Bus, Error, StoredMessage};
use axon_protocol::{Event, EventKind, QueryId, Stream, TaskId, decode};
use tracing::debug;

use crate::starts::tells_of;

/// Most events of one kind that are read of a query, the oldest first: several for each task of the largest plan.
const EVENTS_MAX: usize = 100_000;

/// Starts of one attempt of a task that neither ended nor were handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Starts {
    started: usize,
    handed_back: usize,
}

impl Starts {
    /// Takes in the next events of its query.
    pub(crate) fn count(&mut self, events: &[Event], task: &TaskId, attempt: u32) {
        let told = |kind: EventKind| {
            let of_kind = events.iter().filter(|event| event.kind == kind);
            of_kind.map(|event| tells_of(event, task, attempt)).sum::<usize>()
        };
        self.started += told(EventKind::Started);
        self.handed_back += told(EventKind::HandedBack);
    }

    pub(crate) fn without_end(self) -> usize {
        self.started.saturating_sub(self.handed_back)
    }
}

/// Reads the starts and hand-backs of a query and counts those of one attempt of a task.
pub(crate) async fn read_starts(bus: &Bus, query: &QueryId, task: &TaskId, attempt: u32) -> Result<usize, Error> {
    let mut starts = Starts::default();
    for kind in [EventKind::Started, EventKind::HandedBack] {
        let subject = bus.namespace().event(query, kind);
        let (mut pages, mut looked_at) = (bus.pages(Stream::Events, &subject), 0);
        while looked_at < EVENTS_MAX {
            let page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            looked_at += page.len();
            let read = |message: &StoredMessage| match decode::<Event>(&message.headers, &message.payload) {
                Ok(event) => Some(event),
                Err(error) => {
                    debug!(subject, %error, "left out an event that cannot be read");
                    None
                }
            };
            let events: Vec<Event> = page.iter().filter_map(read).collect();
            starts.count(&events, task, attempt);
        }
    }
    Ok(starts.without_end())
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
            // Whether they are read together or one after the other makes no difference.
            for page in [1, 10] {
                let mut starts = Starts::default();
                for events in events.chunks(page) {
                    starts.count(events, &task, attempt);
                }
                assert_eq!(starts.without_end(), expected, "{events:?}");
            }
        }
    }
}
