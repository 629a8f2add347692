//! What the commits that led to a workspace say of a symptom: which files commits with like words changed, and how lately
//! each file changed. Pure.

use std::collections::HashMap;

use super::scan::{Counter, Counts};
use super::score::bm25;
use super::symptom::Symptom;
use crate::History;

/// Commits that are compared most closely.
const SIMILAR_MAX: usize = 30;
/// A commit that changed more files says little about each of them.
const FILES_MAX: usize = 60;
/// Age, in commits, at which a change counts half.
const HALF_LIFE_COMMITS: f64 = 15.0;

/// What is known of one file; each number compares with those of the other files only.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Past {
    /// Likeness of the words of all commits that changed it.
    pub subjects: f64,
    /// Likeness of the single commits that changed it.
    pub similar: f64,
    /// Commits that changed it, newer ones and those that changed little else counting more.
    pub recent: f64,
}

/// What the history says of each path.
pub fn past(history: &History, symptom: &Symptom) -> HashMap<String, Past> {
    let counter = Counter::new(symptom);
    let weights = symptom.term_weights();
    let commits: Vec<_> = history.commits.iter().filter(|commit| !commit.merge).collect();
    let counts: Vec<Counts> = commits
        .iter()
        .map(|commit| {
            let mut counts = Counts::default();
            counter.count(&commit.subject, &mut counts);
            counter.count(&commit.body, &mut counts);
            counts
        })
        .collect();
    let likeness = bm25(&counts.iter().collect::<Vec<_>>(), &weights, |counts| &counts.exact);
    let mut out: HashMap<String, Past> = HashMap::new();
    let mut words: HashMap<&str, Counts> = HashMap::new();
    for (age, commit) in commits.iter().enumerate() {
        let weight = 0.5_f64.powf(age as f64 / HALF_LIFE_COMMITS);
        for change in &commit.files {
            let past = out.entry(change.path.clone()).or_default();
            past.recent += weight / (commit.files.len() as f64).sqrt();
            if commit.files.len() <= FILES_MAX {
                words.entry(&change.path).or_default().add(&counts[age]);
            }
        }
    }
    let mut nearest: Vec<usize> = (0..commits.len()).filter(|at| likeness[*at] > 0.0).collect();
    nearest.sort_by(|a, b| likeness[*b].total_cmp(&likeness[*a]).then(a.cmp(b)));
    for at in nearest.into_iter().take(SIMILAR_MAX) {
        for change in commits[at].files.iter().take(FILES_MAX) {
            let past = out.entry(change.path.clone()).or_default();
            past.similar += likeness[at] / (commits[at].files.len() as f64).sqrt();
        }
    }
    let mut paths: Vec<(&str, Counts)> = words.into_iter().collect();
    paths.sort_by(|a, b| a.0.cmp(b.0));
    let subjects = bm25(
        &paths.iter().map(|(_, counts)| counts).collect::<Vec<_>>(),
        &weights,
        |counts| &counts.exact,
    );
    for ((path, _), subjects) in paths.iter().zip(subjects) {
        out.entry((*path).to_owned()).or_default().subjects = subjects;
    }
    out
}
