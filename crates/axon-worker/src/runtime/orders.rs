//! What is said to one worker alone: to drain, to pause, to go on. How long a pause lasts is the breaker's business.

use std::time::Duration;

use axon_bus::Delivery;
use axon_protocol::{Control, Pause};
use chrono::Utc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Phase, Runtime};

impl Runtime {
    pub(super) async fn obey(&mut self, message: &Delivery) {
        match message.decode::<Control>().await {
            Ok(Control::Drain { id }) if id == self.context.id.as_str() => {
                if self.phase == Phase::Serving {
                    self.drain().await;
                }
            }
            Ok(Control::Pause { id, for_ms, reason }) if id == self.context.id.as_str() => {
                warn!(worker = %self.context.id, for_ms, reason, "paused");
                self.breaker
                    .pause(Duration::from_millis(for_ms), reason, Instant::now());
                self.heed_breaker();
            }
            Ok(Control::Resume { id }) if id == self.context.id.as_str() => {
                info!(worker = %self.context.id, "resumed");
                self.breaker.resume(Instant::now());
                self.heed_breaker();
            }
            Ok(_) => {}
            Err(error) => warn!(subject = message.subject(), %error, "left out an order that cannot be read"),
        }
    }

    /// Takes no more than the breaker allows, and shows why.
    fn heed_breaker(&mut self) {
        let now = Instant::now();
        self.permits.set_limit(self.breaker.limit(now), now);
        let pause = self.breaker.paused().map(|(until, reason)| Pause {
            reason: reason.to_owned(),
            until: Utc::now() + until.saturating_duration_since(now),
        });
        self.status.send_modify(|status| status.pause = pause);
    }

    /// A task has ended: once a pause is over, that tells whether the worker has recovered.
    pub(super) fn probed(&mut self, well: bool) {
        let now = Instant::now();
        if !self.breaker.is_probing(now) {
            return;
        }
        self.breaker.ended(well, now);
        match self.breaker.paused() {
            None => info!(worker = %self.context.id, "a task succeeded, the pause is over"),
            Some((until, reason)) => {
                let for_s = until.saturating_duration_since(now).as_secs();
                warn!(worker = %self.context.id, for_s, reason, "paused again, a task failed");
            }
        }
        self.heed_breaker();
    }
}
