//! What of a query's messages is gone because its stream keeps messages for some time or in some number only.

use axon_bus::{Bus, Error, StreamStatus};
use axon_protocol::Stream;
use chrono::{DateTime, TimeDelta, Utc};

/// The copy of a query is stored with the query itself; this much later it is no copy of it.
const COPY_DELAY_MAX: TimeDelta = TimeDelta::seconds(1);

/// What each stream keeps, in words.
const KEEPS: [(Stream, &str); 5] = [
    (Stream::History, "queries and tasks"),
    (Stream::Events, "events"),
    (Stream::Results, "results"),
    (Stream::Dead, "dead letters"),
    (Stream::Answers, "answers"),
];

/// A stream of messages; `None` where the fleet has none.
pub(super) type Kept = (Stream, &'static str, Option<StreamStatus>);

pub(super) async fn read(bus: &Bus) -> Result<Vec<Kept>, Error> {
    let mut all = Vec::new();
    for (stream, what) in KEEPS {
        let status = match bus.status(stream).await {
            Ok(status) => Some(status),
            Err(Error::NoStream { .. }) => None,
            Err(error) => return Err(error),
        };
        all.push((stream, what, status));
    }
    Ok(all)
}

/// What is gone of a query that was accepted then, one remark a stream.
pub(super) fn remarks(all: &[Kept], accepted_at: DateTime<Utc>, now: DateTime<Utc>) -> Vec<String> {
    let each = all.iter().filter_map(|(stream, what, status)| {
        let Some(status) = status else {
            return Some(format!("{what} are not kept here: `bus.persist_to_episodic` is off"));
        };
        let age_s = u64::try_from((now - accepted_at).num_seconds()).unwrap_or_default();
        if status.age_max_s > 0 && age_s > status.age_max_s {
            let kept = span(status.age_max_s);
            return Some(format!(
                "{what} are kept for {kept}: those of this query are gone, at least in part"
            ));
        }
        let oldest = status.oldest_at?;
        let displaced = *stream == Stream::History && oldest > accepted_at + COPY_DELAY_MAX;
        displaced.then(|| {
            format!(
                "the history is full and holds nothing from before {}: earlier {what} of this query are gone \
                 (`bus.max_history_size`)",
                oldest.format("%Y-%m-%d %H:%M:%S UTC")
            )
        })
    });
    each.collect()
}

fn span(seconds: u64) -> String {
    let in_units =
        |unit: u64, noun| axon_protocol::counted(usize::try_from(seconds / unit).unwrap_or(usize::MAX), noun);
    match seconds {
        86_400.. => in_units(86_400, "day"),
        3_600.. => in_units(3_600, "hour"),
        _ => in_units(1, "second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_said() {
        let now = Utc::now();
        let ago = |hours: i64| now - TimeDelta::hours(hours);
        let status = |age_max_s, oldest_at| {
            Some(StreamStatus {
                name: String::new(),
                messages: 1,
                bytes: 1,
                bytes_max: 1,
                age_max_s,
                last_sequence: 1,
                oldest_at,
                consumers: Vec::new(),
            })
        };
        let day = 86_400;
        for (stream, status, expected) in [
            (Stream::Events, status(day, Some(ago(3))), None),
            (
                Stream::Events,
                status(day / 24, Some(ago(0))),
                Some("kept for 1 hour: those of this query are gone"),
            ),
            (Stream::Dead, status(0, None), None),
            (Stream::History, status(7 * day, Some(ago(3))), None),
            (Stream::History, status(7 * day, Some(ago(2))), None),
            (
                Stream::History,
                status(7 * day, Some(ago(1))),
                Some("the history is full"),
            ),
            (Stream::History, None, Some("`bus.persist_to_episodic` is off")),
        ] {
            let said = remarks(&[(stream, "messages", status)], ago(2), now);
            assert_eq!(said.len(), usize::from(expected.is_some()), "{said:?}");
            assert!(
                said.iter().all(|said| said.contains(expected.unwrap_or_default())),
                "{said:?}"
            );
        }
    }
}
