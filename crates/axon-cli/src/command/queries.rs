//! `axon queries`: what is queued, running and answered, newest first. Read from the queue, the plans and the answers.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axon_bus::Bus;
use axon_protocol::{Answer, AnswerStatus, Bucket, PlanRecord, Query, QueryId, Stream};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::command::watch::queued;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, age, short};

/// Queued queries that are read.
const QUEUED_MAX: usize = 1000;
const TEXT_CHARS_MAX: usize = 60;

/// Which queries.
#[derive(Debug, clap::Args)]
pub(crate) struct QueriesArgs {
    /// Most queries to list
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// One query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    id: QueryId,
    /// `queued`, `running`, `cancelling`, or the status of the answer.
    status: &'static str,
    query: String,
    strategy: Option<String>,
    at: Option<DateTime<Utc>>,
    /// Its place among all queries, in the order of their acceptance; unknown where only the answer is left.
    #[serde(skip)]
    sequence: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: QueriesArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    let rows = latest(&bus, args.limit).await?;
    if context.json {
        for row in &rows {
            output::json_line(row)?;
        }
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        output::line("no queries: ask one with `axon ask`")?;
        return Ok(Exit::Success);
    }
    output::line(&text_of(&rows, Utc::now()))?;
    Ok(Exit::Success)
}

/// The latest queries, newest first.
pub(crate) async fn latest(bus: &Bus, limit: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = collect(bus).await?;
    sort(&mut rows);
    rows.truncate(limit);
    for row in &mut rows {
        if let Some(answer) = read_answer(bus, &row.id).await? {
            describe(row, &answer);
        }
    }
    Ok(rows)
}

async fn collect(bus: &Bus) -> anyhow::Result<Vec<Row>> {
    let mut rows: BTreeMap<QueryId, Row> = BTreeMap::new();
    for (id, message) in queued(bus, QUEUED_MAX).await? {
        let query = Query::parse(&message.headers, &message.payload).map(|(query, _)| query.query);
        rows.insert(
            id.clone(),
            Row {
                id,
                status: "queued",
                query: query.unwrap_or_default(),
                strategy: None,
                at: Some(message.stored_at),
                sequence: Some(message.sequence),
            },
        );
    }
    for (key, record) in bus.table::<PlanRecord>(Bucket::Plans).all().await? {
        let Ok(id) = QueryId::new(key) else { continue };
        let cancelled = record.cancelled;
        let sequence = Some(record.sequence).filter(|sequence| *sequence > 0);
        let plan = match record.plan {
            Some(plan) => bus.load(plan).await.ok(),
            None => None,
        };
        let earlier = rows.remove(&id);
        rows.insert(
            id.clone(),
            Row {
                id,
                status: if cancelled { "cancelling" } else { "running" },
                at: earlier
                    .as_ref()
                    .and_then(|row| row.at)
                    .or(plan.as_ref().map(|plan| plan.created_at)),
                sequence: sequence.or(earlier.as_ref().and_then(|row| row.sequence)),
                strategy: plan.as_ref().map(|plan| plan.strategy.name.clone()),
                query: plan
                    .map(|plan| plan.query.query.clone())
                    .or(earlier.map(|row| row.query))
                    .unwrap_or_default(),
            },
        );
    }
    let answers = bus.namespace().stream_subjects(Stream::Answers).concat();
    for message in bus.headers(Stream::Answers, &answers).await? {
        let Some(id) = bus.namespace().last_token_query(&message.subject) else {
            continue;
        };
        // The status is read with the answer, for the rows that are shown.
        rows.entry(id.clone()).or_insert(Row {
            id,
            status: "answered",
            query: String::new(),
            strategy: None,
            at: Some(message.stored_at),
            sequence: None,
        });
    }
    Ok(rows.into_values().collect())
}

async fn read_answer(bus: &Bus, id: &QueryId) -> anyhow::Result<Option<Answer>> {
    Ok(crate::question::stored_answer(bus, id).await?)
}

fn describe(row: &mut Row, answer: &Answer) {
    row.status = match answer.status {
        AnswerStatus::Complete => "complete",
        AnswerStatus::Partial => "partial",
        AnswerStatus::Failed => "failed",
    };
    if row.query.is_empty() {
        row.query.clone_from(&answer.query);
    }
    row.strategy = row.strategy.take().or_else(|| answer.strategy.clone());
}

/// The query accepted last comes first. One that was refused has no plan, and so no place of its own: it stands where its
/// answer came, behind all that were accepted by then.
fn sort(rows: &mut [Row]) {
    let mut placed: Vec<(Option<DateTime<Utc>>, u64)> =
        rows.iter().filter_map(|row| Some((row.at, row.sequence?))).collect();
    placed.sort_unstable();
    // The highest sequence up to each time: the order of the times is not quite that of acceptance.
    let mut highest = 0;
    for (_, sequence) in &mut placed {
        highest = highest.max(*sequence);
        *sequence = highest;
    }
    let place = |row: &Row| {
        let until = placed.partition_point(|(at, _)| *at <= row.at);
        let by_time = || until.checked_sub(1).map_or(0, |last| placed[last].1);
        (row.sequence.unwrap_or_else(by_time), row.sequence.is_none(), row.at)
    };
    rows.sort_by_cached_key(|row| (Reverse(place(row)), row.id.clone()));
}

pub(crate) fn text_of(rows: &[Row], now: DateTime<Utc>) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.id.to_string(),
                row.status.to_owned(),
                row.at.map_or_else(String::new, |at| age(at, now)),
                row.strategy.clone().unwrap_or_default(),
                short(&row.query, TEXT_CHARS_MAX),
            ]
        })
        .collect();
    output::table(&["id", "status", "age", "strategy", "query"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, seconds_ago: Option<i64>, now: DateTime<Utc>) -> Row {
        Row {
            id: QueryId::new(id).expect("an id"),
            status: "running",
            query: "why?\nreally".to_owned(),
            strategy: None,
            at: seconds_ago.map(|seconds| now - chrono::Duration::seconds(seconds)),
            sequence: None,
        }
    }

    #[test]
    fn the_newest_comes_first() {
        let now = Utc::now();
        let accepted = |id, sequence, planned_seconds_ago| Row {
            sequence: Some(sequence),
            ..row(id, Some(planned_seconds_ago), now)
        };
        // The second one waited for its turn and was planned after the third.
        let mut rows = vec![
            accepted("first", 1, 9),
            row("refused", Some(6), now),
            accepted("second", 2, 1),
            accepted("third", 3, 4),
            row("forgotten", Some(99), now),
        ];
        sort(&mut rows);
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["third", "second", "refused", "first", "forgotten"]);
    }

    #[test]
    fn an_answer_completes_the_row() {
        let now = Utc::now();
        let mut row = Row {
            query: String::new(),
            ..row("q1", Some(0), now)
        };
        let answer = Answer::refused(row.id.clone(), "why not?", "empty", now);
        describe(&mut row, &answer);
        assert_eq!(
            (row.status, row.query.as_str(), row.at),
            ("failed", "why not?", Some(now))
        );
        assert!(text_of(&[row], now).ends_with("why not?"));
    }
}
