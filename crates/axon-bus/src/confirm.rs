//! Confirmed acknowledgements, several by one confirmation: while one of a consumer waits for it, the others queue here, and
//! then the last of them sends them all and asks for its own only. The server works off what a connection sends to a consumer
//! in order; where it was created anew or moved in between, a message may come again, and its outcome is found.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use tokio::sync::oneshot;
use tracing::debug;

use crate::Bus;
use crate::delivery::consumer_of;

/// How long one confirmation may take.
const TIMEOUT: Duration = Duration::from_secs(2);
const ACK: &str = "+ACK";

/// By consumer, what queues behind the one that is being confirmed: at most what a process works on at once. A consumer
/// without any is not in here.
#[derive(Debug, Default)]
pub(crate) struct Confirmations(Mutex<HashMap<String, Vec<Waiting>>>);

/// An acknowledgement that has not been sent.
#[derive(Debug)]
struct Waiting {
    reply: Subject,
    turn: oneshot::Sender<Turn>,
}

/// Where an acknowledgement finds itself.
enum Place {
    /// Nothing of its consumer is being confirmed.
    First(Lead),
    /// It has to wait for its turn.
    Behind(oneshot::Receiver<Turn>),
}

/// What becomes of one that waits.
#[derive(Debug)]
enum Turn {
    /// Another one was sent after it, and was confirmed or not.
    Ended { confirmed: bool },
    /// It is the last one.
    Lead(Lead),
}

/// The right to send acknowledgements of a consumer. When it is dropped, at whatever moment, it goes to one of those that
/// have heard nothing.
#[derive(Debug)]
struct Lead {
    bus: Bus,
    consumer: String,
    followers: Vec<Waiting>,
}

impl Confirmations {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Waiting>>> {
        // Nothing is left half changed in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    /// Sends an acknowledgement. `false` when nobody can tell whether the server has it.
    pub(crate) async fn confirm(&self, reply: &Subject) -> bool {
        let lead = match self.line_up(reply) {
            Place::First(lead) => lead,
            Place::Behind(turn) => match turn.await {
                Ok(Turn::Ended { confirmed }) => return confirmed,
                Ok(Turn::Lead(lead)) => lead,
                // A lead that ends passes it on; should it not, it is asked for again.
                Err(_) => return false,
            },
        };
        lead.confirm(reply).await
    }

    fn line_up(&self, reply: &Subject) -> Place {
        let consumer = consumer_of(reply);
        let mut consumers = self.inner.confirmations.lock();
        if let Some(waiting) = consumers.get_mut(consumer) {
            let (turn, told) = oneshot::channel();
            waiting.push(Waiting {
                reply: reply.clone(),
                turn,
            });
            return Place::Behind(told);
        }
        consumers.insert(consumer.to_owned(), Vec::new());
        Place::First(Lead {
            bus: self.clone(),
            consumer: consumer.to_owned(),
            followers: Vec::new(),
        })
    }
}

impl Lead {
    async fn confirm(mut self, reply: &Subject) -> bool {
        let confirmed = self.send(reply).await;
        for follower in self.followers.drain(..) {
            // One that was given up wants to know nothing.
            let _ = follower.turn.send(Turn::Ended { confirmed });
        }
        confirmed
    }

    async fn send(&self, reply: &Subject) -> bool {
        let client = &self.bus.inner.client;
        let connects = || client.statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        let mut state = self.bus.connection();
        for follower in &self.followers {
            if let Err(error) = client.publish(follower.reply.clone(), ACK.into()).await {
                debug!(consumer = self.consumer, %error, "cannot acknowledge");
                return false;
            }
        }
        let request = async_nats::Request::new().payload(ACK.into()).timeout(Some(TIMEOUT));
        tokio::select! {
            biased;
            reply = client.send_request(reply.clone(), request) => match reply {
                // What was sent on an earlier connection may have been lost with it.
                Ok(_) => self.followers.is_empty() || connects() == before,
                Err(error) => {
                    debug!(consumer = self.consumer, %error, "no confirmation comes");
                    false
                }
            },
            // So may the reply, and the others need not wait for that.
            _ = state.wait_for(|_| connects() != before) => false,
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut waiting = std::mem::take(&mut self.followers);
        let mut consumers = self.bus.inner.confirmations.lock();
        if let Some(queued) = consumers.get_mut(&self.consumer) {
            waiting.append(queued);
        }
        let Some(last) = waiting.pop() else {
            consumers.remove(&self.consumer);
            return;
        };
        drop(consumers);
        // If it was given up, this comes back and is dropped in turn.
        let _ = last.turn.send(Turn::Lead(Self {
            bus: self.bus.clone(),
            consumer: std::mem::take(&mut self.consumer),
            followers: waiting,
        }));
    }
}
