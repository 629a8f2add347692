//! `axon memory patterns`: what the leads mined from the episodes, and the operator's word against it.

use axon_bus::Bus;
use axon_memory::Patterns;
use axon_protocol::{Pattern, PatternRecord};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{self, age};

/// What to do with the patterns.
#[derive(Debug, clap::Subcommand)]
pub(super) enum PatternsCommand {
    /// Remove a pattern: no lead applies it, and the same evidence does not bring it back
    Drop {
        /// Its key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Lift the removal of a pattern
    Lift {
        /// Its key
        #[arg(value_name = "KEY")]
        key: String,
    },
}

/// One pattern as it is listed.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    key: &'a str,
    kind: &'static str,
    says: String,
    changes: String,
    removed: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pattern: &'a Pattern,
}

impl<'a> Listed<'a> {
    fn of((key, record): (&'a String, &'a PatternRecord)) -> Self {
        Self {
            key,
            kind: record.pattern.lesson.as_str(),
            says: record.pattern.to_string(),
            changes: record.pattern.lesson.changes(),
            removed: record.removed,
            pattern: &record.pattern,
        }
    }
}

pub(super) async fn run(context: &Context, bus: &Bus, command: Option<PatternsCommand>) -> anyhow::Result<Exit> {
    let patterns = Patterns::new(bus);
    match command {
        None => list(context, &patterns).await,
        Some(PatternsCommand::Drop { key }) => mark(context, &patterns, &key, Some(Utc::now())).await,
        Some(PatternsCommand::Lift { key }) => mark(context, &patterns, &key, None).await,
    }
}

async fn list(context: &Context, patterns: &Patterns) -> anyhow::Result<Exit> {
    let book = patterns.read().await?;
    let mut listed: Vec<Listed<'_>> = book.records.iter().map(Listed::of).collect();
    listed.sort_by(|a, b| (a.removed.is_some(), a.kind).cmp(&(b.removed.is_some(), b.kind)));
    if context.json {
        for one in &listed {
            output::json_line(one)?;
        }
    } else if listed.is_empty() {
        output::line(
            "no patterns: they take six new queries of a kind at least, and something that does surely better or worse",
        )?;
    } else {
        output::line(&text_of(&listed, Utc::now()))?;
    }
    Ok(Exit::Success)
}

fn text_of(listed: &[Listed<'_>], now: DateTime<Utc>) -> String {
    let lines = listed.iter().map(|one| {
        let changes = match one.removed {
            Some(removed) => format!("removed {} ago", age(removed, now)),
            None => one.changes.clone(),
        };
        format!(
            "{}  {}: {}\n    {changes}; last seen {} ago",
            one.key,
            one.kind,
            one.says,
            age(one.pattern.at, now)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn mark(
    context: &Context,
    patterns: &Patterns,
    key: &str,
    removed: Option<DateTime<Utc>>,
) -> anyhow::Result<Exit> {
    let Some(changed) = patterns.set_removed(key, removed).await? else {
        let message = format!("there is no pattern {key}: `axon memory patterns` lists them");
        return Err(Failure::not_found(message).into());
    };
    if context.json {
        output::json(&serde_json::json!({"key": key, "removed": removed.is_some(), "changed": changed}))?;
    } else {
        output::line(match (removed.is_some(), changed) {
            (true, true) => "removed: no lead applies it, and it comes back only with clearly surer evidence",
            (true, false) => "it was removed before",
            (false, true) => "lifted: it applies as long as it is mined",
            (false, false) => "it was not removed",
        })?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Lesson, QueryKind};

    use super::*;

    #[test]
    fn a_pattern_is_listed_with_what_it_changes() {
        let pattern = Pattern {
            when: QueryKind::default(),
            along: Vec::new(),
            lesson: Lesson::Enough {
                strategy: "research".to_owned(),
                tasks: 2,
            },
            support: 12.0,
            rate: 1.0,
            confidence: 0.8,
            compared: 0.25,
            compared_with: "with one task fewer".to_owned(),
            at: DateTime::UNIX_EPOCH,
        };
        let record = |removed| PatternRecord {
            pattern: pattern.clone(),
            known_to: DateTime::UNIX_EPOCH,
            removed,
        };
        let (key, now) = ("abc".to_owned(), DateTime::UNIX_EPOCH);
        for (removed, said) in [(None, "2 tasks at most"), (Some(now), "removed")] {
            let record = record(removed);
            let text = text_of(&[Listed::of((&key, &record))], now);
            assert!(
                text.starts_with("abc  allocation: for queries, 2 of the tasks") && text.contains(said),
                "{text}"
            );
        }
    }
}
