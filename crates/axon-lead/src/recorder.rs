//! Counts applications of strategies, several at a time: a lead that ends hundreds of queries a second writes a few times.

use std::time::Duration;

use axon_memory::{Application, Strategies};
use axon_protocol::{AttemptToken, CountedGroup};
use tokio::sync::mpsc;
use tracing::warn;

/// How long applications are collected before they are written together.
const COLLECT: Duration = Duration::from_millis(100);
/// Applications written together at most.
const BATCH_MAX: usize = 1024;
/// Pause after a failed write.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Failed writes after which a batch is given up: the episodes still hold what it counted.
const ATTEMPTS_MAX: u32 = 20;

/// Runs until every sender is gone and everything is written.
pub(crate) async fn run(strategies: Strategies, mut applications: mpsc::Receiver<Application>) {
    let mut batch = Vec::new();
    let mut group = CountedGroup {
        by: AttemptToken::generate().as_str().to_owned(),
        number: 0,
    };
    while applications.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let collected = tokio::time::Instant::now() + COLLECT;
        while batch.len() < BATCH_MAX {
            match tokio::time::timeout_at(collected, applications.recv()).await {
                Ok(Some(one)) => batch.push(one),
                Ok(None) | Err(_) => break,
            }
        }
        group.number += 1;
        for attempt in 1..=ATTEMPTS_MAX {
            match strategies.record(&group, &mut batch).await {
                Ok(()) => break,
                Err(error) => {
                    warn!(attempt, %error, "cannot write statistics of strategies");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        batch.clear();
    }
}
