//! Rule packs: what is worth reporting, as data. A pack that cannot be compiled is a defect of this crate, which a test
//! finds; at run time it is an error and never a pack that silently finds nothing.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axon_protocol::Level;
use regex::Regex;
use serde::Deserialize;
use tree_sitter::Query;

use super::checks::Check;
use crate::code::syntax::syntax_of;

/// The packs, by what they are for. Adding one is adding a file and a line here.
const PACKS: &[(&str, &str)] = &[
    ("rust", include_str!("../../../rules/rust.toml")),
    ("rust-tests", include_str!("../../../rules/rust-tests.toml")),
    ("python", include_str!("../../../rules/python.toml")),
    ("any", include_str!("../../../rules/any.toml")),
];

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
    /// `error_handling`, `correctness`, `security`, `concurrency`, `performance`, `maintainability` or `tests`.
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
    rule: Vec<RuleData>,
}

/// A rule with its expressions compiled.
#[derive(Debug)]
pub struct Rule {
    /// As it is written.
    pub data: RuleData,
    /// The language; empty for every one.
    pub language: String,
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

/// All queries of a language as one, so that a file is walked once.
#[derive(Debug)]
pub struct LanguageQuery {
    /// The language.
    pub language: String,
    /// The query.
    pub query: Query,
    /// The rule of each pattern.
    pub rules: Vec<usize>,
}

/// All rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules, in the order of the packs.
    pub rules: Vec<Rule>,
    /// The queries, one a language.
    pub queries: Vec<LanguageQuery>,
}

/// The rules of this crate, compiled at the first call.
pub fn built_in() -> Result<&'static RuleSet, String> {
    static RULES: OnceLock<Result<RuleSet, String>> = OnceLock::new();
    RULES.get_or_init(|| compile(PACKS)).as_ref().map_err(Clone::clone)
}

/// The queries of a language in one text, and where the rules' own ones start.
#[derive(Default)]
struct Joined {
    source: String,
    starts: Vec<(usize, usize)>,
}

fn compile(packs: &[(&str, &str)]) -> Result<RuleSet, String> {
    let mut set = RuleSet::default();
    let mut queries: BTreeMap<String, Joined> = BTreeMap::new();
    for (name, text) in packs {
        let pack: PackData = toml::from_str(text).map_err(|error| format!("rule pack `{name}`: {error}"))?;
        for data in pack.rule {
            let index = set.rules.len();
            if set.rules.iter().any(|rule| rule.data.id == data.id) {
                return Err(format!("rule `{}` is there twice", data.id));
            }
            if let Some(query) = &data.query {
                let Joined { source, starts } = queries.entry(pack.language.clone()).or_default();
                starts.push((source.len(), index));
                source.push_str(query);
                source.push('\n');
            }
            set.rules.push(rule(data, &pack.language)?);
        }
    }
    for (language, Joined { source, starts }) in queries {
        let Some(syntax) = syntax_of(&language) else {
            return Err(format!("there is no grammar for `{language}`"));
        };
        let query = Query::new(&(syntax.grammar)(), &source).map_err(|error| {
            let before = starts.iter().rev().find(|(start, _)| *start <= error.offset);
            let id = before.map_or("?", |(_, index)| set.rules[*index].data.id.as_str());
            format!("query of rule `{id}`: {error}")
        })?;
        let rules = (0..query.pattern_count())
            .map(|pattern| {
                let at = query.start_byte_for_pattern(pattern);
                starts
                    .iter()
                    .rev()
                    .find(|(start, _)| *start <= at)
                    .map_or(0, |(_, index)| *index)
            })
            .collect();
        set.queries.push(LanguageQuery { language, query, rules });
    }
    Ok(set)
}

fn rule(data: RuleData, language: &str) -> Result<Rule, String> {
    let regex = |text: &Option<String>| -> Result<Option<Regex>, String> {
        let compiled = text.as_deref().map(Regex::new).transpose();
        compiled.map_err(|error| format!("rule `{}`: {error}", data.id))
    };
    if data.query.is_some() == data.pattern.is_some() {
        return Err(format!("rule `{}` needs either a query or a pattern", data.id));
    }
    Ok(Rule {
        language: language.to_owned(),
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
    ];

    #[test]
    fn every_pack_compiles_and_every_rule_is_complete() {
        let set = built_in().expect("the packs compile");
        assert!(set.rules.len() > 40);
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
            let error = compile(&[("test", &rule(rest))]).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }
}
