//! Syntax: what the tree of a language looks like. One table a language; no tool may know a node kind that is not named here
//! or in a rule pack.

mod c;
mod go;
mod java;
mod javascript;

use tree_sitter::Node;

use crate::language_of;

/// The kind of a named piece of a program.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A free function.
    Function,
    /// A function of a type.
    Method,
    /// A structure.
    Struct,
    /// An enumeration.
    Enum,
    /// A trait or interface.
    Trait,
    /// A class.
    Class,
    /// An implementation block.
    Impl,
    /// A module.
    Module,
    /// A type alias.
    Type,
    /// A constant or static.
    Constant,
    /// A macro.
    Macro,
    /// A heading of a text for people.
    Section,
}

/// How a named piece of a program shows in the tree.
#[derive(Debug)]
pub struct ItemSyntax {
    /// Kind of its node.
    pub node: &'static str,
    /// What it is; a function inside a container is reported as a method.
    pub kind: ItemKind,
    /// Field that holds its name.
    pub name_field: &'static str,
}

/// The syntax of a language: the one table to add for a new one.
#[derive(Debug)]
pub struct Syntax {
    /// Names the grammar; several languages may share one.
    pub name: &'static str,
    /// The grammar.
    pub grammar: fn() -> tree_sitter::Language,
    /// Named pieces.
    pub items: &'static [ItemSyntax],
    /// The node that holds the name of an item; `None` where the node is no item after all.
    pub name_of: for<'t> fn(Node<'t>, &'static str) -> Option<Node<'t>>,
    /// The type a function belongs to where the function says so itself instead of standing inside of it.
    pub receiver: fn(Node<'_>, &str) -> Option<String>,
    /// Kinds of comments.
    pub comments: &'static [&'static str],
    /// Kinds of string literals.
    pub strings: &'static [&'static str],
    /// Kinds that add one path each: conditions and loops.
    pub branches: &'static [&'static str],
    /// Kinds that add one path each beyond the first under the same parent: arms of a match.
    pub arms: &'static [&'static str],
    /// Operators that add one path each.
    pub short_circuits: &'static [&'static str],
    /// Kinds that deepen the nesting.
    pub nesting: &'static [&'static str],
    /// Kinds of calls, with the field that holds what is called.
    pub calls: &'static [(&'static str, &'static str)],
    /// Kinds of names.
    pub identifiers: &'static [&'static str],
    /// Whether an item is test code.
    pub is_test: fn(Node<'_>, &str) -> bool,
    /// Whether an item has documentation.
    pub is_documented: fn(Node<'_>, &str) -> bool,
    /// Whether an item can be used from outside its module.
    pub is_public: fn(Node<'_>, &str) -> bool,
    /// Number of parameters of a function, the receiver not counted.
    pub parameters: fn(Node<'_>, &str) -> usize,
}

impl Syntax {
    /// The table entry of a node that is a named piece of the program.
    pub fn item(&self, node: &str) -> Option<&'static ItemSyntax> {
        self.items.iter().find(|item| item.node == node)
    }

    /// Whether a node is a function or method with a name.
    pub fn is_function(&self, node: Node<'_>) -> bool {
        self.item(node.kind())
            .is_some_and(|form| form.kind == ItemKind::Function && (self.name_of)(node, form.name_field).is_some())
    }

    /// Whether a function is asynchronous.
    pub fn is_async(&self, function: Node<'_>, text: &str) -> bool {
        // A function that is the value of a name.
        let function = given_to(function).unwrap_or(function);
        let mut cursor = function.walk();
        function.children(&mut cursor).any(|child| {
            child.kind() == "async"
                || (child.kind() == "function_modifiers"
                    && node_text(child, text).split(' ').any(|word| word == "async"))
        })
    }
}

/// The text of a node; empty where its bytes are not text.
pub fn node_text<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    text.get(node.byte_range()).unwrap_or_default()
}

/// The syntax of a file by its path, where there is a grammar for it.
pub fn syntax_of(path: &str) -> Option<&'static Syntax> {
    let extension = path.rsplit('.').next().unwrap_or_default();
    let markup = extension.eq_ignore_ascii_case("tsx");
    let mut grammars = grammars_of(language_of(path).name).into_iter();
    grammars.rfind(|syntax| !markup || syntax.name == "tsx")
}

/// The grammars that files of a language are parsed with; none where there is none.
pub fn grammars_of(language: &str) -> Vec<&'static Syntax> {
    match language {
        "rust" => vec![&RUST],
        "python" => vec![&PYTHON],
        "go" => vec![&go::GO],
        // Type assertions in angle brackets and markup exclude each other, so there are two grammars.
        "typescript" => vec![&javascript::TSX, &javascript::TYPESCRIPT],
        "javascript" => vec![&javascript::TSX],
        "java" => vec![&java::JAVA],
        "c" => vec![&c::C],
        _ => vec![],
    }
}

fn field<'t>(node: Node<'t>, field: &'static str) -> Option<Node<'t>> {
    node.child_by_field_name(field)
}

fn no_receiver(_: Node<'_>, _: &str) -> Option<String> {
    None
}

/// Whether a comment of these kinds stands directly above the node, or above what it is wrapped in.
fn comment_above(node: Node<'_>, wrappers: &[&str], is_one: impl Fn(Node<'_>) -> bool) -> bool {
    comment_within(node, wrappers, 0, is_one)
}

/// The same with so many blank lines between the comment and the node at most.
fn comment_within(node: Node<'_>, wrappers: &[&str], blank_max: usize, is_one: impl Fn(Node<'_>) -> bool) -> bool {
    let mut outermost = node;
    while let Some(parent) = outermost.parent().filter(|parent| wrappers.contains(&parent.kind())) {
        outermost = parent;
    }
    outermost.prev_named_sibling().is_some_and(|above| {
        above.end_position().row + 1 + blank_max >= outermost.start_position().row && is_one(above)
    })
}

fn name_text<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    node.child_by_field_name("name")
        .map(|name| node_text(name, text))
        .unwrap_or_default()
}

/// What a name is given: the value of a variable, a field or an assignment.
pub fn given_to(node: Node<'_>) -> Option<Node<'_>> {
    node.child_by_field_name("value")
        .or_else(|| node.child_by_field_name("right"))
}

const fn item(node: &'static str, kind: ItemKind, name_field: &'static str) -> ItemSyntax {
    ItemSyntax { node, kind, name_field }
}

static RUST: Syntax = Syntax {
    name: "rust",
    name_of: field,
    receiver: no_receiver,
    grammar: || tree_sitter_rust::LANGUAGE.into(),
    items: &[
        item("function_item", ItemKind::Function, "name"),
        item("struct_item", ItemKind::Struct, "name"),
        item("union_item", ItemKind::Struct, "name"),
        item("enum_item", ItemKind::Enum, "name"),
        item("trait_item", ItemKind::Trait, "name"),
        item("impl_item", ItemKind::Impl, "type"),
        item("mod_item", ItemKind::Module, "name"),
        item("type_item", ItemKind::Type, "name"),
        item("const_item", ItemKind::Constant, "name"),
        item("static_item", ItemKind::Constant, "name"),
        item("macro_definition", ItemKind::Macro, "name"),
    ],
    comments: &["line_comment", "block_comment"],
    strings: &["string_literal", "raw_string_literal", "char_literal"],
    branches: &["if_expression", "while_expression", "for_expression"],
    arms: &["match_arm"],
    short_circuits: &["&&", "||"],
    nesting: &[
        "if_expression",
        "while_expression",
        "for_expression",
        "loop_expression",
        "match_expression",
        "closure_expression",
    ],
    calls: &[("call_expression", "function"), ("macro_invocation", "macro")],
    identifiers: &["identifier", "field_identifier", "type_identifier"],
    is_test: rust_is_test,
    is_documented: rust_is_documented,
    is_public: |node, text| {
        let mut cursor = node.walk();
        node.children(&mut cursor)
            .any(|child| child.kind() == "visibility_modifier" && node_text(child, text) == "pub")
    },
    parameters: |node, _| count_children(node, "parameters", &["parameter", "variadic_parameter"]),
};

static PYTHON: Syntax = Syntax {
    name: "python",
    name_of: field,
    receiver: no_receiver,
    grammar: || tree_sitter_python::LANGUAGE.into(),
    items: &[
        item("function_definition", ItemKind::Function, "name"),
        item("class_definition", ItemKind::Class, "name"),
    ],
    comments: &["comment"],
    strings: &["string"],
    branches: &[
        "if_statement",
        "elif_clause",
        "while_statement",
        "for_statement",
        "except_clause",
        "conditional_expression",
        "if_clause",
        "for_in_clause",
        "assert_statement",
    ],
    arms: &["case_clause"],
    short_circuits: &["and", "or"],
    nesting: &[
        "if_statement",
        "while_statement",
        "for_statement",
        "try_statement",
        "with_statement",
        "match_statement",
        "lambda",
    ],
    calls: &[("call", "function")],
    identifiers: &["identifier"],
    is_test: |node, text| {
        let name = node
            .child_by_field_name("name")
            .map(|name| node_text(name, text))
            .unwrap_or_default();
        match node.kind() {
            "class_definition" => {
                let bases = node
                    .child_by_field_name("superclasses")
                    .map(|bases| node_text(bases, text));
                name.starts_with("Test") || bases.is_some_and(|bases| bases.contains("TestCase"))
            }
            _ => name.starts_with("test_"),
        }
    },
    is_documented: |node, _| {
        node.child_by_field_name("body")
            .and_then(|body| body.named_child(0))
            .and_then(|first| first.named_child(0))
            .is_some_and(|first| first.kind() == "string")
    },
    is_public: |node, text| {
        node.child_by_field_name("name")
            .is_some_and(|name| !node_text(name, text).starts_with('_'))
    },
    parameters: |node, text| {
        let Some(list) = node.child_by_field_name("parameters") else {
            return 0;
        };
        let mut cursor = list.walk();
        list.named_children(&mut cursor)
            .filter(|child| !matches!(child.kind(), "comment" | "keyword_separator" | "positional_separator"))
            .filter(|child| !matches!(node_text(*child, text), "self" | "cls"))
            .count()
    },
};

fn count_children(node: Node<'_>, field: &str, kinds: &[&str]) -> usize {
    let Some(list) = node.child_by_field_name(field) else {
        return 0;
    };
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .filter(|child| kinds.contains(&child.kind()))
        .count()
}

/// The attributes and comments directly before an item.
fn rust_prefix<'t>(node: Node<'t>, text: &'t str) -> Vec<(&'t str, &'t str)> {
    let mut prefix = Vec::new();
    let mut previous = node.prev_named_sibling();
    while let Some(sibling) =
        previous.filter(|s| matches!(s.kind(), "attribute_item" | "line_comment" | "block_comment"))
    {
        prefix.push((sibling.kind(), node_text(sibling, text)));
        previous = sibling.prev_named_sibling();
    }
    prefix
}

fn rust_is_test(node: Node<'_>, text: &str) -> bool {
    rust_prefix(node, text).iter().any(|(kind, attribute)| {
        let attribute: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
        let name = attribute.trim_start_matches("#[");
        let name = name.split(['(', ']', '=']).next().unwrap_or_default();
        *kind == "attribute_item"
            && (matches!(
                name.rsplit("::").next(),
                Some("test" | "bench" | "rstest" | "test_case" | "quickcheck")
            ) || (name == "cfg" && is_test_condition(&attribute)))
    })
}

/// Whether a `cfg` attribute without white space holds only when tests are built.
pub(super) fn is_test_condition(attribute: &str) -> bool {
    ["cfg(test)", "cfg(any(test", "cfg(all(test"]
        .iter()
        .any(|condition| attribute.contains(condition))
}

fn rust_is_documented(node: Node<'_>, text: &str) -> bool {
    rust_prefix(node, text).iter().any(|(kind, text)| match *kind {
        "attribute_item" => text.starts_with("#[doc"),
        _ => (text.starts_with("///") && !text.starts_with("////")) || text.starts_with("/**"),
    })
}

#[cfg(test)]
mod tests;
