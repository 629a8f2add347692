//! Reads what a NATS client says, frame by frame, so that a wire can be stopped at one message and not somewhere near it.
//! It changes nothing: the bytes of the frames are the bytes that came.

/// What is taken for the rest of a frame's head before the stream is given up as foreign.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One frame as a client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// Where it is published; `None` where it publishes nothing.
    pub subject: Option<String>,
    /// What is published, headers first.
    pub content: Vec<u8>,
}

impl Frame {
    /// Whether it is published to a subject that begins with `subject` and what is published begins with `content`.
    pub fn publishes(&self, subject: &str, content: &str) -> bool {
        self.subject.as_deref().is_some_and(|own| own.starts_with(subject))
            && self.content.starts_with(content.as_bytes())
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Frames {
    waiting: Vec<u8>,
}

impl Frames {
    /// Takes in bytes and gives the frames they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.waiting.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut start = 0;
        while let Some(frame) = next(&self.waiting[start..]) {
            start += frame.bytes.len();
            frames.push(frame);
        }
        self.waiting.drain(..start);
        frames
    }
}

fn next(bytes: &[u8]) -> Option<Frame> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        assert!(bytes.len() < LINE_BYTES_MAX, "no client of NATS talks like this");
        return None;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let words: Vec<&str> = head.split_ascii_whitespace().collect();
    let verb = words.first().copied().unwrap_or_default().to_ascii_uppercase();
    let body = end + 2;
    if verb != "PUB" && verb != "HPUB" {
        return Some(Frame {
            bytes: bytes[..body].to_vec(),
            subject: None,
            content: Vec::new(),
        });
    }
    let size: usize = words.last()?.parse().expect("a publish ends with its size");
    let whole = body + size + 2;
    (bytes.len() >= whole).then(|| Frame {
        bytes: bytes[..whole].to_vec(),
        subject: words.get(1).map(|subject| (*subject).to_owned()),
        content: bytes[body..body + size].to_vec(),
    })
}
