//! The packs of Go, JavaScript, TypeScript, Java and C by what they must find and what they must leave alone.

use super::found;

fn check(path: &str, rows: &[(&str, &[&str])]) {
    for (text, expected) in rows {
        assert_eq!(found(path, text), *expected, "{text}");
    }
}

#[test]
fn go_is_reviewed_with_rules_of_its_own() {
    let function =
        |body: &str| format!("package store\n\nfunc Load(path string) error {{\n\t{body}\n\treturn nil\n}}\n");
    for (body, expected) in [
        ("n, _ := strconv.Atoi(path)", &["go.discarded_error"][..]),
        ("n, _ := strconv.Atoi(path) // digits only, checked above", &[]),
        ("n, err := strconv.Atoi(path)", &[]),
        ("v, _ := cache.Lookup(path)", &[]),
        ("os.WriteFile(path, data, 0o600)", &["go.ignored_error"]),
        (
            "if err := os.WriteFile(path, data, 0o600); err != nil { return err }",
            &[],
        ),
        ("if path == \"\" { panic(\"no path\") }", &["go.panic_in_library"]),
        ("if path == \"\" { panic(\"unreachable\") }", &[]),
        ("log.Fatalf(\"cannot load %s\", path)", &["go.exit_in_library"]),
        (
            "for _, p := range paths { f, err := os.Open(p); defer f.Close() }",
            &["go.defer_in_loop"],
        ),
        ("for _, p := range paths { func() { defer p.Close() }() }", &[]),
        ("defer f.Close()", &[]),
        ("r, err := http.Get(path)", &["go.client_without_timeout"]),
        ("r, err := client.Get(path)", &[]),
        ("c := &tls.Config{InsecureSkipVerify: true}", &["go.tls_unverified"]),
        ("c := &tls.Config{InsecureSkipVerify: false}", &[]),
        (
            "exec.Command(\"sh\", \"-c\", \"ls \"+path).Run()",
            &["go.shell_command"],
        ),
        ("exec.Command(\"ls\", path).Run()", &[]),
        (
            "q := fmt.Sprintf(\"SELECT a FROM t WHERE n = '%s'\", path)",
            &["go.sql_by_format"],
        ),
        (
            "rows, err := db.Query(\"SELECT a FROM t WHERE n = '\" + path)",
            &["go.sql_by_format"],
        ),
        ("rows, err := db.Query(\"SELECT a FROM t WHERE n = ?\", path)", &[]),
        ("q := fmt.Sprintf(\"update of %s\", path)", &[]),
        (
            "for { select { case <-done: return nil; case <-time.After(d): } }",
            &["go.timer_in_loop"],
        ),
        ("<-time.After(d)", &[]),
    ] {
        check("pkg/store.go", &[(&function(body), expected)]);
    }
    let token = "package a\nfunc newToken() int { return rand.Intn(9) }\n";
    let jitter = "package a\nfunc jitter() int { return rand.Intn(9) }\n";
    check("pkg/a.go", &[(token, &["go.guessable_secret"]), (jitter, &[])]);
    let panics = "package main\nfunc start() { panic(1) }\n";
    check("pkg/a.go", &[(panics, &[])]);
    // What ends a program is right where the program begins, and what tests do is their own affair.
    let exits = "package main\nfunc start() { log.Fatal(1) }\n";
    check("pkg/a.go", &[(exits, &[])]);
    check("pkg/a_test.go", &[(&function("n, _ := strconv.Atoi(path)"), &[])]);
}

#[test]
fn javascript_and_typescript_share_their_rules() {
    let rows: &[(&str, &[&str])] = &[
        ("function f() { try { g() } catch (e) {} }", &["javascript.empty_catch"]),
        ("function f() { try { g() } catch { /* nothing to close */ } }", &[]),
        ("function f() { try { g() } catch (e) { log(e) } }", &[]),
        (
            "function f() { load().then(show) }",
            &["javascript.promise_without_catch"],
        ),
        ("function f() { load().then(show, failed) }", &[]),
        ("function f() { load().then(show).catch(failed) }", &[]),
        ("async function f() { await load().then(show) }", &[]),
        (
            "function f(xs) { xs.forEach(async (x) => { await g(x) }) }",
            &["javascript.async_for_each"],
        ),
        ("function f(xs) { xs.forEach((x) => g(x)) }", &[]),
        (
            "function f() { try { g() } finally { return 1 } }",
            &["javascript.return_in_finally"],
        ),
        ("function f(x) { return eval(x) }", &["javascript.eval"]),
        ("function f() { return eval('1 + 1') }", &[]),
        ("const run = (x) => new Function(x)", &["javascript.eval"]),
        (
            "function f(el, x) { el.innerHTML = x }",
            &["javascript.markup_from_value"],
        ),
        ("function f(el, x) { el.innerHTML = sanitize(x) }", &[]),
        ("function f(el) { el.innerHTML = '<b>x</b>' }", &[]),
        ("function f(x) { exec(`rm ${x}`) }", &["javascript.shell_command"]),
        (
            "function f(x) { cp.execSync('rm ' + x) }",
            &["javascript.shell_command"],
        ),
        ("function f(x) { execFile('rm', [x]); re.exec(a + b) }", &[]),
        (
            "function f(x) { db.query(`SELECT * FROM t WHERE a = ${x}`) }",
            &["javascript.sql_by_template"],
        ),
        ("function f(x) { db.query('SELECT * FROM t WHERE a = ?', [x]) }", &[]),
        (
            "function f() { https.get({ rejectUnauthorized: false }) }",
            &["javascript.tls_unverified"],
        ),
        (
            "function makeToken() { return Math.random() }",
            &["javascript.guessable_secret"],
        ),
        ("function jitter() { return Math.random() }", &[]),
    ];
    for path in ["src/a.js", "src/a.mjs", "src/a.ts", "src/a.tsx"] {
        check(path, rows);
    }
    let markup = "const View = (p) => <div dangerouslySetInnerHTML={{ __html: p.text }} />";
    check("src/a.jsx", &[(markup, &["javascript.markup_from_value"])]);
    check("src/a.test.ts", &[("function f(x) { return eval(x) }", &[])]);
    let casts = "const a = x as any; const b = <T>(y as any); f(z as any);";
    check(
        "src/a.ts",
        &[
            (casts, &["typescript.any_cast"]),
            ("const a = x as any;", &[]),
            ("// @ts-ignore\nf(x)", &["typescript.check_silenced"]),
            ("// @ts-expect-error the declaration is wrong\nf(x)", &[]),
        ],
    );
    check("src/a.js", &[("// @ts-ignore\nf(x)", &[])]);
}

#[test]
fn java_is_reviewed_with_rules_of_its_own() {
    let class =
        |body: &str| format!("class Store {{\n  void load(String name) throws Exception {{\n    {body}\n  }}\n}}\n");
    for (body, expected) in [
        ("try { g(); } catch (IOException e) { }", &["java.empty_catch"][..]),
        ("try { g(); } catch (IOException e) { /* closed already */ }", &[]),
        ("try { g(); } catch (Exception e) { count = 0; }", &["java.broad_catch"]),
        ("try { g(); } catch (Exception e) { throw new StoreException(e); }", &[]),
        ("try { g(); } catch (IOException e) { count = 0; }", &[]),
        (
            "try { g(); } catch (IOException e) { e.printStackTrace(); }",
            &["java.printed_stack_trace"],
        ),
        (
            "try { g(); } catch (InterruptedException e) { }",
            &["java.swallowed_interrupt"],
        ),
        (
            "try { g(); } catch (InterruptedException e) { Thread.currentThread().interrupt(); }",
            &[],
        ),
        ("if (name == \"all\") { g(); }", &["java.text_identity"]),
        ("if (name == null || name.equals(\"all\")) { g(); }", &[]),
        ("try { g(); } finally { return; }", &["java.return_in_finally"]),
        (
            "FileReader r = new FileReader(name); r.read();",
            &["java.resource_left_open"],
        ),
        ("try (FileReader r = new FileReader(name)) { r.read(); }", &[]),
        (
            "s.executeQuery(\"SELECT * FROM t WHERE a = '\" + name + \"'\");",
            &["java.sql_by_concatenation"],
        ),
        (
            "s.executeQuery(String.format(\"SELECT * FROM t WHERE a = '%s'\", name));",
            &["java.sql_by_concatenation"],
        ),
        ("s.executeQuery(\"SELECT * FROM t \" + \"WHERE a = 1\");", &[]),
        ("s.prepareStatement(\"SELECT * FROM t WHERE a = ?\");", &[]),
        ("Runtime.getRuntime().exec(\"rm \" + name);", &["java.shell_command"]),
        ("new ProcessBuilder(\"rm\", name).start();", &[]),
        (
            "Object o = new ObjectInputStream(in).readObject();",
            &["java.deserialized_objects"],
        ),
        (
            "MessageDigest d = MessageDigest.getInstance(\"MD5\");",
            &["java.weak_digest"],
        ),
        ("MessageDigest d = MessageDigest.getInstance(\"SHA-256\");", &[]),
    ] {
        check("src/main/java/Store.java", &[(&class(body), expected)]);
        check("src/test/java/StoreTest.java", &[(&class(body), &[])]);
    }
    let token = "class T { String newToken() { return \"\" + new Random().nextInt(); } }";
    let pick = "class T { int pick() { return new Random().nextInt(); } }";
    check("src/T.java", &[(token, &["java.guessable_secret"]), (pick, &[])]);
}

#[test]
fn c_is_reviewed_with_rules_of_its_own() {
    let function = |body: &str| format!("int load(char *name, char *out) {{\n  {body}\n  return 0;\n}}\n");
    for (body, expected) in [
        ("gets(out);", &["c.gets"][..]),
        ("fgets(out, 10, stdin);", &[]),
        ("strcpy(out, name);", &["c.unbounded_copy"]),
        ("strcpy(out, \"all\");", &[]),
        ("if (strlen(name) < 9) strcpy(out, name);", &[]),
        ("sprintf(out, \"%s\", name);", &["c.unbounded_copy"]),
        ("sprintf(out, \"%d\", 7);", &[]),
        ("snprintf(out, 10, \"%s\", name);", &[]),
        ("printf(name);", &["c.format_from_value"]),
        ("fprintf(stderr, name);", &["c.format_from_value"]),
        ("printf(\"%s\", name); printf(USAGE);", &[]),
        ("system(name);", &["c.shell_command"]),
        ("system(\"sync\");", &[]),
        ("sscanf(name, \"%s\", out);", &["c.scanned_without_width"]),
        ("sscanf(name, \"%9s %d\", out, &n);", &[]),
        ("tmpnam(out);", &["c.predictable_temp"]),
        ("p = realloc(p, 10);", &["c.realloc_over_itself"]),
        ("q = realloc(p, 10);", &[]),
        ("char *p = malloc(10); p[0] = 1;", &["c.unchecked_allocation"]),
        ("char *p = malloc(10); if (!p) return 1; p[0] = 1;", &[]),
        ("char *p = malloc(10); (void)n; return p;", &[]),
        ("if (n = 3) { g(); }", &["c.assigned_condition"]),
        ("if (n == 3) { g(); }", &[]),
        ("if ((n = next())) { g(); }", &[]),
    ] {
        check("src/load.c", &[(&function(body), expected)]);
        check("tests/load.c", &[(&function(body), &[])]);
    }
}
