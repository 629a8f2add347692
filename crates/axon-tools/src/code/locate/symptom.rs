//! What the description of a symptom gives to look for: weighted terms, names of code, lines of stack traces, messages.
//! Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::Regex;

use crate::code::terms::{is_empty_word, split_identifier, stem, words};

/// Most terms that are looked for.
const TERMS_MAX: usize = 96;
/// Most lines of stack traces that are looked at.
const FRAMES_MAX: usize = 24;
/// Most quoted texts that are looked for.
const QUOTES_MAX: usize = 4;
/// Bytes of a description that are read.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// How far apart the terms of a pair may be in a description, in words that carry meaning.
const PAIR_TERMS: usize = 2;

/// What a term below the first line is worth: a title says more than a report.
const BODY_WEIGHT: f64 = 0.6;
/// What a term is worth that says what was done about a defect, and not where it is.
const WEAK_WEIGHT: f64 = 0.25;

/// Words of commit messages and reports that name no place.
const WEAK_WORDS: &str = "allow allowed also always avoid behave behavior behaviour broke broken bug bugfix bugs cause caused causes \
    causing correctly doesn don ensure fix fixed fixes fixing improve improved incorrect incorrectly instead issue issues make \
    now occur occurred occurs prevent prevented problem problems proper properly really regression reproduce since sometimes \
    still support supported try trying unexpected unexpectedly wasn won work worked working works wrong";

/// A term to look for.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// As it is in an index: the stem of a word, or a whole identifier in small letters.
    pub text: String,
    /// The word of the description it comes from.
    pub word: String,
    /// What a place gains by it, beside how rare it is.
    pub weight: f64,
}

/// A line that a stack trace names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The path as the trace spells it.
    pub path: String,
    /// The line, counted from 1; 0 where only the file is named.
    pub line: u32,
}

/// A description, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Symptom {
    /// Terms, in the order of the description.
    pub terms: Vec<Term>,
    /// Names of code: with `_`, an inner capital, or marked as code.
    pub names: Vec<String>,
    /// Lines of stack traces and files that are named, in the order of the description.
    pub frames: Vec<Frame>,
    /// Whether the stack trace ends with where it happened, as those of Python do.
    pub innermost_last: bool,
    /// Quoted texts of several words, in small letters.
    pub quotes: Vec<String>,
    /// Terms that stand beside each other in the description, by their positions, the smaller first.
    pub pairs: Vec<(usize, usize)>,
}

static NOISE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?mi)https?://\S+|^[a-z-]+-by:.*$|\S+@\S+\.\S+|(?:^|\s|\()#\d+\b|\b[0-9a-f]{12,40}\b").ok()
});
static FRAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"([\w.+@~-]*(?:[/\\][\w.+@~-]+)*\.[A-Za-z]{1,5})(?:", line |:|\()(\d{1,7})|((?:[\w.+@~-]+[/\\])+[\w+@~-]+\.[A-Za-z]{1,5})\b|\b([\w-]+\.(?:rs|py|go|tsx?|jsx?|java|c|h|cc|cpp|hpp|rb|php|cs|kt|swift|scala|sh))\b"#).ok()
});
static CODE_MARK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"`{1,3}~?\.?([A-Za-z_][\w.:]*)(?:\(\))?`|\b([A-Za-z_]\w*)\(\)").ok());

impl Symptom {
    /// Reads a description.
    pub fn read(text: &str) -> Self {
        let mut end = TEXT_BYTES_MAX.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        let frames = frames(text);
        let plain = NOISE.as_ref().map_or(text.into(), |noise| noise.replace_all(text, " "));
        let mut symptom = Self {
            frames,
            innermost_last: text.contains("most recent call last"),
            quotes: quotes(&plain),
            ..Self::default()
        };
        let marked: Vec<String> = CODE_MARK.as_ref().map_or_else(Vec::new, |mark| {
            let found = mark
                .captures_iter(&plain)
                .filter_map(|found| found.get(1).or(found.get(2)));
            found
                .filter_map(|name| name.as_str().rsplit(['.', ':']).next().map(str::to_owned))
                .collect()
        });
        let mut terms: BTreeMap<String, (usize, Term)> = BTreeMap::new();
        let title_end = plain
            .trim_start()
            .find('\n')
            .map_or(plain.len(), |end| end + plain.len() - plain.trim_start().len());
        for (part, weight) in [(&plain[..title_end], 1.0), (&plain[title_end..], BODY_WEIGHT)] {
            for word in words(part) {
                symptom.add_word(word, weight, &marked, &mut terms);
            }
        }
        let mut ordered: Vec<(usize, Term)> = terms.into_values().collect();
        ordered.sort_by_key(|(at, _)| *at);
        symptom.terms = ordered.into_iter().map(|(_, term)| term).take(TERMS_MAX).collect();
        symptom.pairs = pairs(&plain, &symptom.terms);
        symptom
    }

    /// What each term is worth, by its position.
    pub fn term_weights(&self) -> Vec<f64> {
        self.terms.iter().map(|term| term.weight).collect()
    }

    /// What each pair is worth: no more than the weaker of its terms.
    pub fn pair_weights(&self) -> Vec<f64> {
        let weight = |(a, b): &(usize, usize)| f64::min(self.terms[*a].weight, self.terms[*b].weight);
        self.pairs.iter().map(weight).collect()
    }

    fn add_word(&mut self, word: &str, weight: f64, marked: &[String], terms: &mut BTreeMap<String, (usize, Term)>) {
        if word.len() < 2 || is_empty_word(word) || word.bytes().all(|b| b.is_ascii_digit()) {
            return;
        }
        let mut add = |text: String, word: &str, weight: f64| {
            let at = terms.len();
            if text.len() > 1 {
                terms.entry(text.clone()).or_insert_with(|| {
                    (
                        at,
                        Term {
                            text,
                            word: word.to_lowercase(),
                            weight,
                        },
                    )
                });
            }
        };
        let parts = split_identifier(word);
        if parts.len() > 1 {
            add(word.to_lowercase(), word, weight);
        }
        let is_marked = marked.iter().any(|name| name == word);
        if (is_name(word) || is_marked) && !self.names.iter().any(|name| name == word) {
            self.names.push(word.to_owned());
        }
        for part in parts {
            let small = part.to_lowercase();
            let weak = !is_marked && WEAK_WORDS.split_whitespace().any(|weak| weak == small);
            add(stem(&small), part, if weak { weight * WEAK_WEIGHT } else { weight });
        }
    }
}

/// The terms that stand beside each other, each pair once. Words that carry no meaning do not come between them.
fn pairs(text: &str, terms: &[Term]) -> Vec<(usize, usize)> {
    let positions: HashMap<&str, usize> = terms
        .iter()
        .enumerate()
        .map(|(at, term)| (term.text.as_str(), at))
        .collect();
    let sequence: Vec<usize> = words(text)
        .filter(|word| !is_empty_word(word))
        .flat_map(split_identifier)
        .filter_map(|part| positions.get(stem(&part.to_lowercase()).as_str()).copied())
        .collect();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (place, at) in sequence.iter().enumerate() {
        for before in &sequence[place.saturating_sub(PAIR_TERMS)..place] {
            let pair = (*before.min(at), *before.max(at));
            if pair.0 != pair.1 && !out.contains(&pair) {
                out.push(pair);
            }
        }
    }
    out
}

/// Whether a word can only be a name of code.
fn is_name(word: &str) -> bool {
    let humps = word
        .chars()
        .zip(word.chars().skip(1))
        .any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    word.len() > 3 && (word.contains('_') || humps)
}

fn frames(text: &str) -> Vec<Frame> {
    let Some(pattern) = FRAME.as_ref() else {
        return Vec::new();
    };
    let found = pattern.captures_iter(text).filter_map(|found| {
        let path = found
            .get(1)
            .or(found.get(3))
            .or(found.get(4))?
            .as_str()
            .replace('\\', "/");
        let line = found.get(2).and_then(|line| line.as_str().parse().ok()).unwrap_or(0);
        Some(Frame { path, line })
    });
    found.take(FRAMES_MAX).collect()
}

fn quotes(text: &str) -> Vec<String> {
    let of = |mark: char| {
        let lines = text
            .lines()
            .filter(move |line| line.matches(mark).count().is_multiple_of(2));
        lines.flat_map(move |line| line.split(mark).skip(1).step_by(2))
    };
    let quoted = of('"').chain(of('`')).map(|quote| quote.trim().to_lowercase());
    quoted
        .filter(|quote| quote.len() >= 8 && quote.contains(' '))
        .take(QUOTES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_gives_terms_names_frames_and_quotes() {
        let symptom = Symptom::read(
            "Fix parse_header for \"unexpected end of input\" in HeaderMap (#123)\n\n  File \"/home/me/app/src/http.py\", line 12, in f\n    at src/a.rs:7:3\nSee https://x.example/1\nSigned-off-by: A <a@b.c>\n",
        );
        let terms: Vec<(&str, f64)> = symptom
            .terms
            .iter()
            .map(|term| (term.text.as_str(), term.weight))
            .collect();
        assert_eq!(
            terms[..4],
            [("fix", 0.25), ("parse_header", 1.0), ("pars", 1.0), ("header", 1.0)]
        );
        assert!(
            terms.iter().all(|(text, _)| !text.contains("signed") && *text != "123"),
            "{terms:?}"
        );
        assert_eq!(symptom.names, ["parse_header", "HeaderMap"]);
        let frames: Vec<(&str, u32)> = symptom.frames.iter().map(|f| (f.path.as_str(), f.line)).collect();
        assert_eq!(frames[..2], [("/home/me/app/src/http.py", 12), ("src/a.rs", 7)]);
        assert_eq!(symptom.quotes, ["unexpected end of input"]);
    }

    #[test]
    fn words_beside_each_other_are_pairs_whatever_little_words_stand_between() {
        for (text, expected) in [
            ("size of the chunk", vec!["size chunk"]),
            ("chunk_size, chunk size", vec!["chunk size"]),
            (
                "a leader loses its lease",
                vec!["leader loses", "leader lease", "loses lease"],
            ),
            ("one", vec![]),
        ] {
            let symptom = Symptom::read(text);
            let word = |at: usize| symptom.terms[at].word.as_str();
            let pairs: Vec<String> = symptom
                .pairs
                .iter()
                .map(|(a, b)| format!("{} {}", word(*a), word(*b)))
                .collect();
            assert_eq!(pairs, expected, "{text}");
            assert_eq!(symptom.pair_weights().len(), pairs.len());
        }
    }
}
