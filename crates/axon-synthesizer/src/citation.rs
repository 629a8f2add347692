//! The citations of a text, as a pass over its finished sentences: each gets the place of the finding that supports it, and
//! what no finding supports is left out. It does not matter who wrote the text: the sentences above findings or a model.

use axon_protocol::{Evidence, MergedFinding};

use crate::stated::Stated;
use crate::words::{Vocabulary, Words, contained};

/// Findings that may support a sentence, the most important first.
const SUPPORTS_MAX: usize = 500;
/// Characters of a finding's quotes whose words may stand in a sentence.
const QUOTE_CHARS_MAX: usize = 2_000;
/// Longest lead-in such as `Most likely:`, in words.
const LEAD_IN_WORDS_MAX: usize = 4;

/// A text with its citations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cited {
    pub text: String,
    /// Sentences that were left out.
    pub unsupported: Vec<String>,
}

/// Cites a text of sentences and lists. A sentence is supported by a finding whose words hold at least `support_min` of its
/// own, all identifiers and figures among them, and which it does not contradict.
pub(crate) fn cited(text: &str, findings: &[&MergedFinding], support_min: f64) -> Cited {
    let mut supports = Supports::of(findings, support_min);
    let mut cited = Cited {
        text: String::new(),
        unsupported: Vec::new(),
    };
    for line in text.lines() {
        let (marker, rest) = split_marker(line);
        let kept: Vec<String> = sentences(rest)
            .into_iter()
            .filter_map(|sentence| match supports.cite(sentence) {
                Some(sentence) => Some(sentence),
                None => {
                    cited.unsupported.push(sentence.to_owned());
                    None
                }
            })
            .collect();
        if !kept.is_empty() || rest.is_empty() {
            cited.text.push_str(marker);
            cited.text.push_str(&kept.join(" "));
            cited.text.push('\n');
        }
    }
    if !text.ends_with('\n') {
        cited.text.pop();
    }
    cited
}

/// What may support a sentence.
struct Supports<'a> {
    findings: Vec<(&'a MergedFinding, Words, Stated)>,
    vocabulary: Vocabulary,
    support_min: f64,
}

impl<'a> Supports<'a> {
    fn of(findings: &[&'a MergedFinding], support_min: f64) -> Self {
        let mut vocabulary = Vocabulary::default();
        let findings = findings
            .iter()
            .take(SUPPORTS_MAX)
            .map(|finding| {
                let quotes: String = finding
                    .evidence
                    .iter()
                    .flat_map(|evidence| [evidence.quote(), " "])
                    .flat_map(str::chars)
                    .take(QUOTE_CHARS_MAX)
                    .collect();
                let all = format!("{} {} {} {quotes}", finding.claim, finding.subject, finding.rationale);
                // All words count as they stand: what is an identifier here may be a plain word there.
                (*finding, vocabulary.read(&all), Stated::read(&finding.claim))
            })
            .collect();
        Self {
            findings,
            vocabulary,
            support_min,
        }
    }

    /// The sentence with its citation; as it is where it only leads to what follows; `None` without support.
    fn cite(&mut self, sentence: &str) -> Option<String> {
        if sentence.ends_with(':') {
            return Some(sentence.to_owned());
        }
        let claim = without_lead_in(sentence);
        let places = places_in(claim);
        let finding = self.support(claim, &places)?;
        let cites = places.iter().any(|place| holds(finding, place));
        let place = finding.evidence.first().map(Evidence::location);
        match place.filter(|_| !cites) {
            None => Some(sentence.to_owned()),
            Some(place) => {
                let end = sentence.trim_end_matches(['.', '!', '?']).len();
                let (said, stop) = sentence.split_at(end);
                Some(format!(
                    "{said} (`{place}`){}",
                    if stop.is_empty() { "." } else { stop }
                ))
            }
        }
    }

    /// The finding that supports a claim best; among equals the most important.
    fn support(&mut self, claim: &str, places: &[&str]) -> Option<&'a MergedFinding> {
        let bare = claim.trim_end_matches(['.', '!', '?']);
        let cites_it = |finding: &MergedFinding| places.is_empty() || places.iter().all(|place| holds(finding, place));
        let verbatim = self.findings.iter().find(|(finding, _, _)| {
            cites_it(finding) && (finding.claim.contains(bare) || finding.rationale.contains(bare))
        });
        if let Some((finding, _, _)) = verbatim {
            return Some(finding);
        }
        let plain = places
            .iter()
            .fold(claim.to_owned(), |text, place| text.replace(&format!("`{place}`"), ""));
        let words = self.vocabulary.read(&plain);
        let stated = Stated::read(&plain);
        let mut best: Option<(f64, &MergedFinding)> = None;
        for (finding, support, claimed) in &self.findings {
            let share = contained(&words.all, &support.all);
            let supports = share >= self.support_min
                && contained(&words.marks, &support.all) >= 1.0
                && cites_it(finding)
                && stated.contradicts(claimed, 0.0).is_none();
            if supports && best.is_none_or(|(most, _)| share > most) {
                best = Some((share, finding));
            }
        }
        best.map(|(_, finding)| finding)
    }
}

/// Whether a place is one of a finding's.
fn holds(finding: &MergedFinding, place: &str) -> bool {
    finding.evidence.iter().any(|evidence| evidence.location() == place)
}

/// Places that a sentence cites: words in ticks that look like `path:line` or a URL.
fn places_in(sentence: &str) -> Vec<&str> {
    let is_place = |text: &&str| {
        let line = text.rsplit_once(':').map_or("", |(_, line)| line);
        text.contains("://") || (!line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
    };
    sentence.split('`').skip(1).step_by(2).filter(is_place).collect()
}

fn without_lead_in(sentence: &str) -> &str {
    match sentence.split_once(": ") {
        Some((lead, rest)) if !lead.contains('`') && lead.split_whitespace().count() <= LEAD_IN_WORDS_MAX => rest,
        _ => sentence,
    }
}

/// The mark of a list's item or a heading, and the rest of a line.
fn split_marker(line: &str) -> (&str, &str) {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let marker = if text.starts_with("- ") || text.starts_with("* ") {
        2
    } else if digits > 0 && text[digits..].starts_with(". ") {
        digits + 2
    } else {
        0
    };
    line.split_at(indent + marker)
}

/// The sentences of a line: they end at a full stop, a question or an exclamation mark outside of code, where a new
/// sentence can begin.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut code, mut ended) = (0, false, None);
    for (at, c) in text.char_indices() {
        if let Some(end) = ended.take() {
            if c.is_whitespace() {
                ended = Some(end);
                continue;
            }
            if end < at && (c.is_uppercase() || matches!(c, '`' | '"' | '“')) {
                sentences.push(text[start..end].trim());
                start = at;
            }
        }
        match c {
            '`' => code = !code,
            '.' | '!' | '?' if !code && text[at + 1..].starts_with(char::is_whitespace) => ended = Some(at + 1),
            ':' if !code && text[at + 1..].trim().is_empty() => ended = Some(at + 1),
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        sentences.push(last);
    }
    sentences
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axon_protocol::{Digest, Level, Polarity};

    use super::*;

    fn finding(claim: &str, path: &str, line: u32, quote: &str) -> MergedFinding {
        MergedFinding {
            id: format!("{path}-{line}"),
            claim: claim.to_owned(),
            subject: String::new(),
            polarity: Polarity::Positive,
            value: None,
            unit: None,
            confidence: 0.9,
            severity: Level::High,
            impact: Level::High,
            effort: Level::Low,
            rationale: "An empty request ends the process.".to_owned(),
            recommendation: None,
            evidence: vec![Evidence::Source {
                path: path.to_owned(),
                line,
                end_line: line,
                quote: quote.to_owned(),
                digest: Digest::of(b"file"),
                revision: None,
            }],
            merged: 1,
            origins: 1,
            tasks: BTreeSet::new(),
        }
    }

    #[test]
    fn every_sentence_is_cited_or_left_out() {
        let findings = [
            finding("`parse` panics when the input is empty", "src/a.rs", 4, "input[0]"),
            finding("the timeout of `read` is 30 s", "src/b.rs", 9, "TIMEOUT: u64 = 30"),
            finding("errors are not logged in `run`", "src/c.rs", 2, "let _ = run();"),
        ];
        let findings: Vec<&MergedFinding> = findings.iter().collect();
        for (text, expected, unsupported) in [
            ("", "", 0),
            (
                "`parse` panics when the input is empty.",
                "`parse` panics when the input is empty (`src/a.rs:4`).",
                0,
            ),
            // Other words for it, and a sentence without a full stop.
            (
                "On empty input `parse` panics",
                "On empty input `parse` panics (`src/a.rs:4`).",
                0,
            ),
            (
                "Most likely: `parse` panics.",
                "Most likely: `parse` panics (`src/a.rs:4`).",
                0,
            ),
            // Each sentence of a line has its own, and a lead-in needs none.
            (
                "What matters:\n\n- `parse` panics when empty. The timeout of `read` is 30 s.\n",
                "What matters:\n\n- `parse` panics when empty (`src/a.rs:4`). The timeout of `read` is 30 s (`src/b.rs:9`).\n",
                0,
            ),
            // A citation that is there stays, if it is the right one.
            (
                "`parse` panics when empty (`src/a.rs:4`).",
                "`parse` panics when empty (`src/a.rs:4`).",
                0,
            ),
            ("`parse` panics when empty (`src/b.rs:9`).", "", 1),
            ("`parse` panics when empty (`src/z.rs:1`).", "", 1),
            // Another identifier, another figure, the opposite, something nobody found.
            ("`render` panics when the input is empty.", "", 1),
            ("The timeout of `read` is 60 s.", "", 1),
            ("Errors are logged in `run`.", "", 1),
            ("The design is elegant.", "", 1),
            (
                "The design is elegant. Errors are not logged in `run`.",
                "Errors are not logged in `run` (`src/c.rs:2`).",
                1,
            ),
            (
                "1. Nobody knows.\n2. `parse` panics when empty.",
                "2. `parse` panics when empty (`src/a.rs:4`).",
                1,
            ),
        ] {
            let cited = cited(text, &findings, 0.6);
            assert_eq!(cited.text, expected, "{text}");
            assert_eq!(cited.unsupported.len(), unsupported, "{text}: {:?}", cited.unsupported);
        }
    }

    #[test]
    fn sentences_end_where_a_new_one_begins() {
        for (text, expected) in [
            ("", vec![]),
            ("One. Two! Three?", vec!["One.", "Two!", "Three?"]),
            (
                "It takes 1.5 s, e.g. here. `f.g()` waits.",
                vec!["It takes 1.5 s, e.g. here.", "`f.g()` waits."],
            ),
            ("See `a. B` there.", vec!["See `a. B` there."]),
            ("Most likely: this. Also:", vec!["Most likely: this.", "Also:"]),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }
}
