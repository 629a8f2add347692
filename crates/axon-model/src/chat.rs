//! A conversation with a model, in the terms that all providers share. Nothing here knows a provider.

use std::ops::AddAssign;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who the model is and what it is to do.
    pub system: String,
    /// The conversation so far; the model speaks next.
    pub messages: Vec<Message>,
    /// What it may call.
    pub tools: Vec<ToolSpec>,
    /// Whether it must call something.
    pub choice: Choice,
    /// Most tokens it may write.
    pub output_tokens_max: u64,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// What it is told.
    User(String),
    /// What it said.
    Assistant {
        /// Its words; may be empty.
        text: String,
        /// What it wants to have called.
        calls: Vec<Call>,
    },
    /// What its calls came to, one for each.
    Results(Vec<CallResult>),
}

/// Whether a model must call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// It decides.
    #[default]
    Free,
    /// This one.
    Tool(String),
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// 1 to 64 letters, digits, `_` and `-`: what all providers take.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON schema of its parameters, an object.
    pub schema: Value,
}

/// A call that a model wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The provider's name for it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them, which may be no JSON.
    pub arguments: String,
}

impl Call {
    /// The arguments as JSON; no text at all stands for `{}`. The error is for the model to read.
    pub fn parsed(&self) -> Result<Value, String> {
        if self.arguments.trim().is_empty() {
            return Ok(Value::Object(Default::default()));
        }
        match serde_json::from_str(&self.arguments) {
            Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
            Ok(_) => Err("the arguments are no JSON object: call again with an object".to_owned()),
            Err(error) => Err(format!("the arguments are not valid JSON ({error}): call again")),
        }
    }
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResult {
    /// The call.
    pub id: String,
    /// What the model gets to read.
    pub text: String,
    /// Whether it failed.
    pub failed: bool,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Its words; may be empty.
    pub text: String,
    /// What it wants to have called.
    pub calls: Vec<Call>,
    /// Why it ended.
    pub stop: Stop,
    /// What the provider counted; absent where it did not say.
    pub usage: Option<TokenUsage>,
}

impl Reply {
    /// What it wrote as the arguments of a tool that it was to use; else what is wrong with the reply.
    pub fn arguments<T: DeserializeOwned>(&self, tool: &str) -> Result<T, String> {
        let call = self
            .calls
            .iter()
            .find(|call| call.name == tool)
            .ok_or("it did not use its tool")?;
        call.parsed()
            .and_then(|arguments| serde_json::from_value(arguments).map_err(|error| error.to_string()))
            .map_err(|error| format!("what it wrote does not have the form that was asked for: {error}"))
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was done.
    #[default]
    Done,
    /// It waits for its calls.
    Calls,
    /// It wrote as much as it may.
    Length,
    /// It, or its provider, refused.
    Refused,
}

/// Tokens of one or more calls, each counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Read anew.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Read anew and written to the provider's cache.
    pub cache_write: u64,
    /// Written.
    pub output: u64,
}

impl TokenUsage {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.output
    }
}

impl AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.output += other.output;
    }
}

/// What providers add to a request: their instructions for the use of tools, and markers around each message.
const OVERHEAD_TOKENS: u64 = 600;

impl Request {
    /// More tokens than the request has for any usual text: an estimate from above, made before it is sent.
    pub fn input_tokens_max(&self) -> u64 {
        let messages: u64 = self.messages.iter().map(Message::tokens_max).sum();
        let tools: u64 = self.tools.iter().map(ToolSpec::tokens_max).sum();
        OVERHEAD_TOKENS + text_tokens_max(&self.system) + messages + tools
    }
}

impl ToolSpec {
    fn tokens_max(&self) -> u64 {
        16 + text_tokens_max(&self.name)
            + text_tokens_max(&self.description)
            + text_tokens_max(&self.schema.to_string())
    }
}

impl Message {
    /// More tokens than the message has; see [`text_tokens_max`].
    pub fn tokens_max(&self) -> u64 {
        16 + match self {
            Message::User(text) => text_tokens_max(text),
            Message::Assistant { text, calls } => {
                let calls = calls
                    .iter()
                    .map(|call| 32 + text_tokens_max(&call.name) + text_tokens_max(&call.arguments));
                text_tokens_max(text) + calls.sum::<u64>()
            }
            Message::Results(results) => results
                .iter()
                .map(|result| 32 + text_tokens_max(&result.text))
                .sum::<u64>(),
        }
    }
}

/// An estimate from above of the tokens of a text. Tokenisers join letters to words and runs of blanks, so two of these
/// count one; digits, punctuation and each byte of any other character count one each.
pub fn text_tokens_max(text: &str) -> u64 {
    let (mut halves, mut whole) = (0_u64, 0_u64);
    for byte in text.bytes() {
        if byte.is_ascii_alphabetic() || byte.is_ascii_whitespace() {
            halves += 1;
        } else {
            whole += 1;
        }
    }
    halves.div_ceil(2) + whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_above_what_tokenisers_make_of_it() {
        // A token for each short word, mark, and group of up to three digits, as common tokenisers cut them.
        for (text, tokens) in [
            ("fn main() {\n    println!(\"hello\");\n}\n", 13),
            ("The quick brown fox jumps over the lazy dog.", 10),
            ("3.14159265358979", 7),
            ("naïve café", 5),
        ] {
            assert!(text_tokens_max(text) >= tokens, "{text}");
            assert!(text_tokens_max(text) <= tokens * 4, "{text}");
        }
    }

    #[test]
    fn arguments_are_an_object_or_an_error_the_model_can_read() {
        let call = |arguments: &str| Call {
            id: "1".to_owned(),
            name: "x".to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!(call("").parsed(), Ok(serde_json::json!({})));
        assert_eq!(call("{\"a\": 1}").parsed(), Ok(serde_json::json!({"a": 1})));
        assert!(call("[1]").parsed().expect_err("no object").contains("object"));
        assert!(
            call("{\"a\": ")
                .parsed()
                .expect_err("cut off")
                .contains("not valid JSON")
        );
    }
}
