//! What the processes of a fleet tell each other about themselves.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentType, Capability, QueryId, Route};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// No task.
    Idle,
    /// At least one task.
    Busy,
    /// Finishing what it has, taking nothing new.
    Draining,
    /// Paused, because too many of its tasks failed, or taking one at a time to show that it has recovered.
    Unhealthy,
}

impl WorkerState {
    /// The word for people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerState::Idle => "idle",
            WorkerState::Busy => "busy",
            WorkerState::Draining => "draining",
            WorkerState::Unhealthy => "unhealthy",
        }
    }
}

/// What a process writes about itself into the bucket `registry`, under `<role>.<id>`, every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The process.
    pub id: String,
    /// `worker`, `lead` or `synthesizer`.
    pub role: String,
    /// The group of a worker; the role again for others.
    pub agent_type: AgentType,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// Tasks, queries or syntheses it can work on at once.
    pub slots_total: u32,
    /// Those it works on now.
    pub slots_used: u32,
    /// Slots used ÷ slots, from 0 to 1.
    pub load: f64,
    /// What it is doing.
    pub state: WorkerState,
    /// Tasks it ended with an accepted result since it started.
    pub succeeded: u64,
    /// Tasks it ended otherwise.
    pub failed: u64,
    /// Process id on its host.
    pub pid: u32,
    /// Its host.
    pub host: String,
    /// Where its metrics are, as `host:port`; empty if nowhere.
    pub metrics: String,
    /// Version of its binary.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When this was written.
    pub at: DateTime<Utc>,
    /// Why and until when a worker is paused, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Queries a lead holds that wait for their turn.
    #[serde(default)]
    pub waiting: u32,
    /// Workers a lead has asked for and still misses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Wanted>,
}

/// Why a worker takes no tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// What was wrong, for people.
    pub reason: String,
    /// Until when it takes nothing. After that it takes one task at a time, until one succeeds.
    pub until: DateTime<Utc>,
}

/// A key of a language model that its provider limits. It stands in the bucket `working`, under [`KeyPause::key`], and
/// everybody who uses that key waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPause {
    /// Until when the key is not used.
    pub until: DateTime<Utc>,
}

impl KeyPause {
    /// Where the pause of a key stands; `digest` stands for the key, which is never told.
    pub fn key(digest: &str) -> String {
        format!("model_key.{digest}")
    }
}

/// Workers that are missing: a route has work and nobody, or too few, to do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wanted {
    /// What each of them needs to be able to do, ALL of it.
    pub capabilities: BTreeSet<Capability>,
    /// How many there should be in all.
    pub workers: u32,
    /// Why, for people.
    pub reason: String,
    /// Since when they are missing.
    pub since: DateTime<Utc>,
}

impl Heartbeat {
    /// Share of its tasks that succeeded; 1 before the first.
    pub fn success_rate(&self) -> f64 {
        let ended = self.succeeded + self.failed;
        if ended == 0 {
            1.0
        } else {
            self.succeeded as f64 / ended as f64
        }
    }
}

/// What the bucket `routes` holds under the name of a route: its consumers exist, workers may pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteAnnouncement {
    /// The route.
    pub route: Route,
    /// What a worker needs to serve it, ALL of them.
    pub capabilities: BTreeSet<Capability>,
}

/// A message on a control subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum Control {
    /// Stop working on a query.
    Cancel {
        /// The query.
        query_id: QueryId,
    },
    /// Recall a query no more: its episode is deleted.
    Forget {
        /// The query.
        query_id: QueryId,
    },
    /// Finish what you hold, take nothing new, exit.
    Drain {
        /// The process.
        id: String,
    },
    /// Have this many workers that can do all of this.
    Scale {
        /// What each of them needs to be able to do, ALL of it.
        capabilities: BTreeSet<Capability>,
        /// How many there should be in all, those that are there already included.
        workers: u32,
        /// Whether more are as good: a lead asks for a minimum, an operator fixes the number.
        #[serde(default)]
        minimum: bool,
        /// Why, for people.
        #[serde(default)]
        reason: String,
    },
    /// Take nothing new for a while, then one task at a time until one succeeds.
    Pause {
        /// The worker.
        id: String,
        /// For how long, in milliseconds.
        for_ms: u64,
        /// Why, for people.
        reason: String,
    },
    /// End a pause before its time.
    Resume {
        /// The worker.
        id: String,
    },
}
