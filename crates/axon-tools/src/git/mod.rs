//! Tools that read the history which travels with a workspace: log, hotspots, what changes together, and, as far as the
//! changed lines travel along, diff and blame. None of them opens a repository.

mod blame;
mod co_change;
mod diff;
mod hotspots;
mod log;

use std::sync::Arc;

use chrono::{DateTime, NaiveDate};

use crate::{CallContext, Change, Commit, History, Patches, ToolError, Toolbox, ToolboxError, Workspace, in_scope};

pub use blame::{BlameParams, BlameResult, BlamedRange, OLDER, UNCOMMITTED};
pub use co_change::{CoChangeParams, CoChangeResult, Companion};
pub use diff::{DiffParams, DiffResult, DiffedFile};
pub use hotspots::{Hotspot, HotspotsParams, HotspotsResult};
pub use log::{LogParams, LogResult, LoggedCommit};

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// Adds all tools of this group.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    log::register(toolbox)?;
    hotspots::register(toolbox)?;
    co_change::register(toolbox)?;
    blame::register(toolbox)?;
    diff::register(toolbox)
}

/// The commits a call may look at.
#[derive(Debug, Clone)]
struct Commits {
    history: Arc<History>,
    scope: Arc<[String]>,
    paths: Vec<String>,
    since: i64,
}

impl Commits {
    /// The history of the workspace below `paths`, from `since` on. A path that no commit and no file has is refused, so
    /// that a typing error does not look like a file that never changed.
    fn open(context: &CallContext, paths: &[String], since: Option<&str>) -> Result<Self, ToolError> {
        let workspace = context.require_workspace()?;
        let Some(history) = workspace.history() else {
            return Err(ToolError::permanent(
                "the workspace brought no history: it was packed outside of a git repository, before its first commit, or by \
                 an older version",
            ));
        };
        let mut normal = Vec::new();
        for path in paths {
            if matches!(path.trim_end_matches('/'), "" | ".") {
                continue;
            }
            let path = Workspace::normalize(path).map_err(|error| ToolError::invalid_params(error.to_string()))?;
            let one = [path];
            let seen = |path: &str| in_scope(path, &one) && in_scope(path, &context.scope);
            let known = workspace.manifest().files.iter().any(|file| seen(&file.path))
                || history
                    .commits
                    .iter()
                    .flat_map(|commit| &commit.files)
                    .any(|change| seen(&change.path));
            let [path] = one;
            if !known {
                return Err(ToolError::invalid_params(format!(
                    "cannot look at `{path}`: neither the files nor the history within the task's scope have it; `code.list` \
                     shows what is there"
                )));
            }
            normal.push(path);
        }
        if paths.len() > normal.len() {
            // One of the paths was the root, which holds all the others.
            normal.clear();
        }
        let newest = history
            .commits
            .iter()
            .map(|commit| commit.time)
            .max()
            .unwrap_or_default();
        Ok(Self {
            since: since.map_or(Ok(i64::MIN), |since| since_of(since, newest))?,
            scope: Arc::clone(&context.scope),
            paths: normal,
            history,
        })
    }

    /// Commits since the time asked for, newest first.
    fn all(&self) -> impl Iterator<Item = &Commit> {
        self.history.commits.iter().filter(|commit| commit.time >= self.since)
    }

    /// Whether every commit is wanted, whatever it changed.
    fn everything(&self) -> bool {
        self.paths.is_empty() && self.scope.iter().all(|path| matches!(path.as_str(), "" | "."))
    }

    fn is_selected(&self, path: &str) -> bool {
        in_scope(path, &self.scope) && in_scope(path, &self.paths)
    }

    /// What a commit changed of the files the call may look at.
    fn files<'c>(&'c self, commit: &'c Commit) -> impl Iterator<Item = &'c Change> {
        commit.files.iter().filter(|change| self.is_selected(&change.path))
    }
}

/// The changed lines that came with the workspace.
fn patches_of(workspace: &Workspace) -> Result<Arc<Patches>, ToolError> {
    workspace.patches().ok_or_else(|| {
        ToolError::permanent(
            "the workspace brought no changed lines: it was packed outside of a git repository, or by an older version",
        )
    })
}

/// The time from which commits count: a date, or a number of days before the newest commit, so that no clock is asked.
fn since_of(since: &str, newest: i64) -> Result<i64, ToolError> {
    let refused = || {
        ToolError::invalid_params(format!(
            "`{since}` is no time: use a date such as `2024-05-31`, or a number of days before the newest commit such as `90d`"
        ))
    };
    if let Some(days) = since.strip_suffix('d') {
        let days: u32 = days.parse().map_err(|_| refused())?;
        return Ok(newest.saturating_sub(i64::from(days) * DAY_S));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(since) {
        return Ok(time.timestamp());
    }
    let date = NaiveDate::parse_from_str(since, "%Y-%m-%d").map_err(|_| refused())?;
    Ok(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp())
}

/// The day of a commit, in UTC; empty for a time no calendar has.
fn date_of(time: i64) -> String {
    DateTime::from_timestamp(time, 0).map_or_else(String::new, |time| time.format("%Y-%m-%d").to_string())
}

/// The first ten digits of an id, by which people know a commit.
fn short_id(id: &str) -> String {
    id.chars().take(10).collect()
}

/// An upper bound for a number, never below 1.
fn limit(asked: Option<usize>, default: usize, max: usize) -> usize {
    asked.unwrap_or(default).clamp(1, max)
}

#[cfg(test)]
mod tests;
