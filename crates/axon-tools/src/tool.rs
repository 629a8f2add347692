//! What a tool is: a named function over a workspace with a schema, whose output is bounded and whose failures say
//! whether trying again makes sense. A tool never decides itself whether it is retried.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Workspace;

/// Most bytes of JSON a tool may return. A tool keeps its output below by leaving things out and saying so (see
/// [`fit`]); the executor turns anything larger into a failed call, because half a JSON document helps nobody.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// A tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Names it, group first: `code.search`.
    fn name(&self) -> &str;

    /// What it does and when to use it, for people and for models.
    fn description(&self) -> &str;

    /// JSON schema of its parameters; see [`schema_of`].
    fn schema(&self) -> Value;

    /// Whether it leaves everything as it was.
    fn read_only(&self) -> bool {
        true
    }

    /// Whether it returns the same for the same parameters, workspace and scope, wherever and whenever it is called. What it
    /// returned may then be remembered.
    fn deterministic(&self) -> bool {
        false
    }

    /// Whether the configuration of this process lets anybody call it. One that is not permitted says so when it is called.
    fn permitted(&self) -> bool {
        true
    }

    /// What metrics know it by: its name, unless there is no telling how many names there are.
    fn label(&self) -> &str {
        self.name()
    }

    /// How much work a call is, as long as nothing was measured.
    fn cost(&self) -> Cost {
        Cost::Light
    }

    /// How long this very call will take, where the tool knows that better than the mean of earlier calls.
    fn estimate(&self, _params: &Value) -> Option<Duration> {
        None
    }

    /// Runs it. A call may be dropped at any await point; what it started elsewhere must stop with `context.cancel`.
    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError>;
}

/// Tools that nobody knows before something was opened, such as those of a server.
#[async_trait]
pub trait ToolSource: Send + Sync {
    /// What the names of its tools begin with, up to a dot and with it: `mcp.time.`.
    fn prefix(&self) -> &str;

    /// The tool that has this name after the prefix. Nothing is opened: whether it exists, a call tells.
    fn tool(&self, short: &str) -> Arc<dyn Tool>;

    /// Opens what has to be opened, and lists all tools.
    async fn list(&self) -> Result<Vec<Arc<dyn Tool>>, ToolError>;
}

/// How much work a call of a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Microseconds: nothing is read.
    Free,
    /// Milliseconds: a file or two.
    Light,
    /// Tenths of a second: the whole workspace, or another process.
    Heavy,
}

impl Cost {
    /// The duration to expect of a tool that was never measured.
    pub fn typical(self) -> Duration {
        match self {
            Cost::Free => Duration::from_micros(100),
            Cost::Light => Duration::from_millis(10),
            Cost::Heavy => Duration::from_millis(300),
        }
    }
}

/// What a call may look at, and for how long.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The workspace, where the task has one.
    pub workspace: Option<Arc<Workspace>>,
    /// Paths of the workspace the task looks at; the whole workspace if empty.
    pub scope: Arc<[String]>,
    /// Cancelled when nobody wants the result any more.
    pub cancel: CancellationToken,
    /// When the task must have ended.
    pub deadline: Option<Instant>,
    /// How many times the task was published to be executed, this one included.
    pub attempt: u32,
}

impl CallContext {
    /// The context of a first attempt without scope and deadline.
    pub fn new(workspace: Option<Arc<Workspace>>) -> Self {
        Self {
            workspace,
            scope: Arc::from([]),
            cancel: CancellationToken::new(),
            deadline: None,
            attempt: 1,
        }
    }

    /// The workspace, or the error that says there is none.
    pub fn require_workspace(&self) -> Result<&Arc<Workspace>, ToolError> {
        self.workspace
            .as_ref()
            .ok_or_else(|| ToolError::permanent("this tool needs a workspace and the task has none: ask with one"))
    }

    /// The error to return as soon as the call is cancelled; to be asked between two pieces of heavy work.
    pub fn check_cancelled(&self) -> Result<(), ToolError> {
        if self.cancel.is_cancelled() {
            Err(ToolError::cancelled())
        } else {
            Ok(())
        }
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It may work the next time.
    Transient,
    /// It will fail in the same way again.
    Permanent,
    /// The parameters do not fit the schema, or name something that does not exist.
    InvalidParams,
    /// Nobody wanted the result any more.
    Cancelled,
    /// It took too long.
    TimedOut,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed, with which input, and what to do.
    pub message: String,
}

impl ToolError {
    /// It may work the next time.
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Transient,
            message: message.into(),
        }
    }

    /// It will fail in the same way again.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Permanent,
            message: message.into(),
        }
    }

    /// The parameters are wrong.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::InvalidParams,
            message: message.into(),
        }
    }

    /// Nobody wants the result any more.
    pub fn cancelled() -> Self {
        Self {
            kind: ErrorKind::Cancelled,
            message: "the call was cancelled".to_owned(),
        }
    }

    /// It took too long.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::TimedOut,
            message: message.into(),
        }
    }
}

/// The JSON schema of a parameter type, for [`Tool::schema`].
pub fn schema_of<P: JsonSchema>() -> Value {
    schemars::schema_for!(P).to_value()
}

/// Reads parameters into their type. Absent parameters (`null`) are read as `{}`, so that defaults apply.
pub fn parse_params<P: DeserializeOwned>(tool: &str, params: Value) -> Result<P, ToolError> {
    let params = if params.is_null() {
        Value::Object(Default::default())
    } else {
        params
    };
    serde_json::from_value(params)
        .map_err(|error| ToolError::invalid_params(format!("parameters of `{tool}` do not fit its schema: {error}")))
}

/// Runs heavy or blocking work on the pool of blocking threads. When the call is cancelled or dropped the thread goes on
/// until `work` asks the token it is given, so ask often.
pub async fn blocking<T, F>(context: &CallContext, work: F) -> Result<T, ToolError>
where
    T: Send + 'static,
    F: FnOnce(&CancellationToken) -> Result<T, ToolError> + Send + 'static,
{
    let cancel = context.cancel.child_token();
    // A caller that drops this future, on a timeout say, stops the thread as well.
    let stop = cancel.clone().drop_guard();
    let outcome = tokio::task::spawn_blocking(move || work(&cancel)).await;
    drop(stop);
    match outcome {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(ToolError::permanent("the tool panicked: this is a defect of the tool")),
        Err(_) => Err(ToolError::cancelled()),
    }
}

/// Size of a value as compact JSON, in bytes.
pub fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // A map whose keys are no text; such a value fits nowhere.
        Err(_) => usize::MAX,
    }
}

/// Keeps the first items that fit into `bytes_max` of JSON and says how many were left out, for tools with long lists.
pub fn fit<T: Serialize>(mut items: Vec<T>, bytes_max: usize) -> (Vec<T>, usize) {
    let mut used = 2;
    let mut kept = 0;
    for item in &items {
        used = json_bytes(item).saturating_add(1).saturating_add(used);
        if used > bytes_max {
            break;
        }
        kept += 1;
    }
    let omitted = items.len() - kept;
    items.truncate(kept);
    (items, omitted)
}

/// The beginning of a text whose JSON takes so many bytes at most, and how many bytes of it are missing.
pub(crate) fn cut_text(text: &str, bytes_max: usize) -> (&str, usize) {
    if text.len() <= bytes_max / 6 || json_bytes(&text) <= bytes_max {
        return (text, 0);
    }
    let mut used = 2;
    let end = text
        .char_indices()
        .find(|(_, char)| {
            used += json_bytes(char).saturating_sub(2);
            used > bytes_max
        })
        .map_or(text.len(), |(index, _)| index);
    (&text[..end], text.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_cut_at_whole_items() {
        let items = vec!["aaaa", "bbbb", "cccc"];
        for (bytes_max, kept) in [(0, 0), (8, 0), (9, 1), (15, 1), (16, 2), (23, 3), (1000, 3)] {
            let (fitting, omitted) = fit(items.clone(), bytes_max);
            assert_eq!((fitting.len(), omitted), (kept, 3 - kept), "{bytes_max}");
            assert!(kept == 0 || json_bytes(&fitting) <= bytes_max, "{bytes_max}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_by_its_size_as_json() {
        for (text, bytes_max, kept) in [
            ("", 2, ""),
            ("abcd", 6, "abcd"),
            ("abcd", 5, "abc"),
            ("a\"b", 5, "a\""),
            ("äöü", 6, "äö"),
            ("\u{1}x", 8, "\u{1}"),
            ("\u{1}x", 7, ""),
        ] {
            let (cut, missing) = cut_text(text, bytes_max);
            assert_eq!((cut, missing), (kept, text.len() - kept.len()), "{text} to {bytes_max}");
            assert!(json_bytes(&cut) <= bytes_max, "{text} to {bytes_max}");
        }
    }

    #[test]
    fn absent_parameters_take_their_defaults_and_wrong_ones_are_named() {
        #[derive(Debug, Deserialize)]
        struct Params {
            #[serde(default)]
            limit: u32,
        }
        assert_eq!(parse_params::<Params>("t", Value::Null).expect("defaults").limit, 0);
        let error = parse_params::<Params>("t", json!({"limit": "x"})).expect_err("no number");
        assert_eq!(error.kind, ErrorKind::InvalidParams);
        assert!(error.message.contains("`t`"), "{error}");
    }

    #[tokio::test]
    async fn dropping_a_blocking_call_stops_its_thread() {
        let context = CallContext::new(None);
        let (stopped, wait) = std::sync::mpsc::channel();
        let (started, running) = tokio::sync::oneshot::channel();
        let call = blocking(&context, move |cancel| {
            let _ = started.send(());
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
            let _ = stopped.send(());
            Ok(())
        });
        tokio::select! {
            _ = call => panic!("it ends only when it is cancelled"),
            _ = running => {}
        }
        wait.recv_timeout(Duration::from_secs(10))
            .expect("the thread saw the cancellation");
    }
}
