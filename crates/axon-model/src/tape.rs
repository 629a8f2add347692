//! Recordings of what went to and came from a model and its tools, so that a run becomes a fixture. One line of JSON each;
//! a recording holds contents of workspaces and never a key.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axon_protocol::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use crate::{Config, Error, ErrorKind, Reply, Request};

/// Why recordings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The directory or a file in it cannot be used.
    #[error("cannot use the recordings in {path} ({key}): {reason}")]
    Io {
        /// What is used.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// What the operating system said.
        reason: io::Error,
    },
    /// A line that is no recording.
    #[error("line {line} of {path} is no recording: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: serde_json::Error,
    },
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// With a model.
    Model {
        request: Request,
        reply: Result<Reply, String>,
    },
    /// With a tool.
    Tool {
        name: String,
        params: Value,
        output: Result<Value, String>,
    },
}

/// Recorded answers by what was asked, in the order in which they came.
#[derive(Default)]
struct Played {
    replies: HashMap<Digest, VecDeque<Result<Reply, String>>>,
    outputs: HashMap<Digest, VecDeque<Result<Value, String>>>,
}

/// A recorder, a player, or neither.
#[derive(Clone, Default)]
pub struct Tape {
    recorder: Option<Arc<Mutex<File>>>,
    player: Option<Arc<Mutex<Played>>>,
}

impl Tape {
    pub(crate) fn open(config: &Config) -> Result<Self, TapeError> {
        let recorder = config.record.as_deref().map(new_file).transpose()?;
        let player = config.replay.as_deref().map(load).transpose()?;
        Ok(Self {
            recorder: recorder.map(|file| Arc::new(Mutex::new(file))),
            player: player.map(|played| Arc::new(Mutex::new(played))),
        })
    }

    /// Whether anything is recorded or played.
    pub fn is_in_use(&self) -> bool {
        self.recorder.is_some() || self.player.is_some()
    }

    /// The recorded reply; `None` where nothing is played. What was never recorded is an error, not a call.
    pub(crate) fn reply(&self, request: &Request) -> Option<Result<Reply, Error>> {
        let mut played = self.player.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = next(&mut played.replies, &digest_of(request));
        let missing = "the recordings of model.replay hold no reply to this request: record it again";
        let reply = recorded.unwrap_or_else(|| Err(missing.to_owned()));
        Some(reply.map_err(|message| Error::free(ErrorKind::Rejected, message)))
    }

    /// The recorded outcome of a tool's call; `None` where nothing is played, or it was never recorded.
    pub fn output(&self, name: &str, params: &Value) -> Option<Result<Value, String>> {
        let mut played = self.player.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        next(&mut played.outputs, &digest_of(&(name, params)))
    }

    pub(crate) fn record_reply(&self, request: &Request, outcome: &Result<Reply, Error>) {
        self.record(|| Entry::Model {
            request: request.clone(),
            reply: outcome.clone().map_err(|error| error.to_string()),
        });
    }

    /// Records what a tool's call came to, where a recording is made.
    pub fn record_output(&self, name: &str, params: &Value, output: Result<&Value, &str>) {
        self.record(|| Entry::Tool {
            name: name.to_owned(),
            params: params.clone(),
            output: output.cloned().map_err(str::to_owned),
        });
    }

    fn record(&self, entry: impl FnOnce() -> Entry) {
        let Some(file) = &self.recorder else { return };
        let written = serde_json::to_vec(&entry())
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                // One write each, so that lines of several tasks never mix.
                file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
            });
        if let Err(error) = written {
            warn!(%error, "cannot record what went to the model");
        }
    }
}

/// The last answer to a question is given again and again: it was asked once more than when it was recorded.
fn next<T: Clone>(recorded: &mut HashMap<Digest, VecDeque<T>>, asked: &Digest) -> Option<T> {
    let answers = recorded.get_mut(asked)?;
    if answers.len() > 1 {
        answers.pop_front()
    } else {
        answers.front().cloned()
    }
}

fn digest_of(asked: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(asked).unwrap_or_default())
}

fn new_file(directory: &Path) -> Result<File, TapeError> {
    let refuse = |reason| TapeError::Io {
        path: directory.to_owned(),
        key: "model.record",
        reason,
    };
    std::fs::create_dir_all(directory).map_err(refuse)?;
    let name = format!(
        "{}-{}.jsonl",
        chrono::Utc::now().format("%Y%m%dT%H%M%S%3f"),
        std::process::id()
    );
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(directory.join(name))
        .map_err(refuse)
}

fn load(directory: &Path) -> Result<Played, TapeError> {
    let refuse = |path: &Path, reason| TapeError::Io {
        path: path.to_owned(),
        key: "model.replay",
        reason,
    };
    let listed = std::fs::read_dir(directory).map_err(|reason| refuse(directory, reason))?;
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut played = Played::default();
    for path in files {
        let file = File::open(&path).map_err(|reason| refuse(&path, reason))?;
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|reason| refuse(&path, reason))?;
            let entry = serde_json::from_str(&line).map_err(|reason| TapeError::Line {
                path: path.clone(),
                line: index + 1,
                reason,
            })?;
            match entry {
                Entry::Model { request, reply } => {
                    played.replies.entry(digest_of(&request)).or_default().push_back(reply);
                }
                Entry::Tool { name, params, output } => {
                    played
                        .outputs
                        .entry(digest_of(&(name, params)))
                        .or_default()
                        .push_back(output);
                }
            }
        }
    }
    Ok(played)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Provider;
    use serde_json::json;

    fn config(record: Option<&Path>, replay: Option<&Path>) -> Config {
        Config {
            provider: Provider::Anthropic,
            name: "m".to_owned(),
            api_key: "sk-secret".into(),
            record: record.map(Path::to_owned),
            replay: replay.map(Path::to_owned),
            ..Config::default()
        }
    }

    fn request(text: &str) -> Request {
        Request {
            system: text.to_owned(),
            messages: Vec::new(),
            tools: Vec::new(),
            choice: Default::default(),
            output_tokens_max: 1,
        }
    }

    #[test]
    fn what_was_recorded_is_played_in_its_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let recorder = Tape::open(&config(Some(directory.path()), None)).expect("a recorder");
        assert_eq!(recorder.reply(&request("a")), None);
        let reply = |text: &str| {
            Ok(Reply {
                text: text.to_owned(),
                ..Reply::default()
            })
        };
        recorder.record_reply(&request("a"), &reply("one"));
        recorder.record_reply(&request("a"), &reply("two"));
        recorder.record_output("code.read", &json!({"path": "x"}), Ok(&json!("text")));
        recorder.record_output("code.read", &json!({"path": "y"}), Err("no file"));

        let player = Tape::open(&config(None, Some(directory.path()))).expect("a player");
        let said = |text: &str| player.reply(&request(text)).expect("it plays");
        assert_eq!(said("a"), reply("one"));
        assert_eq!(said("a"), reply("two"));
        assert_eq!(said("a"), reply("two"));
        assert!(
            said("b")
                .expect_err("never recorded")
                .message
                .contains("record it again")
        );
        assert_eq!(
            player.output("code.read", &json!({"path": "x"})),
            Some(Ok(json!("text")))
        );
        assert_eq!(
            player.output("code.read", &json!({"path": "y"})),
            Some(Err("no file".to_owned()))
        );
        assert_eq!(player.output("code.read", &json!({"path": "z"})), None);

        let file = std::fs::read_dir(directory.path())
            .expect("listed")
            .next()
            .expect("one")
            .expect("a file");
        let text = std::fs::read_to_string(file.path()).expect("read");
        assert!(!text.contains("sk-secret"));
    }

    #[test]
    fn a_damaged_recording_is_named_with_its_line() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.jsonl"), "{\n").expect("written");
        let error = Tape::open(&config(None, Some(directory.path())))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("line 1") && error.contains("a.jsonl"), "{error}");
    }
}
