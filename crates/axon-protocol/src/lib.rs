//! What crosses the wire between Axon processes: identifiers, subjects, the envelope and every message.
//! Nothing here does I/O, reads a clock or knows a NATS client.

mod analysis;
mod answer;
mod capability;
mod dead_letter;
mod envelope;
mod episode;
mod event;
mod finding;
mod fleet;
mod history;
mod id;
mod markdown;
mod pattern;
mod plan;
mod plan_text;
mod query;
mod scale;
mod strategy;
mod subject;
mod synthesis;
mod task;
mod words;
mod working;

pub use analysis::{Analysis, Complexity, Shape};
pub use answer::{
    Answer, AnswerStatus, AspectFindings, Author, Conflict, MergedFinding, MissingPart, QualityMetrics, Recommendation,
    StopReason,
};
pub use capability::{AgentType, Band, Capability, CapabilityError, GROUPS, PRIORITY_DEFAULT, PRIORITY_MAX, Route};
pub use dead_letter::{DeadLetter, Reason, Verdict};
pub use envelope::{
    DecodeError, EncodeError, Format, Headers, SCHEMA_MAJOR, SCHEMA_MAJOR_UNTOLD, decode, decode_by, encode, header,
};
pub use episode::{AspectYield, Episode, Feedback, Recalled};
pub use event::{Attempt, Event, EventKind};
pub use finding::{Evidence, Finding, Level, Polarity};
pub use fleet::{Control, Heartbeat, KeyPause, Pause, RouteAnnouncement, Wanted, WorkerState};
pub use history::{QueuedTask, QueuedTasks};
pub use id::{AttemptToken, Digest, IdError, LeadId, QueryId, TaskId, WorkerId};
pub use markdown::to_markdown;
pub use pattern::{AppliedPattern, Lesson, Pattern, PatternRecord, QueryKind, Trouble};
pub use plan::{
    Estimate, ExecutionPlan, OutputFormat, PLAN_VERSION, PlanRecord, PlanRequest, PlannedBy, ResourceAllocation,
    SECOND_EXECUTION, SelectedStrategy, StopRule, Stored, TaskBoundaries, TaskDelegation, TaskRequest, ToolCall,
};
pub use query::{Budget, DEADLINE_S_MAX, QUERY_BYTES_MAX, Query, QueryError, Replay};
pub use scale::{ScaleReply, StartedProcess};
pub use strategy::{
    CountedGroup, DelegationTemplate, LearntFrom, Stage, StrategyDefinition, StrategyStatistics, TemplateScope,
};
pub use subject::{Bucket, Namespace, NamespaceError, ObjectBucket, Stream, TaskSubject};
pub use synthesis::{ResultReference, SynthesisRequest};
pub use task::{RunStatistics, Task, TaskResult, TaskStatus, Upstream, Usage};
pub use words::counted;
pub use working::{CallMemory, Fact, QueryFacts};
