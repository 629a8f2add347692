//! One request: read what it refers to, write the answer, settle. The answer is published and acknowledged by the server
//! before the request is acknowledged; whatever fails in between brings the request back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Buried, Bus, Cause, Delivery, Error, Fenced, Message, Outcome};
use axon_protocol::{
    Answer, ExecutionPlan, Format, MissingPart, QueryId, Reason, ResultReference, StopReason, Stream, SynthesisRequest,
    TaskResult, Usage, Verdict, decode_by, header,
};
use axon_service::metrics as names;
use axon_service::{RetryPolicy, retry_delay};
use axon_tools::WorkspaceCache;
use chrono::{TimeDelta, Utc};
use futures::{FutureExt as _, StreamExt as _};
use tracing::{debug, info, warn};

use crate::evidence::Check;
use crate::prose::Prose;
use crate::writer::Writer;
use crate::{Input, SynthesizerConfig, synthesize};

/// How long after the deadline of the query a synthesizer still tries; then the lead writes the answer itself.
const GRACE: TimeDelta = TimeDelta::seconds(5);
/// How long reading a request and its plan may take, before its deadline is known.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Results that are read at once.
const READS_IN_FLIGHT: usize = 64;
/// Bytes of headers that go with an answer, to be kept free in a message.
const HEADER_BYTES: usize = 4 * 1024;
/// A request that could not be read for a passing reason comes back after this.
const HAND_BACK: Duration = Duration::from_secs(1);

/// Handles requests, any number at once.
pub(crate) struct Handler {
    bus: Bus,
    config: SynthesizerConfig,
    workspaces: Arc<WorkspaceCache>,
    writer: Option<Writer>,
}

/// All that an answer is made of, read and ready.
struct Material {
    request: Wanted,
    plan: Arc<ExecutionPlan>,
    results: Vec<TaskResult>,
    missing: Vec<MissingPart>,
    check: Check,
    config: SynthesizerConfig,
}

/// A request without its plan, which may be large and is not copied.
struct Wanted {
    results: Vec<ResultReference>,
    missing: Vec<MissingPart>,
    stop_reason: StopReason,
    format: Format,
    retries: u32,
    second_executions: u32,
}

/// Why a request got no answer from here.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Bus(#[from] Error),
    #[error("the synthesis broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl Handler {
    pub fn new(bus: Bus, config: SynthesizerConfig, workspaces: Arc<WorkspaceCache>, writer: Option<Writer>) -> Self {
        Self {
            bus,
            config,
            workspaces,
            writer,
        }
    }

    /// Handles one request to its end. `true` when the answer stands, written here or elsewhere.
    pub async fn handle(&self, delivery: Delivery) -> bool {
        let read = self.read(&delivery);
        let (request, plan) = match delivery
            .hold(Stream::Synthesis, Instant::now() + READ_TIMEOUT, read)
            .await
        {
            Outcome::Done(Ok(read)) => read,
            Outcome::Done(Err(error)) if !error.is_transient() => {
                let cause = Cause::malformed(format!("the synthesis request cannot be read: {error}"));
                self.bury(&delivery, cause).await;
                return false;
            }
            Outcome::Done(Err(_)) | Outcome::Deadline => {
                warn!(
                    subject = delivery.subject(),
                    "a request cannot be read now, handing it back"
                );
                delivery.hand_back(HAND_BACK).await;
                return false;
            }
        };
        if self.bus.namespace().last_token_query(delivery.subject()).as_ref() != Some(&plan.query_id) {
            let message = format!(
                "the subject names another query than the plan, which is of `{}`",
                plan.query_id
            );
            self.bury(&delivery, Cause::malformed(message)).await;
            return false;
        }
        // A request that comes again has probably been answered: only its acknowledgement was lost.
        if delivery.delivered > 1 && matches!(self.answered(&plan.query_id).await, Ok(true)) {
            return delivery.ack().await;
        }
        let query = plan.query_id.clone();
        let Ok(left) = (plan.deadline + GRACE - Utc::now()).to_std() else {
            return self.late(&delivery, &query).await;
        };
        let until = Instant::now() + left;
        let answering = self.answer(&delivery, request, plan, until);
        match delivery.hold(Stream::Synthesis, until, answering).await {
            Outcome::Done(Ok(())) => delivery.ack().await,
            Outcome::Done(Err(Failure::Bus(error))) if error.is_transient() => self.late(&delivery, &query).await,
            Outcome::Done(Err(failure)) => {
                let cause = cause(Reason::Failed, failure.to_string());
                self.bury(&delivery, cause).await;
                false
            }
            Outcome::Deadline => self.late(&delivery, &query).await,
        }
    }

    async fn read(&self, delivery: &Delivery) -> Result<(Wanted, Arc<ExecutionPlan>), Error> {
        let request: SynthesisRequest = delivery.decode().await?;
        let plan = self.bus.load(request.plan).await?;
        let wanted = Wanted {
            results: request.results,
            missing: request.missing,
            stop_reason: request.stop_reason,
            format: request.format,
            retries: request.retries,
            second_executions: request.second_executions,
        };
        Ok((wanted, plan))
    }

    /// Writes and publishes the answer. `Ok` when one stands, whoever wrote it.
    async fn answer(
        &self,
        delivery: &Delivery,
        request: Wanted,
        plan: Arc<ExecutionPlan>,
        until: Instant,
    ) -> Result<(), Failure> {
        let query = plan.query_id.clone();
        let started = Instant::now();
        let (results, unreadable) = self.results(&query, &request.results, until).await?;
        let check = Check::prepare(&self.workspaces, &self.bus, &plan, &results, until).await;
        let format = request.format;
        let material = Arc::new(Material {
            missing: unreadable.into_iter().chain(request.missing.iter().cloned()).collect(),
            config: self.config_within(self.bus.payload_bytes_max()),
            request,
            plan,
            results,
            check,
        });
        let mut answer = merged(&material, None).await?;
        if let Some(writer) = &self.writer
            && let Some(prose) = writer.write(&material.plan, &answer, until.into()).await
        {
            answer = merged(&material, Some(prose)).await?;
        }
        let mut message = Message::new(self.bus.namespace().answer(&query), format, &answer).map_err(Failure::Bus)?;
        if let Some(trace) = delivery.header(header::TRACEPARENT) {
            message = message.with(header::TRACEPARENT, trace);
        }
        match self.bus.publish_fenced(message, until).await? {
            Fenced::Won { .. } => {
                if let Some(quality) = &answer.quality {
                    metrics::histogram!(names::ANSWER_COVERAGE_RATIO).record(quality.coverage);
                }
                debug!(
                    %query,
                    status = answer.status.as_str(),
                    findings = answer.findings().count(),
                    took_ms = started.elapsed().as_millis() as u64,
                    "answered"
                );
            }
            Fenced::Lost => info!(%query, "another answer stands already"),
        }
        Ok(())
    }

    /// Takes the results that the request brings and reads the others all at once. One that cannot be read is missing, and
    /// the answer says so.
    async fn results(
        &self,
        query: &QueryId,
        references: &[ResultReference],
        until: Instant,
    ) -> Result<(Vec<TaskResult>, Vec<MissingPart>), Error> {
        let (mut brought, mut referred) = (Vec::with_capacity(references.len()), Vec::new());
        for reference in references {
            match brought_result(reference) {
                Some(result) => brought.push((reference, Ok(Some(result)))),
                None => referred.push(reference),
            }
        }
        let reads: Vec<_> = referred
            .into_iter()
            .map(|reference| self.result(query, reference, until).map(move |read| (reference, read)))
            .collect();
        let reads = futures::stream::iter(reads).buffer_unordered(READS_IN_FLIGHT);
        let mut reads = futures::stream::iter(brought).chain(reads);
        let (mut results, mut unreadable) = (Vec::with_capacity(references.len()), Vec::new());
        while let Some((reference, read)) = reads.next().await {
            let reason = match read {
                Ok(Some(result)) if result.query_id == *query && result.task_id == reference.task_id => {
                    results.push(result);
                    continue;
                }
                Ok(Some(_)) => "its result belongs to another task".to_owned(),
                Ok(None) => "its result is no longer stored".to_owned(),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => format!("its result cannot be read: {error}"),
            };
            warn!(%query, task = %reference.task_id, reason, "a result is left out");
            unreadable.push(MissingPart {
                task_id: reference.task_id.clone(),
                aspect: String::new(),
                reason,
            });
        }
        Ok((results, unreadable))
    }

    async fn result(
        &self,
        query: &QueryId,
        reference: &ResultReference,
        until: Instant,
    ) -> Result<Option<TaskResult>, Error> {
        let subject = self.bus.namespace().result(query, &reference.task_id);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.result_once(&subject, reference.sequence).await {
                Err(error) if error.is_transient() => {
                    let delay = retry_delay(RetryPolicy::QUICK, attempt);
                    if Instant::now() + delay >= until {
                        return Err(error);
                    }
                    debug!(subject, attempt, %error, "reading a result again");
                    tokio::time::sleep(delay).await;
                }
                done => return done,
            }
        }
    }

    async fn result_once(&self, subject: &str, sequence: Option<u64>) -> Result<Option<TaskResult>, Error> {
        let stored = match (self.bus.last(Stream::Results, subject).await?, sequence) {
            // A replica that answers direct reads may lag behind; the leader does not.
            (None, Some(sequence)) => {
                let stored = self.bus.message_at(Stream::Results, sequence).await?;
                stored.filter(|stored| stored.subject == subject)
            }
            (stored, _) => stored,
        };
        match stored {
            Some(stored) => Ok(Some(self.bus.decode_stored(&stored).await?)),
            None => Ok(None),
        }
    }

    /// The configuration with an answer that fits into a message.
    fn config_within(&self, payload_bytes_max: usize) -> SynthesizerConfig {
        let room = payload_bytes_max.saturating_sub(HEADER_BYTES);
        SynthesizerConfig {
            answer_bytes_max: self.config.answer_bytes_max.min(room),
            ..self.config.clone()
        }
    }

    async fn answered(&self, query: &QueryId) -> Result<bool, Error> {
        let subject = self.bus.namespace().answer(query);
        Ok(self.bus.last(Stream::Answers, &subject).await?.is_some())
    }

    /// The time is up: the lead answers. If it already did, nothing is lost; otherwise the request is kept where it is seen.
    async fn late(&self, delivery: &Delivery, query: &QueryId) -> bool {
        match self.answered(query).await {
            Ok(true) => delivery.ack().await,
            Ok(false) => {
                let cause = cause(
                    Reason::Timeout,
                    "no answer was written by the deadline of the query".to_owned(),
                );
                self.bury(delivery, cause).await;
                false
            }
            Err(error) => {
                warn!(%query, %error, "cannot tell whether the query is answered, handing the request back");
                delivery.hand_back(HAND_BACK).await;
                false
            }
        }
    }

    async fn bury(&self, delivery: &Delivery, cause: Cause) {
        if self.bus.bury(Stream::Synthesis, delivery, cause, Utc::now()).await == Buried::Refused {
            warn!(
                subject = delivery.subject(),
                "the request stays until the dead letter is taken"
            );
        }
    }
}

/// The result that goes with a request; `None` where it has to be read from the stream.
fn brought_result(reference: &ResultReference) -> Option<TaskResult> {
    decode_by(|_| None, reference.payload.as_ref()?).ok()
}

/// The pure part. It runs beside the event loop as soon as there is something to compare or a file to read.
async fn merged(material: &Arc<Material>, prose: Option<Prose>) -> Result<Answer, tokio::task::JoinError> {
    let quick = material.results.iter().all(|result| result.findings.is_empty());
    let material = material.clone();
    let merge = move || {
        let input = Input {
            plan: &material.plan,
            results: &material.results,
            missing: &material.missing,
            stop_reason: material.request.stop_reason,
            retries: material.request.retries,
            second_executions: material.request.second_executions,
            accepted_at: material.plan.created_at,
            now: Utc::now(),
            prose: prose.as_ref(),
            config: &material.config,
        };
        synthesize(&input, |evidence| material.check.verify(evidence))
    };
    if quick {
        Ok(merge())
    } else {
        tokio::task::spawn_blocking(merge).await
    }
}

/// A failure that trying again does not cure: the lead answers in any case.
fn cause(reason: Reason, message: String) -> Cause {
    Cause {
        reason,
        verdict: Verdict::Park,
        attempt: 1,
        message,
        deadline: None,
        usage: Usage::default(),
    }
}
