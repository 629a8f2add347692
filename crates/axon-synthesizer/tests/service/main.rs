//! The synthesizer against a real nats-server: what it publishes, what it acknowledges, what it refuses.

#[path = "../synthesis/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axon_bus::{Bus, Fenced, Message, StoredMessage};
use axon_protocol::{
    Answer, AnswerStatus, Bucket, Control, DeadLetter, Evidence, ExecutionPlan, Format, Heartbeat, ObjectBucket,
    Reason, ResultReference, StopReason, Stored, Stream, SynthesisRequest, TaskResult, WorkerState, encode, header,
};
use axon_service::Health;
use axon_synthesizer::{Synthesizer, SynthesizerConfig};
use axon_tests::{Bed, eventually};
use axon_tools::{PackLimits, Workspace, WorkspaceCache, cite, pack};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use fixture::{finding, plan, result};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running synthesizer in a fleet of its own.
struct Running {
    bus: Bus,
    stop: CancellationToken,
    service: JoinHandle<Result<(), axon_bus::Error>>,
    _cache: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let (bed, bus) = Bed::new().await;
        Self::on(&bed, bus).await
    }

    async fn on(bed: &Bed, bus: Bus) -> Self {
        let cache = tempfile::tempdir().expect("a directory");
        let workspaces = Arc::new(WorkspaceCache::new(cache.path().join("cache"), 1 << 20).expect("a cache"));
        let own = bed.connect("synthesizer-under-test").await;
        let synthesizer = Synthesizer::new(
            SynthesizerConfig::default(),
            own,
            workspaces,
            None,
            Health::new(),
            "127.0.0.1:1".to_owned(),
        );
        let stop = CancellationToken::new();
        let service = tokio::spawn(synthesizer.run(stop.clone()));
        Self {
            bus,
            stop,
            service,
            _cache: cache,
        }
    }

    async fn result(&self, result: &TaskResult) {
        let subject = self.bus.namespace().result(&result.query_id, &result.task_id);
        let message = Message::new(subject, Format::Msgpack, result).expect("encodes");
        let published = self.bus.publish_fenced(message, soon()).await.expect("published");
        assert!(matches!(published, Fenced::Won { .. }));
    }

    async fn request(&self, request: &SynthesisRequest, plan: &ExecutionPlan) {
        let subject = self.bus.namespace().synthesis(&plan.query_id);
        let message = Message::new(subject, Format::Msgpack, request).expect("encodes");
        self.bus.publish(message).await.expect("published");
    }

    async fn answer(&self, plan: &ExecutionPlan) -> (StoredMessage, Answer) {
        let subject = self.bus.namespace().answer(&plan.query_id);
        let stored = eventually("an answer", PATIENCE, || async {
            self.bus.last(Stream::Answers, &subject).await.expect("reads")
        })
        .await;
        let answer = self.bus.decode_stored(&stored).await.expect("an answer");
        (stored, answer)
    }

    /// The first dead letter, once there is one.
    async fn dead_letter(&self, reason: Reason) -> DeadLetter {
        let subject = self.bus.namespace().dead(Stream::Synthesis, reason);
        let stored = eventually("a dead letter", PATIENCE, || async {
            self.bus.last(Stream::Dead, &subject).await.expect("reads")
        })
        .await;
        self.bus.decode_stored(&stored).await.expect("a dead letter")
    }

    /// Nothing waits and nothing is leased any more.
    async fn settled(&self) {
        eventually("all requests are settled", PATIENCE, || async {
            let status = self.bus.status(Stream::Synthesis).await.expect("reads");
            let leased: usize = status.consumers.iter().map(|consumer| consumer.ack_pending).sum();
            (status.messages == 0 && leased == 0).then_some(())
        })
        .await;
    }

    async fn drained(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.service)
            .await
            .expect("drains")
            .expect("no panic")
            .expect("no error");
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A plan whose deadline is a minute from now.
fn current(mut plan: ExecutionPlan) -> ExecutionPlan {
    plan.created_at = Utc::now() - TimeDelta::seconds(1);
    plan.deadline = Utc::now() + TimeDelta::seconds(60);
    plan.tasks_deadline = plan.deadline;
    plan
}

fn request(plan: &ExecutionPlan, format: Format) -> SynthesisRequest {
    SynthesisRequest {
        plan: Stored::Inline(plan.clone().into()),
        results: plan
            .task_delegations
            .iter()
            .map(|delegation| ResultReference {
                task_id: delegation.task_id.clone(),
                sequence: None,
                payload: None,
            })
            .collect(),
        missing: Vec::new(),
        stop_reason: StopReason::Finished,
        format,
        retries: 2,
        second_executions: 0,
    }
}

#[tokio::test]
async fn a_request_becomes_the_one_answer_in_the_format_asked_for() {
    for (format, content_type) in [
        (Format::Json, "application/json"),
        (Format::Msgpack, "application/msgpack"),
    ] {
        let running = Running::start().await;
        let plan = current(plan("own_plan", &["", ""]));
        for task in 1..=2 {
            let mut result = result(task, Vec::new());
            result.output = json!({ "echo": task });
            running.result(&result).await;
        }
        running.request(&request(&plan, format), &plan).await;
        let (stored, answer) = running.answer(&plan).await;
        assert_eq!(
            stored.headers.get(header::CONTENT_TYPE).map(String::as_str),
            Some(content_type)
        );
        assert_eq!(
            (answer.status, answer.tasks_completed, answer.retries),
            (AnswerStatus::Complete, 2, 2)
        );
        assert_eq!(answer.outputs, json!({ "t1": { "echo": 1 }, "t2": { "echo": 2 } }));
        assert!(answer.duration_ms >= 1_000.0);
        running.settled().await;
        running.drained().await;
    }
}

#[tokio::test]
async fn evidence_is_checked_against_the_workspace_of_the_query() {
    let running = Running::start().await;
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("a.rs"), "fn main() {\n    work();\n}\n").expect("written");
    let packed = pack(folder.path(), &PackLimits::default()).expect("packs");
    running
        .bus
        .objects(ObjectBucket::Workspaces)
        .put(packed.bytes.clone())
        .await
        .expect("stored");

    let workspace = Workspace::of_directory(folder.path()).expect("a workspace");
    let evidence = cite(&workspace, "a.rs", 2, 2).expect("cites");
    let mut forged = evidence.clone();
    if let Evidence::Source { quote, .. } = &mut forged {
        *quote = "    panic!();".to_owned();
    }
    let mut held = finding("errors", "work is called", "work", "a.rs", 2);
    held.evidence = vec![evidence];
    let mut wrong = finding("errors", "it panics", "panic", "a.rs", 2);
    wrong.evidence = vec![forged];

    let mut plan = current(plan("code_review", &["errors"]));
    plan.workspace = Some(packed.digest);
    running.result(&result(1, vec![held, wrong])).await;
    running.request(&request(&plan, Format::Json), &plan).await;
    let (_, answer) = running.answer(&plan).await;
    let claims: Vec<&str> = answer.findings().map(|finding| finding.claim.as_str()).collect();
    assert_eq!(
        (answer.status, claims),
        (AnswerStatus::Complete, vec!["work is called"])
    );
    assert!(
        answer.notes[0].contains("does not hold (`a.rs:2`: the quote is not what"),
        "{:?}",
        answer.notes
    );
    running.drained().await;
}

#[tokio::test]
async fn without_its_workspace_evidence_is_kept_and_the_reader_told() {
    let running = Running::start().await;
    let plan = current(plan("code_review", &["errors"]));
    running
        .result(&result(1, vec![finding("errors", "work is called", "work", "a.rs", 2)]))
        .await;
    running.request(&request(&plan, Format::Json), &plan).await;
    let (_, answer) = running.answer(&plan).await;
    assert_eq!(answer.findings().count(), 1);
    assert!(
        answer.notes[0].contains("not checked a second time (cannot fetch the workspace"),
        "{:?}",
        answer.notes
    );
    running.drained().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_and_harms_nobody() {
    let running = Running::start().await;
    let plan = current(plan("own_plan", &[""]));
    let namespace = running.bus.namespace().clone();
    let other = axon_protocol::QueryId::new("other").expect("an id");
    let garbage = Message {
        subject: namespace.synthesis(&other),
        headers: [(header::CONTENT_TYPE.to_owned(), "application/json".to_owned())].into(),
        payload: "{".into(),
    };
    running.bus.publish(garbage).await.expect("published");
    let letter = running.dead_letter(Reason::Malformed).await;
    assert!(letter.message.contains("malformed JSON"), "{}", letter.message);
    assert_eq!(
        (letter.subject.as_str(), letter.payload.as_ref()),
        (namespace.synthesis(&other).as_str(), &b"{"[..])
    );

    // A plan of another query under this subject, which is free again when the first message is acknowledged.
    running.settled().await;
    let message = Message::new(
        namespace.synthesis(&other),
        Format::Msgpack,
        &request(&plan, Format::Json),
    )
    .expect("encodes");
    running.bus.publish(message).await.expect("published");
    eventually("a second dead letter", PATIENCE, || async {
        let letter = running.dead_letter(Reason::Malformed).await;
        letter.message.contains("names another query").then_some(())
    })
    .await;

    running.result(&result(1, Vec::new())).await;
    running.request(&request(&plan, Format::Json), &plan).await;
    assert_eq!(running.answer(&plan).await.1.status, AnswerStatus::Complete);
    running.settled().await;
    running.drained().await;
}

#[tokio::test]
async fn a_result_that_is_gone_or_malformed_is_missing_and_named() {
    let running = Running::start().await;
    let plan = current(plan("code_review", &["errors", "security", "tests"]));
    let namespace = running.bus.namespace().clone();
    running.result(&result(1, Vec::new())).await;
    let broken = Message::new(
        namespace.result(&plan.query_id, &plan.task_delegations[1].task_id),
        Format::Json,
        &json!({ "a": 1 }),
    )
    .expect("encodes");
    running.bus.publish(broken).await.expect("published");
    running.request(&request(&plan, Format::Json), &plan).await;
    let (_, answer) = running.answer(&plan).await;
    let missing: Vec<(&str, &str)> = answer
        .missing
        .iter()
        .map(|part| (part.aspect.as_str(), part.reason.as_str()))
        .collect();
    assert_eq!(answer.status, AnswerStatus::Partial);
    assert_eq!(missing[1], ("tests", "its result is no longer stored"));
    assert!(
        missing[0].0 == "security" && missing[0].1.contains("cannot be read: malformed JSON"),
        "{missing:?}"
    );
    running.drained().await;
}

#[tokio::test]
async fn small_results_come_with_the_request_and_are_fetched_where_they_cannot_be_read() {
    let running = Running::start().await;
    let plan = current(plan("own_plan", &["", ""]));
    let with = |task: usize, said: &str| {
        let mut result = result(task, Vec::new());
        result.output = json!(said);
        result
    };
    let mut request = request(&plan, Format::Json);
    // Nowhere but in the request.
    let payload = encode(Format::Msgpack, &with(1, "as it was heard")).expect("encodes");
    request.results[0].payload = Some(payload.into());
    request.results[1].payload = Some(vec![0xc1].into());
    running.result(&with(2, "as it is stored")).await;
    running.request(&request, &plan).await;
    let (_, answer) = running.answer(&plan).await;
    assert_eq!(answer.status, AnswerStatus::Complete, "{answer:?}");
    assert_eq!(
        answer.outputs,
        json!({ "t1": "as it was heard", "t2": "as it is stored" })
    );
    running.drained().await;
}

#[tokio::test]
async fn plans_and_results_too_large_for_a_message_come_by_reference() {
    let running = Running::start().await;
    let mut plan = current(plan("own_plan", &[""]));
    plan.task_delegations[0].context = Value::String("x".repeat(600 * 1024));
    let mut large = result(1, Vec::new());
    large.output = Value::String("y".repeat(600 * 1024));
    running.result(&large).await;
    let mut request = request(&plan, Format::Json);
    request.plan = running.bus.store(plan.clone().into()).await.expect("stored");
    assert!(matches!(request.plan, Stored::Reference { .. }));
    running.request(&request, &plan).await;
    let (stored, answer) = running.answer(&plan).await;
    assert_eq!(
        answer.outputs,
        json!({ "t1": format!("left out: {} bytes", 600 * 1024 + 2) })
    );
    assert!(
        !stored.headers.contains_key(header::REFERENCE),
        "an answer travels in one message"
    );
    running.drained().await;
}

#[tokio::test]
async fn the_first_answer_stands_and_a_late_request_is_not_answered() {
    let running = Running::start().await;
    let mut plan = current(plan("own_plan", &[""]));
    running.result(&result(1, Vec::new())).await;
    let first = Answer::refused(plan.query_id.clone(), "", "the lead was first", Utc::now());
    let subject = running.bus.namespace().answer(&plan.query_id);
    let message = Message::new(subject, Format::Json, &first).expect("encodes");
    running.bus.publish_fenced(message, soon()).await.expect("published");
    running.request(&request(&plan, Format::Json), &plan).await;
    running.settled().await;
    assert_eq!(
        running.answer(&plan).await.1.error.as_deref(),
        Some("the lead was first")
    );
    assert_eq!(running.bus.status(Stream::Answers).await.expect("reads").messages, 1);

    plan.query_id = axon_protocol::QueryId::new("late").expect("an id");
    plan.deadline = Utc::now() - TimeDelta::seconds(6);
    running.request(&request(&plan, Format::Json), &plan).await;
    let letter = running.dead_letter(Reason::Timeout).await;
    assert_eq!(letter.query_id.as_ref(), Some(&plan.query_id));
    running.settled().await;
    running.drained().await;
}

#[tokio::test]
async fn it_shows_itself_in_the_registry_and_drains_when_asked() {
    let running = Running::start().await;
    let table = running.bus.table::<Heartbeat>(Bucket::Registry);
    let heartbeat = eventually("a heartbeat", PATIENCE, || async {
        table
            .get("synthesizer.synthesizer-under-test")
            .await
            .expect("reads")
            .and_then(|entry| entry.value)
    })
    .await;
    assert_eq!(
        (heartbeat.role.as_str(), heartbeat.state, heartbeat.slots_total),
        ("synthesizer", WorkerState::Idle, 8)
    );
    assert_eq!(heartbeat.metrics, "127.0.0.1:1");

    let id = "synthesizer-under-test".to_owned();
    let drain = Message::new(
        running.bus.namespace().control_drain(&id),
        Format::Json,
        &Control::Drain { id },
    )
    .expect("encodes");
    running.bus.announce(&drain).await.expect("published");
    let ended = tokio::time::timeout(PATIENCE, running.service).await.expect("drains");
    ended.expect("no panic").expect("no error");
    let left = table.get("synthesizer.synthesizer-under-test").await.expect("reads");
    assert!(left.is_none(), "{left:?}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_held_and_leaves_the_rest_to_others() {
    let (bed, bus) = Bed::new().await;
    let running = Running::on(&bed, bus).await;
    let mut plans = Vec::new();
    for number in 0..50 {
        let mut plan = current(plan("own_plan", &[""]));
        plan.query_id = axon_protocol::QueryId::new(format!("q{number}")).expect("an id");
        let mut result = result(1, Vec::new());
        result.query_id = plan.query_id.clone();
        running.result(&result).await;
        running.request(&request(&plan, Format::Msgpack), &plan).await;
        plans.push(plan);
    }
    let bus = running.bus.clone();
    running.drained().await;
    // What was handed back still counts as pending at the server until somebody takes it, so only the time tells: a lease
    // lasts 6 s, and the next synthesizer need not wait for any to end.
    let next = Running::on(&bed, bus).await;
    let answering = async {
        for plan in &plans {
            next.answer(plan).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), answering)
        .await
        .expect("no lease has to end");
    next.settled().await;
    assert_eq!(next.bus.status(Stream::Answers).await.expect("reads").messages, 50);
    next.drained().await;
}

#[tokio::test]
async fn a_query_of_ten_tasks_without_findings_costs_little_beyond_its_round_trips() {
    let running = Running::start().await;
    let base = current(plan("own_plan", &[""; 10]));
    let mut times = Vec::new();
    for number in 0..40 {
        let mut plan = base.clone();
        plan.query_id = axon_protocol::QueryId::new(format!("q{number}")).expect("an id");
        for task in 1..=10 {
            let mut result = result(task, Vec::new());
            result.query_id = plan.query_id.clone();
            running.result(&result).await;
        }
        let answered = running.bus.namespace().answered(&plan.query_id);
        let mut answers = running.bus.subscribe(answered).await.expect("subscribes");
        let started = Instant::now();
        running.request(&request(&plan, Format::Msgpack), &plan).await;
        tokio::time::timeout(PATIENCE, answers.next()).await.expect("answered");
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "request to answer: median {:?}, worst {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(times[times.len() / 2] < Duration::from_millis(250), "{times:?}");
    running.settled().await;
    running.drained().await;
}
