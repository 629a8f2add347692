//! `axon dead`: looks at dead letters, tries them again by hand, drops them. A letter is removed only after what it holds
//! was stored again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axon_bus::{Bus, Message, StoredMessage};
use axon_protocol::{DeadLetter, Namespace, Stream, header};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{self, age, short};

/// Letters that are handled at most in one call.
const LETTERS_MAX: usize = 10_000;
/// How long it is tried to queue a task again.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const MESSAGE_CHARS_MAX: usize = 80;
/// How much of a payload is shown.
const PAYLOAD_CHARS_MAX: usize = 4000;

/// What to do with dead letters.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DeadCommand {
    /// List dead letters, oldest first
    Ls {
        /// Only those with this reason, such as `malformed` or `failed`
        #[arg(long)]
        reason: Option<String>,
        /// Most letters to list
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Show one dead letter with headers and payload
    Show {
        /// Its sequence, as `axon dead ls` shows it
        #[arg(value_name = "SEQ")]
        sequence: u64,
    },
    /// Publish the original again, then remove the letter
    Retry(Which),
    /// Remove letters for good
    Drop(Which),
}

/// Which letters.
#[derive(Debug, clap::Args)]
struct Which {
    /// Their sequences, as `axon dead ls` shows them
    #[arg(value_name = "SEQ", required_unless_present = "all", conflicts_with = "all")]
    sequences: Vec<u64>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// With --all: only those with this reason
    #[arg(long, requires = "all")]
    reason: Option<String>,
}

/// A letter and where it is.
#[derive(Debug)]
struct Stored {
    sequence: u64,
    subject: String,
    letter: Result<DeadLetter, String>,
}

pub(crate) async fn run(context: &Context, args: DeadArgs) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    match args.command {
        DeadCommand::Ls { reason, limit } => list(context, &bus, reason.as_deref(), limit).await,
        DeadCommand::Show { sequence } => show(context, &one(&bus, sequence).await?),
        DeadCommand::Retry(which) => {
            let letters = chosen(&bus, &which).await?;
            retry(context, &bus, letters).await
        }
        DeadCommand::Drop(which) => {
            let letters = chosen(&bus, &which).await?;
            drop_letters(context, &bus, letters).await
        }
    }
}

async fn list(context: &Context, bus: &Bus, reason: Option<&str>, limit: usize) -> anyhow::Result<Exit> {
    let mut letters = all(bus, reason).await?;
    let found = letters.len();
    letters.truncate(limit);
    if context.json {
        for stored in &letters {
            output::json_line(&value_of(stored, false))?;
        }
        return Ok(Exit::Success);
    }
    if letters.is_empty() {
        output::line("no dead letters")?;
        return Ok(Exit::Success);
    }
    output::line(&text_of(&letters, Utc::now()))?;
    if found > letters.len() {
        output::line(&format!("{} more: raise --limit", found - letters.len()))?;
    }
    Ok(Exit::Success)
}

fn show(context: &Context, stored: &Stored) -> anyhow::Result<Exit> {
    let value = value_of(stored, true);
    if context.json {
        output::json(&value)?;
        return Ok(Exit::Success);
    }
    let Value::Object(fields) = value else {
        return Ok(Exit::Unexpected);
    };
    for (name, value) in &fields {
        let shown = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other)?,
        };
        output::line(&format!("{name:<10} {shown}"))?;
    }
    Ok(Exit::Success)
}

async fn retry(context: &Context, bus: &Bus, letters: Vec<Stored>) -> anyhow::Result<Exit> {
    let mut failed = None;
    for stored in letters {
        match redrive_one(bus, &stored).await {
            Ok((subject, id)) if context.json => {
                output::json_line(&json!({"sequence": stored.sequence, "subject": subject, "id": id}))?;
            }
            Ok((subject, id)) => output::line(&format!("{}: published again as {subject} ({id})", stored.sequence))?,
            // The others may still succeed; the first failure decides the exit code.
            Err(error) => {
                let error = error.context(format!("dead letter {} is kept", stored.sequence));
                eprintln!("error: {}", crate::exit::one_line(&error));
                failed.get_or_insert(Exit::of_error(&error));
            }
        }
    }
    Ok(failed.unwrap_or(Exit::Success))
}

async fn redrive_one(bus: &Bus, stored: &Stored) -> anyhow::Result<(String, String)> {
    let letter = stored
        .letter
        .as_ref()
        .map_err(|reason| Failure::bad_input(format!("the letter itself cannot be read ({reason}): drop it")))?;
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let id = format!("redrive-{}-{nanos}", stored.sequence);
    let message = redrive(bus.namespace(), letter, &id)?;
    let subject = message.subject.clone();
    if let (Some(query), Some(task)) = (&letter.query_id, &letter.task_id)
        && bus
            .last(Stream::Results, &bus.namespace().result(query, task))
            .await?
            .is_some()
    {
        eprintln!("warning: task {task} of query {query} has its one result already: what comes now is refused");
    }
    let published = match bus.namespace().parse_task(&subject) {
        Some(task) => {
            bus.queue_until(&task.query, message, Instant::now() + QUEUE_TIMEOUT)
                .await?
        }
        None => bus.publish(message).await?,
    };
    if published.duplicate {
        anyhow::bail!("the server takes it for a repetition and stored nothing: try again");
    }
    bus.remove(Stream::Dead, stored.sequence).await?;
    Ok((subject, id))
}

/// The original as it is published again: a task as its next attempt, everything under a fresh message id, because the
/// server may still remember the old one.
fn redrive(namespace: &Namespace, letter: &DeadLetter, id: &str) -> Result<Message, Failure> {
    let mut headers = letter.headers.clone();
    // What the server added, or what fenced the original, must not travel again.
    headers.retain(|name, _| !name.starts_with("Nats-") && name != header::ATTEMPT);
    headers.insert(header::MESSAGE_ID.to_owned(), id.to_owned());
    let mut subject = letter.subject.clone();
    if letter.stream == Stream::Tasks {
        let task = namespace.parse_task(&letter.subject).ok_or_else(|| {
            Failure::bad_input(format!(
                "`{}` is no subject of a task: nobody would take it; drop the letter",
                letter.subject
            ))
        })?;
        let attempt = letter.attempt.max(task.attempt) + 1;
        subject = namespace.task(&task.route, task.band, &task.query, &format!("{}~{attempt}", task.task));
        headers.insert(header::TRY.to_owned(), attempt.to_string());
    }
    Ok(Message {
        subject,
        headers,
        payload: letter.payload.clone(),
    })
}

async fn drop_letters(context: &Context, bus: &Bus, letters: Vec<Stored>) -> anyhow::Result<Exit> {
    for stored in letters {
        bus.remove(Stream::Dead, stored.sequence).await?;
        if context.json {
            output::json_line(&json!({ "sequence": stored.sequence, "dropped": true }))?;
        } else {
            output::line(&format!("{}: dropped", stored.sequence))?;
        }
    }
    Ok(Exit::Success)
}

async fn chosen(bus: &Bus, which: &Which) -> anyhow::Result<Vec<Stored>> {
    if which.all {
        return all(bus, which.reason.as_deref()).await;
    }
    let mut letters = Vec::with_capacity(which.sequences.len());
    for sequence in &which.sequences {
        letters.push(one(bus, *sequence).await?);
    }
    Ok(letters)
}

async fn all(bus: &Bus, reason: Option<&str>) -> anyhow::Result<Vec<Stored>> {
    let filter = bus.namespace().stream_subjects(Stream::Dead).concat();
    let mut letters = Vec::new();
    for message in bus.messages(Stream::Dead, &filter, 0, LETTERS_MAX).await? {
        let stored = read(bus, message).await;
        if reason.is_none_or(|reason| stored.subject.ends_with(&format!(".{reason}"))) {
            letters.push(stored);
        }
    }
    Ok(letters)
}

async fn one(bus: &Bus, sequence: u64) -> anyhow::Result<Stored> {
    match bus.message_at(Stream::Dead, sequence).await? {
        Some(message) => Ok(read(bus, message).await),
        None => {
            let message = format!("there is no dead letter {sequence}: `axon dead ls` lists them");
            Err(Failure::not_found(message).into())
        }
    }
}

async fn read(bus: &Bus, message: StoredMessage) -> Stored {
    let letter = bus.decode_stored(&message).await.map_err(|error| error.to_string());
    Stored {
        sequence: message.sequence,
        subject: message.subject,
        letter,
    }
}

fn value_of(stored: &Stored, whole: bool) -> Value {
    let letter = match &stored.letter {
        Ok(letter) => letter,
        Err(reason) => return json!({ "sequence": stored.sequence, "subject": stored.subject, "unreadable": reason }),
    };
    let mut value = json!({
        "sequence": stored.sequence,
        "stream": letter.stream,
        "subject": letter.subject,
        "reason": letter.reason,
        "verdict": letter.verdict,
        "attempt": letter.attempt,
        "message": letter.message,
        "query_id": letter.query_id,
        "task_id": letter.task_id,
        "deadline": letter.deadline,
        "by": letter.by,
        "at": letter.at,
        "bytes": letter.payload.len(),
    });
    if whole {
        value["headers"] = json!(letter.headers);
        value["payload"] = payload_of(letter);
    }
    value
}

/// The payload as the value it encodes, else as text, else as hexadecimal digits, cut.
fn payload_of(letter: &DeadLetter) -> Value {
    if let Ok(value) = axon_protocol::decode::<Value>(&letter.headers, &letter.payload)
        && (value.is_object() || value.is_array())
    {
        return value;
    }
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => Value::from(text.chars().take(PAYLOAD_CHARS_MAX).collect::<String>()),
        Err(_) => {
            let bytes = letter.payload.iter().take(PAYLOAD_CHARS_MAX / 2);
            Value::from(bytes.map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

fn text_of(letters: &[Stored], now: DateTime<Utc>) -> String {
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|stored| match &stored.letter {
            Ok(letter) => vec![
                stored.sequence.to_string(),
                letter.stream.token().to_owned(),
                letter.reason.to_string(),
                format!("{:?}", letter.verdict).to_lowercase(),
                letter.attempt.to_string(),
                age(letter.at, now),
                letter.subject.clone(),
                short(&letter.message, MESSAGE_CHARS_MAX),
            ],
            Err(reason) => {
                let mut row = vec![stored.sequence.to_string()];
                row.extend(std::iter::repeat_n("?".to_owned(), 5));
                row.extend([
                    stored.subject.clone(),
                    format!("unreadable: {}", short(reason, MESSAGE_CHARS_MAX)),
                ]);
                row
            }
        })
        .collect();
    output::table(
        &[
            "seq", "stream", "reason", "verdict", "attempt", "age", "subject", "message",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use axon_protocol::{Headers, Reason, Usage, Verdict};

    use super::*;

    fn letter(stream: Stream, subject: &str, attempt: u32) -> DeadLetter {
        let headers = [
            ("Nats-Msg-Id", "old"),
            ("Nats-Expected-Last-Subject-Sequence", "0"),
            ("Axon-Attempt", "token"),
            ("Axon-Try", "1"),
            ("Axon-Schema", "1"),
            ("Content-Type", "application/json"),
        ];
        DeadLetter {
            stream,
            subject: subject.to_owned(),
            reason: Reason::Failed,
            verdict: Verdict::Park,
            attempt,
            message: "it broke\nbadly".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            payload: r#"{"a":1}"#.into(),
            query_id: None,
            task_id: None,
            deadline: None,
            usage: Usage::default(),
            by: "w".to_owned(),
            at: Utc::now(),
        }
    }

    #[test]
    fn a_letter_is_published_again_as_its_next_attempt_under_a_fresh_id() {
        let namespace = Namespace::default();
        for (stream, subject, attempt, again, tried) in [
            (
                Stream::Tasks,
                "axon.tasks.CodeReview.high.q1.t1",
                1,
                "axon.tasks.CodeReview.high.q1.t1~2",
                Some("2"),
            ),
            (
                Stream::Tasks,
                "axon.tasks.CodeReview.high.q1.t1~3",
                3,
                "axon.tasks.CodeReview.high.q1.t1~4",
                Some("4"),
            ),
            (
                Stream::Tasks,
                "axon.tasks.CodeReview.high.q1.t1~3",
                1,
                "axon.tasks.CodeReview.high.q1.t1~4",
                Some("4"),
            ),
            (Stream::Queries, "axon.queries", 1, "axon.queries", Some("1")),
            (
                Stream::Synthesis,
                "axon.synthesis.q1",
                2,
                "axon.synthesis.q1",
                Some("1"),
            ),
        ] {
            let message = redrive(&namespace, &letter(stream, subject, attempt), "redrive-7-1").expect(subject);
            assert_eq!(message.subject, again);
            assert_eq!(message.headers.get("Axon-Try").map(String::as_str), tried, "{subject}");
            let mut expected: Headers = [
                ("Nats-Msg-Id", "redrive-7-1"),
                ("Axon-Schema", "1"),
                ("Content-Type", "application/json"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            expected.extend(tried.map(|tried| ("Axon-Try".to_owned(), tried.to_owned())));
            assert_eq!(message.headers, expected, "{subject}");
            assert_eq!(&message.payload[..], br#"{"a":1}"#);
        }
    }

    #[test]
    fn what_nobody_would_take_is_not_published() {
        for subject in ["axon.tasks.x", "other.tasks.A.high.q1.t1", "axon.tasks.A.high.q1.t1~x"] {
            let error = redrive(&Namespace::default(), &letter(Stream::Tasks, subject, 1), "id").expect_err(subject);
            assert!(error.to_string().contains("drop the letter"));
        }
    }

    #[test]
    fn a_fresh_id_is_an_id_of_a_query_too() {
        let id = format!("redrive-{}-{}", u64::MAX, u64::MAX);
        assert!(axon_protocol::QueryId::new(id).is_ok());
    }

    #[test]
    fn a_payload_is_shown_as_what_it_is() {
        let with = |payload: &'static [u8]| DeadLetter {
            payload: payload.into(),
            headers: Headers::new(),
            ..letter(Stream::Queries, "axon.queries", 1)
        };
        assert_eq!(payload_of(&with(br#"{"a":1}"#)), json!({"a": 1}));
        assert_eq!(payload_of(&with(b"plain words")), json!("plain words"));
        assert_eq!(payload_of(&with(b"\xff\x00")), json!("ff00"));
        let stored = Stored {
            sequence: 9,
            subject: "axon.dead.queries.failed".to_owned(),
            letter: Err("malformed".to_owned()),
        };
        assert_eq!(value_of(&stored, true)["unreadable"], "malformed");
        assert!(text_of(&[stored], Utc::now()).contains("unreadable: malformed"));
    }
}
