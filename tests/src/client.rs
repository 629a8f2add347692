//! What a client of a fleet does, and what an observer of it can see: ask, wait for the answer, read the streams.

use std::collections::BTreeMap;
use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{
    Answer, DeadLetter, Event, EventKind, Format, PlanRequest, Query, QueryId, QueuedTasks, Stream, TaskRequest,
    ToolCall, decode, header,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{eventually, json_request};

/// Most messages of a stream that a test reads.
const MESSAGES_MAX: usize = 2000;

/// A task of an own plan that makes one call.
pub fn task(id: &str, tool: &str, params: Value) -> TaskRequest {
    TaskRequest {
        task_id: Some(id.to_owned()),
        objective: format!("call {tool}"),
        calls: vec![ToolCall {
            tool_id: "call".to_owned(),
            tool_name: tool.to_owned(),
            params,
            outputs: Vec::new(),
            inputs: Vec::new(),
            priority: 5,
        }],
        ..TaskRequest::default()
    }
}

/// A query that brings these tasks and wants its answer within `deadline_s`.
pub fn query_of(tasks: Vec<TaskRequest>, deadline_s: u64) -> Query {
    Query {
        deadline_s: Some(deadline_s),
        plan: Some(PlanRequest { tasks }),
        ..Query::new("a plan of its own")
    }
}

/// `count` tasks that sleep, `t1`, `t2`, …
pub fn sleeps(count: usize, ms: u64) -> Vec<TaskRequest> {
    (1..=count)
        .map(|index| task(&format!("t{index}"), "diag.sleep", serde_json::json!({ "ms": ms })))
        .collect()
}

/// Publishes a query and computes its id from the acknowledgement.
pub async fn submit(bus: &Bus, query: &Query) -> QueryId {
    let message = Message::new(bus.namespace().queries(), Format::Json, query).expect("encodes");
    let published = bus.publish(message).await.expect("the query is accepted");
    QueryId::from_sequence(published.sequence)
}

/// Publishes a query under an id of its own.
pub async fn submit_as(bus: &Bus, id: &str, query: &Query) -> QueryId {
    let message = Message::new(bus.namespace().queries(), Format::Json, query)
        .expect("encodes")
        .with(header::MESSAGE_ID, id);
    bus.publish(message).await.expect("the query is accepted");
    QueryId::new(id).expect("an id")
}

/// Lets the server forget the ids of queries after a tenth of a second, instead of two minutes: from then on the fleet has
/// to know them by itself.
pub async fn forget_ids_quickly(bus: &Bus) {
    let stream = bus.namespace().stream(Stream::Queries);
    change_stream(bus, &stream, |config| {
        config["duplicate_window"] = serde_json::json!(100_000_000)
    })
    .await;
}

/// Changes settings of a stream of this test's own namespace.
pub async fn change_stream(bus: &Bus, stream: &str, change: impl FnOnce(&mut Value)) {
    let info = json_request(bus, &format!("STREAM.INFO.{stream}"), Value::Null).await;
    let mut config = info.expect("the stream is there")["config"].clone();
    change(&mut config);
    let changed = json_request(bus, &format!("STREAM.UPDATE.{stream}"), config).await;
    changed.expect("the stream changes");
}

/// Waits for the answer of a query.
pub async fn answer(bus: &Bus, id: &QueryId, timeout: Duration) -> Answer {
    let subject = bus.namespace().answer(id);
    eventually(&format!("the answer of {id}"), timeout, || async {
        // While the server is away there is none.
        let stored = bus.last(Stream::Answers, &subject).await.ok()??;
        Some(bus.decode_stored(&stored).await.expect("an answer"))
    })
    .await
}

/// How many answers a query has.
pub async fn answers(bus: &Bus, id: &QueryId) -> usize {
    let subject = bus.namespace().answer(id);
    bus.messages(Stream::Answers, &subject, 0, MESSAGES_MAX)
        .await
        .expect("the stream is read")
        .len()
}

/// The events of a query, oldest first.
pub async fn events(bus: &Bus, id: &QueryId) -> Vec<Event> {
    read(bus, Stream::Events, &bus.namespace().events_of(id)).await
}

/// What a stream keeps under a filter, oldest first.
async fn read<T: DeserializeOwned>(bus: &Bus, stream: Stream, filter: &str) -> Vec<T> {
    let stored = bus.messages(stream, filter, 0, MESSAGES_MAX).await;
    stored
        .expect("the stream is read")
        .iter()
        .map(|message| decode(&message.headers, &message.payload).expect("what the stream is for"))
        .collect()
}

/// How often each task of a query was started.
pub async fn starts(bus: &Bus, id: &QueryId) -> BTreeMap<String, usize> {
    let starters = starters(bus, id).await.into_iter();
    starters.map(|(task, by)| (task, by.len())).collect()
}

/// Who started each task of a query and as which attempt, in this order, once for each start.
pub async fn starters(bus: &Bus, id: &QueryId) -> BTreeMap<String, Vec<(String, u64)>> {
    let mut starters: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for event in events(bus, id).await {
        if event.kind != EventKind::Started {
            continue;
        }
        let attempt = |data: &Value| data["attempt"].as_u64().unwrap_or(1);
        // Tasks that start together in great number share an event.
        let shared = event.data["tasks"].as_array().into_iter().flatten();
        let shared = shared.filter_map(|data| Some((data["task"].as_str()?.to_owned(), attempt(data))));
        let own = event
            .task_id
            .iter()
            .map(|task| (task.to_string(), attempt(&event.data)));
        for (task, attempt) in own.chain(shared) {
            starters.entry(task).or_default().push((event.by.clone(), attempt));
        }
    }
    starters
}

/// How many events of one kind a query has.
pub async fn count(bus: &Bus, id: &QueryId, kind: EventKind) -> usize {
    events(bus, id).await.iter().filter(|event| event.kind == kind).count()
}

/// What the history keeps of the tasks of a query, oldest first.
pub async fn recorded(bus: &Bus, id: &QueryId) -> Vec<QueuedTasks> {
    read(bus, Stream::History, &bus.namespace().history_of_query(id)).await
}

/// The dead letters, oldest first.
pub async fn letters(bus: &Bus) -> Vec<DeadLetter> {
    let filter = bus.namespace().stream_subjects(Stream::Dead)[0].clone();
    let mut letters = Vec::new();
    for stored in bus
        .messages(Stream::Dead, &filter, 0, MESSAGES_MAX)
        .await
        .expect("the stream is read")
    {
        letters.push(bus.decode_stored(&stored).await.expect("a dead letter"));
    }
    letters
}

/// Messages in the work queues, delivered or not: nothing when the fleet has nothing to do.
pub async fn unfinished(bus: &Bus) -> u64 {
    let mut messages = 0;
    for stream in Stream::WORK_QUEUES {
        messages += bus.status(stream).await.expect("the stream is there").messages;
    }
    messages
}
