//! The working memory of Cortex as the tools of this worker see it, with its counters.

use async_trait::async_trait;
use axon_memory::{Source, Wanted, WorkingMemory};
use axon_service::metrics::WORKING_MEMORY_CALLS_TOTAL;
use axon_tools::{Answer, MemorableCall, Memory, ToolError};
use futures::future::BoxFuture;
use metrics::{Counter, counter};
use serde_json::Value;

/// Answers calls from working memory.
pub(crate) struct Remembering {
    memory: WorkingMemory,
    made: Counter,
    local: Counter,
    shared: Counter,
}

impl Remembering {
    pub(crate) fn new(memory: WorkingMemory) -> Self {
        let counted = |source: &'static str| counter!(WORKING_MEMORY_CALLS_TOTAL, "source" => source);
        Self {
            memory,
            made: counted("made"),
            local: counted("local"),
            shared: counted("shared"),
        }
    }
}

#[async_trait]
impl Memory for Remembering {
    async fn answer(
        &self,
        call: &MemorableCall,
        waits: &(dyn Fn() + Send + Sync),
        make: BoxFuture<'_, Result<Value, ToolError>>,
    ) -> Answer {
        let wanted = Wanted {
            key: call.key.clone(),
            expected: call.expected,
            deadline: call.deadline,
        };
        let (result, source) = self.memory.answer(&wanted, waits, make).await;
        let (counter, remembered) = match source {
            Source::Made => (&self.made, None),
            Source::Local(took) => (&self.local, Some(took)),
            Source::Shared(took) => (&self.shared, Some(took)),
        };
        counter.increment(1);
        Answer { result, remembered }
    }
}
