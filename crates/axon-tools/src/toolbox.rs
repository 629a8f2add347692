//! The tools of a process by name, and the rule which of them a task may use. It never runs one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Config, Tool, ToolSource, code, command, diag, git, mcp, web};

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
    sources: Vec<Arc<dyn ToolSource>>,
}

/// The tools that patterns name.
pub struct Offer {
    /// The tools that may be called, sorted by name.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Why tools are missing that patterns name, in words.
    pub missing: Vec<String>,
}

impl Toolbox {
    /// A toolbox without tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// All tools that the configuration allows. Servers of further tools are not opened before one of these is needed.
    pub fn standard(config: &Config) -> Result<Self, ToolboxError> {
        let mut toolbox = Self::new();
        diag::register(&mut toolbox, config.allow_crash)?;
        code::register(&mut toolbox)?;
        git::register(&mut toolbox)?;
        command::register(&mut toolbox, config)?;
        web::register(&mut toolbox, config)?;
        mcp::register(&mut toolbox, config)?;
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

    /// Adds a source of tools.
    pub fn register_source(&mut self, source: impl ToolSource + 'static) -> Result<(), ToolboxError> {
        let prefix = source.prefix();
        if self.sources.iter().any(|other| other.prefix() == prefix) {
            return Err(ToolboxError::Duplicate(prefix.to_owned()));
        }
        self.sources.push(Arc::new(source));
        Ok(())
    }

    /// The tool of that name. Of a source, whether the tool exists is only known when it is called.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Tool>> {
        let from_source = || {
            self.sources.iter().find_map(|source| {
                let short = name.strip_prefix(source.prefix())?;
                (!short.is_empty()).then(|| source.tool(short))
            })
        };
        self.tools.get(name).cloned().or_else(from_source)
    }

    /// The tool of that name with all that is known of it; opens the source it is of. Otherwise says why there is none.
    pub async fn find(&self, name: &str) -> Result<Arc<dyn Tool>, String> {
        if let Some(tool) = self.tools.get(name) {
            return Ok(tool.clone());
        }
        let Some(source) = self.sources.iter().find(|source| name.starts_with(source.prefix())) else {
            let names: Vec<String> = self.names().collect();
            return Err(format!("there is no tool `{name}`: the tools are {}", names.join(", ")));
        };
        let tools = source.list().await.map_err(|error| error.message)?;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name()).collect();
        let missing = || format!("there is no tool `{name}`: there are {}", names.join(", "));
        tools
            .iter()
            .find(|tool| tool.name() == name)
            .cloned()
            .ok_or_else(missing)
    }

    /// The tools that are known without opening anything, sorted by name.
    pub fn list(&self) -> impl Iterator<Item = &Arc<dyn Tool>> {
        self.tools.values()
    }

    /// Their names, sorted, then what the names of each source begin with, followed by a `*`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let prefixes = self.sources.iter().map(|source| format!("{}*", source.prefix()));
        self.tools.keys().cloned().chain(prefixes)
    }

    /// The tools that the patterns name and that may be called. Opens the sources that a pattern can name tools of.
    pub async fn offer(&self, patterns: &[String]) -> Offer {
        let mut offer = Offer {
            tools: self.tools.values().cloned().collect(),
            missing: Vec::new(),
        };
        let named = self.sources.iter().filter(|source| may_name(source.prefix(), patterns));
        for listed in futures::future::join_all(named.map(|source| source.list())).await {
            match listed {
                Ok(tools) => offer.tools.extend(tools),
                Err(error) => offer.missing.push(error.message),
            }
        }
        offer
            .tools
            .retain(|tool| tool.permitted() && allowed(tool.name(), patterns));
        offer.tools.sort_by(|a, b| a.name().cmp(b.name()));
        offer
    }

    /// All tools of all sources, whether they may be called or not; with each source that does not open, why.
    pub async fn list_sources(&self) -> Vec<Result<Vec<Arc<dyn Tool>>, String>> {
        let listing = self.sources.iter().map(|source| async {
            let tools = source.list().await;
            tools.map_err(|error| error.message)
        });
        futures::future::join_all(listing).await
    }
}

/// Whether a pattern can name a tool whose name begins with the prefix.
fn may_name(prefix: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => prefix.starts_with(beginning) || beginning.starts_with(prefix),
        None => pattern.starts_with(prefix),
    })
}

impl std::fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
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
    fn a_source_is_only_opened_when_a_pattern_can_name_its_tools() {
        for (patterns, expected) in [
            (&["*"][..], true),
            (&["mcp.*"], true),
            (&["mcp.ti*"], true),
            (&["mcp.time.*"], true),
            (&["mcp.time.now"], true),
            (&["mcp.time.no*"], true),
            (&["code.*", "mcp.git.*"], false),
            (&["mcp.time"], false),
            (&["mcp.timer.now"], false),
            (&[], false),
        ] {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            assert_eq!(may_name("mcp.time.", &patterns), expected, "{patterns:?}");
        }
    }

    #[test]
    fn tools_of_a_server_are_found_by_name_before_anything_is_opened() {
        let server = crate::McpConfig {
            command: "there-is-no-such-program".to_owned(),
            ..crate::McpConfig::default()
        };
        let config = Config {
            mcp: [("time".to_owned(), server)].into(),
            ..Config::default()
        };
        let toolbox = Toolbox::standard(&config).expect("registers");
        assert_eq!(toolbox.names().last().as_deref(), Some("mcp.time.*"));
        let tool = toolbox.get("mcp.time.now").expect("taken on trust");
        assert_eq!((tool.name(), tool.label()), ("mcp.time.now", "mcp.time"));
        assert!(!tool.read_only(), "nothing is known of it");
        for name in ["mcp.time.", "mcp.time", "mcp.git.log", "time.now"] {
            assert!(toolbox.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_standard_tools_are_sorted_and_the_crashing_one_must_be_asked_for() {
        let names =
            |config: &Config| -> Vec<String> { Toolbox::standard(config).expect("registers").names().collect() };
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
