//! Commands and addresses that the configuration allows: within limits, on a private copy, from listed hosts, and nothing
//! of them left behind.

use std::path::Path;
use std::time::Duration;

use axon_protocol::TaskRequest;
use axon_tests::client::{query_of, submit, task};
use axon_tests::command::Ended;
use axon_tests::{Bed, Fleet, eventually, eventually_true, shared};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fleet_mcp::lives;
use crate::fleet_python::python;

const SOON: Duration = Duration::from_secs(60);

/// A command that Python runs, as a section of the configuration.
fn command(name: &str, script: &str, more: &str) -> String {
    let python = python().display().to_string();
    format!("[tools.commands.{name}]\ncommand = {python:?}\nargs = [\"-c\", {script:?}]\n{more}\n")
}

async fn run(fleet: &Fleet, tool: &str, params: Value, workspace: Option<&Path>) -> Ended {
    let (params, shown) = (params.to_string(), workspace.map(|path| path.display().to_string()));
    let mut arguments = vec!["tools", "run", tool, &params];
    match &shown {
        Some(shown) => arguments.extend(["--workspace", shown]),
        None => arguments.push("--no-workspace"),
    }
    fleet.axon(&arguments).await
}

fn output(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_works_on_a_private_copy_that_is_removed() {
    let bed = Bed::undeclared(shared());
    let fleet = Fleet::new(&bed).set("AXON_BUS__PASSWORD", "hunter2");
    let script = "import os, sys\n\
                  print(open('src/a.txt').read(), os.getcwd(), os.environ['HOME'], sorted(os.environ), sys.argv[1:])\n\
                  open('src/a.txt', 'w').write('changed')\n\
                  open('b.txt', 'w').write('new')\n\
                  sys.exit(3)";
    let sections = command("edit", script, "allow_args = [\"--fast\"]");
    std::fs::write(fleet.folder().join("axon.toml"), sections).expect("written");
    let project = fleet.folder().join("project");
    std::fs::create_dir_all(project.join("src")).expect("created");
    std::fs::write(project.join("src/a.txt"), "as it was").expect("written");

    let ended = run(&fleet, "command.edit", json!({ "args": ["--fast"] }), Some(&project)).await;
    let output = output(&ended);
    assert_eq!(output["exit_code"], 3, "{output}");
    let said = output["stdout"].as_str().expect("text");
    assert!(
        said.contains("as it was") && said.contains("--fast") && !said.contains("AXON"),
        "{said}"
    );
    let words: Vec<&str> = said.split_whitespace().filter(|word| word.starts_with('/')).collect();
    assert!(
        words.len() >= 2 && words.iter().all(|path| !Path::new(path).exists()),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(project.join("src/a.txt")).expect("there"),
        "as it was"
    );
    assert!(!project.join("b.txt").exists());

    let ended = run(&fleet, "command.edit", json!({ "args": ["--slow"] }), Some(&project)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("tools.commands.edit.allow_args"), "{ended:?}");
    let listed = fleet.axon(&["tools", "show", "command.edit"]).await;
    assert!(listed.stdout.contains("read-only: no"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_has_limits_of_memory_files_output_and_time() {
    let bed = Bed::undeclared(shared());
    let fleet = Fleet::new(&bed);
    let sections = [
        command("hungry", "x = bytearray(1 << 30)", "memory_mb = 256"),
        command("wide", "open('x', 'wb').write(bytes(3 << 20))", "file_mb = 1"),
        command("loud", "print('x' * 5_000_000 + 'end')", ""),
        command("slow", "import time\ntime.sleep(600)", "timeout_ms = 1500"),
        "[tools.commands.absent]\ncommand = \"/nonexistent/program\"\n".to_owned(),
    ];
    std::fs::write(fleet.folder().join("axon.toml"), sections.join("\n")).expect("written");
    let hungry = output(&run(&fleet, "command.hungry", json!({}), None).await);
    assert!(hungry["stderr"].to_string().contains("MemoryError"), "{hungry}");
    let wide = output(&run(&fleet, "command.wide", json!({}), None).await);
    assert_ne!(wide["exit_code"], 0, "{wide}");
    let loud = output(&run(&fleet, "command.loud", json!({}), None).await);
    assert!(
        loud["stdout"]
            .as_str()
            .is_some_and(|text| text.trim_end().ends_with("end"))
    );
    assert!(
        loud["stdout_left_out"].as_u64() > Some(4_000_000),
        "{}",
        loud["stdout_left_out"]
    );
    let slow = run(&fleet, "command.slow", json!({}), None).await;
    assert!(slow.stderr.contains("tools.commands.slow.timeout_ms"), "{slow:?}");
    let absent = run(&fleet, "command.absent", json!({}), None).await;
    assert!(
        absent.stderr.contains("cannot start `/nonexistent/program`"),
        "{absent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_command_whose_worker_was_killed() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let begun = fleet.folder().join("begun");
    let script = format!(
        "import os, subprocess, time\n\
         child = subprocess.Popen(['sleep', '600'])\n\
         open({0:?} + '.part', 'w').write(f'{{os.getpid()}} {{child.pid}} {{os.getcwd()}}')\n\
         os.rename({0:?} + '.part', {0:?})\n\
         time.sleep(600)",
        begun.display().to_string()
    );
    std::fs::write(fleet.folder().join("axon.toml"), command("slow", &script, "")).expect("written");
    let (_lead, worker) = tokio::join!(fleet.lead(), fleet.worker(4));
    let called = TaskRequest {
        allowed_tools: vec!["command.*".to_owned()],
        ..task("t1", "command.slow", json!({}))
    };
    submit(&bus, &query_of(vec![called], 90)).await;
    let told = eventually("the command runs", SOON, || async {
        std::fs::read_to_string(&begun).ok()
    })
    .await;
    let told: Vec<&str> = told.split(' ').collect();
    let pids: Vec<u64> = told[..2].iter().map(|pid| pid.parse().expect("a pid")).collect();
    let work = Path::new(told[2]);
    assert!(pids.iter().all(|pid| lives(*pid)) && work.exists());
    worker.kill();
    eventually_true("both processes and the directory are gone", SOON, || async {
        !pids.iter().any(|pid| lives(*pid)) && !work.exists()
    })
    .await;
}

/// A web server that answers each path in its own way. Returns its port.
async fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let Ok(bytes) = stream.read(&mut request).await else {
                continue;
            };
            let request = String::from_utf8_lossy(&request[..bytes]).into_owned();
            let (status, header, body) = match request.split(' ').nth(1).unwrap_or_default() {
                "/page" => (
                    "200 OK",
                    "Content-Type: text/plain".to_owned(),
                    "what stands there".to_owned(),
                ),
                "/near" => ("302 Found", "Location: /page".to_owned(), String::new()),
                "/far" => (
                    "302 Found",
                    "Location: http://169.254.169.254/".to_owned(),
                    String::new(),
                ),
                "/round" => ("302 Found", "Location: /round".to_owned(), String::new()),
                "/long" => ("200 OK", "Content-Type: text/plain".to_owned(), "x".repeat(2 << 20)),
                "/image" => ("200 OK", "Content-Type: image/png".to_owned(), "\0\0".to_owned()),
                _ => ("404 Not Found", "X-Nothing: 1".to_owned(), String::new()),
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            // Who has read enough goes away before the end.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_listed_hosts_are_fetched_from() {
    let bed = Bed::undeclared(shared());
    let fleet = Fleet::new(&bed);
    let port = web().await;
    let off = run(&fleet, "web.fetch", json!({ "url": "http://docs.rs/" }), None).await;
    assert!(off.stderr.contains("there is no tool `web.fetch`"), "{off:?}");
    let section = format!("[tools.fetch]\nhosts = [\"localhost:{port}\"]\nprivate_hosts = [\"127.0.0.1:{port}\"]\n");
    std::fs::write(fleet.folder().join("axon.toml"), section).expect("written");
    let fetch = async |url: String| run(&fleet, "web.fetch", json!({ "url": url }), None).await;
    for path in ["page", "near"] {
        let page = output(&fetch(format!("http://127.0.0.1:{port}/{path}")).await);
        assert_eq!(page["text"], "what stands there");
        assert_eq!(page["url"], format!("http://127.0.0.1:{port}/page"));
    }
    let long = output(&fetch(format!("http://127.0.0.1:{port}/long")).await);
    assert!(long["text"].as_str().is_some_and(|text| text.len() > 200_000) && long["left_out"].is_string());
    for (url, code, expected) in [
        (
            format!("http://127.0.0.1:{port}/far"),
            2,
            "`169.254.169.254` at port 80 is not on the list",
        ),
        (format!("http://127.0.0.1:{port}/round"), 1, "more than 5 redirects"),
        (format!("http://127.0.0.1:{port}/none"), 1, "404"),
        (format!("http://127.0.0.1:{port}/image"), 1, "is no text"),
        (format!("http://localhost:{port}/page"), 2, "not public"),
        ("http://127.0.0.1:1/".to_owned(), 2, "is not on the list"),
        ("no address".to_owned(), 2, "this is no address"),
    ] {
        let ended = fetch(url.clone()).await;
        assert!(
            ended.code == Some(code) && ended.stderr.contains(expected),
            "{url}: {ended:?}"
        );
    }
}
