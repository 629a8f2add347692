//! The story of a query from what was stored of it: events, copies of its tasks, results and its answer, in the order of the
//! server's clock. Pure: it reads nothing itself.

use std::collections::BTreeMap;

use axon_protocol::{AnswerStatus, Author, Event, EventKind, TaskDelegation, TaskId, TaskResult, TaskSubject};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::Missing;
use crate::output::counted;

/// What was stored of a query, each with when the server stored it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) events: Vec<(DateTime<Utc>, Event)>,
    pub(super) results: Vec<(DateTime<Utc>, TaskResult)>,
    /// Each publication of a task.
    pub(super) queued: Vec<(DateTime<Utc>, TaskSubject)>,
    pub(super) answered: Option<(DateTime<Utc>, AnswerStatus, Author)>,
}

/// What is told of a moment. The order breaks ties of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Telling {
    Accepted,
    TakenOver,
    Planned,
    Queued,
    Started,
    HandedBack,
    Ended,
    Retrying,
    Synthesizing,
    Answered,
}

impl Telling {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Telling::Accepted => "accepted",
            Telling::TakenOver => "taken over",
            Telling::Planned => "planned",
            Telling::Queued => "queued",
            Telling::Started => "started",
            Telling::HandedBack => "handed back",
            Telling::Ended => "ended",
            Telling::Retrying => "tried again",
            Telling::Synthesizing => "synthesis asked for",
            Telling::Answered => "answered",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Moment {
    pub(super) at: DateTime<Utc>,
    /// Milliseconds after the first moment.
    pub(super) after_ms: f64,
    pub(super) what: Telling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<TaskId>,
    /// The process; empty where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) said: String,
}

/// All moments, in order.
pub(super) fn timeline(facts: Facts) -> Vec<Moment> {
    let mut moments: Vec<Moment> = Vec::new();
    let moment = |at, what, task, by: String, attempt, said: String| Moment {
        at,
        after_ms: 0.0,
        what,
        task,
        by,
        attempt,
        said,
    };
    for (at, subject) in facts.queued {
        let said = format!("route {}, {} priority", subject.route, subject.band);
        moments.push(moment(
            at,
            Telling::Queued,
            Some(subject.task),
            String::new(),
            Some(subject.attempt),
            said,
        ));
    }
    for (at, event) in facts.events {
        let Some(what) = telling_of(event.kind) else { continue };
        let attempts = attempts_of(&event);
        if attempts.is_empty() {
            moments.push(moment(at, what, event.task_id, event.by, None, event.message));
            continue;
        }
        for (task, attempt) in attempts {
            // What a shared event says counts its tasks, and each of them is told here.
            let said = event.task_id.as_ref().map_or("", |_| event.message.as_str());
            moments.push(moment(at, what, Some(task), event.by.clone(), attempt, said.to_owned()));
        }
    }
    for (at, result) in facts.results {
        let by = result.worker.as_ref().map(ToString::to_string).unwrap_or_default();
        let said = said_of(&result);
        moments.push(moment(
            at,
            Telling::Ended,
            Some(result.task_id),
            by,
            Some(result.attempt),
            said,
        ));
    }
    if let Some((at, status, author)) = facts.answered {
        let by = match author {
            Author::Synthesizer => "a synthesizer",
            Author::Lead => "the lead itself",
        };
        let said = status.as_str().to_owned();
        moments.push(moment(at, Telling::Answered, None, by.to_owned(), None, said));
    }
    begin_before_the_end(&mut moments);
    moments.sort_by(|a, b| (a.at, a.what, &a.task).cmp(&(b.at, b.what, &b.task)));
    if let Some(begin) = moments.first().map(|first| first.at) {
        for one in &mut moments {
            one.after_ms = (one.at - begin).as_seconds_f64() * 1000.0;
        }
    }
    moments
}

/// The start of a task is announced without waiting, so that its result may be stored first.
fn begin_before_the_end(moments: &mut [Moment]) {
    let ends: BTreeMap<(TaskId, u32), DateTime<Utc>> = moments
        .iter()
        .filter(|one| one.what == Telling::Ended)
        .filter_map(|one| Some(((one.task.clone()?, one.attempt?), one.at)))
        .collect();
    for one in moments.iter_mut().filter(|one| one.what == Telling::Started) {
        let end = one.task.clone().zip(one.attempt).and_then(|attempt| ends.get(&attempt));
        one.at = end.map_or(one.at, |end| one.at.min(*end));
    }
}

/// What of the events belongs into the story. Results and the answer are told by themselves; tool calls, findings and
/// progress are told in sums.
fn telling_of(kind: EventKind) -> Option<Telling> {
    Some(match kind {
        EventKind::Accepted => Telling::Accepted,
        EventKind::Planned => Telling::Planned,
        EventKind::Started => Telling::Started,
        EventKind::HandedBack => Telling::HandedBack,
        EventKind::Retrying => Telling::Retrying,
        EventKind::TakenOver => Telling::TakenOver,
        EventKind::Synthesizing => Telling::Synthesizing,
        EventKind::Progress | EventKind::Finding | EventKind::ToolCall | EventKind::Finished | EventKind::Answered => {
            return None;
        }
    })
}

/// The tasks of an event, each with its attempt where it is told: its own, or those that share it.
fn attempts_of(event: &Event) -> Vec<(TaskId, Option<u32>)> {
    let attempt_of = |data: &Value| data["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
    if let Some(task) = &event.task_id {
        return vec![(task.clone(), attempt_of(&event.data))];
    }
    let shared = match event.kind {
        EventKind::Started | EventKind::HandedBack => event.data["tasks"].as_array(),
        _ => None,
    };
    let each = shared.into_iter().flatten().filter_map(|one| {
        let task = TaskId::new(one["task"].as_str()?).ok()?;
        Some((task, attempt_of(one)))
    });
    each.collect()
}

/// How a task ended, in words.
pub(crate) fn said_of(result: &TaskResult) -> String {
    let mut said = vec![result.status.as_str().to_owned()];
    let took = result.finished_at - result.started_at;
    said.push(format!("{:.3} s", took.as_seconds_f64()));
    said.push(counted(
        usize::try_from(result.usage.tool_calls).unwrap_or(usize::MAX),
        "tool call",
    ));
    if result.run.sequential_ms > 0.0 {
        said.push(format!(
            "{:.0} ms of tools in {:.0} ms (critical path {:.0} ms)",
            result.run.sequential_ms, result.run.parallel_ms, result.run.critical_path_ms
        ));
    }
    said.push(counted(result.findings.len(), "finding"));
    said.extend(result.reason.clone());
    said.join(", ")
}

/// The tasks of a query without an answer that have no result yet, and how far each came.
pub(super) fn unfinished(tasks: &[TaskDelegation], facts: &Facts) -> Vec<Missing> {
    let mut last: BTreeMap<&TaskId, String> = BTreeMap::new();
    for (_, subject) in &facts.queued {
        last.insert(&subject.task, "it is queued".to_owned());
    }
    let mut started: BTreeMap<TaskId, &Event> = BTreeMap::new();
    for (_, event) in facts
        .events
        .iter()
        .filter(|(_, event)| event.kind == EventKind::Started)
    {
        started.extend(attempts_of(event).into_iter().map(|(task, _)| (task, event)));
    }
    let open = tasks
        .iter()
        .filter(|task| !facts.results.iter().any(|(_, result)| result.task_id == task.task_id));
    open.map(|task| {
        let reason = match started.get(&task.task_id) {
            Some(event) => format!("{} has worked on it since {}", event.by, event.at.format("%H:%M:%S")),
            None => last.get(&task.task_id).cloned().unwrap_or_else(|| {
                let open: Vec<&str> = task
                    .dependencies
                    .iter()
                    .filter(|needed| !facts.results.iter().any(|(_, result)| result.task_id == **needed))
                    .map(TaskId::as_str)
                    .collect();
                match open.is_empty() {
                    true => "it waits for its turn".to_owned(),
                    false => format!("it waits for {}", open.join(", ")),
                }
            }),
        };
        Missing {
            task: task.task_id.to_string(),
            aspect: task.aspect.clone(),
            reason,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Band, QueryId, Route, TaskStatus};
    use serde_json::json;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time")
    }

    fn task(id: &str) -> TaskId {
        TaskId::new(id).expect("an id")
    }

    fn event(kind: EventKind, task_id: Option<&str>, message: &str, data: Value) -> Event {
        Event {
            query_id: QueryId::new("q1").expect("an id"),
            kind,
            at: at(0),
            task_id: task_id.map(task),
            by: "someone".to_owned(),
            message: message.to_owned(),
            data,
        }
    }

    fn result(id: &str, attempt: u32) -> TaskResult {
        TaskResult {
            query_id: QueryId::new("q1").expect("an id"),
            task_id: task(id),
            status: TaskStatus::Complete,
            reason: None,
            findings: Vec::new(),
            notes: Vec::new(),
            output: Value::Null,
            usage: Default::default(),
            run: Default::default(),
            worker: None,
            attempt,
            started_at: at(0),
            finished_at: at(1500),
        }
    }

    fn queued(id: &str, attempt: u32) -> TaskSubject {
        TaskSubject {
            route: Route::of(&Default::default()),
            band: Band::Normal,
            query: QueryId::new("q1").expect("an id"),
            task: task(id),
            attempt,
        }
    }

    #[test]
    fn the_story_is_told_in_order() {
        let shared = json!({"tasks": [{"task": "t1", "attempt": 1}, {"task": "t2", "attempt": 1}]});
        let facts = Facts {
            events: vec![
                (
                    at(5),
                    event(EventKind::Planned, None, "2 tasks", json!({"tasks": [{"task": "t1"}]})),
                ),
                (at(20), event(EventKind::Started, None, "2 tasks", shared)),
                (
                    at(25),
                    event(EventKind::ToolCall, Some("t1"), "code.search", Value::Null),
                ),
                (at(40), event(EventKind::Retrying, Some("t2"), "it failed", Value::Null)),
                (at(71), event(EventKind::Started, Some("t2"), "", json!({"attempt": 2}))),
                (at(90), event(EventKind::Answered, None, "complete", Value::Null)),
            ],
            results: vec![(at(70), result("t2", 2)), (at(30), result("t1", 1))],
            queued: vec![
                (at(10), queued("t1", 1)),
                (at(10), queued("t2", 1)),
                (at(50), queued("t2", 2)),
            ],
            answered: Some((at(85), AnswerStatus::Complete, Author::Synthesizer)),
        };
        let told: Vec<String> = timeline(facts)
            .iter()
            .map(|one| {
                let task = one.task.as_ref().map_or("", TaskId::as_str);
                let attempt = one.attempt.map_or_else(String::new, |attempt| attempt.to_string());
                format!("{} {} {task} {attempt}", one.after_ms, one.what.as_str())
            })
            .collect();
        assert_eq!(
            told,
            [
                "0 planned  ",
                "5 queued t1 1",
                "5 queued t2 1",
                "15 started t1 1",
                "15 started t2 1",
                "25 ended t1 1",
                "35 tried again t2 ",
                "45 queued t2 2",
                "65 started t2 2",
                "65 ended t2 2",
                "80 answered  ",
            ]
        );
    }

    #[test]
    fn a_task_without_a_result_is_told_with_how_far_it_came() {
        let delegation = |id: &str, after: &[&str]| {
            let mut one: TaskDelegation = serde_json::from_value(json!({
                "task_id": id, "objective": "x", "output_format": "markdown", "allowed_tools": [],
                "boundaries": {"scope": [], "constraints": [], "max_tool_calls": 1, "timeout_ms": 1},
                "priority": 5, "required_capabilities": [],
            }))
            .expect("a delegation");
            one.dependencies = after.iter().map(|id| task(id)).collect();
            one
        };
        let tasks = [
            delegation("t1", &[]),
            delegation("t2", &[]),
            delegation("t3", &[]),
            delegation("t4", &["t1", "t2"]),
            delegation("t5", &["t1"]),
        ];
        let facts = Facts {
            events: vec![(at(0), event(EventKind::Started, Some("t2"), "", json!({"attempt": 1})))],
            results: vec![(at(9), result("t1", 1))],
            queued: vec![(at(1), queued("t2", 1)), (at(1), queued("t3", 1))],
            answered: None,
        };
        let told: Vec<(String, String)> = unfinished(&tasks, &facts)
            .into_iter()
            .map(|one| (one.task, one.reason))
            .collect();
        for (index, (id, said)) in [
            ("t2", "someone has worked on it"),
            ("t3", "it is queued"),
            ("t4", "it waits for t2"),
            ("t5", "it waits for its turn"),
        ]
        .iter()
        .enumerate()
        {
            assert!(told[index].0 == *id && told[index].1.starts_with(said), "{told:?}");
        }
    }
}
