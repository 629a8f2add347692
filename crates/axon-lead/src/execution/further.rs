//! What a query does beyond its first plan: a further task for an aspect that came back thin, and a second execution of a
//! task that takes too long. The machine decides when; here it is written, saved and queued.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use axon_bus::Error;
use axon_protocol::{
    Bucket, Budget, Event as Notice, EventKind, ExecutionPlan, PlanRecord, SECOND_EXECUTION, Stream, TaskDelegation,
    TaskId, decode,
};
use serde_json::json;
use tracing::{debug, info, warn};

use super::{Run, STEP};
use crate::context::Claim;
use crate::planning::again;
use crate::state::{Event, Running};

/// Events of a query that are read to see which of its tasks are running.
const STARTS_MAX: usize = 5_000;

impl Run {
    /// Adds a task to the plan, saves the plan, and tells the machine whether it stands.
    pub(super) async fn spawn(&mut self, aspect: String, like: &TaskId, task: TaskId, budget: Budget) {
        let written = again(&self.plan, like, task, budget);
        let added = match written {
            None => None,
            Some(delegation) => match self.save_with(delegation.clone()).await {
                Ok(()) => Some(delegation),
                Err(error) => {
                    warn!(query = %self.plan.query_id, aspect, %error, "cannot add a task to the plan");
                    None
                }
            },
        };
        let Some(delegation) = added else {
            self.queue.push_back(Event::NotSpawned { aspect, budget });
            return;
        };
        info!(query = %self.plan.query_id, task = %delegation.task_id, aspect, "added a task, its aspect came back thin");
        let message = format!("{} added: {aspect} came back thin", delegation.task_id);
        let data = json!({ "aspect": aspect, "objective": delegation.objective, "like": like });
        let id = Some(delegation.task_id.clone());
        self.context
            .notice(&self.plan.query_id, EventKind::Planned, id, message, data)
            .await;
        self.queue.push_back(Event::Spawned(Box::new(delegation)));
    }

    /// The plan with one more task, saved before that task is queued: whoever takes the query over must know it.
    async fn save_with(&mut self, delegation: TaskDelegation) -> Result<(), Error> {
        let capabilities: BTreeSet<_> = delegation.required_capabilities.iter().cloned().collect();
        self.context.routes.ensure(&capabilities).await?;
        let place = (delegation.route(), delegation.band());
        let mut plan = ExecutionPlan::clone(&self.plan);
        plan.task_delegations.push(delegation);
        let plan = Arc::new(plan);
        let stored = self.context.bus.store(plan.clone()).await?;
        let table = self.context.bus.table::<PlanRecord>(Bucket::Plans);
        let key = self.plan.query_id.as_str();
        let gone = || Error::Conflict { key: key.to_owned() };
        let entry = table.get(key).await?.ok_or_else(gone)?;
        // A lead that was frozen must not change the plan of the one that took its query over.
        let record = entry
            .value
            .filter(|record| Claim::of(record) == self.claim)
            .ok_or_else(gone)?;
        let grown = PlanRecord {
            plan: Some(stored.clone()),
            ..record
        };
        table.update(key, &grown, entry.revision).await?;
        self.routes.insert(place);
        self.plan = plan;
        self.stored = stored;
        Ok(())
    }

    /// Reads which tasks were started and have not ended, and how many slots are free for their kind of work.
    pub(super) async fn inspect(&mut self) {
        let running = match self.running().await {
            Ok(running) => running,
            Err(error) => {
                debug!(query = %self.plan.query_id, %error, "cannot read which tasks are running");
                return;
            }
        };
        // Each slot is counted once, also where tasks of several routes are slow.
        let needs: BTreeSet<BTreeSet<_>> = running
            .iter()
            .filter_map(|one| self.plan.task_delegations.iter().find(|task| task.task_id == one.task))
            .map(|task| task.required_capabilities.iter().cloned().collect())
            .collect();
        let idle = needs
            .iter()
            .map(|needed| self.context.fleet.free_slots(needed))
            .min()
            .unwrap_or(0);
        self.queue.push_back(Event::Inspected { running, idle });
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let open: BTreeSet<TaskId> = self.machine.open_tasks().into_iter().collect();
        let bus = &self.context.bus;
        let mut since = HashMap::new();
        for kind in [EventKind::Started, EventKind::HandedBack] {
            let subject = bus.namespace().event(&self.plan.query_id, kind);
            for message in bus.messages(Stream::Events, &subject, 0, STARTS_MAX).await? {
                let Ok(event) = decode::<Notice>(&message.headers, &message.payload) else {
                    continue;
                };
                for (task, _) in event.attempts().into_iter().filter(|(task, _)| open.contains(task)) {
                    // The latest start counts, and a task that was handed back after it is not running.
                    match kind {
                        EventKind::Started => {
                            let at = since.entry(task).or_insert(event.at);
                            *at = event.at.max(*at);
                        }
                        _ if since.get(&task).is_some_and(|started| *started <= event.at) => {
                            since.remove(&task);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(since.into_iter().map(|(task, since)| Running { task, since }).collect())
    }

    /// Queues a task a second time. It is no retry, and whoever is first gives the result.
    pub(super) async fn dispatch_second(&mut self, id: &TaskId) {
        let Some(delegation) = self.plan.task_delegations.iter().find(|task| task.task_id == *id) else {
            return;
        };
        let queued = match self.message(delegation, SECOND_EXECUTION) {
            Ok(message) => {
                let until = Instant::now() + STEP;
                let queued = self.context.bus.queue_until(&self.plan.query_id, message, until);
                queued.await.map(|_| ())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = queued {
            // The first execution goes on all the same.
            warn!(query = %self.plan.query_id, task = %id, %error, "cannot queue a second execution");
            return;
        }
        info!(query = %self.plan.query_id, task = %id, "executing a slow task a second time");
        let message = format!("{id} takes long and is executed a second time");
        let data = json!({ "attempt": SECOND_EXECUTION });
        let task = Some(id.clone());
        self.context
            .notice(&self.plan.query_id, EventKind::Retrying, task, message, data)
            .await;
    }
}
