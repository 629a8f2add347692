//! A small shell process that outlives the test process, however that ends, and then kills what was started and removes
//! what was written. It must never kill a process that somebody has already waited for: pids are used again.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Reads what to kill and to remove until its input ends, which happens when the test process does.
const SCRIPT: &str = r#"
groups=" "; folders=""
while read -r verb what; do
    case $verb in
        watch) groups="$groups$what " ;;
        forget) case $groups in *" $what "*) groups="${groups%% "$what" *} ${groups#* "$what" }" ;; esac ;;
        remove) folders="$folders $what" ;;
    esac
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
# A server that was killed a moment ago may still be writing its last file.
for folder in $folders; do rm -rf "$folder" 2>/dev/null || { sleep 1; rm -rf "$folder"; }; done
"#;

/// Kills the process group of `pid` when the test process ends, unless it is forgotten before.
pub fn watch(pid: u32) {
    say(&format!("watch {pid}"));
}

/// Leaves a process alone that has ended and was waited for.
pub fn forget(pid: u32) {
    say(&format!("forget {pid}"));
}

/// Removes a folder when the test process ends.
pub fn remove_at_exit(folder: &Path) {
    say(&format!("remove {}", folder.display()));
}

fn say(line: &str) {
    static GUARD: OnceLock<Mutex<Child>> = OnceLock::new();
    let guard = GUARD.get_or_init(|| {
        let started = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            // A group of its own: Ctrl-C at the terminal must not end the one who cleans up.
            .process_group(0)
            .spawn();
        Mutex::new(started.expect("sh starts"))
    });
    let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
    let input = guard.stdin.as_mut().expect("the guard's input is a pipe");
    writeln!(input, "{line}").expect("the guard listens");
}
