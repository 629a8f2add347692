//! What is mined from which episodes, and what becomes of it in the bucket.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::{AnswerStatus, AspectYield, Episode, Lesson, QualityMetrics, QueryId, QueryKind, Trouble};

use super::*;
use crate::predictor::{HELD_BACK_PART, held_back};
use crate::recall::samples;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time") + TimeDelta::minutes(minutes)
}

fn episode(id: usize, query: &str, strategy: &str, success: bool) -> Episode {
    Episode {
        strategy: strategy.to_owned(),
        leaning: (strategy != "code_review").then(|| "code_review".to_owned()),
        complexity: Some(Complexity::Medium),
        shape: Some(Shape::Single),
        tasks: 4,
        success,
        quality: Some(QualityMetrics {
            coverage: 1.0,
            ..QualityMetrics::default()
        }),
        at: at(id as i64),
        ..samples::episode(&format!("q{id}"), query, 0)
    }
}

/// Queries about caches that code_review answers half of the time, research nearly always, among others.
fn caches() -> Vec<Episode> {
    let mut episodes = Vec::new();
    for id in 0..60 {
        let (query, strategy, success) = match id % 4 {
            0 => ("review the eviction of the cache", "code_review", id % 8 == 0),
            1 => ("review the eviction of the cache for panics", "research", id != 1),
            2 => ("review the parser", "code_review", true),
            _ => ("review the lexer", "research", id % 8 == 3),
        };
        episodes.push(episode(id, query, strategy, success));
    }
    episodes
}

fn mined(episodes: Vec<Episode>, now: DateTime<Utc>) -> Vec<Pattern> {
    mine(&Corpus::new(episodes.into_iter().map(Arc::new), &BTreeSet::new()), now)
}

fn lessons(episodes: Vec<Episode>) -> Vec<(Vec<String>, Lesson)> {
    let patterns = mined(episodes, at(60)).into_iter();
    patterns.map(|pattern| (pattern.when.words, pattern.lesson)).collect()
}

fn instead() -> Lesson {
    Lesson::Strategy {
        follow: "research".to_owned(),
        instead_of: "code_review".to_owned(),
    }
}

#[test]
fn a_strategy_that_does_better_for_a_kind_of_query_is_found_and_for_no_other() {
    let patterns = mined(caches(), at(60));
    let better: Vec<&Pattern> = patterns.iter().filter(|pattern| pattern.lesson == instead()).collect();
    let [one] = better[..] else {
        panic!("one pattern: {better:#?}")
    };
    assert_eq!(
        (one.when.words.as_slice(), one.along.as_slice()),
        (&["cache".to_owned()][..], &["eviction".to_owned()][..])
    );
    assert_eq!(one.when.leaning.as_deref(), Some("code_review"));
    assert!(
        one.rate > 0.9 && one.confidence > one.compared && one.compared < 0.6,
        "{one}"
    );
    let mut turned = caches();
    turned.reverse();
    assert_eq!(
        mined(turned, at(60)),
        patterns,
        "the order in which they come changes nothing"
    );
}

#[test]
fn too_little_and_too_old_evidence_says_nothing() {
    let few: Vec<Episode> = caches().into_iter().take(16).collect();
    assert!(!lessons(few).iter().any(|(_, lesson)| *lesson == instead()));
    let later = at(60) + TimeDelta::days(120);
    assert!(!mined(caches(), later).iter().any(|pattern| pattern.lesson == instead()));
    assert_eq!(mined(Vec::new(), at(0)), []);
}

#[test]
fn six_queries_that_are_new_are_enough_and_five_are_not() {
    for (queries, enough) in [(5, false), (6, true)] {
        let mut tally = Tally::default();
        (0..queries).for_each(|_| tally.add(true, 1.0));
        assert_eq!(tally.weight >= mine::SUPPORT_MIN, enough, "{queries}: {tally:?}");
    }
}

#[test]
fn what_the_rules_planned_too_small_says_nothing_of_its_strategy() {
    let mut episodes = caches();
    // As many queries as are held back among so many end incomplete.
    for id in 60..160 {
        let query = "review the eviction of the cache for panics";
        let one = episode(id, query, "research", false);
        if held_back(&one.query_id, HELD_BACK_PART) {
            episodes.push(Episode {
                status: AnswerStatus::Partial,
                ..one
            });
        }
    }
    assert!(episodes.len() > 75);
    assert!(lessons(episodes).iter().any(|(_, lesson)| *lesson == instead()));
}

#[test]
fn what_turns_bad_or_is_marked_bad_is_no_pattern_any_more() {
    let mut turned = caches();
    for id in 60..75 {
        turned.push(episode(id, "review the eviction of the cache", "research", false));
    }
    assert!(!lessons(turned).iter().any(|(_, lesson)| *lesson == instead()));
    let marked: BTreeSet<QueryId> = (1..60).step_by(4).map(QueryId::from_sequence).collect();
    let corpus = Corpus::new(caches().into_iter().map(Arc::new), &marked);
    assert!(!mine(&corpus, at(60)).iter().any(|pattern| pattern.lesson == instead()));
}

#[test]
fn tasks_aspects_tools_and_trouble_are_compared_with_the_others() {
    let strategy = || "research".to_owned();
    let mut episodes = Vec::new();
    for id in 0..40 {
        let mut one = episode(id, "explain the cache", "research", true);
        // One task contributes in most of them.
        one.quality = Some(QualityMetrics {
            coverage: 0.25,
            ..QualityMetrics::default()
        });
        let brought = |aspect: &str, findings| AspectYield {
            aspect: aspect.to_owned(),
            findings,
        };
        one.yields = vec![
            brought("structure", 3),
            brought("limits", 0),
            brought("usage", (id % 2) as u64),
        ];
        one.tools = BTreeMap::from([("code.search".to_owned(), 2)]);
        if id % 3 == 0 {
            one.tools.insert("code.rank".to_owned(), 1);
        }
        one.retries = u32::from(id % 2 == 0);
        episodes.push(one);
        episodes.push(episode(100 + id, "compare the queues", "comparison", id % 2 == 0));
    }
    for (id, success) in (200..240).map(|id| (id, true)) {
        let mut one = episode(id, "compare the queues", "comparison", success);
        one.tasks = 8;
        episodes.push(one);
    }
    let found: BTreeSet<Lesson> = lessons(episodes).into_iter().map(|(_, lesson)| lesson).collect();
    let barren = |aspect: &str| Lesson::Barren {
        strategy: strategy(),
        aspect: aspect.to_owned(),
    };
    let tool = |tool: &str| Lesson::Tool {
        strategy: strategy(),
        tool: tool.to_owned(),
    };
    let trouble = |trouble| Lesson::Trouble {
        strategy: strategy(),
        trouble,
    };
    let enough = |tasks| Lesson::Enough {
        strategy: strategy(),
        tasks,
    };
    let needed = Lesson::Needed {
        strategy: "comparison".to_owned(),
        tasks: 8,
    };
    let fruitful = Lesson::Fruitful {
        strategy: strategy(),
        aspect: "structure".to_owned(),
    };
    for (lesson, expected) in [
        (enough(1), true),
        (enough(2), false),
        (needed, true),
        (fruitful, true),
        (barren("limits"), true),
        (barren("usage"), false),
        (tool("code.search"), true),
        (tool("code.rank"), false),
        (trouble(Trouble::Retries), true),
        (trouble(Trouble::Conflicts), false),
    ] {
        assert_eq!(found.contains(&lesson), expected, "{lesson}: {found:#?}");
    }
}

#[test]
fn it_is_bounded_and_the_surest_come_first() {
    // 150 strategies, each of which another one outdoes.
    let episodes: Vec<Episode> = (0..3000)
        .map(|id| {
            let (usual, better) = (format!("s{}", id / 2 % 150), id % 2 == 0);
            let followed = if better {
                format!("better_than_{usual}")
            } else {
                usual.clone()
            };
            Episode {
                leaning: Some(usual),
                ..episode(id, &format!("about subject{}", id % 37), &followed, better)
            }
        })
        .collect();
    let patterns = mined(episodes, at(3000));
    assert_eq!(patterns.len(), PATTERNS_MAX);
    let sure = |pattern: &Pattern| (pattern.confidence - pattern.compared).abs() * pattern.support;
    assert!(patterns.is_sorted_by(|a, b| sure(a) >= sure(b)));
}

fn pattern(confidence: f64, compared: f64) -> Pattern {
    Pattern {
        when: QueryKind {
            words: vec!["cache".to_owned()],
            ..QueryKind::default()
        },
        along: Vec::new(),
        lesson: instead(),
        support: 10.0,
        rate: 0.9,
        confidence,
        compared,
        compared_with: String::new(),
        at: at(0),
    }
}

#[test]
fn a_pattern_is_written_when_it_changed_and_what_was_removed_stays_removed() {
    let record = |known_to, removed| PatternRecord {
        pattern: pattern(0.7, 0.5),
        known_to,
        removed,
    };
    let (known, now) = (at(10), at(20));
    for (name, current, confidence, known_to, now, written) in [
        ("new", None, 0.7, known, now, true),
        ("the same", Some(record(known, None)), 0.71, known, now, false),
        ("changed", Some(record(known, None)), 0.75, known, now, true),
        ("by who knows less", Some(record(known, None)), 0.75, at(9), now, false),
        ("removed", Some(record(known, Some(at(15)))), 0.75, known, now, false),
        (
            "removed, but much surer",
            Some(record(known, Some(at(15)))),
            0.95,
            known,
            now,
            true,
        ),
        (
            "removed long ago",
            Some(record(known, Some(at(15)))),
            0.7,
            known,
            now + TimeDelta::days(91),
            true,
        ),
    ] {
        let miner = Miner {
            evidence_to: at(8),
            known_to,
            now,
        };
        let settled = settled(current.as_ref(), &pattern(confidence, 0.5), miner);
        assert_eq!(settled.is_some(), written, "{name}");
        assert!(
            settled.is_none_or(|record| record.removed.is_none() && record.known_to == at(8)),
            "{name}"
        );
    }
    for (name, current, known_to, now, over) in [
        ("holds no more", record(known, None), known, now, true),
        ("for who knows less", record(known, None), at(9), now, false),
        ("a marker", record(known, Some(at(15))), known, now, false),
        (
            "an old marker",
            record(known, Some(at(15))),
            known,
            now + TimeDelta::days(91),
            true,
        ),
    ] {
        let miner = Miner {
            evidence_to: at(8),
            known_to,
            now,
        };
        assert_eq!(is_over(&current, miner), over, "{name}");
    }
}

#[test]
fn what_was_removed_does_not_come_back_by_other_words() {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let told_by = |when: &[&str], along: &[&str]| {
        let mut one = pattern(0.7, 0.5);
        (one.when.words, one.along) = (words(when), words(along));
        one
    };
    let book = |removed: &Pattern| PatternBook {
        records: BTreeMap::from([(
            removed.key(),
            PatternRecord {
                pattern: removed.clone(),
                known_to: at(0),
                removed: Some(at(1)),
            },
        )]),
    };
    let removed = book(&told_by(&["cache"], &["eviction"]));
    let mut barren = told_by(&["eviction"], &[]);
    barren.lesson = Lesson::Barren {
        strategy: "research".to_owned(),
        aspect: "limits".to_owned(),
    };
    let mut other_leaning = told_by(&["eviction"], &[]);
    other_leaning.when.leaning = Some("testing".to_owned());
    for (name, mined, is_removed) in [
        ("itself", told_by(&["cache"], &["eviction"]), true),
        ("by the word that went along", told_by(&["eviction"], &["cache"]), true),
        ("by both words", told_by(&["cache", "eviction"], &[]), true),
        ("of fewer queries", told_by(&["cache", "lru"], &[]), true),
        ("of other queries", told_by(&["parser"], &["lexer"]), false),
        ("of all queries", told_by(&[], &[]), false),
        ("another lesson", barren, false),
        ("of queries that read otherwise", other_leaning, false),
    ] {
        assert_eq!(removed.removal_of(&mined).is_some(), is_removed, "{name}");
    }
    let pair = book(&told_by(&["cache", "evict"], &[]));
    assert!(pair.removal_of(&told_by(&["cache"], &[])).is_some());
    assert!(
        pair.removal_of(&told_by(&["cache", "grow"], &[])).is_none(),
        "a kind of its own"
    );
}

#[test]
fn a_query_gets_the_patterns_in_force_of_its_kind() {
    let mut book = PatternBook::default();
    let mut add = |key: &str, when: QueryKind, removed| {
        let pattern = Pattern {
            when,
            ..pattern(0.7, 0.5)
        };
        let record = PatternRecord {
            pattern,
            known_to: at(0),
            removed,
        };
        book.apply(Entry {
            key: key.to_owned(),
            value: Some(record),
            revision: 1,
        });
    };
    let words = |words: &[&str]| QueryKind {
        words: words.iter().map(ToString::to_string).collect(),
        ..QueryKind::default()
    };
    add("cache", words(&["cache"]), None);
    add("both", words(&["cache", "evict"]), None);
    add("removed", words(&["cache"]), Some(at(0)));
    add(
        "chain",
        QueryKind {
            shape: Some(Shape::Chain),
            ..words(&["cache"])
        },
        None,
    );
    for (query, shape, expected) in [
        ("How do caches evict?", Shape::Single, 2),
        ("How do caches grow?", Shape::Single, 1),
        ("How do caches grow?", Shape::Chain, 2),
        ("How do queues grow?", Shape::Single, 0),
    ] {
        assert_eq!(
            book.matching(query, shape, Complexity::Medium).len(),
            expected,
            "{query}"
        );
    }
}
