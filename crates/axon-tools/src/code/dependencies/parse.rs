//! Reads what projects declare and lock. Pure: text in, entries out. It understands what such files usually say, takes the
//! rest for nothing, and resolves no version itself.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::{Ecosystem, Part, npm};

/// Entries of one file that are kept.
const ENTRIES_MAX: usize = 20_000;

/// One dependency of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the ecosystem writes it.
    pub name: String,
    /// The requirement of a manifest, or the version of a lock file; empty where none is given.
    pub version: String,
    /// What it is for.
    pub part: Part,
    /// Where it stands, counted from 1.
    pub line: u32,
}

/// What a file is, told by its name.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The ecosystem.
    pub ecosystem: Ecosystem,
    /// Whether it holds the versions that were chosen, not those that were asked for.
    pub lock: bool,
    read: fn(&str) -> Vec<Entry>,
}

/// The format of a file, by its name; `None` for files that declare nothing.
pub fn format_of(path: &str) -> Option<Format> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let format = |ecosystem, lock, read| Some(Format { ecosystem, lock, read });
    match name {
        "Cargo.toml" => format(Ecosystem::Cargo, false, cargo_manifest),
        "Cargo.lock" => format(Ecosystem::Cargo, true, packages_of_toml),
        "package.json" => format(Ecosystem::Npm, false, npm::manifest),
        "package-lock.json" | "npm-shrinkwrap.json" => format(Ecosystem::Npm, true, npm::lock),
        "yarn.lock" => format(Ecosystem::Npm, true, npm::yarn),
        "pnpm-lock.yaml" => format(Ecosystem::Npm, true, npm::pnpm),
        "pyproject.toml" => format(Ecosystem::Python, false, pyproject),
        "poetry.lock" | "uv.lock" | "pdm.lock" => format(Ecosystem::Python, true, packages_of_toml),
        "go.mod" => format(Ecosystem::Go, false, go_mod),
        "pom.xml" => format(Ecosystem::Maven, false, maven),
        "build.gradle" | "build.gradle.kts" => format(Ecosystem::Maven, false, gradle),
        name if name.starts_with("requirements") && name.ends_with(".txt") => {
            format(Ecosystem::Python, false, requirements)
        }
        _ => None,
    }
}

impl Format {
    /// The entries of a text, by line; the first 20,000.
    pub fn entries(&self, text: &str) -> Vec<Entry> {
        let mut entries = (self.read)(text);
        entries.sort_by(|a, b| (a.line, &a.name).cmp(&(b.line, &b.name)));
        entries.truncate(ENTRIES_MAX);
        entries
    }
}

pub(super) fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (u32::try_from(index + 1).unwrap_or(u32::MAX), line))
}

pub(super) fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

/// The value of `key = "…"` within a line.
fn quoted_after<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    let mut rest = line;
    while let Some(at) = rest.find(key) {
        let starts = rest[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != '_');
        let after = rest[at + key.len()..].trim_start();
        if let Some(value) = after.strip_prefix('=').filter(|_| starts) {
            return value.trim_start().strip_prefix('"')?.split('"').next();
        }
        rest = &rest[at + key.len()..];
    }
    None
}

fn cargo_part(section: &str) -> Option<(Part, &str)> {
    let section = section.strip_prefix("workspace.").unwrap_or(section);
    // `target.'cfg(unix)'.dependencies` ends like the plain one.
    for (word, part) in [
        ("dev-dependencies", Part::Development),
        ("build-dependencies", Part::Build),
        ("dependencies", Part::Normal),
    ] {
        if section == word || section.ends_with(&format!(".{word}")) {
            return Some((part, ""));
        }
        if let Some((before, name)) = section.split_once(&format!("{word}."))
            && (before.is_empty() || before.ends_with('.'))
        {
            return Some((part, name));
        }
    }
    None
}

fn cargo_manifest(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    // The part the section is about, and the entry it spells out where it is about one alone.
    let (mut section, mut open) = (None, None);
    for (line, content) in lines(text) {
        let content = content.trim();
        if let Some(header) = content.strip_prefix('[') {
            let header = header
                .trim_start_matches('[')
                .split(']')
                .next()
                .unwrap_or_default()
                .trim();
            section = cargo_part(header);
            open = section.filter(|(_, name)| !name.is_empty()).map(|(part, name)| {
                entries.push(Entry {
                    name: unquoted(name).to_owned(),
                    version: String::new(),
                    part,
                    line,
                });
                entries.len() - 1
            });
            continue;
        }
        let (Some((part, _)), Some((key, value))) = (section, content.split_once('=')) else {
            continue;
        };
        if content.starts_with('#') {
            continue;
        }
        let (key, value) = (unquoted(key), value.trim());
        if let Some(index) = open {
            let known: Option<&mut Entry> = entries.get_mut(index);
            if let Some(entry) = known.filter(|_| matches!(key, "version" | "git" | "path" | "workspace")) {
                if key == "version" {
                    entry.version = unquoted(value).to_owned();
                } else if entry.version.is_empty() {
                    entry.version = key.to_owned();
                }
            }
            continue;
        }
        let (name, inherited) = match key.strip_suffix(".workspace") {
            Some(name) => (name, true),
            None => (key.strip_suffix(".version").unwrap_or(key), false),
        };
        let version = if let Some(plain) = value.strip_prefix('"') {
            plain.split('"').next().unwrap_or_default().to_owned()
        } else if inherited || quoted_after(value, "version").is_none() {
            let source = ["git", "path", "workspace"].iter().find(|word| value.contains(*word));
            source
                .map_or(if inherited { "workspace" } else { "" }, |word| *word)
                .to_owned()
        } else {
            quoted_after(value, "version").unwrap_or_default().to_owned()
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        if is_name && (value.starts_with(['"', '{']) || inherited) {
            entries.push(Entry {
                name: name.to_owned(),
                version,
                part,
                line,
            });
        }
    }
    entries
}

/// Lock files that list packages as tables: of Cargo, Poetry, uv and PDM.
fn packages_of_toml(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut within = false;
    for (line, content) in lines(text) {
        if content.starts_with('[') {
            within = content.trim_end() == "[[package]]";
            continue;
        }
        let Some((key, value)) = content.split_once('=').filter(|_| within) else {
            continue;
        };
        match key.trim() {
            "name" => entries.push(Entry {
                name: unquoted(value).to_owned(),
                version: String::new(),
                part: Part::Normal,
                line,
            }),
            "version" => {
                if let Some(entry) = entries.last_mut().filter(|entry| entry.version.is_empty()) {
                    entry.version = unquoted(value).to_owned();
                }
            }
            _ => {}
        }
    }
    entries
}

/// The first of these lines that is at or behind another one.
pub(super) fn line_from(found: &HashMap<&str, Vec<u32>>, key: &str, from: u32) -> u32 {
    let candidates = found.get(key).map(Vec::as_slice).unwrap_or_default();
    let behind = candidates.iter().find(|line| **line >= from);
    behind.or(candidates.first()).copied().unwrap_or(1)
}

/// The name and the rest of a requirement as pip writes it: `name[extra]>=1 ; marker`.
fn requirement(text: &str) -> Option<(&str, String)> {
    let text = text.split(['#', ';']).next().unwrap_or_default().trim();
    let end = text
        .find(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.'))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    rest = rest.trim_start();
    if rest.starts_with('[') {
        rest = rest.split_once(']').map_or("", |(_, rest)| rest);
    }
    let version = rest.trim().trim_matches(['(', ')']).split_whitespace().collect();
    name.starts_with(char::is_alphanumeric).then_some((name, version))
}

fn requirements(text: &str) -> Vec<Entry> {
    lines(text)
        .filter(|(_, content)| !content.trim_start().starts_with(['-', '#', '.', '/']) && !content.contains("://"))
        .filter_map(|(line, content)| {
            let (name, version) = requirement(content)?;
            Some(Entry {
                name: name.to_owned(),
                version,
                part: Part::Normal,
                line,
            })
        })
        .collect()
}

/// The lines of each section's header, of each key, and of each quoted text.
fn toml_lines(text: &str) -> HashMap<&str, Vec<u32>> {
    let mut found: HashMap<&str, Vec<u32>> = HashMap::new();
    for (line, content) in lines(text) {
        let content = content.trim();
        let key = content.split('=').next().map(unquoted);
        let quoted = ['"', '\'']
            .into_iter()
            .flat_map(|mark| content.split(mark).skip(1).step_by(2));
        for word in key.into_iter().chain(quoted) {
            found.entry(word).or_default().push(line);
        }
    }
    found
}

fn pyproject(text: &str) -> Vec<Entry> {
    let Ok(root) = text.parse::<toml::Table>() else {
        return Vec::new();
    };
    let found = toml_lines(text);
    let line_of = |word: &str, section: &str| line_from(&found, word, line_from(&found, section, 1));
    let mut entries = Vec::new();
    let mut listed = |list: Option<&toml::Value>, part: Part, section: &str| {
        for text in list
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
        {
            if let Some((name, version)) = requirement(text) {
                entries.push(Entry {
                    name: name.to_owned(),
                    version,
                    part,
                    line: line_of(text, section),
                });
            }
        }
    };
    let project = root.get("project");
    listed(
        project.and_then(|project| project.get("dependencies")),
        Part::Normal,
        "dependencies",
    );
    let extras = project
        .and_then(|project| project.get("optional-dependencies"))
        .and_then(toml::Value::as_table);
    for (extra, list) in extras.into_iter().flatten() {
        listed(Some(list), Part::Optional, extra);
    }
    let groups = root.get("dependency-groups").and_then(toml::Value::as_table);
    for (group, list) in groups.into_iter().flatten() {
        listed(Some(list), Part::Development, group);
    }
    let poetry = root.get("tool").and_then(|tool| tool.get("poetry"));
    let mut tables = vec![
        (
            "[tool.poetry.dependencies]",
            Part::Normal,
            poetry.and_then(|poetry| poetry.get("dependencies")),
        ),
        (
            "[tool.poetry.dev-dependencies]",
            Part::Development,
            poetry.and_then(|poetry| poetry.get("dev-dependencies")),
        ),
    ];
    let groups = poetry
        .and_then(|poetry| poetry.get("group"))
        .and_then(toml::Value::as_table);
    for group in groups.into_iter().flat_map(|groups| groups.values()) {
        tables.push((
            "[tool.poetry.dependencies]",
            Part::Development,
            group.get("dependencies"),
        ));
    }
    for (section, part, table) in tables {
        for (name, value) in table.and_then(toml::Value::as_table).into_iter().flatten() {
            let version = value
                .as_str()
                .or_else(|| value.get("version")?.as_str())
                .unwrap_or_default();
            if name != "python" {
                entries.push(Entry {
                    name: name.clone(),
                    version: version.to_owned(),
                    part,
                    line: line_of(name, section),
                });
            }
        }
    }
    entries
}

fn go_mod(text: &str) -> Vec<Entry> {
    let mut within = false;
    let mut entries = Vec::new();
    for (line, content) in lines(text) {
        let content = content.trim();
        let required = match content.strip_prefix("require") {
            Some(rest) if rest.trim_start().starts_with('(') => {
                within = true;
                continue;
            }
            Some(rest) => rest,
            None if within => content,
            None => continue,
        };
        if content.starts_with(')') {
            within = false;
            continue;
        }
        let mut words = required.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next().filter(|word| word.starts_with('v'))) {
            entries.push(Entry {
                name: unquoted(name).to_owned(),
                version: version.to_owned(),
                part: if required.contains("// indirect") {
                    Part::Indirect
                } else {
                    Part::Normal
                },
                line,
            });
        }
    }
    entries
}

fn maven(text: &str) -> Vec<Entry> {
    static TAG: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"<(/?[A-Za-z][\w.\-]*)>([^<]*)").ok());
    let Some(tag) = TAG.as_ref() else { return Vec::new() };
    let mut properties: HashMap<&str, &str> = HashMap::new();
    let mut entries: Vec<(String, Entry)> = Vec::new();
    let (mut open, mut excluded) = (false, false);
    for (line, content) in lines(text) {
        for found in tag.captures_iter(content) {
            let (name, value) = (
                found.get(1).map_or("", |m| m.as_str()),
                found.get(2).map_or("", |m| m.as_str().trim()),
            );
            match name {
                "dependency" => {
                    open = true;
                    let entry = Entry {
                        name: String::new(),
                        version: String::new(),
                        part: Part::Normal,
                        line,
                    };
                    entries.push((String::new(), entry));
                }
                "/dependency" => open = false,
                "exclusions" => excluded = true,
                "/exclusions" => excluded = false,
                _ if !open => {
                    properties.insert(name, value);
                }
                _ if excluded => {}
                _ => {
                    let Some((group, entry)) = entries.last_mut() else {
                        continue;
                    };
                    match name {
                        "groupId" => *group = value.to_owned(),
                        "artifactId" => {
                            entry.name = value.to_owned();
                            entry.line = line;
                        }
                        "version" => entry.version = value.to_owned(),
                        "scope" if value == "test" => entry.part = Part::Development,
                        _ => {}
                    }
                }
            }
        }
    }
    entries
        .into_iter()
        .filter(|(_, entry)| !entry.name.is_empty())
        .map(|(group, mut entry)| {
            let property = entry.version.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
            if let Some(value) = property.and_then(|name| properties.get(name)) {
                entry.version = (*value).to_owned();
            }
            entry.name = format!("{group}:{}", entry.name);
            entry
        })
        .collect()
}

fn gradle(text: &str) -> Vec<Entry> {
    static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"^\s*([A-Za-z]*(?:[iI]mplementation|[aA]pi|[oO]nly|[cC]ompile|[kK]apt|[pP]rocessor))\s*\(?\s*(?:platform\s*\(\s*)?["']([\w.\-]+:[\w.\-]+)(?::([^"'@:]+))?"#).ok()
    });
    let Some(pattern) = LINE.as_ref() else {
        return Vec::new();
    };
    lines(text)
        .filter_map(|(line, content)| {
            let found = pattern.captures(content)?;
            let configuration = found.get(1)?.as_str();
            Some(Entry {
                name: found.get(2)?.as_str().to_owned(),
                version: found.get(3).map_or("", |version| version.as_str()).to_owned(),
                part: if configuration.starts_with("test") || configuration.contains("Test") {
                    Part::Development
                } else {
                    Part::Normal
                },
                line,
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
