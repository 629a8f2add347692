//! OpenAI's Chat Completions API, as OpenAI, Ollama and many others serve it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Unreadable, count, text_of};
use crate::{Call, Choice, Message, Reply, Request, Stop, TokenUsage};

pub(super) fn body(model: &str, request: &Request, completion_tokens: bool) -> Value {
    let system = json!({"role": "system", "content": request.system});
    let messages: Vec<Value> = std::iter::once(system)
        .chain(request.messages.iter().flat_map(messages))
        .collect();
    let limit = if completion_tokens {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    let mut body = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    body[limit] = request.output_tokens_max.into();
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.schema,
            }})
        });
        body["tools"] = tools.collect();
        body["tool_choice"] = match &request.choice {
            Choice::Free => json!("auto"),
            Choice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
        };
    }
    body
}

fn messages(message: &Message) -> Vec<Value> {
    match message {
        Message::User(text) => vec![json!({"role": "user", "content": text})],
        Message::Assistant { text, calls } => {
            let mut said = json!({"role": "assistant", "content": text});
            if !calls.is_empty() {
                let calls = calls.iter().map(|call| {
                    // Arguments that are no JSON are refused by some, even in the past.
                    let arguments = call
                        .parsed()
                        .map_or_else(|_| "{}".to_owned(), |value| value.to_string());
                    json!({"id": call.id, "type": "function",
                        "function": {"name": call.name, "arguments": arguments}})
                });
                said["tool_calls"] = calls.collect();
            }
            vec![said]
        }
        Message::Results(results) => results
            .iter()
            .map(|result| json!({"role": "tool", "tool_call_id": result.id, "content": result.text}))
            .collect(),
    }
}

fn usage(document: &Value) -> Option<TokenUsage> {
    let document = document.as_object().map(|_| document)?;
    let cached = count(document, "/prompt_tokens_details/cached_tokens");
    Some(TokenUsage {
        // What was read from the cache is part of the prompt's tokens here.
        input: count(document, "/prompt_tokens").saturating_sub(cached),
        cache_read: cached,
        cache_write: 0,
        output: count(document, "/completion_tokens"),
    })
}

fn stop(reason: &str) -> Stop {
    match reason {
        "tool_calls" | "function_call" => Stop::Calls,
        "length" => Stop::Length,
        "content_filter" => Stop::Refused,
        _ => Stop::Done,
    }
}

fn call(call: &Value) -> Call {
    let function = call.get("function").unwrap_or(&Value::Null);
    Call {
        id: text_of(call, "id"),
        name: text_of(function, "name"),
        arguments: text_of(function, "arguments"),
    }
}

/// Some servers leave out the ids of calls, which results need.
fn named(calls: Vec<Call>) -> Vec<Call> {
    let name = |(index, call): (usize, Call)| Call {
        id: if call.id.is_empty() {
            format!("call_{index}")
        } else {
            call.id
        },
        ..call
    };
    calls.into_iter().enumerate().map(name).collect()
}

pub(super) fn whole(body: &Value) -> Result<Reply, Unreadable> {
    let choice = body
        .pointer("/choices/0")
        .ok_or_else(|| Unreadable("its reply has no `choices`".to_owned()))?;
    let message = choice.get("message").unwrap_or(&Value::Null);
    let calls = message.get("tool_calls").and_then(Value::as_array);
    Ok(Reply {
        text: text_of(message, "content"),
        calls: named(calls.into_iter().flatten().map(call).collect()),
        stop: stop(&text_of(choice, "finish_reason")),
        usage: body.get("usage").and_then(usage),
    })
}

/// A reply while it arrives.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    text: String,
    calls: BTreeMap<u64, Call>,
    usage: Option<TokenUsage>,
    stop: Option<Stop>,
}

impl Pieces {
    pub(super) fn take(&mut self, event: &Value) -> bool {
        if let Some(usage) = event.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        let choice = event.pointer("/choices/0").unwrap_or(&Value::Null);
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.stop = Some(stop(reason));
        }
        let delta = choice.get("delta").unwrap_or(&Value::Null);
        for piece in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let Call { id, name, arguments } = call(piece);
            let known = self.calls.entry(count(piece, "/index")).or_insert_with(|| Call {
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            });
            if known.id.is_empty() {
                known.id = id;
            }
            known.name.push_str(&name);
            known.arguments.push_str(&arguments);
        }
        self.text.push_str(&text_of(delta, "content"));
        // Its end is told by a word that is no event: the counts come after what looks like the last one.
        false
    }

    pub(super) fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    pub(super) fn finish(self) -> Option<Reply> {
        let stop = self.stop?;
        Some(Reply {
            text: self.text,
            calls: named(self.calls.into_values().collect()),
            stop,
            usage: self.usage,
        })
    }
}
