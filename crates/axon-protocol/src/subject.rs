//! Every subject, stream, bucket and durable name of a fleet. No other file spells one of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Band, EventKind, QueryId, Reason, Route, TaskId};

const NAMESPACE_BYTES_MAX: usize = 32;

/// Why a text is not a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no namespace: use 1 to 32 lower-case letters, digits and `_`, a letter first")]
pub struct NamespaceError(String);

/// The first token of all subjects of a fleet and the prefix of its streams and buckets: `axon` unless configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

impl Default for Namespace {
    fn default() -> Self {
        Self("axon".to_owned())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Namespace {
    type Error = NamespaceError;
    fn try_from(text: String) -> Result<Self, NamespaceError> {
        Self::new(text)
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        Self::new(text)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> String {
        namespace.0
    }
}

impl Namespace {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, NamespaceError> {
        let name = name.into();
        let fits = (1..=NAMESPACE_BYTES_MAX).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits {
            Ok(Self(name))
        } else {
            Err(NamespaceError(name))
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where queries are published.
    pub fn queries(&self) -> String {
        format!("{}.queries", self.0)
    }

    /// What the stream of queries listens to until it is ready to take queries. Nobody publishes here.
    pub fn queries_closed(&self) -> String {
        format!("{}.closed.queries", self.0)
    }

    /// The micro service that submits a query, waits and replies with its answer.
    pub fn ask(&self) -> String {
        format!("{}.ask", self.0)
    }

    /// The micro service that analyses and plans a query without running it.
    pub fn plan(&self) -> String {
        format!("{}.plan", self.0)
    }

    /// The micro service that replies with the definitions of all strategies in force.
    pub fn strategies(&self) -> String {
        format!("{}.strategies", self.0)
    }

    /// One task in its queue. `name` is the task's id, with `~<attempt>` behind it for a retry.
    pub fn task(&self, route: &Route, band: Band, query: &QueryId, name: &str) -> String {
        format!("{}.tasks.{route}.{band}.{query}.{name}", self.0)
    }

    /// All tasks of one route and band: the filter of a durable consumer.
    pub fn tasks_of(&self, route: &Route, band: Band) -> String {
        format!("{}.tasks.{route}.{band}.>", self.0)
    }

    /// All tasks of one query in one route and band: the filter of a purge.
    pub fn tasks_of_query(&self, route: &Route, band: Band, query: &QueryId) -> String {
        format!("{}.tasks.{route}.{band}.{query}.>", self.0)
    }

    /// What rings when a task of the route is stored, by republish: at its band, whichever task it is, because a server
    /// knows soonest who listens to a subject that it has seen before.
    pub fn task_doorbell(&self, route: &Route) -> String {
        format!("{}.queued.{route}.>", self.0)
    }

    /// The copies of all queries in the stream of history.
    pub fn history_of_queries(&self) -> String {
        format!("{}.history.queries", self.0)
    }

    /// The copies of all tasks of one query, each time some were queued, in the stream of history.
    pub fn history_of_query(&self, query: &QueryId) -> String {
        format!("{}.history.tasks.{query}", self.0)
    }

    /// Rung by a worker that leaves tasks behind, for the next one.
    pub fn relay_doorbell(&self, route: &Route) -> String {
        format!("{}.doorbell.{route}", self.0)
    }

    /// The one result of a task.
    pub fn result(&self, query: &QueryId, task: &TaskId) -> String {
        format!("{}.results.{query}.{task}", self.0)
    }

    /// All results of a query.
    pub fn results_of(&self, query: &QueryId) -> String {
        format!("{}.results.{query}.>", self.0)
    }

    /// What the stream of results accepted of a query, by republish.
    pub fn accepted_of(&self, query: &QueryId) -> String {
        format!("{}.accepted.{query}.>", self.0)
    }

    /// The request to synthesize a query.
    pub fn synthesis(&self, query: &QueryId) -> String {
        format!("{}.synthesis.{query}", self.0)
    }

    /// The one answer of a query.
    pub fn answer(&self, query: &QueryId) -> String {
        format!("{}.answers.{query}", self.0)
    }

    /// The answer as the stream accepted it, by republish.
    pub fn answered(&self, query: &QueryId) -> String {
        format!("{}.answered.{query}", self.0)
    }

    /// One kind of event of a query.
    pub fn event(&self, query: &QueryId, kind: EventKind) -> String {
        format!("{}.events.{query}.{kind}", self.0)
    }

    /// All events of a query.
    pub fn events_of(&self, query: &QueryId) -> String {
        format!("{}.events.{query}.>", self.0)
    }

    /// Dead letters of one stream for one reason.
    pub fn dead(&self, stream: Stream, reason: Reason) -> String {
        format!("{}.dead.{}.{reason}", self.0, stream.token())
    }

    /// All dead letters of one stream.
    pub fn dead_of(&self, stream: Stream) -> String {
        format!("{}.dead.{}.>", self.0, stream.token())
    }

    /// The episode of a query.
    pub fn episode(&self, strategy: &str, query: &QueryId) -> String {
        format!("{}.episodes.{}.{query}", self.0, subject_token(strategy))
    }

    /// Tells everybody that a query was cancelled; the plan's record says so durably.
    pub fn control_cancel(&self, query: &QueryId) -> String {
        format!("{}.control.cancel.{query}", self.0)
    }

    /// Every cancellation.
    pub fn control_cancel_all(&self) -> String {
        format!("{}.control.cancel.*", self.0)
    }

    /// Asks one process, by its id, to drain and exit.
    pub fn control_drain(&self, id: &str) -> String {
        format!("{}.control.drain.{}", self.0, subject_token(id))
    }

    /// Forgetting one query.
    pub fn control_forget(&self, query: &QueryId) -> String {
        format!("{}.control.forget.{query}", self.0)
    }

    /// All episodes.
    pub fn episodes(&self) -> String {
        format!("{}.episodes.>", self.0)
    }

    /// The episodes of queries with a strategy.
    pub fn episodes_with(&self, strategy: &str) -> String {
        format!("{}.episodes.{}.*", self.0, subject_token(strategy))
    }

    /// The episodes of a query, whatever its strategy.
    pub fn episodes_of(&self, query: &QueryId) -> String {
        format!("{}.episodes.*.{query}", self.0)
    }

    /// Everything on the control subjects.
    pub fn control_all(&self) -> String {
        format!("{}.control.>", self.0)
    }

    /// Asks one worker, by its id, to take nothing for a while.
    pub fn control_pause(&self, id: &str) -> String {
        format!("{}.control.pause.{}", self.0, subject_token(id))
    }

    /// Ends the pause of one worker, by its id.
    pub fn control_resume(&self, id: &str) -> String {
        format!("{}.control.resume.{}", self.0, subject_token(id))
    }

    /// Everything that is said to one process, by its id.
    pub fn control_of(&self, id: &str) -> String {
        format!("{}.control.*.{}", self.0, subject_token(id))
    }

    /// Asks for a number of workers that can do something.
    pub fn control_scale(&self) -> String {
        format!("{}.control.scale", self.0)
    }

    /// The subjects a stream stores.
    pub fn stream_subjects(&self, stream: Stream) -> Vec<String> {
        match stream {
            Stream::Queries => vec![self.queries()],
            Stream::Advisories => Stream::WORK_QUEUES
                .iter()
                .flat_map(|work| {
                    ["MAX_DELIVERIES", "MSG_TERMINATED"]
                        .map(|kind| format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{}.>", self.stream(*work)))
                })
                .collect(),
            _ => vec![format!("{}.{}.>", self.0, stream.token())],
        }
    }

    /// The source and destination of a stream's republish, if it has one.
    pub fn republish(&self, stream: Stream) -> Option<(String, String)> {
        let (rest, destination) = match stream {
            Stream::Queries => return Some((self.queries(), self.history_of_queries())),
            Stream::Tasks => ("*.*.*.*", "queued.{{wildcard(1)}}.{{wildcard(2)}}"),
            Stream::Results => (">", "accepted.>"),
            Stream::Answers => (">", "answered.>"),
            _ => return None,
        };
        Some((
            format!("{}.{}.{rest}", self.0, stream.token()),
            format!("{}.{destination}", self.0),
        ))
    }

    /// The name of a stream, such as `AXON_TASKS`.
    pub fn stream(&self, stream: Stream) -> String {
        format!(
            "{}_{}",
            self.0.to_ascii_uppercase(),
            stream.token().to_ascii_uppercase()
        )
    }

    /// The name of a key-value bucket, such as `axon_registry`.
    pub fn bucket(&self, bucket: Bucket) -> String {
        format!("{}_{}", self.0, bucket.token())
    }

    /// The name of an object store, such as `axon_workspaces`.
    pub fn objects(&self, bucket: ObjectBucket) -> String {
        format!("{}_{}", self.0, bucket.token())
    }

    /// The durable consumer of a work queue that has only one.
    pub fn durable(&self, stream: Stream) -> String {
        format!("{}_{}", self.0, stream.token())
    }

    /// The durable consumer of one route and band.
    pub fn task_durable(&self, route: &Route, band: Band) -> String {
        format!("{}_{route}_{band}", self.0)
    }

    /// Parses a subject of a task; `None` for any other subject.
    pub fn parse_task(&self, subject: &str) -> Option<TaskSubject> {
        let rest = subject.strip_prefix(self.0.as_str())?.strip_prefix(".tasks.")?;
        let mut tokens = rest.split('.');
        let (route, band, query, name) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?);
        if tokens.next().is_some() {
            return None;
        }
        let (task, attempt) = match name.split_once('~') {
            Some((task, attempt)) => (task, attempt.parse().ok()?),
            None => (name, 1),
        };
        Some(TaskSubject {
            route: Route::from_token(route),
            band: Band::from_token(band)?,
            query: QueryId::new(query).ok()?,
            task: TaskId::new(task).ok()?,
            attempt,
        })
    }

    /// The last token of a subject as a task's id; `None` if it is none.
    pub fn last_token_task(&self, subject: &str) -> Option<TaskId> {
        TaskId::new(subject.rsplit('.').next()?).ok()
    }

    /// The last token of a subject as a query's id; `None` if it is none.
    pub fn last_token_query(&self, subject: &str) -> Option<QueryId> {
        QueryId::new(subject.rsplit('.').next()?).ok()
    }
}

/// A text made fit to be one subject token: what may not stand in one becomes `_`.
fn subject_token(text: &str) -> String {
    let token: String = text
        .chars()
        .take(64)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if token.is_empty() { "_".to_owned() } else { token }
}

/// What the subject of a task says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSubject {
    /// Where it queues.
    pub route: Route,
    /// In which band.
    pub band: Band,
    /// The query it belongs to.
    pub query: QueryId,
    /// The task.
    pub task: TaskId,
    /// 1 for the first publication, the number behind `~` otherwise.
    pub attempt: u32,
}

/// The streams of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Work queue of queries.
    Queries,
    /// Work queue of tasks, one message a subject.
    Tasks,
    /// The one result of each task.
    Results,
    /// Work queue of synthesis requests.
    Synthesis,
    /// The one answer of each query.
    Answers,
    /// What happens to queries.
    Events,
    /// What failed.
    Dead,
    /// What the server reports of messages that nobody could handle.
    Advisories,
    /// Queries and tasks as they were published.
    History,
    /// Episodic memory.
    Episodes,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Stream; 10] = [
        Stream::Queries,
        Stream::Tasks,
        Stream::Results,
        Stream::Synthesis,
        Stream::Answers,
        Stream::Events,
        Stream::Dead,
        Stream::Advisories,
        Stream::History,
        Stream::Episodes,
    ];

    /// The streams whose messages are leased, worked on and acknowledged.
    pub const WORK_QUEUES: [Stream; 3] = [Stream::Queries, Stream::Tasks, Stream::Synthesis];

    /// The subject token of the stream.
    pub fn token(self) -> &'static str {
        match self {
            Stream::Queries => "queries",
            Stream::Tasks => "tasks",
            Stream::Results => "results",
            Stream::Synthesis => "synthesis",
            Stream::Answers => "answers",
            Stream::Events => "events",
            Stream::Dead => "dead",
            Stream::Advisories => "advisories",
            Stream::History => "history",
            Stream::Episodes => "episodes",
        }
    }
}

/// The key-value buckets of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// Heartbeats of workers and leads; expiring.
    Registry,
    /// Announced routes.
    Routes,
    /// The record of each query's plan.
    Plans,
    /// Definitions and statistics of strategies.
    Strategies,
    /// Learned patterns.
    Patterns,
    /// Working memory; expiring.
    Working,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: [Bucket; 6] = [
        Bucket::Registry,
        Bucket::Routes,
        Bucket::Plans,
        Bucket::Strategies,
        Bucket::Patterns,
        Bucket::Working,
    ];

    /// The name of the bucket without its namespace.
    pub fn token(self) -> &'static str {
        match self {
            Bucket::Registry => "registry",
            Bucket::Routes => "routes",
            Bucket::Plans => "plans",
            Bucket::Strategies => "strategies",
            Bucket::Patterns => "patterns",
            Bucket::Working => "working",
        }
    }
}

/// The object stores of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectBucket {
    /// Packed workspaces, by digest.
    Workspaces,
    /// Results and plans too large for a message, by digest.
    Artifacts,
}

impl ObjectBucket {
    /// Every object store.
    pub const ALL: [ObjectBucket; 2] = [ObjectBucket::Workspaces, ObjectBucket::Artifacts];

    /// The name of the store without its namespace.
    pub fn token(self) -> &'static str {
        match self {
            ObjectBucket::Workspaces => "workspaces",
            ObjectBucket::Artifacts => "artifacts",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capability;

    #[test]
    fn a_task_subject_reads_back() {
        let namespace = Namespace::new("t1").expect("a namespace");
        let route = Route::of(&[Capability::new("CodeReview").expect("a capability")].into());
        let query = QueryId::new("q7").expect("an id");
        let subject = namespace.task(&route, Band::High, &query, "t3~2");
        assert_eq!(subject, "t1.tasks.CodeReview.high.q7.t3~2");
        let parsed = namespace.parse_task(&subject).expect("a task's subject");
        assert_eq!((parsed.route, parsed.band, parsed.query), (route, Band::High, query));
        assert_eq!((parsed.task.as_str(), parsed.attempt), ("t3", 2));
        for other in [
            "t1.tasks.A.high.q7",
            "t1.tasks.A.urgent.q7.t3",
            "t2.tasks.A.high.q7.t3",
            "t1.tasks.A.low.q.t~x",
        ] {
            assert_eq!(namespace.parse_task(other), None, "{other}");
        }
    }

    #[test]
    fn names_carry_the_namespace() {
        let namespace = Namespace::default();
        assert_eq!(namespace.stream(Stream::Queries), "AXON_QUERIES");
        assert_eq!(namespace.bucket(Bucket::Registry), "axon_registry");
        assert_eq!(namespace.objects(ObjectBucket::Workspaces), "axon_workspaces");
        for bad in ["", "A", "1a", "a.b", "a-b"] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
    }
}
