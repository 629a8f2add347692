//! What the latest commits changed, line by line: enough to show their differences, to rebuild files as they were, and to
//! say which commit a line comes from. Pure; a damaged or hostile list gives wrong words, never a panic or endless work.

use std::collections::HashMap;

use imara_diff::{Algorithm, Diff, InternedInput};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the patches in an archive, where they follow the history.
pub const PATCHES_NAME: &str = ".axon-patches.json";
/// Largest list of patches that is read from an archive, in bytes of JSON.
pub const PATCHES_READ_BYTES_MAX: u64 = 8 << 20;
/// Most commits that are followed.
const COMMITS_MAX: usize = 2_000;
/// Most lines a file may have to be rebuilt or blamed.
pub const LINES_MAX: usize = 200_000;

/// What the latest commits changed, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Patches {
    /// What the workspace has beyond the newest commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncommitted: Vec<FilePatch>,
    /// The commits, newest first; a beginning of the history.
    pub commits: Vec<PatchedCommit>,
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PatchedCommit {
    /// Its id, in hexadecimal.
    pub id: String,
    /// The ids of the commits it follows; several if it merges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Its files by path; in a merge each once for each parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePatch>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    /// It was there before and after.
    #[default]
    Modified,
    /// It was not there before.
    Added,
    /// It is gone.
    Removed,
}

/// The change of one file against one parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FilePatch {
    /// Its path in the workspace.
    pub path: String,
    /// Which parent it is compared with, counted from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parent: usize,
    /// What became of it.
    #[serde(default)]
    pub change: FileChange,
    /// The changed places, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<Hunk>,
    /// Whether the changed lines are left out because they are too many, or no text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// Lines that were replaced, each with its line break.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hunk {
    /// The first line it replaces, counted from 1; the line before which something is inserted where it replaces none.
    pub old: usize,
    /// The first line it gives, likewise.
    pub new: usize,
    /// Lines that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Lines that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The lines of a text, each with its line break.
pub fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The places in which two texts differ; `None` is a file that is not there.
pub fn hunks(before: Option<&str>, after: Option<&str>) -> Vec<Hunk> {
    let (before, after) = (
        before.map(lines_of).unwrap_or_default(),
        after.map(lines_of).unwrap_or_default(),
    );
    let mut input = InternedInput::default();
    input.update_before(before.iter().copied());
    input.update_after(after.iter().copied());
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    diff.hunks()
        .map(|hunk| {
            let (old, new) = (
                hunk.before.start as usize..hunk.before.end as usize,
                hunk.after.start as usize..hunk.after.end as usize,
            );
            Hunk {
                old: old.start + 1,
                new: new.start + 1,
                removed: owned(&before[old]),
                added: owned(&after[new]),
            }
        })
        .collect()
}

impl FilePatch {
    /// The change between two texts of a file.
    pub fn of(path: &str, parent: usize, before: Option<&str>, after: Option<&str>) -> Self {
        Self {
            path: path.to_owned(),
            parent,
            change: match (before, after) {
                (None, _) => FileChange::Added,
                (_, None) => FileChange::Removed,
                _ => FileChange::Modified,
            },
            hunks: hunks(before, after),
            cut: false,
        }
    }

    /// The lines before the change, from those after it; `None` where that cannot be told.
    fn undo<'a>(&'a self, after: Option<Vec<&'a str>>) -> Option<Option<Vec<&'a str>>> {
        if self.change == FileChange::Added {
            return Some(None);
        }
        if self.cut {
            return None;
        }
        let after = after.unwrap_or_default();
        let mut before = Vec::with_capacity(after.len());
        let mut next = 0;
        for hunk in &self.hunks {
            let start = hunk.new.checked_sub(1)?;
            let end = start.checked_add(hunk.added.len())?;
            // The lines that came must be there, or this is no change of this text.
            if start < next || after.get(start..end)? != hunk.added.as_slice() {
                return None;
            }
            before.extend_from_slice(&after[next..start]);
            before.extend(hunk.removed.iter().map(String::as_str));
            next = end;
            if before.len() > LINES_MAX {
                return None;
            }
        }
        before.extend_from_slice(after.get(next..)?);
        Some(Some(before))
    }

    /// Splits lines after the change, in order, into those that were there before, with their numbers then, and those that
    /// came with it.
    fn split(&self, lines: Vec<Line>) -> (Vec<Line>, Vec<Line>) {
        let (mut older, mut came) = (Vec::new(), Vec::new());
        let mut hunks = self.hunks.iter().peekable();
        let mut shift = 0_i64;
        for line in lines {
            while let Some(hunk) = hunks.next_if(|hunk| hunk.new.saturating_add(hunk.added.len()) <= line.then) {
                shift += hunk.removed.len() as i64 - hunk.added.len() as i64;
            }
            let is_new = hunks.peek().is_some_and(|hunk| hunk.new <= line.then);
            match usize::try_from(line.then as i64 + shift) {
                Ok(then) if !is_new && then > 0 => older.push(Line { then, ..line }),
                _ => came.push(line),
            }
        }
        (older, came)
    }
}

/// A line of a file as it was at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// Its number then, counted from 1.
    then: usize,
    /// Its number now.
    now: usize,
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The commit at that position.
    Commit(usize),
    /// It is in no commit.
    Uncommitted,
    /// A commit older than those whose changes are known, or one whose change of the file was left out.
    Older,
}

impl Patches {
    /// Where each of the lines of a file comes from, which are counted from 1.
    pub fn blame(&self, path: &str, lines: usize) -> Vec<Origin> {
        let mut origins = vec![Origin::Older; lines.min(LINES_MAX)];
        let commits = self.followed();
        let positions = self.positions();
        let mut first: Vec<Line> = (1..=origins.len()).map(|line| Line { then: line, now: line }).collect();
        if let Some(patch) = self.uncommitted.iter().find(|patch| patch.path == path) {
            let (older, came) = match (patch.change, patch.cut) {
                (FileChange::Added, _) => (Vec::new(), first),
                (_, true) => (Vec::new(), Vec::new()),
                _ => patch.split(first),
            };
            came.iter().for_each(|line| origins[line.now - 1] = Origin::Uncommitted);
            first = older;
        }
        // Of each commit: the lines that were there when it was made.
        let mut open: Vec<Vec<Line>> = vec![Vec::new(); commits.len()];
        if let Some(newest) = open.first_mut() {
            *newest = first;
        }
        for (at, commit) in commits.iter().enumerate() {
            let mut left = std::mem::take(&mut open[at]);
            if left.is_empty() {
                continue;
            }
            left.sort_unstable();
            let unchanged = FilePatch::default();
            let mut patches: Vec<&FilePatch> = commit.files.iter().filter(|patch| patch.path == path).collect();
            if patches.is_empty() && !commit.parents.is_empty() {
                patches.push(&unchanged);
            }
            let unknown = patches
                .iter()
                .any(|patch| patch.cut && patch.change != FileChange::Added);
            for patch in patches
                .iter()
                .filter(|patch| !patch.cut && patch.change != FileChange::Added)
            {
                let (older, came) = patch.split(left);
                left = came;
                // Only what is older can be a parent: with a loop in the graph this would not end.
                let parent = commit
                    .parents
                    .get(patch.parent)
                    .and_then(|id| positions.get(id.as_str()));
                if let Some(parent) = parent.filter(|parent| **parent > at) {
                    open[*parent].extend(older);
                }
            }
            if !unknown {
                left.iter().for_each(|line| origins[line.now - 1] = Origin::Commit(at));
            }
        }
        origins
    }

    /// The positions of the commits from the newest along first parents: each is what the branch was at some time.
    pub fn first_parents(&self) -> Vec<usize> {
        let positions = self.positions();
        let mut out = Vec::new();
        let mut next = (!self.commits.is_empty()).then_some(0);
        while let Some(at) = next {
            out.push(at);
            let parent = self.commits[at]
                .parents
                .first()
                .and_then(|id| positions.get(id.as_str()));
            next = parent.copied().filter(|parent| *parent > at);
        }
        out
    }

    /// The text of a file before the changes of the commits `undone`, which lead back from the newest along first parents,
    /// from its text `now`.
    pub fn text_before(&self, path: &str, now: Option<&str>, undone: &[usize]) -> Result<Option<String>, Unknown> {
        let mut lines = now.map(lines_of);
        let commits = undone
            .iter()
            .filter_map(|at| self.commits.get(*at))
            .flat_map(|commit| &commit.files);
        for patch in self
            .uncommitted
            .iter()
            .chain(commits)
            .filter(|patch| patch.path == path && patch.parent == 0)
        {
            lines = patch.undo(lines).ok_or(Unknown)?;
        }
        Ok(lines.map(|lines| lines.concat()))
    }

    fn followed(&self) -> &[PatchedCommit] {
        &self.commits[..self.commits.len().min(COMMITS_MAX)]
    }

    fn positions(&self) -> HashMap<&str, usize> {
        self.followed()
            .iter()
            .enumerate()
            .map(|(at, commit)| (commit.id.as_str(), at))
            .collect()
    }
}

/// The changed lines were left out, or do not fit the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

#[cfg(test)]
#[path = "patches/tests.rs"]
mod tests;
