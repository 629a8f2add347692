//! What a workspace holds, file by file, without its contents: what the lead plans by. It never touches a disk.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::language::{Kind, Language, language_of};
use super::unpack::{self, UnpackError, UnpackLimits};

/// Name of the manifest in an archive, whose first entry it is.
pub const MANIFEST_NAME: &str = ".axon-manifest.json";

/// What a workspace holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The commit that was checked out when it was packed, in hexadecimal; absent outside of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether files differed from the revision; absent where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// The files, sorted by path.
    pub files: Vec<FileEntry>,
    /// What was left out on purpose, sorted by path, what is no text behind all others, and cut to the first 200; ignored
    /// files are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How many more were left out than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_more: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Path relative to the root, `/` between its parts.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Lines, a last one without line break included.
    #[serde(default)]
    pub lines: u32,
    /// Language by name and extension, in lower case; `text` if unknown.
    #[serde(default)]
    pub language: String,
    /// Commits that changed it, as far back as was looked; 0 where nobody looked.
    #[serde(default)]
    pub churn: u32,
}

impl FileEntry {
    /// The entry of a file with this content.
    pub fn of(path: &str, content: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            bytes: content.len() as u64,
            lines: count_lines(content),
            language: language_of(path).name.to_owned(),
            churn: 0,
        }
    }

    /// What the file is for.
    pub fn kind(&self) -> Kind {
        self.language().kind
    }

    /// Its language, from its path.
    pub fn language(&self) -> Language {
        language_of(&self.path)
    }
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl Manifest {
    /// The manifest of a packed workspace. Only the first entry is unpacked; an archive that brings no manifest is read
    /// through once, within the limits, and its manifest made from what it holds.
    pub fn from_archive(archive: &[u8]) -> Result<Self, UnpackError> {
        unpack::manifest_of(archive, &UnpackLimits::default())
    }

    /// Size of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Files and lines by language.
    pub fn languages(&self) -> BTreeMap<&str, (usize, u64)> {
        let mut languages = BTreeMap::new();
        for file in &self.files {
            let (files, lines) = languages.entry(file.language.as_str()).or_insert((0, 0));
            *files += 1;
            *lines += u64::from(file.lines);
        }
        languages
    }

    /// The file at that path.
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        let index = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(index)
    }

    /// Files within the scope (files or directories; everything if empty), sorted by path.
    pub fn files_in(&self, scope: &[String]) -> Vec<&FileEntry> {
        self.files.iter().filter(|file| in_scope(&file.path, scope)).collect()
    }
}

/// Whether a path is one of the scope's files or below one of its directories. An empty scope is the whole workspace, and
/// so are `.` and the empty path.
pub fn in_scope(path: &str, scope: &[String]) -> bool {
    scope.is_empty()
        || scope.iter().any(|allowed| {
            let allowed = allowed.strip_prefix("./").unwrap_or(allowed).trim_end_matches('/');
            matches!(allowed, "" | ".")
                || path
                    .strip_prefix(allowed)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// Lines of a text: line breaks, and one more if something follows the last.
pub(crate) fn count_lines(content: &[u8]) -> u32 {
    let breaks = content.iter().filter(|byte| **byte == b'\n').count();
    let open = usize::from(content.last().is_some_and(|last| *last != b'\n'));
    u32::try_from(breaks + open).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_means_files_and_whole_directories() {
        for (path, scope, expected) in [
            ("src/a.rs", &[][..], true),
            ("src/a.rs", &["src"], true),
            ("src/a.rs", &["src/"], true),
            ("src/a.rs", &["./src"], true),
            ("src/a.rs", &["."], true),
            ("src/a.rs", &[""], true),
            ("src/a.rs", &["src/a.rs"], true),
            ("src/a.rs", &["docs", "src/a.rs"], true),
            ("src/a.rs", &["sr"], false),
            ("srcs/a.rs", &["src"], false),
            ("src/a.rs", &["src/a"], false),
            ("src", &["src/a.rs"], false),
        ] {
            let scope: Vec<String> = scope.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(in_scope(path, &scope), expected, "{path} in {scope:?}");
        }
    }

    #[test]
    fn the_last_line_counts_with_and_without_its_break() {
        for (text, lines) in [
            ("", 0),
            ("a", 1),
            ("a\n", 1),
            ("a\nb", 2),
            ("a\nb\n", 2),
            ("\n", 1),
            ("\n\n", 2),
        ] {
            assert_eq!(count_lines(text.as_bytes()), lines, "{text:?}");
        }
    }

    #[test]
    fn a_manifest_finds_and_counts_its_files() {
        let manifest = Manifest {
            files: vec![
                FileEntry::of("a.py", b"x\ny\n"),
                FileEntry::of("b/c.rs", b"1"),
                FileEntry::of("b/d.rs", b"2\n3"),
            ],
            ..Manifest::default()
        };
        assert_eq!(manifest.get("b/c.rs").map(|file| file.lines), Some(1));
        assert_eq!(manifest.get("b"), None);
        assert_eq!(manifest.total_bytes(), 8);
        assert_eq!(manifest.languages().get("rust"), Some(&(2, 3)));
        assert_eq!(manifest.files_in(&["b".to_owned()]).len(), 2);
    }
}
