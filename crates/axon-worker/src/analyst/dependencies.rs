//! Writes down what a workspace depends on, and which requirements are a risk. Any playbook may ask for it; it says nothing
//! that does not stand in a manifest or a lock file.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{Evidence, Level, ToolCall};
use axon_tools::code::{DependenciesResult, Dependency, Ecosystem, Part};
use serde_json::{Value, json};

use super::brief::call;
use super::write::{Draft, Writer, count, listed, tool_evidence};
use super::{Brief, Results};

/// Dependencies that are asked for.
const RESULTS_MAX: usize = 1_000;
/// Names that one claim lists.
const NAMES_MAX: usize = 12;
/// Manifests and places that are quoted.
const QUOTES_MAX: usize = 4;
/// Packages in several versions that are named.
const SEVERAL_MAX: usize = 6;

/// Beginnings of words that ask for dependencies.
const WORDS: &[&str] = &[
    "dependenc",
    "depend",
    "librar",
    "crate",
    "package",
    "third",
    "manifest",
    "lockfile",
    "supply",
    "upgrade",
    "outdated",
    "version",
    "vendor",
    "pinned",
    "unpinned",
];

/// Whether the question is about what the project depends on.
pub fn asked(brief: &Brief) -> bool {
    let says = |text: &str| {
        let words: Vec<String> = text
            .split(|c: char| !c.is_alphanumeric())
            .map(str::to_lowercase)
            .collect();
        let strong = words
            .iter()
            .any(|word| word.starts_with("dependenc") || word == "lockfile");
        let weak = words
            .iter()
            .filter(|word| WORDS.iter().any(|start| word.starts_with(start)))
            .count();
        strong || weak > 1
    };
    // Who names a piece of code asks what depends on it, and not for packages.
    let whole = brief.symbols.is_empty()
        && ["depend on", "depends on"]
            .iter()
            .any(|words| brief.query.contains(words));
    whole || says(&brief.query) || says(&brief.aspect)
}

/// The call that finds them.
pub fn plan(brief: &Brief) -> ToolCall {
    call(
        "dependencies",
        "code.dependencies",
        json!({"paths": brief.paths, "max_results": RESULTS_MAX}),
    )
}

/// The call that finds those of one of the things compared.
pub fn plan_of(index: usize, paths: &[String]) -> ToolCall {
    let params = json!({"paths": paths, "max_results": RESULTS_MAX});
    call(format!("dependencies_{index}"), "code.dependencies", params)
}

/// What the first two of the things compared declare, and where they differ.
pub fn write_compared(writer: &mut Writer<'_>, results: &Results, subjects: &[(usize, String)]) {
    let of = |index: usize| {
        let found = results.get::<DependenciesResult>(&format!("dependencies_{index}"))?;
        let all: Vec<Dependency> = found
            .results
            .into_iter()
            .filter(|dependency| !is_own(dependency))
            .collect();
        (!all.is_empty()).then_some(all)
    };
    let known: Vec<(&str, Vec<Dependency>)> = subjects
        .iter()
        .filter_map(|(index, subject)| Some((subject.as_str(), of(*index)?)))
        .collect();
    let [(one, ones), (other, others), ..] = known.as_slice() else {
        return;
    };
    let names =
        |all: &[Dependency]| -> BTreeSet<String> { all.iter().map(|dependency| dependency.name.clone()).collect() };
    let (own, foreign) = (names(ones), names(others));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| match a.difference(b).cloned().collect::<Vec<_>>() {
        none if none.is_empty() => "nothing".to_owned(),
        some => listed(&some, NAMES_MAX),
    };
    let mut draft = Draft::new(
        format!(
            "“{one}” depends on {} packages and “{other}” on {}",
            own.len(),
            foreign.len()
        ),
        "dependencies",
        "code.dependencies",
    );
    draft.rationale = format!(
        "Only “{one}” needs {}; only “{other}” needs {}; both need {}.",
        only(&own, &foreign),
        only(&foreign, &own),
        own.intersection(&foreign).count()
    );
    draft.confidence = 0.85;
    draft.impact = Level::Medium;
    draft.evidence = [ones, others]
        .iter()
        .flat_map(|all| quoted(writer, &all.iter().collect::<Vec<_>>()).into_iter().take(2))
        .collect();
    writer.write(draft);
}

/// What is declared, one finding for each ecosystem.
pub fn write_inventory(writer: &mut Writer<'_>, results: &Results) {
    let Some(found) = results.get::<DependenciesResult>("dependencies") else {
        return;
    };
    let mut by_ecosystem: BTreeMap<Ecosystem, Vec<&Dependency>> = BTreeMap::new();
    for dependency in found.results.iter().filter(|dependency| !is_own(dependency)) {
        by_ecosystem.entry(dependency.ecosystem).or_default().push(dependency);
    }
    for (ecosystem, all) in by_ecosystem {
        let names = |wanted: fn(Part) -> bool| -> Vec<String> {
            let named = all
                .iter()
                .filter(|dependency| wanted(dependency.part))
                .map(|dependency| dependency.name.clone());
            named.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let program = names(|part| matches!(part, Part::Normal | Part::Optional));
        let others = names(|part| matches!(part, Part::Development | Part::Build));
        let manifests: BTreeSet<&str> = all.iter().map(|dependency| dependency.path.as_str()).collect();
        let mut claim = format!(
            "{} of {} declared by {}: {}",
            if program.len() == 1 {
                "one dependency".to_owned()
            } else {
                format!("{} dependencies", program.len())
            },
            name_of(ecosystem),
            count(manifests.len(), "manifest"),
            listed(&program, NAMES_MAX)
        );
        if program.is_empty() {
            claim = format!(
                "nothing but development needs packages of {}: {}",
                name_of(ecosystem),
                listed(&others, NAMES_MAX)
            );
        }
        let mut draft = Draft::new(
            claim,
            format!("{} dependencies", name_of(ecosystem)),
            "code.dependencies",
        );
        let lock = found.files.iter().find(|file| file.lock && file.ecosystem == ecosystem);
        let locked = match lock {
            Some(lock) => format!(
                "`{}` fixes {} in all, those that these need included.",
                lock.path,
                count(lock.packages, "package")
            ),
            None => "No lock file stands beside them: two builds may take different versions.".to_owned(),
        };
        let development = match others.len() {
            0 => String::new(),
            _ => format!(" For development and the build: {}.", listed(&others, NAMES_MAX)),
        };
        draft.rationale = format!("{locked}{development}");
        draft.confidence = 0.9;
        draft.impact = Level::Medium;
        draft.value = Some((program.len() as f64, "dependencies"));
        draft.evidence = quoted(writer, &all);
        writer.write(draft);
    }
}

/// What of it is a risk: versions that nobody fixed, the same package twice, sources that can change.
pub fn write_risks(writer: &mut Writer<'_>, results: &Results) {
    let Some(found) = results.get::<DependenciesResult>("dependencies") else {
        return;
    };
    let declared = || {
        found
            .results
            .iter()
            .filter(|dependency| !is_own(dependency) && dependency.part != Part::Indirect)
    };
    let locks = |dependency: &Dependency| !dependency.locked.is_empty();
    let unbounded: Vec<&Dependency> = declared()
        .filter(|d| is_unbounded(&d.requirement) && !locks(d))
        .collect();
    write_group(
        writer,
        &unbounded,
        "without any bound on its version",
        "A new major release of it is taken without anybody's decision, and a build of yesterday cannot be made again.",
        "Require the version that is tested, and keep a lock file.",
        Level::Medium,
    );
    let floating: Vec<&Dependency> = declared().filter(|d| d.requirement == "git" && !locks(d)).collect();
    write_group(
        writer,
        &floating,
        "from a repository, at no fixed revision",
        "What it is changes with the branch it is taken from.",
        "Name a tag or a revision.",
        Level::Medium,
    );
    write_several(writer, &found);
}

fn write_group(
    writer: &mut Writer<'_>,
    group: &[&Dependency],
    how: &str,
    why: &str,
    what_to_do: &str,
    severity: Level,
) {
    let Some(first) = group.first() else { return };
    let names: BTreeSet<String> = group.iter().map(|dependency| dependency.name.clone()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    let mut draft = Draft::new(
        format!("{} {verb} taken {how}", listed(&names, SEVERAL_MAX)),
        first.path.clone(),
        "code.dependencies",
    );
    draft.rationale = why.to_owned();
    draft.recommendation = Some(what_to_do.to_owned());
    draft.confidence = 0.8;
    draft.severity = severity;
    draft.impact = Level::Medium;
    draft.value = Some((names.len() as f64, "dependencies"));
    draft.evidence = group
        .iter()
        .take(QUOTES_MAX)
        .filter_map(|d| writer.lines(&d.path, d.line, d.line))
        .collect();
    writer.write(draft);
}

/// Packages in several versions. Only those that something declared brings are in the project's own hands.
fn write_several(writer: &mut Writer<'_>, found: &DependenciesResult) {
    let declared: BTreeSet<&str> = found
        .results
        .iter()
        .map(|dependency| dependency.name.as_str())
        .collect();
    let mut several: Vec<_> = found.several_versions.iter().collect();
    several.sort_by_key(|package| {
        (
            !declared.contains(package.name.as_str()),
            std::cmp::Reverse(package.versions.len()),
        )
    });
    let Some(first) = several.first() else { return };
    let own = declared.contains(first.name.as_str());
    let shown: Vec<String> = several
        .iter()
        .take(SEVERAL_MAX)
        .map(|package| format!("{} {}", package.name, package.versions.join(" and ")))
        .collect();
    let mut draft = Draft::new(
        format!(
            "`{}` holds {} in several versions, such as {}",
            first.path,
            count(several.len(), "package"),
            listed(&shown, 2)
        ),
        first.path.clone(),
        "code.dependencies",
    );
    draft.rationale = format!(
        "Each version is compiled and shipped, and types of one do not fit the other. In all: {}{}.",
        shown.join(", "),
        if several.len() > SEVERAL_MAX { ", …" } else { "" }
    );
    draft.recommendation = Some(if own {
        format!(
            "Ask for one version of `{}`, which the project itself declares.",
            first.name
        )
    } else {
        "Upgrade what asks for the older ones, where newer releases do.".to_owned()
    });
    draft.confidence = 0.85;
    draft.severity = Level::Low;
    draft.impact = Level::Low;
    draft.value = Some((several.len() as f64, "packages"));
    draft.evidence = several
        .iter()
        .take(QUOTES_MAX)
        .filter_map(|p| writer.lines(&p.path, p.line, p.line + 1))
        .collect();
    draft.evidence.push(tool_evidence(
        "code.dependencies",
        Value::Object(Default::default()),
        &shown.join(", "),
    ));
    writer.write(draft);
}

/// Whether it is a part of the same project.
fn is_own(dependency: &Dependency) -> bool {
    matches!(dependency.requirement.as_str(), "path" | "workspace")
}

fn is_unbounded(requirement: &str) -> bool {
    matches!(requirement.trim(), "" | "*" | "latest" | "x" | ">=0")
}

/// The lines of the largest manifests that declare most.
fn quoted(writer: &Writer<'_>, all: &[&Dependency]) -> Vec<Evidence> {
    let mut lines: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for dependency in all {
        lines.entry(&dependency.path).or_default().push(dependency.line);
    }
    let mut manifests: Vec<(&str, Vec<u32>)> = lines.into_iter().collect();
    manifests.sort_by_key(|(path, lines)| (std::cmp::Reverse(lines.len()), *path));
    let range = |(path, lines): (&str, Vec<u32>)| {
        let first = lines.iter().min().copied()?;
        writer.lines(path, first, lines.iter().max().copied()?.min(first + 11))
    };
    manifests.into_iter().take(QUOTES_MAX).filter_map(range).collect()
}

fn name_of(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Cargo => "Cargo",
        Ecosystem::Npm => "npm",
        Ecosystem::Python => "Python",
        Ecosystem::Go => "Go",
        Ecosystem::Maven => "Maven",
    }
}
