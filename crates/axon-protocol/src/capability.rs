//! Capabilities, the routes they form, the groups of workers that serve them, and the bands of priority.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The priority of a query or task that names none.
pub const PRIORITY_DEFAULT: u8 = 5;
/// The highest priority; the lowest is 1.
pub const PRIORITY_MAX: u8 = 10;

const CAPABILITY_BYTES_MAX: usize = 64;
const ROUTE_BYTES_MAX: usize = 64;

/// The built-in groups of workers and what each can do. Every group serves `Diagnostics` as well.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("developer", &["CodeGeneration", "CodeRefactoring"]),
    ("reviewer", &["CodeReview", "CodeAnalysis"]),
    ("researcher", &["Research", "Comparison"]),
    ("tester", &["Testing"]),
    ("investigator", &["BugInvestigation", "CodeAnalysis"]),
];

/// Why a text is not a capability or a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no {1}: use 1 to 64 {2}")]
pub struct CapabilityError(String, &'static str, &'static str);

/// Something a worker can do, such as `CodeReview`: 1 to 64 ASCII letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Capability(String);

impl Capability {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, CapabilityError> {
        let name = name.into();
        let fits = (1..=CAPABILITY_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits {
            Ok(Self(name))
        } else {
            Err(CapabilityError(name, "capability", "letters and digits"))
        }
    }

    /// The capability of the diagnostic tools, which every worker has.
    pub fn diagnostics() -> Self {
        Self("Diagnostics".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;
    fn try_from(name: String) -> Result<Self, CapabilityError> {
        Self::new(name)
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;
    fn from_str(name: &str) -> Result<Self, CapabilityError> {
        Self::new(name)
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> String {
        capability.0
    }
}

/// The group a worker belongs to: one of [`GROUPS`], `all`, or a name of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct AgentType(String);

impl AgentType {
    /// Checks and wraps a name: 1 to 32 lower-case letters, digits and `_`.
    pub fn new(name: impl Into<String>) -> Result<Self, CapabilityError> {
        let name = name.into();
        let fits = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits {
            Ok(Self(name))
        } else {
            Err(CapabilityError(
                name,
                "agent type",
                "lower-case letters, digits and `_` (32 at most)",
            ))
        }
    }

    /// The group that serves every built-in capability.
    pub fn all() -> Self {
        Self("all".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The capabilities of a built-in group, `Diagnostics` included; `None` for a name that is not built in.
    pub fn capabilities(&self) -> Option<BTreeSet<Capability>> {
        let mut set: BTreeSet<Capability> = GROUPS
            .iter()
            .filter(|(group, _)| self.0 == "all" || *group == self.0)
            .flat_map(|(_, names)| names.iter().map(|name| Capability((*name).to_owned())))
            .collect();
        if set.is_empty() {
            return None;
        }
        set.insert(Capability::diagnostics());
        Some(set)
    }
}

impl fmt::Display for AgentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AgentType {
    type Error = CapabilityError;
    fn try_from(name: String) -> Result<Self, CapabilityError> {
        Self::new(name)
    }
}

impl FromStr for AgentType {
    type Err = CapabilityError;
    fn from_str(name: &str) -> Result<Self, CapabilityError> {
        Self::new(name)
    }
}

impl From<AgentType> for String {
    fn from(agent_type: AgentType) -> String {
        agent_type.0
    }
}

/// Where tasks that need the same set of capabilities queue: the sorted names joined by `-`, or a hash of that when it
/// is longer than 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Route(String);

impl Route {
    /// The route of a set of capabilities. An empty set routes to `Diagnostics`, which every worker serves.
    pub fn of(capabilities: &BTreeSet<Capability>) -> Self {
        let joined = capabilities
            .iter()
            .map(Capability::as_str)
            .collect::<Vec<_>>()
            .join("-");
        if joined.is_empty() {
            return Self("Diagnostics".to_owned());
        }
        if joined.len() <= ROUTE_BYTES_MAX {
            return Self(joined);
        }
        Self(format!("h{}", &Digest::of(joined.as_bytes()).hex()[..32]))
    }

    /// The subject token of the route.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_token(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A band of priorities. Each route has one queue per band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// Priorities 8 to 10.
    High,
    /// Priorities 4 to 7.
    Normal,
    /// Priorities 1 to 3.
    Low,
}

impl Band {
    /// Every band, the most urgent first.
    pub const ALL: [Band; 3] = [Band::High, Band::Normal, Band::Low];

    /// The band of a priority from 1 to 10; what lies outside is taken as the nearest.
    pub fn of(priority: u8) -> Self {
        match priority {
            0..=3 => Band::Low,
            4..=7 => Band::Normal,
            _ => Band::High,
        }
    }

    /// The subject token of the band.
    pub fn as_str(self) -> &'static str {
        match self {
            Band::High => "high",
            Band::Normal => "normal",
            Band::Low => "low",
        }
    }

    pub(crate) fn from_token(token: &str) -> Option<Self> {
        Band::ALL.into_iter().find(|band| band.as_str() == token)
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Capability> {
        names
            .iter()
            .map(|name| Capability::new(*name).expect("a capability"))
            .collect()
    }

    #[test]
    fn a_route_does_not_depend_on_the_order_and_stays_short() {
        assert_eq!(Route::of(&set(&["B", "A"])).as_str(), "A-B");
        assert_eq!(Route::of(&set(&[])).as_str(), "Diagnostics");
        let long = "x".repeat(40);
        let other = "y".repeat(40);
        let route = Route::of(&set(&[&long, &other]));
        assert_eq!(route.as_str().len(), 33);
        assert_eq!(route, Route::of(&set(&[&other, &long])));
    }

    #[test]
    fn bands_follow_the_priorities() {
        for (priority, band) in [
            (1, Band::Low),
            (3, Band::Low),
            (4, Band::Normal),
            (7, Band::Normal),
            (8, Band::High),
            (10, Band::High),
        ] {
            assert_eq!(Band::of(priority), band, "{priority}");
        }
    }

    #[test]
    fn groups_serve_what_they_name_and_diagnostics() {
        let reviewer = AgentType::new("reviewer")
            .expect("a group")
            .capabilities()
            .expect("built in");
        assert_eq!(reviewer, set(&["CodeAnalysis", "CodeReview", "Diagnostics"]));
        assert_eq!(AgentType::all().capabilities().expect("built in").len(), 9);
        assert_eq!(AgentType::new("own").expect("a name").capabilities(), None);
    }

    #[test]
    fn capabilities_are_letters_and_digits() {
        for (name, fits) in [
            ("CodeReview", true),
            ("A1", true),
            ("", false),
            ("Code-Review", false),
            ("a.b", false),
        ] {
            assert_eq!(Capability::new(name).is_ok(), fits, "{name}");
        }
    }
}
