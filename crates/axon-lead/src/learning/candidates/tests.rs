//! When a strategy is generated, promoted and dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use axon_memory::mine;
use axon_protocol::Episode;
use serde_json::json;

use super::*;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

fn episode(minute: i64, strategy: &str, success: bool) -> Arc<Episode> {
    let value = json!({
        "query_id": format!("q{minute}"), "query": "Review how the cache evicts", "strategy": strategy,
        "leaning": (strategy != "code_review").then_some("code_review"), "complexity": "medium", "shape": "single",
        "tasks": 4, "workers": 4, "status": "complete", "stop_reason": "finished", "success": success, "duration_ms": 1.0,
        "at": at(minute), "yields": [{"aspect": "limits", "findings": 0}, {"aspect": "structure", "findings": 2}],
    });
    Arc::new(serde_json::from_value(value).expect("an episode"))
}

/// Reviews that succeed half of the time, and what `others` did, in turn.
fn corpus(others: &[(&str, bool)]) -> Corpus {
    let reviews = (0..40).map(|minute| episode(minute * 2, "code_review", minute % 2 == 0));
    let rest = others
        .iter()
        .zip(0..)
        .map(|((strategy, success), index)| episode(index * 2 + 1, strategy, *success));
    Corpus::new(reviews.chain(rest), &BTreeSet::new())
}

fn after(corpus: &Corpus, definitions: &BTreeMap<String, StrategyDefinition>, now: DateTime<Utc>) -> Vec<Change> {
    let library = Library::builtin().expect("sound").with_overrides(definitions.values());
    let known = Known {
        corpus,
        library: &library,
        definitions,
    };
    changes(&known, &mine(corpus, now), now)
}

fn defined(changes: &[Change]) -> &StrategyDefinition {
    match changes {
        [Change::Define { definition, .. }] => definition,
        other => panic!("one definition: {other:#?}"),
    }
}

#[test]
fn a_kind_that_does_better_in_another_way_gets_a_candidate_which_results_promote_or_drop() {
    let better = corpus(&[("research", true); 20]);
    let now = at(100);
    let changes = after(&better, &BTreeMap::new(), now);
    let candidate = defined(&changes).clone();
    assert_eq!((candidate.stage, candidate.playbook()), (Stage::Candidate, "research"));
    assert!(
        Library::builtin()
            .expect("sound")
            .with_overrides([&candidate])
            .rejected()
            .is_empty(),
        "{candidate:#?}"
    );
    assert!(
        candidate
            .keywords
            .iter()
            .all(|word| "review cache evict".contains(word.as_str())),
        "{candidate:#?}"
    );
    let aspects: Vec<&str> = candidate
        .templates
        .iter()
        .map(|template| template.aspect.as_str())
        .collect();
    assert!(
        aspects.contains(&"structure") && !aspects.contains(&"limits"),
        "{aspects:?}"
    );

    let name = candidate.name.clone();
    let definitions = BTreeMap::from([(name.clone(), candidate.clone())]);
    assert_eq!(
        after(&better, &definitions, now),
        [],
        "it is generated once, and nothing is known of it yet"
    );
    for (results, days, stage) in [
        (vec![(name.as_str(), true); 10], 0, Some(Stage::Trusted)),
        (vec![(name.as_str(), true); 3], 0, None),
        (vec![(name.as_str(), false); 10], 0, Some(Stage::Dropped)),
        (vec![(name.as_str(), true); 3], 31, Some(Stage::Dropped)),
    ] {
        let changes = after(&corpus(&results), &definitions, now + TimeDelta::days(days));
        let changed = changes.iter().find_map(|change| match change {
            Change::Define { definition, .. } if definition.name == name => Some(definition.stage),
            _ => None,
        });
        assert_eq!(changed, stage, "{results:?} after {days} days");
    }

    let mut dropped = candidate;
    dropped.stage = Stage::Dropped;
    let definitions = BTreeMap::from([(name.clone(), dropped)]);
    assert_eq!(
        after(&better, &definitions, now),
        [],
        "what was dropped is not generated again"
    );
    let later = after(&better, &definitions, now + TimeDelta::days(91));
    assert!(
        matches!(&later[..], [Change::Delete { name: deleted, .. }] if *deleted == name),
        "{later:?}"
    );

    let forgotten = corpus(&[]);
    let deleted = after(&forgotten, &definitions, now);
    assert!(
        matches!(&deleted[..], [Change::Delete { name: deleted, .. }] if *deleted == name),
        "its words are those of queries that are forgotten: {deleted:?}"
    );
}

#[test]
fn the_same_words_in_another_order_name_the_same_strategy_and_those_of_a_dropped_one_make_none() {
    let when = |words: &[&str]| QueryKind {
        words: words.iter().map(ToString::to_string).collect(),
        ..QueryKind::default()
    };
    assert_eq!(
        name_of(&when(&["cache", "evict"]), "research"),
        name_of(&when(&["evict", "cache"]), "research")
    );

    // Told by one word of what it was told by before.
    let better = corpus(&[("research", true); 20]);
    let changes = after(&better, &BTreeMap::new(), at(100));
    let mut dropped = defined(&changes).clone();
    dropped.stage = Stage::Dropped;
    dropped.name = "for_another_name".to_owned();
    if let Some(from) = &mut dropped.learnt_from {
        from.when.words.truncate(1);
    }
    let definitions = BTreeMap::from([(dropped.name.clone(), dropped)]);
    assert_eq!(after(&better, &definitions, at(100)), []);
}

#[test]
fn what_does_no_better_gets_none() {
    for others in [vec![], vec![("research", true); 4], vec![("research", false); 20]] {
        assert_eq!(after(&corpus(&others), &BTreeMap::new(), at(100)), [], "{others:?}");
    }
}
