//! `axon feedback`: says whether an answer was good or bad. Bad means that the strategy's application did not succeed, which
//! lowers its success rate and with it its score; marking twice changes nothing more, and good takes a bad back.

use axon_memory::{DEFAULT_LIMITS, Episodes, Strategies};
use axon_protocol::{Episode, Feedback, QueryId};
use serde_json::json;

use crate::command::watch::unknown;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::question::{check_streams, stored_answer};

/// What one thinks of which answer.
#[derive(Debug, clap::Args)]
pub(crate) struct FeedbackArgs {
    /// Id of the query
    #[arg(value_name = "ID")]
    id: String,

    /// Whether its answer helped
    #[arg(value_enum)]
    feedback: Mark,
}

impl FeedbackArgs {
    pub(crate) fn good(id: String) -> Self {
        let feedback = Mark::Good;
        Self { id, feedback }
    }

    pub(crate) fn bad(id: String) -> Self {
        let feedback = Mark::Bad;
        Self { id, feedback }
    }
}

/// Good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mark {
    /// It helped; takes a bad back
    Good,
    /// It did not
    Bad,
}

impl From<Mark> for Feedback {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Good => Feedback::Good,
            Mark::Bad => Feedback::Bad,
        }
    }
}

pub(crate) async fn run(context: &Context, args: FeedbackArgs) -> anyhow::Result<Exit> {
    let id = QueryId::new(args.id)?;
    let feedback = Feedback::from(args.feedback);
    let bus = context.connect().await?;
    check_streams(&bus).await?;
    let Some(answer) = stored_answer(&bus, &id).await? else {
        return Err(unknown(&id));
    };
    let episode = match &answer.strategy {
        Some(strategy) => Episodes::new(&bus, 0, DEFAULT_LIMITS).of(strategy, &id).await?,
        None => None,
    };
    let Some(episode) = episode else {
        let message = format!(
            "query {id} is not remembered, so that nothing can be learnt from it: it was refused, it was answered a moment \
             ago, or `bus.persist_to_episodic` is off"
        );
        return Err(Failure::not_found(message).into());
    };
    let strategies = Strategies::new(&bus);
    // What did not succeed by itself counts as no success already.
    let changed = episode.success && strategies.mark(&episode.strategy, &id, feedback).await?;
    let rate = strategies.statistics(&episode.strategy).await?.success_rate();
    if context.json {
        output::json(&json!({
            "id": id,
            "feedback": feedback,
            "strategy": episode.strategy,
            "changed": changed,
            "success_rate": rate,
        }))?;
    } else {
        output::line(&text_of(&episode, feedback, changed, rate))?;
    }
    Ok(Exit::Success)
}

fn text_of(episode: &Episode, feedback: Feedback, changed: bool, rate: Option<f64>) -> String {
    let what = match (changed, feedback, episode.success) {
        (_, _, false) => "nothing changes: the application did not succeed by itself, so that it counts as no success",
        (true, Feedback::Bad, _) => "marked bad: the application does not count as a success any more",
        (true, Feedback::Good, _) => "marked good: the application counts as a success again",
        (false, Feedback::Bad, _) => "nothing changes: it is marked bad already",
        (false, Feedback::Good, _) => "nothing changes: it counts as a success",
    };
    let rate = rate.map_or_else(|| "unknown".to_owned(), |rate| format!("{:.0} %", rate * 100.0));
    format!("{what}; the success rate of {} is {rate}", episode.strategy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axon_protocol::{AnswerStatus, StopReason, Usage};
    use chrono::Utc;

    use super::*;

    #[test]
    fn what_a_mark_changes_is_told() {
        let episode = |success| Episode {
            query_id: QueryId::new("q1").expect("an id"),
            query: "why?".to_owned(),
            session: None,
            workspace: None,
            strategy: "research".to_owned(),
            leaning: None,
            complexity: None,
            ruled: None,
            shape: None,
            aspects: Vec::new(),
            aspects_asked: 0,
            yields: Vec::new(),
            tools: BTreeMap::new(),
            retries: 0,
            hand_overs: 0,
            conflicts: 0,
            tasks: 1,
            workers: 1,
            status: AnswerStatus::Complete,
            stop_reason: StopReason::Finished,
            success,
            quality: None,
            usage: Usage::default(),
            duration_ms: 1.0,
            summary: String::new(),
            places: Vec::new(),
            at: Utc::now(),
        };
        for (success, feedback, changed, said) in [
            (true, Feedback::Bad, true, "marked bad"),
            (true, Feedback::Bad, false, "already"),
            (true, Feedback::Good, true, "again"),
            (true, Feedback::Good, false, "it counts as a success"),
            (false, Feedback::Bad, false, "did not succeed by itself"),
        ] {
            let text = text_of(&episode(success), feedback, changed, Some(0.75));
            assert!(text.contains(said) && text.ends_with("research is 75 %"), "{text}");
        }
    }
}
