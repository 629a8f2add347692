//! Pauses of keys: when a provider limits a key, everybody who uses it waits. A key is known by a digest, never by itself.

use std::fmt;

use async_trait::async_trait;
use axon_bus::{Bus, Table};
use axon_protocol::{Bucket, Digest, KeyPause};
use chrono::{DateTime, Utc};
use tracing::debug;

/// Which key it is, without being it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

/// Hexadecimal digits of the digest that name a key.
const DIGITS: usize = 32;

impl KeyId {
    /// The name of a key at an address.
    pub(crate) fn of(url: &str, key: &str) -> Self {
        let digest = Digest::of(format!("axon model key\n{url}\n{key}").as_bytes());
        Self(digest.hex().chars().take(DIGITS).collect())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where pauses are told and heard.
#[async_trait]
pub trait Pauses: Send + Sync {
    /// Until when a key is paused, as far as is known.
    async fn until(&self, key: &KeyId) -> Option<DateTime<Utc>>;

    /// Tells that a key is paused. A later end that was told before stays.
    async fn pause(&self, key: &KeyId, until: DateTime<Utc>);
}

/// The pauses of a fleet, in its bucket of what expires. Without a connection nothing is told and nothing is heard: every
/// process then finds out for itself.
pub struct FleetPauses(Table<KeyPause>);

impl FleetPauses {
    /// The pauses of the fleet behind a connection.
    pub fn new(bus: &Bus) -> Self {
        Self(bus.table(Bucket::Working))
    }
}

#[async_trait]
impl Pauses for FleetPauses {
    async fn until(&self, key: &KeyId) -> Option<DateTime<Utc>> {
        match self.0.get(&KeyPause::key(&key.0)).await {
            Ok(entry) => entry.and_then(|entry| entry.value).map(|pause| pause.until),
            Err(error) => {
                debug!(%key, %error, "cannot ask whether a key is paused");
                None
            }
        }
    }

    async fn pause(&self, key: &KeyId, until: DateTime<Utc>) {
        let later = |known: Option<KeyPause>| match known {
            Some(known) if known.until >= until => None,
            _ => Some(KeyPause { until }),
        };
        if let Err(error) = self.0.modify(&KeyPause::key(&key.0), later).await {
            debug!(%key, %error, "cannot tell that a key is paused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_without_being_told() {
        let one = KeyId::of("https://a", "sk-secret-1");
        assert_ne!(one, KeyId::of("https://a", "sk-secret-2"));
        assert_ne!(one, KeyId::of("https://b", "sk-secret-1"));
        assert_eq!(one, KeyId::of("https://a", "sk-secret-1"));
        assert_eq!(one.to_string().len(), DIGITS);
        assert!(!format!("{one:?} {one}").contains("secret"));
    }
}
