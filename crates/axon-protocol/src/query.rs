//! A query as its publisher writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DecodeError, Digest, Format, Headers, OutputFormat, PRIORITY_DEFAULT, PRIORITY_MAX, PlanRequest, QueryId, decode,
};

/// Longest text of a query, in bytes.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;
/// Longest time a query may ask for, in seconds.
pub const DEADLINE_S_MAX: u64 = 24 * 60 * 60;

/// What a query may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// Tokens of a language model, input and output together.
    pub tokens: u64,
    /// Price in US cents.
    pub cents: u64,
}

impl Budget {
    /// Whether it allows nothing that costs.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The earlier query that a query repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Its id. Its plan is followed again, and the recorded results of its tasks are taken as the results of the new ones.
    pub of: QueryId,
}

/// A question, and what its asker wants to fix about how it is answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// The question: 1 byte to 64 KiB.
    pub query: String,
    /// Digest of a packed workspace in the store of workspaces; the fleet's configured one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Digest>,
    /// Groups queries that belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Seconds until the answer is wanted; the complexity's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    /// What it may cost; the complexity's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// 1 (lowest) to 10 (highest); 5 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How the text of the answer is written.
    #[serde(default)]
    pub output_format: OutputFormat,
    /// The asker's own plan: analysis is skipped, validation is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRequest>,
    /// The strategy to follow; the one that fits best if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Repeats an earlier query from what was recorded of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// Why a message is not a query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The payload cannot be decoded.
    #[error("the query cannot be read: {0}. Publish plain text, or JSON with the field `query`")]
    Decode(#[from] DecodeError),
    /// There is no question.
    #[error("the query is empty: write what you want to know")]
    Empty,
    /// The question holds neither a letter nor a digit.
    #[error("the query holds no word: write what you want to know")]
    NoWord,
    /// The question is too long.
    #[error("the query has {0} bytes, {QUERY_BYTES_MAX} at most: put long material into the workspace")]
    TooLong(usize),
    /// A priority outside 1 to 10.
    #[error("the priority {0} is out of range: use 1 to {PRIORITY_MAX}")]
    Priority(u8),
    /// A deadline outside 1 s to a day.
    #[error("the deadline of {0} s is out of range: use 1 to {DEADLINE_S_MAX}")]
    Deadline(u64),
    /// Fields that say different things about the plan.
    #[error("`{0}` and `{1}` exclude each other, because each says which plan is followed: leave one out")]
    Contradiction(&'static str, &'static str),
}

impl Query {
    /// A question with nothing else fixed.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            ..Self::default()
        }
    }

    /// Reads a published payload: MessagePack or JSON, or any other UTF-8 text, which is the question itself.
    /// Also tells the format the answer should have: JSON when the query came as JSON or text.
    pub fn parse(headers: &Headers, payload: &[u8]) -> Result<(Self, Format), QueryError> {
        let format = Format::detect(headers, payload);
        let (query, answer) = match (decode::<Query>(headers, payload), std::str::from_utf8(payload)) {
            (Ok(query), _) => (query, format),
            // A text that says it is MessagePack, or begins like JSON, is a broken message and not a question.
            (Err(DecodeError::Msgpack(_)), Ok(text)) if !headers.contains_key(crate::header::CONTENT_TYPE) => {
                (Query::new(text), Format::Json)
            }
            (Err(DecodeError::Msgpack(_)), Ok(text))
                if headers
                    .get(crate::header::CONTENT_TYPE)
                    .is_some_and(|given| given.starts_with("text/")) =>
            {
                (Query::new(text), Format::Json)
            }
            (Err(error), _) => return Err(error.into()),
        };
        query.check()?;
        let wanted = headers
            .get(crate::header::ACCEPT)
            .and_then(|text| Format::from_content_type(text));
        Ok((query, wanted.unwrap_or(answer)))
    }

    /// Checks the limits that hold for every query.
    pub fn check(&self) -> Result<(), QueryError> {
        if self.query.trim().is_empty() {
            return Err(QueryError::Empty);
        }
        // A plan says itself what is to be done.
        if self.plan.is_none() && !self.query.contains(char::is_alphanumeric) {
            return Err(QueryError::NoWord);
        }
        if self.query.len() > QUERY_BYTES_MAX {
            return Err(QueryError::TooLong(self.query.len()));
        }
        if let Some(priority) = self.priority.filter(|priority| !(1..=PRIORITY_MAX).contains(priority)) {
            return Err(QueryError::Priority(priority));
        }
        let fixing = [
            ("plan", self.plan.is_some()),
            ("strategy", self.strategy.is_some()),
            ("replay", self.replay.is_some()),
        ];
        let fixed: Vec<&str> = fixing
            .iter()
            .filter(|(_, fixes)| *fixes)
            .map(|(name, _)| *name)
            .collect();
        if let [first, second, ..] = fixed.as_slice() {
            return Err(QueryError::Contradiction(first, second));
        }
        match self
            .deadline_s
            .filter(|deadline| !(1..=DEADLINE_S_MAX).contains(deadline))
        {
            Some(deadline) => Err(QueryError::Deadline(deadline)),
            None => Ok(()),
        }
    }

    /// The priority, 5 unless given.
    pub fn priority(&self) -> u8 {
        self.priority.unwrap_or(PRIORITY_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode, header};

    fn parse(pairs: &[(&str, &str)], payload: &[u8]) -> Result<(Query, Format), QueryError> {
        let headers = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Query::parse(&headers, payload)
    }

    #[test]
    fn a_question_without_a_word_is_refused() {
        for (text, expected) in [
            ("???", Err(QueryError::NoWord)),
            (" - \u{1f680}!", Err(QueryError::NoWord)),
            (" ", Err(QueryError::Empty)),
            ("x?", Ok(())),
            ("これは何?", Ok(())),
        ] {
            let checked = Query::new(text).check();
            assert_eq!(format!("{checked:?}"), format!("{expected:?}"), "{text}");
        }
        let planned = Query {
            plan: Some(PlanRequest::default()),
            ..Query::new("???")
        };
        assert!(planned.check().is_ok());
    }

    #[test]
    fn text_json_and_messagepack_are_queries() {
        let wire = encode(Format::Msgpack, &Query::new("why?")).expect("encodes");
        for (pairs, payload, answer) in [
            (&[][..], &b"why?"[..], Format::Json),
            (&[(header::CONTENT_TYPE, "text/plain")][..], b"why?", Format::Json),
            (&[][..], br#"{"query":"why?","unknown":1}"#, Format::Json),
            (&[][..], &wire, Format::Msgpack),
            (&[(header::ACCEPT, "application/json")][..], &wire, Format::Json),
        ] {
            let (query, format) = parse(pairs, payload).expect("a query");
            assert_eq!((query.query.as_str(), format), ("why?", answer));
        }
    }

    #[test]
    fn bad_queries_are_refused_with_what_to_do() {
        let long = vec![b'a'; QUERY_BYTES_MAX + 1];
        for (payload, expected) in [
            (&b""[..], "is empty"),
            (b"  ", "is empty"),
            (br#"{"query":""}"#, "is empty"),
            (br#"{"question":"x"}"#, "missing field `query`"),
            (br#"{"query":"x","priority":11}"#, "priority 11"),
            (br#"{"query":"x","deadline_s":0}"#, "deadline of 0 s"),
            (br#"{"query":"x","workspace":"x"}"#, "no digest"),
            (br#"{"query":"x","replay":{"of":"a.b"}}"#, "a.b"),
            (
                br#"{"query":"x","replay":{"of":"q1"},"strategy":"research"}"#,
                "`strategy` and `replay` exclude",
            ),
            (
                br#"{"query":"x","plan":{"tasks":[]},"strategy":"research"}"#,
                "`plan` and `strategy` exclude",
            ),
            (b"{", "malformed JSON"),
            (b"\xff\xfe", "malformed MessagePack"),
            (&long, "65536 at most"),
        ] {
            let error = parse(&[], payload).expect_err("refused").to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
