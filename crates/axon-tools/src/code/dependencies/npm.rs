//! Manifests and lock files of npm, Yarn and pnpm. Pure, as [`super::parse`].

use std::collections::HashMap;

use serde_json::Value;

use super::Part;
use super::parse::{Entry, line_from, lines, unquoted};

/// The lines that begin with a quoted key.
fn key_lines(text: &str) -> HashMap<&str, Vec<u32>> {
    let mut found: HashMap<&str, Vec<u32>> = HashMap::new();
    for (line, content) in lines(text) {
        for key in content.split('"').skip(1).step_by(2) {
            found.entry(key).or_default().push(line);
        }
    }
    found
}

pub(super) fn manifest(text: &str) -> Vec<Entry> {
    let Ok(Value::Object(root)) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let found = key_lines(text);
    let mut entries = Vec::new();
    for (section, part) in [
        ("dependencies", Part::Normal),
        ("devDependencies", Part::Development),
        ("peerDependencies", Part::Normal),
        ("optionalDependencies", Part::Optional),
    ] {
        let Some(Value::Object(table)) = root.get(section) else {
            continue;
        };
        let from = line_from(&found, section, 1);
        entries.extend(table.iter().map(|(name, version)| Entry {
            name: name.clone(),
            version: version.as_str().unwrap_or_default().to_owned(),
            part,
            line: line_from(&found, name, from),
        }));
    }
    entries
}

pub(super) fn lock(text: &str) -> Vec<Entry> {
    let Ok(Value::Object(root)) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let found = key_lines(text);
    let (Some(Value::Object(table)), prefix) = (match root.get("packages") {
        Some(packages) => (Some(packages), "node_modules/"),
        None => (root.get("dependencies"), ""),
    }) else {
        return Vec::new();
    };
    table
        .iter()
        .filter_map(|(key, package)| {
            let name = match prefix {
                "" => key.as_str(),
                _ => key.rsplit_once(prefix)?.1,
            };
            let dev = package.get("dev").and_then(Value::as_bool).unwrap_or_default();
            Some(Entry {
                name: name.to_owned(),
                version: package.get("version")?.as_str()?.to_owned(),
                part: if dev { Part::Development } else { Part::Normal },
                line: line_from(&found, key, 1),
            })
        })
        .collect()
}

/// The name of `name@range`, where the name may begin with `@`.
fn before_at(text: &str) -> Option<(&str, &str)> {
    let at = text.get(1..)?.find('@')? + 1;
    Some((&text[..at], &text[at + 1..]))
}

pub(super) fn yarn(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (line, content) in lines(text) {
        if !content.starts_with([' ', '#']) && content.ends_with(':') {
            let first = content.trim_end_matches(':').split(',').next().unwrap_or_default();
            if let Some((name, _)) = before_at(unquoted(first)) {
                entries.push(Entry {
                    name: name.to_owned(),
                    version: String::new(),
                    part: Part::Normal,
                    line,
                });
            }
        } else if let Some(version) = content.strip_prefix("  version")
            && let Some(entry) = entries.last_mut().filter(|entry| entry.version.is_empty())
        {
            entry.version = unquoted(version.trim_start_matches(':')).to_owned();
        }
    }
    entries
}

pub(super) fn pnpm(text: &str) -> Vec<Entry> {
    let mut within = false;
    let mut entries = Vec::new();
    for (line, content) in lines(text) {
        if !content.starts_with(' ') && !content.trim().is_empty() {
            within = content.starts_with("packages:");
        }
        let key = content
            .strip_prefix("  ")
            .filter(|rest| within && !rest.starts_with(' '));
        let Some(key) = key.and_then(|key| key.trim_end().strip_suffix(':')) else {
            continue;
        };
        if let Some((name, version)) = before_at(unquoted(key).trim_start_matches('/')) {
            entries.push(Entry {
                name: name.to_owned(),
                version: version.split('(').next().unwrap_or_default().to_owned(),
                part: Part::Normal,
                line,
            });
        }
    }
    entries
}
