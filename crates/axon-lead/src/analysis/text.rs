//! Cuts a request into tokens and sentences. Code, quotes and paths stay whole, so that nothing inside them is read as
//! structure of the request.

use std::ops::Range;

use super::output::printed;

/// A quote longer than this many bytes is taken for a stray quotation mark.
const QUOTE_BYTES_MAX: usize = 8_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word.
    Word,
    /// A name of code: `snake_case`, `CamelCase`, `a::b`, `f()`.
    Symbol,
    /// Something with a `/` or a file's extension.
    Path,
    /// Text in backticks.
    Code,
    /// Text in quotation marks.
    Quote,
    /// A number.
    Number,
    /// `,` and `(` and `)`.
    Comma,
    /// `:`, a dash between spaces.
    Colon,
    /// The end of a sentence or of an item of a list.
    End,
}

/// A token of the request.
#[derive(Debug, Clone)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    /// The text without backticks and quotation marks.
    pub text: &'a str,
    /// The same in lower case.
    pub lower: String,
    /// Where the token lies in the request, marks included.
    pub span: Range<usize>,
}

impl Token<'_> {
    /// Whether it is something named rather than said.
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Path | Kind::Code | Kind::Quote)
    }

    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.lower == word
    }
}

/// A sentence or an item of a list.
#[derive(Debug, Clone)]
pub(crate) struct Sentence {
    /// Its tokens, without the end.
    pub tokens: Range<usize>,
    /// It ends with a question mark.
    pub question: bool,
    /// It is an item of a list.
    pub item: Option<Item>,
    /// A program printed it: nothing in it asks.
    pub printed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Bullet,
    Numbered,
}

/// A request, cut up.
pub(crate) struct Text<'a> {
    pub source: &'a str,
    pub tokens: Vec<Token<'a>>,
    pub sentences: Vec<Sentence>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        let mut cutter = Cutter {
            source,
            tokens: Vec::new(),
            sentences: Vec::new(),
            start: 0,
            item: None,
            printed: false,
        };
        cutter.run();
        Self {
            source,
            tokens: cutter.tokens,
            sentences: cutter.sentences,
        }
    }

    /// The words of the request in lower case.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.tokens
            .iter()
            .filter(|token| token.kind == Kind::Word)
            .map(|token| token.lower.as_str())
    }

    /// The text from the first to the last of these tokens.
    pub(crate) fn slice(&self, tokens: &Range<usize>) -> &'a str {
        if tokens.is_empty() {
            return "";
        }
        &self.source[self.tokens[tokens.start].span.start..self.tokens[tokens.end - 1].span.end]
    }
}

struct Cutter<'a> {
    source: &'a str,
    tokens: Vec<Token<'a>>,
    sentences: Vec<Sentence>,
    start: usize,
    item: Option<Item>,
    printed: bool,
}

impl<'a> Cutter<'a> {
    fn run(&mut self) {
        let source = self.source;
        let printed = printed(source);
        let mut at = 0;
        let mut line_start = true;
        self.printed = printed.first().copied().unwrap_or_default();
        while let Some(c) = source[at..].chars().next() {
            if c == '\n' {
                // Fences and quotes span lines, so that lines are counted where the text is.
                let line = source[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
                let next = printed.get(line).copied().unwrap_or_default();
                if self.printed || next {
                    self.end(false);
                }
                self.printed = next;
                at = self.line_break(at);
                line_start = true;
                continue;
            }
            if c.is_whitespace() {
                at += c.len_utf8();
                continue;
            }
            if line_start {
                line_start = false;
                if !self.printed
                    && let Some((item, length)) = list_marker(&source[at..])
                {
                    self.end(false);
                    self.item = Some(item);
                    at += length;
                    continue;
                }
            }
            at = self.token(at, c);
        }
        self.end(false);
    }

    /// A line break ends a sentence before a list and at an empty line.
    fn line_break(&mut self, at: usize) -> usize {
        let rest = &self.source[at + 1..];
        let trimmed = rest.trim_start_matches([' ', '\t', '\r']);
        if trimmed.starts_with('\n') || self.item.is_some() {
            self.end(false);
        }
        at + 1
    }

    fn token(&mut self, at: usize, c: char) -> usize {
        let rest = &self.source[at..];
        let before = self.source[..at].chars().next_back();
        if let Some(fenced) = rest.strip_prefix("```") {
            let (inner, end) = match fenced.find("```") {
                Some(length) => (&fenced[..length], length + 6),
                None => (fenced, rest.len()),
            };
            return self.push(Kind::Code, inner.trim(), at..at + end);
        }
        let closing = match c {
            '`' => Some(('`', Kind::Code)),
            '"' => Some(('"', Kind::Quote)),
            '“' => Some(('”', Kind::Quote)),
            '«' => Some(('»', Kind::Quote)),
            '‘' => Some(('’', Kind::Quote)),
            '\'' if !before.is_some_and(char::is_alphanumeric) => Some(('\'', Kind::Quote)),
            _ => None,
        };
        if let Some((mark, kind)) = closing
            && let Some(length) = closing_mark(&rest[c.len_utf8()..], mark)
        {
            let inner = &rest[c.len_utf8()..c.len_utf8() + length];
            let end = at + c.len_utf8() + length + mark.len_utf8();
            return self.push(kind, inner, at..end);
        }
        if is_word_char(c)
            || (matches!(c, '.' | '/' | '~') && rest[1..].starts_with(|c: char| is_word_char(c) || c == '/'))
        {
            return self.word(at);
        }
        let end = at + c.len_utf8();
        match c {
            '?' | '!' | '.' | ';' => self.end(c == '?'),
            ',' | '(' | ')' | '[' | ']' => {
                self.push(Kind::Comma, &self.source[at..end], at..end);
            }
            ':' | '-' | '–' | '—' | '→' => {
                self.push(Kind::Colon, &self.source[at..end], at..end);
            }
            _ => {}
        }
        end
    }

    fn word(&mut self, at: usize) -> usize {
        let rest = &self.source[at..];
        let inner =
            |c: char| is_word_char(c) || matches!(c, '-' | '\'' | '’' | '/' | '.' | ':' | '@' | '+' | '*' | '#');
        let mut length = rest.find(|c: char| !inner(c)).unwrap_or(rest.len());
        let trailing = |c: char| matches!(c, '.' | ':' | '\'' | '’' | '-' | '*');
        length = rest[..length].trim_end_matches(trailing).len().max(1);
        // A colon inside a word is either `::`, a URL's, or the end of the word.
        if !rest[..length].contains("://")
            && let Some(colon) = lone_colon(&rest[..length])
        {
            length = colon;
        }
        if rest[length..].starts_with("()") {
            length += 2;
        }
        let text = &rest[..length];
        self.push(kind_of(text), text, at..at + length)
    }

    fn push(&mut self, kind: Kind, text: &'a str, span: Range<usize>) -> usize {
        let end = span.end;
        self.tokens.push(Token {
            kind,
            text,
            lower: text.to_lowercase(),
            span,
        });
        end
    }

    fn end(&mut self, question: bool) {
        let tokens = self.start..self.tokens.len();
        if !tokens.is_empty() {
            self.sentences.push(Sentence {
                tokens,
                question: question && !self.printed,
                item: self.item,
                printed: self.printed,
            });
            let at = self.tokens.last().map_or(0, |token| token.span.end);
            self.push(Kind::End, "", at..at);
        }
        self.item = None;
        self.start = self.tokens.len();
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the quotation that begins with `rest` is closed; nothing where no mark closes it near by.
fn closing_mark(rest: &str, mark: char) -> Option<usize> {
    // The end of the last character that is looked at, which may take several bytes.
    let end = rest
        .char_indices()
        .take_while(|(at, _)| *at <= QUOTE_BYTES_MAX)
        .last()
        .map(|(at, c)| at + c.len_utf8())?;
    let mut from = 0;
    while let Some(found) = rest[from..end].find(mark) {
        let at = from + found;
        from = at + mark.len_utf8();
        let inside_word = rest[from..].chars().next().is_some_and(char::is_alphanumeric);
        // An apostrophe inside a word closes nothing.
        if !matches!(mark, '\'' | '’') || !inside_word {
            return (at > 0).then_some(at);
        }
    }
    None
}

/// The marker of a list's item at the beginning of a line, and its length in bytes.
fn list_marker(line: &str) -> Option<(Item, usize)> {
    for bullet in ["- ", "* ", "• ", "+ "] {
        if line.starts_with(bullet) {
            return Some((Item::Bullet, bullet.len()));
        }
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let marked = (1..=2).contains(&digits) && line[digits..].starts_with(['.', ')']);
    (marked && line[digits + 1..].starts_with(' ')).then_some((Item::Numbered, digits + 2))
}

fn lone_colon(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len())
        .find(|&at| bytes[at] == b':' && bytes.get(at + 1) != Some(&b':') && (at == 0 || bytes[at - 1] != b':'))
}

fn kind_of(text: &str) -> Kind {
    if text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '/' | ':'))
        && !text.contains("/src")
    {
        return Kind::Number;
    }
    if text.contains("::") || text.ends_with("()") || text.trim_matches('_').contains('_') && !text.contains(['/', '.'])
    {
        return Kind::Symbol;
    }
    if looks_like_path(text) {
        return Kind::Path;
    }
    if is_camel_case(text) || is_dotted(text) {
        return Kind::Symbol;
    }
    Kind::Word
}

/// Whether a word can only be a path: a `/` between names, or a name with the extension of a file.
fn looks_like_path(text: &str) -> bool {
    if text.contains("://") {
        return true;
    }
    let extension = crate::view::extension(text);
    let named = (1..=5).contains(&extension.len())
        && extension.starts_with(|c: char| c.is_ascii_lowercase())
        && extension.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.len() > extension.len() + 1
        && !text.contains(['(', '\'']);
    match text.matches('/').count() {
        0 => named && KNOWN_EXTENSIONS.contains(&extension),
        // `and/or` and `read/write` are words; `docs/`, `./x` and `a/b.rs` are paths.
        1 => {
            text.ends_with('/')
                || text.starts_with(['.', '/', '~'])
                || named
                || text.contains(['_', '-'])
                || is_known_root(text)
        }
        _ => true,
    }
}

fn is_known_root(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    [
        "src", "tests", "test", "docs", "doc", "lib", "crates", "packages", "pkg", "cmd", "internal", "app", "apps",
        "examples", "scripts", "benches", "include",
    ]
    .contains(&first)
}

const KNOWN_EXTENSIONS: &[&str] = &[
    "adoc", "avi", "bash", "bin", "c", "cc", "cfg", "conf", "cpp", "cs", "css", "csv", "dart", "doc", "docx", "ex",
    "exs", "flac", "gif", "go", "h", "hpp", "hs", "htm", "html", "ini", "ipynb", "java", "jpeg", "jpg", "js", "json",
    "jsx", "kt", "lock", "log", "lua", "md", "mkv", "ml", "mov", "mp3", "mp4", "pdf", "php", "pl", "png", "proto",
    "py", "rb", "rs", "rst", "scala", "sh", "sql", "svg", "swift", "tar", "tf", "toml", "ts", "tsv", "tsx", "txt",
    "vue", "wav", "webp", "xls", "xlsx", "xml", "yaml", "yml", "zig", "zip",
];

fn is_dotted(text: &str) -> bool {
    let mut parts = text.split('.');
    let count = text.matches('.').count();
    (1..=3).contains(&count)
        && parts.all(|part| part.len() > 1 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// Two humps at least, as in `CircuitBreaker` and `parseHeader`; names of products such as `GitHub` aside.
fn is_camel_case(text: &str) -> bool {
    const PRODUCTS: &[&str] = &[
        "GitHub",
        "GitLab",
        "JavaScript",
        "TypeScript",
        "PostgreSQL",
        "MySQL",
        "JetStream",
        "OpenAI",
        "YouTube",
        "LinkedIn",
        "iPhone",
        "macOS",
        "iOS",
        "DevOps",
        "GraphQL",
        "NoSQL",
        "MongoDB",
        "WebSocket",
        "OpenTelemetry",
        "RabbitMQ",
        "LaTeX",
        "PowerPoint",
        "WhatsApp",
        "PyTorch",
        "TensorFlow",
        "MessagePack",
    ];
    let alphanumeric = text.bytes().all(|b| b.is_ascii_alphanumeric());
    let humps = text
        .as_bytes()
        .windows(2)
        .filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
        .count();
    alphanumeric && humps > 0 && !PRODUCTS.contains(&text.trim_end_matches('s'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(Kind, &str)]) {
        let text = Text::new(source);
        let found: Vec<(Kind, &str)> = text
            .tokens
            .iter()
            .filter(|token| !matches!(token.kind, Kind::Word | Kind::End | Kind::Comma))
            .map(|token| (token.kind, token.text))
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn code_quotes_and_paths_stay_whole() {
        check("Why does `parse_header` fail?", &[(Kind::Code, "parse_header")]);
        check(
            "see src/lib.rs, docs/ and ./x.",
            &[(Kind::Path, "src/lib.rs"), (Kind::Path, "docs/"), (Kind::Path, "./x")],
        );
        check(
            "it says \"no such file\" and 'a, b'",
            &[(Kind::Quote, "no such file"), (Kind::Quote, "a, b")],
        );
        check("don't touch users' data, it's mine", &[]);
        // A mark that nothing closes, before a last character of several bytes.
        check("it says \"no such file…", &[]);
        check("why does `café", &[]);
        check("“so é", &[]);
        check(
            "foo::bar() calls snake_case and CamelCase",
            &[
                (Kind::Symbol, "foo::bar()"),
                (Kind::Symbol, "snake_case"),
                (Kind::Symbol, "CamelCase"),
            ],
        );
        check("read/write and/or either", &[]);
        check(
            "on GitHub, version 2.10 of 3 things",
            &[(Kind::Number, "2.10"), (Kind::Number, "3")],
        );
        check("```\nlet x = 1;\n``` fails", &[(Kind::Code, "let x = 1;")]);
        check("unclosed ` and \" marks", &[]);
        check(
            "main.rs and self.field: both",
            &[
                (Kind::Path, "main.rs"),
                (Kind::Symbol, "self.field"),
                (Kind::Colon, ":"),
            ],
        );
        check("https://example.org/a?b", &[(Kind::Path, "https://example.org/a")]);
    }

    #[test]
    fn sentences_and_items_are_told_apart() {
        let text = Text::new("Do this.\n1. Read a\n2. Write b\n\nWhy? And\nso on; more");
        let found: Vec<(&str, bool, Option<Item>)> = text
            .sentences
            .iter()
            .map(|sentence| (text.slice(&sentence.tokens), sentence.question, sentence.item))
            .collect();
        assert_eq!(
            found,
            [
                ("Do this", false, None),
                ("Read a", false, Some(Item::Numbered)),
                ("Write b", false, Some(Item::Numbered)),
                ("Why", true, None),
                ("And\nso on", false, None),
                ("more", false, None),
            ]
        );
    }

    #[test]
    fn odd_texts_do_no_harm() {
        for source in [
            "",
            "   ",
            "?!.;,:",
            "'",
            "''",
            "\"\"",
            "ä ö ü — ß",
            "…",
            "\n\n\n",
            "`",
            "``````",
            "(((",
            ".rs",
            "a\u{301}'b",
        ] {
            let text = Text::new(source);
            assert!(
                text.tokens.iter().all(|token| source.get(token.span.clone()).is_some()),
                "{source}"
            );
        }
    }
}
