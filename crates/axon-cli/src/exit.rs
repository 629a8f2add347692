//! How the command ends: the exit codes, and which error leads to which. Nothing here prints.

use std::process::ExitCode;

use axon_protocol::AnswerStatus;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    Unexpected,
    BadInput,
    Partial,
    Failed,
    Unreachable,
    Refused,
    NoAnswer,
    NotFound,
    Interrupted,
}

/// The part of `axon --help` that documents the codes.
pub(crate) const HELP: &str = "\
Exit codes:
    0  success; for a question: the answer is complete
    1  unexpected error; `axon doctor`: a check failed
    2  bad usage or bad input, and nothing was sent (an empty query, no such workspace, a plan that is not valid JSON, too
       large); `axon plan`: the lead refuses the query
    3  the answer is partial
    4  the answer says that the query failed; one that a lead refuses was accepted and has such an answer
    5  NATS is unreachable, too old, without JetStream, or has no Axon streams
    6  refused: the stream is full, publish again later; or the limit of workers is reached
    7  no answer in time
    8  not found (no such query, process or dead letter)
  130  interrupted";

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Unexpected => 1,
            Exit::BadInput => 2,
            Exit::Partial => 3,
            Exit::Failed => 4,
            Exit::Unreachable => 5,
            Exit::Refused => 6,
            Exit::NoAnswer => 7,
            Exit::NotFound => 8,
            Exit::Interrupted => 130,
        }
    }

    /// How a question ends whose answer has this status.
    pub(crate) fn of_answer(status: AnswerStatus) -> Self {
        match status {
            AnswerStatus::Complete => Exit::Success,
            AnswerStatus::Partial => Exit::Partial,
            AnswerStatus::Failed => Exit::Failed,
        }
    }

    /// How the command ends that failed with this error.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        error.chain().find_map(known).unwrap_or(Exit::Unexpected)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error of the command itself, with its exit code. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Exit::BadInput, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = cause.downcast_ref::<axon_bus::Error>() {
        return of_bus(error);
    }
    let bad_input = cause.is::<axon_protocol::QueryError>()
        || cause.is::<axon_protocol::IdError>()
        || cause.is::<axon_tools::PackError>()
        || cause.is::<axon_service::config::ConfigError>();
    bad_input.then_some(Exit::BadInput)
}

fn of_bus(error: &axon_bus::Error) -> Option<Exit> {
    use axon_bus::Error;
    match error {
        Error::Unreachable { .. } | Error::TooOld { .. } | Error::NoJetStream { .. } | Error::NoStream { .. } => {
            Some(Exit::Unreachable)
        }
        Error::Full { .. } => Some(Exit::Refused),
        Error::TooLarge { .. } | Error::Config { .. } => Some(Exit::BadInput),
        _ => None,
    }
}

/// The error as one line: every cause that says something new.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_error_has_its_documented_code() {
        use axon_bus::Error;
        let url = || "nats://h:1".to_owned();
        let text = String::new;
        let cases: Vec<(anyhow::Error, u8)> = vec![
            (anyhow::anyhow!("boom"), 1),
            (Failure::bad_input("no").into(), 2),
            (axon_protocol::QueryError::Empty.into(), 2),
            (axon_protocol::QueryError::TooLong(70_000).into(), 2),
            (axon_tools::PackError::Missing("x".into()).into(), 2),
            (Failure::new(Exit::Failed, "refused").into(), 4),
            (
                Error::Unreachable {
                    url: url(),
                    detail: text(),
                }
                .into(),
                5,
            ),
            (Error::NoJetStream { url: url() }.into(), 5),
            (
                Error::TooOld {
                    url: url(),
                    version: "2.9.1".to_owned(),
                    oldest: "2.10.0".to_owned(),
                }
                .into(),
                5,
            ),
            (Error::NoStream { subject: text() }.into(), 5),
            (
                Error::Full {
                    subject: text(),
                    detail: text(),
                }
                .into(),
                6,
            ),
            (Failure::new(Exit::NoAnswer, "late").into(), 7),
            (Failure::not_found("nothing").into(), 8),
            (Failure::new(Exit::Interrupted, "stop").into(), 130),
            (
                Error::Server {
                    what: text(),
                    detail: text(),
                }
                .into(),
                1,
            ),
        ];
        for (error, code) in cases {
            let message = error.to_string();
            assert_eq!(Exit::of_error(&error).code(), code, "{message}");
            let wrapped = Err::<(), _>(error).context("while asking").expect_err("an error");
            assert_eq!(Exit::of_error(&wrapped).code(), code, "{message}, wrapped");
        }
    }

    #[test]
    fn an_answer_decides_by_its_status() {
        for (status, code) in [
            (AnswerStatus::Complete, 0),
            (AnswerStatus::Partial, 3),
            (AnswerStatus::Failed, 4),
        ] {
            assert_eq!(Exit::of_answer(status).code(), code);
        }
    }

    #[test]
    fn every_code_is_documented() {
        for exit in [
            Exit::Success,
            Exit::Unexpected,
            Exit::BadInput,
            Exit::Partial,
            Exit::Failed,
            Exit::Unreachable,
            Exit::Refused,
            Exit::NoAnswer,
            Exit::NotFound,
            Exit::Interrupted,
        ] {
            let start = format!("{:>5}  ", exit.code());
            assert!(HELP.lines().any(|line| line.starts_with(&start)), "{exit:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_that_repeats_nothing() {
        let error = anyhow::anyhow!("the disk\n  is full")
            .context("the disk\n  is full")
            .context("cannot store it");
        assert_eq!(one_line(&error), "cannot store it: the disk is full");
    }
}
