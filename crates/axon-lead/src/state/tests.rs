use axon_protocol::{
    Budget, OutputFormat, Query, QueryId, ResourceAllocation, SelectedStrategy, TaskBoundaries, TaskDelegation,
};
use proptest::prelude::*;

use super::*;

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
        estimated_duration_ms: 0,
        created_at: at(0),
        tasks_deadline: at(8_500),
        deadline: at(10_000),
    }
}

fn machine(dependencies: &[&[usize]], max_parallel: usize) -> Execution {
    let plan = plan(dependencies, max_parallel);
    Execution::new(&plan, &vec![1; plan.task_delegations.len()], at(0))
}

fn accepted(index: usize, status: TaskStatus) -> Event {
    Event::Accepted(Accepted {
        task: id(index),
        status,
        reason: None,
        sequence: Some(7),
        worker: None,
        attempt: 1,
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
    let mut machine = Execution::new(&plan, &ranks, at(0));
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
            (8_500, Event::Tick, &[Effect::StopTasks]),
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
            (100, Event::Cancelled, &[Effect::StopTasks]),
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
    assert_eq!(machine.progress(), (2, 2));
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
