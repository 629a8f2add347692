//! The messages of a query as lines: who said what to whom, when, and how large it was. Pure: it reads nothing itself.

use axon_bus::StoredMessage;
use axon_protocol::{
    Answer, Author, DeadLetter, Event, EventKind, Query, SECOND_EXECUTION, Stream, SynthesisRequest, Task, TaskId,
    TaskResult, TaskSubject, counted, decode, header,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::command::explain::said_of;
use crate::kept::Read;
use crate::output::short;

/// Characters of a message's meaning that are shown.
const MEANING_CHARS_MAX: usize = 100;

/// What kind of message a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The query itself
    Query,
    /// A task, each time it was queued
    Task,
    /// What a process told of its work
    Event,
    /// The one result of a task
    Result,
    /// What failed
    DeadLetter,
    /// The request to merge the results
    Synthesis,
    /// The answer
    Answer,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Task => "task",
            Kind::Event => "event",
            Kind::Result => "result",
            Kind::DeadLetter => "dead letter",
            Kind::Synthesis => "synthesis",
            Kind::Answer => "answer",
        }
    }
}

/// All that is kept of a query's messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) queries: Vec<StoredMessage>,
    pub(super) tasks: Vec<Read<TaskSubject>>,
    pub(super) events: Vec<Read<Event>>,
    pub(super) results: Vec<Read<TaskResult>>,
    pub(super) letters: Vec<Read<DeadLetter>>,
    pub(super) syntheses: Vec<Read<SynthesisRequest>>,
    pub(super) answer: Option<Read<Answer>>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) at: DateTime<Utc>,
    /// Milliseconds after the query was accepted.
    pub(super) after_ms: f64,
    pub(super) kind: Kind,
    /// What it means, in words.
    pub(super) meaning: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tasks: Vec<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    pub(super) from: String,
    pub(super) to: String,
    /// Bytes of the payload; 0 for one that stands in the store of artifacts, because it is large.
    pub(super) bytes: usize,
    pub(super) subject: String,
    pub(super) stream: Stream,
    pub(super) sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Value>,
}

/// What of the lines is wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Selection {
    /// Only messages of these kinds
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    pub(super) kind: Vec<Kind>,

    /// Only messages about this task
    #[arg(long, value_name = "TASK")]
    pub(super) task: Option<String>,

    /// Only what came later than so many seconds after the acceptance
    #[arg(long, value_name = "S")]
    pub(super) since: Option<f64>,

    /// Most messages to list, the earliest ones
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,

    /// Show the payloads too, as JSON whatever their format
    #[arg(long)]
    pub(super) full: bool,
}

impl Selection {
    /// The task that was asked for, where no message is about it.
    pub(super) fn task_missing_in(&self, lines: &[Line]) -> Option<&str> {
        let task = self.task.as_deref()?;
        let named = lines
            .iter()
            .flat_map(|line| &line.tasks)
            .any(|one| one.as_str() == task);
        (!named).then_some(task)
    }

    /// The lines that are wanted, and how many more there are beyond the limit.
    pub(super) fn of(&self, mut lines: Vec<Line>) -> (Vec<Line>, usize) {
        lines.retain(|line| {
            let about = |task: &String| line.tasks.iter().any(|one| one.as_str() == task);
            (self.kind.is_empty() || self.kind.contains(&line.kind))
                && self.task.as_ref().is_none_or(about)
                && self.since.is_none_or(|since| line.after_ms > since * 1000.0)
        });
        let more = self.limit.map_or(0, |limit| lines.len().saturating_sub(limit));
        lines.truncate(lines.len() - more);
        (lines, more)
    }
}

/// When the query was accepted, as far as its messages tell: with the query's copy, else with the first of all.
pub(super) fn accepted_at(messages: &Messages) -> Option<DateTime<Utc>> {
    let stored = |message: &StoredMessage| message.stored_at;
    messages.queries.first().map(stored).or_else(|| {
        let others = messages.tasks.iter().map(|(message, _)| stored(message));
        let others = others.chain(messages.events.iter().map(|(message, _)| stored(message)));
        let others = others.chain(messages.results.iter().map(|(message, _)| stored(message)));
        others
            .chain(messages.answer.iter().map(|(message, _)| stored(message)))
            .min()
    })
}

/// All messages in order of time.
pub(super) fn lines(messages: &Messages, accepted_at: DateTime<Utc>, full: bool) -> Vec<Line> {
    let asker = messages
        .queries
        .iter()
        .find_map(|query| query.headers.get(header::CLIENT));
    let asker = asker.map_or("the asker", String::as_str);
    let mut lines: Vec<Line> = Vec::new();
    for message in &messages.queries {
        lines.push(query_line(message, asker, full));
    }
    for (message, subject) in &messages.tasks {
        lines.push(task_line(message, subject, full));
    }
    for (message, event) in &messages.events {
        lines.push(event_line(message, event, full));
    }
    for (message, result) in &messages.results {
        lines.push(result_line(message, result, full));
    }
    for (message, letter) in &messages.letters {
        lines.push(letter_line(message, letter, full));
    }
    for (message, request) in &messages.syntheses {
        let meaning = format!("merge {}", counted(request.results.len(), "result"));
        let line = Line::new(Kind::Synthesis, Stream::Synthesis, message, meaning).between("a lead", "synthesizers");
        lines.push(line.with(full, request));
    }
    if let Some((message, answer)) = &messages.answer {
        lines.push(answer_line(message, answer, asker, full));
    }
    lines.sort_by_key(|line| (line.at, line.kind, line.sequence));
    for line in &mut lines {
        line.after_ms = (line.at - accepted_at).as_seconds_f64() * 1000.0;
    }
    lines
}

impl Line {
    fn new(kind: Kind, stream: Stream, message: &StoredMessage, meaning: impl Into<String>) -> Self {
        Self {
            at: message.stored_at,
            after_ms: 0.0,
            kind,
            meaning: meaning.into(),
            tasks: Vec::new(),
            attempt: None,
            from: String::new(),
            to: String::new(),
            bytes: message.payload.len(),
            subject: message.subject.clone(),
            stream,
            sequence: message.sequence,
            payload: None,
        }
    }

    fn between(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        (self.from, self.to) = (from.into(), to.into());
        self
    }

    fn with(mut self, full: bool, payload: &impl Serialize) -> Self {
        self.payload = full.then(|| serde_json::to_value(payload).unwrap_or_default());
        self
    }
}

fn query_line(message: &StoredMessage, asker: &str, full: bool) -> Line {
    let line = |meaning: String| Line::new(Kind::Query, Stream::History, message, meaning).between(asker, "leads");
    match Query::parse(&message.headers, &message.payload) {
        Ok((query, _)) => line(short(&query.query, MEANING_CHARS_MAX)).with(full, &query),
        Err(error) => {
            let text = String::from_utf8_lossy(&message.payload);
            line(error.to_string()).with(full, &text)
        }
    }
}

fn task_line(message: &StoredMessage, subject: &TaskSubject, full: bool) -> Line {
    let meaning = match subject.attempt {
        1 => format!("{} is queued", subject.task),
        SECOND_EXECUTION => format!("{} is queued a second time", subject.task),
        attempt => format!("{} is queued again, attempt {attempt}", subject.task),
    };
    let to = format!("workers of {}, {} priority", subject.route, subject.band);
    let mut line = Line::new(Kind::Task, Stream::History, message, meaning).between("a lead", to);
    line.tasks = vec![subject.task.clone()];
    line.attempt = Some(subject.attempt);
    match decode::<Task>(&message.headers, &message.payload) {
        Ok(task) => line.with(full, &task),
        Err(error) => line.with(full, &error.to_string()),
    }
}

fn event_line(message: &StoredMessage, event: &Event, full: bool) -> Line {
    let attempts = event.attempts();
    let tasks: Vec<TaskId> = attempts.iter().map(|(task, _)| task.clone()).collect();
    let about: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
    let kind = event.kind.as_str().replace('_', " ");
    let mut meaning = match about.as_slice() {
        [] => kind,
        tasks => format!("{} {kind}", tasks.join(", ")),
    };
    if !event.message.is_empty() {
        meaning = format!("{meaning}: {}", event.message);
    }
    let counts = matches!(
        event.kind,
        EventKind::Started | EventKind::HandedBack | EventKind::Retrying
    );
    let mut line = Line::new(Kind::Event, Stream::Events, message, short(&meaning, MEANING_CHARS_MAX))
        .between(event.by.as_str(), "whoever watches");
    line.attempt = attempts.first().map(|(_, attempt)| *attempt).filter(|_| counts);
    line.tasks = tasks;
    line.with(full, event)
}

fn result_line(message: &StoredMessage, result: &TaskResult, full: bool) -> Line {
    let meaning = short(&format!("{} {}", result.task_id, said_of(result)), MEANING_CHARS_MAX);
    let by = result
        .worker
        .as_ref()
        .map_or_else(|| "a lead".to_owned(), ToString::to_string);
    let mut line = Line::new(Kind::Result, Stream::Results, message, meaning).between(by, "the lead");
    line.tasks = vec![result.task_id.clone()];
    line.attempt = Some(result.attempt);
    line.with(full, result)
}

fn letter_line(message: &StoredMessage, letter: &DeadLetter, full: bool) -> Line {
    let what = match &letter.task_id {
        Some(task) => task.to_string(),
        None => letter.stream.token().to_owned(),
    };
    let meaning = format!("{what} {}: {}", letter.reason, letter.message);
    let mut line = Line::new(
        Kind::DeadLetter,
        Stream::Dead,
        message,
        short(&meaning, MEANING_CHARS_MAX),
    )
    .between(letter.by.as_str(), "leads");
    line.tasks.extend(letter.task_id.clone());
    line.attempt = Some(letter.attempt);
    line.with(full, letter)
}

fn answer_line(message: &StoredMessage, answer: &Answer, asker: &str, full: bool) -> Line {
    let meaning = format!(
        "{}, {}",
        answer.status.as_str(),
        counted(answer.findings().count(), "finding")
    );
    let by = match answer.author {
        Author::Synthesizer => "a synthesizer",
        Author::Lead => "a lead",
    };
    Line::new(Kind::Answer, Stream::Answers, message, meaning)
        .between(by, asker)
        .with(full, answer)
}

/// One row of the table for people.
pub(super) fn row(line: &Line) -> Vec<String> {
    vec![
        format!("{:.3} s", line.after_ms / 1000.0),
        line.kind.as_str().to_owned(),
        size(line.bytes),
        line.from.clone(),
        line.to.clone(),
        line.meaning.clone(),
    ]
}

pub(super) const HEAD: [&str; 6] = ["after", "kind", "size", "from", "to", "message"];

fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        _ => format!("{} KiB", bytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axon_protocol::{Namespace, QueryId, Reason, TaskStatus, Verdict};
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time")
    }

    fn stored(ms: i64, subject: &str, payload: &str) -> StoredMessage {
        StoredMessage {
            sequence: ms.unsigned_abs(),
            subject: subject.to_owned(),
            headers: BTreeMap::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            stored_at: at(ms),
        }
    }

    fn task(ms: i64, name: &str) -> Read<TaskSubject> {
        let subject = format!("axon.tasks.Testing.high.q1.{name}");
        let parsed = Namespace::default().parse_task(&subject).expect("a task");
        (stored(ms, &subject, "x"), parsed)
    }

    fn event(ms: i64, kind: EventKind, about: Option<&str>, data: Value) -> Read<Event> {
        let event = Event {
            query_id: QueryId::new("q1").expect("an id"),
            kind,
            at: at(ms),
            task_id: about.map(|task| TaskId::new(task).expect("an id")),
            by: "w1".to_owned(),
            message: String::new(),
            data,
        };
        (stored(ms, "axon.events.q1.kind", "event"), event)
    }

    /// A query with one task that failed once, out of order.
    fn messages() -> Messages {
        let t1 = TaskId::new("t1").expect("an id");
        let mut query = stored(0, "axon.history.queries", "why does it fail?");
        query.headers.insert(header::CLIENT.to_owned(), "me".to_owned());
        let result = TaskResult {
            query_id: QueryId::new("q1").expect("an id"),
            task_id: t1.clone(),
            status: TaskStatus::Complete,
            reason: None,
            findings: Vec::new(),
            notes: Vec::new(),
            output: Value::Null,
            usage: Default::default(),
            run: Default::default(),
            worker: None,
            attempt: 2,
            started_at: at(60),
            finished_at: at(1060),
        };
        let letter = DeadLetter {
            stream: Stream::Tasks,
            subject: "axon.tasks.Testing.high.q1.t1".to_owned(),
            reason: Reason::Failed,
            verdict: Verdict::Park,
            attempt: 1,
            message: "no luck".to_owned(),
            headers: BTreeMap::new(),
            payload: Bytes::new(),
            query_id: Some(result.query_id.clone()),
            task_id: Some(t1),
            deadline: None,
            usage: Default::default(),
            by: "w1".to_owned(),
            at: at(30),
        };
        let answer = Answer::refused(result.query_id.clone(), "why does it fail?", "no", at(90));
        let shared = json!({"tasks": [{"task": "t1", "attempt": 1}, {"task": "t2", "attempt": 1}]});
        Messages {
            queries: vec![query],
            tasks: vec![task(50, "t1~2"), task(10, "t1"), task(65, "t1~1000")],
            events: vec![
                event(20, EventKind::Started, None, shared),
                event(25, EventKind::ToolCall, Some("t1"), Value::Null),
            ],
            results: vec![(stored(70, "axon.results.q1.t1", "result"), result)],
            letters: vec![(stored(30, "axon.dead.tasks.failed", "letter"), letter)],
            syntheses: Vec::new(),
            answer: Some((stored(90, "axon.answers.q1", "answer"), answer)),
        }
    }

    #[test]
    fn each_message_is_a_line_in_order_of_time() {
        let messages = messages();
        let begin = accepted_at(&messages).expect("it was accepted");
        let told: Vec<String> = lines(&messages, begin, false)
            .iter()
            .map(|line| {
                let attempt = line.attempt.map_or_else(String::new, |attempt| format!(" #{attempt}"));
                format!("{}{attempt}", row(line).join(" | "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "0.000 s | query | 17 B | me | leads | why does it fail?",
                "0.010 s | task | 1 B | a lead | workers of Testing, high priority | t1 is queued #1",
                "0.020 s | event | 5 B | w1 | whoever watches | t1, t2 started #1",
                "0.025 s | event | 5 B | w1 | whoever watches | t1 tool call",
                "0.030 s | dead letter | 6 B | w1 | leads | t1 failed: no luck #1",
                "0.050 s | task | 1 B | a lead | workers of Testing, high priority | t1 is queued again, attempt 2 #2",
                "0.065 s | task | 1 B | a lead | workers of Testing, high priority | t1 is queued a second time #1000",
                "0.070 s | result | 6 B | a lead | the lead | t1 complete, 1.000 s, 0 tool calls, 0 findings #2",
                "0.090 s | answer | 6 B | a lead | me | failed, 0 findings",
            ]
        );
    }

    #[test]
    fn payloads_are_shown_as_json_whatever_their_format() {
        let messages = messages();
        let all = lines(&messages, at(0), true);
        let query = all[0].payload.as_ref().expect("a payload");
        assert_eq!(query["query"], "why does it fail?");
        assert!(all.iter().all(|line| line.payload.is_some()));
    }

    #[test]
    fn the_lines_that_are_wanted_are_chosen() {
        let selection = Selection::default;
        for (selection, expected, more) in [
            (selection(), 9, 0),
            (
                Selection {
                    kind: vec![Kind::Task, Kind::Result],
                    ..selection()
                },
                4,
                0,
            ),
            (
                Selection {
                    task: Some("t2".to_owned()),
                    ..selection()
                },
                1,
                0,
            ),
            (
                Selection {
                    since: Some(0.06),
                    ..selection()
                },
                3,
                0,
            ),
            (
                Selection {
                    kind: vec![Kind::Task],
                    limit: Some(2),
                    ..selection()
                },
                2,
                1,
            ),
        ] {
            let messages = messages();
            let (lines, left_out) = selection.of(lines(&messages, at(0), false));
            assert_eq!((lines.len(), left_out), (expected, more), "{selection:?}");
        }
    }
}
