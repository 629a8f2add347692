//! Measures how a lead learns, without a server: `cargo run --release -p axon-lead --example learning -- [--seed N] [--queries N]`.
//!
//! Queries of several kinds come in a random order; which strategy is best for each kind and how complex it really is are
//! hidden. It prints how soon the choice finds the best strategy, what the models are worth before and after, and how soon a
//! strategy is left that turns bad.

mod world;

use world::{KINDS, Step, World};

/// Queries of one line of the output.
const BLOCK: usize = 50;
/// Queries of a kind by which it is judged what is followed, and the share of them that counts as a habit.
const HABIT: usize = 10;
const HABIT_SHARE: f64 = 0.8;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut seed, mut queries, mut share) = (1, 500, 0.1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<f64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => seed = value as u64,
            ("--queries", Some(value)) => queries = value as usize,
            ("--trial-share", Some(value)) => share = value,
            _ => {
                eprintln!("usage: learning [--seed N] [--queries N] [--trial-share SHARE]");
                std::process::exit(2);
            }
        }
    }
    let mut world = World::new(seed, share);
    let (turned, turns_at) = (0, queries * 3 / 5);
    let mut steps = Vec::with_capacity(queries);
    for asked in 0..queries {
        if asked == turns_at {
            world.turn(turned);
        }
        steps.push(world.ask());
    }
    println!(
        "seed {seed}, {queries} queries of {} kinds, {:.0} % trials",
        KINDS.len(),
        share * 100.0
    );
    for (kind, hidden) in KINDS.iter().enumerate() {
        let first = steps
            .iter()
            .find(|step| step.kind == kind)
            .map_or("", |step| step.playbook.as_str());
        println!(
            "  kind {kind}: reads like {first}, best {}, {} tasks",
            hidden.best, hidden.tasks
        );
    }
    println!(
        "\nbest strategy chosen, of {BLOCK} queries each (kind {turned} turns at query {turns_at}, and has none then)"
    );
    for (block, steps) in steps.chunks(BLOCK).enumerate() {
        let judged: Vec<&Step> = steps
            .iter()
            .enumerate()
            .filter(|(index, step)| step.kind != turned || block * BLOCK + index < turns_at)
            .map(|(_, step)| step)
            .collect();
        let best = judged.iter().filter(|step| step.is_best()).count();
        let trials = steps.iter().filter(|step| step.trial).count();
        println!(
            "  {:>4}–{:<4} {:>3.0} %   {trials} trials",
            block * BLOCK + 1,
            block * BLOCK + steps.len(),
            share_of(best, judged.len())
        );
    }
    for kind in 0..KINDS.len() {
        println!("  kind {kind}: {}", found(&steps[..turns_at], kind));
    }
    println!("\n{}", left(&steps, turned, turns_at));
    let edge = queries.min(100);
    println!("\ncomplexity right, of the first and the last {edge}");
    for (name, part) in [("first", &steps[..edge]), ("last", &steps[queries - edge..])] {
        let model = part.iter().filter(|step| step.said == step.truth).count();
        let rules = part.iter().filter(|step| step.ruled == step.truth).count();
        println!(
            "  {name}: lead {:.0} %, rules alone {:.0} %",
            share_of(model, edge),
            share_of(rules, edge)
        );
    }
    if let Some((model, mean)) = world.durations_off_by() {
        println!(
            "\nduration off by a factor of {model:.2} on episodes held back, the means of strategies by {mean:.2}"
        );
    }
    let (patterns, strategies) = world.learnt();
    println!("\n{} patterns, the first of them", patterns.len());
    patterns.iter().take(8).for_each(|pattern| println!("  {pattern}"));
    println!("\n{} strategies generated", strategies.len());
    for strategy in strategies {
        println!("  {} ({:?}): {}", strategy.name, strategy.stage, strategy.description);
    }
}

fn share_of(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

/// After how many queries of a kind its best strategy is the habit.
fn found(steps: &[Step], kind: usize) -> String {
    let of_kind: Vec<bool> = steps
        .iter()
        .filter(|step| step.kind == kind)
        .map(Step::is_best)
        .collect();
    match habit(&of_kind) {
        Some(after) => format!("the best strategy is the habit after {after} of its queries"),
        None => "the best strategy never becomes the habit".to_owned(),
    }
}

/// After how many queries a strategy that turned bad is left.
fn left(steps: &[Step], kind: usize, turns_at: usize) -> String {
    let after: Vec<(usize, bool)> = steps
        .iter()
        .enumerate()
        .skip(turns_at)
        .filter(|(_, step)| step.kind == kind)
        .map(|(index, step)| (index, !step.is_best()))
        .collect();
    let left: Vec<bool> = after.iter().map(|(_, left)| *left).collect();
    match habit(&left) {
        Some(queries) => {
            let at = after.get(queries).map_or(turns_at, |(index, _)| *index);
            format!(
                "kind {kind} turned at query {turns_at}: left after {queries} of its queries, {} of all",
                at - turns_at
            )
        }
        None => format!("kind {kind} turned at query {turns_at}: not left"),
    }
}

/// From which index on something holds for most of the next few.
fn habit(held: &[bool]) -> Option<usize> {
    let enough = |window: &[bool]| window.iter().filter(|held| **held).count() as f64 >= HABIT_SHARE * HABIT as f64;
    held.windows(HABIT).position(enough)
}
