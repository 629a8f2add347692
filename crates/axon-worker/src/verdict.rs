//! What becomes of a task, from the facts of its execution: the one place that decides between a result, a dead letter
//! that is retried or parked, and handing back. Pure.

use axon_protocol::{Reason, TaskStatus, Verdict};

/// Longest reason that is written, in characters.
const REASON_CHARS_MAX: usize = 1000;

/// What stopped an execution from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its query was cancelled.
    Cancelled,
    /// Its time was up.
    OutOfTime,
    /// The process has to leave.
    Leaving,
}

/// Why a part of a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whether it may work the next time.
    pub(crate) may_pass: bool,
    /// Whether it took too long.
    pub(crate) timed_out: bool,
    /// What failed, for people.
    pub(crate) message: String,
}

impl Failure {
    /// It will fail in the same way again.
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self {
            may_pass: false,
            timed_out: false,
            message: message.into(),
        }
    }

    /// It may work the next time.
    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self {
            may_pass: true,
            ..Self::permanent(message)
        }
    }
}

/// How an execution went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// What stopped it, if anything did.
    pub(crate) stop: Option<Stop>,
    /// Parts that are finished and worth reporting.
    pub(crate) finished: usize,
    /// Whether a model was paid for. What was spent is accounted by a result alone, so that there has to be one: another
    /// attempt would spend the same budget again.
    pub(crate) paid: bool,
    /// Parts that were never done, by name.
    pub(crate) missing: Vec<String>,
    /// Parts that failed.
    pub(crate) failures: Vec<Failure>,
    /// Which attempt it was, counted from 1.
    pub(crate) attempt: u32,
    /// Attempts after which finished parts are reported rather than tried again.
    pub(crate) attempts_max: u32,
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// A result is published.
    Publish {
        /// How complete it is.
        status: TaskStatus,
        /// Why it is not complete.
        reason: Option<String>,
    },
    /// A dead letter is written.
    Bury {
        /// Why.
        reason: Reason,
        /// What is to become of it.
        verdict: Verdict,
        /// What happened.
        message: String,
    },
    /// The task goes back to its queue and this was no attempt.
    HandBack,
}

/// Decides.
pub(crate) fn settle(facts: &Facts) -> Settlement {
    let partial = |reason: String| Settlement::Publish {
        status: TaskStatus::Partial,
        reason: Some(cut(reason)),
    };
    match facts.stop {
        Some(Stop::Leaving) if facts.paid => partial(format!("its worker had to leave{}", not_done(facts))),
        Some(Stop::Leaving) => Settlement::HandBack,
        Some(Stop::Cancelled) => partial("cancelled".to_owned()),
        Some(Stop::OutOfTime) if facts.finished > 0 || facts.paid => {
            partial(format!("the time was up{}", not_done(facts)))
        }
        Some(Stop::OutOfTime) => Settlement::Bury {
            reason: Reason::Timeout,
            verdict: Verdict::Retry,
            message: cut(format!(
                "the time was up before anything was finished{}",
                not_done(facts)
            )),
        },
        None if facts.failures.is_empty() && facts.missing.is_empty() => Settlement::Publish {
            status: TaskStatus::Complete,
            reason: None,
        },
        None => after_failures(facts, partial),
    }
}

fn after_failures(facts: &Facts, partial: impl Fn(String) -> Settlement) -> Settlement {
    let may_pass = facts.failures.iter().any(|failure| failure.may_pass);
    let tries_left = facts.attempt < facts.attempts_max;
    if facts.paid || (facts.finished > 0 && !(may_pass && tries_left)) {
        return partial(trouble(facts));
    }
    let timed_out = facts.failures.iter().any(|failure| failure.timed_out);
    let (reason, verdict) = match (may_pass, timed_out) {
        (true, true) => (Reason::Timeout, Verdict::Retry),
        (true, false) => (Reason::Failed, Verdict::Retry),
        (false, _) => (Reason::Rejected, Verdict::Park),
    };
    Settlement::Bury {
        reason,
        verdict,
        message: trouble(facts),
    }
}

fn trouble(facts: &Facts) -> String {
    let failures: Vec<&str> = facts.failures.iter().map(|failure| failure.message.as_str()).collect();
    if failures.is_empty() {
        return cut(format!("incomplete{}", not_done(facts)));
    }
    cut(format!("{}{}", failures.join("; "), not_done(facts)))
}

fn not_done(facts: &Facts) -> String {
    if facts.missing.is_empty() {
        String::new()
    } else {
        format!("; not done: {}", facts.missing.join(", "))
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(stop: Option<Stop>, finished: usize, failures: &[Failure]) -> Facts {
        Facts {
            stop,
            finished,
            paid: false,
            failures: failures.to_vec(),
            missing: Vec::new(),
            attempt: 1,
            attempts_max: 3,
        }
    }

    fn word(settlement: &Settlement) -> String {
        match settlement {
            Settlement::Publish { status, .. } => status.as_str().to_owned(),
            Settlement::Bury { reason, verdict, .. } => format!("{reason} {verdict:?}").to_lowercase(),
            Settlement::HandBack => "hand back".to_owned(),
        }
    }

    #[test]
    fn every_ending_has_one_settlement() {
        let passing = Failure::transient("busy");
        let lasting = Failure::permanent("no such thing");
        let slow = Failure {
            timed_out: true,
            ..Failure::transient("slow")
        };
        for (facts, expected) in [
            (facts(None, 2, &[]), "complete"),
            (facts(None, 0, &[]), "complete"),
            (facts(None, 0, std::slice::from_ref(&passing)), "failed retry"),
            (facts(None, 3, std::slice::from_ref(&passing)), "failed retry"),
            (facts(None, 0, std::slice::from_ref(&slow)), "timeout retry"),
            (facts(None, 0, std::slice::from_ref(&lasting)), "rejected park"),
            (facts(None, 1, std::slice::from_ref(&lasting)), "partial"),
            (facts(None, 0, &[lasting.clone(), passing.clone()]), "failed retry"),
            (facts(Some(Stop::OutOfTime), 0, &[]), "timeout retry"),
            (facts(Some(Stop::OutOfTime), 1, &[]), "partial"),
            (
                facts(Some(Stop::OutOfTime), 1, std::slice::from_ref(&passing)),
                "partial",
            ),
            (facts(Some(Stop::Cancelled), 0, &[]), "partial"),
            (facts(Some(Stop::Cancelled), 5, &[]), "partial"),
            (
                facts(Some(Stop::Leaving), 5, std::slice::from_ref(&lasting)),
                "hand back",
            ),
            (
                Facts {
                    attempt: 3,
                    ..facts(None, 1, std::slice::from_ref(&passing))
                },
                "partial",
            ),
            (
                Facts {
                    attempt: 3,
                    ..facts(None, 0, std::slice::from_ref(&passing))
                },
                "failed retry",
            ),
            (
                Facts {
                    missing: vec!["b".to_owned()],
                    ..facts(None, 1, &[])
                },
                "partial",
            ),
        ] {
            assert_eq!(word(&settle(&facts)), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_was_paid_for_is_reported() {
        let paid = |stop, failures: &[Failure]| Facts {
            paid: true,
            ..facts(stop, 0, failures)
        };
        for facts in [
            paid(Some(Stop::Leaving), &[]),
            paid(Some(Stop::OutOfTime), &[]),
            paid(Some(Stop::Cancelled), &[]),
            paid(None, &[Failure::transient("busy")]),
        ] {
            assert_eq!(word(&settle(&facts)), "partial", "{facts:?}");
        }
    }

    #[test]
    fn a_partial_result_names_what_is_missing_and_why() {
        let facts = Facts {
            missing: vec!["c".to_owned(), "d".to_owned()],
            ..facts(None, 1, &[Failure::permanent("`b` failed: no such file")])
        };
        let Settlement::Publish { reason, .. } = settle(&facts) else {
            panic!("one part is finished");
        };
        assert_eq!(reason.as_deref(), Some("`b` failed: no such file; not done: c, d"));
    }

    #[test]
    fn a_reason_is_bounded() {
        let facts = facts(None, 0, &[Failure::permanent("ä".repeat(5000))]);
        let Settlement::Bury { message, .. } = settle(&facts) else {
            panic!("nothing is finished");
        };
        assert_eq!(message.chars().count(), REASON_CHARS_MAX + 1);
    }
}
