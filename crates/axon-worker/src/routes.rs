//! Follows the announced routes and passes on those that this worker covers. It opens its watch again whenever it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use axon_bus::{Bus, Entry, Watch};
use axon_protocol::{Bucket, Capability, Route, RouteAnnouncement};
use axon_service::{RetryPolicy, retry_delay};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long opening the watch may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A route that came or went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RouteChange {
    /// It is announced and this worker covers it.
    Serve(Route),
    /// Its announcement was deleted.
    Leave(String),
}

/// What a change of the table means to a worker with these capabilities.
fn read(entry: Entry<RouteAnnouncement>, capabilities: &BTreeSet<Capability>) -> Option<RouteChange> {
    match entry.value {
        None => Some(RouteChange::Leave(entry.key)),
        Some(announced) if announced.capabilities.is_subset(capabilities) => Some(RouteChange::Serve(announced.route)),
        Some(_) => None,
    }
}

/// Passes changes on until `stop`.
pub(crate) async fn follow(
    bus: Bus,
    capabilities: BTreeSet<Capability>,
    changes: mpsc::Sender<RouteChange>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            watch = open(&bus) => match watch {
                Ok(watch) => {
                    failures = 0;
                    pass_on(watch, &capabilities, &changes, &stop).await;
                    debug!("the watch of routes ended, opening it again");
                }
                Err(error) => warn!(%error, "cannot watch the routes"),
            },
        }
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(retry_delay(RetryPolicy::QUICK, failures)) => {}
        }
    }
}

async fn open(bus: &Bus) -> Result<Watch<RouteAnnouncement>, String> {
    let table = bus.table(Bucket::Routes);
    match tokio::time::timeout(OPEN_TIMEOUT, table.watch()).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no reply within {OPEN_TIMEOUT:?}")),
    }
}

async fn pass_on(
    mut watch: Watch<RouteAnnouncement>,
    capabilities: &BTreeSet<Capability>,
    changes: &mpsc::Sender<RouteChange>,
    stop: &CancellationToken,
) {
    loop {
        let entry = tokio::select! {
            () = stop.cancelled() => return,
            entry = watch.next() => entry,
        };
        let Some(entry) = entry else { return };
        if let Some(change) = read(entry, capabilities)
            && changes.send(change).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_serves_what_it_covers() {
        let set = |names: &[&str]| -> BTreeSet<Capability> {
            names
                .iter()
                .map(|name| Capability::new(*name).expect("a name"))
                .collect()
        };
        for (needed, has, served) in [
            (&["A"][..], &["A", "B"][..], true),
            (&["A", "B"], &["A", "B"], true),
            (&["A", "B"], &["A"], false),
            (&["C"], &["A"], false),
        ] {
            let route = Route::of(&set(needed));
            let entry = Entry {
                key: route.to_string(),
                value: Some(RouteAnnouncement {
                    route: route.clone(),
                    capabilities: set(needed),
                }),
                revision: 1,
            };
            let expected = served.then_some(RouteChange::Serve(route));
            assert_eq!(read(entry, &set(has)), expected, "{needed:?} {has:?}");
        }
        let gone = Entry {
            key: "A".to_owned(),
            value: None,
            revision: 2,
        };
        assert_eq!(read(gone, &set(&[])), Some(RouteChange::Leave("A".to_owned())));
    }
}
