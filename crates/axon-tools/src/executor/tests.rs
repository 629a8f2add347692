use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

/// What the tools of these tests count.
#[derive(Default)]
pub(super) struct Counts {
    running: AtomicUsize,
    most: AtomicUsize,
    pub(super) calls: AtomicUsize,
}

/// Sleeps `ms`, counting how many do so at once; `ms` is not told beforehand.
struct Work(Arc<Counts>);

#[async_trait]
impl Tool for Work {
    fn name(&self) -> &str {
        "test.work"
    }
    fn description(&self) -> &str {
        "Sleeps."
    }
    fn schema(&self) -> Value {
        json!({})
    }
    fn estimate(&self, params: &Value) -> Option<Duration> {
        Some(Duration::from_millis(params["ms"].as_u64().unwrap_or(0)))
    }
    async fn call(&self, _context: &CallContext, params: Value) -> Result<Value, ToolError> {
        let Counts { running, most, calls } = self.0.as_ref();
        calls.fetch_add(1, Ordering::SeqCst);
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(params["ms"].as_u64().unwrap_or(0))).await;
        running.fetch_sub(1, Ordering::SeqCst);
        if params["fail"] == json!(true) {
            Err(ToolError::permanent("told to"))
        } else {
            Ok(params)
        }
    }
}

/// Fails for a transient reason until the third try.
struct Flaky(Arc<Counts>);

#[async_trait]
impl Tool for Flaky {
    fn name(&self) -> &str {
        "test.flaky"
    }
    fn description(&self) -> &str {
        "Works at the third try."
    }
    fn schema(&self) -> Value {
        json!({})
    }
    async fn call(&self, _context: &CallContext, params: Value) -> Result<Value, ToolError> {
        match self.0.calls.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(ToolError::transient("not yet")),
            _ => Ok(params),
        }
    }
}

/// Misbehaves in the way its parameters name.
struct Wild(Arc<Counts>);

#[async_trait]
impl Tool for Wild {
    fn name(&self) -> &str {
        "test.wild"
    }
    fn description(&self) -> &str {
        "Misbehaves."
    }
    fn schema(&self) -> Value {
        json!({})
    }
    async fn call(&self, context: &CallContext, params: Value) -> Result<Value, ToolError> {
        match params["how"].as_str() {
            Some("panic") => panic!("so be it"),
            Some("large") => Ok(json!("x".repeat(OUTPUT_BYTES_MAX))),
            Some("deaf") => pending().await,
            Some("leaves work behind") => {
                let (counts, cancel) = (self.0.clone(), context.cancel.clone());
                tokio::spawn(async move {
                    cancel.cancelled().await;
                    counts.calls.fetch_add(1, Ordering::SeqCst);
                });
                pending().await
            }
            _ => Ok(Value::Null),
        }
    }
}

pub(super) fn executor(change: impl FnOnce(&mut Config)) -> (Executor, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let mut config = Config::default();
    change(&mut config);
    let mut toolbox = Toolbox::standard(&config).expect("registers");
    toolbox.register(Work(counts.clone())).expect("registers");
    toolbox.register(Flaky(counts.clone())).expect("registers");
    toolbox.register(Wild(counts.clone())).expect("registers");
    (Executor::new(config, Arc::new(toolbox)), counts)
}

pub(super) fn call(id: &str, tool: &str, inputs: &[&str], params: Value) -> ToolCall {
    ToolCall {
        tool_id: id.to_owned(),
        tool_name: tool.to_owned(),
        params,
        outputs: Vec::new(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        priority: 5,
    }
}

pub(super) fn work(id: &str, inputs: &[&str], ms: u64) -> ToolCall {
    call(id, "test.work", inputs, json!({ "ms": ms }))
}

pub(super) fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

async fn run(executor: &Executor, calls: Vec<ToolCall>) -> Run {
    executor
        .run(calls, &CallContext::new(None), &all(), 1000, |_| {})
        .await
        .expect("runs")
}

/// One line for each call: its id and how it ended.
fn summary(run: &Run) -> Vec<String> {
    let line = |outcome: &CallOutcome| {
        let how = match &outcome.status {
            CallStatus::Done(_) => "done".to_owned(),
            CallStatus::Failed(error) => format!("failed: {error}"),
            CallStatus::Skipped(reason) => format!("skipped: {reason}"),
            CallStatus::Cancelled => "cancelled".to_owned(),
        };
        format!("{} {how}", outcome.tool_id)
    };
    run.results.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn outputs_flow_into_parameters() {
    let (executor, _) = executor(|_| {});
    let run = run(
        &executor,
        vec![
            call(
                "use",
                "diag.echo",
                &[],
                json!({"first": "${files.list.0.path}", "all": "${files}"}),
            ),
            ToolCall {
                outputs: vec!["files".to_owned()],
                ..call("list", "diag.echo", &[], json!({"list": [{"path": "a.rs"}]}))
            },
        ],
    )
    .await;
    assert!(run.is_complete());
    assert_eq!(
        run.value("use"),
        Some(&json!({"first": "a.rs", "all": {"list": [{"path": "a.rs"}]}}))
    );
}

#[tokio::test]
async fn what_is_not_allowed_or_unknown_is_refused_before_anything_runs() {
    let (executor, counts) = executor(|_| {});
    for (tool, allowed, expected) in [
        (
            "diag.echo",
            vec!["test.*", "diag.sleep"],
            "may not; it may use: test.*, diag.sleep",
        ),
        ("diag.echo", vec!["test.*"], "`diag.echo`, which the task may not"),
        ("test.none", vec!["test.*"], "names the tool `test.none`"),
    ] {
        let calls = vec![work("a", &[], 1), call("b", tool, &[], Value::Null)];
        let allowed: Vec<String> = allowed
            .into_iter()
            .map(str::to_owned)
            .chain(["test.work".to_owned()])
            .collect();
        let context = CallContext::new(None);
        let refusal = executor
            .run(calls, &context, &allowed, 9, |_| {})
            .await
            .expect_err("refused")
            .to_string();
        assert!(refusal.contains(expected), "{refusal}");
    }
    let calls = vec![work("a", &["b"], 1), work("b", &["a"], 1)];
    let refusal = executor
        .run(calls, &CallContext::new(None), &all(), 9, |_| {})
        .await
        .expect_err("refused");
    assert!(refusal.to_string().contains("a -> b -> a"), "{refusal}");
    assert_eq!(counts.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_skips_what_needs_it_and_nothing_else() {
    let (executor, _) = executor(|_| {});
    let run = run(
        &executor,
        vec![
            call("bad", "test.work", &[], json!({"ms": 5, "fail": true})),
            work("after", &["bad"], 1),
            work("later", &["after", "good"], 1),
            work("good", &[], 50),
            work("fine", &["good"], 1),
            call("lost", "diag.echo", &[], json!("${good.none}")),
        ],
    )
    .await;
    assert_eq!(
        summary(&run),
        [
            "bad failed: told to",
            "after skipped: it needs `bad`, which failed",
            "later skipped: it needs `after`, which was skipped",
            "good done",
            "fine done",
            "lost failed: `${good.none}` of call `lost` refers to nothing: the output `good` has no such field",
        ]
    );
    assert_eq!(run.calls_made(), 3);
    assert!(!run.is_complete());
}

#[tokio::test(start_paused = true)]
async fn what_is_transient_is_tried_again_and_nothing_else() {
    for (retries, expected, attempts) in [
        (0, "x failed: not yet", 1),
        (1, "x failed: not yet", 2),
        (2, "x done", 3),
    ] {
        let (executor, _) = executor(|config| config.transient_retries = retries);
        let retried = AtomicUsize::new(0);
        let calls = vec![call("x", "test.flaky", &[], Value::Null)];
        let on_event = |event: ToolEvent<'_>| {
            if matches!(event, ToolEvent::Retrying { .. }) {
                retried.fetch_add(1, Ordering::SeqCst);
            }
        };
        let run = executor
            .run(calls, &CallContext::new(None), &all(), 1, on_event)
            .await
            .expect("runs");
        assert_eq!(
            (summary(&run), run.results[0].attempts),
            (vec![expected.to_owned()], attempts)
        );
        assert_eq!(retried.load(Ordering::SeqCst), attempts as usize - 1);
        // 100 ms, then 200 ms.
        assert_eq!(run.results[0].duration.as_millis(), [0, 100, 300][retries as usize]);
    }
    let (executor, _) = executor(|_| {});
    let run = run(&executor, vec![call("x", "diag.fail", &[], Value::Null)]).await;
    assert_eq!(run.results[0].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_given_up() {
    let (executor, _) = executor(|config| config.tool_timeout_ms = 100);
    let run = run(
        &executor,
        vec![
            work("slow", &[], 101),
            work("fast", &[], 99),
            work("after", &["slow"], 1),
        ],
    )
    .await;
    assert_eq!(
        summary(&run),
        [
            "slow failed: the tool `test.work` took longer than 100 ms (tools.tool_timeout_ms)",
            "fast done",
            "after skipped: it needs `slow`, which failed",
        ]
    );
    assert!(matches!(&run.results[0].status, CallStatus::Failed(error) if error.kind == ErrorKind::TimedOut));
}

#[tokio::test]
async fn a_timeout_stops_what_the_tool_started() {
    let (executor, counts) = executor(|config| config.tool_timeout_ms = 20);
    let run = run(
        &executor,
        vec![call("x", "test.wild", &[], json!({"how": "leaves work behind"}))],
    )
    .await;
    assert!(summary(&run)[0].contains("took longer than 20 ms"), "{run:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while counts.calls.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "it still runs");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_run_and_keeps_what_is_finished() {
    let (executor, _) = executor(|config| config.max_concurrent_tools = 2);
    let context = CallContext {
        deadline: Some(Instant::now() + Duration::from_millis(50)),
        ..CallContext::new(None)
    };
    let calls = vec![
        work("long", &[], 90),
        work("short", &[], 20),
        work("next", &[], 20),
        work("never", &[], 20),
    ];
    let run = executor.run(calls, &context, &all(), 9, |_| {}).await.expect("runs");
    assert_eq!(
        summary(&run),
        [
            "long failed: the tool `test.work` had not ended when the deadline of the task passed",
            "short done",
            "next done",
            "never failed: the tool `test.work` had not ended when the deadline of the task passed",
        ]
    );
    let late = executor
        .run(vec![work("x", &[], 1)], &context, &all(), 9, |_| {})
        .await
        .expect("runs");
    assert_eq!(summary(&late), ["x skipped: the deadline of the task has passed"]);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_skipped() {
    let (executor, counts) = executor(|_| {});
    let calls = vec![
        work("a", &[], 10),
        work("b", &["a"], 10),
        work("c", &["b"], 10),
        work("d", &[], 10),
    ];
    let run = executor
        .run(calls, &CallContext::new(None), &all(), 2, |_| {})
        .await
        .expect("runs");
    let reason = "skipped: the limit of 2 tool calls was reached";
    assert_eq!(
        summary(&run),
        ["a done", &format!("b {reason}"), &format!("c {reason}"), "d done"]
    );
    assert_eq!(counts.calls.load(Ordering::SeqCst), 2);
    let none = executor
        .run(vec![work("a", &[], 1)], &CallContext::new(None), &all(), 0, |_| {})
        .await
        .expect("runs");
    assert_eq!(summary(&none), ["a skipped: the limit of 0 tool calls was reached"]);
}

#[tokio::test(start_paused = true)]
async fn cancelling_stops_at_once_and_keeps_what_is_finished() {
    let (executor, _) = executor(|_| {});
    let context = CallContext::new(None);
    let calls = vec![
        work("done", &[], 10),
        call("deaf", "test.wild", &[], json!({"how": "deaf"})),
        call("sleep", "diag.sleep", &[], json!({"ms": 1000})),
        work("after", &["deaf"], 10),
    ];
    let cancel = context.cancel.clone();
    let stop = tokio::spawn(async move {
        sleep(Duration::from_millis(30)).await;
        cancel.cancel();
    });
    let started = Instant::now();
    let run = executor.run(calls, &context, &all(), 9, |_| {}).await.expect("runs");
    stop.await.expect("ends");
    assert_eq!(started.elapsed().as_millis(), 30);
    assert_eq!(
        summary(&run),
        ["done done", "deaf cancelled", "sleep cancelled", "after cancelled"]
    );
    assert_eq!(run.results[1].duration.as_millis(), 30);
    assert_eq!(run.calls_made(), 3);
    let again = executor
        .run(vec![work("x", &[], 1)], &context, &all(), 9, |_| {})
        .await
        .expect("runs");
    assert_eq!(summary(&again), ["x cancelled"]);
}

#[tokio::test]
async fn a_tool_that_misbehaves_fails_alone() {
    let (executor, _) = executor(|_| {});
    let calls = vec![
        call("panic", "test.wild", &[], json!({"how": "panic"})),
        call("large", "test.wild", &[], json!({"how": "large"})),
        call("fine", "test.wild", &[], Value::Null),
    ];
    let run = run(&executor, calls).await;
    assert_eq!(
        summary(&run),
        [
            "panic failed: the tool `test.wild` panicked, which is a defect of it: so be it",
            "large failed: the output of `test.wild` is larger than 262144 bytes: ask it for less",
            "fine done",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_path_goes_first_and_priority_decides_between_equals() {
    let (executor, _) = executor(|config| config.max_concurrent_tools = 1);
    let calls = vec![
        work("short", &[], 10),
        work("low", &[], 20),
        ToolCall {
            priority: 9,
            ..work("high", &[], 20)
        },
        work("head", &[], 5),
        work("tail", &["head"], 30),
    ];
    let order = Mutex::new(Vec::new());
    let on_event = |event: ToolEvent<'_>| {
        if let ToolEvent::Started { call } = event {
            order.lock().expect("held by nobody").push(call.tool_id.clone());
        }
    };
    executor
        .run(calls, &CallContext::new(None), &all(), 9, on_event)
        .await
        .expect("runs");
    assert_eq!(
        *order.lock().expect("held by nobody"),
        ["head", "tail", "high", "low", "short"]
    );
}

#[tokio::test(start_paused = true)]
async fn durations_are_learnt() {
    /// Takes as long as it is told, which nobody knows beforehand.
    struct Secret(&'static str, u64);
    #[async_trait]
    impl Tool for Secret {
        fn name(&self) -> &str {
            self.0
        }
        fn description(&self) -> &str {
            "Sleeps."
        }
        fn schema(&self) -> Value {
            json!({})
        }
        async fn call(&self, _context: &CallContext, _params: Value) -> Result<Value, ToolError> {
            sleep(Duration::from_millis(self.1)).await;
            Ok(Value::Null)
        }
    }
    let mut toolbox = Toolbox::new();
    for tool in [Secret("quick", 1), Secret("slow", 400)] {
        toolbox.register(tool).expect("registers");
    }
    let executor = Executor::new(
        Config {
            max_concurrent_tools: 1,
            ..Config::default()
        },
        Arc::new(toolbox),
    );
    let calls = || {
        vec![
            call("a", "quick", &[], Value::Null),
            call("b", "slow", &[], Value::Null),
        ]
    };
    let first = run(&executor, calls()).await;
    assert!(
        first.results[0].started < first.results[1].started,
        "equal estimates keep the order of the plan"
    );
    let second = run(&executor, calls()).await;
    assert!(
        second.results[1].started < second.results[0].started,
        "the slow one goes first once that is known"
    );
}

#[tokio::test(start_paused = true)]
async fn statistics_are_those_of_the_schedule() {
    let (executor, _) = executor(|config| config.max_concurrent_tools = 2);
    // Two slots: a (100) with b (50), c (50); then d (100) behind a.
    let calls = vec![
        work("a", &[], 100),
        work("b", &[], 50),
        work("c", &[], 50),
        work("d", &["a"], 100),
    ];
    let statistics = run(&executor, calls).await.statistics;
    assert_eq!(statistics.sequential_ms, 300.0);
    assert_eq!(statistics.parallel_ms, 200.0);
    assert_eq!(statistics.critical_path_ms, 200.0);
    assert_eq!(statistics.lower_bound_ms, 200.0);
    assert_eq!(statistics.makespan_ratio, 1.0);
    assert!((statistics.time_saved_percent - 100.0 / 3.0).abs() < 1e-9);
    assert_eq!(run(&executor, Vec::new()).await.statistics, RunStatistics::default());
}

#[tokio::test(start_paused = true)]
async fn all_runs_of_a_process_share_twenty_slots() {
    let (executor, counts) = executor(|config| config.max_concurrent_tools = 20);
    let calls = |n: usize| (0..n).map(|i| work(&format!("c{i}"), &[], 10)).collect::<Vec<_>>();
    let (a, b, c) = tokio::join!(
        run(&executor, calls(15)),
        run(&executor, calls(15)),
        run(&executor, calls(30))
    );
    assert!(a.is_complete() && b.is_complete() && c.is_complete());
    assert_eq!(counts.most.load(Ordering::SeqCst), PROCESS_TOOLS_MAX);
}

/// A random graph: each call needs some of those before it.
fn graphs() -> impl Strategy<Value = Vec<(u64, Vec<usize>, u8, bool)>> {
    let node = (
        0_u64..200,
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        1_u8..=10,
        prop::bool::weighted(0.05),
    );
    prop::collection::vec(node, 1..40).prop_map(|nodes| {
        let finish = |(index, (ms, before, priority, fails)): (usize, (u64, Vec<prop::sample::Index>, u8, bool))| {
            let needs = if index == 0 {
                Vec::new()
            } else {
                before.iter().map(|other| other.index(index)).collect()
            };
            (ms, needs, priority, fails)
        };
        nodes.into_iter().enumerate().map(finish).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Order and limit are respected, nothing is lost, nothing hangs, and no schedule of this kind is worse than twice
    /// the lower bound.
    #[test]
    fn any_graph_runs_as_it_should(nodes in graphs(), slots in 1_usize..12, reversed in any::<bool>(), cancel_ms in prop::option::of(0_u64..500)) {
        let calls: Vec<ToolCall> = nodes
            .iter()
            .enumerate()
            .map(|(index, (ms, needs, priority, fails))| ToolCall {
                tool_id: format!("c{index}"),
                tool_name: "test.work".to_owned(),
                // Half of the edges are named, the other half follow from references.
                params: json!({
                    "ms": ms,
                    "fail": fails,
                    "from": needs.iter().skip(1).step_by(2).map(|n| format!("${{c{n}.ms}}")).collect::<Vec<_>>(),
                }),
                outputs: Vec::new(),
                inputs: needs.iter().step_by(2).map(|n| format!("c{n}")).collect(),
                priority: *priority,
            })
            .collect();
        let given = if reversed { calls.iter().rev().cloned().collect() } else { calls.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("built");
        let (run, most, ended) = runtime.block_on(async {
            let (executor, counts) = executor(|config| config.max_concurrent_tools = slots);
            let context = CallContext::new(None);
            if let Some(ms) = cancel_ms {
                let cancel: CancellationToken = context.cancel.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(ms)).await;
                    cancel.cancel();
                });
            }
            let ended = AtomicUsize::new(0);
            let on_event = |event: ToolEvent<'_>| {
                if matches!(event, ToolEvent::Ended { .. }) {
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            };
            let run = executor.run(given, &context, &all(), 1000, on_event).await.expect("runs");
            (run, counts.most.load(Ordering::SeqCst), ended.into_inner())
        });

        prop_assert_eq!(run.results.len(), nodes.len());
        prop_assert_eq!(ended, nodes.len());
        prop_assert!(most <= slots);
        let outcome = |index: usize| {
            let at = if reversed { nodes.len() - 1 - index } else { index };
            &run.results[at]
        };
        for (index, (_, needs, _, fails)) in nodes.iter().enumerate() {
            let this = outcome(index);
            prop_assert_eq!(&this.tool_id, &format!("c{index}"));
            match &this.status {
                CallStatus::Done(_) | CallStatus::Failed(_) => {
                    prop_assert_eq!(*fails, matches!(this.status, CallStatus::Failed(_)));
                    for &needed in needs {
                        let before = outcome(needed);
                        prop_assert!(before.value().is_some());
                        prop_assert!(before.started + before.duration <= this.started);
                    }
                }
                CallStatus::Skipped(_) => {
                    prop_assert!(needs.iter().any(|n| matches!(outcome(*n).status, CallStatus::Failed(_) | CallStatus::Skipped(_))));
                }
                CallStatus::Cancelled => prop_assert!(cancel_ms.is_some()),
            }
        }
        if cancel_ms.is_none() && nodes.iter().all(|(_, _, _, fails)| !fails) {
            // Graham's bound for list schedules: (2 - 1/slots) times the optimum, which the lower bound never exceeds by
            // more than that. The clock of the runtime has a granularity of one millisecond per step.
            let RunStatistics { parallel_ms, critical_path_ms, sequential_ms, .. } = run.statistics;
            prop_assert!(parallel_ms <= critical_path_ms + sequential_ms / slots as f64 + 1e-6);
        }
    }
}
