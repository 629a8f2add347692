//! The console: questions and commands of one session, piped in line by line, and Ctrl-C while a question is worked on.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axon_protocol::{QueryId, StopReason};
use axon_tests::client::answer;
use axon_tests::{Bed, Fleet, binary, eventually, eventually_true};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

const SOON: Duration = Duration::from_secs(60);

/// A console that reads what a test writes.
struct Console {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Console {
    fn start(fleet: &Fleet, name: &str, arguments: &[&str]) -> Self {
        let [stdout, stderr] = ["stdout", "stderr"].map(|stream| fleet.folder().join(format!("{name}.{stream}")));
        let mut child = Command::new(binary("axon"))
            .arg("console")
            .args(arguments)
            .envs(fleet.environment().iter().map(|(key, value)| (key, value)))
            .env_remove("AXON_CONFIG")
            .current_dir(fleet.folder())
            .stdin(Stdio::piped())
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"))
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    async fn write(&mut self, lines: &str) {
        let stdin = self.stdin.as_mut().expect("it reads");
        stdin.write_all(lines.as_bytes()).await.expect("written");
        stdin.flush().await.expect("written");
    }

    fn interrupt(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).expect("read")
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.stdout).expect("read")
    }

    async fn says(&self, text: &str) {
        eventually_true(&format!("it says `{text}`"), SOON, || async {
            self.said().contains(text)
        })
        .await;
    }

    /// The id of the question asked first.
    async fn asked(&self) -> QueryId {
        let id = eventually("it asks", SOON, || async {
            let said = self.said();
            let line = said.lines().find_map(|line| line.strip_prefix("query "))?;
            Some(line.to_owned())
        });
        QueryId::new(id.await).expect("an id")
    }

    async fn end(mut self) -> (ExitStatus, String, String) {
        drop(self.stdin.take());
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status.expect("it ends").expect("its status");
        (status, self.printed(), self.said())
    }
}

fn workspace(fleet: &Fleet) -> String {
    let root = fleet.folder().join("project");
    std::fs::create_dir_all(&root).expect("a folder");
    let source = "/// Reads a number.\npub fn parse(text: &str) -> u32 {\n    text.parse().unwrap()\n}\n";
    std::fs::write(root.join("lib.rs"), source).expect("written");
    root.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_questions_and_commands_of_one_session() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let workspace = workspace(&fleet);
    let _fleet = tokio::join!(fleet.lead(), fleet.worker(4), fleet.synthesizer());
    let mut console = Console::start(&fleet, "console", &["--session", "mine"]);
    console.write("/explain\n").await;
    console
        .write(&format!("/workspace {workspace}\nReview lib.rs for panics\n"))
        .await;
    let id = console.asked().await;
    answer(&bus, &id, SOON).await;
    console
        .write("/explain\n/history --kind answer\n/answer\n/queries\n/workers\n/strategies\n/nonsense\n/help\n")
        .await;
    console.write("/plan Where is parse used?\n").await;
    let (status, printed, said) = console.end().await;
    assert!(status.success(), "{said}");
    assert_eq!(
        printed.matches("text.parse().unwrap()").count(),
        2,
        "the answer, twice: {printed}"
    );
    for expected in [
        &format!("query {id}: Review lib.rs for panics"),
        "after ",
        "code_review",
        "synthesizer",
        "/history",
        "strategy    research",
    ] {
        assert!(printed.contains(expected), "`{expected}`: {printed}");
    }
    for expected in ["session mine", "nothing was asked yet", "/nonsense", "planned: "] {
        assert!(said.contains(expected), "`{expected}`: {said}");
    }

    // Another console goes on with the session, and what one thinks of an answer may be said later.
    let episode = || async {
        let told = fleet.axon(&["memory", "episodes", "--json"]).await.stdout;
        told.contains("\"session\":\"mine\"")
    };
    eventually_true("the question is remembered with its session", SOON, episode).await;
    let mut later = Console::start(&fleet, "later", &["--session", "mine", "--quiet"]);
    later
        .write(&format!("/bad {id}\n/good {id}\n/quit\nnever asked\n"))
        .await;
    let (status, printed, said) = later.end().await;
    assert!(status.success(), "{said}");
    assert!(
        printed.contains("marked bad") && printed.contains("marked good"),
        "{printed}"
    );
    assert!(!said.contains("query "), "nothing is asked after it left: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_question_goes_on_unless_it_is_to_be_cancelled() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::new(&bed);
    let workspace = workspace(&fleet);
    // Without a worker the question waits.
    let _fleet = tokio::join!(fleet.lead(), fleet.synthesizer());
    let mut console = Console::start(&fleet, "console", &["--workspace", &workspace, "--timeout", "120"]);
    console.says("a line is a question").await;
    console.interrupt();
    console.says("nothing is running").await;
    console.write("Review lib.rs for panics\n").await;
    let id = console.asked().await;
    console.says("planned: ").await;
    console.interrupt();
    console.says(&format!("cancel query {id}? [y/N]")).await;
    console.write("n\n").await;
    console.says("it goes on").await;
    console.interrupt();
    eventually_true("it asks again", SOON, || async {
        console.said().matches("[y/N]").count() == 2
    })
    .await;
    console.write("y\n").await;
    assert_eq!(answer(&bus, &id, SOON).await.stop_reason, StopReason::Cancelled);
    console.write("/quit\n").await;
    let (status, printed, said) = console.end().await;
    assert!(status.success(), "{said}");
    assert!(
        printed.contains("Review lib.rs for panics"),
        "the answer says what is missing: {printed}"
    );
}
