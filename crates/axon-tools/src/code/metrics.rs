//! `code.metrics`: length, cyclomatic complexity, nesting and parameters of functions, who calls them, and whether tests
//! mention them. Counted by name: of functions that share one, or have one of a standard library's, no caller is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tree_sitter::Node;

use super::files::{Files, LIST_BYTES_MAX};

use super::source::{Item, Source, walk};
use super::syntax::{given_to, node_text};
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Functions returned where a call names no number.
const RESULTS_DEFAULT: usize = 50;
/// Most functions returned.
const RESULTS_MAX: usize = 500;

/// What is known of one function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionMetrics {
    /// The file.
    pub path: String,
    /// Name with its type: `Client::connect`.
    pub name: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Lines that hold code.
    pub code_lines: usize,
    /// Cyclomatic complexity: 1, and 1 more for each condition, loop, arm beyond the first, `&&` and `||`.
    pub complexity: usize,
    /// Deepest nesting of conditions, loops and closures.
    pub nesting: usize,
    /// Parameters, the receiver not counted.
    pub parameters: usize,
    /// Calls of it outside tests, in the files of the scope; 0 where its name does not tell it from other functions.
    pub callers: usize,
    /// Files those calls are in.
    pub calling_files: usize,
    /// How often test code in the files looked at mentions the name.
    pub test_mentions: usize,
    /// Whether other modules can use it.
    pub public: bool,
    /// Whether it has documentation.
    pub documented: bool,
    /// Whether it is asynchronous.
    pub is_async: bool,
}

/// What `code.metrics` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MetricsResult {
    /// Files with a grammar that were measured.
    pub files: usize,
    /// Functions outside tests.
    pub functions: usize,
    /// Functions of tests.
    pub test_functions: usize,
    /// Mean cyclomatic complexity.
    pub mean_complexity: f64,
    /// Code lines of the median function.
    pub median_code_lines: usize,
    /// Public functions outside tests.
    pub public_functions: usize,
    /// Public functions without documentation.
    pub undocumented_public_functions: usize,
    /// The functions, by the order asked for.
    pub results: Vec<FunctionMetrics>,
    /// Functions left out.
    pub omitted: usize,
    /// Files that could not be read or parsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// What the functions are ordered by, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Cyclomatic complexity.
    #[default]
    Complexity,
    /// Lines that hold code.
    Length,
    /// Nesting.
    Nesting,
    /// Parameters.
    Parameters,
    /// Calls from elsewhere.
    Callers,
}

/// Parameters of `code.metrics`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Only functions of these names, with or without their type.
    pub names: Vec<String>,
    /// What to order by.
    pub order: Order,
    /// Only functions that no test mentions.
    pub untested: bool,
    /// Most functions to return, 1 to 500; 50 if absent.
    #[schemars(range(min = 1, max = 500))]
    pub max_results: Option<usize>,
}

/// Mentions of names over a set of files.
#[derive(Debug, Default)]
pub struct Mentions {
    calls: BTreeMap<String, BTreeMap<String, usize>>,
    in_tests: BTreeMap<String, usize>,
    defined: BTreeMap<String, usize>,
    /// Names of functions within functions, with the calls of them that can mean them.
    nested: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Names that standard libraries give to methods of their own: who calls them cannot be told by the name.
const COMMON_NAMES: &[&str] = &[
    "new",
    "default",
    "get",
    "set",
    "get_mut",
    "insert",
    "remove",
    "push",
    "pop",
    "len",
    "is_empty",
    "next",
    "iter",
    "into_iter",
    "clear",
    "contains",
    "clone",
    "from",
    "into",
    "try_from",
    "try_into",
    "fmt",
    "to_string",
    "drop",
    "deref",
    "poll",
    "send",
    "recv",
    "read",
    "write",
    "open",
    "close",
    "flush",
    "lock",
    "join",
    "map",
    "filter",
    "find",
    "parse",
    "from_str",
    "as_str",
    "as_ref",
    "eq",
    "cmp",
    "hash",
    "index",
    "add",
    "update",
    "run",
    "start",
    "stop",
    "call",
    "build",
    "name",
    "path",
    "take",
    "replace",
    "split",
    "extend",
    "append",
    "keys",
    "values",
    "items",
    "copy",
    "encode",
    "decode",
    "format",
    "strip",
    "main",
    "__init__",
    "wait",
    "spawn",
    "with",
];

impl Mentions {
    /// Counts the calls outside tests and the names inside tests of a file.
    pub fn add(&mut self, source: &Source) {
        let text = &source.text;
        for function in source.functions().filter(|function| !function.test) {
            *self.defined.entry(function.name.clone()).or_default() += 1;
        }
        let nested = nested(source);
        for name in nested.keys() {
            self.nested.entry((*name).to_owned()).or_default();
        }
        let parameters = parameters(source);
        let within = |ranges: &BTreeMap<&str, Vec<Range<usize>>>, name: &str, at: usize| {
            ranges
                .get(name)
                .is_some_and(|ranges| ranges.iter().any(|range| range.contains(&at)))
        };
        walk(source.tree.root_node(), |node| {
            let kind = node.kind();
            let call = source.syntax.calls.iter().find(|(call, _)| *call == kind);
            let callee = call.and_then(|(_, field)| node.child_by_field_name(field));
            if let Some(callee) = callee.filter(|_| !source.is_test(node.start_byte())) {
                let (callee, at) = (node_text(callee, text), node.start_byte());
                let name = last_name(callee);
                // What a parameter holds is called, and no function that happens to have its name.
                if callee != name || !within(&parameters, name, at) {
                    let files = self.calls.entry(name.to_owned()).or_default();
                    *files.entry(source.path.clone()).or_default() += 1;
                }
                if callee == name && within(&nested, name, at) {
                    let files = self.nested.entry(name.to_owned()).or_default();
                    *files.entry(source.path.clone()).or_default() += 1;
                }
            }
            if source.syntax.identifiers.contains(&kind) && source.is_test(node.start_byte()) {
                *self.in_tests.entry(node_text(node, text).to_owned()).or_default() += 1;
            }
            true
        });
    }

    /// Calls of the name, and the number of files they are in; none where the name does not tell which function it is.
    pub fn callers(&self, name: &str) -> (usize, usize) {
        if COMMON_NAMES.contains(&name) || self.defined.get(name).is_some_and(|count| *count > 1) {
            return (0, 0);
        }
        // A function within another is known there alone.
        self.nested
            .get(name)
            .or_else(|| self.calls.get(name))
            .map_or((0, 0), |files| (files.values().sum(), files.len()))
    }

    /// Mentions of the name in test code.
    pub fn in_tests(&self, name: &str) -> usize {
        self.in_tests.get(name).copied().unwrap_or_default()
    }
}

/// Names of the functions that stand within others, with the bytes of those others: there alone they can be called.
fn nested(source: &Source) -> BTreeMap<&str, Vec<Range<usize>>> {
    let mut names: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    let mut open: Vec<&Item> = Vec::new();
    for item in &source.items {
        open.retain(|outer| item.bytes.start < outer.bytes.end);
        if let Some(outer) = open.last().filter(|outer| outer.is_function() && item.is_function()) {
            names.entry(&item.name).or_default().push(outer.bytes.clone());
        }
        open.push(item);
    }
    names
}

/// Names of parameters, with the bytes of the functions that have them.
fn parameters(source: &Source) -> BTreeMap<&str, Vec<Range<usize>>> {
    let mut names: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for item in source.functions() {
        let Some(list) = source
            .node_of(item)
            .and_then(|node| node.child_by_field_name("parameters"))
        else {
            continue;
        };
        let mut cursor = list.walk();
        for parameter in list.named_children(&mut cursor) {
            // The first name is the parameter's; types and values follow it.
            let mut first = None;
            walk(parameter, |node| {
                if first.is_none() && node.kind() == "identifier" {
                    first = Some(node_text(node, &source.text));
                }
                first.is_none()
            });
            if let Some(name) = first {
                names.entry(name).or_default().push(item.bytes.clone());
            }
        }
    }
    names
}

/// The last name of a path, a field access or a call: `connect` of `Client::connect::<T>` and of `self.pool.connect`.
pub fn last_name(callee: &str) -> &str {
    let callee = callee.trim();
    let callee = match callee.strip_suffix('>') {
        Some(_) => callee.find("::<").map_or(callee, |at| &callee[..at]),
        None => callee,
    };
    let start = callee
        .rfind(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(0, |at| at + callee[at..].chars().next().map_or(1, char::len_utf8));
    &callee[start..]
}

/// Measures the functions of a file outside tests; what others say of them is added by [`complete`].
pub fn measure(source: &Source) -> Vec<FunctionMetrics> {
    source
        .functions()
        .filter(|item| !item.test && source.role != super::source::Role::Test)
        .filter_map(|item| Some(of_function(source, item, source.node_of(item)?)))
        .collect()
}

fn of_function(source: &Source, item: &Item, node: Node<'_>) -> FunctionMetrics {
    let syntax = source.syntax;
    let (mut complexity, mut nesting) = (1, 0);
    let mut arms: BTreeSet<usize> = BTreeSet::new();
    // Where each construct that nests and is still open ends.
    let mut open: Vec<usize> = Vec::new();
    walk(node, |inner| {
        let kind = inner.kind();
        if inner.id() != node.id() && syntax.is_function(inner) {
            return false;
        }
        open.retain(|end| inner.start_byte() < *end);
        if syntax.branches.contains(&kind) {
            complexity += 1;
        } else if syntax.arms.contains(&kind) {
            let parent = inner.parent().map_or(0, |parent| parent.start_byte());
            complexity += usize::from(!arms.insert(parent));
        } else if !inner.is_named() && syntax.short_circuits.contains(&kind) {
            complexity += 1;
        }
        // Asking for a parent walks down from the root, so it is asked for the few nodes that need it.
        if syntax.nesting.contains(&kind) && !continues_else(inner) && !is_value_of(node, inner) {
            open.push(inner.end_byte());
            nesting = nesting.max(open.len());
        }
        true
    });
    FunctionMetrics {
        path: source.path.clone(),
        name: item.qualified(source.language),
        line: item.line,
        end_line: item.end_line,
        code_lines: source.code_lines(item),
        complexity,
        nesting,
        parameters: (syntax.parameters)(node, &source.text),
        callers: 0,
        calling_files: 0,
        test_mentions: 0,
        public: item.public,
        documented: item.documented,
        is_async: item.is_async,
    }
}

/// Whether a condition only goes on with the `else` of another.
fn continues_else(node: Node<'_>) -> bool {
    node.parent().is_some_and(|parent| {
        parent.kind() == "else_clause"
            || (parent.kind() == "if_statement"
                && parent
                    .child_by_field_name("alternative")
                    .is_some_and(|other| other.id() == node.id()))
    })
}

/// Whether the closure is the function itself, which a name was given to.
fn is_value_of(function: Node<'_>, closure: Node<'_>) -> bool {
    given_to(function).is_some_and(|value| value.id() == closure.id())
}

/// Adds to the functions who calls them and how often tests mention them.
pub fn complete(functions: &mut [FunctionMetrics], mentions: &Mentions) {
    for function in functions {
        let name = last_name(&function.name).to_owned();
        (function.callers, function.calling_files) = mentions.callers(&name);
        function.test_mentions = mentions.in_tests(&name);
    }
}

fn sort(functions: &mut [FunctionMetrics], order: Order) {
    functions.sort_by(|a, b| {
        let key = |f: &FunctionMetrics| match order {
            Order::Complexity => (f.complexity, f.code_lines),
            Order::Length => (f.code_lines, f.complexity),
            Order::Nesting => (f.nesting, f.complexity),
            Order::Parameters => (f.parameters, f.complexity),
            Order::Callers => (f.callers, f.complexity),
        };
        key(b)
            .cmp(&key(a))
            .then_with(|| (&a.path, a.line).cmp(&(&b.path, b.line)))
    });
}

fn run(files: &Files, params: &MetricsParams) -> Result<MetricsResult, ToolError> {
    let mut mentions = Mentions::default();
    let mut functions = Vec::new();
    let mut result = MetricsResult::default();
    files.each_source(&mut result.skipped, |source| {
        mentions.add(source);
        if !files.is_selected(&source.path) {
            return;
        }
        result.files += 1;
        result.test_functions += source
            .functions()
            .filter(|f| f.test || source.role == super::source::Role::Test)
            .count();
        functions.extend(measure(source));
    })?;
    complete(&mut functions, &mentions);
    result.functions = functions.len();
    result.public_functions = functions.iter().filter(|f| f.public).count();
    result.undocumented_public_functions = functions.iter().filter(|f| f.public && !f.documented).count();
    if !functions.is_empty() {
        let sum: usize = functions.iter().map(|f| f.complexity).sum();
        result.mean_complexity = (sum as f64 / functions.len() as f64 * 100.0).round() / 100.0;
        sort(&mut functions, Order::Length);
        result.median_code_lines = functions[functions.len() / 2].code_lines;
    }
    if !params.names.is_empty() {
        let wanted: BTreeSet<String> = params.names.iter().map(|name| name.to_lowercase()).collect();
        functions
            .retain(|f| wanted.contains(&f.name.to_lowercase()) || wanted.contains(&last_name(&f.name).to_lowercase()));
    }
    if params.untested {
        functions.retain(|f| f.test_mentions == 0);
    }
    sort(&mut functions, params.order);
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let total = functions.len();
    functions.truncate(limit);
    (result.results, _) = fit(functions, LIST_BYTES_MAX);
    result.omitted = total - result.results.len();
    Ok(result)
}

struct Metrics;

#[async_trait]
impl Tool for Metrics {
    fn name(&self) -> &str {
        "code.metrics"
    }

    fn description(&self) -> &str {
        "Measures functions (Rust, Python, Go, TypeScript, JavaScript, Java, C): code lines, cyclomatic complexity, nesting, parameters, calls by name, mentions in \
         tests. Use it to find what is hard to change, central or untested."
    }

    fn schema(&self) -> Value {
        schema_of::<MetricsParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: MetricsParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Metrics)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    fn measured(path: &str, text: &str) -> Vec<(String, usize, usize, usize)> {
        let source = Source::parse(path, Arc::from(text)).expect("parses");
        measure(&source)
            .into_iter()
            .map(|f| (f.name, f.complexity, f.nesting, f.parameters))
            .collect()
    }

    #[test]
    fn paths_through_rust_are_counted() {
        let text = r#"
fn flat(a: u8) -> u8 { a }
fn branchy(a: u8, b: Option<u8>) -> u8 {
    if a > 1 && b.is_some() {
        for _ in 0..a { if a == 3 { return 1; } }
    } else if a == 0 {
        return 2;
    }
    match b { Some(1) => 1, Some(_) => 2, None => 3 }
}
struct S;
impl S {
    fn with_inner(&self, x: u8) { fn inner() { if true {} } inner(); let f = |y: u8| if y > x { 1 } else { 2 }; f(1); }
}
"#;
        assert_eq!(
            measured("a.rs", text),
            vec![
                ("flat".into(), 1, 0, 1),
                ("branchy".into(), 8, 3, 2),
                ("S::with_inner".into(), 2, 2, 1),
                ("S::inner".into(), 2, 1, 0),
            ]
        );
    }

    #[test]
    fn paths_through_python_are_counted() {
        let text = "class A:\n    def go(self, a, b=1, *rest):\n        for x in a:\n            if x and b or rest:\n                pass\n            elif x:\n                pass\n        try:\n            pass\n        except ValueError:\n            pass\n        return [y for y in a if y]\n";
        assert_eq!(measured("a.py", text), vec![("A.go".into(), 9, 2, 3)]);
    }

    #[test]
    fn the_last_name_is_what_is_called() {
        for (callee, name) in [
            ("Client::connect::<T>", "connect"),
            ("self.pool.connect", "connect"),
            ("connect", "connect"),
            ("a.b(|x| x > 1).c", "c"),
        ] {
            assert_eq!(last_name(callee), name);
        }
    }

    #[test]
    fn a_call_means_a_function_only_where_that_can_be_seen() {
        let python = "def outer():\n    def func():\n        pass\n    func()\n    return func\n\ndef other(func):\n    func()\n\ndef again():\n    func = pick()\n    func()\n";
        let callback = "def notify():\n    pass\n\ndef uses():\n    notify()\n\ndef given(notify):\n    notify()\n";
        let rust = "fn outer() { fn step() {} step(); }\nfn other(step: impl Fn()) { step(); }\nfn used() {}\nfn x() { used(); self.used(); }\n";
        for (path, text, name, expected) in [
            ("a.py", python, "func", (1, 1)),
            ("a.py", callback, "notify", (1, 1)),
            ("a.rs", rust, "step", (1, 1)),
            ("a.rs", rust, "used", (2, 1)),
        ] {
            let mut mentions = Mentions::default();
            mentions.add(&Source::parse(path, Arc::from(text)).expect("parses"));
            assert_eq!(mentions.callers(name), expected, "{path}: {name}");
        }
    }

    #[tokio::test]
    async fn callers_and_tests_are_counted_over_the_scope() {
        let (workspace, _dir) = workspace(&[
            (
                "src/a.rs",
                "pub fn used() { if true {} }\npub fn lonely() {}\n#[cfg(test)]\nmod tests { #[test] fn t() { super::used(); } }\n",
            ),
            ("src/b.rs", "fn x() { crate::a::used(); crate::a::used(); }\n"),
            ("tests/it.rs", "#[test]\nfn it() { used(); }\n"),
        ]);
        let result: MetricsResult = call(&workspace, "code.metrics", json!({"names": ["used"]})).await;
        let used = &result.results[0];
        assert_eq!(
            (used.callers, used.calling_files, used.test_mentions, used.complexity),
            (2, 1, 2, 2)
        );
        assert_eq!((result.functions, result.test_functions), (3, 2));
        let result: MetricsResult = call(
            &workspace,
            "code.metrics",
            json!({"untested": true, "paths": ["src/a.rs"]}),
        )
        .await;
        assert_eq!(
            result.results.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["lonely"]
        );
    }
}
