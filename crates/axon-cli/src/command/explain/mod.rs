//! `axon explain`: how a query was understood and planned, what happened to it and when, and what is missing and why. It
//! reads what the fleet has written and asks nobody.

mod remembered;
mod timeline;

use axon_bus::Bus;
use axon_protocol::{Answer, ExecutionPlan, QueryId};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use self::remembered::Remembered;
pub(crate) use self::timeline::said_of;
use self::timeline::{Facts, Moment, Telling, timeline, unfinished};
use crate::command::watch::{queued, unknown};
use crate::context::Context;
use crate::exit::Exit;
use crate::kept::{self, Planned, Read};
use crate::output::{self, counted};
use crate::question::check_streams;

/// Queued queries among which the id is looked for.
const QUEUED_MAX: usize = 10_000;

/// Which query.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,
}

/// All that is known of a query.
#[derive(Debug)]
struct Explanation {
    id: QueryId,
    plan: Option<ExecutionPlan>,
    cancelled: bool,
    remembered: Remembered,
    moments: Vec<Moment>,
    answer: Option<Answer>,
    missing: Vec<Missing>,
}

/// A task that is not in the answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Missing {
    task: String,
    aspect: String,
    reason: String,
}

pub(crate) async fn run(context: &Context, args: ExplainArgs) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let explanation = gather(&bus, &id).await?;
    if explanation.plan.is_none() && explanation.answer.is_none() && explanation.moments.is_empty() {
        let waiting = queued(&bus, QUEUED_MAX).await?.iter().any(|(queued, _)| *queued == id);
        if !waiting {
            return Err(unknown(&id));
        }
    }
    if context.json {
        output::json(&json!({
            "id": id,
            "status": status_of(&explanation),
            "plan": explanation.plan,
            "working_memory": explanation.remembered,
            "timeline": explanation.moments,
            "missing": explanation.missing,
            "answer": explanation.answer.as_ref().map(|answer| json!({
                "status": answer.status,
                "stop_reason": answer.stop_reason,
                "error": answer.error,
                "author": answer.author,
                "duration_ms": answer.duration_ms,
                "sequential_ms": answer.sequential_ms,
                "time_reduction_percent": answer.time_reduction_percent,
                "worker_count": answer.worker_count,
                "retries": answer.retries,
                "quality": answer.quality,
                "usage": answer.usage,
                "notes": answer.notes,
            })),
        }))?;
    } else {
        output::line(&text_of(&explanation))?;
    }
    Ok(Exit::Success)
}

async fn gather(bus: &Bus, id: &QueryId) -> anyhow::Result<Explanation> {
    let Planned { cancelled, plan } = kept::planned(bus, id).await?.unwrap_or_default();
    let answer = kept::answer(bus, id).await?;
    let facts = Facts {
        events: dated(kept::events(bus, id).await?),
        results: dated(kept::results(bus, id).await?),
        queued: dated(kept::tasks(bus, id).await?),
        answered: answer
            .as_ref()
            .map(|(message, answer)| (message.stored_at, answer.status, answer.author)),
    };
    let answer = answer.map(|(_, answer)| answer);
    let missing = match (&answer, &plan) {
        (Some(answer), _) => answer
            .missing
            .iter()
            .map(|part| Missing {
                task: part.task_id.to_string(),
                aspect: part.aspect.clone(),
                reason: part.reason.clone(),
            })
            .collect(),
        (None, Some(plan)) => unfinished(&plan.task_delegations, &facts),
        (None, None) => Vec::new(),
    };
    Ok(Explanation {
        id: id.clone(),
        cancelled,
        remembered: Remembered::of(facts.events.iter().map(|(_, event)| event)),
        moments: timeline(facts),
        plan,
        answer,
        missing,
    })
}

/// What was read, each with when the server stored it.
fn dated<T>(read: Vec<Read<T>>) -> Vec<(DateTime<Utc>, T)> {
    read.into_iter()
        .map(|(message, value)| (message.stored_at, value))
        .collect()
}

fn status_of(explanation: &Explanation) -> &'static str {
    match (&explanation.answer, explanation.cancelled, &explanation.plan) {
        (Some(answer), ..) => answer.status.as_str(),
        (None, true, _) => "cancelling",
        (None, false, Some(_)) => "running",
        (None, false, None) => "queued",
    }
}

fn text_of(explanation: &Explanation) -> String {
    let asked = match (&explanation.plan, &explanation.answer) {
        (Some(plan), _) => plan.query.query.as_str(),
        (None, Some(answer)) => answer.query.as_str(),
        (None, None) => "",
    };
    let mut out = vec![format!("query {}: {asked}", explanation.id)];
    out.push(match &explanation.answer {
        Some(answer) => format!(
            "status      {} in {:.2} s: {} of {} tasks complete, {}, {}",
            answer.status.as_str(),
            answer.duration_ms / 1000.0,
            answer.tasks_completed,
            answer.tasks_delegated,
            counted(answer.worker_count, "worker"),
            match answer.retries {
                1 => "1 retry".to_owned(),
                retries => format!("{retries} retries"),
            },
        ),
        None => format!("status      {}", status_of(explanation)),
    });
    if let Some(error) = explanation.answer.as_ref().and_then(|answer| answer.error.as_ref()) {
        out.push(format!("error       {error}"));
    }
    if explanation.remembered.calls > 0 {
        out.push(format!("memory      {}", explanation.remembered));
    }
    if let Some(plan) = &explanation.plan {
        out.push(plan.to_string());
    }
    out.push("\ntimeline".to_owned());
    if explanation.moments.is_empty() {
        out.push("    nothing happened yet: it waits for a lead".to_owned());
    }
    out.extend(explanation.moments.iter().map(line_of));
    if !explanation.missing.is_empty() {
        out.push("\nmissing".to_owned());
        out.extend(explanation.missing.iter().map(|part| {
            let aspect = match part.aspect.as_str() {
                "" => String::new(),
                aspect => format!(" ({aspect})"),
            };
            format!("    {}{aspect}: {}", part.task, part.reason)
        }));
    }
    let notes = explanation.answer.iter().flat_map(|answer| &answer.notes);
    out.extend(notes.map(|note| format!("note: {note}")));
    out.join("\n")
}

fn line_of(moment: &Moment) -> String {
    let task = moment.task.as_ref().map_or_else(String::new, |task| format!("{task} "));
    let attempt = match moment.attempt {
        Some(attempt) if attempt > 1 || moment.what == Telling::Started => format!(", attempt {attempt}"),
        _ => String::new(),
    };
    let by = match moment.by.as_str() {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    let said = match moment.said.as_str() {
        "" => String::new(),
        said => format!(": {said}"),
    };
    format!(
        "    {:>9.3} s  {task}{}{by}{attempt}{said}",
        moment.after_ms / 1000.0,
        moment.what.as_str()
    )
}

#[cfg(test)]
mod tests {
    use axon_protocol::{AnswerStatus, MissingPart, TaskId};

    use super::*;

    #[test]
    fn an_explanation_tells_the_story_and_what_is_missing() {
        let id = QueryId::new("q1").expect("an id");
        let now = Utc::now();
        let mut answer = Answer::refused(id.clone(), "why?", "the lead was busy", now);
        answer.status = AnswerStatus::Partial;
        answer.missing = vec![MissingPart {
            task_id: TaskId::new("t2").expect("an id"),
            aspect: "errors".to_owned(),
            reason: "its deadline came first".to_owned(),
        }];
        answer.notes = vec!["only Rust was read".to_owned()];
        let moment = |what, after_ms, task: Option<&str>, attempt| Moment {
            at: now,
            after_ms,
            what,
            task: task.map(|id| TaskId::new(id).expect("an id")),
            by: "w1".to_owned(),
            attempt,
            said: String::new(),
        };
        let explanation = Explanation {
            id,
            plan: None,
            cancelled: false,
            remembered: Remembered {
                tool_calls: 9,
                calls: 4,
                saved_ms: 1250.0,
            },
            moments: vec![
                moment(Telling::Started, 12.0, Some("t1"), Some(1)),
                moment(Telling::Ended, 1512.5, Some("t1"), Some(2)),
            ],
            missing: vec![Missing {
                task: "t2".to_owned(),
                aspect: "errors".to_owned(),
                reason: "its deadline came first".to_owned(),
            }],
            answer: Some(answer),
        };
        let expected = "\
query q1: why?
status      partial in 0.00 s: 0 of 0 tasks complete, 0 workers, 0 retries
error       the lead was busy
memory      4 of 9 tool calls were answered from working memory, where making them had taken 1.25 s longer

timeline
        0.012 s  t1 started by w1, attempt 1
        1.512 s  t1 ended by w1, attempt 2

missing
    t2 (errors): its deadline came first
note: only Rust was read";
        assert_eq!(text_of(&explanation), expected);
    }
}
