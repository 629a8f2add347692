//! What the streams keep of one query, as each of them keeps it. It asks no process; what it
//! all means is told elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use axon_bus::{Bus, Error, StoredMessage};
use axon_memory::SharedFacts;
use axon_protocol::{
    Answer, Bucket, DeadLetter, Digest, Event, ExecutionPlan, Headers, Namespace, ObjectBucket, PlanRecord, Query,
    QueryId, QueuedTasks, Stored, Stream, SynthesisRequest, TaskResult, TaskSubject, decode, header,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
            Some(stored) => Some(Arc::unwrap_or_clone(bus.load(stored).await?)),
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

/// The tasks as they were queued: each attempt once.
pub(crate) async fn tasks(bus: &Bus, id: &QueryId) -> Result<Vec<Read<TaskSubject>>, Error> {
    let filter = bus.namespace().history_of_query(id);
    let mut pages = bus.pages(Stream::History, &filter);
    let mut records = Vec::new();
    loop {
        let page = kept(pages.next().await)?;
        if page.is_empty() {
            return Ok(queued(bus.namespace(), &records));
        }
        records.extend(page);
    }
}

/// A task that was refused, or acknowledged in vain, is published again, and queued once: the first record counts.
fn queued(namespace: &Namespace, records: &[StoredMessage]) -> Vec<Read<TaskSubject>> {
    let mut known = BTreeSet::new();
    let all = records.iter().flat_map(|record| tasks_of(namespace, record));
    all.filter(|(copy, _)| known.insert(copy.subject.clone())).collect()
}

/// The tasks of one record, each as if it were kept by itself. What this version cannot read, it cannot tell.
fn tasks_of(namespace: &Namespace, record: &StoredMessage) -> Vec<Read<TaskSubject>> {
    let Ok(queued) = decode::<QueuedTasks>(&record.headers, &record.payload) else {
        return Vec::new();
    };
    let each = queued.tasks.into_iter().filter_map(|task| {
        let subject = namespace.parse_task(&task.subject)?;
        let copy = StoredMessage {
            sequence: record.sequence,
            subject: task.subject,
            headers: task.headers,
            payload: task.payload,
            stored_at: record.stored_at,
        };
        Some((copy, subject))
    });
    each.collect()
}

/// A fleet that keeps no history has none of this query.
fn kept(read: Result<Vec<StoredMessage>, Error>) -> Result<Vec<StoredMessage>, Error> {
    match read {
        Err(Error::NoStream { .. }) => Ok(Vec::new()),
        read => read,
    }
}

pub(crate) async fn events(bus: &Bus, id: &QueryId) -> Result<Vec<Read<Event>>, Error> {
    decoded(bus, Stream::Events, &bus.namespace().events_of(id), |_| true).await
}

pub(crate) async fn results(bus: &Bus, id: &QueryId) -> Result<Vec<Read<TaskResult>>, Error> {
    decoded(bus, Stream::Results, &bus.namespace().results_of(id), |_| true).await
}

/// The request to merge the results, which is gone once it is answered.
pub(crate) async fn syntheses(bus: &Bus, id: &QueryId) -> Result<Vec<Read<SynthesisRequest>>, Error> {
    decoded(bus, Stream::Synthesis, &bus.namespace().synthesis(id), |_| true).await
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
    let own = |letter: &DeadLetter| match &letter.query_id {
        Some(query) => query == id,
        None => letter.stream == Stream::Queries && is_of(&letter.headers, id),
    };
    decoded(bus, Stream::Dead, &all, own).await
}

/// The queries that wait or are worked on: a lead takes one out when it has answered and remembered it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ids: BTreeSet<QueryId>,
    /// Queries that repeat another one, with that one.
    replays: Vec<(QueryId, QueryId)>,
    /// Payloads that are stored apart from their messages.
    references: BTreeSet<Digest>,
}

impl Queue {
    /// Whether a query is among them.
    pub(crate) fn holds(&self, id: &QueryId) -> bool {
        self.ids.contains(id)
    }

    /// Those that repeat a query.
    pub(crate) fn replays_of(&self, id: &QueryId) -> impl Iterator<Item = &QueryId> {
        self.replays
            .iter()
            .filter(move |(_, of)| of == id)
            .map(|(replay, _)| replay)
    }

    fn add(&mut self, message: &StoredMessage) {
        let given = message.headers.get(header::MESSAGE_ID).map(String::as_str);
        let id =
            QueryId::of_published(given, message.sequence).unwrap_or_else(|| QueryId::from_sequence(message.sequence));
        let parsed = Query::parse(&message.headers, &message.payload).ok();
        if let Some(replay) = parsed.and_then(|(query, _)| query.replay) {
            self.replays.push((id.clone(), replay.of));
        }
        self.ids.insert(id);
        self.references.extend(reference(&message.headers));
    }
}

/// What is in the queue of queries.
pub(crate) async fn queue(bus: &Bus) -> Result<Queue, Error> {
    let filter = bus.namespace().queries();
    let mut pages = bus.pages(Stream::Queries, &filter);
    let mut queue = Queue::default();
    loop {
        let messages = pages.next().await?;
        if messages.is_empty() {
            return Ok(queue);
        }
        messages.iter().for_each(|message| queue.add(message));
    }
}

/// What a message refers to, where its payload is stored apart.
fn reference(headers: &Headers) -> Option<Digest> {
    headers.get(header::REFERENCE)?.parse().ok()
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
/// large for a message, and the `replays` that repeated it. Results and answers stay, because they keep it from being carried
/// out twice, and so does what another query refers to.
pub(crate) async fn remove(bus: &Bus, id: &QueryId, replays: &[QueryId], queue: &Queue) -> Result<Removed, Error> {
    let artifacts = bus.objects(ObjectBucket::Artifacts);
    let mut removed = Removed::default();
    for replay in replays {
        removed += Box::pin(remove_replay(bus, replay, queue)).await?;
    }
    let large = large(bus, id).await?;
    let others = match large.is_empty() {
        true => BTreeSet::new(),
        false => references_of_others(bus, id).await?,
    };
    for digest in large {
        if !queue.references.contains(&digest) && !others.contains(&digest) {
            removed.artifacts += usize::from(artifacts.remove(&digest).await?);
        }
    }
    for copy in queries(bus, id).await? {
        removed.queries += usize::from(bus.remove(Stream::History, copy.sequence).await?);
    }
    for (letter, _) in letters(bus, id).await? {
        removed.letters += usize::from(bus.remove(Stream::Dead, letter.sequence).await?);
    }
    Ok(removed)
}

/// The queries that repeated another one.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Those that are answered.
    pub(crate) answered: Vec<QueryId>,
    /// Those that are still worked on, and need what is kept of it.
    pub(crate) running: Vec<QueryId>,
}

pub(crate) async fn replays(bus: &Bus, id: &QueryId) -> Result<Replays, Error> {
    let mut replays = Replays::default();
    for (key, record) in bus.table::<PlanRecord>(Bucket::Plans).all().await? {
        let (Ok(query), Some(stored)) = (QueryId::new(key), record.plan) else {
            continue;
        };
        let plan = match bus.load(stored).await {
            Ok(plan) => plan,
            Err(error) if error.is_transient() => return Err(error),
            // A plan that is gone, or that this version cannot read, does not tell what it repeats.
            Err(_) => continue,
        };
        if plan.query.replay.as_ref().is_some_and(|replay| replay.of == *id) {
            let answer = bus.last(Stream::Answers, &bus.namespace().answer(&query)).await?;
            match answer {
                Some(_) => replays.answered.push(query),
                None => replays.running.push(query),
            }
        }
    }
    Ok(replays)
}

/// What the copies of other queries refer to: the same text, asked twice, is stored once.
async fn references_of_others(bus: &Bus, id: &QueryId) -> Result<BTreeSet<Digest>, Error> {
    let copies = kept(
        bus.headers(Stream::History, &bus.namespace().history_of_queries())
            .await,
    )?;
    let others = copies.iter().filter(|copy| !is_of(&copy.headers, id));
    Ok(others.filter_map(|copy| reference(&copy.headers)).collect())
}

/// Removes a query that was no episode.
async fn remove_replay(bus: &Bus, id: &QueryId, queue: &Queue) -> Result<Removed, Error> {
    let mut removed = remove(bus, id, &[], queue).await?;
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
    Ok(plan.into_iter().chain(headers.iter().filter_map(reference)).collect())
}

/// What this version cannot read, it cannot tell; the rest is worth telling all the same.
async fn decoded<T: DeserializeOwned>(
    bus: &Bus,
    stream: Stream,
    filter: &str,
    wanted: impl Fn(&T) -> bool,
) -> Result<Vec<Read<T>>, Error> {
    let mut pages = bus.pages(stream, filter);
    let mut read = Vec::new();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(read);
        }
        for message in page {
            if let Ok(value) = bus.decode_stored(&message).await
                && wanted(&value)
            {
                read.push((message, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Format, QueuedTask, encode};
    use bytes::Bytes;
    use chrono::DateTime;

    use super::*;

    #[test]
    fn each_attempt_of_a_task_is_told_once_as_it_was_first_queued() {
        let record = |sequence: u64, payload: Vec<u8>| StoredMessage {
            sequence,
            subject: "axon.history.tasks.q".to_owned(),
            headers: Headers::new(),
            payload: payload.into(),
            stored_at: DateTime::UNIX_EPOCH,
        };
        let tasks = |names: &[&str]| {
            let each = names.iter().map(|name| QueuedTask {
                subject: format!("axon.tasks.Testing.{name}"),
                headers: Headers::new(),
                payload: Bytes::new(),
            });
            encode(Format::Msgpack, &QueuedTasks { tasks: each.collect() }).expect("encodes")
        };
        let records = [
            record(1, tasks(&["high.q.t1", "high.q.t2"])),
            record(2, b"noise".to_vec()),
            record(3, tasks(&["no task", "high.q.t2", "low.q.t1~2"])),
        ];
        let told: Vec<(u64, String, u32)> = queued(&Namespace::default(), &records)
            .into_iter()
            .map(|(copy, task)| (copy.sequence, task.task.to_string(), task.attempt))
            .collect();
        let expected = [(1, "t1", 1), (1, "t2", 1), (3, "t1", 2)];
        assert_eq!(
            told,
            expected.map(|(sequence, task, attempt)| (sequence, task.to_owned(), attempt))
        );
    }

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
