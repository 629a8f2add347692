//! The tools of a process by name, and the rule which of them a task may use. It never runs one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Config, Tool, code, diag, git};

/// Why a tool cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolboxError {
    /// Two tools of one name.
    #[error("a tool named `{0}` is registered already: give one of them another name")]
    Duplicate(String),
    /// A name with characters that patterns or metric labels give a meaning to.
    #[error("`{0}` cannot name a tool: use 1 to 128 letters, digits, `.`, `-` and `_`")]
    Name(String),
}

/// Longest name of a tool, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The tools of a process.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: BTreeMap<String, Arc<dyn Tool>>,
}

impl Toolbox {
    /// A toolbox without tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// All built-in tools that the configuration allows.
    pub fn standard(config: &Config) -> Result<Self, ToolboxError> {
        let mut toolbox = Self::new();
        diag::register(&mut toolbox, config.allow_crash)?;
        code::register(&mut toolbox)?;
        git::register(&mut toolbox)?;
        Ok(toolbox)
    }

    /// Adds a tool.
    pub fn register(&mut self, tool: impl Tool + 'static) -> Result<(), ToolboxError> {
        let name = tool.name().to_owned();
        let valid = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !valid {
            return Err(ToolboxError::Name(name));
        }
        if self.tools.contains_key(&name) {
            return Err(ToolboxError::Duplicate(name));
        }
        self.tools.insert(name, Arc::new(tool));
        Ok(())
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }

    /// All tools, sorted by name.
    pub fn list(&self) -> impl Iterator<Item = &Arc<dyn Tool>> {
        self.tools.values()
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tools.keys()).finish()
    }
}

/// Whether one of the patterns names the tool: exactly, or up to a `*` at the pattern's end. Without patterns nothing is
/// allowed.
pub fn allowed(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        for (name, pattern, expected) in [
            ("code.search", "code.search", true),
            ("code.search", "code.*", true),
            ("code.search", "*", true),
            ("code.search", "code", false),
            ("code.search", "code.search.more", false),
            ("code.search", "*.search", false),
            ("codex.search", "code.*", false),
            ("code.search", "", false),
        ] {
            assert_eq!(allowed(name, &[pattern.to_owned()]), expected, "{name} by {pattern:?}");
        }
        assert!(!allowed("code.search", &[]));
    }

    #[test]
    fn the_standard_tools_are_sorted_and_the_crashing_one_must_be_asked_for() {
        let names = |config: &Config| -> Vec<String> {
            Toolbox::standard(config)
                .expect("registers")
                .names()
                .map(str::to_owned)
                .collect()
        };
        let plain = names(&Config::default());
        assert!(plain.is_sorted());
        assert!(plain.iter().any(|name| name == "diag.echo"));
        assert!(!plain.iter().any(|name| name == "diag.crash"));
        let crashing = names(&Config {
            allow_crash: true,
            ..Config::default()
        });
        assert!(crashing.iter().any(|name| name == "diag.crash"));
    }
}
