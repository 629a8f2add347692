//! Unpacks an archive that may be hostile. Every entry is checked before anything of it touches the disk; what is no plain
//! file or directory at a plain relative path is refused, with the whole archive. No link is ever made or followed.

mod limited;
mod path;

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::FILE_BYTES_MAX;
use super::Past;
use super::history::{HISTORY_NAME, History, READ_BYTES_MAX};
use super::manifest::{FileEntry, MANIFEST_NAME, Manifest};
use super::patches::{PATCHES_NAME, PATCHES_READ_BYTES_MAX, Patches};
use limited::{LimitExceeded, Limited};
use path::{Seen, check_path};

/// How much is unpacked at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of the archive itself. Default 256 MiB.
    pub archive_bytes_max: u64,
    /// Bytes of one file. Default 8 MiB.
    pub file_bytes_max: u64,
    /// Bytes of all files. Default 1 GiB.
    pub total_bytes_max: u64,
    /// Entries, directories included. Default 100,000.
    pub entries_max: usize,
    /// Bytes of a path. Default 1,024.
    pub path_bytes_max: usize,
    /// Parts of a path. Default 64.
    pub depth_max: usize,
    /// Unpacked bytes for each packed one, beyond the first 16 MiB. Default 200.
    pub ratio_max: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            archive_bytes_max: 256 << 20,
            file_bytes_max: FILE_BYTES_MAX,
            total_bytes_max: 1 << 30,
            entries_max: 100_000,
            path_bytes_max: 1024,
            depth_max: 64,
            ratio_max: 200,
        }
    }
}

impl UnpackLimits {
    /// Most bytes that are ever decompressed from an archive of that size.
    fn stream_bytes_max(&self, archive_bytes: u64) -> u64 {
        let by_ratio = archive_bytes
            .saturating_mul(self.ratio_max)
            .saturating_add(RATIO_FREE_BYTES);
        // A header and its padding for each entry, and room for the manifest.
        let by_total = self
            .total_bytes_max
            .saturating_add(self.entries_max as u64 * 4 * TAR_BLOCK_BYTES)
            .saturating_add(MANIFEST_BYTES_MAX);
        by_ratio.min(by_total)
    }
}

/// Bytes that may come out of an archive however small it is.
const RATIO_FREE_BYTES: u64 = 16 << 20;

/// Bytes of a block of tar.
const TAR_BLOCK_BYTES: u64 = 512;

/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Largest extended header that is read, in bytes.
const EXTENSION_BYTES_MAX: u64 = 64 * 1024;

/// Largest window the decompressor may ask memory for, as a power of two: 32 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not tar and zstd, or cut short.
    #[error("the workspace archive cannot be read: {0}; it must be a tar file compressed with zstd")]
    Format(io::Error),
    /// Above one of the limits.
    #[error("the workspace archive is refused: {what} above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit that it exceeds.
        limit: u64,
    },
    /// Unpacks to far more than it is.
    #[error(
        "the workspace archive is refused: it unpacks to more than {limit} bytes, which no honest one of its size does"
    )]
    Bomb {
        /// Where unpacking stopped, in bytes.
        limit: u64,
    },
    /// A path that leads outside or that no file system takes.
    #[error("the workspace archive is refused: its entry {path:?} {reason}")]
    Path {
        /// The path as it stands in the archive.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A link, a device, or something else that is no file.
    #[error(
        "the workspace archive is refused: its entry {path:?} is a {kind}, only files and directories are unpacked"
    )]
    Kind {
        /// The path as it stands in the archive.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two entries for one path.
    #[error("the workspace archive is refused: {0:?} occurs twice")]
    Duplicate(String),
    /// No file at all.
    #[error("the workspace archive holds no file")]
    Empty,
    /// The disk failed.
    #[error("cannot write the unpacked workspace at `{path}`: {source}")]
    Write {
        /// What was written.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Unpacks an archive into `target`, which must not exist and appears only when all of it is there. Returns what was
/// unpacked; sizes, lines and languages are found anew, so that a manifest in the archive cannot lie about them.
pub fn unpack(archive: &[u8], target: &Path, limits: &UnpackLimits) -> Result<Manifest, UnpackError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| UnpackError::Write { path, source }
    };
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let staging = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(parent)
        .map_err(failed(parent))?;
    let root = staging.path().join("root");
    fs::create_dir(&root).map_err(failed(&root))?;
    let (manifest, _) = unpack_into(archive, &root, limits)?;
    if target.symlink_metadata().is_ok() {
        return Err(failed(target)(io::ErrorKind::AlreadyExists.into()));
    }
    fs::rename(&root, target).map_err(failed(target))?;
    Ok(manifest)
}

/// Unpacks into a directory that exists, is empty and is nobody else's. The past, where there is one, is no file of the
/// workspace and is handed back.
pub(super) fn unpack_into(archive: &[u8], root: &Path, limits: &UnpackLimits) -> Result<(Manifest, Past), UnpackError> {
    let mut manifest = Manifest::default();
    let mut past = Past::default();
    let mut declared = Manifest::default();
    walk(archive, limits, |entry| {
        match entry {
            Entry::Manifest(found) => declared = found,
            Entry::History(found) => past.history = Some(found),
            Entry::Patches(found) => past.patches = Some(found),
            Entry::Directory(path) => create(root, path, |path| fs::create_dir_all(path))?,
            Entry::File {
                path,
                content,
                executable,
            } => {
                create(root, path, |at| write(at, content, executable))?;
                manifest.files.push(FileEntry::of(path, content));
            }
        }
        Ok(Go::On)
    })?;
    Ok((finish(manifest, declared)?, past))
}

/// Reads the manifest, or makes one from what the archive holds.
pub(super) fn manifest_of(archive: &[u8], limits: &UnpackLimits) -> Result<Manifest, UnpackError> {
    let mut manifest = Manifest::default();
    let mut declared = None;
    walk(archive, limits, |entry| {
        match entry {
            Entry::Manifest(found) => {
                declared = Some(found);
                return Ok(Go::Stop);
            }
            Entry::History(_) | Entry::Patches(_) | Entry::Directory(_) => {}
            Entry::File { path, content, .. } => manifest.files.push(FileEntry::of(path, content)),
        }
        Ok(Go::On)
    })?;
    match declared {
        Some(mut declared) if !declared.files.is_empty() => {
            // Others search it by halves.
            declared.files.sort_by(|a, b| a.path.cmp(&b.path));
            declared.files.dedup_by(|a, b| a.path == b.path);
            Ok(declared)
        }
        Some(_) => Err(UnpackError::Empty),
        None => finish(manifest, Manifest::default()),
    }
}

/// Takes from the declared manifest what cannot be seen in the files.
fn finish(mut manifest: Manifest, declared: Manifest) -> Result<Manifest, UnpackError> {
    if manifest.files.is_empty() {
        return Err(UnpackError::Empty);
    }
    let churn: HashMap<&str, u32> = declared
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.churn))
        .collect();
    for file in &mut manifest.files {
        file.churn = churn.get(file.path.as_str()).copied().unwrap_or(0);
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.revision = declared.revision;
    manifest.dirty = declared.dirty;
    manifest.skipped = declared.skipped;
    Ok(manifest)
}

fn create(root: &Path, path: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), UnpackError> {
    make(&root.join(path)).map_err(|source| UnpackError::Write {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // `create_new` neither follows a link nor overwrites.
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    if executable {
        file.set_permissions(Permissions::from_mode(0o755))
    } else {
        Ok(())
    }
}

enum Go {
    On,
    Stop,
}

enum Entry<'a> {
    Manifest(Manifest),
    History(History),
    Patches(Patches),
    Directory(&'a str),
    File {
        path: &'a str,
        content: &'a [u8],
        executable: bool,
    },
}

/// Reads the archive entry by entry and hands on only what was found harmless.
fn walk(
    archive: &[u8],
    limits: &UnpackLimits,
    mut handle: impl FnMut(Entry<'_>) -> Result<Go, UnpackError>,
) -> Result<(), UnpackError> {
    let archive_bytes = archive.len() as u64;
    within(
        || "its size in bytes is".to_owned(),
        archive_bytes,
        limits.archive_bytes_max,
    )?;
    let mut decoder = zstd::Decoder::with_buffer(archive).map_err(UnpackError::Format)?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(UnpackError::Format)?;
    let limit = limits.stream_bytes_max(archive_bytes);
    let mut tar = tar::Archive::new(Limited::new(decoder, limit));

    let mut seen = Seen::default();
    let mut long_path: Option<Vec<u8>> = None;
    let mut total_bytes = 0;
    let mut content = Vec::new();
    let (mut declared, mut remembered) = (false, false);
    // Raw: extended headers come as entries of their own and are read here, with a limit, instead of by the library.
    for (index, entry) in tar.entries().map_err(read_error)?.raw(true).enumerate() {
        let mut entry = entry.map_err(read_error)?;
        within(
            || "the number of its entries is".to_owned(),
            index as u64 + 1,
            limits.entries_max as u64,
        )?;
        let bytes = entry.header().entry_size().map_err(UnpackError::Format)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            within(
                || "a global extended header of its is".to_owned(),
                bytes,
                EXTENSION_BYTES_MAX,
            )?;
            continue;
        }
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            within(|| "an extended header of its is".to_owned(), bytes, EXTENSION_BYTES_MAX)?;
            content.clear();
            entry.read_to_end(&mut content).map_err(read_error)?;
            if kind.is_gnu_longname() {
                let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
                long_path = Some(content[..end].to_vec());
            } else if let Some(path) = pax_path(&content)? {
                long_path = Some(path);
            }
            continue;
        }
        let raw_path = long_path.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = || String::from_utf8_lossy(&raw_path[..raw_path.len().min(200)]).into_owned();
        let is_directory = kind.is_dir();
        if !is_directory && kind != tar::EntryType::Regular {
            return Err(UnpackError::Kind {
                path: shown(),
                kind: kind_name(kind),
            });
        }
        let checked = check_path(&raw_path, is_directory, limits)
            .map_err(|reason| UnpackError::Path { path: shown(), reason })?;
        // The root itself, which `tar -C dir .` writes.
        let Some(path) = checked else { continue };
        let go = if is_directory {
            seen.directory(path)?;
            handle(Entry::Directory(path))?
        } else if index == 0 && path == MANIFEST_NAME {
            within(|| "its manifest in bytes is".to_owned(), bytes, MANIFEST_BYTES_MAX)?;
            let manifest = serde_json::from_reader(io::BufReader::new(&mut entry))
                .map_err(|error| UnpackError::Format(error.into()))?;
            declared = true;
            handle(Entry::Manifest(manifest))?
        } else if index == 1 && declared && path == HISTORY_NAME {
            within(|| "its history in bytes is".to_owned(), bytes, READ_BYTES_MAX)?;
            let history = serde_json::from_reader(io::BufReader::new(&mut entry))
                .map_err(|error| UnpackError::Format(error.into()))?;
            remembered = true;
            handle(Entry::History(history))?
        } else if index == 2 && remembered && path == PATCHES_NAME {
            within(
                || "its changed lines in bytes are".to_owned(),
                bytes,
                PATCHES_READ_BYTES_MAX,
            )?;
            let patches = serde_json::from_reader(io::BufReader::new(&mut entry))
                .map_err(|error| UnpackError::Format(error.into()))?;
            handle(Entry::Patches(patches))?
        } else {
            within(
                || format!("the size of {path:?} in bytes is"),
                bytes,
                limits.file_bytes_max,
            )?;
            total_bytes += bytes;
            within(
                || "the size of its files in bytes is".to_owned(),
                total_bytes,
                limits.total_bytes_max,
            )?;
            seen.file(path)?;
            content.clear();
            entry.read_to_end(&mut content).map_err(read_error)?;
            if content.len() as u64 != bytes {
                return Err(UnpackError::Format(io::ErrorKind::UnexpectedEof.into()));
            }
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
            handle(Entry::File {
                path,
                content: &content,
                executable,
            })?
        };
        if matches!(go, Go::Stop) {
            return Ok(());
        }
    }
    Ok(())
}

fn within(what: impl FnOnce() -> String, value: u64, limit: u64) -> Result<(), UnpackError> {
    if value > limit {
        Err(UnpackError::TooLarge { what: what(), limit })
    } else {
        Ok(())
    }
}

/// The path in an extended header. Headers that change size or kind of an entry are refused: readers disagree on them,
/// which is how one archive shows different files to different readers.
fn pax_path(content: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut path = None;
    for extension in tar::PaxExtensions::new(content) {
        let extension = extension.map_err(UnpackError::Format)?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_vec()),
            key if key == b"size" || key == b"linkpath" || key.starts_with(b"GNU.sparse") => {
                return Err(UnpackError::Kind {
                    path: String::from_utf8_lossy(key).into_owned(),
                    kind: "extended header that changes what an entry is",
                });
            }
            _ => {}
        }
    }
    Ok(path)
}

fn kind_name(kind: tar::EntryType) -> &'static str {
    if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_hard_link() {
        "hard link"
    } else if kind.is_character_special() || kind.is_block_special() {
        "device"
    } else if kind.is_fifo() {
        "fifo"
    } else {
        "special entry"
    }
}

fn read_error(error: io::Error) -> UnpackError {
    // The tar reader wraps errors in its own, so the mark may lie a few sources down.
    let mut source: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = source {
        if let Some(LimitExceeded(limit)) = inner.downcast_ref() {
            return UnpackError::Bomb { limit: *limit };
        }
        source = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    UnpackError::Format(error)
}

#[cfg(test)]
#[path = "unpack/tests.rs"]
mod tests;
