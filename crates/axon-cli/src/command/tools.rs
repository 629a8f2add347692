//! `axon tools`: the tools that workers have, what each takes, and one call of one of them on a directory. It needs no
//! server and asks no worker.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use axon_tools::{CallContext, ErrorKind, Tool, Toolbox, Workspace};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{self, short};
use crate::question::LeftOut;

/// Longest description in the list, in characters.
const DESCRIPTION_CHARS_MAX: usize = 90;
/// Largest parameters that are read from standard input or a file, in bytes.
const PARAMS_BYTES_MAX: u64 = 1 << 20;

/// What about tools.
#[derive(Debug, clap::Args)]
pub(crate) struct ToolsArgs {
    #[command(subcommand)]
    command: ToolsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ToolsCommand {
    /// List the tools
    Ls,
    /// Show one tool with the schema of its parameters
    Show {
        /// Name of the tool, such as code.search
        #[arg(value_name = "TOOL")]
        tool: String,
    },
    /// Call one tool on a directory and print what it returns
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Name of the tool, such as code.search
    #[arg(value_name = "TOOL")]
    tool: String,

    /// Its parameters as JSON; `@FILE` reads a file, `-` standard input
    #[arg(value_name = "PARAMS", default_value = "{}")]
    params: String,

    /// Directory to look at [default: the current one]
    #[arg(long, value_name = "DIR", conflicts_with = "no_workspace")]
    workspace: Option<PathBuf>,

    /// Look at no directory
    #[arg(long)]
    no_workspace: bool,

    /// Path of the directory to stay in; may be repeated [default: the whole directory]
    #[arg(long, value_name = "PATH")]
    scope: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: ToolsArgs) -> anyhow::Result<Exit> {
    context
        .tools
        .validate()
        .map_err(|error| Failure::bad_input(error.to_string()))?;
    let toolbox = Toolbox::standard(&context.tools)?;
    match args.command {
        ToolsCommand::Ls => list(context, &toolbox).await?,
        ToolsCommand::Show { tool } => show(context, find(&toolbox, &tool).await?.as_ref())?,
        ToolsCommand::Run(args) => call(context, &toolbox, args).await?,
    }
    Ok(Exit::Success)
}

async fn find(toolbox: &Toolbox, name: &str) -> anyhow::Result<Arc<dyn Tool>> {
    toolbox
        .find(name)
        .await
        .map_err(|message| Failure::not_found(message).into())
}

fn value_of(tool: &dyn Tool) -> Value {
    json!({
        "name": tool.name(),
        "read_only": tool.read_only(),
        "permitted": tool.permitted(),
        "cost": tool.cost(),
        "description": tool.description(),
        "schema": tool.schema(),
    })
}

/// The word for a class of cost, as JSON spells it.
fn cost_of(tool: &dyn Tool) -> String {
    let value = json!(tool.cost());
    value.as_str().unwrap_or_default().to_owned()
}

/// All tools, those of the configured servers included. A server that does not open is told, and the others are listed.
async fn list(context: &Context, toolbox: &Toolbox) -> anyhow::Result<()> {
    let mut tools: Vec<Arc<dyn Tool>> = toolbox.list().cloned().collect();
    for source in toolbox.list_sources().await {
        match source {
            Ok(listed) => tools.extend(listed),
            Err(message) => eprintln!("warning: {message}"),
        }
    }
    if context.json {
        let all: Vec<Value> = tools.iter().map(|tool| value_of(tool.as_ref())).collect();
        return output::json(&all);
    }
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            vec![
                tool.name().to_owned(),
                read_only_of(tool.as_ref()).to_owned(),
                cost_of(tool.as_ref()),
                short(tool.description(), DESCRIPTION_CHARS_MAX),
            ]
        })
        .collect();
    output::line(&output::table(&["tool", "read-only", "cost", "what it does"], &rows))
}

fn show(context: &Context, tool: &dyn Tool) -> anyhow::Result<()> {
    if context.json {
        return output::json(&value_of(tool));
    }
    let schema = serde_json::to_string_pretty(&tool.schema()).context("cannot write the schema")?;
    output::line(&format!(
        "{}\n{}\nread-only: {}; cost: {} (about {:?} until it is measured)\nparameters:\n{schema}",
        tool.name(),
        tool.description(),
        read_only_of(tool),
        cost_of(tool),
        tool.cost().typical(),
    ))
}

fn read_only_of(tool: &dyn Tool) -> &'static str {
    match (tool.read_only(), tool.permitted()) {
        (true, _) => "yes",
        (false, true) => "no",
        (false, false) => "no, held back",
    }
}

async fn call(context: &Context, toolbox: &Toolbox, args: RunArgs) -> anyhow::Result<()> {
    let tool = match toolbox.get(&args.tool) {
        Some(tool) => tool,
        None => find(toolbox, &args.tool).await?,
    };
    let params = params_of(&args.params)?;
    let workspace = match args.no_workspace {
        true => None,
        false => {
            let dir = args.workspace.unwrap_or_else(|| PathBuf::from("."));
            let opening = tokio::task::spawn_blocking(move || Workspace::of_directory(&dir));
            let opened = opening.await.context("reading the directory broke off")?;
            let opened = opened.map_err(|error| Failure::bad_input(error.to_string()))?;
            if let Some(left_out) = LeftOut::of(opened.manifest()) {
                eprintln!("{left_out}");
            }
            Some(Arc::new(opened))
        }
    };
    let timeout = context.tools.tool_timeout();
    let call = CallContext {
        scope: args.scope.into(),
        deadline: Some(tokio::time::Instant::now() + timeout),
        ..CallContext::new(workspace)
    };
    let begin = Instant::now();
    let returned = tokio::time::timeout(timeout, tool.call(&call, params))
        .await
        .map_err(|_| {
            let message = format!(
                "`{}` took longer than {timeout:?}: raise tools.tool_timeout_ms",
                args.tool
            );
            Failure::new(Exit::Unexpected, message)
        })?;
    let elapsed_ms = begin.elapsed().as_secs_f64() * 1000.0;
    match returned {
        Ok(output) if context.json => {
            output::json(&json!({ "tool": args.tool, "elapsed_ms": elapsed_ms, "output": output }))
        }
        Ok(output) => {
            output::json(&output)?;
            eprintln!("{} took {elapsed_ms:.1} ms", args.tool);
            Ok(())
        }
        Err(error) if error.kind == ErrorKind::InvalidParams => {
            let message = format!("{}; `axon tools show {}` shows what it takes", error.message, args.tool);
            Err(Failure::bad_input(message).into())
        }
        Err(error) => {
            let message = match error.message.contains(&args.tool) {
                true => error.message,
                false => format!("`{}` failed: {}", args.tool, error.message),
            };
            Err(Failure::new(Exit::Unexpected, message).into())
        }
    }
}

fn params_of(given: &str) -> anyhow::Result<Value> {
    let unreadable = |error: std::io::Error| Failure::bad_input(format!("cannot read the parameters: {error}"));
    let mut text = String::new();
    if given == "-" {
        let input = std::io::stdin().lock();
        input
            .take(PARAMS_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    } else if let Some(path) = given.strip_prefix('@') {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(PARAMS_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    } else {
        given.clone_into(&mut text);
    }
    serde_json::from_str(&text).map_err(|error| {
        Failure::bad_input(format!("the parameters are no JSON: {error}: `{}`", short(&text, 80))).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_from_the_line_or_a_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), r#"{"a": 2}"#).expect("written");
        let named = format!("@{}", file.path().display());
        for (given, expected) in [(r#"{"a": 1}"#, json!({"a": 1})), (named.as_str(), json!({"a": 2}))] {
            assert_eq!(params_of(given).expect("reads"), expected);
        }
        for bad in ["{", "@/nonexistent/file"] {
            let error = params_of(bad).expect_err(bad);
            assert_eq!(Exit::of_error(&error), Exit::BadInput, "{error}");
        }
    }

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_told_with_those_that_are() {
        let toolbox = Toolbox::standard(&axon_tools::Config::default()).expect("registers");
        let error = find(&toolbox, "code.serch").await.map(|_| ()).expect_err("unknown");
        assert!(error.to_string().contains("code.search"), "{error}");
        assert_eq!(Exit::of_error(&error), Exit::NotFound);
        let value = value_of(find(&toolbox, "code.search").await.expect("there").as_ref());
        assert_eq!(
            (&value["read_only"], &value["name"]),
            (&json!(true), &json!("code.search"))
        );
        assert!(value["schema"].is_object() && value["cost"].is_string());
    }
}
