//! In which aspects things are compared: those the task or the query names, those that the documents of both sides have
//! headings for, and those that matter of almost anything.

use std::collections::{BTreeMap, BTreeSet};

use axon_tools::code::{Ranked, terms};

use crate::analyst::Brief;

/// Aspects one task looks for.
const ASPECTS_MAX: usize = 14;

/// Something in which things differ.
pub struct Aspect {
    pub name: String,
    /// The task or the query names it, or an author has a heading for it.
    pub asked: bool,
    pub terms: BTreeSet<String>,
}

/// What matters of almost anything, and the words that speak of it.
const USUAL: &[(&str, &str)] = &[
    ("limits", "limit maximum max capacity bound most entries size full"),
    (
        "time",
        "latency time fast slow millisecond second throughput speed timeout interval ms",
    ),
    ("memory and size", "memory bytes ram footprint space kib mib gib size"),
    (
        "failure and recovery",
        "fail crash lose lost recover retry durable persist restart replay survive redeliver",
    ),
    (
        "order and consistency",
        "order consistent consistency atomic transaction exactly duplicate idempotent stale",
    ),
    (
        "concurrency",
        "lock concurrent thread race parallel wait blocking contention",
    ),
    (
        "operation",
        "operate deploy depend dependency configure configuration monitor install server cluster",
    ),
    ("simplicity", "simple complex complicated easy code lines maintain"),
    ("tests", "test tested coverage"),
];

/// Aspects of tasks that ask for several of the usual ones.
fn usual_of(aspect: &str) -> Vec<&'static str> {
    let has = |words: &[&str]| words.iter().any(|word| aspect.contains(word));
    let mut names = Vec::new();
    if has(&[
        "limit",
        "figure",
        "performance",
        "speed",
        "latency",
        "memory",
        "cost",
        "scal",
    ]) {
        names.extend(["limits", "time", "memory and size"]);
    }
    if has(&["fail", "durab", "recover", "reliab", "robust", "error", "safety"]) {
        names.extend(["failure and recovery", "order and consistency"]);
    }
    if has(&["concurren"]) {
        names.push("concurrency");
    }
    if has(&["structure", "complex", "maintain", "effort", "test", "simpl"]) {
        names.extend(["simplicity", "tests"]);
    }
    if has(&["operation", "cost", "deploy"]) {
        names.push("operation");
    }
    names
}

/// Whether a task compares in general, and not in an aspect.
fn is_general(aspect: &str) -> bool {
    ["", "comparison", "differences", "answer", "result"].contains(&aspect)
}

/// The words of the aspect a task is about, for its searches.
pub fn words_of_task(brief: &Brief) -> Vec<String> {
    let key = brief.aspect_key().replace('_', " ");
    let mut words = brief.aspects.clone();
    if !is_general(&key) {
        words.push(key.clone());
        words.extend(
            USUAL
                .iter()
                .filter(|(name, _)| usual_of(&key).contains(name))
                .map(|(_, words)| (*words).to_owned()),
        );
    }
    words
}

/// The aspects of a task, those first that are asked for.
pub fn aspects<'a>(brief: &Brief, sides: impl Iterator<Item = &'a [Ranked]>) -> Vec<Aspect> {
    let key = brief.aspect_key().replace('_', " ");
    let own_subject = brief
        .subjects
        .iter()
        .any(|subject| subject.eq_ignore_ascii_case(&brief.aspect));
    let mut found: Vec<Aspect> = Vec::new();
    let usual = |name: &str| USUAL.iter().find(|(known, _)| *known == name);
    let with_words = |name: &str| {
        let mut words = name.to_owned();
        for (_, more) in usual_of(&name.to_lowercase()).into_iter().filter_map(usual) {
            words.push(' ');
            words.push_str(more);
        }
        Aspect {
            name: name.to_owned(),
            asked: true,
            terms: terms(&words).into_iter().collect(),
        }
    };
    let general = is_general(&key) || own_subject;
    if !general {
        found.push(with_words(&brief.aspect));
        found.extend(
            usual_of(&key)
                .into_iter()
                .filter_map(usual)
                .map(|(name, words)| plain(name, words)),
        );
        return unique(found);
    }
    found.extend(brief.aspects.iter().map(|aspect| with_words(aspect)));
    found.extend(shared_headings(sides));
    found.extend(USUAL.iter().map(|(name, words)| plain(name, words)));
    let mut found = unique(found);
    found.truncate(ASPECTS_MAX);
    found
}

fn plain(name: &str, words: &str) -> Aspect {
    Aspect {
        name: name.to_owned(),
        asked: false,
        terms: terms(words).into_iter().collect(),
    }
}

fn unique(aspects: Vec<Aspect>) -> Vec<Aspect> {
    let mut seen = BTreeSet::new();
    aspects
        .into_iter()
        .filter(|aspect| !aspect.terms.is_empty() && seen.insert(aspect.name.to_lowercase()))
        .collect()
}

/// Headings that the passages of two sides have: what their authors thought worth a section on both.
fn shared_headings<'a>(sides: impl Iterator<Item = &'a [Ranked]>) -> Vec<Aspect> {
    let mut sides_of: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for (index, places) in sides.enumerate() {
        for place in places.iter().filter(|place| place.name.contains(" › ")) {
            let heading = place.name.rsplit(" › ").next().unwrap_or_default().trim().to_owned();
            if heading.is_empty() || heading.split_whitespace().count() > 5 {
                continue;
            }
            if !order.contains(&heading) {
                order.push(heading.clone());
            }
            sides_of.entry(heading).or_default().insert(index);
        }
    }
    order
        .into_iter()
        .filter(|heading| sides_of.get(heading).is_some_and(|sides| sides.len() > 1))
        .map(|heading| Aspect {
            asked: true,
            ..plain(&heading, &heading)
        })
        .collect()
}
