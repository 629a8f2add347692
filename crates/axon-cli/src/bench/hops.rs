//! Where the time of a query goes: the way from its publication to its answer, cut at what streams and events tell of it.
//! Times of several processes are compared, so they are worth something on one machine only.

use axon_bus::{Bus, Error};
use axon_protocol::{Event, EventKind, QueryId, Stream, decode};
use chrono::{DateTime, Utc};

use crate::bench::statistics::{Latencies, Round};

/// Queries of a round that are looked at.
const QUERIES_MAX: usize = 200;
/// Messages of one query and kind that are read.
const MESSAGES_MAX: usize = 5_000;

/// The hops in order, each named after its end: until the plan is saved, the last task is queued, started, has its result
/// accepted, the synthesis is asked for, the answer is stored, and its asker has it.
const NAMES: [&str; 7] = [
    "hop_planned_p50_ms",
    "hop_queued_p50_ms",
    "hop_started_p50_ms",
    "hop_accepted_p50_ms",
    "hop_synthesizing_p50_ms",
    "hop_answered_p50_ms",
    "hop_read_p50_ms",
];

/// A query as its asker saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: QueryId,
    pub(crate) published_at: DateTime<Utc>,
    pub(crate) read_at: DateTime<Utc>,
}

/// The median of each hop over the latest of these queries. One whose events are gone is left out.
pub(crate) async fn figures(bus: &Bus, asked: &[Asked]) -> Result<Round, Error> {
    let mut hops: [Vec<std::time::Duration>; NAMES.len()] = Default::default();
    for one in asked.iter().rev().take(QUERIES_MAX) {
        if let Some(ends) = ends(bus, one).await? {
            let mut from = one.published_at;
            for (hop, end) in hops.iter_mut().zip(ends) {
                hop.push((end - from).to_std().unwrap_or_default());
                from = from.max(end);
            }
        }
    }
    let medians = hops.map(|hop| Latencies::new(hop).quantile_ms(0.5));
    Ok(NAMES.into_iter().zip(medians).collect())
}

/// When each hop of a query ended.
async fn ends(bus: &Bus, asked: &Asked) -> Result<Option<[DateTime<Utc>; NAMES.len()]>, Error> {
    let ns = bus.namespace();
    let last_of = async |stream, subject: String| {
        let messages = bus.messages(stream, &subject, 0, MESSAGES_MAX).await?;
        Ok::<_, Error>(messages.into_iter().map(|message| message.stored_at).max())
    };
    let last_told = async |kind| {
        let messages = bus
            .messages(Stream::Events, &ns.event(&asked.id, kind), 0, MESSAGES_MAX)
            .await?;
        let events = messages.iter().filter_map(|message| {
            let event: Event = decode(&message.headers, &message.payload).ok()?;
            Some(event.at)
        });
        Ok::<_, Error>(events.max())
    };
    let planned = last_told(EventKind::Planned).await?;
    let queued = last_of(Stream::History, ns.history_of_query(&asked.id)).await?;
    let started = last_told(EventKind::Started).await?;
    let accepted = last_of(Stream::Results, ns.results_of(&asked.id)).await?;
    let synthesizing = last_told(EventKind::Synthesizing).await?;
    let answered = bus.last(Stream::Answers, &ns.answer(&asked.id)).await?;
    let answered = answered.map(|answer| answer.stored_at);
    let ends = [
        planned,
        queued,
        started,
        accepted,
        synthesizing,
        answered,
        Some(asked.read_at),
    ];
    let known: Vec<DateTime<Utc>> = ends.into_iter().flatten().collect();
    Ok(known.try_into().ok())
}
