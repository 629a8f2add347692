//! Runs a service until it ends or a signal asks it to drain. The first SIGTERM or SIGINT drains, the second leaves at
//! once. Nothing else in the workspace handles signals.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use tokio_util::task::TaskTracker as Tasks;

/// The exit code of a process that a second signal ended.
pub const INTERRUPTED_EXIT_CODE: i32 = 130;

/// Runs `run` until it ends. The first SIGTERM or SIGINT cancels its token and leaves it `drain_timeout` to end, else it
/// is dropped and an error returned; a second signal, also one after the return, ends the process with code 130.
pub async fn run_until_signal<F, Fut>(run: F, drain_timeout: Duration) -> anyhow::Result<()>
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
    run_until(stop, run, drain_timeout).await
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

async fn run_until<F, Fut>(stop: oneshot::Receiver<&'static str>, run: F, drain_timeout: Duration) -> anyhow::Result<()>
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
        let result = run_until(stop, |_| async { anyhow::bail!("no bus") }, LONG).await;
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
        run_until(stop, run, LONG).await.expect("drains");
        assert!(drained.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_drain_that_hangs_is_an_error() {
        let (first, stop) = oneshot::channel();
        first.send("SIGTERM").expect("somebody waits");
        let error = run_until(stop, |_| std::future::pending(), Duration::from_millis(25))
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
