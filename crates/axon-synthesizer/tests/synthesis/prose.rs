//! What a model writes for a summary: only what the findings say stays, and it is cited and paid.

use axon_protocol::{Answer, StopReason, Usage};
use axon_synthesizer::{Prose, Sentence, SynthesizerConfig};

use crate::fixture::{answer, answer_by, finding, plan, result};

const CLAIM: &str = "`load` panics when the settings file is missing";

fn with(sentences: Result<Vec<(&str, &str)>, &str>) -> (Answer, Answer) {
    let plan = plan("code_review", &["panics"]);
    let results = [result(1, vec![finding("panics", CLAIM, "load", "src/settings.rs", 7)])];
    let plain = answer(&plan, &results, StopReason::Finished);
    let id = plain.findings().next().expect("a finding").id.clone();
    let sentences = sentences
        .map(|sentences| {
            let written = |(text, finding): (&str, &str)| Sentence {
                text: text.to_owned(),
                findings: vec![finding.replace("ID", &id)],
            };
            sentences.into_iter().map(written).collect()
        })
        .map_err(str::to_owned);
    let prose = Prose {
        model: "m (anthropic)".to_owned(),
        usage: Usage {
            tokens: 700,
            cents: 0.25,
            ..Usage::default()
        },
        sentences,
    };
    let config = SynthesizerConfig::default();
    let written = answer_by(&plan, &results, StopReason::Finished, &config, Some(&prose));
    (plain, written)
}

fn has_note(answer: &Answer, words: &str) -> bool {
    answer.notes.iter().any(|note| note.contains(words))
}

#[test]
fn sentences_that_their_findings_support_are_cited_and_the_others_are_left_out() {
    let (plain, written) = with(Ok(vec![
        ("The settings file may be missing, and then `load` panics.", "ID"),
        ("The whole code was audited by `Vendor` in 2019 and is safe.", "ID"),
        ("`load` panics when the settings file is missing.", "another"),
        ("`drop_file` panics when the settings file is missing.", "ID"),
    ]));
    assert!(
        written.summary.starts_with("The settings file may be missing"),
        "{}",
        written.summary
    );
    assert!(written.summary.contains("(`src/settings.rs:7`)"), "{}", written.summary);
    for invented in ["audited", "drop_file"] {
        assert!(!written.summary.contains(invented), "{}", written.summary);
    }
    assert!(
        written.summary.contains("1 finding in all"),
        "what is counted stays: {}",
        written.summary
    );
    assert!(
        has_note(&written, "3 sentences of the summary left out"),
        "{:?}",
        written.notes
    );
    assert!(has_note(&written, "written by m (anthropic)"));
    assert_eq!(written.usage.tokens, plain.usage.tokens + 700);
    assert!((written.usage.cents - plain.usage.cents - 0.25).abs() < 1e-9);
    assert_eq!(
        (written.aspects, written.recommendations),
        (plain.aspects, plain.recommendations)
    );
}

#[test]
fn without_a_sentence_that_stands_the_summary_is_the_usual_one() {
    for (sentences, words) in [
        (
            Ok(vec![("Everything is fine:", "ID"), ("All is well.", "ID")]),
            "support nothing",
        ),
        (Ok(Vec::new()), "support nothing"),
        (Err("it fell silent"), "not written by m (anthropic): it fell silent"),
    ] {
        let (plain, written) = with(sentences);
        assert_eq!(written.summary, plain.summary);
        assert!(has_note(&written, words), "{:?}", written.notes);
        assert_eq!(
            written.usage.tokens,
            plain.usage.tokens + 700,
            "it is paid all the same"
        );
    }
}
