//! `git.diff`: what one commit changed, or what changed between two revisions, as far back as the changed lines travel with
//! the workspace.

use std::collections::BTreeSet;
use std::fmt::Write;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commits, patches_of};
use crate::code::{LIST_BYTES_MAX, to_value};
use crate::workspace::lines_of;
use crate::{
    CallContext, Cost, FileChange, FilePatch, Hunk, Patches, Tool, ToolError, Toolbox, ToolboxError, Workspace, fit,
    parse_params, schema_of,
};

/// The files as they are in the workspace, with what is in no commit.
const WORKSPACE: &str = "workspace";
/// The newest commit.
const HEAD: &str = "HEAD";
/// Unchanged lines shown around each change.
const CONTEXT_LINES: usize = 3;
/// Bytes of the text of one file's change.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Digits of an id that are enough to name a commit.
const ID_CHARS_MIN: usize = 4;

/// Parameters of `git.diff`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiffParams {
    /// What this commit changed against its first parent: an id or the beginning of one, or `HEAD`. Not with `from` and `to`.
    pub commit: Option<String>,
    /// The older revision: an id, the beginning of one, `HEAD`, or `HEAD~3`.
    pub from: Option<String>,
    /// The newer revision; `workspace`, the files as they are, if absent.
    pub to: Option<String>,
    /// Files or directories within the scope, also such as are gone; all if empty.
    pub paths: Vec<String>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffedFile {
    /// Its path.
    pub path: String,
    /// What became of it.
    pub change: FileChange,
    /// Lines that came.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
    /// The change in unified form, without head; shortened where it is long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Whether the changed lines are not known: they were too many to travel with the workspace, or are no text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// What `git.diff` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiffResult {
    /// The older revision; empty before the first commit.
    pub from: String,
    /// The newer one.
    pub to: String,
    /// The files that differ, by path.
    pub results: Vec<DiffedFile>,
    /// Files left out.
    pub omitted: usize,
}

/// Finds revisions.
struct Revisions<'p> {
    patches: &'p Patches,
    line: Vec<usize>,
}

impl Revisions<'_> {
    /// The position of a commit.
    fn commit(&self, named: &str) -> Result<usize, ToolError> {
        if let Some(back) = named.strip_prefix(HEAD) {
            let steps = back
                .strip_prefix('~')
                .map_or(Some(usize::from(!back.is_empty())), |steps| steps.parse().ok());
            let steps = steps.filter(|_| back.is_empty() || back.starts_with('~'));
            return steps
                .and_then(|steps| self.line.get(steps).copied())
                .ok_or_else(|| self.refused(named));
        }
        let named = named.to_lowercase();
        let mut fitting = (0..self.patches.commits.len()).filter(|at| self.patches.commits[*at].id.starts_with(&named));
        match (fitting.next(), fitting.next()) {
            (Some(at), None) if named.len() >= ID_CHARS_MIN => Ok(at),
            _ => Err(self.refused(&named)),
        }
    }

    /// How many commits of the first-parent line are newer than a revision: 0 is the newest commit, and `None` the workspace.
    fn age(&self, named: &str) -> Result<Option<usize>, ToolError> {
        if named == WORKSPACE {
            return Ok(None);
        }
        let at = self.commit(named)?;
        let age = self.line.iter().position(|known| *known == at);
        age.map(Some).ok_or_else(|| {
            ToolError::invalid_params(format!(
                "`{named}` came by a merge and is no state this branch was in: ask for what it changed with `commit`"
            ))
        })
    }

    fn refused(&self, named: &str) -> ToolError {
        ToolError::invalid_params(format!(
            "`{named}` names no commit whose changed lines came with the workspace, or several: they are known of {} commits; \
             `git.log` lists ids",
            self.patches.commits.len()
        ))
    }
}

/// What one commit changed.
fn of_commit(patches: &Patches, at: usize, is_selected: impl Fn(&str) -> bool) -> DiffResult {
    let commit = &patches.commits[at];
    let files = commit
        .files
        .iter()
        .filter(|patch| patch.parent == 0 && is_selected(&patch.path));
    DiffResult {
        from: commit.parents.first().cloned().unwrap_or_default(),
        to: commit.id.clone(),
        results: files.map(|patch| diffed(patch, None)).collect(),
        omitted: 0,
    }
}

/// What changed between two states of the branch.
fn between(
    workspace: &Workspace,
    revisions: &Revisions<'_>,
    from: Option<usize>,
    to: Option<usize>,
    is_selected: impl Fn(&str) -> bool,
) -> DiffResult {
    let patches = revisions.patches;
    let undone = |age: Option<usize>| &revisions.line[..age.unwrap_or(0)];
    let is_workspace = to.is_none();
    let changed = undone(from)[undone(to).len()..]
        .iter()
        .flat_map(|at| &patches.commits[*at].files);
    let uncommitted = patches.uncommitted.iter().filter(|_| is_workspace);
    let paths: BTreeSet<&str> = changed
        .chain(uncommitted)
        .map(|patch| patch.path.as_str())
        .filter(|path| is_selected(path))
        .collect();
    let mut results = Vec::new();
    for path in paths {
        let now = workspace.manifest().get(path).and_then(|_| workspace.read(path).ok());
        let at = |age: Option<usize>| match age {
            None => Ok(now.clone()),
            Some(_) => patches.text_before(path, now.as_deref(), undone(age)),
        };
        match (at(from), at(to)) {
            (Ok(before), Ok(after)) if before == after => {}
            (Ok(before), Ok(after)) => {
                let patch = FilePatch::of(path, 0, before.as_deref(), after.as_deref());
                results.push(diffed(&patch, before.as_deref()));
            }
            _ => results.push(DiffedFile {
                path: path.to_owned(),
                change: FileChange::Modified,
                added: 0,
                removed: 0,
                text: String::new(),
                unknown: true,
            }),
        }
    }
    let id = |age: Option<usize>| {
        age.map_or_else(
            || WORKSPACE.to_owned(),
            |age| patches.commits[revisions.line[age]].id.clone(),
        )
    };
    DiffResult {
        from: id(from),
        to: id(to),
        results,
        omitted: 0,
    }
}

fn diffed(patch: &FilePatch, before: Option<&str>) -> DiffedFile {
    DiffedFile {
        path: patch.path.clone(),
        change: patch.change,
        added: patch.hunks.iter().map(|hunk| hunk.added.len()).sum(),
        removed: patch.hunks.iter().map(|hunk| hunk.removed.len()).sum(),
        text: unified(&patch.hunks, before),
        unknown: patch.cut,
    }
}

/// Hunks in unified form, with unchanged lines around them where the text before is known.
fn unified(hunks: &[Hunk], before: Option<&str>) -> String {
    let before: Vec<&str> = before.map(lines_of).unwrap_or_default();
    let mut text = String::new();
    let mut next = 1;
    for (index, hunk) in hunks.iter().enumerate() {
        let (start, end) = (hunk.old, hunk.old + hunk.removed.len());
        let first = start.saturating_sub(CONTEXT_LINES).max(next);
        let follows = hunks.get(index + 1).map_or(usize::MAX, |following| following.old);
        let last = (end + CONTEXT_LINES).min(follows).min(before.len() + 1).max(end);
        let around = |range: std::ops::Range<usize>| range.filter_map(|line| before.get(line - 1));
        let (ahead, behind) = (around(first..start).count(), around(end..last).count());
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "@@ -{},{} +{},{} @@",
            start - ahead,
            ahead + hunk.removed.len() + behind,
            hunk.new.saturating_sub(ahead),
            ahead + hunk.added.len() + behind
        );
        let context = around(first..start).map(|line| (' ', *line));
        let removed = hunk.removed.iter().map(|line| ('-', line.as_str()));
        let added = hunk.added.iter().map(|line| ('+', line.as_str()));
        for (mark, line) in context
            .chain(removed)
            .chain(added)
            .chain(around(end..last).map(|line| (' ', *line)))
        {
            if text.len() + line.len() > TEXT_BYTES_MAX {
                text.push_str("… (shortened)\n");
                return text;
            }
            let _ = writeln!(text, "{mark}{}", line.trim_end_matches(['\n', '\r']));
        }
        next = last;
    }
    text
}

struct DiffTool;

#[async_trait]
impl Tool for DiffTool {
    fn name(&self) -> &str {
        "git.diff"
    }

    fn description(&self) -> &str {
        "Shows what one commit changed (`commit`), or what changed from one revision to another (`from`, `to`), line by line. \
         Reaches back as far as the changed lines that came with the workspace. Use it to read what a suspicious commit did."
    }

    fn schema(&self) -> Value {
        schema_of::<DiffParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Light
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: DiffParams = parse_params(self.name(), params)?;
        if params.commit.is_some() == params.from.is_some() || (params.commit.is_some() && params.to.is_some()) {
            return Err(ToolError::invalid_params(
                "`git.diff` takes either `commit`, or `from` with or without `to`",
            ));
        }
        let context = context.clone();
        crate::blocking(&context.clone(), move |_| {
            let commits = Commits::open(&context, &params.paths, None)?;
            let workspace = context.require_workspace()?;
            let patches = patches_of(workspace)?;
            let revisions = Revisions {
                line: patches.first_parents(),
                patches: &patches,
            };
            let mut result = match &params.commit {
                Some(commit) => of_commit(&patches, revisions.commit(commit)?, |path| commits.is_selected(path)),
                None => {
                    let from = revisions.age(params.from.as_deref().unwrap_or(HEAD))?;
                    let to = revisions.age(params.to.as_deref().unwrap_or(WORKSPACE))?;
                    // The workspace is newer than every commit.
                    if from.is_none_or(|from| to.is_some_and(|to| to > from)) {
                        return Err(ToolError::invalid_params(
                            "`from` must be older than `to`: exchange them",
                        ));
                    }
                    between(workspace, &revisions, from, to, |path| commits.is_selected(path))
                }
            };
            (result.results, result.omitted) = fit(result.results, LIST_BYTES_MAX);
            to_value(&result)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(DiffTool)
}
