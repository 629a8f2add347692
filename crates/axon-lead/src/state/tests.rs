use axon_protocol::{
    Budget, OutputFormat, Query, QueryId, ResourceAllocation, SelectedStrategy, TaskBoundaries, TaskDelegation,
    TaskStatus,
};
use proptest::prelude::*;

use super::*;

mod simulation;

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_700_000_000_000 + ms).expect("a time")
}

fn id(index: usize) -> TaskId {
    TaskId::from_index(index + 1)
}

/// A plan with the given dependencies; tasks end at 8.5 s, the answer is due at 10 s.
fn plan(dependencies: &[&[usize]], max_parallel: usize) -> ExecutionPlan {
    let task_delegations = dependencies
        .iter()
        .enumerate()
        .map(|(index, needs)| TaskDelegation {
            task_id: id(index),
            objective: "find out".to_owned(),
            output_format: OutputFormat::Markdown,
            allowed_tools: vec!["diag.*".to_owned()],
            boundaries: TaskBoundaries {
                scope: Vec::new(),
                constraints: Vec::new(),
                max_tool_calls: 5,
                timeout_ms: 1000,
            },
            priority: 5,
            required_capabilities: Vec::new(),
            context: serde_json::Value::Null,
            dependencies: needs.iter().map(|need| id(*need)).collect(),
            key_questions: Vec::new(),
            aspect: format!("aspect {index}"),
            playbook: "general".to_owned(),
            calls: Vec::new(),
            budget: Budget::default(),
            added: false,
        })
        .collect();
    ExecutionPlan {
        version: axon_protocol::PLAN_VERSION,
        plan_id: "q1".to_owned(),
        query_id: QueryId::new("q1").expect("an id"),
        query: Query::new("what?"),
        workspace: None,
        analysis: None,
        strategy: SelectedStrategy {
            name: "general".to_owned(),
            score: 0.0,
            reasons: Vec::new(),
            others: Vec::new(),
            leaning: None,
            trial: false,
        },
        resource_allocation: ResourceAllocation {
            num_workers: dependencies.len(),
            max_tool_calls_per_worker: 5,
            max_parallel_workers: max_parallel,
            timeout_ms: 10_000,
            max_tokens_budget: 0,
            max_cost_cents: 0,
        },
        task_delegations,
        aspects: Vec::new(),
        parallelizable: true,
        synthesis_reserve: Budget::default(),
        planned_by: None,
        stop_rule: None,
        estimated_duration_ms: 0,
        estimate: None,
        recalled: Vec::new(),
        patterns_applied: Vec::new(),
        created_at: at(0),
        tasks_deadline: at(8_500),
        deadline: at(10_000),
    }
}

fn machine(dependencies: &[&[usize]], max_parallel: usize) -> Execution {
    let plan = plan(dependencies, max_parallel);
    Execution::new(&plan, &vec![1; plan.task_delegations.len()], Policy::default(), at(0))
}

fn accepted(index: usize, status: TaskStatus) -> Event {
    Event::Accepted(Accepted {
        task: id(index),
        status,
        reason: None,
        sequence: Some(7),
        worker: None,
        attempt: 1,
        new_findings: 1,
        confidence: 0.8,
        spent: Budget::default(),
        duration_ms: 10,
    })
}

fn dispatched(indices: &[usize]) -> Effect {
    Effect::Dispatch(indices.iter().map(|index| id(*index)).collect())
}

/// Runs events at their times and checks what each one brings about.
fn check(mut machine: Execution, steps: &[(i64, Event, &[Effect])]) -> Execution {
    for (ms, event, expected) in steps {
        assert_eq!(
            machine.handle(event.clone(), at(*ms)),
            *expected,
            "{event:?} at {ms} ms"
        );
    }
    machine
}

#[test]
fn a_repetition_leaves_out_what_was_not_done_and_ends_as_it_ended() {
    for (stop, undone, queued) in [
        (StopReason::Cancelled, vec![1, 2], vec![0]),
        (StopReason::EnoughFound, vec![2], vec![0, 1]),
        (StopReason::Finished, vec![], vec![0, 1, 2]),
        (StopReason::Deadline, vec![0, 1, 2], vec![]),
    ] {
        let mut machine = machine(&[&[], &[], &[]], 5);
        let reason = |index: &usize| format!("reason {index}");
        machine.repeat(undone.iter().map(|index| (id(*index), reason(index))), stop);
        let mut effects = machine.handle(Event::Begin, at(0));
        if !queued.is_empty() {
            assert_eq!(effects, [dispatched(&queued)]);
        }
        for index in queued {
            effects = machine.handle(accepted(index, TaskStatus::Complete), at(100));
        }
        assert_eq!((&effects[..], machine.stop_reason()), (&[Effect::Synthesize][..], stop));
        let missing: Vec<String> = machine.missing().into_iter().map(|part| part.reason).collect();
        assert_eq!(missing, undone.iter().map(reason).collect::<Vec<String>>());
    }
}

#[test]
fn independent_tasks_run_at_once_up_to_the_limit() {
    let done = |index| accepted(index, TaskStatus::Complete);
    check(
        machine(&[&[], &[], &[]], 2),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, done(1), &[dispatched(&[2])]),
            (20, done(0), &[]),
            (30, done(2), &[Effect::Synthesize]),
            (40, Event::Answered, &[Effect::Finish]),
            (50, Event::Answered, &[]),
        ],
    );
}

#[test]
fn the_critical_path_comes_first_then_priority() {
    let mut plan = plan(&[&[], &[], &[], &[0]], 9);
    plan.task_delegations[2].priority = 8;
    let ranks = crate::planning::ranks(&plan);
    assert_eq!(ranks, [2, 1, 1, 1]);
    let mut machine = Execution::new(&plan, &ranks, Policy::default(), at(0));
    assert_eq!(machine.handle(Event::Begin, at(0)), [dispatched(&[0, 2, 1])]);
}

#[test]
fn a_chain_runs_in_order_and_a_failure_skips_what_needs_it() {
    let done = |index| accepted(index, TaskStatus::Complete);
    check(
        machine(&[&[], &[0], &[1]], 9),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (10, done(0), &[dispatched(&[1])]),
            (20, done(1), &[dispatched(&[2])]),
            (30, done(2), &[Effect::Synthesize]),
        ],
    );
    let machine = check(
        machine(&[&[], &[0], &[1], &[]], 9),
        &[
            (0, Event::Begin, &[dispatched(&[0, 3])]),
            (10, accepted(0, TaskStatus::Failed), &[]),
            (20, accepted(3, TaskStatus::Partial), &[Effect::Synthesize]),
        ],
    );
    let reasons: Vec<String> = machine.missing().into_iter().map(|part| part.reason).collect();
    assert_eq!(reasons, ["it needs t1, which failed", "it needs t2, which failed"]);
    assert_eq!(machine.results().len(), 2, "a failed result is a result");
}

#[test]
fn the_deadline_stops_waits_a_moment_and_synthesizes_what_is_there() {
    let machine = check(
        machine(&[&[], &[], &[1]], 9),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, accepted(0, TaskStatus::Complete), &[]),
            (8_500, Event::Tick, &[Effect::StopTasks, Effect::Reconcile]),
            (9_000, Event::Tick, &[]),
            (9_500, Event::Tick, &[Effect::Synthesize]),
        ],
    );
    assert_eq!(machine.stop_reason(), StopReason::Deadline);
    let reasons: Vec<String> = machine.missing().into_iter().map(|part| part.reason).collect();
    assert_eq!(
        reasons,
        ["it had not ended by the deadline", "it had not started by the deadline"]
    );
}

#[test]
fn partial_results_within_the_grace_end_it_early() {
    check(
        machine(&[&[]], 9),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (100, Event::Cancelled, &[Effect::StopTasks, Effect::Reconcile]),
            (200, Event::Cancelled, &[]),
            (300, accepted(0, TaskStatus::Partial), &[Effect::Synthesize]),
        ],
    );
}

#[test]
fn a_cancelled_query_that_had_not_begun_synthesizes_at_once() {
    let machine = check(
        machine(&[&[]], 9),
        &[(0, Event::Cancelled, &[Effect::StopTasks, Effect::Synthesize])],
    );
    assert_eq!(machine.missing()[0].reason, "the query was cancelled before it started");
}

#[test]
fn a_task_that_could_not_be_queued_waits_for_a_free_place_and_not_for_the_clock() {
    let failed = |index: usize| Event::DispatchFailed {
        task: id(index),
        reason: "away".to_owned(),
        permanent: false,
    };
    let mut machine = check(
        machine(&[&[], &[]], 1),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            // It cannot be queued now, and the other one takes its place.
            (10, failed(0), &[dispatched(&[1])]),
        ],
    );
    assert_eq!(machine.wake_at(), at(2_000), "not at 510, when nothing could be done");
    assert_eq!(machine.handle(failed(1), at(600)), [dispatched(&[0])]);
    assert_eq!(machine.wake_at(), at(2_000));
    assert_eq!(machine.handle(failed(0), at(700)), []);
    assert_eq!(
        machine.wake_at(),
        at(1_100),
        "when the first of both may be tried again"
    );
    assert_eq!(machine.handle(Event::Tick, at(1_100)), [dispatched(&[1])]);
}

#[test]
fn without_a_synthesizer_the_lead_answers_itself() {
    let mut machine = check(
        machine(&[&[]], 9),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (10, accepted(0, TaskStatus::Complete), &[Effect::Synthesize]),
        ],
    );
    assert_eq!(
        machine.wake_at(),
        at(2_010),
        "the answers stream is looked at meanwhile"
    );
    assert_eq!(machine.handle(Event::Tick, at(2_010)), [Effect::Reconcile]);
    assert!(!machine.handle(Event::Tick, at(14_999)).contains(&Effect::Fallback));
    assert_eq!(machine.handle(Event::Tick, at(15_000)), [Effect::Fallback]);
    assert_eq!(machine.handle(Event::Tick, at(15_500)), []);
    assert_eq!(
        machine.handle(Event::Tick, at(16_000)),
        [Effect::Fallback],
        "tried again"
    );
    assert_eq!(machine.handle(Event::Answered, at(16_001)), [Effect::Finish]);
}

#[test]
fn a_takeover_goes_on_with_what_is_there() {
    check(
        machine(&[&[], &[], &[], &[]], 3),
        &[
            (0, Event::Pending(id(1)), &[dispatched(&[0, 2])]),
            (1, accepted(1, TaskStatus::Complete), &[dispatched(&[3])]),
        ],
    );
    // Too late for everything: the lead answers itself at once.
    check(
        machine(&[&[]], 3),
        &[(20_000, Event::Begin, &[Effect::StopTasks, Effect::Fallback])],
    );
}

#[test]
fn a_failed_dispatch_is_tried_again_unless_it_never_will_succeed() {
    let failed = |permanent| Event::DispatchFailed {
        task: id(0),
        reason: "full".to_owned(),
        permanent,
    };
    check(
        machine(&[&[]], 3),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (1, failed(false), &[]),
            (400, Event::Tick, &[]),
            (501, Event::Tick, &[dispatched(&[0])]),
            (502, failed(true), &[Effect::Synthesize]),
        ],
    );
}

#[test]
fn silence_and_a_new_connection_lead_to_reconciliation() {
    check(
        machine(&[&[]], 3),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (500, Event::Reconnected, &[Effect::Reconcile]),
            (1_000, Event::Tick, &[]),
            (2_500, Event::Tick, &[Effect::Reconcile]),
        ],
    );
}

#[test]
fn the_same_result_twice_changes_nothing() {
    let machine = check(
        machine(&[&[], &[]], 3),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (1, accepted(0, TaskStatus::Complete), &[]),
            (2, accepted(0, TaskStatus::Failed), &[]),
            (3, accepted(1, TaskStatus::Complete), &[Effect::Synthesize]),
        ],
    );
    assert_eq!((machine.snapshot().done, machine.snapshot().failed), (2, 0));
}

/// What may happen to a query, in any order: results lost, repeated or late, ticks, cancellations, jumps of the clock.
fn any_event(tasks: usize) -> impl Strategy<Value = (i64, Event)> {
    let status = prop_oneof![
        Just(TaskStatus::Complete),
        Just(TaskStatus::Partial),
        Just(TaskStatus::Failed)
    ];
    let event = prop_oneof![
        6 => (0..tasks, status).prop_map(|(index, status)| accepted(index, status)),
        4 => Just(Event::Tick),
        1 => (0..tasks).prop_map(|index| Event::Pending(id(index))),
        1 => (0..tasks, any::<bool>()).prop_map(|(index, permanent)| Event::DispatchFailed {
            task: id(index),
            reason: "no".to_owned(),
            permanent
        }),
        1 => Just(Event::Reconnected),
        1 => Just(Event::Cancelled),
    ];
    (-200..2_000i64, event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens and however the clock jumps: no task is queued twice without a failed dispatch, the parallel limit
    /// holds, dependencies are respected, the synthesis is asked for once, and in the end there is an answer.
    #[test]
    fn every_sequence_of_events_ends_in_one_answer(
        edges in prop::collection::vec(any::<u8>(), 6),
        max_parallel in 1usize..4,
        events in prop::collection::vec(any_event(6), 0..60),
    ) {
        let needs: Vec<Vec<usize>> =
            (0..6).map(|i| (0..i).filter(|j| edges[i] >> j & 1 == 1 && edges[i] > 90).collect()).collect();
        let needs: Vec<&[usize]> = needs.iter().map(Vec::as_slice).collect();
        let mut machine = machine(&needs, max_parallel);
        let (mut clock, mut syntheses, mut finishes) = (0, 0, 0);
        let mut queued: std::collections::BTreeSet<TaskId> = std::collections::BTreeSet::new();
        let mut ended: std::collections::BTreeMap<TaskId, TaskStatus> = std::collections::BTreeMap::new();
        let mut feed: Vec<(i64, Event)> = vec![(0, Event::Begin)];
        feed.extend(events);
        // At the end time only passes, until the machine gives up waiting for anybody, and then the answer is heard.
        feed.extend((0..30).map(|_| (1_000, Event::Tick)));
        feed.push((0, Event::Answered));
        for (step, event) in feed {
            clock += step;
            match &event {
                Event::Accepted(accepted) => {
                    queued.remove(&accepted.task);
                    ended.entry(accepted.task.clone()).or_insert(accepted.status);
                }
                Event::DispatchFailed { task, .. } => { queued.remove(task); }
                Event::Pending(task) if !ended.contains_key(task) => { queued.insert(task.clone()); }
                _ => {}
            }
            for effect in machine.handle(event, at(clock)) {
                match effect {
                    Effect::Dispatch(tasks) => {
                        for task in tasks {
                            prop_assert!(!ended.contains_key(&task), "{task} was queued after its result");
                            prop_assert!(queued.insert(task.clone()), "{task} was queued twice");
                            let index: usize = task.as_str()[1..].parse::<usize>().expect("an index") - 1;
                            for need in needs[index] {
                                let status = ended.get(&id(*need));
                                prop_assert!(matches!(status, Some(TaskStatus::Complete | TaskStatus::Partial)));
                            }
                        }
                    }
                    Effect::Synthesize => syntheses += 1,
                    Effect::Finish => finishes += 1,
                    _ => {}
                }
            }
        }
        prop_assert!(machine.is_finished());
        prop_assert!(syntheses <= 1);
        prop_assert_eq!(finishes, 1);
        prop_assert_eq!(machine.results().len() + machine.missing().len(), 6);
    }
}

#[test]
fn what_another_lead_saw_to_is_not_queued_again() {
    let mut machine = machine(&[&[], &[], &[], &[0]], 4);
    let done = |index| accepted(index, TaskStatus::Complete);
    machine.adopt([done(0), done(1), Event::Pending(id(2))], at(0));
    check(machine, &[(0, Event::Begin, &[dispatched(&[3])])]);
}

/// Whatever it says: that there is one tells that the lead planned the query itself.
static ANALYSIS: std::sync::LazyLock<axon_protocol::Analysis> = std::sync::LazyLock::new(|| {
    let library = crate::strategy::Library::builtin().expect("sound");
    crate::analysis::analyze(&Query::new("what?"), None, library.vocabulary())
});

/// Everything switched on, for a query that the lead planned itself; the tasks are of these aspects and have a budget.
fn lively(aspects: &[&str], max_parallel: usize, rule: Option<StopRule>) -> Execution {
    let needs: Vec<&[usize]> = vec![&[]; aspects.len()];
    let mut plan = plan(&needs, max_parallel);
    for (task, aspect) in plan.task_delegations.iter_mut().zip(aspects) {
        task.aspect = (*aspect).to_owned();
        task.budget = Budget { tokens: 100, cents: 10 };
    }
    plan.stop_rule = rule;
    plan.analysis = Some(ANALYSIS.clone());
    let policy = Policy {
        dynamic_spawning: true,
        tasks_max: 6,
    };
    Execution::new(&plan, &vec![1; aspects.len()], policy, at(0))
}

/// A complete result with so many new findings of this confidence, for these tokens, after this time.
fn found(index: usize, new_findings: usize, confidence: f64, tokens: u64, duration_ms: u64) -> Event {
    let Event::Accepted(accepted) = accepted(index, TaskStatus::Complete) else {
        unreachable!("it is an accepted result");
    };
    Event::Accepted(Accepted {
        new_findings,
        confidence,
        spent: Budget { tokens, cents: 0 },
        duration_ms,
        ..accepted
    })
}

#[test]
fn when_enough_is_known_the_rest_is_stopped_and_said_to_be_unneeded() {
    let rule = Some(StopRule {
        confidence_min: Some(0.9),
        barren_results: None,
    });
    let machine = check(
        lively(&["cause", "cause", "cause"], 2, rule),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, found(1, 2, 0.95, 0, 10), &[Effect::StopTasks, Effect::Reconcile]),
            (20, found(0, 1, 0.6, 0, 20), &[Effect::Synthesize]),
        ],
    );
    assert_eq!(machine.stop_reason(), StopReason::EnoughFound);
    let reasons: Vec<String> = machine.missing().into_iter().map(|part| part.reason).collect();
    assert_eq!(reasons, ["not needed, enough was known before"]);
    // The same without the rule: everything runs.
    check(
        lively(&["cause", "cause", "cause"], 2, None),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, found(1, 2, 0.95, 0, 10), &[dispatched(&[2])]),
        ],
    );
}

#[test]
fn what_tasks_leave_goes_to_those_that_are_still_to_be_queued() {
    let machine = check(
        lively(&["a", "b", "c", "d"], 1, None),
        &[
            (0, Event::Begin, &[dispatched(&[0])]),
            (10, found(0, 1, 0.8, 40, 10), &[dispatched(&[1])]),
            (20, found(1, 1, 0.8, 150, 10), &[dispatched(&[2])]),
        ],
    );
    let tokens: Vec<u64> = (0..4).map(|index| machine.budget_of(&id(index)).tokens).collect();
    // 60 were left: a third for the second; it spent more than it had, and the third gets half of what was left then.
    assert_eq!(tokens, [100, 120, 120, 100]);
    assert_eq!(machine.unspent().tokens, 20);
}

#[test]
fn a_thin_aspect_gets_one_further_task_from_unspent_budget() {
    let spawn = |like: usize, task: usize| Effect::Spawn {
        aspect: "b".to_owned(),
        like: id(like),
        task: id(task),
        budget: Budget { tokens: 100, cents: 10 },
    };
    let mut further = plan(&[&[]], 1).task_delegations.remove(0);
    (further.task_id, further.aspect) = (id(2), "b".to_owned());
    let machine = check(
        lively(&["a", "b"], 2, None),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, found(1, 0, 0.0, 0, 10), &[spawn(1, 2)]),
            (11, found(0, 1, 0.8, 0, 10), &[]),
            (12, Event::Spawned(Box::new(further)), &[dispatched(&[2])]),
            (20, found(2, 0, 0.0, 0, 10), &[Effect::Synthesize]),
        ],
    );
    assert_eq!(
        machine.results().len(),
        3,
        "one further task an aspect, however thin it stays"
    );
    // It spent all it had: nothing pays for another.
    check(
        lively(&["a", "b"], 2, None),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, found(1, 0, 0.0, 100, 10), &[]),
            (11, found(0, 1, 0.8, 100, 10), &[Effect::Synthesize]),
        ],
    );
    // Too late for another.
    check(
        lively(&["a", "b"], 2, None),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (7_000, found(1, 0, 0.0, 0, 10), &[Effect::Reconcile]),
        ],
    );
    // Where none makes sense the query goes on without, and its budget comes back.
    let none = Event::NotSpawned {
        aspect: "b".to_owned(),
        budget: Budget { tokens: 100, cents: 10 },
    };
    let machine = check(
        lively(&["a", "b"], 2, None),
        &[
            (0, Event::Begin, &[dispatched(&[0, 1])]),
            (10, found(0, 1, 0.8, 0, 10), &[]),
            (11, found(1, 0, 0.0, 0, 10), &[spawn(1, 2)]),
            (12, none, &[Effect::Synthesize]),
        ],
    );
    assert_eq!(machine.unspent().tokens, 200);
}

#[test]
fn the_slowest_is_executed_a_second_time_near_the_end_where_somebody_is_idle() {
    let inspected = |since_ms: i64, idle: usize| Event::Inspected {
        running: vec![Running {
            task: id(3),
            since: at(since_ms),
        }],
        idle,
    };
    let second = Effect::DispatchSecond(id(3));
    let begun = || {
        let mut machine = lively(&["a", "b", "c", "d"], 4, None);
        machine.handle(Event::Begin, at(0));
        (0..3).for_each(|index| assert_eq!(machine.handle(found(index, 1, 0.8, 0, 1_000), at(1_000)), []));
        machine
    };
    assert_eq!(begun().wake_at(), at(2_000), "looked at when it may be slow");
    let machine = check(
        begun(),
        &[
            (2_000, Event::Tick, &[Effect::Inspect, Effect::Reconcile]),
            (2_001, inspected(500, 3), &[]),
            (2_400, Event::Tick, &[]),
            (3_000, Event::Tick, &[Effect::Inspect]),
            (3_001, inspected(500, 0), &[]),
            (3_002, inspected(500, 2), std::slice::from_ref(&second)),
            (4_002, inspected(500, 2), &[Effect::Reconcile]),
            (4_003, found(3, 1, 0.8, 0, 10), &[Effect::StopTasks, Effect::Synthesize]),
        ],
    );
    assert_eq!((machine.second_executions(), machine.retries()), (1, 0));
    assert_eq!(machine.unspent().tokens, 300, "what the second execution got is spent");
    // Too near to the deadline for a second one to end first.
    check(
        begun(),
        &[(6_600, inspected(500, 2), &[Effect::Inspect, Effect::Reconcile])],
    );
}

/// Budgets in every state: what tasks have or have spent, and what is unspent, is never more than all they began with.
fn committed(machine: &Execution) -> u64 {
    let tasks = machine.tasks.iter().map(|task| match &task.progress {
        Progress::Ended(accepted) => accepted.spent.tokens.min(task.budget.tokens),
        Progress::Skipped(_) => 0,
        _ => task.budget.tokens,
    });
    tasks.sum::<u64>() + machine.unspent().tokens
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// With everything switched on: the tasks' budgets hold, aspects get one further task at most, tasks one second
    /// execution at most, and every sequence of events ends in an answer.
    #[test]
    fn no_sequence_of_events_spends_more_than_there_is(
        max_parallel in 1usize..5,
        confidence_min in prop::option::of(0.5..1.0f64),
        barren_results in prop::option::of(1u32..3),
        events in prop::collection::vec(
            (0usize..6, 0usize..3, 0.0..1.0f64, 0u64..150, 0u64..3_000, 0i64..900, 0u8..8), 0..60,
        ),
    ) {
        let rule = StopRule { confidence_min, barren_results };
        let mut machine = lively(&["a", "a", "b", "c"], max_parallel, Some(rule));
        let mut clock = 0;
        let mut spawned: Vec<String> = Vec::new();
        let mut seconds: Vec<TaskId> = Vec::new();
        let mut pending = 0;
        let mut syntheses = 0;
        let mut feed = std::collections::VecDeque::from([(0, Event::Begin)]);
        for (index, new, confidence, tokens, ms, step, kind) in events {
            let event = match kind {
                0 => Event::Tick,
                1 => Event::Inspected {
                    running: (0..6).map(|index| Running { task: id(index), since: at(0) }).collect(),
                    idle: new,
                },
                2 => Event::DispatchFailed { task: id(index), reason: "no".to_owned(), permanent: new == 0 },
                _ => found(index, new, if new == 0 { 0.0 } else { confidence }, tokens, ms),
            };
            feed.push_back((step, event));
        }
        feed.extend((0..30).map(|_| (1_000, Event::Tick)));
        feed.push_back((0, Event::Answered));
        while let Some((step, event)) = feed.pop_front() {
            clock += step;
            if matches!(event, Event::Spawned(_) | Event::NotSpawned { .. }) {
                pending -= 1;
            }
            for effect in machine.handle(event, at(clock)) {
                match effect {
                    Effect::Spawn { aspect, like, task, budget } => {
                        prop_assert!(!spawned.contains(&aspect), "{aspect} got two further tasks");
                        prop_assert!(like.as_str() <= "t4");
                        spawned.push(aspect.clone());
                        pending += 1;
                        // Every second time none makes sense. They are told in the order they were asked for.
                        let told = if spawned.len().is_multiple_of(2) {
                            Event::NotSpawned { aspect, budget }
                        } else {
                            let mut further = plan(&[&[]], 1).task_delegations.remove(0);
                            (further.task_id, further.aspect, further.budget) = (task, aspect, budget);
                            Event::Spawned(Box::new(further))
                        };
                        feed.insert(pending - 1, (0, told));
                    }
                    Effect::DispatchSecond(task) => {
                        prop_assert!(!seconds.contains(&task), "{task} was executed a third time");
                        seconds.push(task);
                    }
                    Effect::Synthesize => syntheses += 1,
                    _ => {}
                }
            }
            let asked = 100 * pending as u64;
            prop_assert!(committed(&machine) + asked <= 400, "{machine:#?}");
            prop_assert!(machine.snapshot().running <= max_parallel);
        }
        prop_assert!(machine.is_finished());
        prop_assert!(syntheses <= 1);
        prop_assert_eq!(machine.results().len() + machine.missing().len(), machine.tasks.len());
    }
}
