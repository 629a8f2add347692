//! The strategy that a query asks for by its name, whatever scores highest. Pure.

use axon_protocol::SelectedStrategy;

/// The selection with this strategy in front, one of those that are `known`; the error names them. One that is still a
/// candidate has no score of its own.
pub fn requested(best: SelectedStrategy, name: &str, known: &[&str]) -> Result<SelectedStrategy, String> {
    if best.name == name {
        let mut reasons = best.reasons;
        reasons.insert(0, "the query asks for it".to_owned());
        return Ok(SelectedStrategy { reasons, ..best });
    }
    if !known.contains(&name) {
        let mut known = known.to_vec();
        known.sort_unstable();
        return Err(format!(
            "There is no strategy `{name}`: ask for one of {}.",
            known.join(", ")
        ));
    }
    let reads_like = best.leaning.unwrap_or_else(|| best.name.clone());
    let mut others = best.others;
    let place = others.iter().position(|(other, _)| other == name);
    let score = place.map_or(0.0, |place| others.remove(place).1);
    let reason = format!(
        "the query asks for it, where {} scores highest ({})",
        best.name, best.score
    );
    // The others keep their order: the best of all comes first.
    others.insert(0, (best.name, best.score));
    Ok(SelectedStrategy {
        leaning: (name != reads_like).then_some(reads_like),
        name: name.to_owned(),
        score,
        reasons: vec![reason],
        others,
        trial: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Result<(&str, f64, &str, &[&str]), &str>) {
        let best = SelectedStrategy {
            name: "research".to_owned(),
            score: 1.5,
            reasons: vec!["1 pattern matches".to_owned()],
            others: vec![("testing".to_owned(), 0.9), ("general".to_owned(), 0.5)],
            leaning: None,
            trial: false,
        };
        match (
            requested(best, name, &["research", "testing", "general", "sharper"]),
            expected,
        ) {
            (Ok(selected), Ok((name, score, reason, others))) => {
                let names: Vec<&str> = selected.others.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!((selected.name.as_str(), selected.score), (name, score));
                assert_eq!(selected.reasons[0], reason);
                assert_eq!(names, others);
            }
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            (selected, expected) => panic!("{selected:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_query_gets_the_strategy_it_asks_for() {
        check(
            "research",
            Ok(("research", 1.5, "the query asks for it", &["testing", "general"])),
        );
        check(
            "general",
            Ok((
                "general",
                0.5,
                "the query asks for it, where research scores highest (1.5)",
                &["research", "testing"],
            )),
        );
        check(
            "sharper",
            Ok((
                "sharper",
                0.0,
                "the query asks for it, where research scores highest (1.5)",
                &["research", "testing", "general"],
            )),
        );
        check(
            "magic",
            Err("There is no strategy `magic`: ask for one of general, research, sharper, testing."),
        );
    }
}
