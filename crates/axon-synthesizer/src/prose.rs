//! What a model wrote for the summary, and how much of it stands: each sentence names the findings it rests on, and stays only
//! where those findings say it. Pure.

use axon_protocol::{MergedFinding, Usage};

use crate::citation::{Cited, cited};

/// Most sentences of a summary.
const SENTENCES_MAX: usize = 10;
/// Longest sentence, in characters.
const SENTENCE_CHARS_MAX: usize = 500;

/// What a model wrote, or why it did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Prose {
    /// The model.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
    /// Its sentences, or why there are none.
    pub sentences: Result<Vec<Sentence>, String>,
}

/// A sentence with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words.
    pub text: String,
    /// Ids of the findings that say so.
    pub findings: Vec<String>,
}

/// The sentences that stand, with their citations; `None` where none does.
pub(crate) fn standing(prose: &Prose, findings: &[&MergedFinding], support_min: f64) -> Option<Cited> {
    let sentences = prose.sentences.as_ref().ok()?;
    let (mut kept, mut unsupported) = (Vec::new(), Vec::new());
    for sentence in sentences.iter().take(SENTENCES_MAX) {
        let words: Vec<&str> = sentence.text.split_whitespace().collect();
        let text: String = words.join(" ").chars().take(SENTENCE_CHARS_MAX).collect();
        let named = |finding: &&&MergedFinding| sentence.findings.contains(&finding.id);
        let named: Vec<&MergedFinding> = findings.iter().filter(named).copied().collect();
        // What only leads to something else claims nothing, and nothing follows it here.
        let text = text.trim_end_matches(':');
        let checked = cited(text, &named, support_min);
        unsupported.extend(checked.unsupported);
        if !checked.text.trim().is_empty() {
            kept.push(checked.text.trim().to_owned());
        }
    }
    (!kept.is_empty()).then(|| Cited {
        text: kept.join(" ") + "\n\n",
        unsupported,
    })
}
