//! One message of each kind with every field filled. Objects without a schema have their keys sorted, so that the bytes
//! do not depend on how maps are kept.

use std::collections::{BTreeMap, BTreeSet};

use axon_protocol::*;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Calls `visit` with the name and a sample of every kind of message.
pub fn each(visit: &mut impl Visit) {
    visit.message("query", &query());
    visit.message("task", &task());
    visit.message("task_result", &task_result());
    visit.message("synthesis_request", &synthesis_request());
    visit.message("answer", &answer());
    visit.message("event", &event());
    visit.message("dead_letter", &dead_letter());
    visit.message("heartbeat", &heartbeat());
    visit.message("route_announcement", &route_announcement());
    visit.message("control", &Control::Cancel { query_id: query_id() });
    visit.message("scale_reply", &scale_reply());
    visit.message("plan_record", &plan_record());
    visit.message("strategy_definition", &strategy_definition());
    visit.message("strategy_statistics", &strategy_statistics());
    visit.message("pattern_record", &pattern_record());
    visit.message("episode", &episode());
    visit.message("key_pause", &KeyPause { until: at(60) });
    visit.message("call_memory", &call_memory());
    visit.message("query_facts", &query_facts());
    visit.message("queued_tasks", &queued_tasks());
}

/// What is done with each sample.
pub trait Visit {
    fn message<T>(&mut self, name: &'static str, sample: &T)
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug;
}

fn query_id() -> QueryId {
    QueryId::new("q1700000000001").expect("an id")
}

fn task_id(text: &str) -> TaskId {
    TaskId::new(text).expect("an id")
}

fn capability(name: &str) -> Capability {
    Capability::new(name).expect("a capability")
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 250_000_000).expect("a time")
}

fn call() -> ToolCall {
    ToolCall {
        tool_id: "find".to_owned(),
        tool_name: "code.search".to_owned(),
        params: json!({ "limit": 5, "query": "parse_header" }),
        outputs: vec!["hits".to_owned()],
        inputs: vec!["list".to_owned()],
        priority: 7,
    }
}

fn query() -> Query {
    Query {
        query: "Why does `parse_header` fail on empty input?".to_owned(),
        workspace: Some(Digest::of(b"workspace")),
        session: Some("s1".to_owned()),
        deadline_s: Some(120),
        budget: Some(Budget {
            tokens: 1_000,
            cents: 5,
        }),
        priority: Some(8),
        output_format: OutputFormat::Table,
        plan: Some(PlanRequest {
            tasks: vec![TaskRequest {
                task_id: Some("t1".to_owned()),
                objective: "find it".to_owned(),
                required_capabilities: vec!["CodeAnalysis".to_owned()],
                dependencies: vec!["t0".to_owned()],
                calls: vec![call()],
                allowed_tools: vec!["code.*".to_owned()],
                scope: vec!["src".to_owned()],
                priority: Some(9),
                max_tool_calls: Some(3),
                timeout_ms: Some(5_000),
            }],
        }),
        strategy: Some("bug_investigation".to_owned()),
        replay: Some(Replay {
            of: QueryId::new("q1600000000001").expect("an id"),
        }),
    }
}

fn delegation() -> TaskDelegation {
    TaskDelegation {
        task_id: task_id("t1"),
        objective: "Find where empty input fails".to_owned(),
        output_format: OutputFormat::Markdown,
        allowed_tools: vec!["code.search".to_owned()],
        boundaries: TaskBoundaries {
            scope: vec!["src".to_owned()],
            constraints: vec!["do not judge style".to_owned()],
            max_tool_calls: 10,
            timeout_ms: 20_000,
        },
        priority: 8,
        required_capabilities: vec![capability("BugInvestigation"), capability("CodeAnalysis")],
        context: json!({ "symbols": ["parse_header"] }),
        dependencies: vec![task_id("t0")],
        key_questions: vec!["Which line fails?".to_owned()],
        aspect: "cause".to_owned(),
        playbook: "bug_investigation".to_owned(),
        calls: vec![call()],
        budget: Budget { tokens: 500, cents: 2 },
        added: true,
    }
}

fn evidence() -> Vec<Evidence> {
    vec![
        Evidence::Source {
            path: "src/parse.rs".to_owned(),
            line: 41,
            end_line: 42,
            quote: "let first = input[0];\nread(first)".to_owned(),
            digest: Digest::of(b"file"),
            revision: Some("3f1c2a".to_owned()),
        },
        Evidence::Url {
            url: "https://example.org/rfc".to_owned(),
            quote: "a header may be empty".to_owned(),
        },
        Evidence::ToolCall {
            tool: "code.search".to_owned(),
            params: json!({ "query": "parse_header" }),
            quote: "2 hits".to_owned(),
        },
    ]
}

fn finding() -> Finding {
    Finding {
        id: "f-1".to_owned(),
        aspect: "cause".to_owned(),
        claim: "`parse_header` indexes an empty slice".to_owned(),
        subject: "parse_header".to_owned(),
        value: Some(1.5),
        unit: Some("ms".to_owned()),
        polarity: Polarity::Negative,
        confidence: 0.75,
        severity: Level::High,
        impact: Level::Critical,
        effort: Level::Low,
        rationale: "An empty header ends the process".to_owned(),
        recommendation: Some("Return an error for empty input".to_owned()),
        evidence: evidence(),
        origin: "src/parse.rs:41".to_owned(),
        tool: "code.rules".to_owned(),
        task: task_id("t1"),
    }
}

fn usage() -> Usage {
    Usage {
        tool_calls: 4,
        tokens: 100,
        cents: 0.5,
    }
}

fn task() -> Task {
    Task {
        query_id: query_id(),
        query: "Why does `parse_header` fail on empty input?".to_owned(),
        delegation: delegation(),
        workspace: Some(Digest::of(b"workspace")),
        deadline: at(20),
        attempt: 2,
        upstream: vec![Upstream {
            task_id: task_id("t0"),
            findings: vec![finding()],
            output: json!({ "files": 3 }),
        }],
        spent: usage(),
        replay: Some(QueryId::new("q1600000000001").expect("an id")),
    }
}

fn task_result() -> TaskResult {
    TaskResult {
        query_id: query_id(),
        task_id: task_id("t1"),
        status: TaskStatus::Partial,
        reason: Some("the time is up".to_owned()),
        findings: vec![finding()],
        notes: vec!["looked at 12 files".to_owned()],
        output: json!({ "find": [1, 2] }),
        usage: usage(),
        run: RunStatistics {
            sequential_ms: 400.0,
            parallel_ms: 100.5,
            time_saved_percent: 74.875,
            critical_path_ms: 100.0,
            lower_bound_ms: 100.0,
            makespan_ratio: 1.005,
            calls_remembered: 2,
            saved_by_memory_ms: 250.5,
        },
        worker: Some(WorkerId::new("investigator-0123456789").expect("an id")),
        attempt: 2,
        started_at: at(1),
        finished_at: at(2),
    }
}

fn analysis() -> Analysis {
    Analysis {
        complexity: Complexity::Medium,
        ruled: Some(Complexity::Medium),
        complexity_reasons: vec!["names one symbol".to_owned()],
        shape: Shape::FanOut,
        shape_reasons: vec!["independent parts".to_owned()],
        aspects: vec!["cause".to_owned()],
        keywords: vec!["header".to_owned()],
        paths: vec!["src/parse.rs".to_owned()],
        symbols: vec!["parse_header".to_owned()],
        quotes: vec!["index out of bounds".to_owned()],
        subjects: vec!["a".to_owned(), "b".to_owned()],
        warnings: vec!["no version is named".to_owned()],
    }
}

fn plan() -> ExecutionPlan {
    ExecutionPlan {
        version: PLAN_VERSION,
        plan_id: query_id().to_string(),
        query_id: query_id(),
        query: query(),
        workspace: Some(Digest::of(b"workspace")),
        analysis: Some(analysis()),
        strategy: SelectedStrategy {
            name: "bug_investigation".to_owned(),
            score: 0.875,
            reasons: vec!["the word fail".to_owned()],
            others: vec![("general".to_owned(), 0.25)],
            leaning: Some("research".to_owned()),
            trial: true,
        },
        resource_allocation: ResourceAllocation {
            num_workers: 4,
            max_tool_calls_per_worker: 15,
            max_parallel_workers: 4,
            timeout_ms: 120_000,
            max_tokens_budget: 50_000,
            max_cost_cents: 50,
        },
        task_delegations: vec![delegation()],
        aspects: vec!["cause".to_owned()],
        parallelizable: true,
        synthesis_reserve: Budget {
            tokens: 7_500,
            cents: 7,
        },
        planned_by: Some(PlannedBy {
            model: "claude-sonnet-4-5 (anthropic)".to_owned(),
            usage: Usage {
                tool_calls: 0,
                tokens: 900,
                cents: 0.5,
            },
            note: "the plan was revised".to_owned(),
        }),
        stop_rule: Some(StopRule {
            confidence_min: Some(0.9),
            barren_results: Some(3),
        }),
        estimated_duration_ms: 900,
        recalled: vec![recalled()],
        patterns_applied: vec![AppliedPattern {
            key: "0123456789ab".to_owned(),
            effect: "research instead of bug_investigation".to_owned(),
        }],
        estimate: Some(Estimate {
            tokens: 1_200,
            cents: 1.5,
            basis: "12 applications of code_review".to_owned(),
        }),
        created_at: at(0),
        tasks_deadline: at(102),
        deadline: at(120),
    }
}

fn synthesis_request() -> SynthesisRequest {
    SynthesisRequest {
        plan: Stored::Inline(plan().into()),
        results: vec![ResultReference {
            task_id: task_id("t1"),
            sequence: Some(77),
            payload: Some(bytes::Bytes::from_static(b"{}")),
        }],
        missing: vec![missing()],
        stop_reason: StopReason::Deadline,
        format: Format::Json,
        retries: 1,
        second_executions: 1,
    }
}

fn missing() -> MissingPart {
    MissingPart {
        task_id: task_id("t2"),
        aspect: "fix".to_owned(),
        reason: "not finished by the deadline".to_owned(),
    }
}

fn quality() -> QualityMetrics {
    QualityMetrics {
        completeness: 0.5,
        consistency: 0.75,
        coverage: 0.5,
        redundancy: 0.25,
        conflict_resolution: 1.0,
        plan_coverage: 0.5,
    }
}

fn answer() -> Answer {
    Answer {
        query_id: query_id(),
        query: "Why does `parse_header` fail on empty input?".to_owned(),
        status: AnswerStatus::Partial,
        success: false,
        stop_reason: StopReason::Deadline,
        error: Some("the fix is missing".to_owned()),
        summary: "Most likely: it indexes an empty slice (`src/parse.rs:41`).".to_owned(),
        aspects: vec![AspectFindings {
            aspect: "cause".to_owned(),
            findings: vec![MergedFinding {
                id: "f-1".to_owned(),
                claim: "`parse_header` indexes an empty slice".to_owned(),
                subject: "parse_header".to_owned(),
                polarity: Polarity::Positive,
                value: Some(1.5),
                unit: Some("ms".to_owned()),
                confidence: 0.75,
                severity: Level::High,
                impact: Level::Critical,
                effort: Level::Low,
                rationale: "An empty header ends the process".to_owned(),
                recommendation: Some("Return an error for empty input".to_owned()),
                evidence: evidence(),
                merged: 2,
                origins: 1,
                tasks: BTreeSet::from([task_id("t1")]),
            }],
        }],
        recommendations: vec![Recommendation {
            action: "Return an error for empty input".to_owned(),
            rationale: "it indexes an empty slice (`src/parse.rs:41`).".to_owned(),
            score: 1.875,
            impact: Level::Critical,
            effort: Level::Low,
            confidence: 0.75,
            findings: vec!["f-1".to_owned()],
        }],
        conflicts: vec![Conflict {
            subject: "parse_header".to_owned(),
            findings: vec!["f-1".to_owned(), "f-2".to_owned()],
            sides: vec![vec!["f-1".to_owned()], vec!["f-2".to_owned()]],
            resolved_by: Some("f-1".to_owned()),
            explanation: "two origins against one".to_owned(),
        }],
        missing: vec![missing()],
        notes: vec!["looked at 12 files".to_owned()],
        outputs: json!({ "t1": { "find": [1, 2] } }),
        quality: Some(quality()),
        strategy: Some("bug_investigation".to_owned()),
        complexity: Some(Complexity::Medium),
        shape: Some(Shape::Chain),
        worker_count: 1,
        tasks_delegated: 2,
        tasks_completed: 1,
        retries: 1,
        second_executions: 1,
        sequential_ms: 400.0,
        duration_ms: 250.5,
        time_reduction_percent: 37.375,
        usage: usage(),
        author: Author::Synthesizer,
        created_at: at(3),
        text: "# Why does `parse_header` fail on empty input?\n".to_owned(),
    }
}

fn event() -> Event {
    Event {
        query_id: query_id(),
        kind: EventKind::ToolCall,
        at: at(1),
        task_id: Some(task_id("t1")),
        by: "investigator-0123456789".to_owned(),
        message: "code.search took 12 ms".to_owned(),
        data: json!({ "ms": 12 }),
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        stream: Stream::Tasks,
        subject: "axon.tasks.CodeReview.normal.q1700000000001.t1".to_owned(),
        reason: Reason::Timeout,
        verdict: Verdict::Retry,
        attempt: 2,
        message: "it took longer than 20,000 ms".to_owned(),
        headers: Headers::from([(header::SCHEMA.to_owned(), "1".to_owned())]),
        payload: Bytes::from_static(b"\x81\x01{"),
        query_id: Some(query_id()),
        task_id: Some(task_id("t1")),
        deadline: Some(at(20)),
        usage: usage(),
        by: "investigator-0123456789".to_owned(),
        at: at(2),
    }
}

fn queued_tasks() -> QueuedTasks {
    QueuedTasks {
        tasks: vec![QueuedTask {
            subject: "axon.tasks.CodeReview.normal.q1700000000001.t1".to_owned(),
            headers: Headers::from([(header::SCHEMA.to_owned(), "1".to_owned())]),
            payload: Bytes::from_static(b"\x81\x01{"),
        }],
    }
}

fn scale_reply() -> ScaleReply {
    ScaleReply {
        by: "axon@build-7".to_owned(),
        serving: 1,
        started: vec![StartedProcess {
            name: "axon-worker-5".to_owned(),
            pid: 4711,
        }],
        draining: vec!["axon-worker-6".to_owned()],
        refused: 2,
        workers_max: 14,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        id: "reviewer-0123456789".to_owned(),
        role: "worker".to_owned(),
        agent_type: AgentType::new("reviewer").expect("a group"),
        capabilities: BTreeSet::from([capability("CodeReview"), capability("Diagnostics")]),
        slots_total: 4,
        slots_used: 1,
        load: 0.25,
        state: WorkerState::Busy,
        succeeded: 9,
        failed: 1,
        pid: 4711,
        host: "node-1".to_owned(),
        metrics: "127.0.0.1:9100".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: at(0),
        at: at(60),
        pause: Some(Pause {
            reason: "3 of 10 tasks succeeded".to_owned(),
            until: at(90),
        }),
        waiting: 2,
        wanted: vec![Wanted {
            capabilities: BTreeSet::from([capability("CodeReview")]),
            workers: 2,
            reason: "nobody serves CodeReview".to_owned(),
            since: at(50),
        }],
    }
}

fn route_announcement() -> RouteAnnouncement {
    let capabilities = BTreeSet::from([capability("CodeAnalysis"), capability("CodeReview")]);
    RouteAnnouncement {
        route: Route::of(&capabilities),
        capabilities,
    }
}

fn plan_record() -> PlanRecord {
    PlanRecord {
        plan: Some(Stored::Inline(plan().into())),
        cancelled: true,
        owner: Some(LeadId::new("lead-0123456789").expect("an id")),
        sequence: 1_700_000_000_001,
        delivery: 2,
    }
}

fn strategy_definition() -> StrategyDefinition {
    StrategyDefinition {
        name: "bug_investigation".to_owned(),
        description: "Finds the cause of a symptom.".to_owned(),
        patterns: vec!["why (does|is)".to_owned()],
        keywords: vec!["crash".to_owned()],
        capabilities: vec![capability("BugInvestigation")],
        templates: vec![DelegationTemplate {
            aspect: "cause".to_owned(),
            synonyms: vec!["reason".to_owned()],
            objective: "Find the cause of {query} in {scope}".to_owned(),
            allowed_tools: vec!["code.*".to_owned()],
            constraints: vec!["change nothing".to_owned()],
            key_questions: vec!["Which line?".to_owned()],
            scope: TemplateScope::WithTests,
        }],
        priority: 6,
        stop: Some(StopRule {
            confidence_min: Some(0.9),
            barren_results: None,
        }),
        stage: Stage::Candidate,
        learnt_from: Some(LearntFrom {
            when: query_kind(),
            like: "research".to_owned(),
            instead_of: "bug_investigation".to_owned(),
            at: at(2),
        }),
    }
}

fn query_kind() -> QueryKind {
    QueryKind {
        words: vec!["parse_header".to_owned()],
        shape: Some(Shape::Single),
        complexity: Some(Complexity::Medium),
        leaning: Some("bug_investigation".to_owned()),
    }
}

fn pattern_record() -> PatternRecord {
    PatternRecord {
        pattern: Pattern {
            when: query_kind(),
            along: vec!["empty".to_owned()],
            lesson: Lesson::Strategy {
                follow: "research".to_owned(),
                instead_of: "bug_investigation".to_owned(),
            },
            support: 12.5,
            rate: 0.875,
            confidence: 0.75,
            compared: 0.5,
            compared_with: "of 20.0 with bug_investigation".to_owned(),
            at: at(3),
        },
        known_to: at(4),
        removed: Some(at(5)),
    }
}

fn strategy_statistics() -> StrategyStatistics {
    StrategyStatistics {
        applications: 4,
        successes: 3,
        mean_duration_ms: 1_200.5,
        mean_cost_cents: 0.25,
        mean_quality: 0.875,
        marked_bad: vec![query_id()],
        recent_applications: 3.75,
        recent_successes: 2.5,
        counted_last: vec![CountedGroup {
            by: "01890a5d".to_owned(),
            number: 7,
        }],
    }
}

fn recalled() -> Recalled {
    Recalled {
        query_id: query_id(),
        query: "Why does `parse_header` fail?".to_owned(),
        strategy: "bug_investigation".to_owned(),
        status: AnswerStatus::Complete,
        success: true,
        similarity: 0.75,
        score: 0.5,
        same_workspace: true,
        summary: "Most likely: `parse_header` indexes an empty slice (`src/parse.rs:4`).".to_owned(),
        places: vec!["src/parse.rs".to_owned()],
        duration_ms: 250.5,
        at: at(1),
    }
}

fn episode() -> Episode {
    Episode {
        query_id: query_id(),
        query: "Why does `parse_header` fail on empty input?".to_owned(),
        session: Some("s1".to_owned()),
        workspace: Some(Digest::of(b"workspace")),
        strategy: "bug_investigation".to_owned(),
        leaning: Some("research".to_owned()),
        complexity: Some(Complexity::Medium),
        ruled: Some(Complexity::Complex),
        shape: Some(Shape::Single),
        aspects: vec!["cause".to_owned()],
        aspects_asked: 1,
        yields: vec![AspectYield {
            aspect: "cause".to_owned(),
            findings: 3,
        }],
        tools: BTreeMap::from([("code.search".to_owned(), 2)]),
        retries: 1,
        hand_overs: 1,
        conflicts: 1,
        tasks: 2,
        workers: 1,
        status: AnswerStatus::Partial,
        stop_reason: StopReason::Deadline,
        success: false,
        quality: Some(quality()),
        usage: usage(),
        duration_ms: 250.5,
        summary: "Most likely: `parse_header` indexes an empty slice (`src/parse.rs:4`).".to_owned(),
        places: vec!["src/parse.rs".to_owned()],
        at: at(3),
    }
}

fn call_memory() -> CallMemory {
    CallMemory::Made {
        by: WorkerId::new("reviewer-0123456789").expect("an id"),
        result: json!({ "files": 3 }),
        took_ms: 412.5,
    }
}

fn query_facts() -> QueryFacts {
    QueryFacts {
        facts: vec![Fact {
            task: task_id("t1"),
            claim: "load panics when the file is missing".to_owned(),
            places: vec!["src/settings.rs:7".to_owned()],
            confidence: 0.9,
        }],
    }
}
