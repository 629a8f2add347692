//! One connection to an MCP server, from its start to its end. Dropping it ends the server, where this process started it.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axon_service::foreign::{Foreign, Limits, Supervised};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation, JsonObject,
};
use rmcp::service::{RoleClient, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::McpConfig;
use crate::http;
use crate::tool::cut_text;

/// Most bytes of one message of a server. A longer one is dropped, and the call it answers runs into its timeout.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Most tools of one server.
const TOOLS_MAX: usize = 1000;
/// Longest description of a tool, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4000;
/// Lines a server wrote last that are kept, to say why it ended.
const LINES_MAX: usize = 5;
/// Longest such line, in bytes.
const LINE_BYTES_MAX: u64 = 400;
/// How long it may take until a server that is gone is known to have ended.
const ENDING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a supervisor may take to end what it supervises.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server says of one of its tools.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub(super) description: String,
    pub(super) schema: Arc<JsonObject>,
    /// Whether the server says that it changes nothing.
    pub(super) read_only: bool,
}

/// A server that answers.
pub(super) struct Session {
    service: RunningService<RoleClient, ClientConfig>,
    tools: BTreeMap<String, Described>,
    /// When it last answered, or was started.
    answered_at: Mutex<Instant>,
    process: Option<Process>,
}

impl Session {
    /// Starts or connects to the server and asks for its tools. The caller bounds the time; dropped, it ends the server.
    pub(super) async fn open(config: &McpConfig, supervisor: &Path) -> Result<Self, String> {
        let client = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("axon", env!("CARGO_PKG_VERSION")),
        );
        let (opened, process) = if config.url.is_empty() {
            let (process, output, input) = Process::start(config, supervisor)?;
            let transport = AsyncRwTransport::new(output, input).with_max_line_length(MESSAGE_BYTES_MAX);
            (serve_client(client, transport).await, Some(process))
        } else {
            let http = http::client().build().map_err(|error| error.to_string())?;
            let mut address = StreamableHttpClientTransportConfig::with_uri(config.url.as_str())
                .max_json_response_size(MESSAGE_BYTES_MAX)
                .max_sse_event_size(MESSAGE_BYTES_MAX);
            if !config.token.is_empty() {
                address = address.auth_header(config.token.expose());
            }
            let transport = StreamableHttpClientTransport::with_client(http, address);
            (serve_client(client, transport).await, None)
        };
        let reason = match opened {
            Ok(service) => match service.list_all_tools().await {
                Ok(tools) => {
                    return Ok(Self {
                        service,
                        tools: tools.into_iter().take(TOOLS_MAX).map(described).collect(),
                        answered_at: Mutex::new(Instant::now()),
                        process,
                    });
                }
                Err(error) => format!("it does not list its tools: {error}"),
            },
            Err(error) => error.to_string(),
        };
        Err(match &process {
            Some(process) => process.explain(reason).await,
            None => reason,
        })
    }

    /// The tools, by the names the server gives them.
    pub(super) fn tools(&self) -> &BTreeMap<String, Described> {
        &self.tools
    }

    /// Whether calls reach it, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.service.peer().is_transport_closed() && self.process.as_ref().is_none_or(Process::runs)
    }

    /// One call. Dropped, it tells the server that nobody waits any more.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Option<JsonObject>,
    ) -> Result<CallToolResponse, ServiceError> {
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = arguments;
        let answer = self.service.call_tool_once(params).await;
        if !matches!(
            answer,
            Err(ServiceError::TransportClosed | ServiceError::TransportSend(_))
        ) {
            *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        answer
    }

    /// When it last answered.
    pub(super) fn answered_at(&self) -> Instant {
        *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the connection was lost: what its process has to do with it, and what that wrote last.
    pub(super) async fn explain(&self, reason: String) -> String {
        match &self.process {
            Some(process) => process.explain(reason).await,
            None => reason,
        }
    }
}

fn described(tool: rmcp::model::Tool) -> (String, Described) {
    let description = tool.description.unwrap_or_default();
    let described = Described {
        description: cut_text(&description, DESCRIPTION_BYTES_MAX).0.to_owned(),
        schema: tool.input_schema,
        read_only: tool.annotations.and_then(|hints| hints.read_only_hint) == Some(true),
    };
    (tool.name.into_owned(), described)
}

/// The process of a server.
struct Process {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// The code of its supervisor, once it has ended.
    ended: watch::Receiver<Option<Option<i32>>>,
    _end: DropGuard,
}

impl Process {
    fn start(
        config: &McpConfig,
        supervisor: &Path,
    ) -> Result<(Self, impl AsyncRead + Send + Unpin + use<>, tokio::process::ChildStdin), String> {
        let foreign = Foreign {
            supervisor: PathBuf::from(supervisor),
            program: config.command.clone().into(),
            arguments: config.args.iter().map(Into::into).collect(),
            environment: config
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().into()))
                .collect(),
            directory: None,
            limits: Limits::default(),
            scratch: None,
        };
        let mut running = foreign
            .spawn(Stdio::piped(), Stdio::piped(), Stdio::piped())
            .map_err(|error| error.to_string())?;
        let (Some(input), Some(output), Some(errors)) = (
            running.child.stdin.take(),
            running.child.stdout.take(),
            running.child.stderr.take(),
        ) else {
            return Err("it was started without its standard streams".to_owned());
        };
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let end = CancellationToken::new();
        let (tell, ended) = watch::channel(None);
        tokio::spawn(follow(running, errors, lines.clone(), tell, end.clone()));
        let process = Self {
            lines,
            ended,
            _end: end.drop_guard(),
        };
        Ok((process, output, input))
    }

    fn runs(&self) -> bool {
        self.ended.borrow().is_none()
    }

    async fn explain(&self, reason: String) -> String {
        let mut ended = self.ended.clone();
        let how = match timeout(ENDING_TIMEOUT, ended.wait_for(Option::is_some)).await {
            Ok(Ok(code)) => match *code {
                Some(Some(code @ 129..)) => format!("its process was ended by signal {}", code - 128),
                Some(Some(code)) => format!("its process ended with code {code}"),
                Some(None) | None => "its process ended".to_owned(),
            },
            Ok(Err(_)) | Err(_) => reason,
        };
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return how;
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("{how}; it wrote: {}", lines.join(" / "))
    }
}

/// Reads what a server writes beside its answers, and waits for its end, until it is told to end it.
async fn follow(
    mut running: Supervised,
    errors: ChildStderr,
    lines: Arc<Mutex<VecDeque<String>>>,
    tell: watch::Sender<Option<Option<i32>>>,
    end: CancellationToken,
) {
    let reading = async {
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        while (&mut errors)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
            .is_ok_and(|bytes| bytes > 0)
        {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            if text.is_empty() {
                continue;
            }
            debug!(line = text, "an MCP server writes");
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    };
    // Its last words come before its end is told.
    let ending = async {
        reading.await;
        running.child.wait().await
    };
    tokio::select! {
        ended = ending => {
            tell.send_replace(Some(ended.ok().and_then(|status| status.code())));
        }
        () = end.cancelled() => {
            let mut supervisor = running.end();
            if timeout(END_TIMEOUT, supervisor.wait()).await.is_err() {
                debug!("a supervisor does not end");
            }
        }
    }
}
