//! A local nats-server: found, checked, configured and started. It listens on this machine alone.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axon_bus::OLDEST_SERVER;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::process::{Process, Spec, log_tail};

/// Name of the server among the processes of a fleet.
pub(crate) const SERVER: &str = "nats-server";
/// The port that NATS clients try first.
const PORT_DEFAULT: u16 = 4222;
/// How long a server may take to listen, with the recovery of its streams.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a local server may store. Streams reserve what they may grow to, which on a small disk would be refused at once.
const STORE_MAX: &str = "64GB";

/// When the server writes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sync {
    /// Before it acknowledges: nothing acknowledged is lost at a power failure; slower
    Always,
    /// Every two minutes: nothing is lost when a process dies, but it may be at a power failure
    Default,
}

impl Sync {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Sync::Always => "always",
            Sync::Default => "default",
        }
    }
}

/// Finds a server that is recent enough: the one named, else the one on PATH, else the one that `make` fetched.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let (major, minor, _) = OLDEST_SERVER;
    if let Some(path) = named {
        return match version(path) {
            Some(version) if version >= OLDEST_SERVER => Ok(path.to_owned()),
            Some(version) => Err(unusable(format!(
                "{} is version {}: Axon needs nats-server {major}.{minor} or later",
                path.display(),
                dotted(version)
            ))),
            None => Err(unusable(format!(
                "{} cannot be run: name a nats-server {major}.{minor} or later with --nats-server",
                path.display()
            ))),
        };
    }
    ["nats-server", ".axon/nats/nats-server"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| version(path).is_some_and(|version| version >= OLDEST_SERVER))
        .ok_or_else(|| {
            unusable(format!(
                "no nats-server {major}.{minor} or later found: install one (a single binary, see \"Installing a NATS \
                 Server\" in the NATS documentation) and put it on PATH, name it with --nats-server PATH, or use a running \
                 one with --nats URL"
            ))
        })
}

fn unusable(message: String) -> anyhow::Error {
    Failure::new(Exit::Unreachable, message).into()
}

fn version(program: &Path) -> Option<(u64, u64, u64)> {
    let output = std::process::Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// The version in `nats-server: v2.10.27`.
fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let rest = text.split_whitespace().last()?.trim_start_matches('v');
    let mut parts = rest.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

fn dotted((major, minor, patch): (u64, u64, u64)) -> String {
    format!("{major}.{minor}.{patch}")
}

/// A server to be started, or to be started again, at one address.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) spec: Spec,
    pub(crate) url: String,
}

impl Server {
    /// Writes its configuration under `data` and chooses its port: 4222 where that is wanted and free, else any free one.
    pub(crate) fn prepare(
        program: PathBuf,
        data: &Path,
        logs: &Path,
        sync: Sync,
        usual_port: bool,
    ) -> anyhow::Result<Self> {
        let store = data.join("nats");
        std::fs::create_dir_all(&store).with_context(|| format!("cannot create {}", store.display()))?;
        let port = free_port(usual_port)?;
        let config = data.join("nats-server.conf");
        std::fs::write(&config, config_text(port, &store, sync))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let spec = Spec {
            name: SERVER.to_owned(),
            program,
            args: vec!["-c".to_owned(), config.display().to_string()],
            env: Vec::new(),
            log: logs.join("nats-server.log"),
            // It cannot watch a pipe: the guard of the fleet ends it.
            leash: false,
        };
        Ok(Self {
            spec,
            url: format!("nats://127.0.0.1:{port}"),
        })
    }

    /// Waits until it takes connections; fails when `process` ends first.
    pub(crate) async fn ready(&self, context: &Context, process: &mut Process) -> anyhow::Result<()> {
        let until = Instant::now() + READY_TIMEOUT;
        let context = context.with_server(&self.url);
        loop {
            if let Some(status) = process.ended() {
                anyhow::bail!("nats-server ended with {status}: {}", log_tail(&self.spec.log));
            }
            match context.connect().await {
                Ok(bus) => return Ok(bus.drain().await?),
                Err(error) if Instant::now() > until => {
                    return Err(error.context(format!("nats-server is not ready after {READY_TIMEOUT:?}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn config_text(port: u16, store: &Path, sync: Sync) -> String {
    let sync = match sync {
        Sync::Always => "    sync_interval: always\n",
        Sync::Default => "",
    };
    format!(
        "# Written by `axon`; changes are lost.\nlisten: \"127.0.0.1:{port}\"\njetstream {{\n    store_dir: {}\n    \
         max_file_store: {STORE_MAX}\n{sync}}}\n",
        serde_json::Value::from(store.display().to_string()),
    )
}

/// Another process may take the port before the server does; then the server ends and says so.
fn free_port(usual: bool) -> anyhow::Result<u16> {
    let usual = if usual { PORT_DEFAULT } else { 0 };
    let listener = TcpListener::bind(("127.0.0.1", usual))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("no free port for nats-server")?;
    Ok(listener.local_addr().context("no free port for nats-server")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_the_server_prints() {
        for (text, expected) in [
            ("nats-server: v2.10.27\n", Some((2, 10, 27))),
            ("nats-server: v2.11.0-preview.1", Some((2, 11, 0))),
            ("nats-server: v2.9", Some((2, 9, 0))),
            ("something else", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_what_to_do() {
        for path in ["/nonexistent/nats-server", "/bin/true"] {
            let error = find(Some(Path::new(path))).expect_err("refused");
            assert!(error.to_string().contains("--nats-server"), "{error}");
            assert_eq!(Exit::of_error(&error), Exit::Unreachable);
        }
    }

    #[test]
    fn the_configuration_quotes_its_path() {
        let text = config_text(4223, Path::new("/tmp/a \"b\""), Sync::Always);
        assert!(text.contains(r#"store_dir: "/tmp/a \"b\"""#), "{text}");
        assert!(text.contains("sync_interval: always"), "{text}");
        assert!(!config_text(1, Path::new("/"), Sync::Default).contains("sync_interval"));
    }

    #[test]
    fn a_taken_port_is_avoided() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free_port(false).expect("a port");
        assert_ne!(port, taken.local_addr().expect("an address").port());
    }
}
