//! `code.search`: lines that match a regular expression or a literal text, with ripgrep's engine.

use async_trait::async_trait;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::sinks::UTF8;
use grep_searcher::{BinaryDetection, SearcherBuilder};
use ignore::overrides::{Override, OverrideBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, LIST_BYTES_MAX};
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Hits returned where a call names no number.
const RESULTS_DEFAULT: usize = 100;
/// Most hits returned.
const RESULTS_MAX: usize = 1_000;
/// Hits of one file that are returned, so that one file does not push out the others.
const RESULTS_PER_FILE_MAX: usize = 200;
/// Most lines of context on either side.
const CONTEXT_MAX: u32 = 10;
/// Characters of a line that are returned.
const LINE_CHARS_MAX: usize = 400;
/// Bytes a compiled expression may take.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// Parameters of `code.search`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchParams {
    /// What to look for, within one line.
    pub pattern: String,
    /// Whether the pattern is a plain text and no regular expression.
    #[serde(default)]
    pub literal: bool,
    /// Whether case matters; if absent, only where the pattern holds a capital.
    #[serde(default)]
    pub case_sensitive: Option<bool>,
    /// Whether matches must be whole words.
    #[serde(default)]
    pub word: bool,
    /// Files or directories within the scope; the whole scope if empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Globs a path must match one of, such as `*.rs`; those that begin with `!` exclude.
    #[serde(default)]
    pub globs: Vec<String>,
    /// Lines of context on either side, 0 to 10.
    #[serde(default)]
    #[schemars(range(max = 10))]
    pub context: u32,
    /// Most hits to return, 1 to 1000; 100 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub max_results: Option<usize>,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hit {
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The line's text, cut to 400 characters.
    pub text: String,
    /// The function around it, in languages with a grammar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Lines before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// Lines after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// What `code.search` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SearchResult {
    /// Files searched.
    pub files: usize,
    /// Files with a hit.
    pub matching_files: usize,
    /// Matching lines, whether returned or not.
    pub matches: usize,
    /// The hits, by path and line.
    pub results: Vec<Hit>,
    /// Hits left out.
    pub omitted: usize,
}

/// Globs for paths, as ripgrep reads them.
pub struct Globs(Option<Override>);

impl Globs {
    /// Compiles them; without any, every path matches.
    pub fn new(globs: &[String]) -> Result<Self, ToolError> {
        if globs.is_empty() {
            return Ok(Self(None));
        }
        let refused = |error: ignore::Error| ToolError::invalid_params(format!("a glob cannot be read: {error}"));
        let mut builder = OverrideBuilder::new("/");
        for glob in globs {
            builder.add(glob).map_err(refused)?;
        }
        Ok(Self(Some(builder.build().map_err(refused)?)))
    }

    /// Whether a path is wanted.
    pub fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|globs| {
            let whole = format!("/{path}");
            let excluded_above = path
                .match_indices('/')
                .any(|(at, _)| globs.matched(&whole[..=at], true).is_ignore());
            !excluded_above && !globs.matched(&whole, false).is_ignore()
        })
    }
}

fn matcher(params: &SearchParams) -> Result<RegexMatcher, ToolError> {
    if params.pattern.is_empty() {
        return Err(ToolError::invalid_params("the pattern is empty: say what to look for"));
    }
    let mut builder = RegexMatcherBuilder::new();
    builder
        .fixed_strings(params.literal)
        .word(params.word)
        .case_insensitive(params.case_sensitive == Some(false))
        .case_smart(params.case_sensitive.is_none())
        .size_limit(REGEX_BYTES_MAX)
        .line_terminator(Some(b'\n'));
    builder.build(&params.pattern).map_err(|error| {
        let message = format!(
            "`{}` is no regular expression ({error}); set `literal` to search for it as it is",
            params.pattern
        );
        ToolError::invalid_params(message)
    })
}

fn run(files: &Files, params: &SearchParams) -> Result<SearchResult, ToolError> {
    let matcher = matcher(params)?;
    let globs = Globs::new(&params.globs)?;
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let mut searcher = SearcherBuilder::new()
        .line_number(true)
        .binary_detection(BinaryDetection::quit(0))
        .build();
    let mut result = SearchResult::default();
    for file in files.selected().into_iter().filter(|file| globs.matches(&file.path)) {
        files.check_cancelled()?;
        // A file that cannot be read any more holds no match; the others still count.
        let Ok(text) = files.text(&file.path) else { continue };
        result.files += 1;
        let mut lines = Vec::new();
        let found = searcher.search_slice(
            &matcher,
            text.as_str().as_bytes(),
            UTF8(|line, _| {
                lines.push(u32::try_from(line).unwrap_or(u32::MAX));
                Ok(true)
            }),
        );
        found.map_err(|error| ToolError::permanent(format!("cannot search `{}`: {error}", file.path)))?;
        if lines.is_empty() {
            continue;
        }
        result.matching_files += 1;
        result.matches += lines.len();
        let room = limit.saturating_sub(result.results.len()).min(RESULTS_PER_FILE_MAX);
        let source = if room > 0 { files.source(&file.path) } else { None };
        for line in lines.into_iter().take(room) {
            let cut = |number: u32| {
                text.line(number)
                    .map(|text| text.chars().take(LINE_CHARS_MAX).collect::<String>())
            };
            let context = params.context.min(CONTEXT_MAX);
            let function = source.as_ref().and_then(|source| {
                let item = source
                    .items
                    .iter()
                    .rfind(|item| item.is_function() && (item.line..=item.end_line).contains(&line))?;
                Some(item.qualified(source.language))
            });
            result.results.push(Hit {
                path: file.path.clone(),
                line,
                text: cut(line).unwrap_or_default(),
                function,
                before: (line.saturating_sub(context).max(1)..line).filter_map(cut).collect(),
                after: (line + 1..=line.saturating_add(context)).filter_map(cut).collect(),
            });
        }
    }
    (result.results, _) = fit(result.results, LIST_BYTES_MAX);
    result.omitted = result.matches - result.results.len();
    Ok(result)
}

struct Search;

#[async_trait]
impl Tool for Search {
    fn name(&self) -> &str {
        "code.search"
    }

    fn description(&self) -> &str {
        "Finds lines that match a regular expression or a literal text, with the function around them. Use it for exact names and \
         messages; for a question in words use `code.rank`."
    }

    fn schema(&self) -> Value {
        schema_of::<SearchParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: SearchParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Search)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, try_call, workspace};

    #[tokio::test]
    async fn lines_are_found_by_expression_literal_case_word_and_glob() {
        let (workspace, _dir) = workspace(&[
            (
                "src/a.rs",
                "fn parse(x: &str) {\n    // Parse it\n    x.parse::<u8>();\n}\n",
            ),
            ("src/b.py", "def parser():\n    pass\n"),
            ("docs/c.md", "a.b (parse)\n"),
        ]);
        let rows = |result: &SearchResult| -> Vec<String> {
            result
                .results
                .iter()
                .map(|h| format!("{}:{}", h.path, h.line))
                .collect()
        };
        for (params, expected) in [
            (
                json!({"pattern": "parse"}),
                &["docs/c.md:1", "src/a.rs:1", "src/a.rs:2", "src/a.rs:3", "src/b.py:1"][..],
            ),
            (json!({"pattern": "Parse"}), &["src/a.rs:2"]),
            (
                json!({"pattern": "PARSE", "case_sensitive": false, "paths": ["docs"]}),
                &["docs/c.md:1"],
            ),
            (
                json!({"pattern": "parse", "word": true, "globs": ["src/**"]}),
                &["src/a.rs:1", "src/a.rs:2", "src/a.rs:3"],
            ),
            (json!({"pattern": "a.b (", "literal": true}), &["docs/c.md:1"]),
            (json!({"pattern": "^def \\w+", "globs": ["!*.md"]}), &["src/b.py:1"]),
            (json!({"pattern": "nowhere"}), &[]),
        ] {
            let result: SearchResult = call(&workspace, "code.search", params.clone()).await;
            assert_eq!(rows(&result), expected, "{params}");
        }
        let result: SearchResult = call(&workspace, "code.search", json!({"pattern": "parse::<", "context": 1})).await;
        let hit = &result.results[0];
        assert_eq!(
            (hit.function.as_deref(), hit.before.len(), hit.after[0].as_str()),
            (Some("parse"), 1, "}")
        );
    }

    #[tokio::test]
    async fn limits_hold_and_say_so() {
        let text = format!("{}\n", "needle ".repeat(200)).repeat(300);
        let (workspace, _dir) = workspace(&[("a.txt", &text), ("b.txt", "needle\n")]);
        let result: SearchResult = call(
            &workspace,
            "code.search",
            json!({"pattern": "needle", "max_results": 1000}),
        )
        .await;
        assert_eq!(
            (
                result.matches,
                result.matching_files,
                result.results.len(),
                result.omitted
            ),
            (301, 2, 201, 100)
        );
        assert_eq!(result.results[0].text.len(), LINE_CHARS_MAX);
    }

    #[tokio::test]
    async fn a_bad_pattern_is_refused_with_what_to_do() {
        let (workspace, _dir) = workspace(&[("a.txt", "x")]);
        let context = CallContext::new(Some(workspace));
        for (params, expected) in [
            (json!({"pattern": "("}), "literal"),
            (json!({"pattern": ""}), "empty"),
            (json!({"pattern": "x", "globs": ["["]}), "glob"),
            (json!({"patern": "x"}), "patern"),
        ] {
            let error = try_call(&context, "code.search", params).await.expect_err("refused");
            assert!(error.message.contains(expected), "{error}");
        }
    }
}
