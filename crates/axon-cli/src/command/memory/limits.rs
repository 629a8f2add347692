//! What the leads are configured with, as far as what they learn hangs on it. The settings are the leads' own and checked by
//! them: what is no number here counts as not set.

use axon_memory::{ClassLimits, DEFAULT_LIMITS};
use serde_json::{Map, Value};

/// Episodes that a lead recalls and learns from, unless it is told otherwise.
const EPISODES_MAX: usize = 10_000;

/// The number at a dotted path, also where it came as text from the environment.
fn number(lead: &Map<String, Value>, path: &[&str]) -> Option<f64> {
    let (first, rest) = path.split_first()?;
    let found = rest.iter().try_fold(lead.get(*first)?, |value, part| value.get(part))?;
    found.as_f64().or_else(|| found.as_str()?.trim().parse().ok())
}

/// The latest episodes that a lead recalls and learns from.
pub(super) fn episodes_max(lead: &Map<String, Value>) -> usize {
    number(lead, &["max_episodes"]).map_or(EPISODES_MAX, |most| most as usize)
}

/// The limits of the classes of complexity, smallest first.
pub(super) fn class_limits(lead: &Map<String, Value>) -> [ClassLimits; 3] {
    let mut limits = DEFAULT_LIMITS;
    for (class, limits) in ["simple", "medium", "complex"].iter().zip(&mut limits) {
        let of = |key: &str| number(lead, &["allocation", class, key]);
        let calls_each = limits.tool_calls as f64 / limits.workers as f64;
        let calls_each = of("max_tool_calls_per_worker").unwrap_or(calls_each);
        limits.workers = of("num_workers").map_or(limits.workers, |workers| workers as usize);
        limits.tool_calls = (limits.workers as f64 * calls_each) as u64;
        limits.duration_ms = of("timeout_s").map_or(limits.duration_ms, |seconds| seconds * 1000.0);
        limits.tokens = of("max_tokens_budget").map_or(limits.tokens, |tokens| tokens as u64);
        limits.cents = of("max_cost_cents").unwrap_or(limits.cents);
    }
    limits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_configured_replaces_the_defaults() {
        let lead = |value: Value| value.as_object().cloned().expect("a section");
        let none = lead(json!({}));
        assert_eq!(
            (episodes_max(&none), class_limits(&none)),
            (EPISODES_MAX, DEFAULT_LIMITS)
        );
        let some = lead(json!({
            "max_episodes": "500",
            "client_weights": {"nightly": 0.5},
            "allocation": {"simple": {"num_workers": "2", "timeout_s": 60}, "complex": {"max_tool_calls_per_worker": 5}},
        }));
        let limits = class_limits(&some);
        assert_eq!(episodes_max(&some), 500);
        assert_eq!((limits[0].workers, limits[0].tool_calls), (2, 20));
        assert!((limits[0].duration_ms - 60_000.0).abs() < 1e-9);
        assert_eq!((limits[1], limits[2].tool_calls), (DEFAULT_LIMITS[1], 50));
    }
}
