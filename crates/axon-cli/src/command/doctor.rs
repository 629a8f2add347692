//! `axon doctor`: what is wrong with the server and the fleet, and the fix. The facts are gathered first; what they mean is
//! decided by a pure function.

use std::time::Duration;

use anyhow::Context as _;
use axon_bus::{Bus, Difference, StreamStatus};
use axon_protocol::{Bucket, Heartbeat, Stream};
use axon_service::RegistryConfig;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::command::workers::{Statistics, is_alive};
use crate::context::Context;
use crate::exit::{Exit, one_line};
use crate::output::{self, age};

/// A round trip above this is slow.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(20);
/// What a difference says of something that is not there.
const MISSING: &str = "missing";
/// Work that waits for longer is stuck.
const PENDING_MAX_S: i64 = 60;
/// A stream this full is near its limit, in percent.
const FULL_PERCENT: u64 = 80;
/// Largest reply of the monitoring port that is read.
const MONITOR_BYTES_MAX: u64 = 4 << 20;
const MONITOR_TIMEOUT: Duration = Duration::from_secs(5);

/// What to look at besides.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Monitoring address of nats-server, such as http://127.0.0.1:8222; only there the sync interval can be read
    #[arg(long, value_name = "URL")]
    monitor: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// When the server writes to its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SyncInterval {
    Always,
    Every(Duration),
    /// Nobody said where to look.
    NotAsked,
    Unknown(String),
}

/// What is known of server and fleet.
#[derive(Debug, Clone)]
struct Facts {
    url: String,
    version: String,
    sync: SyncInterval,
    round_trip: Duration,
    differences: Vec<Difference>,
    streams: Vec<(Stream, StreamStatus)>,
    fleet: Vec<Heartbeat>,
    /// When a process counts as gone.
    registry: RegistryConfig,
}

pub(crate) async fn run(context: &Context, args: DoctorArgs) -> anyhow::Result<Exit> {
    let (checks, failed) = match context.connect().await {
        Ok(bus) => (
            judge(&gather(context, &bus, args.monitor.as_deref()).await?, Utc::now()),
            Exit::Unexpected,
        ),
        // A check that fails is a finding, whatever it is; only this one leaves nothing to look at.
        Err(error) => {
            let check = Check {
                check: "connection",
                verdict: Verdict::Fail,
                found: one_line(&error),
                fix: Some("start a server and a fleet with `axon up`, or name another server with --nats".to_owned()),
            };
            (vec![check], Exit::of_error(&error))
        }
    };
    if context.json {
        output::json(&checks)?;
    } else {
        output::line(&text_of(&checks))?;
    }
    let sound = checks.iter().all(|check| check.verdict != Verdict::Fail);
    Ok(if sound { Exit::Success } else { failed })
}

async fn gather(context: &Context, bus: &Bus, monitor: Option<&str>) -> anyhow::Result<Facts> {
    let sync = match monitor {
        None => SyncInterval::NotAsked,
        Some(url) => match jetstream_settings(url).await {
            Ok(settings) => sync_interval(&settings),
            Err(error) => SyncInterval::Unknown(one_line(&error)),
        },
    };
    let differences = bus.differences().await?;
    let missing = |name: &str| {
        differences
            .iter()
            .any(|difference| difference.setting == "stream" && difference.name == name)
    };
    let mut streams = Vec::new();
    for kind in Stream::ALL {
        if !missing(&bus.namespace().stream(kind)) {
            streams.push((kind, bus.status(kind).await?));
        }
    }
    // Without its bucket there is no fleet; that is what the check of the topology says.
    let fleet = bus.table::<Heartbeat>(Bucket::Registry).all().await.unwrap_or_default();
    bus.round_trip().await?;
    Ok(Facts {
        url: context.bus.url.clone(),
        version: bus.server_version(),
        sync,
        round_trip: bus.round_trip().await?,
        differences,
        streams,
        fleet: fleet.into_values().collect(),
        registry: context.registry.clone(),
    })
}

fn judge(facts: &Facts, now: DateTime<Utc>) -> Vec<Check> {
    let mut checks = vec![
        ok("connection", format!("{} answers", facts.url)),
        ok("version", format!("nats-server {} with JetStream", facts.version)),
        sync_check(&facts.sync),
        round_trip_check(facts.round_trip),
    ];
    checks.extend(topology_checks(&facts.differences));
    checks.extend(fleet_checks(&facts.fleet, &facts.registry, now));
    checks.extend(stream_checks(&facts.streams, now));
    checks
}

fn ok(check: &'static str, found: String) -> Check {
    Check {
        check,
        verdict: Verdict::Ok,
        found,
        fix: None,
    }
}

fn warn(check: &'static str, found: String, fix: &str) -> Check {
    Check {
        check,
        verdict: Verdict::Warn,
        found,
        fix: Some(fix.to_owned()),
    }
}

fn fail(check: &'static str, found: String, fix: &str) -> Check {
    Check {
        verdict: Verdict::Fail,
        ..warn(check, found, fix)
    }
}

fn sync_check(sync: &SyncInterval) -> Check {
    let fix = "set `jetstream { sync_interval: always }` in the server's configuration";
    match sync {
        SyncInterval::Always => ok(
            "sync interval",
            "always: what is acknowledged survives a power failure".to_owned(),
        ),
        SyncInterval::Every(every) => warn(
            "sync interval",
            format!(
                "{} s: what is acknowledged may be lost at a power failure",
                every.as_secs()
            ),
            fix,
        ),
        SyncInterval::NotAsked => warn(
            "sync interval",
            "unknown: NATS tells it on its monitoring port only".to_owned(),
            "start the server with `-m 8222` and pass `--monitor http://127.0.0.1:8222`, or look for `sync_interval: always` \
             in its configuration",
        ),
        SyncInterval::Unknown(why) => warn(
            "sync interval",
            format!("unknown: {why}"),
            "check the address given by --monitor",
        ),
    }
}

fn round_trip_check(round_trip: Duration) -> Check {
    let found = format!("{:.2} ms", round_trip.as_secs_f64() * 1000.0);
    if round_trip <= ROUND_TRIP_MAX {
        return ok("round trip", found);
    }
    warn(
        "round trip",
        found,
        "run the fleet nearer to the server, or look for what keeps the server busy",
    )
}

fn topology_checks(differences: &[Difference]) -> Vec<Check> {
    if differences.is_empty() {
        return vec![ok("topology", "as declared".to_owned())];
    }
    let (missing, other): (Vec<_>, Vec<_>) = differences
        .iter()
        .partition(|difference| difference.standing == MISSING);
    let names: Vec<String> = missing
        .iter()
        .map(|difference| format!("{} {}", difference.setting, difference.name))
        .collect();
    let missing = (!names.is_empty()).then(|| {
        fail(
            "topology",
            format!("missing: {}", names.join(", ")),
            "create it with `axon init`",
        )
    });
    let other = other.into_iter().map(|difference| {
        warn(
            "topology",
            difference.to_string(),
            "Axon never changes what stands: edit it (`nats stream edit`, `nats consumer edit`), or set `bus.*` to what is \
             wanted",
        )
    });
    missing.into_iter().chain(other).collect()
}

fn fleet_checks(fleet: &[Heartbeat], registry: &RegistryConfig, now: DateTime<Utc>) -> Vec<Check> {
    let alive = |role: &str| {
        fleet
            .iter()
            .filter(|heartbeat| heartbeat.role == role && is_alive(heartbeat, registry, now))
            .count()
    };
    let statistics = Statistics::of(fleet, registry, now);
    let mut checks = Vec::new();
    for (check, role, why) in [
        (
            "leads",
            "lead",
            "queries wait until there is one: start `axon-lead`, or a whole fleet with `axon up`",
        ),
        (
            "workers",
            "worker",
            "tasks wait until there is one: start `axon-worker`, or a whole fleet with `axon up`",
        ),
        (
            "synthesizers",
            "synthesizer",
            "answers are plain lists of findings until there is one: start `axon-synthesizer`",
        ),
    ] {
        checks.push(match alive(role) {
            0 => fail(check, "none is alive".to_owned(), why),
            count => ok(check, format!("{count} alive")),
        });
    }
    let silent: Vec<String> = fleet
        .iter()
        .filter(|heartbeat| !is_alive(heartbeat, registry, now))
        .map(|heartbeat| format!("{} ({})", heartbeat.id, age(heartbeat.at, now)))
        .collect();
    if !silent.is_empty() {
        checks.push(warn(
            "heartbeats",
            format!("silent: {}", silent.join(", ")),
            "look at their logs, or whether they were killed; what they held is taken over by others",
        ));
    }
    if statistics.slots_total > 0 && statistics.slots_used == statistics.slots_total {
        checks.push(warn(
            "capacity",
            format!("all {} slots are used", statistics.slots_total),
            "start more workers, or give each more slots (`worker.slots`)",
        ));
    }
    checks
}

fn stream_checks(streams: &[(Stream, StreamStatus)], now: DateTime<Utc>) -> Vec<Check> {
    let mut checks = Vec::new();
    let limit = |status: &StreamStatus| u64::try_from(status.bytes_max).ok().filter(|limit| *limit > 0);
    let full: Vec<String> = streams
        .iter()
        .filter_map(|(_, status)| {
            let percent = status.bytes.saturating_mul(100) / limit(status)?;
            (percent >= FULL_PERCENT).then(|| format!("{} {percent} %", status.name))
        })
        .collect();
    checks.push(match full.is_empty() {
        true => ok("limits", format!("no stream is above {FULL_PERCENT} % of its limit")),
        false => warn(
            "limits",
            full.join(", "),
            "a full work queue refuses what is published: start more workers, drop dead letters, or raise its `max_bytes`",
        ),
    });
    let stuck: Vec<String> = streams
        .iter()
        .filter(|(kind, _)| Stream::WORK_QUEUES.contains(kind))
        .filter_map(|(_, status)| {
            let oldest = status.oldest_at?;
            ((now - oldest).num_seconds() > PENDING_MAX_S).then(|| {
                format!(
                    "{}: {} messages, the oldest {}",
                    status.name,
                    status.messages,
                    age(oldest, now)
                )
            })
        })
        .collect();
    checks.push(match stuck.is_empty() {
        true => ok("pending", format!("no work waits for more than {PENDING_MAX_S} s")),
        false => warn(
            "pending",
            stuck.join("; "),
            "see with `axon workers` whether somebody serves it, and with `axon queries` what it is",
        ),
    });
    let dead = streams
        .iter()
        .find(|(kind, _)| *kind == Stream::Dead)
        .map_or(0, |(_, status)| status.messages);
    checks.push(match dead {
        0 => ok("dead letters", "none".to_owned()),
        count => warn(
            "dead letters",
            format!("{count}"),
            "look at them with `axon dead ls`, then `axon dead retry SEQ` or `axon dead drop SEQ`",
        ),
    });
    checks
}

fn text_of(checks: &[Check]) -> String {
    let lines = checks.iter().flat_map(|check| {
        let verdict = match check.verdict {
            Verdict::Ok => "OK  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        let line = format!("{verdict}  {:<13}  {}", check.check, check.found);
        let fix = check.fix.as_ref().map(|fix| format!("{:21}→ {fix}", ""));
        std::iter::once(line).chain(fix)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The sync interval in what `/jsz?config=1` says.
fn sync_interval(settings: &Value) -> SyncInterval {
    let config = &settings["config"];
    if config["sync_always"] == true {
        return SyncInterval::Always;
    }
    match config["sync_interval"].as_u64() {
        Some(nanoseconds) => SyncInterval::Every(Duration::from_nanos(nanoseconds)),
        None => SyncInterval::Unknown("the server does not tell".to_owned()),
    }
}

async fn jetstream_settings(monitor: &str) -> anyhow::Result<Value> {
    let body = tokio::time::timeout(MONITOR_TIMEOUT, http_get(monitor))
        .await
        .with_context(|| format!("no reply from {monitor}"))??;
    serde_json::from_str(&body).with_context(|| format!("{monitor} is no monitoring port of nats-server"))
}

/// One plain HTTP request; the monitoring port speaks nothing else.
async fn http_get(monitor: &str) -> anyhow::Result<String> {
    let address = monitor
        .strip_prefix("http://")
        .context("--monitor needs an address such as http://127.0.0.1:8222")?;
    let host = address.split('/').next().unwrap_or_default();
    let mut stream = tokio::net::TcpStream::connect(host)
        .await
        .with_context(|| format!("cannot reach {monitor}"))?;
    let request = format!("GET /jsz?config=1 HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    stream.take(MONITOR_BYTES_MAX).read_to_end(&mut reply).await?;
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = reply.split_once("\r\n\r\n").context("the reply is no HTTP")?;
    anyhow::ensure!(
        head.split_whitespace().nth(1) == Some("200"),
        "{monitor} says {}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use axon_protocol::WorkerState;
    use serde_json::json;

    use crate::command::workers::tests::heartbeat;

    use super::*;

    fn status(
        kind: Stream,
        messages: u64,
        bytes: u64,
        oldest_s: Option<i64>,
        now: DateTime<Utc>,
    ) -> (Stream, StreamStatus) {
        let status = StreamStatus {
            name: axon_protocol::Namespace::default().stream(kind),
            messages,
            bytes,
            bytes_max: 1000,
            age_max_s: 0,
            last_sequence: messages,
            oldest_at: oldest_s.map(|seconds| now - chrono::Duration::seconds(seconds)),
            consumers: Vec::new(),
        };
        (kind, status)
    }

    fn healthy(now: DateTime<Utc>) -> Facts {
        Facts {
            url: "nats://127.0.0.1:4222".to_owned(),
            version: "2.10.27".to_owned(),
            sync: SyncInterval::Always,
            round_trip: Duration::from_micros(300),
            differences: Vec::new(),
            streams: vec![
                status(Stream::Tasks, 1, 10, Some(1), now),
                status(Stream::Dead, 0, 0, None, now),
            ],
            fleet: vec![
                heartbeat("lead", "lead", WorkerState::Idle, 1, now),
                heartbeat("worker", "reviewer", WorkerState::Idle, 1, now),
                heartbeat("synthesizer", "synthesizer", WorkerState::Idle, 1, now),
            ],
            registry: RegistryConfig::default(),
        }
    }

    /// What a change makes of a healthy fleet: the checks that are not OK.
    fn check(change: impl FnOnce(&mut Facts, DateTime<Utc>)) -> Vec<(&'static str, Verdict)> {
        let now = Utc::now();
        let mut facts = healthy(now);
        change(&mut facts, now);
        let checks = judge(&facts, now);
        for check in &checks {
            assert_eq!(
                check.fix.is_none(),
                check.verdict == Verdict::Ok,
                "{check:?} needs a fix, and only then"
            );
        }
        let bad = checks.into_iter().filter(|check| check.verdict != Verdict::Ok);
        bad.map(|check| (check.check, check.verdict)).collect()
    }

    #[test]
    fn each_fault_is_told_with_its_weight() {
        use Verdict::{Fail, Warn};
        assert_eq!(check(|_, _| {}), []);
        assert_eq!(
            check(|facts, _| facts.sync = SyncInterval::NotAsked),
            [("sync interval", Warn)]
        );
        assert_eq!(
            check(|facts, _| facts.sync = SyncInterval::Every(Duration::from_secs(120))),
            [("sync interval", Warn)]
        );
        assert_eq!(
            check(|facts, _| facts.round_trip = Duration::from_millis(80)),
            [("round trip", Warn)]
        );
        assert_eq!(check(|facts, _| facts.fleet.truncate(2)), [("synthesizers", Fail)]);
        assert_eq!(
            check(|facts, _| facts.fleet.clear()),
            [("leads", Fail), ("workers", Fail), ("synthesizers", Fail)]
        );
        assert_eq!(
            check(|facts, now| facts.fleet[1].at = now - chrono::Duration::seconds(20)),
            [("workers", Fail), ("heartbeats", Warn)]
        );
        assert_eq!(check(|facts, _| facts.fleet[1].slots_used = 4), [("capacity", Warn)]);
        assert_eq!(
            check(|facts, now| facts.streams.push(status(Stream::Queries, 1, 800, Some(61), now))),
            [("limits", Warn), ("pending", Warn)]
        );
        assert_eq!(
            check(|facts, now| facts.streams.push(status(Stream::Answers, 1, 10, Some(600), now))),
            []
        );
        assert_eq!(
            check(|facts, now| facts.streams[1] = status(Stream::Dead, 3, 1, Some(600), now)),
            [("dead letters", Warn)]
        );
        let difference = |setting, standing: &str| Difference {
            name: "AXON_DEAD".to_owned(),
            setting,
            declared: "present".to_owned(),
            standing: standing.to_owned(),
        };
        let missing = [difference("stream", "missing"), difference("bucket", "missing")];
        assert_eq!(
            check(|facts, _| facts.differences.extend(missing)),
            [("topology", Fail)]
        );
        assert_eq!(
            check(|facts, _| facts.differences.push(difference("max_bytes", "1"))),
            [("topology", Warn)]
        );
    }

    #[test]
    fn the_sync_interval_is_read_as_servers_tell_it() {
        for (settings, expected) in [
            (
                json!({"config": {"sync_interval": 120_000_000_000_u64, "sync_always": true}}),
                SyncInterval::Always,
            ),
            (
                json!({"config": {"sync_interval": 120_000_000_000_u64}}),
                SyncInterval::Every(Duration::from_secs(120)),
            ),
            (json!({}), SyncInterval::Unknown("the server does not tell".to_owned())),
        ] {
            assert_eq!(sync_interval(&settings), expected);
        }
    }

    #[test]
    fn every_fix_stands_below_its_finding() {
        let text = text_of(&[ok("a", "fine".to_owned()), fail("b", "broken".to_owned(), "mend it")]);
        let expected = "OK    a              fine\nFAIL  b              broken\n                     → mend it";
        assert_eq!(text, expected);
    }
}
