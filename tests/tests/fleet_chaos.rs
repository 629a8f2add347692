//! Ten queries at once while workers, a lead and the synthesizer are killed at random: every query has its answer, the
//! budgets hold, and whatever was done twice was done by somebody who died.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axon_bus::Bus;
use axon_protocol::{AnswerStatus, Bucket, PlanRecord, Query, QueryId, SECOND_EXECUTION, Stored, Stream, TaskStatus};
use axon_tests::chance::Chance;
use axon_tests::client::{answer, answers, query_of, sleeps, starters, submit, unfinished};
use axon_tests::{Bed, Fleet, Process, eventually_true};
use futures::future::join_all;
use serde_json::Value;

/// Longest time the whole may take: the deadlines of the queries.
const DEADLINE_S: u64 = 80;
/// Queries with their own plan, and questions that are analysed.
const PLANS: usize = 8;
const QUESTIONS: [&str; 2] = [
    "Review src/ for panics and unhandled errors",
    "Why does parse_header fail on empty input?",
];
/// Blows that are dealt.
const BLOWS: usize = 9;
const BUDGET: (u64, u64) = (40_000, 30);

/// Tasks that sleep a while and need some of those before them.
fn plan(chance: &mut Chance) -> Query {
    let count = chance.between(5, 9) as usize;
    let mut tasks = sleeps(count, 0);
    for (index, task) in tasks.iter_mut().enumerate() {
        task.calls = sleeps(1, chance.between(300, 1500)).remove(0).calls;
        let before = (1..=index).map(|needed| format!("t{needed}"));
        task.dependencies = before.filter(|_| chance.once_in(3)).collect();
    }
    query_of(tasks, DEADLINE_S)
}

fn workspace(folder: &Path) {
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let parse = "pub fn parse_header(input: &[u8]) -> Header {\n    let first = input[0];\n    let text = \
                 std::str::from_utf8(&input[1..]).unwrap();\n    Header { version: first, name: text.to_owned() }\n}\n";
    let main = "fn main() {\n    let input = std::fs::read(\"header\").expect(\"a file\");\n    let header = \
                parse_header(&input);\n    println!(\"{}\", header.name);\n    let _ = std::fs::remove_file(\"header\");\n}\n";
    fs::write(folder.join("src/header.rs"), parse).expect("written");
    fs::write(folder.join("src/main.rs"), main).expect("written");
}

/// Asks a question about a folder as a person would.
async fn question(fleet: &Fleet, text: &str, folder: &Path) -> QueryId {
    let (deadline, tokens, cents) = (DEADLINE_S.to_string(), BUDGET.0.to_string(), BUDGET.1.to_string());
    let ended = fleet
        .axon(&[
            "submit",
            text,
            "--workspace",
            &folder.display().to_string(),
            "--timeout",
            &deadline,
            "--budget-tokens",
            &tokens,
            "--budget-cents",
            &cents,
            "--json",
        ])
        .await;
    let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    QueryId::new(said["id"].as_str().expect("an id")).expect("an id")
}

/// A fleet whose members are killed and replaced.
struct Arena<'a> {
    fleet: &'a Fleet,
    workers: Vec<Process>,
    leads: Vec<Process>,
    synthesizer: Process,
    dead_workers: Vec<Process>,
}

impl<'a> Arena<'a> {
    async fn open(fleet: &'a Fleet) -> Self {
        let (workers, one, other, synthesizer) =
            tokio::join!(fleet.workers(4, 4), fleet.lead(), fleet.lead(), fleet.synthesizer());
        Self {
            fleet,
            workers,
            leads: vec![one, other],
            synthesizer,
            dead_workers: Vec::new(),
        }
    }

    /// Kills a worker, and some time the lead and the synthesizer, until all blows are dealt.
    async fn fight(&mut self, chance: &mut Chance) {
        let lead_at = chance.between(1, BLOWS as u64 - 2) as usize;
        let synthesizer_at = chance.between(1, BLOWS as u64 - 2) as usize;
        for blow in 0..BLOWS {
            // Not a condition to wait for, but the time at which chance strikes.
            tokio::time::sleep(chance.ms(200, 900)).await;
            let victim = chance.between(0, 3) as usize;
            self.workers[victim].kill();
            let next = self.fleet.start("axon-worker", &[("AXON_WORKER__SLOTS", "4")]);
            self.dead_workers
                .push(std::mem::replace(&mut self.workers[victim], next));
            if blow == lead_at {
                self.leads[0].kill();
                self.leads[0] = self.fleet.start("axon-lead", &[]);
            }
            if blow == synthesizer_at {
                self.synthesizer.kill();
                self.synthesizer = self.fleet.start("axon-synthesizer", &[]);
            }
        }
    }
}

async fn plan_of(bus: &Bus, id: &QueryId) -> axon_protocol::ExecutionPlan {
    let entry = bus
        .table::<PlanRecord>(Bucket::Plans)
        .get(id.as_str())
        .await
        .expect("reads");
    let stored = entry.and_then(|entry| entry.value).and_then(|record| record.plan);
    let stored: Stored<_> = stored.expect("its plan");
    Arc::unwrap_or_clone(bus.load(stored).await.expect("its plan"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_queries_survive_a_fleet_that_is_killed_at_random() {
    let mut chance = Chance::seeded();
    let (bed, bus) = Bed::new().await;
    // A task that is twice where chance strikes is no poison.
    let fleet = Fleet::new(&bed).set("AXON_WORKER__POISON_STARTS", 10);
    let folder = fleet.folder().join("workspace");
    workspace(&folder);
    let mut arena = Arena::open(&fleet).await;
    let mut ids = join_all(QUESTIONS.map(|text| question(&fleet, text, &folder))).await;
    for _ in 0..PLANS {
        ids.push(submit(&bus, &plan(&mut chance)).await);
    }
    arena.fight(&mut chance).await;
    for id in &ids {
        let answer = answer(&bus, id, Duration::from_secs(DEADLINE_S + 30)).await;
        let plan = plan_of(&bus, id).await;
        // None of the deadlines is near, and nothing failed but processes.
        assert_eq!(answer.status, AnswerStatus::Complete, "{id}: {answer:?}");
        assert_eq!(answer.tasks_completed, plan.task_delegations.len(), "{id}");
        let allocation = &plan.resource_allocation;
        let parts = plan
            .task_delegations
            .iter()
            .map(|task| task.budget)
            .chain([plan.synthesis_reserve]);
        let (tokens, cents) = parts.fold((0, 0), |sum, part| (sum.0 + part.tokens, sum.1 + part.cents));
        assert_eq!(
            (tokens, cents),
            (allocation.max_tokens_budget, allocation.max_cost_cents),
            "{id}: split, never shared"
        );
        assert!(
            answer.usage.tokens <= tokens && answer.usage.cents <= cents as f64,
            "{id}: {:?}",
            answer.usage
        );
        let calls: usize = plan
            .task_delegations
            .iter()
            .map(|task| task.boundaries.max_tool_calls)
            .sum();
        assert!(answer.usage.tool_calls <= calls as u64, "{id}: {:?}", answer.usage);
    }
    eventually_true("nothing is left in the queues", Duration::from_secs(30), || async {
        unfinished(&bus).await == 0
    })
    .await;
    explained(&bus, &ids, &arena).await;
}

/// One answer a query, one result a task, and of each task every start but one by a worker that died, except for those
/// whose late result was refused.
async fn explained(bus: &Bus, ids: &[QueryId], arena: &Arena<'_>) {
    let dead: BTreeSet<String> = arena
        .dead_workers
        .iter()
        .filter(|worker| worker.log().contains(" started "))
        .map(Process::id)
        .collect();
    let mut unexplained: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for id in ids {
        assert_eq!(answers(bus, id).await, 1);
        let plan = plan_of(bus, id).await;
        let results = bus
            .messages(Stream::Results, &bus.namespace().results_of(id), 0, 100)
            .await
            .expect("reads");
        assert_eq!(results.len(), plan.task_delegations.len(), "{id}");
        for result in &results {
            let result: axon_protocol::TaskResult = bus.decode_stored(result).await.expect("a result");
            assert_eq!(result.status, TaskStatus::Complete, "{id}: {result:?}");
            // Nothing failed, so nothing was tried again; a slow task may have been executed a second time beside the first.
            assert!([1, SECOND_EXECUTION].contains(&result.attempt), "{id}: {result:?}");
        }
        for (task, by) in starters(bus, id).await {
            // A second execution of a slow task is asked for, and counted apart.
            let first = by.iter().filter(|(_, attempt)| *attempt < u64::from(SECOND_EXECUTION));
            let survivors: Vec<&String> = first
                .map(|(worker, _)| worker)
                .filter(|worker| !dead.contains(*worker))
                .collect();
            if survivors.len() > 1 {
                unexplained.insert(format!("{id} {task}"), by);
            }
        }
    }
    let mut refused = 0.0;
    for worker in &arena.workers {
        worker.ready(Duration::from_secs(30)).await;
        refused += worker.metric("axon_results_fenced_total", &[]).await;
    }
    assert!(
        unexplained.len() as f64 <= refused,
        "{unexplained:?}, {refused} results were refused, dead are {dead:?}"
    );
}
