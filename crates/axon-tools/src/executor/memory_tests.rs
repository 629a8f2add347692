//! What is asked of memory, and what becomes of a call that it answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use tokio_util::sync::CancellationToken;

use crate::{Cost, Workspace};

use super::tests::{all, call, executor, work};
use super::*;

/// Remembers everything for ever, as if making it had taken ten seconds.
#[derive(Default)]
struct Everything(Mutex<BTreeMap<String, Arc<Value>>>);

#[async_trait::async_trait]
impl Memory for Everything {
    async fn answer(
        &self,
        call: &MemorableCall,
        _waits: &(dyn Fn() + Send + Sync),
        make: BoxFuture<'_, Result<Value, ToolError>>,
    ) -> Answer {
        let known = self.0.lock().expect("a lock").get(call.key.hex()).cloned();
        if let Some(value) = known {
            return Answer {
                result: Ok(value),
                remembered: Some(Duration::from_secs(10)),
            };
        }
        let answer = Answer::made(make.await);
        if let Ok(value) = &answer.result {
            let mut known = self.0.lock().expect("a lock");
            known.insert(call.key.hex().to_owned(), value.clone());
        }
        answer
    }
}

/// Somebody else is ahead with every call, and comes to nothing when the test says so.
#[derive(Default)]
struct SomebodyAhead {
    waiting: AtomicUsize,
    over: CancellationToken,
    expected: Mutex<Vec<Duration>>,
}

#[async_trait::async_trait]
impl Memory for SomebodyAhead {
    async fn answer(
        &self,
        call: &MemorableCall,
        waits: &(dyn Fn() + Send + Sync),
        make: BoxFuture<'_, Result<Value, ToolError>>,
    ) -> Answer {
        self.expected.lock().expect("a lock").push(call.expected);
        waits();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.over.cancelled().await;
        Answer::made(make.await)
    }
}

fn context(dir: &Path, scope: &[&str]) -> CallContext {
    CallContext {
        scope: scope.iter().map(|path| (*path).to_owned()).collect(),
        ..CallContext::new(Some(Arc::new(Workspace::of_directory(dir).expect("a workspace"))))
    }
}

fn two_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a.rs"), "fn a() {}\n").expect("written");
    std::fs::write(dir.path().join("b.rs"), "fn b() {}\n").expect("written");
    dir
}

#[tokio::test]
async fn a_call_that_was_made_before_is_answered_and_counted_as_what_it_is() {
    let dir = two_files();
    let (executor, counts) = executor(|_| {});
    let executor = executor.remembering(Arc::new(Everything::default()));
    let calls = || {
        vec![
            call("list", "code.list", &[], serde_json::json!({})),
            call("read", "code.read", &["list"], serde_json::json!({"path": "a.rs"})),
            work("work", &[], 1),
        ]
    };
    let context = context(dir.path(), &[]);
    let run = async || executor.run(calls(), &context, &all(), 10, |_| {}).await.expect("runs");
    let (first, second) = (run().await, run().await);
    let remembered = |run: &Run| -> Vec<bool> { run.results.iter().map(|one| one.remembered.is_some()).collect() };
    assert_eq!(remembered(&first), [false; 3]);
    assert_eq!(
        remembered(&second),
        [true, true, false],
        "what may differ each time is made each time"
    );
    assert_eq!(counts.calls.load(Ordering::SeqCst), 2);
    for (one, other) in first.results.iter().zip(&second.results) {
        assert_eq!((&one.status, one.attempts), (&other.status, other.attempts));
    }
    assert_eq!((first.calls_made(), second.calls_made()), (3, 3));
    let figures = second.statistics;
    assert_eq!((first.statistics.calls_remembered, figures.calls_remembered), (0, 2));
    assert!(
        figures.sequential_ms < 10_000.0,
        "what was not done takes no time: {figures:?}"
    );
    assert!(
        (10_000.0..=20_000.0).contains(&figures.saved_by_memory_ms),
        "{figures:?}"
    );
}

#[tokio::test]
async fn what_a_call_returns_is_known_by_all_that_it_depends_on() {
    let (dir, other) = (two_files(), two_files());
    std::fs::write(other.path().join("c.rs"), "fn c() {}\n").expect("written");
    let (executor, _) = executor(|_| {});
    let executor = executor.remembering(Arc::new(Everything::default()));
    let remembered = async |context: &CallContext, tool: &str, params: &str| {
        let params = serde_json::from_str(params).expect("JSON");
        let run = executor
            .run(vec![call("c", tool, &[], params)], context, &all(), 1, |_| {})
            .await;
        let run = run.expect("runs");
        (run.results[0].remembered.is_some(), run.statistics.calls_remembered)
    };
    let whole = context(dir.path(), &[]);
    let search = r#"{"pattern": "fn", "max_results": 5}"#;
    assert_eq!(remembered(&whole, "code.search", search).await, (false, 0));
    for (context, tool, params, expected) in [
        (&whole, "code.search", r#"{"max_results": 5, "pattern": "fn"}"#, true),
        (&whole, "code.search", r#"{"pattern": "fn", "max_results": 6}"#, false),
        (&whole, "code.rank", r#"{"query": "fn"}"#, false),
        (&context(dir.path(), &["a.rs"]), "code.search", search, false),
        (&context(dir.path(), &["b.rs"]), "code.search", search, false),
        (&context(dir.path(), &["a.rs"]), "code.search", search, true),
        (&context(other.path(), &[]), "code.search", search, false),
        // Failures are not remembered.
        (&whole, "code.search", r#"{"pattern": "("}"#, false),
        (&whole, "code.search", r#"{"pattern": "("}"#, false),
        (&whole, "diag.echo", "{}", false),
        (&whole, "diag.echo", "{}", false),
    ] {
        let (found, count) = remembered(context, tool, params).await;
        assert_eq!(
            (found, count),
            (expected, u64::from(expected)),
            "{tool} {params} in {:?}",
            context.scope
        );
    }
    let refused = executor
        .run(vec![call("c", "code.list", &[], Value::Null)], &whole, &[], 1, |_| {})
        .await;
    assert!(
        matches!(refused, Err(Refusal::NotAllowed { .. })),
        "memory lets nobody do what is not allowed"
    );
}

#[tokio::test]
async fn calls_that_wait_for_others_leave_their_slots_to_those_that_do_not() {
    let dir = two_files();
    let (executor, counts) = executor(|config| config.max_concurrent_tools = PROCESS_TOOLS_MAX);
    let ahead = Arc::new(SomebodyAhead::default());
    let patient = executor.clone().remembering(ahead.clone());
    let context = context(dir.path(), &[]);
    let lists = (0..PROCESS_TOOLS_MAX).map(|index| call(&index.to_string(), "code.list", &[], Value::Null));
    let (allowed, lists) = (all(), lists.collect());
    let waiting = patient.run(lists, &context, &allowed, 100, |_| {});
    let others = async {
        while ahead.waiting.load(Ordering::SeqCst) < PROCESS_TOOLS_MAX {
            tokio::task::yield_now().await;
        }
        let calls = (0..PROCESS_TOOLS_MAX).map(|index| work(&index.to_string(), &[], 1));
        let without = CallContext::new(None);
        let run = executor.run(calls.collect(), &without, &allowed, 100, |_| {});
        let run = tokio::time::timeout(Duration::from_secs(20), run).await;
        assert!(run.expect("there are slots").expect("runs").is_complete());
        assert_eq!(executor.inner.slots.available_permits(), PROCESS_TOOLS_MAX);
        ahead.over.cancel();
    };
    let (waited, ()) = futures::join!(waiting, others);
    let waited = waited.expect("runs");
    assert!(waited.is_complete() && waited.results.iter().all(|one| one.attempts == 1));
    assert_eq!(counts.calls.load(Ordering::SeqCst), PROCESS_TOOLS_MAX);
    assert_eq!(
        executor.inner.slots.available_permits(),
        PROCESS_TOOLS_MAX,
        "they are given back"
    );
}

#[tokio::test]
async fn what_a_call_is_expected_to_take_is_learnt_in_its_workspace_and_without_the_wait() {
    let (dir, other) = (two_files(), two_files());
    std::fs::write(other.path().join("c.rs"), "fn c() {}\n").expect("written");
    let (executor, _) = executor(|_| {});
    let ahead = Arc::new(SomebodyAhead::default());
    let executor = executor.remembering(ahead.clone());
    // Longer than what is typical of a search.
    let wait = Cost::Heavy.typical() + Duration::from_millis(50);
    let over = ahead.over.clone();
    tokio::spawn(async move {
        sleep(wait).await;
        over.cancel();
    });
    for dir in [&dir, &dir, &other] {
        let search = call("c", "code.search", &[], serde_json::json!({"pattern": "fn"}));
        let context = context(dir.path(), &[]);
        let run = executor
            .run(vec![search], &context, &all(), 1, |_| {})
            .await
            .expect("runs");
        assert!(run.is_complete(), "{run:?}");
    }
    let expected = ahead.expected.lock().expect("a lock").clone();
    assert_eq!(
        (expected[0], expected[2]),
        (Cost::Heavy.typical(), Cost::Heavy.typical())
    );
    assert!(expected[1] < Cost::Heavy.typical(), "{expected:?}");
}
