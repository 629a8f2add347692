//! `axon memory`: what the fleet remembers of its queries. Recall is the same as a lead's; export and import carry episodes,
//! patterns, statistics and definitions of strategies to another fleet, where nothing that is known already is replaced.

mod limits;
mod patterns;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::{Bus, Message};
use axon_memory::{
    DEFAULT_LIMITS, DurationModel, Episodes, OWN_PLAN, Patterns, Predictor, SharedFacts, Strategies, heed_readers,
};
use axon_protocol::{
    Bucket, Control, Episode, Format, PatternRecord, PlanRecord, QueryId, Recalled, StrategyDefinition,
    StrategyStatistics, Stream,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::command::watch::unknown;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::kept;
use crate::output::{self, age, counted, short};
use crate::question::{check_streams, stored_answer};
use patterns::PatternsCommand;

/// Episodes that are read, the latest ones.
const EPISODES_MAX: usize = 10_000;
/// How long a query that is answered may take to be remembered, and how often that is looked at.
const REMEMBERED_WITHIN: Duration = Duration::from_secs(15);
const REMEMBERED_POLL: Duration = Duration::from_millis(200);
/// How long storing one episode may take.
const STEP: Duration = Duration::from_secs(20);
const TEXT_CHARS_MAX: usize = 60;

/// What to do with the memory.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MemoryCommand {
    /// List the latest episodes, newest first
    Episodes {
        /// Only those that followed this strategy
        #[arg(long, value_name = "NAME")]
        strategy: Option<String>,
        /// Most episodes to list
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show what a lead would recall for a query
    Recall {
        /// The query
        #[arg(value_name = "QUERY")]
        query: String,
    },
    /// List the patterns that the fleet mined from its episodes, with what each changes; drop one, or lift that again
    Patterns {
        #[command(subcommand)]
        command: Option<PatternsCommand>,
    },
    /// Show what the fleet has learnt about complexity and duration: how often it is right, and what speaks for each class
    Model {
        /// Most weights to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Delete the episode of a query, its events, its plan, its dead letters and its history
    Forget {
        /// Id of the query
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Write episodes, patterns and strategies as JSON lines
    Export {
        /// The file; standard output without one
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take in what `export` wrote, here or in another fleet; what is known already stays as it is
    Import {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Episode(Box<Episode>),
    Statistics {
        strategy: String,
        #[serde(flatten)]
        statistics: StrategyStatistics,
    },
    Definition(Box<StrategyDefinition>),
    Pattern(Box<PatternRecord>),
}

pub(crate) async fn run(context: &Context, args: MemoryArgs) -> anyhow::Result<Exit> {
    // A file that cannot be read is the caller's mistake, found before anything is sent.
    let lines = match &args.command {
        MemoryCommand::Import { file } => read_lines(file)?,
        _ => Vec::new(),
    };
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    match args.command {
        MemoryCommand::Episodes { strategy, limit } => list(context, &bus, strategy.as_deref(), limit).await,
        MemoryCommand::Recall { query } => recall(context, &bus, &query).await,
        MemoryCommand::Patterns { command } => patterns::run(context, &bus, command).await,
        MemoryCommand::Model { limit } => model(context, &bus, limit).await,
        MemoryCommand::Forget { id } => forget(context, &bus, &QueryId::new(id)?).await,
        MemoryCommand::Export { file } => export(context, &bus, file.as_deref()).await,
        MemoryCommand::Import { .. } => import(context, &bus, lines).await,
    }
}

async fn list(context: &Context, bus: &Bus, strategy: Option<&str>, limit: usize) -> anyhow::Result<Exit> {
    let mut episodes = Episodes::new(bus, 0, DEFAULT_LIMITS)
        .latest(strategy, limit.min(EPISODES_MAX))
        .await?;
    episodes.reverse();
    if context.json {
        for episode in &episodes {
            output::json_line(episode)?;
        }
    } else if episodes.is_empty() {
        output::line("no episodes: every answered query becomes one, unless `bus.persist_to_episodic` is off")?;
    } else {
        output::line(&episodes_text(&episodes, Utc::now()))?;
    }
    Ok(Exit::Success)
}

fn episodes_text(episodes: &[Episode], now: DateTime<Utc>) -> String {
    let rows: Vec<Vec<String>> = episodes
        .iter()
        .map(|episode| {
            vec![
                episode.query_id.to_string(),
                age(episode.at, now),
                episode.status.as_str().to_owned(),
                episode.strategy.clone(),
                format!("{:.1} s", episode.duration_ms / 1000.0),
                short(&episode.query, TEXT_CHARS_MAX),
            ]
        })
        .collect();
    output::table(&["ID", "AGE", "STATUS", "STRATEGY", "TOOK", "QUERY"], &rows)
}

/// Episodes as a lead with these settings knows them.
fn episodes_of_a_lead(context: &Context, bus: &Bus) -> Episodes {
    let lead = &context.lead;
    Episodes::new(bus, limits::episodes_max(lead), limits::class_limits(lead))
}

async fn recall(context: &Context, bus: &Bus, query: &str) -> anyhow::Result<Exit> {
    if query.trim().is_empty() {
        return Err(Failure::bad_input("the query is empty: say what you would ask".to_owned()).into());
    }
    let episodes = episodes_of_a_lead(context, bus);
    episodes.read().await?;
    let mut recalled = episodes.recall(query, None, Utc::now());
    heed_readers(&mut recalled, &Strategies::new(bus).read().await?.statistics);
    if context.json {
        for one in &recalled {
            output::json_line(one)?;
        }
    } else if recalled.is_empty() {
        output::line("nothing like it was asked before")?;
    } else {
        output::line(&recalled_text(&recalled, Utc::now()))?;
    }
    Ok(Exit::Success)
}

fn recalled_text(recalled: &[Recalled], now: DateTime<Utc>) -> String {
    let mut out = Vec::new();
    for one in recalled {
        out.push(format!(
            "{:.0} % alike, {} ago: {}\n    {} with {} in {:.1} s, query {}",
            one.similarity * 100.0,
            age(one.at, now),
            one.query,
            one.status.as_str(),
            one.strategy,
            one.duration_ms / 1000.0,
            one.query_id
        ));
        if !one.places.is_empty() {
            out.push(format!("    cites {}", one.places.join(", ")));
        }
    }
    out.join("\n")
}

async fn model(context: &Context, bus: &Bus, limit: usize) -> anyhow::Result<Exit> {
    let episodes = episodes_of_a_lead(context, bus);
    episodes.read().await?;
    let model = episodes.predictor();
    let durations = episodes.durations();
    let (learnt, held_back) = model.observed();
    if context.json {
        let (accuracy, off_by) = (model.accuracy(), durations.off_by());
        output::json(&json!({
            "learnt_from": learnt,
            "held_back": held_back,
            "accuracy": accuracy.map(|(model, _)| model),
            "rules_accuracy": accuracy.map(|(_, rules)| rules),
            "duration_off_by": off_by.map(|(model, _)| model),
            "mean_duration_off_by": off_by.map(|(_, mean)| mean),
            "weights": model.weights(limit).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }))?;
    } else {
        output::line(&durations_text(&durations))?;
        output::line(&model_text(&model, limit))?;
    }
    Ok(Exit::Success)
}

fn durations_text(model: &DurationModel) -> String {
    let (learnt, held_back) = model.observed();
    let used = match model.off_by() {
        None => "estimates are means of strategies: too few episodes were held back to judge by".to_owned(),
        Some((model, mean)) => format!(
            "off by a factor of {model:.2} on the episodes held back, the means of strategies by {mean:.2}: {}",
            if model < mean {
                "experience estimates"
            } else {
                "the means estimate"
            }
        ),
    };
    format!("durations learnt from {learnt} episodes, {held_back} held back; {used}")
}

fn model_text(model: &Predictor, limit: usize) -> String {
    let (learnt, held_back) = model.observed();
    let used = match model.accuracy() {
        None => "the rules decide: too few episodes were held back to judge by".to_owned(),
        Some((right, rules)) => format!(
            "right about {:.0} % of the episodes held back, the rules about {:.0} %: {}",
            right * 100.0,
            rules * 100.0,
            if right > rules {
                "experience decides"
            } else {
                "the rules decide"
            }
        ),
    };
    let rows: Vec<Vec<String>> = model
        .weights(limit)
        .into_iter()
        .map(|(name, [simple, medium, complex])| {
            vec![
                name,
                format!("{simple:+.2}"),
                format!("{medium:+.2}"),
                format!("{complex:+.2}"),
            ]
        })
        .collect();
    let mut text = format!("complexity learnt from {learnt} episodes, {held_back} held back; {used}");
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&["TRAIT", "SIMPLE", "MEDIUM", "COMPLEX"], &rows));
    }
    text
}

async fn forget(context: &Context, bus: &Bus, id: &QueryId) -> anyhow::Result<Exit> {
    let ns = bus.namespace();
    let queue = settled_queue(bus, id).await?;
    let replays = kept::replays(bus, id).await?;
    if let Some(replay) = queue.replays_of(id).chain(replays.running.iter()).next() {
        let message = format!(
            "query {replay} repeats it and is still worked on: wait for its answer, or stop it with `axon cancel {replay}`"
        );
        return Err(Failure::bad_input(message).into());
    }
    let plans = bus.table::<PlanRecord>(Bucket::Plans);
    let planned = plans.get(id.as_str()).await?.is_some_and(|entry| entry.value.is_some());
    let answered = stored_answer(bus, id).await?.is_some();
    if planned && !answered {
        return Err(still_worked_on(id));
    }
    let remembered = episodes_of(bus, id).await?;
    let removed = kept::remove(bus, id, &replays.answered, &queue).await?;
    let episodes = bus.purge(Stream::Episodes, &ns.episodes_of(id)).await?;
    let events = bus.purge(Stream::Events, &ns.events_of(id)).await?;
    let tasks = match bus.purge(Stream::History, &ns.history_of_query(id)).await {
        Ok(tasks) => tasks,
        // A fleet may keep none.
        Err(axon_bus::Error::NoStream { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    if planned {
        plans.delete(id.as_str()).await?;
    }
    let facts = SharedFacts::new(bus).forget(id).await?;
    if !answered && removed == kept::Removed::default() && episodes + events + tasks == 0 {
        return Err(unknown(id));
    }
    // Only what is deleted by now, so that nothing is taken back twice.
    let mut uncounted = false;
    for episode in &remembered {
        uncounted |= Strategies::new(bus).forget(episode).await?;
    }
    let control = Control::Forget { query_id: id.clone() };
    bus.announce(&Message::new(ns.control_forget(id), Format::Json, &control)?)
        .await?;
    // This process ends next.
    bus.flush().await?;
    let deleted = json!({
        "id": id, "episodes": episodes, "events": events, "history": tasks, "plan": planned, "queries": removed.queries,
        "dead_letters": removed.letters, "artifacts": removed.artifacts, "facts": facts, "uncounted": uncounted,
        "replays": removed.replays,
    });
    if context.json {
        output::json(&deleted)?;
    } else {
        let plan = if planned { "its plan, " } else { "" };
        output::line(&format!(
            "forgotten: {plan}{}, {}, {}, {}, {}, {}, {}. Its results and its answer hold its words and stay until they expire \
             by themselves, because they keep it from being carried out twice; so do, for up to 7 days, the plans and tasks of \
             similar queries that were asked since and told of it{}",
            counted(episodes as usize, "episode"),
            counted(events as usize, "event"),
            counted(tasks as usize + removed.queries, "history message"),
            counted(removed.letters, "dead letter"),
            counted(removed.artifacts, "large part"),
            counted(facts, "shared fact"),
            counted(removed.replays, "replay"),
            if uncounted {
                "; its strategy counts one application less"
            } else {
                ""
            },
        ))?;
    }
    Ok(Exit::Success)
}

/// The queue, once nobody works on the query any more: a lead takes it out when it has remembered it.
async fn settled_queue(bus: &Bus, id: &QueryId) -> anyhow::Result<kept::Queue> {
    let until = Instant::now() + REMEMBERED_WITHIN;
    loop {
        let queue = kept::queue(bus).await?;
        if !queue.holds(id) {
            return Ok(queue);
        }
        if Instant::now() > until || stored_answer(bus, id).await?.is_none() {
            return Err(still_worked_on(id));
        }
        tokio::time::sleep(REMEMBERED_POLL).await;
    }
}

fn still_worked_on(id: &QueryId) -> anyhow::Error {
    let message = format!(
        "query {id} is still queued or worked on: wait for its answer, or stop it with `axon cancel {id}`, and forget it then"
    );
    Failure::bad_input(message).into()
}

/// The episodes of a query: one, or none.
async fn episodes_of(bus: &Bus, id: &QueryId) -> anyhow::Result<Vec<Episode>> {
    let mut episodes = Vec::new();
    for stored in bus
        .messages(Stream::Episodes, &bus.namespace().episodes_of(id), 0, EPISODES_MAX)
        .await?
    {
        // One that cannot be read is deleted all the same.
        episodes.extend(bus.decode_stored(&stored).await.ok());
    }
    Ok(episodes)
}

async fn export(context: &Context, bus: &Bus, file: Option<&Path>) -> anyhow::Result<Exit> {
    let book = Strategies::new(bus).read().await?;
    let memory = Episodes::new(bus, 0, DEFAULT_LIMITS);
    // Apart from each other, because those with a plan of their own may be thousands.
    let mut episodes = memory.latest(Some(OWN_PLAN), EPISODES_MAX).await?;
    episodes.extend(memory.latest_analysed(EPISODES_MAX).await?);
    let statistics = book.statistics.into_iter();
    let mut lines: Vec<Line> = statistics
        .map(|(strategy, statistics)| Line::Statistics { strategy, statistics })
        .collect();
    lines.extend(episodes.into_iter().map(|episode| Line::Episode(Box::new(episode))));
    // After the episodes that they were made and mined from, so that a lead which reads along finds them confirmed.
    let definitions = book.definitions.into_values();
    lines.extend(definitions.map(|definition| Line::Definition(Box::new(definition))));
    let patterns = Patterns::new(bus).read().await?.records;
    lines.extend(patterns.into_values().map(|record| Line::Pattern(Box::new(record))));
    let Some(file) = file else {
        for line in &lines {
            output::json_line(line)?;
        }
        return Ok(Exit::Success);
    };
    write_lines(file, &lines)?;
    if context.json {
        output::json(&json!({"file": file, "lines": lines.len()}))?;
    } else {
        output::line(&format!("{} in {}", counted(lines.len(), "line"), file.display()))?;
    }
    Ok(Exit::Success)
}

fn write_lines(file: &Path, lines: &[Line]) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    let failed = || format!("cannot write {}", file.display());
    let mut out = std::fs::File::create(file).with_context(failed)?;
    out.write_all(&text).with_context(failed)?;
    out.sync_all().with_context(failed)
}

fn read_lines(file: &Path) -> anyhow::Result<Vec<Line>> {
    let refuse = |why: String| Failure::bad_input(format!("cannot import {}: {why}", file.display()));
    let opened = std::fs::File::open(file).map_err(|error| refuse(error.to_string()))?;
    let mut lines = Vec::new();
    for (index, line) in BufReader::new(opened).lines().enumerate() {
        let line = line.map_err(|error| refuse(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let read = serde_json::from_str(&line)
            .map_err(|error| refuse(format!("line {} is none of an export: {error}", index + 1)))?;
        lines.push(read);
    }
    Ok(lines)
}

async fn import(context: &Context, bus: &Bus, lines: Vec<Line>) -> anyhow::Result<Exit> {
    let episodes = Episodes::new(bus, 0, DEFAULT_LIMITS);
    let (strategies, patterns) = (Strategies::new(bus), Patterns::new(bus));
    let (mut taken, mut known) = (0, 0);
    for line in lines {
        let new = match line {
            Line::Episode(episode) => episodes.remember(&episode, Instant::now() + STEP).await?,
            Line::Statistics { strategy, statistics } => strategies.adopt_statistics(&strategy, &statistics).await?,
            Line::Definition(definition) => strategies.adopt_definition(&definition).await?,
            Line::Pattern(record) => patterns.adopt(&record).await?,
        };
        *(if new { &mut taken } else { &mut known }) += 1;
    }
    if context.json {
        output::json(&json!({"imported": taken, "known": known}))?;
    } else {
        output::line(&format!("{taken} imported, {known} known already"))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_reads_back_and_nonsense_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("memory.jsonl");
        let lines = vec![Line::Statistics {
            strategy: "research".to_owned(),
            statistics: StrategyStatistics {
                applications: 3,
                ..StrategyStatistics::default()
            },
        }];
        write_lines(&file, &lines).expect("written");
        assert_eq!(read_lines(&file).expect("read"), lines);
        std::fs::write(&file, "\n{\"kind\": \"dream\"}\n").expect("written");
        let error = read_lines(&file).expect_err("nonsense").to_string();
        assert!(error.contains("line 2 is none of an export"), "{error}");
        let error = read_lines(&folder.path().join("nowhere"))
            .expect_err("missing")
            .to_string();
        assert!(error.contains("cannot import"), "{error}");
    }
}
