//! Waits for the answer of a query: follows its events, hears of its answer, and looks at what is stored in case a
//! message was missed. Whatever is shown comes from events; the answer comes from the stream of answers.

use std::time::Duration;

use axon_bus::{Bus, Subscription};
use axon_protocol::{Answer, Bucket, Event, PlanRecord, QueryId};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::question::stored_answer;

/// How often the stream of answers is read, whatever was heard.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long after its deadline an answer may come: the promise is 30 s, the rest is the way.
pub(crate) const GRACE: Duration = Duration::from_secs(35);
/// How long to wait for a query whose deadline nobody told: the longest that a class of complexity has by default.
pub(crate) const WAIT_DEFAULT: Duration = Duration::from_secs(300);

/// How the wait ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The answer is there.
    Answered(Box<Answer>),
    /// The time is up; what the last look at the stream failed with, if it did.
    TimeUp(Option<axon_bus::Error>),
    /// The command was told to stop.
    Stopped,
}

/// Subscriptions of one query. Open it before the query is published, and nothing is missed.
#[derive(Debug)]
pub(crate) struct Attached {
    bus: Bus,
    id: QueryId,
    events: Subscription,
    answered: Subscription,
}

impl Attached {
    pub(crate) async fn open(bus: &Bus, id: &QueryId) -> Result<Self, axon_bus::Error> {
        Ok(Self {
            bus: bus.clone(),
            id: id.clone(),
            events: bus.subscribe(bus.namespace().events_of(id)).await?,
            answered: bus.subscribe(bus.namespace().answered(id)).await?,
        })
    }

    /// Waits for the answer until `until`, or longer where the query's plan says that its deadline is later.
    pub(crate) async fn answer(
        mut self,
        until: Instant,
        stop: &CancellationToken,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Ended {
        let mut until = until;
        loop {
            let ended = self.answer_by(until, stop, on_event).await;
            if !matches!(ended, Ended::TimeUp(_)) {
                return ended;
            }
            match self.planned_end().await {
                Some(later) if later > until && later > Instant::now() => until = later,
                _ => return ended,
            }
        }
    }

    /// Waits for the answer until `until` and no longer.
    pub(crate) async fn answer_by(
        &mut self,
        until: Instant,
        stop: &CancellationToken,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Ended {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = self.bus.connection();
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                Some(delivery) = self.events.next() => {
                    if let Ok(event) = delivery.decode().await {
                        on_event(event);
                    }
                    continue;
                }
                Some(delivery) = self.answered.next() => {
                    if let Ok(answer) = delivery.decode::<Answer>().await {
                        self.last_events(on_event).await;
                        return Ended::Answered(Box::new(answer));
                    }
                    // What cannot be read from here may be readable from the stream.
                }
                () = sleep_until(until) => return Ended::TimeUp(failure),
                _ = look.tick() => {}
                Ok(()) = connection.changed() => {}
            }
            match self.look().await {
                Ok(Some(answer)) => {
                    self.last_events(on_event).await;
                    return Ended::Answered(Box::new(answer));
                }
                Ok(None) => failure = None,
                Err(error) => failure = Some(error),
            }
        }
    }

    /// A look at the stream, bounded: a request that was in flight when the connection broke must not hold up the rest.
    async fn look(&self) -> Result<Option<Answer>, axon_bus::Error> {
        let timeout = LOOK_INTERVAL;
        tokio::time::timeout(timeout, stored_answer(&self.bus, &self.id))
            .await
            .unwrap_or_else(|_| {
                Err(axon_bus::Error::TimedOut {
                    what: "reading the answer".to_owned(),
                    timeout,
                })
            })
    }

    /// Events that had arrived when the answer did.
    async fn last_events(&mut self, on_event: &mut (dyn FnMut(Event) + Send)) {
        while let Some(Some(delivery)) = self.events.next().now_or_never() {
            if let Ok(event) = delivery.decode().await {
                on_event(event);
            }
        }
    }

    /// When the answer is due at the latest, as the plan says.
    async fn planned_end(&self) -> Option<Instant> {
        let record = self
            .bus
            .table::<PlanRecord>(Bucket::Plans)
            .get(self.id.as_str())
            .await
            .ok()??;
        let plan = self.bus.load(record.value?.plan?).await.ok()?;
        Some(end_of(plan.deadline, Utc::now(), Instant::now()))
    }
}

fn end_of(deadline: DateTime<Utc>, now: DateTime<Utc>, here: Instant) -> Instant {
    here + (deadline - now).to_std().unwrap_or_default() + GRACE
}

/// When to stop waiting for a query that is published now.
pub(crate) fn patience(timeout_s: Option<u64>) -> Duration {
    timeout_s.map_or(WAIT_DEFAULT, Duration::from_secs) + GRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_outlasts_the_deadline() {
        assert_eq!(patience(Some(10)), Duration::from_secs(45));
        assert_eq!(patience(None), WAIT_DEFAULT + GRACE);
        let (now, here) = (Utc::now(), Instant::now());
        assert_eq!(
            end_of(now + chrono::Duration::seconds(60), now, here),
            here + Duration::from_secs(60) + GRACE
        );
        assert_eq!(end_of(now - chrono::Duration::seconds(60), now, here), here + GRACE);
    }
}
