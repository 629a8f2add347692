//! A provider of language models that says what a test wants it to say: real HTTP on a loopback socket, in the dialects of
//! Anthropic and OpenAI, streamed in pieces.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 << 20;

/// What the provider was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Which request it is, counted from 0.
    pub number: usize,
    /// The path of the request.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

impl Asked {
    fn is_anthropic(&self) -> bool {
        self.path.ends_with("/v1/messages")
    }

    /// How many turns the model has had in this conversation.
    pub fn turns(&self) -> usize {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        messages.filter(|message| message["role"] == "assistant").count()
    }

    /// Everything it was told, as one text.
    pub fn text(&self) -> String {
        self.body.to_string()
    }

    /// The names of the tools on offer.
    pub fn tools(&self) -> Vec<String> {
        let tools = self.body["tools"].as_array().into_iter().flatten();
        tools
            .filter_map(|tool| tool["name"].as_str().or_else(|| tool["function"]["name"].as_str()))
            .map(str::to_owned)
            .collect()
    }

    /// The tool that it has to call, where it is not free to decide.
    pub fn forced(&self) -> Option<String> {
        let choice = &self.body["tool_choice"];
        let name = choice["name"].as_str().or_else(|| choice["function"]["name"].as_str());
        name.map(str::to_owned)
    }

    /// What the latest calls came to, as the model reads it.
    pub fn results(&self) -> Vec<String> {
        let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["content"].as_str().unwrap_or_default().to_owned();
        match messages.last() {
            Some(last) if last["role"] == "user" => {
                let blocks = last["content"].as_array().into_iter().flatten();
                blocks
                    .filter(|block| block["type"] == "tool_result")
                    .map(text)
                    .collect()
            }
            _ => {
                let tail = messages.iter().rev().take_while(|message| message["role"] == "tool");
                let mut texts: Vec<String> = tail.map(text).collect();
                texts.reverse();
                texts
            }
        }
    }

    /// Most tokens of the reply.
    pub fn output_tokens_max(&self) -> u64 {
        ["max_tokens", "max_completion_tokens"]
            .iter()
            .find_map(|key| self.body[*key].as_u64())
            .expect("every request limits its reply")
    }
}

/// What it says.
#[derive(Debug, Clone)]
pub enum Say {
    /// Words and calls.
    Turn {
        /// Its words.
        text: String,
        /// The tools it calls, with their arguments as text.
        calls: Vec<(String, String)>,
        /// What it counts.
        counted: Counted,
    },
    /// A refusal, with the header `Retry-After` where one is given.
    Refuse(u16, Option<String>),
    /// Anything, as a document of the content type `application/json`.
    Document(String),
    /// The stream, in these words.
    Stream(String),
    /// The first event of a reply, and then nothing for ever.
    Stall,
    /// The first half of a reply, and then the end.
    Cut,
}

/// Tokens that the provider says it counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Read anew.
    pub input: u64,
    /// Read from its cache.
    pub cache_read: u64,
    /// Written to its cache. The dialect of OpenAI has no such count.
    pub cache_write: u64,
    /// Written.
    pub output: u64,
}

impl Counted {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.output
    }
}

impl Say {
    /// Words.
    pub fn words(text: &str, counted: Counted) -> Self {
        Say::Turn {
            text: text.to_owned(),
            calls: Vec::new(),
            counted,
        }
    }

    /// Calls of tools.
    pub fn calls(calls: &[(&str, Value)], counted: Counted) -> Self {
        let calls = calls
            .iter()
            .map(|(name, arguments)| ((*name).to_owned(), arguments.to_string()));
        Say::Turn {
            text: "Let me look.".to_owned(),
            calls: calls.collect(),
            counted,
        }
    }
}

type Script = dyn Fn(&Asked) -> Say + Send + Sync;

/// A running provider; it ends when it is dropped.
pub struct Provider {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Provider {
    /// Starts one that answers by a script.
    pub async fn start(script: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, script): (Arc<Mutex<Vec<Asked>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let heard = asked.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (heard, script) = (heard.clone(), script.clone());
            async move { answer(request, &heard, script.as_ref()).await }
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self {
            address,
            asked,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Where it is; the dialects append their paths.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(request: Request, heard: &Mutex<Vec<Asked>>, script: &Script) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX)
        .await
        .expect("a whole request");
    let asked = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked {
            number: heard.len(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).expect("a request is JSON"),
            at: Instant::now(),
        };
        heard.push(asked.clone());
        asked
    };
    let say = script(&asked);
    respond(&asked, say)
}

fn respond(asked: &Asked, say: Say) -> Response<Body> {
    match say {
        Say::Turn { text, calls, counted } => streamed(turn(asked, &text, &calls, counted), false),
        Say::Stream(text) => streamed(vec![text], false),
        Say::Stall => {
            let mut events = turn(asked, "Let me", &[], Counted::default());
            events.truncate(2);
            streamed(events, true)
        }
        Say::Cut => {
            let mut events = turn(asked, "Let me look.", &[], Counted::default());
            events.truncate(2);
            streamed(events, false)
        }
        Say::Document(text) => document(StatusCode::OK, text, None),
        Say::Refuse(status, retry_after) => {
            let status = StatusCode::from_u16(status).expect("a status");
            let said = json!({"type": "error", "error": {"type": "scripted", "message": "not now"}});
            document(status, said.to_string(), retry_after)
        }
    }
}

fn document(status: StatusCode, text: String, retry_after: Option<String>) -> Response<Body> {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if let Some(retry_after) = retry_after {
        response = response.header("retry-after", retry_after);
    }
    response.body(Body::from(text)).expect("a response")
}

fn streamed(pieces: Vec<String>, stalls: bool) -> Response<Body> {
    let pieces = stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::from(piece))));
    let body = if stalls {
        Body::from_stream(pieces.chain(stream::pending()))
    } else {
        Body::from_stream(pieces)
    };
    Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .body(body)
        .expect("a response")
}

/// The events of a turn, arguments cut in two.
fn turn(asked: &Asked, text: &str, calls: &[(String, String)], counted: Counted) -> Vec<String> {
    if asked.is_anthropic() {
        anthropic(asked, text, calls, counted)
    } else {
        openai(asked, text, calls, counted)
    }
}

fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    [&text[..middle], &text[middle..]]
}

fn anthropic(asked: &Asked, text: &str, calls: &[(String, String)], counted: Counted) -> Vec<String> {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
    let usage = json!({
        "input_tokens": counted.input,
        "cache_read_input_tokens": counted.cache_read,
        "cache_creation_input_tokens": counted.cache_write,
        "output_tokens": 1,
    });
    let mut events = vec![
        event(json!({"type": "message_start", "message": {"role": "assistant", "content": [], "usage": usage}})),
        event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    for piece in halves(text) {
        let delta = json!({"type": "text_delta", "text": piece});
        events.push(event(
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
    }
    events.push(event(json!({"type": "content_block_stop", "index": 0})));
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let id = format!("toolu_{}_{index}", asked.number);
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        events.push(event(
            json!({"type": "content_block_start", "index": index + 1, "content_block": block}),
        ));
        for piece in halves(arguments) {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            events.push(event(
                json!({"type": "content_block_delta", "index": index + 1, "delta": delta}),
            ));
        }
        events.push(event(json!({"type": "content_block_stop", "index": index + 1})));
    }
    let reason = if calls.is_empty() { "end_turn" } else { "tool_use" };
    let (delta, usage) = (json!({"stop_reason": reason}), json!({"output_tokens": counted.output}));
    events.push(event(json!({"type": "message_delta", "delta": delta, "usage": usage})));
    events.push(event(json!({"type": "message_stop"})));
    events
}

fn openai(asked: &Asked, text: &str, calls: &[(String, String)], counted: Counted) -> Vec<String> {
    let event = |data: Value| format!("data: {data}\n\n");
    let delta = |delta: Value| event(json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}));
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    for piece in halves(text) {
        events.push(delta(json!({"content": piece})));
    }
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let [first, second] = halves(arguments);
        let id = format!("call_{}_{index}", asked.number);
        let function = json!({"name": name, "arguments": first});
        let call = json!({"index": index, "id": id, "type": "function", "function": function});
        events.push(delta(json!({"tool_calls": [call]})));
        let rest = json!({"index": index, "function": {"arguments": second}});
        events.push(delta(json!({"tool_calls": [rest]})));
    }
    let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
    events.push(event(
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
    ));
    let usage = json!({
        "prompt_tokens": counted.input + counted.cache_read + counted.cache_write,
        "prompt_tokens_details": {"cached_tokens": counted.cache_read},
        "completion_tokens": counted.output,
    });
    events.push(event(json!({"choices": [], "usage": usage})));
    events.push("data: [DONE]\n\n".to_owned());
    events
}
