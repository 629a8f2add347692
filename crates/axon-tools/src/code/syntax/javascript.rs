//! The syntax of TypeScript, and of JavaScript, which the grammar of TypeScript with markup reads as well.

use tree_sitter::Node;

use super::{ItemKind, ItemSyntax, Syntax, comment_within, given_to, item, node_text};

const ITEMS: &[ItemSyntax] = &[
    item("function_declaration", ItemKind::Function, "name"),
    item("generator_function_declaration", ItemKind::Function, "name"),
    item("method_definition", ItemKind::Function, "name"),
    item("variable_declarator", ItemKind::Function, "name"),
    item("public_field_definition", ItemKind::Function, "name"),
    item("assignment_expression", ItemKind::Function, "left"),
    item("pair", ItemKind::Function, "key"),
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
        receiver,
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
            comment_within(node, WRAPPERS, 1, |above| {
                above.kind() == "comment" && node_text(above, text).starts_with("/**")
            })
        },
        is_public,
        parameters,
    }
}

pub(super) static TYPESCRIPT: Syntax = syntax("typescript", || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into());

pub(super) static TSX: Syntax = syntax("tsx", || tree_sitter_typescript::LANGUAGE_TSX.into());

const WRAPPERS: &[&str] = &[
    "lexical_declaration",
    "variable_declaration",
    "export_statement",
    "expression_statement",
];
/// What a module gives to others is assigned to these.
const EXPORTS: &[&str] = &["exports", "module.exports"];

/// A variable, a field or what is assigned to is a function where its value is one.
fn name_of<'t>(node: Node<'t>, name: &'static str) -> Option<Node<'t>> {
    match node.kind() {
        "variable_declarator" | "public_field_definition" | "pair" => {
            value_function(node)?;
            node.child_by_field_name(name)
        }
        "assignment_expression" => {
            value_function(node)?;
            let target = node.child_by_field_name(name)?;
            target.child_by_field_name("property").or(Some(target))
        }
        _ => node.child_by_field_name(name),
    }
}

fn value_function(node: Node<'_>) -> Option<Node<'_>> {
    given_to(node).filter(|value| {
        matches!(
            value.kind(),
            "arrow_function" | "function_expression" | "generator_function"
        )
    })
}

/// Whose property is assigned to: `app` of `app.use` and of `app.prototype.use`, nothing of `exports.use`.
fn receiver(node: Node<'_>, text: &str) -> Option<String> {
    if node.kind() != "assignment_expression" {
        return None;
    }
    let object = node.child_by_field_name("left")?.child_by_field_name("object")?;
    let name = node_text(object, text).trim_end_matches(".prototype");
    let named = name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'));
    (named && name != "this" && name != "module" && !EXPORTS.contains(&name)).then(|| name.to_owned())
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
    if let Some(target) = node.child_by_field_name("left") {
        let target = node_text(target, text);
        return EXPORTS.iter().any(|exports| target.starts_with(exports)) || target.contains(".prototype.");
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
