//! The doorbell: tells one of the workers that listen on a route that a task may be waiting. A lost ring delays a task
//! until the next sweep and never loses it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_protocol::{Band, Route};
use futures::StreamExt as _;
use futures::stream::SelectAll;

use crate::{Bus, Error};

/// How often a ring is passed on before it is dropped.
const RELAYS_MAX: u8 = 4;

/// Listens for rings on a set of routes, as one of a queue group per route, so that each ring reaches one worker.
pub struct Doorbell {
    bus: Bus,
    routes: BTreeSet<Route>,
    /// What is listened to, and after [`Doorbell::mute`] what is still on its way.
    open: SelectAll<async_nats::Subscriber>,
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
    /// In which band, where that is known.
    pub band: Option<Band>,
    /// How often it was passed on.
    pub relays: u8,
}

impl Doorbell {
    /// Listens to nothing yet.
    pub fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            routes: BTreeSet::new(),
            open: SelectAll::new(),
            subjects: BTreeMap::new(),
        }
    }

    /// Whether it listens at all.
    pub fn is_listening(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Listens on these routes and on those it listened to. What was published before is not heard: sweep once after this.
    pub async fn listen(&mut self, routes: &BTreeSet<Route>) -> Result<(), Error> {
        let ns = self.bus.namespace().clone();
        for route in routes {
            if self.routes.contains(route) {
                continue;
            }
            for subject in [ns.task_doorbell(route), ns.relay_doorbell(route)] {
                let subscriber = self
                    .bus
                    .inner
                    .client
                    .queue_subscribe(subject.clone(), format!("{ns}_{route}"))
                    .await
                    .map_err(|error| Error::server(format!("subscribing to `{subject}`"), error))?;
                self.open.push(subscriber);
            }
            self.subjects.insert(ns.relay_doorbell(route), route.clone());
            self.subjects
                .insert(ns.task_doorbell(route).trim_end_matches(".>").to_owned(), route.clone());
            self.routes.insert(route.clone());
        }
        Ok(())
    }

    /// Stops listening, so that rings reach workers that have room. Rings the server has sent already still come out of
    /// [`Doorbell::next`], because nobody else got them.
    pub async fn mute(&mut self) {
        self.routes.clear();
        for subscriber in self.open.iter_mut() {
            // It fails only when the connection is closed for good, and then nothing rings any more.
            let _ = subscriber.drain().await;
        }
    }

    /// The next ring. Waits for ever while muted and nothing is on its way. Cancel-safe.
    pub async fn next(&mut self) -> Ring {
        loop {
            let Some(message) = self.open.next().await else {
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
            let relays = message.payload.first().copied().unwrap_or(0);
            let band = message
                .payload
                .get(1)
                .and_then(|index| Band::ALL.get(usize::from(*index)));
            return Some(Ring {
                route: route.clone(),
                band: band.copied(),
                relays,
            });
        }
        let (route, band) = self.route_and_band(subject)?;
        Some(Ring {
            route: route.clone(),
            band: Band::ALL.into_iter().find(|known| known.as_str() == band),
            relays: 0,
        })
    }

    /// What `<namespace>.queued.<route>.<band>` says, which has a query and a task behind it where an earlier version
    /// declared the stream.
    fn route_and_band<'s>(&self, subject: &'s str) -> Option<(&Route, &'s str)> {
        let (mut head, mut last) = subject.rsplit_once('.')?;
        loop {
            if let Some(route) = self.subjects.get(head) {
                return Some((route, last));
            }
            (head, last) = head.rsplit_once('.')?;
        }
    }

    /// Rings for the next worker, because tasks are left that this one has no room for.
    pub async fn ring(&self, route: &Route) {
        self.send(route, vec![0]).await;
    }

    /// Passes a ring on, a bounded number of times. `false` if that was too often and the ring is dropped.
    pub async fn relay(&self, ring: &Ring) -> bool {
        if ring.relays >= RELAYS_MAX {
            return false;
        }
        let mut payload = vec![ring.relays + 1];
        let index = Band::ALL.into_iter().position(|band| Some(band) == ring.band);
        payload.extend(index.and_then(|index| u8::try_from(index).ok()));
        self.send(&ring.route, payload).await;
        true
    }

    async fn send(&self, route: &Route, payload: Vec<u8>) {
        let subject = self.bus.namespace().relay_doorbell(route);
        // A ring that cannot be sent is like one that is lost: the next sweep finds the task.
        let _ = tokio::time::timeout(
            Duration::from_secs(1),
            self.bus.inner.client.publish(subject, payload.into()),
        )
        .await;
    }
}
