//! The syntax of C.

use tree_sitter::Node;

use super::{ItemKind, Syntax, comment_above, item, no_receiver, node_text};

/// Pointers, arrays and brackets around the name of a function.
const DECLARATORS_MAX: usize = 16;

pub(super) static C: Syntax = Syntax {
    name: "c",
    grammar: || tree_sitter_c::LANGUAGE.into(),
    items: &[
        item("function_definition", ItemKind::Function, "declarator"),
        item("struct_specifier", ItemKind::Struct, "name"),
        item("union_specifier", ItemKind::Struct, "name"),
        item("enum_specifier", ItemKind::Enum, "name"),
        item("type_definition", ItemKind::Type, "declarator"),
        item("preproc_function_def", ItemKind::Macro, "name"),
    ],
    name_of,
    receiver: no_receiver,
    comments: &["comment"],
    strings: &["string_literal", "char_literal", "system_lib_string"],
    branches: &[
        "if_statement",
        "while_statement",
        "do_statement",
        "for_statement",
        "conditional_expression",
    ],
    arms: &["case_statement"],
    short_circuits: &["&&", "||"],
    nesting: &[
        "if_statement",
        "while_statement",
        "do_statement",
        "for_statement",
        "switch_statement",
    ],
    calls: &[("call_expression", "function")],
    identifiers: &["identifier", "field_identifier", "type_identifier"],
    // Tests have files of their own.
    is_test: |_, _| false,
    is_documented: |node, _| comment_above(node, &[], |above| above.kind() == "comment"),
    is_public: |node, text| {
        let mut cursor = node.walk();
        !node
            .named_children(&mut cursor)
            .any(|child| child.kind() == "storage_class_specifier" && node_text(child, text) == "static")
    },
    parameters,
};

/// The name within a declarator, and nothing for a type that is only mentioned.
fn name_of<'t>(node: Node<'t>, name: &'static str) -> Option<Node<'t>> {
    if node.kind().ends_with("_specifier") {
        node.child_by_field_name("body")?;
    }
    let mut found = node.child_by_field_name(name)?;
    if name == "declarator" {
        for _ in 0..DECLARATORS_MAX {
            match found.child_by_field_name("declarator").or_else(|| {
                (found.kind() == "parenthesized_declarator")
                    .then(|| found.named_child(0))
                    .flatten()
            }) {
                Some(inner) => found = inner,
                None => break,
            }
        }
    }
    matches!(found.kind(), "identifier" | "type_identifier").then_some(found)
}

fn parameters(node: Node<'_>, text: &str) -> usize {
    let mut declarator = node.child_by_field_name("declarator");
    for _ in 0..DECLARATORS_MAX {
        match declarator.filter(|found| found.kind() != "function_declarator") {
            Some(found) => declarator = found.child_by_field_name("declarator"),
            None => break,
        }
    }
    let Some(list) = declarator.and_then(|found| found.child_by_field_name("parameters")) else {
        return 0;
    };
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .filter(|child| matches!(child.kind(), "parameter_declaration" | "variadic_parameter"))
        .filter(|child| node_text(*child, text).trim() != "void")
        .count()
}
