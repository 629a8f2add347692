//! Typed key-value tables with compare-and-set and watches.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use async_nats::jetstream::kv;
use axon_protocol::{Bucket, DecodeError, Format, Headers, decode, encode, header};
use axon_service::{RetryPolicy, retry_delay};
use futures::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::{Bus, Error};

/// A value with the revision it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// The key.
    pub key: String,
    /// The value; `None` once it was deleted.
    pub value: Option<T>,
    /// Revision for the next compare-and-set.
    pub revision: u64,
}

/// The handle to a bucket, opened once a connection: opening it asks the server.
pub(crate) type StoreCell = std::sync::Arc<OnceCell<kv::Store>>;

/// A table whose values are all of one type.
pub struct Table<T> {
    bus: Bus,
    bucket: Bucket,
    store: StoreCell,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            bucket: self.bucket,
            store: self.store.clone(),
            kind: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// A table over a bucket.
    pub fn table<T>(&self, bucket: Bucket) -> Table<T> {
        Table {
            bus: self.clone(),
            bucket,
            store: self.inner.stores.get(&bucket).cloned().unwrap_or_default(),
            kind: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    async fn store(&self) -> Result<&kv::Store, Error> {
        let name = self.bus.namespace().bucket(self.bucket);
        self.store
            .get_or_try_init(|| async {
                self.bus
                    .inner
                    .js
                    .get_key_value(&name)
                    .await
                    .map_err(|error| Error::opening(&name, &error))
            })
            .await
    }

    /// People read most buckets with their own tools, so those are JSON; plans are many and large.
    fn format(&self) -> Format {
        if self.bucket == Bucket::Plans {
            Format::Msgpack
        } else {
            Format::Json
        }
    }

    fn encoded(&self, value: &T) -> Result<bytes::Bytes, Error> {
        Ok(encode(self.format(), value)?.into())
    }

    /// The first byte tells the format of an object only: a number in JSON would be read as another one in MessagePack.
    fn decoded(&self, payload: &[u8]) -> Result<T, DecodeError> {
        let content_type = self.format().content_type().to_owned();
        decode(
            &Headers::from([(header::CONTENT_TYPE.to_owned(), content_type)]),
            payload,
        )
    }

    fn what(&self, key: &str) -> String {
        format!("the key `{key}` of {}", self.bus.namespace().bucket(self.bucket))
    }

    /// The value of a key; `None` where there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Entry<T>>, Error> {
        let entry = self
            .store()
            .await?
            .entry(key)
            .await
            .map_err(|error| Error::server(self.what(key), error))?;
        match entry {
            Some(entry) if entry.operation == kv::Operation::Put => Ok(Some(Entry {
                key: entry.key,
                value: Some(self.decoded(&entry.value)?),
                revision: entry.revision,
            })),
            _ => Ok(None),
        }
    }

    /// Sets a key whatever it holds. Returns its revision.
    pub async fn put(&self, key: &str, value: &T) -> Result<u64, Error> {
        let payload = self.encoded(value)?;
        self.store()
            .await?
            .put(key, payload)
            .await
            .map_err(|error| Error::server(self.what(key), error))
    }

    /// Sets a key that must not exist; [`Error::Conflict`] if it does.
    pub async fn create(&self, key: &str, value: &T) -> Result<u64, Error> {
        let payload = self.encoded(value)?;
        self.store()
            .await?
            .create(key, payload)
            .await
            .map_err(|error| match error.kind() {
                kv::CreateErrorKind::AlreadyExists => Error::Conflict { key: key.to_owned() },
                _ => Error::server(self.what(key), error),
            })
    }

    /// Sets a key that must still have a revision; [`Error::Conflict`] if it changed.
    pub async fn update(&self, key: &str, value: &T, revision: u64) -> Result<u64, Error> {
        let payload = self.encoded(value)?;
        self.store()
            .await?
            .update(key, payload, revision)
            .await
            .map_err(|error| match error.kind() {
                kv::UpdateErrorKind::WrongLastRevision => Error::Conflict { key: key.to_owned() },
                _ => Error::server(self.what(key), error),
            })
    }

    /// Changes a key by compare-and-set until no other writer interferes. `change` gets what is there, if anything, and
    /// may be called several times; `None` leaves the key as it is.
    pub async fn modify(&self, key: &str, mut change: impl FnMut(Option<T>) -> Option<T>) -> Result<(), Error> {
        loop {
            let current = self.get(key).await?;
            let revision = current.as_ref().map(|entry| entry.revision);
            let Some(value) = change(current.and_then(|entry| entry.value)) else {
                return Ok(());
            };
            let outcome = match revision {
                Some(revision) => self.update(key, &value, revision).await,
                None => self.create(key, &value).await,
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.store()
            .await?
            .delete(key)
            .await
            .map_err(|error| Error::server(self.what(key), error))
    }

    /// Deletes a key that must still have a revision; [`Error::Conflict`] if it changed.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<(), Error> {
        let deleted = self.store().await?.delete_expect_revision(key, Some(revision)).await;
        deleted.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => Error::Conflict { key: key.to_owned() },
            _ => Error::server(self.what(key), error),
        })
    }

    /// Every key with its value. A value that cannot be read is left out and logged.
    pub async fn all(&self) -> Result<BTreeMap<String, T>, Error> {
        let store = self.store().await?;
        let bucket = self.bus.namespace().bucket(self.bucket);
        let listing = |error| Error::server(format!("listing {bucket}"), error);
        // Not the client's own listing of keys: it follows a consumer and ends without a key that changes meanwhile.
        let mut subjects = store
            .stream
            .info_with_subjects(format!("{}>", store.prefix))
            .await
            .map_err(listing)?;
        let mut names = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(listing)?;
            names.extend(subject.strip_prefix(&store.prefix).map(str::to_owned));
        }
        let mut all = BTreeMap::new();
        for key in names {
            match self.get(&key).await {
                Ok(Some(Entry { value: Some(value), .. })) => {
                    all.insert(key, value);
                }
                Ok(_) => {}
                Err(Error::Decode(error)) => warn!(bucket, key, %error, "left out a value that cannot be read"),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Everything the table holds now and what becomes of it from then on. A change that is overtaken by the next one of
    /// the same key may be left out; the last one never is.
    pub async fn watch(&self) -> Result<Watch<T>, Error> {
        Ok(Watch {
            inner: self.changes().await?,
            table: self.clone(),
            failures: 0,
        })
    }

    async fn changes(&self) -> Result<kv::Watch, Error> {
        let bucket = self.bus.namespace().bucket(self.bucket);
        self.store()
            .await?
            .watch_with_history(">")
            .await
            .map_err(|error| Error::server(format!("watching {bucket}"), error))
    }
}

/// A stream of changes of a table.
pub struct Watch<T> {
    inner: kv::Watch,
    table: Table<T>,
    failures: u32,
}

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned> Watch<T> {
    /// The next change. A watch that breaks, as it does when the server restarts, is opened again and then tells
    /// everything the table holds once more. Expiry by age is not told: who needs it keeps a clock of his own.
    pub async fn next(&mut self) -> Option<Entry<T>> {
        loop {
            let entry = match self.inner.next().await {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    warn!(table = ?self.table, %error, "a watch failed");
                    self.open_again().await;
                    continue;
                }
                None => {
                    self.open_again().await;
                    continue;
                }
            };
            self.failures = 0;
            if entry.operation != kv::Operation::Put {
                return Some(Entry {
                    key: entry.key,
                    value: None,
                    revision: entry.revision,
                });
            }
            match self.table.decoded(&entry.value) {
                Ok(value) => {
                    return Some(Entry {
                        key: entry.key,
                        value: Some(value),
                        revision: entry.revision,
                    });
                }
                Err(error) => {
                    warn!(table = ?self.table, key = entry.key, %error, "left out a value that cannot be read");
                }
            }
        }
    }

    async fn open_again(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(retry_delay(RetryPolicy::QUICK, self.failures)).await;
        match self.table.changes().await {
            Ok(changes) => self.inner = changes,
            Err(error) => warn!(table = ?self.table, %error, "cannot open a watch again"),
        }
    }
}
