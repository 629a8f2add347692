//! Splits a stream of bytes into server-sent events: only their data, as the dialects need nothing else. Pure.

/// Most bytes of one event.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// An event is larger than any reply should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct TooLarge;

/// What has arrived and is no whole event yet.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: String,
}

impl Events {
    /// The data of each event that these bytes complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut complete = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                    return Err(TooLarge);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                if !self.data.is_empty() {
                    complete.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                let data = data.strip_prefix(b" ").unwrap_or(data);
                self.data.push_str(&String::from_utf8_lossy(data));
            }
        }
        Ok(complete)
    }

    /// The data of an event that the end of the stream left without its empty line.
    pub(crate) fn rest(mut self) -> Option<String> {
        // A line without its end is fed one, and the event its empty line.
        let last = self.feed(b"\n\n").ok()?;
        last.into_iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let stream = "event: a\ndata: {\"x\":\r\ndata: \"ä\"}\r\n\r\n: comment\n\ndata:[DONE]\n\ndata: cut";
        let expected = ["{\"x\":\n\"ä\"}", "[DONE]"];
        for step in 1..stream.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(step) {
                found.extend(events.feed(piece).expect("small"));
            }
            assert_eq!(found, expected, "in pieces of {step}");
            assert_eq!(events.rest().as_deref(), Some("cut"));
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        assert_eq!(events.feed(&piece), Ok(Vec::new()));
        assert_eq!(events.feed(&piece), Err(TooLarge));
    }
}
