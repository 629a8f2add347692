//! One configured command as a tool.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use axon_service::foreign::Foreign;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::CommandConfig;
use super::copy::Private;
use super::tail::Tail;
use crate::tool::cut_text;
use crate::{CallContext, Cost, OUTPUT_BYTES_MAX, Tool, ToolError, allowed, blocking, parse_params, schema_of};

/// Most bytes of each output stream that are kept: the last ones, where the result of a test or a linter stands.
const STREAM_BYTES_MAX: usize = 100 * 1024;
/// Most bytes of JSON each stream may take in the output of the tool.
const JSON_BYTES_MAX: usize = OUTPUT_BYTES_MAX / 2 - 4096;
/// Most arguments a call may add.
const ARGS_MAX: usize = 100;

/// A command that may be run.
pub(super) struct CommandTool {
    name: String,
    description: String,
    section: String,
    config: CommandConfig,
    supervisor: Option<PathBuf>,
}

/// Parameters of a command.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommandParams {
    /// Arguments to add; only those that the configuration allows.
    #[serde(default)]
    args: Vec<String>,
}

/// How a command ended.
#[derive(Serialize)]
struct CommandResult {
    /// Its code; 128 plus the signal if one ended it.
    exit_code: Option<i32>,
    /// The end of its standard output.
    stdout: String,
    /// Bytes of standard output that came before.
    stdout_left_out: u64,
    /// The end of its standard error.
    stderr: String,
    /// Bytes of standard error that came before.
    stderr_left_out: u64,
    /// How long it took.
    duration_ms: u64,
}

impl CommandTool {
    pub(super) fn new(name: &str, config: CommandConfig, supervisor: Option<PathBuf>) -> Self {
        let line = [&config.command]
            .into_iter()
            .chain(&config.args)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            name: format!("command.{name}"),
            description: match config.about.is_empty() {
                true => format!("Runs `{line}` on a copy of the workspace."),
                false => format!("{} Runs `{line}` on a copy of the workspace.", config.about),
            },
            section: format!("tools.commands.{name}"),
            config,
            supervisor,
        }
    }

    fn check(&self, args: &[String]) -> Result<(), ToolError> {
        if args.len() > ARGS_MAX {
            return Err(ToolError::invalid_params(format!(
                "`{}` takes {ARGS_MAX} further arguments at most",
                self.name
            )));
        }
        match args.iter().find(|arg| !allowed(arg, &self.config.allow_args)) {
            None => Ok(()),
            Some(arg) => Err(ToolError::invalid_params(format!(
                "`{}` may not be given the argument `{arg}`; allowed are: {} ({}.allow_args)",
                self.name,
                match self.config.allow_args.is_empty() {
                    true => "none".to_owned(),
                    false => self.config.allow_args.join(", "),
                },
                self.section
            ))),
        }
    }

    fn foreign(&self, private: Private, args: Vec<String>) -> Result<Foreign, ToolError> {
        let supervisor = match &self.supervisor {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|error| ToolError::permanent(format!("cannot find the own program: {error}")))?,
        };
        let own = [("HOME", private.home()), ("TMPDIR", private.tmp())];
        let own = own.map(|(name, path)| (name.to_owned(), OsString::from(path)));
        let more = self.config.env.iter();
        let more = more.map(|(name, value)| (name.clone(), OsString::from(value.expose())));
        Ok(Foreign {
            supervisor,
            program: self.config.command.clone().into(),
            arguments: self
                .config
                .args
                .iter()
                .cloned()
                .chain(args)
                .map(OsString::from)
                .collect(),
            environment: own.into_iter().chain(more).collect(),
            directory: Some(private.work()),
            limits: self.config.limits(),
            scratch: Some(private.hand_over()),
        })
    }
}

#[async_trait]
impl Tool for CommandTool {
    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn schema(&self) -> Value {
        schema_of::<CommandParams>()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let CommandParams { args } = parse_params(&self.name, params)?;
        self.check(&args)?;
        let workspace = context.workspace.clone();
        let private = blocking(context, move |cancel| Private::make(workspace.as_deref(), cancel)).await?;
        let started = Instant::now();
        let mut running = self
            .foreign(private, args)?
            .spawn(Stdio::null(), Stdio::piped(), Stdio::piped())
            .map_err(|error| ToolError::transient(format!("cannot run `{}`: {error}", self.name)))?;
        let streams = (running.child.stdout.take(), running.child.stderr.take());
        let (Some(output), Some(errors)) = streams else {
            return Err(ToolError::permanent(format!(
                "`{}` runs without its streams",
                self.name
            )));
        };
        let running_to_its_end = async {
            tokio::join!(
                Tail::read(output, STREAM_BYTES_MAX),
                Tail::read(errors, STREAM_BYTES_MAX),
                running.child.wait()
            )
        };
        // Whatever ends this ends the command: dropping what runs does.
        let (output, errors, ended) = tokio::select! {
            ended = timeout(self.config.timeout(), running_to_its_end) => ended.map_err(|_| {
                ToolError::timed_out(format!(
                    "`{}` took longer than {} ms ({}.timeout_ms)",
                    self.name, self.config.timeout_ms, self.section
                ))
            })?,
            () = context.cancel.cancelled() => return Err(ToolError::cancelled()),
        };
        let (stdout, stdout_left_out) = bounded(output);
        let (stderr, stderr_left_out) = bounded(errors);
        let exit_code = ended.ok().and_then(|status| status.code());
        if exit_code == Some(127) && stdout.is_empty() {
            return Err(ToolError::permanent(format!(
                "`{}` failed: {}",
                self.name,
                stderr.trim()
            )));
        }
        let result = CommandResult {
            exit_code,
            stdout,
            stdout_left_out,
            stderr,
            stderr_left_out,
            duration_ms: started.elapsed().as_millis() as u64,
        };
        serde_json::to_value(result).map_err(|error| ToolError::permanent(error.to_string()))
    }
}

/// A stream as text that takes so much room at most, and how many bytes are missing before it.
fn bounded(tail: Tail) -> (String, u64) {
    let (mut text, left_out) = tail.into_text();
    // What is written in control characters takes up to six times its size.
    let excess = cut_text(&text, JSON_BYTES_MAX).1;
    let start = (excess..=text.len())
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(text.len());
    text.drain(..start);
    (text, left_out + start as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, json_bytes};

    fn tool(allow_args: &[&str]) -> CommandTool {
        let config = CommandConfig {
            command: "cargo".to_owned(),
            args: vec!["test".to_owned()],
            allow_args: allow_args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..CommandConfig::default()
        };
        CommandTool::new("tests", config, None)
    }

    #[test]
    fn only_allowed_arguments_are_added() {
        for (allow, args, expected) in [
            (&[][..], &[][..], true),
            (&[], &["--lib"], false),
            (&["--lib"], &["--lib"], true),
            (&["--lib"], &["--lib", "--config=x"], false),
            (&["tests::*"], &["tests::one", "tests::two"], true),
            (&["tests::*"], &["--test"], false),
        ] {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let checked = tool(allow).check(&args);
            assert_eq!(checked.is_ok(), expected, "{allow:?} {args:?}");
            if let Err(error) = checked {
                assert_eq!(error.kind, ErrorKind::InvalidParams);
                assert!(error.message.contains("tools.commands.tests.allow_args"), "{error}");
            }
        }
        assert!(tool(&["*"]).check(&vec![String::new(); 101]).is_err());
    }

    #[test]
    fn a_command_says_what_it_runs_and_is_not_read_only() {
        let tool = tool(&[]);
        assert_eq!(tool.name(), "command.tests");
        assert!(tool.description().contains("`cargo test`") && !tool.read_only());
    }

    #[tokio::test]
    async fn the_last_bytes_stay_within_the_room_there_is() {
        for (text, kept) in [("x".repeat(200_000), STREAM_BYTES_MAX), ("\u{1}".repeat(200_000), 0)] {
            let (bounded, left_out) = bounded(Tail::read(text.as_bytes(), STREAM_BYTES_MAX).await);
            assert!(json_bytes(&bounded) <= JSON_BYTES_MAX + 16, "{}", json_bytes(&bounded));
            assert_eq!(bounded.len() as u64 + left_out, 200_000);
            assert!(bounded.len() >= kept && !bounded.is_empty());
        }
    }
}
