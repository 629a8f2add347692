//! What a worker knows of its queues, and which of them it asks next: the higher band first, yet no queue starves. Pure:
//! the clock is an argument, and nothing here asks anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_protocol::{Band, Route};
use tokio::time::Instant;

/// Every so many takes the lowest band goes first.
const LOW_FIRST_EVERY: u64 = 8;
/// How long a queue that was empty counts as empty while the worker does not listen.
const TRUSTED: Duration = Duration::from_millis(50);

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
    /// Whether tasks may be waiting there.
    left: bool,
    asked_at: Option<Instant>,
}

/// The queues of a worker: one for each route and band.
#[derive(Debug)]
pub(crate) struct Board {
    queues: BTreeMap<Route, [Queue; 3]>,
    routes: BTreeSet<Route>,
    takes: u64,
    sweep_every: Duration,
}

impl Board {
    /// Without routes. Every queue is asked at least every `sweep_every` while there is room.
    pub(crate) fn new(sweep_every: Duration) -> Self {
        Self {
            queues: BTreeMap::new(),
            routes: BTreeSet::new(),
            takes: 0,
            sweep_every,
        }
    }

    pub(crate) fn routes(&self) -> &BTreeSet<Route> {
        &self.routes
    }

    /// Serves a route from now on. Returns whether it is new.
    pub(crate) fn add(&mut self, route: Route) -> bool {
        self.queues.entry(route.clone()).or_default();
        self.routes.insert(route)
    }

    pub(crate) fn remove(&mut self, route: &Route) {
        self.queues.remove(route);
        self.routes.remove(route);
    }

    /// Whether tasks are known, or told, to wait in a queue.
    pub(crate) fn has_left(&self) -> bool {
        self.queues.values().flatten().any(|queue| queue.left)
    }

    /// Whether tasks are known, or told, to wait in that queue.
    pub(crate) fn is_left(&self, route: &Route, band: Option<Band>) -> bool {
        self.queues.get(route).is_some_and(|queues| match band {
            Some(band) => queues[index(band)].left,
            None => queues.iter().all(|queue| queue.left),
        })
    }

    /// The routes where tasks are known, or told, to wait.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Route> {
        self.queues
            .iter()
            .filter(|(_, queues)| queues.iter().any(|queue| queue.left))
            .map(|(route, _)| route)
    }

    /// Somebody rang: a task may be waiting, in any band if none is named.
    pub(crate) fn rung(&mut self, route: &Route, band: Option<Band>) {
        if let Some(queues) = self.queues.get_mut(route) {
            match band {
                Some(band) => queues[index(band)].left = true,
                None => queues.iter_mut().for_each(|queue| queue.left = true),
            }
        }
    }

    /// Nothing is known any more, as after a lost connection.
    pub(crate) fn forget(&mut self) {
        self.queues.values_mut().for_each(|queues| *queues = Default::default());
    }

    /// A queue is being asked. Rings from now on may tell of tasks that come too late for this request.
    pub(crate) fn ask(&mut self, route: &Route, band: Band, now: Instant) {
        if let Some(queues) = self.queues.get_mut(route) {
            queues[index(band)] = Queue {
                left: false,
                asked_at: Some(now),
            };
        }
    }

    /// A queue that was asked has answered: `taken` tasks came, and tasks are left there or not.
    pub(crate) fn took(&mut self, route: &Route, band: Band, taken: usize, left: bool) {
        if taken > 0 {
            self.takes += 1;
        }
        if left {
            self.rung(route, Some(band));
        }
    }

    /// The queue to ask next; `None` if none needs to be asked.
    pub(crate) fn next(&self, now: Instant, ear: Ear) -> Option<(&Route, Band)> {
        let mut bands = Band::ALL;
        if self.takes % LOW_FIRST_EVERY == LOW_FIRST_EVERY - 1 {
            bands.reverse();
        }
        bands.into_iter().find_map(|band| {
            let queues = self.queues.iter().map(|(route, queues)| (route, queues[index(band)]));
            // Where tasks are known to wait comes before a mere look, and among equals what was asked longest ago.
            let known = queues.clone().filter(|(_, queue)| queue.left);
            let due = queues.filter(|(_, queue)| !queue.left && self.due_at(queue, ear).is_none_or(|at| at <= now));
            let (route, _) = known
                .min_by_key(|(_, queue)| queue.asked_at)
                .or_else(|| due.min_by_key(|(_, queue)| queue.asked_at))?;
            Some((route, band))
        })
    }

    /// When a queue next needs to be asked though nobody rings; `None` without routes or where one needs it now.
    pub(crate) fn next_at(&self, ear: Ear) -> Option<Instant> {
        self.queues
            .values()
            .flatten()
            .filter_map(|queue| self.due_at(queue, ear))
            .min()
    }

    /// When an empty queue needs to be looked at again; `None` at once.
    fn due_at(&self, queue: &Queue, ear: Ear) -> Option<Instant> {
        let asked_at = queue.asked_at?;
        match ear {
            Ear::Muted => Some(asked_at + TRUSTED),
            // What was published between the last look and the first moment of listening was not heard.
            Ear::Listening(since) if asked_at < since => None,
            Ear::Listening(_) => Some(asked_at + self.sweep_every),
        }
    }
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
        while let Some((route, band)) = board.next(now, ear).map(|(route, band)| (route.clone(), band)) {
            order.push(format!("{route} {band}"));
            board.ask(&route, band, now);
            board.took(&route, band, 0, false);
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
                .map(|(route, band)| format!("{route} {band}"))
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
        for _ in 0..32 {
            board.rung(&route("A"), None);
            let (route, band) = board
                .next(now, Ear::Muted)
                .map(|(route, band)| (route.clone(), band))
                .expect("all bands wait");
            board.ask(&route, band, now);
            board.took(&route, band, 1, true);
            order.push(band);
        }
        let count = |wanted: Band| order.iter().filter(|band| **band == wanted).count();
        assert_eq!((count(Band::High), count(Band::Low)), (28, 4));
        assert_eq!(order[..8], [[Band::High; 7].as_slice(), &[Band::Low]].concat());
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
            let (next, band) = board
                .next(at, Ear::Muted)
                .map(|(route, band)| (route.clone(), band))
                .expect("a backlog");
            board.ask(&next, band, at);
            board.took(&next, band, 0, true);
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
        board.took(&route("A"), Band::Normal, 1, false);
        assert_eq!(sweep(&mut board, now, Ear::Listening(now)), ["A normal"]);
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
