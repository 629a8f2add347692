//! The queries a lead has leased: those that wait for their turn, and how many run. It leases more than it runs, so that
//! turns can be shared out among clients, and hands back what other leads have room for. It starts nothing itself.

use std::time::{Duration, Instant};

use axon_bus::{Bus, Delivery, Error, LongPull};
use axon_protocol::{PRIORITY_DEFAULT, Query, QueryId, Stream, header};
use chrono::{DateTime, Utc};
use tracing::info;

use crate::allocation::{deadlines, timeout_ms_min};
use crate::config::Config;
use crate::due::{Due, Need, Prospect};
use crate::fairness::{Charge, Turn, Turns, surplus};

/// Most queries of one request: several leads that ask at once get their parts by turns.
const REQUEST_MAX: usize = 64;
/// Bytes of waiting queries from which on no more are leased than can be run.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Share of the room, as a divisor, that urgent queries may take beyond it.
const URGENT_ROOM_DIVISOR: usize = 4;
/// Queries whose deadline passed while they waited that are answered at once. Each costs a few small messages.
const EXPIRED_MAX: usize = 32;
/// How long a lead that handed queries back leaves them to others: two heartbeats.
const LEAVES_TO_OTHERS: Duration = Duration::from_secs(4);
/// Deliveries after which a query is not handed to another lead any more.
const DELIVERIES_MAX: u64 = 20;
/// Who asks where nobody says so.
const CLIENT_DEFAULT: &str = "anonymous";
/// Longest name of a client; the rest is cut off.
const CLIENT_CHARS_MAX: usize = 64;

/// On what grounds a query is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// It is its client's turn.
    Turn,
    /// Its deadline is near, or it was cancelled.
    Urgent,
    /// Its deadline has passed.
    Expired,
}

/// A query to begin.
pub(crate) struct Start {
    pub(crate) delivery: Delivery,
    pub(crate) running: Running,
}

/// What is known of a query that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) lane: Lane,
    pub(crate) id: Option<QueryId>,
    charge: Charge,
    since: Instant,
}

struct Waiting {
    delivery: Delivery,
    id: Option<QueryId>,
    due: Due,
}

/// Whether more queries are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// They are.
    Yes,
    /// Not before some have been handed back; what was asked for before may still come.
    Stopping,
    /// Not before then, so that others get what was handed back.
    NotBefore(Instant),
}

/// The leased queries of a lead.
pub(crate) struct Intake {
    pull: LongPull,
    turns: Turns<Waiting>,
    asking: Asking,
    bytes: usize,
    room: usize,
    leased_max: usize,
    /// What a query has at least that names no deadline, in milliseconds.
    timeout_ms_min: u64,
    /// By lane.
    running: [usize; 3],
}

impl Intake {
    pub(crate) async fn open(bus: &Bus, config: &Config) -> Result<Self, Error> {
        let room = config.max_concurrent_executions.max(1);
        Ok(Self {
            pull: LongPull::open(bus, Stream::Queries).await?,
            turns: Turns::new(config.client_weights.clone()),
            asking: Asking::Yes,
            bytes: 0,
            room,
            leased_max: config.max_leased_queries.max(room),
            timeout_ms_min: timeout_ms_min(config),
            running: [0; 3],
        })
    }

    /// Queries this lead works on at once.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    pub(crate) fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.iter().sum()
    }

    /// The next query that the server sends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Delivery {
        let asks_for = self.asks_for();
        self.pull.next(asks_for).await
    }

    fn asks_for(&self) -> usize {
        let lacking = self.free().saturating_sub(self.waiting());
        let more = match self.asking {
            Asking::Yes if self.bytes < WAITING_BYTES_MAX => {
                self.leased_max.saturating_sub(self.running() + self.waiting())
            }
            _ => 0,
        };
        more.max(lacking).min(REQUEST_MAX)
    }

    fn free(&self) -> usize {
        self.room.saturating_sub(self.running[Lane::Turn as usize])
    }

    /// A query came. It waits, unless nobody does.
    pub(crate) fn take_in(&mut self, delivery: Delivery) -> Option<Start> {
        let client: String = delivery
            .header(header::CLIENT)
            .filter(|name| !name.is_empty())
            .unwrap_or(CLIENT_DEFAULT)
            .chars()
            .take(CLIENT_CHARS_MAX)
            .collect();
        let id = QueryId::of_published(delivery.header(header::MESSAGE_ID), delivery.sequence);
        if self.free() > 0 && self.waiting() == 0 {
            let charge = self.turns.begin(&client);
            return Some(self.begin(delivery, id, charge, Lane::Turn));
        }
        // One that cannot be read waits like any other, to be refused when its turn comes. One that only refers to its
        // payload is not fetched before that has to be known.
        let query = Query::parse(&delivery.headers(), delivery.payload()).ok();
        let query = query.as_ref().map(|(query, _)| query);
        let accepted_at = delivery.stored_at;
        let due_after = |timeout_ms: u64| deadlines(accepted_at, timeout_ms, 0.0).answer;
        let named = query.and_then(|query| query.deadline_s);
        let named = named.map(|seconds| due_after(seconds.saturating_mul(1000)));
        let priority = query.map_or(PRIORITY_DEFAULT, Query::priority);
        let waiting = Waiting {
            id,
            due: Due::new(accepted_at, named, due_after(self.timeout_ms_min)),
            delivery,
        };
        self.bytes += waiting.bytes();
        // It comes once more when its lease was lost, as with a server that restarted.
        if let Some(former) = self.turns.add(&client, priority, waiting.delivery.sequence, waiting) {
            self.bytes = self.bytes.saturating_sub(former.bytes());
        }
        None
    }

    /// The query whose turn it is, if there is room.
    pub(crate) fn next_turn(&mut self, now: DateTime<Utc>) -> Option<Start> {
        if self.free() == 0 {
            return None;
        }
        let turn = self.turns.take()?;
        let lane = match turn.item.due.need(now) {
            Need::Answer => Lane::Expired,
            _ => Lane::Turn,
        };
        Some(self.begin_waiting(turn, lane))
    }

    /// The queries that cannot wait for their turn: their deadline is near or has passed.
    pub(crate) fn out_of_turn(&mut self, now: DateTime<Utc>) -> Vec<Start> {
        let room = |used: usize, most: usize| most.saturating_sub(used);
        let needs =
            |need: Need| move |waiting: &Waiting| (waiting.due.need(now) == need).then_some(waiting.due.order());
        let expired = self.turns.take_first_by(
            room(self.running[Lane::Expired as usize], EXPIRED_MAX),
            needs(Need::Answer),
        );
        let urgent = self.turns.take_first_by(
            room(
                self.running[Lane::Urgent as usize],
                self.room.div_ceil(URGENT_ROOM_DIVISOR),
            ),
            needs(Need::Begin),
        );
        let expired = expired.into_iter().map(|turn| (turn, Lane::Expired));
        let urgent = urgent.into_iter().map(|turn| (turn, Lane::Urgent));
        expired
            .chain(urgent)
            .map(|(turn, lane)| self.begin_waiting(turn, lane))
            .collect()
    }

    /// Up to `limit` queries of which it has to be found out when they are due. They go on waiting meanwhile.
    pub(crate) fn unknown(&mut self, limit: usize, now: DateTime<Utc>) -> Vec<Delivery> {
        self.turns
            .iter_mut()
            .filter(|waiting| waiting.due.need(now) == Need::Prospect)
            .take(limit)
            .map(|waiting| {
                waiting.due.sought(now);
                waiting.delivery.clone()
            })
            .collect()
    }

    /// It was found out when the query with this sequence is due.
    pub(crate) fn found(&mut self, sequence: u64, prospect: Prospect) {
        // Its turn may have come meanwhile.
        if let Some(waiting) = self.turns.iter_mut().find(|one| one.delivery.sequence == sequence) {
            waiting.due.found(prospect);
        }
    }

    /// A query that waits and was cancelled is answered now.
    pub(crate) fn cancelled(&mut self, id: &QueryId) -> Option<Start> {
        let wanted = |waiting: &Waiting| (waiting.id.as_ref() == Some(id)).then_some(());
        let turn = self.turns.take_first_by(1, wanted).pop()?;
        Some(self.begin_waiting(turn, Lane::Urgent))
    }

    /// A query that ran is acknowledged or handed back.
    pub(crate) fn ended(&mut self, running: &Running) {
        let count = &mut self.running[running.lane as usize];
        *count = count.saturating_sub(1);
        self.turns.ended(&running.charge, running.since.elapsed());
    }

    fn begin_waiting(&mut self, turn: Turn<Waiting>, lane: Lane) -> Start {
        self.bytes = self.bytes.saturating_sub(turn.item.bytes());
        self.begin(turn.item.delivery, turn.item.id, turn.charge, lane)
    }

    fn begin(&mut self, delivery: Delivery, id: Option<QueryId>, charge: Charge, lane: Lane) -> Start {
        self.running[lane as usize] += 1;
        let running = Running {
            lane,
            id,
            charge,
            since: Instant::now(),
        };
        Start { delivery, running }
    }

    /// Renews the leases of all that wait.
    pub(crate) async fn renew(&self) {
        for waiting in self.turns.iter() {
            waiting.delivery.progress().await;
        }
    }

    /// Hands back what leads with room for `free` more queries can begin at once. To be called every now and then: first
    /// nothing more is asked for, because what is handed back would come here again.
    pub(crate) async fn share(&mut self, free: usize, now: Instant) {
        let more = surplus(self.waiting(), self.running[Lane::Turn as usize], self.room, free);
        match self.asking {
            Asking::NotBefore(at) if now < at => {}
            _ if more == 0 => self.asking = Asking::Yes,
            Asking::Stopping if self.pull.outstanding() == 0 => {
                let given = self
                    .turns
                    .give_away(more, |waiting| waiting.delivery.delivered < DELIVERIES_MAX);
                info!(
                    queries = given.len(),
                    waiting = self.waiting(),
                    "leaving queries to leads with room"
                );
                self.hand_back(given).await;
                self.asking = Asking::NotBefore(now + LEAVES_TO_OTHERS);
            }
            _ => self.asking = Asking::Stopping,
        }
    }

    async fn hand_back(&mut self, given: Vec<Waiting>) {
        for waiting in given {
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            waiting.delivery.hand_back(Duration::ZERO).await;
        }
    }

    /// Takes nothing more and hands back at once what has not begun. Returns how many.
    pub(crate) async fn close(mut self) -> usize {
        let all = self.turns.give_away(usize::MAX, |_| true);
        let waiting = all.len();
        let closed = self.pull.close().await;
        // Only now, because an open request would have brought it here again.
        for waiting in all {
            waiting.delivery.hand_back(Duration::ZERO).await;
        }
        closed + waiting
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.delivery.payload().len()
    }
}
