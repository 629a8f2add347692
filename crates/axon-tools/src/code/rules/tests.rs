//! Each rule by what it must find and what it must leave alone.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::code::source::Source;
use crate::code::testing::{call, workspace};

fn found(path: &str, text: &str) -> Vec<String> {
    let set = pack::built_in().expect("the packs compile");
    let source = Source::parse(path, Arc::from(text)).expect("parses");
    engine::apply(&source, set, &Rule::is_unasked)
        .expect("the queries compile")
        .into_iter()
        .map(|m| m.rule)
        .collect()
}

/// A function around statements, asynchronous or not.
fn rust(body: &str) -> String {
    format!("pub fn work(path: &Path) -> Result<(), Error> {{\n{body}\n}}\n")
}

fn rust_async(body: &str) -> String {
    format!("pub async fn work(path: &Path) -> Result<(), Error> {{\n{body}\n}}\n")
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(found("src/lib.rs", text), expected, "{text}");
}

#[test]
fn unwrap_counts_only_on_what_fails_in_production() {
    for (body, expected) in [
        ("let f = File::open(path).unwrap();", &["rust.unwrap_io"][..]),
        (
            "let f = std::fs::read_to_string(path).map_err(Error::Read).expect(\"readable\");",
            &["rust.unwrap_io"],
        ),
        ("let s = TcpStream::connect(addr).await.unwrap();", &["rust.unwrap_io"]),
        ("let n: u8 = text.trim().parse().unwrap();", &["rust.unwrap_parse"]),
        ("let n: u8 = \"7\".parse().unwrap();", &[]),
        ("let r = Regex::new(pattern).unwrap();", &["rust.unwrap_parse"]),
        (
            "static R: LazyLock<Regex> = LazyLock::new(|| Regex::new(r\"a\").unwrap());",
            &[],
        ),
        ("let v = sender.send(1).unwrap();", &["rust.unwrap_channel"]),
        ("let v = values.iter().max().unwrap();", &["rust.unwrap_lookup"]),
        ("let v = option.unwrap();", &[]),
        ("let v = std::env::var(name).unwrap();", &["rust.unwrap_env"]),
        (
            "// File::open(path).unwrap()\nlet s = \"File::open(path).unwrap()\";",
            &[],
        ),
    ] {
        check(&rust(body), expected);
    }
}

#[test]
fn tests_examples_and_copies_are_left_alone() {
    let text = rust("let f = File::open(path).unwrap();");
    for path in [
        "tests/it.rs",
        "examples/demo.rs",
        "benches/b.rs",
        "vendor/x/src/lib.rs",
        "src/tests.rs",
    ] {
        assert_eq!(found(path, &text), Vec::<String>::new(), "{path}");
    }
    let in_module = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
    assert_eq!(found("src/lib.rs", &in_module), Vec::<String>::new());
    assert_eq!(
        found("src/lib.rs", &format!("#![cfg(test)]\n{text}")),
        Vec::<String>::new()
    );
    assert_eq!(found("src/lib.rs", &format!("#[test]\n{text}")), Vec::<String>::new());
}

#[test]
fn errors_thrown_away_are_found_unless_a_comment_says_why() {
    for (body, expected) in [
        ("let _ = file.flush();", &["rust.discarded_result"][..]),
        ("let _ = file.flush(); // the reader is gone already", &[]),
        ("// Nobody waits for it.\nlet _ = file.flush();", &[]),
        ("let _ = counter.increment();", &[]),
        ("store.commit().ok();", &["rust.discarded_result"]),
        (
            "match load() { Ok(v) => use_it(v), Err(_) => {} }",
            &["rust.silent_error_arm"],
        ),
        (
            "match load() { Ok(v) => use_it(v), Err(e) => { warn!(%e, \"cannot load\"); } }",
            &[],
        ),
        (
            "let t = std::fs::read_to_string(path).unwrap_or_default();",
            &["rust.failure_as_default"],
        ),
        ("let t = map.get(path).unwrap_or_default();", &[]),
        ("let _ = state.lock();", &["rust.guard_dropped_at_once"]),
        ("if bad { panic!(\"bad\"); }", &["rust.panic_in_library"]),
        ("todo!()", &["rust.unfinished"]),
        ("std::process::exit(1);", &["rust.process_exit"]),
    ] {
        check(&rust(body), expected);
    }
    assert_eq!(
        found("src/main.rs", &rust("std::process::exit(1);")),
        Vec::<String>::new()
    );
    assert_eq!(
        found(
            "src/lib.rs",
            "/// # Panics\n/// On bad.\npub fn f() { panic!(\"bad\"); }\n"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn blocking_and_locks_in_async_code_are_found() {
    for (body, expected) in [
        (
            "let guard = state.lock().unwrap();\nwork().await;",
            &["rust.lock_across_await"][..],
        ),
        ("let guard = state.lock().unwrap();\ndrop(guard);\nwork().await;", &[]),
        (
            "{ let guard = state.lock().unwrap(); guard.push(1); }\nwork().await;",
            &[],
        ),
        ("let guard = state.lock().await;\nwork().await;", &[]),
        ("let copy = state.lock().unwrap().clone();\nwork().await;", &[]),
        ("std::thread::sleep(second);", &["rust.sleep_in_async"]),
        ("spawn_blocking(move || std::thread::sleep(second)).await;", &[]),
        (
            "let text = std::fs::read_to_string(path)?;",
            &["rust.blocking_in_async"],
        ),
        ("let text = fs::read_to_string(path).await?;", &[]),
        ("tokio::spawn(work());", &["rust.detached_task"]),
        ("let handle = tokio::spawn(work());", &[]),
        ("let (tx, rx) = mpsc::unbounded_channel();", &["rust.unbounded_channel"]),
        ("loop { tick(); sleep(second).await; }", &[]),
        ("loop { if done() { break; } sleep(second).await; }", &[]),
    ] {
        check(&rust_async(body), expected);
    }
    check(&rust("std::thread::sleep(second);"), &[]);
    check(
        &rust("loop { tick(); std::thread::sleep(second); }"),
        &["rust.endless_polling"],
    );
    check(&rust("loop { if tick() { return; } std::thread::sleep(second); }"), &[]);
}

#[test]
fn doubtful_arithmetic_and_recursion_are_found() {
    for (text, expected) in [
        (
            "fn f(v: &[u8]) { let n = v.len() as u8; }",
            &["rust.narrowing_cast"][..],
        ),
        ("fn f(v: &[u8]) { let n = v.len() as u64; }", &[]),
        ("fn parse(data: &[u8]) -> u8 { data[3] }", &["rust.unchecked_slice"]),
        (
            "fn parse(data: &[u8]) -> u8 { if data.len() < 4 { return 0; } data[3] }",
            &[],
        ),
        ("fn cut(text: &str) -> &str { &text[..80] }", &["rust.text_cut_at_byte"]),
        ("fn cut(text: &str, at: usize) -> &str { &text[..at] }", &[]),
        (
            "fn last(v: &Vec<u8>) -> usize { v.len() - 1 }",
            &["rust.length_underflow"],
        ),
        (
            "fn last(v: &Vec<u8>) -> usize { if v.is_empty() { return 0; } v.len() - 1 }",
            &[],
        ),
        (
            "fn parse_value(t: &T) { parse_value(t.inner()); }",
            &["rust.unlimited_recursion"],
        ),
        (
            "fn parse_value(t: &T, depth: usize) { parse_value(t.inner(), depth + 1); }",
            &[],
        ),
        ("fn parse_value(t: &T) { other.parse_value(t); }", &[]),
        ("impl T { fn decode(&self) { decode(self.0); } }", &[]),
        (
            "impl T { fn decode(&self) { self.decode(); } }",
            &["rust.unlimited_recursion"],
        ),
        (
            "impl Format for T { fn parse(&self, text: &str) { self.parse(text); } }",
            &[],
        ),
        (
            "impl Format for T { fn parse(&self, text: &str) { self.parse(&text[1..]); } }",
            &["rust.unlimited_recursion"],
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_attackers_look_for_is_found() {
    for (text, expected) in [
        ("fn f() { unsafe { g() } }", &["rust.unsafe_unexplained"][..]),
        (
            "fn f() {\n    // SAFETY: g has no requirements.\n    unsafe { g() }\n}",
            &[],
        ),
        (
            "fn f() {\n    // SAFETY: as above.\n    let x =\n        unsafe { g() };\n}",
            &[],
        ),
        (
            "fn f(n: &str) { let q = format!(\"SELECT * FROM t WHERE n = '{n}'\"); }",
            &["rust.sql_by_format"],
        ),
        (
            "fn f(n: &str) { let q = format!(\"selected {n} from the list\"); }",
            &[],
        ),
        (
            "fn f(n: &str) { Command::new(\"sh\").arg(\"-c\").arg(format!(\"ls {n}\")); }",
            &["rust.shell_command"],
        ),
        (
            "fn f() { Client::builder().danger_accept_invalid_certs(true); }",
            &["rust.tls_unverified"],
        ),
        (
            "const API_KEY: &str = \"9f8a7b6c5d4e3f2a\";",
            &["any.hard_coded_secret"],
        ),
        ("const PASSWORD_FIELD: &str = \"password\";", &[]),
        ("static mut COUNT: u8 = 0;", &["rust.static_mut"]),
    ] {
        check(text, expected);
    }
}

#[test]
fn slow_loops_are_found() {
    for (body, expected) in [
        (
            "for l in lines { let r = Regex::new(\"a\"); }",
            &["rust.regex_in_loop"][..],
        ),
        ("while !queue.is_empty() { queue.remove(0); }", &["rust.front_of_vec"]),
        ("for i in 0..n { text.chars().nth(i); }", &["rust.nth_char_in_loop"]),
        ("text.chars().nth(1);", &[]),
    ] {
        check(&rust(body), expected);
    }
}

#[test]
fn rules_for_tests_fire_in_tests_alone() {
    let sleeping = "#[test]\nfn waits() { std::thread::sleep(second); assert!(done()); }\n";
    assert_eq!(found("tests/it.rs", sleeping), ["rust.sleeping_tests"]);
    assert_eq!(
        found("src/lib.rs", "fn waits() { std::thread::sleep(second); }\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        found("tests/it.rs", "#[test]\nfn idle() { work(); more(); }\n"),
        ["rust.test_without_check"]
    );
    assert_eq!(
        found("tests/it.rs", "#[test]\n#[ignore]\nfn off() { assert!(true); }\n"),
        ["rust.ignored_tests"]
    );
}

#[test]
fn python_is_reviewed_with_rules_of_its_own() {
    for (text, expected) in [
        (
            "def f():\n    try:\n        g()\n    except:\n        h()\n",
            &["python.bare_except"][..],
        ),
        (
            "def f():\n    try:\n        g()\n    except Exception:\n        pass\n",
            &["python.swallowed_exception"],
        ),
        (
            "def f():\n    try:\n        g()\n    except ValueError:\n        pass\n",
            &[],
        ),
        (
            "def f():\n    try:\n        g()\n    except Exception:\n        x = None\n",
            &["python.broad_except"],
        ),
        (
            "def f():\n    try:\n        g()\n    except Exception as e:\n        log.error(e)\n",
            &[],
        ),
        ("def f(a=[]):\n    a.append(1)\n", &["python.mutable_default"]),
        ("def f(a=[]):\n    return len(a)\n", &[]),
        ("def f(x):\n    return eval(x)\n", &["python.eval"]),
        ("def f():\n    return eval('1 + 1')\n", &[]),
        (
            "def f(x):\n    subprocess.run(f'ls {x}', shell=True)\n",
            &["python.shell_true"],
        ),
        ("def f(x):\n    subprocess.run(['ls', x])\n", &[]),
        ("def f(x):\n    os.system('rm ' + x)\n", &["python.os_system"]),
        (
            "def f(c, x):\n    c.execute(f'SELECT * FROM t WHERE a = {x}')\n",
            &["python.sql_by_format"],
        ),
        (
            "def f(c, x):\n    c.execute('SELECT * FROM t WHERE a = ?', (x,))\n",
            &[],
        ),
        ("def f():\n    requests.get(url)\n", &["python.request_without_timeout"]),
        ("def f():\n    requests.get(url, timeout=3)\n", &[]),
        ("async def f():\n    time.sleep(1)\n", &["python.blocking_in_async"]),
        (
            "async def f():\n    asyncio.create_task(g())\n",
            &["python.task_forgotten"],
        ),
        (
            "def f(d):\n    for k in d:\n        del d[k]\n",
            &["python.modified_while_iterated"],
        ),
        (
            "def f(d):\n    for k in d:\n        if k:\n            d.remove(k)\n            break\n",
            &[],
        ),
        ("def f(d):\n    for k in list(d):\n        del d[k]\n", &[]),
        ("def f(x):\n    return x is 'a'\n", &["python.literal_identity"]),
        ("def f(x):\n    return x is None\n", &[]),
        (
            "def f():\n    try:\n        g()\n    finally:\n        return 1\n",
            &["python.return_in_finally"],
        ),
        (
            "def make_token():\n    return random.choice(letters)\n",
            &["python.guessable_secret"],
        ),
        ("def f():\n    return yaml.load(text)\n", &["python.yaml_load"]),
        ("def f():\n    get(url, verify=False)\n", &["python.tls_unverified"]),
    ] {
        assert_eq!(found("pkg/a.py", text), expected, "{text}");
    }
    assert_eq!(
        found("tests/test_a.py", "def test_a():\n    work()\n    more()\n"),
        ["python.test_without_check"]
    );
}

#[path = "language_tests.rs"]
mod languages;

#[test]
fn a_cluster_is_one_match_that_reads_like_a_sentence() {
    let text = "impl Store {\n    pub fn load(&self) -> Result<(), Error> {\n        let a = File::open(p).unwrap();\n        let b = fs::read_to_string(q).unwrap();\n        Ok(())\n    }\n}\n";
    let set = pack::built_in().expect("the packs compile");
    let source = Source::parse("src/store.rs", Arc::from(text)).expect("parses");
    let matches = engine::apply(&source, set, &Rule::is_unasked).expect("the queries compile");
    assert_eq!(matches.len(), 1);
    let one = &matches[0];
    assert_eq!(
        one.claim,
        "`Store::load` panics when `File::open` or `fs::read_to_string` fails"
    );
    assert_eq!((one.line, one.lines.as_slice(), one.places), (3, &[3, 4][..], 2));
    assert!(one.in_fallible && one.public && one.function.as_deref() == Some("Store::load"));
}

#[tokio::test]
async fn the_tool_filters_orders_and_counts() {
    let (workspace, _dir) = workspace(&[
        (
            "src/a.rs",
            "pub fn f() { let x = File::open(p).unwrap(); let _ = file.flush(); }\n",
        ),
        ("src/b.rs", "pub async fn g() { std::thread::sleep(d); }\n"),
        ("conf/x.yaml", "key: |\n  -----BEGIN PRIVATE KEY-----\n  MIIEvQ\n"),
        ("c.kt", "fun main() {}\n"),
    ]);
    let ids = |result: &RulesResult| -> Vec<String> { result.results.iter().map(|m| m.rule.clone()).collect() };
    for (params, expected) in [
        (
            json!({}),
            &[
                "any.private_key",
                "rust.sleep_in_async",
                "rust.unwrap_io",
                "rust.discarded_result",
            ][..],
        ),
        (
            json!({"aspects": ["error_handling"]}),
            &["rust.unwrap_io", "rust.discarded_result"],
        ),
        (json!({"min_severity": "critical"}), &["any.private_key"]),
        (json!({"rules": ["rust.unwrap_*"]}), &["rust.unwrap_io"]),
        (json!({"aspects": ["panics"]}), &["rust.can_panic_on_value"]),
        (json!({"rules": ["rust.can_panic_*"]}), &["rust.can_panic_on_value"]),
        (json!({"paths": ["src/b.rs"]}), &["rust.sleep_in_async"]),
        (json!({"max_results": 1}), &["any.private_key"]),
    ] {
        let result: RulesResult = call(&workspace, "code.rules", params.clone()).await;
        assert_eq!(ids(&result), expected, "{params}");
        assert_eq!(result.omitted, result.matches - expected.len());
    }
    let result: RulesResult = call(&workspace, "code.rules", json!({})).await;
    assert_eq!(
        (result.functions, result.skipped.as_slice()),
        (2, &["c.kt".to_owned()][..])
    );
}

#[test]
fn every_place_that_can_panic_is_listed_for_those_who_ask() {
    let set = pack::built_in().expect("the packs compile");
    for (path, text, expected) in [
        (
            "src/a.rs",
            rust("let n = d.as_nanos().try_into().expect(\"584 years\");"),
            &["`work` can panic by `expect` in one place"][..],
        ),
        (
            "src/a.rs",
            rust("assert!(a > 1);\nmatch a { 1 => unreachable!(\"never\"), _ => {} }\ndebug_assert!(a > 2);"),
            &["`work` can panic by `assert` or `unreachable` in 2 places"],
        ),
        (
            "src/a.rs",
            rust(
                "a.expect(\n    \"a long message\",\n);\nb.expect(&format!(\"{x}\"));\nc.expect(text::WHY);\nd.unwrap_err();",
            ),
            &["`work` can panic by `expect` or `unwrap_err` in 4 places"],
        ),
        ("src/a.rs", rust("let n = value.unwrap_or(1);"), &[]),
        // What a program calls so itself.
        (
            "src/a.rs",
            rust("episodes.expect(&query);\nparser.expect(Token::Comma);\nbox_.unwrap(key);\nself.expect(b':')?;"),
            &[],
        ),
        ("tests/a.rs", rust("let n = value.unwrap();"), &[]),
        (
            "store.go",
            "package store\n\nfunc Load() {\n\tpanic(\"no\")\n}\n".to_owned(),
            &["`Load` can panic by `panic` in one place"],
        ),
    ] {
        let source = Source::parse(path, Arc::from(text.as_str())).expect("parses");
        let asked = |rule: &Rule| rule.data.aspect == "panics";
        let found = engine::apply(&source, set, &asked).expect("the queries compile");
        let claims: Vec<&str> = found.iter().map(|found| found.claim.as_str()).collect();
        assert_eq!(claims, expected, "{text}");
    }
    // A chain of calls is told by the line that panics, and not by the one it begins on.
    let text = "fn advance() {\n    let by = by\n        .try_into()\n        .expect(\"short\");\n}\n";
    let source = Source::parse("src/a.rs", Arc::from(text)).expect("parses");
    let found = engine::apply(&source, set, &|rule| rule.data.aspect == "panics").expect("the queries compile");
    assert_eq!(found[0].lines, [4]);
}
