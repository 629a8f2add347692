//! A workspace: the files of a directory, packed once, addressed by digest, unpacked and cached where tasks run. Reading
//! never leaves its root, and nothing here writes into it.

mod cache;
mod history;
mod language;
mod manifest;
mod pack;
mod patches;
mod text;
mod unpack;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axon_protocol::Digest;
use serde::de::DeserializeOwned;

pub use cache::{CacheError, WorkspaceCache};
pub use history::{Change, Commit, History, HistoryLimits};
pub use language::{Kind, Language, language_of};
pub use manifest::{FileEntry, Manifest, Skipped, in_scope};
pub use pack::{PackError, PackLimits, Packed, pack};
pub use patches::{FileChange, FilePatch, Hunk, Origin, PatchedCommit, Patches, lines_of};
pub use text::FileText;
pub use unpack::{UnpackError, UnpackLimits, unpack};

use text::TextCache;

/// Largest file that is read, in bytes; unpacking lets nothing larger in.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Why something of a workspace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Absolute, empty or leading outside.
    #[error("`{0}` is no path of the workspace: use a relative one without `..`")]
    Path(String),
    /// Nothing there.
    #[error("the workspace has no file `{0}`")]
    Missing(String),
    /// A directory, or something else that holds no text.
    #[error("`{0}` is no file")]
    NoFile(String),
    /// Larger than what is read.
    #[error("`{path}` has {bytes} bytes, more than the {FILE_BYTES_MAX} that are read")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// The disk failed.
    #[error("cannot read `{path}` of the workspace: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A directory that cannot be used as a workspace.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// A shared lock on an unpacked directory. It is given up explicitly: a child that is just being started shares the open
/// file for a moment, and closing this side alone would leave the lock with it.
#[derive(Debug)]
struct UseLock(File);

impl Drop for UseLock {
    fn drop(&mut self) {
        // What cannot be unlocked is released when the last process that shares it closes the file.
        let _ = self.0.unlock();
    }
}

/// The workspace of a task.
pub struct Workspace {
    root: PathBuf,
    digest: Digest,
    manifest: Manifest,
    past: PastSource,
    texts: Mutex<TextCache>,
    memos: Mutex<HashMap<TypeId, MemoSlot>>,
    /// Holds the shared lock that keeps other processes from evicting the directory.
    _lock: Option<UseLock>,
}

/// Where the past of a workspace is: most tasks never ask for it, so it is not read before they do.
pub(crate) enum PastSource {
    /// In the files of that directory, where they are there.
    Directory(PathBuf),
    /// Here.
    Read(Past),
}

/// What is known of the commits that led to a workspace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Past {
    /// The commits.
    pub history: Option<History>,
    /// The changed lines of the newest of them.
    pub patches: Option<Patches>,
}

impl Past {
    /// File of the history in a directory.
    pub const HISTORY: &str = "history.json";
    /// File of the patches in a directory.
    pub const PATCHES: &str = "patches.json";
}

/// The history, once it was asked for.
struct LoadedHistory(Option<Arc<History>>);

/// The patches, once they were asked for.
struct LoadedPatches(Option<Arc<Patches>>);

type MemoSlot = Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>;

impl Workspace {
    pub(crate) fn new(
        root: PathBuf,
        digest: Digest,
        manifest: Manifest,
        past: PastSource,
        lock: Option<File>,
    ) -> io::Result<Self> {
        Ok(Self {
            root: root.canonicalize()?,
            digest,
            manifest,
            past,
            texts: Mutex::new(TextCache::default()),
            memos: Mutex::new(HashMap::new()),
            _lock: lock.map(UseLock),
        })
    }

    /// A directory as it lies there, for running tools by hand and for tests. It has the files and the digest it would
    /// have when packed; files that change afterwards are read as they are then.
    pub fn of_directory(dir: &Path) -> Result<Self, WorkspaceError> {
        let packed = pack(dir, &PackLimits::default())?;
        let past = PastSource::Read(Past {
            history: packed.history,
            patches: packed.patches,
        });
        Self::new(dir.to_owned(), packed.digest, packed.manifest, past, None).map_err(|source| WorkspaceError::Read {
            path: dir.display().to_string(),
            source,
        })
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The digest of its archive.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The commits that led to it; `None` where it brought none. The first call may read a file.
    pub fn history(&self) -> Option<Arc<History>> {
        let Ok(loaded) = self.memo(|workspace| {
            let history = match &workspace.past {
                PastSource::Read(past) => past.history.clone(),
                PastSource::Directory(dir) => read_json(&dir.join(Past::HISTORY), history::READ_BYTES_MAX),
            };
            Ok::<_, Infallible>(LoadedHistory(history.map(Arc::new)))
        });
        loaded.0.clone()
    }

    /// The changed lines of the newest commits; `None` where it brought none. The first call may read a file.
    pub fn patches(&self) -> Option<Arc<Patches>> {
        let Ok(loaded) = self.memo(|workspace| {
            let patches = match &workspace.past {
                PastSource::Read(past) => past.patches.clone(),
                PastSource::Directory(dir) => read_json(&dir.join(Past::PATCHES), patches::PATCHES_READ_BYTES_MAX),
            };
            Ok::<_, Infallible>(LoadedPatches(patches.map(Arc::new)))
        });
        loaded.0.clone()
    }

    /// Files within the scope (files or directories; everything if empty), sorted by path.
    pub fn files_in(&self, scope: &[String]) -> Vec<&FileEntry> {
        self.manifest.files_in(scope)
    }

    /// The path as the manifest spells it: relative, `/` between its parts, no `.` and never a `..`.
    pub fn normalize(path: &str) -> Result<String, WorkspaceError> {
        let refused = || WorkspaceError::Path(path.chars().take(200).collect());
        let mut parts = Vec::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(part) => parts.push(part.to_str().ok_or_else(refused)?),
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::ParentDir => return Err(refused()),
            }
        }
        if parts.is_empty() || path.contains('\0') {
            return Err(refused());
        }
        Ok(parts.join("/"))
    }

    /// Where a file or directory lies, after links were followed and found to stay inside.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, WorkspaceError> {
        let normal = Self::normalize(path)?;
        let resolved = self
            .root
            .join(&normal)
            .canonicalize()
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => WorkspaceError::Missing(normal.clone()),
                _ => WorkspaceError::Read {
                    path: normal.clone(),
                    source,
                },
            })?;
        if resolved.starts_with(&self.root) {
            Ok(resolved)
        } else {
            Err(WorkspaceError::Path(normal))
        }
    }

    /// The text of a file, from a small cache. Bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self, path: &str) -> Result<Arc<FileText>, WorkspaceError> {
        let path = Self::normalize(path)?;
        if let Some(text) = lock(&self.texts).get(&path) {
            return Ok(text);
        }
        let text = Arc::new(FileText::new(self.read_bytes(&path)?));
        lock(&self.texts).insert(path, text.clone());
        Ok(text)
    }

    /// The text of a file, as a copy.
    pub fn read(&self, path: &str) -> Result<String, WorkspaceError> {
        Ok(self.text(path)?.as_str().to_owned())
    }

    /// What `build` makes of this workspace, made once and kept as long as the workspace is: a search index, say. One value
    /// per type; who asks while another thread builds waits for it, so ask from a blocking thread. A failed build is not
    /// kept.
    pub fn memo<T, E>(&self, build: impl FnOnce(&Self) -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Send + Sync + 'static,
    {
        let slot = lock(&self.memos).entry(TypeId::of::<T>()).or_default().clone();
        let mut kept = lock(&slot);
        if let Some(value) = kept.as_ref().and_then(|value| value.clone().downcast::<T>().ok()) {
            return Ok(value);
        }
        let value = Arc::new(build(self)?);
        *kept = Some(value.clone());
        Ok(value)
    }

    #[cfg(test)]
    pub(crate) fn set_revision(&mut self, revision: &str) {
        self.manifest.revision = Some(revision.to_owned());
    }

    fn read_bytes(&self, path: &str) -> Result<Vec<u8>, WorkspaceError> {
        let failed = |source| WorkspaceError::Read {
            path: path.to_owned(),
            source,
        };
        let resolved = self.resolve(path)?;
        // Only what is a regular file is opened: opening a fifo would wait for ever.
        if !resolved.metadata().map_err(failed)?.is_file() {
            return Err(WorkspaceError::NoFile(path.to_owned()));
        }
        let file = File::open(resolved).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut content = Vec::with_capacity(usize::try_from(bytes.min(FILE_BYTES_MAX)).unwrap_or(0));
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(WorkspaceError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        Ok(content)
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace")
            .field("root", &self.root)
            .field("digest", &self.digest)
            .field("files", &self.manifest.files.len())
            .finish()
    }
}

/// Reads a file of JSON; `None` where there is none, or none that can be read.
fn read_json<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> Option<T> {
    let mut content = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut content).ok()?;
    serde_json::from_slice(&content)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "cannot read the past of a workspace"))
        .ok()
}

/// A poisoned lock is taken all the same: what it guards here is a cache that a panic cannot leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("ws/src")).expect("made");
        fs::write(dir.path().join("outside.txt"), "secret").expect("written");
        fs::write(dir.path().join("ws/src/a.rs"), "fn a() {}\nfn b() {}\n").expect("written");
        let workspace = Workspace::of_directory(&dir.path().join("ws")).expect("a workspace");
        (dir, workspace)
    }

    #[test]
    fn reading_stays_inside() {
        let (dir, workspace) = workspace();
        std::os::unix::fs::symlink(dir.path().join("outside.txt"), dir.path().join("ws/link")).expect("linked");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("ws/up")).expect("linked");
        assert_eq!(workspace.read("src/a.rs").expect("there"), "fn a() {}\nfn b() {}\n");
        assert_eq!(workspace.read("./src//a.rs").expect("there").len(), 20);
        let absolute = dir.path().join("outside.txt").display().to_string();
        for path in [
            "../outside.txt",
            "src/../../outside.txt",
            "src/../a",
            "link",
            "up/outside.txt",
            "",
            ".",
            &absolute,
        ] {
            assert!(
                matches!(workspace.read(path), Err(WorkspaceError::Path(_))),
                "{path}: {:?}",
                workspace.read(path)
            );
        }
        for path in ["src/b.rs", "src/a.rs/b", "nothing"] {
            assert!(
                matches!(workspace.read(path), Err(WorkspaceError::Missing(_))),
                "{path}"
            );
        }
        assert!(matches!(workspace.read("src"), Err(WorkspaceError::NoFile(_))));
    }

    #[test]
    fn a_memo_is_built_once_and_a_failure_is_not_kept() {
        let (_dir, workspace) = workspace();
        assert_eq!(workspace.memo(|_| Err::<u32, _>("no")), Err("no"));
        let first = workspace.memo(|_| Ok::<_, ()>(7_u32)).expect("built");
        let second = workspace.memo(|_| Ok::<_, ()>(8_u32)).expect("kept");
        assert_eq!((*first, *second), (7, 7));
        let other = workspace
            .memo(|w| Ok::<_, ()>(w.manifest().files.len()))
            .expect("built");
        assert_eq!(*other, 1);
    }
}
