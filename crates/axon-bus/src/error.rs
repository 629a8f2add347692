//! What can go wrong between a process and NATS, by what the caller can do about it.

use std::time::Duration;

use axon_protocol::{DecodeError, Digest, EncodeError};

/// An error of the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the configured address.
    #[error(
        "cannot reach NATS at {url}: {detail}. Start a nats-server 2.10 or later with JetStream there, or set `bus.url`"
    )]
    Unreachable {
        /// The configured address, without its password.
        url: String,
        /// What the client says.
        detail: String,
    },
    /// The server is older than what Axon relies on.
    #[error(
        "the nats-server at {url} is version {version}: Axon needs {oldest} or later, because older ones ignore settings it relies on. Upgrade the server"
    )]
    TooOld {
        /// The configured address.
        url: String,
        /// What the server says it is.
        version: String,
        /// The oldest version that is supported.
        oldest: String,
    },
    /// The server runs without JetStream.
    #[error("the nats-server at {url} has no JetStream: start it with `-js -sd DIR`")]
    NoJetStream {
        /// The configured address.
        url: String,
    },
    /// The stream is full and refuses: back-pressure.
    #[error(
        "`{subject}` was refused because its stream is full ({detail}): publish again later, or raise the stream's limit"
    )]
    Full {
        /// Where it was published.
        subject: String,
        /// What the server says.
        detail: String,
    },
    /// The same subject already holds an unacknowledged message.
    #[error("`{subject}` is already queued")]
    AlreadyQueued {
        /// Where it was published.
        subject: String,
    },
    /// No stream takes the subject, or the stream, bucket or object store of this name does not exist.
    #[error("no stream stores `{subject}`: run `axon init`, and check `bus.namespace`")]
    NoStream {
        /// Where it was published, or what is missing.
        subject: String,
    },
    /// The message is larger than the server takes.
    #[error("the message for `{subject}` has {bytes} bytes, the server takes {bytes_max} at most")]
    TooLarge {
        /// Where it was published.
        subject: String,
        /// Its size.
        bytes: usize,
        /// The server's limit.
        bytes_max: usize,
    },
    /// No reply came in time.
    #[error("no reply from NATS to {what} within {timeout:?}")]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long the process waited.
        timeout: Duration,
    },
    /// The circuit breaker is open.
    #[error("publishing is paused after repeated failures: the next attempt is let through in {retry_in:?}")]
    BreakerOpen {
        /// When the next attempt is let through.
        retry_in: Duration,
    },
    /// Somebody else changed the key first.
    #[error("`{key}` was changed by somebody else")]
    Conflict {
        /// The key.
        key: String,
    },
    /// A message cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An object is not in its store.
    #[error("`{name}` is not in the object store {store}: it was never stored or has expired; store it again")]
    NoObject {
        /// The object.
        name: String,
        /// The store.
        store: String,
    },
    /// What is stored under a digest is something else.
    #[error(
        "the object {expected} in {store} is damaged, what is stored has another digest: remove it and store it again"
    )]
    Damaged {
        /// The digest asked for.
        expected: Digest,
        /// The store.
        store: String,
    },
    /// Something was written by a version that this process does not follow.
    #[error(
        "{what} has version {version}, this process follows version {supported} and the one before: \
         run processes whose versions follow each other"
    )]
    OtherVersion {
        /// What it is.
        what: String,
        /// Its version.
        version: u32,
        /// The version of this process.
        supported: u32,
    },
    /// The setting cannot be used.
    #[error("`bus.{key}` cannot be used: {detail}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A bounded number of routes exists and one more is refused.
    #[error(
        "the route `{route}` is refused: {routes_max} routes exist already; use fewer combinations of capabilities"
    )]
    TooManyRoutes {
        /// The route.
        route: String,
        /// The limit.
        routes_max: usize,
    },
    /// Anything else the server or the client reports.
    #[error("NATS failed at {what}: {detail}")]
    Server {
        /// What was asked.
        what: String,
        /// What it says.
        detail: String,
    },
}

impl Error {
    /// Wraps an error of the client that needs no case of its own.
    pub(crate) fn server(what: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Server {
            what: what.into(),
            detail: error.to_string(),
        }
    }

    /// Wraps an error at opening a stream, a bucket or an object store; one that does not exist has a case of its own.
    pub(crate) fn opening(name: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        use async_nats::jetstream::{
            ErrorCode,
            context::{GetStreamError, GetStreamErrorKind},
        };
        let missing = [Some(error), error.source()].into_iter().flatten().any(|error| {
            error.downcast_ref::<GetStreamError>().is_some_and(|error| {
                matches!(error.kind(), GetStreamErrorKind::JetStream(inner) if inner.error_code() == ErrorCode::STREAM_NOT_FOUND)
            })
        });
        if missing {
            Self::NoStream {
                subject: name.to_owned(),
            }
        } else {
            Self::server(format!("opening {name}"), error)
        }
    }

    /// Whether the same call may succeed later without anything else being changed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::Full { .. }
                | Error::TimedOut { .. }
                | Error::BreakerOpen { .. }
                | Error::Server { .. }
        )
    }
}
