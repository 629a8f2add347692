//! Tells the lines that mean a name from those that merely hold its letters: a method is meant where it is called or named
//! with its type, and what stands in comments and texts is counted apart from code. Pure.

use std::collections::BTreeMap;

use axon_tools::code::{Hit, OutlineItem, OutlineResult, Role, SearchResult, code_of, last_name, role_of};
use axon_tools::{Kind, Workspace, language_of};

/// Where a mention stands, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Code,
    Tests,
    Comments,
    Documents,
    Settings,
}

impl Place {
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Tests => "tests",
            Self::Comments => "comments and texts",
            Self::Documents => "documents",
            Self::Settings => "settings and data",
        }
    }

    /// Whether a compiler sees it, where there is one.
    pub const fn is_code(self) -> bool {
        matches!(self, Self::Code | Self::Tests)
    }
}

/// A name that is to be changed, or that is to take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name<'n> {
    last: &'n str,
    /// The types it is a member of; none where the bare name means it.
    types: Vec<String>,
}

/// The type in front of the last name: `Bytes` of `Bytes::slice`, `core.Context` of `core.Context.invoke`.
fn container(name: &str) -> Option<&str> {
    let front = name.strip_suffix(last_name(name))?;
    let front = front.trim_end_matches([':', '.']);
    (!front.is_empty()).then_some(front)
}

fn last_part(path: &str) -> &str {
    last_name(path.split('<').next().unwrap_or(path))
}

/// The definitions that a name means: with its type, where it names one.
pub fn definitions<'o>(symbol: &str, outline: &'o OutlineResult) -> Vec<&'o OutlineItem> {
    let named = |item: &&OutlineItem| last_name(&item.name) == last_name(symbol);
    let asked = container(symbol).map(last_part);
    let of_type = |item: &&OutlineItem| match (asked, container(&item.name)) {
        // What a module holds has no type in front of it.
        (Some(asked), None) => !asked.starts_with(char::is_uppercase),
        (Some(asked), Some(own)) => last_part(own) == asked,
        (None, _) => true,
    };
    outline.results.iter().filter(named).filter(of_type).collect()
}

impl<'n> Name<'n> {
    pub fn of(symbol: &'n str, definitions: &[&OutlineItem]) -> Self {
        let owners: Vec<Option<&str>> = definitions.iter().map(|item| container(&item.name)).collect();
        let types: Vec<Option<&str>> = if owners.is_empty() {
            vec![container(symbol).filter(|path| last_part(path).starts_with(char::is_uppercase))]
        } else {
            owners
        };
        let types: Option<Vec<String>> = types
            .into_iter()
            .map(|path| Some(last_part(path?).to_owned()))
            .collect();
        Self {
            last: last_name(symbol),
            types: types.unwrap_or_default(),
        }
    }

    /// Whether the name at these bytes of a line is meant, and no other of the same letters.
    fn is_meant(&self, line: &str, at: usize, calls: bool) -> bool {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + self.last.len()..).unwrap_or_default();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if before.ends_with(word) || after.starts_with(word) {
            return false;
        }
        if self.types.is_empty() {
            return true;
        }
        let path = before.strip_suffix("::").or_else(|| before.strip_suffix('.'));
        let of_type = |path: &str| {
            self.types
                .iter()
                .any(|name| path.rsplit(|c| !word(c)).next() == Some(name))
        };
        if path.is_some_and(of_type) {
            return true;
        }
        let member = before.ends_with('.') && !before.ends_with("..");
        member && (!calls || after.starts_with('(') || after.starts_with("::<"))
    }
}

/// The lines that mean a name, each with where it stands.
pub fn mentions(
    name: &Name<'_>,
    definitions: &[&OutlineItem],
    search: &SearchResult,
    workspace: &Workspace,
) -> Vec<(Hit, Place)> {
    let mut by_file: BTreeMap<&str, Vec<&Hit>> = BTreeMap::new();
    for hit in &search.results {
        by_file.entry(&hit.path).or_default().push(hit);
    }
    let mut found = Vec::new();
    for (path, hits) in by_file {
        let text = workspace.text(path).ok();
        let text = text.as_deref().map(|text| text.as_str()).unwrap_or_default();
        let lines: Vec<&str> = text.split('\n').collect();
        let code = code_of(path, text);
        let code: Vec<&str> = code
            .as_deref()
            .map(|code| code.split('\n').collect())
            .unwrap_or_default();
        for hit in hits {
            let at = (hit.line as usize).saturating_sub(1);
            let line = lines.get(at).copied().unwrap_or(&hit.text);
            let defined = definitions
                .iter()
                .any(|item| item.path == path && item.line == hit.line);
            if let Some(place) = place(name, path, line, code.get(at).copied(), defined) {
                found.push((hit.clone(), place));
            }
        }
    }
    found
}

/// Where a line of a file mentions the name; `code` is the line without comments and texts, where they can be told apart.
fn place(name: &Name<'_>, path: &str, line: &str, code: Option<&str>, defined: bool) -> Option<Place> {
    let language = language_of(path);
    // Where a method is no value of its own, a member that is not called is a field.
    let calls = matches!(language.name, "rust" | "java");
    let meant = |text: &str| {
        text.match_indices(name.last)
            .any(|(at, _)| name.is_meant(text, at, calls))
    };
    let in_code = if role_of(path) == Role::Test {
        Place::Tests
    } else {
        Place::Code
    };
    match (language.kind, code) {
        (Kind::Code, Some(code)) if defined || meant(code) => Some(in_code),
        (Kind::Code, Some(_)) => meant(line).then_some(Place::Comments),
        (Kind::Code, None) => meant(line).then_some(in_code),
        (Kind::Docs, _) => meant(line).then_some(Place::Documents),
        _ => meant(line).then_some(Place::Settings),
    }
}

/// Whether a compiler finds the uses of what these files define.
pub fn is_compiled(path: &str) -> bool {
    matches!(language_of(path).name, "rust" | "go" | "java" | "typescript" | "c")
}

#[cfg(test)]
mod tests {
    use axon_tools::code::ItemKind;

    use super::*;

    fn item(path: &str, name: &str) -> OutlineItem {
        OutlineItem {
            path: path.to_owned(),
            kind: ItemKind::Function,
            name: name.to_owned(),
            line: 1,
            end_line: 2,
            signature: String::new(),
            public: true,
            documented: false,
            test: false,
        }
    }

    #[test]
    fn a_member_is_meant_where_it_is_called_or_named_with_its_type() {
        let slice = item("src/bytes.rs", "Bytes::slice");
        let method = Name::of("Bytes::slice", &[&slice]);
        let invoke = item("core.py", "Context.invoke");
        let python = Name::of("invoke", &[&invoke]);
        let class = item("src/store.rs", "StoreError");
        let bare = Name::of("StoreError", &[&class]);
        let code = |line: &'static str| Some(line);
        for (name, path, line, code, expected) in [
            (
                &method,
                "src/a.rs",
                "b.slice(1..)",
                code("b.slice(1..)"),
                Some(Place::Code),
            ),
            (
                &method,
                "tests/a.rs",
                "b.slice(1..)",
                code("b.slice(1..)"),
                Some(Place::Tests),
            ),
            (
                &method,
                "src/a.rs",
                "map(Bytes::slice)",
                code("map(Bytes::slice)"),
                Some(Place::Code),
            ),
            (&method, "src/a.rs", "use core::slice;", code("use core::slice;"), None),
            (
                &method,
                "src/a.rs",
                "slice::from_raw_parts(p, 1)",
                code("slice::from_raw_parts(p, 1)"),
                None,
            ),
            (&method, "src/a.rs", "self.slice = 1;", code("self.slice = 1;"), None),
            (&method, "src/a.rs", "b.slice_ref(x)", code("b.slice_ref(x)"), None),
            (
                &method,
                "src/a.rs",
                "// an empty slice",
                code("                 "),
                None,
            ),
            (
                &method,
                "src/a.rs",
                "/// a.slice(0..5)",
                code("                 "),
                Some(Place::Comments),
            ),
            (
                &method,
                "CHANGELOG.md",
                "`Bytes::slice` takes a range",
                None,
                Some(Place::Documents),
            ),
            (&method, "CHANGELOG.md", "an empty slice", None, None),
            (
                &python,
                "a.py",
                "call = ctx.invoke",
                code("call = ctx.invoke"),
                Some(Place::Code),
            ),
            (&python, "a.py", "invoke = 1", code("invoke = 1"), None),
            (
                &bare,
                "src/a.rs",
                "fn f() -> StoreError",
                code("fn f() -> StoreError"),
                Some(Place::Code),
            ),
            (
                &bare,
                "src/a.rs",
                "log(\"StoreError\")",
                code("log(            )"),
                Some(Place::Comments),
            ),
            (
                &bare,
                "settings.toml",
                "kind = \"StoreError\"",
                None,
                Some(Place::Settings),
            ),
        ] {
            assert_eq!(place(name, path, line, code, false), expected, "{path}: {line}");
        }
        let definition = "pub fn slice(&self) {";
        let found = place(&method, "src/bytes.rs", definition, Some(definition), true);
        assert_eq!(found, Some(Place::Code));
    }

    #[test]
    fn a_name_is_defined_only_on_the_type_that_it_names() {
        let outline = OutlineResult {
            results: vec![
                item("a.rs", "Bytes::slice"),
                item("b.rs", "Other::slice"),
                item("c.rs", "copy"),
                item("d.rs", "Chain<T, U>::new"),
            ],
            ..OutlineResult::default()
        };
        for (symbol, expected) in [
            ("Bytes::slice", &["a.rs"][..]),
            ("Bytes::subslice", &[]),
            ("slice", &["a.rs", "b.rs"]),
            ("buf::copy", &["c.rs"]),
            ("Bytes::copy", &[]),
            ("Chain::new", &["d.rs"]),
        ] {
            let found: Vec<&str> = definitions(symbol, &outline)
                .iter()
                .map(|item| item.path.as_str())
                .collect();
            assert_eq!(found, expected, "{symbol}");
        }
    }
}
