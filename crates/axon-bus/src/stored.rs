//! Values kept in place when small and by reference when large.

use std::sync::Arc;

use axon_protocol::{Format, Headers, ObjectBucket, Stored, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Bus, Error};

/// Largest payload that travels in a message, in bytes; a larger one is stored and referred to.
pub const INLINE_BYTES_MAX: usize = 256 * 1024;

impl Bus {
    /// Stores a value as an artifact if its encoding is larger than 256 KiB.
    pub async fn store<T: Serialize>(&self, value: Arc<T>) -> Result<Stored<T>, Error> {
        let encoded = encode(Format::Msgpack, &*value)?;
        if encoded.len() <= INLINE_BYTES_MAX {
            return Ok(Stored::Inline(value));
        }
        let bytes = encoded.len() as u64;
        let digest = self.objects(ObjectBucket::Artifacts).put(encoded.into()).await?;
        Ok(Stored::Reference { digest, bytes })
    }

    /// The value itself, read from the store of artifacts if need be.
    pub async fn load<T: DeserializeOwned>(&self, stored: Stored<T>) -> Result<Arc<T>, Error> {
        match stored {
            Stored::Inline(value) => Ok(value),
            Stored::Reference { digest, .. } => {
                let bytes = self.objects(ObjectBucket::Artifacts).get(&digest).await?;
                Ok(Arc::new(decode(&Headers::new(), &bytes)?))
            }
        }
    }
}
