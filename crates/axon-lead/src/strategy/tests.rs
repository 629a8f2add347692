//! Which strategy is chosen for which question, and what experience changes of it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axon_protocol::{Capability, Recalled, StrategyStatistics};

use super::experience::remembered;
use super::*;
use crate::analysis::analyze;
use crate::view::samples::repository;

fn library() -> Library {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::builtin().expect("built-in strategies are sound"));
    LIBRARY.clone()
}

fn select(text: &str, statistics: &BTreeMap<String, StrategyStatistics>) -> SelectedStrategy {
    let query = Query::new(text);
    let library = library();
    let analysis = analyze(&query, Some(&repository()), library.vocabulary());
    let experience = Experience {
        statistics: Some(statistics),
        min_applications: 5,
        ..Experience::default()
    };
    library.select(&analysis, &query, &experience)
}

fn check(text: &str, expected: &str) {
    let selected = select(text, &BTreeMap::new());
    assert_eq!(selected.name, expected, "{text}\n{selected:#?}");
    assert!(!selected.reasons.is_empty() && selected.others.len() == 7);
    assert!(selected.others.iter().all(|(_, score)| *score <= selected.score));
}

#[test]
fn each_kind_of_question_finds_its_strategy() {
    check("Review this repository for panics and unhandled errors", "code_review");
    check("Please audit crates/bus for security problems", "code_review");
    check("Do a code review of src/lib.rs", "code_review");
    check("Check the worker for race conditions and deadlocks", "code_review");
    check(
        "Are there code smells in the lead crate? Find risky patterns.",
        "code_review",
    );
    check("Which panics can src/main.rs reach?", "code_review");
    check("What unhandled errors are in the parser?", "code_review");
    check(
        "What panics when I run the parser on an empty file?",
        "bug_investigation",
    );
    check("Why does `parse_header` fail on empty input?", "bug_investigation");
    check(
        "Investigate the crash in the worker after a reconnect",
        "bug_investigation",
    );
    check("axon ask hangs when the server restarts", "bug_investigation");
    check(
        "I get \"error 10071: wrong last sequence\" when publishing",
        "bug_investigation",
    );
    check(
        "Which change causes the timeout in the fleet test?",
        "bug_investigation",
    );
    check(
        "thread 'main' panicked: advance out of bounds: the len is 3 but advancing by 5",
        "bug_investigation",
    );
    check("What is the root cause of the duplicate answers?", "bug_investigation");
    check("How does a worker renew its lease?", "research");
    check("Explain the architecture of this project", "research");
    check("Compare the two cache designs in docs/", "comparison");
    check("Where are plans stored?", "research");
    check("Why was NATS chosen instead of Kafka?", "research");
    check("Why does `publish` print \"stream is full\"?", "bug_investigation");
    check(
        "Why does a command with a flag that takes an optional value swallow the next positional argument?",
        "bug_investigation",
    );
    check(
        "Why are rows duplicated after a restart of the importer?",
        "bug_investigation",
    );
    check("1. Locate the retry logic\n2. Describe its backoff", "research");
    check("Summarize docs/protocol.md", "research");
    check("Write a haiku about tokio", "general");
    check("Add a flag --verbose to the command line", "code_generation");
    check("Implement a rate limiter for the API", "code_generation");
    check(
        "we need a endpoint which is giving back the open tasks",
        "code_generation",
    );
    check("Rename Bus to Transport", "refactoring");
    check("Should we rename `WorkspaceView` to `Manifest`?", "refactoring");
    check("How can we simplify the state machine of the lead?", "refactoring");
    check(
        "How could the redirect handling in sessions.py be simplified?",
        "refactoring",
    );
    check(
        "Refactor crates/bus/src/publish.rs, it has become too long",
        "refactoring",
    );
    check("Extract the retry logic into its own module", "refactoring");
    check("Write unit tests for the tokenizer", "testing");
    check("Which public functions of the bus are untested?", "testing");
    check("Are our tests any good? Some of them seem flaky", "testing");
    check("What is not covered by tests in crates/lead", "testing");
    check("Should we use tokio or smol for the worker?", "comparison");
    check("LRU vs clock cache, which one is better for us", "comparison");
    check("How does the lead differ from the worker?", "comparison");
}

#[test]
fn success_moves_the_choice_only_once_there_is_experience() {
    let text = "Describe the errors of the bus and review them";
    let before = select(text, &BTreeMap::new());
    let runner_up = before.others[0].0.clone();
    let statistics = |applications, successes| StrategyStatistics {
        applications,
        successes,
        ..StrategyStatistics::default()
    };
    let bad = |applications| {
        BTreeMap::from([
            (before.name.clone(), statistics(applications, 0)),
            (runner_up.clone(), statistics(applications, applications)),
        ])
    };
    let early = select(text, &bad(4));
    assert_eq!((early.name.as_str(), early.score), (before.name.as_str(), before.score));
    let late = select(text, &bad(5));
    let score_of = |selected: &SelectedStrategy, name: &str| {
        if selected.name == name {
            selected.score
        } else {
            selected
                .others
                .iter()
                .find(|(other, _)| other == name)
                .map_or(0.0, |(_, score)| *score)
        }
    };
    assert!((score_of(&late, &before.name) - 0.8 * before.score).abs() < 0.01);
    assert!((score_of(&late, &runner_up) - 1.2 * before.others[0].1).abs() < 0.01);
}

#[test]
fn definitions_from_outside_replace_and_add() {
    let mut review = library().get("code_review").expect("built in").clone();
    review.description = "our own".to_owned();
    let own = StrategyDefinition {
        name: "licences".to_owned(),
        patterns: vec!["licen[cs]e".to_owned()],
        keywords: vec!["license".to_owned()],
        ..review.clone()
    };
    let broken = StrategyDefinition {
        name: "broken".to_owned(),
        patterns: vec!["(".to_owned()],
        ..review.clone()
    };
    let library = library().with_overrides(&[review, own, broken]);
    let errors = library.rejected();
    assert_eq!(
        library.get("code_review").map(|found| found.description.as_str()),
        Some("our own")
    );
    assert_eq!(library.definitions().count(), 9);
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .to_string()
            .contains("`broken` cannot be used: a pattern is no regular expression")
    );
    let query = Query::new("Which license has each file?");
    let selected = library.select(
        &analyze(&query, None, library.vocabulary()),
        &query,
        &Experience::default(),
    );
    assert_eq!(selected.name, "licences", "{selected:#?}");
}

#[test]
fn what_became_of_similar_queries_moves_the_choice() {
    let recalled = |strategy: &str, success: bool, score: f64| Recalled {
        query_id: axon_protocol::QueryId::from_sequence(1),
        query: "like it".to_owned(),
        strategy: strategy.to_owned(),
        status: axon_protocol::AnswerStatus::Complete,
        success,
        similarity: score,
        score,
        same_workspace: false,
        summary: String::new(),
        places: Vec::new(),
        duration_ms: 1.0,
        at: chrono::DateTime::UNIX_EPOCH,
    };
    for (memory, expected) in [
        (vec![], None),
        (vec![recalled("research", true, 0.0)], None),
        (vec![recalled("testing", true, 1.0)], None),
        (
            vec![recalled("research", true, 1.0)],
            Some("1 of 1 similar queries succeeded with it (×1.15)"),
        ),
        (
            vec![recalled("research", true, 0.5)],
            Some("1 of 1 similar queries succeeded with it (×1.07)"),
        ),
        (
            vec![recalled("research", false, 1.0)],
            Some("0 of 1 similar queries succeeded with it (×0.85)"),
        ),
        (
            vec![recalled("research", true, 0.5), recalled("research", false, 0.5)],
            Some("1 of 2 similar queries succeeded with it (×1.00)"),
        ),
        (
            vec![recalled("research", true, 1.0), recalled("research", true, 1.0)],
            Some("2 of 2 similar queries succeeded with it (×1.15)"),
        ),
    ] {
        assert_eq!(
            remembered("research", &memory).map(|(_, reason)| reason).as_deref(),
            expected
        );
    }
    // Words speak for two strategies, and experience decides between them.
    let text = "Explain how the cache works and why it is slow";
    let query = Query::new(text);
    let library = library();
    let analysis = analyze(&query, Some(&repository()), library.vocabulary());
    let score = |name: &str, memory: &[Recalled]| {
        let selected = library.select(
            &analysis,
            &query,
            &Experience {
                recalled: memory,
                ..Experience::default()
            },
        );
        let others = selected.others.into_iter().chain([(selected.name, selected.score)]);
        others
            .into_iter()
            .find(|(other, _)| other == name)
            .map(|(_, score)| score)
    };
    let failed = [recalled("research", false, 1.0)];
    assert!(score("research", &failed) < score("research", &[]));
}

#[test]
fn broken_definitions_are_named_with_the_reason() {
    let good = library().get("research").expect("built in").clone();
    let check = |change: &dyn Fn(&mut StrategyDefinition), expected: &str| {
        let mut definition = good.clone();
        change(&mut definition);
        let library = library().with_overrides([&definition]);
        let errors = library.rejected();
        assert!(
            errors.first().is_some_and(|error| error.problem.contains(expected)),
            "{expected}: {errors:?}"
        );
    };
    check(&|d| d.name = "Own Name".to_owned(), "lower-case");
    check(&|d| d.capabilities.clear(), "no capability");
    check(&|d| d.templates.clear(), "no template");
    check(&|d| d.templates[0].objective.clear(), "no objective");
    check(&|d| d.templates[0].allowed_tools.clear(), "allows no tool");
    check(&|d| d.priority = 0, "priority 0");
}

#[test]
fn built_in_templates_are_whole() {
    for definition in library().definitions() {
        let name = &definition.name;
        assert!(definition.templates.len() >= 5, "{name}");
        assert_eq!(
            definition.templates.iter().filter(|t| t.aspect == ANY_ASPECT).count(),
            1,
            "{name}"
        );
        for template in &definition.templates {
            let objective = &template.objective;
            assert!(
                objective.contains("{scope}") && objective.contains("{query}"),
                "{name}: {objective}"
            );
            assert!(
                objective.ends_with('.') && objective.matches(". ").count() == 0,
                "one sentence: {objective}"
            );
            assert!(
                !template.constraints.is_empty() && !template.key_questions.is_empty(),
                "{name}: {}",
                template.aspect
            );
            assert!(
                template
                    .allowed_tools
                    .iter()
                    .all(|tool| tool.starts_with("code.") || tool.starts_with("git.")),
                "{name}"
            );
        }
    }
    let of = |name: &str| {
        library()
            .get(name)
            .map(|found| found.capabilities.clone())
            .unwrap_or_default()
    };
    assert_eq!(of("general"), [Capability::new("CodeAnalysis").expect("a capability")]);
    assert_eq!(
        of("code_review"),
        [Capability::new("CodeReview").expect("a capability")]
    );
}

/// A question that reads like a review, and for which research scores half as high.
const MIXED: &str = "Where could the cache panic?";

fn trial(lot: f64, choice: f64) -> Trial {
    Trial {
        share: 0.1,
        lot,
        choice,
    }
}

#[test]
fn something_else_is_tried_on_its_share_of_queries_once_there_is_something_to_compare_with() {
    let applied = |count: u64| {
        let mut statistics = StrategyStatistics::default();
        (0..count).for_each(|index| statistics.record(index % 2 == 0, 1, 0.0, 1.0));
        BTreeMap::from([("code_review".to_owned(), statistics)])
    };
    let query = Query::new(MIXED);
    let library = library();
    let analysis = analyze(&query, Some(&repository()), library.vocabulary());
    for (count, trial, expected) in [
        (10, Some(trial(0.05, 0.0)), "research"),
        (10, Some(trial(0.15, 0.0)), "code_review"),
        (10, None, "code_review"),
        (4, Some(trial(0.05, 0.0)), "code_review"),
    ] {
        let statistics = applied(count);
        let experience = Experience {
            statistics: Some(&statistics),
            min_applications: 5,
            trial,
            ..Experience::default()
        };
        let selected = library.select(&analysis, &query, &experience);
        assert_eq!(selected.name, expected, "{count} {trial:?} {selected:#?}");
        assert_eq!(selected.trial, expected == "research");
        assert_eq!(
            selected.leaning.as_deref(),
            (expected == "research").then_some("code_review")
        );
    }
}

#[test]
fn a_query_always_draws_the_same_and_many_draw_evenly() {
    let of = |number: u64| Trial::of(&axon_protocol::QueryId::from_sequence(1_700_000_000_000 + number), 0.1);
    assert_eq!(of(1), of(1));
    let drawn: Vec<Trial> = (0..2000).map(of).collect();
    for part in [
        drawn.iter().map(|one| one.lot).collect::<Vec<_>>(),
        drawn.iter().map(|one| one.choice).collect(),
    ] {
        let low = part.iter().filter(|one| **one < 0.1).count();
        assert!(
            (150..250).contains(&low) && part.iter().all(|one| (0.0..1.0).contains(one)),
            "{low} of 2000"
        );
    }
}

#[test]
fn a_pattern_moves_the_choice_where_the_query_reads_like_its_kind() {
    let pattern = |leaning: &str, confidence| axon_protocol::Pattern {
        when: QueryKind {
            leaning: Some(leaning.to_owned()),
            ..QueryKind::default()
        },
        along: Vec::new(),
        lesson: axon_protocol::Lesson::Strategy {
            follow: "research".to_owned(),
            instead_of: leaning.to_owned(),
        },
        support: 10.0,
        rate: 0.9,
        confidence,
        compared: 0.5,
        compared_with: format!("with {leaning}"),
        at: chrono::DateTime::UNIX_EPOCH,
    };
    let query = Query::new(MIXED);
    let library = library();
    let analysis = analyze(&query, Some(&repository()), library.vocabulary());
    for (pattern, expected) in [
        (pattern("code_review", 0.8), "research"),
        (pattern("code_review", 0.55), "code_review"),
        (pattern("testing", 0.8), "code_review"),
    ] {
        let experience = Experience {
            patterns: std::slice::from_ref(&pattern),
            ..Experience::default()
        };
        let selected = library.select(&analysis, &query, &experience);
        assert_eq!(selected.name, expected, "{pattern} {selected:#?}");
    }
}
