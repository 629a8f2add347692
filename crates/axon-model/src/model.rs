//! What a model is to those who use one, and the one that a configuration names.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::client::Client;
use crate::tape::{Tape, TapeError};
use crate::{Config, ConfigError, Error, Pauses, Price, PriceError, Prices, Provider, Reply, Request};

/// Something that replies to a conversation.
#[async_trait]
pub trait Model: Send + Sync {
    /// The next turn, by `until` at the latest. A reply that is dropped at an await point is given up.
    async fn reply(&self, request: &Request, until: Instant) -> Result<Reply, Error>;
}

/// Why there is no model although one is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no price.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The recordings cannot be used.
    #[error(transparent)]
    Tape(#[from] TapeError),
}

/// The model that a configuration names, with what it costs. Clones share everything.
#[derive(Clone)]
pub struct LanguageModel {
    provider: Provider,
    name: String,
    price: Price,
    output_tokens_max: u64,
    model: Arc<dyn Model>,
    tape: Tape,
}

impl LanguageModel {
    /// The configured model; `None` where there is none. Nothing is connected before its first call.
    pub fn open(config: &Config, pauses: Arc<dyn Pauses>) -> Result<Option<Self>, OpenError> {
        config.validate()?;
        if !config.is_set() {
            return Ok(None);
        }
        let price = Prices::open(config.prices.as_deref())?.of(config.provider, &config.name)?;
        let tape = Tape::open(config)?;
        let client = Client::new(config, price, pauses);
        Ok(Some(Self {
            provider: config.provider,
            name: config.name.clone(),
            price,
            output_tokens_max: config.max_output_tokens,
            model: Arc::new(client),
            tape,
        }))
    }

    /// The next turn of a conversation, by `until` at the latest; from a recording where one is played.
    pub async fn reply(&self, request: &Request, until: Instant) -> Result<Reply, Error> {
        if let Some(recorded) = self.tape.reply(request) {
            return recorded;
        }
        let outcome = self.model.reply(request, until).await;
        self.tape.record_reply(request, &outcome);
        outcome
    }

    /// The provider's name for it, with the provider.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.provider.as_str())
    }

    /// What it costs.
    pub fn price(&self) -> &Price {
        &self.price
    }

    /// Most tokens of one reply.
    pub fn output_tokens_max(&self) -> u64 {
        self.output_tokens_max
    }

    /// What is recorded or played.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("provider", &self.provider)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
