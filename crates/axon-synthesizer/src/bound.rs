//! Keeps an answer within the size of a message. The least important findings go first, and the answer says how many; a
//! side of a conflict is never the one to go while another finding could.

use std::collections::{BTreeSet, HashSet};

use axon_protocol::{Answer, OutputFormat, to_markdown};
use serde_json::{Map, Value};

use crate::summary::weight;

/// Bytes of the outputs of all tasks together.
pub(crate) const OUTPUTS_BYTES_MAX: usize = 128 * 1024;
/// Pieces of evidence a finding keeps in an answer that is too large.
const EVIDENCE_MAX: usize = 8;
/// How often the room for findings is made smaller before the text is given up.
const ROUNDS_MAX: usize = 12;

/// Writes the answer's text, and makes the answer smaller until both fit into `bytes_max`.
pub(crate) fn fit(answer: &mut Answer, format: OutputFormat, bytes_max: usize) {
    answer.text = to_markdown(answer, format);
    let whole = size(answer);
    if whole <= bytes_max {
        return;
    }
    let dropped_evidence = cut_evidence(answer);
    let notes = answer.notes.clone();
    let total = answer.findings().count();
    let mut room = bytes_max / 2;
    for _ in 0..ROUNDS_MAX {
        keep_weightiest(answer, room);
        answer.notes.clone_from(&notes);
        let left = total - answer.findings().count();
        answer.notes.push(format!(
            "The answer was larger than {} KiB: its {left} least important findings and {dropped_evidence} further pieces of evidence are left out here; the results of the tasks hold them.",
            bytes_max / 1024
        ));
        answer.text = to_markdown(answer, format);
        if size(answer) <= bytes_max {
            return;
        }
        room = room / 3 * 2;
    }
    answer.text = to_markdown(answer, OutputFormat::Brief);
}

/// Encoded size as JSON, which is the larger of the two formats for text.
fn size(answer: &Answer) -> usize {
    encoded(answer)
}

fn encoded<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

fn cut_evidence(answer: &mut Answer) -> usize {
    let mut dropped = 0;
    for finding in answer.aspects.iter_mut().flat_map(|aspect| &mut aspect.findings) {
        dropped += finding.evidence.len().saturating_sub(EVIDENCE_MAX);
        finding.evidence.truncate(EVIDENCE_MAX);
    }
    dropped
}

/// Keeps the weightiest findings that fit into `room` bytes, and what refers to them.
fn keep_weightiest(answer: &mut Answer, room: usize) {
    let disputed: HashSet<&str> = answer
        .conflicts
        .iter()
        .flat_map(|conflict| &conflict.findings)
        .map(String::as_str)
        .collect();
    let mut ranked: Vec<(bool, f64, usize, &str)> = answer
        .findings()
        .map(|finding| {
            (
                disputed.contains(finding.id.as_str()),
                weight(finding),
                encoded(finding),
                finding.id.as_str(),
            )
        })
        .collect();
    ranked.sort_by(|a, b| {
        b.0.cmp(&a.0)
            .then_with(|| b.1.total_cmp(&a.1))
            .then_with(|| a.3.cmp(b.3))
    });
    let mut used = 0;
    let kept: BTreeSet<String> = ranked
        .into_iter()
        .take_while(|(_, _, bytes, _)| {
            used += bytes;
            used <= room
        })
        .map(|(_, _, _, id)| id.to_owned())
        .collect();
    for aspect in &mut answer.aspects {
        aspect.findings.retain(|finding| kept.contains(&finding.id));
    }
    for recommendation in &mut answer.recommendations {
        recommendation.findings.retain(|id| kept.contains(id));
    }
    answer
        .recommendations
        .retain(|recommendation| !recommendation.findings.is_empty());
    answer
        .conflicts
        .retain(|conflict| conflict.findings.iter().all(|id| kept.contains(id)));
}

/// The outputs by task within their bound; what does not fit is replaced by its size.
pub(crate) fn outputs<'a>(outputs: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut all = Map::new();
    let mut used = 0;
    for (task, output) in outputs.filter(|(_, output)| !output.is_null()) {
        let bytes = encoded(output);
        let fits = used + bytes <= OUTPUTS_BYTES_MAX;
        if fits {
            used += bytes;
        }
        let shown = if fits {
            output.clone()
        } else {
            Value::String(format!("left out: {bytes} bytes"))
        };
        all.insert(task.to_owned(), shown);
    }
    if all.is_empty() {
        Value::Null
    } else {
        Value::Object(all)
    }
}
