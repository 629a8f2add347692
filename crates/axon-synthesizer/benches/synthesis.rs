//! How long 10,000 findings take to become an answer, evidence checks aside. Prints the median of several runs of each set
//! in milliseconds; the target is less than a second.

#[path = "../tests/synthesis/fixture.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod fixture;
#[path = "../tests/synthesis/large.rs"]
mod large;

use std::time::Instant;

use axon_protocol::StopReason;

const FINDINGS: u32 = 10_000;
const RUNS: usize = 5;

fn main() {
    let plan = large::plan();
    for (name, findings) in large::sets(FINDINGS) {
        let results = large::results(&findings);
        let mut taken: Vec<f64> = (0..RUNS)
            .map(|_| {
                let started = Instant::now();
                std::hint::black_box(fixture::answer(&plan, &results, StopReason::Finished));
                started.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        taken.sort_by(f64::total_cmp);
        println!("{name}: {:.0} ms", taken[RUNS / 2]);
    }
}
