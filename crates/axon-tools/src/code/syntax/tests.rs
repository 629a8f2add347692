//! Each language by the pieces and figures of one small file.

use std::sync::Arc;

use crate::code::metrics::measure;
use crate::code::source::Source;

fn parse(path: &str, text: &str) -> Source {
    Source::parse(path, Arc::from(text)).expect("parses")
}

fn items(path: &str, text: &str) -> Vec<String> {
    let source = parse(path, text);
    source
        .items
        .iter()
        .map(|item| {
            let marks = [
                (item.public, 'p'),
                (item.documented, 'd'),
                (item.is_async, 'a'),
                (item.test, 't'),
            ];
            let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            format!("{:?} {} {marks}", item.kind, item.qualified(source.language))
                .trim_end()
                .to_owned()
        })
        .collect()
}

/// Name, complexity, nesting and parameters of each function.
fn figures(path: &str, text: &str) -> Vec<(String, usize, usize, usize)> {
    measure(&parse(path, text))
        .into_iter()
        .map(|f| (f.name, f.complexity, f.nesting, f.parameters))
        .collect()
}

#[test]
fn go_is_outlined_and_measured() {
    let text = "package a\n\n// Pool keeps.\ntype Pool struct { n int }\n\n// Get takes.\nfunc (p *Pool) Get(a, b int, rest ...string) int {\n\tif a > 1 && b > 2 {\n\t\treturn 1\n\t} else if a == 0 {\n\t\tfor range rest {\n\t\t}\n\t}\n\tswitch a {\n\tcase 1:\n\tcase 2:\n\tdefault:\n\t}\n\treturn 0\n}\n\nfunc (m Map[K, V]) put() {}\n\nfunc free() { f := func() { if true { } }; f() }\n";
    assert_eq!(
        items("a.go", text),
        ["Type Pool pd", "Method Pool.Get pd", "Method Map.put", "Function free"]
    );
    assert_eq!(
        figures("a.go", text),
        [
            ("Pool.Get".to_owned(), 7, 2, 3),
            ("Map.put".to_owned(), 1, 0, 0),
            ("free".to_owned(), 2, 2, 0)
        ]
    );
    assert!(parse("a_test.go", text).is_test(0));
}

#[test]
fn typescript_and_javascript_are_outlined_and_measured() {
    let text = "/** Doc. */\nexport class Pool {\n  #size = 0;\n  constructor(private n: number) {}\n  async get(a: number, b?: string): Promise<void> {\n    for (const x of this.all) { if (x && a) { } else if (b) { } }\n  }\n  private put() { return this.n > 0 ? 1 : 2; }\n  on = (e: Event) => { if (e) { } };\n}\nexport interface Shape { area(): number }\n/** Adds. */\nexport const add = async (a: number, b: number) => a ?? b;\nconst one = x => x;\nfunction plain(a, b) { switch (a) { case 1: break; case 2: break; default: } }\nconst limit = 3;\nexport type Id = string;\nenum Color { Red }\n";
    let expected = [
        "Class Pool pd",
        "Method Pool.constructor p",
        "Method Pool.get pa",
        "Method Pool.put",
        "Method Pool.on p",
        "Trait Shape p",
        "Function add pda",
        "Function one",
        "Function plain",
        "Type Id p",
        "Enum Color",
    ];
    let measured = [
        ("Pool.constructor".to_owned(), 1, 0, 1),
        ("Pool.get".to_owned(), 5, 2, 2),
        ("Pool.put".to_owned(), 2, 0, 0),
        ("Pool.on".to_owned(), 2, 1, 1),
        ("add".to_owned(), 2, 0, 2),
        ("one".to_owned(), 1, 0, 1),
        ("plain".to_owned(), 3, 1, 2),
    ];
    for path in ["src/pool.ts", "src/pool.tsx", "src/pool.js"] {
        assert_eq!(items(path, text), expected, "{path}");
        assert_eq!(figures(path, text), measured, "{path}");
    }
    // What only one of the two grammars can read is read by the right one.
    assert_eq!(items("a.ts", "const f = <T>(x: T) => <any>x;\n"), ["Function f"]);
    assert_eq!(items("a.tsx", "const V = () => <b>{f(1)}</b>;\n"), ["Function V"]);
    assert_eq!(items("a.jsx", "function V() { return <b/>; }\n"), ["Function V"]);
}

#[test]
fn functions_that_are_assigned_are_items_too() {
    let text = "/** Opens. */\n\nexports.open = function (path, mode) { if (mode) { } };\nmodule.exports = function create() { };\napp.use = (fn) => { };\nPool.prototype.get = function get(a) { return a; };\nthis.later = function () { };\nmodule.exports = { put: function (a, b) { }, size: 3 };\nlimit = 3;\n";
    assert_eq!(
        items("src/pool.js", text),
        [
            "Function open pd",
            "Function exports p",
            "Method app.use",
            "Method Pool.get p",
            "Function later",
            "Function put"
        ]
    );
    assert_eq!(
        figures("src/pool.js", text),
        [
            ("open".to_owned(), 2, 1, 2),
            ("exports".to_owned(), 1, 0, 0),
            ("app.use".to_owned(), 1, 0, 1),
            ("Pool.get".to_owned(), 1, 0, 1),
            ("later".to_owned(), 1, 0, 0),
            ("put".to_owned(), 1, 0, 2),
        ]
    );
}

#[test]
fn java_is_outlined_and_measured() {
    let text = "/** Doc. */\npublic class Pool {\n  public Pool(int n) { }\n  /** Takes. */\n  public int get(int a, String... rest) {\n    for (String s : rest) { if (a > 1 || s == null) { } else if (a == 0) { } }\n    switch (a) { case 1: return 1; case 2: return 2; default: return 3; }\n  }\n  @Test\n  void works() { }\n  private static void put() { try { g(); } catch (Exception e) { } }\n}\ninterface Shape { double area(); }\nenum Color { RED }\nrecord Point(int x, int y) { }\n";
    assert_eq!(
        items("Pool.java", text),
        [
            "Class Pool pd",
            "Method Pool.Pool p",
            "Method Pool.get pd",
            "Method Pool.works t",
            "Method Pool.put",
            "Trait Shape",
            "Method Shape.area p",
            "Enum Color",
            "Class Point"
        ]
    );
    assert_eq!(
        figures("Pool.java", text),
        [
            ("Pool.Pool".to_owned(), 1, 0, 1),
            ("Pool.get".to_owned(), 7, 2, 2),
            ("Pool.put".to_owned(), 2, 1, 0),
            ("Shape.area".to_owned(), 1, 0, 0)
        ]
    );
    assert!(parse("src/PoolTest.java", text).is_test(0));
}

#[test]
fn c_is_outlined_and_measured() {
    let text = "struct pool { int n; };\ntypedef struct pool pool_t;\n#define MAX(a, b) ((a) > (b) ? (a) : (b))\n/* Takes. */\nint get(struct pool *p, int a, ...) {\n  if (a > 1 && p) { while (a) { a--; } } else if (a == 0) { }\n  switch (a) { case 1: return 1; case 2: return 2; default: return 3; }\n}\n\nstatic char **names(void) { return a ? b : c; }\nstruct pool *make() { return 0; }\n";
    assert_eq!(
        items("pool.c", text),
        [
            "Struct pool p",
            "Type pool_t p",
            "Macro MAX p",
            "Function get pd",
            "Function names",
            "Function make p"
        ]
    );
    assert_eq!(
        figures("pool.c", text),
        [
            ("get".to_owned(), 7, 2, 3),
            ("names".to_owned(), 2, 0, 0),
            ("make".to_owned(), 1, 0, 0)
        ]
    );
}

#[test]
fn text_made_to_be_slow_or_broken_is_parsed_all_the_same() {
    let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(20_000), close.repeat(20_000));
    for (path, text) in [
        ("a.ts", deep("(() => {", "})")),
        ("a.js", deep("[", "]")),
        ("a.go", format!("package a\nfunc f() {{ {} }}\n", deep("if a {", "}"))),
        ("a.java", deep("class A {", "}")),
        ("a.c", format!("int f() {{ {} }}", deep("if (a) {} else ", ""))),
        ("a.rs", deep("fn f() { if a {", "}}")),
        ("b.c", "int f(((((* {{{ \u{0} \u{fffd} struct struct }".repeat(500)),
        ("b.ts", "export const = => class { async * (".repeat(500)),
    ] {
        let started = std::time::Instant::now();
        measure(&parse(path, &text));
        assert!(started.elapsed().as_secs() < 20, "{path} took {:?}", started.elapsed());
    }
}
