//! A nats-server as a child: one that all tests share, and private ones that a test may kill.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::guard;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_ATTEMPTS: usize = 5;
/// What the streams of all tests together may reserve; nothing of it is taken in advance.
const STORE_MAX: &str = "4TB";

/// A running nats-server with JetStream on a folder of its own.
pub struct Server {
    port: u16,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
}

/// The server that all tests of this process share, started by the first who asks.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

impl Server {
    /// Starts a server on a free port and an empty folder.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("axon-test-nats-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        guard::remove_at_exit(&folder);
        for _ in 0..START_ATTEMPTS {
            let port = free_port();
            // Somebody may take the port in between: then another one.
            if let Some(child) = launch(port, &folder) {
                return Self {
                    port,
                    folder,
                    child: Mutex::new(Some(child)),
                };
            }
        }
        panic!("nats-server does not start:\n{}", log_of(&folder));
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port alone.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a crash would. Whoever is connected notices nothing but a closed connection.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut running) = child.take() else { return };
        running.kill().expect("the server can be killed");
        running.wait().expect("the server ends");
        guard::forget(running.id());
    }

    /// Starts it again on the same port and folder.
    pub fn restart(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(child.is_none(), "the server runs already");
        let started = launch(self.port, &self.folder);
        assert!(
            started.is_some(),
            "nats-server does not start again:\n{}",
            log_of(&self.folder)
        );
        *child = started;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

fn launch(port: u16, folder: &Path) -> Option<Child> {
    let store = folder.join("store");
    let settings = folder.join("nats.conf");
    std::fs::write(
        &settings,
        format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", max_file_store: {STORE_MAX} }}\n",
            store.display()
        ),
    )
    .expect("the server's settings are written");
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("the server's log opens");
    let mut child = Command::new(binary())
        .arg("-c")
        .arg(&settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log is shared"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("nats-server starts");
    guard::watch(child.id());
    let until = Instant::now() + START_TIMEOUT;
    while Instant::now() < until {
        if child.try_wait().expect("the server can be asked").is_some() {
            guard::forget(child.id());
            return None;
        }
        if greets(port) {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    guard::forget(child.id());
    None
}

/// The greeting comes last, when streams are recovered.
fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut greeting = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && BufReader::new(stream).read_line(&mut greeting).is_ok()
        && greeting.contains("\"jetstream\":true")
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// The nats-server to test with. One that is missing is a failure, never a reason to skip.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let named = std::env::var_os("AXON_NATS_SERVER").map(PathBuf::from);
            let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.axon/nats/nats-server");
            let candidates = match named {
                Some(named) => vec![named],
                None => vec![PathBuf::from("nats-server"), installed],
            };
            candidates
                .iter()
                .find(|candidate| recent_enough(candidate))
                .unwrap_or_else(|| {
                    panic!("no nats-server 2.10 or later among {candidates:?}: run `make test`, which installs one")
                })
                .clone()
        })
        .clone()
}

fn recent_enough(candidate: &Path) -> bool {
    let Ok(output) = Command::new(candidate).arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text
        .split(['v', '.', '-', '\n'])
        .filter_map(|part| part.trim().parse::<u64>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}
