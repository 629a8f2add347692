//! Finds the paths of the workspace that a request names: exactly, by their end, or as a directory or module. It never
//! names a path that the manifest does not list.

use std::collections::BTreeSet;

use super::text::{Kind, Text, Token};
use crate::view::WorkspaceView;

/// A name that fits more paths than this names none of them.
const MATCHES_MAX: usize = 4;
const PATHS_MAX: usize = 16;

/// What a request names of a workspace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Named {
    /// Paths that exist.
    pub paths: Vec<String>,
    /// What looks like a path and names none, or too many, with what would help.
    pub warnings: Vec<String>,
}

/// The paths a request names. Without a view nothing can be checked: what looks like a path is taken as it stands.
pub(super) fn named(text: &Text<'_>, view: Option<&WorkspaceView>) -> Named {
    let mut named = Named::default();
    let Some(view) = view else {
        for token in text.tokens.iter().filter(|token| is_path_token(token)) {
            add(&mut named.paths, normalised(token.text).to_owned());
        }
        return named;
    };
    let tree = Tree::new(view);
    for (index, token) in text.tokens.iter().enumerate() {
        if is_path_token(token) {
            let name = normalised(token.text);
            let found = tree.find(name);
            match found.len() {
                0 => named.warnings.push(tree.missing(name)),
                1..=MATCHES_MAX => found.into_iter().for_each(|path| add(&mut named.paths, path)),
                count => named.warnings.push(format!(
                    "`{name}` fits {count} paths, such as {} and {}: name its directory as well",
                    found[0], found[1]
                )),
            }
        } else if token.kind == Kind::Word && token.text.contains('/') && tree.holds(normalised(token.text)) {
            // `clients/python` could be two words as well; the manifest knows.
            add(&mut named.paths, normalised(token.text).to_owned());
        } else if let Some(place) = place_name(text, index) {
            let found = tree.places(&place);
            if found.len() <= MATCHES_MAX {
                found.into_iter().for_each(|path| add(&mut named.paths, path));
            }
        }
    }
    named.paths.truncate(PATHS_MAX);
    named
}

fn is_path_token(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Path => !token.text.contains("://"),
        Kind::Code => super::names::is_path(token.text) && !token.text.contains("://"),
        // A quoted name with an extension is as often data of the asker's own.
        Kind::Quote => super::names::is_path(token.text) && token.text.contains('/') && !token.text.contains("://"),
        _ => false,
    }
}

/// A word that stands where a directory or module is named.
struct PlaceName {
    name: String,
    /// It is called a crate, a module or the like, and may be a single file.
    called: bool,
}

fn place_name(text: &Text<'_>, index: usize) -> Option<PlaceName> {
    const PLACES: &[&str] = &[
        "directory",
        "folder",
        "crate",
        "module",
        "package",
        "dir",
        "component",
        "subdirectory",
        "file",
        "library",
        "subsystem",
        "service",
    ];
    let token = &text.tokens[index];
    let word = match token.kind {
        Kind::Word | Kind::Symbol => token.lower.as_str(),
        Kind::Code | Kind::Quote if !token.text.contains(char::is_whitespace) => token.text,
        _ => return None,
    };
    let next = text.tokens.get(index + 1).map_or("", |next| next.lower.as_str());
    let back = |steps: usize| index.checked_sub(steps).map_or("", |at| text.tokens[at].lower.as_str());
    let before = if back(1) == "the" { back(2) } else { back(1) };
    let called = PLACES.contains(&next) || PLACES.contains(&back(1));
    let inside = ["in", "inside", "under", "within", "below"].contains(&before);
    let hyphenated = word.contains('-');
    (called || inside || hyphenated).then(|| PlaceName {
        name: word.to_owned(),
        called,
    })
}

fn normalised(path: &str) -> &str {
    path.trim_start_matches("./")
        .trim_start_matches('/')
        .trim_end_matches('/')
}

fn add(paths: &mut Vec<String>, path: String) {
    if !path.is_empty() && !paths.contains(&path) {
        paths.push(path);
    }
}

struct Tree<'a> {
    files: BTreeSet<&'a str>,
    directories: BTreeSet<&'a str>,
}

impl<'a> Tree<'a> {
    fn new(view: &'a WorkspaceView) -> Self {
        let files: BTreeSet<&str> = view.files.iter().map(|file| file.path.as_str()).collect();
        let directories = files
            .iter()
            .flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]))
            .collect();
        Self { files, directories }
    }

    fn holds(&self, path: &str) -> bool {
        self.files.contains(path) || self.directories.contains(path)
    }

    fn all(&self) -> impl Iterator<Item = &'a str> {
        self.directories.iter().chain(self.files.iter()).copied()
    }

    /// The paths a name stands for: itself, else those that end with it.
    fn find(&self, name: &str) -> Vec<String> {
        if self.files.contains(name) || self.directories.contains(name) {
            return vec![name.to_owned()];
        }
        let end = format!("/{name}");
        self.all()
            .filter(|path| path.ends_with(&end))
            .map(str::to_owned)
            .collect()
    }

    /// Directories of this name; else files whose name without extension it is, where it is called one.
    fn places(&self, place: &PlaceName) -> Vec<String> {
        let name = place.name.as_str();
        let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
        let directories: Vec<String> = self
            .directories
            .iter()
            .filter(|path| last(path).eq_ignore_ascii_case(name))
            .map(|path| (*path).to_owned())
            .collect();
        if !directories.is_empty() || !place.called {
            return outermost(directories);
        }
        let stem = |path: &'a str| last(path).split('.').next().unwrap_or_default();
        let files = self.files.iter().filter(|path| stem(path).eq_ignore_ascii_case(name));
        files.map(|path| (*path).to_owned()).collect()
    }

    fn missing(&self, name: &str) -> String {
        let wanted = name.rsplit('/').next().unwrap_or(name);
        let nearest = self
            .all()
            .map(|path| (distance(wanted, path.rsplit('/').next().unwrap_or(path)), path))
            .min()
            .filter(|(distance, _)| *distance * 3 <= wanted.len());
        match nearest {
            Some((_, path)) => format!("`{name}` is not in the workspace; did you mean {path}?"),
            None => format!("`{name}` is not in the workspace: check the path, or the workspace the query names"),
        }
    }
}

fn outermost(paths: Vec<String>) -> Vec<String> {
    let inner = |path: &String| {
        paths
            .iter()
            .any(|other| other != path && crate::view::holds(other, path))
    };
    paths.iter().filter(|path| !inner(path)).cloned().collect()
}

/// Edits that turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, left) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::repository;

    fn check(source: &str, paths: &[&str], warning: &str) {
        let found = named(&Text::new(source), Some(&repository()));
        assert_eq!(found.paths, paths, "{source}");
        match warning {
            "" => assert_eq!(found.warnings, Vec::<String>::new(), "{source}"),
            _ => assert!(
                found.warnings.iter().any(|text| text.contains(warning)),
                "{source}: {:?}",
                found.warnings
            ),
        }
    }

    #[test]
    fn paths_exist_in_the_workspace() {
        check(
            "Explain crates/bus/src/topology.rs",
            &["crates/bus/src/topology.rs"],
            "",
        );
        check("Explain ./docs/ please", &["docs"], "");
        check(
            "Explain bus/src/topology.rs and `topology.rs`",
            &["crates/bus/src/topology.rs"],
            "",
        );
        check("What is in the worker crate?", &["crates/worker"], "");
        check("Review the topology module", &["crates/bus/src/topology.rs"], "");
        check("Which files are in docs?", &["docs"], "");
        check("Compare them in search of speed", &[], "");
        check("Review the tests", &[], "");
        check("Explain lib.rs", &[], "fits 6 paths");
        check(
            "Explain src/topolgy.rs",
            &[],
            "did you mean crates/bus/src/topology.rs?",
        );
        check("Explain zzz/qqqqqq.go", &[], "check the path");
        check("Fetch https://example.org/a/b", &[], "");
    }

    #[test]
    fn without_a_view_paths_stand_as_written() {
        assert_eq!(named(&Text::new("Explain ./a/b.rs"), None).paths, ["a/b.rs"]);
    }
}
