//! The private directory of a run: `work` with a copy of the workspace, `home` and `tmp`, all to be written into.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{ToolError, Workspace};

/// Parts of the private directory.
pub(super) struct Private {
    dir: TempDir,
}

impl Private {
    /// A directory with a copy of the files of the workspace, as far as the token lets it come.
    pub(super) fn make(workspace: Option<&Workspace>, cancel: &CancellationToken) -> Result<Self, ToolError> {
        let made = tempfile::Builder::new().prefix("axon-command-").tempdir();
        let private = Self {
            dir: made.map_err(|error| trouble(&error))?,
        };
        for part in [private.work(), private.home(), private.tmp()] {
            fs::create_dir(part).map_err(|error| trouble(&error))?;
        }
        if let Some(workspace) = workspace {
            private.fill(workspace, cancel)?;
        }
        Ok(private)
    }

    fn fill(&self, workspace: &Workspace, cancel: &CancellationToken) -> Result<(), ToolError> {
        for file in &workspace.manifest().files {
            if cancel.is_cancelled() {
                return Err(ToolError::cancelled());
            }
            let Ok(from) = workspace.resolve(&file.path) else {
                // It was removed since the directory was read, which only happens outside of a fleet.
                continue;
            };
            copy(&from, &self.work().join(&file.path)).map_err(|error| trouble(&error))?;
        }
        Ok(())
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// Where it is; from now on somebody else removes it.
    pub(super) fn hand_over(self) -> PathBuf {
        self.dir.keep()
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to)?;
    let mut permissions = fs::metadata(to)?.permissions();
    permissions.set_mode(permissions.mode() | 0o600);
    fs::set_permissions(to, permissions)
}

fn trouble(error: &io::Error) -> ToolError {
    // Another worker's disk may be better.
    ToolError::transient(format!("cannot make a private directory for the command: {error}"))
}
