//! A wire between a client and a server that a test can cut, whose answers it can swallow, and that it can stop at one
//! message of the client's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::frames::{Frame, Frames};

#[derive(Clone, Copy, Default, PartialEq)]
struct Wire {
    /// Connections of an earlier epoch are cut.
    epoch: u64,
    /// Whether what the server says is swallowed.
    mute: bool,
    /// Whether new connections are refused.
    closed: bool,
    /// Whether nothing passes in either direction, and nothing is lost.
    stopped: bool,
}

/// The message at which a wire stops.
#[derive(Clone, Debug)]
pub struct Stop {
    /// How its subject begins.
    pub subject: String,
    /// How it begins.
    pub content: String,
    /// How many such messages pass before it.
    pub skip: usize,
    /// Whether the message itself still passes.
    pub passes: bool,
}

impl Stop {
    /// Stops before the first message to a subject that begins like this.
    pub fn before(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            content: String::new(),
            skip: 0,
            passes: false,
        }
    }

    /// Stops after the first message to a subject that begins like this.
    pub fn after(subject: impl Into<String>) -> Self {
        Self {
            passes: true,
            ..Self::before(subject)
        }
    }
}

/// A proxy in front of a server on this machine. Dropping it cuts everything.
pub struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
    stop: Arc<Mutex<Trap>>,
    count: Arc<Count>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Count {
    accepted: AtomicU64,
    refused: AtomicU64,
    swallowed: AtomicU64,
}

impl Proxy {
    /// Listens on a free port and forwards to `port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (wire, state) = watch::channel(Wire::default());
        let count = Arc::new(Count::default());
        let stop: Arc<Mutex<Trap>> = Arc::default();
        let (counting, stopping, stopper) = (count.clone(), stop.clone(), wire.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if state.borrow().closed {
                    counting.refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                counting.accepted.fetch_add(1, Ordering::SeqCst);
                let guard = Guard {
                    stop: stopping.clone(),
                    wire: stopper.clone(),
                };
                tokio::spawn(forward(client, port, state.clone(), counting.clone(), guard));
            }
        });
        Self {
            port: own,
            wire,
            stop,
            count,
            accepting,
        }
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.count.accepted.load(Ordering::SeqCst)
    }

    /// Connections refused so far.
    pub fn refused(&self) -> u64 {
        self.count.refused.load(Ordering::SeqCst)
    }

    /// Bytes of answers swallowed since the last cut.
    pub fn swallowed(&self) -> u64 {
        self.count.swallowed.load(Ordering::SeqCst)
    }

    /// Swallows what the server says from now on. [`Proxy::cut`] or [`Proxy::resume`] ends it.
    pub fn swallow_answers(&self) {
        self.wire.send_modify(|wire| wire.mute = true);
    }

    /// Passes on what the server says from now on. What was swallowed is lost, which a connection survives only if those
    /// were whole messages.
    pub fn resume(&self) {
        self.wire.send_modify(|wire| wire.mute = false);
    }

    /// Stops the wire at a message of the client's, once. [`Proxy::go_on`] or a cut ends it.
    pub fn stop_at(&self, stop: Stop) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Trap {
            set: Some(stop),
            met: None,
        };
    }

    /// Waits until the wire has stopped. Gives the subject of the message it stopped at.
    pub async fn stopped(&self, timeout: Duration) -> String {
        let mut state = self.wire.subscribe();
        let stopped = tokio::time::timeout(timeout, state.wait_for(|wire| wire.stopped)).await;
        let trap = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(
            stopped.is_ok(),
            "not within {timeout:?}: a message to stop at, {trap:?}"
        );
        trap.met.expect("it stopped at a message")
    }

    /// Passes on what was held back since the wire stopped, and everything that comes after.
    pub fn go_on(&self) {
        self.wire.send_modify(|wire| wire.stopped = false);
    }

    /// Cuts every connection; new ones work at once.
    pub fn cut(&self) {
        self.count.swallowed.store(0, Ordering::SeqCst);
        self.wire.send_modify(|wire| {
            wire.epoch += 1;
            wire.mute = false;
            wire.closed = false;
            wire.stopped = false;
        });
    }

    /// Cuts every connection and refuses new ones until [`Proxy::cut`].
    pub fn close(&self) {
        self.wire.send_modify(|wire| {
            wire.epoch += 1;
            wire.closed = true;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.wire.send_modify(|wire| wire.epoch += 1);
    }
}

/// Where the wire is to stop, or where it did.
#[derive(Clone, Debug, Default)]
struct Trap {
    set: Option<Stop>,
    met: Option<String>,
}

/// What stops the wire when the message comes.
struct Guard {
    stop: Arc<Mutex<Trap>>,
    wire: watch::Sender<Wire>,
}

impl Guard {
    /// Whether this is the message at which the wire stops, and whether it passes.
    fn meets(&self, frame: &Frame) -> Option<bool> {
        let mut trap = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = trap.set.as_mut()?;
        if !frame.publishes(&stop.subject, &stop.content) {
            return None;
        }
        if stop.skip > 0 {
            stop.skip -= 1;
            return None;
        }
        trap.met.clone_from(&frame.subject);
        trap.set.take().map(|stop| stop.passes)
    }

    async fn upward(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
        mut state: watch::Receiver<Wire>,
    ) -> std::io::Result<()> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = client.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let mut passing = Vec::with_capacity(length);
            for frame in frames.push(&buffer[..length]) {
                let met = self.meets(&frame);
                if met == Some(true) {
                    passing.extend_from_slice(&frame.bytes);
                }
                if met.is_some() {
                    server.write_all(&passing).await?;
                    passing.clear();
                    self.wire.send_modify(|wire| wire.stopped = true);
                }
                if met != Some(true) {
                    going_on(&mut state).await;
                    passing.extend_from_slice(&frame.bytes);
                }
            }
            going_on(&mut state).await;
            server.write_all(&passing).await?;
        }
    }
}

/// Waits while the wire is stopped.
async fn going_on(state: &mut watch::Receiver<Wire>) {
    // Where the proxy itself is gone, the connection is about to be cut.
    let _ = state.wait_for(|wire| !wire.stopped).await;
}

async fn forward(client: TcpStream, port: u16, mut state: watch::Receiver<Wire>, count: Arc<Count>, guard: Guard) {
    let epoch = state.borrow().epoch;
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else {
        return;
    };
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let mut listening = state.clone();
    let upward = guard.upward(from_client, to_server, state.clone());
    let downward = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            going_on(&mut listening).await;
            if listening.borrow().mute {
                count.swallowed.fetch_add(length as u64, Ordering::SeqCst);
            } else {
                to_client.write_all(&buffer[..length]).await?;
            }
        }
    };
    tokio::select! {
        _ = upward => {}
        _ = downward => {}
        // Also when the proxy itself is gone.
        _ = state.wait_for(|wire| wire.epoch != epoch) => {}
    }
}
