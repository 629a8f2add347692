//! The events that tell of started and handed-back tasks, written and read in one place. Tasks of one query that start
//! together share an event, because at full speed an event for each would cost as much as the task itself.

use std::collections::BTreeMap;

use axon_protocol::{Attempt, Event, EventKind, QueryId, TaskId, TaskSubject, WorkerId};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// Tasks that are about to start.
#[derive(Debug, Default)]
pub(crate) struct Starts(BTreeMap<QueryId, Vec<(TaskId, u32)>>);

impl Starts {
    pub(crate) fn add(&mut self, subject: &TaskSubject, attempt: u32) {
        let tasks = self.0.entry(subject.query.clone()).or_default();
        tasks.push((subject.task.clone(), attempt));
    }

    /// The events that tell of them.
    pub(crate) fn into_events(self, by: &WorkerId, at: DateTime<Utc>) -> Vec<Event> {
        self.0
            .into_iter()
            .map(|(query, tasks)| match <[_; 1]>::try_from(tasks) {
                Ok([(task, attempt)]) => attempt_event(EventKind::Started, query, task, attempt, by, at),
                Err(tasks) => shared_event(query, tasks, by, at),
            })
            .collect()
    }
}

/// The event that one attempt of a task was started or handed back.
pub(crate) fn attempt_event(
    kind: EventKind,
    query_id: QueryId,
    task: TaskId,
    attempt: u32,
    by: &WorkerId,
    at: DateTime<Utc>,
) -> Event {
    Event {
        query_id,
        kind,
        at,
        task_id: Some(task),
        by: by.to_string(),
        message: String::new(),
        data: serde_json::to_value(Attempt { task: None, attempt }).unwrap_or(Value::Null),
    }
}

fn shared_event(query_id: QueryId, tasks: Vec<(TaskId, u32)>, by: &WorkerId, at: DateTime<Utc>) -> Event {
    let message = format!("{} tasks", tasks.len());
    let tasks = tasks.into_iter().map(|(task, attempt)| Attempt {
        task: Some(task),
        attempt,
    });
    let data = Event::shared_data(tasks.collect());
    Event {
        query_id,
        kind: EventKind::Started,
        at,
        task_id: None,
        by: by.to_string(),
        message,
        data,
    }
}

/// How often an event tells of that attempt of a task.
pub(crate) fn tells_of(event: &Event, task: &TaskId, attempt: u32) -> usize {
    let told = |(told, told_attempt): &(TaskId, u32)| told == task && *told_attempt == attempt;
    event.attempts().iter().filter(|one| told(one)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_protocol::{Band, Route};

    fn subject(query: &str, task: &str) -> TaskSubject {
        TaskSubject {
            route: Route::of(&Default::default()),
            band: Band::Normal,
            query: QueryId::new(query).expect("an id"),
            task: TaskId::new(task).expect("an id"),
            attempt: 1,
        }
    }

    #[test]
    fn starts_of_one_query_share_an_event() {
        for (tasks, others, events) in [(1, 0, 1), (1, 1, 2), (2, 1, 2), (8, 0, 1), (20, 2, 2)] {
            let mut starts = Starts::default();
            (0..tasks).for_each(|index| starts.add(&subject("q1", &format!("t{index}")), 2));
            (0..others).for_each(|index| starts.add(&subject("q2", &format!("t{index}")), 1));
            let by = WorkerId::new("w1").expect("an id");
            let told = starts.into_events(&by, DateTime::UNIX_EPOCH);
            assert_eq!(told.len(), events, "{tasks} and {others}");
            for index in 0..tasks {
                let task = TaskId::new(format!("t{index}")).expect("an id");
                let of_q1 = || told.iter().filter(|event| event.query_id.as_str() == "q1");
                let count = |attempt| of_q1().map(|event| tells_of(event, &task, attempt)).sum::<usize>();
                assert_eq!((count(2), count(1)), (1, 0), "t{index} of {tasks}");
            }
        }
    }
}
