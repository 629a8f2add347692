//! Which language a file is in, by its name alone. Nothing here opens a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Program text.
    Code,
    /// Text for people.
    Docs,
    /// Settings, build files, manifests.
    Config,
    /// Data, fixtures, and everything unknown.
    Data,
}

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    /// Its name in lower case; `text` for everything unknown.
    pub name: &'static str,
    /// What its files are for.
    pub kind: Kind,
}

/// Language and kind by whole file name, which wins, and by extension.
const FILE_NAMES: &[(&str, &str, Kind)] = &[
    ("Cargo.lock", "lock", Kind::Data),
    ("package-lock.json", "lock", Kind::Data),
    ("pnpm-lock.yaml", "lock", Kind::Data),
    ("yarn.lock", "lock", Kind::Data),
    ("poetry.lock", "lock", Kind::Data),
    ("uv.lock", "lock", Kind::Data),
    ("go.sum", "lock", Kind::Data),
    ("go.mod", "gomod", Kind::Config),
    ("Makefile", "make", Kind::Config),
    ("makefile", "make", Kind::Config),
    ("GNUmakefile", "make", Kind::Config),
    ("CMakeLists.txt", "cmake", Kind::Config),
    ("Dockerfile", "dockerfile", Kind::Config),
    ("Containerfile", "dockerfile", Kind::Config),
    ("Jenkinsfile", "groovy", Kind::Config),
    ("requirements.txt", "requirements", Kind::Config),
    ("Gemfile", "ruby", Kind::Config),
    ("Rakefile", "ruby", Kind::Config),
    (".gitignore", "ignore", Kind::Config),
    (".dockerignore", "ignore", Kind::Config),
    (".gitattributes", "ignore", Kind::Config),
    (".editorconfig", "ini", Kind::Config),
    ("README", "text", Kind::Docs),
    ("LICENSE", "text", Kind::Docs),
    ("LICENCE", "text", Kind::Docs),
    ("COPYING", "text", Kind::Docs),
    ("NOTICE", "text", Kind::Docs),
    ("CHANGELOG", "text", Kind::Docs),
    ("AUTHORS", "text", Kind::Docs),
];

const EXTENSIONS: &[(&str, &str, Kind)] = &[
    ("rs", "rust", Kind::Code),
    ("py", "python", Kind::Code),
    ("pyi", "python", Kind::Code),
    ("go", "go", Kind::Code),
    ("ts", "typescript", Kind::Code),
    ("mts", "typescript", Kind::Code),
    ("cts", "typescript", Kind::Code),
    ("tsx", "typescript", Kind::Code),
    ("js", "javascript", Kind::Code),
    ("mjs", "javascript", Kind::Code),
    ("cjs", "javascript", Kind::Code),
    ("jsx", "javascript", Kind::Code),
    ("java", "java", Kind::Code),
    ("kt", "kotlin", Kind::Code),
    ("kts", "kotlin", Kind::Code),
    ("scala", "scala", Kind::Code),
    ("groovy", "groovy", Kind::Code),
    ("c", "c", Kind::Code),
    ("h", "c", Kind::Code),
    ("cc", "cpp", Kind::Code),
    ("cpp", "cpp", Kind::Code),
    ("cxx", "cpp", Kind::Code),
    ("hpp", "cpp", Kind::Code),
    ("hh", "cpp", Kind::Code),
    ("hxx", "cpp", Kind::Code),
    ("cs", "csharp", Kind::Code),
    ("swift", "swift", Kind::Code),
    ("m", "objc", Kind::Code),
    ("rb", "ruby", Kind::Code),
    ("php", "php", Kind::Code),
    ("pl", "perl", Kind::Code),
    ("pm", "perl", Kind::Code),
    ("lua", "lua", Kind::Code),
    ("r", "r", Kind::Code),
    ("jl", "julia", Kind::Code),
    ("hs", "haskell", Kind::Code),
    ("ml", "ocaml", Kind::Code),
    ("mli", "ocaml", Kind::Code),
    ("ex", "elixir", Kind::Code),
    ("exs", "elixir", Kind::Code),
    ("erl", "erlang", Kind::Code),
    ("clj", "clojure", Kind::Code),
    ("dart", "dart", Kind::Code),
    ("zig", "zig", Kind::Code),
    ("nim", "nim", Kind::Code),
    ("sh", "shell", Kind::Code),
    ("bash", "shell", Kind::Code),
    ("zsh", "shell", Kind::Code),
    ("fish", "shell", Kind::Code),
    ("ps1", "powershell", Kind::Code),
    ("sql", "sql", Kind::Code),
    ("proto", "protobuf", Kind::Code),
    ("graphql", "graphql", Kind::Code),
    ("css", "css", Kind::Code),
    ("scss", "css", Kind::Code),
    ("html", "html", Kind::Code),
    ("htm", "html", Kind::Code),
    ("vue", "vue", Kind::Code),
    ("svelte", "svelte", Kind::Code),
    ("tf", "terraform", Kind::Code),
    ("md", "markdown", Kind::Docs),
    ("mdx", "markdown", Kind::Docs),
    ("markdown", "markdown", Kind::Docs),
    ("rst", "rst", Kind::Docs),
    ("adoc", "asciidoc", Kind::Docs),
    ("tex", "tex", Kind::Docs),
    ("txt", "text", Kind::Docs),
    ("toml", "toml", Kind::Config),
    ("yaml", "yaml", Kind::Config),
    ("yml", "yaml", Kind::Config),
    ("ini", "ini", Kind::Config),
    ("cfg", "ini", Kind::Config),
    ("conf", "ini", Kind::Config),
    ("properties", "ini", Kind::Config),
    ("xml", "xml", Kind::Config),
    ("gradle", "groovy", Kind::Config),
    ("cmake", "cmake", Kind::Config),
    ("mk", "make", Kind::Config),
    ("nix", "nix", Kind::Config),
    ("json", "json", Kind::Config),
    ("jsonc", "json", Kind::Config),
    ("lock", "lock", Kind::Data),
    ("jsonl", "json", Kind::Data),
    ("csv", "csv", Kind::Data),
    ("tsv", "csv", Kind::Data),
    ("svg", "svg", Kind::Data),
    ("snap", "snapshot", Kind::Data),
    ("diff", "diff", Kind::Data),
    ("patch", "diff", Kind::Data),
    ("log", "log", Kind::Data),
];

/// The language of a path, by file name and extension.
pub fn language_of(path: &str) -> Language {
    let name = path.rsplit('/').next().unwrap_or(path);
    let by_name = FILE_NAMES.iter().find(|(file, _, _)| *file == name);
    let found = by_name.or_else(|| {
        let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
        EXTENSIONS.iter().find(|(known, _, _)| *known == extension)
    });
    match found {
        Some(&(_, name, kind)) => Language { name, kind },
        None => Language {
            name: "text",
            kind: Kind::Data,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_name_or_extension() {
        for (path, name, kind) in [
            ("src/main.rs", "rust", Kind::Code),
            ("a/b.PY", "python", Kind::Code),
            ("Makefile", "make", Kind::Config),
            ("sub/Makefile", "make", Kind::Config),
            ("Cargo.lock", "lock", Kind::Data),
            ("Cargo.toml", "toml", Kind::Config),
            ("README", "text", Kind::Docs),
            ("README.md", "markdown", Kind::Docs),
            ("x.unknown", "text", Kind::Data),
            ("no_extension", "text", Kind::Data),
            ("rs", "text", Kind::Data),
            ("", "text", Kind::Data),
        ] {
            assert_eq!(language_of(path), Language { name, kind }, "{path}");
        }
    }

    #[test]
    fn no_entry_hides_another() {
        for table in [FILE_NAMES, EXTENSIONS] {
            let mut keys: Vec<_> = table.iter().map(|(key, _, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), table.len());
        }
    }
}
