//! The syntax of TypeScript, and of JavaScript, which the grammar of TypeScript with markup reads as well.

use tree_sitter::Node;

use super::{ItemKind, ItemSyntax, Syntax, comment_above, item, no_receiver, node_text};

const ITEMS: &[ItemSyntax] = &[
    item("function_declaration", ItemKind::Function, "name"),
    item("generator_function_declaration", ItemKind::Function, "name"),
    item("method_definition", ItemKind::Function, "name"),
    item("variable_declarator", ItemKind::Function, "name"),
    item("public_field_definition", ItemKind::Function, "name"),
    item("class_declaration", ItemKind::Class, "name"),
    item("abstract_class_declaration", ItemKind::Class, "name"),
    item("interface_declaration", ItemKind::Trait, "name"),
    item("enum_declaration", ItemKind::Enum, "name"),
    item("type_alias_declaration", ItemKind::Type, "name"),
    item("internal_module", ItemKind::Module, "name"),
];

const fn syntax(name: &'static str, grammar: fn() -> tree_sitter::Language) -> Syntax {
    Syntax {
        name,
        grammar,
        items: ITEMS,
        name_of,
        receiver: no_receiver,
        comments: &["comment"],
        strings: &["string", "template_string", "regex"],
        branches: &[
            "if_statement",
            "while_statement",
            "do_statement",
            "for_statement",
            "for_in_statement",
            "switch_case",
            "catch_clause",
            "ternary_expression",
        ],
        arms: &[],
        short_circuits: &["&&", "||", "??"],
        nesting: &[
            "if_statement",
            "while_statement",
            "do_statement",
            "for_statement",
            "for_in_statement",
            "switch_statement",
            "try_statement",
            "arrow_function",
            "function_expression",
        ],
        calls: &[("call_expression", "function"), ("new_expression", "constructor")],
        identifiers: &[
            "identifier",
            "property_identifier",
            "shorthand_property_identifier",
            "type_identifier",
        ],
        // Tests are calls in files of their own.
        is_test: |_, _| false,
        is_documented: |node, text| {
            comment_above(node, WRAPPERS, |above| {
                above.kind() == "comment" && node_text(above, text).starts_with("/**")
            })
        },
        is_public,
        parameters,
    }
}

pub(super) static TYPESCRIPT: Syntax = syntax("typescript", || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into());

pub(super) static TSX: Syntax = syntax("tsx", || tree_sitter_typescript::LANGUAGE_TSX.into());

const WRAPPERS: &[&str] = &["lexical_declaration", "variable_declaration", "export_statement"];

/// A variable or field is a function where its value is one.
fn name_of<'t>(node: Node<'t>, name: &'static str) -> Option<Node<'t>> {
    if matches!(node.kind(), "variable_declarator" | "public_field_definition") {
        value_function(node)?;
    }
    node.child_by_field_name(name)
}

fn value_function(node: Node<'_>) -> Option<Node<'_>> {
    node.child_by_field_name("value").filter(|value| {
        matches!(
            value.kind(),
            "arrow_function" | "function_expression" | "generator_function"
        )
    })
}

fn is_public(node: Node<'_>, text: &str) -> bool {
    if matches!(node.kind(), "method_definition" | "public_field_definition") {
        let mut cursor = node.walk();
        let hidden = node.named_children(&mut cursor).any(|child| {
            child.kind() == "private_property_identifier"
                || (child.kind() == "accessibility_modifier" && node_text(child, text) != "public")
        });
        return !hidden;
    }
    let mut outer = node;
    while let Some(parent) = outer.parent().filter(|parent| WRAPPERS.contains(&parent.kind())) {
        outer = parent;
    }
    outer.kind() == "export_statement"
}

fn parameters(node: Node<'_>, text: &str) -> usize {
    let function = value_function(node).unwrap_or(node);
    let Some(list) = function.child_by_field_name("parameters") else {
        return usize::from(function.child_by_field_name("parameter").is_some());
    };
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .filter(|child| matches!(child.kind(), "required_parameter" | "optional_parameter"))
        // `this` declares a type and takes nothing.
        .filter(|child| {
            child
                .child_by_field_name("pattern")
                .is_none_or(|pattern| node_text(pattern, text) != "this")
        })
        .count()
}
