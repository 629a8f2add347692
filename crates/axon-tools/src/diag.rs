//! Diagnostic tools: what the fleet is measured, smoke-tested and broken with. They look at nothing.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, parse_params, schema_of};

/// Longest sleep, in milliseconds: an hour, as long as the longest deadline.
const SLEEP_MS_MAX: u64 = 3_600_000;

/// Adds the diagnostic tools; the one that aborts the process only where that is allowed.
pub(crate) fn register(toolbox: &mut Toolbox, allow_crash: bool) -> Result<(), ToolboxError> {
    toolbox.register(Echo)?;
    toolbox.register(Sleep)?;
    toolbox.register(Fail)?;
    if allow_crash {
        toolbox.register(Crash)?;
    }
    Ok(())
}

struct Echo;

#[async_trait]
impl Tool for Echo {
    fn name(&self) -> &str {
        "diag.echo"
    }

    fn description(&self) -> &str {
        "Returns its parameters as they are."
    }

    fn schema(&self) -> Value {
        json!({ "description": "Anything." })
    }

    fn cost(&self) -> Cost {
        Cost::Free
    }

    async fn call(&self, _context: &CallContext, params: Value) -> Result<Value, ToolError> {
        Ok(params)
    }
}

struct Sleep;

/// Parameters of `diag.sleep`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SleepParams {
    /// Milliseconds to sleep, up to an hour.
    #[schemars(range(max = 3_600_000))]
    ms: u64,
}

#[async_trait]
impl Tool for Sleep {
    fn name(&self) -> &str {
        "diag.sleep"
    }

    fn description(&self) -> &str {
        "Waits for the given milliseconds and returns them; it stops at once when it is cancelled."
    }

    fn schema(&self) -> Value {
        schema_of::<SleepParams>()
    }

    fn estimate(&self, params: &Value) -> Option<Duration> {
        Some(Duration::from_millis(params.get("ms")?.as_u64()?))
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let SleepParams { ms } = parse_params(self.name(), params)?;
        if ms > SLEEP_MS_MAX {
            return Err(ToolError::invalid_params(format!(
                "`diag.sleep` sleeps {SLEEP_MS_MAX} ms at most, not {ms}"
            )));
        }
        tokio::select! {
            () = context.cancel.cancelled() => Err(ToolError::cancelled()),
            () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(json!({ "slept_ms": ms })),
        }
    }
}

struct Fail;

/// Parameters of `diag.fail`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FailParams {
    /// What the failure says.
    #[serde(default = "default_message")]
    message: String,
    /// Whether trying again is worth it.
    #[serde(default)]
    kind: FailKind,
    /// Attempts of the task that fail; all of them if absent.
    #[serde(default)]
    times: Option<u32>,
}

fn default_message() -> String {
    "failed on purpose".to_owned()
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
enum FailKind {
    /// It may work the next time.
    Transient,
    /// It will fail in the same way again.
    #[default]
    Permanent,
}

#[async_trait]
impl Tool for Fail {
    fn name(&self) -> &str {
        "diag.fail"
    }

    fn description(&self) -> &str {
        "Fails with the given message; with `times`, only in the first so many attempts of its task."
    }

    fn schema(&self) -> Value {
        schema_of::<FailParams>()
    }

    fn cost(&self) -> Cost {
        Cost::Free
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let FailParams { message, kind, times } = parse_params(self.name(), params)?;
        if times.is_some_and(|times| context.attempt > times) {
            return Ok(json!({ "attempt": context.attempt }));
        }
        Err(match kind {
            FailKind::Transient => ToolError::transient(message),
            FailKind::Permanent => ToolError::permanent(message),
        })
    }
}

struct Crash;

#[async_trait]
impl Tool for Crash {
    fn name(&self) -> &str {
        "diag.crash"
    }

    fn description(&self) -> &str {
        "Aborts the process it runs in, as a defect would."
    }

    fn schema(&self) -> Value {
        json!({ "type": "object", "additionalProperties": false })
    }

    fn read_only(&self) -> bool {
        false
    }

    async fn call(&self, _context: &CallContext, _params: Value) -> Result<Value, ToolError> {
        tracing::error!("aborting the process: a task called diag.crash");
        std::process::abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test]
    async fn echo_returns_what_it_was_given() {
        let value = Echo.call(&CallContext::new(None), json!({"a": [1, null]})).await;
        assert_eq!(value, Ok(json!({"a": [1, null]})));
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_takes_its_time_and_stops_when_cancelled() {
        let context = CallContext::new(None);
        let started = tokio::time::Instant::now();
        assert_eq!(
            Sleep.call(&context, json!({"ms": 250})).await,
            Ok(json!({"slept_ms": 250}))
        );
        assert_eq!(started.elapsed().as_millis(), 250);
        context.cancel.cancel();
        let error = Sleep.call(&context, json!({"ms": 250})).await.expect_err("cancelled");
        assert_eq!((error.kind, started.elapsed().as_millis()), (ErrorKind::Cancelled, 250));
    }

    #[tokio::test]
    async fn fail_fails_as_it_is_told() {
        for (params, attempt, expected) in [
            (json!({}), 9, Some(ErrorKind::Permanent)),
            (json!({"kind": "transient"}), 1, Some(ErrorKind::Transient)),
            (json!({"times": 2}), 2, Some(ErrorKind::Permanent)),
            (json!({"times": 2}), 3, None),
            (json!({"kind": "other"}), 1, Some(ErrorKind::InvalidParams)),
        ] {
            let context = CallContext {
                attempt,
                ..CallContext::new(None)
            };
            let outcome = Fail.call(&context, params.clone()).await;
            assert_eq!(outcome.err().map(|error| error.kind), expected, "{params} at {attempt}");
        }
    }

    #[tokio::test]
    async fn sleep_refuses_what_is_no_time() {
        for params in [
            json!({}),
            json!({"ms": -1}),
            json!({"ms": SLEEP_MS_MAX + 1}),
            json!({"ms": 1, "s": 1}),
        ] {
            let error = Sleep
                .call(&CallContext::new(None), params.clone())
                .await
                .expect_err("refused");
            assert_eq!(error.kind, ErrorKind::InvalidParams, "{params}");
        }
    }
}
