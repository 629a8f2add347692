//! How long recall takes among 10,000 episodes (target: less than 5 ms), and a read of working memory among as many results
//! (target: 99 % in less than 10 µs), and how fast the complexity of queries is learnt
//! whose words tell it while the rules are right about half of them. Prints medians and a learning curve.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axon_memory::{DEFAULT_LIMITS, EpisodeIndex, Kept, LocalCache, Predictor};
use axon_protocol::{AnswerStatus, Complexity, Digest, Episode, QualityMetrics, QueryId, Shape, StopReason, Usage};
use chrono::{DateTime, TimeDelta, Utc};

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

/// Reads results of some kilobytes from a full cache, in any order.
fn read_working_memory(chance: &mut Chance) {
    let now = tokio::time::Instant::now();
    let mut cache = LocalCache::new(64 << 20, Duration::from_secs(3600));
    let keys: Vec<Digest> = (0..EPISODES).map(|id| Digest::of(&id.to_le_bytes())).collect();
    for key in &keys {
        let kept = Kept {
            value: vec![b'x'; 1024 + chance.below(4096)].into(),
            took: Duration::from_millis(chance.below(1000) as u64),
        };
        cache.insert(key.clone(), kept, now);
    }
    assert_eq!(cache.len(), keys.len(), "all of them have room");
    let mut taken: Vec<f64> = (0..READS)
        .map(|_| {
            let key = &keys[chance.below(keys.len())];
            let begun = Instant::now();
            std::hint::black_box(cache.get(key, now));
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    println!(
        "read of working memory among {EPISODES}: {:.2} µs p50, {:.2} µs p99",
        taken[READS / 2],
        taken[READS * 99 / 100]
    );
}
