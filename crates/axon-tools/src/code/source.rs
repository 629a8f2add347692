//! One parsed file: its text, its tree, its named pieces, and which parts are tests, comments or strings.
//! It never touches a disk and never recurses over the tree, whose depth an author of hostile text controls.

use std::ops::Range;
use std::sync::Arc;

use tree_sitter::{Node, Parser, Tree};

use super::syntax::{ItemKind, Syntax, is_test_condition, node_text, syntax_of};
use crate::{Language, language_of};

/// Larger files are searched and ranked, but not parsed.
pub const PARSE_BYTES_MAX: usize = 1024 * 1024;
/// Nodes nested deeper are not visited: asking for what is around a node takes time for each level.
pub const DEPTH_MAX: usize = 1_000;
/// Named pieces of one file that are collected; no file people wrote has as many.
const ITEMS_MAX: usize = 10_000;

/// What a file is for, as far as its path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Code others call.
    Library,
    /// The start of a program, or a script.
    Entry,
    /// Tests, and what only tests use.
    Test,
    /// Examples and benchmarks.
    Example,
    /// Copied from elsewhere or written by a program.
    Foreign,
}

/// What a file is for, told by its path.
pub fn role_of(path: &str) -> Role {
    let mut parts: Vec<&str> = path.split('/').collect();
    let file = parts.pop().unwrap_or_default();
    let stem = file.split('.').next().unwrap_or_default();
    let any = |names: &[&str]| parts.iter().any(|part| names.contains(part));
    if any(&[
        "vendor",
        "_vendor",
        "vendored",
        "third_party",
        "node_modules",
        "site-packages",
        "target",
        "dist",
    ]) || ["_pb2.py", ".pb.go", ".min.js", "_pb.js"]
        .iter()
        .any(|end| file.ends_with(end))
    {
        Role::Foreign
    } else if any(&["tests", "test", "testing", "testdata", "fixtures", "__tests__", "spec"])
        || matches!(
            stem,
            "tests" | "test" | "conftest" | "testutil" | "test_util" | "test_utils"
        )
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || file.contains(".test.")
        || file.contains(".spec.")
        || stem.ends_with("Test")
        || stem.ends_with("Tests")
    {
        Role::Test
    } else if any(&[
        "examples",
        "example",
        "benches",
        "benchmarks",
        "bench",
        "fuzz",
        "demo",
        "demos",
    ]) {
        Role::Example
    } else if any(&["bin", "cmd", "scripts", "xtask"])
        || matches!(
            file,
            "main.rs"
                | "main.go"
                | "main.c"
                | "Main.java"
                | "build.rs"
                | "setup.py"
                | "__main__.py"
                | "manage.py"
                | "noxfile.py"
        )
    {
        Role::Entry
    } else {
        Role::Library
    }
}

/// A named piece of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name; of an implementation block the type, with the trait before it.
    pub name: String,
    /// The type or class it belongs to.
    pub container: Option<String>,
    /// First line, counted from 1, without attributes and documentation.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Its bytes.
    pub bytes: Range<usize>,
    /// Whether it has documentation.
    pub documented: bool,
    /// Whether it can be used from outside its module.
    pub public: bool,
    /// Whether it is asynchronous.
    pub is_async: bool,
    /// Whether it is test code.
    pub test: bool,
}

impl Item {
    /// The name with its container: `Type::method`, `Class.method`, or the name alone.
    pub fn qualified(&self, language: Language) -> String {
        let separator = if language.name == "rust" { "::" } else { "." };
        match &self.container {
            Some(container) => format!("{container}{separator}{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether it is a function or method.
    pub fn is_function(&self) -> bool {
        matches!(self.kind, ItemKind::Function | ItemKind::Method)
    }
}

/// A parsed file.
#[derive(Debug)]
pub struct Source {
    /// Path relative to the workspace.
    pub path: String,
    /// The text.
    pub text: Arc<str>,
    /// The language.
    pub language: Language,
    /// Its syntax.
    pub syntax: &'static Syntax,
    /// The tree.
    pub tree: Tree,
    /// What the file is for.
    pub role: Role,
    /// Named pieces in the order of the text.
    pub items: Vec<Item>,
    line_starts: Vec<usize>,
    comments: Vec<Range<usize>>,
    strings: Vec<Range<usize>>,
    /// Test code that is in no other test code.
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Parses a file; `None` where there is no grammar for it, or it is too large.
    pub fn parse(path: &str, text: Arc<str>) -> Option<Self> {
        let language = language_of(path);
        let syntax = syntax_of(path)?;
        if text.len() > PARSE_BYTES_MAX {
            return None;
        }
        let mut parser = Parser::new();
        parser.set_language(&(syntax.grammar)()).ok()?;
        let tree = parser.parse(text.as_bytes(), None)?;
        let mut source = Self {
            path: path.to_owned(),
            line_starts: line_starts(&text),
            role: role_of(path),
            text,
            language,
            syntax,
            tree,
            items: Vec::new(),
            comments: Vec::new(),
            strings: Vec::new(),
            tests: Vec::new(),
        };
        source.collect();
        Some(source)
    }

    fn collect(&mut self) {
        let text = Arc::clone(&self.text);
        let (mut items, mut comments, mut strings) = (Vec::<Item>::new(), Vec::new(), Vec::new());
        // Open containers: where they end, the name their functions are called by, and whether they are tests.
        let mut open: Vec<(usize, Option<String>, bool)> = Vec::new();
        let mut whole_file_test = false;
        walk(self.tree.root_node(), |node| {
            open.retain(|(end, _, _)| node.start_byte() < *end);
            let kind = node.kind();
            if self.syntax.comments.contains(&kind) {
                comments.push(node.byte_range());
                return false;
            }
            if self.syntax.strings.contains(&kind) {
                strings.push(node.byte_range());
                // Interpolated code inside a Python string is code, but a walk into it buys nothing here.
                return false;
            }
            if kind == "inner_attribute_item" {
                let attribute: String = node_text(node, &text).chars().filter(|c| !c.is_whitespace()).collect();
                whole_file_test |= open.is_empty() && is_test_condition(&attribute);
            }
            let Some(form) = self.syntax.item(kind).filter(|_| items.len() < ITEMS_MAX) else {
                return true;
            };
            let Some(name) = (self.syntax.name_of)(node, form.name_field) else {
                return true;
            };
            if form.kind == ItemKind::Module && node.child_by_field_name("body").is_none() {
                // `mod name;` only points at another file.
                return false;
            }
            let name = plain_name(node_text(name, &text));
            let container =
                (self.syntax.receiver)(node, &text).or_else(|| open.iter().rev().find_map(|(_, name, _)| name.clone()));
            let test = open.iter().any(|(_, _, test)| *test) || (self.syntax.is_test)(node, &text);
            let is_function = form.kind == ItemKind::Function;
            let inside = match form.kind {
                ItemKind::Impl | ItemKind::Trait | ItemKind::Class | ItemKind::Struct | ItemKind::Enum => {
                    Some(name.clone())
                }
                _ => None,
            };
            let shown = match (form.kind, node.child_by_field_name("trait")) {
                (ItemKind::Impl, Some(of)) => format!("{} for {name}", plain_name(node_text(of, &text))),
                _ => name,
            };
            items.push(Item {
                kind: if is_function && container.is_some() {
                    ItemKind::Method
                } else {
                    form.kind
                },
                name: shown,
                container: container.filter(|_| is_function),
                line: row(node.start_position().row),
                end_line: row(node.end_position().row),
                bytes: node.byte_range(),
                documented: (self.syntax.is_documented)(node, &text),
                public: (self.syntax.is_public)(node, &text),
                is_async: is_function && self.syntax.is_async(node, &text),
                test,
            });
            open.push((node.end_byte(), inside, test));
            true
        });
        if whole_file_test {
            items.iter_mut().for_each(|item| item.test = true);
            self.role = Role::Test;
        }
        for item in items.iter().filter(|item| item.test) {
            if self.tests.last().is_none_or(|last| item.bytes.start >= last.end) {
                self.tests.push(item.bytes.clone());
            }
        }
        self.items = items;
        self.comments = comments;
        self.strings = strings;
    }

    /// The innermost function around a byte.
    pub fn function_at(&self, byte: usize) -> Option<&Item> {
        self.items
            .iter()
            .rfind(|item| item.is_function() && item.bytes.contains(&byte))
    }

    /// Whether a byte is in test code.
    pub fn is_test(&self, byte: usize) -> bool {
        self.role == Role::Test || self.tests.iter().any(|range| range.contains(&byte))
    }

    /// The functions of the file.
    pub fn functions(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.is_function())
    }

    /// The node of an item.
    pub fn node_of(&self, item: &Item) -> Option<Node<'_>> {
        let mut node = self
            .tree
            .root_node()
            .descendant_for_byte_range(item.bytes.start, item.bytes.end)?;
        while self.syntax.item(node.kind()).is_none() {
            node = node.parent()?;
        }
        (node.byte_range() == item.bytes).then_some(node)
    }

    /// The line of a byte, counted from 1.
    pub fn line_of(&self, byte: usize) -> u32 {
        row(self
            .line_starts
            .partition_point(|start| *start <= byte)
            .saturating_sub(1))
    }

    /// One line, counted from 1, without its line break.
    pub fn line(&self, line: u32) -> &str {
        let index = (line as usize).saturating_sub(1);
        let Some(start) = self.line_starts.get(index) else {
            return "";
        };
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text
            .get(*start..end)
            .unwrap_or_default()
            .trim_end_matches(['\n', '\r'])
    }

    /// Comments, in order.
    pub fn comments(&self) -> &[Range<usize>] {
        &self.comments
    }

    /// String literals, in order.
    pub fn strings(&self) -> &[Range<usize>] {
        &self.strings
    }

    /// The text with comments and strings blanked out, byte for byte as long.
    pub fn code(&self) -> String {
        self.blanked(self.comments.iter().chain(&self.strings))
    }

    /// The text with comments blanked out, byte for byte as long.
    pub fn without_comments(&self) -> String {
        self.blanked(self.comments.iter())
    }

    fn blanked<'a>(&self, ranges: impl Iterator<Item = &'a Range<usize>>) -> String {
        let mut bytes = self.text.as_bytes().to_vec();
        for range in ranges {
            for byte in &mut bytes[range.clone()] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Lines that hold something besides white space, comments and documentation.
    pub fn code_lines(&self, item: &Item) -> usize {
        let prose = self
            .strings
            .iter()
            .filter(|range| item.bytes.contains(&range.start) && self.is_docstring(range));
        let prose: Vec<(u32, u32)> = prose
            .chain(&self.comments)
            .map(|range| (self.line_of(range.start), self.line_of(range.end.saturating_sub(1))))
            .collect();
        (item.line..=item.end_line)
            .filter(|line| {
                let text = self.line(*line).trim_start();
                let inside = prose.iter().any(|(first, last)| (first + 1..=*last).contains(line));
                let starts = ["//", "#", "/*", "\"\"\"", "r\"\"\"", "'''"]
                    .iter()
                    .any(|mark| text.starts_with(mark));
                !text.is_empty() && !inside && !starts
            })
            .count()
    }

    /// Whether a string stands alone as a statement, as documentation in Python does.
    fn is_docstring(&self, range: &Range<usize>) -> bool {
        let before = self.line(self.line_of(range.start)).trim_start();
        let text = self.text.get(range.clone()).unwrap_or_default();
        before.starts_with(text.lines().next().unwrap_or_default()) && (text.contains("\"\"\"") || text.contains("'''"))
    }
}

/// A line number, counted from 1, of a row counted from 0.
pub fn row(row: usize) -> u32 {
    u32::try_from(row + 1).unwrap_or(u32::MAX)
}

/// Where the lines of a text start.
pub fn line_starts(text: &str) -> Vec<usize> {
    let mut starts = vec![0];
    starts.extend(
        text.bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1),
    );
    if starts.last() == Some(&text.len()) && starts.len() > 1 {
        starts.pop();
    }
    starts
}

/// Visits the nodes below and including `root` in the order of the text; `visit` tells whether to go into a node. Nothing
/// deeper than [`DEPTH_MAX`] below it is visited.
pub fn walk<'t>(root: Node<'t>, mut visit: impl FnMut(Node<'t>) -> bool) {
    let mut cursor = root.walk();
    let mut depth = 0;
    loop {
        if visit(cursor.node()) && depth < DEPTH_MAX && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return;
            }
            depth -= 1;
        }
    }
}

/// A type's name without its generic arguments, or any other name as it is.
fn plain_name(text: &str) -> String {
    let name = text.split('<').next().unwrap_or(text).trim();
    let name = name.trim_start_matches(['&', '*']).trim();
    let name = name.rsplit("::").next().unwrap_or(name);
    if name.is_empty() {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = r#"
/// Doc.
pub struct Client<T> { inner: T }

impl<T: Send> Client<T> {
    /// Connects.
    pub async fn connect(&self, host: &str, port: u16) -> Result<(), Error> {
        let text = "unwrap() // not code"; // a comment
        helper(text)
    }
}

impl std::fmt::Display for Client<u8> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result { Ok(()) }
}

fn helper(_: &str) {}

#[cfg(test)]
mod tests {
    #[test]
    fn works() { helper("x"); }
}
"#;

    fn parse(path: &str, text: &str) -> Source {
        Source::parse(path, Arc::from(text)).expect("parses")
    }

    #[test]
    fn items_of_rust_are_named_placed_and_marked() {
        let source = parse("src/a.rs", RUST);
        let seen: Vec<_> = source
            .items
            .iter()
            .map(|i| {
                (
                    i.kind,
                    i.qualified(source.language),
                    i.line,
                    i.documented,
                    i.public,
                    i.test,
                )
            })
            .collect();
        use ItemKind::*;
        assert_eq!(
            seen,
            vec![
                (Struct, "Client".into(), 3, true, true, false),
                (Impl, "Client".into(), 5, false, false, false),
                (Method, "Client::connect".into(), 7, true, true, false),
                (Impl, "Display for Client".into(), 13, false, false, false),
                (Method, "Client::fmt".into(), 14, false, false, false),
                (Function, "helper".into(), 17, false, false, false),
                (Module, "tests".into(), 20, false, false, true),
                (Function, "works".into(), 22, false, false, true),
            ]
        );
        assert!(source.items[2].is_async);
        assert!(!source.code().contains("not code") && !source.code().contains("a comment"));
        assert_eq!(source.code().len(), RUST.len());
        let at = RUST.find("helper(\"x\")").expect("there");
        assert!(source.is_test(at) && !source.is_test(RUST.find("helper(text)").expect("there")));
    }

    #[test]
    fn items_of_python_are_named_placed_and_marked() {
        let text = "class Store:\n    \"\"\"Doc.\"\"\"\n    async def get(self, key, *, default=None):\n        return key\n\ndef _hidden(a):\n    pass\n\ndef test_it():\n    pass\n";
        let source = parse("pkg/store.py", text);
        let seen: Vec<_> = source
            .items
            .iter()
            .map(|i| {
                (
                    i.kind,
                    i.qualified(source.language),
                    i.documented,
                    i.public,
                    i.is_async,
                    i.test,
                )
            })
            .collect();
        use ItemKind::*;
        assert_eq!(
            seen,
            vec![
                (Class, "Store".into(), true, true, false, false),
                (Method, "Store.get".into(), false, true, true, false),
                (Function, "_hidden".into(), false, false, false, false),
                (Function, "test_it".into(), false, true, false, true),
            ]
        );
    }

    #[test]
    fn documentation_is_no_code() {
        let text = "def f(a):\n    \"\"\"Says\n    a lot.\n    \"\"\"\n    # why\n    x = \"\"\"kept\n    too\"\"\"\n\n    return x\n";
        let source = parse("a.py", text);
        assert_eq!(source.code_lines(&source.items[0]), 4);
        let source = parse(
            "a.rs",
            "fn f() {\n    /* one\n       two */\n    // three\n    let x = 1;\n}\n",
        );
        assert_eq!(source.code_lines(&source.items[0]), 3);
    }

    #[test]
    fn paths_tell_roles() {
        for (path, role) in [
            ("src/lib.rs", Role::Library),
            ("src/main.rs", Role::Entry),
            ("crates/a/src/bin/x.rs", Role::Entry),
            ("tests/it.rs", Role::Test),
            ("pkg/test_x.py", Role::Test),
            ("pkg/x_test.go", Role::Test),
            ("src/tests.rs", Role::Test),
            ("examples/demo.rs", Role::Example),
            ("vendor/x/src/lib.rs", Role::Foreign),
            ("web/x.min.js", Role::Foreign),
            ("api/x.pb.go", Role::Foreign),
            ("src/PoolTest.java", Role::Test),
            ("src/Tester.java", Role::Library),
            ("cmd/x/run.go", Role::Entry),
            ("src/latest.rs", Role::Library),
        ] {
            assert_eq!(role_of(path), role, "{path}");
        }
    }

    #[test]
    fn a_deeply_nested_file_is_walked_without_recursion() {
        let text = format!("fn f() {{ {}1{}; }}", "(".repeat(20_000), ")".repeat(20_000));
        let source = parse("src/deep.rs", &text);
        assert_eq!(source.functions().count(), 1);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = parse("src/a.rs", "fn a() {}\r\nfn b() {}\n");
        assert_eq!(
            (source.line(1), source.line(2), source.line(3)),
            ("fn a() {}", "fn b() {}", "")
        );
        assert_eq!((source.line_of(0), source.line_of(11)), (1, 2));
    }
}
