//! Reading what a stream holds to its end, a page at a time: it may be more than anybody wants to hold at once.

use axon_protocol::Stream;

use crate::{Bus, Error, StoredMessage};

/// Messages that are held at once.
const PAGE: usize = 1_000;

/// The messages of a stream that match a filter, oldest first.
#[derive(Debug)]
pub struct Pages<'a> {
    bus: &'a Bus,
    stream: Stream,
    filter: &'a str,
    /// The sequence to go on from; none at the end.
    from: Option<u64>,
}

impl Bus {
    /// Reads what matches `filter` from the beginning.
    pub fn pages<'a>(&'a self, stream: Stream, filter: &'a str) -> Pages<'a> {
        Pages {
            bus: self,
            stream,
            filter,
            from: Some(0),
        }
    }
}

impl Pages<'_> {
    /// The next messages; none at the end. After an error the same page is read again.
    pub async fn next(&mut self) -> Result<Vec<StoredMessage>, Error> {
        let Some(from) = self.from else {
            return Ok(Vec::new());
        };
        let page = self.bus.messages(self.stream, self.filter, from, PAGE).await?;
        // Where there was more, the page is full.
        let full = page.last().filter(|_| page.len() == PAGE);
        self.from = full.map(|last| last.sequence + 1);
        Ok(page)
    }
}
