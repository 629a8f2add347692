//! The syntax of Go.

use tree_sitter::Node;

use super::{ItemKind, Syntax, comment_above, field, item, name_text, node_text};

pub(super) static GO: Syntax = Syntax {
    name: "go",
    grammar: || tree_sitter_go::LANGUAGE.into(),
    items: &[
        item("function_declaration", ItemKind::Function, "name"),
        item("method_declaration", ItemKind::Function, "name"),
        item("type_spec", ItemKind::Type, "name"),
        item("type_alias", ItemKind::Type, "name"),
        item("const_spec", ItemKind::Constant, "name"),
    ],
    name_of: field,
    receiver,
    comments: &["comment"],
    strings: &["interpreted_string_literal", "raw_string_literal", "rune_literal"],
    branches: &[
        "if_statement",
        "for_statement",
        "expression_case",
        "type_case",
        "communication_case",
    ],
    arms: &[],
    short_circuits: &["&&", "||"],
    nesting: &[
        "if_statement",
        "for_statement",
        "expression_switch_statement",
        "type_switch_statement",
        "select_statement",
        "func_literal",
    ],
    calls: &[("call_expression", "function")],
    identifiers: &["identifier", "field_identifier", "type_identifier"],
    // Tests have files of their own.
    is_test: |_, _| false,
    is_documented: |node, _| {
        comment_above(node, &["type_declaration", "const_declaration"], |above| {
            above.kind() == "comment"
        })
    },
    is_public: |node, text| name_text(node, text).chars().next().is_some_and(char::is_uppercase),
    parameters,
};

/// The type in front of a method's name, without pointer and type parameters.
fn receiver(node: Node<'_>, text: &str) -> Option<String> {
    let list = node.child_by_field_name("receiver")?;
    let declared = list.named_child(0)?.child_by_field_name("type")?;
    let name = node_text(declared, text).trim_start_matches('*').trim();
    let name = name.split('[').next().unwrap_or(name).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

fn parameters(node: Node<'_>, _: &str) -> usize {
    let Some(list) = node.child_by_field_name("parameters") else {
        return 0;
    };
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .filter(|child| matches!(child.kind(), "parameter_declaration" | "variadic_parameter_declaration"))
        .map(|child| {
            // `a, b int` declares two.
            let mut names = child.walk();
            child.children_by_field_name("name", &mut names).count().max(1)
        })
        .sum()
}
