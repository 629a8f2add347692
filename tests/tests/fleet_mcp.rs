//! Tools of MCP servers in the fleet: real servers, called by plans through lead, worker and synthesizer, killed in the
//! middle of a call, and gone when their worker is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axon_protocol::{Answer, AnswerStatus, TaskRequest};
use axon_tests::client::{answer, query_of, submit, task};
use axon_tests::{Bed, Fleet, Process, eventually, eventually_true, free_port, root};
use serde_json::{Value, json};

use crate::fleet_python::python;

/// Python starts slowly on a busy machine.
const SOON: Duration = Duration::from_secs(100);

/// A section of the configuration: a server that Python runs.
fn server(name: &str, arguments: &[&str], more: &str) -> String {
    let python = python();
    let arguments: Vec<String> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
    format!(
        "[tools.mcp.{name}]\ncommand = {:?}\nargs = [{}]\n{more}\n",
        python.display().to_string(),
        arguments.join(", ")
    )
}

/// The server of these tests, as a section.
fn own_server(more: &str) -> String {
    let script = script();
    server("own", &[&script, "stdio"], more)
}

fn script() -> String {
    root().join("tests/python/mcp_server.py").display().to_string()
}

/// What every process of the fleet reads, and the command too.
fn configure(fleet: &Fleet, sections: &[String]) {
    std::fs::write(fleet.folder().join("axon.toml"), sections.join("\n")).expect("written");
}

/// Asks with a plan and waits for the answer.
async fn ask(bus: &axon_bus::Bus, tasks: Vec<TaskRequest>) -> Answer {
    let id = submit(bus, &query_of(tasks, 90)).await;
    answer(bus, &id, SOON).await
}

/// One call through the command line.
async fn run(fleet: &Fleet, tool: &str, params: Value) -> Result<Value, String> {
    let ended = fleet
        .axon(&["tools", "run", tool, &params.to_string(), "--no-workspace"])
        .await;
    match ended.code {
        Some(0) => Ok(serde_json::from_str(&ended.stdout).expect("JSON")),
        _ => Err(ended.stderr),
    }
}

/// The process id that a call has left in a file when it began.
async fn begun(path: &Path) -> u32 {
    eventually("the call has begun", SOON, || async {
        std::fs::read_to_string(path).ok()?.parse().ok()
    })
    .await
}

fn kill(pid: u32) {
    let sent = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "{pid}");
}

/// Whether a process runs. One that has ended and waits to be reaped does not.
pub(crate) fn lives(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().next());
        state.is_some_and(|state| state != "Z" && state != "X")
    })
}

fn repository(folder: &Path) -> String {
    let path = folder.join("repository").display().to_string();
    std::fs::create_dir(&path).expect("created");
    git(&path, &["init", "-q", "-b", "main"]);
    std::fs::write(format!("{path}/a.txt"), "one\n").expect("written");
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-q", "-m", "The first one"]);
    std::fs::write(format!("{path}/a.txt"), "two\n").expect("written");
    git(&path, &["add", "-A"]);
    path
}

fn git(repository: &str, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-C",
            repository,
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_calls_a_server_and_an_unknown_one_is_told() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    configure(&fleet, &[server("time", &["-m", "mcp_server_time"], "")]);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());

    let now = task("now", "mcp.time.get_current_time", json!({ "timezone": "Asia/Tokyo" }));
    let mut later = task("later", "mcp.time.convert_time", Value::Null);
    later.calls[0].params = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    later.allowed_tools = vec!["mcp.time.*".to_owned()];
    let answered = ask(&bus, vec![now, later]).await;
    assert_eq!(answered.status, AnswerStatus::Complete, "{answered:?}");
    let outputs = answered.outputs.to_string();
    assert!(outputs.contains("Asia/Tokyo") && outputs.contains("21:00"), "{outputs}");

    for (tool, expected) in [
        ("mcp.nowhere.get", "no MCP server `nowhere` is configured"),
        ("mcp.time.no_such_tool", "has no tool `no_such_tool`"),
    ] {
        let answered = ask(&bus, vec![task("t1", tool, json!({}))]).await;
        assert_eq!(answered.status, AnswerStatus::Failed, "{answered:?}");
        let said = serde_json::to_string(&answered).expect("JSON");
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_change_something_is_held_back_unless_it_is_allowed() {
    let bed = Bed::undeclared(axon_tests::shared());
    let fleet = Fleet::new(&bed);
    let repository = repository(fleet.folder());
    let arguments = ["-m", "mcp_server_git", "--repository", &repository];
    configure(&fleet, &[server("git", &arguments, "")]);
    let head = git(&repository, &["rev-parse", "HEAD"]);
    let log = run(&fleet, "mcp.git.git_log", json!({ "repo_path": repository })).await;
    assert!(log.expect("it reads").to_string().contains("The first one"));
    let commit = json!({ "repo_path": repository, "message": "The second one" });
    let error = run(&fleet, "mcp.git.git_commit", commit.clone())
        .await
        .expect_err("held back");
    assert!(
        error.contains("held back") && error.contains("tools.mcp.git.allow"),
        "{error}"
    );
    assert_eq!(git(&repository, &["rev-parse", "HEAD"]), head, "nothing was committed");
    let listed = fleet.axon(&["tools", "ls"]).await;
    let line = |name: &str| {
        listed
            .stdout
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
    };
    assert!(line("git_commit").contains("held back"), "{listed:?}");
    assert!(!line("git_log").contains("held back"), "{listed:?}");

    let allowing = format!(
        "allow = [\"git_com*\"]\n[tools.mcp.git.env]\n{}",
        "GIT_AUTHOR_NAME = \"Ada\"\nGIT_AUTHOR_EMAIL = \"ada@example.org\"\nGIT_COMMITTER_NAME = \"Ada\"\n\
         GIT_COMMITTER_EMAIL = \"ada@example.org\""
    );
    configure(&fleet, &[server("git", &arguments, &allowing)]);
    run(&fleet, "mcp.git.git_commit", commit).await.expect("allowed");
    assert_eq!(git(&repository, &["log", "-1", "--format=%s"]), "The second one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_fails_its_call_clearly_and_answers_the_next_one() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    configure(&fleet, &[own_server("allow = [\"change\"]")]);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let path = |name: &str| fleet.folder().join(name);

    // Whether it did what it was asked is unknown, so it is not tried again.
    let calling = path("change");
    let asked = ask(
        &bus,
        vec![task("t1", "mcp.own.change", json!({ "path": calling, "seconds": 600 }))],
    );
    let (answered, ()) = tokio::join!(asked, async { kill(begun(&calling).await) });
    assert_eq!(answered.status, AnswerStatus::Failed, "{answered:?}");
    let said = serde_json::to_string(&answered).expect("JSON");
    for expected in ["MCP server `own` was lost during a call", "signal 9", "is unknown"] {
        assert!(said.contains(expected), "`{expected}` is not said: {said}");
    }

    // What changes nothing is tried again, with a server that was started anew.
    let (looking, first) = (path("look"), path("first"));
    let asked = ask(
        &bus,
        vec![task("t1", "mcp.own.look", json!({ "path": looking, "seconds": 3 }))],
    );
    let killing = async {
        let pid = begun(&looking).await;
        std::fs::rename(&looking, &first).expect("renamed");
        kill(pid);
        pid
    };
    let (answered, killed) = tokio::join!(asked, killing);
    assert_eq!(answered.status, AnswerStatus::Complete, "{answered:?}");
    let outputs = answered.outputs.to_string();
    assert!(
        outputs.contains("waited in") && !outputs.contains(&format!("waited in {killed}\"")),
        "{outputs}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_the_servers_of_a_worker_that_was_killed() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    configure(&fleet, &[own_server("")]);
    let (_lead, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let answered = ask(&bus, vec![task("t1", "mcp.own.family", json!({}))]).await;
    assert_eq!(answered.status, AnswerStatus::Complete, "{answered:?}");
    let family = &answered.outputs["t1"]["call"]["structured"];
    let pids: Vec<u64> = ["own", "near", "far"]
        .iter()
        .map(|name| family[name].as_u64().unwrap_or_else(|| panic!("{answered:?}")))
        .collect();
    assert!(
        pids.iter().all(|pid| lives(*pid)),
        "the server is kept for the next call"
    );
    worker.kill();
    eventually_true("all of them are gone", Duration::from_secs(30), || async {
        !pids.iter().any(|pid| lives(*pid))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_sees_no_settings_and_its_answers_are_bounded() {
    let bed = Bed::undeclared(axon_tests::shared());
    let fleet = Fleet::new(&bed).set("AXON_BUS__PASSWORD", "hunter2");
    configure(&fleet, &[own_server("[tools.mcp.own.env]\nMINE = \"yes\"")]);
    let seen = run(&fleet, "mcp.own.variables", json!({}))
        .await
        .expect("it answers")
        .to_string();
    assert!(
        seen.contains("PATH") && seen.contains("MINE") && !seen.contains("AXON"),
        "{seen}"
    );
    let long = run(&fleet, "mcp.own.flood", json!({ "count": 3_000_000 }))
        .await
        .expect("it answers");
    assert!(long.to_string().len() <= 256 * 1024, "{}", long.to_string().len());
    assert!(
        long["left_out"].to_string().contains("bytes of the text"),
        "{}",
        long["left_out"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_over_http_also_after_it_was_gone() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let port = free_port().to_string();
    let start = |name: &str| {
        let script = script();
        Process::start_with(name, &python(), &[&script, "http", &port], fleet.folder(), &[])
    };
    configure(
        &fleet,
        &[format!("[tools.mcp.far]\nurl = \"http://127.0.0.1:{port}/mcp\"\n")],
    );
    let first = start("first");
    first.says("running on", SOON).await;
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let call = || vec![task("t1", "mcp.far.flood", json!({ "count": 3 }))];
    let answered = ask(&bus, call()).await;
    assert_eq!(answered.status, AnswerStatus::Complete, "{answered:?}");
    assert!(answered.outputs.to_string().contains("xxx"), "{answered:?}");
    first.kill();
    let second = start("second");
    second.says("running on", SOON).await;
    let answered = ask(&bus, call()).await;
    assert_eq!(answered.status, AnswerStatus::Complete, "{answered:?}");
    second.kill();
    let error = run(&fleet, "mcp.far.flood", json!({ "count": 3 }))
        .await
        .expect_err("gone");
    assert!(error.contains("cannot open the MCP server `far`"), "{error}");
}
