//! Finds the key that a misspelt one was probably meant to be. Pure.

const DISTANCE_MAX: usize = 3;

/// The candidate nearest to `key`, if any is near: a few typing errors away, or of (nearly) the same last name elsewhere.
pub(super) fn nearest<'a>(key: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = DISTANCE_MAX.min(key.len() / 2);
    candidates
        .into_iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(key: &str, candidate: &str) -> usize {
    let whole = edits(key, candidate);
    match (key.rsplit_once('.'), candidate.rsplit_once('.')) {
        // The right name in the wrong section is further off than one typing error.
        (Some((_, name)), Some((_, other))) => whole.min(edits(name, other) + 2),
        _ => whole,
    }
}

/// Levenshtein distance in characters.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_probably_meant() {
        let keys = ["bus.url", "bus.namespace", "worker.slots", "worker.capabilities"];
        for (key, expected) in [
            ("bus.urll", Some("bus.url")),
            ("bus.name_space", Some("bus.namespace")),
            ("bus.slots", Some("worker.slots")),
            ("worker.slot", Some("worker.slots")),
            ("worker.colour", None),
            ("a.b", None),
        ] {
            assert_eq!(nearest(key, keys), expected, "{key}");
        }
    }

    #[test]
    fn counts_edits() {
        for (left, right, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("bus", "bsu", 2)] {
            assert_eq!(edits(left, right), expected, "{left} {right}");
        }
    }
}
