//! Keeps a copy of a table up to date, for as long as somebody wants it.

use std::time::Duration;

use axon_bus::{Entry, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

/// Pause before a watch that ended is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Tells every change of a table for ever, beginning with all that it holds.
pub(crate) async fn follow<T: Serialize + DeserializeOwned>(table: &Table<T>, mut changed: impl FnMut(Entry<T>)) {
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
