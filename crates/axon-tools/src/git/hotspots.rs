//! `git.hotspots`: files that change often and are hard to understand, where defects gather and where work on the code pays
//! first. The score is commits × cyclomatic complexity, in proportion to the highest.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commits, date_of, limit};
use crate::code::{Files, LIST_BYTES_MAX, Role, measure, to_value};
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Files returned where a call names no number.
const RESULTS_DEFAULT: usize = 20;
/// Most files returned.
const RESULTS_MAX: usize = 200;

/// Parameters of `git.hotspots`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HotspotsParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Only commits from then on: `2024-05-31`, or `90d` for so many days before the newest commit.
    pub since: Option<String>,
    /// Whether files of tests are rated as well.
    pub tests: bool,
    /// Most files to return, 1 to 200; 20 if absent.
    #[schemars(range(min = 1, max = 200))]
    pub max_results: Option<usize>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hotspot {
    /// Its path.
    pub path: String,
    /// Commits × complexity, in proportion to the highest of the files looked at: 0 to 1.
    pub score: f64,
    /// Commits that changed it.
    pub commits: usize,
    /// People who did.
    pub authors: usize,
    /// Lines they added and removed, where that was counted.
    pub changed_lines: u64,
    /// Day of the last of these commits.
    pub last: String,
    /// Cyclomatic complexity of all its functions.
    pub complexity: usize,
    /// Its functions.
    pub functions: usize,
    /// Name of its most complex function.
    pub worst: String,
    /// Where that begins.
    pub line: u32,
    /// Where it ends.
    pub end_line: u32,
    /// How complex it is.
    pub worst_complexity: usize,
}

/// What `git.hotspots` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HotspotsResult {
    /// Commits looked at, merges left out.
    pub commits: usize,
    /// Whether the history goes back to the first commit.
    pub complete: bool,
    /// Files with functions that were rated.
    pub files: usize,
    /// The files that changed, hottest first.
    pub results: Vec<Hotspot>,
    /// Files left out.
    pub omitted: usize,
    /// Files that could not be read or parsed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

#[derive(Default)]
struct Changes<'c> {
    commits: usize,
    authors: BTreeSet<&'c str>,
    lines: u64,
    last: i64,
}

fn run(files: &Files, commits: &Commits, params: &HotspotsParams) -> Result<HotspotsResult, ToolError> {
    let mut result = HotspotsResult {
        complete: commits.history.complete,
        ..HotspotsResult::default()
    };
    let mut by_path: HashMap<&str, Changes<'_>> = HashMap::new();
    for commit in commits.all().filter(|commit| !commit.merge) {
        result.commits += 1;
        for change in commits.files(commit) {
            let changes = by_path.entry(&change.path).or_default();
            changes.commits += 1;
            changes.authors.insert(&commit.author);
            changes.lines += u64::from(change.added.unwrap_or(0)) + u64::from(change.removed.unwrap_or(0));
            changes.last = changes.last.max(commit.time);
        }
    }
    let mut found: Vec<Hotspot> = Vec::new();
    let mut skipped = Vec::new();
    files.each_source(&mut skipped, |source| {
        let wanted = match source.role {
            Role::Foreign => false,
            Role::Test => params.tests,
            Role::Library | Role::Entry | Role::Example => true,
        };
        if !wanted || !files.is_selected(&source.path) {
            return;
        }
        let functions = measure(source);
        let Some(worst) = functions
            .iter()
            .max_by_key(|f| (f.complexity, std::cmp::Reverse(f.line)))
        else {
            return;
        };
        result.files += 1;
        let Some(changes) = by_path.get(source.path.as_str()) else {
            return;
        };
        found.push(Hotspot {
            path: source.path.clone(),
            score: 0.0,
            commits: changes.commits,
            authors: changes.authors.len(),
            changed_lines: changes.lines,
            last: date_of(changes.last),
            complexity: functions.iter().map(|f| f.complexity).sum(),
            functions: functions.len(),
            worst: worst.name.clone(),
            line: worst.line,
            end_line: worst.end_line,
            worst_complexity: worst.complexity,
        });
    })?;
    result.skipped = skipped;
    let heat = |file: &Hotspot| file.commits * file.complexity;
    let most = found.iter().map(heat).max().unwrap_or(0).max(1);
    for file in &mut found {
        file.score = (heat(file) as f64 / most as f64 * 1_000.0).round() / 1_000.0;
    }
    found.sort_by(|a, b| heat(b).cmp(&heat(a)).then_with(|| a.path.cmp(&b.path)));
    let total = found.len();
    found.truncate(limit(params.max_results, RESULTS_DEFAULT, RESULTS_MAX));
    (result.results, _) = fit(found, LIST_BYTES_MAX);
    result.omitted = total - result.results.len();
    Ok(result)
}

struct Hotspots;

#[async_trait]
impl Tool for Hotspots {
    fn name(&self) -> &str {
        "git.hotspots"
    }

    fn description(&self) -> &str {
        "Rates files by how often they changed times how complex they are, with their most complex function. Use it to find \
         where defects gather and where tests, a review or a simpler design pay first."
    }

    fn schema(&self) -> Value {
        schema_of::<HotspotsParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: HotspotsParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        let context = context.clone();
        blocking(&context.clone(), move |cancel| {
            let commits = Commits::open(&context, &params.paths, params.since.as_deref())?;
            to_value(&run(&files.until(cancel), &commits, &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Hotspots)
}
