//! Which files of a scope bear the names that a question uses: where whoever works on it should look first. It knows
//! paths only, and bounds nothing.

use std::collections::{BTreeMap, BTreeSet};

use axon_tools::code::terms;

use crate::partition::Relevance;
use crate::view::{FileView, WorkspaceView, holds};

/// Files that are named.
const FILES_MAX: usize = 5;
/// A word that more files than this bear in their paths tells little by itself.
const BEARERS_MAX: usize = 12;
/// Part of the best score that a file must have.
const SHARE_MIN: f64 = 0.6;

/// The files of a workspace with the terms of their paths, taken apart once for all tasks of a plan.
pub(super) struct Paths<'a>(Vec<(&'a FileView, Vec<String>)>);

impl<'a> Paths<'a> {
    pub(super) fn of(view: &'a WorkspaceView) -> Self {
        Self(view.files.iter().map(|file| (file, terms(&file.path))).collect())
    }
}

/// The files whose paths bear most of the words, rarer words counting more; none where only common words fit.
pub(super) fn near(paths: &Paths<'_>, words: &[String], scope: &[String], relevance: Relevance) -> Vec<String> {
    let wanted: BTreeSet<String> = words.iter().flat_map(|word| terms(word)).collect();
    let files: Vec<(&str, BTreeSet<String>)> = paths
        .0
        .iter()
        .filter(|(file, _)| relevance.includes(file))
        .filter(|(file, _)| scope.is_empty() || scope.iter().any(|path| holds(path, &file.path)))
        .map(|(file, held)| {
            let borne = held.iter().filter(|term| wanted.contains(*term)).cloned();
            (file.path.as_str(), borne.collect())
        })
        .collect();
    let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, borne) in &files {
        for term in borne {
            *bearers.entry(term).or_default() += 1;
        }
    }
    // What most files of the scope bear is the name of the scope.
    bearers.retain(|_, count| *count * 2 <= files.len() || files.len() < 3);
    let weight = |term: &String| {
        let count = bearers.get(term.as_str()).copied();
        count.map_or(0.0, |count| ((files.len() + 1) as f64 / count as f64).ln())
    };
    let mut scored: Vec<(f64, &str)> = files
        .iter()
        .filter(|(_, borne)| {
            borne.iter().filter(|term| bearers.contains_key(term.as_str())).count() > 1
                || borne
                    .iter()
                    .any(|term| bearers.get(term.as_str()).is_some_and(|count| *count <= BEARERS_MAX))
        })
        .map(|(path, borne)| (borne.iter().map(weight).sum(), *path))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    scored
        .into_iter()
        .take_while(|(score, _)| *score >= best * SHARE_MIN)
        .take(FILES_MAX)
        .map(|(_, path)| path.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::view;

    #[test]
    fn files_that_bear_rare_words_come_first() {
        let mut files = vec![
            ("crates/notify/src/webhook.rs", 1),
            ("crates/notify/src/signature.rs", 1),
            ("docs/webhooks.md", 1),
            ("data/webhook.json", 1),
        ];
        let others: Vec<String> = (0..40).map(|index| format!("crates/parcel/src/f{index}.rs")).collect();
        files.extend(others.iter().map(|path| (path.as_str(), 1)));
        let view = view(&files);
        let check = |words: &[&str], scope: &[&str], expected: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
            assert_eq!(
                near(&Paths::of(&view), &own(words), &own(scope), Relevance::Text),
                expected,
                "{words:?}"
            );
        };
        check(
            &["webhooks", "signed", "signature"],
            &[],
            &[
                "crates/notify/src/signature.rs",
                "crates/notify/src/webhook.rs",
                "docs/webhooks.md",
            ],
        );
        check(&["webhook"], &["docs"], &["docs/webhooks.md"]);
        check(&["parcel"], &[], &[]);
        check(&["nothing"], &[], &[]);
    }
}
