//! The history that travels with a workspace: the latest commits of its repository with the files they changed, and of the
//! newest the changed lines. Reading it is bounded by work, not by time, so that one revision always gives the same history; it never fails
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

use super::patches::{FileChange, FilePatch, PatchedCommit, Patches};

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
    /// Bytes of JSON. Default 2 MiB.
    pub bytes_max: usize,
    /// Bytes of JSON of the changed lines, over all commits; of the first commit that does not fit and of all before it only
    /// names are carried. Default 4 MiB.
    pub patch_bytes_max: usize,
    /// Bytes of JSON of the changed lines of one file in one commit; of larger ones it is only said that they are there.
    /// Default 64 KiB.
    pub file_patch_bytes_max: usize,
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
            bytes_max: 2 << 20,
            patch_bytes_max: 4 << 20,
            file_patch_bytes_max: 64 << 10,
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
/// Files of one commit whose changed lines are carried; more than are named, because a line left out ends what is known of
/// its file.
const PATCHED_FILES_MAX: usize = 2_000;
/// Parents of a merge that it is compared with.
const PARENTS_MAX: usize = 2;
/// Parts of a path; what lies deeper is not compared.
const DEPTH_MAX: usize = 64;
/// Characters of a subject or a name that are kept.
const TEXT_CHARS_MAX: usize = 200;
/// Lines and characters of the rest of a message that are kept.
const BODY_LINES_MAX: usize = 30;
const BODY_CHARS_MAX: usize = 600;
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
    /// The rest of its message in one line, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
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
    /// The changed lines of its newest commits.
    pub patches: Patches,
    /// Commits by path.
    pub churn: HashMap<String, u32>,
}

/// Reads the history of the workspace at `root`, which lies in the repository. `None` where nothing can be read: there is
/// no commit yet, objects are missing or damaged, or the repository has no directory of files.
/// `content` is what the workspace holds, by path.
pub fn read<'w>(
    repository: &Repository,
    root: &Path,
    limits: &HistoryLimits,
    content: impl Iterator<Item = (&'w str, &'w [u8])>,
) -> Option<Read> {
    let workdir = repository.workdir()?.canonicalize().ok()?;
    let prefix = root.strip_prefix(&workdir).ok()?.to_str()?.to_owned();
    let head = repository.head().ok()?.id()?.detach();
    let mut repository = repository.clone();
    repository.object_cache_size(OBJECT_CACHE_BYTES);
    // The library is handed whatever lies in the directory; a defect of its own must cost the history, not the pack.
    let read = catch_unwind(AssertUnwindSafe(|| {
        Reader::new(&repository, &prefix, limits).read(head, content)
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
    patch_bytes: usize,
    /// Whether changed lines are still carried.
    patching: bool,
}

/// A file in two versions: path, before, after.
type Pair = (String, Option<ObjectId>, Option<ObjectId>);

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
            patch_bytes: 0,
            patching: false,
        }
    }

    fn read<'w>(mut self, head: ObjectId, content: impl Iterator<Item = (&'w str, &'w [u8])>) -> Read {
        let mut read = Read::default();
        read.history.revision = head.to_hex().to_string();
        // Where that stops nothing can be said of lines: what the workspace has beyond its commit must be known.
        self.patching = self.uncommitted(head, content, &mut read.patches).is_ok();
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
            let (pairs, patched) = self.pairs(&parents, tree)?;
            let mut patched = PatchedCommit {
                id: commit.id.clone(),
                parents: parents.iter().map(|parent| parent.to_hex().to_string()).collect(),
                files: patched,
            };
            let mut changes = if commit.merge {
                Vec::new()
            } else {
                self.changes(pairs, &mut patched.files)
            };
            self.keep(patched, &mut read.patches);
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
        let mut message = commit.message_raw_sloppy().lines();
        let subject = message.next().unwrap_or_default().as_bstr();
        let body: Vec<String> = message.take(BODY_LINES_MAX).map(|line| plain(line.as_bstr())).collect();
        Ok((
            Commit {
                id: id.to_hex().to_string(),
                author: plain(author.name),
                time,
                subject: plain(subject),
                body: shortened(body.join(" ").trim(), BODY_CHARS_MAX),
                merge: parents > 1,
                ..Commit::default()
            },
            commit.tree_id().map_err(|_| Stop)?.detach(),
        ))
    }

    /// The files that differ between two directories, by path.
    fn differences(&mut self, before: Option<ObjectId>, after: ObjectId) -> Result<Vec<Pair>, Stop> {
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
        Ok(files)
    }

    /// What a commit changed: against its first parent, and of a merge the changed lines against each parent.
    fn pairs(&mut self, parents: &[ObjectId], tree: ObjectId) -> Result<(Vec<Pair>, Vec<FilePatch>), Stop> {
        let merge = parents.len() > 1;
        if merge && !self.patching {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut patched = Vec::new();
        let mut against = Vec::new();
        for parent in parents.iter().take(PARENTS_MAX) {
            let before = self.commit(*parent, 1).ok().map(|(_, tree)| tree);
            against.push(self.differences(before, tree)?);
        }
        if parents.is_empty() {
            against.push(self.differences(None, tree)?);
        }
        if merge {
            for (path, ..) in against[0].clone() {
                for (parent, pairs) in against.iter().enumerate() {
                    let patch = match pairs.iter().find(|pair| pair.0 == path) {
                        Some((_, old, new)) => self.patch(&path, parent, *old, *new).0,
                        // As this parent has it.
                        None => FilePatch::of(&path, parent, Some(""), Some("")),
                    };
                    patched.push(patch);
                }
            }
        }
        Ok((against.swap_remove(0), patched))
    }

    /// The changes of a commit with their counts; the changed lines are added to `patched`.
    fn changes(&mut self, pairs: Vec<Pair>, patched: &mut Vec<FilePatch>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, (path, old, new)) in pairs.into_iter().enumerate() {
            let looked_at = index < self.limits.files_max || (self.patching && index < PATCHED_FILES_MAX);
            let (patch, counted) = if looked_at {
                self.patch(&path, 0, old, new)
            } else {
                (cut(&path, 0, old.is_some(), new.is_some()), None)
            };
            if self.patching {
                patched.push(patch);
            }
            changes.push(Change {
                path,
                added: counted.map(|(added, _)| added),
                removed: counted.map(|(_, removed)| removed),
            });
        }
        changes
    }

    /// The changed lines of a file, and how many came and went; neither for what is no text, is large, or comes when enough
    /// was read.
    fn patch(
        &mut self,
        path: &str,
        parent: usize,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
    ) -> (FilePatch, Option<(u32, u32)>) {
        let without = cut(path, parent, old.is_some(), new.is_some());
        let Some((before, after)) = self.text(old).and_then(|before| Some((before, self.text(new)?))) else {
            return (without, None);
        };
        let counted = Some(changed_lines(&before, &after));
        if !self.patching {
            return (without, counted);
        }
        let (before, after) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&after));
        let patch = FilePatch::of(path, parent, old.map(|_| before.as_ref()), new.map(|_| after.as_ref()));
        let fits = crate::json_bytes(&patch) <= self.limits.file_patch_bytes_max;
        (if fits { patch } else { without }, counted)
    }

    /// Keeps what a commit changed as long as there is room; after that nothing, so that no commit between is missing.
    fn keep(&mut self, commit: PatchedCommit, patches: &mut Patches) {
        if self.patching {
            self.patch_bytes += crate::json_bytes(&commit) + 1;
            self.patching = self.patch_bytes <= self.limits.patch_bytes_max;
            if self.patching {
                patches.commits.push(commit);
            }
        }
    }

    /// What the workspace has beyond its newest commit.
    fn uncommitted<'w>(
        &mut self,
        head: ObjectId,
        content: impl Iterator<Item = (&'w str, &'w [u8])>,
        patches: &mut Patches,
    ) -> Result<(), Stop> {
        let (_, tree) = self.commit(head, 1)?;
        let committed = self.differences(None, tree)?;
        let mut committed: HashMap<String, ObjectId> = committed
            .into_iter()
            .filter_map(|(path, _, new)| Some((path, new?)))
            .collect();
        let mut found: Vec<FilePatch> = Vec::new();
        for (path, now) in content {
            let old = committed.remove(path);
            let id =
                gix::objs::compute_hash(self.repository.object_hash(), gix::objs::Kind::Blob, now).map_err(|_| Stop)?;
            if old == Some(id) {
                continue;
            }
            let before = old.map(|old| self.text(Some(old)).ok_or(Stop)).transpose()?;
            let before = before.as_deref().map(String::from_utf8_lossy);
            let patch = FilePatch::of(path, 0, before.as_deref(), Some(&String::from_utf8_lossy(now)));
            let fits = crate::json_bytes(&patch) <= self.limits.file_patch_bytes_max;
            found.push(if fits { patch } else { cut(path, 0, old.is_some(), true) });
        }
        self.patch_bytes += crate::json_bytes(&found);
        if self.patch_bytes > self.limits.patch_bytes_max {
            return Err(Stop);
        }
        patches.uncommitted = found;
        Ok(())
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

    /// A file; `None` for what is no text, is large, or comes when enough was read.
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

/// A change without its lines.
fn cut(path: &str, parent: usize, before: bool, after: bool) -> FilePatch {
    FilePatch {
        path: path.to_owned(),
        parent,
        change: match (before, after) {
            (false, _) => FileChange::Added,
            (_, false) => FileChange::Removed,
            _ => FileChange::Modified,
        },
        hunks: Vec::new(),
        cut: true,
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

fn shortened(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
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
