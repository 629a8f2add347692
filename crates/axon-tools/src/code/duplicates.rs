//! `code.duplicates`: pieces of code that are written more than once, found by their tokens, with comments and layout left
//! out. Names count unless the call says otherwise, and then must differ in the same way throughout the piece.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tree_sitter::Node;

use super::files::{Files, LIST_BYTES_MAX};
use super::source::{Role, Source, walk};
use super::syntax::node_text;
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Lines of code a piece must have where a call names no number.
const LINES_DEFAULT: usize = 6;
/// The same where names may differ: short pieces look alike by chance.
const LINES_RENAMED_DEFAULT: usize = 8;
const LINES_MIN: usize = 3;
const LINES_MAX: usize = 100;
/// Pieces returned where a call names no number.
const RESULTS_DEFAULT: usize = 30;
/// Most pieces returned.
const RESULTS_MAX: usize = 200;
/// Places of one piece that are returned.
const PLACES_MAX: usize = 20;
/// Lines of code that are compared; what follows is counted as left out.
const CODE_LINES_MAX: usize = 400_000;
/// Letters and digits a piece must have on average in a line: closing brackets alone repeat everywhere.
const LETTERS_PER_LINE_MIN: usize = 10;

/// Parameters of `code.duplicates`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DuplicatesParams {
    /// Files or directories within the scope that a piece must have a place in; the whole scope if empty.
    pub paths: Vec<String>,
    /// Whether pieces count as well that differ in names and in the values of literals alone.
    pub renamed: bool,
    /// Lines of code a piece must have, 3 to 100; 6 if absent, 8 where names may differ.
    #[schemars(range(min = 3, max = 100))]
    pub min_lines: Option<usize>,
    /// Whether tests are compared as well.
    pub tests: bool,
    /// Most pieces to return, 1 to 200; 30 if absent.
    #[schemars(range(min = 1, max = 200))]
    pub max_results: Option<usize>,
}

/// Where a piece is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DuplicatePlace {
    /// The file.
    pub path: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// The function it begins in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// A piece that is written more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Duplicate {
    /// Lines of code it has in each place.
    pub lines: usize,
    /// How often it is written.
    pub count: usize,
    /// Whether its places differ in names or in the values of literals.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renamed: bool,
    /// The places, by path and line.
    pub places: Vec<DuplicatePlace>,
}

/// What `code.duplicates` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DuplicatesResult {
    /// Files compared.
    pub files: usize,
    /// Their lines of code.
    pub code_lines: usize,
    /// Lines that a single copy of each piece would save.
    pub repeated_lines: usize,
    /// The pieces, those that would save most lines first.
    pub results: Vec<Duplicate>,
    /// Pieces left out.
    pub omitted: usize,
    /// Files left out because there were too many lines, or because they could not be parsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// A line of code: its number and its text without white space.
struct Line {
    number: u32,
    text: String,
    /// The text with names and literals left open, and the names; what is compared where names may differ.
    shape: Option<(String, Vec<String>)>,
}

impl Line {
    fn compared(&self) -> &str {
        self.shape.as_ref().map_or(&self.text, |(shape, _)| shape)
    }
}

/// The lines of a file that count.
struct Body {
    path: String,
    lines: Vec<Line>,
    /// Functions with their first and last line, outer ones first.
    functions: Vec<(u32, u32, String)>,
}

/// The lines of code of a file, without those of imports, and without tests unless they are asked for.
fn body(source: &Source, tests: bool, renamed: bool) -> Body {
    let code = source.without_comments();
    let mut shapes = if renamed { shapes(source, &code) } else { Vec::new() };
    let declared = declared(source);
    let mut at = 0;
    let mut lines = Vec::new();
    for (index, text) in code.split('\n').enumerate() {
        let start = at;
        at += text.len() + 1;
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let import = ["use ", "pub use ", "import ", "from ", "mod ", "pub mod ", "#include"]
            .iter()
            .any(|word| text.trim_start().starts_with(word));
        let first = start + (text.len() - text.trim_start().len());
        let only_declared = declared.iter().any(|range| range.contains(&first));
        if plain.is_empty() || import || only_declared || (!tests && source.is_test(start)) {
            continue;
        }
        lines.push(Line {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            text: plain,
            shape: shapes.get_mut(index).map(std::mem::take),
        });
    }
    let functions = source
        .functions()
        .map(|item| (item.line, item.end_line, item.qualified(source.language)))
        .collect();
    Body {
        path: source.path.clone(),
        lines,
        functions,
    }
}

/// Functions that are declared and have no body, such as overloads: they have to be alike, and nothing of them can be shared.
fn declared(source: &Source) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    walk(source.tree.root_node(), |node| {
        let bodiless = match node.kind() {
            "function_signature" | "function_signature_item" => true,
            "function_definition" if source.language.name == "python" => {
                node.child_by_field_name("body").is_some_and(is_placeholder)
            }
            _ => false,
        };
        if bodiless {
            let decorated = node.parent().filter(|outer| outer.kind() == "decorated_definition");
            found.push(decorated.unwrap_or(node).byte_range());
        }
        !bodiless
    });
    found
}

/// Whether a body holds no statement but `...` and documentation.
fn is_placeholder(body: Node<'_>) -> bool {
    let mut cursor = body.walk();
    let mut statements = body.named_children(&mut cursor).filter(|node| node.kind() != "comment");
    let says_nothing = |node: Node<'_>| {
        node.named_child(0)
            .is_some_and(|value| matches!(value.kind(), "ellipsis" | "string"))
    };
    statements.all(|node| node.kind() == "expression_statement" && says_nothing(node))
}

/// Each line of the code with names and literals left open, and its names.
fn shapes(source: &Source, code: &str) -> Vec<(String, Vec<String>)> {
    let mut lines = vec![(String::new(), Vec::new())];
    let add = |lines: &mut Vec<(String, Vec<String>)>, text: &str| {
        for c in text.chars() {
            match (c, lines.last_mut()) {
                ('\n', _) => lines.push((String::new(), Vec::new())),
                (c, Some((shape, _))) if !c.is_whitespace() => shape.push(c),
                _ => {}
            }
        }
    };
    let mut at = 0;
    walk(source.tree.root_node(), |node| {
        let (kind, leaf) = (node.kind(), node.child_count() == 0);
        if source.syntax.comments.contains(&kind) {
            return false;
        }
        let name = leaf && source.syntax.identifiers.contains(&kind);
        let number = leaf && node.is_named() && LITERALS.iter().any(|part| kind.contains(part));
        if !name && !number && !source.syntax.strings.contains(&kind) {
            return true;
        }
        add(&mut lines, code.get(at..node.start_byte()).unwrap_or_default());
        at = node.end_byte();
        let text = node_text(node, &source.text);
        let Some((shape, names)) = lines.last_mut() else {
            return false;
        };
        shape.push(if name { '$' } else { '#' });
        if name {
            names.push(text.to_owned());
        }
        // What of a long text stands on further lines.
        let breaks = text.matches('\n').count();
        lines.extend((0..breaks).map(|_| ("#".to_owned(), Vec::new())));
        false
    });
    add(&mut lines, code.get(at..).unwrap_or_default());
    lines
}

/// Whether two pieces differ in their names in the same way throughout.
fn is_renamed<'n>(one: impl Iterator<Item = &'n String>, other: impl Iterator<Item = &'n String>) -> bool {
    let (mut there, mut back) = (HashMap::new(), HashMap::new());
    one.zip(other)
        .all(|(one, other)| *there.entry(one).or_insert(other) == other && *back.entry(other).or_insert(one) == one)
}

/// Parts of the kinds of numbers and the like.
const LITERALS: &[&str] = &["literal", "integer", "float", "number"];

impl Body {
    fn names(&self, first: usize, length: usize) -> impl Iterator<Item = &String> {
        let lines = &self.lines[first..first + length];
        lines
            .iter()
            .filter_map(|line| line.shape.as_ref())
            .flat_map(|(_, names)| names)
    }

    fn texts(&self, first: usize, length: usize) -> impl Iterator<Item = &str> {
        self.lines[first..first + length].iter().map(|line| line.text.as_str())
    }

    fn place(&self, first: usize, length: usize) -> DuplicatePlace {
        let line = self.lines[first].number;
        let around = |(from, to, _): &&(u32, u32, String)| (*from..=*to).contains(&line);
        DuplicatePlace {
            path: self.path.clone(),
            line,
            end_line: self.lines[first + length - 1].number,
            function: self.functions.iter().rfind(around).map(|(_, _, name)| name.clone()),
        }
    }
}

/// The pieces of at least `min_lines` lines that occur more than once, each as long as all its places allow.
fn pieces(bodies: &[Body], min_lines: usize) -> Vec<(usize, Vec<(usize, usize)>)> {
    // Windows of the least length that read the same, then longer as far as all of a window's places agree.
    let mut windows: BTreeMap<Vec<&str>, Vec<(usize, usize)>> = BTreeMap::new();
    for (file, body) in bodies.iter().enumerate() {
        for first in 0..(body.lines.len() + 1).saturating_sub(min_lines) {
            let window: Vec<&str> = body.lines[first..first + min_lines]
                .iter()
                .map(Line::compared)
                .collect();
            let letters: usize = body
                .texts(first, min_lines)
                .flat_map(str::chars)
                .filter(|c| c.is_alphanumeric())
                .count();
            // Rows of a table read alike line by line.
            let distinct = window.iter().collect::<BTreeSet<_>>().len();
            if letters >= LETTERS_PER_LINE_MIN * min_lines && distinct * 2 > min_lines {
                windows.entry(window).or_default().push((file, first));
            }
        }
    }
    let text = |(file, line): (usize, usize)| bodies[file].lines.get(line).map(Line::compared);
    let mut found: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    let mut order: Vec<Vec<(usize, usize)>> = windows.into_values().filter(|places| places.len() > 1).collect();
    order.sort();
    let mut covered: BTreeSet<(usize, usize)> = BTreeSet::new();
    for mut places in order {
        // A place that begins within the one before is the same text once more, such as a table's rows.
        places.dedup_by(|next, before| next.0 == before.0 && next.1 < before.1 + min_lines);
        let head = places[0];
        let names = |(file, first): (usize, usize)| bodies[file].names(first, min_lines);
        places.retain(|place| is_renamed(names(head), names(*place)));
        if places.len() < 2 || places.iter().all(|place| covered.contains(place)) {
            continue;
        }
        let mut length = min_lines;
        loop {
            let next: Vec<Option<&str>> = places
                .iter()
                .map(|(file, first)| text((*file, first + length)))
                .collect();
            let agree = next[0].is_some() && next.iter().all(|text| *text == next[0]);
            let apart = places
                .windows(2)
                .all(|pair| pair[0].0 != pair[1].0 || pair[0].1 + length < pair[1].1);
            let further = |(file, first): (usize, usize)| bodies[file].names(first, length + 1);
            if !agree || !apart || !places.iter().all(|place| is_renamed(further(head), further(*place))) {
                break;
            }
            length += 1;
        }
        for (file, first) in &places {
            covered.extend((0..=length - min_lines).map(|offset| (*file, first + offset)));
        }
        found.push((length, places));
    }
    found
}

fn run(files: &Files, params: &DuplicatesParams) -> Result<DuplicatesResult, ToolError> {
    let default = if params.renamed {
        LINES_RENAMED_DEFAULT
    } else {
        LINES_DEFAULT
    };
    let min_lines = params.min_lines.unwrap_or(default).clamp(LINES_MIN, LINES_MAX);
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let mut result = DuplicatesResult::default();
    let mut bodies: Vec<Body> = Vec::new();
    let mut too_many = Vec::new();
    files.each_source(&mut result.skipped, |source| {
        if source.role == Role::Foreign || (!params.tests && source.role == Role::Test) {
            return;
        }
        if result.code_lines >= CODE_LINES_MAX {
            too_many.push(source.path.clone());
            return;
        }
        let body = body(source, params.tests, params.renamed);
        result.files += 1;
        result.code_lines += body.lines.len();
        bodies.push(body);
    })?;
    result
        .skipped
        .extend(too_many.into_iter().take(super::files::SKIPPED_MAX));
    files.check_cancelled()?;
    let mut found: Vec<Duplicate> = pieces(&bodies, min_lines)
        .into_iter()
        .filter(|(_, places)| places.iter().any(|(file, _)| files.is_selected(&bodies[*file].path)))
        .map(|(lines, places)| Duplicate {
            lines,
            count: places.len(),
            renamed: places.iter().any(|(file, first)| {
                !bodies[*file]
                    .texts(*first, lines)
                    .eq(bodies[places[0].0].texts(places[0].1, lines))
            }),
            places: places
                .iter()
                .take(PLACES_MAX)
                .map(|(file, first)| bodies[*file].place(*first, lines))
                .collect(),
        })
        .collect();
    result.repeated_lines = found.iter().map(saved).sum();
    found.sort_by(|a, b| saved(b).cmp(&saved(a)).then_with(|| a.places.cmp(&b.places)));
    let total = found.len();
    found.truncate(limit);
    (result.results, _) = fit(found, LIST_BYTES_MAX);
    result.omitted = total - result.results.len();
    Ok(result)
}

/// Lines that a single copy would save.
fn saved(duplicate: &Duplicate) -> usize {
    duplicate.lines * (duplicate.count - 1)
}

struct Duplicates;

#[async_trait]
impl Tool for Duplicates {
    fn name(&self) -> &str {
        "code.duplicates"
    }

    fn description(&self) -> &str {
        "Finds code that is written more than once, line by line without comments and layout, with all its \
         places; with `renamed` also what differs in names and literals alone. Use it to find what to write once."
    }

    fn schema(&self) -> Value {
        schema_of::<DuplicatesParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: DuplicatesParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Duplicates)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    const PIECE: &str = "    let connection = pool.take(timeout)?;\n    let rows = connection.query(statement, &values)?;\n    // A remark.\n    let mut found = Vec::with_capacity(rows.len());\n    for row in rows {\n        found.push(Record::read(&row)?);\n    }\n    Ok(found)\n";

    fn seen(result: &DuplicatesResult) -> Vec<String> {
        let place =
            |place: &DuplicatePlace| format!("{}:{}-{} {:?}", place.path, place.line, place.end_line, place.function);
        result
            .results
            .iter()
            .map(|found| {
                let places: Vec<String> = found.places.iter().map(place).collect();
                format!("{} lines × {}: {}", found.lines, found.count, places.join(", "))
            })
            .collect()
    }

    #[tokio::test]
    async fn what_is_written_twice_is_found_whatever_its_layout() {
        let spread = PIECE.replace("    // A remark.\n", "").replace("    ", "\t");
        let (workspace, _dir) = workspace(&[
            ("src/a.rs", &format!("fn first() -> Found {{\n{PIECE}}}\n")),
            (
                "src/b.rs",
                &format!("/// Another.\nfn second() -> Found {{\n{spread}}}\nfn other() {{ call(); }}\n"),
            ),
            ("tests/c.rs", &format!("fn third() -> Found {{\n{PIECE}}}\n")),
        ]);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({})).await;
        assert_eq!(
            seen(&result),
            ["8 lines × 2: src/a.rs:2-10 Some(\"first\"), src/b.rs:3-10 Some(\"second\")"]
        );
        assert_eq!((result.files, result.repeated_lines), (2, 8));
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"tests": true})).await;
        assert_eq!(result.results[0].count, 3);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"min_lines": 20})).await;
        assert_eq!(result.results, []);
    }

    #[tokio::test]
    async fn what_differs_in_names_alone_is_found_where_that_is_asked_for() {
        let renamed = PIECE
            .replace("connection", "client")
            .replace("rows", "lines")
            .replace("values", "arguments");
        let mixed = PIECE.replacen("connection", "client", 1);
        let (workspace, _dir) = workspace(&[
            ("a.rs", &format!("fn first() -> Found {{\n{PIECE}}}\n")),
            ("b.rs", &format!("fn second() -> Found {{\n{renamed}}}\n")),
            // Here one name stands for two things, so that the piece does something else.
            ("c.rs", &format!("fn third() -> Found {{\n{mixed}}}\n")),
        ]);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"min_lines": 8})).await;
        assert_eq!(seen(&result), Vec::<String>::new());
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"renamed": true})).await;
        assert_eq!(
            seen(&result),
            ["9 lines × 2: a.rs:1-10 Some(\"first\"), b.rs:1-10 Some(\"second\")"]
        );
        assert!(result.results[0].renamed);
    }

    #[tokio::test]
    async fn brackets_imports_and_rows_of_a_table_are_no_duplicates() {
        let brackets = "fn f() {\n    {\n        {\n            {\n            }\n        }\n    }\n}\n".repeat(2);
        let table: String = "    row(\"a value\", \"another value\"),\n".repeat(12);
        let imports = "use crate::something::Long;\n".repeat(8);
        let (workspace, _dir) = workspace(&[
            ("a.rs", &format!("{imports}{brackets}fn t() {{\n{table}}}\n")),
            ("b.rs", &imports),
        ]);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({})).await;
        assert_eq!(seen(&result), Vec::<String>::new());
    }

    #[tokio::test]
    async fn overloads_are_no_duplicates() {
        let parameters = "    name: str | None = None,\n    parent: Context | None = None,\n    settings: dict | None = None,\n    callback: Callable | None = None,\n    arguments: list | None = None,\n    options: list | None = None,\n";
        let stub = format!("@t.overload\ndef command(\n{parameters}) -> Command: ...\n\n");
        let real = format!("def command(\n{parameters}) -> Command:\n    return Command(name)\n\n");
        for (text, expected) in [
            (format!("{stub}{stub}{real}"), 0),
            (format!("{real}{}", real.replace("command", "group")), 1),
        ] {
            let (workspace, _dir) = workspace(&[("a.py", &text)]);
            let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({})).await;
            assert_eq!(result.results.len(), expected, "{text}: {:?}", seen(&result));
        }
    }

    #[tokio::test]
    async fn only_pieces_with_a_place_in_the_paths_are_returned() {
        let (workspace, _dir) = workspace(&[
            ("a/x.rs", &format!("fn a() {{\n{PIECE}}}\n")),
            ("b/y.rs", &format!("fn b() {{\n{PIECE}}}\n")),
            ("c/z.rs", "fn c() {}\n"),
        ]);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"paths": ["b"]})).await;
        assert_eq!(result.results.len(), 1);
        let result: DuplicatesResult = call(&workspace, "code.duplicates", json!({"paths": ["c"]})).await;
        assert_eq!(result.results, []);
    }
}
