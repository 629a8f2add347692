//! Keeps a copy of a table up to date, for as long as somebody wants it.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_bus::{Entry, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

/// Pause before a reading that failed is tried again, or a watch that ended is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Tells once all that a table holds, then every change for ever. A watch does not say when it has told everything.
pub(crate) async fn follow<T: Serialize + DeserializeOwned>(
    table: &Table<T>,
    loaded: impl FnOnce(BTreeMap<String, T>),
    mut changed: impl FnMut(Entry<T>),
) {
    let all = loop {
        match table.all().await {
            Ok(all) => break all,
            Err(error) => warn!(?table, %error, "cannot read a table"),
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    };
    loaded(all);
    loop {
        match table.watch().await {
            Ok(mut watch) => {
                while let Some(entry) = watch.next().await {
                    changed(entry);
                }
            }
            Err(error) => warn!(?table, %error, "cannot watch a table"),
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}
