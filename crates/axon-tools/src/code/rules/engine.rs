//! Applies rules to one file: candidates from queries and expressions, then the conditions, then one match for each
//! function or file. Pure: the same file and rules give the same matches.

use std::collections::BTreeMap;
use std::ops::Range;

use axon_protocol::Level;
use tree_sitter::{Node, QueryCursor, StreamingIterator};

use super::RuleMatch;
use super::pack::{LanguageQuery, Per, Region, Rule, RuleSet};
use crate::code::source::{Item, Role, Source, line_starts, role_of, row};
use crate::code::syntax::node_text;
use crate::{Kind, language_of};

/// Places of one match that are listed.
const LINES_MAX: usize = 20;
/// Characters of what a claim quotes.
const QUOTED_CHARS_MAX: usize = 60;
/// Names listed in a claim.
const CALLEES_MAX: usize = 3;
/// Partial matches a query keeps at once, against files made to be slow.
const QUERY_MATCHES_MAX: u32 = 4_096;

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

/// One place where a rule applies.
struct Place {
    rule: usize,
    bytes: Range<usize>,
    captures: BTreeMap<String, String>,
}

/// All matches of the chosen rules in a parsed file.
pub fn apply(source: &Source, set: &RuleSet, chosen: &dyn Fn(&Rule) -> bool) -> Vec<RuleMatch> {
    let mut places = Vec::new();
    let code = source.code();
    for of_language in set
        .queries
        .iter()
        .filter(|query| query.language == source.language.name)
    {
        by_query(source, &code, set, of_language, chosen, &mut places);
    }
    for (index, rule) in set.rules.iter().enumerate() {
        let fits = rule.language.is_empty() || rule.language == source.language.name;
        if let Some(pattern) = rule.pattern.as_ref().filter(|_| fits && chosen(rule)) {
            for region in regions(source, &code, rule.data.pattern_in) {
                for found in pattern.find_iter(&region.1) {
                    let bytes = region.0 + found.start()..region.0 + found.end();
                    let node = source
                        .tree
                        .root_node()
                        .descendant_for_byte_range(bytes.start, bytes.end);
                    if node.is_some_and(|node| holds(source, &code, rule, node, None, &bytes)) {
                        let quoted = quoted(found.as_str());
                        places.push(Place {
                            rule: index,
                            bytes,
                            captures: [("match".to_owned(), quoted)].into(),
                        });
                    }
                }
            }
        }
    }
    merge(source, set, places)
}

/// All matches of the chosen rules for every language in a file without a grammar.
pub fn apply_to_text(path: &str, text: &str, set: &RuleSet, chosen: &dyn Fn(&Rule) -> bool) -> Vec<RuleMatch> {
    let role = role_of(path);
    let starts = line_starts(text);
    let mut out = Vec::new();
    for rule in set
        .rules
        .iter()
        .filter(|rule| rule.language.is_empty() && chosen(rule) && role_fits(rule, role))
    {
        // Without a grammar, what is a comment or code cannot be told.
        let is_code = language_of(path).kind == Kind::Code;
        if rule.data.pattern_in == Region::Code || (rule.data.pattern_in != Region::Text && !is_code) {
            continue;
        }
        let Some(pattern) = &rule.pattern else { continue };
        let mut lines: Vec<u32> = pattern
            .find_iter(text)
            .filter(|found| rule.text_not.as_ref().is_none_or(|not| !not.is_match(found.as_str())))
            .map(|found| {
                row(starts
                    .partition_point(|start| *start <= found.start())
                    .saturating_sub(1))
            })
            .collect();
        let places = lines.len();
        lines.dedup();
        if places >= rule.data.min.max(1) {
            out.push(found(rule, path, role, None, lines, places, &BTreeMap::new(), false));
        }
    }
    out
}

fn by_query(
    source: &Source,
    code: &str,
    set: &RuleSet,
    of_language: &LanguageQuery,
    chosen: &dyn Fn(&Rule) -> bool,
    places: &mut Vec<Place>,
) {
    let names = of_language.query.capture_names();
    let mut cursor = QueryCursor::new();
    cursor.set_match_limit(QUERY_MATCHES_MAX);
    let mut matches = cursor.matches(&of_language.query, source.tree.root_node(), source.text.as_bytes());
    while let Some(found) = matches.next() {
        let index = of_language.rules[found.pattern_index];
        let rule = &set.rules[index];
        if !chosen(rule) {
            continue;
        }
        let (mut node, mut receiver, mut captures) = (None, None, BTreeMap::new());
        for capture in found.captures() {
            let name = names[capture.index as usize];
            match name {
                "match" => node = Some(capture.node),
                "receiver" => receiver = Some(capture.node),
                _ => {}
            }
            captures
                .entry(name.to_owned())
                .or_insert_with(|| quoted(node_text(capture.node, &source.text)));
        }
        let Some(node) = node else { continue };
        if !holds(source, code, rule, node, receiver, &node.byte_range()) {
            continue;
        }
        if let Some(callee) = receiver.and_then(|receiver| callee(receiver, source)) {
            captures.insert("callee".to_owned(), short_path(&callee.path));
        }
        places.push(Place {
            rule: index,
            bytes: node.byte_range(),
            captures,
        });
    }
}

fn regions<'s>(source: &'s Source, code: &'s str, region: Region) -> Vec<(usize, std::borrow::Cow<'s, str>)> {
    let of = |ranges: &'s [Range<usize>]| {
        ranges
            .iter()
            .filter_map(|range| Some((range.start, std::borrow::Cow::Borrowed(source.text.get(range.clone())?))))
            .collect()
    };
    match region {
        Region::Code => vec![(0, code.into())],
        Region::Text => vec![(0, source.text.as_ref().into())],
        Region::Comments => of(source.comments()),
        Region::Strings => of(source.strings()),
    }
}

fn role_fits(rule: &Rule, role: Role) -> bool {
    match role {
        Role::Foreign | Role::Example => false,
        Role::Test => rule.data.in_tests,
        Role::Entry => !rule.data.library_only,
        Role::Library => true,
    }
}

fn holds(
    source: &Source,
    code: &str,
    rule: &Rule,
    node: Node<'_>,
    receiver: Option<Node<'_>>,
    bytes: &Range<usize>,
) -> bool {
    let data = &rule.data;
    if !role_fits(rule, source.role) || source.is_test(bytes.start) != data.in_tests {
        return false;
    }
    let matched = source.text.get(bytes.clone()).unwrap_or_default();
    let item = source.function_at(bytes.start);
    let item_code = item.and_then(|item| code.get(item.bytes.clone())).unwrap_or_default();
    let item_name = item.map(|item| item.name.as_str()).unwrap_or_default();
    let qualified = item.map(|item| item.qualified(source.language)).unwrap_or_default();
    let matches = |regex: &Option<regex::Regex>, text: &str| regex.as_ref().is_none_or(|regex| regex.is_match(text));
    let differs = |regex: &Option<regex::Regex>, text: &str| regex.as_ref().is_none_or(|regex| !regex.is_match(text));
    let by_text = matches(&rule.text, matched)
        && differs(&rule.text_not, matched)
        && matches(&rule.function_text, item_code)
        && differs(&rule.function_text_not, item_code)
        && matches(&rule.function_name, item_name)
        && differs(&rule.function_name_not, item_name)
        && differs(&rule.function_name_not, &qualified)
        && differs(&rule.path_not, &source.path)
        && differs(&rule.file_text_not, &source.text)
        && (rule.doc_not.is_none() || differs(&rule.doc_not, &documentation(source, item)));
    if !by_text || !callee_fits(source, rule, receiver) {
        return false;
    }
    let function = item.and_then(|item| source.node_of(item));
    let returns = || {
        function
            .and_then(|node| node.child_by_field_name("return_type"))
            .map(|node| node_text(node, &source.text))
    };
    if rule.returns.is_some() && !matches(&rule.returns, returns().unwrap_or_default()) {
        return false;
    }
    let around =
        || ancestors(node).take_while(move |outer| function.is_none_or(|function| outer.id() != function.id()));
    let by_place = data
        .in_async
        .is_none_or(|wanted| wanted == runs_as_future(source, node))
        && data.awaited.is_none_or(|wanted| {
            wanted
                == node
                    .parent()
                    .is_some_and(|outer| matches!(outer.kind(), "await_expression" | "await"))
        })
        && (data.within.is_empty() || around().any(|outer| data.within.iter().any(|kind| kind == outer.kind())))
        && !around().any(|outer| data.not_within.iter().any(|kind| kind == outer.kind()));
    by_place
        && rule
            .comment_not
            .as_ref()
            .is_none_or(|comment| !comments_beside(source, node).iter().any(|text| comment.is_match(text)))
        && data.check.is_none_or(|check| check.holds(source, node, function))
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
        && rule.callee_path.as_ref().is_none_or(|path| path.is_match(&callee.path))
        && rule
            .callee_path_not
            .as_ref()
            .is_none_or(|path| !path.is_match(&callee.path))
        && !(data.literals_exempt && callee.of_literals)
}

/// The call whose outcome an expression is.
struct Callee {
    /// Its last name: `open`.
    name: String,
    /// All that is called: `std::fs::File::open`, `self.pool.get`.
    path: String,
    /// Whether it works on literals alone.
    of_literals: bool,
}

fn callee(mut node: Node<'_>, source: &Source) -> Option<Callee> {
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
            kind if source
                .syntax
                .item(kind)
                .is_some_and(|form| form.kind == crate::code::ItemKind::Function) =>
            {
                return source.syntax.is_async(outer, &source.text);
            }
            _ => {}
        }
    }
    false
}

/// The comments and attributes directly above a function.
fn documentation(source: &Source, item: Option<&Item>) -> String {
    let first = item.map_or(1, |item| item.line);
    let above = (1..first).rev().map(|line| source.line(line).trim_start());
    let lines: Vec<&str> = above
        .take_while(|text| ["//", "/*", "*", "#"].iter().any(|mark| text.starts_with(mark)))
        .collect();
    lines.join("\n")
}

/// Comments on the line of a node or of its statement, directly above them, and in its first line.
fn comments_beside<'s>(source: &'s Source, node: Node<'_>) -> Vec<&'s str> {
    let statement = std::iter::successors(Some(node), |inner| {
        let outer = inner.parent()?;
        (!matches!(
            outer.kind(),
            "block" | "declaration_list" | "source_file" | "module" | "match_block" | "match_arm"
        ))
        .then_some(outer)
    })
    .last()
    .unwrap_or(node);
    let mut lines = Vec::new();
    for start in [node.start_position().row, statement.start_position().row] {
        let line = row(start);
        lines.extend([line, line + 1]);
        let mut above = line.saturating_sub(1);
        while above > 0 {
            let text = source.line(above).trim_start();
            let is_comment = ["//", "/*", "*", "#"].iter().any(|mark| text.starts_with(mark));
            if !is_comment {
                break;
            }
            lines.push(above);
            above -= 1;
        }
    }
    lines.push(row(statement.end_position().row));
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

fn merge(source: &Source, set: &RuleSet, mut places: Vec<Place>) -> Vec<RuleMatch> {
    places.sort_by_key(|place| (place.rule, place.bytes.start, std::cmp::Reverse(place.bytes.end)));
    places.dedup_by(|next, kept| next.rule == kept.rule && next.bytes.start == kept.bytes.start);
    let mut groups: BTreeMap<(usize, usize), Vec<Place>> = BTreeMap::new();
    for place in places {
        let function = source
            .function_at(place.bytes.start)
            .map_or(usize::MAX, |item| item.bytes.start);
        let group = match set.rules[place.rule].data.per {
            Per::Function => function,
            Per::File => 0,
        };
        groups.entry((place.rule, group)).or_default().push(place);
    }
    let mut out = Vec::new();
    for ((index, _), places) in groups {
        let rule = &set.rules[index];
        let Some(first) = places.first().filter(|_| places.len() >= rule.data.min.max(1)) else {
            continue;
        };
        let item = source
            .function_at(first.bytes.start)
            .filter(|_| rule.data.per == Per::Function);
        let mut lines: Vec<u32> = places.iter().map(|place| source.line_of(place.bytes.start)).collect();
        lines.dedup();
        let mut captures = first.captures.clone();
        let callees: Vec<String> = places
            .iter()
            .filter_map(|place| place.captures.get("callee").cloned())
            .collect();
        captures.insert("callees".to_owned(), listed(callees));
        let fallible = item
            .and_then(|item| source.node_of(item))
            .and_then(|node| node.child_by_field_name("return_type"));
        let fallible = fallible.is_some_and(|kind| node_text(kind, &source.text).contains("Result"));
        let function = item.map(|item| (item, item.qualified(source.language)));
        out.push(found(
            rule,
            &source.path,
            source.role,
            function,
            lines,
            places.len(),
            &captures,
            fallible,
        ));
    }
    out
}

#[allow(clippy::too_many_arguments, reason = "called twice, with what a match is made of")]
fn found(
    rule: &Rule,
    path: &str,
    role: Role,
    function: Option<(&Item, String)>,
    mut lines: Vec<u32>,
    places: usize,
    captures: &BTreeMap<String, String>,
    in_fallible: bool,
) -> RuleMatch {
    let data = &rule.data;
    let name = function.as_ref().map(|(_, name)| name.clone());
    let mut claim = data.claim.clone();
    for (key, value) in captures {
        claim = claim.replace(&format!("{{{key}}}"), value);
    }
    let subject = name
        .as_ref()
        .map_or_else(|| format!("`{path}`"), |name| format!("`{name}`"));
    claim = claim
        .replace("{function}", &subject)
        .replace("{file}", &format!("`{path}`"));
    claim = claim.replace(
        "{places}",
        &if places == 1 {
            "one place".to_owned()
        } else {
            format!("{places} places")
        },
    );
    // A program's starting point that stops is what its user sees; a library that stops takes its caller with it.
    let severity = match (role, data.aspect.as_str(), data.severity) {
        (Role::Entry, "error_handling", Level::Critical) => Level::High,
        (Role::Entry, "error_handling", Level::High) => Level::Medium,
        (Role::Entry, "error_handling", Level::Medium | Level::Low) => Level::Low,
        (_, _, severity) => severity,
    };
    let line = lines.first().copied().unwrap_or(1);
    lines.truncate(LINES_MAX);
    RuleMatch {
        rule: data.id.clone(),
        aspect: data.aspect.clone(),
        severity,
        confidence: data.confidence,
        impact: data.impact.unwrap_or(severity).min(severity.max(Level::Medium)),
        effort: data.effort,
        path: path.to_owned(),
        function: name,
        function_line: function.as_ref().map(|(item, _)| item.line),
        public: function.as_ref().is_some_and(|(item, _)| item.public),
        in_fallible,
        function_end: function.as_ref().map(|(item, _)| item.end_line),
        complexity: 0,
        callers: 0,
        calling_files: 0,
        line,
        lines,
        places,
        claim,
        why: data.why.clone(),
        recommendation: data.recommendation.clone(),
    }
}

/// At most three names, each once, in the order of the text: `` `a`, `b` or `c` ``.
fn listed(names: Vec<String>) -> String {
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    let more = unique.len() > CALLEES_MAX;
    unique.truncate(CALLEES_MAX);
    let quoted: Vec<String> = unique.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        _ if more => format!("{} or another call", quoted.join(", ")),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// The end of a path: `File::open` of `std::fs::File::open`, `open` of `self.files.open`.
fn short_path(path: &str) -> String {
    let path = path.split("::<").next().unwrap_or(path);
    if path.contains(['.', '(', '[']) {
        return crate::code::metrics::last_name(path).to_owned();
    }
    let parts: Vec<&str> = path.split("::").collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}

fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= QUOTED_CHARS_MAX {
        return line;
    }
    line.chars().take(QUOTED_CHARS_MAX).collect::<String>() + "…"
}
