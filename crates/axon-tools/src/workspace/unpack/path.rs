//! Which paths of an archive are harmless. Pure: it knows no file system.

use std::collections::HashMap;

use super::{UnpackError, UnpackLimits};

/// Largest part of a path, in bytes: what file systems take.
const NAME_BYTES_MAX: usize = 255;

/// The path without `./` before it and `/` after a directory, or what is wrong with it. `None` is the root itself.
pub(super) fn check_path<'a>(
    raw: &'a [u8],
    is_directory: bool,
    limits: &UnpackLimits,
) -> Result<Option<&'a str>, &'static str> {
    let path = std::str::from_utf8(raw).map_err(|_| "has a name that is no UTF-8")?;
    if path.len() > limits.path_bytes_max {
        return Err("has a path that is too long");
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character in its path");
    }
    let path = if is_directory {
        path.strip_suffix('/').unwrap_or(path)
    } else {
        path
    };
    if is_directory && path == "." {
        return Ok(None);
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') {
        return Err("has an absolute path");
    }
    if path.is_empty() {
        return Err("has an empty path");
    }
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        match part {
            ".." => return Err("leads outside of the workspace"),
            "" | "." => return Err("has an empty part in its path"),
            _ if part.len() > NAME_BYTES_MAX => return Err("has a name that is too long"),
            _ => {}
        }
    }
    if depth > limits.depth_max {
        Err("lies too deep")
    } else {
        Ok(Some(path))
    }
}

/// What the paths seen so far are. A path is a file or a directory, once.
#[derive(Default)]
pub(super) struct Seen {
    is_file: HashMap<String, bool>,
}

impl Seen {
    pub(super) fn file(&mut self, path: &str) -> Result<(), UnpackError> {
        self.parents(path)?;
        match self.is_file.insert(path.to_owned(), true) {
            None => Ok(()),
            Some(_) => Err(UnpackError::Duplicate(path.to_owned())),
        }
    }

    pub(super) fn directory(&mut self, path: &str) -> Result<(), UnpackError> {
        self.parents(path)?;
        match self.is_file.insert(path.to_owned(), false) {
            // A directory may be named again, or after what lies in it.
            None | Some(false) => Ok(()),
            Some(true) => Err(UnpackError::Duplicate(path.to_owned())),
        }
    }

    fn parents(&mut self, path: &str) -> Result<(), UnpackError> {
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            match self.is_file.get(parent) {
                Some(true) => return Err(UnpackError::Duplicate(parent.to_owned())),
                Some(false) => {}
                None => {
                    self.is_file.insert(parent.to_owned(), false);
                }
            }
        }
        Ok(())
    }
}
