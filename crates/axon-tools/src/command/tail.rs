//! The end of what a program writes: all of it is read, so that it never waits, and the last bytes are kept.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The last bytes of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    kept: VecDeque<u8>,
    /// Bytes that came before those.
    dropped: u64,
}

impl Tail {
    /// Reads a stream to its end.
    pub(super) async fn read(mut stream: impl AsyncRead + Unpin, bytes_max: usize) -> Self {
        let mut tail = Self::default();
        let mut chunk = vec![0; 16 * 1024];
        // A stream that cannot be read has ended.
        while let Ok(bytes @ 1..) = stream.read(&mut chunk).await {
            tail.push(&chunk[..bytes], bytes_max);
        }
        tail
    }

    fn push(&mut self, bytes: &[u8], bytes_max: usize) {
        self.kept.extend(bytes);
        let excess = self.kept.len().saturating_sub(bytes_max);
        self.kept.drain(..excess);
        self.dropped += excess as u64;
    }

    /// As text, and how many bytes are missing before it.
    pub(super) fn into_text(self) -> (String, u64) {
        let Self { kept, dropped } = self;
        (String::from_utf8_lossy(&Vec::from(kept)).into_owned(), dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_kept_and_the_rest_is_counted() {
        for (text, bytes_max, expected) in [
            ("", 4, ("", 0)),
            ("abcd", 4, ("abcd", 0)),
            ("abcdef", 4, ("cdef", 2)),
            ("abcdef", 0, ("", 6)),
        ] {
            let (kept, dropped) = Tail::read(text.as_bytes(), bytes_max).await.into_text();
            assert_eq!((kept.as_str(), dropped), expected, "{text}");
        }
    }
}
