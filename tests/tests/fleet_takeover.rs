//! A query's message is its lease: the lead that holds it is killed, cut off or frozen at each step of its work, and
//! another goes on from what is there. Nothing that is done is done again, and there is one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use axon_bus::Bus;
use axon_protocol::{AnswerStatus, Bucket, EventKind, Namespace, Query, QueryId, Stream};
use axon_tests::client::{answer, answers, count, query_of, recorded, sleeps, starts, submit, task, unfinished};
use axon_tests::{Bed, Fleet, Process, Proxy, Stop, eventually, eventually_true, json_request, shared};
use futures::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// The lease of a query, the start of a lead, and what was left to do.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);
/// Tasks of the query below.
const TASKS: usize = 8;

/// Tasks of a chain that takes seconds however quick they are.
const CHAIN: usize = 200;

/// Four tasks, and four more that need all of them.
fn query(first_ms: u64, second_ms: u64) -> Query {
    let mut tasks = sleeps(TASKS, first_ms);
    for (task, late) in tasks[4..].iter_mut().zip(sleeps(4, second_ms)) {
        task.calls = late.calls;
        task.dependencies = (1..=4).map(|index| format!("t{index}")).collect();
    }
    query_of(tasks, 90)
}

/// Where a lead is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Unplanned,
    Planned,
    AmidDispatch,
    HalfTheResults,
    AllTheResults,
    SynthesisRequested,
    AnsweredUnremembered,
    AnsweredUnacknowledged,
}

const STEPS: [Step; 8] = [
    Step::Unplanned,
    Step::Planned,
    Step::AmidDispatch,
    Step::HalfTheResults,
    Step::AllTheResults,
    Step::SynthesisRequested,
    Step::AnsweredUnremembered,
    Step::AnsweredUnacknowledged,
];

impl Step {
    /// The message of the lead that marks it.
    fn stop(self, ns: &Namespace) -> Stop {
        let plans = format!("$KV.{}.", ns.bucket(Bucket::Plans));
        let tasks = format!("{}.tasks.", ns);
        let synthesis = format!("{}.synthesis.", ns);
        match self {
            Step::Unplanned => Stop::before(plans),
            Step::Planned => Stop::after(plans),
            Step::AmidDispatch => Stop {
                skip: 1,
                ..Stop::after(tasks)
            },
            Step::HalfTheResults => Stop {
                skip: 4,
                ..Stop::before(tasks)
            },
            Step::AllTheResults => Stop::before(synthesis),
            Step::SynthesisRequested => Stop::after(synthesis),
            Step::AnsweredUnremembered => Stop::before(format!("{}.episodes.", ns)),
            Step::AnsweredUnacknowledged => Stop {
                content: "+ACK".to_owned(),
                ..Stop::before(format!("$JS.ACK.{}.", ns.stream(Stream::Queries)))
            },
        }
    }

    /// Whether another lead goes on with the plan, and does not just find the answer or nothing at all.
    fn is_taken_over(self) -> Option<bool> {
        match self {
            Step::Planned | Step::AmidDispatch | Step::HalfTheResults | Step::AllTheResults => Some(true),
            Step::Unplanned | Step::AnsweredUnremembered | Step::AnsweredUnacknowledged => Some(false),
            // The synthesizer is at work on it.
            Step::SynthesisRequested => None,
        }
    }
}

/// Leads that hold a query each and are stopped, each at its step.
struct Stopped {
    leads: BTreeMap<usize, (Process, Proxy, QueryId)>,
}

impl Stopped {
    async fn at_each_step(fleet: &Fleet, bus: &Bus, query: &Query) -> Self {
        let ns = bus.namespace();
        let leads = join_all(STEPS.map(|step| async move {
            let proxy = Proxy::to(shared().port()).await;
            proxy.stop_at(step.stop(ns));
            let own = [
                ("AXON_BUS__URL", proxy.url()),
                ("AXON_LEAD__MAX_CONCURRENT_EXECUTIONS", "1".to_owned()),
                ("AXON_LEAD__MAX_LEASED_QUERIES", "1".to_owned()),
            ];
            let own = own.each_ref().map(|(key, value)| (*key, value.as_str()));
            (fleet.ready("axon-lead", &own).await, proxy)
        }))
        .await;
        let mut ids = Vec::new();
        for _ in STEPS {
            ids.push(submit(bus, query).await);
        }
        let subjects = join_all(leads.iter().map(|(_, proxy)| proxy.stopped(SOON))).await;
        let mut stopped = BTreeMap::new();
        for (index, ((lead, proxy), subject)) in leads.into_iter().zip(subjects).enumerate() {
            // The acknowledgement names the query by its sequence, everything else by its id.
            let named = |id: &&QueryId| {
                subject
                    .split('.')
                    .any(|token| token == &id.as_str()[1..] || token == id.as_str())
            };
            let id = ids
                .iter()
                .find(named)
                .expect("it stopped at one of the queries")
                .clone();
            stopped.insert(index, (lead, proxy, id));
        }
        Self { leads: stopped }
    }

    fn steps(&self) -> impl Iterator<Item = (Step, &QueryId)> {
        self.leads.iter().map(|(index, (_, _, id))| (STEPS[*index], id))
    }
}

async fn answered_once(bus: &Bus, id: &QueryId, what: &str) {
    let answer = answer(bus, id, SOON).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{what}: {answer:?}");
    assert_eq!(answer.tasks_completed, answer.tasks_delegated, "{what}: {answer:?}");
    assert_eq!(answers(bus, id).await, 1, "{what}");
}

async fn idle(bus: &Bus) {
    eventually_true("nothing is left in the queues", SOON, || async {
        unfinished(bus).await == 0
    })
    .await;
}

/// Every query is remembered once, by whichever lead.
async fn remembered_once(bus: &Bus, id: &QueryId, what: &str) {
    let subject = bus.namespace().episode("own_plan", id);
    let episodes = eventually(&format!("{what}: the episode of {id}"), SOON, || async {
        let kept = bus.messages(Stream::Episodes, &subject, 0, 10).await.expect("reads");
        (!kept.is_empty()).then_some(kept.len())
    })
    .await;
    assert_eq!(episodes, 1, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lead_killed_at_any_step_is_replaced_and_nothing_is_done_twice() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (worker, _synthesizer) = tokio::join!(fleet.worker(32), fleet.synthesizer());
    let stopped = Stopped::at_each_step(&fleet, &bus, &query(200, 200)).await;
    let killed_at = Instant::now();
    for (lead, _, _) in stopped.leads.values() {
        lead.kill();
    }
    let _next = fleet.lead().await;
    for (step, id) in stopped.steps() {
        let what = format!("{step:?}, {id}");
        answered_once(&bus, id, &what).await;
        assert!(killed_at.elapsed() < TAKEOVER_MAX, "{what}: {:?}", killed_at.elapsed());
    }
    idle(&bus).await;
    for (step, id) in stopped.steps() {
        let what = format!("{step:?}, {id}");
        let starts = starts(&bus, id).await;
        assert_eq!(starts.len(), TASKS, "{what}: {starts:?}");
        assert!(starts.values().all(|starts| *starts == 1), "{what}: {starts:?}");
        let taken_over = count(&bus, id, EventKind::TakenOver).await;
        if let Some(expected) = step.is_taken_over() {
            assert_eq!(taken_over, usize::from(expected), "{what}");
        }
        remembered_once(&bus, id, &what).await;
        let recorded = recorded(&bus, id).await;
        let tasks: BTreeSet<&str> = recorded
            .iter()
            .flat_map(|record| record.tasks.iter().map(|task| task.subject.as_str()))
            .collect();
        assert_eq!(
            tasks.len(),
            TASKS,
            "{what}: the history holds each task that was queued"
        );
    }
    let all = (STEPS.len() * TASKS) as f64;
    assert_eq!(worker.metric("axon_task_starts_total", &[]).await, all);
    assert_eq!(worker.metric("axon_task_starts_total", &["cause=\"first\""]).await, all);
    assert_eq!(worker.metric("axon_results_fenced_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leads_that_were_cut_off_come_back_amid_the_work_of_another_and_do_no_harm() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (worker, _synthesizer) = tokio::join!(fleet.worker(64), fleet.synthesizer());
    let stopped = Stopped::at_each_step(&fleet, &bus, &query(200, 2000)).await;
    // It is there already when the leases end.
    let other = fleet.lead().await;
    let half: Vec<&QueryId> = stopped
        .steps()
        .filter(|(step, _)| step.is_taken_over() == Some(true))
        .map(|(_, id)| id)
        .collect();
    eventually_true("the other lead has taken over", SOON, || async {
        join_all(half.iter().map(|id| count(&bus, id, EventKind::TakenOver)))
            .await
            .iter()
            .all(|count| *count >= 1)
    })
    .await;
    for (_, proxy, _) in stopped.leads.values() {
        proxy.go_on();
    }
    for (step, id) in stopped.steps() {
        answered_once(&bus, id, &format!("{step:?}, {id}")).await;
    }
    idle(&bus).await;
    let mut again = 0;
    for (step, id) in stopped.steps() {
        let what = format!("{step:?}, {id}");
        let starts = starts(&bus, id).await;
        assert_eq!(starts.len(), TASKS, "{what}: {starts:?}");
        again += starts.values().sum::<usize>() - TASKS;
        assert_eq!(answers(&bus, id).await, 1, "{what}");
        remembered_once(&bus, id, &what).await;
    }
    // What was on the wire for ten seconds may be a task that is done; its second result is refused, and counted.
    let fenced = worker.metric("axon_results_fenced_total", &[]).await;
    assert_eq!(fenced, again as f64, "every second execution is explained");
    // Whoever came back serves new queries.
    other.terminate();
    assert!(other.end(SOON).await.success());
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(submit(&bus, &query_of(sleeps(2, 300), 60)).await);
    }
    for id in &ids {
        answered_once(&bus, id, "a new query").await;
    }
    for (lead, _, _) in stopped.leads.values() {
        lead.ready(SOON).await;
    }
    eventually_true("those who came back have counted the new queries", SOON, || async {
        let leads = stopped.leads.values();
        let served = join_all(leads.map(|(lead, _, _)| lead.metric("axon_queries_total", &["outcome=\"complete\""])));
        served.await.iter().sum::<f64>() >= 16.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_lead_that_wakes_up_amid_the_work_of_another_leaves_it_to_that_one() {
    let (bed, bus) = Bed::new().await;
    let fleet = Fleet::counted(&bed);
    let (frozen, worker, _synthesizer) = tokio::join!(fleet.lead(), fleet.worker(64), fleet.synthesizer());
    // Chains of quick tasks: whoever is a moment late with the next one queues what is done already.
    let mut tasks: Vec<_> = (1..=CHAIN)
        .map(|index| task(&format!("t{index}"), "diag.echo", json!({ "said": index })))
        .collect();
    for (index, task) in tasks.iter_mut().enumerate().skip(1) {
        task.dependencies = vec![format!("t{index}")];
    }
    let chain = query_of(tasks, 90);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(submit(&bus, &chain).await);
    }
    eventually_true("every query runs", SOON, || async {
        join_all(ids.iter().map(|id| starts(&bus, id)))
            .await
            .iter()
            .all(|starts| starts.len() >= 2)
    })
    .await;
    frozen.freeze();
    let _other = fleet.lead().await;
    eventually_true("the other lead has taken over", SOON, || async {
        join_all(ids.iter().map(|id| count(&bus, id, EventKind::TakenOver)))
            .await
            .iter()
            .all(|count| *count == 1)
    })
    .await;
    frozen.thaw();
    for id in &ids {
        answered_once(&bus, id, "a chain").await;
    }
    idle(&bus).await;
    let mut again = 0;
    for id in &ids {
        let starts = starts(&bus, id).await;
        assert_eq!(starts.len(), CHAIN);
        let twice: Vec<&String> = starts
            .iter()
            .filter(|(_, starts)| **starts > 1)
            .map(|(task, _)| task)
            .collect();
        // One task may have been on its way to the server when the lead was frozen.
        assert!(twice.len() <= 1, "{twice:?}");
        again += starts.values().sum::<usize>() - CHAIN;
    }
    let fenced = worker.metric("axon_results_fenced_total", &[]).await;
    assert_eq!(fenced, again as f64, "every second execution is explained");
    let next = submit(&bus, &query_of(sleeps(2, 10), 30)).await;
    answered_once(&bus, &next, "a new query").await;
    frozen.ready(SOON).await;
}

/// Lets a dead letter that a lead died with come again after this time instead of half a minute.
async fn letters_come_again_after(bus: &Bus, seconds: u64) {
    let (stream, durable) = (
        bus.namespace().stream(Stream::Dead),
        bus.namespace().durable(Stream::Dead),
    );
    let info = json_request(bus, &format!("CONSUMER.INFO.{stream}.{durable}"), Value::Null).await;
    let mut config = info.expect("the consumer is there")["config"].clone();
    config["ack_wait"] = json!(seconds * 1_000_000_000);
    let body = json!({ "stream_name": stream, "config": config });
    let changed = json_request(bus, &format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}"), body).await;
    changed.expect("the consumer changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_between_two_tries_is_not_begun_anew_by_the_next_lead() {
    let (bed, bus) = Bed::new().await;
    letters_come_again_after(&bus, 17).await;
    let fleet = Fleet::counted(&bed).set("AXON_TOOLS__TRANSIENT_RETRIES", 0);
    let proxy = Proxy::to(shared().port()).await;
    // The first task is queued, and nothing is queued again.
    proxy.stop_at(Stop {
        skip: 1,
        ..Stop::before(format!("{}.tasks.", bus.namespace()))
    });
    let url = proxy.url();
    let own = [("AXON_BUS__URL", url.as_str())];
    let (lead, _worker, _synthesizer) =
        tokio::join!(fleet.ready("axon-lead", &own), fleet.worker(4), fleet.synthesizer());
    let failing = json!({ "kind": "transient", "times": 1 });
    let id = submit(&bus, &query_of(vec![task("t1", "diag.fail", failing)], 90)).await;
    assert!(
        proxy.stopped(SOON).await.ends_with(".t1~2"),
        "it is about to be tried again"
    );
    lead.kill();
    let _next = fleet.lead().await;
    eventually_true("the next lead has taken over", SOON, || async {
        count(&bus, &id, EventKind::TakenOver).await == 1
    })
    .await;
    answered_once(&bus, &id, "a task between two tries").await;
    idle(&bus).await;
    assert_eq!(starts(&bus, &id).await["t1"], 2, "one try, and another");
    assert_eq!(count(&bus, &id, EventKind::Retrying).await, 1);
}
