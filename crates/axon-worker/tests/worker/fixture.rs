//! A nats-server of the test's own, a namespace per test, workers in this process, and tasks to give them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axon_bus::{Bus, Message, Routes, StoredMessage};
use axon_protocol::{
    Band, Capability, DeadLetter, Event, EventKind, Format, Heartbeat, Namespace, QueryId, Route, Stream, Task,
    TaskBoundaries, TaskDelegation, TaskId, TaskResult, ToolCall, decode, header,
};
use axon_service::{Health, RegistryConfig};
use axon_tools::{Executor, Toolbox};
use axon_worker::{Config, Parts, Worker};
use chrono::Utc;
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that are read of a stream.
const MESSAGES_MAX: usize = 10_000;

/// The server of this test binary. Its process ends with the binary, because its standard input does.
struct Server {
    _child: Child,
    url: String,
    _data: tempfile::TempDir,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let data = tempfile::tempdir().expect("a directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        // The shell waits for the end of its input, which comes when this process is gone, however it ends.
        let script = r#""$0" -a 127.0.0.1 -p "$1" -js -sd "$2" >/dev/null 2>&1 & read -r _; kill -9 $!"#;
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(server_binary())
            .arg(port.to_string())
            .arg(data.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        Server {
            _child: child,
            url: format!("nats://127.0.0.1:{port}"),
            _data: data,
        }
    })
}

fn server_binary() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.axon/nats/nats-server");
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join("nats-server"));
    std::env::var_os("AXON_NATS_SERVER")
        .map(PathBuf::from)
        .into_iter()
        .chain(on_path)
        .chain([beside])
        .find(|path| path.is_file())
        .expect("no nats-server: run scripts/get-nats.sh, or set AXON_NATS_SERVER")
}

/// A fleet of this test's own.
pub(crate) struct Fleet {
    pub(crate) bus: Bus,
    pub(crate) routes: Routes,
    config: axon_bus::Config,
}

/// A worker that runs in this process.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) stop: CancellationToken,
    pub(crate) bus: Bus,
    task: JoinHandle<()>,
}

impl Running {
    /// Drains it and waits until it has ended.
    pub(crate) async fn drain(self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it ends")
            .expect("it does not panic");
        self.bus.drain().await.expect("flushes");
    }

    /// Ends it in the middle of what it does, as a crash would. Its connection goes on, because it is this process'.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

impl Fleet {
    /// A namespace that nobody used before.
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let config = axon_bus::Config {
            url: server().url.clone(),
            namespace: Namespace::new(format!("w{number}")).expect("a namespace"),
            // Many namespaces share the disk, and a stream reserves what it may take.
            stream_mb_max: 16,
            ..axon_bus::Config::default()
        };
        let started = Instant::now();
        let bus = loop {
            match Bus::connect(&config, "test").await {
                Ok(bus) => break bus,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        bus.declare().await.expect("declares");
        Self {
            routes: Routes::new(&bus),
            bus,
            config,
        }
    }

    /// Starts a worker.
    pub(crate) async fn worker(&self, config: Config) -> Running {
        let id = Worker::name(&config);
        let bus = Bus::connect(&self.config, id.as_str()).await.expect("connects");
        let tools = axon_tools::Config::default();
        let toolbox = Toolbox::standard(&tools).expect("registers");
        let worker = Worker::new(Parts {
            id: id.clone(),
            config,
            registry: RegistryConfig::default(),
            bus: bus.clone(),
            executor: Executor::new(tools.clone(), Arc::new(toolbox)),
            agent: None,
            cache: tools.workspaces,
            health: Health::new(),
            metrics: String::new(),
        })
        .expect("a valid configuration");
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::spawn(async move { worker.run(until).await.expect("it runs") });
        Running {
            id: id.to_string(),
            stop,
            bus,
            task,
        }
    }

    /// The route of diagnostic tasks, with its consumers.
    pub(crate) async fn diagnostics(&self) -> Route {
        let needed = BTreeSet::from([Capability::diagnostics()]);
        self.routes.ensure(&needed).await.expect("a route")
    }

    /// Publishes a task under the name its attempt gives it.
    pub(crate) async fn publish(&self, task: &Task) {
        let message = self.message(task).await;
        self.bus.publish(message).await.expect("is stored");
    }

    /// A task as its lead would publish it.
    pub(crate) async fn message(&self, task: &Task) -> Message {
        let route = self.diagnostics().await;
        let name = match task.attempt {
            1 => task.delegation.task_id.to_string(),
            attempt => format!("{}~{attempt}", task.delegation.task_id),
        };
        let band = Band::of(task.delegation.priority);
        let subject = self.bus.namespace().task(&route, band, &task.query_id, &name);
        Message::new(subject, Format::Msgpack, task)
            .expect("encodes")
            .with(header::TRY, task.attempt.to_string())
    }

    /// The results of a query that are stored by now.
    pub(crate) async fn results(&self, query: &str) -> Vec<TaskResult> {
        let subject = self.bus.namespace().results_of(&query_id(query));
        self.stored(Stream::Results, &subject).await.iter().map(read).collect()
    }

    /// Waits until a query has that many results.
    pub(crate) async fn wait_for_results(&self, query: &str, count: usize) -> Vec<TaskResult> {
        let mut results = Vec::new();
        until(&format!("{count} results of {query}"), async || {
            results = self.results(query).await;
            results.len() >= count
        })
        .await;
        results
    }

    /// Waits for the first dead letter.
    pub(crate) async fn wait_for_letter(&self) -> DeadLetter {
        let filter = format!("{}.dead.>", self.bus.namespace());
        let mut letters = Vec::new();
        until("a dead letter", async || {
            letters = self.stored(Stream::Dead, &filter).await;
            !letters.is_empty()
        })
        .await;
        read(&letters[0])
    }

    /// Tells that a task of a query was started, so many times.
    pub(crate) async fn tell_starts(&self, query: &str, task: &str, count: usize) {
        let event = Event {
            query_id: query_id(query),
            kind: EventKind::Started,
            at: Utc::now(),
            task_id: TaskId::new(task).ok(),
            by: "somebody".to_owned(),
            message: String::new(),
            data: serde_json::json!({ "attempt": 1 }),
        };
        let subject = self.bus.namespace().event(&event.query_id, event.kind);
        let message = Message::new(subject, Format::Msgpack, &event).expect("encodes");
        for _ in 0..count {
            self.bus.publish(message.clone()).await.expect("is stored");
        }
    }

    /// The events of one kind.
    pub(crate) async fn events(&self, query: &str, kind: EventKind) -> Vec<Event> {
        let subject = self.bus.namespace().event(&query_id(query), kind);
        self.stored(Stream::Events, &subject).await.iter().map(read).collect()
    }

    /// Waits until tasks of a query were started that often.
    pub(crate) async fn wait_for_starts(&self, query: &str, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        until(&format!("{count} starts of {query}"), async || {
            events = self.events(query, EventKind::Started).await;
            // Tasks that start together share an event.
            events.iter().map(|event| event.attempts().len()).sum::<usize>() >= count
        })
        .await;
        events
    }

    /// Waits until nothing is queued or leased any more.
    pub(crate) async fn wait_until_empty(&self) {
        until("an empty queue of tasks", async || self.tasks_left().await == 0).await;
    }

    /// Tasks that are queued or leased.
    pub(crate) async fn tasks_left(&self) -> u64 {
        self.bus.status(Stream::Tasks).await.expect("a status").messages
    }

    /// Waits until that many workers are in the registry.
    pub(crate) async fn wait_for_workers(&self, count: usize) -> Vec<Heartbeat> {
        let table = self.bus.table::<Heartbeat>(axon_protocol::Bucket::Registry);
        let mut all = Vec::new();
        until(&format!("{count} workers"), async || {
            all = table.all().await.expect("a listing").into_values().collect();
            all.len() == count
        })
        .await;
        all
    }

    async fn stored(&self, stream: Stream, filter: &str) -> Vec<StoredMessage> {
        self.bus.messages(stream, filter, 0, MESSAGES_MAX).await.expect("reads")
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn read<T: serde::de::DeserializeOwned>(message: &StoredMessage) -> T {
    decode(&message.headers, &message.payload).expect("decodes")
}

pub(crate) fn query_id(query: &str) -> QueryId {
    QueryId::new(query).expect("an id")
}

/// One call of a diagnostic tool.
pub(crate) fn call(id: &str, tool: &str, params: Value) -> ToolCall {
    ToolCall {
        tool_id: id.to_owned(),
        tool_name: tool.to_owned(),
        params,
        outputs: Vec::new(),
        inputs: Vec::new(),
        priority: 5,
    }
}

/// A task that makes these calls.
pub(crate) fn task(query: &str, name: &str, calls: Vec<ToolCall>) -> Task {
    Task {
        query_id: query_id(query),
        query: "try it".to_owned(),
        delegation: TaskDelegation {
            task_id: TaskId::new(name).expect("an id"),
            objective: "try it".to_owned(),
            output_format: Default::default(),
            allowed_tools: vec!["diag.*".to_owned()],
            boundaries: TaskBoundaries {
                scope: Vec::new(),
                constraints: Vec::new(),
                max_tool_calls: 100,
                timeout_ms: 60_000,
            },
            priority: 5,
            required_capabilities: vec![Capability::diagnostics()],
            context: Value::Null,
            dependencies: Vec::new(),
            key_questions: Vec::new(),
            aspect: String::new(),
            playbook: String::new(),
            calls,
            budget: Default::default(),
            added: false,
        },
        workspace: None,
        deadline: Utc::now() + Duration::from_secs(60),
        attempt: 1,
        upstream: Vec::new(),
        spent: Default::default(),
        replay: None,
    }
}
