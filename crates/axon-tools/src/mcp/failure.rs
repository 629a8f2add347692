//! Why a call of an MCP tool failed, as the error of a tool: what happened, and whether trying again makes sense. Pure.

use rmcp::ServiceError;
use rmcp::model::ErrorCode;

use crate::ToolError;
use crate::tool::cut_text;

/// Longest message of a server that is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 2000;

/// What a failed call says of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server answered: it goes on.
    Answered(ToolError),
    /// The connection is gone, for this reason.
    Lost(String),
}

/// Reads the error of a call.
pub(super) fn of_call(tool: &str, error: ServiceError) -> Failure {
    match error {
        ServiceError::McpError(error) => {
            let (message, _) = cut_text(&error.message, MESSAGE_BYTES_MAX);
            let message = format!("`{tool}` was refused by its server: {message}");
            Failure::Answered(if error.code == ErrorCode::INVALID_PARAMS {
                ToolError::invalid_params(message)
            } else {
                ToolError::permanent(message)
            })
        }
        ServiceError::TransportClosed => Failure::Lost("it closed the connection".to_owned()),
        ServiceError::TransportSend(error) => {
            let message = error.to_string();
            Failure::Lost(cut_text(&message, MESSAGE_BYTES_MAX).0.to_owned())
        }
        other => Failure::Answered(ToolError::permanent(format!(
            "`{tool}` was not answered as the protocol says: {other}"
        ))),
    }
}

/// The error of a call during which the connection was lost. Whether the server did what it was asked is unknown: only
/// what changes nothing is worth another try.
pub(super) fn lost(tool: &str, server: &str, reason: &str, repeatable: bool) -> ToolError {
    let message = format!(
        "the MCP server `{server}` was lost during a call of `{tool}`: {reason}; it is started again at the next call"
    );
    if repeatable {
        ToolError::transient(message)
    } else {
        ToolError::permanent(format!("{message}; whether it did what it was asked is unknown"))
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::ErrorData;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_server_that_answers_goes_on_and_one_that_does_not_is_lost() {
        let refused = |code: ErrorCode| {
            let error = ServiceError::McpError(ErrorData::new(code, "no such file", None));
            match of_call("mcp.a.b", error) {
                Failure::Answered(error) => error,
                Failure::Lost(reason) => panic!("{reason}"),
            }
        };
        assert_eq!(refused(ErrorCode::INVALID_PARAMS).kind, ErrorKind::InvalidParams);
        let internal = refused(ErrorCode::INTERNAL_ERROR);
        assert_eq!(internal.kind, ErrorKind::Permanent);
        assert!(internal.message.contains("no such file"), "{internal}");
        assert!(matches!(of_call("t", ServiceError::TransportClosed), Failure::Lost(_)));
        assert!(matches!(
            of_call("t", ServiceError::UnexpectedResponse),
            Failure::Answered(_)
        ));
    }

    #[test]
    fn only_what_changes_nothing_is_tried_again() {
        assert_eq!(lost("t", "s", "it ended", true).kind, ErrorKind::Transient);
        let error = lost("t", "s", "it ended", false);
        assert_eq!(error.kind, ErrorKind::Permanent);
        assert!(
            error.message.contains("it ended") && error.message.contains("unknown"),
            "{error}"
        );
    }
}
