//! Finds which parts of a request need what an earlier part brings: by words of order, references back, words of one
//! root, and parts that name nothing of their own. Every sign has a weight; none decides alone.

use super::parts::Part;
use super::references::{Reference, body, elliptic, pronoun, references};
use super::text::{Item, Kind, Text, Token};
use super::words;

/// Points from which a part counts as needing an earlier one.
const LINK_SCORE: f64 = 2.0;
/// Points from which a sign is told to people.
const TOLD_SCORE: f64 = 1.5;
/// Points from which a reference names the part that is needed.
const SOURCE_SCORE: f64 = 2.0;

/// Phrases that join a part to what was found before.
const WITH_WHAT_IS_KNOWN: &[&[&str]] = &[&["from", "the"], &["with", "the"], &["using", "the"]];

/// Phrases that bring several things together.
const TOGETHER: &[&[&str]] = &[&["the", "two"], &["all", "of"], &["for", "each"]];

/// What a part needs of earlier ones.
#[derive(Default)]
pub(super) struct Link {
    pub needs: Vec<usize>,
    /// What shows it.
    pub sign: String,
    /// It brings several things together.
    pub joins: bool,
}

/// What the part at `index` needs of the parts before it.
pub(super) fn link(text: &Text<'_>, parts: &[Part], index: usize) -> Link {
    let clause = Clause::of(text, parts, index);
    let joins = clause.joins();
    let leaves = clause.leaves();
    if joins && leaves.len() >= 2 && !clause.names_its_own() {
        return Link {
            needs: leaves,
            sign: "brings them together".to_owned(),
            joins,
        };
    }
    if clause.is_parallel() {
        // Beside the previous part: it needs what that one needs, if it refers back at all.
        let needs = pronoun(clause.body).map_or_else(Vec::new, |_| clause.previous.needs.clone());
        return Link {
            needs,
            ..Link::default()
        };
    }
    let references = references(text, clause.earlier, clause.tokens);
    let mut signs = clause.signs();
    signs.extend(references.iter().map(|found| (found.points, found.word)));
    let score: f64 = signs.iter().map(|(points, _)| points).sum();
    if score + clause.bearing() < LINK_SCORE {
        return Link::default();
    }
    let sign = signs.iter().find(|(points, _)| *points >= TOLD_SCORE);
    Link {
        needs: clause.needs(&references),
        sign: sign.map_or_else(String::new, |(_, why)| format!("`{why}`")),
        joins,
    }
}

/// What shows that a part needs an earlier one, with its points.
type Sign<'a> = (f64, &'a str);

/// A part as its needs are judged: what it says, and what was asked before it.
struct Clause<'a> {
    text: &'a Text<'a>,
    earlier: &'a [Part],
    part: &'a Part,
    previous: &'a Part,
    /// All it says.
    tokens: &'a [Token<'a>],
    /// What it says before its verb.
    lead: &'a [Token<'a>],
    /// What it says behind its verb.
    body: &'a [Token<'a>],
}

impl<'a> Clause<'a> {
    fn of(text: &'a Text<'a>, parts: &'a [Part], index: usize) -> Self {
        let part = &parts[index];
        Self {
            text,
            earlier: &parts[..index],
            part,
            previous: &parts[index - 1],
            tokens: &text.tokens[part.tokens.clone()],
            lead: &text.tokens[part.tokens.start..part.head],
            body: body(text, part),
        }
    }

    /// Whether it says to stand beside the part before it, not behind it.
    fn is_parallel(&self) -> bool {
        self.lead.iter().any(|token| words::is_parallel(&token.lower))
            || self.tokens.last().is_some_and(|token| token.is("too"))
            || self.says(&["as", "well"]) && !self.says(&["as", "well", "as"])
            || self.says(&["at", "the", "same", "time"])
    }

    /// Whether it brings several things together.
    fn joins(&self) -> bool {
        self.tokens.iter().any(|token| words::is_joining(&token.lower))
            || self.says_one_of(TOGETHER)
            || self.says(&["all", "the"]) && self.result().is_some()
    }

    /// The earlier parts that no other earlier part needs.
    fn leaves(&self) -> Vec<usize> {
        (0..self.earlier.len())
            .filter(|earlier| !self.earlier.iter().any(|other| other.needs.contains(earlier)))
            .collect()
    }

    /// Whether it names something that nothing before it has named.
    fn names_its_own(&self) -> bool {
        let before = &self.text.tokens[..self.part.tokens.start];
        let known = |token: &Token<'_>| before.iter().any(|other| other.is_named() && other.text == token.text);
        self.body.iter().any(|token| token.is_named() && !known(token))
    }

    /// The signs that its own words give, in the order in which they are told.
    fn signs(&self) -> Vec<Sign<'a>> {
        let result = self.result().map(|word| (3.0, word));
        let choice = elliptic(self.body).map(|word| (2.0, word));
        [
            self.order(),
            self.numbered_step(),
            self.condition(),
            self.pronoun_before(),
            choice,
            result,
            self.based_on(),
            self.pronoun_behind(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// `then …`, or an `after …` that leads the part before it.
    fn order(&self) -> Option<Sign<'a>> {
        let order = |token: &&Token<'_>| words::is_sequence(&token.lower) || token.is("before");
        if let Some(order) = self.lead.iter().find(order) {
            return Some((3.0, &order.lower));
        }
        let previous = &self.text.tokens[self.previous.tokens.start..self.previous.head];
        let led = previous
            .iter()
            .any(|token| is_one_of(token, &["after", "once", "before"]));
        (led && self.in_one_sentence()).then_some((3.0, "after"))
    }

    /// `Step 2:` follows step 1.
    fn numbered_step(&self) -> Option<Sign<'a>> {
        self.lead
            .windows(2)
            .any(|pair| pair[0].kind == Kind::Word && pair[1].kind == Kind::Number)
            .then_some((3.0, "numbered steps"))
    }

    /// `If it is dry, …` decides by what came before.
    fn condition(&self) -> Option<Sign<'a>> {
        let conditional = |token: &Token<'_>| is_one_of(token, &["if", "when", "unless", "once"]);
        let at = self.lead.iter().position(conditional)?;
        self.lead[at + 1..]
            .iter()
            .take(3)
            .any(|token| words::is_pronoun(&token.lower) || is_one_of(token, &["that", "so"]))
            .then_some((2.5, "if"))
    }

    /// `Knowing that, …` and `from what they miss, …`.
    fn pronoun_before(&self) -> Option<Sign<'a>> {
        pronoun(self.lead).map(|(points, word)| (points.max(TOLD_SCORE), word))
    }

    /// `translate it`; a question speaks of `it` more freely.
    fn pronoun_behind(&self) -> Option<Sign<'a>> {
        pronoun(self.body).map(|(points, word)| (if self.part.question { points / 2.0 } else { points }, word))
    }

    /// A word for what a step brings: `the findings`.
    fn result(&self) -> Option<&'a str> {
        self.tokens
            .iter()
            .map(|token| token.lower.as_str())
            .find(|word| words::is_result(word))
    }

    /// `based on …`, where nothing is named on which.
    fn based_on(&self) -> Option<Sign<'a>> {
        (self.says(&["based", "on"]) && !self.tokens.iter().any(Token::is_named)).then_some((2.0, "based on"))
    }

    /// Points of what only speaks for or against a need and is never told.
    fn bearing(&self) -> f64 {
        let subject = if self.names_its_own() {
            -1.5
        } else {
            0.5 + self.leaning()
        };
        subject + self.position()
    }

    /// How much a part that names nothing of its own leans on something else.
    fn leaning(&self) -> f64 {
        let creates = self.body.first().is_some_and(|token| is_one_of(token, &["a", "an"]));
        sum(&[
            (words::is_consuming(&self.part.verb), 1.25),
            (self.says_one_of(WITH_WHAT_IS_KNOWN), 0.75),
            (creates && !words::is_surveying(&self.part.verb), 0.75),
        ])
    }

    /// What its place behind the previous part says.
    fn position(&self) -> f64 {
        let (part, previous) = (self.part, self.previous);
        let together = self.in_one_sentence();
        let next_item =
            self.text.sentences[part.sentence].item == Some(Item::Numbered) && previous.sentence + 1 == part.sentence;
        sum(&[
            (together, 0.5),
            (!together && next_item, 0.75),
            (part.verb == previous.verb, -1.0),
            (part.question && previous.question && !together, -0.5),
        ])
    }

    /// The parts it needs: those it refers to, or the one before it.
    fn needs(&self, references: &[Reference<'_>]) -> Vec<usize> {
        let last = self.earlier.len() - 1;
        // `generate an image, colorize it, then caption the resulting image`: what the step before made of it is meant.
        let in_order = self.lead.iter().any(|token| words::is_sequence(&token.lower)) || self.result().is_some();
        let made_of = |source: usize| in_order && source < last && follows(self.earlier, last, source);
        let mut sources: Vec<usize> = references
            .iter()
            .filter(|found| found.points >= SOURCE_SCORE)
            .map(|found| if made_of(found.earlier) { last } else { found.earlier })
            .collect();
        sources.sort_unstable();
        sources.dedup();
        // What an earlier source led to stands for it.
        let all = sources.clone();
        sources.retain(|&source| {
            !all.iter()
                .any(|&other| other > source && follows(self.earlier, other, source))
        });
        if sources.is_empty() { vec![last] } else { sources }
    }

    fn in_one_sentence(&self) -> bool {
        self.part.sentence == self.previous.sentence
    }

    fn says(&self, phrase: &[&str]) -> bool {
        self.tokens
            .windows(phrase.len())
            .any(|window| window.iter().zip(phrase).all(|(token, word)| token.is(word)))
    }

    fn says_one_of(&self, phrases: &[&[&str]]) -> bool {
        phrases.iter().any(|phrase| self.says(phrase))
    }
}

/// The points of what holds.
fn sum(points: &[(bool, f64)]) -> f64 {
    points
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, points)| points)
        .sum()
}

/// Whether a part needs an earlier one, directly or through others.
fn follows(parts: &[Part], part: usize, earlier: usize) -> bool {
    parts[part]
        .needs
        .iter()
        .any(|&need| need == earlier || (need > earlier && follows(parts, need, earlier)))
}

fn is_one_of(token: &Token<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| token.is(word))
}

#[cfg(test)]
mod tests {
    use super::super::parts::parts;
    use super::*;

    /// Calls `judge` with the last part of a request.
    fn last<T>(source: &str, judge: impl FnOnce(&Clause<'_>) -> T) -> T {
        let text = Text::new(source);
        let parts = parts(&text);
        assert!(parts.len() > 1, "{source}: {parts:?}");
        judge(&Clause::of(&text, &parts, parts.len() - 1))
    }

    #[test]
    fn each_sign_has_its_points() {
        let check = |source: &str, expected: &[Sign<'_>]| {
            let owned: Vec<(f64, String)> = last(source, |clause| {
                let signs = clause.signs().into_iter();
                signs.map(|(points, why)| (points, why.to_owned())).collect()
            });
            let found: Vec<Sign<'_>> = owned.iter().map(|(points, why)| (*points, why.as_str())).collect();
            assert_eq!(found, expected, "{source}");
        };
        check("List the rows, then sort the columns.", &[(3.0, "then")]);
        check(
            "Step 1: list the rows. Step 2: sort the columns.",
            &[(3.0, "numbered steps")],
        );
        check("List the rows. Sort it.", &[(2.0, "it")]);
        check(
            "List the rows. If it is long, sort the columns.",
            &[(2.5, "if"), (2.0, "it")],
        );
        check(
            "List the rows. Based on length, sort the columns.",
            &[(2.0, "based on")],
        );
        check("List the rows. Is it sorted?", &[(1.0, "it")]);
        check("List the rows. Print the longest.", &[(2.0, "longest")]);
        check("List the rows. Print the findings.", &[(3.0, "findings")]);
        check("List the rows. Sort the columns.", &[]);
    }

    #[test]
    fn bearing_speaks_for_parts_that_name_nothing() {
        let check = |source: &str, expected: f64| {
            assert_eq!(last(source, |clause| clause.bearing()), expected, "{source}");
        };
        check("List the rows. Describe the columns.", 0.5);
        check("List the rows and describe the columns.", 1.0);
        check("List the rows. Sort the columns.", 1.75);
        check("List the rows. Describe a column.", 1.25);
        check("List the rows. Describe a column from the table.", 2.0);
        check("List the rows. Describe `columns`.", -1.5);
        check("Sort `columns`. Describe `columns`.", 0.5);
        check("List the rows. List the columns.", -0.5);
        check("1. List the rows\n2. Describe the columns", 1.25);
        check("What is a row? Why is it long?", 0.0);
    }

    #[test]
    fn needs_are_told() {
        let check = |source: &str, needs: &[usize], sign: &str| {
            let text = Text::new(source);
            let parts = parts(&text);
            let part = parts.last().expect("a part");
            assert_eq!((part.needs.as_slice(), part.sign.as_str()), (needs, sign), "{source}");
        };
        check("List the rows. Sort the columns.", &[], "");
        check("List the rows, then sort the columns.", &[0], "`then`");
        check("List the rows, then sort them, and also print the columns.", &[], "");
        check(
            "Transcribe `talk.wav`, describe `slide.png`, and combine both into one report",
            &[0, 1],
            "brings them together",
        );
        check("Write a parser. Count the rows. Test the parser.", &[0], "`parser`");
    }
}
