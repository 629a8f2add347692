//! Queueing tasks: each is a message of its own in the queue, and those that are queued together are one message of the
//! history.

use std::time::Instant;

use axon_protocol::{QueryId, QueuedTask, QueuedTasks};
use futures::StreamExt as _;
use tracing::debug;

use crate::publish::Published;
use crate::{Bus, Error, INLINE_BYTES_MAX, Message};

/// Tasks that wait for their acknowledgement at once.
const IN_FLIGHT: usize = 256;

impl Bus {
    /// Publishes tasks of one query as [`Bus::publish`] does. The outcomes are in the order of the tasks.
    pub async fn queue(&self, query: &QueryId, tasks: Vec<Message>) -> Vec<Result<Published, Error>> {
        let tasks: Vec<Result<Message, Error>> = futures::stream::iter(tasks)
            .map(|task| self.by_reference(task))
            .buffered(IN_FLIGHT)
            .collect()
            .await;
        self.record(query, tasks.iter().flatten()).await;
        futures::stream::iter(tasks)
            .map(|task| async move {
                match task {
                    Ok(task) => self.publish_as_is(&task).await,
                    Err(error) => Err(error),
                }
            })
            .buffered(IN_FLIGHT)
            .collect()
            .await
    }

    /// Publishes one task, trying again after transient errors until `until`.
    pub async fn queue_until(&self, query: &QueryId, task: Message, until: Instant) -> Result<Published, Error> {
        let task = self.by_reference_until(task, until).await?;
        self.record(query, [&task]).await;
        self.publish_as_is_until(&task, until).await
    }

    /// Writes to the history what is about to be queued. It is sent before the tasks on the same connection, so that no
    /// task is queued of which the history has not heard, whichever client dies in between; one that is refused is told all
    /// the same. Like an event, it waits for no acknowledgement: the history informs.
    async fn record<'m>(&self, query: &QueryId, tasks: impl IntoIterator<Item = &'m Message>) {
        // What is given to the client without a connection is sent when it is back, which these tasks may not be.
        if !self.inner.config.persist_to_episodic || !self.inner.state.borrow().connected {
            return;
        }
        for record in records(tasks) {
            let subject = self.namespace().history_of_query(query);
            let sent = match Message::plain(subject, &record) {
                Ok(message) => self.announce(&message).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                debug!(%query, tasks = record.tasks.len(), %error, "cannot write tasks to the history");
            }
        }
    }
}

/// As few records as hold the tasks with at most 256 KiB of payload each.
fn records<'m>(tasks: impl IntoIterator<Item = &'m Message>) -> Vec<QueuedTasks> {
    let mut records: Vec<QueuedTasks> = Vec::new();
    let mut bytes = 0;
    for task in tasks {
        let size = task.payload.len();
        if records.is_empty() || bytes + size > INLINE_BYTES_MAX {
            records.push(QueuedTasks::default());
            bytes = 0;
        }
        bytes += size;
        if let Some(record) = records.last_mut() {
            record.tasks.push(QueuedTask {
                subject: task.subject.clone(),
                headers: task.headers.clone(),
                payload: task.payload.clone(),
            });
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_record_holds_what_a_message_may() {
        let message = |kib: usize| Message {
            subject: format!("axon.tasks.A.low.q.t{kib}"),
            headers: Default::default(),
            payload: Bytes::from(vec![0; kib * 1024]),
        };
        for (sizes, expected) in [
            (&[][..], &[][..]),
            (&[1, 2, 3], &[&[1, 2, 3][..]]),
            (&[200, 56, 1], &[&[200, 56], &[1]]),
            (&[256, 256], &[&[256], &[256]]),
        ] {
            let tasks: Vec<Message> = sizes.iter().copied().map(message).collect();
            let records = records(&tasks);
            let sizes: Vec<Vec<usize>> = records
                .iter()
                .map(|record| record.tasks.iter().map(|task| task.payload.len() / 1024).collect())
                .collect();
            assert_eq!(sizes, expected);
        }
    }
}
