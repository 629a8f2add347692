//! `axon up` as a supervisor: what dies or falls silent is replaced, workers come on request and go when they are idle, and
//! nothing outlives the command. Real processes, real signals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axon_bus::{Bus, Message};
use axon_protocol::{AnswerStatus, Bucket, Capability, Control, Format, Heartbeat, Stream, TaskResult};
use axon_tests::client::{answer, query_of, sleeps, starts, submit};
use axon_tests::{Bed, Fleet, Process, Server, binary, eventually, eventually_true, for_a_while, server_binary};
use serde_json::Value;

/// Silence after which a process of these fleets is replaced: three heartbeats, because test machines are busy.
const HEARTBEAT_TIMEOUT_S: u64 = 6;
/// Idleness after which a worker on request drains.
const IDLE_TIMEOUT_S: u64 = 2;
const SOON: Duration = Duration::from_secs(30);

/// A fleet that `axon up` runs.
struct Up {
    command: Process,
    data: PathBuf,
}

impl Up {
    /// On the server that all tests share.
    fn on_bed(fleet: &Fleet, bed: &Bed, arguments: &[&str]) -> Self {
        let server = ["--nats", &bed.config.url, "--namespace", bed.config.namespace.as_str()];
        Self::start(fleet, &[&server[..], arguments].concat())
    }

    fn start(fleet: &Fleet, arguments: &[&str]) -> Self {
        let data = fleet.folder().join("data");
        let workspace = fleet.folder().join("workspace");
        std::fs::create_dir_all(&workspace).expect("a folder");
        std::fs::write(workspace.join("a.txt"), "nothing to see\n").expect("written");
        let (data_text, workspace) = (data.display().to_string(), workspace.display().to_string());
        let idle = IDLE_TIMEOUT_S.to_string();
        let fixed = ["up", "--json", "--data", &data_text, "--workspace", &workspace];
        let mut environment = fleet.environment().to_vec();
        environment.push((
            "AXON_REGISTRY__HEARTBEAT_TIMEOUT_SECS".to_owned(),
            HEARTBEAT_TIMEOUT_S.to_string(),
        ));
        let mut arguments = [&fixed[..], arguments].concat();
        if !arguments.contains(&"--idle-timeout") {
            arguments.extend(["--idle-timeout", &idle]);
        }
        let command = Process::start_with("axon-up", &binary("axon"), &arguments, fleet.folder(), &environment);
        Self { command, data }
    }

    /// What it says of itself when it is up.
    async fn described(&self) -> Value {
        eventually("the fleet is up", SOON, || async {
            if let Some(status) = self.command.ended() {
                panic!("it ended with {status}: {}", self.command.log());
            }
            let log = self.command.log();
            let document = &log[log.find('{')?..];
            serde_json::Deserializer::from_str(document).into_iter().next()?.ok()
        })
        .await
    }

    /// Its processes by name.
    async fn pids(&self) -> BTreeMap<String, u32> {
        let described = self.described().await;
        let processes = described["processes"].as_array().expect("processes").clone();
        processes
            .iter()
            .map(|one| {
                let pid = one["pid"]
                    .as_u64()
                    .and_then(|pid| u32::try_from(pid).ok())
                    .expect("a pid");
                (one["name"].as_str().expect("a name").to_owned(), pid)
            })
            .collect()
    }
}

/// The heartbeats of a role, by pid.
async fn beating(bus: &Bus, role: &str) -> BTreeMap<u32, Heartbeat> {
    let all = bus
        .table::<Heartbeat>(Bucket::Registry)
        .all()
        .await
        .expect("the registry");
    all.into_values()
        .filter(|heartbeat| heartbeat.role == role)
        .map(|heartbeat| (heartbeat.pid, heartbeat))
        .collect()
}

async fn pids_of(bus: &Bus, role: &str) -> Vec<u32> {
    beating(bus, role).await.into_keys().collect()
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success(), "SIG{signal} to {pid}");
}

/// Whether a process runs; the entry of a dead one that nobody has waited for does not count.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().to_owned()))
        .is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

/// Processes whose command line holds a text.
fn called_with(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("processes");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text) && lives(*pid)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_is_replaced_and_its_task_is_done_once_elsewhere() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let up = Up::on_bed(&fleet, &bed, &["--workers", "2", "--slots", "1"]);
    let pids = up.pids().await;
    let id = submit(&bus, &query_of(sleeps(2, 4000), 60)).await;
    eventually_true("both workers have a task", SOON, || async {
        starts(&bus, &id).await.len() == 2
    })
    .await;
    let frozen = pids["axon-worker-1"];
    let frozen_id = beating(&bus, "worker").await[&frozen].id.clone();
    signal(frozen, "STOP");
    let replaced = eventually("another worker stands in its place", SOON, || async {
        let workers = pids_of(&bus, "worker").await;
        (workers.len() == 2 && !workers.contains(&frozen)).then_some(workers)
    })
    .await;
    eprintln!("workers {pids:?}; {frozen} was frozen; now {replaced:?}");
    assert!(!lives(frozen), "{frozen} is gone");
    assert!(replaced.contains(&pids["axon-worker-2"]), "the other one stays");
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    let filter = bus.namespace().results_of(&id);
    let results = bus.messages(Stream::Results, &filter, 0, 10).await.expect("results");
    assert_eq!(results.len(), 2, "one result a task");
    for stored in &results {
        let result: TaskResult = bus.decode_stored(stored).await.expect("a result");
        assert_ne!(result.worker.map(|worker| worker.to_string()), Some(frozen_id.clone()));
    }
    let log = up.command.log();
    assert!(
        log.contains("gives no sign of life") && log.contains(&format!("pid {frozen}")),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_killed_is_started_again() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let up = Up::on_bed(&fleet, &bed, &["--workers", "2"]);
    let pids = up.pids().await;
    for (name, role, count) in [
        ("axon-worker-2", "worker", 2),
        ("axon-lead", "lead", 1),
        ("axon-synthesizer", "synthesizer", 1),
    ] {
        let killed = pids[name];
        signal(killed, "KILL");
        let after = eventually("another one stands in its place", SOON, || async {
            let now = pids_of(&bus, role).await;
            (now.len() == count && !now.contains(&killed)).then_some(now)
        })
        .await;
        eprintln!("{name} {killed} was killed; now {after:?}");
    }
    let id = submit(&bus, &query_of(sleeps(4, 50), 30)).await;
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_on_request_within_the_limit_and_go_when_idle() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let nobody = fleet.axon(&["scale", "Testing", "2"]).await;
    assert_eq!(nobody.code, Some(7), "{nobody:?}");
    assert!(
        nobody.stderr.contains("no `axon up` listens") && nobody.stderr.contains("--scale"),
        "{nobody:?}"
    );
    let up = Up::on_bed(&fleet, &bed, &["--workers", "1", "--workers-max", "3"]);
    let pids = up.pids().await;
    let base = pids["axon-worker"];
    let ended = fleet.axon(&["scale", "Testing,Poetry", "1", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let reply = &told["reply"];
    assert_eq!(
        (&reply["serving"], &reply["refused"]),
        (&0.into(), &0.into()),
        "{reply}"
    );
    let poet = reply["started"][0]["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("a pid");
    assert!(lives(poet));
    let heartbeat = eventually("it shows", SOON, || async {
        beating(&bus, "worker").await.remove(&poet)
    })
    .await;
    let can: Vec<&str> = heartbeat.capabilities.iter().map(|one| one.as_str()).collect();
    assert_eq!(can, ["Diagnostics", "Poetry", "Testing"]);
    // Two can test now; two more are wanted and one more is allowed.
    let ended = fleet.axon(&["scale", "Testing", "4"]).await;
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stdout.contains("2 workers could do it before") && ended.stdout.contains("pid "),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("1 worker not started"), "{ended:?}");
    let all = eventually("there are three", SOON, || async {
        let workers = pids_of(&bus, "worker").await;
        (workers.len() == 3).then_some(workers)
    })
    .await;
    // While there is work nobody goes, however long it takes.
    let id = submit(&bus, &query_of(sleeps(12, 4000), 60)).await;
    eventually_true("all have tasks", SOON, || async { starts(&bus, &id).await.len() == 12 }).await;
    let all_stay = || async { pids_of(&bus, "worker").await == all };
    for_a_while("who works stays", Duration::from_secs(IDLE_TIMEOUT_S + 1), all_stay).await;
    assert_eq!(answer(&bus, &id, SOON).await.status, AnswerStatus::Complete);
    eventually_true("only the fixed one is left", SOON, || async {
        pids_of(&bus, "worker").await == [base]
    })
    .await;
    eprintln!("workers {all:?}, then {base} alone");
    // A worker takes its entry away a moment before it ends.
    eventually_true("the others have ended", SOON, || async {
        all.iter().all(|pid| lives(*pid) == (*pid == base))
    })
    .await;
    let stays = || async { lives(base) };
    for_a_while("the fixed one stays", Duration::from_secs(IDLE_TIMEOUT_S + 2), stays).await;
    assert!(
        up.command.log().contains("has had nothing to do"),
        "{}",
        up.command.log()
    );
    // A lower number drains at once; the fixed one is not touched.
    let ended = fleet.axon(&["scale", "Testing", "3"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = fleet.axon(&["scale", "Testing", "0", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(told["reply"]["draining"].as_array().map(Vec::len), Some(2), "{told}");
    eventually_true("they are gone", SOON, || async {
        pids_of(&bus, "worker").await == [base]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_minimum_starts_and_never_drains() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let up = Up::on_bed(&fleet, &bed, &["--workers", "0", "--idle-timeout", "600"]);
    assert_eq!(up.pids().await.len(), 2, "a lead and a synthesizer");
    let ask = async |workers: u32, minimum: bool| {
        let control = Control::Scale {
            capabilities: [Capability::diagnostics()].into(),
            workers,
            minimum,
            reason: "a test".to_owned(),
        };
        let subject = bus.namespace().control_scale();
        let message = Message::new(subject, Format::Msgpack, &control).expect("encodes");
        bus.announce(&message).await.expect("sent");
    };
    let there = async |count: usize| {
        eventually_true(&format!("there are {count}"), SOON, || async {
            pids_of(&bus, "worker").await.len() == count
        })
        .await;
    };
    // A lead repeats what it asks for until somebody serves its route.
    ask(2, true).await;
    ask(2, true).await;
    there(2).await;
    ask(1, true).await;
    let two = || async { pids_of(&bus, "worker").await.len() == 2 };
    for_a_while(
        "a minimum drains nobody, and is not started twice",
        Duration::from_secs(3),
        two,
    )
    .await;
    ask(1, false).await;
    there(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_when_a_lead_misses_them() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let up = Up::on_bed(&fleet, &bed, &["--workers", "0", "--workers-max", "2"]);
    assert_eq!(up.pids().await.len(), 2, "a lead and a synthesizer");
    let id = submit(&bus, &query_of(sleeps(3, 500), 60)).await;
    let answer = answer(&bus, &id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    let log = up.command.log();
    eprintln!("{log}");
    assert!(
        log.contains("asked for workers for Diagnostics: started axon-worker-1"),
        "{log}"
    );
    eventually_true("they go when they are idle", SOON, || async {
        pids_of(&bus, "worker").await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_not_blamed_on_the_others() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let server = server_binary().display().to_string();
    let up = Up::start(&fleet, &["--workers", "2", "--nats-server", &server]);
    let pids = up.pids().await;
    let all_live = || async { pids.values().all(|pid| lives(*pid)) };
    let longer = Duration::from_secs(HEARTBEAT_TIMEOUT_S + 3);
    signal(pids["nats-server"], "STOP");
    for_a_while("nobody is replaced while the server is frozen", longer, all_live).await;
    signal(pids["nats-server"], "CONT");
    for_a_while("nor when it goes on", longer, all_live).await;
    // The next one that is really silent is found.
    signal(pids["axon-worker-1"], "STOP");
    eventually_true("it is replaced", SOON, || async { !lives(pids["axon-worker-1"]) }).await;
    assert!(lives(pids["axon-worker-2"]) && lives(pids["axon-lead"]) && lives(pids["axon-synthesizer"]));
    eprintln!("{pids:?}: {}", up.command.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_frozen_is_replaced() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let server = server_binary().display().to_string();
    let up = Up::start(&fleet, &["--workers", "1", "--nats-server", &server]);
    let pids = up.pids().await;
    let url = up.described().await["url"].as_str().expect("an address").to_owned();
    let frozen = pids["nats-server"];
    signal(frozen, "STOP");
    eventually_true("it is replaced", SOON, || async { !lives(frozen) }).await;
    let plan =
        serde_json::json!({ "tasks": [{ "objective": "x", "calls": [{ "tool_id": "a", "tool_name": "diag.echo" }] }] });
    let path = fleet.folder().join("plan.json");
    std::fs::write(&path, plan.to_string()).expect("written");
    let path = path.display().to_string();
    eventually_true("the fleet answers again", SOON, || async {
        let ask = [
            "ask",
            "why?",
            "--plan",
            &path,
            "--nats",
            &url,
            "--timeout",
            "20",
            "--quiet",
        ];
        fleet.axon(&ask).await.code == Some(0)
    })
    .await;
    eprintln!("{pids:?}: {}", up.command.log());
    for name in ["axon-lead", "axon-worker", "axon-synthesizer"] {
        assert!(lives(pids[name]), "{name} is the same as before");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_stop_while_the_server_is_away_ends() {
    let server = Server::start();
    let (bed, _bus) = Bed::on(&server).await;
    let fleet = Fleet::new(&bed);
    let (lead, worker, synthesizer) = tokio::join!(fleet.lead(), fleet.worker(1), fleet.synthesizer());
    server.kill();
    for process in [&lead, &worker, &synthesizer] {
        process.terminate();
    }
    for process in [&lead, &worker, &synthesizer] {
        process.end(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_a_command_that_is_killed() {
    let (bed, _bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let server = server_binary().display().to_string();
    let arguments = ["--workers", "3", "--nats-server", &server];
    let up = Up::start(&fleet, &arguments);
    let data = up.data.canonicalize().unwrap_or(up.data.clone()).display().to_string();
    let pids = up.pids().await;
    assert_eq!(pids.len(), 6, "{pids:?}");
    assert!(pids.contains_key("nats-server") && pids.values().all(|pid| lives(*pid)));
    // One that cannot notice anything has to be killed.
    signal(pids["axon-worker-2"], "STOP");
    up.command.kill();
    eprintln!("axon up {} was killed; its fleet was {pids:?}", up.command.pid());
    eventually_true("nothing of the fleet is alive", Duration::from_secs(20), || async {
        pids.values().all(|pid| !lives(*pid)) && called_with(&data).is_empty()
    })
    .await;
    // What it kept can be used again.
    drop(up);
    let again = Up::start(&fleet, &arguments);
    let pids = again.pids().await;
    again.command.terminate();
    assert!(again.command.end(SOON).await.success(), "{}", again.command.log());
    assert!(pids.values().all(|pid| !lives(*pid)), "{pids:?}");
    eventually_true("the guard leaves too", SOON, || async { called_with(&data).is_empty() }).await;
}
