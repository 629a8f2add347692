//! The doorbell: tells one of the workers that listen on a route that a task may be waiting. A lost ring delays a task
//! until the next sweep and never loses it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_protocol::Route;
use futures::StreamExt as _;
use futures::stream::SelectAll;

use crate::{Bus, Error};

/// How often a ring is passed on before it is dropped.
const RELAYS_MAX: u8 = 4;

/// Listens for rings on a set of routes, as one of a queue group per route, so that each ring reaches one worker.
pub struct Doorbell {
    bus: Bus,
    routes: BTreeSet<Route>,
    listening: SelectAll<async_nats::Subscriber>,
    subjects: BTreeMap<String, Route>,
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// A ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Where a task may be waiting.
    pub route: Route,
    /// How often it was passed on.
    pub relays: u8,
}

impl Doorbell {
    /// Listens to nothing yet.
    pub fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            routes: BTreeSet::new(),
            listening: SelectAll::new(),
            subjects: BTreeMap::new(),
        }
    }

    /// Whether it listens at all.
    pub fn is_listening(&self) -> bool {
        !self.listening.is_empty()
    }

    /// Listens on these routes and no others. What was published before is not heard: sweep once after this.
    pub async fn listen(&mut self, routes: &BTreeSet<Route>) -> Result<(), Error> {
        if self.is_listening() && *routes == self.routes {
            return Ok(());
        }
        self.mute();
        let ns = self.bus.namespace().clone();
        for route in routes {
            for subject in [ns.task_doorbell(route), ns.relay_doorbell(route)] {
                let subscriber = self
                    .bus
                    .inner
                    .client
                    .queue_subscribe(subject.clone(), format!("{ns}_{route}"))
                    .await
                    .map_err(|error| Error::server(format!("subscribing to `{subject}`"), error))?;
                self.listening.push(subscriber);
            }
            self.subjects.insert(ns.relay_doorbell(route), route.clone());
            self.subjects
                .insert(ns.task_doorbell(route).trim_end_matches(".>").to_owned(), route.clone());
        }
        self.routes.clone_from(routes);
        Ok(())
    }

    /// Stops listening, so that rings reach workers that have room.
    pub fn mute(&mut self) {
        self.listening = SelectAll::new();
        self.subjects.clear();
    }

    /// The next ring. Waits for ever while muted.
    pub async fn next(&mut self) -> Ring {
        loop {
            let Some(message) = self.listening.next().await else {
                std::future::pending::<()>().await;
                continue;
            };
            if let Some(ring) = self.read(&message) {
                return ring;
            }
        }
    }

    fn read(&self, message: &async_nats::Message) -> Option<Ring> {
        let subject = message.subject.as_str();
        if let Some(route) = self.subjects.get(subject) {
            return Some(Ring {
                route: route.clone(),
                relays: message.payload.first().copied().unwrap_or(0),
            });
        }
        // `<namespace>.history.tasks.<route>.<band>.<query>.<task>`: three tokens more than what was remembered.
        let prefix = subject.rsplitn(4, '.').nth(3)?;
        self.subjects.get(prefix).map(|route| Ring {
            route: route.clone(),
            relays: 0,
        })
    }

    /// Rings for the next worker, because tasks are left that this one has no room for.
    pub async fn ring(&self, route: &Route) {
        self.send(route, 0).await;
    }

    /// Passes a ring on that came while there was no room, a bounded number of times.
    pub async fn relay(&self, ring: &Ring) {
        if ring.relays < RELAYS_MAX {
            self.send(&ring.route, ring.relays + 1).await;
        }
    }

    async fn send(&self, route: &Route, relays: u8) {
        let subject = self.bus.namespace().relay_doorbell(route);
        // A ring that cannot be sent is like one that is lost: the next sweep finds the task.
        let _ = tokio::time::timeout(
            Duration::from_secs(1),
            self.bus.inner.client.publish(subject, vec![relays].into()),
        )
        .await;
    }
}
