//! A query that repeats an earlier one: what was not done then is settled before anything begins.

use axon_protocol::{StopReason, TaskId};

use super::Execution;
use super::task::Progress;

impl Execution {
    /// Leaves out the tasks that came to nothing when the query was first worked on, each for the reason it had then. Unless
    /// something else stops it, the work ends for the reason for which it ended.
    pub fn repeat(&mut self, undone: impl IntoIterator<Item = (TaskId, String)>, stop: StopReason) {
        for (task, reason) in undone {
            let entry = self.index.get(&task).and_then(|index| self.tasks.get_mut(*index));
            if let Some(entry) = entry.filter(|entry| entry.is_waiting()) {
                entry.progress = Progress::Skipped(reason);
            }
        }
        self.stop = stop;
    }
}
