//! Waits for the answer of a query: follows its events, hears of its answer, and looks at what is stored in case a
//! message was missed. Whatever is shown comes from events; the answer comes from the stream of answers.

use std::time::Duration;

use axon_bus::{Bus, Delivery, Subscription};
use axon_protocol::{Answer, Bucket, Event, PlanRecord, QueryId, TaskResult};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
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

/// What is heard of a query while it is worked on.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A process tells.
    Event(Event),
    /// The result of a task was accepted.
    Result(Box<TaskResult>),
    /// The connection was lost, or stands again.
    Connection(bool),
}

/// Subscriptions of one query. Open it before the query is published, and nothing is missed.
#[derive(Debug)]
pub(crate) struct Attached {
    bus: Bus,
    id: QueryId,
    answered: Subscription,
    /// Events and accepted results, where somebody wants to see progress.
    told: Vec<Subscription>,
}

impl Attached {
    /// Hears of everything.
    pub(crate) async fn open(bus: &Bus, id: &QueryId) -> Result<Self, axon_bus::Error> {
        let mut attached = Self::quietly(bus, id).await?;
        let namespace = bus.namespace();
        for subject in [namespace.events_of(id), namespace.accepted_of(id)] {
            attached.told.push(bus.subscribe(subject).await?);
        }
        Ok(attached)
    }

    /// Hears of the answer alone.
    pub(crate) async fn quietly(bus: &Bus, id: &QueryId) -> Result<Self, axon_bus::Error> {
        Ok(Self {
            bus: bus.clone(),
            id: id.clone(),
            answered: bus.subscribe(bus.namespace().answered(id)).await?,
            told: Vec::new(),
        })
    }

    /// Waits for the answer until `until`, or longer where the query's plan says that its deadline is later.
    pub(crate) async fn answer(
        mut self,
        until: Instant,
        stop: &CancellationToken,
        on_heard: &mut (dyn FnMut(Heard) + Send),
    ) -> Ended {
        let mut until = until;
        loop {
            let ended = self.answer_by(until, stop, on_heard).await;
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
        on_heard: &mut (dyn FnMut(Heard) + Send),
    ) -> Ended {
        let mut look = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = self.bus.connection();
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                Some(delivery) = next_told(&mut self.told) => {
                    if let Some(heard) = read(&delivery).await {
                        on_heard(heard);
                    }
                    continue;
                }
                Some(delivery) = self.answered.next() => {
                    if let Ok(answer) = delivery.decode::<Answer>().await {
                        self.last_told(on_heard).await;
                        return Ended::Answered(Box::new(answer));
                    }
                    // What cannot be read from here may be readable from the stream.
                }
                () = sleep_until(until) => return Ended::TimeUp(failure),
                _ = look.tick() => {}
                Ok(()) = connection.changed() => {
                    let connected = connection.borrow_and_update().connected;
                    on_heard(Heard::Connection(connected));
                    if !connected {
                        continue;
                    }
                }
            }
            match self.look().await {
                Ok(Some(answer)) => {
                    self.last_told(on_heard).await;
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

    /// What had arrived when the answer did.
    async fn last_told(&mut self, on_heard: &mut (dyn FnMut(Heard) + Send)) {
        while let Some(Some(delivery)) = next_told(&mut self.told).now_or_never() {
            if let Some(heard) = read(&delivery).await {
                on_heard(heard);
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

/// The next of what any subscription tells; pending for ever where there is none.
async fn next_told(told: &mut [Subscription]) -> Option<Delivery> {
    if told.is_empty() {
        return std::future::pending().await;
    }
    let each = told.iter_mut().map(|subscription| Box::pin(subscription.next()));
    futures::future::select_all(each).await.0
}

/// What a message tells; `None` for what this version does not understand.
async fn read(delivery: &Delivery) -> Option<Heard> {
    if let Ok(result) = delivery.decode::<TaskResult>().await {
        return Some(Heard::Result(Box::new(result)));
    }
    delivery.decode::<Event>().await.ok().map(Heard::Event)
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
