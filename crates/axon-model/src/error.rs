//! Why a model gave no reply. An error says whether anything was spent; it never holds a key.

use std::time::Duration;

use crate::TokenUsage;

/// What a failed call may have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: it was refused before any work.
    Nothing,
    /// What the provider said before it broke off, and maybe more: count the whole reservation.
    Unknown,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 429: the key has to pause.
    Limited,
    /// It cannot be reached, or fails for a reason of its own that passes: 5xx, 408, a refused connection.
    Unavailable,
    /// It will say the same again: 400, 401, 403, 404.
    Rejected,
    /// Its reply was cut off, fell silent, or cannot be read.
    Broken,
    /// There is no time for a reply.
    OutOfTime,
}

impl ErrorKind {
    /// The value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Limited => "limited",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Rejected => "rejected",
            ErrorKind::Broken => "broken",
            ErrorKind::OutOfTime => "out_of_time",
        }
    }

    /// Whether the same request may be sent again at once, because nothing was done for it.
    pub fn may_pass(self) -> bool {
        matches!(self, ErrorKind::Limited | ErrorKind::Unavailable)
    }
}

/// Why a model gave no reply.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed and what to do.
    pub message: String,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// What it may have cost.
    pub spent: Spent,
    /// What the provider had counted before it broke off.
    pub usage: Option<TokenUsage>,
}

impl Error {
    /// A failure that cost nothing.
    pub fn free(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            spent: Spent::Nothing,
            usage: None,
        }
    }

    /// A reply that broke off.
    pub fn broken(message: impl Into<String>, usage: Option<TokenUsage>) -> Self {
        Self {
            kind: ErrorKind::Broken,
            message: message.into(),
            retry_after: None,
            spent: Spent::Unknown,
            usage,
        }
    }
}
