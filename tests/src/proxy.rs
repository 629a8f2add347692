//! A wire between a client and a server that a test can cut, or whose answers it can swallow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Default, PartialEq)]
struct Wire {
    /// Connections of an earlier epoch are cut.
    epoch: u64,
    /// Whether what the server says is swallowed.
    mute: bool,
    /// Whether new connections are refused.
    closed: bool,
}

/// A proxy in front of a server on this machine. Dropping it cuts everything.
pub struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
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
        let counting = count.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if state.borrow().closed {
                    counting.refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                counting.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(forward(client, port, state.clone(), counting.clone()));
            }
        });
        Self {
            port: own,
            wire,
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

    /// Cuts every connection; new ones work at once.
    pub fn cut(&self) {
        self.count.swallowed.store(0, Ordering::SeqCst);
        self.wire.send_modify(|wire| {
            wire.epoch += 1;
            wire.mute = false;
            wire.closed = false;
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
    }
}

async fn forward(client: TcpStream, port: u16, mut state: watch::Receiver<Wire>, count: Arc<Count>) {
    let epoch = state.borrow().epoch;
    let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let muted = state.clone();
    let upward = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let downward = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            if muted.borrow().mute {
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
