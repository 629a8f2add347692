//! `code.outline`: the named pieces of code and the headings of prose, with their places.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chunk::chunks;
use super::files::{Files, LIST_BYTES_MAX};
use super::metrics::last_name;
use super::source::Source;
use super::syntax::ItemKind;
use crate::{
    CallContext, Cost, FileEntry, Kind, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of,
};

/// Items returned where a call names no number.
const RESULTS_DEFAULT: usize = 300;
/// Most items returned.
const RESULTS_MAX: usize = 1_000;
/// Characters of a signature that are returned.
const SIGNATURE_CHARS_MAX: usize = 200;

/// Parameters of `code.outline`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlineParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Only items of these names, with or without their type; case does not matter.
    pub names: Vec<String>,
    /// Only items of these kinds.
    pub kinds: Vec<ItemKind>,
    /// Only items other modules can use.
    pub public: bool,
    /// Whether items of tests are returned as well.
    pub tests: bool,
    /// Most items to return, 1 to 1000; 300 if absent.
    #[schemars(range(min = 1, max = 1000))]
    pub max_results: Option<usize>,
}

/// A named piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutlineItem {
    /// The file.
    pub path: String,
    /// What it is.
    pub kind: ItemKind,
    /// Name with its type: `Client::connect`.
    pub name: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Its first line of text, where that is code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    /// Whether other modules can use it.
    pub public: bool,
    /// Whether it has documentation.
    pub documented: bool,
    /// Whether it is test code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
}

/// What `code.outline` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutlineResult {
    /// Files outlined.
    pub files: usize,
    /// Items that match, whether returned or not.
    pub items: usize,
    /// The items, by path and line.
    pub results: Vec<OutlineItem>,
    /// Items left out.
    pub omitted: usize,
    /// Files that have no outline because there is no grammar for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// Files without an outline that are named.
const SKIPPED_MAX: usize = 20;

/// The named pieces of a parsed file.
pub fn outline(source: &Source) -> Vec<OutlineItem> {
    source
        .items
        .iter()
        .map(|item| OutlineItem {
            path: source.path.clone(),
            kind: item.kind,
            name: item.qualified(source.language),
            line: item.line,
            end_line: item.end_line,
            signature: signature(source.line(item.line)),
            public: item.public,
            documented: item.documented,
            test: item.test || source.role == super::Role::Test,
        })
        .collect()
}

fn signature(line: &str) -> String {
    let line = line.trim();
    let head = line.split_once(" {").map_or(line, |(head, _)| head);
    head.chars().take(SIGNATURE_CHARS_MAX).collect()
}

fn headings(file: &FileEntry, text: &str) -> Vec<OutlineItem> {
    let mut out: Vec<OutlineItem> = Vec::new();
    for chunk in chunks(&file.path, text, None)
        .into_iter()
        .filter(|chunk| !chunk.name.is_empty())
    {
        match out.last_mut() {
            // A long section is several chunks of one name.
            Some(last) if last.name == chunk.name && last.end_line + 1 == chunk.line => last.end_line = chunk.end_line,
            _ => out.push(OutlineItem {
                path: file.path.clone(),
                kind: ItemKind::Section,
                name: chunk.name,
                line: chunk.line,
                end_line: chunk.end_line,
                signature: String::new(),
                public: true,
                documented: true,
                test: false,
            }),
        }
    }
    out
}

fn run(files: &Files, params: &OutlineParams) -> Result<OutlineResult, ToolError> {
    let names: Vec<String> = params
        .names
        .iter()
        .map(|name| name.to_lowercase().replace("::", "."))
        .collect();
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let mut result = OutlineResult::default();
    for file in files.selected() {
        files.check_cancelled()?;
        let items = match (files.source(&file.path), file.kind()) {
            (Some(source), _) => outline(&source),
            (None, Kind::Docs) => files
                .text(&file.path)
                .map(|text| headings(file, text.as_str()))
                .unwrap_or_default(),
            (None, Kind::Code) => {
                if result.skipped.len() < SKIPPED_MAX {
                    result.skipped.push(file.path.clone());
                }
                continue;
            }
            (None, _) => continue,
        };
        result.files += 1;
        let wanted = items.into_iter().filter(|item| {
            let name = item.name.to_lowercase().replace("::", ".");
            (names.is_empty()
                || names
                    .iter()
                    .any(|wanted| *wanted == name || (*wanted == last_name(&name) && !wanted.is_empty())))
                && (params.kinds.is_empty() || params.kinds.contains(&item.kind))
                && (params.tests || !item.test)
                && (!params.public || item.public)
        });
        for item in wanted {
            result.items += 1;
            if result.results.len() < limit {
                result.results.push(item);
            }
        }
    }
    (result.results, _) = fit(result.results, LIST_BYTES_MAX);
    result.omitted = result.items - result.results.len();
    Ok(result)
}

struct Outline;

#[async_trait]
impl Tool for Outline {
    fn name(&self) -> &str {
        "code.outline"
    }

    fn description(&self) -> &str {
        "Lists functions, types and implementations (Rust, Python, Go, TypeScript, JavaScript, Java, C) and headings of documents \
         with line ranges. Use it to find where a name is defined and what a file holds."
    }

    fn schema(&self) -> Value {
        schema_of::<OutlineParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: OutlineParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Outline)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    #[tokio::test]
    async fn items_are_found_by_name_kind_and_visibility() {
        let (workspace, _dir) = workspace(&[
            (
                "a.rs",
                "pub struct Pool;\nimpl Pool {\n    /// Doc.\n    pub fn get(&self) {}\n    fn put(&self) {}\n}\n#[cfg(test)]\nmod tests { fn get() {} }\n",
            ),
            ("b.py", "class Pool:\n    def get(self):\n        pass\n"),
            ("c.md", "# Pool\n## get\n"),
            ("d.kt", "fun get() {}\n"),
        ]);
        let seen = |result: &OutlineResult| -> Vec<String> {
            result
                .results
                .iter()
                .map(|i| format!("{}:{}:{}", i.path, i.line, i.name))
                .collect()
        };
        for (params, expected) in [
            (
                json!({"paths": ["a.rs"]}),
                &["a.rs:1:Pool", "a.rs:2:Pool", "a.rs:4:Pool::get", "a.rs:5:Pool::put"][..],
            ),
            (
                json!({"names": ["get"], "kinds": ["method"]}),
                &["a.rs:4:Pool::get", "b.py:2:Pool.get"],
            ),
            (
                json!({"names": ["pool::GET"]}),
                &["a.rs:4:Pool::get", "b.py:2:Pool.get"],
            ),
            (
                json!({"public": true, "paths": ["a.rs"]}),
                &["a.rs:1:Pool", "a.rs:4:Pool::get"],
            ),
            (json!({"kinds": ["section"]}), &["c.md:1:Pool", "c.md:2:Pool › get"]),
            (
                json!({"names": ["get"], "tests": true, "kinds": ["function"]}),
                &["a.rs:8:get"],
            ),
        ] {
            let result: OutlineResult = call(&workspace, "code.outline", params.clone()).await;
            assert_eq!(seen(&result), expected, "{params}");
        }
        let result: OutlineResult = call(&workspace, "code.outline", json!({})).await;
        assert_eq!(result.skipped, ["d.kt"]);
        assert!(
            result
                .results
                .iter()
                .any(|i| i.signature == "pub fn get(&self)" && i.documented)
        );
    }
}
