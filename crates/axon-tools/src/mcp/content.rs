//! What a call of an MCP tool returned, as the bounded output of a tool. Pure.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::tool::cut_text;
use crate::{OUTPUT_BYTES_MAX, json_bytes};

/// Most bytes of JSON that text and structure may take, each: together they stay below what a tool may return.
const PART_BYTES_MAX: usize = OUTPUT_BYTES_MAX / 2 - 4096;
/// Longest message of a failure, in bytes.
const MESSAGE_BYTES_MAX: usize = 2000;
/// Notes about what is left out.
const NOTES_MAX: usize = 20;

/// What came back: the output, or what the server says went wrong.
///
/// The output holds `text`, all text joined; `structured`, what the server gave as structure, or else the text where that
/// is a JSON object or list; and `left_out`, in words, where anything is missing.
pub(super) fn output_of(result: CallToolResult) -> Result<Value, String> {
    let mut texts = Vec::new();
    let mut left_out = Vec::new();
    for block in result.content {
        match block {
            ContentBlock::Text(text) => texts.push(text.text),
            ContentBlock::Image(image) => left_out.push(blob("an image", &image.mime_type, image.data.len())),
            ContentBlock::Audio(audio) => left_out.push(blob("audio", &audio.mime_type, audio.data.len())),
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { text, .. } => texts.push(text),
                ResourceContents::BlobResourceContents { uri, blob: data, .. } => {
                    left_out.push(blob("a resource", &uri, data.len()));
                }
                _ => left_out.push("a resource of an unknown kind".to_owned()),
            },
            ContentBlock::ResourceLink(link) => texts.push(link.uri.clone()),
            _ => left_out.push("content of an unknown kind".to_owned()),
        }
    }
    let text = texts.join("\n");
    if result.is_error == Some(true) {
        return Err(if text.trim().is_empty() {
            "it says nothing about why".to_owned()
        } else {
            cut_text(&text, MESSAGE_BYTES_MAX).0.to_owned()
        });
    }
    let structured = result.structured_content.or_else(|| structure(&text));
    let structured = structured.filter(|value| {
        let bytes = json_bytes(value);
        let fits = bytes <= PART_BYTES_MAX;
        if !fits {
            left_out.push(format!("the structure, which takes {bytes} bytes: ask for less"));
        }
        fits
    });
    let (kept, bytes_cut) = cut_text(&text, PART_BYTES_MAX);
    if bytes_cut > 0 {
        left_out.push(format!("the last {bytes_cut} bytes of the text: ask for less"));
    }
    if left_out.len() > NOTES_MAX {
        let more = left_out.len() - NOTES_MAX;
        left_out.truncate(NOTES_MAX);
        left_out.push(format!("{more} further parts"));
    }
    let mut output = json!({ "text": kept });
    if let Some(structured) = structured {
        output["structured"] = structured;
    }
    if !left_out.is_empty() {
        output["left_out"] = json!(left_out);
    }
    Ok(output)
}

fn blob(what: &str, kind: &str, bytes: usize) -> String {
    let (kind, _) = cut_text(kind, 200);
    format!("{what} ({kind}, {bytes} bytes as text)")
}

/// The text itself where it is a JSON object or list.
fn structure(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(value: Value) -> CallToolResult {
        serde_json::from_value(value).expect("a result")
    }

    #[test]
    fn text_and_structure_are_kept_and_the_rest_is_named() {
        for (given, expected) in [
            (json!({"content": []}), json!({"text": ""})),
            (
                json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
                json!({"text": "a\nb"}),
            ),
            (
                json!({"content": [{"type": "text", "text": "{\"a\": 1}"}]}),
                json!({"text": "{\"a\": 1}", "structured": {"a": 1}}),
            ),
            (
                json!({"content": [{"type": "text", "text": "{no json"}]}),
                json!({"text": "{no json"}),
            ),
            (
                json!({"content": [{"type": "text", "text": "{\"a\": 1}"}], "structuredContent": {"b": 2}}),
                json!({"text": "{\"a\": 1}", "structured": {"b": 2}}),
            ),
            (
                json!({"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]}),
                json!({"text": "", "left_out": ["an image (image/png, 4 bytes as text)"]}),
            ),
        ] {
            assert_eq!(output_of(result(given.clone())), Ok(expected), "{given}");
        }
    }

    #[test]
    fn a_failure_says_why() {
        let failed = |content: Value| output_of(result(json!({"content": content, "isError": true})));
        assert_eq!(failed(json!([{"type": "text", "text": "no"}])), Err("no".to_owned()));
        assert_eq!(failed(json!([])), Err("it says nothing about why".to_owned()));
    }

    #[test]
    fn whatever_a_server_sends_fits_into_the_output_of_a_tool() {
        for text in ["x".repeat(1 << 20), "\u{1}".repeat(1 << 20), "ä\"".repeat(1 << 19)] {
            let given = json!({
                "content": [{"type": "text", "text": text}],
                "structuredContent": {"text": text},
            });
            let output = output_of(result(given)).expect("an output");
            assert!(json_bytes(&output) <= OUTPUT_BYTES_MAX, "{}", json_bytes(&output));
            assert_eq!(
                output["left_out"].as_array().map(Vec::len),
                Some(2),
                "{}",
                output["left_out"]
            );
            let kept = output["text"].as_str().expect("text");
            assert!(!kept.is_empty() && text.starts_with(kept));
        }
        let many: Vec<Value> = (0..1000)
            .map(|_| json!({"type": "image", "mimeType": "m".repeat(10_000), "data": ""}))
            .collect();
        let output = output_of(result(json!({ "content": many }))).expect("an output");
        assert!(json_bytes(&output) <= OUTPUT_BYTES_MAX);
    }
}
