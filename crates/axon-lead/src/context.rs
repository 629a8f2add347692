//! What every query of a lead shares. Holds handles only; nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axon_bus::{Bus, Routes};
use axon_memory::{Application, Episodes, Patterns, Strategies};
use axon_protocol::{Capability, Digest, GROUPS, LeadId, ObjectBucket, PlanRecord, QueryId};
use axon_tools::Manifest;
use tokio::sync::{broadcast, mpsc};

use crate::config::Config;
use crate::fleet::Fleet;
use crate::overseer::Overseer;
use crate::planner::Planner;
use crate::preparation::Unprepared;
use crate::shelf::Shelf;
use crate::view::{FileView, WorkspaceView};

/// Manifests a lead remembers.
const MANIFESTS_MAX: usize = 16;

/// The handles of a lead.
pub(crate) struct Context {
    pub(crate) bus: Bus,
    pub(crate) id: LeadId,
    pub(crate) config: Config,
    pub(crate) workspace: Option<Digest>,
    pub(crate) routes: Routes,
    pub(crate) fleet: Fleet,
    pub(crate) overseer: Overseer,
    pub(crate) planner: Option<Planner>,
    pub(crate) library: Shelf,
    pub(crate) strategies: Strategies,
    pub(crate) episodes: Episodes,
    pub(crate) patterns: Patterns,
    pub(crate) applications: mpsc::Sender<Application>,
    pub(crate) cancelled: broadcast::Sender<QueryId>,
    pub(crate) manifests: Manifests,
    pub(crate) held: Held,
}

/// A delivery of a query: a lead owns the query by the delivery that the plan's record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Sequence of the message.
    pub(crate) sequence: u64,
    /// How often it had been delivered.
    pub(crate) delivery: u64,
}

impl Claim {
    /// That of the owner whom a record names.
    pub(crate) fn of(record: &PlanRecord) -> Self {
        Self {
            sequence: record.sequence,
            delivery: record.delivery,
        }
    }
}

/// The deliveries of queries that this lead holds at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Vec<Claim>>>);

impl Held {
    /// Counts a delivery in until what is returned is dropped.
    pub(crate) fn enter(&self, claim: Claim) -> impl Drop + use<> {
        struct Leave(Held, Claim);
        impl Drop for Leave {
            fn drop(&mut self) {
                let mut claims = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(index) = claims.iter().position(|claim| *claim == self.1) {
                    claims.swap_remove(index);
                }
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
        Leave(self.clone(), claim)
    }

    pub(crate) fn contains(&self, claim: Claim) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&claim)
    }
}

impl Context {
    /// Every capability that somebody could serve: the built-in ones and those of the workers there are.
    pub(crate) fn known_capabilities(&self) -> BTreeSet<Capability> {
        let mut known = self.fleet.capabilities();
        known.extend(
            GROUPS
                .iter()
                .flat_map(|(_, names)| names.iter())
                .filter_map(|name| Capability::new(*name).ok()),
        );
        known.insert(Capability::diagnostics());
        known
    }

    /// The strategies that a query may have followed, those of the bucket included, also where they were dropped since;
    /// `None` before the bucket was read.
    pub(crate) fn strategy_names(&self) -> Option<BTreeSet<String>> {
        if !self.strategies.is_loaded() {
            return None;
        }
        let names = self.strategies.with_book(|book| {
            let library = self.library.with(&book.definitions);
            let in_force = library.definitions().map(|definition| definition.name.clone());
            in_force.chain(book.definitions.keys().cloned()).collect()
        });
        Some(names)
    }

    /// What the workspace holds.
    pub(crate) async fn view(&self, digest: &Digest) -> Result<Arc<WorkspaceView>, Unprepared> {
        if let Some(view) = self.manifests.get(digest) {
            return Ok(view);
        }
        let archive = self.bus.objects(ObjectBucket::Workspaces).get(digest).await?;
        let manifest = tokio::task::spawn_blocking(move || Manifest::from_archive(&archive))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("the workspace {digest} cannot be read: {error}"))?;
        let view = Arc::new(view_of(manifest));
        self.manifests.put(digest.clone(), view.clone());
        Ok(view)
    }
}

fn view_of(manifest: Manifest) -> WorkspaceView {
    WorkspaceView {
        revision: manifest.revision,
        files: manifest
            .files
            .into_iter()
            .map(|file| FileView {
                path: file.path,
                bytes: file.bytes,
                language: file.language,
            })
            .collect(),
    }
}

/// The manifests used last.
#[derive(Debug, Default)]
pub(crate) struct Manifests(Mutex<ManifestCache>);

#[derive(Debug, Default)]
struct ManifestCache {
    clock: u64,
    views: BTreeMap<Digest, (u64, Arc<WorkspaceView>)>,
}

impl Manifests {
    fn get(&self, digest: &Digest) -> Option<Arc<WorkspaceView>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clock += 1;
        let clock = cache.clock;
        let (used, view) = cache.views.get_mut(digest)?;
        *used = clock;
        Some(view.clone())
    }

    fn put(&self, digest: Digest, view: Arc<WorkspaceView>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clock += 1;
        let clock = cache.clock;
        cache.views.insert(digest, (clock, view));
        if cache.views.len() > MANIFESTS_MAX
            && let Some(oldest) = cache
                .views
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| key.clone())
        {
            cache.views.remove(&oldest);
        }
    }
}
