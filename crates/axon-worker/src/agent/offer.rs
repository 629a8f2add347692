//! The tools of a task as a model sees them: names that every provider takes, schemas without what costs tokens and helps
//! nobody, and no more of them than the budget bears. Pure. A tool that is not offered cannot be named.

use std::collections::BTreeMap;
use std::sync::Arc;

use axon_model::{ToolSpec, text_tokens_max};
use axon_tools::Tool;
use serde_json::{Map, Value, json};

/// Longest name that every provider takes.
const NAME_BYTES_MAX: usize = 64;
/// Longest description of a parameter, in characters.
const PARAMETER_CHARS_MAX: usize = 90;
/// Part of the task's tokens that the description of its tools may take: each turn pays for it again.
const TOKENS_SHARE: u64 = 6;

/// How a model reports; no tool of a toolbox has this name, because theirs have groups.
pub(super) const REPORT: &str = "report_findings";

/// What comes first where not everything can be offered.
const FIRST: &[&str] = &["code.read", "code.search", "code.rank", "code.outline", "code.list"];

/// The tools on offer.
pub(super) struct Offer {
    specs: Vec<ToolSpec>,
    names: BTreeMap<String, String>,
}

impl Offer {
    /// The tools that a task may use, as far as its tokens bear their description. Those that look first come first.
    pub(super) fn new(tools: &[Arc<dyn Tool>], tokens: u64) -> Self {
        let mut tools: Vec<_> = tools.iter().filter(|tool| !tool.name().starts_with("diag.")).collect();
        let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
        tools.sort_by_key(|tool| place(tool.name()));
        let mut offer = Self {
            specs: vec![report_spec()],
            names: BTreeMap::new(),
        };
        let mut left = tokens / TOKENS_SHARE;
        for tool in tools {
            let spec = ToolSpec {
                name: offer.free_name(tool.name()),
                description: tool.description().to_owned(),
                schema: slim(tool.schema()),
            };
            let cost = text_tokens_max(&spec.description) + text_tokens_max(&spec.schema.to_string());
            // The first ones are offered in any case: without them nothing can be found out.
            if cost > left && offer.names.len() >= FIRST.len() {
                continue;
            }
            left = left.saturating_sub(cost);
            offer.names.insert(spec.name.clone(), tool.name().to_owned());
            offer.specs.push(spec);
        }
        offer
    }

    /// What the model is shown.
    pub(super) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// The tool that a model's name means.
    pub(super) fn tool(&self, name: &str) -> Option<&str> {
        self.names.get(name).map(String::as_str)
    }

    fn free_name(&self, tool: &str) -> String {
        let plain: String = tool
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        let cut = |end: usize| plain.chars().take(end).collect::<String>();
        let first = cut(NAME_BYTES_MAX);
        if first != REPORT && !self.names.contains_key(&first) {
            return first;
        }
        let numbered = (2..).map(|number| format!("{}_{number}", cut(NAME_BYTES_MAX - 5)));
        numbered
            .into_iter()
            .find(|name| !self.names.contains_key(name))
            .unwrap_or(first)
    }
}

/// A schema without titles, formats and defaults, and with short descriptions.
fn slim(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields
                .into_iter()
                .filter_map(|(key, value)| match (key.as_str(), value) {
                    (
                        "$schema" | "title" | "format" | "default" | "minimum" | "maximum",
                        Value::String(_) | Value::Number(_),
                    )
                    | ("default", _) => None,
                    ("description", Value::String(text)) => {
                        let short: String = text
                            .lines()
                            .next()
                            .unwrap_or_default()
                            .chars()
                            .take(PARAMETER_CHARS_MAX)
                            .collect();
                        Some((key, Value::String(short)))
                    }
                    // Names of parameters are no keywords.
                    ("properties", Value::Object(properties)) => {
                        let slimmed: Map<String, Value> = properties
                            .into_iter()
                            .map(|(name, value)| (name, slim(value)))
                            .collect();
                        Some((key, Value::Object(slimmed)))
                    }
                    (_, value) => Some((key, slim(value))),
                });
            Value::Object(kept.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(slim).collect()),
        other => other,
    }
}

fn report_spec() -> ToolSpec {
    let level = json!({"type": "string", "enum": ["info", "low", "medium", "high", "critical"]});
    let evidence = json!({
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "line": {"type": "integer", "description": "first line quoted"},
                "quote": {"type": "string", "description": "whole lines, word for word, 12 at most"},
                "call": {"type": "string", "description": "instead of path and line: the call whose result is quoted"},
            },
            "required": ["quote"],
        },
    });
    let finding = json!({
        "type": "object",
        "properties": {
            "claim": {"type": "string", "description": "one sentence"},
            "subject": {"type": "string", "description": "the symbol, file or thing it is about"},
            "rationale": {"type": "string", "description": "why it matters here"},
            "recommendation": {"type": "string"},
            "confidence": {"type": "number", "description": "0 to 1"},
            "severity": level,
            "impact": level,
            "effort": level,
            "negative": {"type": "boolean", "description": "true if it says that something is not so"},
            "evidence": evidence,
        },
        "required": ["claim", "confidence", "severity", "evidence"],
    });
    ToolSpec {
        name: REPORT.to_owned(),
        description:
            "Reports findings. Each is checked against its evidence; what does not hold is refused. Report early \
                      and again; set `done` with the last report."
                .to_owned(),
        schema: json!({
            "type": "object",
            "properties": {
                "findings": {"type": "array", "items": finding},
                "done": {"type": "boolean", "description": "nothing else is worth looking at"},
            },
            "required": ["findings", "done"],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_tools::{Config, Toolbox};
    use futures::executor::block_on;

    fn offer(patterns: &[&str], tokens: u64) -> Offer {
        let toolbox = Toolbox::standard(&Config::default()).expect("tools");
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Offer::new(&block_on(toolbox.offer(&patterns)).tools, tokens)
    }

    #[test]
    fn only_what_the_task_may_use_is_offered() {
        let all = offer(&["*"], 1_000_000);
        assert_eq!(all.tool("code_read"), Some("code.read"));
        assert_eq!(all.tool("code.read"), None);
        assert_eq!(all.tool("diag_sleep"), None, "what tests the fleet finds nothing out");
        let few = offer(&["code.read"], 1_000_000);
        let names: Vec<&str> = few.specs().iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, [REPORT, "code_read"]);
        assert_eq!(few.tool("code_search"), None);
    }

    #[test]
    fn a_small_budget_sees_few_tools_and_those_that_matter() {
        let (small, large) = (offer(&["*"], 6_000), offer(&["*"], 1_000_000));
        assert!(small.specs().len() < large.specs().len());
        for tool in FIRST {
            assert!(small.tool(&tool.replace('.', "_")).is_some(), "{tool}");
        }
    }

    #[test]
    fn names_fit_every_provider_and_schemas_are_slim() {
        for spec in offer(&["*"], 1_000_000).specs() {
            assert!(
                spec.name.len() <= NAME_BYTES_MAX && !spec.name.contains('.'),
                "{}",
                spec.name
            );
            assert_eq!(spec.schema["type"], "object", "{}", spec.name);
            let text = spec.schema.to_string();
            assert!(!text.contains("$schema") && !text.contains("\"title\""), "{text}");
        }
    }
}
