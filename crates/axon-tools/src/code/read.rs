//! `code.read`: lines of a file, numbered by their first line, bounded.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::Files;
use crate::{CallContext, Tool, ToolError, Toolbox, ToolboxError, parse_params, schema_of};

/// Most lines of one call.
const LINES_MAX: u32 = 1_000;
/// Most bytes of text of one call; as JSON it may take twice as much.
const BYTES_MAX: usize = 96 * 1024;

/// Parameters of `code.read`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadParams {
    /// The file.
    pub path: String,
    /// First line, counted from 1; 1 if absent.
    #[serde(default)]
    pub start_line: Option<u32>,
    /// Last line; as far as 1000 lines reach if absent.
    #[serde(default)]
    pub end_line: Option<u32>,
}

/// What `code.read` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadResult {
    /// The file.
    pub path: String,
    /// First line returned.
    pub line: u32,
    /// Last line returned.
    pub end_line: u32,
    /// Lines of the whole file.
    pub lines: u32,
    /// The lines word for word.
    pub text: String,
    /// Whether lines asked for were left out for their number or size.
    pub truncated: bool,
}

fn run(files: &Files, params: &ReadParams) -> Result<ReadResult, ToolError> {
    let path =
        crate::Workspace::normalize(&params.path).map_err(|error| ToolError::invalid_params(error.to_string()))?;
    let text = files.text(&path)?;
    let lines = text.line_count();
    let first = params.start_line.unwrap_or(1).max(1);
    let wanted = params.end_line.unwrap_or(lines).min(lines);
    if lines == 0 {
        return Ok(ReadResult {
            path,
            line: 0,
            end_line: 0,
            lines,
            text: String::new(),
            truncated: false,
        });
    }
    if first > lines || wanted < first {
        let message = format!(
            "`{path}` has {lines} lines, there is no range {first} to {}",
            params.end_line.unwrap_or(lines)
        );
        return Err(ToolError::invalid_params(message));
    }
    let mut last = first;
    let mut bytes = text.line(first).map_or(0, str::len);
    while last < wanted && last - first + 1 < LINES_MAX {
        bytes += text.line(last + 1).map_or(0, str::len) + 1;
        if bytes > BYTES_MAX {
            break;
        }
        last += 1;
    }
    let mut content = text.lines(first, last).unwrap_or_default().to_owned();
    let mut end = BYTES_MAX.min(content.len());
    while !content.is_char_boundary(end) {
        end -= 1;
    }
    let cut = end < content.len();
    content.truncate(end);
    Ok(ReadResult {
        path,
        line: first,
        end_line: last,
        lines,
        text: content,
        truncated: last < wanted || cut,
    })
}

struct Read;

#[async_trait]
impl Tool for Read {
    fn name(&self) -> &str {
        "code.read"
    }

    fn description(&self) -> &str {
        "Reads lines of one file, at most 1000. Use it once you know where to look."
    }

    fn schema(&self) -> Value {
        schema_of::<ReadParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: ReadParams = parse_params(self.name(), params)?;
        super::to_value(&run(
            &Files::open(context, std::slice::from_ref(&params.path))?,
            &params,
        )?)
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;
    use crate::code::testing::{call, try_call, workspace};

    #[tokio::test]
    async fn lines_are_read_within_limits() {
        let long = "x\n".repeat(3_000);
        let wide = "y".repeat(200_000);
        let (workspace, _dir) = workspace(&[
            ("a.txt", "one\ntwo\nthree\n"),
            ("long.txt", &long),
            ("wide.txt", &wide),
            ("e.txt", ""),
        ]);
        for (params, text, end_line, truncated) in [
            (json!({"path": "a.txt"}), "one\ntwo\nthree", 3, false),
            (
                json!({"path": "./a.txt", "start_line": 2, "end_line": 2}),
                "two",
                2,
                false,
            ),
            (
                json!({"path": "a.txt", "start_line": 2, "end_line": 99}),
                "two\nthree",
                3,
                false,
            ),
            (json!({"path": "e.txt"}), "", 0, false),
        ] {
            let result: ReadResult = call(&workspace, "code.read", params.clone()).await;
            assert_eq!(
                (result.text.as_str(), result.end_line, result.truncated),
                (text, end_line, truncated),
                "{params}"
            );
        }
        let result: ReadResult = call(&workspace, "code.read", json!({"path": "long.txt"})).await;
        assert_eq!((result.end_line, result.truncated, result.lines), (1_000, true, 3_000));
        let result: ReadResult = call(&workspace, "code.read", json!({"path": "wide.txt"})).await;
        assert_eq!((result.text.len(), result.truncated), (BYTES_MAX, true));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused() {
        let (workspace, _dir) = workspace(&[("a.txt", "one\n"), ("b/c.txt", "two\n")]);
        let mut context = CallContext::new(Some(workspace));
        context.scope = ["b".to_owned()].into();
        for params in [
            json!({"path": "a.txt"}),
            json!({"path": "b/../a.txt"}),
            json!({"path": "nothing"}),
            json!({"path": "b/c.txt", "start_line": 9}),
            json!({"path": ""}),
        ] {
            let error = try_call(&context, "code.read", params.clone())
                .await
                .expect_err("refused");
            assert!(matches!(error.kind, ErrorKind::InvalidParams), "{params}: {error:?}");
        }
    }
}
