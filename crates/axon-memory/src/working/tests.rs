//! Working memory within one process; what several workers share is tested against a real server.

use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::*;

fn memory() -> WorkingMemory {
    WorkingMemory::unshared(WorkerId::new("w1").expect("an id"), 1 << 20)
}

fn wanted(expected: Duration, deadline: Option<Duration>) -> Wanted {
    Wanted {
        key: Digest::of(b"a call"),
        expected,
        deadline: deadline.map(|after| Instant::now() + after),
    }
}

/// A call that returns after this time.
async fn made(after: Duration) -> Result<Value, String> {
    sleep(after).await;
    Ok(json!({"hits": 3}))
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_slow_call_makes_it_in_time_for_the_own_deadline() {
    let seconds = Duration::from_secs;
    // Expected and own time, what the one who is ahead takes, and when the one who waited is done, who makes it in a second.
    for (expected, own, ahead, done) in [
        // Twice the patience with one that is four times slower than expected.
        (seconds(3), None, seconds(100), seconds(25)),
        // The one ahead ends before that.
        (seconds(1), None, seconds(3), seconds(3)),
        // Half of the own time, and not more.
        (seconds(10), Some(seconds(6)), seconds(100), seconds(4)),
        (seconds(0), Some(seconds(60)), seconds(100), seconds(17)),
    ] {
        let (memory, waited, begun) = (memory(), AtomicUsize::new(0), Instant::now());
        let one_ahead = memory.clone();
        let first = tokio::spawn(async move {
            let (_, source) = one_ahead.answer(&wanted(expected, None), &|| {}, made(ahead)).await;
            source
        });
        tokio::task::yield_now().await;
        let waits = || {
            waited.fetch_add(1, Ordering::Relaxed);
        };
        let (result, _) = memory.answer(&wanted(expected, own), &waits, made(seconds(1))).await;
        first.abort();
        assert_eq!(result.as_deref(), Ok(&json!({"hits": 3})));
        assert_eq!(
            (begun.elapsed().as_secs(), waited.into_inner()),
            (done.as_secs(), 1),
            "{expected:?} {own:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_again_is_the_same_value_and_no_copy() {
    let (memory, call) = (memory(), wanted(Duration::from_millis(2), None));
    let (first, source) = memory.answer(&call, &|| {}, made(Duration::from_millis(2))).await;
    assert_eq!(source, Source::Made);
    let again = async { panic!("it is remembered") };
    let (second, source) = memory.answer::<String>(&call, &|| {}, again).await;
    assert_eq!(source, Source::Local(Duration::from_millis(2)));
    assert!(Arc::ptr_eq(&first.expect("made"), &second.expect("kept")));
}
