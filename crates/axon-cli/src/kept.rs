//! What the streams keep of one query, as each of them keeps it. It asks no process; what it
//! all means is told elsewhere.

use axon_bus::{Bus, Error, StoredMessage};
use axon_memory::SharedFacts;
use axon_protocol::{
    Answer, Bucket, DeadLetter, Digest, Event, ExecutionPlan, Headers, ObjectBucket, PlanRecord, QueryId, Stored,
    Stream, SynthesisRequest, TaskResult, TaskSubject, header,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Messages of one kind that are read.
const MESSAGES_MAX: usize = 10_000;
/// What the server writes into a copy: the sequence of the original in its stream.
const ORIGINAL_SEQUENCE: &str = "Nats-Sequence";

/// A message with what it says.
pub(crate) type Read<T> = (StoredMessage, T);

/// The record of a query's plan, and the plan where there is one.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) cancelled: bool,
    pub(crate) plan: Option<ExecutionPlan>,
}

pub(crate) async fn planned(bus: &Bus, id: &QueryId) -> Result<Option<Planned>, Error> {
    let record = bus.table::<PlanRecord>(Bucket::Plans).get(id.as_str()).await?;
    let Some(record) = record.and_then(|entry| entry.value) else {
        return Ok(None);
    };
    Ok(Some(Planned {
        cancelled: record.cancelled,
        plan: match record.plan {
            Some(stored) => Some(bus.load(stored).await?),
            None => None,
        },
    }))
}

/// The query as it was published, each time it was.
pub(crate) async fn queries(bus: &Bus, id: &QueryId) -> Result<Vec<StoredMessage>, Error> {
    let filter = bus.namespace().history_of_queries();
    let copies = kept(bus.headers(Stream::History, &filter).await)?;
    let mut queries = Vec::new();
    for copy in copies.into_iter().filter(|copy| is_of(&copy.headers, id)) {
        // It may have been dropped in between.
        queries.extend(bus.message_at(Stream::History, copy.sequence).await?);
    }
    Ok(queries)
}

/// Whether these are the headers of a copy of the query: its id is its publisher's, else its sequence.
fn is_of(headers: &Headers, id: &QueryId) -> bool {
    match (headers.get(header::MESSAGE_ID), headers.get(ORIGINAL_SEQUENCE)) {
        (Some(given), _) => given == id.as_str(),
        (None, Some(sequence)) => sequence
            .parse()
            .is_ok_and(|sequence| QueryId::from_sequence(sequence) == *id),
        (None, None) => false,
    }
}

/// The tasks as they were queued, each time one was.
pub(crate) async fn tasks(bus: &Bus, id: &QueryId) -> Result<Vec<Read<TaskSubject>>, Error> {
    let namespace = bus.namespace();
    let filter = namespace.history_of_query(id);
    let copies = kept(bus.messages(Stream::History, &filter, 0, MESSAGES_MAX).await)?;
    let read = |copy: StoredMessage| Some((namespace.parse_task_history(&copy.subject)?, copy));
    let tasks = copies.into_iter().filter_map(read);
    Ok(tasks.map(|(subject, copy)| (copy, subject)).collect())
}

/// A fleet that keeps no history has none of this query.
fn kept(read: Result<Vec<StoredMessage>, Error>) -> Result<Vec<StoredMessage>, Error> {
    match read {
        Err(Error::NoStream { .. }) => Ok(Vec::new()),
        read => read,
    }
}

pub(crate) async fn events(bus: &Bus, id: &QueryId) -> Result<Vec<Read<Event>>, Error> {
    decoded(bus, Stream::Events, &bus.namespace().events_of(id)).await
}

pub(crate) async fn results(bus: &Bus, id: &QueryId) -> Result<Vec<Read<TaskResult>>, Error> {
    decoded(bus, Stream::Results, &bus.namespace().results_of(id)).await
}

/// The request to merge the results, which is gone once it is answered.
pub(crate) async fn syntheses(bus: &Bus, id: &QueryId) -> Result<Vec<Read<SynthesisRequest>>, Error> {
    decoded(bus, Stream::Synthesis, &bus.namespace().synthesis(id)).await
}

/// The one answer; the error is that of an answer which cannot be read.
pub(crate) async fn answer(bus: &Bus, id: &QueryId) -> Result<Option<Read<Answer>>, Error> {
    match bus.last(Stream::Answers, &bus.namespace().answer(id)).await? {
        Some(message) => {
            let answer = bus.decode_stored(&message).await?;
            Ok(Some((message, answer)))
        }
        None => Ok(None),
    }
}

/// The dead letters of a query: of its tasks, of its synthesis, and of the query itself.
pub(crate) async fn letters(bus: &Bus, id: &QueryId) -> Result<Vec<Read<DeadLetter>>, Error> {
    let all = bus.namespace().stream_subjects(Stream::Dead).concat();
    let letters = decoded::<DeadLetter>(bus, Stream::Dead, &all).await?;
    let own = |(_, letter): &Read<DeadLetter>| match &letter.query_id {
        Some(query) => query == id,
        None => letter.stream == Stream::Queries && is_of(&letter.headers, id),
    };
    Ok(letters.into_iter().filter(own).collect())
}

/// What was removed of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Removed {
    /// Copies of the query itself.
    pub(crate) queries: usize,
    /// Dead letters.
    pub(crate) letters: usize,
    /// Messages and plans that were too large for their streams.
    pub(crate) artifacts: usize,
    /// Queries that repeated it, with all that was kept of them.
    pub(crate) replays: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.queries += other.queries;
        self.letters += other.letters;
        self.artifacts += other.artifacts;
        self.replays += other.replays;
    }
}

/// Removes what no subject of the query's own holds: its copies in the history, its dead letters, whatever of it was too
/// large for a message, and the queries that repeated it. Results and answers stay, because they keep it from being carried
/// out twice.
pub(crate) async fn remove(bus: &Bus, id: &QueryId) -> Result<Removed, Error> {
    let artifacts = bus.objects(ObjectBucket::Artifacts);
    let mut removed = Removed::default();
    for replay in replays(bus, id).await? {
        removed += Box::pin(remove_replay(bus, &replay)).await?;
    }
    for digest in large(bus, id).await? {
        removed.artifacts += usize::from(artifacts.remove(&digest).await?);
    }
    for copy in queries(bus, id).await? {
        removed.queries += usize::from(bus.remove(Stream::History, copy.sequence).await?);
    }
    for (letter, _) in letters(bus, id).await? {
        removed.letters += usize::from(bus.remove(Stream::Dead, letter.sequence).await?);
    }
    Ok(removed)
}

/// The queries that repeated this one and were answered: one that is still worked on needs what is kept of it.
async fn replays(bus: &Bus, id: &QueryId) -> Result<Vec<QueryId>, Error> {
    let mut replays = Vec::new();
    for (key, record) in bus.table::<PlanRecord>(Bucket::Plans).all().await? {
        let (Ok(query), Some(stored)) = (QueryId::new(key), record.plan) else {
            continue;
        };
        let Ok(plan) = bus.load(stored).await else { continue };
        let repeats = plan.query.replay.is_some_and(|replay| replay.of == *id);
        if repeats
            && bus
                .last(Stream::Answers, &bus.namespace().answer(&query))
                .await?
                .is_some()
        {
            replays.push(query);
        }
    }
    Ok(replays)
}

/// Removes a query that was no episode.
async fn remove_replay(bus: &Bus, id: &QueryId) -> Result<Removed, Error> {
    let mut removed = remove(bus, id).await?;
    removed.replays += 1;
    SharedFacts::new(bus).forget(id).await?;
    bus.purge(Stream::Events, &bus.namespace().events_of(id)).await?;
    match bus.purge(Stream::History, &bus.namespace().history_of_query(id)).await {
        Ok(_) | Err(Error::NoStream { .. }) => {}
        Err(error) => return Err(error),
    }
    bus.table::<PlanRecord>(Bucket::Plans).delete(id.as_str()).await?;
    Ok(removed)
}

/// The artifacts to which the plan of a query, its copies, its events and its dead letters refer.
async fn large(bus: &Bus, id: &QueryId) -> Result<Vec<Digest>, Error> {
    let record = bus.table::<PlanRecord>(Bucket::Plans).get(id.as_str()).await?;
    let plan = record.and_then(|entry| entry.value?.plan);
    let plan = plan.and_then(|stored| match stored {
        Stored::Inline(_) => None,
        Stored::Reference { digest, .. } => Some(digest),
    });
    let mut headers: Vec<Headers> = queries(bus, id).await?.into_iter().map(|copy| copy.headers).collect();
    headers.extend(tasks(bus, id).await?.into_iter().map(|(copy, _)| copy.headers));
    headers.extend(events(bus, id).await?.into_iter().map(|(event, _)| event.headers));
    for (message, letter) in letters(bus, id).await? {
        headers.extend([message.headers, letter.headers]);
    }
    let referred = headers.iter().filter_map(|headers| headers.get(header::REFERENCE));
    let referred = referred.filter_map(|digest| digest.parse().ok());
    Ok(plan.into_iter().chain(referred).collect())
}

/// What this version cannot read, it cannot tell; the rest is worth telling all the same.
async fn decoded<T: DeserializeOwned>(bus: &Bus, kind: Stream, filter: &str) -> Result<Vec<Read<T>>, Error> {
    let mut read = Vec::new();
    for message in bus.messages(kind, filter, 0, MESSAGES_MAX).await? {
        if let Ok(value) = bus.decode_stored(&message).await {
            read.push((message, value));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_the_id_its_publisher_gave_or_by_its_sequence() {
        for (headers, id, expected) in [
            (&[(header::MESSAGE_ID, "mine")][..], "mine", true),
            (&[(header::MESSAGE_ID, "mine"), (ORIGINAL_SEQUENCE, "7")], "q7", false),
            (&[(ORIGINAL_SEQUENCE, "7")], "q7", true),
            (&[(ORIGINAL_SEQUENCE, "70")], "q7", false),
            (&[(ORIGINAL_SEQUENCE, "x")], "q7", false),
            (&[], "q7", false),
        ] {
            let headers = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let id = QueryId::new(id).expect("an id");
            assert_eq!(is_of(&headers, &id), expected, "{headers:?} {id}");
        }
    }
}
