//! What tests of several modules share: a repository made with git.

#![cfg(test)]

use std::fs;
use std::process::Command;

/// A repository, one commit a call, a day apart.
pub struct Made {
    pub dir: tempfile::TempDir,
    time: u64,
}

impl Made {
    pub fn new() -> Self {
        let made = Self {
            dir: tempfile::tempdir().expect("a directory"),
            time: 1_700_000_000,
        };
        made.git(&["init", "-q", "-b", "main"]);
        made
    }

    pub fn git(&self, arguments: &[&str]) {
        let date = format!("{} +0000", self.time);
        let output = Command::new("git")
            .current_dir(self.dir.path())
            .args([
                "-c",
                "user.name=Ada",
                "-c",
                "user.email=ada@example.org",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .output()
            .expect("git is installed");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
    }

    pub fn commit(&mut self, subject: &str, files: &[(&str, &str)]) {
        self.time += 86_400;
        self.write(files);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
    }

    /// Lets a day pass.
    pub fn wait(&mut self) {
        self.time += 86_400;
    }
}
