//! How workers do: which of their tasks succeeded and which failed, and whose share is too low. Pure: time is an argument,
//! and nobody is paused here.
//!
//! A failure says something about a worker only where the task is not to blame. So a task counts once for each worker that
//! failed it, whatever the attempts; failures of a task that two workers failed count for neither, until a third one
//! succeeds; and a worker is judged only where others do well on the same routes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use axon_protocol::{QueryId, Route, TaskId};

/// Latest outcomes of a worker that count.
const OUTCOMES_MAX: usize = 20;
/// Outcomes below which nobody is judged.
const OUTCOMES_MIN: usize = 5;
/// Age from which an outcome counts no more.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Workers that are remembered.
const WORKERS_MAX: usize = 4096;

/// A task of a query.
pub type TaskKey = (QueryId, TaskId);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Failed,
    /// It failed, and others failed the same task.
    Excused,
}

#[derive(Debug, Clone)]
struct Entry {
    task: TaskKey,
    route: Route,
    outcome: Outcome,
    at: Instant,
}

/// Why a worker should be paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Tasks it ended well.
    pub succeeded: usize,
    /// Tasks that count.
    pub of: usize,
}

/// The latest outcomes of all workers.
#[derive(Debug, Default)]
pub struct Conduct {
    workers: BTreeMap<String, VecDeque<Entry>>,
}

impl Conduct {
    /// A result of `worker` was accepted that is worth something. That clears the task of all suspicion, and blames those
    /// that failed it.
    pub fn succeeded(&mut self, worker: &str, task: &TaskKey, route: &Route, now: Instant) {
        for entry in self.entries_of(task) {
            if entry.outcome == Outcome::Excused {
                entry.outcome = Outcome::Failed;
            }
        }
        self.note(worker, task, route, Outcome::Succeeded, now);
    }

    /// An attempt of `worker` failed.
    pub fn failed(&mut self, worker: &str, task: &TaskKey, route: &Route, now: Instant) {
        let by_others: BTreeSet<&String> = self
            .workers
            .iter()
            .filter(|(name, entries)| {
                let failed = |entry: &Entry| entry.task == *task && entry.outcome != Outcome::Succeeded;
                name.as_str() != worker && entries.iter().any(failed)
            })
            .map(|(name, _)| name)
            .collect();
        let outcome = if by_others.is_empty() {
            Outcome::Failed
        } else {
            Outcome::Excused
        };
        if outcome == Outcome::Excused {
            for entry in self.entries_of(task) {
                if entry.outcome == Outcome::Failed {
                    entry.outcome = Outcome::Excused;
                }
            }
        }
        self.note(worker, task, route, outcome, now);
    }

    fn entries_of(&mut self, task: &TaskKey) -> impl Iterator<Item = &mut Entry> {
        self.workers
            .values_mut()
            .flatten()
            .filter(move |entry| entry.task == *task)
    }

    /// The latest outcome of a task replaces an earlier one of the same worker.
    fn note(&mut self, worker: &str, task: &TaskKey, route: &Route, outcome: Outcome, now: Instant) {
        if !self.workers.contains_key(worker) && self.workers.len() >= WORKERS_MAX {
            return;
        }
        let entries = self.workers.entry(worker.to_owned()).or_default();
        entries.retain(|entry| entry.task != *task);
        entries.push_back(Entry {
            task: task.clone(),
            route: route.clone(),
            outcome,
            at: now,
        });
        if entries.len() > OUTCOMES_MAX {
            entries.pop_front();
        }
    }

    /// What is wrong with a worker: of enough outcomes fewer than `min_rate` are successes, while others reach it on the
    /// routes where it failed.
    pub fn fault(&self, worker: &str, min_rate: f64, now: Instant) -> Option<Fault> {
        let fresh = |entry: &&Entry| now.saturating_duration_since(entry.at) < AGE_MAX;
        let own: Vec<&Entry> = self.workers.get(worker)?.iter().filter(fresh).collect();
        let (succeeded, of) = count(own.iter().copied());
        if of < OUTCOMES_MIN || reaches(succeeded, of, min_rate) {
            return None;
        }
        let failed_on: BTreeSet<&Route> = own
            .iter()
            .filter(|entry| entry.outcome == Outcome::Failed)
            .map(|entry| &entry.route)
            .collect();
        let others = self
            .workers
            .iter()
            .filter(|(name, _)| name.as_str() != worker)
            .flat_map(|(_, entries)| entries)
            .filter(fresh)
            .filter(|entry| failed_on.contains(&entry.route));
        let (others_succeeded, others_of) = count(others);
        let others_do_well = others_succeeded > 0 && reaches(others_succeeded, others_of, min_rate);
        others_do_well.then_some(Fault { succeeded, of })
    }

    /// Forgets what a worker did, because it begins anew.
    pub fn forget(&mut self, worker: &str) {
        self.workers.remove(worker);
    }

    /// Forgets everybody who is not `there`.
    pub fn keep(&mut self, there: impl Fn(&str) -> bool) {
        self.workers.retain(|worker, _| there(worker));
    }
}

fn reaches(succeeded: usize, of: usize, min_rate: f64) -> bool {
    succeeded as f64 >= min_rate * of as f64
}

/// Successes, and outcomes that count.
fn count<'a>(entries: impl Iterator<Item = &'a Entry>) -> (usize, usize) {
    entries.fold((0, 0), |(succeeded, of), entry| match entry.outcome {
        Outcome::Succeeded => (succeeded + 1, of + 1),
        Outcome::Failed => (succeeded, of + 1),
        Outcome::Excused => (succeeded, of),
    })
}

/// What a worker may be needed for: whether every route it serves is served without it. A bad worker is better than none.
pub fn is_dispensable<'a, C: Ord + 'a>(
    capabilities: &BTreeSet<C>,
    routes: impl IntoIterator<Item = &'a BTreeSet<C>>,
    others: &[&BTreeSet<C>],
) -> bool {
    let mut served = routes.into_iter().filter(|needed| needed.is_subset(capabilities));
    served.all(|needed| others.iter().any(|other| needed.is_subset(other)))
}

#[cfg(test)]
mod tests {
    use axon_protocol::Capability;

    use super::*;

    fn route(name: &str) -> Route {
        Route::of(&BTreeSet::from([Capability::new(name).expect("a name")]))
    }

    fn key(task: &str) -> TaskKey {
        (QueryId::new("q").expect("an id"), TaskId::new(task).expect("an id"))
    }

    /// Plays a script: `worker+task` succeeded, `worker-task` failed; `@` and a route for all that follow.
    fn played(script: &str, now: Instant) -> Conduct {
        let mut conduct = Conduct::default();
        let mut on = route("A");
        for word in script.split_whitespace() {
            if let Some(name) = word.strip_prefix('@') {
                on = route(name);
            } else if let Some((worker, task)) = word.split_once('+') {
                conduct.succeeded(worker, &key(task), &on, now);
            } else if let Some((worker, task)) = word.split_once('-') {
                conduct.failed(worker, &key(task), &on, now);
            }
        }
        conduct
    }

    #[test]
    fn a_worker_is_at_fault_where_others_do_well() {
        let well = "b+1 b+2 b+3";
        for (name, script, expected) in [
            ("too few outcomes", "a-11 a-12 a-13 a-14", None),
            ("it alone fails", "a-11 a-12 a-13 a-14 a-15", Some((0, 5))),
            ("half of it is enough", "a-11 a-12 a-13 a+14 a+15 a+16", None),
            ("less than half is not", "a-11 a-12 a-13 a+14 a+15", Some((2, 5))),
            ("one task counts once", "a-11 a-11 a-11 a-11 a-11", None),
            (
                "the second try of the same worker helps",
                "a-11 a-12 a-13 a-14 a-15 a+15",
                Some((1, 5)),
            ),
            (
                "whoever else did it shows who was to blame",
                "a-11 b+11 a-12 b+12 a-13 b+13 a-14 a-15",
                Some((0, 5)),
            ),
            (
                "what others fail as well says nothing",
                "a-11 b-11 a-12 b-12 a-13 b-13 a-14 b-14 a-15 b-15",
                None,
            ),
            (
                "unless a third one succeeds",
                "a-11 c-11 a-12 c-12 a-13 a-14 a-15 b+11 b+12",
                Some((0, 5)),
            ),
        ] {
            let now = Instant::now();
            let conduct = played(&format!("{well} {script}"), now);
            let fault = conduct.fault("a", 0.5, now).map(|fault| (fault.succeeded, fault.of));
            assert_eq!(fault, expected, "{name}");
            assert_eq!(conduct.fault("b", 0.5, now), None, "{name}: the other one does well");
        }
    }

    #[test]
    fn where_nobody_does_well_nobody_is_at_fault() {
        let now = Instant::now();
        for script in [
            "a-11 a-12 a-13 a-14 a-15",
            "a-11 a-12 a-13 a-14 a-15 b-21 b-22 b-23 b-24 b-25",
            "a-11 a-12 a-13 a-14 a-15 @B b+21 b+22 b+23",
        ] {
            let conduct = played(script, now);
            for worker in ["a", "b", "nobody"] {
                assert_eq!(conduct.fault(worker, 0.5, now), None, "{worker}: {script}");
            }
        }
    }

    #[test]
    fn outcomes_grow_old_and_are_few() {
        let now = Instant::now();
        let conduct = played("a-11 a-12 a-13 a-14 a-15 b+1", now);
        assert!(conduct.fault("a", 0.5, now).is_some());
        assert_eq!(conduct.fault("a", 0.5, now + AGE_MAX), None);
        let mut conduct = conduct;
        for index in 0..OUTCOMES_MAX {
            conduct.succeeded("a", &key(&format!("n{index}")), &route("A"), now);
        }
        assert_eq!(conduct.workers["a"].len(), OUTCOMES_MAX);
        assert_eq!(conduct.fault("a", 1.0, now), None, "what was before is forgotten");
        conduct.keep(|worker| worker == "b");
        assert_eq!(conduct.workers.len(), 1);
    }

    #[test]
    fn a_worker_is_dispensable_if_others_serve_all_its_routes() {
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<&str>>();
        for (routes, others, expected) in [
            (&[&["X"][..]][..], &[][..], false),
            (&[&["X"]], &[&["Y"][..]], false),
            (&[&["X"]], &[&["X"]], true),
            (&[&["X"], &["Y"]], &[&["X"], &["Y"]], true),
            (&[&["X", "Y"]], &[&["X"], &["Y"]], false),
            (&[&["Z"]], &[], true),
            (&[], &[], true),
        ] {
            let needed: Vec<BTreeSet<&str>> = routes.iter().map(|route| set(route)).collect();
            let others: Vec<BTreeSet<&str>> = others.iter().map(|other| set(other)).collect();
            let others: Vec<&BTreeSet<&str>> = others.iter().collect();
            let dispensable = is_dispensable(&set(&["X", "Y"]), &needed, &others);
            assert_eq!(dispensable, expected, "{needed:?} {others:?}");
        }
    }
}
