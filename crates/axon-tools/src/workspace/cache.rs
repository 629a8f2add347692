//! Unpacked workspaces on disk, by digest, shared by all processes of a machine. It evicts the least recently used ones
//! and never one that anybody uses.
//!
//! A workspace is the directory `<hex digest>`, holding `root` (the files), `manifest.json`, `history.json` and `patches.json`
//! where it brought them, and `bytes`. Who uses it holds a shared lock on the directory, which the system gives up when the
//! process ends, however it ends; who evicts needs the exclusive one. It is unpacked under another name and renamed, so what has the name is whole.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use axon_protocol::Digest;
use tracing::{debug, warn};

use super::unpack::{self, UnpackError, UnpackLimits};
use super::{Manifest, Past, PastSource, Workspace, lock};
use crate::CacheConfig;

/// Workspaces that stay open in this process after their last task, with the indexes built for them: tasks of one query
/// follow each other.
const RECENT_MAX: usize = 2;

/// How often opening is tried anew when others evict or unpack the same workspace at the same time.
const OPEN_TRIES_MAX: usize = 16;

const ROOT: &str = "root";
const MANIFEST: &str = "manifest.json";
const BYTES: &str = "bytes";
/// Begins the name of a directory that is being unpacked, or removed.
const STAGING: &str = ".staging-";

/// Why a workspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The archive could not be fetched.
    #[error("cannot fetch the workspace {digest}: {source}")]
    Fetch {
        /// The workspace.
        digest: Digest,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else was fetched than was asked for.
    #[error("the archive of the workspace {expected} is damaged: its digest is {actual}; upload the workspace again")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The archive is refused.
    #[error("cannot unpack the workspace {digest}: {source}")]
    Unpack {
        /// The workspace.
        digest: Digest,
        /// Why.
        source: UnpackError,
    },
    /// The cache's directory cannot be used.
    #[error(
        "cannot use `{path}` as cache of workspaces: {source}; set tools.workspaces.dir to a directory of this user"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others changed the cache again and again.
    #[error("the workspace {0} was evicted again and again while it was opened: raise tools.workspaces.max_bytes")]
    Contended(Digest),
}

/// The cache of a process.
pub struct WorkspaceCache {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    max_bytes: u64,
    limits: UnpackLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// What is open in this process. The lock of each is held while one task fetches and unpacks for all.
    slots: HashMap<Digest, Arc<Slot>>,
    /// The last ones used, kept open.
    recent: Vec<Arc<Workspace>>,
}

type Slot = tokio::sync::Mutex<Weak<Workspace>>;

impl WorkspaceCache {
    /// A cache in that directory, which is created, private to this user, if it is not there. At most `max_bytes` of files
    /// are kept beyond those in use.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, CacheError> {
        let dir = dir.into();
        prepare(&dir).map_err(|source| CacheError::Directory {
            path: dir.clone(),
            source,
        })?;
        let inner = Inner {
            dir,
            max_bytes,
            limits: UnpackLimits::default(),
            open: Mutex::default(),
        };
        inner.remove_leftovers();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The cache as configured; by default the directory `axon-workspaces-<user id>` among the temporary files.
    pub fn configured(config: &CacheConfig) -> Result<Self, CacheError> {
        let default = || {
            // The owner of a process' entry is its user; elsewhere than on Linux all users share one name, and the check
            // of the owner tells the second one what to set.
            let user = fs::metadata("/proc/self")
                .map(|process| format!("-{}", process.uid()))
                .unwrap_or_default();
            std::env::temp_dir().join(format!("axon-workspaces{user}"))
        };
        Self::new(config.dir.clone().unwrap_or_else(default), config.max_bytes)
    }

    /// The workspace of that digest. `fetch` gives its archive and runs only if it is not on disk; several callers at once
    /// share one fetch, and a dropped call leaves the next caller to start over.
    pub async fn open<A, E>(
        &self,
        digest: &Digest,
        fetch: impl Future<Output = Result<A, E>>,
    ) -> Result<Arc<Workspace>, CacheError>
    where
        A: AsRef<[u8]> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let slot = self.slot(digest);
        let mut kept = slot.lock().await;
        if let Some(workspace) = kept.upgrade() {
            self.remember(&workspace);
            return Ok(workspace);
        }
        let workspace = match self
            .blocking(digest, |inner, digest| inner.open_unpacked(digest))
            .await?
        {
            Some(workspace) => workspace,
            None => {
                let archive = fetch.await.map_err(|error| CacheError::Fetch {
                    digest: digest.clone(),
                    source: error.into(),
                })?;
                self.blocking(digest, move |inner, digest| inner.unpack(digest, archive.as_ref()))
                    .await?
            }
        };
        let workspace = Arc::new(workspace);
        *kept = Arc::downgrade(&workspace);
        self.remember(&workspace);
        Ok(workspace)
    }

    /// Closes the workspaces that no task uses, with everything that was built in memory for them. They stay on disk.
    pub fn release_idle(&self) {
        let recent = std::mem::take(&mut lock(&self.inner.open).recent);
        drop(recent);
    }

    fn slot(&self, digest: &Digest) -> Arc<Slot> {
        let mut open = lock(&self.inner.open);
        // Slots that nobody holds and whose workspace is closed would pile up.
        open.slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().map_or(true, |workspace| workspace.strong_count() > 0)
        });
        open.slots.entry(digest.clone()).or_default().clone()
    }

    fn remember(&self, workspace: &Arc<Workspace>) {
        let dropped: Vec<_> = {
            let mut open = lock(&self.inner.open);
            open.recent.retain(|recent| !Arc::ptr_eq(recent, workspace));
            open.recent.push(workspace.clone());
            let surplus = open.recent.len().saturating_sub(RECENT_MAX);
            open.recent.drain(..surplus).collect()
        };
        drop(dropped);
    }

    async fn blocking<T: Send + 'static>(
        &self,
        digest: &Digest,
        work: impl FnOnce(&Inner, &Digest) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        let path = inner.dir.clone();
        tokio::task::spawn_blocking(move || work(&inner, &digest))
            .await
            .unwrap_or_else(|error| {
                Err(CacheError::Directory {
                    path,
                    source: io::Error::other(error),
                })
            })
    }
}

impl Inner {
    /// Opens what lies on disk; `None` if there is nothing, or nothing whole.
    fn open_unpacked(&self, digest: &Digest) -> Result<Option<Workspace>, CacheError> {
        let path = self.dir.join(digest.hex());
        for _ in 0..OPEN_TRIES_MAX {
            let Ok(held) = File::open(&path) else { return Ok(None) };
            // Whoever holds the exclusive lock renames and lets go at once.
            held.lock_shared().map_err(self.failed())?;
            if !is_at(&held, &path) {
                continue;
            }
            // Use is remembered as the directory's time; where that fails it is evicted a little early.
            let _ = held.set_modified(SystemTime::now());
            match read_unpacked(&path, digest) {
                Ok(manifest) => {
                    let past = PastSource::Directory(path.clone());
                    return Workspace::new(path.join(ROOT), digest.clone(), manifest, past, Some(held))
                        .map(Some)
                        .map_err(self.failed());
                }
                Err(error) => {
                    warn!(%digest, %error, "unpacking a damaged workspace again");
                    drop(held);
                    self.evict(&path);
                    if path.exists() {
                        // Somebody uses it, so it cannot be taken away under this name.
                        return Err(self.failed()(error));
                    }
                    return Ok(None);
                }
            }
        }
        Err(CacheError::Contended(digest.clone()))
    }

    fn unpack(&self, digest: &Digest, archive: &[u8]) -> Result<Workspace, CacheError> {
        let actual = Digest::of(archive);
        if actual != *digest {
            return Err(CacheError::Digest {
                expected: digest.clone(),
                actual,
            });
        }
        let staging = tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(&self.dir)
            .map_err(self.failed())?;
        // Held from here on, so that no other process takes it for a leftover.
        let held = File::open(staging.path()).map_err(self.failed())?;
        held.lock_shared().map_err(self.failed())?;
        let root = staging.path().join(ROOT);
        fs::create_dir(&root).map_err(self.failed())?;
        let (manifest, past) =
            unpack::unpack_into(archive, &root, &self.limits).map_err(|source| CacheError::Unpack {
                digest: digest.clone(),
                source,
            })?;
        write_unpacked(staging.path(), &manifest, &past).map_err(self.failed())?;

        let path = self.dir.join(digest.hex());
        match fs::rename(staging.path(), &path) {
            Ok(()) => {
                let _moved = staging.keep();
            }
            // Another process was faster: what it unpacked has the same digest.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                drop(staging);
                return self
                    .open_unpacked(digest)?
                    .ok_or_else(|| CacheError::Contended(digest.clone()));
            }
            Err(error) => return Err(self.failed()(error)),
        }
        let past = PastSource::Directory(path.clone());
        let workspace =
            Workspace::new(path.join(ROOT), digest.clone(), manifest, past, Some(held)).map_err(self.failed())?;
        self.evict_surplus();
        Ok(workspace)
    }

    /// Removes the least recently used workspaces that nobody uses, until the rest fits.
    fn evict_surplus(&self) {
        let mut kept = Vec::new();
        for path in self.entries(|name| !name.starts_with('.')) {
            // One that vanishes meanwhile was evicted by another process.
            let used = path.metadata().and_then(|metadata| metadata.modified());
            let bytes = fs::read_to_string(path.join(BYTES))
                .ok()
                .and_then(|bytes| bytes.trim().parse::<u64>().ok());
            if let Ok(used) = used {
                kept.push((used, bytes.unwrap_or(0), path));
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in kept {
            if total <= self.max_bytes {
                return;
            }
            if self.evict(&path) {
                debug!(path = %path.display(), bytes, "evicted a workspace");
                total -= bytes;
            }
        }
    }

    /// Removes a directory unless somebody uses it.
    fn evict(&self, path: &Path) -> bool {
        let Ok(held) = File::open(path) else { return false };
        match held.try_lock() {
            Ok(()) if is_at(&held, path) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Error(error)) => {
                warn!(path = %path.display(), %error, "cannot lock a workspace to evict it");
                return false;
            }
        }
        // Renamed first: who opens the name finds all of it or nothing.
        let Ok(grave) = tempfile::Builder::new().prefix(STAGING).tempdir_in(&self.dir) else {
            return false;
        };
        let renamed = fs::rename(path, grave.path().join(ROOT)).is_ok();
        // Who waits for the lock need not wait for the removal too.
        drop(held);
        renamed
    }

    /// Removes what processes left that were killed while they unpacked or evicted.
    fn remove_leftovers(&self) {
        for path in self.entries(|name| name.starts_with(STAGING)) {
            let Ok(held) = File::open(&path) else { continue };
            // A moment ago it may have been created and not yet locked.
            let old = held
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age.as_secs() > 60));
            if old && held.try_lock().is_ok() {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }

    fn entries(&self, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
            .map(|entry| entry.path())
            .collect()
    }

    fn failed(&self) -> impl Fn(io::Error) -> CacheError + use<> {
        let path = self.dir.clone();
        move |source| CacheError::Directory {
            path: path.clone(),
            source,
        }
    }
}

/// Creates the directory, or makes sure that no other user can put files into it.
fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let probe = tempfile::tempfile_in(dir)?;
    let metadata = dir.metadata()?;
    let user = probe.metadata()?.uid();
    let foreign = metadata.uid() != user && user != 0;
    if foreign || metadata.permissions().mode() & 0o002 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "other users may write into it",
        ));
    }
    Ok(())
}

/// Whether the open directory is still the one of that name.
fn is_at(held: &File, path: &Path) -> bool {
    match (held.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn write_unpacked(dir: &Path, manifest: &Manifest, past: &Past) -> io::Result<()> {
    fs::write(dir.join(MANIFEST), serde_json::to_vec(manifest)?)?;
    if let Some(history) = &past.history {
        fs::write(dir.join(Past::HISTORY), serde_json::to_vec(history)?)?;
    }
    if let Some(patches) = &past.patches {
        fs::write(dir.join(Past::PATCHES), serde_json::to_vec(patches)?)?;
    }
    fs::write(dir.join(BYTES), manifest.total_bytes().to_string())
}

/// Reads the manifest, and makes sure that all files are there in their size: a loss of power may have cut them.
fn read_unpacked(dir: &Path, digest: &Digest) -> io::Result<Manifest> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST))?)?;
    for file in &manifest.files {
        let metadata = dir.join(ROOT).join(&file.path).symlink_metadata()?;
        if !metadata.is_file() || metadata.len() != file.bytes {
            return Err(io::Error::other(format!(
                "`{}` of {digest} is not as it was unpacked",
                file.path
            )));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
