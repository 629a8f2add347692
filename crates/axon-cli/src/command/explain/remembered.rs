//! What working memory did for a query, from the events of its tool calls. Pure.

use std::fmt;

use axon_protocol::{Event, EventKind};
use serde::Serialize;

use crate::output::counted;

/// Tool calls of a query, and those that were not made anew.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Remembered {
    /// Calls that returned something.
    pub(super) tool_calls: usize,
    /// Those of them that were answered from working memory.
    pub(super) calls: usize,
    /// What these had taken when they were made, beyond what the answers took, in milliseconds.
    pub(super) saved_ms: f64,
}

impl Remembered {
    /// What the events of a query tell.
    pub(super) fn of<'e>(events: impl Iterator<Item = &'e Event>) -> Self {
        let mut all = Self::default();
        for event in events.filter(|event| event.kind == EventKind::ToolCall && event.data["status"] == "done") {
            all.tool_calls += 1;
            if let Some(made_ms) = event.data["remembered_ms"].as_f64() {
                all.calls += 1;
                all.saved_ms += (made_ms - event.data["duration_ms"].as_f64().unwrap_or(0.0)).max(0.0);
            }
        }
        all
    }
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} were answered from working memory, where making them had taken {:.2} s longer",
            self.calls,
            counted(self.tool_calls, "tool call"),
            self.saved_ms / 1000.0
        )
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::QueryId;
    use chrono::Utc;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_was_not_made_anew_is_counted_with_the_time_it_saved() {
        let event = |kind, data: Value| Event {
            query_id: QueryId::new("q1").expect("an id"),
            kind,
            at: Utc::now(),
            task_id: None,
            by: String::new(),
            message: String::new(),
            data,
        };
        let call = |data| event(EventKind::ToolCall, data);
        let events = [
            call(json!({"status": "done", "duration_ms": 300.0})),
            call(json!({"status": "done", "duration_ms": 2.0, "remembered_ms": 300.0})),
            // It waited longer for another worker than making it took.
            call(json!({"status": "done", "duration_ms": 90.0, "remembered_ms": 80.0})),
            call(json!({"status": "failed", "duration_ms": 1.0})),
            event(EventKind::Progress, json!({"status": "done", "remembered_ms": 9.0})),
        ];
        let all = Remembered::of(events.iter());
        assert_eq!((all.tool_calls, all.calls, all.saved_ms), (3, 2, 298.0));
        assert_eq!(Remembered::of([].iter()), Remembered::default());
    }
}
