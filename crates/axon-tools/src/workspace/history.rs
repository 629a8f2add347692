//! The history that travels with a workspace: the latest commits of its repository, with what they changed and without any
//! content. Reading it is bounded by work, not by time, so that one revision always gives the same history; it never fails
//! a pack, and never writes into the repository.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;
use gix::{ObjectId, Repository};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the history in an archive, where it follows the manifest.
pub const HISTORY_NAME: &str = ".axon-history.json";

/// Largest history that is read from an archive, in bytes of JSON.
pub const READ_BYTES_MAX: u64 = 4 << 20;

/// How much of a repository is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Commits that are carried. Default 1,000.
    pub commits_max: usize,
    /// Commits that are looked at; more than are carried where the workspace is a part of the repository. Default 10,000.
    pub walked_max: usize,
    /// Bytes of JSON. Default 1 MiB.
    pub bytes_max: usize,
    /// Changed files that are named of one commit; the rest is counted. Default 200.
    pub files_max: usize,
    /// Entries of directories that are compared, over all commits. Default 4,000,000.
    pub entries_max: u64,
    /// Bytes of files whose lines are counted, over all commits; later ones are named without counts. Default 48 MiB.
    pub content_bytes_max: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            commits_max: 1_000,
            walked_max: 10_000,
            bytes_max: 1 << 20,
            files_max: 200,
            entries_max: 4_000_000,
            content_bytes_max: 48 << 20,
        }
    }
}

/// Largest commit object that is read, in bytes.
const COMMIT_BYTES_MAX: u64 = 256 * 1024;
/// Largest directory that is read, in bytes.
const TREE_BYTES_MAX: u64 = 16 << 20;
/// Largest file whose lines are counted, in bytes.
const LINES_BYTES_MAX: u64 = 256 * 1024;
/// Bytes at the start of a file in which a zero byte means that it is no text.
const BINARY_PROBE_BYTES: usize = 8 * 1024;
/// Parts of a path; what lies deeper is not compared.
const DEPTH_MAX: usize = 64;
/// Characters of a subject or a name that are kept.
const TEXT_CHARS_MAX: usize = 200;
/// Bytes of objects that are kept while reading: neighbouring commits share most of their directories.
const OBJECT_CACHE_BYTES: usize = 16 << 20;

/// The latest commits that changed the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The commit it begins with, in hexadecimal.
    pub revision: String,
    /// Whether it goes back to the first commit.
    #[serde(default)]
    pub complete: bool,
    /// The commits, newest first.
    pub commits: Vec<Commit>,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Its id, in hexadecimal.
    pub id: String,
    /// Name of the author, without address.
    pub author: String,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// First line of its message.
    pub subject: String,
    /// Whether it merges; what it changed is then said by the commits it merges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
    /// What it changed, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Change>,
    /// Changed files that are not named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

/// A file that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its path in the workspace.
    pub path: String,
    /// Lines that were not there before; a line that only moved counts for nothing. Absent where that was not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u32>,
    /// Lines that are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u32>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A history, and how many of its commits changed each file.
#[derive(Debug, Default)]
pub struct Read {
    /// The history.
    pub history: History,
    /// Commits by path.
    pub churn: HashMap<String, u32>,
}

/// Reads the history of the workspace at `root`, which lies in the repository. `None` where nothing can be read: there is
/// no commit yet, objects are missing or damaged, or the repository has no directory of files.
pub fn read(repository: &Repository, root: &Path, limits: &HistoryLimits) -> Option<Read> {
    let workdir = repository.workdir()?.canonicalize().ok()?;
    let prefix = root.strip_prefix(&workdir).ok()?.to_str()?.to_owned();
    let head = repository.head().ok()?.id()?.detach();
    let mut repository = repository.clone();
    repository.object_cache_size(OBJECT_CACHE_BYTES);
    // The library is handed whatever lies in the directory; a defect of its own must cost the history, not the pack.
    let read = catch_unwind(AssertUnwindSafe(|| {
        Reader::new(&repository, &prefix, limits).read(head)
    }))
    .ok()?;
    (!read.history.commits.is_empty()).then_some(read)
}

struct Reader<'r> {
    repository: &'r Repository,
    prefix: Vec<&'r str>,
    limits: &'r HistoryLimits,
    entries: u64,
    content_bytes: u64,
}

/// Why reading stops early; what was read until then is kept.
struct Stop;

impl<'r> Reader<'r> {
    fn new(repository: &'r Repository, prefix: &'r str, limits: &'r HistoryLimits) -> Self {
        Self {
            repository,
            prefix: prefix.split('/').filter(|part| !part.is_empty()).collect(),
            limits,
            entries: 0,
            content_bytes: 0,
        }
    }

    fn read(mut self, head: ObjectId) -> Read {
        let mut read = Read::default();
        read.history.revision = head.to_hex().to_string();
        let complete = self.walk(head, &mut read).is_ok();
        read.history.complete = complete && self.repository.is_shallow().is_ok_and(|shallow| !shallow);
        read
    }

    fn walk(&mut self, head: ObjectId, read: &mut Read) -> Result<(), Stop> {
        self.check_size(head, COMMIT_BYTES_MAX)?;
        let walk = self
            .repository
            .rev_walk([head])
            .sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
            .use_commit_graph(false)
            .all()
            .map_err(|_| Stop)?;
        let mut bytes = 0;
        for (walked, info) in walk.enumerate() {
            let info = info.map_err(|_| Stop)?;
            if walked >= self.limits.walked_max || read.history.commits.len() >= self.limits.commits_max {
                return Err(Stop);
            }
            let parents: Vec<ObjectId> = info.parent_ids.iter().copied().collect();
            let (mut commit, tree) = self.commit(info.id, parents.len())?;
            let mut changes = if commit.merge {
                Vec::new()
            } else {
                let before = parents.first().and_then(|parent| self.commit(*parent, 1).ok());
                self.changes(before.map(|(_, tree)| tree), tree)?
            };
            if changes.is_empty() && !self.prefix.is_empty() {
                continue;
            }
            commit.omitted = changes.len().saturating_sub(self.limits.files_max);
            let all: Vec<String> = changes.iter().map(|change| change.path.clone()).collect();
            changes.truncate(self.limits.files_max);
            commit.files = changes;
            bytes += crate::json_bytes(&commit) + 1;
            if bytes > self.limits.bytes_max {
                return Err(Stop);
            }
            for path in all {
                *read.churn.entry(path).or_default() += 1;
            }
            read.history.commits.push(commit);
        }
        Ok(())
    }

    fn check_size(&self, id: ObjectId, bytes_max: u64) -> Result<(), Stop> {
        let header = self.repository.find_header(id).map_err(|_| Stop)?;
        if header.size() > bytes_max { Err(Stop) } else { Ok(()) }
    }

    fn commit(&self, id: ObjectId, parents: usize) -> Result<(Commit, ObjectId), Stop> {
        self.check_size(id, COMMIT_BYTES_MAX)?;
        let object = self.repository.find_object(id).map_err(|_| Stop)?;
        let commit = object.try_into_commit().map_err(|_| Stop)?;
        let author = commit.author().map_err(|_| Stop)?;
        let time = commit.time().map_or(0, |time| time.seconds);
        let subject = commit.message_raw_sloppy().lines().next().unwrap_or_default().as_bstr();
        Ok((
            Commit {
                id: id.to_hex().to_string(),
                author: plain(author.name),
                time,
                subject: plain(subject),
                merge: parents > 1,
                ..Commit::default()
            },
            commit.tree_id().map_err(|_| Stop)?.detach(),
        ))
    }

    fn changes(&mut self, before: Option<ObjectId>, after: ObjectId) -> Result<Vec<Change>, Stop> {
        let before = match before {
            Some(tree) => self.part(tree)?,
            None => None,
        };
        let after = self.part(after)?;
        let mut files = Vec::new();
        let mut open = vec![(String::new(), 0, before, after)];
        while let Some((path, depth, before, after)) = open.pop() {
            if before == after {
                continue;
            }
            let (old, new) = (self.tree(before)?, self.tree(after)?);
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let (old, new) = (old.get(name), new.get(name));
                if old == new {
                    continue;
                }
                let Ok(name) = std::str::from_utf8(name) else { continue };
                if name.chars().any(char::is_control) {
                    continue;
                }
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                };
                let is = |entry: Option<&Entry>, kind: Kind| entry.filter(|entry| entry.0 == kind).map(|entry| entry.1);
                let (old_tree, new_tree) = (is(old, Kind::Tree), is(new, Kind::Tree));
                if (old_tree.is_some() || new_tree.is_some()) && depth + 1 < DEPTH_MAX {
                    open.push((path.clone(), depth + 1, old_tree, new_tree));
                }
                let (old_file, new_file) = (is(old, Kind::File), is(new, Kind::File));
                if old_file != new_file {
                    files.push((path, old_file, new_file));
                }
            }
        }
        files.sort();
        Ok(files
            .into_iter()
            .enumerate()
            .map(|(index, (path, old, new))| {
                let counted = (index < self.limits.files_max).then(|| self.count(old, new)).flatten();
                Change {
                    path,
                    added: counted.map(|(added, _)| added),
                    removed: counted.map(|(_, removed)| removed),
                }
            })
            .collect())
    }

    /// The directory of the workspace within that of the repository.
    fn part(&mut self, tree: ObjectId) -> Result<Option<ObjectId>, Stop> {
        let mut tree = tree;
        for part in self.prefix.clone() {
            match self.tree(Some(tree))?.get(part.as_bytes()) {
                Some((Kind::Tree, id)) => tree = *id,
                _ => return Ok(None),
            }
        }
        Ok(Some(tree))
    }

    fn tree(&mut self, id: Option<ObjectId>) -> Result<BTreeMap<Vec<u8>, Entry>, Stop> {
        let Some(id) = id else { return Ok(BTreeMap::new()) };
        self.check_size(id, TREE_BYTES_MAX)?;
        let object = self.repository.find_object(id).map_err(|_| Stop)?;
        let tree = object.try_into_tree().map_err(|_| Stop)?;
        let tree = tree.decode().map_err(|_| Stop)?;
        self.entries += tree.entries.len() as u64;
        if self.entries > self.limits.entries_max {
            return Err(Stop);
        }
        Ok(tree
            .entries
            .iter()
            .filter_map(|entry| {
                let kind = match entry.mode.kind() {
                    EntryKind::Tree => Kind::Tree,
                    EntryKind::Blob | EntryKind::BlobExecutable => Kind::File,
                    EntryKind::Link | EntryKind::Commit => return None,
                };
                Some((entry.filename.to_vec(), (kind, entry.oid.to_owned())))
            })
            .collect())
    }

    /// Lines that came and went; `None` for what is no text, is large, or comes when enough was read.
    fn count(&mut self, before: Option<ObjectId>, after: Option<ObjectId>) -> Option<(u32, u32)> {
        let before = self.text(before)?;
        let after = self.text(after)?;
        Some(changed_lines(&before, &after))
    }

    fn text(&mut self, id: Option<ObjectId>) -> Option<Vec<u8>> {
        let Some(id) = id else { return Some(Vec::new()) };
        let size = self.repository.find_header(id).ok()?.size();
        if size > LINES_BYTES_MAX || self.content_bytes + size > self.limits.content_bytes_max {
            return None;
        }
        self.content_bytes += size;
        let mut object = self.repository.find_object(id).ok()?;
        let content = std::mem::take(&mut object.data);
        let probe = &content[..content.len().min(BINARY_PROBE_BYTES)];
        (!probe.contains(&0)).then_some(content)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tree,
    File,
}

type Entry = (Kind, ObjectId);

/// Lines of `after` that `before` has not, and the other way round, each as often as it is there.
fn changed_lines(before: &[u8], after: &[u8]) -> (u32, u32) {
    let mut balance: HashMap<&[u8], i64> = HashMap::new();
    for line in after.lines() {
        *balance.entry(line).or_default() += 1;
    }
    for line in before.lines() {
        *balance.entry(line).or_default() -= 1;
    }
    let count = |wanted: fn(i64) -> i64| -> u32 {
        let sum: i64 = balance.values().map(|count| wanted(*count).max(0)).sum();
        u32::try_from(sum).unwrap_or(u32::MAX)
    };
    (count(|balance| balance), count(|balance| -balance))
}

/// Text for one line: what is not printable becomes a space, and what is long is cut.
fn plain(text: &gix::bstr::BStr) -> String {
    let text = text.to_str_lossy();
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_CHARS_MAX)
        .collect();
    line.trim().to_owned()
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
