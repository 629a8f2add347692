//! Writes down how a workspace is laid out: its size, its parts, and what their heads say of them.

use std::collections::BTreeMap;

use axon_protocol::Level;
use axon_tools::code::{ListResult, OutlineResult, RankResult, Role, role_of};
use axon_tools::{Kind, language_of};
use serde_json::json;

use crate::analyst::passage::head;
use crate::analyst::write::{Draft, Writer, count, listed, tool_evidence};
use crate::analyst::{Brief, Results};

/// Files a description of the structure names.
const PARTS_MAX: usize = 5;

/// Words by which a description of the whole is asked for.
const WHOLE: &[&str] = &[
    "architecture",
    "codebase",
    "crates",
    "layers",
    "layout",
    "modules",
    "organised",
    "organized",
    "overview",
    "packages",
    "project",
    "repository",
    "structure",
    "structured",
    "workspace",
];

/// Whether the scope as a whole is described: where the question says so, is about nothing in particular, or names the part
/// it means. Of a single matter the size of everything else says nothing.
pub fn is_overview(brief: &Brief) -> bool {
    let query = brief.query.to_lowercase();
    let mut words = query.split(|c: char| !c.is_alphanumeric());
    brief.topic().is_empty() || !brief.paths.is_empty() || words.any(|word| WHOLE.contains(&word))
}

/// The files a description of the structure names: those the question is about, or those that stand for a part.
pub fn parts(brief: &Brief, results: &Results) -> Vec<String> {
    let list = results.get::<ListResult>("list").unwrap_or_default();
    let heads = [
        "lib.rs",
        "mod.rs",
        "main.rs",
        "__init__.py",
        "index.ts",
        "index.js",
        "main.go",
        "main.py",
    ];
    let is_head = |path: &str| heads.contains(&path.rsplit('/').next().unwrap_or(path));
    let code =
        |path: &str| language_of(path).kind == Kind::Code && matches!(role_of(path), Role::Library | Role::Entry);
    let mut files: Vec<String> = Vec::new();
    if !brief.topic().is_empty() {
        let ranked = results.get::<RankResult>("files").unwrap_or_default();
        files.extend(
            ranked
                .results
                .iter()
                .filter(|file| code(&file.path))
                .take(PARTS_MAX)
                .map(|file| file.path.clone()),
        );
    }
    if files.len() < 2 {
        // The heads of the largest directories; only an overview lists them.
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for file in list.results.iter().filter(|file| code(&file.path)) {
            *sizes.entry(directory(&file.path)).or_default() += u64::from(file.lines);
        }
        let mut heads: Vec<_> = list
            .results
            .iter()
            .filter(|file| code(&file.path) && is_head(&file.path))
            .collect();
        heads.sort_by_key(|file| {
            (
                std::cmp::Reverse(sizes.get(&directory(&file.path)).copied().unwrap_or_default()),
                file.path.clone(),
            )
        });
        files.extend(heads.into_iter().take(PARTS_MAX).map(|file| file.path.clone()));
    }
    files.dedup();
    files.truncate(PARTS_MAX);
    files
}

fn directory(path: &str) -> String {
    path.rsplit_once('/')
        .map_or(String::new(), |(directory, _)| directory.to_owned())
}

pub fn write_structure(writer: &mut Writer<'_>, brief: &Brief, results: &Results) {
    if let Some(list) = results.get::<ListResult>("list").filter(|list| list.files > 0) {
        let mut languages: Vec<(&String, &u64)> = list.languages.iter().filter(|(_, lines)| **lines > 0).collect();
        languages.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let shown: Vec<String> = languages
            .iter()
            .take(4)
            .map(|(language, lines)| format!("{language} {lines}"))
            .collect();
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        for file in list
            .results
            .iter()
            .filter(|file| language_of(&file.path).kind == Kind::Code)
        {
            *groups.entry(group(&file.path)).or_default() += u64::from(file.lines);
        }
        let mut groups: Vec<(String, u64)> = groups.into_iter().collect();
        groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let parts: Vec<String> = groups
            .iter()
            .map(|(group, lines)| format!("{group} ({lines})"))
            .collect();
        let claim = format!(
            "The scope has {} with {} lines: {}",
            count(list.files, "file"),
            list.lines,
            shown.join(", ")
        );
        let mut draft = Draft::new(claim, "structure", "code.list");
        draft.rationale = format!(
            "Lines of code by part: {}.",
            parts.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
        );
        draft.confidence = 0.95;
        draft.value = Some((list.lines as f64, "lines"));
        let quote = format!(
            "{{\"files\":{},\"lines\":{},\"languages\":{}}}",
            list.files,
            list.lines,
            json!(list.languages)
        );
        draft.evidence = vec![tool_evidence("code.list", json!({"paths": brief.paths}), &quote)];
        draft.origin = Some("code.list".to_owned());
        writer.write(draft);
    }
    let outline = results.get::<OutlineResult>("parts").unwrap_or_default();
    for path in parts(brief, results) {
        let Ok(text) = writer.workspace().text(&path) else {
            continue;
        };
        let mut names: Vec<String> = outline
            .results
            .iter()
            .filter(|item| {
                item.path == path
                    && !item.test
                    && !matches!(
                        item.kind,
                        axon_tools::code::ItemKind::Impl
                            | axon_tools::code::ItemKind::Method
                            | axon_tools::code::ItemKind::Module
                    )
            })
            .map(|item| item.name.clone())
            .collect();
        names.dedup();
        let about = head(&text);
        let holds = if names.is_empty() {
            String::new()
        } else {
            format!("it defines {}", listed(&names, 6))
        };
        let claim = match (&about, holds.is_empty()) {
            (Some(about), _) => format!("`{path}`: {}", about.statement),
            (None, false) => format!("`{path}`: {holds}"),
            (None, true) => continue,
        };
        let mut draft = Draft::new(claim, path.clone(), "code.outline");
        let mut holds = holds;
        if holds.is_empty() {
            holds = "It is one of the files that the question, or the size of its part, points at.".to_owned();
        } else {
            holds.replace_range(..1, "I");
            holds.push('.');
        }
        draft.rationale = holds;
        draft.confidence = if about.is_some() { 0.8 } else { 0.6 };
        draft.evidence = match about {
            Some(about) => writer.lines(&path, about.line, about.end_line).into_iter().collect(),
            None => outline
                .results
                .iter()
                .filter(|item| item.path == path)
                .take(3)
                .filter_map(|item| writer.lines(&path, item.line, item.line))
                .collect(),
        };
        draft.severity = Level::Info;
        writer.write(draft);
    }
}

/// The part of the workspace a file belongs to: `crates/axon-bus`, `src`, or the root.
fn group(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [] | [_] => ".".to_owned(),
        [top, second, _, ..] if matches!(*top, "crates" | "packages" | "libs" | "apps" | "services" | "src") => {
            format!("{top}/{second}")
        }
        [top, ..] => (*top).to_owned(),
    }
}
