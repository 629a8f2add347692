//! A finding, and the evidence that lets anybody check it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, TaskId};

/// Whether a claim says that something is so or is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Polarity {
    /// It is so.
    #[default]
    Positive,
    /// It is not so.
    Negative,
}

/// A coarse measure for severity, impact and effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information.
    Info,
    /// Small.
    Low,
    /// Middling.
    #[default]
    Medium,
    /// Large.
    High,
    /// As large as it gets.
    Critical,
}

impl Level {
    /// The word for people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }

    /// 1 for `Info` to 5 for `Critical`.
    pub fn weight(self) -> u8 {
        self as u8 + 1
    }
}

/// Something that can be checked mechanically.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// Lines of a file in the workspace.
    Source {
        /// Path relative to the root of the workspace, `/` between its parts.
        path: String,
        /// First line, counted from 1.
        line: u32,
        /// Last line.
        end_line: u32,
        /// The lines word for word, without the final line break; long runs are cut to their first lines, never altered.
        quote: String,
        /// Digest of the whole file.
        digest: Digest,
        /// Revision of the workspace, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
    },
    /// A passage behind a URL.
    Url {
        /// Where.
        url: String,
        /// The passage word for word.
        quote: String,
    },
    /// What a tool returned.
    ToolCall {
        /// The tool.
        tool: String,
        /// Its parameters.
        params: Value,
        /// What it returned, word for word and cut to what matters.
        quote: String,
    },
}

impl Evidence {
    /// `path:line`, the URL, or the tool's name.
    pub fn location(&self) -> String {
        match self {
            Evidence::Source { path, line, .. } => format!("{path}:{line}"),
            Evidence::Url { url, .. } => url.clone(),
            Evidence::ToolCall { tool, .. } => tool.clone(),
        }
    }

    /// The words cited.
    pub fn quote(&self) -> &str {
        match self {
            Evidence::Source { quote, .. } | Evidence::Url { quote, .. } | Evidence::ToolCall { quote, .. } => quote,
        }
    }
}

/// One thing a worker found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Unique within the task, derived from what it says.
    pub id: String,
    /// The aspect of the query it belongs to.
    pub aspect: String,
    /// What is claimed, in one sentence.
    pub claim: String,
    /// What the claim is about: a symbol, a file, a thing compared.
    #[serde(default)]
    pub subject: String,
    /// A figure, where the claim holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Unit of the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether it says that something is so or is not so.
    #[serde(default)]
    pub polarity: Polarity,
    /// How sure the worker is, from 0 to 1.
    pub confidence: f64,
    /// How bad it is.
    #[serde(default)]
    pub severity: Level,
    /// How much a change would bring.
    #[serde(default)]
    pub impact: Level,
    /// How much work a change would be.
    #[serde(default)]
    pub effort: Level,
    /// Why it matters.
    #[serde(default)]
    pub rationale: String,
    /// What to do about it, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<String>,
    /// What shows it; never empty in a published finding.
    pub evidence: Vec<Evidence>,
    /// Where it comes from: findings with one origin count once.
    #[serde(default)]
    pub origin: String,
    /// The tool that found it.
    #[serde(default)]
    pub tool: String,
    /// The task that reported it.
    pub task: TaskId,
}
