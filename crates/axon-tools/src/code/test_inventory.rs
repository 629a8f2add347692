//! `code.tests`: which tests there are, which are switched off or prove nothing, and what no test names. Whether a function is
//! tested is told by its name alone: a test that reaches it through others is not seen, and nothing is ever run.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use async_trait::async_trait;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tree_sitter::Node;

use super::files::{Files, LIST_BYTES_MAX};
use super::metrics::{FunctionMetrics, Mentions, complete, last_name, measure};
use super::source::{Role, Source, row, walk};
use super::syntax::node_text;
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Entries of each list where a call names no number.
const RESULTS_DEFAULT: usize = 50;
/// Most entries of each list.
const RESULTS_MAX: usize = 300;
/// Lines above a test that are looked at for what switches it off.
const LINES_ABOVE_MAX: u32 = 10;
/// Functions of the same file whose checks count for a test that calls them.
const HELPERS_MAX: usize = 200;

/// Parameters of `code.tests`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestsParams {
    /// Files or directories within the scope; the whole scope if empty. Tests elsewhere in the scope count for them.
    pub paths: Vec<String>,
    /// Whether functions that only their own module can use are reported as untested as well.
    pub private: bool,
    /// Most entries of each list, 1 to 300; 50 if absent.
    #[schemars(range(min = 1, max = 300))]
    pub max_results: Option<usize>,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundTest {
    /// Its name; of tests that are calls the text they are called with.
    pub name: String,
    /// The file.
    pub path: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// The line that switches it off, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_off: Option<u32>,
}

/// A function that no test names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UntestedFunction {
    /// Its name, with its type.
    pub name: String,
    /// The file.
    pub path: String,
    /// First line.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Cyclomatic complexity.
    pub complexity: usize,
    /// Calls of it outside tests, where its name tells it from others.
    pub callers: usize,
}

/// A file none of whose functions a test names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UntestedFile {
    /// The file.
    pub path: String,
    /// Its functions.
    pub functions: usize,
    /// Their complexity.
    pub complexity: usize,
}

/// The tests of one language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TestsOfLanguage {
    /// Files with tests.
    pub files: usize,
    /// Tests.
    pub tests: usize,
    /// Tests that are switched off.
    pub switched_off: usize,
    /// Tests in which nothing is checked.
    pub without_check: usize,
    /// Functions outside tests.
    pub functions: usize,
    /// Functions that no test names.
    pub unnamed: usize,
}

/// What `code.tests` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TestsResult {
    /// By language.
    pub languages: BTreeMap<String, TestsOfLanguage>,
    /// Tests by file.
    pub files: BTreeMap<String, usize>,
    /// Tests that are switched off, by path and line.
    pub switched_off: Vec<FoundTest>,
    /// Tests in which nothing is checked, by path and line.
    pub without_check: Vec<FoundTest>,
    /// Functions that no test names, the most complex first.
    pub untested: Vec<UntestedFunction>,
    /// Files none of whose functions a test names, the most complex first.
    pub untested_files: Vec<UntestedFile>,
    /// Entries left out of the lists.
    pub omitted: usize,
    /// Files that could not be read or parsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// What speaks for a check, in any of the languages. Generous on purpose: a test that is reported must prove nothing.
static CHECK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)assert|expect|verify|check|should|must|require|raises|throws|warns|fail|panic|unwrap|prop_|insta|snapshot|approx|\bck_|\?\s*[;)]|\bt\.(error|fatal|is|true|ok|equal|deepEqual|pass)|\breturn\b|\braise\b|output:",
    )
    .ok()
});

/// What makes a function a test in Rust; `cfg(test)` alone makes it a helper.
static RUST_TEST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^#\[\s*(\w+\s*::\s*)*(test|rstest|test_case|quickcheck|bench)\b").ok());

/// What switches a test off, at its declaration.
static OFF_ABOVE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"#\[\s*ignore|@(pytest\.mark\.|unittest\.)?(skip|skipIf|skipif|xfail)\b|@(Disabled|Ignore)\b").ok()
});

/// What switches a test off at its beginning.
static OFF_INSIDE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\bt\.Skip(f|Now)?\(|\b(pytest\.skip|self\.skipTest)\(").ok());

fn is_match(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// The tests of a file, each with whether it checks anything.
fn tests_of(source: &Source) -> Vec<(FoundTest, bool)> {
    if source.role == Role::Foreign {
        return Vec::new();
    }
    let code = source.code();
    match source.syntax.name {
        "typescript" | "tsx" => tests_by_call(source, &code),
        _ => tests_by_function(source, &code),
    }
}

fn tests_by_function(source: &Source, code: &str) -> Vec<(FoundTest, bool)> {
    let text = |bytes: &std::ops::Range<usize>| code.get(bytes.clone()).unwrap_or_default();
    // Functions that check, so that a test which calls them does.
    let checking: Vec<&str> = source
        .functions()
        .filter(|item| is_match(&CHECK, text(&item.bytes)))
        .map(|item| item.name.as_str())
        .take(HELPERS_MAX)
        .collect();
    let mut found = Vec::new();
    for item in source.functions() {
        let node = source.node_of(item);
        let is_test = match source.syntax.name {
            "go" => {
                source.role == Role::Test
                    && item.container.is_none()
                    && ["Test", "Fuzz"]
                        .iter()
                        .any(|word| item.name.starts_with(word) && item.name != "TestMain")
            }
            "c" => source.role == Role::Test && (item.name.starts_with("test") || item.name.ends_with("_test")),
            _ => node.is_some_and(|node| (source.syntax.is_test)(node, &source.text)),
        };
        let Some(node) = node.filter(|_| is_test) else { continue };
        let body = node.child_by_field_name("body");
        let bytes = body.map_or_else(|| item.bytes.clone(), |body| body.byte_range());
        let above = (item.line.saturating_sub(LINES_ABOVE_MAX).max(1)..item.line)
            .rev()
            .take_while(|line| {
                let text = source.line(*line).trim_start();
                // A line with a body is the item before this one.
                !text.contains('{') && ["#", "@", "//", "/*", "*"].iter().any(|mark| text.starts_with(mark))
            })
            .collect::<Vec<u32>>();
        let attributes = || above.iter().map(|line| source.line(*line).trim_start());
        let own_line = source.line(item.line).trim_start();
        if source.syntax.name == "rust"
            && !attributes().chain([own_line]).any(|line| {
                line.split("#[")
                    .skip(1)
                    .any(|attribute| is_match(&RUST_TEST, &format!("#[{attribute}")))
            })
        {
            continue;
        }
        // Java has its annotations within the declaration.
        let own = item.line..=source.line_of(bytes.start);
        let off = above
            .iter()
            .copied()
            .chain(own)
            .find(|line| is_match(&OFF_ABOVE, source.line(*line)));
        let inside = OFF_INSIDE.as_ref().and_then(|pattern| pattern.find(text(&bytes)));
        let off = off.or_else(|| inside.map(|place| source.line_of(bytes.start + place.start())));
        let declared = attributes().any(|line| line.contains("should_panic"))
            || text(&(item.bytes.start..bytes.start)).contains("expected");
        let checks = declared
            // A test of one statement hands its work to something that cannot be seen from here.
            || body.is_some_and(|body| statements(body) == 1)
            || is_match(&CHECK, text(&bytes))
            || calls(source, node).any(|name| checking.contains(&name) && name != item.name);
        found.push((
            FoundTest {
                name: item.qualified(source.language),
                path: source.path.clone(),
                line: item.line,
                end_line: item.end_line,
                switched_off: off,
            },
            checks,
        ));
    }
    found
}

/// How many statements a body has.
fn statements(body: Node<'_>) -> usize {
    match body.named_child(0).filter(|first| first.kind() == "statement_list") {
        Some(list) => list.named_child_count(),
        None => body.named_child_count(),
    }
}

/// The names of what is called within a node.
fn calls<'s>(source: &'s Source, node: Node<'_>) -> impl Iterator<Item = &'s str> {
    let mut names = Vec::new();
    walk(node, |inner| {
        let form = source.syntax.calls.iter().find(|(kind, _)| *kind == inner.kind());
        if let Some(callee) = form.and_then(|(_, field)| inner.child_by_field_name(field)) {
            names.push(last_name(node_text(callee, &source.text)));
        }
        true
    });
    names.into_iter()
}

/// Tests as Jest, Mocha, Vitest and their relatives have them: `it("…", () => …)`.
fn tests_by_call(source: &Source, code: &str) -> Vec<(FoundTest, bool)> {
    let mut found = Vec::new();
    if source.role != Role::Test {
        return found;
    }
    walk(source.tree.root_node(), |node| {
        if node.kind() != "call_expression" {
            return true;
        }
        let callee = node
            .child_by_field_name("function")
            .map_or("", |callee| node_text(callee, &source.text));
        let mut parts = callee.split('.');
        let first = parts.next().unwrap_or_default();
        if !matches!(first, "it" | "test" | "xit" | "xtest") {
            return true;
        }
        let arguments = node.child_by_field_name("arguments");
        let Some(name) = arguments.and_then(|arguments| arguments.named_child(0)) else {
            return true;
        };
        let has_body = arguments.and_then(|arguments| arguments.named_child(1)).is_some();
        let off = first.starts_with('x') || parts.any(|part| matches!(part, "skip" | "todo")) || !has_body;
        let line = row(node.start_position().row);
        found.push((
            FoundTest {
                name: node_text(name, &source.text)
                    .trim_matches(['"', '\'', '`'])
                    .chars()
                    .take(120)
                    .collect(),
                path: source.path.clone(),
                line,
                end_line: row(node.end_position().row),
                switched_off: off.then_some(line),
            },
            off || is_match(&CHECK, code.get(node.byte_range()).unwrap_or_default()),
        ));
        // A test within a test is one with the same body.
        false
    });
    found
}

/// Keeps the first entries that are wanted and fit, and counts the others.
fn bounded<T: Serialize>(mut list: Vec<T>, limit: usize, omitted: &mut usize) -> Vec<T> {
    let total = list.len();
    list.truncate(limit);
    let (kept, _) = fit(list, LIST_BYTES_MAX / 4);
    *omitted += total - kept.len();
    kept
}

fn run(files: &Files, params: &TestsParams) -> Result<TestsResult, ToolError> {
    let mut result = TestsResult::default();
    let mut mentions = Mentions::default();
    let mut functions: Vec<(&'static str, FunctionMetrics)> = Vec::new();
    let (mut off, mut unchecked) = (Vec::new(), Vec::new());
    let mut skipped = Vec::new();
    files.each_source(&mut skipped, |source| {
        mentions.add(source);
        if !files.is_selected(&source.path) {
            return;
        }
        let tests = tests_of(source);
        let figures = result.languages.entry(source.language.name.to_owned()).or_default();
        if !tests.is_empty() {
            figures.files += 1;
            figures.tests += tests.len();
            result.files.insert(source.path.clone(), tests.len());
        }
        for (test, checks) in tests {
            if test.switched_off.is_some() {
                figures.switched_off += 1;
                off.push(test);
            } else if !checks {
                figures.without_check += 1;
                unchecked.push(test);
            }
        }
        if matches!(source.role, Role::Library | Role::Entry) {
            let measured = measure(source)
                .into_iter()
                .filter(|f| !matches!(last_name(&f.name), "main" | "init"));
            functions.extend(measured.map(|function| (source.language.name, function)));
        }
    })?;
    result.skipped = skipped;
    let mut by_file: BTreeMap<String, (UntestedFile, usize)> = BTreeMap::new();
    let mut untested = Vec::new();
    for (language, function) in &mut functions {
        complete(std::slice::from_mut(function), &mentions);
        let figures = result.languages.entry((*language).to_owned()).or_default();
        figures.functions += 1;
        let (file, named) = by_file.entry(function.path.clone()).or_insert_with(|| {
            let file = UntestedFile {
                path: function.path.clone(),
                functions: 0,
                complexity: 0,
            };
            (file, 0)
        });
        file.functions += 1;
        file.complexity += function.complexity;
        if function.test_mentions > 0 {
            *named += 1;
            continue;
        }
        figures.unnamed += 1;
        if function.public || params.private {
            untested.push(UntestedFunction {
                name: function.name.clone(),
                path: function.path.clone(),
                line: function.line,
                end_line: function.end_line,
                complexity: function.complexity,
                callers: function.callers,
            });
        }
    }
    untested.sort_by(|a, b| {
        (b.complexity, b.callers)
            .cmp(&(a.complexity, a.callers))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
    let mut untested_files: Vec<UntestedFile> = by_file
        .into_values()
        .filter(|(file, named)| *named == 0 && !result.files.contains_key(&file.path))
        .map(|(file, _)| file)
        .collect();
    untested_files.sort_by(|a, b| b.complexity.cmp(&a.complexity).then_with(|| a.path.cmp(&b.path)));
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let mut omitted = result.files.len().saturating_sub(limit);
    result.files = std::mem::take(&mut result.files).into_iter().take(limit).collect();
    result.switched_off = bounded(off, limit, &mut omitted);
    result.without_check = bounded(unchecked, limit, &mut omitted);
    result.untested = bounded(untested, limit, &mut omitted);
    result.untested_files = bounded(untested_files, limit, &mut omitted);
    result.omitted = omitted;
    Ok(result)
}

struct Tests;

#[async_trait]
impl Tool for Tests {
    fn name(&self) -> &str {
        "code.tests"
    }

    fn description(&self) -> &str {
        "Takes stock of tests by language: how many, which are switched off or check nothing, which public functions and which \
         files no test names. Use it to find where tests are missing or prove little."
    }

    fn schema(&self) -> Value {
        schema_of::<TestsParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: TestsParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Tests)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    /// Name, whether it is switched off, whether it checks.
    fn seen(path: &str, text: &str) -> Vec<(String, Option<u32>, bool)> {
        let source = Source::parse(path, Arc::from(text)).expect("parses");
        tests_of(&source)
            .into_iter()
            .map(|(test, checks)| (test.name, test.switched_off, checks))
            .collect()
    }

    fn check(path: &str, text: &str, expected: &[(&str, Option<u32>, bool)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, off, checks)| ((*name).to_owned(), *off, *checks))
            .collect();
        assert_eq!(seen(path, text), expected, "{path}");
    }

    #[test]
    fn tests_are_known_by_what_their_language_calls_one() {
        check(
            "src/a.rs",
            "fn work() {}\n#[cfg(test)]\nmod tests {\n    fn helper() { assert!(true); }\n    #[test]\n    fn one() { assert_eq!(1, 1); }\n    #[test]\n    #[ignore = \"slow\"]\n    fn two() { work(); more(); }\n    #[test]\n    fn three() { work(); more(); }\n    #[test]\n    fn four() { helper(); }\n    #[tokio::test]\n    async fn five() { work(\"assert\").await; more(); }\n    #[test]\n    #[should_panic]\n    fn six() { work(); more(); }\n    #[test] fn seven() { work(); }\n    #[cfg(test)]\n    fn set() { work(); more(); }\n}\n",
            &[
                ("one", None, true),
                ("two", Some(8), false),
                ("three", None, false),
                ("four", None, true),
                ("five", None, false),
                ("six", None, true),
                ("seven", None, true),
            ],
        );
        check(
            "tests/test_a.py",
            "class TestA:\n    def test_one(self):\n        assert work()\n\n    @pytest.mark.skip\n    def test_two(self):\n        assert work()\n\ndef test_three():\n    work()\n    more()\n\ndef helper():\n    pass\n",
            &[
                ("TestA.test_one", None, true),
                ("TestA.test_two", Some(5), true),
                ("test_three", None, false),
            ],
        );
        check(
            "a_test.go",
            "package a\n\nfunc TestOne(t *testing.T) {\n\tif work() != 1 {\n\t\tt.Fatal(1)\n\t}\n}\n\nfunc TestTwo(t *testing.T) {\n\tt.Skip(\"later\")\n\twork()\n}\n\nfunc TestThree(t *testing.T) {\n\twork()\n\tmore()\n}\n\nfunc helper() {}\nfunc TestMain(m *testing.M) {}\n",
            &[
                ("TestOne", None, true),
                ("TestTwo", Some(10), false),
                ("TestThree", None, false),
            ],
        );
        check(
            "src/a.test.ts",
            "describe('a', () => {\n  it('works', () => { expect(work()).toBe(1) })\n  it.skip('later', () => { work() })\n  test('proves nothing', async () => { await work() })\n  it.todo('more')\n  xit('off', () => {})\n})\nfunction it2() {}\n",
            &[
                ("works", None, true),
                ("later", Some(3), true),
                ("proves nothing", None, false),
                ("more", Some(5), true),
                ("off", Some(6), true),
            ],
        );
        check("src/a.ts", "it('is no test', () => { work() })\n", &[]);
        check(
            "src/test/java/ATest.java",
            "class ATest {\n  @Test\n  void one() { assertEquals(1, work()); }\n  @Test\n  @Disabled(\"slow\")\n  void two() { work(); more(); }\n  @Test\n  void three() { work(); more(); }\n  @Test(expected = Bad.class)\n  public void four() { work(); more(); }\n  void helper() { }\n}\n",
            &[
                ("ATest.one", None, true),
                ("ATest.two", Some(5), false),
                ("ATest.three", None, false),
                ("ATest.four", None, true),
            ],
        );
        check(
            "tests/a.c",
            "static void test_one(void) { assert(work() == 1); }\nstatic void test_two(void) { work(); more(); }\nint main(void) { test_one(); return 0; }\n",
            &[("test_one", None, true), ("test_two", None, false)],
        );
    }

    #[tokio::test]
    async fn what_no_test_names_is_found_in_every_language() {
        let (workspace, _dir) = workspace(&[
            (
                "src/a.rs",
                "pub fn named() {}\npub fn left_out(a: u8) { if a > 1 { named(); } }\nfn private() {}\n#[cfg(test)]\nmod tests { #[test] fn t() { assert!(super::named()); } }\n",
            ),
            ("src/main.rs", "fn main() { if true {} }\n"),
            (
                "pkg/b.go",
                "package b\n\nfunc Open() { if true { } }\n\nfunc Close() {}\n",
            ),
            (
                "pkg/b_test.go",
                "package b\n\nfunc TestClose(t *testing.T) { Close(); t.Fatal() }\n",
            ),
            ("web/c.ts", "export function render() { return 1 }\n"),
            ("examples/d.rs", "pub fn shown() {}\n"),
        ]);
        let result: TestsResult = call(&workspace, "code.tests", json!({})).await;
        let names = |result: &TestsResult| -> Vec<String> {
            result
                .untested
                .iter()
                .map(|f| format!("{}:{} {}", f.path, f.line, f.name))
                .collect()
        };
        assert_eq!(
            names(&result),
            ["pkg/b.go:3 Open", "src/a.rs:2 left_out", "web/c.ts:1 render"]
        );
        let files: Vec<&str> = result.untested_files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["web/c.ts"]);
        let rust = &result.languages["rust"];
        assert_eq!((rust.tests, rust.functions, rust.unnamed), (1, 3, 2));
        let result: TestsResult = call(&workspace, "code.tests", json!({"private": true, "paths": ["src"]})).await;
        assert_eq!(names(&result), ["src/a.rs:2 left_out", "src/a.rs:3 private"]);
        let result: TestsResult = call(&workspace, "code.tests", json!({"max_results": 1})).await;
        assert_eq!((result.untested.len(), result.omitted), (1, 3));
    }
}
