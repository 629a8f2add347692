//! How long recall takes among 10,000 episodes (target: less than 5 ms), and what working memory takes to answer a call that it
//! knows among as many (target: 99 % in less than 10 µs), and how fast the complexity of queries is learnt
//! whose words tell it while the rules are right about half of them. Prints medians and a learning curve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axon_memory::{DEFAULT_LIMITS, EpisodeIndex, Predictor, Source, Wanted, WorkingMemory};
use axon_protocol::{
    AnswerStatus, Complexity, Digest, Episode, QualityMetrics, QueryId, Shape, StopReason, Usage, WorkerId,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

const EPISODES: u64 = 10_000;
const QUERIES: u64 = 500;
const RUNS: usize = 101;
const READS: usize = 100_000;
const SUBJECTS: &[&str] = &[
    "cache", "parser", "lease", "server", "header", "queue", "index", "worker", "stream", "token",
];
/// Words of a question with the tasks that it really needs.
const KINDS: &[(&str, usize)] = &[
    ("where is the default of the {} set", 1),
    ("which functions of the {} have no tests", 4),
    ("compare how every module uses the {}", 10),
    ("what does the {} return on empty input", 1),
    ("review the {} for panics and ignored errors", 4),
    ("trace all callers of the {} through the workspace", 10),
];

/// A small generator of numbers, so that every run sees the same queries.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

fn episode(id: u64, query: String, ruled: Complexity, tasks: usize, at: DateTime<Utc>) -> Episode {
    Episode {
        query_id: QueryId::from_sequence(id),
        query,
        session: None,
        workspace: None,
        strategy: "research".to_owned(),
        leaning: None,
        complexity: Some(ruled),
        ruled: None,
        shape: Some(Shape::Single),
        aspects: Vec::new(),
        aspects_asked: 0,
        yields: Vec::new(),
        tools: BTreeMap::new(),
        retries: 0,
        hand_overs: 0,
        conflicts: 0,
        tasks,
        workers: tasks,
        status: AnswerStatus::Complete,
        stop_reason: StopReason::Finished,
        success: true,
        quality: Some(QualityMetrics {
            coverage: 1.0,
            ..QualityMetrics::default()
        }),
        usage: Usage::default(),
        duration_ms: 1_000.0,
        summary: String::new(),
        places: Vec::new(),
        at,
    }
}

fn class(tasks: usize) -> Complexity {
    match tasks {
        1 => Complexity::Simple,
        4 => Complexity::Medium,
        _ => Complexity::Complex,
    }
}

fn main() {
    let mut chance = Chance(1);
    let start = DateTime::UNIX_EPOCH;
    let mut index = EpisodeIndex::new(EPISODES as usize);
    for id in 0..EPISODES {
        let (words, tasks) = KINDS[chance.below(KINDS.len())];
        let subject = format!("{}_{}", SUBJECTS[chance.below(SUBJECTS.len())], chance.below(200));
        let at = start + TimeDelta::minutes(id as i64);
        index.insert(episode(
            id,
            words.replace("{}", &subject),
            Complexity::Medium,
            tasks,
            at,
        ));
    }
    let now = start + TimeDelta::days(10);
    let mut taken: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            std::hint::black_box(index.recall("which functions of cache_7 panic on empty input", None, now, 3));
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    println!(
        "recall among {EPISODES}: {:.2} ms p50, {:.2} ms p99",
        taken[RUNS / 2],
        taken[RUNS - 2]
    );

    read_working_memory(&mut chance);

    let mut predictor = Predictor::new(DEFAULT_LIMITS);
    for id in 1..=QUERIES {
        let (words, tasks) = KINDS[chance.below(KINDS.len())];
        let query = words.replace("{}", SUBJECTS[chance.below(SUBJECTS.len())]);
        // The rules are right about every other query.
        let ruled = if id % 2 == 0 { class(tasks) } else { Complexity::Medium };
        predictor.observe(&episode(id, query, ruled, tasks, start));
        if id % 100 == 0 {
            let (learnt, held_back) = predictor.observed();
            let said = predictor.accuracy().map_or_else(
                || "too few were held back to judge by".to_owned(),
                |(model, rules)| {
                    format!(
                        "model right about {:.0} %, rules about {:.0} %",
                        model * 100.0,
                        rules * 100.0
                    )
                },
            );
            println!("after {id} queries ({learnt} learnt from, {held_back} held back): {said}");
        }
    }
}

/// Asks for calls that are known, in any order, whose results are lists of some kilobytes to the largest there may be.
#[tokio::main(flavor = "current_thread")]
async fn read_working_memory(chance: &mut Chance) {
    let memory = WorkingMemory::unshared(WorkerId::new("bench").expect("an id"), 1 << 30);
    let wanted = |id: u64| Wanted {
        key: Digest::of(&id.to_le_bytes()),
        expected: Duration::ZERO,
        deadline: None,
    };
    let mut making = tokio::task::JoinSet::new();
    for id in 0..EPISODES {
        let items = if id % 100 == 0 { 2_000 } else { 10 + chance.below(40) };
        let (memory, wanted) = (memory.clone(), wanted(id));
        let make = async move {
            // What takes less is not kept.
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok::<_, String>(result_of(items))
        };
        making.spawn(async move { memory.answer(&wanted, &|| {}, make).await.1 });
    }
    let made = making.join_all().await;
    assert!(made.iter().all(|source| *source == Source::Made));
    let mut taken = Vec::with_capacity(READS);
    for _ in 0..READS {
        let wanted = wanted(chance.below(EPISODES as usize) as u64);
        let make = async { Err("all of them have room") };
        let begun = Instant::now();
        let (result, _) = std::hint::black_box(memory.answer(&wanted, &|| {}, make).await);
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
        assert!(result.is_ok(), "{result:?}");
    }
    taken.sort_by(f64::total_cmp);
    println!(
        "working memory answers one of {EPISODES} known calls: {:.2} µs p50, {:.2} µs p99",
        taken[READS / 2],
        taken[READS * 99 / 100]
    );
}

/// What a search returns that found so much.
fn result_of(items: usize) -> Value {
    let hit = |line| json!({"path": "src/some/module/of/it.rs", "line": line, "text": "let found = first(&all)?;"});
    json!({"hits": (0..items).map(hit).collect::<Vec<_>>(), "omitted": 0})
}
