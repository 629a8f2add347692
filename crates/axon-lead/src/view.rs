//! What the pure part of the lead knows of a workspace: its files, their sizes and languages. It never reads one.

/// The files of a workspace, as its manifest lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkspaceView {
    /// The files, in any order.
    pub files: Vec<FileView>,
    /// Revision of the workspace, where it has one.
    pub revision: Option<String>,
}

/// One file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Path relative to the root, `/` between its parts.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Language such as `rust`, where it is known; judged by the extension otherwise.
    pub language: Option<String>,
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
    "clj",
    "clojure",
    "cpp",
    "cs",
    "csharp",
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
    "fortran",
    "fs",
    "fsharp",
    "go",
    "groovy",
    "h",
    "haskell",
    "hcl",
    "hh",
    "hpp",
    "hs",
    "java",
    "javascript",
    "jl",
    "js",
    "jsx",
    "julia",
    "kotlin",
    "kt",
    "lua",
    "m",
    "ml",
    "mjs",
    "mm",
    "nim",
    "objective-c",
    "ocaml",
    "pas",
    "perl",
    "php",
    "pl",
    "pm",
    "proto",
    "protobuf",
    "py",
    "python",
    "r",
    "rb",
    "rs",
    "ruby",
    "rust",
    "scala",
    "sh",
    "shell",
    "sol",
    "sql",
    "svelte",
    "swift",
    "tf",
    "terraform",
    "ts",
    "tsx",
    "typescript",
    "v",
    "vue",
    "zig",
];

const PROSE: &[&str] = &[
    "adoc", "asciidoc", "markdown", "md", "mdx", "org", "rst", "tex", "text", "txt",
];

impl FileView {
    /// What the file is made of: by its language, else by its extension.
    pub fn material(&self) -> Material {
        let named = self.language.as_deref().map(str::to_ascii_lowercase);
        let name = named.unwrap_or_else(|| extension(&self.path).to_ascii_lowercase());
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
                    language: None,
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
            ("a.rs", None, Material::Code),
            ("a.rs", Some("Rust"), Material::Code),
            ("README.md", None, Material::Prose),
            ("a.json", None, Material::Data),
            ("Makefile", None, Material::Data),
            (".gitignore", None, Material::Data),
            ("x", Some("python"), Material::Code),
        ] {
            let file = FileView {
                path: path.to_owned(),
                bytes: 1,
                language: language.map(str::to_owned),
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
