//! A real SIGTERM, delivered to this process by another one. It has a test binary of its own: signals reach the process.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axon_service::run_until_signal;

#[tokio::test]
async fn sigterm_drains_and_returns() {
    let drained = AtomicBool::new(false);
    let run = |stop: tokio_util::sync::CancellationToken| {
        // The handler is installed before `run` is called, so the signal cannot come too early.
        let status = Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
        let drained = &drained;
        async move {
            stop.cancelled().await;
            drained.store(true, Ordering::SeqCst);
            Ok(())
        }
    };
    run_until_signal(run, Duration::from_secs(10)).await.expect("drains");
    assert!(drained.load(Ordering::SeqCst));
}
