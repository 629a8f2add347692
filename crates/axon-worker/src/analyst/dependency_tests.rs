//! What playbooks say of the dependencies of a workspace.

use super::tests::{Bench, claims, plain, task};
use serde_json::json;

const FILES: &[(&str, &str)] = &[
    (
        "server/Cargo.toml",
        "[package]\nname = \"server\"\n\n[dependencies]\nserde = \"1.0.200\"\ntokio = \"*\"\nshared = { path = \"../shared\" }\n\n[dev-dependencies]\nproptest = \"1\"\n",
    ),
    (
        "client/Cargo.toml",
        "[package]\nname = \"client\"\n\n[dependencies]\nserde = \"1.0.200\"\nfancy = { git = \"https://example.org/fancy\" }\n",
    ),
    (
        "client/Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"syn\"\nversion = \"1.0.1\"\n\n[[package]]\nname = \"syn\"\nversion = \"2.0.3\"\n",
    ),
    ("server/src/lib.rs", "/// Serves.\npub fn serve() {}\n"),
    ("client/src/lib.rs", "/// Calls.\npub fn connect() {}\n"),
];

#[tokio::test]
async fn a_question_about_dependencies_is_answered_from_the_manifests() {
    let bench = Bench::of(FILES);
    let outcome = bench
        .run(&plain("research", "structure", "What does this project depend on?"))
        .await;
    let first = &outcome.findings[0];
    assert_eq!(
        first.claim,
        "3 dependencies of Cargo declared by 2 manifests: `fancy`, `serde` and `tokio`"
    );
    assert!(
        first.rationale.contains("`proptest`") && first.rationale.contains("`client/Cargo.lock` fixes"),
        "{}",
        first.rationale
    );
    assert_eq!((first.value, first.evidence.len()), (Some(3.0), 2));
    // Who asks for something else is not told of them.
    let outcome = bench.run(&plain("research", "structure", "What serves?")).await;
    assert!(
        !claims(&outcome.findings).iter().any(|claim| claim.contains("Cargo")),
        "{:?}",
        claims(&outcome.findings)
    );
}

#[tokio::test]
async fn a_review_warns_of_versions_that_nobody_fixed_and_of_doubled_packages() {
    let bench = Bench::of(FILES);
    let outcome = bench
        .run(&plain("code_review", "security", "Review the dependencies"))
        .await;
    let found = claims(&outcome.findings);
    for expected in [
        "`tokio` is taken without any bound on its version",
        "`fancy` is taken from a repository, at no fixed revision",
        "client/Cargo.lock` holds one package in several versions, such as `syn 1.0.1 and 2.0.3`",
    ] {
        assert!(
            found.iter().any(|claim| claim.contains(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[tokio::test]
async fn the_dependencies_of_two_parts_are_compared() {
    let bench = Bench::of(FILES);
    let task = task(
        "comparison",
        "result",
        "Compare the dependencies of server and client",
        |task| {
            task["delegation"]["context"] = json!({"subjects": ["server/", "client/"], "paths": ["server", "client"]});
        },
    );
    let outcome = bench.run(&task).await;
    let found = outcome
        .findings
        .iter()
        .find(|finding| finding.subject == "dependencies");
    let found = found.unwrap_or_else(|| panic!("{:?}", claims(&outcome.findings)));
    assert_eq!(found.claim, "“server/” depends on 3 packages and “client/” on 2");
    assert!(
        found.rationale.contains("only “client/” needs `fancy`") && found.rationale.contains("both need 1"),
        "{}",
        found.rationale
    );
}
