//! A lead's machine in a world of chance: a broker that keeps queues and results, workers that die, notices that are lost,
//! doubled and late, leads that crash and are replaced, clocks that jump. What may never happen is checked at every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::*;

/// Worlds that are tried: one a seed, always the same ones.
const WORLDS: u64 = 3_000;
/// The variable that tries the world of one seed alone.
const SEED_VARIABLE: &str = "AXON_TEST_SEED";
/// Nothing may take longer, in milliseconds: the deadline, the longest absence of leads and 30 s.
const END_MS: i64 = 10_000 + 2 * 12_000 + 30_000;
/// How long a result may stand in its stream before the lead knows of it, in milliseconds.
const DEAF_MS: i64 = RECONCILE_MS + 500;

/// Numbers that depend on their seed alone (SplitMix64).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.number() % (high - low + 1) as u64) as i64
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A worker takes a task.
    Take(usize),
    /// It has done it.
    Done(usize),
    /// A lead hears of a result. The number is that of the lead.
    Told(u64, usize),
    /// A lead hears of the answer.
    Answered(u64),
    /// A lead's clock rings.
    Tick(u64),
    /// The synthesizer has written the answer.
    Synthesized,
    Cancelled,
    /// The lead dies.
    Crash,
    /// Another one takes over.
    Next,
    /// The lead's clock jumps.
    Jump(i64),
}

struct World {
    chance: Chance,
    needs: Vec<Vec<usize>>,
    max_parallel: usize,
    now: i64,
    /// How far the lead's clock is from the world's.
    skew: i64,
    jumped: bool,
    ahead: BinaryHeap<Reverse<(i64, u64, Happening)>>,
    happenings: u64,
    lead: Option<Execution>,
    leads: u64,
    /// Tasks in their queue, and those of them that a worker has.
    queued: BTreeSet<usize>,
    taken: BTreeSet<usize>,
    /// Results, and when they were stored.
    results: BTreeMap<usize, (TaskStatus, i64)>,
    answered: bool,
    finished: bool,
    executions: Vec<u32>,
    /// Executions of a task that may come twice: its worker died, or nobody could tell whether it was queued.
    excuses: Vec<u32>,
    unsure: usize,
    syntheses: BTreeMap<u64, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let count = chance.between(1, 9) as usize;
        let needs = (0..count)
            .map(|index| (0..index).filter(|_| chance.once_in(4)).collect())
            .collect();
        Self {
            max_parallel: chance.between(1, 5) as usize,
            chance,
            needs,
            now: 0,
            skew: 0,
            jumped: false,
            ahead: BinaryHeap::new(),
            happenings: 0,
            lead: None,
            leads: 0,
            queued: BTreeSet::new(),
            taken: BTreeSet::new(),
            results: BTreeMap::new(),
            answered: false,
            finished: false,
            executions: vec![0; count],
            excuses: vec![0; count],
            unsure: 0,
            syntheses: BTreeMap::new(),
        }
    }

    fn later(&mut self, ms: i64, what: Happening) {
        self.happenings += 1;
        self.ahead.push(Reverse((self.now + ms, self.happenings, what)));
    }

    fn run(&mut self) {
        self.take_over();
        if self.chance.once_in(3) {
            for _ in 0..self.chance.between(1, 2) {
                let at = self.chance.between(0, 9_000);
                self.later(at, Happening::Crash);
            }
        }
        if self.chance.once_in(6) {
            let (at, by) = (self.chance.between(0, 9_000), self.chance.between(-60_000, 60_000));
            self.later(at, Happening::Jump(by));
        }
        if self.chance.once_in(8) {
            let at = self.chance.between(0, 9_000);
            self.later(at, Happening::Cancelled);
        }
        while !self.finished {
            let Some(Reverse((at, _, what))) = self.ahead.pop() else {
                panic!("nothing will ever happen any more, and there is no end");
            };
            self.now = at;
            assert!(self.jumped || self.now < END_MS, "no end by {} ms", self.now);
            // A clock that went back has to come as far again.
            assert!(self.now < END_MS + 60_000, "no end by {} ms", self.now);
            self.happen(what);
        }
        for (task, executions) in self.executions.iter().enumerate() {
            let most = 1 + self.excuses[task];
            assert!(*executions <= most, "t{} was executed {executions} times", task + 1);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Take(task) => self.take(task),
            Happening::Done(task) => self.done(task),
            Happening::Told(lead, task) if lead == self.leads => {
                let (status, _) = self.results[&task];
                self.tell(accepted(task, status));
            }
            Happening::Answered(lead) if lead == self.leads => self.tell(Event::Answered),
            Happening::Tick(lead) if lead == self.leads => self.tell(Event::Tick),
            Happening::Told(..) | Happening::Answered(_) | Happening::Tick(_) => {}
            Happening::Synthesized => {
                self.answered = true;
                if !self.chance.once_in(4) {
                    self.later(2, Happening::Answered(self.leads));
                }
            }
            Happening::Cancelled => self.tell(Event::Cancelled),
            Happening::Crash => {
                if self.lead.take().is_some() {
                    self.leads += 1;
                    let absent = self.chance.between(500, 12_000);
                    self.later(absent, Happening::Next);
                }
            }
            Happening::Next => self.take_over(),
            Happening::Jump(by) => {
                self.skew += by;
                self.jumped = true;
            }
        }
    }

    /// Another lead reads what is there and goes on.
    fn take_over(&mut self) {
        let needs: Vec<&[usize]> = self.needs.iter().map(Vec::as_slice).collect();
        let mut lead = machine(&needs, self.max_parallel);
        let pending = self.queued.iter().map(|task| Event::Pending(id(*task)));
        let known = self.results.iter().map(|(task, (status, _))| accepted(*task, *status));
        lead.adopt(pending.chain(known), at(self.now + self.skew));
        self.lead = Some(lead);
        if self.answered {
            self.tell(Event::Answered);
        } else {
            self.tell(Event::Begin);
        }
    }

    fn take(&mut self, task: usize) {
        if !self.queued.contains(&task) || self.results.contains_key(&task) {
            return;
        }
        self.taken.insert(task);
        self.executions[task] += 1;
        if self.chance.once_in(15) {
            // It dies; the lease of the task ends.
            self.excuses[task] += 1;
            self.later(6_000, Happening::Take(task));
        } else {
            let takes = self.chance.between(20, 1_800);
            self.later(takes, Happening::Done(task));
        }
    }

    fn done(&mut self, task: usize) {
        let status = match self.chance.between(0, 9) {
            0 => TaskStatus::Failed,
            1 => TaskStatus::Partial,
            _ => TaskStatus::Complete,
        };
        self.taken.remove(&task);
        self.queued.remove(&task);
        if self.results.contains_key(&task) {
            return;
        }
        self.results.insert(task, (status, self.now));
        for _ in 0..self.chance.between(0, 3).min(2) {
            let late = if self.chance.once_in(6) { 4_000 } else { 40 };
            let after = self.chance.between(1, late);
            self.later(after, Happening::Told(self.leads, task));
        }
    }

    /// Tells the lead, and does what it decides.
    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(lead) = &mut self.lead else { return };
            let effects = lead.handle(event, at(self.now + self.skew));
            for effect in effects {
                self.perform(effect, &mut events);
            }
        }
        self.check();
        if let Some(lead) = &self.lead
            && !lead.is_finished()
        {
            let wait = (lead.wake_at() - at(self.now + self.skew)).num_milliseconds();
            self.later(wait.max(1), Happening::Tick(self.leads));
        }
    }

    fn perform(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Dispatch(tasks) => {
                for task in tasks {
                    self.queue(&task, events);
                }
            }
            Effect::StopTasks => {
                for task in std::mem::take(&mut self.queued) {
                    if self.taken.contains(&task) {
                        self.queued.insert(task);
                        let soon = self.chance.between(10, 400);
                        self.later(soon, Happening::Done(task));
                    }
                }
            }
            Effect::Reconcile => self.reconcile(events),
            Effect::Synthesize => {
                let asked = self.syntheses.entry(self.leads).or_default();
                *asked += 1;
                assert_eq!(*asked, 1, "the synthesis was asked for twice");
                self.nothing_thrown_away();
                if !self.chance.once_in(8) {
                    let takes = self.chance.between(20, 400);
                    self.later(takes, Happening::Synthesized);
                }
            }
            Effect::Fallback => {
                if !self.chance.once_in(3) {
                    self.answered = true;
                }
                self.reconcile(events);
            }
            Effect::Finish => {
                assert!(
                    self.answered && !self.finished,
                    "an end without an answer, or a second one"
                );
                self.finished = true;
            }
            #[allow(
                unreachable_patterns,
                reason = "what a machine may do besides is of no interest here"
            )]
            _ => {}
        }
    }

    fn queue(&mut self, task: &TaskId, events: &mut VecDeque<Event>) {
        let index = task.as_str()[1..].parse::<usize>().expect("an index") - 1;
        for need in &self.needs[index] {
            let (status, _) = self.results.get(need).expect("what it needs has its result");
            assert_ne!(*status, TaskStatus::Failed, "{task} needs what failed");
        }
        let excused = self.excuses[index] > 0;
        assert!(
            excused || !self.results.contains_key(&index),
            "{task} was queued after its result"
        );
        assert!(excused || !self.queued.contains(&index), "{task} was queued twice");
        let failed = Event::DispatchFailed {
            task: task.clone(),
            reason: "no luck".to_owned(),
            permanent: false,
        };
        match self.chance.between(0, 15) {
            0 => return events.push_back(failed),
            1 => {
                // It is queued, and nobody tells.
                self.excuses[index] += 1;
                self.unsure += 1;
                events.push_back(failed);
            }
            _ => {}
        }
        if self.queued.insert(index) {
            let after = self.chance.between(1, 300);
            self.later(after, Happening::Take(index));
        }
        let most = self.max_parallel + self.unsure;
        assert!(
            self.queued.len() <= most,
            "{} tasks at once, {most} may be",
            self.queued.len()
        );
    }

    fn reconcile(&mut self, events: &mut VecDeque<Event>) {
        let open = self.lead.as_ref().map(Execution::open_tasks).unwrap_or_default();
        for (task, (status, _)) in &self.results {
            if open.contains(&id(*task)) {
                events.push_back(accepted(*task, *status));
            }
        }
        if self.answered {
            events.push_back(Event::Answered);
        }
    }

    fn known(&self) -> BTreeSet<TaskId> {
        let results = self.lead.as_ref().map(Execution::results).unwrap_or_default();
        results.into_iter().map(|result| result.task_id).collect()
    }

    /// While it waits for tasks, a lead is never deaf to a result for long, whatever notices are lost.
    fn check(&self) {
        let Some(lead) = &self.lead else { return };
        let (known, missing) = (self.known(), lead.missing());
        assert_eq!(
            known.len() + missing.len(),
            self.needs.len(),
            "each task has a result or a reason"
        );
        if self.jumped || !matches!(lead.phase, Phase::Working) {
            return;
        }
        for (task, (_, stored_at)) in &self.results {
            let heard = self.now - stored_at < DEAF_MS || known.contains(&id(*task));
            assert!(
                heard,
                "at {} ms nobody knows the result of {} ms of t{}",
                self.now,
                stored_at,
                task + 1
            );
        }
    }

    /// Whatever was finished when the work stopped is in the answer.
    fn nothing_thrown_away(&self) {
        if self.jumped {
            return;
        }
        let known = self.known();
        for (task, (_, stored_at)) in &self.results {
            let kept = self.now - stored_at <= GRACE_MS || known.contains(&id(*task));
            assert!(
                kept,
                "at {} ms the result of {} ms of t{} is left out",
                self.now,
                stored_at,
                task + 1
            );
        }
    }
}

/// Says which world it was if it comes to an end in a panic.
struct Witness(u64);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to try this world alone: {SEED_VARIABLE}={}", self.0);
        }
    }
}

#[test]
fn in_any_world_a_query_ends_once_and_nothing_is_done_twice_or_thrown_away() {
    let alone = std::env::var(SEED_VARIABLE).ok();
    let seeds = match alone.map(|text| text.parse::<u64>().expect("a number")) {
        Some(seed) => seed..seed + 1,
        None => 0..WORLDS,
    };
    for seed in seeds {
        let _witness = Witness(seed);
        World::new(seed).run();
    }
}
