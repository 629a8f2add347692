//! `code.dependencies`: what the projects of a workspace declare and lock, and where. It reads manifests and lock files
//! alone; nothing is resolved, fetched or run.

mod npm;
mod parse;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{Files, LIST_BYTES_MAX, SKIPPED_MAX};
use super::source::{Role, role_of};
use crate::{CallContext, Cost, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};
use parse::{Entry, format_of};

/// Dependencies returned where a call names no number.
const RESULTS_DEFAULT: usize = 200;
/// Most dependencies returned.
const RESULTS_MAX: usize = 1_000;
/// Larger files are not read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Packages with several versions that are returned.
const SEVERAL_MAX: usize = 50;

/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// Rust.
    Cargo,
    /// JavaScript and TypeScript.
    Npm,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Java, by Maven or Gradle.
    Maven,
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The program.
    Normal,
    /// Tests and tools of the developers.
    Development,
    /// The build.
    Build,
    /// Something that is switched on.
    Optional,
    /// Another dependency.
    Indirect,
}

/// Parameters of `code.dependencies`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DependenciesParams {
    /// Files or directories within the scope; the whole scope if empty.
    pub paths: Vec<String>,
    /// Only packages whose name holds one of these; case does not matter.
    pub names: Vec<String>,
    /// Only these ecosystems.
    pub ecosystems: Vec<Ecosystem>,
    /// Whether everything that lock files hold is listed, not only what is declared.
    pub locked: bool,
    /// Most dependencies to return, 1 to 1000; 200 if absent.
    #[schemars(range(min = 1, max = 1000))]
    pub max_results: Option<usize>,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Its name; of Maven `group:artifact`.
    pub name: String,
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// What is asked for: a requirement, or `path`, `git` or `workspace`; empty for any version, and in lock files.
    pub requirement: String,
    /// The versions that lock files of the same or a higher directory hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locked: Vec<String>,
    /// What it is for.
    pub part: Part,
    /// The file that says so.
    pub path: String,
    /// The line.
    pub line: u32,
}

/// A package of which a lock file holds several versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeveralVersions {
    /// Its name.
    pub name: String,
    /// The versions.
    pub versions: Vec<String>,
    /// The lock file.
    pub path: String,
    /// Where the first of them stands.
    pub line: u32,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependencyFile {
    /// Its path.
    pub path: String,
    /// Whose it is.
    pub ecosystem: Ecosystem,
    /// Whether it is a lock file.
    pub lock: bool,
    /// Packages in it.
    pub packages: usize,
}

/// What `code.dependencies` returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DependenciesResult {
    /// Files read, at most 200.
    pub files: Vec<DependencyFile>,
    /// Dependencies that match, whether returned or not.
    pub dependencies: usize,
    /// The dependencies, by path and line.
    pub results: Vec<Dependency>,
    /// Dependencies left out.
    pub omitted: usize,
    /// Declared dependencies that take any version there is.
    pub unbounded: usize,
    /// Packages of which a lock file holds several versions, at most 50.
    pub several_versions: Vec<SeveralVersions>,
    /// Files that could not be read, or are larger than 4 MiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// Files that are listed.
const FILES_MAX: usize = 200;

/// Names that are written in several ways: Python takes `A_b`, `a-b` and `a.b` for one.
fn key(ecosystem: Ecosystem, name: &str) -> String {
    match ecosystem {
        Ecosystem::Python => name.to_lowercase().replace(['_', '.'], "-"),
        _ => name.to_owned(),
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Whether a lock file stands in the directory of a manifest, or above it.
fn governs(lock: &str, manifest: &str) -> bool {
    let (above, below) = (directory(lock), directory(manifest));
    above.is_empty()
        || below
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a requirement takes whatever there is.
fn is_unbounded(requirement: &str) -> bool {
    matches!(
        requirement.trim(),
        "" | "*" | "latest" | "x" | ">=0" | "LATEST" | "RELEASE" | "+"
    )
}

/// The versions a lock file holds, by name as [`key`] writes it.
struct Lock {
    path: String,
    ecosystem: Ecosystem,
    versions: BTreeMap<String, BTreeSet<String>>,
}

fn run(files: &Files, params: &DependenciesParams) -> Result<DependenciesResult, ToolError> {
    let mut result = DependenciesResult::default();
    let names: Vec<String> = params.names.iter().map(|name| name.to_lowercase()).collect();
    let wanted = |ecosystem: Ecosystem, name: &str| {
        (params.ecosystems.is_empty() || params.ecosystems.contains(&ecosystem))
            && (names.is_empty() || names.iter().any(|part| name.to_lowercase().contains(part)))
    };
    let mut declared: Vec<(String, Ecosystem, bool, Entry)> = Vec::new();
    let mut locks: Vec<Lock> = Vec::new();
    for file in files.selected() {
        files.check_cancelled()?;
        let Some(format) = format_of(&file.path).filter(|_| role_of(&file.path) != Role::Foreign) else {
            continue;
        };
        let text = files.text(&file.path).ok().filter(|_| file.bytes <= FILE_BYTES_MAX);
        let Some(text) = text else {
            if result.skipped.len() < SKIPPED_MAX {
                result.skipped.push(file.path.clone());
            }
            continue;
        };
        let entries = format.entries(text.as_str());
        if result.files.len() < FILES_MAX {
            result.files.push(DependencyFile {
                path: file.path.clone(),
                ecosystem: format.ecosystem,
                lock: format.lock,
                packages: entries.len(),
            });
        }
        if format.lock {
            let mut lines: BTreeMap<String, (BTreeSet<String>, u32)> = BTreeMap::new();
            for entry in &entries {
                let (versions, _) = lines
                    .entry(key(format.ecosystem, &entry.name))
                    .or_insert_with(|| (BTreeSet::new(), entry.line));
                versions.insert(entry.version.clone());
            }
            let several = lines
                .iter()
                .filter(|(name, (versions, _))| versions.len() > 1 && wanted(format.ecosystem, name));
            let room = SEVERAL_MAX.saturating_sub(result.several_versions.len());
            result
                .several_versions
                .extend(several.take(room).map(|(name, (versions, line))| SeveralVersions {
                    name: name.clone(),
                    versions: versions.iter().cloned().collect(),
                    path: file.path.clone(),
                    line: *line,
                }));
            locks.push(Lock {
                path: file.path.clone(),
                ecosystem: format.ecosystem,
                versions: lines
                    .into_iter()
                    .map(|(name, (versions, _))| (name, versions))
                    .collect(),
            });
        }
        if !format.lock || params.locked {
            declared.extend(
                entries
                    .into_iter()
                    .filter(|entry| wanted(format.ecosystem, &entry.name))
                    .map(|entry| (file.path.clone(), format.ecosystem, format.lock, entry)),
            );
        }
    }
    result.dependencies = declared.len();
    result.unbounded = declared
        .iter()
        .filter(|(_, _, lock, entry)| !lock && is_unbounded(&entry.version))
        .count();
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let found = declared
        .into_iter()
        .take(limit)
        .map(|(path, ecosystem, lock, entry)| Dependency {
            locked: if lock {
                vec![entry.version.clone()]
            } else {
                let name = key(ecosystem, &entry.name);
                let held = locks
                    .iter()
                    .filter(|lock| lock.ecosystem == ecosystem && governs(&lock.path, &path));
                let versions: BTreeSet<&String> = held.filter_map(|lock| lock.versions.get(&name)).flatten().collect();
                versions.into_iter().cloned().collect()
            },
            requirement: if lock { String::new() } else { entry.version },
            name: entry.name,
            ecosystem,
            part: entry.part,
            path,
            line: entry.line,
        })
        .collect();
    (result.results, _) = fit(found, LIST_BYTES_MAX);
    result.omitted = result.dependencies - result.results.len();
    Ok(result)
}

struct Dependencies;

#[async_trait]
impl Tool for Dependencies {
    fn name(&self) -> &str {
        "code.dependencies"
    }

    fn description(&self) -> &str {
        "Lists the dependencies that manifests declare (Cargo, npm, pip, Poetry, go.mod, Maven, Gradle), with requirement, \
         locked versions and place, and packages locked in several versions. Use it to see what a project builds on."
    }

    fn schema(&self) -> Value {
        schema_of::<DependenciesParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: DependenciesParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Dependencies)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::code::testing::{call, workspace};

    #[tokio::test]
    async fn what_is_declared_is_joined_with_what_is_locked() {
        let (workspace, _dir) = workspace(&[
            ("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n"),
            (
                "Cargo.lock",
                "[[package]]\nname = \"serde\"\nversion = \"1.0.9\"\n[[package]]\nname = \"syn\"\nversion = \"1.0.0\"\n[[package]]\nname = \"syn\"\nversion = \"2.0.0\"\n",
            ),
            ("web/package.json", "{\n\"dependencies\": {\n\"left\": \"*\"\n}\n}\n"),
            (
                "web/package-lock.json",
                "{\"packages\": {\"node_modules/left\": {\"version\": \"1.0.2\"}}}\n",
            ),
            ("other/package.json", "{\"dependencies\": {\"left\": \"^1\"}}\n"),
            ("py/pyproject.toml", "[project]\ndependencies = [\"My_Lib>=1\"]\n"),
            ("py/poetry.lock", "[[package]]\nname = \"my-lib\"\nversion = \"1.2\"\n"),
            ("vendor/x/Cargo.toml", "[dependencies]\nno = \"1\"\n"),
        ]);
        let seen = |result: &DependenciesResult| -> Vec<String> {
            let show = |d: &Dependency| format!("{}:{} {} {} {:?}", d.path, d.line, d.name, d.requirement, d.locked);
            result.results.iter().map(show).collect()
        };
        for (params, expected) in [
            (
                json!({}),
                &[
                    "Cargo.toml:2 serde 1 [\"1.0.9\"]",
                    "other/package.json:1 left ^1 []",
                    "py/pyproject.toml:2 My_Lib >=1 [\"1.2\"]",
                    "web/package.json:3 left * [\"1.0.2\"]",
                ][..],
            ),
            (json!({"ecosystems": ["cargo"]}), &["Cargo.toml:2 serde 1 [\"1.0.9\"]"]),
            (json!({"names": ["MY_"]}), &["py/pyproject.toml:2 My_Lib >=1 [\"1.2\"]"]),
            (
                json!({"names": ["syn"], "locked": true}),
                &["Cargo.lock:5 syn  [\"1.0.0\"]", "Cargo.lock:8 syn  [\"2.0.0\"]"],
            ),
            (json!({"paths": ["other"]}), &["other/package.json:1 left ^1 []"]),
        ] {
            let result: DependenciesResult = call(&workspace, "code.dependencies", params.clone()).await;
            assert_eq!(seen(&result), expected, "{params}");
        }
        let result: DependenciesResult = call(&workspace, "code.dependencies", json!({"max_results": 1})).await;
        assert_eq!((result.dependencies, result.omitted, result.unbounded), (4, 3, 1));
        assert_eq!(result.files.len(), 7);
        let several = &result.several_versions[0];
        assert_eq!(
            (several.name.as_str(), several.versions.len(), several.line),
            ("syn", 2, 5)
        );
    }

    #[test]
    fn a_lock_file_is_for_its_directory_and_what_is_below() {
        for (lock, manifest, expected) in [
            ("Cargo.lock", "a/b/Cargo.toml", true),
            ("a/Cargo.lock", "a/Cargo.toml", true),
            ("a/Cargo.lock", "a/b/Cargo.toml", true),
            ("a/Cargo.lock", "ab/Cargo.toml", false),
            ("a/Cargo.lock", "Cargo.toml", false),
        ] {
            assert_eq!(governs(lock, manifest), expected, "{lock} {manifest}");
        }
    }
}
