//! Counts what a request names several of: rows of things between commas, and counted things (`the twelve contracts`). It
//! judges by form alone, whatever the things are.

use super::parts::Part;
use super::text::{Kind, Text, Token};
use super::words;

/// Words of a thing in the middle of a row; more are a clause.
const THING_WORDS_MAX: usize = 5;
/// Things from which commas make a row.
const ROW_MIN: usize = 3;

/// Words for numbers of things, from two on.
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty", "thirty",
    "forty", "fifty", "hundred", "several", "dozen",
];
/// What is counted without being looked at each: times and lengths of text.
const MEASURES: &[&str] = &[
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "sentence",
    "word",
    "line",
    "paragraph",
    "page",
    "time",
    "percent",
    "euro",
    "dollar",
];

/// How long each row of things is: `the parser, the lexer and the printer` is one of three.
pub(super) fn rows(text: &Text<'_>, parts: &[Part]) -> Vec<usize> {
    let asks = |at: usize| parts.iter().any(|part| part.head == at);
    let mut rows = Vec::new();
    for sentence in text.sentences.iter().filter(|sentence| !sentence.printed) {
        let mut row = Row::default();
        for at in sentence.tokens.clone() {
            let token = &text.tokens[at];
            if asks(at) || breaks(token) {
                rows.extend(row.end(asks(at)));
            } else if token.text == "," || token.is("and") {
                rows.extend(row.separate(token.text == ","));
            } else {
                row.words += 1;
            }
        }
        rows.extend(row.end(false));
    }
    rows
}

/// What ends a row wherever it stands. What an `or` joins is looked for at once.
fn breaks(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Colon | Kind::End => true,
        Kind::Comma => token.text != ",",
        _ => token.is("or"),
    }
}

/// A row as far as it was read.
#[derive(Default)]
struct Row {
    /// Things before the one that is being read.
    things: usize,
    commas: usize,
    /// Words of the thing that is being read.
    words: usize,
}

impl Row {
    /// A thing has ended. One that is too long begins another row, which it may be the first of.
    fn separate(&mut self, comma: bool) -> Option<usize> {
        if self.words == 0 {
            // `, and`
            self.commas += usize::from(comma);
            return None;
        }
        let ended = if self.things > 0 && self.words > THING_WORDS_MAX {
            self.end(true)
        } else {
            None
        };
        self.things += 1;
        self.commas += usize::from(comma);
        self.words = 0;
        ended
    }

    /// The row has ended; gives its length. The words that were being read may belong to a verb instead.
    fn end(&mut self, without_last: bool) -> Option<usize> {
        let things = self.things + usize::from(self.words > 0 && !without_last);
        let row = (self.commas > 0 && things >= ROW_MIN).then_some(things);
        *self = Self::default();
        row
    }
}

/// The largest number of things that are counted as known: `our two caches`, `the ten largest cities`.
pub(super) fn counted(text: &Text<'_>) -> Option<(usize, &'static str)> {
    const KNOWN: &[&str] = &[
        "the",
        "our",
        "my",
        "these",
        "those",
        "all",
        "last",
        "following",
        "largest",
        "of",
    ];
    let words: Vec<&str> = text.words().collect();
    words
        .windows(3)
        .filter(|three| KNOWN.contains(&three[0]) && !MEASURES.iter().any(|measure| three[2].starts_with(measure)))
        .filter(|three| !words::is_breadth(three[2]))
        .filter_map(|three| {
            let at = NUMBERS.iter().position(|number| *number == three[1])?;
            Some((at + 2, NUMBERS[at]))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::super::parts::parts;
    use super::*;

    fn check(source: &str, expected: &[usize]) {
        let text = Text::new(source);
        assert_eq!(rows(&text, &parts(&text)), expected, "{source}");
    }

    #[test]
    fn rows_are_counted_by_their_commas() {
        check("Write tests for the parser, the lexer and the printer.", &[3]);
        check("Write tests for the parser and the lexer.", &[]);
        check("Is it slow, long or hard to read?", &[]);
        check("Draft a plan: sites, staff, prices and risks.", &[4]);
        check("When it fails, sort the rows, and say why.", &[]);
        check("Read the file, count the rows and list the names.", &[]);
    }

    #[test]
    fn counted_things_are_known_things() {
        for (source, expected) in [
            ("Read the three proposals", Some(3)),
            ("Describe our two caches and the ten largest cities", Some(10)),
            ("Tell me in two sentences", None),
            ("Show the last ten minutes", None),
            ("Read the proposals", None),
        ] {
            let text = Text::new(source);
            assert_eq!(counted(&text).map(|(count, _)| count), expected, "{source}");
        }
    }
}
