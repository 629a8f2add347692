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
