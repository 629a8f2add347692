//! Runs a service until it ends, a signal asks it to drain, or the process that holds its leash is gone. The first SIGTERM
//! or SIGINT drains, the second leaves at once. Nothing else in the workspace handles signals.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use tokio_util::task::TaskTracker as Tasks;

/// The exit code of a process that a second signal ended.
pub const INTERRUPTED_EXIT_CODE: i32 = 130;

/// What a process obeys besides signals: the pipe on its standard input, which closes when whoever started it is gone,
/// however that came about. Nothing that is written into it matters.
#[derive(Debug)]
pub struct Leash(Option<pipe::Receiver>);

impl Leash {
    /// Obeys signals alone.
    pub fn none() -> Self {
        Self(None)
    }

    /// Obeys the end of standard input as well, where that is `wanted`. What is no pipe is refused: a terminal or a file
    /// would end the process at once or never.
    pub fn on_stdin(wanted: bool) -> anyhow::Result<Self> {
        if !wanted {
            return Ok(Self::none());
        }
        let input = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("cannot use standard input")?;
        let receiver = pipe::Receiver::from_owned_fd(input)
            .context("--exit-with-parent needs a pipe as standard input that its starter keeps open")?;
        Ok(Self(Some(receiver)))
    }

    /// Ends when the other side is closed.
    async fn let_go(self) {
        let Some(mut receiver) = self.0 else {
            return std::future::pending().await;
        };
        let mut ignored = [0; 256];
        while receiver.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// Ctrl-C at a program that asks what is meant by it. From the first listening on the process does not end by it; SIGTERM
/// ends it as ever, so that nothing may be held.
#[derive(Debug)]
pub struct Interrupts(Signal);

impl Interrupts {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        signal(SignalKind::interrupt())
            .map(Self)
            .context("cannot listen for SIGINT")
    }

    /// Comes with the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Runs `run` until it ends. The first SIGTERM or SIGINT cancels its token and leaves it `drain_timeout` to end, else it
/// is dropped and an error returned; a second signal, also one after the return, ends the process with code 130.
pub async fn run_until_signal<F, Fut>(run: F, drain_timeout: Duration) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    run_on_leash(Leash::none(), run, drain_timeout).await
}

/// [`run_until_signal`], and the end of the leash drains as the first signal does.
pub async fn run_on_leash<F, Fut>(leash: Leash, run: F, drain_timeout: Duration) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (signals, received) = mpsc::channel(2);
    let (first, stop) = oneshot::channel();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                Some(()) = terminate.recv() => "SIGTERM",
                Some(()) = interrupt.recv() => "SIGINT",
                else => return,
            };
            if signals.send(name).await.is_err() {
                return;
            }
        }
    });
    // Untracked on purpose: it must outlive the service, for tokio's handlers swallow every later signal.
    tokio::spawn(async move {
        if count_signals(received, first).await {
            std::process::exit(INTERRUPTED_EXIT_CODE);
        }
    });
    run_until(stop, leash.let_go(), run, drain_timeout).await
}

/// Passes the first signal on; true as soon as there is another, or one that nobody waits for any more.
async fn count_signals(mut signals: mpsc::Receiver<&'static str>, first: oneshot::Sender<&'static str>) -> bool {
    let Some(signal) = signals.recv().await else {
        return false;
    };
    if first.send(signal).is_err() {
        return true;
    }
    let Some(signal) = signals.recv().await else {
        return false;
    };
    warn!(signal, "second signal, leaving at once");
    true
}

async fn run_until<F, Fut>(
    stop: oneshot::Receiver<&'static str>,
    let_go: impl Future<Output = ()>,
    run: F,
    drain_timeout: Duration,
) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let token = CancellationToken::new();
    let running = run(token.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        Ok(signal) = stop => info!(signal, drain_timeout_ms = drain_timeout.as_millis() as u64, "draining"),
        () = let_go => info!(
            drain_timeout_ms = drain_timeout.as_millis() as u64,
            "draining, because the process that started this one is gone"
        ),
    }
    token.cancel();
    timeout(drain_timeout, running)
        .await
        .with_context(|| format!("the drain did not end within {drain_timeout:?}; what was held is redelivered"))?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_service_that_ends_by_itself_returns_its_result() {
        let (_first, stop) = oneshot::channel();
        let result = run_until(
            stop,
            std::future::pending(),
            |_| async { anyhow::bail!("no bus") },
            LONG,
        )
        .await;
        assert_eq!(result.expect_err("its error").to_string(), "no bus");
    }

    #[tokio::test]
    async fn the_first_signal_drains() {
        let (first, stop) = oneshot::channel();
        let drained = Arc::new(AtomicBool::new(false));
        let flag = drained.clone();
        let run = |token: CancellationToken| async move {
            first.send("SIGTERM").expect("somebody waits");
            token.cancelled().await;
            tokio::task::yield_now().await;
            flag.store(true, Ordering::SeqCst);
            Ok(())
        };
        run_until(stop, std::future::pending(), run, LONG)
            .await
            .expect("drains");
        assert!(drained.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn the_end_of_the_leash_drains() {
        let (_first, stop) = oneshot::channel();
        let (held, receiver) = pipe::pipe().expect("a pipe");
        let leash = Leash(Some(receiver));
        let run = |token: CancellationToken| async move {
            assert!(!token.is_cancelled());
            drop(held);
            token.cancelled().await;
            Ok(())
        };
        run_until(stop, leash.let_go(), run, LONG).await.expect("drains");
    }

    #[tokio::test]
    async fn what_is_written_into_the_leash_does_not_matter() {
        let (mut held, receiver) = pipe::pipe().expect("a pipe");
        let waiting = tokio::spawn(Leash(Some(receiver)).let_go());
        tokio::io::AsyncWriteExt::write_all(&mut held, b"still here\n")
            .await
            .expect("written");
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        waiting.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_drain_that_hangs_is_an_error() {
        let (first, stop) = oneshot::channel();
        first.send("SIGTERM").expect("somebody waits");
        let error = run_until(
            stop,
            std::future::pending(),
            |_| std::future::pending(),
            Duration::from_millis(25),
        )
        .await
        .expect_err("timeout");
        assert!(error.to_string().contains("25ms"), "{error}");
    }

    #[tokio::test]
    async fn the_second_signal_leaves_at_once() {
        let (signals, received) = mpsc::channel(2);
        let (first, stop) = oneshot::channel();
        signals.send("SIGINT").await.expect("open");
        let counting = tokio::spawn(count_signals(received, first));
        assert_eq!(stop.await.expect("passed on"), "SIGINT");
        assert!(!counting.is_finished());
        signals.send("SIGTERM").await.expect("open");
        assert!(counting.await.expect("no panic"));
    }

    #[tokio::test]
    async fn a_signal_after_the_end_leaves_at_once() {
        let (signals, received) = mpsc::channel(2);
        let (first, stop) = oneshot::channel();
        drop(stop);
        signals.send("SIGINT").await.expect("open");
        assert!(count_signals(received, first).await);
    }
}
