//! Tells whoever watches how far a query is: now and then, and only when something has changed.

use std::time::{Duration, Instant};

use axon_protocol::EventKind;
use chrono::Utc;
use serde_json::json;

use super::Run;
use crate::state::Snapshot;

/// Time between two events about the progress of a query at least.
const PAUSE: Duration = Duration::from_millis(500);

/// What was told last.
#[derive(Debug)]
pub(super) struct Told {
    at: Instant,
    snapshot: Snapshot,
}

impl Default for Told {
    fn default() -> Self {
        // A query that ends within the first pause tells nothing of its way there.
        Self {
            at: Instant::now(),
            snapshot: Snapshot::default(),
        }
    }
}

impl Run {
    pub(super) async fn tell_progress(&mut self) {
        if !self.context.config.enable_progress_tracking || self.progress.at.elapsed() < PAUSE {
            return;
        }
        let now = self.machine.snapshot();
        if now == self.progress.snapshot {
            return;
        }
        self.progress = Told {
            at: Instant::now(),
            snapshot: now,
        };
        let left_ms = (self.plan.deadline - Utc::now()).num_milliseconds().max(0);
        let Snapshot {
            done,
            failed,
            running,
            waiting,
        } = now;
        let message = format!("{done} done, {failed} failed, {running} running, {waiting} waiting");
        let data = json!({
            "done": done, "failed": failed, "running": running, "waiting": waiting, "time_left_ms": left_ms,
        });
        self.context
            .notice(&self.plan.query_id, EventKind::Progress, None, message, data)
            .await;
    }
}
