//! What a conversation may still do, from what it has done: which calls are run, when the model has to report, when it is
//! over. Pure: time is an argument, and nothing here calls anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axon_protocol::Digest;
use serde_json::Value;

/// Most turns of a model in one task.
const TURNS_MAX: usize = 60;
/// Calls that were not worth making (made before, failed in the same way before) until the model has to report.
const STRIKES_MAX: usize = 4;
/// Times a tool may fail with the same words before it is not run any more.
const SAME_ERROR_MAX: u32 = 2;
/// Calls in a row that brought nothing new until the model has to report.
const BARREN_MAX: usize = 6;
/// Calls in a row, whatever they brought, without a finding, until the model is reminded to report.
const SILENT_MAX: usize = 12;
/// Replies in a row that failed on the way, until the model counts as failed.
const BROKEN_MAX: u32 = 2;
/// Part of the time that is kept for reporting: a sixth, at most this.
const REPORT_TIME_MAX: Duration = Duration::from_secs(20);

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The model speaks.
    Ask,
    /// It speaks for the last time and has to report, for this reason.
    Conclude(String),
    /// It is over; absent where the model was done, else why it had to stop.
    End(Option<String>),
}

/// What is known of the means left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Means {
    /// Time until the end, and in all.
    pub(super) left: Duration,
    /// See `left`.
    pub(super) time: Duration,
    /// Turns that the budget can pay for certain, were they all like the next one.
    pub(super) turns_paid: u64,
}

/// Why a call is not run; the model gets to read it.
pub(super) type Refusal = String;

/// The state of a conversation.
#[derive(Debug, Default)]
pub(super) struct Guard {
    calls_max: usize,
    calls: usize,
    turns: usize,
    made: BTreeMap<String, String>,
    errors: BTreeMap<(String, String), u32>,
    brought: BTreeSet<Digest>,
    barren: usize,
    silent: usize,
    strikes: usize,
    broken: u32,
    reported: usize,
    reminded: bool,
    concluded: Option<String>,
    done: bool,
}

impl Guard {
    pub(super) fn new(calls_max: usize) -> Self {
        Self {
            calls_max,
            ..Self::default()
        }
    }

    /// Decides what happens next.
    pub(super) fn next(&self, means: Means) -> Next {
        if self.done || self.concluded.is_some() {
            return Next::End(self.concluded.clone());
        }
        self.why_conclude(means).map_or(Next::Ask, Next::Conclude)
    }

    fn why_conclude(&self, means: Means) -> Option<String> {
        if means.left <= (means.time / 6).min(REPORT_TIME_MAX) {
            return Some("the time was nearly up".to_owned());
        }
        if means.turns_paid < 2 {
            return Some("the budget was nearly used up".to_owned());
        }
        if self.turns + 1 >= TURNS_MAX {
            return Some(format!("it had {TURNS_MAX} turns"));
        }
        if self.calls >= self.calls_max {
            return Some(format!("all {} tool calls were made", self.calls_max));
        }
        if self.strikes >= STRIKES_MAX {
            return Some(format!(
                "{STRIKES_MAX} calls repeated what had been called or had failed before"
            ));
        }
        if self.barren >= BARREN_MAX {
            return Some(format!("the last {BARREN_MAX} calls brought nothing new"));
        }
        None
    }

    /// Whether a call is run. One that is counts at once.
    pub(super) fn admit(&mut self, tool: &str, params: &Value, id: &str) -> Result<(), Refusal> {
        if self.calls >= self.calls_max {
            return Err(format!(
                "all {} tool calls of this task are used up: report what you found",
                self.calls_max
            ));
        }
        let call = format!("{tool} {params}");
        if let Some(before) = self.made.get(&call) {
            self.strikes += 1;
            self.barren += 1;
            return Err(format!(
                "this very call was made before as {before}: read its result, and call something else"
            ));
        }
        let failed = self
            .errors
            .iter()
            .find(|((name, _), times)| name == tool && **times > SAME_ERROR_MAX);
        if let Some(((_, error), _)) = failed {
            let refusal = format!("`{tool}` failed in the same way again and again ({error}): use another tool");
            self.strikes += 1;
            self.barren += 1;
            return Err(refusal);
        }
        self.made.insert(call, id.to_owned());
        self.calls += 1;
        self.silent += 1;
        Ok(())
    }

    /// A call that is none: an unknown or forbidden tool, arguments that are no JSON.
    pub(super) fn refused(&mut self) {
        self.strikes += 1;
    }

    /// What an admitted call came to.
    pub(super) fn brought(&mut self, tool: &str, outcome: Result<&str, &str>) {
        let new = match outcome {
            Ok(text) => self.brought.insert(Digest::of(text.as_bytes())),
            Err(error) => {
                let times = self.errors.entry((tool.to_owned(), error.to_owned())).or_default();
                *times += 1;
                if *times > 1 {
                    self.strikes += 1;
                }
                *times == 1
            }
        };
        self.barren = if new { 0 } else { self.barren + 1 };
    }

    /// The model reported: so many findings were accepted, others refused or not, and it said whether it is done.
    pub(super) fn reported(&mut self, accepted: usize, refused: bool, done: bool) {
        self.reported += accepted;
        if accepted > 0 {
            (self.barren, self.silent) = (0, 0);
        }
        // It may correct what was refused once.
        self.done = done && (!refused || self.reminded);
        self.reminded |= refused;
    }

    /// The model had its turn. Without any call it says that it is done, unless it never reported: then it is told once to.
    pub(super) fn spoke(&mut self, called: bool) -> Option<&'static str> {
        self.turns += 1;
        self.broken = 0;
        if called {
            return None;
        }
        if self.reported > 0 || self.reminded || self.concluded.is_some() {
            self.done = true;
            return None;
        }
        self.reminded = true;
        Some("Report with the tool `report_findings`; with no findings if there is nothing to report.")
    }

    /// Whether the model should be reminded to report now.
    pub(super) fn is_silent(&mut self) -> bool {
        let silent = self.silent >= SILENT_MAX;
        if silent {
            self.silent = 0;
        }
        silent
    }

    /// A reply was lost on the way. Whether it is asked for again.
    pub(super) fn broke(&mut self) -> bool {
        self.broken += 1;
        self.turns += 1;
        self.broken < BROKEN_MAX
    }

    /// The model is told that this is its last turn, and why.
    pub(super) fn conclude(&mut self, reason: String) {
        self.concluded = Some(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLENTY: Means = Means {
        left: Duration::from_secs(60),
        time: Duration::from_secs(60),
        turns_paid: 10,
    };

    fn why(guard: &Guard, means: Means) -> String {
        match guard.next(means) {
            Next::Ask => String::new(),
            Next::Conclude(reason) => reason,
            Next::End(reason) => format!("end: {}", reason.unwrap_or_default()),
        }
    }

    #[test]
    fn time_and_money_are_kept_for_the_report() {
        let guard = Guard::new(10);
        assert_eq!(guard.next(PLENTY), Next::Ask);
        for (means, expected) in [
            (
                Means {
                    turns_paid: 1,
                    ..PLENTY
                },
                "budget",
            ),
            (
                Means {
                    left: Duration::from_secs(9),
                    ..PLENTY
                },
                "time",
            ),
            (
                Means {
                    left: Duration::from_secs(19),
                    time: Duration::from_secs(600),
                    ..PLENTY
                },
                "time",
            ),
        ] {
            assert!(why(&guard, means).contains(expected), "{means:?}");
        }
    }

    #[test]
    fn the_same_call_is_made_once() {
        let mut guard = Guard::new(10);
        assert_eq!(guard.admit("code.read", &json!({"path": "a"}), "a1"), Ok(()));
        guard.brought("code.read", Ok("text"));
        for _ in 0..STRIKES_MAX {
            assert_eq!(guard.next(PLENTY), Next::Ask);
            let refusal = guard
                .admit("code.read", &json!({"path": "a"}), "a2")
                .expect_err("made before");
            assert!(refusal.contains("a1"), "{refusal}");
        }
        assert!(why(&guard, PLENTY).contains("repeated"));
        assert_eq!(guard.calls, 1, "a refused call is no call");
    }

    #[test]
    fn a_tool_that_fails_in_the_same_way_is_left_alone() {
        let mut guard = Guard::new(10);
        for index in 0..=SAME_ERROR_MAX {
            let params = json!({ "pattern": index });
            assert_eq!(guard.admit("code.search", &params, "x"), Ok(()));
            guard.brought("code.search", Err("bad pattern"));
        }
        let refusal = guard
            .admit("code.search", &json!({"pattern": "y"}), "x")
            .expect_err("again");
        assert!(refusal.contains("bad pattern"), "{refusal}");
        assert_eq!(guard.admit("code.read", &json!({}), "x"), Ok(()));
    }

    #[test]
    fn calls_that_bring_nothing_new_end_it() {
        let mut guard = Guard::new(100);
        for index in 0..=BARREN_MAX {
            assert_eq!(guard.next(PLENTY), Next::Ask, "{index}");
            guard
                .admit("code.search", &json!({ "pattern": index }), "x")
                .expect("another one");
            guard.brought("code.search", Ok("nothing"));
        }
        assert!(why(&guard, PLENTY).contains("nothing new"));
        guard.reported(1, false, false);
        assert_eq!(guard.next(PLENTY), Next::Ask, "a finding is something new");
    }

    #[test]
    fn a_model_that_never_stops_is_stopped() {
        let mut guard = Guard::new(3);
        for index in 0..3 {
            guard
                .admit("code.read", &json!({ "line": index }), "x")
                .expect("allowed");
            guard.brought("code.read", Ok(&index.to_string()));
            guard.spoke(true);
        }
        assert!(guard.admit("code.read", &json!({"line": 9}), "x").is_err());
        assert!(why(&guard, PLENTY).contains("all 3 tool calls"));
        let reason = why(&guard, PLENTY);
        guard.conclude(reason);
        guard.reported(1, false, true);
        assert!(why(&guard, PLENTY).starts_with("end: all 3"), "whatever it says then");

        let mut talker = Guard::new(1000);
        while talker.next(PLENTY) == Next::Ask {
            talker.spoke(true);
        }
        assert_eq!(talker.turns, TURNS_MAX - 1);
    }

    #[test]
    fn a_model_that_says_nothing_useful_is_asked_once_to_report() {
        let mut guard = Guard::new(3);
        assert!(guard.spoke(false).is_some());
        assert_eq!(guard.next(PLENTY), Next::Ask);
        assert!(guard.spoke(false).is_none());
        assert_eq!(guard.next(PLENTY), Next::End(None));
    }

    #[test]
    fn what_was_refused_may_be_corrected_once() {
        let mut guard = Guard::new(3);
        guard.reported(1, true, true);
        assert_eq!(guard.next(PLENTY), Next::Ask);
        guard.reported(0, true, true);
        assert_eq!(guard.next(PLENTY), Next::End(None));
    }

    #[test]
    fn a_lost_reply_is_asked_for_once_more() {
        let mut guard = Guard::new(3);
        assert!(guard.broke());
        guard.spoke(true);
        assert!(guard.broke());
        assert!(!guard.broke());
    }
}
