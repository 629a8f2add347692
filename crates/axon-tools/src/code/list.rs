//! `code.list`: the files of the scope with size, lines, language and what they are for.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, LIST_BYTES_MAX};
use super::search::Globs;
use super::source::{Role, role_of};
use crate::{CallContext, Tool, ToolError, Toolbox, ToolboxError, fit, parse_params, schema_of};

/// Files returned where a call names no number.
const RESULTS_DEFAULT: usize = 500;
/// Most files returned.
const RESULTS_MAX: usize = 2_000;

/// Parameters of `code.list`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Globs a path must match one of, such as `*.rs`; those that begin with `!` exclude.
    pub globs: Vec<String>,
    /// Only files of these languages, such as `rust`.
    pub languages: Vec<String>,
    /// Most files to return, 1 to 2000; 500 if absent.
    #[schemars(range(min = 1, max = 2000))]
    pub max_results: Option<usize>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedFile {
    /// Path relative to the root.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Lines.
    pub lines: u32,
    /// Language.
    pub language: String,
    /// What it is for, as its path tells.
    pub role: Role,
}

/// What `code.list` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListResult {
    /// Files that match, whether returned or not.
    pub files: usize,
    /// Their lines.
    pub lines: u64,
    /// Lines by language.
    pub languages: BTreeMap<String, u64>,
    /// The files, sorted by path.
    pub results: Vec<ListedFile>,
    /// Files left out.
    pub omitted: usize,
}

fn run(files: &Files, params: &ListParams) -> Result<ListResult, ToolError> {
    let globs = Globs::new(&params.globs)?;
    let mut result = ListResult::default();
    for file in files.selected() {
        let other_language = !params.languages.is_empty() && !params.languages.contains(&file.language);
        if other_language || !globs.matches(&file.path) {
            continue;
        }
        result.files += 1;
        result.lines += u64::from(file.lines);
        *result.languages.entry(file.language.clone()).or_default() += u64::from(file.lines);
        if result.results.len() < params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX) {
            result.results.push(ListedFile {
                path: file.path.clone(),
                bytes: file.bytes,
                lines: file.lines,
                language: file.language.clone(),
                role: role_of(&file.path),
            });
        }
    }
    (result.results, _) = fit(result.results, LIST_BYTES_MAX);
    result.omitted = result.files - result.results.len();
    Ok(result)
}

struct List;

#[async_trait]
impl Tool for List {
    fn name(&self) -> &str {
        "code.list"
    }

    fn description(&self) -> &str {
        "Lists the files of the scope with size, lines, language and role (library, entry, test, example, foreign). Use it first, to \
         see what is there."
    }

    fn schema(&self) -> Value {
        schema_of::<ListParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: ListParams = parse_params(self.name(), params)?;
        super::to_value(&run(&Files::open(context, &params.paths)?, &params)?)
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(List)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    #[tokio::test]
    async fn files_are_listed_by_path_glob_and_language() {
        let (workspace, _dir) = workspace(&[
            ("src/a.rs", "fn a() {}\n"),
            ("tests/t.rs", ""),
            ("README.md", "# A\n\nb\n"),
        ]);
        for (params, expected) in [
            (json!({}), &["README.md", "src/a.rs", "tests/t.rs"][..]),
            (json!({"languages": ["rust"]}), &["src/a.rs", "tests/t.rs"]),
            (json!({"globs": ["*.rs", "!tests/**"]}), &["src/a.rs"]),
            (json!({"paths": ["tests"]}), &["tests/t.rs"]),
            (json!({"max_results": 1}), &["README.md"]),
        ] {
            let result: ListResult = call(&workspace, "code.list", params.clone()).await;
            assert_eq!(
                result.results.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
                expected,
                "{params}"
            );
            assert_eq!(result.omitted, result.files - expected.len());
        }
        let all: ListResult = call(&workspace, "code.list", Value::Null).await;
        assert_eq!(all.languages.get("markdown"), Some(&3));
        assert_eq!(all.results[2].role, Role::Test);
    }
}
