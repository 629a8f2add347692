//! Objects by digest: what is too large for a message. An object is stored once and checked when it is read.

use axon_protocol::{Digest, ObjectBucket};
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use crate::{Bus, Error};

/// Largest object that is read into memory, in bytes.
const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// An object store.
#[derive(Debug, Clone)]
pub struct Objects {
    bus: Bus,
    bucket: ObjectBucket,
}

impl Bus {
    /// The objects of a bucket.
    pub fn objects(&self, bucket: ObjectBucket) -> Objects {
        Objects {
            bus: self.clone(),
            bucket,
        }
    }
}

impl Objects {
    fn name(&self) -> String {
        self.bus.namespace().objects(self.bucket)
    }

    async fn store(&self) -> Result<async_nats::jetstream::object_store::ObjectStore, Error> {
        let name = self.name();
        self.bus
            .inner
            .js
            .get_object_store(&name)
            .await
            .map_err(|error| Error::opening(&name, &error))
    }

    /// Stores bytes under their digest, unless they are there already.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let store = self.store().await?;
        if store
            .info(digest.hex())
            .await
            .is_ok_and(|info| info.size == bytes.len() && !info.deleted)
        {
            return Ok(digest);
        }
        store
            .put(digest.hex(), &mut bytes.as_ref())
            .await
            .map_err(|error| Error::server(format!("storing {digest} in {}", self.name()), error))?;
        Ok(digest)
    }

    /// Whether an object is there.
    pub async fn contains(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self
            .store()
            .await?
            .info(digest.hex())
            .await
            .is_ok_and(|info| !info.deleted))
    }

    /// Removes an object. `false` where there was none.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        if !self.contains(digest).await? {
            return Ok(false);
        }
        let removed = self.store().await?.delete(digest.hex()).await;
        removed
            .map(|()| true)
            .map_err(|error| Error::server(format!("removing {digest} from {}", self.name()), error))
    }

    /// Reads an object and checks its digest.
    pub async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        use async_nats::jetstream::object_store::GetErrorKind;
        let store = self.store().await?;
        let object = store.get(digest.hex()).await.map_err(|error| match error.kind() {
            GetErrorKind::NotFound => Error::NoObject {
                name: digest.to_string(),
                store: self.name(),
            },
            _ => Error::server(format!("reading {digest} from {}", self.name()), error),
        })?;
        let mut bytes = Vec::with_capacity(object.info().size.min(64 << 20));
        let read = object.take(OBJECT_BYTES_MAX).read_to_end(&mut bytes).await;
        let damaged = || Error::Damaged {
            expected: digest.clone(),
            store: self.name(),
        };
        match read {
            Ok(_) if Digest::of(&bytes) == *digest => Ok(bytes.into()),
            Ok(_) => Err(damaged()),
            // So the client says that it is not what the store meant it to be.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(damaged()),
            Err(error) => Err(Error::server(format!("reading {digest} from {}", self.name()), error)),
        }
    }
}
