//! Passages: the statement in a section, or the description of a piece of code, that says most about a question, and the
//! lines it stands in. It quotes and shortens; it never rewrites.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axon_tools::code::terms;
use axon_tools::{FileText, Kind, language_of};
use regex::Regex;

/// Characters of a statement that are quoted in a claim.
const STATEMENT_CHARS_MAX: usize = 260;
/// Lines of a passage.
const LINES_MAX: u32 = 10;
/// Lines that a signature may take.
const SIGNATURE_LINES_MAX: usize = 24;
/// Lines of a docstring that are read.
const DOCSTRING_LINES_MAX: usize = 60;
/// Words below which a sentence says nothing by itself.
const WORDS_MIN: usize = 4;

static ROLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r":[a-z]+(?::[a-z]+)?:`([^`<>]+)`").ok());

/// A statement and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The statement, shortened where it is long.
    pub statement: String,
    /// First line of what shows it.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Terms of the question it holds.
    pub held: usize,
}

/// The best statement of lines of a file for a question's terms.
pub fn passage(path: &str, text: &FileText, first: u32, last: u32, wanted: &BTreeSet<String>) -> Option<Passage> {
    match language_of(path).kind {
        Kind::Code => of_code(text, first, last, wanted),
        _ => of_prose(text, first, last, wanted),
    }
}

/// What a file says about itself at its head.
pub fn head(text: &FileText) -> Option<Passage> {
    let lines: Vec<(u32, String)> = (1..=text.line_count().min(40))
        .map_while(|line| Some((line, text.line(line)?)))
        .skip_while(|(_, line)| line.trim().is_empty() || line.starts_with("#!") || line.starts_with("# -*-"))
        .map_while(|(line, content)| Some((line, documentation(content)?)))
        .collect();
    first_sentence(&lines)
}

/// The words of a documentation comment, or `None` where the line is none.
fn documentation(line: &str) -> Option<String> {
    let line = line.trim();
    for mark in ["//!", "///", "/**", "\"\"\"", "'''", "r\"\"\"", "//", "*/", "* ", "#!["] {
        if let Some(rest) = line.strip_prefix(mark) {
            return (mark != "#![").then(|| rest.trim_end_matches("*/").trim_end_matches("\"\"\"").trim().to_owned());
        }
    }
    line.strip_prefix("# ").map(str::to_owned)
}

fn first_sentence(lines: &[(u32, String)]) -> Option<Passage> {
    let start = lines.iter().position(|(_, line)| line.split_whitespace().count() > 1)?;
    let mut statement = String::new();
    let mut end_line = lines[start].0;
    for (line, content) in lines.iter().skip(start) {
        if content.is_empty() {
            break;
        }
        if !statement.is_empty() {
            statement.push(' ');
        }
        statement.push_str(content);
        end_line = *line;
        // A sentence of a word or two needs the next one to say something.
        let ends = sentences(&statement)
            .into_iter()
            .map(|(_, end)| end)
            .filter(|end| *end < statement.len());
        if let Some(end) = ends
            .into_iter()
            .find(|end| statement[..*end].split_whitespace().count() >= WORDS_MIN - 1)
        {
            statement.truncate(end);
            break;
        }
        if statement.ends_with(['.', '!', '?']) && statement.split_whitespace().count() >= WORDS_MIN - 1 {
            break;
        }
    }
    let statement = cleaned(&statement);
    (statement.split_whitespace().count() >= 2).then(|| Passage {
        statement: shortened(&statement),
        line: lines[start].0,
        end_line,
        held: 0,
    })
}

/// How many terms of the question a text holds.
fn held(text: &str, wanted: &BTreeSet<String>) -> usize {
    let said: BTreeSet<String> = terms(text).into_iter().collect();
    said.intersection(wanted).count()
}

/// The first sentence, unless a later one holds more of the question by two terms at least.
fn best_sentence(lines: &[(u32, String)], wanted: &BTreeSet<String>) -> Option<Passage> {
    let first = first_sentence(lines)?;
    let paragraph: Vec<(u32, String)> = lines.iter().filter(|(_, line)| !line.is_empty()).cloned().collect();
    let later = best_of(&paragraph, wanted).filter(|best| best.held >= held(&first.statement, wanted) + 2);
    Some(later.unwrap_or(first))
}

/// Documentation above a piece of code, or its docstring; else its signature.
fn of_code(text: &FileText, first: u32, last: u32, wanted: &BTreeSet<String>) -> Option<Passage> {
    let lines: Vec<(u32, &str)> = (first..=last)
        .map_while(|line| Some((line, text.line(line)?)))
        .collect();
    let is_mark = |line: &str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("/**") || line.starts_with("//!") || line.starts_with("* ")
    };
    let above: Vec<(u32, String)> = lines
        .iter()
        .skip_while(|(_, line)| line.trim().is_empty())
        .take_while(|(_, line)| is_mark(line) || line.trim_start().starts_with("#["))
        .filter(|(_, line)| is_mark(line))
        .filter_map(|(number, line)| Some((*number, documentation(line)?)))
        .collect();
    let signature = lines
        .iter()
        .find(|(_, line)| is_signature(line))
        .map(|(number, _)| *number);
    if let Some(mut passage) = best_sentence(&above, wanted) {
        // The reader should see what is described as well.
        let signature = signature.unwrap_or(passage.end_line);
        if signature >= passage.end_line && signature - passage.line < LINES_MAX {
            passage.end_line = signature;
        }
        passage.held = held(&passage.statement, wanted);
        return Some(passage);
    }
    let signature = signature?;
    let head: Vec<(u32, &str)> = lines
        .iter()
        .skip_while(|(number, _)| *number < signature)
        .copied()
        .collect();
    let (head, body) = head.split_at(head_lines(&head));
    if let Some(mut passage) = best_sentence(&docstring(body), wanted) {
        if passage.end_line - signature < LINES_MAX {
            passage.line = signature;
        }
        passage.held = held(&passage.statement, wanted);
        return Some(passage);
    }
    let whole: Vec<&str> = head.iter().map(|(_, line)| line.trim()).collect();
    let whole = whole
        .join(" ")
        .replace("( ", "(")
        .replace(", )", ")")
        .replace(" )", ")");
    let shown = whole.trim_end_matches(['{', ':']).trim();
    let end_line = last.min(signature + 4);
    Some(Passage {
        statement: shortened(&format!("`{shown}`")),
        line: signature,
        end_line,
        held: held(shown, wanted),
    })
}

/// Lines of a signature, from its first one on: up to the one that opens the body or ends the declaration.
fn head_lines(lines: &[(u32, &str)]) -> usize {
    let ends = |(_, line): &(u32, &str)| line.trim_end().ends_with(['{', ':', ';', '}']);
    lines
        .iter()
        .take(SIGNATURE_LINES_MAX)
        .position(ends)
        .map_or(1, |at| at + 1)
        .min(lines.len())
}

/// The lines of the docstring at the head of a body of Python, without its quotation marks.
fn docstring(body: &[(u32, &str)]) -> Vec<(u32, String)> {
    let mut lines = body.iter().skip_while(|(_, line)| line.trim().is_empty());
    let Some((first, opening)) = lines.next() else {
        return Vec::new();
    };
    let opening = opening.trim().trim_start_matches(['r', 'R', 'u', 'b']);
    let Some(mark) = ["\"\"\"", "'''"].into_iter().find(|mark| opening.starts_with(mark)) else {
        return Vec::new();
    };
    let rest = &opening[mark.len()..];
    if let Some(end) = rest.find(mark) {
        return vec![(*first, rest[..end].trim().to_owned())];
    }
    let mut said = vec![(*first, rest.trim().to_owned())];
    for (number, line) in lines.take(DOCSTRING_LINES_MAX) {
        let line = line.trim();
        match line.find(mark) {
            Some(end) => {
                said.push((*number, line[..end].trim().to_owned()));
                break;
            }
            None => said.push((*number, line.to_owned())),
        }
    }
    // Fields such as `:param x:` describe parameters, not what it does.
    let fields = said
        .iter()
        .position(|(_, line)| line.starts_with(':') && !line.starts_with(":class:"));
    said.truncate(fields.unwrap_or(said.len()));
    said
}

fn is_signature(line: &str) -> bool {
    let line = line.trim_start();
    let line = line
        .strip_prefix("pub(crate) ")
        .or_else(|| line.strip_prefix("pub "))
        .unwrap_or(line);
    let starts = [
        "fn ",
        "async fn ",
        "const ",
        "static ",
        "struct ",
        "enum ",
        "trait ",
        "type ",
        "impl ",
        "impl<",
        "mod ",
        "macro_rules!",
        "unsafe ",
        "def ",
        "async def ",
        "class ",
        "func ",
        "function ",
        "export ",
        "interface ",
        "public ",
        "private ",
        "protected ",
    ];
    starts.iter().any(|start| line.starts_with(start))
}

/// The sentence of a section that holds most terms; of equals, the first.
fn of_prose(text: &FileText, first: u32, last: u32, wanted: &BTreeSet<String>) -> Option<Passage> {
    let mut best: Option<Passage> = None;
    for paragraph in paragraphs(text, first, last) {
        if let Some(passage) = best_of(&paragraph, wanted)
            && best.as_ref().is_none_or(|known| passage.held > known.held)
        {
            best = Some(passage);
        }
    }
    best
}

/// The sentence of a paragraph that holds most terms; of equals, the first.
fn best_of(paragraph: &[(u32, String)], wanted: &BTreeSet<String>) -> Option<Passage> {
    let mut joined = String::new();
    let mut starts: Vec<(usize, u32)> = Vec::new();
    for (number, line) in paragraph {
        if !joined.is_empty() {
            joined.push(' ');
        }
        starts.push((joined.len(), *number));
        joined.push_str(line);
    }
    let line_at = |offset: usize| {
        starts
            .iter()
            .rev()
            .find(|(start, _)| *start <= offset)
            .map_or(1, |(_, line)| *line)
    };
    let mut best: Option<Passage> = None;
    for (from, to) in sentences(&joined) {
        let statement = cleaned(joined.get(from..to).unwrap_or_default());
        // A question in a text asks what the reader asks.
        if statement.split_whitespace().count() < WORDS_MIN || statement.ends_with('?') {
            continue;
        }
        let held = held(&statement, wanted);
        if best.as_ref().is_none_or(|known| held > known.held) {
            let line = line_at(from);
            let end_line = line_at(to.saturating_sub(1)).min(line + LINES_MAX - 1);
            best = Some(Passage {
                statement: shortened(&statement),
                line,
                end_line,
                held,
            });
        }
    }
    best
}

/// Runs of lines that belong together: paragraphs, and each item of a list or row of a table by itself.
fn paragraphs(text: &FileText, first: u32, last: u32) -> Vec<Vec<(u32, String)>> {
    let mut out: Vec<Vec<(u32, String)>> = vec![Vec::new()];
    let is_mark = |line: &str| line.trim().starts_with("```") || line.trim().starts_with("~~~");
    // The lines may begin within a block that was opened before.
    let mut fenced = (1..first)
        .filter_map(|line| text.line(line))
        .filter(|line| is_mark(line))
        .count()
        % 2
        == 1;
    for number in first..=last {
        let Some(line) = text.line(number) else { break };
        let trimmed = line.trim();
        let is_fence = is_mark(trimmed);
        fenced ^= is_fence;
        let is_heading = trimmed.starts_with('#')
            || (trimmed.len() > 2
                && trimmed
                    .chars()
                    .all(|c| matches!(c, '=' | '-' | '~' | '^' | '|' | ':' | ' ')));
        if trimmed.is_empty() || is_fence || fenced || is_heading {
            out.push(Vec::new());
            continue;
        }
        let item = ["- ", "* ", "+ ", "| "].iter().any(|mark| trimmed.starts_with(mark))
            || trimmed
                .split_once(". ")
                .is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()));
        if item {
            out.push(Vec::new());
        }
        if let Some(paragraph) = out.last_mut() {
            paragraph.push((number, trimmed.to_owned()));
        }
    }
    out.retain(|paragraph| !paragraph.is_empty());
    out
}

/// Where sentences begin and end.
fn sentences(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let rest = text.get(from..).unwrap_or_default();
        let to = from + sentence_end(rest).unwrap_or(rest.len());
        out.push((from, to));
        from = to + text.get(to..).map_or(0, |rest| rest.len() - rest.trim_start().len());
        if to == text.len() {
            break;
        }
    }
    out
}

/// The end of the first sentence, if it ends before the text does.
fn sentence_end(text: &str) -> Option<usize> {
    text.char_indices().find_map(|(at, c)| {
        let next = text.get(at + c.len_utf8()..).unwrap_or_default();
        let mut after = next.chars();
        let ends = matches!(c, '.' | '!' | '?') && after.next().is_some_and(char::is_whitespace);
        // `e.g. this` and `v. 2` are no ends.
        let starts_anew = next
            .trim_start()
            .chars()
            .next()
            .is_some_and(|c| c.is_uppercase() || c.is_numeric() || matches!(c, '`' | '*' | '"' | '(' | '['));
        let last_word = text
            .get(..at)
            .unwrap_or_default()
            .rsplit(' ')
            .next()
            .unwrap_or_default();
        (ends && starts_anew && !matches!(last_word, "e.g" | "i.e" | "vs" | "cf" | "etc")).then_some(at + c.len_utf8())
    })
}

/// Without the marks of lists, emphasis, links and tables.
fn cleaned(text: &str) -> String {
    let text = text.trim();
    let text = ["- ", "* ", "+ ", "> "]
        .iter()
        .find_map(|mark| text.strip_prefix(mark))
        .unwrap_or(text);
    let cells: Vec<&str> = text.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let text = if text.starts_with('|') {
        cells.join(" – ")
    } else {
        text.to_owned()
    };
    let text = without_roles(&text.replace("**", ""));
    let mut out = String::new();
    let mut rest = text.as_str();
    // `[words](target)` becomes its words.
    while let Some(at) = rest.find("](") {
        let (before, after) = rest.split_at(at);
        let Some(end) = after.find(')') else { break };
        match before.rfind('[') {
            Some(open) => {
                out.push_str(&before[..open]);
                out.push_str(&before[open + 1..]);
            }
            None => out.push_str(before),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A role of reStructuredText, such as ":class:`~flask.Blueprint`", as what it names: "`Blueprint`".
fn without_roles(text: &str) -> String {
    let Some(role) = ROLE.as_ref() else {
        return text.to_owned();
    };
    role.replace_all(text, |found: &regex::Captures<'_>| {
        let target = found.get(1).map_or("", |name| name.as_str());
        match target.strip_prefix('~') {
            Some(path) => format!("`{}`", path.rsplit('.').next().unwrap_or(path)),
            None => format!("`{}`", target.trim_start_matches('.')),
        }
    })
    .replace("``", "`")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= STATEMENT_CHARS_MAX {
        return text.to_owned();
    }
    let cut: String = text.chars().take(STATEMENT_CHARS_MAX).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end_matches([',', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_tools::Workspace;

    fn best(path: &str, content: &str, question: &str) -> Option<(String, u32, u32)> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(path), content).expect("written");
        let workspace = Workspace::of_directory(dir.path()).expect("a workspace");
        let text = workspace.text(path).expect("text");
        let wanted: BTreeSet<String> = axon_tools::code::query_terms(question).into_iter().collect();
        passage(path, &text, 1, text.line_count(), &wanted).map(|p| (p.statement, p.line, p.end_line))
    }

    #[test]
    fn the_sentence_that_answers_is_chosen() {
        let text = "# Leases\n\nMany things are said here, e.g. this. Is the question asked itself? An unacknowledged message is\nthe only **lock** there is. More follows.\n\n- item one is [linked](http://x) to it\n- item two\n\n| a | the table row speaks of eviction |\n";
        for (question, statement, line, end_line) in [
            (
                "what is the lock?",
                "An unacknowledged message is the only lock there is.",
                3,
                4,
            ),
            ("linked items", "item one is linked to it", 6, 6),
            ("eviction of a table row", "a – the table row speaks of eviction", 9, 9),
            (
                "is the question itself asked?",
                "Many things are said here, e.g. this.",
                3,
                3,
            ),
        ] {
            assert_eq!(
                best("a.md", text, question),
                Some((statement.to_owned(), line, end_line)),
                "{question}"
            );
        }
    }

    #[test]
    fn code_is_described_by_its_documentation_or_signature() {
        for (path, text, expected) in [
            (
                "a.rs",
                "/// Reads the head. Then more.\n#[inline]\npub fn head() {}\n",
                Some(("Reads the head.", 1, 3)),
            ),
            (
                "a.rs",
                "pub fn bare(x: u8) -> u8 {\n    x\n}\n",
                Some(("`pub fn bare(x: u8) -> u8`", 1, 3)),
            ),
            (
                "a.py",
                "def get(key):\n    \"\"\"Returns the value of a key.\"\"\"\n    pass\n",
                Some(("Returns the value of a key.", 1, 2)),
            ),
            (
                "a.py",
                "def strip(url):\n    r\"\"\"When redirected we may want to strip from the\n    request what is secret. More of it.\n\n    :param url: Where to.\n    \"\"\"\n    pass\n",
                Some((
                    "When redirected we may want to strip from the request what is secret.",
                    1,
                    3,
                )),
            ),
            (
                "a.py",
                "def follow(\n    self,\n    hops=3,\n):\n    '''Follows each :class:`~app.Hop` of ``hops``.'''\n    pass\n",
                Some(("Follows each `Hop` of `hops`.", 1, 5)),
            ),
            (
                "a.py",
                "def bare(\n    self,\n    hops=3,\n):\n    return hops\n",
                Some(("`def bare(self, hops=3)`", 1, 5)),
            ),
            ("a.rs", "}\n", None),
        ] {
            let expected = expected.map(|(statement, line, end_line)| (statement.to_owned(), line, end_line));
            assert_eq!(best(path, text, "anything"), expected, "{text}");
        }
    }
}
