//! A model behind HTTP as everybody uses it: tries again what may pass, keeps off a key that fails or is paused, and tells
//! the fleet when a key has to pause. What a failed try may have cost is never tried again here: that is its caller's money.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axon_service::breaker::Breaker;
use axon_service::retry::{RetryPolicy, retry_delay};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, warn};

use crate::http::Endpoint;
use crate::pause::{KeyId, Pauses};
use crate::{Config, Error, ErrorKind, Model, Price, Provider, Reply, Request, telemetry};

/// Longest pause of a key: what a provider asks for beyond that is asked for again.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Delays between two tries where the provider names none.
const RETRIES: RetryPolicy = RetryPolicy {
    initial: Duration::from_millis(500),
    factor: 2.0,
    delay_max: Duration::from_secs(30),
    jitter: 0.2,
};

pub(crate) struct Client {
    provider: Provider,
    name: String,
    endpoint: Endpoint,
    price: Price,
    key: KeyId,
    breaker: Mutex<Breaker>,
    pauses: Arc<dyn Pauses>,
    /// The pause that this process knows of itself, should the fleet not be reached.
    paused_until: Mutex<Option<DateTime<Utc>>>,
    max_retries: u32,
}

impl Client {
    pub(crate) fn new(config: &Config, price: Price, pauses: Arc<dyn Pauses>) -> Self {
        let breaker_timeout = Duration::from_secs(config.breaker_timeout_s);
        Self {
            provider: config.provider,
            name: config.name.clone(),
            endpoint: Endpoint::new(config),
            price,
            key: KeyId::of(config.url(), config.api_key.expose()),
            breaker: Mutex::new(Breaker::new(config.breaker_threshold, breaker_timeout)),
            pauses,
            paused_until: Mutex::new(None),
            max_retries: config.max_retries,
        }
    }

    /// Waits until the key may be used.
    async fn wait_for_key(&self, until: Instant) -> Result<(), Error> {
        loop {
            let own = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(paused) = own.max(self.pauses.until(&self.key).await) else {
                return Ok(());
            };
            let left = (paused - Utc::now()).to_std().unwrap_or_default().min(PAUSE_MAX);
            if left.is_zero() {
                return Ok(());
            }
            let over = Instant::now() + left;
            if over >= until {
                let message = format!("the key of the model is paused for {} s more", left.as_secs().max(1));
                return Err(Error::free(ErrorKind::Limited, message));
            }
            sleep_until(over).await;
        }
    }

    fn admit(&self) -> Result<(), Error> {
        let admitted = self.with_breaker(|breaker| breaker.admit(std::time::Instant::now()));
        admitted.map_err(|wait| {
            let seconds = wait.as_secs().max(1);
            let message = format!("the model failed too often in a row and is left alone for {seconds} s");
            Error::free(ErrorKind::Unavailable, message)
        })
    }

    fn with_breaker<R>(&self, use_it: impl FnOnce(&mut Breaker) -> R) -> R {
        // A breaker is always consistent, so a panic of another holder is no reason to stop.
        use_it(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn pause(&self, delay: Duration) {
        let delay = TimeDelta::from_std(delay.min(PAUSE_MAX)).unwrap_or_default();
        let until = Utc::now() + delay;
        {
            let mut own = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            *own = (*own).max(Some(until));
        }
        self.pauses.pause(&self.key, until).await;
    }

    async fn try_once(&self, request: &Request, until: Instant) -> Result<Reply, Error> {
        let span = telemetry::span(self.provider, &self.name, request.output_tokens_max);
        let started = Instant::now();
        let outcome = self.endpoint.send(request, until).instrument(span.clone()).await;
        telemetry::record(&span, self.provider, started.elapsed(), &self.price, &outcome);
        match outcome.as_ref().map_err(|error| error.kind) {
            // A key that is limited or refused has a provider that answers.
            Ok(_) | Err(ErrorKind::Limited | ErrorKind::Rejected) => self.with_breaker(Breaker::succeeded),
            Err(ErrorKind::Unavailable | ErrorKind::Broken) => {
                self.with_breaker(|breaker| breaker.failed(std::time::Instant::now()));
            }
            Err(ErrorKind::OutOfTime) => {}
        }
        outcome
    }
}

#[async_trait]
impl Model for Client {
    async fn reply(&self, request: &Request, until: Instant) -> Result<Reply, Error> {
        let mut tries = 0;
        loop {
            self.wait_for_key(until).await?;
            self.admit()?;
            tries += 1;
            let error = match self.try_once(request, until).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let delay = error.retry_after.unwrap_or_else(|| retry_delay(RETRIES, tries));
            if error.kind == ErrorKind::Limited {
                self.pause(delay).await;
            }
            let again = Instant::now() + delay;
            if !error.kind.may_pass() || tries > self.max_retries || again >= until {
                return Err(error);
            }
            warn!(model = self.name, tries, %error, delay_ms = delay.as_millis() as u64, "trying the model again");
            sleep_until(again).await;
        }
    }
}
