//! What each tool does: the same as the command of its name, with text for people and models and structure for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axon_protocol::{Answer, QueryId};
use chrono::Utc;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::server::FleetServer;
use crate::command::{ask, cancel, plan, queries, watch, workers};
use crate::exit::Failure;
use crate::question::{LeftOut, QueryArgs, Question, stored_answer};
use crate::waiting::{Attached, Ended};

/// Seconds a call waits for an answer unless it says otherwise: many clients give up after 60.
const WAIT_DEFAULT_S: u64 = 50;
/// Most seconds a call waits.
const WAIT_MAX_S: u64 = 600;
/// Queries that are listed unless the call says otherwise.
const QUERIES_DEFAULT: usize = 20;

/// What a tool returns.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) structure: Value,
}

impl Said {
    /// The same, with what was left out of the workspace, where anything was.
    fn beside(self, left_out: Option<&LeftOut>) -> anyhow::Result<Self> {
        Ok(Self {
            text: match left_out {
                Some(left_out) => format!("{}\n\n{left_out}", self.text.trim_end()),
                None => self.text,
            },
            structure: LeftOut::beside(left_out, &self.structure)?,
        })
    }
}

/// Parameters of `ask`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskParams {
    /// The question.
    question: String,
    /// Directory the question is about, relative to the one that is served; all of that if absent.
    #[serde(default)]
    workspace: Option<PathBuf>,
    /// Asks about no directory.
    #[serde(default)]
    no_workspace: bool,
    /// Seconds until the answer is wanted; by the complexity of the question if absent.
    #[serde(default)]
    timeout_s: Option<u64>,
    /// Seconds to wait here; the query goes on afterwards. 50 if absent, at most 600.
    #[serde(default)]
    wait_s: Option<u64>,
    /// 1 (lowest) to 10 (highest).
    #[serde(default)]
    priority: Option<u8>,
}

/// Parameters of `plan`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanParams {
    /// The question.
    question: String,
    /// Directory the question is about, relative to the one that is served; all of that if absent.
    #[serde(default)]
    workspace: Option<PathBuf>,
    /// Asks about no directory.
    #[serde(default)]
    no_workspace: bool,
}

/// Parameters of `answer`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerParams {
    /// Id of the query.
    id: String,
    /// Seconds to wait for it. 0 if absent, at most 600.
    #[serde(default)]
    wait_s: u64,
}

/// Parameters of `cancel`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelParams {
    /// Id of the query.
    id: String,
}

/// Parameters of `queries`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueriesParams {
    /// Most queries to list. 20 if absent.
    #[serde(default)]
    limit: Option<usize>,
}

pub(super) async fn ask(server: &FleetServer, params: AskParams) -> anyhow::Result<Said> {
    let mut args = args_of(server, params.question, params.workspace, params.no_workspace)?;
    (args.timeout, args.priority) = (params.timeout_s, params.priority);
    let question = Question::prepare(args).await?;
    question.store(&server.bus).await?;
    let attached = Attached::quietly(&server.bus, &question.id).await?;
    question.publish(&server.context, &server.bus).await?;
    let said = wait(&question.id, attached, params.wait_s.unwrap_or(WAIT_DEFAULT_S)).await?;
    said.beside(question.left_out.as_ref())
}

pub(super) async fn answer(server: &FleetServer, params: AnswerParams) -> anyhow::Result<Said> {
    let id = QueryId::new(params.id)?;
    let attached = Attached::quietly(&server.bus, &id).await?;
    if let Some(answer) = stored_answer(&server.bus, &id).await? {
        return Ok(said(&answer));
    }
    if !watch::is_known(&server.bus, &id).await? {
        return Err(watch::unknown(&id));
    }
    wait(&id, attached, params.wait_s).await
}

pub(super) async fn plan(server: &FleetServer, params: PlanParams) -> anyhow::Result<Said> {
    let args = args_of(server, params.question, params.workspace, params.no_workspace)?;
    let question = Question::prepare(args).await?;
    let plan = plan::planned(&server.context, &server.bus, &question).await?;
    let said = Said {
        text: plan.to_string(),
        structure: serde_json::to_value(&plan)?,
    };
    said.beside(question.left_out.as_ref())
}

pub(super) async fn queries(server: &FleetServer, params: QueriesParams) -> anyhow::Result<Said> {
    let rows = queries::latest(&server.bus, params.limit.unwrap_or(QUERIES_DEFAULT)).await?;
    Ok(Said {
        text: match rows.is_empty() {
            true => "no queries".to_owned(),
            false => queries::text_of(&rows, Utc::now()),
        },
        structure: json!({ "queries": rows }),
    })
}

pub(super) async fn cancel(server: &FleetServer, params: CancelParams) -> anyhow::Result<Said> {
    let id = QueryId::new(params.id)?;
    let answered = cancel::cancel(&server.bus, &id).await?;
    Ok(Said {
        text: match answered {
            None => "cancelled; `answer` shows what was found until now".to_owned(),
            Some(status) => format!("nothing to cancel: the answer is there ({})", status.as_str()),
        },
        structure: json!({ "id": id, "cancelled": answered.is_none(), "answered": answered }),
    })
}

pub(super) async fn workers(server: &FleetServer) -> anyhow::Result<Said> {
    let now = Utc::now();
    let registry = &server.context.registry;
    let all = workers::processes(&server.bus, None).await?;
    Ok(Said {
        text: workers::shown(&all, registry, now),
        structure: workers::structure_of(&all, registry, now),
    })
}

fn args_of(
    server: &FleetServer,
    question: String,
    workspace: Option<PathBuf>,
    no_workspace: bool,
) -> anyhow::Result<QueryArgs> {
    // A lone dash would read the question from where the client speaks.
    if question == "-" {
        return Err(Failure::bad_input("the question `-` is none").into());
    }
    let directory = match no_workspace {
        true => None,
        false => Some(within(&server.root, workspace.as_deref())?),
    };
    Ok(QueryArgs {
        no_workspace,
        ..QueryArgs::about(question, directory, None)
    })
}

/// The directory a question is about. Who asks may not have any other than the one that is served sent away.
fn within(root: &Path, wanted: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(wanted) = wanted else {
        return Ok(root.to_owned());
    };
    let refused = |why: String| Failure::bad_input(format!("cannot ask about {}: {why}", wanted.display()));
    let found = root
        .join(wanted)
        .canonicalize()
        .map_err(|error| refused(error.to_string()))?;
    match found.starts_with(root) {
        true => Ok(found),
        false => Err(refused(format!("it is not in {}, which `axon mcp` serves", root.display())).into()),
    }
}

async fn wait(id: &QueryId, mut attached: Attached, wait_s: u64) -> anyhow::Result<Said> {
    let until = Instant::now() + Duration::from_secs(wait_s.min(WAIT_MAX_S));
    let ended = attached.answer_by(until, &CancellationToken::new(), &mut |_| {}).await;
    Ok(match ended {
        Ended::Answered(answer) => said(&answer),
        Ended::TimeUp(_) | Ended::Stopped => Said {
            text: format!("query {id} is not answered yet: call `answer` with this id later"),
            structure: json!({ "id": id, "status": "running" }),
        },
    })
}

fn said(answer: &Answer) -> Said {
    Said {
        text: ask::text_of(answer),
        structure: json!({
            "id": answer.query_id,
            "status": answer.status,
            "error": answer.error,
            "summary": answer.summary,
            "recommendations": answer.recommendations,
            "missing": answer.missing,
            "outputs": answer.outputs,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_may_be_asked_about() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("served").canonicalize();
        assert!(root.is_err());
        std::fs::create_dir_all(folder.path().join("served/part")).expect("created");
        let root = folder.path().join("served").canonicalize().expect("there");
        for (wanted, expected) in [
            (None, Some(root.clone())),
            (Some("part"), Some(root.join("part"))),
            (Some("."), Some(root.clone())),
            (Some(".."), None),
            (Some("part/../.."), None),
            (Some("/etc"), None),
            (Some("absent"), None),
        ] {
            assert_eq!(within(&root, wanted.map(Path::new)).ok(), expected, "{wanted:?}");
        }
    }
}
