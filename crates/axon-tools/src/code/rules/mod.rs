//! `code.rules`: risky patterns of a language, one match for each real cluster, worst first. What is risky is data in
//! `rules/*.toml`; test code, examples and copied code are left alone unless a rule is about tests.

mod checks;
mod conditions;
mod engine;
mod pack;

use std::cmp::Reverse;

use async_trait::async_trait;
use axon_protocol::Level;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, LIST_BYTES_MAX};
use super::metrics::{Mentions, last_name, measure};
use super::source::PARSE_BYTES_MAX;
use super::syntax::syntax_of;
use crate::{CallContext, Cost, Kind, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};
use pack::Rule;

/// Matches returned where a call names no number.
const RESULTS_DEFAULT: usize = 100;
/// Most matches returned.
const RESULTS_MAX: usize = 500;
/// Files named as skipped.
const SKIPPED_MAX: usize = 20;

/// Parameters of `code.rules`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Only rules of these aspects: `error_handling`, `correctness`, `security`, `concurrency`, `performance`,
    /// `maintainability`, `tests`, and `panics`, which lists every place that can panic and is applied only where it is named.
    pub aspects: Vec<String>,
    /// Only these rules; a `*` at the end stands for any rest.
    pub rules: Vec<String>,
    /// Only this severity and above.
    pub min_severity: Option<Level>,
    /// Most matches to return, 1 to 500; 100 if absent.
    #[schemars(range(min = 1, max = 500))]
    pub max_results: Option<usize>,
}

/// One cluster: the places of one function, or of one file, where a rule applies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleMatch {
    /// The rule.
    pub rule: String,
    /// What it is about.
    pub aspect: String,
    /// How bad it is.
    pub severity: Level,
    /// How likely it is worth a change, from 0 to 1.
    pub confidence: f64,
    /// How much the change brings.
    pub impact: Level,
    /// How much work the change is.
    pub effort: Level,
    /// The file.
    pub path: String,
    /// The function, where all places are in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Where the function begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_line: Option<u32>,
    /// Whether the function can be used from other modules.
    #[serde(default)]
    pub public: bool,
    /// Whether the function returns a `Result`.
    #[serde(default)]
    pub in_fallible: bool,
    /// Where the function ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_end: Option<u32>,
    /// Cyclomatic complexity of the function; 0 where the places are in none.
    #[serde(default)]
    pub complexity: usize,
    /// Calls of it outside tests, in the files of the scope; 0 where its name does not tell it from other functions.
    #[serde(default)]
    pub callers: usize,
    /// Files those calls are in.
    #[serde(default)]
    pub calling_files: usize,
    /// The first place.
    pub line: u32,
    /// Lines of the places, at most 20.
    pub lines: Vec<u32>,
    /// How many places.
    pub places: usize,
    /// What is wrong, in one sentence.
    pub claim: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub recommendation: String,
}

/// What `code.rules` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RulesResult {
    /// Files looked at.
    pub files: usize,
    /// Functions in them, tests left out.
    pub functions: usize,
    /// Functions of tests.
    pub test_functions: usize,
    /// Rules that were applied to at least one file.
    pub rules: usize,
    /// Matches, whether returned or not.
    pub matches: usize,
    /// The matches, worst first.
    pub results: Vec<RuleMatch>,
    /// Matches left out.
    pub omitted: usize,
    /// Code files there are no rules for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

fn run(files: &Files, params: &RulesParams) -> Result<RulesResult, ToolError> {
    let set = pack::built_in().map_err(ToolError::permanent)?;
    let chosen = |rule: &Rule| {
        let named = !params.rules.is_empty();
        (params.aspects.contains(&rule.data.aspect) || (params.aspects.is_empty() && (rule.is_unasked() || named)))
            && (params.rules.is_empty() || crate::toolbox::allowed(&rule.data.id, &params.rules))
            && params.min_severity.is_none_or(|least| rule.data.severity >= least)
    };
    let mut languages = std::collections::BTreeSet::new();
    let mut result = RulesResult::default();
    for file in files.selected() {
        files.check_cancelled()?;
        if !matches!(file.kind(), Kind::Code | Kind::Config) || file.bytes > PARSE_BYTES_MAX as u64 {
            continue;
        }
        let language = file.language().name;
        match files.source(&file.path) {
            Some(source) => {
                let tests = source
                    .functions()
                    .filter(|f| f.test || source.role == super::Role::Test)
                    .count();
                result.test_functions += tests;
                result.functions += source.functions().count() - tests;
                result
                    .results
                    .extend(engine::apply(&source, set, &chosen).map_err(ToolError::permanent)?);
            }
            None => {
                if file.kind() == Kind::Code && syntax_of(&file.path).is_none() && result.skipped.len() < SKIPPED_MAX {
                    result.skipped.push(file.path.clone());
                }
                let Ok(text) = files.text(&file.path) else { continue };
                result
                    .results
                    .extend(engine::apply_to_text(&file.path, text.as_str(), set, &chosen));
            }
        }
        languages.insert(language);
        result.files += 1;
    }
    result.rules = set
        .rules
        .iter()
        .filter(|rule| {
            chosen(rule) && (rule.language.is_empty() || languages.iter().any(|language| rule.is_for(language)))
        })
        .count();
    result.results.sort_by(|a, b| {
        let key = |m: &RuleMatch| Reverse((m.severity, (m.confidence * 1000.0) as u32, m.places));
        key(a)
            .cmp(&key(b))
            .then_with(|| (&a.path, a.line, &a.rule).cmp(&(&b.path, b.line, &b.rule)))
    });
    result.matches = result.results.len();
    result
        .results
        .truncate(params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX));
    place(files, &mut result.results)?;
    (result.results, _) = fit(result.results, LIST_BYTES_MAX);
    result.omitted = result.matches - result.results.len();
    Ok(result)
}

/// Adds how complex the functions of the matches are and who calls them.
fn place(files: &Files, matches: &mut [RuleMatch]) -> Result<(), ToolError> {
    if matches.iter().all(|found| found.function.is_none()) {
        return Ok(());
    }
    let mut mentions = Mentions::default();
    files.each_source(&mut Vec::new(), |source| mentions.add(source))?;
    for found in matches {
        let (Some(name), Some(line), Some(source)) = (&found.function, found.function_line, files.source(&found.path))
        else {
            continue;
        };
        let function = measure(&source)
            .into_iter()
            .find(|function| function.line == line && function.name == *name);
        found.complexity = function.map_or(0, |function| function.complexity);
        (found.callers, found.calling_files) = mentions.callers(last_name(name));
    }
    Ok(())
}

struct Rules;

#[async_trait]
impl Tool for Rules {
    fn name(&self) -> &str {
        "code.rules"
    }

    fn description(&self) -> &str {
        "Applies rule packs for risky patterns (Rust, Python, Go, TypeScript, JavaScript, Java, C; secrets in any language): error handling, correctness, security, \
         concurrency, performance, maintainability, tests. Use it to start a review."
    }

    fn schema(&self) -> Value {
        schema_of::<RulesParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: RulesParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Rules)
}

#[cfg(test)]
mod tests;
