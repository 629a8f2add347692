//! A stream that may give so many bytes and no more, whatever its source claims.

use std::io::{self, Read};

/// Marks the error of [`Limited`] on its way through the tar reader.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes came out of it")]
pub(super) struct LimitExceeded(pub(super) u64);

/// Ends the stream with an error when too much has come out of it.
pub(super) struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(LimitExceeded(self.limit)))?;
        Ok(read)
    }
}

impl<R> Limited<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            left: limit,
            limit,
        }
    }
}
