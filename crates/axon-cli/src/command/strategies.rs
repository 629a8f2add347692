//! `axon strategies`: the strategies in force, as a lead tells them, and how well they did, as the bucket does.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{Bucket, Format, LearntFrom, Stage, StrategyDefinition, StrategyStatistics};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;

/// Keys of statistics begin with this.
const STATISTICS_PREFIX: &str = "stats.";
/// Keys of definitions begin with this.
const DEFINITION_PREFIX: &str = "def.";

/// How long a lead may take to tell the strategies.
const TELL_TIMEOUT: Duration = Duration::from_secs(3);

/// One strategy.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
struct Row {
    name: String,
    description: String,
    /// Whether the bucket overrides or adds its definition.
    defined_here: bool,
    success_rate: Option<f64>,
    /// The same share, the latest applications counting most.
    recent_rate: Option<f64>,
    /// How far it is trusted.
    stage: Stage,
    /// What it was generated from, where the fleet did so.
    learnt_from: Option<LearntFrom>,
    statistics: StrategyStatistics,
}

pub(crate) async fn run(context: &Context) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let entries = bus.table::<Value>(Bucket::Strategies).all().await?;
    let told = told(&bus).await;
    let known = told.is_some();
    let rows = rows(told.unwrap_or_default(), entries);
    if context.json {
        output::json(&rows)?;
        return Ok(Exit::Success);
    }
    if !rows.is_empty() {
        output::line(&text_of(&rows))?;
    }
    if !known {
        output::line("no lead is running that could tell all strategies: these are the ones in the bucket alone")?;
    }
    Ok(Exit::Success)
}

/// The definitions in force; `None` when no lead tells them.
async fn told(bus: &Bus) -> Option<Vec<StrategyDefinition>> {
    let request = Message::new(bus.namespace().strategies(), Format::Json, &Value::Null).ok()?;
    bus.request(&request, TELL_TIMEOUT).await.ok()?.decode().await.ok()
}

fn rows(told: Vec<StrategyDefinition>, entries: BTreeMap<String, Value>) -> Vec<Row> {
    let in_force = told.into_iter().map(|definition| {
        let row = Row {
            name: definition.name.clone(),
            description: definition.description,
            ..Row::default()
        };
        (definition.name, row)
    });
    let mut rows: BTreeMap<String, Row> = in_force.collect();
    for (key, value) in entries {
        let named = |name: &str| Row {
            name: name.to_owned(),
            ..Row::default()
        };
        if let Some(name) = key.strip_prefix(STATISTICS_PREFIX)
            && let Ok(statistics) = serde_json::from_value::<StrategyStatistics>(value.clone())
        {
            let row = rows.entry(name.to_owned()).or_insert_with(|| named(name));
            row.success_rate = statistics.success_rate();
            row.recent_rate = statistics.recent_rate();
            row.statistics = statistics;
        } else if let Some(name) = key.strip_prefix(DEFINITION_PREFIX)
            && let Ok(definition) = serde_json::from_value::<StrategyDefinition>(value)
        {
            let row = rows.entry(name.to_owned()).or_insert_with(|| named(name));
            row.description = definition.description;
            row.stage = definition.stage;
            row.learnt_from = definition.learnt_from;
            row.defined_here = true;
        }
    }
    rows.into_values().collect()
}

fn text_of(rows: &[Row]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let percent =
                |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.0} %", rate * 100.0));
            vec![
                row.name.clone(),
                stage_of(row).to_owned(),
                row.statistics.applications.to_string(),
                percent(row.success_rate),
                percent(row.recent_rate),
                format!("{:.2} s", row.statistics.mean_duration_ms / 1000.0),
                format!("{:.1}", row.statistics.mean_cost_cents),
                format!("{:.2}", row.statistics.mean_quality),
                row.description.clone(),
            ]
        })
        .collect();
    output::table(
        &[
            "strategy",
            "stage",
            "applied",
            "success",
            "of late",
            "duration",
            "cents",
            "quality",
            "description",
        ],
        &cells,
    )
}

/// Whose a strategy is, or how far one is that the fleet generated.
fn stage_of(row: &Row) -> &'static str {
    match (row.stage, &row.learnt_from, row.defined_here) {
        (Stage::Candidate, ..) => "candidate",
        (Stage::Dropped, ..) => "dropped",
        (Stage::Trusted, Some(_), _) => "learnt",
        (Stage::Trusted, None, true) => "own",
        (Stage::Trusted, None, false) => "built in",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statistics_and_definitions_meet_under_one_name() {
        let statistics = json!({"applications": 4, "successes": 3, "mean_duration_ms": 1500.0, "mean_cost_cents": 0.0,
            "mean_quality": 0.875});
        let definition = json!({"name": "mine", "description": "my own", "capabilities": [], "templates": []});
        let tried = json!({"name": "tried", "description": "generated", "capabilities": [], "templates": [],
            "stage": "candidate"});
        let entries = [
            ("stats.code_review".to_owned(), statistics),
            ("def.mine".to_owned(), definition),
            ("def.tried".to_owned(), tried),
            ("stats.broken".to_owned(), json!(7)),
            ("other".to_owned(), json!({})),
        ];
        let told = json!([{"name": "research", "description": "reads", "capabilities": [], "templates": []}]);
        let told = serde_json::from_value(told).expect("definitions");
        let rows = rows(told, entries.into());
        let names: Vec<(&str, bool, Option<f64>)> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.defined_here, row.success_rate))
            .collect();
        assert_eq!(
            names,
            [
                ("code_review", false, Some(0.75)),
                ("mine", true, None),
                ("research", false, None),
                ("tried", true, None)
            ]
        );
        let text = text_of(&rows);
        for said in ["75 %", "candidate", "built in"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}
