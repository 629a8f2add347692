//! One conversation about one task: asks the model, runs its calls side by side, checks its reports, pays for everything.
//! What happens next is decided by the guard; this is its hands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axon_memory::SharedFacts;
use axon_model::{
    Call, CallResult, Choice, ErrorKind, LanguageModel, Message, Purse, Reply, Request, Reserved, Spent, Stop,
};
use axon_protocol::{Fact, Finding, PRIORITY_DEFAULT, RunStatistics, Task, TaskStatus, ToolCall, Usage};
use axon_tools::{CallContext, CallOutcome, CallStatus, Executor, Run, ToolEvent, Workspace};
use serde_json::Value;
use tokio::time::Instant;

use super::guard::{Guard, Means, Next};
use super::offer::{Offer, REPORT};
use super::report::{Checks, Made, Report};
use super::{prompt, show};
use crate::analyst::{Investigation, Progress};

/// Fewest tokens a reply needs to hold a report.
const REPLY_TOKENS_MIN: u64 = 400;
/// Bytes of one result that a model gets to read, at least and at most; between them it depends on the budget left.
const RESULT_BYTES_MIN: u64 = 1_000;
const RESULT_BYTES_MAX: u64 = 12_000;
/// Most facts of others that a model is told, over all its turns.
const HEARD_MAX: usize = 12;
/// Most calls of one turn.
const TURN_CALLS_MAX: usize = 16;

/// How a conversation ended.
pub(super) enum Ended {
    /// As it should, or stopped by a limit: the investigation says which.
    Over,
    /// The model failed, for this reason.
    Failed(String),
}

type Sink<'s> = &'s mut (dyn FnMut(Progress) + Send);

/// A conversation.
pub(super) struct Session<'t> {
    model: &'t LanguageModel,
    task: &'t Task,
    workspace: Arc<Workspace>,
    executor: &'t Executor,
    context: CallContext,
    /// What the other workers of the query find.
    facts: Option<&'t SharedFacts>,
    heard: Vec<Fact>,
    offer: Offer,
    guard: Guard,
    purse: Purse,
    messages: Vec<Message>,
    /// Tokens of the request before, and how many messages it had with its reply: what was counted is not estimated again.
    counted: Option<(u64, usize)>,
    made: BTreeMap<String, Made>,
    findings: Vec<Finding>,
    notes: Vec<String>,
    run: RunStatistics,
    turn: u32,
    calls_made: u64,
    started: Instant,
}

impl<'t> Session<'t> {
    pub(super) fn new(
        model: &'t LanguageModel,
        task: &'t Task,
        workspace: Arc<Workspace>,
        executor: &'t Executor,
        context: CallContext,
        tools: &axon_tools::Offer,
    ) -> Self {
        let delegation = &task.delegation;
        Self {
            model,
            task,
            offer: Offer::new(&tools.tools, delegation.budget.tokens),
            guard: Guard::new(delegation.boundaries.max_tool_calls),
            purse: Purse::new(delegation.budget),
            messages: vec![Message::User(prompt::task(task, &workspace))],
            counted: None,
            made: BTreeMap::new(),
            findings: Vec::new(),
            notes: tools.missing.clone(),
            run: RunStatistics::default(),
            turn: 0,
            calls_made: 0,
            started: Instant::now(),
            facts: None,
            heard: Vec::new(),
            workspace,
            executor,
            context,
        }
    }

    /// The same, told what other workers of the query find meanwhile.
    pub(super) fn hearing(mut self, facts: Option<&'t SharedFacts>) -> Self {
        self.facts = facts;
        self
    }

    /// Goes on until the model is done, has to stop, or fails.
    pub(super) async fn run(mut self, sink: Sink<'_>) -> (Investigation, Ended) {
        loop {
            if self.context.cancel.is_cancelled() {
                return self.over(Some("the task was cancelled".to_owned()));
            }
            self.hear().await;
            let last = match self.guard.next(self.means()) {
                Next::End(reason) => return self.over(reason),
                Next::Conclude(reason) if self.turn == 0 => {
                    let failure =
                        format!("nothing could be looked at, because {reason}: raise the limits of the query");
                    return self.failed(failure);
                }
                Next::Conclude(reason) => {
                    self.tell(prompt::conclude(&reason));
                    self.guard.conclude(reason);
                    true
                }
                Next::Ask => false,
            };
            let reply = match self.ask(last).await {
                Ok(reply) => reply,
                Err(Lost::Again) => continue,
                Err(Lost::Stopped(reason)) => return self.over(Some(reason)),
                Err(Lost::Failed(reason)) => return self.failed(reason),
            };
            self.turn += 1;
            self.heed(reply, sink).await;
        }
    }

    /// Tells the model what others have found since it was told last.
    async fn hear(&mut self) {
        let (Some(facts), room) = (self.facts, HEARD_MAX - self.heard.len()) else {
            return;
        };
        if room == 0 {
            return;
        }
        let mut news = facts.of(&self.task.query_id).await;
        let known = |fact: &Fact| {
            let upstream = self.task.upstream.iter().any(|upstream| upstream.task_id == fact.task);
            upstream || fact.task == self.task.delegation.task_id || self.heard.contains(fact)
        };
        news.retain(|fact| !known(fact));
        news.truncate(room);
        if !news.is_empty() {
            let told = prompt::found_by_others(&news);
            self.heard.extend(news);
            self.tell(told);
        }
    }

    /// Time and money left.
    fn means(&self) -> Means {
        let deadline = self.context.deadline.unwrap_or(self.started + NO_DEADLINE);
        let turn = self.input_tokens_max(&self.request(false)) + REPLY_TOKENS_MIN;
        let price = self.model.price();
        let cents =
            price.input.max(price.cache_write) * turn as f64 / 1e6 + price.output * REPLY_TOKENS_MIN as f64 / 1e6;
        let by_cents = if cents > 0.0 {
            (self.purse.cents_left() / cents) as u64
        } else {
            u64::MAX
        };
        Means {
            left: deadline.saturating_duration_since(Instant::now()),
            time: deadline.saturating_duration_since(self.started),
            turns_paid: (self.purse.tokens_left() / turn).min(by_cents),
        }
    }

    fn request(&self, last: bool) -> Request {
        Request {
            system: prompt::system(),
            messages: self.messages.clone(),
            tools: self.offer.specs().to_vec(),
            choice: if last {
                Choice::Tool(REPORT.to_owned())
            } else {
                Choice::Free
            },
            output_tokens_max: self.model.output_tokens_max(),
        }
    }

    /// What the provider counted of the conversation so far, and an estimate from above of what came since.
    fn input_tokens_max(&self, request: &Request) -> u64 {
        match self.counted {
            Some((tokens, messages)) => {
                let since = request.messages.iter().skip(messages).map(Message::tokens_max);
                tokens + since.sum::<u64>() + COUNT_MARGIN
            }
            None => request.input_tokens_max(),
        }
    }

    /// One turn of the model, paid in advance at its most.
    async fn ask(&mut self, last: bool) -> Result<Reply, Lost> {
        let mut request = self.request(last);
        let price = *self.model.price();
        let input = self.input_tokens_max(&request);
        let reserved = self
            .purse
            .reserve(
                &price,
                input,
                request.output_tokens_max,
                REPLY_TOKENS_MIN.min(request.output_tokens_max),
            )
            .map_err(|short| Lost::Stopped(short.to_string()))?;
        request.output_tokens_max = reserved.output_tokens;
        let until = self.context.deadline.unwrap_or(Instant::now() + NO_DEADLINE);
        let outcome = tokio::select! {
            outcome = self.model.reply(&request, until) => outcome,
            () = self.context.cancel.cancelled() => {
                self.purse.forfeit(reserved);
                return Err(Lost::Stopped("the task was cancelled".to_owned()));
            }
        };
        let error = match outcome {
            Ok(reply) => {
                self.settle(reserved, &reply);
                return Ok(reply);
            }
            Err(error) => error,
        };
        match error.spent {
            Spent::Nothing => self.purse.release(reserved),
            Spent::Unknown => self.purse.forfeit(reserved),
        }
        Err(match error.kind {
            ErrorKind::Broken if self.guard.broke() => Lost::Again,
            ErrorKind::OutOfTime if !self.findings.is_empty() => Lost::Stopped(error.message),
            _ => Lost::Failed(error.message),
        })
    }

    fn settle(&mut self, reserved: Reserved, reply: &Reply) {
        let Some(usage) = reply.usage else {
            self.purse.forfeit(reserved);
            self.note("the provider does not say what it counts, so that each call counts at its most".to_owned());
            return;
        };
        self.purse.settle(reserved, self.model.price(), &usage);
        if usage.total() > reserved.tokens {
            let (counted, most) = (usage.total(), reserved.tokens);
            self.note(format!(
                "a call of the model took {counted} tokens where {most} were expected at most"
            ));
        }
        // The reply comes after the messages that were sent.
        self.counted = Some((usage.total(), self.messages.len() + 1));
    }

    /// Does what the model wants, as far as it may.
    async fn heed(&mut self, reply: Reply, sink: Sink<'_>) {
        let Reply { text, calls, stop, .. } = reply;
        let reminder = self.guard.spoke(!calls.is_empty());
        if stop == Stop::Refused {
            self.note("the model, or its provider, refused to go on".to_owned());
        }
        if calls.is_empty() {
            let text = if text.trim().is_empty() {
                "(nothing)".to_owned()
            } else {
                text
            };
            self.messages.push(Message::Assistant { text, calls });
            if let Some(reminder) = reminder {
                self.tell(reminder.to_owned());
            }
            return;
        }
        let results = self.call(&calls, sink).await;
        self.messages.push(Message::Assistant { text, calls });
        self.messages.push(Message::Results(results));
        if self.guard.is_silent() {
            self.tell(prompt::REMINDER.to_owned());
        }
    }

    /// Runs the calls of a turn: tools side by side, then what they are reported to have shown.
    async fn call(&mut self, calls: &[Call], sink: Sink<'_>) -> Vec<CallResult> {
        let mut wanted = Vec::new();
        let mut answers: Vec<Option<Result<String, String>>> = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let answer = match self.screen(index, call) {
                Ok(Some(tool_call)) => {
                    wanted.push((index, tool_call));
                    None
                }
                // Reports are read when the calls beside them have brought what they may quote.
                Ok(None) => None,
                Err(refusal) => Some(Err(refusal)),
            };
            answers.push(answer);
        }
        for (index, answer) in self.run_tools(wanted, sink).await {
            answers[index] = Some(answer);
        }
        let results = calls.iter().zip(answers).map(|(call, answer)| {
            let answer = answer.unwrap_or_else(|| self.report(call, sink));
            let failed = answer.is_err();
            CallResult {
                id: call.id.clone(),
                text: answer.unwrap_or_else(|refusal| refusal),
                failed,
            }
        });
        results.collect()
    }

    /// The call to make; `None` for a report; an error for what is not done.
    fn screen(&mut self, index: usize, call: &Call) -> Result<Option<ToolCall>, String> {
        if index >= TURN_CALLS_MAX {
            return Err(format!("{TURN_CALLS_MAX} calls are enough for one turn"));
        }
        if call.name == REPORT {
            return Ok(None);
        }
        let Some(tool) = self.offer.tool(&call.name).map(str::to_owned) else {
            self.guard.refused();
            return Err(format!("there is no tool `{}` for this task", shortened(&call.name)));
        };
        let params = call.parsed().inspect_err(|_| self.guard.refused())?;
        let tool_id = format!("a{}_{index}", self.turn);
        self.guard.admit(&tool, &params, &tool_id)?;
        Ok(Some(ToolCall {
            tool_id,
            tool_name: tool,
            params,
            outputs: Vec::new(),
            inputs: Vec::new(),
            priority: PRIORITY_DEFAULT,
        }))
    }

    async fn run_tools(
        &mut self,
        wanted: Vec<(usize, ToolCall)>,
        sink: Sink<'_>,
    ) -> Vec<(usize, Result<String, String>)> {
        if wanted.is_empty() {
            return Vec::new();
        }
        sink(Progress::Round {
            round: self.turn,
            calls: wanted.len(),
        });
        let bytes_max = (self.purse.tokens_left() / 4 / wanted.len() as u64).clamp(RESULT_BYTES_MIN, RESULT_BYTES_MAX);
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let (mut answers, mut live) = (Vec::new(), Vec::new());
        for (index, call) in wanted {
            match self.model.tape().output(&call.tool_name, &call.params) {
                Some(played) => answers.push((index, self.shown(&call, played, bytes_max))),
                None => live.push((index, call)),
            }
        }
        let outcomes = self.execute(live.iter().map(|(_, call)| call), sink).await;
        for ((index, call), outcome) in live.into_iter().zip(outcomes) {
            let recorded = outcome.as_ref().map_err(String::as_str);
            self.model.tape().record_output(&call.tool_name, &call.params, recorded);
            answers.push((index, self.shown(&call, outcome, bytes_max)));
        }
        self.calls_made += answers.len() as u64;
        answers
    }

    /// What calls return, in their order.
    async fn execute(&mut self, calls: impl Iterator<Item = &ToolCall>, sink: Sink<'_>) -> Vec<Result<Value, String>> {
        let calls: Vec<ToolCall> = calls.map(plain).collect();
        if calls.is_empty() {
            return Vec::new();
        }
        let count = calls.len();
        let sink = Mutex::new(sink);
        let on_event = |event: ToolEvent<'_>| {
            if let ToolEvent::Ended { outcome } = event {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink(Progress::ended(outcome));
            }
        };
        let allowed = &self.task.delegation.allowed_tools;
        let run = self.executor.run(calls, &self.context, allowed, count, on_event).await;
        match run {
            Ok(run) => {
                self.run = self.run.then(&run.statistics);
                let Run { results, .. } = run;
                results.into_iter().map(output_of).collect()
            }
            Err(refusal) => vec![Err(refusal.to_string()); count],
        }
    }

    /// What the model gets to read of a call, which is also what its reports may quote.
    fn shown(&mut self, call: &ToolCall, outcome: Result<Value, String>, bytes_max: usize) -> Result<String, String> {
        let outcome = outcome.map(|value| show::text_of(&value, bytes_max));
        self.guard
            .brought(&call.tool_name, outcome.as_deref().map_err(String::as_str));
        let text = outcome?;
        let shown = show::fenced(&format!("{} as {}", call.tool_name, call.tool_id), &text);
        let made = Made {
            tool: call.tool_name.clone(),
            params: call.params.clone(),
            text,
        };
        self.made.insert(call.tool_id.clone(), made);
        Ok(shown)
    }

    /// Takes a report: what holds is published at once.
    fn report(&mut self, call: &Call, sink: &mut (dyn FnMut(Progress) + Send)) -> Result<String, String> {
        let report: Report = call
            .parsed()
            .and_then(|report| {
                serde_json::from_value(report).map_err(|error| format!("the report does not fit its schema: {error}"))
            })
            .inspect_err(|_| self.guard.refused())?;
        let done = report.done;
        let checks = Checks {
            delegation: &self.task.delegation,
            workspace: &self.workspace,
            made: &self.made,
        };
        let verdict = checks.judge(report, &self.findings);
        let refused = verdict.refused.join("\n");
        self.guard.reported(verdict.accepted.len(), !refused.is_empty(), done);
        for finding in &verdict.accepted {
            sink(Progress::Found(Box::new(finding.clone())));
        }
        let accepted = format!("{} findings are accepted.", verdict.accepted.len());
        self.findings.extend(verdict.accepted);
        if refused.is_empty() {
            return Ok(accepted);
        }
        self.note(format!(
            "the model claimed something that its evidence does not show: {refused}"
        ));
        Err(format!("{accepted} Refused:\n{refused}"))
    }

    /// Adds to what the model is told, in one message with what was told before where it has not spoken since.
    fn tell(&mut self, text: String) {
        if let Some(Message::User(said)) = self.messages.last_mut() {
            said.push_str("\n\n");
            said.push_str(&text);
        } else {
            self.messages.push(Message::User(text));
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn over(self, reason: Option<String>) -> (Investigation, Ended) {
        let reason = reason.map(|reason| format!("the model had to stop: {reason}"));
        (self.investigation(reason), Ended::Over)
    }

    fn failed(self, reason: String) -> (Investigation, Ended) {
        (self.investigation(Some(reason.clone())), Ended::Failed(reason))
    }

    fn investigation(self, reason: Option<String>) -> Investigation {
        let mut notes = self.notes;
        let tokens = self.purse.tokens();
        if tokens.total() > 0 {
            notes.push(format!(
                "investigated by {} in {} turns: {} tokens read ({} from its cache), {} written",
                self.model.title(),
                self.turn,
                tokens.input + tokens.cache_read + tokens.cache_write,
                tokens.cache_read,
                tokens.output
            ));
        }
        Investigation {
            findings: self.findings,
            notes,
            usage: Usage {
                tool_calls: self.calls_made,
                ..self.purse.usage()
            },
            run: self.run,
            status: if reason.is_some() {
                TaskStatus::Partial
            } else {
                TaskStatus::Complete
            },
            reason,
        }
    }
}

/// Why there is no reply.
enum Lost {
    /// It is asked for again.
    Again,
    /// A limit was reached.
    Stopped(String),
    /// The model failed.
    Failed(String),
}

/// Time of a task without a deadline.
const NO_DEADLINE: std::time::Duration = std::time::Duration::from_secs(3600);
/// Tokens by which the count of a request may differ from that of the one before and its reply.
const COUNT_MARGIN: u64 = 128;

fn output_of(outcome: CallOutcome) -> Result<Value, String> {
    match outcome.status {
        CallStatus::Done(value) => Ok(Arc::unwrap_or_clone(value)),
        CallStatus::Failed(error) => Err(error.to_string()),
        CallStatus::Skipped(reason) => Err(reason),
        CallStatus::Cancelled => Err("it was cancelled".to_owned()),
    }
}

/// The call without references: a model's `${` is a text.
fn plain(call: &ToolCall) -> ToolCall {
    ToolCall {
        params: literal(&call.params),
        ..call.clone()
    }
}

fn literal(params: &Value) -> Value {
    match params {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(values) => values.iter().map(literal).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), literal(value)))
            .collect(),
        other => other.clone(),
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}
