//! The server itself: lists the tools, reads the parameters of a call, and turns outcomes into results of the protocol.

use std::path::PathBuf;
use std::sync::Arc;

use axon_bus::Bus;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData as McpError, ServerHandler};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::tools::{self, AnswerParams, AskParams, CancelParams, PlanParams, QueriesParams, Said};
use crate::context::Context;
use crate::exit::one_line;

/// Said to whoever connects.
const INSTRUCTIONS: &str = "Axon answers questions that are too big for one worker: it plans them, lets a fleet of workers \
    investigate, and merges their findings with evidence. Ask with `ask`; when it says that a query still runs, read the \
    answer with `answer` later.";

/// The fleet as a server.
pub(super) struct FleetServer {
    pub(super) context: Context,
    pub(super) bus: Bus,
    /// The directory that questions may be about.
    pub(super) root: PathBuf,
}

impl FleetServer {
    pub(super) fn new(context: Context, bus: Bus, root: PathBuf) -> Self {
        Self { context, bus, root }
    }

    async fn dispatch(&self, name: &str, arguments: JsonObject) -> Result<anyhow::Result<Said>, McpError> {
        Ok(match name {
            "ask" => tools::ask(self, read(arguments)?).await,
            "answer" => tools::answer(self, read(arguments)?).await,
            "plan" => tools::plan(self, read(arguments)?).await,
            "queries" => tools::queries(self, read(arguments)?).await,
            "cancel" => tools::cancel(self, read(arguments)?).await,
            "workers" => tools::workers(self).await,
            other => {
                let message = format!("there is no tool `{other}`: there are {}", names().join(", "));
                return Err(McpError::invalid_params(message, None));
            }
        })
    }
}

impl ServerHandler for FleetServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("axon", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, McpError> {
        Ok(ListToolsResult::with_all_items(all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, McpError> {
        let arguments = request.arguments.unwrap_or_default();
        let said = tokio::select! {
            said = self.dispatch(&request.name, arguments) => said?,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
        };
        Ok(CallToolResponse::Complete(match said {
            Ok(Said { text, structure }) => {
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(structure);
                result
            }
            Err(error) => CallToolResult::error(vec![ContentBlock::text(one_line(&error))]),
        }))
    }
}

fn read<P: DeserializeOwned>(arguments: JsonObject) -> Result<P, McpError> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| McpError::invalid_params(format!("the arguments do not fit the schema: {error}"), None))
}

fn names() -> Vec<String> {
    all().into_iter().map(|tool| tool.name.into_owned()).collect()
}

fn all() -> Vec<Tool> {
    vec![
        tool::<AskParams>(
            "ask",
            "Asks the fleet a question, waits a while, and returns the answer with findings, evidence and recommendations.",
            false,
        ),
        tool::<AnswerParams>(
            "answer",
            "Returns the answer of a query that was asked before, or says that it still runs.",
            true,
        ),
        tool::<PlanParams>(
            "plan",
            "Says how a question would be understood, planned and delegated, without doing it.",
            true,
        ),
        tool::<QueriesParams>("queries", "Lists queries, newest first, with their status.", true),
        tool::<CancelParams>(
            "cancel",
            "Stops a query; what was found until then becomes a partial answer.",
            false,
        ),
        tool::<NoParams>(
            "workers",
            "Lists the processes of the fleet: who is there, what it can do, whether it is busy.",
            true,
        ),
    ]
}

/// Of a tool that takes nothing.
#[derive(JsonSchema)]
struct NoParams {}

fn tool<P: JsonSchema>(name: &'static str, description: &'static str, read_only: bool) -> Tool {
    let schema = match schemars::schema_for!(P).to_value() {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    let mut tool = Tool::new(name, description, Arc::new(schema));
    tool.annotations = Some(ToolAnnotations::new().read_only(read_only));
    tool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_have_schemas_of_objects_and_say_what_they_change() {
        let all = all();
        assert_eq!(names(), ["ask", "answer", "plan", "queries", "cancel", "workers"]);
        for tool in &all {
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
        }
        let read_only = |name: &str| {
            let tool = all.iter().find(|tool| tool.name == name).expect("listed");
            tool.annotations.as_ref().and_then(|hints| hints.read_only_hint)
        };
        assert_eq!((read_only("ask"), read_only("answer")), (Some(false), Some(true)));
    }

    #[test]
    fn arguments_that_do_not_fit_are_told() {
        let arguments = |value: Value| value.as_object().cloned().expect("an object");
        let error = read::<AnswerParams>(arguments(serde_json::json!({"idd": "q1"}))).map(|_| ());
        assert!(error.expect_err("misspelt").message.contains("idd"));
    }
}
