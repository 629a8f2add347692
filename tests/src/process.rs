//! One process of a fleet: started with a log file, watched over its health endpoint, signalled and waited for.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{eventually, guard};

/// Lines of a log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;
/// What one HTTP request may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that was started for a test and does not outlive it.
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts a program. What it says goes into `<folder>/<name>.log`.
    pub fn start(name: &str, program: &Path, folder: &Path, environment: &[(String, String)]) -> Self {
        Self::start_with(name, program, &[], folder, environment)
    }

    /// The same with arguments.
    pub fn start_with(
        name: &str,
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        environment: &[(String, String)],
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            // No configuration of the developer's is picked up here.
            .current_dir(folder)
            .env_remove("AXON_CONFIG")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log is shared"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        guard::watch(child.id());
        Self {
            name: name.to_owned(),
            pid: child.id(),
            log,
            child: Mutex::new(child),
        }
    }

    /// Its name in this test.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The id it goes by in the fleet, once it has said so.
    pub fn id(&self) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(" started "));
        let id = line.and_then(|line| line.split([' ', '=']).skip_while(|word| *word != "started").nth(2));
        id.unwrap_or_else(|| panic!("{} has not said its id", self.name))
            .to_owned()
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("its status is read");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("its resident memory") * 1024
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().expect("the process can be asked")
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("the process ends");
    }

    /// Asks it to drain, as an operator would (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Freezes it: it keeps its connection and does nothing (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // As long as nobody waited for it, its id is its own.
        let _child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = Command::new("kill")
            .args(["-s", signal, &self.pid.to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "{} cannot be sent SIG{signal}", self.name);
    }

    /// Waits until it ends by itself.
    pub async fn end(&self, timeout: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, timeout, || async { self.ended() }).await
    }

    /// Waits until its log holds a text.
    pub async fn says(&self, text: &str, timeout: Duration) {
        let what = format!("{} says `{text}`", self.name);
        eventually(&what, timeout, || async { self.log().contains(text).then_some(()) }).await;
    }

    /// Waits until it says that it is ready to work.
    pub async fn ready(&self, timeout: Duration) {
        let what = format!("{} is ready", self.name);
        eventually(&what, timeout, || async {
            if let Some(status) = self.ended() {
                panic!(
                    "{} ended with {status} instead of getting ready:\n{}",
                    self.name,
                    self.log()
                );
            }
            self.get("/readyz")
                .await
                .filter(|(status, _)| *status == 200)
                .map(|_| ())
        })
        .await;
    }

    /// The sum of all samples of a metric whose line holds every one of `labels`, such as `reason="poison"`; 0 where
    /// there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, body) = self.get("/metrics").await.expect("its metrics are served");
        assert_eq!(status, 200);
        body.lines()
            .filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Status and body of one of its health pages; `None` while it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        tokio::time::timeout(HTTP_TIMEOUT, self.fetch(path)).await.ok()?
    }

    async fn fetch(&self, path: &str) -> Option<(u16, String)> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving metrics and health"))?;
        let address = line.split("address=").nth(1)?.split_whitespace().next()?;
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        guard::forget(self.pid);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            eprintln!("--- the end of the log of {}:\n{shown}", self.name);
        }
    }
}
