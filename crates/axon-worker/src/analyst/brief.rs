//! What a task asks, read once: its words, its names, and which of the workspace's files they mean. Pure.

mod symptom;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axon_protocol::{Evidence, Task, TaskId, ToolCall};
use axon_tools::Workspace;
use axon_tools::code::{is_empty_word, query_terms};
use regex::Regex;
use serde_json::Value;

use symptom::{holds_no_code, messages, without_thread};

/// Most names of one kind that are looked up.
const NAMES_MAX: usize = 8;
/// Most files a path of the question may mean before it is too vague to use.
const PATH_MEANINGS_MAX: usize = 6;

/// Most files that one of the things compared is measured by.
const SUBJECT_FILES_MAX: usize = 40;

/// A place a question names, such as a line of a stack trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
}

/// A place an earlier task found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// The file.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// What the earlier finding was about.
    pub subject: String,
}

/// What a task asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Brief {
    /// The task.
    pub task: TaskId,
    /// The words of the query.
    pub query: String,
    /// The same without what every failure says.
    pub text: String,
    /// What the task is to find out.
    pub objective: String,
    /// The aspect, in the lead's spelling.
    pub aspect: String,
    /// The way of working.
    pub playbook: String,
    /// Words that carry the meaning of the query.
    pub keywords: Vec<String>,
    /// Names of code.
    pub symbols: Vec<String>,
    /// Quoted texts, such as error messages.
    pub quotes: Vec<String>,
    /// What a comparison compares.
    pub subjects: Vec<String>,
    /// The files of the scope that each of these is, where its name tells.
    pub subject_paths: Vec<Vec<String>>,
    /// The aspects that the query names.
    pub aspects: Vec<String>,
    /// What the findings should answer.
    pub key_questions: Vec<String>,
    /// Files and directories of the scope that the query names.
    pub paths: Vec<String>,
    /// Lines the query names.
    pub frames: Vec<Frame>,
    /// Lines the query names that hold no code, with why.
    pub bare_frames: Vec<(Frame, String)>,
    /// What earlier tasks found.
    pub leads: Vec<Lead>,
    /// The workspace's own names, in lower case: everything in it is of that name. Empty where the query is about it alone.
    pub own_names: BTreeSet<String>,
    /// Files in the scope.
    pub files: usize,
    /// Whether the workspace brought the commits that led to it.
    pub history: bool,
}

impl Brief {
    /// Reads a task.
    pub fn of(task: &Task, workspace: &Workspace) -> Self {
        let delegation = &task.delegation;
        let query = without_boilerplate(&task.query);
        let context = &delegation.context;
        let known: Vec<&str> = workspace
            .files_in(&delegation.boundaries.scope)
            .into_iter()
            .map(|file| file.path.as_str())
            .collect();
        let mut named = texts(context, "paths");
        named.extend(path_like(&query));
        let (mut paths, frames) = resolve(&named, &known);
        let (frames, bare_frames) = frames_with_code(frames, workspace);
        if context.get("again").is_some() {
            // A task before this one has looked there and found next to nothing.
            paths.clear();
        }
        let mut keywords = texts(context, "keywords");
        if keywords.is_empty() {
            keywords = query
                .split_whitespace()
                .map(trimmed)
                .filter(|word| !is_empty_word(word))
                .map(str::to_owned)
                .collect();
        }
        let mut symbols = texts(context, "symbols");
        symbols.extend(symbol_like(&query));
        let symbols = unique(
            symbols
                .into_iter()
                .filter(|symbol| !is_of_boilerplate(symbol))
                .map(|symbol| symbol.trim_end_matches("()").to_owned()),
        );
        let subjects = unique(texts(context, "subjects").into_iter());
        let own_names = own_names(workspace, &keywords);
        let mut quotes = texts(context, "quotes");
        quotes.extend(quoted(&query));
        let messages = messages(&task.query);
        // A whole paste may be quoted: only the message in it stands in the code.
        quotes.retain(|quote| !messages.iter().any(|message| quote.contains(message.as_str())));
        quotes.splice(0..0, messages);
        Self {
            task: delegation.task_id.clone(),
            query: task.query.clone(),
            text: query,
            objective: delegation.objective.clone(),
            aspect: delegation.aspect.clone(),
            playbook: delegation.playbook.clone(),
            keywords: unique(keywords.into_iter()),
            quotes: unique(
                quotes
                    .into_iter()
                    .filter(|quote| !symbols.contains(quote) && quote.split_whitespace().count() > 1),
            ),
            symbols,
            subject_paths: subjects
                .iter()
                .map(|subject| paths_of(subject, &named, &known))
                .collect(),
            subjects,
            aspects: unique(texts(context, "aspects").into_iter()),
            key_questions: delegation.key_questions.iter().take(NAMES_MAX).cloned().collect(),
            paths,
            frames,
            bare_frames,
            leads: leads(task),
            own_names,
            files: known.len(),
            history: workspace.manifest().files.iter().any(|file| file.churn > 0),
        }
    }

    /// The question in words for a ranked search: the query, its names, and what the task adds to it.
    pub fn question(&self) -> String {
        let text = self.text.split_whitespace().filter(|word| !self.is_own_name(word));
        let mut words: Vec<String> = text.map(str::to_owned).collect();
        words.extend(self.keywords.iter().filter(|word| !self.is_own_name(word)).cloned());
        words.extend(self.symbols.iter().cloned());
        words.join(" ")
    }

    /// What is known of a symptom: the query, then the names that were read out of it.
    pub fn symptom(&self) -> String {
        let mut text = self.text.clone();
        for name in self.symbols.iter().chain(&self.keywords) {
            text.push('\n');
            text.push_str(name);
        }
        text
    }

    /// Words of the query that say what it is about, beyond the words every question of its kind has.
    pub fn topic(&self) -> Vec<String> {
        let named = !self.symbols.is_empty();
        let words = self
            .keywords
            .iter()
            .flat_map(|keyword| keyword.split_whitespace())
            .map(trimmed);
        let telling = words.filter(|word| {
            let asks = named && VERBS_OF_ASKING.contains(&word.to_lowercase().as_str());
            !is_empty_word(word)
                && !query_terms(word).is_empty()
                && !is_generic_word(word)
                && !asks
                && !self.is_own_name(word)
        });
        let telling = telling
            .chain(self.symbols.iter().map(String::as_str))
            .map(str::to_owned);
        unique(telling)
    }

    fn is_own_name(&self, word: &str) -> bool {
        let word = trimmed(word);
        let word = word
            .strip_suffix("'s")
            .or_else(|| word.strip_suffix("’s"))
            .unwrap_or(word);
        self.own_names.contains(&normal_name(word))
    }

    /// Names of code that the query asks about: not the kind of error that a message begins with.
    pub fn named(&self) -> Vec<&str> {
        let is_kind = |symbol: &str| self.text.contains(&format!("{symbol}: "));
        let symbols = self.symbols.iter().map(String::as_str);
        symbols.filter(|symbol| symbol.len() > 2 && !is_kind(symbol)).collect()
    }

    /// The aspect as lower-case words joined by `_`.
    pub fn aspect_key(&self) -> String {
        let words: Vec<String> = self
            .aspect
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        words.join("_")
    }

    /// Whether a word of the aspect begins with one of these.
    pub fn aspect_has(&self, starts: &[&str]) -> bool {
        let key = self.aspect_key();
        key.split('_')
            .any(|word| starts.iter().any(|start| word.starts_with(start)))
    }
}

/// Words that say which kind of work is asked for, and not what it is about.
const GENERIC_WORDS: &str = "review audit check analyse analyze investigate inspect look problem issue bug error handling quality risk \
    panic unhandled security performance concurrency correctness maintainability complexity tests coverage improve \
    improvement suggest recommend report finding important main critical source file files module crate package function \
    functions summary summarize describe understand work works architecture design weakness vulnerability race deadlock compare comparison contrast difference versus";

/// Words that ask how something named stands to the rest; beside a name they are no subject of their own.
const VERBS_OF_ASKING: &[&str] = &[
    "call",
    "calls",
    "called",
    "caller",
    "callers",
    "calling",
    "defined",
    "defines",
    "definition",
    "declared",
    "implemented",
    "implementation",
    "invoke",
    "invokes",
    "invoked",
    "referenced",
    "references",
    "mentioned",
    "occur",
    "occurs",
    "exist",
    "exists",
    "usage",
    "usages",
    "users",
    "located",
    "come",
    "comes",
];

static GENERIC: LazyLock<BTreeSet<String>> = LazyLock::new(|| query_terms(GENERIC_WORDS).into_iter().collect());

/// Whether a word says which kind of work is asked for, and not what it is about.
pub fn is_generic_word(word: &str) -> bool {
    query_terms(word).iter().all(|term| GENERIC.contains(term))
}

/// Manifests of packages that may stand at the root, and how they give the name.
const MANIFESTS: &[&str] = &["Cargo.toml", "pyproject.toml", "package.json", "setup.cfg", "go.mod"];

static PACKAGE_NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?m)^\s*"?name"?\s*[=:]\s*"?(?P<name>[\w@/.-]+)|^module\s+(?P<module>\S+)"#).ok());

/// The name of the package at the root. A query of nothing else is about the package itself, and keeps it.
fn own_names(workspace: &Workspace, keywords: &[String]) -> BTreeSet<String> {
    let texts = MANIFESTS.iter().filter_map(|path| workspace.text(path).ok());
    let names: BTreeSet<String> = texts.filter_map(|text| package_name(text.as_str())).collect();
    let others = keywords
        .iter()
        .flat_map(|keyword| keyword.split_whitespace())
        .any(|word| {
            let word = trimmed(word);
            !is_empty_word(word) && !is_generic_word(word) && !names.contains(&normal_name(word))
        });
    if others { names } else { BTreeSet::new() }
}

/// The name that a manifest gives its package first: other names in it are those of parts and of dependencies.
fn package_name(manifest: &str) -> Option<String> {
    let found = PACKAGE_NAME.as_ref()?.captures(manifest)?;
    let name = found.name("name").or_else(|| found.name("module"))?.as_str();
    Some(normal_name(name.rsplit('/').next().unwrap_or(name)))
}

fn normal_name(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// What runtimes write around every failure; it says nothing about this one.
const BOILERPLATE: &[&str] = &[
    "called `Result::unwrap()` on an `Err` value",
    "called Result::unwrap() on an Err value",
    "called `Option::unwrap()` on a `None` value",
    "called Option::unwrap() on a None value",
    "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
    "Traceback (most recent call last)",
    "panicked at",
];

fn without_boilerplate(query: &str) -> String {
    let bare = BOILERPLATE
        .iter()
        .fold(without_thread(query), |text, phrase| text.replace(phrase, " "));
    // A query of nothing else is looked at as it is.
    if bare.split_whitespace().count() < 2 {
        query.to_owned()
    } else {
        bare
    }
}

/// Names of standard libraries that messages hold and that are defined nowhere in a workspace.
fn is_of_boilerplate(symbol: &str) -> bool {
    matches!(
        symbol.trim_end_matches("()"),
        "Result::unwrap"
            | "Option::unwrap"
            | "Result::expect"
            | "Option::expect"
            | "RUST_BACKTRACE"
            | "Err"
            | "Ok"
            | "None"
            | "Some"
    )
}

/// A call with a name, a tool and parameters.
pub fn call(tool_id: impl Into<String>, tool_name: &str, params: Value) -> ToolCall {
    ToolCall {
        tool_id: tool_id.into(),
        tool_name: tool_name.to_owned(),
        params,
        outputs: Vec::new(),
        inputs: Vec::new(),
        priority: axon_protocol::PRIORITY_DEFAULT,
    }
}

fn texts(context: &Value, key: &str) -> Vec<String> {
    let Some(Value::Array(values)) = context.get(key) else {
        return Vec::new();
    };
    values
        .iter()
        .filter_map(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if out.len() < NAMES_MAX * 2 && !out.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            out.push(name);
        }
    }
    out
}

fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_')
}

fn path_like(query: &str) -> Vec<String> {
    let words = query.split(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '`' | '\'' | '(' | ')' | '[' | ']'));
    words
        .map(|word| word.trim_end_matches(['.', ';', '?', '!', ':']))
        .filter(|word| word.len() > 2 && !word.contains("://"))
        .filter(|word| {
            let path = word.split(':').next().unwrap_or(word);
            let extension = path.rsplit_once('.').map(|(stem, extension)| (stem, extension.len()));
            path.contains('/') || extension.is_some_and(|(stem, length)| !stem.is_empty() && (1..=5).contains(&length))
        })
        .map(str::to_owned)
        .collect()
}

/// Names of code in plain words: with `_`, `::`, `()` or an inner capital.
fn symbol_like(query: &str) -> Vec<String> {
    let words = query.split(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '`' | ';' | '?' | '!'));
    words
        .map(|word| word.trim_matches(|c: char| matches!(c, '.' | ':' | '\'' | '(' | ')')))
        .filter(|word| {
            // With a call's parentheses, a point divides a method from what it is called on; else it may be a path's.
            let is_call = query.contains(&format!("{word}()"));
            let joins = |c: char| matches!(c, '_' | ':') || (is_call && c == '.');
            word.chars().all(|c| c.is_alphanumeric() || joins(c))
        })
        .filter(|word| {
            let inner_capital = word
                .chars()
                .zip(word.chars().skip(1))
                .any(|(a, b)| a.is_lowercase() && b.is_uppercase());
            word.len() > 2
                && (word.trim_matches('_').contains('_') || word.contains("::") || word.contains('.') || inner_capital)
        })
        .map(str::to_owned)
        .collect()
}

fn quoted(query: &str) -> Vec<String> {
    ['"', '`']
        .iter()
        .flat_map(|mark| query.split(*mark).skip(1).step_by(2))
        .map(|quote| quote.trim().to_owned())
        .collect()
}

/// The files and directories that paths of a question mean, and the lines where it names them.
fn resolve(named: &[String], known: &[&str]) -> (Vec<String>, Vec<Frame>) {
    let (mut paths, mut frames) = (BTreeSet::new(), BTreeSet::new());
    for name in named {
        let mut parts = name.split(':');
        let path = parts
            .next()
            .unwrap_or_default()
            .trim_start_matches("./")
            .trim_end_matches('/');
        let line = parts
            .next()
            .and_then(|line| line.parse::<u32>().ok())
            .filter(|line| *line > 0);
        if path.is_empty() {
            continue;
        }
        let directory = format!("{path}/");
        if known.iter().any(|file| file.starts_with(&directory)) {
            paths.insert(path.to_owned());
            continue;
        }
        let ending = format!("/{path}");
        // A stack trace may begin with the path of another machine: its end is what both have.
        let meant: Vec<&&str> = known
            .iter()
            .filter(|file| **file == path || file.ends_with(&ending) || path.ends_with(&format!("/{file}")))
            .collect();
        if meant.len() > PATH_MEANINGS_MAX {
            continue;
        }
        for file in meant {
            paths.insert((*file).to_owned());
            if let Some(line) = line {
                frames.insert(Frame {
                    path: (*file).to_owned(),
                    line,
                });
            }
        }
    }
    (
        paths.into_iter().take(NAMES_MAX).collect(),
        frames.into_iter().take(NAMES_MAX).collect(),
    )
}

/// The lines that hold code, and those that hold none with why.
fn frames_with_code(frames: Vec<Frame>, workspace: &Workspace) -> (Vec<Frame>, Vec<(Frame, String)>) {
    let (mut held, mut bare) = (Vec::new(), Vec::new());
    for frame in frames {
        let text = workspace.text(&frame.path).ok();
        match text.and_then(|text| holds_no_code(frame.line, text.as_str())) {
            Some(why) => bare.push((frame, why)),
            None => held.push(frame),
        }
    }
    (held, bare)
}

/// The files that a thing compared is: the path that it names, else the code whose path bears all words of its name.
fn paths_of(subject: &str, named: &[String], known: &[&str]) -> Vec<String> {
    let words: Vec<&str> = subject
        .split_whitespace()
        .map(|word| word.trim_matches(['`', '"', '/']))
        .collect();
    let meant: Vec<String> = named
        .iter()
        .map(|path| path.trim_end_matches('/'))
        .chain(words.iter().copied().filter(|word| word.contains(['/', '.'])))
        .filter(|path| {
            words
                .iter()
                .any(|word| word == path || path.ends_with(&format!("/{word}")))
        })
        .map(str::to_owned)
        .collect();
    let (paths, _) = resolve(&meant, known);
    // A file that is not there is no other one of its language.
    let is_file = |word: &&str| word.contains('.') && axon_tools::language_of(word).kind == axon_tools::Kind::Code;
    if !paths.is_empty() || words.iter().any(is_file) {
        return paths;
    }
    let terms: BTreeSet<String> = query_terms(subject).into_iter().collect();
    let bears = |path: &&&str| {
        let held: BTreeSet<String> = axon_tools::code::terms(path).into_iter().collect();
        !terms.is_empty() && terms.iter().all(|term| held.contains(term))
    };
    let code = |path: &&&str| {
        axon_tools::language_of(path).kind == axon_tools::Kind::Code
            && matches!(
                axon_tools::code::role_of(path),
                axon_tools::code::Role::Library | axon_tools::code::Role::Entry
            )
    };
    let files = known.iter().filter(code).filter(bears).take(SUBJECT_FILES_MAX);
    files.map(|path| (*path).to_owned()).collect()
}

fn leads(task: &Task) -> Vec<Lead> {
    let findings = task.upstream.iter().flat_map(|upstream| &upstream.findings);
    let sources = findings.flat_map(|finding| finding.evidence.iter().map(move |evidence| (finding, evidence)));
    let leads = sources.filter_map(|(finding, evidence)| match evidence {
        Evidence::Source { path, line, .. } => Some(Lead {
            path: path.clone(),
            line: *line,
            subject: finding.subject.clone(),
        }),
        _ => None,
    });
    leads.take(NAMES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_files_and_lines() {
        let known = [
            "crates/a/src/lib.rs",
            "crates/b/src/lib.rs",
            "docs/guide.md",
            "src/http.rs",
        ];
        for (named, paths, frames) in [
            ("docs/", &["docs"][..], &[][..]),
            ("http.rs", &["src/http.rs"], &[]),
            ("src/http.rs:12:5", &["src/http.rs"], &[("src/http.rs", 12)]),
            (
                "/home/me/project/src/http.rs:7",
                &["src/http.rs"],
                &[("src/http.rs", 7)],
            ),
            ("lib.rs", &["crates/a/src/lib.rs", "crates/b/src/lib.rs"], &[]),
            ("nothing.rs", &[], &[]),
        ] {
            let (found, lines) = resolve(&[named.to_owned()], &known);
            assert_eq!(found, paths, "{named}");
            assert_eq!(
                lines.iter().map(|f| (f.path.as_str(), f.line)).collect::<Vec<_>>(),
                frames,
                "{named}"
            );
        }
    }

    #[test]
    fn a_thing_compared_is_the_file_it_names_or_those_that_bear_its_words() {
        let known = ["src/lock_table.rs", "src/queue.rs", "docs/queue.md"];
        for (subject, expected) in [
            ("the lock table", &["src/lock_table.rs"][..]),
            ("queue.rs", &["src/queue.rs"]),
            ("queue", &["src/queue.rs"]),
            // No other file of its language.
            ("b.rs", &[]),
            ("the locking of b.rs", &[]),
        ] {
            assert_eq!(paths_of(subject, &[], &known), expected, "{subject}");
        }
    }

    #[test]
    fn a_manifest_names_its_package() {
        for (manifest, expected) in [
            (
                "[package]\nname = \"rate-limit\"\n[lib]\nname = \"other\"\n",
                Some("rate_limit"),
            ),
            ("{\n  \"name\": \"@scope/Widgets\",\n}", Some("widgets")),
            ("module example.org/x/tool\n", Some("tool")),
            ("[workspace]\nmembers = [\"a\"]\n", None),
        ] {
            assert_eq!(package_name(manifest).as_deref(), expected, "{manifest}");
        }
    }

    #[test]
    fn what_every_failure_says_is_left_out() {
        for (query, kept) in [
            (
                "thread 'main' panicked at src/a.rs:3: called `Result::unwrap()` on an `Err` value: Parse",
                "src/a.rs:3: : Parse",
            ),
            ("panicked at", "panicked at"),
            ("Why is it slow?", "Why is it slow?"),
        ] {
            assert_eq!(
                without_boilerplate(query)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
                kept
            );
        }
    }

    #[test]
    fn names_paths_and_quotes_are_taken_from_plain_words() {
        let query =
            "Why does parse_header in src/http.rs:12 say \"no such file\" for HeaderMap, e.g. Foo::bar() or Foo.baz()?";
        assert_eq!(symbol_like(query), ["parse_header", "HeaderMap", "Foo::bar", "Foo.baz"]);
        assert_eq!(path_like(query), ["src/http.rs:12", "e.g", "Foo.baz"]);
        assert_eq!(quoted(query), ["no such file"]);
    }
}
