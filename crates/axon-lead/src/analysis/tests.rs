//! Requests of many kinds, with what the analysis should make of them.

use std::sync::LazyLock;

use axon_protocol::{Complexity, Query, Shape};

use super::*;
use crate::strategy::Library;
use crate::view::samples::{repository, view};

/// The analysis with the words of the built-in strategies.
fn analyzed(query: &Query, view: Option<&WorkspaceView>) -> Analysis {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::builtin().expect("sound"));
    analyze(query, view, LIBRARY.vocabulary())
}

use Complexity::{Complex, Medium, Simple};
use Shape::{Chain, FanOut, Graph, Single};

fn check(source: &str, complexity: Complexity, shape: Shape) {
    let analysis = analyzed(&Query::new(source), Some(&repository()));
    assert_eq!(
        (analysis.complexity, analysis.shape),
        (complexity, shape),
        "{source}\n{analysis:#?}"
    );
    assert!(
        !analysis.complexity_reasons.is_empty() && !analysis.shape_reasons.is_empty(),
        "{source}"
    );
}

#[test]
fn questions_about_one_thing_are_simple() {
    check("Why does `parse_header` fail on empty input?", Simple, Single);
    check("What does this project do?", Simple, Single);
    check("Where are dead letters written?", Simple, Single);
    check("Explain crates/bus/src/topology.rs", Simple, Single);
    check("Review crates/lead/src/state.rs", Simple, Single);
    check("Is there a limit on the size of a query?", Simple, Single);
    check("How does a worker renew its lease?", Simple, Single);
    check(
        "I get \"error 10071: wrong last sequence\" when publishing. What does it mean?",
        Simple,
        Single,
    );
    check("List the environment variables that are read.", Simple, Single);
    check("How is a workspace packed and cached?", Simple, Single);
    check("Who calls Bus::connect()?", Simple, Single);
}

#[test]
fn independent_parts_fan_out() {
    check("Review this repository for panics and unhandled errors", Medium, FanOut);
    check("Compare the two cache designs in docs/", Medium, FanOut);
    check(
        "Check security, performance and test coverage of the bus crate",
        Medium,
        FanOut,
    );
    check(
        "Compare crates/lead and crates/worker in terms of error handling",
        Medium,
        FanOut,
    );
    check(
        "Audit the whole repository for security, concurrency, error handling and performance",
        Complex,
        FanOut,
    );
    check(
        "Do a comprehensive review of the entire codebase: architecture, error handling, security, tests",
        Complex,
        FanOut,
    );
    check(
        "Find every place in the codebase where an error is swallowed",
        Medium,
        FanOut,
    );
    check(
        "Describe the bus crate, review the cli crate, and document the protocol crate.",
        Medium,
        FanOut,
    );
    check(
        "What is the difference between the LRU cache and the clock cache?",
        Medium,
        FanOut,
    );
}

#[test]
fn steps_in_order_are_chains() {
    check(
        "Find the slowest function and then explain why it is slow",
        Simple,
        Chain,
    );
    check(
        "First list the public functions of the bus, then rank them by length, and finally suggest which to split",
        Medium,
        Chain,
    );
    check(
        "1. Locate the retry logic\n2. Describe its backoff\n3. Based on that, propose a test",
        Medium,
        Chain,
    );
    check(
        "Extract the text from 'scan.png', translate it into German, then read the translation aloud",
        Medium,
        Chain,
    );
    check(
        "After collecting all error types, group them by crate and report the groups",
        Medium,
        Chain,
    );
    check(
        "I'd like to summarize the attached article and turn the summary into a podcast script",
        Simple,
        Chain,
    );
}

#[test]
fn parts_that_meet_are_graphs() {
    check(
        "Transcribe 'talk.wav', describe 'slide.png', and combine both into one report",
        Medium,
        Graph,
    );
    check(
        "Map the modules of the lead, list the modules of the worker, then compare the two results",
        Medium,
        Graph,
    );
    check(
        "Measure the latency in bench.csv, read the limits in limits.yaml and, using the results, decide together which limits are too low. Also count the rows.",
        Medium,
        Graph,
    );
}

fn check_warning(source: &str, expected: &str) {
    let analysis = analyzed(&Query::new(source), Some(&repository()));
    match expected {
        "" => assert_eq!(analysis.warnings, Vec::<String>::new(), "{source}"),
        _ => assert!(
            analysis.warnings.iter().any(|text| text.contains(expected)),
            "{source}: {:?}",
            analysis.warnings
        ),
    }
}

#[test]
fn what_is_unclear_is_said() {
    check_warning("Fix it", "vague");
    check_warning("it is slow", "vague");
    check_warning("make this better please", "vague");
    check_warning("make it faster", "vague");
    check_warning("Is the code good?", "vague");
    check_warning("Something is wrong", "vague");
    check_warning(
        "What is the capital of France? How do leases expire?",
        "2 unrelated questions",
    );
    check_warning("Why does a lease never end, and how is the jitter computed?", "");
    check_warning("How do leases expire? Who renews a lease?", "");
    check_warning("What is a route? Where is it stored?", "");
    check_warning("Review this repository", "");
    check_warning("What does this repository do?", "");
    check_warning("Review src/nothing_here.rs", "not in the workspace");
    check_warning("Where is the retry budget spent?", "");
}

#[test]
fn the_size_of_the_scope_counts() {
    let files: Vec<(String, u64)> = (0..900)
        .map(|index| (format!("src/m{}/f{index}.rs", index % 30), 4_000))
        .collect();
    let large = view(
        &files
            .iter()
            .map(|(path, bytes)| (path.as_str(), *bytes))
            .collect::<Vec<_>>(),
    );
    let query = Query::new("Review this repository for panics and unhandled errors");
    assert_eq!(analyzed(&query, Some(&large)).complexity, Complex);
    assert_eq!(analyzed(&query, None).complexity, Medium);
    let narrow = Query::new("Review src/m1/f1.rs for panics");
    assert_eq!(analyzed(&narrow, Some(&large)).complexity, Simple);
}

#[test]
fn names_are_found() {
    let analysis = analyzed(
        &Query::new("Why does `publish` in crates/bus print \"stream is full\" when DeadLetter::retry() runs?"),
        Some(&repository()),
    );
    assert_eq!(analysis.symbols, ["publish", "DeadLetter::retry"]);
    assert_eq!(analysis.paths, ["crates/bus"]);
    assert_eq!(analysis.quotes, ["stream is full"]);
    assert!(
        !analysis.keywords.contains(&"does".to_owned()),
        "{:?}",
        analysis.keywords
    );
}

#[test]
fn odd_requests_do_no_harm() {
    let long = "Check it. ".repeat(6_000);
    for source in [
        "?",
        "…",
        "a",
        "🦀🦀",
        "\n\n- \n- x",
        "and then and then",
        "to to to to",
        "compare vs and or",
        &long,
    ] {
        let analysis = analyzed(&Query::new(source), Some(&repository()));
        assert!(!analysis.shape_reasons.is_empty());
    }
}
