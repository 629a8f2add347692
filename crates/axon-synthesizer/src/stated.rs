//! What a claim states: its direction, its figures, its dates and the value it gives to an attribute. Two claims about one
//! thing that differ in one of these contradict each other, whatever else they have in common.

use std::collections::BTreeSet;

/// Words that turn a claim into its opposite.
const NEGATIONS: &[&str] = &["no", "not", "never", "none", "cannot", "without", "nor", "neither"];
/// Words that join a thing with what is said of it.
const COPULAS: &[&str] = &["is", "are", "was", "were", "be", "equals", "="];
/// Things that have one value at a time, so that two values of one of them cannot both be right.
const ATTRIBUTES: &[&str] = &[
    "algorithm",
    "author",
    "backend",
    "database",
    "default",
    "encoding",
    "format",
    "language",
    "level",
    "licence",
    "license",
    "limit",
    "maintainer",
    "mode",
    "name",
    "order",
    "owner",
    "port",
    "protocol",
    "status",
    "type",
    "version",
];
/// Months by the three letters that tell them apart.
const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// Words after which four digits are a year.
const BEFORE_A_YEAR: &[&str] = &["in", "since", "from", "until", "by", "of", "before", "after"];
/// Years that are read as such.
const YEARS: std::ops::RangeInclusive<u16> = 1900..=2199;
/// Units that measure the same, with the factor to the first of each kind.
const UNITS: &[(&str, &str, f64)] = &[
    ("ms", "s", 1e-3),
    ("millisecond", "s", 1e-3),
    ("µs", "s", 1e-6),
    ("us", "s", 1e-6),
    ("microsecond", "s", 1e-6),
    ("ns", "s", 1e-9),
    ("nanosecond", "s", 1e-9),
    ("sec", "s", 1.0),
    ("second", "s", 1.0),
    ("min", "s", 60.0),
    ("minute", "s", 60.0),
    ("h", "s", 3600.0),
    ("hour", "s", 3600.0),
    ("day", "s", 86_400.0),
    ("b", "byte", 1.0),
    ("kb", "byte", 1e3),
    ("kib", "byte", 1024.0),
    ("mb", "byte", 1e6),
    ("mib", "byte", 1_048_576.0),
    ("gb", "byte", 1e9),
    ("gib", "byte", 1_073_741_824.0),
    ("percent", "%", 1.0),
];
/// Longest claim that is read, in words; the rest is ignored.
const WORDS_MAX: usize = 256;
/// Longest word that can be a unit, in characters.
const UNIT_CHARS_MAX: usize = 24;

/// A number with what it counts or measures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub value: f64,
    /// Lower case, without a plural; empty where none is named.
    pub unit: String,
}

impl Figure {
    /// In the base unit of its kind, where there is one.
    pub fn new(value: f64, unit: &str) -> Self {
        let lower = unit.trim().to_lowercase();
        let singular = match lower.strip_suffix('s') {
            Some(stem) if stem.chars().count() > 2 && !stem.ends_with('s') => stem,
            _ => lower.as_str(),
        };
        match UNITS.iter().find(|(name, _, _)| *name == singular) {
            Some((_, base, factor)) => Self {
                value: value * factor,
                unit: (*base).to_owned(),
            },
            None => Self {
                value,
                unit: singular.to_owned(),
            },
        }
    }

    /// Whether two figures of one unit differ by more than a share of the larger one.
    pub fn differs(&self, other: &Figure, tolerance: f64) -> bool {
        self.unit == other.unit
            && (self.value - other.value).abs() > tolerance * self.value.abs().max(other.value.abs())
    }
}

/// A day, a month or a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Date {
    pub year: u16,
    pub month: Option<u8>,
    pub day: Option<u8>,
}

impl Date {
    /// Whether they cannot be the same day, as far as both are known.
    pub fn differs(&self, other: &Date) -> bool {
        let differ = |a: Option<u8>, b: Option<u8>| matches!((a, b), (Some(a), Some(b)) if a != b);
        self.year != other.year || differ(self.month, other.month) || differ(self.day, other.day)
    }
}

/// What a claim states.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stated {
    /// Whether it says that something is not so.
    pub negated: bool,
    pub figures: Vec<Figure>,
    pub dates: Vec<Date>,
    /// What an attribute is said to be: the words after "is", as they stand there.
    pub value: Option<String>,
    /// Paths and other names with a mark inside: claims that name different ones are about different things.
    pub names: BTreeSet<String>,
    /// The other words: what it is about.
    pub about: String,
}

/// In what two statements contradict each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Contradiction {
    /// One says that it is so, the other that it is not.
    Direction,
    Figures(Figure, Figure),
    Dates(Date, Date),
    Values(String, String),
}

impl Stated {
    /// Reads a claim.
    pub fn read(claim: &str) -> Self {
        let words: Vec<&str> = claim.split_whitespace().take(WORDS_MAX).collect();
        let bare: Vec<&str> = words.iter().map(|word| trimmed(word)).collect();
        let lower: Vec<String> = bare.iter().map(|word| word.to_lowercase()).collect();
        let mut stated = Self {
            negated: lower
                .iter()
                .any(|word| NEGATIONS.contains(&word.as_str()) || word.ends_with("n't") || word.ends_with("n’t")),
            value: attribute_value(&words, &lower),
            ..Self::default()
        };
        let mut at = 0;
        while at < words.len() {
            // What stands in code is a name, not a figure of the claim.
            let code = words[at].contains('`');
            if !code && let Some((date, taken)) = date_at(&lower, at) {
                stated.dates.push(date);
                at += taken;
            } else if !code && let Some((figure, taken)) = figure_at(&words, &bare, at) {
                stated.figures.push(figure);
                at += taken;
            } else {
                stated.names.extend(name_of(bare[at]));
                if stated.value.as_deref() != Some(core(words[at])) {
                    stated.about.push_str(words[at]);
                    stated.about.push(' ');
                }
                at += 1;
            }
        }
        stated
    }

    /// Equal for claims that state the same, whatever they are about.
    pub fn key(&self) -> String {
        format!("{} {:?} {:?} {:?}", self.negated, self.figures, self.dates, self.value)
    }

    /// In what they contradict each other, given that they are about the same.
    pub fn contradicts(&self, other: &Stated, tolerance: f64) -> Option<Contradiction> {
        if self.names != other.names {
            return None;
        }
        if self.negated != other.negated {
            return Some(Contradiction::Direction);
        }
        if let (Some(a), Some(b)) = (&self.value, &other.value)
            && a.to_lowercase() != b.to_lowercase()
        {
            return Some(Contradiction::Values(a.clone(), b.clone()));
        }
        if self.dates.len() == other.dates.len()
            && let Some((a, b)) = self.dates.iter().zip(&other.dates).find(|(a, b)| a.differs(b))
        {
            return Some(Contradiction::Dates(*a, *b));
        }
        let comparable = self.figures.len() == other.figures.len()
            && self.figures.iter().zip(&other.figures).all(|(a, b)| a.unit == b.unit);
        let differing = || {
            self.figures
                .iter()
                .zip(&other.figures)
                .find(|(a, b)| a.differs(b, tolerance))
        };
        if comparable && let Some((a, b)) = differing() {
            return Some(Contradiction::Figures(a.clone(), b.clone()));
        }
        None
    }
}

/// A word without the marks around it.
fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '+' | '%' | '=' | '/'))
        .trim_matches('/')
}

/// A word without any marks around it.
fn core(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn name_of(word: &str) -> Option<String> {
    let inner = word.char_indices().any(|(at, c)| {
        at > 0 && matches!(c, '/' | '.' | ':' | '\\') && word[at..].chars().nth(1).is_some_and(char::is_alphanumeric)
    });
    inner.then(|| word.to_owned())
}

/// The value after "is", where an attribute stands before it and a single word or name after it.
fn attribute_value(words: &[&str], lower: &[String]) -> Option<String> {
    let copula = lower.iter().position(|word| COPULAS.contains(&word.as_str()))?;
    let attribute = lower[..copula].iter().any(|word| ATTRIBUTES.contains(&word.as_str()));
    let value: Vec<&str> = words[copula + 1..]
        .iter()
        .copied()
        .filter(|word| !matches!(word.to_lowercase().as_str(), "a" | "an" | "the"))
        .collect();
    let [value] = value.as_slice() else { return None };
    let value = core(value);
    // Figures and dates are compared as such.
    let worded = value.chars().any(char::is_alphabetic);
    (attribute && worded).then(|| value.to_owned())
}

/// A date that begins at a word, and how many words it takes.
fn date_at(lower: &[String], at: usize) -> Option<(Date, usize)> {
    if let Some(date) = iso_date(&lower[at]) {
        return Some((date, 1));
    }
    let word = |offset: usize| lower.get(at + offset).map_or("", String::as_str);
    if let (Some(day), Some(month), Some(year)) = (day(word(0)), month(word(1)), year(word(2))) {
        return Some((full(year, Some(month), Some(day)), 3));
    }
    if let (Some(month), Some(day), Some(year)) = (month(word(0)), day(word(1)), year(word(2))) {
        return Some((full(year, Some(month), Some(day)), 3));
    }
    if let (Some(month), Some(year)) = (month(word(0)), year(word(1))) {
        return Some((full(year, Some(month), None), 2));
    }
    let before = at.checked_sub(1).map_or("", |before| lower[before].as_str());
    if BEFORE_A_YEAR.contains(&before) {
        return year(word(0)).map(|year| (full(year, None, None), 1));
    }
    None
}

fn full(year: u16, month: Option<u8>, day: Option<u8>) -> Date {
    Date { year, month, day }
}

fn iso_date(word: &str) -> Option<Date> {
    let mut parts = word.split('-');
    let year = year(parts.next()?)?;
    let in_range = |text: &str, most: u8| {
        let number: u8 = text.parse().ok()?;
        (text.len() == 2 && (1..=most).contains(&number)).then_some(number)
    };
    let month = in_range(parts.next()?, 12)?;
    let day = match parts.next() {
        Some(day) => Some(in_range(day, 31)?),
        None => None,
    };
    parts.next().is_none().then_some(full(year, Some(month), day))
}

fn year(word: &str) -> Option<u16> {
    let year: u16 = word.parse().ok()?;
    (word.len() == 4 && YEARS.contains(&year)).then_some(year)
}

fn month(word: &str) -> Option<u8> {
    let start = word.get(..3)?;
    let number = MONTHS.iter().position(|month| *month == start)?;
    word.chars()
        .all(char::is_alphabetic)
        .then(|| u8::try_from(number + 1).unwrap_or(u8::MAX))
}

fn day(word: &str) -> Option<u8> {
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending))
        .unwrap_or(word);
    digits.parse().ok().filter(|day| (1..=31).contains(day))
}

/// A figure that begins at a word, and how many words it takes with its unit.
fn figure_at(words: &[&str], bare: &[&str], at: usize) -> Option<(Figure, usize)> {
    let word = bare[at];
    let end = word
        .char_indices()
        .find(|(place, c)| {
            !(c.is_ascii_digit() || matches!(c, '.' | ',' | '_') || (*place == 0 && matches!(c, '-' | '+')))
        })
        .map_or(word.len(), |(place, _)| place);
    let digits: String = word[..end].chars().filter(|c| !matches!(c, ',' | '_' | '+')).collect();
    let value: f64 = digits.parse().ok().filter(|value: &f64| value.is_finite())?;
    let attached = &word[end..];
    if !attached.is_empty() {
        let unit = attached.chars().all(|c| c.is_alphabetic() || c == '%');
        return unit.then(|| (Figure::new(value, attached), 1));
    }
    // A mark after the number ends what belongs to it.
    let closed = words[at].ends_with([',', ';', ':', '.', ')']);
    let next = bare.get(at + 1).copied().unwrap_or_default();
    let is_unit = !closed
        && !next.is_empty()
        && next.chars().count() <= UNIT_CHARS_MAX
        && next.chars().all(|c| c.is_alphabetic() || c == '%')
        && !words[at + 1].contains('`');
    if is_unit {
        Some((Figure::new(value, next), 2))
    } else {
        Some((Figure::new(value, ""), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_about_one_thing_contradict_in_what_they_state() {
        let date = |year, month, day| full(year, month, day);
        let figures = |a, b, unit: &str| {
            let of = |value| Figure {
                value,
                unit: unit.to_owned(),
            };
            Some(Contradiction::Figures(of(a), of(b)))
        };
        let values = |a: &str, b: &str| Some(Contradiction::Values(a.to_owned(), b.to_owned()));
        for (left, right, expected) in [
            (
                "the cache is shared",
                "the cache is not shared",
                Some(Contradiction::Direction),
            ),
            (
                "it handles empty input",
                "it doesn't handle empty input",
                Some(Contradiction::Direction),
            ),
            (
                "the timeout is 30 s",
                "the timeout is 60 seconds",
                figures(30.0, 60.0, "s"),
            ),
            ("the timeout is 30 s", "the timeout is 30000 ms", None),
            ("the timeout is 30s.", "the timeout is 31 s", None),
            (
                "it takes 2 MiB",
                "it takes 3 MiB",
                figures(2_097_152.0, 3_145_728.0, "byte"),
            ),
            ("3 parameters", "5 callers", None),
            ("called 3 times in a.rs", "called 5 times in b.rs", None),
            (
                "called 3 times in a.rs",
                "called 5 times in a.rs",
                figures(3.0, 5.0, "time"),
            ),
            ("1,000 entries", "2_000 entries", figures(1000.0, 2000.0, "entrie")),
            ("`utf8` is read", "`utf16` is read", None),
            (
                "released on 2024-03-01",
                "released on 3 March 2025",
                Some(Contradiction::Dates(
                    date(2024, Some(3), Some(1)),
                    date(2025, Some(3), Some(3)),
                )),
            ),
            ("released March 1, 2024", "released in 2024", None),
            (
                "released in 2019",
                "released in 2024",
                Some(Contradiction::Dates(date(2019, None, None), date(2024, None, None))),
            ),
            ("released 2024-03", "released 2024-03-09", None),
            ("the default is `json`", "the default is `yaml`", values("json", "yaml")),
            (
                "The log format is text",
                "the log format is JSON.",
                values("text", "JSON"),
            ),
            ("the log format is JSON", "the log format is `json`", None),
            ("the cache is shared", "the cache is fast", None),
            ("`f` is `async`", "`f` is `pub`", None),
        ] {
            let (a, b) = (Stated::read(left), Stated::read(right));
            let found = a.contradicts(&b, 0.05);
            assert_eq!(
                found.is_some(),
                expected.is_some(),
                "{left} | {right}: {found:?} {a:?} {b:?}"
            );
            if !matches!(found, Some(Contradiction::Dates(..))) || left.ends_with("2019") {
                assert_eq!(found, expected, "{left} | {right}");
            }
            assert_eq!(
                b.contradicts(&a, 0.05).is_some(),
                expected.is_some(),
                "{right} | {left}"
            );
            assert_eq!(a.contradicts(&a, 0.05), None, "{left}");
        }
    }

    #[test]
    fn whatever_is_written_can_be_read() {
        for claim in [
            "",
            "-",
            "1.2.3.4",
            "`",
            "é 3é",
            "12 %",
            "1e999",
            "2024-13-40",
            "May",
            "31 Feb 2024",
            "= = =",
        ] {
            let stated = Stated::read(claim);
            assert_eq!(stated.contradicts(&stated, 0.0), None, "{claim}");
        }
    }
}
