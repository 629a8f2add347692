//! What the lead found out about a query before planning it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much work a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// One worker answers it.
    Simple,
    /// A few independent parts.
    Medium,
    /// Many parts, or a large scope.
    Complex,
}

impl fmt::Display for Complexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Complexity::Simple => "simple",
            Complexity::Medium => "medium",
            Complexity::Complex => "complex",
        })
    }
}

/// How the parts of a query depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One part.
    Single,
    /// Each part needs the one before it.
    Chain,
    /// Some parts need others.
    Graph,
    /// The parts are independent.
    FanOut,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Single => "single",
            Shape::Chain => "chain",
            Shape::Graph => "graph",
            Shape::FanOut => "fan-out",
        })
    }
}

/// The analysis of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// How much work it is.
    pub complexity: Complexity,
    /// What the rules say of it, where experience says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruled: Option<Complexity>,
    /// Why.
    pub complexity_reasons: Vec<String>,
    /// How its parts depend on each other.
    pub shape: Shape,
    /// Why.
    pub shape_reasons: Vec<String>,
    /// The aspects the asker names, such as `security` or `error handling`.
    #[serde(default)]
    pub aspects: Vec<String>,
    /// The words that carry the meaning of the query.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Paths of the workspace that the query names.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Symbols of code that the query names.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Quoted texts, such as error messages.
    #[serde(default)]
    pub quotes: Vec<String>,
    /// What a comparison compares.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// What is unclear about the query, and what would help.
    #[serde(default)]
    pub warnings: Vec<String>,
}
