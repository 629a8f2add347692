//! The places of several rankings as one list, best first. Pure.

use std::collections::BTreeMap;

use axon_tools::code::{RankResult, Ranked, Role};
use axon_tools::{Kind, language_of};

use crate::analyst::Results;

/// Passages of one file, as long as others have some.
const PER_FILE_MAX: usize = 2;

/// A ranked place with its weight over all rankings.
pub struct Place {
    pub ranked: Ranked,
    pub weight: f64,
}

/// The places of several rankings, best first: texts for people before code, code before tests, and not all of one file.
pub fn places(ids: &[&str], results: &Results) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let files = results.get::<RankResult>("files").unwrap_or_default();
    let best_file = files.results.first().map_or(1.0, |first| first.score.max(f64::EPSILON));
    let by_file: BTreeMap<&str, f64> = files
        .results
        .iter()
        .map(|file| (file.path.as_str(), file.score / best_file))
        .collect();
    for id in ids {
        let Some(ranking) = results.get::<RankResult>(id) else {
            continue;
        };
        let best = ranking
            .results
            .first()
            .map_or(1.0, |first| first.score.max(f64::EPSILON));
        let terms = ranking.terms.len().max(1) as f64;
        for ranked in ranking.results {
            let covered = ranked.matched.len() as f64 / terms;
            let file = by_file.get(ranked.path.as_str()).copied().unwrap_or_default();
            let weight = (ranked.score / best + 0.35 * file) * (0.4 + 0.6 * covered) * kind_weight(&ranked);
            let overlaps = |known: &Place| {
                known.ranked.path == ranked.path
                    && known.ranked.line <= ranked.end_line
                    && ranked.line <= known.ranked.end_line
            };
            match places.iter_mut().find(|known| overlaps(known)) {
                Some(known) => known.weight = known.weight.max(weight),
                None => places.push(Place { ranked, weight }),
            }
        }
    }
    places.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then_with(|| (&a.ranked.path, a.ranked.line).cmp(&(&b.ranked.path, b.ranked.line)))
    });
    let mut per_file: BTreeMap<String, usize> = BTreeMap::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for place in places {
        let used = per_file.entry(place.ranked.path.clone()).or_default();
        *used += 1;
        if *used <= PER_FILE_MAX {
            first.push(place)
        } else {
            rest.push(place)
        }
    }
    first.extend(rest);
    first
}

fn kind_weight(ranked: &Ranked) -> f64 {
    let by_kind = match language_of(&ranked.path).kind {
        // What changed from version to version says less of what is there than what describes it.
        Kind::Docs if is_change_log(&ranked.path) => 0.6,
        Kind::Docs => 1.0,
        // The head of a file says what the file is for; other code without a name is imports and the like.
        Kind::Code if ranked.line == 1 && !ranked.name.is_empty() => 1.0,
        Kind::Code if ranked.name.is_empty() => 0.5,
        // One line says little, and ranks high for being short.
        Kind::Code if ranked.line == ranked.end_line => 0.55,
        Kind::Code => 0.85,
        Kind::Config => 0.6,
        Kind::Data => 0.3,
    };
    match ranked.role {
        Role::Library | Role::Entry => by_kind,
        Role::Example => by_kind * 0.8,
        Role::Test => by_kind * 0.6,
        Role::Foreign => 0.0,
    }
}

fn is_change_log(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split('.').next().unwrap_or(file).to_lowercase();
    matches!(
        stem.as_str(),
        "changelog" | "changes" | "history" | "news" | "releases" | "release_notes" | "release-notes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_counts_more_than_what_changed() {
        for (path, expected) in [
            ("CHANGELOG.md", 0.6),
            ("docs/Changes.rst", 0.6),
            ("docs/changing.md", 1.0),
            ("README.md", 1.0),
            ("src/history.rs", 0.85),
        ] {
            let ranked = Ranked {
                path: path.to_owned(),
                line: 3,
                end_line: 9,
                name: "a".to_owned(),
                score: 1.0,
                matched: Vec::new(),
                snippet: String::new(),
                snippet_line: 3,
                role: Role::Library,
            };
            assert_eq!(kind_weight(&ranked), expected, "{path}");
        }
    }
}
