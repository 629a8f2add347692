//! Pieces of files that are ranked and quoted: functions and types of code, sections of prose, windows of everything else.

use super::source::{Source, line_starts};
use crate::{Kind, Language, language_of};

/// Pieces longer than this are cut into windows.
const CHUNK_LINES_MAX: usize = 80;
/// Lines of a window where a file has no structure.
const WINDOW_LINES: usize = 40;

/// A run of lines with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// The function, type or heading it is; empty where it has no name.
    pub name: String,
    /// Whether it is test code in a file that holds other code as well.
    pub test: bool,
}

/// Cuts a file into chunks that cover it, in order.
pub fn chunks(path: &str, text: &str, source: Option<&Source>) -> Vec<Chunk> {
    let language = language_of(path);
    let lines = line_starts(text).len();
    if text.is_empty() {
        return Vec::new();
    }
    let named = match source {
        Some(source) => of_items(source),
        None if language.kind == Kind::Docs => sections(language, text),
        None => Vec::new(),
    };
    let mut out = Vec::new();
    let mut next = 1;
    for chunk in named {
        if chunk.line > next {
            windows(next, chunk.line - 1, None, WINDOW_LINES, &mut out);
        }
        let start = chunk.line.max(next);
        if chunk.end_line < start {
            continue;
        }
        windows(start, chunk.end_line, Some(&chunk), CHUNK_LINES_MAX, &mut out);
        next = chunk.end_line + 1;
    }
    let last = u32::try_from(lines).unwrap_or(u32::MAX);
    if next <= last {
        windows(next, last, None, WINDOW_LINES, &mut out);
    }
    out
}

fn windows(first: u32, last: u32, named: Option<&Chunk>, size: usize, out: &mut Vec<Chunk>) {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut line = first;
    while line <= last {
        let mut end_line = last.min(line + size - 1);
        // A rest too short to stand alone goes with the window before it.
        if last - end_line < size / 4 {
            end_line = last;
        }
        out.push(Chunk {
            line,
            end_line,
            name: named.map(|chunk| chunk.name.clone()).unwrap_or_default(),
            test: named.is_some_and(|chunk| chunk.test),
        });
        line = end_line + 1;
    }
}

/// Functions, and types with what stands between their functions; documentation and attributes go with what they describe.
fn of_items(source: &Source) -> Vec<Chunk> {
    let leaf = |index: usize| {
        let item = &source.items[index];
        !source
            .items
            .get(index + 1)
            .is_some_and(|next| item.bytes.contains(&next.bytes.start))
            || item.is_function()
    };
    let mut out: Vec<Chunk> = head(source).into_iter().collect();
    for (index, item) in source.items.iter().enumerate() {
        let nested = out.last().is_some_and(|last| item.line <= last.end_line);
        if !leaf(index) || nested {
            continue;
        }
        let floor = out.last().map_or(1, |last| last.end_line + 1);
        out.push(Chunk {
            line: with_prefix(source, item.line, floor),
            end_line: item.end_line,
            name: item.qualified(source.language),
            test: item.test,
        });
    }
    out
}

/// What a file says of itself before its first item, under the name others know it by.
fn head(source: &Source) -> Option<Chunk> {
    let first_item = source.items.first().map_or(u32::MAX, |item| item.line);
    let comments = source
        .comments()
        .iter()
        .map(|range| (source.line_of(range.start), source.line_of(range.end.saturating_sub(1))));
    let strings = source
        .strings()
        .first()
        .map(|range| (source.line_of(range.start), source.line_of(range.end)));
    let mut end_line = 0;
    for (first, last) in comments.chain(strings) {
        let is_of_file =
            source.line(first).trim_start().starts_with("//!") || source.line(first).starts_with(['"', '#', '/']);
        if first == end_line + 1 && is_of_file && last < first_item {
            end_line = last;
        }
    }
    // A comment that runs into the first item describes that item.
    let own = end_line > 0 && (end_line + 1 < first_item || source.line(1).starts_with("//!"));
    own.then(|| Chunk {
        line: 1,
        end_line,
        name: module_name(&source.path),
        test: false,
    })
}

fn module_name(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    let stem = parts.pop().and_then(|file| file.split('.').next()).unwrap_or_default();
    if !matches!(stem, "lib" | "mod" | "main" | "__init__" | "index") {
        return stem.to_owned();
    }
    parts.retain(|part| *part != "src");
    parts.last().copied().unwrap_or(stem).to_owned()
}

fn with_prefix(source: &Source, line: u32, floor: u32) -> u32 {
    let mut first = line;
    while first > floor {
        let above = source.line(first - 1).trim_start();
        if above.is_empty() || !["//", "#", "@", "/*", "*"].iter().any(|start| above.starts_with(start)) {
            break;
        }
        first -= 1;
    }
    first
}

/// Sections of a text with headings.
fn sections(language: Language, text: &str) -> Vec<Chunk> {
    let lines: Vec<&str> = text.lines().collect();
    let mut heads: Vec<(usize, usize, String)> = Vec::new();
    let mut fenced = false;
    for (index, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fenced = !fenced;
        }
        let heading = if fenced {
            None
        } else {
            heading(language, line, lines.get(index + 1).copied())
        };
        if let Some((level, name)) = heading {
            heads.push((index, level, name));
        }
    }
    let mut out = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for (position, (index, level, name)) in heads.iter().enumerate() {
        path.retain(|(upper, _)| upper < level);
        path.push((*level, name.clone()));
        let end = heads.get(position + 1).map_or(lines.len(), |(next, _, _)| *next);
        let name = path
            .iter()
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>()
            .join(" › ");
        out.push(Chunk {
            line: super::source::row(*index),
            end_line: u32::try_from(end).unwrap_or(u32::MAX),
            name,
            test: false,
        });
    }
    out
}

/// The level and words of a heading.
fn heading(language: Language, line: &str, below: Option<&str>) -> Option<(usize, String)> {
    let mark = if language.name == "asciidoc" { '=' } else { '#' };
    let level = line.chars().take_while(|c| *c == mark).count();
    if (1..=6).contains(&level) && line[level..].starts_with(' ') {
        let name = line[level..].trim().trim_end_matches(mark).trim();
        return (!name.is_empty()).then(|| (level, name.to_owned()));
    }
    let below = below?.trim_end();
    let underline = below.chars().next().filter(|c| matches!(c, '=' | '-' | '~' | '^'))?;
    let is_underline = below.len() >= 3 && below.chars().all(|c| c == underline);
    let is_title = line.starts_with(|c: char| c.is_alphanumeric()) && line.chars().count() <= below.chars().count() + 2;
    let setext = language.name == "rst" || matches!(underline, '=' | '-');
    (is_underline && is_title && setext).then(|| (1 + usize::from(underline != '='), line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn cut(path: &str, text: &str) -> Vec<(u32, u32, String)> {
        let source = Source::parse(path, Arc::from(text));
        chunks(path, text, source.as_ref())
            .into_iter()
            .map(|c| (c.line, c.end_line, c.name))
            .collect()
    }

    #[test]
    fn code_is_cut_at_its_items_with_their_documentation() {
        let text = "use a;\n\n/// Doc.\n#[inline]\nfn one() {}\n\nimpl T {\n    fn two(&self) {\n        1\n    }\n}\n";
        assert_eq!(
            cut("a.rs", text),
            [
                (1, 2, String::new()),
                (3, 5, "one".into()),
                (6, 7, String::new()),
                (8, 10, "T::two".into()),
                (11, 11, String::new()),
            ]
        );
    }

    #[test]
    fn the_head_of_a_file_stands_under_its_name() {
        for (path, text, expected) in [
            (
                "a/pool.rs",
                "//! Keeps connections.\n//! Few.\n\nuse x;\n\nfn f() {}\n",
                Some((1, 2, "pool")),
            ),
            ("a/cache/src/lib.rs", "//! Caches.\nfn f() {}\n", Some((1, 1, "cache"))),
            (
                "a/store.py",
                "\"\"\"Stores.\n\nMore.\n\"\"\"\nimport x\n\ndef f():\n    pass\n",
                Some((1, 4, "store")),
            ),
            ("a/b.rs", "/// Of f.\nfn f() {}\n", Some((1, 2, "f"))),
        ] {
            let first = cut(path, text).into_iter().next();
            assert_eq!(
                first,
                expected.map(|(a, b, name): (u32, u32, &str)| (a, b, name.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn prose_is_cut_at_its_headings() {
        let text = "intro\n\n# Cache\ntext\n```\n# no heading\n```\n## Eviction\nLRU\n\nTitle\n=====\nend\n";
        assert_eq!(
            cut("a.md", text),
            [
                (1, 2, String::new()),
                (3, 7, "Cache".into()),
                (8, 10, "Cache › Eviction".into()),
                (11, 13, "Title".into()),
            ]
        );
    }

    #[test]
    fn windows_cover_everything_once() {
        let text = "x\n".repeat(205);
        let seen = cut("a.json", &text);
        assert_eq!(seen.first().map(|c| c.0), Some(1));
        assert_eq!(seen.last().map(|c| c.1), Some(205));
        assert!(seen.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{seen:?}");
        assert_eq!(cut("a.json", ""), []);
    }
}
