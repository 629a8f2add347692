//! The words of a claim as a set, to measure how much two claims say the same. It knows no language model and no stems.

use std::collections::HashMap;

/// Words that carry no meaning of their own.
const FILLERS: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "if", "in", "into", "is",
    "it", "its", "of", "on", "or", "so", "that", "the", "there", "this", "to", "was", "when", "where", "which", "with",
];

/// Words that turn a claim into its opposite.
const NEGATIONS: &[&str] = &[
    "no", "not", "never", "none", "cannot", "without", "doesn", "isn", "don", "aren", "nor", "t",
];

/// Longest claim that is compared, in words; the rest is ignored.
const WORDS_MAX: usize = 256;

/// Words seen so far, numbered, with how many claims hold each.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    numbers: HashMap<String, u32>,
    claims: Vec<u32>,
}

/// The words of one claim; each list sorted and without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// All that carry meaning.
    pub all: Vec<u32>,
    /// Identifiers and numbers: a claim with another one is another claim.
    pub marks: Vec<u32>,
    /// All but numbers and negations: what the claim is about, whatever it says of it.
    pub core: Vec<u32>,
}

impl Vocabulary {
    /// Reads a claim.
    pub fn read(&mut self, claim: &str) -> Words {
        let mut words = Words::default();
        let mut quoted = false;
        let mut start = None;
        for (at, c) in claim.char_indices().chain([(claim.len(), ' ')]) {
            if c.is_alphanumeric() || c == '_' {
                start.get_or_insert(at);
                continue;
            }
            if let Some(start) = start.take() {
                self.add(&claim[start..at], quoted, &mut words);
            }
            if c == '`' {
                quoted = !quoted;
            }
            if words.all.len() >= WORDS_MAX {
                break;
            }
        }
        for list in [&mut words.all, &mut words.marks, &mut words.core] {
            list.sort_unstable();
            list.dedup();
        }
        for number in &words.all {
            self.claims[*number as usize] += 1;
        }
        words
    }

    fn add(&mut self, text: &str, quoted: bool, words: &mut Words) {
        let number = text.bytes().all(|b| b.is_ascii_digit());
        let mark = number || quoted || looks_like_code(text);
        let word = if mark { text.to_owned() } else { text.to_lowercase() };
        if !mark && FILLERS.binary_search(&word.as_str()).is_ok() {
            return;
        }
        let negation = !mark && NEGATIONS.contains(&word.as_str());
        let next = self.claims.len() as u32;
        let id = *self.numbers.entry(word).or_insert(next);
        if id == next {
            self.claims.push(0);
        }
        words.all.push(id);
        if mark {
            words.marks.push(id);
        }
        if !number && !negation {
            words.core.push(id);
        }
    }

    /// The words by which claims with at least `threshold` in common find each other: every two such claims share one of
    /// these (prefix filtering: the rarest `n - ceil(threshold × n) + 1` of its n words).
    pub fn signature(&self, words: &Words, threshold: f64) -> Vec<u32> {
        let mut rarest = words.all.clone();
        rarest.sort_by_key(|word| (self.claims[*word as usize], *word));
        let common = (threshold * rarest.len() as f64).ceil() as usize;
        rarest.truncate((rarest.len() + 1).saturating_sub(common.max(1)));
        rarest
    }
}

/// Whether a word is an identifier or holds a figure: `parse_header`, `HttpClient`, `utf8`.
fn looks_like_code(word: &str) -> bool {
    let mut lower_before = false;
    word.chars().any(|c| {
        let mixed = lower_before && c.is_uppercase();
        lower_before = c.is_lowercase();
        mixed || c == '_' || c.is_ascii_digit()
    })
}

/// Elements of both ÷ elements of either, of two sorted lists; 1 when both are empty.
pub(crate) fn similarity(left: &[u32], right: &[u32]) -> f64 {
    let common = common(left, right);
    let either = left.len() + right.len() - common;
    if either == 0 {
        1.0
    } else {
        common as f64 / either as f64
    }
}

/// Share of the elements of `part` that are in `whole`, of two sorted lists; 1 when `part` is empty.
pub(crate) fn contained(part: &[u32], whole: &[u32]) -> f64 {
    if part.is_empty() {
        1.0
    } else {
        common(part, whole) as f64 / part.len() as f64
    }
}

/// Whether one of two sorted lists holds all of the other.
pub(crate) fn nested(left: &[u32], right: &[u32]) -> bool {
    common(left, right) == left.len().min(right.len())
}

fn common(left: &[u32], right: &[u32]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < left.len() && j < right.len() {
        match left[i].cmp(&right[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                common += 1;
                i += 1;
                j += 1;
            }
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(left: &str, right: &str, expected: f64, same_marks: bool) {
        let mut vocabulary = Vocabulary::default();
        let (left_words, right_words) = (vocabulary.read(left), vocabulary.read(right));
        let measured = similarity(&left_words.all, &right_words.all);
        assert!((measured - expected).abs() < 0.01, "{left} | {right}: {measured}");
        assert_eq!(left_words.marks == right_words.marks, same_marks, "{left} | {right}");
    }

    #[test]
    fn claims_are_compared_by_their_words() {
        check("", "", 1.0, true);
        check("The lock is held", "lock held", 1.0, true);
        check("`parse` can panic", "`read` can panic", 0.5, false);
        check("parse_header can panic", "Parse_header can panic", 0.5, false);
        check("takes 12 ms", "takes 13 ms", 0.5, false);
        check("Panics on EMPTY input!", "panics, on empty: input", 1.0, true);
    }

    #[test]
    fn fillers_are_sorted_because_they_are_searched() {
        assert!(FILLERS.is_sorted());
    }

    #[test]
    fn what_a_claim_is_about_ignores_figures_and_negation() {
        let mut vocabulary = Vocabulary::default();
        let yes = vocabulary.read("the cache is shared by 3 workers");
        let no = vocabulary.read("the cache is not shared by 4 workers");
        assert_eq!(yes.core, no.core);
        assert!(similarity(&yes.all, &no.all) < 0.8);
    }

    #[test]
    fn claims_above_the_threshold_share_a_word_of_their_signatures() {
        let mut vocabulary = Vocabulary::default();
        let texts = [
            "a1 b1 c1 d1 e1",
            "a1 b1 c1 d1",
            "b1 c1 d1 e1 f1",
            "x1 y1",
            "a1 b1 c1 d1 e1 f1",
        ];
        let words: Vec<Words> = texts.iter().map(|text| vocabulary.read(text)).collect();
        for left in &words {
            for right in &words {
                if similarity(&left.all, &right.all) >= 0.8 {
                    let signature = vocabulary.signature(right, 0.8);
                    assert!(
                        vocabulary
                            .signature(left, 0.8)
                            .iter()
                            .any(|word| signature.contains(word))
                    );
                }
            }
        }
    }
}
