//! The text of a file with its lines and its digest, and a small cache of such texts.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axon_protocol::Digest;

/// Bytes of text a workspace keeps in memory.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The text of one file.
#[derive(Debug)]
pub struct FileText {
    text: String,
    /// The bytes of the file where they are no UTF-8.
    raw: Option<Vec<u8>>,
    /// Where each line starts.
    starts: OnceLock<Vec<u32>>,
    digest: OnceLock<Digest>,
}

impl FileText {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let (text, raw) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => (
                String::from_utf8_lossy(error.as_bytes()).into_owned(),
                Some(error.into_bytes()),
            ),
        };
        Self {
            text,
            raw,
            starts: OnceLock::new(),
            digest: OnceLock::new(),
        }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Number of lines.
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.starts().len()).unwrap_or(u32::MAX)
    }

    /// One line without its line break, counted from 1.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.lines(number, number)
    }

    /// The lines from `first` to `last` word for word, counted from 1, without the last one's line break. `None` where
    /// they are not all there.
    pub fn lines(&self, first: u32, last: u32) -> Option<&str> {
        let starts = self.starts();
        if first == 0 || last < first {
            return None;
        }
        let start = *starts.get(first as usize - 1)? as usize;
        starts.get(last as usize - 1)?;
        let end = starts.get(last as usize).map_or(self.text.len(), |next| *next as usize);
        let lines = &self.text[start..end];
        Some(
            lines
                .strip_suffix("\r\n")
                .or_else(|| lines.strip_suffix('\n'))
                .unwrap_or(lines),
        )
    }

    /// The number of the line that holds the byte at `offset` of the text, counted from 1.
    pub fn line_at(&self, offset: usize) -> u32 {
        let before = self.starts().partition_point(|start| *start as usize <= offset);
        u32::try_from(before.max(1)).unwrap_or(u32::MAX)
    }

    /// The digest of the file's bytes.
    pub fn digest(&self) -> &Digest {
        self.digest
            .get_or_init(|| Digest::of(self.raw.as_deref().unwrap_or(self.text.as_bytes())))
    }

    fn starts(&self) -> &[u32] {
        self.starts.get_or_init(|| {
            let breaks = self
                .text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1);
            std::iter::once(0)
                .chain(breaks)
                .filter(|start| *start < self.text.len())
                // Files are far below 4 GiB: see `FILE_BYTES_MAX`.
                .map(|start| start as u32)
                .collect()
        })
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.raw.as_ref().map_or(0, Vec::len)
    }
}

/// Texts by path, the least recently used ones given up first.
#[derive(Debug, Default)]
pub(super) struct TextCache {
    texts: HashMap<String, (u64, Arc<FileText>)>,
    bytes: usize,
    clock: u64,
}

impl TextCache {
    pub(super) fn get(&mut self, path: &str) -> Option<Arc<FileText>> {
        self.clock += 1;
        let (used, text) = self.texts.get_mut(path)?;
        *used = self.clock;
        Some(text.clone())
    }

    pub(super) fn insert(&mut self, path: String, text: Arc<FileText>) {
        self.clock += 1;
        self.bytes += text.bytes();
        if let Some((_, old)) = self.texts.insert(path, (self.clock, text)) {
            self.bytes -= old.bytes();
        }
        if self.bytes <= TEXT_BYTES_MAX {
            return;
        }
        // Down to half at once, so that not every further file pays for the search.
        let mut by_age: Vec<(u64, String)> = self
            .texts
            .iter()
            .map(|(path, (used, _))| (*used, path.clone()))
            .collect();
        by_age.sort_unstable();
        for (_, path) in by_age {
            if self.bytes <= TEXT_BYTES_MAX / 2 {
                break;
            }
            if let Some((_, text)) = self.texts.remove(&path) {
                self.bytes -= text.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_out_word_for_word() {
        let text = "one\r\ntwo\n\nfour";
        for (first, last, expected) in [
            (1, 1, Some("one")),
            (1, 2, Some("one\r\ntwo")),
            (2, 3, Some("two\n")),
            (3, 3, Some("")),
            (3, 4, Some("\nfour")),
            (4, 4, Some("four")),
            (4, 5, None),
            (5, 5, None),
            (0, 1, None),
            (2, 1, None),
        ] {
            assert_eq!(
                FileText::new(text.into()).lines(first, last),
                expected,
                "{first}-{last}"
            );
        }
        for (text, count) in [("", 0), ("a", 1), ("a\n", 1), ("\n\n", 2), ("a\nb", 2)] {
            let text = FileText::new(text.into());
            assert_eq!(text.line_count(), count);
            assert_eq!(
                text.line_count(),
                super::super::manifest::count_lines(text.as_str().as_bytes())
            );
        }
    }

    #[test]
    fn an_offset_finds_its_line() {
        let text = FileText::new(b"ab\nc\n".to_vec());
        let lines: Vec<u32> = (0..6).map(|offset| text.line_at(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn the_digest_is_of_the_bytes_even_if_they_are_no_text() {
        let bytes = vec![b'a', 0xff, b'\n'];
        let text = FileText::new(bytes.clone());
        assert_eq!(text.as_str(), "a\u{fffd}\n");
        assert_eq!(*text.digest(), Digest::of(&bytes));
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_was_used_last() {
        let mut cache = TextCache::default();
        let file = || Arc::new(FileText::new(vec![b'x'; TEXT_BYTES_MAX / 4]));
        for path in ["a", "b", "c", "d"] {
            cache.insert(path.to_owned(), file());
        }
        assert!(cache.get("a").is_some());
        cache.insert("e".to_owned(), file());
        let kept: Vec<&str> = ["a", "b", "c", "d", "e"]
            .into_iter()
            .filter(|path| cache.texts.contains_key(*path))
            .collect();
        assert_eq!(kept, ["a", "e"]);
        cache.insert("e".to_owned(), file());
        assert_eq!(
            cache.bytes,
            cache.texts.values().map(|(_, text)| text.bytes()).sum::<usize>()
        );
    }
}
