//! A lead that learns finds the strategies that do best, and leaves one that turns bad: over several seeds, with the stream of
//! queries that `examples/learning` measures.

#[path = "../examples/learning/world.rs"]
mod world;

use world::{KINDS, Step, World};

const QUERIES: usize = 500;
const TURNS_AT: usize = 300;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

/// What a lead does in one world, in which kind 0 turns, and the world afterwards.
fn stream(seed: u64) -> (Vec<Step>, World) {
    let mut world = World::new(seed, 0.1);
    let mut steps = Vec::new();
    for asked in 0..QUERIES {
        if asked == TURNS_AT {
            world.turn(0);
        }
        steps.push(world.ask());
    }
    (steps, world)
}

fn share(steps: &[Step], held: impl Fn(&Step) -> bool) -> f64 {
    steps.iter().filter(|step| held(step)).count() as f64 / steps.len().max(1) as f64
}

#[test]
fn the_choice_moves_to_what_does_best_and_away_from_what_turns_bad() {
    for seed in SEEDS {
        let (steps, world) = stream(seed);
        let before = share(&steps[..50], Step::is_best);
        let after = share(&steps[250..TURNS_AT], Step::is_best);
        assert!(
            before < 0.7 && after >= 0.7 && after > before,
            "seed {seed}: {before} before, {after} after"
        );
        let turned: Vec<Step> = steps[TURNS_AT..]
            .iter()
            .filter(|step| step.kind == 0)
            .cloned()
            .collect();
        let last = &turned[turned.len() - 15..];
        assert!(
            share(last, Step::is_best) <= 0.35,
            "seed {seed}: what turned bad is still followed by {}",
            share(last, Step::is_best)
        );
        let truth = |steps: &[Step]| share(steps, |step| step.said == step.truth);
        let (first, last) = (truth(&steps[..100]), truth(&steps[400..]));
        assert!(
            last >= 0.8 && last > first,
            "seed {seed}: complexity right {first} before, {last} after"
        );
        let (model, mean) = world.durations_off_by().expect("enough was held back");
        assert!(
            model < mean,
            "seed {seed}: durations off by {model}, the means by {mean}"
        );
        let (patterns, strategies) = world.learnt();
        assert!(
            !patterns.is_empty() && !strategies.is_empty(),
            "seed {seed}: {patterns:#?} {strategies:#?}"
        );
    }
}

#[test]
fn without_trials_nothing_is_learnt_and_a_seed_tells_all() {
    let ask = |queries: usize| {
        let mut world = World::new(1, 0.0);
        (0..queries).map(|_| world.ask()).collect::<Vec<Step>>()
    };
    let steps = ask(150);
    assert_eq!(steps[..50], ask(50));
    assert!(steps.iter().all(|step| !step.trial));
    let misread: Vec<Step> = steps.into_iter().filter(|step| step.kind + 1 < KINDS.len()).collect();
    assert!(share(&misread, Step::is_best) < 0.5);
}
