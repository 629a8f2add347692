//! The syntax of Java.

use tree_sitter::Node;

use super::{ItemKind, Syntax, comment_above, count_children, field, item, no_receiver, node_text};

pub(super) static JAVA: Syntax = Syntax {
    name: "java",
    grammar: || tree_sitter_java::LANGUAGE.into(),
    items: &[
        item("method_declaration", ItemKind::Function, "name"),
        item("constructor_declaration", ItemKind::Function, "name"),
        item("compact_constructor_declaration", ItemKind::Function, "name"),
        item("class_declaration", ItemKind::Class, "name"),
        item("record_declaration", ItemKind::Class, "name"),
        item("interface_declaration", ItemKind::Trait, "name"),
        item("annotation_type_declaration", ItemKind::Trait, "name"),
        item("enum_declaration", ItemKind::Enum, "name"),
    ],
    name_of: field,
    receiver: no_receiver,
    comments: &["line_comment", "block_comment"],
    strings: &["string_literal", "character_literal"],
    branches: &[
        "if_statement",
        "while_statement",
        "do_statement",
        "for_statement",
        "enhanced_for_statement",
        "catch_clause",
        "ternary_expression",
    ],
    arms: &["switch_block_statement_group", "switch_rule"],
    short_circuits: &["&&", "||"],
    nesting: &[
        "if_statement",
        "while_statement",
        "do_statement",
        "for_statement",
        "enhanced_for_statement",
        "switch_expression",
        "try_statement",
        "try_with_resources_statement",
        "lambda_expression",
    ],
    calls: &[("method_invocation", "name"), ("object_creation_expression", "type")],
    identifiers: &["identifier", "type_identifier"],
    is_test: |node, text| {
        modifiers(node, text).split_whitespace().any(|word| {
            let name = word.trim_start_matches('@').split('(').next().unwrap_or_default();
            word.starts_with('@') && matches!(name, "Test" | "ParameterizedTest" | "RepeatedTest" | "org.junit.Test")
        })
    },
    is_documented: |node, text| {
        comment_above(node, &[], |above| {
            above.kind() == "block_comment" && node_text(above, text).starts_with("/**")
        })
    },
    is_public: |node, text| {
        modifiers(node, text).split_whitespace().any(|word| word == "public")
            // What an interface declares is public without saying so.
            || node.parent().is_some_and(|parent| parent.kind() == "interface_body")
    },
    parameters: |node, _| count_children(node, "parameters", &["formal_parameter", "spread_parameter"]),
};

fn modifiers<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    node.named_child(0)
        .filter(|first| first.kind() == "modifiers")
        .map(|first| node_text(first, text))
        .unwrap_or_default()
}
