//! Rule packs: what is worth reporting, as data. A pack that cannot be compiled is a defect of this crate, which a test
//! finds; at run time it is an error and never a pack that silently finds nothing.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axon_protocol::Level;
use regex::Regex;
use serde::Deserialize;
use tree_sitter::Query;

use super::checks::Check;
use crate::code::syntax::{Syntax, grammars_of};

/// The packs, by what they are for. Adding one is adding a file and a line here.
const PACKS: &[(&str, &str)] = &[
    ("rust", include_str!("../../../rules/rust.toml")),
    ("rust-panics", include_str!("../../../rules/rust-panics.toml")),
    ("rust-tests", include_str!("../../../rules/rust-tests.toml")),
    ("python", include_str!("../../../rules/python.toml")),
    ("go", include_str!("../../../rules/go.toml")),
    ("javascript", include_str!("../../../rules/javascript.toml")),
    ("typescript", include_str!("../../../rules/typescript.toml")),
    ("java", include_str!("../../../rules/java.toml")),
    ("c", include_str!("../../../rules/c.toml")),
    ("any", include_str!("../../../rules/any.toml")),
];

/// Aspects whose rules list what is mostly right, for those who ask for it: applied only where a call names them.
pub const ON_REQUEST: &[&str] = &["panics"];

/// Where a regular expression looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// Neither comments nor strings.
    #[default]
    Code,
    /// Comments alone.
    Comments,
    /// String literals alone.
    Strings,
    /// Everything.
    Text,
}

/// What is merged into one match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// All places in one function.
    #[default]
    Function,
    /// All places in one file.
    File,
}

/// A rule as it is written. Every condition that is given must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleData {
    /// Names it, language first: `rust.unwrap_io`.
    pub id: String,
    /// `error_handling`, `correctness`, `security`, `concurrency`, `performance`, `maintainability`, `tests` or `panics`.
    pub aspect: String,
    /// How bad it is.
    pub severity: Level,
    /// How likely a match is worth a change, from 0 to 1.
    pub confidence: f64,
    /// How much work the change is.
    pub effort: Level,
    /// How much the change brings; the severity if absent.
    #[serde(default)]
    pub impact: Option<Level>,
    /// One sentence. `{function}`, `{file}`, `{callees}`, `{places}` and captures are filled in.
    pub claim: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub recommendation: String,

    /// Query of the syntax tree; `@match` is what is reported, `@receiver` what `callee` is looked up in.
    #[serde(default)]
    pub query: Option<String>,
    /// Regular expression, for what a query cannot tell and for languages without a grammar.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Where the expression looks.
    #[serde(default)]
    pub pattern_in: Region,

    /// What is merged into one match.
    #[serde(default)]
    pub per: Per,
    /// Fewest places in one function or file.
    #[serde(default = "one")]
    pub min: usize,
    /// Whether it is about test code, and only that.
    #[serde(default)]
    pub in_tests: bool,
    /// Whether programs' starting points are exempt.
    #[serde(default)]
    pub library_only: bool,

    /// Names one of which `@receiver` must call last.
    #[serde(default)]
    pub callee: Vec<String>,
    /// What the whole path of that call must match.
    #[serde(default)]
    pub callee_path: Option<String>,
    /// What the whole path of that call must not match.
    #[serde(default)]
    pub callee_path_not: Option<String>,
    /// Whether calls on literals alone are exempt: their outcome is known when the program is written.
    #[serde(default)]
    pub literals_exempt: bool,
    /// What the text of the match must match.
    #[serde(default)]
    pub text: Option<String>,
    /// What it must not match.
    #[serde(default)]
    pub text_not: Option<String>,
    /// What the function around must match, comments and strings blanked out.
    #[serde(default)]
    pub function_text: Option<String>,
    /// What it must not match.
    #[serde(default)]
    pub function_text_not: Option<String>,
    /// What the name of the function around must match.
    #[serde(default)]
    pub function_name: Option<String>,
    /// What it must not match.
    #[serde(default)]
    pub function_name_not: Option<String>,
    /// What the documentation of the function around says where it is part of its contract.
    #[serde(default)]
    pub doc_not: Option<String>,
    /// What a file must not contain anywhere.
    #[serde(default)]
    pub file_text_not: Option<String>,
    /// What a path must not match.
    #[serde(default)]
    pub path_not: Option<String>,
    /// What the return type of the function around must match.
    #[serde(default)]
    pub returns: Option<String>,
    /// Whether the code around must, or must not, run as a future.
    #[serde(default)]
    pub in_async: Option<bool>,
    /// Whether the match must, or must not, be awaited at once.
    #[serde(default)]
    pub awaited: Option<bool>,
    /// Kinds of nodes one of which must be around the match, within the function.
    #[serde(default)]
    pub within: Vec<String>,
    /// Kinds of nodes none of which may be around the match, within the function.
    #[serde(default)]
    pub not_within: Vec<String>,
    /// What a comment beside or directly above the match says where it is deliberate.
    #[serde(default)]
    pub comment_not: Option<String>,
    /// What only a program can check.
    #[serde(default)]
    pub check: Option<Check>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackData {
    /// The language, or empty for files of every kind.
    #[serde(default)]
    language: String,
    /// Further languages it is for, whose syntax is the same.
    #[serde(default)]
    dialects: Vec<String>,
    rule: Vec<RuleData>,
}

/// A rule with its expressions compiled.
#[derive(Debug)]
pub struct Rule {
    /// As it is written.
    pub data: RuleData,
    /// The language; empty for every one.
    pub language: String,
    /// Further languages it is for.
    pub dialects: Vec<String>,
    pub(super) pattern: Option<Regex>,
    pub(super) callee_path: Option<Regex>,
    pub(super) callee_path_not: Option<Regex>,
    pub(super) text: Option<Regex>,
    pub(super) text_not: Option<Regex>,
    pub(super) function_text: Option<Regex>,
    pub(super) function_text_not: Option<Regex>,
    pub(super) function_name: Option<Regex>,
    pub(super) function_name_not: Option<Regex>,
    pub(super) returns: Option<Regex>,
    pub(super) comment_not: Option<Regex>,
    pub(super) doc_not: Option<Regex>,
    pub(super) file_text_not: Option<Regex>,
    pub(super) path_not: Option<Regex>,
}

impl Rule {
    /// Whether it is applied where nobody names its aspect.
    pub fn is_unasked(&self) -> bool {
        !ON_REQUEST.contains(&self.data.aspect.as_str())
    }

    /// Whether it is for files of this language.
    pub fn is_for(&self, language: &str) -> bool {
        self.language.is_empty() || self.language == language || self.dialects.iter().any(|dialect| dialect == language)
    }
}

/// All queries of a grammar as one, so that a file is walked once.
#[derive(Debug)]
pub struct Queries {
    /// The query.
    pub query: Query,
    /// The rule of each pattern.
    pub rules: Vec<usize>,
}

/// The queries of a grammar, compiled when the first file of its kind is looked at: that takes time, and memory for good.
#[derive(Debug)]
struct GrammarQueries {
    grammar: &'static Syntax,
    joined: Joined,
    compiled: OnceLock<Result<Queries, String>>,
}

/// All rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules, in the order of the packs.
    pub rules: Vec<Rule>,
    queries: Vec<GrammarQueries>,
}

impl RuleSet {
    /// The queries of a grammar; none where no rule has one for it.
    pub fn queries(&self, grammar: &Syntax) -> Result<Option<&Queries>, String> {
        let Some(found) = self.queries.iter().find(|queries| queries.grammar.name == grammar.name) else {
            return Ok(None);
        };
        found
            .compiled
            .get_or_init(|| compile_queries(found.grammar, &found.joined, &self.rules))
            .as_ref()
            .map(Some)
            .map_err(Clone::clone)
    }
}

/// The rules of this crate, compiled at the first call.
pub fn built_in() -> Result<&'static RuleSet, String> {
    static RULES: OnceLock<Result<RuleSet, String>> = OnceLock::new();
    RULES.get_or_init(|| compile(PACKS)).as_ref().map_err(Clone::clone)
}

/// The queries of a grammar in one text, and where the rules' own ones start.
#[derive(Debug, Default)]
struct Joined {
    source: String,
    starts: Vec<(usize, usize)>,
}

impl Joined {
    /// The rule whose query holds that byte.
    fn rule_at(&self, at: usize) -> Option<usize> {
        let before = self.starts.iter().rev().find(|(start, _)| *start <= at);
        before.map(|(_, index)| *index)
    }
}

fn compile(packs: &[(&str, &str)]) -> Result<RuleSet, String> {
    let mut set = RuleSet::default();
    let mut queries: BTreeMap<&'static str, (&'static Syntax, Joined)> = BTreeMap::new();
    for (name, text) in packs {
        let pack: PackData = toml::from_str(text).map_err(|error| format!("rule pack `{name}`: {error}"))?;
        let mut grammars: Vec<&'static Syntax> = Vec::new();
        for language in std::iter::once(&pack.language)
            .chain(&pack.dialects)
            .filter(|language| !language.is_empty())
        {
            let found = grammars_of(language);
            if found.is_empty() {
                return Err(format!("there is no grammar for `{language}`"));
            }
            grammars.extend(found);
        }
        grammars.sort_unstable_by_key(|grammar| grammar.name);
        grammars.dedup_by_key(|grammar| grammar.name);
        for data in pack.rule {
            let index = set.rules.len();
            if set.rules.iter().any(|rule| rule.data.id == data.id) {
                return Err(format!("rule `{}` is there twice", data.id));
            }
            for grammar in &grammars {
                let Some(query) = data.query.as_deref().and_then(|query| for_grammar(query, grammar)) else {
                    continue;
                };
                let (_, joined) = queries
                    .entry(grammar.name)
                    .or_insert_with(|| (*grammar, Joined::default()));
                joined.starts.push((joined.source.len(), index));
                joined.source.push_str(&query);
                joined.source.push('\n');
            }
            set.rules.push(rule(data, &pack.language, &pack.dialects)?);
        }
    }
    set.queries = queries
        .into_values()
        .map(|(grammar, joined)| GrammarQueries {
            grammar,
            joined,
            compiled: OnceLock::new(),
        })
        .collect();
    Ok(set)
}

/// The lines of a query that a grammar can have: markup is in one of the two grammars of TypeScript alone.
fn for_grammar(query: &str, grammar: &Syntax) -> Option<String> {
    let lines: Vec<&str> = query
        .lines()
        .filter(|line| grammar.name != "typescript" || !line.starts_with("(jsx_"))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn compile_queries(grammar: &Syntax, joined: &Joined, rules: &[Rule]) -> Result<Queries, String> {
    let query = Query::new(&(grammar.grammar)(), &joined.source).map_err(|error| {
        let id = joined
            .rule_at(error.offset)
            .map_or("?", |index| rules[index].data.id.as_str());
        format!("query of rule `{id}` for `{}`: {error}", grammar.name)
    })?;
    let rules = (0..query.pattern_count())
        .map(|pattern| {
            joined
                .rule_at(query.start_byte_for_pattern(pattern))
                .unwrap_or_default()
        })
        .collect();
    Ok(Queries { query, rules })
}

fn rule(data: RuleData, language: &str, dialects: &[String]) -> Result<Rule, String> {
    let regex = |text: &Option<String>| -> Result<Option<Regex>, String> {
        let compiled = text.as_deref().map(Regex::new).transpose();
        compiled.map_err(|error| format!("rule `{}`: {error}", data.id))
    };
    if data.query.is_some() == data.pattern.is_some() {
        return Err(format!("rule `{}` needs either a query or a pattern", data.id));
    }
    Ok(Rule {
        language: language.to_owned(),
        dialects: dialects.to_owned(),
        pattern: regex(&data.pattern)?,
        callee_path: regex(&data.callee_path)?,
        callee_path_not: regex(&data.callee_path_not)?,
        text: regex(&data.text)?,
        text_not: regex(&data.text_not)?,
        function_text: regex(&data.function_text)?,
        function_text_not: regex(&data.function_text_not)?,
        function_name: regex(&data.function_name)?,
        function_name_not: regex(&data.function_name_not)?,
        returns: regex(&data.returns)?,
        comment_not: regex(&data.comment_not)?,
        doc_not: regex(&data.doc_not)?,
        file_text_not: regex(&data.file_text_not)?,
        path_not: regex(&data.path_not)?,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rules may be about; playbooks ask by these names.
    const ASPECTS: &[&str] = &[
        "error_handling",
        "correctness",
        "security",
        "concurrency",
        "performance",
        "maintainability",
        "tests",
        "panics",
    ];

    #[test]
    fn every_pack_compiles_and_every_rule_is_complete() {
        let set = built_in().expect("the packs compile");
        assert!(set.rules.len() > 40);
        for queries in &set.queries {
            set.queries(queries.grammar).expect("compiles");
        }
        for rule in &set.rules {
            let data = &rule.data;
            assert!(ASPECTS.contains(&data.aspect.as_str()), "{}: {}", data.id, data.aspect);
            assert!((0.0..=1.0).contains(&data.confidence), "{}", data.id);
            for text in [&data.claim, &data.why, &data.recommendation] {
                assert!(text.len() >= 8 && !text.contains('\n'), "{}: {text}", data.id);
            }
            let prefix = if rule.language.is_empty() {
                "any"
            } else {
                &rule.language
            };
            assert!(data.id.starts_with(&format!("{prefix}.")), "{}", data.id);
            assert!(
                data.query.as_ref().is_none_or(|query| query.contains("@match")),
                "{}",
                data.id
            );
        }
    }

    #[test]
    fn a_defect_in_a_pack_names_its_rule() {
        let rule = |rest: &str| {
            format!(
                "language = \"rust\"\n[[rule]]\nid = \"rust.x\"\naspect = \"tests\"\nseverity = \"low\"\nconfidence = 0.5\neffort = \"low\"\nclaim = \"c\"\nwhy = \"w\"\nrecommendation = \"r\"\n{rest}"
            )
        };
        for (rest, expected) in [
            ("query = \"(nonsense) @match\"", "rust.x"),
            ("pattern = \"(\"", "rust.x"),
            ("", "either a query or a pattern"),
            ("pattern = \"x\"\nunknown = 1", "unknown"),
        ] {
            let set = compile(&[("test", &rule(rest))]);
            let error = match set {
                Ok(set) => set.queries(grammars_of("rust")[0]).map(|_| ()).expect_err("refused"),
                Err(error) => error,
            };
            assert!(error.contains(expected), "{error}");
        }
    }
}
