//! Decides whether the conditions of a rule hold at a place of a file. Pure: it looks at one parsed file, and changes nothing
//! of what was found there.

use std::ops::Range;

use regex::Regex;
use tree_sitter::Node;

use super::pack::{Rule, RuleData};
use crate::code::source::{Item, Role, Source, row};
use crate::code::syntax::node_text;

/// Methods that hand on the failure of what they are called on.
const TRANSPARENT: &[&str] = &[
    "map_err",
    "context",
    "with_context",
    "wrap_err",
    "wrap_err_with",
    "as_ref",
    "as_mut",
    "map",
    "and_then",
    "ok",
    "err",
    "inspect_err",
    "ok_or",
    "ok_or_else",
    "copied",
    "cloned",
    "into_iter",
    "transpose",
    "flatten",
    "or_else",
    "into_inner",
];

/// Nodes that hold statements or items side by side: what is in one of them is whole.
const HOLDERS: &[&str] = &[
    "block",
    "declaration_list",
    "source_file",
    "module",
    "match_block",
    "match_arm",
    "statement_list",
    "statement_block",
    "compound_statement",
    "class_body",
    "program",
    "translation_unit",
];

/// How lines of comments and attributes begin.
const COMMENT_MARKS: &[&str] = &["//", "/*", "*", "#"];

/// Whether a rule holds at a node whose match spans these bytes; `receiver` is what the match is called on.
pub(super) fn holds(
    source: &Source,
    code: &str,
    rule: &Rule,
    node: Node<'_>,
    receiver: Option<Node<'_>>,
    bytes: &Range<usize>,
) -> bool {
    if !role_fits(rule, source.role) || source.is_test(bytes.start) != rule.data.in_tests {
        return false;
    }
    let item = source.function_at(bytes.start);
    if !texts_fit(source, code, rule, item, bytes) || !callee_fits(source, rule, receiver) {
        return false;
    }
    let function = item.and_then(|item| source.node_of(item));
    returns_fit(source, rule, function)
        && future_fits(source, &rule.data, node)
        && surroundings_fit(&rule.data.within, &rule.data.not_within, node, function)
        && comments_fit(source, rule, node)
        && rule.data.check.is_none_or(|check| check.holds(source, node, function))
}

/// Whether a rule is for files of this role.
pub(super) fn role_fits(rule: &Rule, role: Role) -> bool {
    match role {
        Role::Foreign | Role::Example => false,
        Role::Test => rule.data.in_tests,
        Role::Entry => !rule.data.library_only,
        Role::Library => true,
    }
}

/// Whether the match, the function around and the file say what the rule wants, and nothing that it excludes.
fn texts_fit(source: &Source, code: &str, rule: &Rule, item: Option<&Item>, bytes: &Range<usize>) -> bool {
    let matched = source.text.get(bytes.clone()).unwrap_or_default();
    let function = item.and_then(|item| code.get(item.bytes.clone())).unwrap_or_default();
    let name = item.map(|item| item.name.as_str()).unwrap_or_default();
    let qualified = item.map(|item| item.qualified(source.language)).unwrap_or_default();
    let wanted = [
        (&rule.text, matched),
        (&rule.function_text, function),
        (&rule.function_name, name),
    ];
    let excluded = [
        (&rule.text_not, matched),
        (&rule.function_text_not, function),
        (&rule.function_name_not, name),
        (&rule.function_name_not, &qualified),
        (&rule.path_not, &source.path),
        (&rule.file_text_not, &source.text),
    ];
    wanted.iter().all(|(regex, text)| says(regex, text))
        && excluded.iter().all(|(regex, text)| is_silent(regex, text))
        && (rule.doc_not.is_none() || is_silent(&rule.doc_not, &documentation(source, item)))
}

fn says(wanted: &Option<Regex>, text: &str) -> bool {
    wanted.as_ref().is_none_or(|regex| regex.is_match(text))
}

fn is_silent(excluded: &Option<Regex>, text: &str) -> bool {
    excluded.as_ref().is_none_or(|regex| !regex.is_match(text))
}

/// Whether the function around returns what the rule wants.
fn returns_fit(source: &Source, rule: &Rule, function: Option<Node<'_>>) -> bool {
    if rule.returns.is_none() {
        return true;
    }
    let returned = function
        .and_then(|node| node.child_by_field_name("return_type"))
        .map(|node| node_text(node, &source.text));
    says(&rule.returns, returned.unwrap_or_default())
}

/// Whether the code runs as a future, and is awaited, as the rule wants.
fn future_fits(source: &Source, data: &RuleData, node: Node<'_>) -> bool {
    let awaited = || {
        node.parent()
            .is_some_and(|outer| matches!(outer.kind(), "await_expression" | "await"))
    };
    data.in_async
        .is_none_or(|wanted| wanted == runs_as_future(source, node))
        && data.awaited.is_none_or(|wanted| wanted == awaited())
}

/// Whether the nodes around, up to the function, are those the rule wants.
fn surroundings_fit(within: &[String], not_within: &[String], node: Node<'_>, function: Option<Node<'_>>) -> bool {
    let stands_in = |kinds: &[String]| {
        ancestors(node)
            .take_while(|outer| function.is_none_or(|function| outer.id() != function.id()))
            .any(|outer| kinds.iter().any(|kind| kind == outer.kind()))
    };
    (within.is_empty() || stands_in(within)) && (not_within.is_empty() || !stands_in(not_within))
}

/// Whether no comment beside the match says that it is deliberate.
fn comments_fit(source: &Source, rule: &Rule, node: Node<'_>) -> bool {
    rule.comment_not.is_none()
        || comments_beside(source, node)
            .iter()
            .all(|text| is_silent(&rule.comment_not, text))
}

fn ancestors(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    std::iter::successors(node.parent(), |outer| outer.parent())
}

fn callee_fits(source: &Source, rule: &Rule, receiver: Option<Node<'_>>) -> bool {
    let data = &rule.data;
    let asks =
        !data.callee.is_empty() || rule.callee_path.is_some() || rule.callee_path_not.is_some() || data.literals_exempt;
    if !asks {
        return true;
    }
    let Some(callee) = receiver.and_then(|receiver| callee(receiver, source)) else {
        return false;
    };
    (data.callee.is_empty() || data.callee.contains(&callee.name))
        && says(&rule.callee_path, &callee.path)
        && is_silent(&rule.callee_path_not, &callee.path)
        && !(data.literals_exempt && callee.of_literals)
}

/// The call whose outcome an expression is.
pub(super) struct Callee {
    /// Its last name: `open`.
    name: String,
    /// All that is called: `std::fs::File::open`, `self.pool.get`.
    pub path: String,
    /// Whether it works on literals alone.
    of_literals: bool,
}

pub(super) fn callee(mut node: Node<'_>, source: &Source) -> Option<Callee> {
    loop {
        match node.kind() {
            "await_expression" | "try_expression" | "parenthesized_expression" | "reference_expression" | "await" => {
                node = node.named_child(0)?;
            }
            "call_expression" | "call" => {
                let mut function = node.child_by_field_name("function")?;
                if function.kind() == "generic_function" {
                    function = function.child_by_field_name("function")?;
                }
                let object = function
                    .child_by_field_name("value")
                    .or_else(|| function.child_by_field_name("object"));
                let path = node_text(function, &source.text);
                let name = crate::code::metrics::last_name(path).to_owned();
                if let Some(inner) = object.filter(|_| TRANSPARENT.contains(&name.as_str())) {
                    node = inner;
                    continue;
                }
                let of_literals = object.is_some_and(|object| is_literal(object)) || all_literals(node);
                return Some(Callee {
                    name,
                    path: path.split_whitespace().collect(),
                    of_literals,
                });
            }
            "macro_invocation" => {
                let path = format!("{}!", node_text(node.child_by_field_name("macro")?, &source.text));
                return Some(Callee {
                    name: path.clone(),
                    path,
                    of_literals: false,
                });
            }
            _ => return None,
        }
    }
}

fn is_literal(node: Node<'_>) -> bool {
    node.kind().ends_with("_literal") || matches!(node.kind(), "string" | "integer" | "float" | "concatenated_string")
}

fn all_literals(call: Node<'_>) -> bool {
    let Some(arguments) = call.child_by_field_name("arguments") else {
        return false;
    };
    let mut cursor = arguments.walk();
    let mut arguments = arguments.named_children(&mut cursor).peekable();
    arguments.peek().is_some() && arguments.all(is_literal)
}

/// Whether the code at a node is run by polling a future: in an `async` function or block, and not in a closure of its own.
fn runs_as_future(source: &Source, node: Node<'_>) -> bool {
    for outer in ancestors(node) {
        match outer.kind() {
            "async_block" => return true,
            "closure_expression" | "lambda" => return source.syntax.is_async(outer, &source.text),
            _ if source.syntax.is_function(outer) => return source.syntax.is_async(outer, &source.text),
            _ => {}
        }
    }
    false
}

/// The comments and attributes directly above a function.
fn documentation(source: &Source, item: Option<&Item>) -> String {
    let first = item.map_or(1, |item| item.line);
    let lines: Vec<&str> = lines_above(source, first)
        .map(|line| source.line(line).trim_start())
        .collect();
    lines.join("\n")
}

/// Comments on the line of a node or of its statement, directly above them, and in its first line.
fn comments_beside<'s>(source: &'s Source, node: Node<'_>) -> Vec<&'s str> {
    let statement = statement_of(node);
    let mut lines = vec![row(statement.end_position().row)];
    for start in [node.start_position().row, statement.start_position().row] {
        let line = row(start);
        lines.extend([line, line + 1]);
        lines.extend(lines_above(source, line));
    }
    source
        .comments()
        .iter()
        .filter(|range| {
            let (first, last) = (source.line_of(range.start), source.line_of(range.end.saturating_sub(1)));
            lines.iter().any(|line| (first..=last).contains(line))
        })
        .filter_map(|range| source.text.get(range.clone()))
        .collect()
}

/// The whole statement, or arm of a match, that a node is part of.
fn statement_of(node: Node<'_>) -> Node<'_> {
    std::iter::successors(Some(node), |inner| {
        inner.parent().filter(|outer| !HOLDERS.contains(&outer.kind()))
    })
    .last()
    .unwrap_or(node)
}

/// The lines of comments and attributes directly above a line, upwards.
fn lines_above(source: &Source, line: u32) -> impl Iterator<Item = u32> {
    (1..line).rev().take_while(|&above| {
        let text = source.line(above).trim_start();
        COMMENT_MARKS.iter().any(|mark| text.starts_with(mark))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn parsed(text: &str) -> Source {
        Source::parse("src/lib.rs", Arc::from(text)).expect("parses")
    }

    /// The smallest node around the first place where the text stands.
    fn node<'s>(source: &'s Source, text: &str) -> Node<'s> {
        let start = source.text.find(text).expect("the text is there");
        let root = source.tree.root_node();
        root.descendant_for_byte_range(start, start + text.len())
            .expect("a node")
    }

    #[test]
    fn the_call_behind_an_outcome_is_found() {
        for (expression, expected) in [
            ("std::fs::read(path)", Some(("read", "std::fs::read", false))),
            (
                "std::fs::read(path).map_err(wrong)",
                Some(("read", "std::fs::read", false)),
            ),
            ("self.pool.get().await", Some(("get", "self.pool.get", false))),
            ("(open(path)?)", Some(("open", "open", false))),
            ("text.parse::<u8>()", Some(("parse", "text.parse", false))),
            ("\"7\".parse()", Some(("parse", "\"7\".parse", true))),
            ("Regex::new(\"a\")", Some(("new", "Regex::new", true))),
            ("format!(\"a\")", Some(("format!", "format!", false))),
            ("value", None),
        ] {
            let source = parsed(&format!("fn work() {{\n    let x = {expression};\n}}\n"));
            let found = callee(node(&source, expression), &source);
            let found = found
                .as_ref()
                .map(|callee| (callee.name.as_str(), callee.path.as_str(), callee.of_literals));
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn comments_speak_for_the_statement_below_and_beside_them() {
        let check = |body: &str, expected: &[&str]| {
            let source = parsed(&format!("fn work() {{\n{body}\n}}\n"));
            assert_eq!(comments_beside(&source, node(&source, "send()")), expected, "{body}");
        };
        check("let _ = send();", &[]);
        check("// One.\n// Two.\nlet _ = send();", &["// One.", "// Two."]);
        check("// Other.\n\nlet _ = send();", &[]);
        check("let _ = send(); // Beside.", &["// Beside."]);
        check("// Above.\nlet _ = first(\n    second(send()),\n);", &["// Above."]);
        check(
            "match x {\n    // Arm.\n    A => send(),\n    _ => (),\n}",
            &["// Arm."],
        );
    }

    #[test]
    fn code_runs_as_a_future_up_to_the_next_closure_or_function() {
        for (text, expected) in [
            ("async fn work() { send(); }", true),
            ("fn work() { send(); }", false),
            ("fn work() { let task = async { send(); }; }", true),
            ("async fn work() { let run = || send(); }", false),
            ("async fn work() { fn inner() { send(); } }", false),
        ] {
            let source = parsed(text);
            assert_eq!(runs_as_future(&source, node(&source, "send()")), expected, "{text}");
        }
    }

    #[test]
    fn surroundings_count_up_to_the_function() {
        let text = "fn outer() { loop { fn work() { if x { send(); } } } }";
        let source = parsed(text);
        let place = node(&source, "send()");
        let function = source
            .function_at(place.start_byte())
            .and_then(|item| source.node_of(item));
        let kinds = |kinds: &[&str]| -> Vec<String> { kinds.iter().map(|&kind| kind.to_owned()).collect() };
        for (within, not_within, expected) in [
            (&[][..], &[][..], true),
            (&["if_expression"], &[], true),
            (&["loop_expression"], &[], false),
            (&[], &["loop_expression"], true),
            (&[], &["if_expression"], false),
        ] {
            let fits = surroundings_fit(&kinds(within), &kinds(not_within), place, function);
            assert_eq!(fits, expected, "{within:?} {not_within:?}");
        }
    }
}
