//! `git.co_change`: files that were changed in the same commits as given ones. Commits that change very many files say
//! nothing about who belongs together and are left out.

use std::collections::HashMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commits, date_of, limit, short_id};
use crate::code::{LIST_BYTES_MAX, to_value};
use crate::{CallContext, Tool, ToolError, Toolbox, ToolboxError, fit, in_scope, parse_params, schema_of};

/// Files returned where a call names no number.
const RESULTS_DEFAULT: usize = 20;
/// Most files returned.
const RESULTS_MAX: usize = 200;
/// A commit that changed more files is left out.
const FILES_MAX: usize = 30;
/// Common commits a file must have where a call names no number.
const SUPPORT_DEFAULT: usize = 2;
/// Common commits that are named of one file.
const EXAMPLES_MAX: usize = 3;

/// Parameters of `git.co_change`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CoChangeParams {
    /// The files or directories to find companions of; at least one.
    pub paths: Vec<String>,
    /// Only commits from then on: `2024-05-31`, or `90d` for so many days before the newest commit.
    pub since: Option<String>,
    /// Fewest common commits, 1 to 1000; 2 if absent.
    #[schemars(range(min = 1, max = 1000))]
    pub min_support: Option<usize>,
    /// Most files to return, 1 to 200; 20 if absent.
    #[schemars(range(min = 1, max = 200))]
    pub max_results: Option<usize>,
}

/// A file that changes together with the given ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Companion {
    /// Its path.
    pub path: String,
    /// Commits that changed it and one of the given files.
    pub support: usize,
    /// `support` ÷ commits that changed one of the given files: how often it follows them.
    pub confidence: f64,
    /// `support` ÷ commits that changed it: how often they follow it.
    pub reverse_confidence: f64,
    /// Day of the last common commit.
    pub last: String,
    /// The latest common commits, at most three: id and subject.
    pub examples: Vec<String>,
}

/// What `git.co_change` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CoChangeResult {
    /// Commits that changed one of the given files and were counted.
    pub commits: usize,
    /// Commits left out because they changed more than 30 files.
    pub large_commits: usize,
    /// Whether the history goes back to the first commit.
    pub complete: bool,
    /// The companions that still exist, those with most common commits first.
    pub results: Vec<Companion>,
    /// Companions left out.
    pub omitted: usize,
}

fn run(commits: &Commits, exists: impl Fn(&str) -> bool, params: &CoChangeParams) -> CoChangeResult {
    let mut result = CoChangeResult {
        complete: commits.history.complete,
        ..CoChangeResult::default()
    };
    // Of each file: its commits, and where in the history those are that it shares.
    let mut seen: HashMap<&str, (usize, Vec<usize>)> = HashMap::new();
    let all: Vec<_> = commits.all().filter(|commit| !commit.merge).collect();
    for (index, commit) in all.iter().enumerate() {
        let touches = commits.files(commit).next().is_some();
        if commit.files.len() + commit.omitted > FILES_MAX {
            result.large_commits += usize::from(touches);
            continue;
        }
        result.commits += usize::from(touches);
        for change in &commit.files {
            let (total, shared) = seen.entry(&change.path).or_default();
            *total += 1;
            if touches {
                shared.push(index);
            }
        }
    }
    let least = params.min_support.unwrap_or(SUPPORT_DEFAULT).max(1);
    let share = |part: usize, whole: usize| (part as f64 / whole.max(1) as f64 * 1_000.0).round() / 1_000.0;
    let mut found: Vec<Companion> = seen
        .into_iter()
        .filter(|(path, (_, shared))| {
            shared.len() >= least && !in_scope(path, &commits.paths) && in_scope(path, &commits.scope) && exists(path)
        })
        .map(|(path, (total, shared))| Companion {
            path: path.to_owned(),
            support: shared.len(),
            confidence: share(shared.len(), result.commits),
            reverse_confidence: share(shared.len(), total),
            last: shared
                .first()
                .map(|index| date_of(all[*index].time))
                .unwrap_or_default(),
            examples: shared
                .iter()
                .take(EXAMPLES_MAX)
                .map(|index| format!("{} {}", short_id(&all[*index].id), all[*index].subject))
                .collect(),
        })
        .collect();
    found.sort_by(|a, b| {
        (b.support, b.reverse_confidence.to_bits())
            .cmp(&(a.support, a.reverse_confidence.to_bits()))
            .then_with(|| a.path.cmp(&b.path))
    });
    let total = found.len();
    found.truncate(limit(params.max_results, RESULTS_DEFAULT, RESULTS_MAX));
    (result.results, _) = fit(found, LIST_BYTES_MAX);
    result.omitted = total - result.results.len();
    result
}

struct CoChange;

#[async_trait]
impl Tool for CoChange {
    fn name(&self) -> &str {
        "git.co_change"
    }

    fn description(&self) -> &str {
        "Finds files that were changed in the same commits as the given ones, with how often. Use it to see what else a change \
         of them is likely to need, and what belongs together though nothing in the code says so."
    }

    fn schema(&self) -> Value {
        schema_of::<CoChangeParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: CoChangeParams = parse_params(self.name(), params)?;
        if params.paths.is_empty() {
            return Err(ToolError::invalid_params(
                "`git.co_change` needs `paths`: the files to find companions of",
            ));
        }
        let context = context.clone();
        crate::blocking(&context.clone(), move |_| {
            let commits = Commits::open(&context, &params.paths, params.since.as_deref())?;
            if commits.paths.is_empty() {
                return Err(ToolError::invalid_params(
                    "the whole workspace has no companions: name files or directories of it",
                ));
            }
            let workspace = context.require_workspace()?;
            to_value(&run(&commits, |path| workspace.manifest().get(path).is_some(), &params))
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(CoChange)
}
