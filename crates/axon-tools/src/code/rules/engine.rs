//! Applies rules to one file: candidates from queries and expressions, of which those stay that `conditions` lets, then one
//! match for each function or file. Pure: the same file and rules give the same matches.

use std::collections::BTreeMap;
use std::ops::Range;

use axon_protocol::Level;
use tree_sitter::{QueryCursor, StreamingIterator};

use super::RuleMatch;
use super::conditions::{callee, holds, role_fits};
use super::pack::{Per, Queries, Region, Rule, RuleSet};
use crate::code::source::{DEPTH_MAX, Item, Role, Source, line_starts, role_of, row};
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

/// One place where a rule applies.
struct Place {
    rule: usize,
    bytes: Range<usize>,
    captures: BTreeMap<String, String>,
}

/// All matches of the chosen rules in a parsed file.
pub fn apply(source: &Source, set: &RuleSet, chosen: &dyn Fn(&Rule) -> bool) -> Result<Vec<RuleMatch>, String> {
    let mut places = Vec::new();
    let code = source.code();
    if let Some(queries) = set.queries(source.syntax)? {
        by_query(source, &code, set, queries, chosen, &mut places);
    }
    for (index, rule) in set.rules.iter().enumerate() {
        if rule.is_for(source.language.name) && chosen(rule) {
            by_pattern(source, &code, index, rule, &mut places);
        }
    }
    Ok(merge(source, set, places))
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

fn by_pattern(source: &Source, code: &str, index: usize, rule: &Rule, places: &mut Vec<Place>) {
    let Some(pattern) = &rule.pattern else { return };
    for (start, region) in regions(source, code, rule.data.pattern_in) {
        for found in pattern.find_iter(&region) {
            let bytes = start + found.start()..start + found.end();
            let node = source
                .tree
                .root_node()
                .descendant_for_byte_range(bytes.start, bytes.end);
            if node.is_some_and(|node| holds(source, code, rule, node, None, &bytes)) {
                places.push(Place {
                    rule: index,
                    bytes,
                    captures: [("match".to_owned(), quoted(found.as_str()))].into(),
                });
            }
        }
    }
}

fn by_query(
    source: &Source,
    code: &str,
    set: &RuleSet,
    queries: &Queries,
    chosen: &dyn Fn(&Rule) -> bool,
    places: &mut Vec<Place>,
) {
    let names = queries.query.capture_names();
    let mut cursor = QueryCursor::new();
    cursor.set_match_limit(QUERY_MATCHES_MAX);
    cursor.set_max_start_depth(u32::try_from(DEPTH_MAX).ok());
    let mut matches = cursor.matches(&queries.query, source.tree.root_node(), source.text.as_bytes());
    while let Some(found) = matches.next() {
        let index = queries.rules[found.pattern_index];
        let rule = &set.rules[index];
        if !rule.is_for(source.language.name) || !chosen(rule) {
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
