//! Questions that name something: what occurs nowhere is said first, calls come before what is merely alike, and code
//! before prose.

use axon_protocol::Polarity;

use super::tests::{Bench, claims, plain};

const FILES: &[(&str, &str)] = &[
    (
        "CHANGELOG.md",
        "# Changes\n\n- No unsafe code is left in the parser.\n- The widget is called later; `open_widget` was defined twice.\n",
    ),
    (
        "src/widget.rs",
        "/// Opens a widget.\npub fn open_widget(name: &str) -> Widget {\n    Widget::of(name)\n}\n\n/// Opens a widget again.\npub fn reopen_widget(name: &str) -> Widget {\n    open_widget(name)\n}\n\npub fn called_widget() {}\n",
    ),
    (
        "src/quota.rs",
        "/// The first of some cells.\npub fn first(cells: &[u32]) -> u32 {\n    unsafe { *cells.get_unchecked(0) }\n}\n",
    ),
    (
        "src/main.rs",
        "use crate::widget::open_widget;\n\nfn main() {\n    let widget = open_widget(\"a\");\n    widget.show();\n}\n",
    ),
];

#[tokio::test]
async fn what_is_named_is_answered_word_for_word() {
    let bench = Bench::of(FILES);
    for (aspect, query, first, absent) in [
        (
            "answer",
            "Where is frobnicate_widget called?",
            "`frobnicate_widget` occurs nowhere in 4 files",
            true,
        ),
        (
            "passages",
            "Who uses `frobnicate_widget`?",
            "`frobnicate_widget` occurs nowhere in 4 files",
            true,
        ),
        (
            "answer",
            "What does Widget.frobnicate() return?",
            "`frobnicate` occurs nowhere in 4 files",
            true,
        ),
        (
            "answer",
            "Who calls open_widget?",
            "`open_widget` is called by `main` and `reopen_widget`, in 2 lines",
            false,
        ),
        (
            "usage",
            "Where is open_widget used?",
            "`open_widget` is called by `main` and `reopen_widget`, in 2 lines",
            false,
        ),
        (
            "answer",
            "Does widgets use unsafe code?",
            "Code holds `unsafe` in one line of one file: `src/quota.rs:3`",
            false,
        ),
        (
            "answer",
            "Are there any mutexes?",
            "No line of code holds `mutexes` in 4 files",
            true,
        ),
    ] {
        for playbook in ["research", "general"] {
            let outcome = bench.run(&plain(playbook, aspect, query)).await;
            let found = claims(&outcome.findings);
            assert_eq!(found.first().copied(), Some(first), "{query} ({playbook}): {found:#?}");
            assert_eq!(outcome.findings[0].polarity == Polarity::Negative, absent, "{query}");
            let speaks_of_verb = outcome
                .findings
                .iter()
                .any(|finding| finding.rationale.contains("`called`"));
            assert!(!speaks_of_verb, "{query}: {found:#?}");
        }
    }
}

#[tokio::test]
async fn a_question_about_an_absent_name_alone_gets_nothing_that_is_merely_alike() {
    let bench = Bench::of(FILES);
    for (playbook, aspect) in [
        ("research", "answer"),
        ("research", "structure"),
        ("general", "risks"),
        ("general", "answer"),
    ] {
        let outcome = bench
            .run(&plain(playbook, aspect, "Where is frobnicate_widget called?"))
            .await;
        assert_eq!(
            claims(&outcome.findings).len(),
            1,
            "{playbook} {aspect}: {:#?}",
            claims(&outcome.findings)
        );
    }
    // What else is asked is answered beside it.
    let outcome = bench
        .run(&plain("research", "answer", "Does frobnicate_widget open a parser?"))
        .await;
    assert!(outcome.findings.len() > 1, "{:#?}", claims(&outcome.findings));
}

#[tokio::test]
async fn a_failure_is_placed_by_its_message_and_what_occurs_nowhere_is_said_first() {
    let mut files = FILES.to_vec();
    files.push((
        "src/buffer.rs",
        "pub fn advance(buffer: &mut Buffer, count: usize) {\n    if buffer.len < count {\n        panic_advance(buffer.len, count);\n    }\n    buffer.advance(count);\n}\n\nfn panic_advance(len: usize, count: usize) -> ! {\n    panic!(\n        \"advance out of bounds: the len is {} but advancing by {}\",\n        len, count\n    );\n}\n",
    ));
    let bench = Bench::of(&files);
    let made = "`panic_advance` makes the message “advance out of bounds: the len is 3 but advancing by 5”";
    for (query, first, places) in [
        (
            "thread 'main' panicked: advance out of bounds: the len is 3 but advancing by 5",
            made,
            true,
        ),
        (
            "\"thread 'main' panicked: advance out of bounds: the len is 3 but advancing by 5\"",
            made,
            true,
        ),
        (
            "Why does Widget.frobnicate() fail with ValueError: bad widget?",
            "`frobnicate` occurs nowhere in 5 files",
            false,
        ),
        (
            "Why does `frobnicate_widget` crash?",
            "`frobnicate_widget` occurs nowhere in 5 files",
            false,
        ),
        (
            "Why does open_widget fail with \"no room for pears\"?",
            "The message “no room for pears” occurs nowhere in 5 files",
            true,
        ),
        (
            "It crashes at src/buffer.rs:7",
            "src/buffer.rs:7` holds no code: the line is empty",
            true,
        ),
        (
            "It crashes at src/buffer.rs:70",
            "src/buffer.rs:70` holds no code: the file ends at line 13",
            true,
        ),
    ] {
        let outcome = bench.run(&plain("bug_investigation", "cause", query)).await;
        let found = claims(&outcome.findings);
        assert!(
            found.first().is_some_and(|claim| claim.contains(first)),
            "{query}: {found:#?}"
        );
        let likeliest = found.iter().any(|claim| claim.contains("is the likeliest place"));
        assert_eq!(likeliest, places, "{query}: {found:#?}");
        let wrong = found.iter().any(|claim| claim.contains("around line 7"));
        assert!(!wrong, "{query}: {found:#?}");
    }
}

#[tokio::test]
async fn the_name_of_the_workspace_is_no_evidence() {
    let files = [
        ("Cargo.toml", "[package]\nname = \"warden\"\n"),
        (
            "CHANGELOG.md",
            "# Warden\n\n## Warden 2\n\n- Warden moves on.\n\n## Warden 1\n\n- Warden limits how often each of its callers may ask for something.\n",
        ),
        (
            "src/lib.rs",
            "/// Decides whether a request is allowed.\npub fn check(request: &Request) -> bool {\n    request.cost < LIMIT\n}\n",
        ),
    ];
    let bench = Bench::of(&files);
    let query = "How does warden decide whether a request is allowed?";
    let outcome = bench.run(&plain("research", "answer", query)).await;
    let found = claims(&outcome.findings);
    assert!(
        found
            .first()
            .is_some_and(|claim| claim.contains("Decides whether a request is allowed")),
        "{found:#?}"
    );
    assert!(
        outcome
            .findings
            .iter()
            .all(|finding| !finding.rationale.contains("`warden`")),
        "{found:#?}"
    );
    // What asks for nothing else is about the package.
    let outcome = bench.run(&plain("research", "answer", "What is warden?")).await;
    assert!(!outcome.findings.is_empty(), "{:#?}", outcome.notes);
}
