//! What the pure part of the lead knows of a workspace: its files, their sizes and languages. It never reads one.

use axon_tools::code::{Role, role_of};

/// The files of a workspace, as its manifest lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkspaceView {
    /// The files, in any order.
    pub files: Vec<FileView>,
    /// Revision of the workspace, where it has one.
    pub revision: Option<String>,
}

impl WorkspaceView {
    /// Where the tests are that stand apart from the code: whole directories, and files elsewhere.
    pub fn tests(&self) -> Vec<String> {
        const DIRECTORIES: &[&str] = &["tests", "test", "__tests__", "spec"];
        let mut places: Vec<String> = Vec::new();
        for file in self.files.iter().filter(|file| role_of(&file.path) == Role::Test) {
            let parts: Vec<&str> = file.path.split('/').collect();
            let directory = parts[..parts.len() - 1]
                .iter()
                .position(|part| DIRECTORIES.contains(part));
            let place = match directory {
                Some(at) => parts[..=at].join("/"),
                None => file.path.clone(),
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places.sort_unstable();
        places
    }
}

/// One file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Path relative to the root, `/` between its parts.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Language such as `rust`; where it is empty or `text`, the extension judges.
    pub language: String,
}

/// What a file is made of, as far as planning cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Material {
    /// Programs.
    Code,
    /// Text for people.
    Prose,
    /// Everything else: data, configuration, pictures.
    Data,
}

const CODE: &[&str] = &[
    "ada",
    "asm",
    "assembly",
    "bash",
    "c",
    "c#",
    "c++",
    "cc",
    "cjs",
    "clj",
    "clojure",
    "cpp",
    "cs",
    "csharp",
    "css",
    "cts",
    "cu",
    "cxx",
    "dart",
    "elixir",
    "elm",
    "erl",
    "erlang",
    "ex",
    "exs",
    "f90",
    "fish",
    "fortran",
    "fs",
    "fsharp",
    "go",
    "graphql",
    "groovy",
    "h",
    "haskell",
    "hcl",
    "hh",
    "hpp",
    "hs",
    "htm",
    "html",
    "java",
    "javascript",
    "jl",
    "js",
    "jsx",
    "julia",
    "kotlin",
    "kt",
    "kts",
    "lua",
    "m",
    "mjs",
    "ml",
    "mli",
    "mm",
    "mts",
    "nim",
    "objc",
    "objective-c",
    "ocaml",
    "pas",
    "perl",
    "php",
    "pl",
    "pm",
    "powershell",
    "proto",
    "protobuf",
    "ps1",
    "py",
    "pyi",
    "python",
    "r",
    "rb",
    "rs",
    "ruby",
    "rust",
    "scala",
    "scss",
    "sh",
    "shell",
    "sol",
    "sql",
    "svelte",
    "swift",
    "terraform",
    "tf",
    "ts",
    "tsx",
    "typescript",
    "v",
    "vue",
    "zig",
    "zsh",
];

const PROSE: &[&str] = &[
    "adoc", "asciidoc", "markdown", "md", "mdx", "org", "rst", "tex", "text", "txt",
];

impl FileView {
    /// What the file is made of: by its language, else by its extension.
    pub fn material(&self) -> Material {
        let name = match self.language.to_ascii_lowercase() {
            unknown if unknown.is_empty() || unknown == "text" => extension(&self.path).to_ascii_lowercase(),
            known => known,
        };
        if CODE.contains(&name.as_str()) {
            Material::Code
        } else if PROSE.contains(&name.as_str()) {
            Material::Prose
        } else {
            Material::Data
        }
    }
}

/// The extension of a path, without its dot; empty if it has none.
pub(crate) fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rfind('.') {
        Some(dot) if dot > 0 => &name[dot + 1..],
        _ => "",
    }
}

/// Whether `path` is `directory` or lies below it. The empty path is the root and holds everything.
pub(crate) fn holds(directory: &str, path: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A view from `path bytes` pairs; languages follow from the extensions.
    pub(crate) fn view(files: &[(&str, u64)]) -> WorkspaceView {
        WorkspaceView {
            files: files
                .iter()
                .map(|(path, bytes)| FileView {
                    path: (*path).to_owned(),
                    bytes: *bytes,
                    language: String::new(),
                })
                .collect(),
            revision: None,
        }
    }

    /// A repository of several crates with documents, about 400 KB.
    pub(crate) fn repository() -> WorkspaceView {
        let mut files = vec![
            ("README.md".to_owned(), 9_000),
            ("Cargo.toml".to_owned(), 2_000),
            ("Cargo.lock".to_owned(), 90_000),
            ("docs/cache-lru.md".to_owned(), 6_000),
            ("docs/cache-clock.md".to_owned(), 5_000),
            ("docs/protocol.md".to_owned(), 12_000),
            ("tests/src/fleet.rs".to_owned(), 14_000),
            ("tests/src/lib.rs".to_owned(), 3_000),
        ];
        for (name, modules) in [
            ("bus", &["lib", "publish", "consume", "topology", "dead_letter"][..]),
            ("cli", &["main", "ask", "doctor", "bench"]),
            ("lead", &["lib", "main", "state", "planning"]),
            ("protocol", &["lib", "query", "header", "plan"]),
            ("tools", &["lib", "search", "outline", "workspace"]),
            ("worker", &["lib", "main", "analyst"]),
        ] {
            files.push((format!("crates/{name}/Cargo.toml"), 900));
            for (index, module) in modules.iter().enumerate() {
                files.push((format!("crates/{name}/src/{module}.rs"), 6_000 + 3_000 * index as u64));
            }
        }
        view(
            &files
                .iter()
                .map(|(path, bytes)| (path.as_str(), *bytes))
                .collect::<Vec<_>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_follows_the_language_then_the_extension() {
        for (path, language, expected) in [
            ("a.rs", "", Material::Code),
            ("a.rs", "Rust", Material::Code),
            ("README.md", "", Material::Prose),
            ("a.json", "", Material::Data),
            ("notes.txt", "text", Material::Prose),
            ("data.bin", "text", Material::Data),
            ("Makefile", "", Material::Data),
            (".gitignore", "", Material::Data),
            ("x", "python", Material::Code),
        ] {
            let file = FileView {
                path: path.to_owned(),
                bytes: 1,
                language: language.to_owned(),
            };
            assert_eq!(file.material(), expected, "{path}");
        }
    }

    #[test]
    fn a_directory_holds_whole_components() {
        assert!(holds("src", "src/a.rs") && holds("src", "src") && holds("", "x"));
        assert!(!holds("src", "srcs/a.rs") && !holds("src/a.rs", "src"));
    }
}
