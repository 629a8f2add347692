//! The slot of one call among those of the process: given back while the call waits for somebody else who makes the same
//! one, and taken again before it is made here after all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A slot that a call has, or had.
pub(super) struct Slot {
    slots: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// A slot that is held.
    pub(super) fn new(slots: Arc<Semaphore>, held: OwnedSemaphorePermit) -> Self {
        Self {
            slots,
            held: Mutex::new(Some(held)),
        }
    }

    /// Leaves it to others.
    pub(super) fn give_back(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until it is held, behind those who were there before.
    pub(super) async fn hold(&self) {
        if self.is_held() {
            return;
        }
        // The slots of a process are never closed.
        if let Ok(slot) = self.slots.clone().acquire_owned().await {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
        }
    }

    fn is_held(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
