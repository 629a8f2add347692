//! Routes: the consumers of each, created before the first task is published and announced to the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axon_protocol::{Band, Bucket, Capability, Route, RouteAnnouncement};

use crate::{Bus, Error, Table};

/// Routes a fleet may have. Each costs three consumers.
const ROUTES_MAX: usize = 256;

/// The routes this process knows to exist.
#[derive(Debug, Clone)]
pub struct Routes {
    bus: Bus,
    table: Table<RouteAnnouncement>,
    known: Arc<Mutex<BTreeSet<Route>>>,
}

impl Routes {
    /// Knows nothing yet.
    pub fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            table: bus.table(Bucket::Routes),
            known: Arc::default(),
        }
    }

    /// Makes sure that the route of these capabilities has its consumers and is announced. Cheap once it is known.
    pub async fn ensure(&self, capabilities: &BTreeSet<Capability>) -> Result<Route, Error> {
        let route = Route::of(capabilities);
        if self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&route)
        {
            return Ok(route);
        }
        if self.table.get(route.as_str()).await?.is_none() {
            let routes = self.table.all().await?.len();
            if routes >= ROUTES_MAX {
                return Err(Error::TooManyRoutes {
                    route: route.to_string(),
                    routes_max: ROUTES_MAX,
                });
            }
        }
        futures::future::try_join_all(Band::ALL.map(|band| self.bus.declare_task_consumer(&route, band))).await?;
        let mut capabilities = capabilities.clone();
        if capabilities.is_empty() {
            capabilities.insert(Capability::diagnostics());
        }
        let announcement = RouteAnnouncement {
            route: route.clone(),
            capabilities,
        };
        match self.table.create(route.as_str(), &announcement).await {
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(route.clone());
        Ok(route)
    }

    /// Every announced route that a worker with these capabilities covers.
    pub async fn served_by(&self, capabilities: &BTreeSet<Capability>) -> Result<BTreeSet<Route>, Error> {
        Ok(covered(self.table.all().await?, capabilities))
    }
}

fn covered(announced: BTreeMap<String, RouteAnnouncement>, capabilities: &BTreeSet<Capability>) -> BTreeSet<Route> {
    announced
        .into_values()
        .filter(|announcement| announcement.capabilities.is_subset(capabilities))
        .map(|announcement| announcement.route)
        .collect()
}
