//! Waiting on conditions, the only place of the tests that sleeps.

use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until `look` gives something, and gives that. Panics with `what` when the time is up.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + timeout;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "not within {timeout:?}: {what}");
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks again and again until `look` says yes. Panics with `what` when the time is up.
pub async fn eventually_true<F: Future<Output = bool>>(what: &str, timeout: Duration, mut look: impl FnMut() -> F) {
    eventually(what, timeout, || {
        let looking = look();
        async { looking.await.then_some(()) }
    })
    .await;
}

/// Looks again and again for a whole while, and panics with `what` as soon as `look` says no: for what must not happen.
pub async fn for_a_while<F: Future<Output = bool>>(what: &str, while_: Duration, mut look: impl FnMut() -> F) {
    let until = Instant::now() + while_;
    while Instant::now() < until {
        assert!(look().await, "within {while_:?}: {what}");
        tokio::time::sleep(EVERY).await;
    }
}
