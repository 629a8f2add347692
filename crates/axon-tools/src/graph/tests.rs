use super::*;
use serde_json::json;

fn call(id: &str, inputs: &[&str], params: Value) -> ToolCall {
    ToolCall {
        tool_id: id.to_owned(),
        tool_name: "diag.echo".to_owned(),
        params,
        outputs: Vec::new(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        priority: 5,
    }
}

fn with_outputs(id: &str, outputs: &[&str]) -> ToolCall {
    ToolCall {
        outputs: outputs.iter().map(|output| (*output).to_owned()).collect(),
        ..call(id, &[], Value::Null)
    }
}

#[test]
fn what_cannot_run_is_refused_with_its_reason() {
    let none = Value::Null;
    for (calls, expected) in [
        (
            vec![call("a", &[], none.clone()), call("a", &[], none.clone())],
            "two calls have the id `a`",
        ),
        (
            vec![with_outputs("a", &["x"]), with_outputs("b", &["x"])],
            "`x` is given by both `a` and `b`",
        ),
        (vec![with_outputs("a", &["x", "x"])], "`x` is given by both `a` and `a`"),
        (
            vec![with_outputs("a", &["b"]), with_outputs("b", &[])],
            "`b` is given by both `b` and `a`",
        ),
        (
            vec![call("a", &["b"], none.clone())],
            "`a` needs `b`, which no call gives",
        ),
        (
            vec![call("a", &[], json!({"x": ["${b.c}"]}))],
            "`a` needs `b`, which no call gives (write `$${`",
        ),
        (vec![call("a", &["a"], none.clone())], "a -> a"),
        (vec![call("a", &[], json!("${a}"))], "a -> a"),
        (
            vec![call("a", &["b"], none.clone()), call("b", &["a"], none.clone())],
            "a -> b -> a",
        ),
        (
            // c needs b needs a needs c, d waits behind, e is free: results would flow from a to b to c.
            vec![
                call("e", &[], none.clone()),
                call("d", &["a"], none.clone()),
                call("a", &["c", "e"], none.clone()),
                call("b", &[], json!({"deep": {"er": "x${a.0}y"}})),
                call("c", &["b"], none.clone()),
            ],
            "a -> b -> c -> a",
        ),
        (vec![call("", &[], none.clone())], "cannot name"),
        (vec![call("a.b", &[], none.clone())], "`a.b` cannot name"),
        (vec![with_outputs("a", &["x y"])], "`x y` cannot name"),
        (
            vec![ToolCall {
                priority: 0,
                ..call("a", &[], none.clone())
            }],
            "priority 0",
        ),
        (
            vec![ToolCall {
                priority: 11,
                ..call("a", &[], none.clone())
            }],
            "priority 11",
        ),
        (
            (0..=CALLS_MAX)
                .map(|i| call(&format!("c{i}"), &[], none.clone()))
                .collect(),
            "1001 tool calls",
        ),
    ] {
        let shown = format!(
            "{:?}",
            calls.iter().take(5).map(|call| &call.tool_id).collect::<Vec<_>>()
        );
        let message = Graph::new(calls).expect_err(&shown).to_string();
        assert!(message.contains(expected), "{shown}: {message}");
    }
}

#[test]
fn a_call_may_name_its_own_id_as_output() {
    let graph = Graph::new(vec![
        with_outputs("a", &["a", "x"]),
        call("b", &["x", "a"], json!("${x}")),
    ])
    .expect("fine");
    assert_eq!(graph.dependencies(1), [0]);
    assert_eq!(graph.dependents(0), [1]);
}

#[test]
fn stages_and_ranks_follow_the_edges() {
    let none = Value::Null;
    let graph = Graph::new(vec![
        call("join", &["left", "right"], none.clone()),
        call("left", &["start"], none.clone()),
        call("right", &["start"], none.clone()),
        call("start", &[], none.clone()),
        call("alone", &[], none),
    ])
    .expect("a graph");
    assert_eq!(
        graph.stages(),
        [vec!["start", "alone"], vec!["left", "right"], vec!["join"]]
    );
    let durations = [1.0, 10.0, 2.0, 5.0, 7.0];
    assert_eq!(graph.ranks(&durations), [1.0, 11.0, 3.0, 16.0, 7.0]);
    assert_eq!(graph.critical_path(&durations), 16.0);
    assert_eq!(
        Graph::new(Vec::new()).expect("nothing is a graph").stages(),
        Vec::<Vec<&str>>::new()
    );
}

#[test]
fn references_become_what_they_refer_to() {
    let output = json!({"path": "src/a.rs", "n": 7, "list": [{"x": null}, "two"], "": 1});
    for (params, expected) in [
        (json!("${out}"), Ok(output.clone())),
        (json!("${out.path}"), Ok(json!("src/a.rs"))),
        (json!("${out.n}"), Ok(json!(7))),
        (json!("${out.list.0.x}"), Ok(json!(null))),
        (json!("${out.list.1}"), Ok(json!("two"))),
        (json!("${alias.list.1}"), Ok(json!("two"))),
        (
            json!({"a": {"b": ["${out.n}"]}, "c": 1}),
            Ok(json!({"a": {"b": [7]}, "c": 1})),
        ),
        (json!("in ${out.path}:${out.n}!"), Ok(json!("in src/a.rs:7!"))),
        (json!("${out.path}${out.path}"), Ok(json!("src/a.rssrc/a.rs"))),
        (json!("n=${out.list}"), Ok(json!("n=[{\"x\":null},\"two\"]"))),
        (json!("$${out.n}"), Ok(json!("${out.n}"))),
        (json!("a $${b} ${out.n}"), Ok(json!("a ${b} 7"))),
        (json!("${out.n} $${out.n}"), Ok(json!("7 ${out.n}"))),
        (json!("$$${out.n}"), Ok(json!("$${out.n}"))),
        (json!("fn\\s+${"), Ok(json!("fn\\s+${"))),
        (json!("^x${2,3}"), Ok(json!("^x${2,3}"))),
        (
            json!("${} ${.a} ${a..b} ${ out }"),
            Ok(json!("${} ${.a} ${a..b} ${ out }")),
        ),
        (json!("${ ${out.n}"), Ok(json!("${ 7"))),
        (json!("$"), Ok(json!("$"))),
        (json!("ä${out.n}ö"), Ok(json!("ä7ö"))),
        (json!("${out.none}"), Err("`${out.none}` of call `b`")),
        (json!("${out.list.9}"), Err("`${out.list.9}`")),
        (json!("${out.list.x}"), Err("`${out.list.x}`")),
        (json!("x${out.n.deeper}"), Err("`${out.n.deeper}`")),
    ] {
        let graph = Graph::new(vec![with_outputs("out", &["alias"]), call("b", &[], params.clone())]).expect("a graph");
        let resolved = graph.resolve(1, |producer| (producer == 0).then_some(&output));
        match expected {
            Ok(expected) => assert_eq!(resolved, Ok(expected), "{params}"),
            Err(expected) => {
                let error = resolved.expect_err("refers to nothing");
                assert_eq!(error.kind, crate::ErrorKind::InvalidParams);
                assert!(error.message.contains(expected), "{params}: {error}");
            }
        }
    }
}

#[test]
fn a_regular_expression_is_no_reference() {
    for text in ["^foo${", "${2,3}", "a${}", "cost: $5", "${a b}"] {
        let graph = Graph::new(vec![call("a", &[], json!({ "pattern": text }))]).expect(text);
        assert!(graph.dependencies(0).is_empty());
    }
}

#[test]
fn a_small_plan_cannot_fill_the_memory() {
    let output = json!("x".repeat(300_000));
    for (references, fits) in [(3, true), (4, false), (100_000, false)] {
        for params in [json!("${out} ".repeat(references)), json!(vec!["${out}"; references])] {
            let graph = Graph::new(vec![call("out", &[], Value::Null), call("b", &[], params)]).expect("a graph");
            assert_eq!(graph.resolve(1, |_| Some(&output)).is_ok(), fits, "{references}");
        }
    }
}
