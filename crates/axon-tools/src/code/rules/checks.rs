//! Conditions of rules that neither a query nor a regular expression can state. Each looks at one function of one file.

use serde::Deserialize;
use tree_sitter::Node;

use crate::code::source::{Source, walk};
use crate::code::syntax::node_text;

/// A condition that only a program can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The `let` binding is alive at an `.await` that follows in its block.
    AliveAcrossAwait,
    /// The function calls itself and neither counts nor limits how deep.
    UnlimitedRecursion,
    /// The indexed parameter's length is not looked at in the function.
    LengthUnchecked,
    /// The indexed parameter is text, and where its characters begin is not looked at in the function.
    BoundaryUnchecked,
    /// The parameter's default is changed in the function, or leaves it.
    ChangedInFunction,
    /// The loop has no way out: no `break`, `return`, `?` or awaited signal.
    Endless,
    /// The collection that is iterated is changed in the loop, which goes on afterwards.
    ModifiedWhileIterated,
    /// Neither the test nor a function of the file that it calls checks anything.
    ChecksNothing,
    /// No sibling attribute gives a reason.
    WithoutReason,
}

impl Check {
    /// Whether it holds for the node of `@match`.
    pub fn holds(self, source: &Source, node: Node<'_>, function: Option<Node<'_>>) -> bool {
        match self {
            Check::AliveAcrossAwait => alive_across_await(source, node),
            Check::UnlimitedRecursion => function.is_some_and(|function| unlimited_recursion(source, node, function)),
            Check::LengthUnchecked => function.is_some_and(|function| length_unchecked(source, node, function)),
            Check::BoundaryUnchecked => function.is_some_and(|function| boundary_unchecked(source, node, function)),
            Check::ChangedInFunction => changed_in_function(source, node),
            Check::Endless => endless(source, node),
            Check::ModifiedWhileIterated => modified_while_iterated(source, node),
            Check::ChecksNothing => checks_nothing(source, node),
            Check::WithoutReason => !node_text(node, &source.text).contains("reason"),
        }
    }
}

fn text<'s>(source: &'s Source, node: Node<'_>) -> &'s str {
    node_text(node, &source.text)
}

fn any(node: Node<'_>, mut holds: impl FnMut(Node<'_>) -> bool) -> bool {
    let mut found = false;
    walk(node, |inner| {
        found = found || holds(inner);
        !found
    });
    found
}

fn checks_nothing(source: &Source, test: Node<'_>) -> bool {
    let Some(body) = test.child_by_field_name("body") else {
        return false;
    };
    // A test of one statement hands its work to something that cannot be seen from here.
    if body.named_child_count() < 2 {
        return false;
    }
    !any(body, |inner| {
        let callee = inner
            .child_by_field_name("function")
            .filter(|_| matches!(inner.kind(), "call_expression" | "call"));
        let name = callee.map(|callee| crate::code::metrics::last_name(text(source, callee)));
        let helpers = source.functions().filter(|helper| Some(helper.name.as_str()) == name);
        helpers
            .map(|helper| source.text.get(helper.bytes.clone()).unwrap_or_default())
            .any(|helper| {
                ["assert", "panic!", "expect(", "unwrap()", "raise", "fail("]
                    .iter()
                    .any(|check| helper.contains(check))
            })
    })
}

fn alive_across_await(source: &Source, binding: Node<'_>) -> bool {
    let Some(name) = binding
        .child_by_field_name("pattern")
        .map(|pattern| text(source, pattern))
    else {
        return false;
    };
    let name = name.trim_start_matches("mut ").trim();
    if name == "_" {
        return false;
    }
    let mut sibling = binding.next_named_sibling();
    while let Some(statement) = sibling {
        let here = text(source, statement);
        if here.contains("drop")
            && here
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        {
            return false;
        }
        let awaits = any(statement, |node| node.kind() == "await_expression");
        // An await inside a closure or an async block of its own does not suspend this function.
        let own = !any(statement, |node| {
            matches!(node.kind(), "async_block" | "closure_expression")
        });
        if awaits && own {
            return true;
        }
        sibling = statement.next_named_sibling();
    }
    false
}

fn unlimited_recursion(source: &Source, call: Node<'_>, function: Node<'_>) -> bool {
    let Some(name) = function.child_by_field_name("name").map(|name| text(source, name)) else {
        return false;
    };
    let callee = call
        .child_by_field_name("function")
        .map(|callee| text(source, callee))
        .unwrap_or_default();
    // Only calls that surely reach the same function: a free one by its bare name, a method on `self` or its type.
    let containers = ["impl_item", "trait_item", "class_definition"];
    let is_method = std::iter::successors(function.parent(), |outer| outer.parent())
        .any(|outer| containers.contains(&outer.kind()));
    let on_itself = ["self.", "Self::", "cls."]
        .iter()
        .any(|on| callee.strip_prefix(on) == Some(name));
    let itself = if is_method { on_itself } else { callee == name };
    let whole = text(source, function).to_lowercase();
    let limited = ["depth", "limit", "level", "budget", "fuel", "remaining", "recursion"]
        .iter()
        .any(|word| whole.contains(word));
    itself && !limited && !forwards(source, call, function)
}

/// Whether the method of a trait hands its own parameters on as they are: then an inherent method of the same name does the
/// work, because calling itself like that would never end, which the compiler tells.
fn forwards(source: &Source, call: Node<'_>, function: Node<'_>) -> bool {
    let of_trait = std::iter::successors(function.parent(), |outer| outer.parent())
        .any(|outer| outer.kind() == "impl_item" && outer.child_by_field_name("trait").is_some());
    let (Some(arguments), Some(parameters)) = (
        call.child_by_field_name("arguments"),
        function.child_by_field_name("parameters"),
    ) else {
        return false;
    };
    let patterns: Vec<&str> = named_children(parameters)
        .into_iter()
        .filter_map(|parameter| parameter.child_by_field_name("pattern"))
        .map(|pattern| text(source, pattern))
        .collect();
    let given: Vec<&str> = named_children(arguments)
        .into_iter()
        .map(|argument| text(source, argument))
        .collect();
    of_trait && given == patterns
}

fn named_children(node: Node<'_>) -> Vec<Node<'_>> {
    (0..node.named_child_count())
        .filter_map(|at| u32::try_from(at).ok())
        .filter_map(|at| node.named_child(at))
        .collect()
}

/// The parameter that is indexed, when it has one of these types.
fn indexed_parameter<'s>(source: &'s Source, index: Node<'_>, function: Node<'_>, types: &[&str]) -> Option<&'s str> {
    let object = index.named_child(0).map(|object| text(source, object))?;
    let is_one = any(function.child_by_field_name("parameters")?, |node| {
        let is_named = || {
            node.child_by_field_name("pattern")
                .is_some_and(|pattern| text(source, pattern) == object)
        };
        let has_type = || {
            node.child_by_field_name("type").is_some_and(|kind| {
                let kind = text(source, kind).trim_start_matches('&').trim_start_matches("mut ");
                let kind = if kind.starts_with('\'') {
                    kind.split_once(' ').map_or(kind, |(_, rest)| rest)
                } else {
                    kind
                };
                types.contains(&kind)
            })
        };
        node.kind() == "parameter" && is_named() && has_type()
    });
    is_one.then_some(object)
}

fn length_unchecked(source: &Source, index: Node<'_>, function: Node<'_>) -> bool {
    let Some(object) = indexed_parameter(source, index, function, &["[u8]", "Bytes", "Vec<u8>"]) else {
        return false;
    };
    let Some(body) = function.child_by_field_name("body").map(|body| text(source, body)) else {
        return false;
    };
    let looks = [
        ".len()",
        ".is_empty()",
        ".get(",
        ".starts_with(",
        ".split_at",
        ".split_first",
        ".first(",
        ".last(",
        ".iter().position(",
    ];
    // `..` alone takes everything, and a range that ends where a search ended is inside.
    let is_whole = index.named_child(1).is_some_and(|range| text(source, range) == "..");
    !is_whole && !looks.iter().any(|look| body.contains(&format!("{object}{look}")))
}

fn boundary_unchecked(source: &Source, index: Node<'_>, function: Node<'_>) -> bool {
    if indexed_parameter(source, index, function, &["str", "String"]).is_none() {
        return false;
    }
    let Some(range) = index.named_child(1).map(|range| text(source, range)) else {
        return false;
    };
    let bound = range
        .rsplit("..")
        .next()
        .unwrap_or_default()
        .trim_start_matches('=')
        .trim();
    let last = bound.rsplit("::").next().unwrap_or(bound);
    let is_number = !bound.is_empty() && bound.chars().all(|c| c.is_ascii_digit() || c == '_') && bound != "0";
    let is_constant = last.len() > 1
        && last
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let body = function
        .child_by_field_name("body")
        .map(|body| text(source, body))
        .unwrap_or_default();
    let careful = [
        "char_boundary",
        "char_indices",
        "is_ascii",
        ".find(",
        ".starts_with(",
        ".strip_prefix(",
    ];
    (is_number || is_constant) && !careful.iter().any(|word| body.contains(word))
}

fn changed_in_function(source: &Source, parameter: Node<'_>) -> bool {
    let Some(name) = parameter.child_by_field_name("name").map(|name| text(source, name)) else {
        return false;
    };
    let function = std::iter::successors(parameter.parent(), |outer| outer.parent())
        .find(|outer| outer.kind() == "function_definition");
    let Some(body) = function.and_then(|function| function.child_by_field_name("body")) else {
        return false;
    };
    any(body, |inner| match inner.kind() {
        "call" => {
            let callee = inner
                .child_by_field_name("function")
                .map(|callee| text(source, callee))
                .unwrap_or_default();
            let methods = [
                "append",
                "add",
                "update",
                "extend",
                "insert",
                "pop",
                "remove",
                "clear",
                "setdefault",
                "discard",
            ];
            methods
                .iter()
                .any(|method| callee.strip_suffix(method).and_then(|rest| rest.strip_suffix('.')) == Some(name))
        }
        "assignment" | "augmented_assignment" => {
            let left = inner
                .child_by_field_name("left")
                .map(|left| text(source, left))
                .unwrap_or_default();
            let right = inner
                .child_by_field_name("right")
                .map(|right| text(source, right))
                .unwrap_or_default();
            left.starts_with(&format!("{name}["))
                || (inner.kind() == "augmented_assignment" && left == name)
                || (left.starts_with("self.") && right == name)
        }
        "return_statement" => inner.named_child(0).is_some_and(|value| text(source, value) == name),
        _ => false,
    })
}

fn endless(source: &Source, node: Node<'_>) -> bool {
    let Some(body) = node.child_by_field_name("body") else {
        return false;
    };
    !any(body, |inner| {
        matches!(
            inner.kind(),
            "break_expression"
                | "return_expression"
                | "try_expression"
                | "break_statement"
                | "return_statement"
                | "raise_statement"
                | "yield"
        ) || (inner.kind() == "macro_invocation" && text(source, inner).contains("select!"))
            || (inner.kind() == "macro_invocation" && text(source, inner).starts_with("return"))
    })
}

fn modified_while_iterated(source: &Source, node: Node<'_>) -> bool {
    let (Some(over), Some(body)) = (node.child_by_field_name("right"), node.child_by_field_name("body")) else {
        return false;
    };
    let over = match over.kind() {
        "identifier" | "attribute" => text(source, over).to_owned(),
        "call" => {
            let callee = over
                .child_by_field_name("function")
                .map(|callee| text(source, callee))
                .unwrap_or_default();
            match ["keys", "items", "values"]
                .iter()
                .find_map(|view| callee.strip_suffix(view)?.strip_suffix('.'))
            {
                Some(object) => object.to_owned(),
                None => return false,
            }
        }
        _ => return false,
    };
    any(body, |inner| {
        let changes = match inner.kind() {
            "call" => {
                let callee = inner
                    .child_by_field_name("function")
                    .map(|callee| text(source, callee))
                    .unwrap_or_default();
                [
                    "pop", "remove", "append", "insert", "clear", "discard", "add", "popitem", "extend",
                ]
                .iter()
                .any(|method| {
                    callee.strip_suffix(method).and_then(|rest| rest.strip_suffix('.')) == Some(over.as_str())
                })
            }
            "delete_statement" => inner
                .named_child(0)
                .is_some_and(|target| text(source, target).starts_with(&format!("{over}["))),
            _ => false,
        };
        changes && !leaves_loop_afterwards(inner)
    })
}

/// Whether the statements after a node, up to the loop, end with leaving the loop.
fn leaves_loop_afterwards(node: Node<'_>) -> bool {
    let mut statement = node;
    while let Some(parent) = statement.parent() {
        if parent.kind() == "block" {
            let mut next = statement.next_named_sibling();
            while let Some(sibling) = next {
                if matches!(
                    sibling.kind(),
                    "break_statement" | "return_statement" | "raise_statement"
                ) {
                    return true;
                }
                next = sibling.next_named_sibling();
            }
        }
        if matches!(parent.kind(), "for_statement" | "return_statement") {
            return parent.kind() == "return_statement";
        }
        statement = parent;
    }
    false
}
