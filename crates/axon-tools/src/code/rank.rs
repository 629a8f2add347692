//! `code.rank`: files or chunks ordered by BM25 for a question in words, over an index in memory that knows identifiers.
//! Nothing is written to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{Index, IndexBuilder, ReloadPolicy, Searcher, TantivyDocument, Term};

use super::chunk::chunks;
use super::files::{Files, LIST_BYTES_MAX};
use super::search::Globs;
use super::source::{Role, role_of};
use super::terms::{query_words, terms};
use crate::{CallContext, Cost, Kind, Tool, ToolError, Toolbox, ToolboxError, blocking, fit, parse_params, schema_of};

/// Results returned where a call names no number.
const RESULTS_DEFAULT: usize = 20;
/// Most results returned.
const RESULTS_MAX: usize = 100;
/// Most terms of a question that are looked up.
const TERMS_MAX: usize = 64;
/// Larger files are left out: they are data or generated.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Indexes kept for a workspace: one for each scope asked for, and unit.
const INDEXES_MAX: usize = 6;
/// Memory of the one writer, in bytes; beyond it nothing is lost, the writer only grows.
const WRITER_BYTES: usize = 16 << 20;
/// The name under which the index knows its tokenizer.
const TOKENIZER: &str = "terms";
/// Lines of a snippet.
const SNIPPET_LINES: u32 = 6;
/// Characters of a snippet's line.
const SNIPPET_CHARS_MAX: usize = 200;
/// Files from which on a term that most of them hold tells them apart no longer.
const COMMON_FILES_MIN: usize = 10;
/// The share of files that makes a term common.
const COMMON_SHARE: f64 = 0.6;
/// How much a term counts in the name of a function, type or heading, and in the path, against once in the body.
const NAME_BOOST: f32 = 2.0;
const PATH_BOOST: f32 = 1.5;

/// What is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Functions, types, sections, windows.
    #[default]
    Chunk,
    /// Whole files.
    File,
}

/// Parameters of `code.rank`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RankParams {
    /// The question in words; names of code count as words and by their parts.
    pub query: String,
    /// What is ranked.
    #[serde(default)]
    pub unit: Unit,
    /// Files or directories within the scope; the whole scope if empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Globs a path must match one of; those that begin with `!` exclude.
    #[serde(default)]
    pub globs: Vec<String>,
    /// Only files, and code in them, that are for this, such as `library`; everything but foreign files if empty.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Most results, 1 to 100; 20 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub max_results: Option<usize>,
}

/// A file or chunk that answers to the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// The file.
    pub path: String,
    /// First line, counted from 1.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// The function, type or heading it is; empty where it has no name.
    #[serde(default)]
    pub name: String,
    /// BM25; comparable within one call only.
    pub score: f64,
    /// Words of the question it holds, in one form or another.
    pub matched: Vec<String>,
    /// The lines that hold most of the terms.
    pub snippet: String,
    /// First line of the snippet.
    pub snippet_line: u32,
    /// What it is for: that of its file, or test where it is test code.
    pub role: Role,
}

/// What `code.rank` returns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RankResult {
    /// The words looked up: those that most files hold are left out where there are others.
    pub terms: Vec<String>,
    /// Files in the index.
    pub files: usize,
    /// Files or chunks in the index.
    pub units: usize,
    /// Best first.
    pub results: Vec<Ranked>,
}

/// What the index knows of one document, by its number.
struct Entry {
    path: String,
    line: u32,
    end_line: u32,
    name: String,
    test: bool,
}

struct Ranking {
    searcher: Searcher,
    body: Field,
    name: Field,
    path: Field,
    entries: Vec<Entry>,
    files: usize,
}

/// Which index: scope, own paths, unit.
type Key = (Vec<String>, Vec<String>, Unit);

#[derive(Default)]
struct Indexes(Mutex<Vec<(Key, Arc<Ranking>)>>);

/// The index for a call, built at the first one and kept for the next.
fn ranking(files: &Files, unit: Unit) -> Result<Arc<Ranking>, ToolError> {
    let Ok(kept) = files.workspace().memo(|_| Ok::<_, Infallible>(Indexes::default()));
    let (scope, selected) = files.key();
    let key = (scope, selected, unit);
    // Held while building: two calls that want the same index at once share one.
    let mut indexes = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, ranking)) = indexes.iter().find(|(known, _)| *known == key) {
        return Ok(Arc::clone(ranking));
    }
    let ranking = Arc::new(Ranking::build(files, unit)?);
    if indexes.len() >= INDEXES_MAX {
        indexes.remove(0);
    }
    indexes.push((key, Arc::clone(&ranking)));
    Ok(ranking)
}

fn broken(error: tantivy::TantivyError) -> ToolError {
    ToolError::permanent(format!("the search index failed: {error}"))
}

impl Ranking {
    fn build(files: &Files, unit: Unit) -> Result<Self, ToolError> {
        let mut schema = Schema::builder();
        let indexed = || {
            TextOptions::default().set_indexing_options(
                TextFieldIndexing::default()
                    .set_tokenizer(TOKENIZER)
                    .set_index_option(IndexRecordOption::WithFreqs),
            )
        };
        let body = schema.add_text_field("body", indexed());
        let name = schema.add_text_field("name", indexed());
        let path = schema.add_text_field("path", indexed());
        let schema = schema.build();
        let tokenizers = TokenizerManager::new();
        tokenizers.register(TOKENIZER, Terms);
        // One segment written by this thread: document numbers are the order of adding, and scores do not depend on
        // how threads were scheduled.
        let mut writer = IndexBuilder::new()
            .schema(schema)
            .tokenizers(tokenizers)
            .single_segment_index_writer(tantivy::directory::RamDirectory::create(), WRITER_BYTES)
            .map_err(broken)?;
        let mut entries = Vec::new();
        let mut count = 0;
        for file in files.selected() {
            files.check_cancelled()?;
            let ranked = matches!(file.kind(), Kind::Code | Kind::Docs | Kind::Config);
            if !ranked || file.bytes > FILE_BYTES_MAX || file.bytes == 0 {
                continue;
            }
            // A file that cannot be read any more is not found; the others still are.
            let Ok(text) = files.text(&file.path) else { continue };
            count += 1;
            let source = files.source(&file.path);
            let parts = chunks(&file.path, text.as_str(), source.as_deref());
            let parts: Vec<(u32, u32, String, bool)> = match unit {
                Unit::Chunk => parts
                    .into_iter()
                    .map(|c| (c.line, c.end_line, c.name, c.test))
                    .collect(),
                Unit::File => {
                    let names: BTreeSet<String> = parts.into_iter().map(|c| c.name).filter(|n| !n.is_empty()).collect();
                    vec![(
                        1,
                        text.line_count(),
                        names.into_iter().collect::<Vec<_>>().join(" "),
                        false,
                    )]
                }
            };
            for (line, end_line, chunk_name, test) in parts {
                let Some(lines) = text.lines(line, end_line).filter(|lines| !lines.trim().is_empty()) else {
                    continue;
                };
                let mut document = TantivyDocument::new();
                document.add_text(body, lines);
                document.add_text(name, &chunk_name);
                document.add_text(path, &file.path);
                writer.add_document(document).map_err(broken)?;
                let name = if unit == Unit::File { String::new() } else { chunk_name };
                entries.push(Entry {
                    path: file.path.clone(),
                    line,
                    end_line,
                    name,
                    test,
                });
            }
        }
        let index: Index = writer.finalize().map_err(broken)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(broken)?;
        let searcher = reader.searcher();
        Ok(Self {
            searcher,
            body,
            name,
            path,
            entries,
            files: count,
        })
    }

    fn search(&self, terms: &[String]) -> Result<Vec<(f32, usize)>, ToolError> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for term in terms {
            for (field, boost) in [(self.body, 1.0), (self.name, NAME_BOOST), (self.path, PATH_BOOST)] {
                let query = TermQuery::new(Term::from_field_text(field, term), IndexRecordOption::WithFreqs);
                clauses.push((Occur::Should, Box::new(BoostQuery::new(Box::new(query), boost))));
            }
        }
        let limit = self.entries.len().max(1);
        let collector = TopDocs::with_limit(limit).order_by_score();
        let found = self
            .searcher
            .search(&BooleanQuery::new(clauses), &collector)
            .map_err(broken)?;
        let mut found: Vec<(f32, usize)> = found
            .into_iter()
            .map(|(score, at)| (score, at.doc_id as usize))
            .collect();
        // Equal scores in the order of paths and lines.
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Ok(found)
    }

    /// Whether most files hold a term, in their text or their path: it tells none of them from the others.
    fn is_common(&self, term: &String) -> Result<bool, ToolError> {
        let files = self.files as f64 * COMMON_SHARE;
        if self.files < COMMON_FILES_MIN || (self.uses(term)? as f64) < files {
            return Ok(false);
        }
        let found = self.search(std::slice::from_ref(term))?;
        let holding: BTreeSet<&str> = found
            .iter()
            .filter_map(|(_, number)| Some(self.entries.get(*number)?.path.as_str()))
            .collect();
        Ok(holding.len() as f64 >= files)
    }

    /// How often documents hold a term in one of their fields, which the index knows: no fewer than the files that do.
    fn uses(&self, term: &str) -> Result<u64, ToolError> {
        let mut uses = 0;
        for field in [self.body, self.name, self.path] {
            uses += self
                .searcher
                .doc_freq(&Term::from_field_text(field, term))
                .map_err(broken)?;
        }
        Ok(uses)
    }

    /// The terms without the common ones, unless there are no others.
    fn telling(&self, terms: &[(String, String)]) -> Result<Vec<(String, String)>, ToolError> {
        let mut telling = Vec::new();
        for (term, word) in terms {
            if !self.is_common(term)? {
                telling.push((term.clone(), word.clone()));
            }
        }
        Ok(if telling.is_empty() { terms.to_vec() } else { telling })
    }
}

/// Cuts text into the terms that questions are looked up by.
#[derive(Clone)]
struct Terms;

struct TermStream {
    terms: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for Terms {
    type TokenStream<'a> = TermStream;

    fn token_stream(&mut self, text: &str) -> TermStream {
        TermStream {
            terms: terms(text).into_iter(),
            token: Token::default(),
        }
    }
}

impl TokenStream for TermStream {
    fn advance(&mut self) -> bool {
        let Some(term) = self.terms.next() else {
            return false;
        };
        self.token.text = term;
        // Before the first one it is the highest number.
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// Where the lines are that hold most of the terms, and which terms the range holds.
fn snippet(lines: &[&str], terms: &BTreeSet<String>) -> (usize, Vec<String>) {
    let held: Vec<BTreeSet<String>> = lines
        .iter()
        .map(|line| {
            super::terms::terms(line)
                .into_iter()
                .filter(|term| terms.contains(term))
                .collect()
        })
        .collect();
    let window = SNIPPET_LINES as usize;
    let starts = lines.len().saturating_sub(window) + 1;
    let value = |start: usize| {
        held[start..lines.len().min(start + window)]
            .iter()
            .flatten()
            .collect::<BTreeSet<_>>()
            .len()
    };
    let mut best = (0, 0);
    for start in 0..starts {
        let value = value(start);
        // A window should begin with a line that counts.
        if value > best.1 || (value == best.1 && held[best.0].is_empty() && !held[start].is_empty()) {
            best = (start, value);
        }
    }
    let all: BTreeSet<String> = held.into_iter().flatten().collect();
    (best.0, all.into_iter().collect())
}

fn run(files: &Files, params: &RankParams) -> Result<RankResult, ToolError> {
    let mut wanted = query_words(&params.query);
    if wanted.is_empty() {
        // Nothing but words that carry no meaning: look for them all the same.
        wanted = terms(&params.query)
            .into_iter()
            .map(|term| (term.clone(), term))
            .collect();
    }
    if wanted.is_empty() {
        return Err(ToolError::invalid_params(
            "the query holds no word: say what to look for",
        ));
    }
    wanted.truncate(TERMS_MAX);
    let globs = Globs::new(&params.globs)?;
    let ranking = ranking(files, params.unit)?;
    let wanted = ranking.telling(&wanted)?;
    let words: BTreeMap<String, String> = wanted.iter().cloned().collect();
    let wanted: Vec<String> = wanted.into_iter().map(|(term, _)| term).collect();
    let limit = params.max_results.unwrap_or(RESULTS_DEFAULT).clamp(1, RESULTS_MAX);
    let terms_wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    let mut passes: BTreeMap<&str, bool> = BTreeMap::new();
    let mut results = Vec::new();
    for (score, number) in ranking.search(&wanted)? {
        let Some(entry) = ranking.entries.get(number) else {
            continue;
        };
        let wanted_path = *passes.entry(&entry.path).or_insert_with(|| globs.matches(&entry.path));
        let role = if entry.test { Role::Test } else { role_of(&entry.path) };
        let wanted_role = if params.roles.is_empty() {
            role != Role::Foreign
        } else {
            params.roles.contains(&role)
        };
        let passes = wanted_path && wanted_role;
        if !passes {
            continue;
        }
        files.check_cancelled()?;
        let text = files.text(&entry.path)?;
        let lines: Vec<&str> = (entry.line..=entry.end_line)
            .filter_map(|line| text.line(line))
            .collect();
        let (start, mut matched) = snippet(&lines, &terms_wanted);
        let named: BTreeSet<String> = terms(&format!("{} {}", entry.name, entry.path))
            .into_iter()
            .filter(|t| terms_wanted.contains(t))
            .collect();
        matched.extend(named);
        let mut matched: Vec<String> = matched
            .into_iter()
            .filter_map(|term| words.get(&term).cloned())
            .collect();
        matched.sort();
        matched.dedup();
        let shown: Vec<String> = lines
            .iter()
            .skip(start)
            .take(SNIPPET_LINES as usize)
            .map(|line| line.chars().take(SNIPPET_CHARS_MAX).collect())
            .collect();
        results.push(Ranked {
            path: entry.path.clone(),
            line: entry.line,
            end_line: entry.end_line,
            name: entry.name.clone(),
            score: (f64::from(score) * 1000.0).round() / 1000.0,
            matched,
            snippet: shown.join("\n"),
            snippet_line: entry.line + u32::try_from(start).unwrap_or(0),
            role,
        });
        if results.len() >= limit {
            break;
        }
    }
    let (results, _) = fit(results, LIST_BYTES_MAX);
    Ok(RankResult {
        terms: words.into_values().collect::<BTreeSet<_>>().into_iter().collect(),
        files: ranking.files,
        units: ranking.entries.len(),
        results,
    })
}

struct Rank;

#[async_trait]
impl Tool for Rank {
    fn name(&self) -> &str {
        "code.rank"
    }

    fn description(&self) -> &str {
        "Ranks functions, sections or files by BM25 for a question in words; identifiers count by their parts. Use it to find where \
         something is done or described; for an exact text use `code.search`."
    }

    fn schema(&self) -> Value {
        schema_of::<RankParams>()
    }

    fn deterministic(&self) -> bool {
        true
    }

    fn cost(&self) -> Cost {
        Cost::Heavy
    }

    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let params: RankParams = parse_params(self.name(), params)?;
        let files = Files::open(context, &params.paths)?;
        blocking(context, move |cancel| {
            super::to_value(&run(&files.until(cancel), &params)?)
        })
        .await
    }
}

/// Adds the tool.
pub fn register(toolbox: &mut Toolbox) -> Result<(), ToolboxError> {
    toolbox.register(Rank)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;
    use crate::code::testing::{call, try_call, workspace};

    const FILES: &[(&str, &str)] = &[
        (
            "src/http.rs",
            "/// Reads the head.\npub fn parse_header(input: &str) -> Option<&str> {\n    input.split(':').next()\n}\n\npub fn send(body: &str) {\n    let size = body.len();\n}\n",
        ),
        (
            "src/cache.rs",
            "pub struct LruCache;\nimpl LruCache {\n    pub fn evict(&mut self) { /* oldest entry */ }\n}\n",
        ),
        (
            "docs/guide.md",
            "# Guide\n\n## Eviction\nThe oldest entries are evicted first.\n\n## Headers\nA header ends at a colon.\n",
        ),
        ("vendor/x/parse_header.rs", "fn parse_header() {}\n"),
    ];

    #[tokio::test]
    async fn chunks_and_files_are_ranked_by_identifiers_and_words() {
        let (workspace, _dir) = workspace(FILES);
        for (params, best) in [
            (
                json!({"query": "why does parsing headers fail?"}),
                "src/http.rs:1:parse_header",
            ),
            (json!({"query": "parseHeader"}), "src/http.rs:1:parse_header"),
            (
                json!({"query": "evicting the oldest entry", "globs": ["*.md"]}),
                "docs/guide.md:3:Guide › Eviction",
            ),
            (
                json!({"query": "evict", "roles": ["library"], "paths": ["src"]}),
                "src/cache.rs:3:LruCache::evict",
            ),
            (json!({"query": "lru cache", "unit": "file"}), "src/cache.rs:1:"),
        ] {
            let result: RankResult = call(&workspace, "code.rank", params.clone()).await;
            let first = &result.results[0];
            assert_eq!(
                format!("{}:{}:{}", first.path, first.line, first.name),
                best,
                "{params}"
            );
            assert!(!result.results.iter().any(|r| r.path.starts_with("vendor")), "{params}");
            assert!(first.score > 0.0 && !first.matched.is_empty() && !first.snippet.is_empty());
        }
    }

    #[tokio::test]
    async fn what_most_files_hold_is_no_sign_unless_nothing_else_is_asked() {
        let mut files: Vec<(String, String)> = (0..12)
            .map(|n| {
                (
                    format!("src/part{n}.rs"),
                    format!("use warden::Part{n};\npub fn run{n}() {{}}\n"),
                )
            })
            .collect();
        files.push((
            "CHANGES.md".to_owned(),
            "# Warden\n\nWarden, warden and warden again.\n".to_owned(),
        ));
        files.push(("src/limit.rs".to_owned(), "pub fn decide() {}\n".to_owned()));
        let borrowed: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        for (number, query, terms, best) in [
            (14, "how does warden decide", &["decide"][..], "src/limit.rs"),
            (14, "warden", &["warden"], "CHANGES.md"),
            // Few files say nothing of what is common.
            (3, "warden decide part0", &["decide", "part0", "warden"], "src/part0.rs"),
        ] {
            let (workspace, _dir) = workspace(&borrowed[..number]);
            let result: RankResult = call(&workspace, "code.rank", json!({"query": query})).await;
            assert!(
                terms.iter().all(|term| result.terms.iter().any(|held| held == term)),
                "{query}: {:?}",
                result.terms
            );
            assert_eq!(
                result.terms.iter().any(|term| term == "warden"),
                terms.contains(&"warden"),
                "{query}"
            );
            assert_eq!(result.results[0].path, best, "{query}");
        }
    }

    #[tokio::test]
    async fn the_same_question_gives_the_same_answer() {
        let (workspace, _dir) = workspace(FILES);
        let params = json!({"query": "header cache entry"});
        let first: RankResult = call(&workspace, "code.rank", params.clone()).await;
        let (again, _dir) = super::super::testing::workspace(FILES);
        let second: RankResult = call(&again, "code.rank", params).await;
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn a_question_without_words_is_refused_and_one_without_answer_is_empty() {
        let (workspace, _dir) = workspace(FILES);
        let result: RankResult = call(&workspace, "code.rank", json!({"query": "zebra"})).await;
        assert!(result.results.is_empty());
        let error = try_call(&CallContext::new(Some(workspace)), "code.rank", json!({"query": " ?"}))
            .await
            .expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidParams);
    }

    #[test]
    fn a_snippet_is_where_the_terms_are() {
        let lines = ["a", "b", "c", "d", "e", "f", "g", "needle here", "haystack", "x"];
        let wanted: BTreeSet<String> = ["needl".to_owned(), "haystack".to_owned()].into();
        let (start, matched) = snippet(&lines, &wanted);
        assert!((3..=7).contains(&start) && matched.len() == 2, "{start}");
    }
}
