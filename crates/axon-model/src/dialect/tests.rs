use serde_json::json;

use super::*;
use crate::{Call, CallResult, Choice, Message, Stop, ToolSpec};

const OPENAI: Dialect = Dialect::OpenAi {
    completion_tokens: false,
};

fn request() -> Request {
    let call = |id: &str, arguments: &str| Call {
        id: id.to_owned(),
        name: "code_read".to_owned(),
        arguments: arguments.to_owned(),
    };
    Request {
        system: "Be brief.".to_owned(),
        messages: vec![
            Message::User("Why?".to_owned()),
            Message::Assistant {
                text: String::new(),
                calls: vec![call("a", "{\"path\":\"x\"}"), call("b", "{\"path\":")],
            },
            Message::Results(vec![
                CallResult {
                    id: "a".to_owned(),
                    text: "text".to_owned(),
                    failed: false,
                },
                CallResult {
                    id: "b".to_owned(),
                    text: "no JSON".to_owned(),
                    failed: true,
                },
            ]),
        ],
        tools: vec![ToolSpec {
            name: "code_read".to_owned(),
            description: "Reads".to_owned(),
            schema: json!({"type": "object"}),
        }],
        choice: Choice::Tool("code_read".to_owned()),
        output_tokens_max: 100,
    }
}

#[test]
fn a_request_is_written_for_anthropic() {
    let cached = json!({"type": "ephemeral"});
    assert_eq!(
        Dialect::Anthropic.body("m", &request()),
        json!({
            "model": "m", "max_tokens": 100, "stream": true,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "a", "name": "code_read", "input": {"path": "x"}},
                    {"type": "tool_use", "id": "b", "name": "code_read", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "text", "is_error": false},
                    {"type": "tool_result", "tool_use_id": "b", "content": "no JSON", "is_error": true,
                        "cache_control": cached},
                ]},
            ],
            "tools": [{"name": "code_read", "description": "Reads", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "tool", "name": "code_read"},
        })
    );
}

#[test]
fn a_request_is_written_for_openai() {
    let function = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "code_read", "arguments": arguments}});
    let body = OPENAI.body("m", &request());
    assert_eq!(
        body,
        json!({
            "model": "m", "max_tokens": 100, "stream": true, "stream_options": {"include_usage": true},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "",
                    "tool_calls": [function("a", "{\"path\":\"x\"}"), function("b", "{}")]},
                {"role": "tool", "tool_call_id": "a", "content": "text"},
                {"role": "tool", "tool_call_id": "b", "content": "no JSON"},
            ],
            "tools": [{"type": "function", "function":
                {"name": "code_read", "description": "Reads", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "code_read"}},
        })
    );
    let official = Dialect::OpenAi {
        completion_tokens: true,
    };
    let body = official.body("m", &request());
    assert_eq!(
        (&body["max_completion_tokens"], body.get("max_tokens")),
        (&json!(100), None)
    );
}

#[test]
fn a_reply_in_one_piece_is_read_in_both() {
    let anthropic = json!({
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "Yes"},
            {"type": "tool_use", "id": "a", "name": "n", "input": {"k": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30,
            "output_tokens": 5},
    });
    let openai = json!({
        "choices": [{"finish_reason": "tool_calls", "message": {"content": "Yes", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "n", "arguments": "{\"k\":1}"}}]}}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}},
    });
    for (dialect, body, input, cache_write) in [(Dialect::Anthropic, anthropic, 10, 30), (OPENAI, openai, 40, 0)] {
        let reply = dialect.whole(&body).expect("a reply");
        assert_eq!((reply.text.as_str(), reply.stop), ("Yes", Stop::Calls), "{dialect:?}");
        assert_eq!(reply.calls[0].parsed(), Ok(json!({"k": 1})));
        let expected = TokenUsage {
            input,
            cache_read: 20,
            cache_write,
            output: 5,
        };
        assert_eq!(reply.usage, Some(expected), "{dialect:?}");
        assert!(dialect.whole(&json!({})).is_err());
    }
}

#[test]
fn a_stream_that_holds_an_error_or_no_end_is_no_reply() {
    for dialect in [Dialect::Anthropic, OPENAI] {
        let error = dialect
            .assembly()
            .take(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#)
            .expect_err("an error");
        assert!(error.0.contains("Overloaded"), "{error:?}");
        assert!(dialect.assembly().take("{\"a\":").is_err(), "no JSON");
        assert!(dialect.assembly().finish().is_err(), "no end");
    }
}

#[test]
fn calls_without_ids_get_some() {
    let body = json!({"choices": [{"message": {"tool_calls": [
        {"function": {"name": "a", "arguments": "{}"}}, {"function": {"name": "b", "arguments": "{}"}}]}}]});
    let reply = OPENAI.whole(&body).expect("a reply");
    let ids: Vec<&str> = reply.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_0", "call_1"]);
    assert_eq!(reply.usage, None, "a server that counts nothing");
}
