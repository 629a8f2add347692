//! `axon top`: workers, queues and queries in flight, refreshed each second until `q`. It reads what the fleet publishes of
//! itself and asks no process.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use axon_bus::{Bus, StreamStatus};
use axon_protocol::{Bucket, Heartbeat, Query, QueryId, Stream};
use axon_service::RegistryConfig;
use chrono::{DateTime, Utc};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::command::watch::queued;
use crate::command::workers::{Statistics, state_of};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, age, counted, short};
use crate::question::check_streams;

const REFRESH: Duration = Duration::from_secs(1);
/// Queries and workers that are listed, each; a screen holds no more.
const QUERIES_MAX: usize = 10;
const WORKERS_MAX: usize = 20;
const TEXT_CHARS_MAX: usize = 70;
/// Keys that may wait to be looked at.
const KEYS_MAX: usize = 16;
/// Moves the cursor home; what was there is overwritten line by line, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// How to look.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Print one frame and end
    #[arg(long)]
    once: bool,
}

/// What one frame shows.
#[derive(Debug)]
struct Frame {
    namespace: String,
    server_version: String,
    fleet: Vec<Heartbeat>,
    queues: Vec<(Stream, StreamStatus)>,
    queries: Vec<(QueryId, String, DateTime<Utc>)>,
    now: DateTime<Utc>,
}

pub(crate) async fn run(context: &Context, args: TopArgs, stop: CancellationToken) -> anyhow::Result<Exit> {
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let registry = &context.registry;
    if args.once || context.json || !std::io::stdout().is_terminal() {
        let frame = look(&bus).await?;
        if context.json {
            output::json(&serde_json::json!({
                "statistics": Statistics::of(&frame.fleet, registry, frame.now),
                "processes": frame.fleet,
                "queues": frame.queues.iter().map(|(_, status)| status).collect::<Vec<_>>(),
                "queries": frame.queries.iter().map(|(id, text, since)| serde_json::json!({
                    "id": id, "query": text, "since": since,
                })).collect::<Vec<_>>(),
            }))?;
        } else {
            output::line(&text_of(&frame, registry))?;
        }
        return Ok(Exit::Success);
    }
    let mut keys = Keys::open()?;
    let mut tick = interval(REFRESH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            key = keys.next() => if matches!(key, None | Some(b'q')) { break },
            _ = tick.tick() => {
                // A server that is away comes back; until then the last frame stands.
                let shown = match look(&bus).await {
                    Ok(frame) => text_of(&frame, registry),
                    Err(error) => format!("{}\n", crate::exit::one_line(&error)),
                };
                draw(&shown, first)?;
                first = false;
            }
        }
    }
    drop(keys);
    output::line("")?;
    Ok(Exit::Success)
}

async fn look(bus: &Bus) -> anyhow::Result<Frame> {
    let fleet = bus.table::<Heartbeat>(Bucket::Registry).all().await?;
    let mut queues = Vec::new();
    for stream in Stream::WORK_QUEUES.into_iter().chain([Stream::Dead]) {
        queues.push((stream, bus.status(stream).await?));
    }
    let waiting = queued(bus, QUERIES_MAX).await?;
    Ok(Frame {
        namespace: bus.config().namespace.to_string(),
        server_version: bus.server_version(),
        fleet: fleet.into_values().collect(),
        queues,
        queries: waiting
            .into_iter()
            .map(|(id, message)| {
                let query = Query::parse(&message.headers, &message.payload).map(|(query, _)| query.query);
                (id, query.unwrap_or_default(), message.stored_at)
            })
            .collect(),
        now: Utc::now(),
    })
}

fn text_of(frame: &Frame, registry: &RegistryConfig) -> String {
    let statistics = Statistics::of(&frame.fleet, registry, frame.now);
    let of_role = |role: &'static str| frame.fleet.iter().filter(move |one| one.role == role);
    let sum = |role: &'static str, of: fn(&Heartbeat) -> u32| of_role(role).map(of).sum::<u32>();
    let mut out = vec![
        format!(
            "namespace {}, nats-server {}  {}",
            frame.namespace,
            frame.server_version,
            frame.now.format("%H:%M:%S")
        ),
        format!(
            "{}: {} idle, {} busy, {} draining, {} unhealthy; {} of {} slots used",
            counted(statistics.total, "worker"),
            statistics.idle,
            statistics.busy,
            statistics.draining,
            statistics.unhealthy,
            statistics.slots_used,
            statistics.slots_total
        ),
        format!(
            "{}, {} in flight, {} waiting; {}, {} at work",
            counted(of_role("lead").count(), "lead"),
            queries(sum("lead", |one| one.slots_used)),
            sum("lead", |one| one.waiting),
            counted(of_role("synthesizer").count(), "synthesizer"),
            sum("synthesizer", |one| one.slots_used),
        ),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = frame
        .queues
        .iter()
        .map(|(stream, status)| {
            let worked_on: usize = status.consumers.iter().map(|consumer| consumer.ack_pending).sum();
            vec![
                stream.token().to_owned(),
                status.messages.to_string(),
                worked_on.to_string(),
                status.oldest_at.map_or_else(|| "-".to_owned(), |at| age(at, frame.now)),
            ]
        })
        .collect();
    out.push(output::table(&["queue", "messages", "worked on", "oldest"], &rows));
    out.push(String::new());
    let mut workers: Vec<&Heartbeat> = of_role("worker").collect();
    workers.sort_by(|a, b| b.slots_used.cmp(&a.slots_used).then_with(|| a.id.cmp(&b.id)));
    let rows: Vec<Vec<String>> = workers
        .iter()
        .take(WORKERS_MAX)
        .map(|one| {
            vec![
                one.id.clone(),
                state_of(one, registry, frame.now).as_str().to_owned(),
                format!("{}/{}", one.slots_used, one.slots_total),
                one.succeeded.to_string(),
                one.failed.to_string(),
                format!("{}:{}", one.host, one.pid),
            ]
        })
        .collect();
    out.push(output::table(
        &["worker", "state", "slots", "ok", "failed", "process"],
        &rows,
    ));
    if workers.len() > WORKERS_MAX {
        out.push(format!("and {} more", workers.len() - WORKERS_MAX));
    }
    out.push(String::new());
    if frame.queries.is_empty() {
        out.push("no query in flight".to_owned());
    }
    out.extend(
        frame
            .queries
            .iter()
            .map(|(id, query, since)| format!("{id}  {}  {}", age(*since, frame.now), short(query, TEXT_CHARS_MAX))),
    );
    out.join("\n")
}

fn queries(number: u32) -> String {
    match number {
        1 => "1 query".to_owned(),
        number => format!("{number} queries"),
    }
}

fn draw(text: &str, first: bool) -> anyhow::Result<()> {
    let mut screen = String::from(if first { "\x1b[2J\x1b[H" } else { HOME });
    for line in text.lines() {
        screen.push_str(line);
        screen.push_str(CLEAR_LINE);
        screen.push_str("\r\n");
    }
    screen.push_str(CLEAR_BELOW);
    screen.push_str("q quits");
    let mut out = std::io::stdout().lock();
    out.write_all(screen.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to the terminal")
}

/// Keys as they are pressed, where standard input is a terminal. The terminal is put back when this is dropped.
#[derive(Debug)]
struct Keys {
    /// What is pressed, and how the terminal was.
    open: Option<(mpsc::Receiver<u8>, Termios)>,
}

impl Keys {
    fn open() -> anyhow::Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self { open: None });
        }
        let before = tcgetattr(&input).context("cannot ask the terminal how it is set")?;
        let mut single = before.clone();
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &single).context("cannot set the terminal")?;
        let (press, pressed) = mpsc::channel(KEYS_MAX);
        // A thread of its own: nothing ends a read of a terminal, and the process must not wait for it when it leaves.
        std::thread::spawn(move || {
            for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
                if press.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            open: Some((pressed, before)),
        })
    }

    /// The next key; `None` at the end of the input. Where there is no terminal nothing is ever pressed.
    async fn next(&mut self) -> Option<u8> {
        match &mut self.open {
            Some((pressed, _)) => pressed.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some((_, before)) = &self.open {
            // A terminal that is gone cannot be put back and need not be.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use axon_protocol::WorkerState;

    use super::*;
    use crate::command::workers::tests::heartbeat;

    #[test]
    fn a_frame_shows_workers_queues_and_queries() {
        let now = Utc::now();
        let mut lead = heartbeat("lead", "lead", WorkerState::Busy, 0, now);
        (lead.slots_used, lead.waiting) = (3, 2);
        let status = StreamStatus {
            name: "AXON_TASKS".to_owned(),
            messages: 12,
            bytes: 1,
            bytes_max: -1,
            age_max_s: 0,
            last_sequence: 9,
            oldest_at: Some(now - chrono::Duration::seconds(5)),
            consumers: Vec::new(),
        };
        let frame = Frame {
            namespace: "axon".to_owned(),
            server_version: "2.10.27".to_owned(),
            fleet: vec![
                heartbeat("worker", "tester", WorkerState::Busy, 0, now),
                heartbeat("worker", "reviewer", WorkerState::Idle, 60, now),
                lead,
            ],
            queues: vec![(Stream::Tasks, status)],
            queries: vec![(QueryId::new("q7").expect("an id"), "why?".to_owned(), now)],
            now,
        };
        let text = text_of(&frame, &RegistryConfig::default());
        for said in [
            "namespace axon, nats-server 2.10.27  ",
            "2 workers: 0 idle, 1 busy, 0 draining, 1 unhealthy; 1 of 4 slots used",
            "1 lead, 3 queries in flight, 2 waiting",
            "tasks  12        0          5s",
            "q7  0s  why?",
        ] {
            assert!(text.contains(said), "`{said}`: {text}");
        }
    }
}
