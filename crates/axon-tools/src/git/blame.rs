//! `git.blame`: which commit each line of a file comes from, as far back as the changed lines travel with the workspace.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commits, date_of, patches_of};
use crate::code::{LIST_BYTES_MAX, to_value};
use crate::workspace::Origin;
use crate::{CallContext, Commit, Cost, Patches, Tool, ToolError, Toolbox, ToolboxError, fit, parse_params, schema_of};

/// Parameters of `git.blame`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlameParams {
    /// The file.
    pub path: String,
    /// First line, counted from 1; the first of the file if absent.
    #[serde(default)]
    pub line: Option<u32>,
    /// Last line; the last of the file if absent.
    #[serde(default)]
    pub end_line: Option<u32>,
}

/// Lines next to each other that come from the same commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlamedRange {
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Id of the commit; `uncommitted` for lines that are in none, `older` for those from before what is known.
    pub commit: String,
    /// Name of the author.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The day, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// First line of the message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
}

/// What `git.blame` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BlameResult {
    /// Commits whose changed lines are known.
    pub commits: usize,
    /// Day of the oldest of them.
    pub oldest: String,
    /// Lines asked for that come from before.
    pub older_lines: usize,
    /// The lines asked for, in order.
    pub results: Vec<BlamedRange>,
    /// Ranges left out.
    pub omitted: usize,
}

/// In the place of a commit: from before what is known.
pub const OLDER: &str = "older";
/// In the place of a commit: in none.
pub const UNCOMMITTED: &str = "uncommitted";

fn run(commits: &Commits, patches: &Patches, params: &BlameParams, lines: u32) -> BlameResult {
    let known: BTreeMap<&str, &Commit> = commits.history.commits.iter().map(|c| (c.id.as_str(), c)).collect();
    let origins = patches.blame(&params.path, lines as usize);
    let first = params.line.unwrap_or(1).max(1);
    let last = params.end_line.unwrap_or(lines).min(lines);
    let mut result = BlameResult {
        commits: patches.commits.len(),
        oldest: patches
            .commits
            .last()
            .and_then(|c| known.get(c.id.as_str()))
            .map(|c| date_of(c.time))
            .unwrap_or_default(),
        ..BlameResult::default()
    };
    let mut ranges: Vec<BlamedRange> = Vec::new();
    for (line, origin) in (1..).zip(&origins).filter(|(line, _)| (first..=last).contains(line)) {
        let id = match origin {
            Origin::Commit(at) => patches.commits[*at].id.as_str(),
            Origin::Uncommitted => UNCOMMITTED,
            Origin::Older => OLDER,
        };
        result.older_lines += usize::from(*origin == Origin::Older);
        match ranges.last_mut() {
            Some(range) if range.commit == id => range.end_line = line,
            _ => {
                let commit = known.get(id);
                ranges.push(BlamedRange {
                    line,
                    end_line: line,
                    commit: id.to_owned(),
                    author: commit.map(|c| c.author.clone()).unwrap_or_default(),
                    date: commit.map(|c| date_of(c.time)).unwrap_or_default(),
                    subject: commit.map(|c| c.subject.clone()).unwrap_or_default(),
                });
            }
        }
    }
    (result.results, result.omitted) = fit(ranges, LIST_BYTES_MAX);
    result
}

struct Blame;

#[async_trait]
impl Tool for Blame {
    fn name(&self) -> &str {
        "git.blame"
    }

    fn description(&self) -> &str {
        "Says which commit each line of a file comes from: id, day, author, subject. Reaches back as far as the changed lines that \
         came with the workspace; lines from before are `older`. Use it to see when and why a suspicious line came."
    }

    fn schema(&self) -> Value {
        schema_of::<BlameParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Light
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: BlameParams = parse_params(self.name(), params)?;
        let context = context.clone();
        crate::blocking(&context.clone(), move |_| {
            let commits = Commits::open(&context, std::slice::from_ref(&params.path), None)?;
            let workspace = context.require_workspace()?;
            let Some(path) = commits
                .paths
                .first()
                .filter(|path| workspace.manifest().get(path).is_some())
            else {
                return Err(ToolError::invalid_params(format!(
                    "cannot blame `{}`: it is no file of the workspace",
                    params.path
                )));
            };
            let text = workspace
                .text(path)
                .map_err(|error| ToolError::permanent(error.to_string()))?;
            let params = BlameParams {
                path: path.clone(),
                ..params
            };
            to_value(&run(&commits, &*patches_of(workspace)?, &params, text.line_count()))
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Blame)
}
