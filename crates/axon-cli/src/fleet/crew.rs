//! Who of a fleet is silent, whom it can do without, and how many workers a request starts: the decisions of the supervisor,
//! pure. Time is an argument; nothing here starts, signals or ends a process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use axon_protocol::{Capability, Heartbeat, WorkerState};
use axon_service::RegistryConfig;

/// How long a process may take from its start to its first heartbeat: on a busy machine a large fleet comes up slowly.
const FIRST_BEAT_WITHIN: Duration = Duration::from_secs(60);

/// What the supervisor decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Silence after which a process is replaced: `registry.heartbeat_timeout_secs`.
    pub(crate) heartbeat_timeout: Duration,
    /// Idleness after which a worker that was started on request drains.
    pub(crate) idle_timeout: Duration,
    /// Workers that are always there.
    pub(crate) workers: usize,
    /// Workers there may be with those started on request.
    pub(crate) workers_max: usize,
}

impl Limits {
    /// Always so many workers, whoever asks for more.
    pub(crate) fn fixed(workers: usize, registry: &RegistryConfig) -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(registry.heartbeat_timeout_secs),
            idle_timeout: Duration::MAX,
            workers,
            workers_max: workers,
        }
    }
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A lead or a synthesizer.
    Other,
    /// A worker that is always there.
    Worker,
    /// A worker that was started on request.
    Surplus,
}

/// One process of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub(super) kind: Kind,
    /// What it can do, as it was started; replaced by what it says.
    pub(super) capabilities: BTreeSet<Capability>,
    /// Its process and when that was started; `None` while it waits to be started again.
    pub(super) running: Option<(u32, Instant)>,
    /// The last heartbeat of this process.
    pub(super) beat: Option<Beat>,
    /// Whether it was told to drain.
    pub(super) leaving: bool,
}

/// What is kept of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    /// Key in the registry.
    pub(super) key: String,
    /// When it was heard, by the own clock.
    pub(super) heard_at: Instant,
    /// Since when it has had nothing to do.
    pub(super) idle_since: Option<Instant>,
    /// Tasks it ended.
    pub(super) ended: u64,
    pub(super) draining: bool,
}

impl Member {
    /// A member that has just been started.
    pub(super) fn new(kind: Kind, capabilities: BTreeSet<Capability>) -> Self {
        Self {
            kind,
            capabilities,
            running: None,
            beat: None,
            leaving: false,
        }
    }

    /// Takes a heartbeat of its process in.
    pub(super) fn hear(&mut self, key: &str, heartbeat: &Heartbeat, now: Instant) {
        let ended = heartbeat.succeeded + heartbeat.failed;
        let idle = heartbeat.state == WorkerState::Idle && heartbeat.slots_used == 0;
        // A task may begin and end between two heartbeats: then the count of ended tasks has grown.
        let before = self.beat.as_ref().filter(|before| before.ended == ended);
        let idle_since = idle.then(|| before.and_then(|before| before.idle_since).unwrap_or(now));
        self.capabilities.extend(heartbeat.capabilities.iter().cloned());
        self.beat = Some(Beat {
            key: key.to_owned(),
            heard_at: now,
            idle_since,
            ended,
            draining: heartbeat.state == WorkerState::Draining,
        });
    }

    fn is_worker(&self) -> bool {
        self.kind != Kind::Other
    }

    /// Whether it takes tasks, or will as soon as it is up.
    fn stays(&self) -> bool {
        !self.leaving && self.beat.as_ref().is_none_or(|beat| !beat.draining)
    }
}

/// A process that runs and says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) silent_for: Duration,
    /// Its key in the registry, where it ever had one.
    pub(super) key: Option<String>,
}

/// The processes that should have been heard of by now. `listening_since` is when heartbeats could be heard again after a
/// time in which they could not: nobody is blamed for that time.
pub(super) fn silent(
    members: &BTreeMap<String, Member>,
    listening_since: Instant,
    limits: &Limits,
    now: Instant,
) -> Vec<Silent> {
    let each = members
        .iter()
        .filter(|(_, member)| !member.leaving)
        .filter_map(|(name, member)| {
            let (pid, started_at) = member.running?;
            let (since, allowed) = match &member.beat {
                Some(beat) => (beat.heard_at, limits.heartbeat_timeout),
                None => (started_at, limits.heartbeat_timeout.max(FIRST_BEAT_WITHIN)),
            };
            let silent_for = now.saturating_duration_since(since.max(listening_since));
            (silent_for >= allowed).then(|| Silent {
                name: name.clone(),
                pid,
                silent_for,
                key: member.beat.as_ref().map(|beat| beat.key.clone()),
            })
        });
    each.collect()
}

/// Whether every process that was ever heard of is silent at once. Then the server, or the way to it, is more likely to be
/// the cause than each of them.
pub(super) fn all_silent(members: &BTreeMap<String, Member>, silent: &[Silent]) -> bool {
    let heard = members.values().filter(|member| member.beat.is_some()).count();
    heard > 0 && silent.iter().filter(|one| one.key.is_some()).count() == heard
}

/// What a silence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The processes themselves.
    Processes,
    /// The server, which takes connections and answers nothing.
    Server,
    /// Nobody can tell yet: whoever is silent gets a second chance.
    Unknown,
}

/// What a silence comes from. `answers` is whether the server answers now, `all` whether all are silent, `suspected` whether
/// nobody has been heard of since this was asked last, a whole heartbeat timeout ago.
pub(super) fn cause(answers: bool, all: bool, suspected: bool) -> Cause {
    match (answers, all, suspected) {
        (false, true, true) => Cause::Server,
        (false, ..) | (true, true, false) => Cause::Unknown,
        (true, false, _) | (true, true, true) => Cause::Processes,
    }
}

/// The workers to drain, each with how long it has been idle: those started on request that have had nothing to do for
/// long, the longest first, and never so many that fewer than the fixed number are left.
pub(super) fn surplus(members: &BTreeMap<String, Member>, limits: &Limits, now: Instant) -> Vec<(String, Duration)> {
    let staying = members
        .values()
        .filter(|member| member.is_worker() && member.stays())
        .count();
    let mut idle: Vec<(String, Duration)> = members
        .iter()
        .filter(|(_, member)| member.kind == Kind::Surplus && member.stays() && member.running.is_some())
        .filter_map(|(name, member)| {
            let since = member.beat.as_ref()?.idle_since?;
            let idle_for = now.saturating_duration_since(since);
            (idle_for >= limits.idle_timeout).then(|| (name.clone(), idle_for))
        })
        .collect();
    idle.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    idle.truncate(staying.saturating_sub(limits.workers));
    idle
}

/// What a request for workers leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scaling {
    /// Workers that can do it already, or will when they are up.
    pub(super) serving: u32,
    /// Workers to start.
    pub(super) start: u32,
    /// Workers that are refused, because the fleet may have no more.
    pub(super) refused: u32,
}

/// What a request for `wanted` workers that can do all of `needs` leads to. `others` are living workers that this fleet did
/// not start.
pub(super) fn scaling<'a>(
    needs: &BTreeSet<Capability>,
    wanted: u32,
    members: &BTreeMap<String, Member>,
    others: impl IntoIterator<Item = &'a Heartbeat>,
    limits: &Limits,
) -> Scaling {
    let own: Vec<&Member> = members
        .values()
        .filter(|member| member.is_worker() && member.stays())
        .collect();
    let serving_own = own
        .iter()
        .filter(|member| needs.is_subset(&member.capabilities))
        .count();
    let serving_others = others
        .into_iter()
        .filter(|other| other.role == "worker" && matches!(other.state, WorkerState::Idle | WorkerState::Busy))
        .filter(|other| needs.is_subset(&other.capabilities))
        .count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let serving = count(serving_own + serving_others);
    let missing = wanted.saturating_sub(serving);
    let start = missing.min(count(limits.workers_max.saturating_sub(own.len())));
    Scaling {
        serving,
        start,
        refused: missing - start,
    }
}

/// The workers to drain when a number is fixed that is `excess` lower than what there is: those started on request that can
/// do all of `needs`, the idle ones first, and never so many that fewer than the fixed number are left.
pub(super) fn excess(
    needs: &BTreeSet<Capability>,
    excess: u32,
    members: &BTreeMap<String, Member>,
    limits: &Limits,
) -> Vec<String> {
    let staying = members
        .values()
        .filter(|member| member.is_worker() && member.stays())
        .count();
    let mut able: Vec<(bool, &String)> = members
        .iter()
        .filter(|(_, member)| member.kind == Kind::Surplus && member.stays() && needs.is_subset(&member.capabilities))
        .map(|(name, member)| {
            let idle = member.beat.as_ref().is_some_and(|beat| beat.idle_since.is_some());
            (!idle, name)
        })
        .collect();
    able.sort();
    let most = usize::try_from(excess).unwrap_or(usize::MAX);
    able.truncate(most.min(staying.saturating_sub(limits.workers)));
    able.into_iter().map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::command::workers::tests::heartbeat;

    const LIMITS: Limits = Limits {
        heartbeat_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(30),
        workers: 2,
        workers_max: 5,
    };

    fn set(names: &[&str]) -> BTreeSet<Capability> {
        names
            .iter()
            .map(|name| Capability::new(*name).expect("a name"))
            .collect()
    }

    /// `start` is far enough back that every time of the tables lies behind it.
    fn at(start: Instant, s: u64) -> Instant {
        start + Duration::from_secs(s)
    }

    fn member(kind: Kind, started_at: Option<Instant>, beat: Option<(Instant, Option<Instant>)>) -> Member {
        Member {
            running: started_at.map(|at| (7, at)),
            beat: beat.map(|(heard_at, idle_since)| Beat {
                key: "worker.x".to_owned(),
                heard_at,
                idle_since,
                ended: 0,
                draining: false,
            }),
            ..Member::new(kind, set(&["Testing", "Diagnostics"]))
        }
    }

    #[test]
    fn who_is_silent_too_long_is_named_and_nobody_is_blamed_for_what_could_not_be_heard() {
        let start = Instant::now();
        let t = |s| at(start, s);
        for (what, started, heard, listening, now, expected) in [
            ("beats", 0, Some(90), 0, 100, None),
            ("just in time", 0, Some(86), 0, 100, None),
            ("silent", 0, Some(85), 0, 100, Some(15)),
            ("long silent", 0, Some(40), 0, 100, Some(60)),
            ("the server came back a moment ago", 0, Some(40), 95, 100, None),
            ("the server has been back for long", 0, Some(40), 80, 100, Some(20)),
            ("coming up", 60, None, 0, 100, None),
            ("does not come up", 40, None, 0, 100, Some(60)),
        ] {
            let one = member(Kind::Worker, Some(t(started)), heard.map(|s| (t(s), None)));
            let members = BTreeMap::from([("w".to_owned(), one)]);
            let found: Vec<u64> = silent(&members, t(listening), &LIMITS, t(now))
                .iter()
                .map(|one| one.silent_for.as_secs())
                .collect();
            assert_eq!(found, Vec::from_iter(expected), "{what}");
        }
        let waiting = member(Kind::Worker, None, Some((t(0), None)));
        let leaving = Member {
            leaving: true,
            ..member(Kind::Worker, Some(t(0)), Some((t(0), None)))
        };
        let members = BTreeMap::from([("waiting".to_owned(), waiting), ("leaving".to_owned(), leaving)]);
        assert_eq!(silent(&members, t(0), &LIMITS, t(100)), []);
    }

    #[test]
    fn when_all_are_silent_the_server_is_suspected() {
        let start = Instant::now();
        let t = |s| at(start, s);
        for (heard, expected) in [(vec![0, 0], true), (vec![0, 99], false), (vec![99, 99], false)] {
            let members: BTreeMap<String, Member> = heard
                .iter()
                .enumerate()
                .map(|(index, s)| {
                    let one = member(Kind::Worker, Some(t(0)), Some((t(*s), None)));
                    (format!("w{index}"), one)
                })
                .collect();
            let found = silent(&members, t(0), &LIMITS, t(100));
            assert_eq!(all_silent(&members, &found), expected, "{heard:?}");
        }
        assert!(!all_silent(&BTreeMap::new(), &[]));
    }

    #[test]
    fn a_silence_is_blamed_on_whoever_gave_no_answer_twice() {
        for (answers, all, suspected, expected) in [
            (true, false, false, Cause::Processes),
            (true, false, true, Cause::Processes),
            (true, true, false, Cause::Unknown),
            (true, true, true, Cause::Processes),
            (false, true, false, Cause::Unknown),
            (false, true, true, Cause::Server),
            (false, false, false, Cause::Unknown),
            (false, false, true, Cause::Unknown),
        ] {
            assert_eq!(cause(answers, all, suspected), expected, "{answers} {all} {suspected}");
        }
    }

    #[test]
    fn idle_workers_started_on_request_are_drained_down_to_the_fixed_number() {
        let start = Instant::now();
        let t = |s| at(start, s);
        let idle = |since| Some((t(99), Some(t(since))));
        let busy = Some((t(99), None));
        let up = Some(t(0));
        let fixed = |beat| member(Kind::Worker, up, beat);
        let extra = |beat| member(Kind::Surplus, up, beat);
        let check = |what: &str, members: Vec<(&str, Member)>, expected: &[&str]| {
            let members = members.into_iter().map(|(name, one)| (name.to_owned(), one)).collect();
            let found: Vec<String> = surplus(&members, &LIMITS, t(100))
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(found, expected, "{what}");
        };
        check(
            "the fixed ones stay however idle",
            vec![("a", fixed(idle(0))), ("b", fixed(idle(0)))],
            &[],
        );
        check(
            "the longest idle first, the busy and the newly idle stay",
            vec![
                ("a", fixed(busy)),
                ("b", fixed(busy)),
                ("c", extra(idle(70))),
                ("d", extra(idle(10))),
                ("e", extra(busy)),
                ("f", extra(idle(71))),
                ("g", extra(None)),
            ],
            &["d", "c"],
        );
        check(
            "a fixed one is gone, so that one of the others is needed",
            vec![("a", fixed(busy)), ("c", extra(idle(20))), ("d", extra(idle(10)))],
            &["d"],
        );
        let mut draining = fixed(idle(0));
        draining.leaving = true;
        check(
            "one that drains does not count",
            vec![("a", draining), ("b", fixed(busy)), ("c", extra(idle(20)))],
            &[],
        );
    }

    #[test]
    fn a_request_starts_what_is_missing_within_the_limit() {
        let start = Instant::now();
        let worker = |names: &[&str]| Member {
            running: Some((7, start)),
            ..Member::new(Kind::Worker, set(names))
        };
        let leaving = Member {
            leaving: true,
            ..worker(&["Testing"])
        };
        let other = Member::new(Kind::Other, BTreeSet::new());
        let members = BTreeMap::from([
            ("lead".to_owned(), other),
            ("a".to_owned(), worker(&["Testing", "Research"])),
            ("b".to_owned(), worker(&["Research"])),
            ("c".to_owned(), leaving),
        ]);
        let now = Utc::now();
        let others = [
            heartbeat("worker", "tester", WorkerState::Busy, 0, now),
            heartbeat("worker", "tester", WorkerState::Draining, 0, now),
            heartbeat("lead", "lead", WorkerState::Idle, 0, now),
        ];
        for (needs, wanted, expected) in [
            (&["Testing"][..], 1, (2, 0, 0)),
            (&["Testing"], 2, (2, 0, 0)),
            (&["Testing"], 4, (2, 2, 0)),
            (&["Testing"], 9, (2, 3, 4)),
            (&["Testing", "Research"], 2, (1, 1, 0)),
            (&["Poetry"], 1, (0, 1, 0)),
            (&["Poetry"], 0, (0, 0, 0)),
        ] {
            let found = scaling(&set(needs), wanted, &members, &others, &LIMITS);
            assert_eq!(
                (found.serving, found.start, found.refused),
                expected,
                "{needs:?} {wanted}"
            );
        }
    }

    #[test]
    fn a_lower_number_drains_those_started_on_request_the_idle_first() {
        let start = Instant::now();
        let worker = |kind, idle: bool, names: &[&str]| Member {
            capabilities: set(names),
            ..member(kind, Some(start), Some((start, idle.then_some(start))))
        };
        let members = BTreeMap::from([
            ("a".to_owned(), worker(Kind::Worker, true, &["Testing"])),
            ("b".to_owned(), worker(Kind::Worker, true, &["Testing"])),
            ("c".to_owned(), worker(Kind::Surplus, false, &["Testing"])),
            ("d".to_owned(), worker(Kind::Surplus, true, &["Testing"])),
            ("e".to_owned(), worker(Kind::Surplus, true, &["Research"])),
        ]);
        for (names, number, expected) in [
            (&["Testing"][..], 0, &[][..]),
            (&["Testing"], 1, &["d"]),
            (&["Testing"], 9, &["d", "c"]),
            (&["Research"], 1, &["e"]),
            (&["Poetry"], 1, &[]),
        ] {
            assert_eq!(
                excess(&set(names), number, &members, &LIMITS),
                expected,
                "{names:?} {number}"
            );
        }
        let tight = Limits { workers: 4, ..LIMITS };
        assert_eq!(excess(&set(&["Testing"]), 9, &members, &tight), ["d"]);
    }

    #[test]
    fn a_task_between_two_heartbeats_ends_the_idleness() {
        let start = Instant::now();
        let t = |s| at(start, s);
        let mut beat = heartbeat("worker", "tester", WorkerState::Idle, 0, Utc::now());
        beat.slots_used = 0;
        let mut one = member(Kind::Surplus, Some(t(0)), None);
        let mut idle_since = |beat: &Heartbeat, s| {
            one.hear("worker.x", beat, t(s));
            one.beat.as_ref().and_then(|beat| beat.idle_since)
        };
        assert_eq!(idle_since(&beat, 1), Some(t(1)));
        assert_eq!(idle_since(&beat, 3), Some(t(1)));
        beat.succeeded += 1;
        assert_eq!(idle_since(&beat, 5), Some(t(5)));
        beat.state = WorkerState::Busy;
        assert_eq!(idle_since(&beat, 7), None);
        beat.state = WorkerState::Idle;
        assert_eq!(idle_since(&beat, 9), Some(t(9)));
    }
}
