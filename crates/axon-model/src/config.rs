//! Configuration of the language model: section `[model]`, the same for lead, worker and synthesizer. Values only.

use std::path::PathBuf;
use std::time::Duration;

use axon_service::Secret;
use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;

/// Who serves the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// There is no model.
    #[default]
    #[serde(alias = "")]
    None,
    /// Anthropic.
    Anthropic,
    /// OpenAI, or anything that speaks its Chat Completions protocol: give `base_url`.
    OpenAi,
    /// Ollama, through the same protocol.
    Ollama,
}

impl Provider {
    /// The value of a metric's label, and the name that the conventions for telemetry give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::None => "none",
            Provider::Anthropic => "anthropic",
            Provider::OpenAi => "openai",
            Provider::Ollama => "ollama",
        }
    }

    fn own_url(self) -> &'static str {
        match self {
            Provider::None => "",
            Provider::Anthropic => "https://api.anthropic.com",
            Provider::OpenAi => OPENAI_URL,
            Provider::Ollama => "http://127.0.0.1:11434/v1",
        }
    }
}

const OPENAI_URL: &str = "https://api.openai.com/v1";

/// Most tokens a reply can be allowed.
const OUTPUT_TOKENS_MAX: u64 = 128_000;
/// Most further tries that can be configured.
const RETRIES_MAX: u32 = 20;

/// The `[model]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Who serves it: `none`, `anthropic`, `openai` or `ollama`. Default: `none`, and nothing here is used.
    pub provider: Provider,
    /// The model, as its provider calls it. Default: none.
    pub name: String,
    /// Where the provider's protocol is served, such as `https://llm.example.org/v1`. Default: the provider's own address.
    pub base_url: String,
    /// The key. Give it by the environment: `AXON_MODEL__API_KEY`. Default: none.
    pub api_key: Secret,
    /// Most tokens of one reply, 256 to 128,000. Default: 2048.
    pub max_output_tokens: u64,
    /// A file of prices that comes before the built-in ones; see `crates/axon-model/prices.toml`. Default: none.
    pub prices: Option<PathBuf>,
    /// Milliseconds until a connection has to stand. Default: 5,000.
    pub connect_timeout_ms: u64,
    /// Milliseconds until a reply has to begin. Default: 60,000.
    pub first_byte_timeout_ms: u64,
    /// Milliseconds of silence after which a reply that began counts as broken. Default: 30,000.
    pub stall_timeout_ms: u64,
    /// Further tries of a call that the provider refused for a passing reason, 0 to 20. Default: 4.
    pub max_retries: u32,
    /// Failures in a row after which a key is left alone; 0 for never. Default: 5.
    pub breaker_threshold: u32,
    /// Seconds a key is left alone then. Default: 30.
    pub breaker_timeout_s: u64,
    /// A directory where all traffic with model and tools is recorded, contents of workspaces included. Default: none.
    pub record: Option<PathBuf>,
    /// A directory of such recordings that answers in place of model and tools; nothing is sent then. Default: none.
    pub replay: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Provider::None,
            name: String::new(),
            base_url: String::new(),
            api_key: Secret::default(),
            max_output_tokens: 2048,
            prices: None,
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 60_000,
            stall_timeout_ms: 30_000,
            max_retries: 4,
            breaker_threshold: 5,
            breaker_timeout_s: 30,
            record: None,
            replay: None,
        }
    }
}

/// Why there can be no model with this configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No model is named.
    #[error("model.provider is {0} and model.name is empty: name the model, for example with AXON_MODEL__NAME")]
    Name(&'static str),
    /// No key is given.
    #[error("model.provider is {0} and there is no key: give it in the environment as AXON_MODEL__API_KEY")]
    Key(&'static str),
    /// An address that cannot be one, or that holds a password.
    #[error("model.base_url has to begin with http:// or https:// and to hold no user: `{0}`")]
    Url(String),
    /// A number that cannot work.
    #[error("{key} is {value}: use {range}")]
    OutOfRange {
        /// The dotted key.
        key: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// Recording what is replayed helps nobody.
    #[error("model.record and model.replay are both set: set one of them")]
    RecordAndReplay,
}

impl Config {
    /// Whether there is a model.
    pub fn is_set(&self) -> bool {
        self.provider != Provider::None
    }

    /// Refuses what cannot work, each by its name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.is_set() {
            return Ok(());
        }
        let provider = self.provider.as_str();
        if self.name.trim().is_empty() {
            return Err(ConfigError::Name(provider));
        }
        let url = self.url();
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let authority = host.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            let shown = url.rsplit('@').next().unwrap_or_default();
            return Err(ConfigError::Url(shown.to_owned()));
        }
        let is_own = url == self.provider.own_url() && self.provider != Provider::Ollama;
        if is_own && self.api_key.is_empty() && self.replay.is_none() {
            return Err(ConfigError::Key(provider));
        }
        if self.record.is_some() && self.replay.is_some() {
            return Err(ConfigError::RecordAndReplay);
        }
        for (key, value, least, most, range) in [
            (
                "model.max_output_tokens",
                self.max_output_tokens,
                256,
                OUTPUT_TOKENS_MAX,
                "256 to 128000",
            ),
            (
                "model.connect_timeout_ms",
                self.connect_timeout_ms,
                1,
                u64::MAX,
                "1 or more",
            ),
            (
                "model.first_byte_timeout_ms",
                self.first_byte_timeout_ms,
                1,
                u64::MAX,
                "1 or more",
            ),
            (
                "model.stall_timeout_ms",
                self.stall_timeout_ms,
                1,
                u64::MAX,
                "1 or more",
            ),
            (
                "model.max_retries",
                self.max_retries.into(),
                0,
                RETRIES_MAX.into(),
                "0 to 20",
            ),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::OutOfRange { key, value, range });
            }
        }
        Ok(())
    }

    /// Where the provider's protocol is served, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        let given = self.base_url.trim().trim_end_matches('/');
        if given.is_empty() {
            self.provider.own_url()
        } else {
            given
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.provider {
            Provider::Anthropic => Dialect::Anthropic,
            _ => Dialect::OpenAi {
                completion_tokens: self.url() == OPENAI_URL,
            },
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn first_byte_timeout(&self) -> Duration {
        Duration::from_millis(self.first_byte_timeout_ms)
    }

    pub(crate) fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anthropic() -> Config {
        Config {
            provider: Provider::Anthropic,
            name: "claude-sonnet-4-5".to_owned(),
            api_key: "sk-secret".into(),
            ..Config::default()
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert_eq!(anthropic().validate(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = anthropic();
            change(&mut config);
            config.validate().expect_err("refused").to_string()
        };
        for (message, words) in [
            (refused(|c| c.name.clear()), "AXON_MODEL__NAME"),
            (refused(|c| c.api_key = Secret::default()), "AXON_MODEL__API_KEY"),
            (
                refused(|c| c.base_url = "llm.example.org".to_owned()),
                "llm.example.org",
            ),
            (refused(|c| c.max_output_tokens = 10), "model.max_output_tokens is 10"),
            (refused(|c| c.max_retries = 21), "model.max_retries is 21"),
            (refused(|c| c.stall_timeout_ms = 0), "model.stall_timeout_ms is 0"),
        ] {
            assert!(message.contains(words), "{message}");
        }
        let with_user = refused(|c| c.base_url = "https://me:hunter2@example.org/v1".to_owned());
        assert!(!with_user.contains("hunter2"), "{with_user}");
    }

    #[test]
    fn a_server_of_ones_own_needs_no_key() {
        let config = Config {
            provider: Provider::OpenAi,
            base_url: "http://127.0.0.1:8000/v1/".to_owned(),
            api_key: Secret::default(),
            ..anthropic()
        };
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.url(), "http://127.0.0.1:8000/v1");
    }

    #[test]
    fn the_key_is_never_shown() {
        let config = anthropic();
        for text in [
            format!("{config:?}"),
            serde_json::to_string(&config).expect("serialises"),
        ] {
            assert!(text.contains("***") && !text.contains("sk-secret"), "{text}");
        }
    }
}
