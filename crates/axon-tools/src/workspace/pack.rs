//! Packs the text files of a directory into one archive, the same bytes for the same files. It follows no link, packs
//! nothing that git ignores, and never changes the directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axon_protocol::Digest;
use bytes::Bytes;
use ignore::{DirEntry, WalkBuilder};

use super::Past;
use super::history::{self, HISTORY_NAME, History, HistoryLimits};
use super::manifest::{FileEntry, MANIFEST_NAME, Manifest, Skipped};
use super::patches::{PATCHES_NAME, Patches};

/// Hidden names that are packed all the same: they belong to a project's text. Everything else that begins with a dot is
/// left out, `.env` above all.
const HIDDEN_PACKED: &[&str] = &[
    ".axonignore",
    ".cargo",
    ".ci",
    ".circleci",
    ".config",
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".gitlab",
    ".gitlab-ci.yml",
    ".gitmodules",
    ".pre-commit-config.yaml",
];

/// Most files that the manifest lists as left out.
const SKIPPED_MAX: usize = 200;

/// Why a file is left out in which somebody may have expected nothing to read: an image, a program.
const NO_TEXT: &str = "no text";

/// Bytes at the start of a file in which a zero byte means that it is no text.
const BINARY_PROBE_BYTES: usize = 8 * 1024;

/// Compression level: the archive is written once and read by every worker, but somebody waits for it.
const ZSTD_LEVEL: i32 = 3;

/// How much is packed at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// Larger files are left out. Default 1 MiB.
    pub file_bytes_max: u64,
    /// All files together. Default 256 MiB.
    pub total_bytes_max: u64,
    /// Files. Default 100,000.
    pub files_max: usize,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 1 << 20,
            total_bytes_max: 256 << 20,
            files_max: 100_000,
        }
    }
}

/// A packed workspace.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The archive: tar, compressed with zstd, the manifest as its first entry, the history and
    /// the changed lines of its newest commits, where there are any, behind it.
    pub bytes: Bytes,
    /// Digest of the archive, by which the workspace is known.
    pub digest: Digest,
    /// What it holds.
    pub manifest: Manifest,
    /// The commits that led to it; absent outside of a repository, and where its objects cannot be read.
    pub history: Option<History>,
    /// What the newest of them changed, line by line.
    pub patches: Option<Patches>,
}

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Nothing there.
    #[error("the workspace `{0}` does not exist: name a directory that does")]
    Missing(PathBuf),
    /// Not a directory.
    #[error("the workspace `{0}` is no directory: name the directory around it")]
    NoDirectory(PathBuf),
    /// No text file in it.
    #[error("nothing to pack in `{0}`: it holds no text file that is not ignored (see .gitignore and .axonignore)")]
    Empty(PathBuf),
    /// Too many bytes.
    #[error(
        "the workspace `{dir}` holds more than {bytes_max} bytes of text, most of it in `{largest}`: name a smaller \
         directory, or exclude parts of it in a file .axonignore"
    )]
    TooLarge {
        /// The directory.
        dir: PathBuf,
        /// The limit.
        bytes_max: u64,
        /// The entry of the directory that holds most.
        largest: String,
    },
    /// Too many files.
    #[error(
        "the workspace `{dir}` holds more than {files_max} text files: name a smaller directory, or exclude parts of it in a \
         file .axonignore"
    )]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// The limit.
        files_max: usize,
    },
    /// The disk failed.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Packs a directory. The same files, execute permissions and revision always give the same bytes.
pub fn pack(dir: &Path, limits: &PackLimits) -> Result<Packed, PackError> {
    let failed = |source| PackError::Read {
        path: dir.to_owned(),
        source,
    };
    let root = match dir.canonicalize() {
        Ok(root) if root.is_dir() => root,
        Ok(_) => return Err(PackError::NoDirectory(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PackError::Missing(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(PackError::NoDirectory(dir.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let repository = gix::discover(&root).ok();
    let found = collect(&root, dir, limits, repository.is_some())?;
    if found.files.is_empty() {
        return Err(PackError::Empty(dir.to_owned()));
    }
    let mut skipped = found.skipped;
    let skipped_more = skipped.len().saturating_sub(SKIPPED_MAX);
    skipped.sort_unstable_by(|a, b| (a.reason == NO_TEXT).cmp(&(b.reason == NO_TEXT)).then_with(|| a.cmp(b)));
    skipped.truncate(SKIPPED_MAX);
    let read = repository.as_ref().and_then(|repository| {
        let content = found
            .files
            .iter()
            .map(|(path, file)| (path.as_str(), file.content.as_slice()));
        history::read(repository, &root, &HistoryLimits::default(), content)
    });
    let churn = |path: &str| read.as_ref().and_then(|read| read.churn.get(path)).copied();
    let manifest = Manifest {
        revision: repository.and_then(|repository| Some(repository.head().ok()?.id()?.to_hex().to_string())),
        dirty: None,
        files: found
            .files
            .iter()
            .map(|(path, file)| FileEntry {
                churn: churn(path).unwrap_or(0),
                ..FileEntry::of(path, &file.content)
            })
            .collect(),
        skipped,
        skipped_more,
    };
    let past = read.map_or_else(Past::default, |read| Past {
        history: Some(read.history),
        patches: Some(read.patches),
    });
    let bytes = Bytes::from(write_archive(&manifest, &past, &found.files).map_err(failed)?);
    Ok(Packed {
        digest: Digest::of(&bytes),
        bytes,
        manifest,
        history: past.history,
        patches: past.patches,
    })
}

#[derive(Default)]
struct Found {
    files: BTreeMap<String, Content>,
    skipped: Vec<Skipped>,
}

struct Content {
    content: Vec<u8>,
    executable: bool,
}

fn collect(root: &Path, dir: &Path, limits: &PackLimits, in_repository: bool) -> Result<Found, PackError> {
    let mut found = Found::default();
    let mut total = 0;
    let mut by_top: BTreeMap<String, u64> = BTreeMap::new();
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        // A .gitignore above means something only within the same repository: some keep one in their home.
        .parents(in_repository)
        // What the person who packs keeps in their home must not change what is packed.
        .git_global(false)
        .add_custom_ignore_filename(".axonignore")
        .filter_entry(|entry| entry.depth() == 0 || is_wanted(entry))
        .build();
    for entry in walk {
        let Ok(entry) = entry else {
            // A directory without permission to read: what can be read is still worth looking at.
            continue;
        };
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            continue;
        }
        let path = match relative(root, entry.path()) {
            Ok(path) => path,
            Err(path) => {
                found.skipped.push(Skipped {
                    path,
                    reason: "its name is no printable text".to_owned(),
                });
                continue;
            }
        };
        if !kind.is_file() {
            found.skipped.push(Skipped {
                path,
                reason: "no regular file".to_owned(),
            });
            continue;
        }
        match read(entry.path(), limits.file_bytes_max) {
            Ok(file) => {
                total += file.content.len() as u64;
                let top = path.split('/').next().unwrap_or(&path).to_owned();
                *by_top.entry(top).or_default() += file.content.len() as u64;
                found.files.insert(path, file);
            }
            Err(reason) => found.skipped.push(Skipped { path, reason }),
        }
        if total > limits.total_bytes_max {
            let largest = by_top
                .into_iter()
                .max_by_key(|(_, bytes)| *bytes)
                .map(|(top, _)| top)
                .unwrap_or_default();
            return Err(PackError::TooLarge {
                dir: dir.to_owned(),
                bytes_max: limits.total_bytes_max,
                largest,
            });
        }
        if found.files.len() > limits.files_max {
            return Err(PackError::TooMany {
                dir: dir.to_owned(),
                files_max: limits.files_max,
            });
        }
    }
    Ok(found)
}

fn is_wanted(entry: &DirEntry) -> bool {
    let Some(name) = entry.file_name().to_str() else {
        // It cannot be packed, which is said of it; what is hidden is not spoken of.
        return !entry.file_name().as_encoded_bytes().starts_with(b".");
    };
    ![MANIFEST_NAME, HISTORY_NAME, PATCHES_NAME].contains(&name)
        && (!name.starts_with('.') || HIDDEN_PACKED.contains(&name))
}

/// The path as the manifest spells it; for a name that is no printable text the error is how to show it.
fn relative(root: &Path, path: &Path) -> Result<String, String> {
    let path = path.strip_prefix(root).unwrap_or(path);
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(path.to_string_lossy().escape_debug().to_string()),
    }
}

/// Reads a text file, or says why it is left out.
fn read(path: &Path, bytes_max: u64) -> Result<Content, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut content = Vec::with_capacity(usize::try_from(metadata.len().min(bytes_max)).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content[..content.len().min(BINARY_PROBE_BYTES)].contains(&0) {
        return Err(NO_TEXT.to_owned());
    }
    if content.len() as u64 > bytes_max {
        return Err(format!("larger than {bytes_max} bytes"));
    }
    Ok(Content {
        content,
        executable: metadata.permissions().mode() & 0o100 != 0,
    })
}

fn write_archive(manifest: &Manifest, past: &Past, files: &BTreeMap<String, Content>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?);
    let text = serde_json::to_vec(manifest)?;
    append(&mut tar, MANIFEST_NAME, &text, false)?;
    if let Some(history) = &past.history {
        append(&mut tar, HISTORY_NAME, &serde_json::to_vec(history)?, false)?;
        if let Some(patches) = &past.patches {
            append(&mut tar, PATCHES_NAME, &serde_json::to_vec(patches)?, false)?;
        }
    }
    for (path, file) in files {
        append(&mut tar, path, &file.content, file.executable)?;
    }
    tar.into_inner()?.finish()
}

/// Appends a file with nothing in its header that depends on time, owner or machine.
fn append(tar: &mut tar::Builder<impl Write>, path: &str, content: &[u8], executable: bool) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, content)
}

#[cfg(test)]
#[path = "pack/tests.rs"]
mod tests;
