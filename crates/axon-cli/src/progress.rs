//! Turns the events of a query into lines for people. Pure: it prints nothing and reads no clock.

use std::collections::BTreeSet;

use axon_protocol::{Event, EventKind, Finding, TaskId, TaskResult};
use serde_json::Value;

use crate::output::{counted, short};

/// Findings that are shown as they are found; the answer holds them all.
const FINDINGS_SHOWN_MAX: usize = 30;
/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 160;
/// Tasks of one start that are named before the rest is only counted.
const STARTED_SHOWN_MAX: usize = 6;

/// What is to be shown after an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// A line that stays.
    pub(crate) line: Option<String>,
    /// What is going on now, for a line that is overwritten.
    pub(crate) status: Option<String>,
}

impl Step {
    /// A line and nothing else.
    pub(crate) fn of(line: &str) -> Self {
        Self {
            line: Some(line.to_owned()),
            status: None,
        }
    }
}

/// What is known of a query from its events.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    tasks: usize,
    done: BTreeSet<TaskId>,
    findings: usize,
}

impl Progress {
    /// Takes one event in.
    pub(crate) fn on(&mut self, event: &Event) -> Step {
        let task = event.task_id.as_ref().map(TaskId::as_str).unwrap_or("a task");
        let message = short(&event.message, LINE_CHARS_MAX);
        let (line, status) = match event.kind {
            EventKind::Accepted => (said(message, format!("accepted by {}", event.by)), None),
            EventKind::Planned if event.task_id.is_some() => {
                self.tasks += 1;
                (Some(message), None)
            }
            EventKind::Planned => {
                self.tasks = planned_tasks(&event.data).unwrap_or(self.tasks);
                (Some(with("planned", &message)), None)
            }
            EventKind::Started => (Some(started(event, &message)), None),
            // What the lead tells of the whole query.
            EventKind::Progress if event.task_id.is_none() => (None, Some(message)),
            EventKind::Progress => (Some(with(task, &message)), None),
            EventKind::Finding => {
                self.findings += 1;
                (self.finding(event, &message), None)
            }
            EventKind::ToolCall => (None, Some(with(task, &message))),
            EventKind::HandedBack => (
                Some(with(&format!("{task} handed back by {}", event.by), &message)),
                None,
            ),
            EventKind::Finished => (
                event.task_id.clone().and_then(|task| self.finished(task, &message)),
                None,
            ),
            EventKind::Retrying if message.starts_with(task) => (Some(message), None),
            EventKind::Retrying => (Some(with(&format!("{task} is tried again"), &message)), None),
            EventKind::TakenOver => (said(message, format!("taken over by {}", event.by)), None),
            EventKind::Synthesizing => (said(message, "merging the results".to_owned()), None),
            EventKind::Answered => (said(message, "answered".to_owned()), None),
        };
        Step {
            status: status.or_else(|| Some(self.status())),
            line,
        }
    }

    /// Takes in a result that was accepted.
    pub(crate) fn on_result(&mut self, result: &TaskResult) -> Step {
        let mut message = result.status.as_str().to_owned();
        if !result.findings.is_empty() {
            message = format!("{message}, {}", counted(result.findings.len(), "finding"));
        }
        if let Some(reason) = &result.reason {
            message = with(&message, &short(reason, LINE_CHARS_MAX));
        }
        Step {
            line: self.finished(result.task_id.clone(), &message),
            status: Some(self.status()),
        }
    }

    fn finished(&mut self, task: TaskId, message: &str) -> Option<String> {
        // Both the lead's event and the result itself may tell; once is enough.
        if !self.done.insert(task.clone()) {
            return None;
        }
        Some(with(&format!("{} ({task})", self.done_of()), message))
    }

    /// How far it is, in a few words.
    pub(crate) fn status(&self) -> String {
        match (self.tasks, self.findings) {
            (0, 0) => "waiting for the lead".to_owned(),
            (_, 0) => self.done_of(),
            (_, findings) => format!("{}, {}", self.done_of(), counted(findings, "finding")),
        }
    }

    fn done_of(&self) -> String {
        // A plan may grow while it runs, and its event may have been missed.
        match self.tasks.max(self.done.len()) {
            tasks if self.tasks > 0 => format!("{} of {} done", self.done.len(), counted(tasks, "task")),
            done => format!("{} done", counted(done, "task")),
        }
    }

    fn finding(&self, event: &Event, message: &str) -> Option<String> {
        if self.findings > FINDINGS_SHOWN_MAX {
            return None;
        }
        let Ok(finding) = serde_json::from_value::<Finding>(event.data.clone()) else {
            return Some(with("found", message));
        };
        let location = finding
            .evidence
            .first()
            .map(|evidence| format!(" ({})", evidence.location()));
        Some(with("found", &short(&finding.claim, LINE_CHARS_MAX)) + &location.unwrap_or_default())
    }
}

/// How many tasks a plan's outline has: a number, or the tasks themselves.
fn planned_tasks(outline: &Value) -> Option<usize> {
    let tasks = outline.get("tasks")?;
    match tasks {
        Value::Array(tasks) => Some(tasks.len()),
        other => usize::try_from(other.as_u64()?).ok(),
    }
}

/// Tasks that start together share an event.
fn started(event: &Event, message: &str) -> String {
    let tasks: Vec<String> = event.attempts().into_iter().map(|(task, _)| task.to_string()).collect();
    match tasks.as_slice() {
        [] => with(&format!("a task started by {}", event.by), message),
        [one] => with(&format!("{one} started by {}", event.by), message),
        [first @ .., last] if tasks.len() <= STARTED_SHOWN_MAX => {
            format!("{} and {last} started by {}", first.join(", "), event.by)
        }
        [first, ..] => format!("{first} and {} more tasks started by {}", tasks.len() - 1, event.by),
    }
}

fn with(head: &str, message: &str) -> String {
    if message.is_empty() {
        head.to_owned()
    } else {
        format!("{head}: {message}")
    }
}

/// What the process says, else what the kind of event means.
fn said(message: String, meaning: String) -> Option<String> {
    Some(if message.is_empty() { meaning } else { message })
}

#[cfg(test)]
mod tests {
    use axon_protocol::QueryId;
    use chrono::Utc;
    use serde_json::json;

    use super::*;

    fn event(kind: EventKind, task: Option<&str>, message: &str, data: Value) -> Event {
        Event {
            query_id: QueryId::new("q1").expect("an id"),
            kind,
            at: Utc::now(),
            task_id: task.map(|task| TaskId::new(task).expect("an id")),
            by: "someone".to_owned(),
            message: message.to_owned(),
            data,
        }
    }

    fn finding() -> Value {
        json!({"id": "f1", "aspect": "errors", "claim": "`parse` panics", "confidence": 0.9, "task": "t1", "evidence": [
            {"kind": "url", "url": "src/a.rs", "quote": "x"}]})
    }

    #[test]
    fn events_become_lines() {
        let mut progress = Progress::default();
        let none = Value::Null;
        for (kind, task, message, data, line, status) in [
            (
                EventKind::Accepted,
                None,
                "",
                none.clone(),
                Some("accepted by someone"),
                "waiting for the lead",
            ),
            (
                EventKind::Planned,
                None,
                "code_review, medium, 2 tasks",
                json!({"tasks": ["t1", "t2"]}),
                Some("planned: code_review, medium, 2 tasks"),
                "0 of 2 tasks done",
            ),
            (
                EventKind::Started,
                Some("t1"),
                "",
                none.clone(),
                Some("t1 started by someone"),
                "0 of 2 tasks done",
            ),
            (
                EventKind::Started,
                None,
                "2 tasks",
                json!({"tasks": [{"task": "t1", "attempt": 1}, {"task": "t2", "attempt": 1}]}),
                Some("t1 and t2 started by someone"),
                "0 of 2 tasks done",
            ),
            (
                EventKind::Progress,
                None,
                "0 done, 0 failed, 2 running, 0 waiting",
                none.clone(),
                None,
                "0 done, 0 failed, 2 running, 0 waiting",
            ),
            (
                EventKind::ToolCall,
                Some("t1"),
                "code.search 3 ms",
                none.clone(),
                None,
                "t1: code.search 3 ms",
            ),
            (
                EventKind::Finding,
                Some("t1"),
                "",
                finding(),
                Some("found: `parse` panics (src/a.rs)"),
                "0 of 2 tasks done, 1 finding",
            ),
            (
                EventKind::Finding,
                Some("t1"),
                "something",
                none.clone(),
                Some("found: something"),
                "0 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Finished,
                Some("t1"),
                "complete",
                none.clone(),
                Some("1 of 2 tasks done (t1): complete"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Finished,
                Some("t1"),
                "",
                none.clone(),
                None,
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Retrying,
                Some("t2"),
                "attempt 2\nlong story",
                none.clone(),
                Some("t2 is tried again: attempt 2"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Retrying,
                Some("t2"),
                "t2 failed, attempt 2 is queued",
                none.clone(),
                Some("t2 failed, attempt 2 is queued"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::HandedBack,
                Some("t2"),
                "",
                none.clone(),
                Some("t2 handed back by someone"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::TakenOver,
                None,
                "",
                none.clone(),
                Some("taken over by someone"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Synthesizing,
                None,
                "",
                none.clone(),
                Some("merging the results"),
                "1 of 2 tasks done, 2 findings",
            ),
            (
                EventKind::Answered,
                None,
                "the answer is complete",
                none.clone(),
                Some("the answer is complete"),
                "1 of 2 tasks done, 2 findings",
            ),
        ] {
            let step = progress.on(&event(kind, task, message, data));
            assert_eq!(
                (step.line.as_deref(), step.status.as_deref()),
                (line, Some(status)),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_plan_that_was_missed_does_not_confuse() {
        let mut progress = Progress::default();
        let step = progress.on(&event(EventKind::Finished, Some("t1"), "", Value::Null));
        assert_eq!(step.line.as_deref(), Some("1 task done (t1)"));
        let mut progress = Progress::default();
        progress.on(&event(EventKind::Planned, None, "", json!({"tasks": 1})));
        progress.on(&event(EventKind::Finished, Some("t1"), "", Value::Null));
        let step = progress.on(&event(EventKind::Finished, Some("t2"), "", Value::Null));
        assert_eq!(step.line.as_deref(), Some("2 of 2 tasks done (t2)"));
    }

    #[test]
    fn a_result_counts_once_whoever_tells() {
        let now = Utc::now();
        let result = TaskResult {
            query_id: QueryId::new("q1").expect("an id"),
            task_id: TaskId::new("t1").expect("an id"),
            status: axon_protocol::TaskStatus::Partial,
            reason: Some("time is up".to_owned()),
            findings: vec![serde_json::from_value(finding()).expect("a finding")],
            notes: Vec::new(),
            output: Value::Null,
            usage: Default::default(),
            run: Default::default(),
            worker: None,
            attempt: 1,
            started_at: now,
            finished_at: now,
        };
        let mut progress = Progress::default();
        let line = progress.on_result(&result).line;
        assert_eq!(
            line.as_deref(),
            Some("1 task done (t1): partial, 1 finding: time is up")
        );
        assert_eq!(progress.on_result(&result).line, None);
        assert_eq!(
            progress
                .on(&event(EventKind::Finished, Some("t1"), "", Value::Null))
                .line,
            None
        );
    }

    #[test]
    fn only_the_first_findings_are_shown() {
        let mut progress = Progress::default();
        let shown = (0..100)
            .filter(|_| {
                progress
                    .on(&event(EventKind::Finding, None, "x", finding()))
                    .line
                    .is_some()
            })
            .count();
        assert_eq!(shown, FINDINGS_SHOWN_MAX);
    }
}
