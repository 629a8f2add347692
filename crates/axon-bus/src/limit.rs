//! The rate at which one process may publish. Publishers wait here; nothing is dropped.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// A token bucket that holds one second's worth; absent when there is no limit.
#[derive(Debug)]
pub(crate) struct PublishLimit(Option<DefaultDirectRateLimiter>);

impl PublishLimit {
    /// `per_second` of 0 is no limit.
    pub(crate) fn new(per_second: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|rate| RateLimiter::direct(Quota::per_second(rate))))
    }

    /// Waits until one more message may be published.
    pub(crate) async fn wait(&self) {
        if let Some(limiter) = &self.0 {
            limiter.until_ready().await;
        }
    }
}
