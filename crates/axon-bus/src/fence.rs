//! Fenced publishing: of all who publish to a subject the first wins, and each learns whether it was the one.

use std::time::Instant;

use axon_protocol::{AttemptToken, header};
use tracing::debug;

use crate::publish::wait_before_retry;
use crate::{Bus, Error, Message};

/// The header by which the server compares the subject's last sequence; 0 means that the subject must be empty.
const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// Who holds the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    /// This publisher, with the message at this sequence.
    Won {
        /// Sequence in the stream.
        sequence: u64,
    },
    /// Somebody else, earlier.
    Lost,
}

impl Bus {
    /// Publishes to a subject that must be empty, trying again after transient errors until `until`. A lost
    /// acknowledgement is resolved by reading what is stored and comparing the attempt's random token. No message id is
    /// used: de-duplication by id answers differently between server versions and lets a loser believe that it won.
    pub async fn publish_fenced(&self, message: Message, until: Instant) -> Result<Fenced, Error> {
        let token = AttemptToken::generate();
        let mut message = self.by_reference_until(message, until).await?;
        message.headers.remove(header::MESSAGE_ID);
        message
            .headers
            .insert(header::ATTEMPT.to_owned(), token.as_str().to_owned());
        message
            .headers
            .insert(EXPECTED_LAST_SUBJECT_SEQUENCE.to_owned(), "0".to_owned());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.publish_as_is(&message).await {
                Ok(published) => {
                    return Ok(Fenced::Won {
                        sequence: published.sequence,
                    });
                }
                Err(error) => error,
            };
            if !matches!(error, Error::Conflict { .. }) && !error.is_transient() {
                return Err(error);
            }
            debug!(subject = message.subject, attempt, %error, "fenced publish is unsettled");
            match Box::pin(self.holder(&message.subject)).await {
                Ok(Some((holder, sequence))) if holder == token.as_str() => return Ok(Fenced::Won { sequence }),
                Ok(Some(_)) => return Ok(Fenced::Lost),
                Ok(None) => wait_before_retry(attempt, until, error).await?,
                Err(unreadable) => wait_before_retry(attempt, until, unreadable).await?,
            }
        }
    }

    /// The attempt token and the sequence of what a subject holds.
    async fn holder(&self, subject: &str) -> Result<Option<(String, u64)>, Error> {
        let Some(stored) = self.last_of_leader(subject).await? else {
            return Ok(None);
        };
        let token = stored.headers.get(header::ATTEMPT).cloned().unwrap_or_default();
        Ok(Some((token, stored.sequence)))
    }
}
