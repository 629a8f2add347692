//! What a task that is tried again gets: the rest of its budget, also when its payload is only referred to.

use std::time::{Duration, Instant};

use axon_bus::{Bus, StoredMessage};
use axon_protocol::{Budget, DeadLetter, Query, Reason, Stream, Task, Usage, Verdict};
use axon_tests::client::{query_of, submit, task};
use axon_tests::{Bed, Fleet, eventually};
use chrono::Utc;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// The task that waits under this name, once it is there.
async fn waiting(bus: &Bus, name: &str) -> StoredMessage {
    let filter = format!("{}.tasks.>", bus.namespace());
    eventually(&format!("the task {name} is queued"), SOON, || async {
        let stored = bus.messages(Stream::Tasks, &filter, 0, 10).await.ok()?;
        stored
            .into_iter()
            .find(|message| message.subject.ends_with(&format!(".{name}")))
    })
    .await
}

/// Gives a task up as a worker would that has used something.
async fn give_up(bus: &Bus, stored: &StoredMessage, attempt: u32, usage: Usage) {
    let named = bus.namespace().parse_task(&stored.subject).expect("a task");
    let letter = DeadLetter {
        stream: Stream::Tasks,
        subject: stored.subject.clone(),
        reason: Reason::Failed,
        verdict: Verdict::Retry,
        attempt,
        message: "no luck".to_owned(),
        headers: stored.headers.clone(),
        payload: stored.payload.clone(),
        query_id: Some(named.query.clone()),
        task_id: Some(named.task),
        deadline: Some(Utc::now() + SOON),
        usage,
        by: "somebody".to_owned(),
        at: Utc::now(),
    };
    let id = format!("{}-{attempt}", named.query);
    bus.write_letter(&letter, &id, Instant::now() + SOON)
        .await
        .expect("written");
    assert!(bus.remove(Stream::Tasks, stored.sequence).await.expect("removed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_attempt_gets_the_rest_of_the_budget() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let _lead = fleet.lead().await;
    for text in ["small".to_owned(), "x".repeat(300_000)] {
        // Nobody serves the task, so that it waits where it can be looked at.
        let said = task("t1", "diag.echo", json!({ "text": text }));
        let query = Query {
            budget: Some(Budget {
                tokens: 1000,
                cents: 100,
            }),
            ..query_of(vec![said], 90)
        };
        submit(&bus, &query).await;
        let stored = waiting(&bus, "t1").await;
        let first: Task = bus.decode_stored(&stored).await.expect("a task");
        let share = first.delegation.budget;
        assert!(share.tokens > 500 && first.spent.is_none(), "{first:?}");
        let used = |tokens, cents| Usage {
            tool_calls: 1,
            tokens,
            cents,
        };
        give_up(&bus, &stored, 1, used(300, 0.5)).await;
        let stored = waiting(&bus, "t1~2").await;
        let second: Task = bus.decode_stored(&stored).await.expect("a task");
        assert_eq!(second.delegation.budget.tokens, share.tokens - 300);
        assert_eq!(second.delegation.budget.cents, share.cents - 1);
        assert_eq!((second.spent, second.attempt), (used(300, 0.5), 2));
        assert_eq!(second.delegation.calls, first.delegation.calls);
        give_up(&bus, &stored, 2, used(400, 0.75)).await;
        let stored = waiting(&bus, "t1~3").await;
        let third: Task = bus.decode_stored(&stored).await.expect("a task");
        assert_eq!(third.delegation.budget.tokens, share.tokens - 400);
        assert_eq!(third.delegation.budget.cents, share.cents - 1);
        assert!(bus.remove(Stream::Tasks, stored.sequence).await.expect("removed"));
    }
}
