//! `git.log`: the commits that changed something, newest first.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commits, date_of, limit};
use crate::code::{LIST_BYTES_MAX, to_value};
use crate::{CallContext, Change, Tool, ToolError, Toolbox, ToolboxError, fit, parse_params, schema_of};

/// Commits returned where a call names no number.
const RESULTS_DEFAULT: usize = 50;
/// Most commits returned.
const RESULTS_MAX: usize = 500;
/// Changed files named of one commit.
const FILES_MAX: usize = 30;

/// Parameters of `git.log`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogParams {
    /// Files or directories within the scope that a commit must have changed, also such as are gone; any if empty.
    pub paths: Vec<String>,
    /// Only commits from then on: `2024-05-31`, or `90d` for so many days before the newest commit.
    pub since: Option<String>,
    /// Only commits whose subject holds one of these words or phrases; case does not matter.
    pub text: Vec<String>,
    /// Only commits whose author's name holds this; case does not matter.
    pub author: Option<String>,
    /// Most commits to return, 1 to 500; 50 if absent.
    #[schemars(range(min = 1, max = 500))]
    pub max_results: Option<usize>,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedCommit {
    /// Its id, in hexadecimal.
    pub id: String,
    /// Name of the author.
    pub author: String,
    /// The day, in UTC.
    pub date: String,
    /// First line of the message.
    pub subject: String,
    /// Whether it merges others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// What it changed of the files asked for, with lines added and removed; the first 30.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Change>,
    /// How many files it changed in the whole workspace.
    pub changed: usize,
}

/// What `git.log` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogResult {
    /// The commit the history begins with.
    pub revision: String,
    /// Commits of the history that came with the workspace.
    pub commits: usize,
    /// Whether that goes back to the first commit.
    pub complete: bool,
    /// Day of the oldest commit that came with it.
    pub oldest: String,
    /// Commits that match, whether returned or not.
    pub matches: usize,
    /// The commits, newest first.
    pub results: Vec<LoggedCommit>,
    /// Commits left out.
    pub omitted: usize,
}

fn run(commits: &Commits, params: &LogParams) -> LogResult {
    let words: Vec<String> = params.text.iter().map(|word| word.to_lowercase()).collect();
    let author = params.author.as_ref().map(|name| name.to_lowercase());
    let found: Vec<LoggedCommit> = commits
        .all()
        .filter(|commit| {
            let subject = commit.subject.to_lowercase();
            (words.is_empty() || words.iter().any(|word| subject.contains(word)))
                && author
                    .as_ref()
                    .is_none_or(|name| commit.author.to_lowercase().contains(name))
                && (commits.everything() || commits.files(commit).next().is_some())
        })
        .map(|commit| LoggedCommit {
            id: commit.id.clone(),
            author: commit.author.clone(),
            date: date_of(commit.time),
            subject: commit.subject.clone(),
            merge: commit.merge,
            files: commits.files(commit).take(FILES_MAX).cloned().collect(),
            changed: commit.files.len() + commit.omitted,
        })
        .collect();
    let matches = found.len();
    let kept = found
        .into_iter()
        .take(limit(params.max_results, RESULTS_DEFAULT, RESULTS_MAX))
        .collect();
    let (results, _) = fit(kept, LIST_BYTES_MAX);
    let history = &commits.history;
    LogResult {
        revision: history.revision.clone(),
        commits: history.commits.len(),
        complete: history.complete,
        oldest: history
            .commits
            .last()
            .map(|commit| date_of(commit.time))
            .unwrap_or_default(),
        matches,
        omitted: matches - results.len(),
        results,
    }
}

struct Log;

#[async_trait]
impl Tool for Log {
    fn name(&self) -> &str {
        "git.log"
    }

    fn description(&self) -> &str {
        "Lists commits of the history that came with the workspace, newest first, with the files they changed: by path, time, \
         words of the subject, author. Use it to see when and why something changed."
    }

    fn schema(&self) -> Value {
        schema_of::<LogParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: LogParams = parse_params(self.name(), params)?;
        let context = context.clone();
        crate::blocking(&context.clone(), move |_| {
            let commits = Commits::open(&context, &params.paths, params.since.as_deref())?;
            to_value(&run(&commits, &params))
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Log)
}
