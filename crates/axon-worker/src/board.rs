//! What a worker knows of its queues, and which of them it asks next: the higher band first, yet no queue starves. Pure:
//! the clock is an argument, and nothing here asks anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_protocol::{Band, Route};
use tokio::time::Instant;

/// Requests that higher bands may bring tasks in a row before a lower one has its turn: a share of one in eight.
const PASSED_OVER_MAX: u32 = 7;
/// Tasks of a route that take less in the mean end too soon to be worth spreading over workers.
const QUICK: Duration = Duration::from_millis(10);
/// Weight of the latest task in the mean duration of its route.
const MEAN_WEIGHT: f64 = 0.1;
/// How long a queue that was empty counts as empty while the worker does not listen.
const TRUSTED: Duration = Duration::from_millis(50);
/// How long a queue that may have tasks yields to those of its band that are known to have some.
const YIELDS: Duration = Duration::from_secs(1);

/// When a queue that somebody rang for and that was empty is looked at once more, and then a last time. A ring leaves the
/// server before the consumer counts the task, so the first look may come too early.
const LOOKS_AGAIN: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(40)];

/// Whether the worker hears of new tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ear {
    /// It hears nothing.
    Muted,
    /// It has heard everything since then.
    Listening(Instant),
}

/// What is known of one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    /// Tasks that are known to wait there, or 1 where somebody rang.
    left: u64,
    asked_at: Option<Instant>,
    /// Looks that are still due because somebody rang.
    looks: usize,
    /// When the next of them is.
    look_at: Option<Instant>,
}

/// What is known of one route.
#[derive(Debug, Clone, Copy, Default)]
struct RouteState {
    queues: [Queue; 3],
    /// Mean duration of its tasks, in seconds; `None` before the first.
    mean_s: Option<f64>,
}

/// A queue that needs to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) route: Route,
    pub(crate) band: Band,
    /// Tasks that are known to wait there; 0 for a mere look.
    pub(crate) left: u64,
    /// Whether tasks of the route end at once.
    pub(crate) quick: bool,
}

/// The queues of a worker: one for each route and band.
#[derive(Debug)]
pub(crate) struct Board {
    states: BTreeMap<Route, RouteState>,
    routes: BTreeSet<Route>,
    /// By band: how often a higher one brought tasks since the band was asked last.
    passed_over: [u32; 3],
    sweep_every: Duration,
}

impl Board {
    /// Without routes. Every queue is asked at least every `sweep_every` while there is room.
    pub(crate) fn new(sweep_every: Duration) -> Self {
        Self {
            states: BTreeMap::new(),
            routes: BTreeSet::new(),
            passed_over: [0; 3],
            sweep_every,
        }
    }

    pub(crate) fn routes(&self) -> &BTreeSet<Route> {
        &self.routes
    }

    /// Serves a route from now on. Returns whether it is new.
    pub(crate) fn add(&mut self, route: Route) -> bool {
        self.states.entry(route.clone()).or_default();
        self.routes.insert(route)
    }

    pub(crate) fn remove(&mut self, route: &Route) {
        self.states.remove(route);
        self.routes.remove(route);
    }

    fn all_queues(&self) -> impl Iterator<Item = &Queue> {
        self.states.values().flat_map(|state| &state.queues)
    }

    /// Whether tasks are known, or told, to wait in a queue.
    pub(crate) fn has_left(&self) -> bool {
        self.all_queues().any(|queue| queue.left > 0)
    }

    /// Whether tasks are known, or told, to wait in that queue.
    pub(crate) fn is_left(&self, route: &Route, band: Option<Band>) -> bool {
        self.states.get(route).is_some_and(|state| match band {
            Some(band) => state.queues[index(band)].left > 0,
            None => state.queues.iter().all(|queue| queue.left > 0),
        })
    }

    /// The routes where tasks are known, or told, to wait.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Route> {
        self.states
            .iter()
            .filter(|(_, state)| state.queues.iter().any(|queue| queue.left > 0))
            .map(|(route, _)| route)
    }

    /// Whether tasks of the route end at once.
    pub(crate) fn is_quick(&self, route: &Route) -> bool {
        self.states.get(route).is_some_and(RouteState::is_quick)
    }

    /// A task of the route took that long.
    pub(crate) fn ended(&mut self, route: &Route, duration: Duration) {
        if let Some(state) = self.states.get_mut(route) {
            let latest = duration.as_secs_f64();
            state.mean_s = Some(state.mean_s.map_or(latest, |mean| mean + MEAN_WEIGHT * (latest - mean)));
        }
    }

    /// Somebody rang: a task may be waiting, in any band if none is named.
    pub(crate) fn rung(&mut self, route: &Route, band: Option<Band>) {
        if let Some(state) = self.states.get_mut(route) {
            for one in Band::ALL.into_iter().filter(|one| band.is_none_or(|band| band == *one)) {
                let queue = &mut state.queues[index(one)];
                queue.left = queue.left.max(1);
                queue.looks = LOOKS_AGAIN.len();
            }
        }
    }

    /// Nothing is known of the queues any more, as after a lost connection.
    pub(crate) fn forget(&mut self) {
        self.states
            .values_mut()
            .for_each(|state| state.queues = Default::default());
    }

    /// A queue is being asked. Rings from now on may tell of tasks that come too late for this request.
    pub(crate) fn ask(&mut self, route: &Route, band: Band, now: Instant) {
        self.passed_over[index(band)] = 0;
        if let Some(state) = self.states.get_mut(route) {
            let queue = &mut state.queues[index(band)];
            *queue = Queue {
                left: 0,
                asked_at: Some(now),
                looks: queue.looks,
                look_at: None,
            };
        }
    }

    /// A queue that was asked has answered: `taken` tasks came and `left` are left.
    pub(crate) fn took(&mut self, route: &Route, band: Band, taken: usize, left: u64, now: Instant, ear: Ear) {
        if taken > 0 {
            for lower in Band::ALL.into_iter().skip(index(band) + 1) {
                // A band that is known to be empty saves up no turns.
                if self.may_wait(lower, now, ear) {
                    self.passed_over[index(lower)] = self.passed_over[index(lower)].saturating_add(1);
                }
            }
        }
        if let Some(state) = self.states.get_mut(route) {
            let queue = &mut state.queues[index(band)];
            queue.left = queue.left.max(left);
            if taken > 0 {
                queue.looks = 0;
            } else if let Some(asked_at) = queue.asked_at
                && queue.looks > 0
            {
                queue.look_at = Some(asked_at + LOOKS_AGAIN[LOOKS_AGAIN.len() - queue.looks]);
                queue.looks -= 1;
            }
        }
    }

    /// Whether tasks of a band are known to wait, or may.
    fn may_wait(&self, band: Band, now: Instant, ear: Ear) -> bool {
        let queues = self.states.values().map(|state| state.queues[index(band)]);
        queues
            .into_iter()
            .any(|queue| queue.left > 0 || self.due_at(queue, ear).is_none_or(|at| at <= now))
    }

    /// The queue to ask next; `None` if none needs to be asked.
    pub(crate) fn next(&self, now: Instant, ear: Ear) -> Option<Due> {
        turn(self.passed_over).into_iter().find_map(|band| {
            let queues = self
                .states
                .iter()
                .map(|(route, state)| (route, state, state.queues[index(band)]));
            let known = queues.clone().filter(|(_, _, queue)| queue.left > 0);
            let due = queues.filter(|(_, _, queue)| self.due_at(*queue, ear).is_none_or(|at| at <= now));
            let beside = due
                .clone()
                .filter(|(_, _, queue)| queue.asked_at.is_none_or(|at| at + YIELDS <= now));
            // Where tasks are known to wait comes before a mere look, though not for ever, and among equals what was asked
            // longest ago.
            let known = known.chain(beside).min_by_key(|(_, _, queue)| queue.asked_at);
            let (route, state, queue) = known.or_else(|| due.min_by_key(|(_, _, queue)| queue.asked_at))?;
            Some(Due {
                route: route.clone(),
                band,
                left: queue.left,
                quick: state.is_quick(),
            })
        })
    }

    /// When a queue next needs to be asked though nobody rings; `None` without routes or where one needs it now.
    pub(crate) fn next_at(&self, ear: Ear) -> Option<Instant> {
        self.all_queues().filter_map(|queue| self.due_at(*queue, ear)).min()
    }

    /// When an empty queue needs to be looked at again; `None` at once.
    fn due_at(&self, queue: Queue, ear: Ear) -> Option<Instant> {
        let asked_at = queue.asked_at?;
        let at = match ear {
            Ear::Muted => asked_at + TRUSTED,
            // What was published between the last look and the first moment of listening was not heard.
            Ear::Listening(since) if asked_at < since => return None,
            Ear::Listening(_) => asked_at + self.sweep_every,
        };
        Some(queue.look_at.map_or(at, |look_at| look_at.min(at)))
    }
}

impl RouteState {
    fn is_quick(&self) -> bool {
        self.mean_s.is_some_and(|mean| mean < QUICK.as_secs_f64())
    }
}

/// The order in which the bands are asked: the highest first, unless lower ones were passed over often enough. Of several
/// such the one that was passed over most goes first, then the lowest.
fn turn(passed_over: [u32; 3]) -> [Band; 3] {
    let mut bands = Band::ALL;
    bands.sort_by_key(|band| {
        let passed = passed_over[index(*band)];
        let overdue = passed >= PASSED_OVER_MAX;
        let lower_first = Band::ALL.len() - index(*band);
        (
            !overdue,
            if overdue {
                (u32::MAX - passed, lower_first)
            } else {
                (0, index(*band))
            },
        )
    });
    bands
}

fn index(band: Band) -> usize {
    match band {
        Band::High => 0,
        Band::Normal => 1,
        Band::Low => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axon_protocol::Capability;

    const SWEEP: Duration = Duration::from_secs(10);

    fn route(name: &str) -> Route {
        Route::of(&BTreeSet::from([Capability::new(name).expect("a name")]))
    }

    fn board(names: &[&str]) -> Board {
        let mut board = Board::new(SWEEP);
        names.iter().for_each(|name| {
            board.add(route(name));
        });
        board
    }

    /// Asks everything that is due and returns the order; nothing is left anywhere afterwards.
    fn sweep(board: &mut Board, now: Instant, ear: Ear) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(Due { route, band, .. }) = board.next(now, ear) {
            order.push(format!("{route} {band}"));
            board.ask(&route, band, now);
            board.took(&route, band, 0, 0, now, Ear::Muted);
        }
        order
    }

    #[test]
    fn the_first_look_goes_through_all_bands_of_all_routes() {
        let now = Instant::now();
        let mut board = board(&["B", "A"]);
        let order = sweep(&mut board, now, Ear::Listening(now));
        assert_eq!(order, ["A high", "B high", "A normal", "B normal", "A low", "B low"]);
        assert!(sweep(&mut board, now + SWEEP / 2, Ear::Listening(now)).is_empty());
        assert_eq!(board.next_at(Ear::Listening(now)), Some(now + SWEEP));
        assert_eq!(
            sweep(&mut board, now + SWEEP, Ear::Listening(now)).len(),
            6,
            "the fallback"
        );
    }

    #[test]
    fn a_ring_leads_to_its_queue_alone() {
        let now = Instant::now();
        let mut board = board(&["A", "B"]);
        sweep(&mut board, now, Ear::Listening(now));
        board.rung(&route("B"), Some(Band::Low));
        board.rung(&route("C"), Some(Band::Low));
        assert!(board.has_left() && board.is_left(&route("B"), Some(Band::Low)));
        assert_eq!(sweep(&mut board, now, Ear::Listening(now)), ["B low"]);
        board.rung(&route("A"), None);
        assert_eq!(
            sweep(&mut board, now, Ear::Listening(now)),
            ["A high", "A normal", "A low"]
        );
        assert!(!board.has_left());
    }

    #[test]
    fn a_ring_that_came_before_its_task_leads_to_two_more_looks() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        let ear = Ear::Listening(now);
        sweep(&mut board, now, ear);
        board.rung(&route("A"), Some(Band::High));
        assert_eq!(sweep(&mut board, now, ear), ["A high"]);
        let second = now + LOOKS_AGAIN[0];
        assert_eq!(board.next_at(ear), Some(second));
        assert_eq!(sweep(&mut board, second, ear), ["A high"]);
        let third = second + LOOKS_AGAIN[1];
        assert_eq!(board.next_at(ear), Some(third));
        assert_eq!(sweep(&mut board, third, ear), ["A high"]);
        assert_eq!(board.next_at(ear), Some(now + SWEEP), "then it was a lost ring");
        board.rung(&route("A"), Some(Band::Low));
        board.ask(&route("A"), Band::Low, third);
        board.took(&route("A"), Band::Low, 1, 0, now, Ear::Muted);
        assert_eq!(
            board.next_at(ear),
            Some(now + SWEEP),
            "what was found needs no second look"
        );
    }

    #[test]
    fn what_was_not_heard_is_looked_at_after_listening_again() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        sweep(&mut board, now, Ear::Listening(now));
        let later = now + Duration::from_millis(1);
        assert!(sweep(&mut board, later, Ear::Muted).is_empty(), "trusted for a moment");
        assert_eq!(sweep(&mut board, later, Ear::Listening(later)).len(), 3);
        assert_eq!(sweep(&mut board, later + TRUSTED, Ear::Muted).len(), 3);
    }

    #[test]
    fn a_known_backlog_comes_before_a_mere_look_in_its_band_only() {
        let now = Instant::now();
        let mut board = board(&["A", "B"]);
        board.rung(&route("B"), Some(Band::Normal));
        let next = |board: &Board| {
            board
                .next(now, Ear::Muted)
                .map(|due| format!("{} {}", due.route, due.band))
        };
        assert_eq!(next(&board).as_deref(), Some("A high"), "a task may wait there");
        for name in ["A", "B"] {
            board.ask(&route(name), Band::High, now);
        }
        assert_eq!(next(&board).as_deref(), Some("B normal"));
    }

    #[test]
    fn higher_bands_go_first_and_lower_ones_never_starve() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        let mut order = Vec::new();
        for _ in 0..36 {
            board.rung(&route("A"), None);
            let Due { route, band, .. } = board.next(now, Ear::Muted).expect("all bands wait");
            board.ask(&route, band, now);
            board.took(&route, band, 1, 1, now, Ear::Muted);
            order.push(band);
        }
        let count = |wanted: Band| order.iter().filter(|band| **band == wanted).count();
        assert_eq!((count(Band::High), count(Band::Normal), count(Band::Low)), (28, 4, 4));
        let first = [[Band::High; 7].as_slice(), &[Band::Low, Band::Normal]].concat();
        assert_eq!(order[..9], first);
    }

    #[test]
    fn a_band_has_its_turn_when_it_was_passed_over_often_enough() {
        for (passed_over, expected) in [
            ([0, 0, 0], "high normal low"),
            ([0, 6, 6], "high normal low"),
            ([0, 7, 0], "normal high low"),
            ([0, 0, 7], "low high normal"),
            ([0, 7, 7], "low normal high"),
            ([0, 8, 7], "normal low high"),
            ([0, 9, 12], "low normal high"),
        ] {
            let order = turn(passed_over).map(|band| band.to_string()).join(" ");
            assert_eq!(order, expected, "{passed_over:?}");
        }
    }

    #[test]
    fn a_band_that_was_empty_does_not_save_up_turns() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        sweep(&mut board, now, Ear::Listening(now));
        let take = |board: &mut Board| {
            board.rung(&route("A"), Some(Band::High));
            let due = board.next(now, Ear::Listening(now)).expect("one band waits");
            board.ask(&due.route, due.band, now);
            board.took(&due.route, due.band, 1, 0, now, Ear::Listening(now));
            due.band
        };
        assert!((0..20).all(|_| take(&mut board) == Band::High), "nobody else waits");
        board.rung(&route("A"), Some(Band::Low));
        assert!(
            (0..7).all(|_| take(&mut board) == Band::High),
            "from now on it is passed over"
        );
        assert_eq!(take(&mut board), Band::Low);
    }

    #[test]
    fn a_backlog_hides_no_other_route_of_its_band_for_long() {
        let now = Instant::now();
        let mut board = board(&["A", "B"]);
        sweep(&mut board, now, Ear::Muted);
        let mut asked = Vec::new();
        for step in 1..=30u32 {
            let at = now + step * TRUSTED;
            board.rung(&route("A"), Some(Band::Normal));
            loop {
                let due = board.next(at, Ear::Muted).expect("a backlog");
                board.ask(&due.route, due.band, at);
                let backlog = due.band == Band::Normal && due.route == route("A");
                board.took(
                    &due.route,
                    due.band,
                    usize::from(backlog),
                    u64::from(backlog),
                    at,
                    Ear::Muted,
                );
                if due.band == Band::Normal {
                    asked.push(due.route.to_string());
                }
                if backlog {
                    break;
                }
            }
        }
        let looks = asked.iter().filter(|name| name.as_str() == "B").count();
        assert_eq!(looks, 1, "B is looked at after a second of A: {asked:?}");
    }

    #[test]
    fn routes_with_a_backlog_take_turns() {
        let now = Instant::now();
        let mut board = board(&["A", "B", "C"]);
        sweep(&mut board, now, Ear::Muted);
        let mut order = String::new();
        for step in 1..=6 {
            ["A", "B", "C"]
                .iter()
                .for_each(|name| board.rung(&route(name), Some(Band::Normal)));
            let at = now + Duration::from_millis(step);
            let Due { route: next, band, .. } = board.next(at, Ear::Muted).expect("a backlog");
            board.ask(&next, band, at);
            board.took(&next, band, 0, 1, now, Ear::Muted);
            order.push_str(next.as_str());
        }
        assert_eq!(order, "ABCABC");
    }

    #[test]
    fn a_ring_during_a_request_is_not_forgotten() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        sweep(&mut board, now, Ear::Listening(now));
        board.rung(&route("A"), Some(Band::Normal));
        board.ask(&route("A"), Band::Normal, now);
        board.rung(&route("A"), Some(Band::Normal));
        board.took(&route("A"), Band::Normal, 1, 0, now, Ear::Muted);
        assert_eq!(sweep(&mut board, now, Ear::Listening(now)), ["A normal"]);
    }

    #[test]
    fn a_route_is_quick_as_long_as_its_tasks_are() {
        let now = Instant::now();
        let mut board = board(&["A", "B"]);
        let quick = |board: &Board| (board.is_quick(&route("A")), board.is_quick(&route("B")));
        assert_eq!(quick(&board), (false, false), "nothing is known");
        (0..3).for_each(|_| board.ended(&route("A"), Duration::from_millis(2)));
        board.ended(&route("B"), Duration::from_millis(200));
        board.ended(&route("C"), Duration::from_millis(2));
        assert_eq!(quick(&board), (true, false));
        board.rung(&route("A"), Some(Band::High));
        assert!(
            board
                .next(now, Ear::Muted)
                .is_some_and(|due| due.quick && due.left == 1)
        );
        board.ended(&route("A"), Duration::from_secs(1));
        assert_eq!(quick(&board), (false, false));
    }

    #[test]
    fn a_lost_connection_makes_everything_unknown() {
        let now = Instant::now();
        let mut board = board(&["A"]);
        sweep(&mut board, now, Ear::Listening(now));
        board.forget();
        assert_eq!(sweep(&mut board, now, Ear::Listening(now)).len(), 3);
        board.remove(&route("A"));
        assert_eq!(board.next(now, Ear::Muted), None);
    }
}
