//! Anthropic's Messages API. Instructions, tools and the conversation so far are marked for its prompt cache.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Unreadable, count, text_of};
use crate::{Call, Choice, Message, Reply, Request, Stop, TokenUsage};

pub(super) fn body(model: &str, request: &Request) -> Value {
    let cached = json!({"type": "ephemeral"});
    let mut messages: Vec<Value> = request.messages.iter().map(message).collect();
    // What was said until now is read from the cache the next time.
    if let Some(Value::Object(last)) = messages
        .last_mut()
        .and_then(|message| message.get_mut("content")?.as_array_mut()?.last_mut())
    {
        last.insert("cache_control".to_owned(), cached.clone());
    }
    let mut body = json!({
        "model": model,
        "max_tokens": request.output_tokens_max,
        "system": [{"type": "text", "text": request.system, "cache_control": cached}],
        "messages": messages,
        "stream": true,
    });
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.schema}));
        body["tools"] = tools.collect();
        body["tool_choice"] = match &request.choice {
            Choice::Free => json!({"type": "auto"}),
            Choice::Tool(name) => json!({"type": "tool", "name": name}),
        };
    }
    body
}

fn message(message: &Message) -> Value {
    match message {
        Message::User(text) => json!({"role": "user", "content": [{"type": "text", "text": text}]}),
        Message::Assistant { text, calls } => {
            let words = (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}));
            let calls = calls.iter().map(|call| {
                let input = call.parsed().unwrap_or_else(|_| json!({}));
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
            });
            json!({"role": "assistant", "content": words.into_iter().chain(calls).collect::<Vec<_>>()})
        }
        Message::Results(results) => {
            let results = results.iter().map(|result| {
                json!({
                    "type": "tool_result",
                    "tool_use_id": result.id,
                    "content": result.text,
                    "is_error": result.failed,
                })
            });
            json!({"role": "user", "content": results.collect::<Vec<_>>()})
        }
    }
}

fn usage(document: &Value) -> TokenUsage {
    TokenUsage {
        input: count(document, "/input_tokens"),
        cache_read: count(document, "/cache_read_input_tokens"),
        cache_write: count(document, "/cache_creation_input_tokens"),
        output: count(document, "/output_tokens"),
    }
}

fn stop(reason: &str) -> Stop {
    match reason {
        "tool_use" => Stop::Calls,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "refusal" => Stop::Refused,
        _ => Stop::Done,
    }
}

pub(super) fn whole(body: &Value) -> Result<Reply, Unreadable> {
    let blocks = body
        .get("content")
        .and_then(Value::as_array)
        .ok_or_else(|| Unreadable("its reply has no `content`".to_owned()))?;
    let mut reply = Reply {
        stop: stop(&text_of(body, "stop_reason")),
        usage: body.get("usage").map(usage),
        ..Reply::default()
    };
    for block in blocks {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => reply.text.push_str(&text_of(block, "text")),
            Some("tool_use") => reply.calls.push(Call {
                id: text_of(block, "id"),
                name: text_of(block, "name"),
                arguments: block.get("input").map(Value::to_string).unwrap_or_default(),
            }),
            _ => {}
        }
    }
    Ok(reply)
}

/// A reply while it arrives.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    text: String,
    calls: BTreeMap<u64, Call>,
    usage: Option<TokenUsage>,
    stop: Option<Stop>,
    ended: bool,
}

impl Pieces {
    pub(super) fn take(&mut self, event: &Value) -> bool {
        let index = count(event, "/index");
        match event.get("type").and_then(Value::as_str) {
            Some("message_start") => self.usage = event.pointer("/message/usage").map(usage),
            Some("content_block_start") => {
                if let Some(block) = event.get("content_block").filter(|block| block["type"] == "tool_use") {
                    let call = Call {
                        id: text_of(block, "id"),
                        name: text_of(block, "name"),
                        arguments: String::new(),
                    };
                    self.calls.insert(index, call);
                }
            }
            Some("content_block_delta") => {
                let delta = event.get("delta").unwrap_or(&Value::Null);
                if let Some(call) = self.calls.get_mut(&index) {
                    call.arguments.push_str(&text_of(delta, "partial_json"));
                } else {
                    self.text.push_str(&text_of(delta, "text"));
                }
            }
            Some("message_delta") => {
                self.stop = Some(stop(
                    event
                        .pointer("/delta/stop_reason")
                        .and_then(Value::as_str)
                        .unwrap_or_default(),
                ));
                // These counts stand for the whole reply; what is not repeated stays as it was said at its start.
                let known = self.usage.unwrap_or_default();
                let last =
                    |pointer: &str, before: u64| event.pointer(pointer).and_then(Value::as_u64).unwrap_or(before);
                self.usage = Some(TokenUsage {
                    input: last("/usage/input_tokens", known.input),
                    cache_read: last("/usage/cache_read_input_tokens", known.cache_read),
                    cache_write: last("/usage/cache_creation_input_tokens", known.cache_write),
                    output: last("/usage/output_tokens", known.output),
                });
            }
            Some("message_stop") => self.ended = true,
            _ => {}
        }
        self.ended
    }

    pub(super) fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    pub(super) fn finish(self) -> Option<Reply> {
        let stop = self.stop.filter(|_| self.ended)?;
        Some(Reply {
            text: self.text,
            calls: self.calls.into_values().collect(),
            stop,
            usage: self.usage,
        })
    }
}
