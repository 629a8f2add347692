//! A constructed repository with described defects and the ranks their files must have, so that no sign is lost silently.

use serde_json::json;

use super::*;
use crate::code::testing::try_call;
use crate::testing::Made;
use crate::{ErrorKind, Workspace};
use std::sync::Arc;

fn filler(about: &str, functions: usize) -> String {
    let one = |n: usize| {
        format!(
            "/// Handles {about} number {n}.\npub fn {about}_{n}(input: &str) -> usize {{\n    let {about} = input.len() + {n};\n    {about}\n}}\n\n"
        )
    };
    (0..functions).map(one).collect()
}

/// Twelve files of a kind; what the cases are about stands in some of them.
fn repository() -> (Arc<Workspace>, Made) {
    let mut made = Made::new();
    let names = [
        "cache", "codec", "config", "login", "parser", "queue", "render", "router", "session", "socket", "store",
        "worker",
    ];
    let mut files: Vec<(String, String)> = names
        .iter()
        .map(|name| (format!("src/{name}.rs"), filler(name, 12)))
        .collect();
    let mut add = |path: &str, text: &str| {
        if let Some(file) = files.iter_mut().find(|file| file.0 == path) {
            file.1.push_str(text);
        }
    };
    add(
        "src/codec.rs",
        "pub fn decode_frame(data: &[u8]) -> Result<Frame, Error> {\n    let size = data[0];\n    if size > 9 { return Err(Error::new(\"frame is longer than the window\")); }\n    Ok(Frame)\n}\n",
    );
    add(
        "src/session.rs",
        "/// Renews the lease while its holder works.\npub fn renew(lease: &mut Lease) {\n    lease.expires = now();\n}\n",
    );
    add(
        "src/queue.rs",
        "// A frame, a window, a lease: words that others are about. frame window lease header\n",
    );
    // The same words in two files; beside each other in the second one alone.
    add(
        "src/cache.rs",
        "// A token of one peer serves long; many things grew stale; none has expiry.\n",
    );
    add(
        "src/login.rs",
        "// A stale token expiry serves one peer for long, and many other things of many kinds that grew meanwhile.\n",
    );
    files.push((
        "tests/codec.rs".to_owned(),
        "#[test]\nfn decode_frame_is_longer_than_the_window() { decode_frame(b\"lease\"); }\n".to_owned(),
    ));
    files.push((
        "docs/codec.md".to_owned(),
        "# decode_frame\nThe frame is longer than the window.\n".to_owned(),
    ));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    made.commit("Begin", &files);
    for round in 0..3 {
        let text = format!("{}// {round}\n", filler("worker", 12));
        made.commit(
            [
                "Stop the zombie after a crash",
                "Bury every zombie once",
                "Count zombies",
            ][round],
            &[("src/worker.rs", &text)],
        );
    }
    let workspace = Arc::new(Workspace::of_directory(made.dir.path()).expect("a workspace"));
    (workspace, made)
}

async fn ask(workspace: &Arc<Workspace>, symptom: &str) -> LocateResult {
    let context = CallContext::new(Some(Arc::clone(workspace)));
    let value = try_call(&context, "code.locate", json!({"symptom": symptom}))
        .await
        .expect("works");
    serde_json::from_value(value).expect("has its type")
}

#[tokio::test]
async fn each_kind_of_sign_leads_to_its_file_and_function() {
    let (workspace, _made) = repository();
    for (symptom, path, function) in [
        ("decode_frame panics on empty input", "src/codec.rs", "decode_frame"),
        (
            "It says \"frame is longer than the window\" for every input",
            "src/codec.rs",
            "decode_frame",
        ),
        (
            "leases expire though the holder is renewing them",
            "src/session.rs",
            "renew",
        ),
        (
            "It dies\n  at src/router.rs:8:5\n  at src/store.rs:3:1",
            "src/router.rs",
            "router_1",
        ),
        (
            "Traceback (most recent call last):\n  File \"/srv/app/src/store.rs\", line 3, in a\n  File \"/srv/app/src/socket.rs\", line 14, in b",
            "src/socket.rs",
            "socket_2",
        ),
        ("config is read wrongly", "src/config.rs", ""),
        ("stale token expiry", "src/login.rs", ""),
        // No word of the code says so: only earlier commits do.
        ("a zombie is left behind", "src/worker.rs", ""),
    ] {
        let result = ask(&workspace, symptom).await;
        let first = &result.results[0];
        assert_eq!(
            first.path,
            path,
            "{symptom}: {:#?}",
            result.results.iter().take(3).collect::<Vec<_>>()
        );
        if !function.is_empty() {
            assert_eq!(first.pieces[0].name, function, "{symptom}: {:?}", first.pieces);
        }
        assert_eq!((result.files, result.history), (12, true));
    }
}

#[tokio::test]
async fn the_same_symptom_gives_the_same_answer_and_none_is_refused() {
    let (workspace, _made) = repository();
    let symptom = "frames and leases are longer than the window of the socket";
    assert_eq!(ask(&workspace, symptom).await, ask(&workspace, symptom).await);
    let context = CallContext::new(Some(Arc::clone(&workspace)));
    let error = try_call(&context, "code.locate", json!({"symptom": " ?"}))
        .await
        .expect_err("refused");
    assert_eq!(error.kind, ErrorKind::InvalidParams);
}
