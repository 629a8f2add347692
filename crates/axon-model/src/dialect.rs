//! What providers speak: how a request is written and how a reply is read, whole or in pieces. Pure: no I/O, no key.

mod anthropic;
mod openai;

use serde_json::Value;

use crate::{Reply, Request, TokenUsage};

/// The protocols that are spoken. Ollama and most others speak OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions.
    OpenAi {
        /// Whether the limit of a reply goes by its newer name, which only OpenAI itself knows.
        completion_tokens: bool,
    },
}

/// A reply that cannot be read, or an error that came instead of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) String);

impl Dialect {
    /// The path below the base URL.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Dialect::Anthropic => "/v1/messages",
            Dialect::OpenAi { .. } => "/chat/completions",
        }
    }

    /// The body of a request.
    pub(crate) fn body(self, model: &str, request: &Request) -> Value {
        match self {
            Dialect::Anthropic => anthropic::body(model, request),
            Dialect::OpenAi { completion_tokens } => openai::body(model, request, completion_tokens),
        }
    }

    /// Reads a reply that came in one piece.
    pub(crate) fn whole(self, body: &Value) -> Result<Reply, Unreadable> {
        match self {
            Dialect::Anthropic => anthropic::whole(body),
            Dialect::OpenAi { .. } => openai::whole(body),
        }
    }

    /// What a reply in pieces is gathered in.
    pub(crate) fn assembly(self) -> Assembly {
        match self {
            Dialect::Anthropic => Assembly::Anthropic(anthropic::Pieces::default()),
            Dialect::OpenAi { .. } => Assembly::OpenAi(openai::Pieces::default()),
        }
    }
}

/// A reply while it arrives.
#[derive(Debug)]
pub(crate) enum Assembly {
    Anthropic(anthropic::Pieces),
    OpenAi(openai::Pieces),
}

impl Assembly {
    /// Takes the data of one event. Says whether it was the last one.
    pub(crate) fn take(&mut self, data: &str) -> Result<bool, Unreadable> {
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        let event: Value = serde_json::from_str(data)
            .map_err(|error| Unreadable(format!("an event of its stream is not valid JSON: {error}")))?;
        if let Some(message) = error_of(&event) {
            return Err(Unreadable(format!("it broke off with an error: {message}")));
        }
        Ok(match self {
            Assembly::Anthropic(pieces) => pieces.take(&event),
            Assembly::OpenAi(pieces) => pieces.take(&event),
        })
    }

    /// What was counted so far.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        match self {
            Assembly::Anthropic(pieces) => pieces.usage(),
            Assembly::OpenAi(pieces) => pieces.usage(),
        }
    }

    /// The reply, if it came to its end.
    pub(crate) fn finish(self) -> Result<Reply, Unreadable> {
        match self {
            Assembly::Anthropic(pieces) => pieces.finish(),
            Assembly::OpenAi(pieces) => pieces.finish(),
        }
        .ok_or_else(|| Unreadable("its stream ended before the reply did".to_owned()))
    }
}

/// Longest message of a provider that is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// What an error document says, in either dialect; `None` where it is no error.
pub(crate) fn error_of(body: &Value) -> Option<String> {
    let error = body.get("error").filter(|error| !error.is_null())?;
    let text = error
        .get("message")
        .and_then(Value::as_str)
        .or_else(|| error.as_str())
        .unwrap_or("no message");
    Some(text.chars().take(MESSAGE_CHARS_MAX).collect())
}

/// A count of a usage document; 0 where it is absent.
fn count(usage: &Value, pointer: &str) -> u64 {
    usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn text_of(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "dialect/tests.rs"]
mod tests;
