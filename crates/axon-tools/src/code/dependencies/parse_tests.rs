//! Each format by one file that says everything its kind usually says.

use super::*;

fn read(path: &str, text: &str) -> Vec<String> {
    let format = format_of(path).expect("a known file");
    let show = |entry: &Entry| format!("{}:{} {} {:?}", entry.line, entry.name, entry.version, entry.part);
    format.entries(text).iter().map(show).collect()
}

#[test]
fn cargo_declares_and_locks() {
    let text = "[package]\nname = \"a\"\nversion = \"1\"\n\n[dependencies]\n# a remark = 1\nserde = { version = \"1.0\", features = [\"derive\"] }\nregex = \"1\"\nlocal = { path = \"../local\" }\nshared.workspace = true\n\n[dependencies.tokio]\nversion = \"1.2\"\nfeatures = [\n  \"rt\",\n]\n\n[dev-dependencies]\nproptest = \"1\"\n[target.'cfg(unix)'.build-dependencies]\ncc = \"1\"\n[workspace.dependencies]\nfar = { git = \"https://example.org/far\" }\n[features]\ndefault = [\"x\"]\n";
    assert_eq!(
        read("sub/Cargo.toml", text),
        [
            "7:serde 1.0 Normal",
            "8:regex 1 Normal",
            "9:local path Normal",
            "10:shared workspace Normal",
            "12:tokio 1.2 Normal",
            "19:proptest 1 Development",
            "21:cc 1 Build",
            "23:far git Normal",
        ]
    );
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"b\"\nversion = \"2.1.0\"\n[metadata]\nname = \"no\"\n";
    assert_eq!(read("Cargo.lock", lock), ["4:a 1.0.0 Normal", "11:b 2.1.0 Normal"]);
    assert_eq!(read("poetry.lock", lock).len(), 2);
}

#[test]
fn npm_declares_and_locks() {
    let text = "{\n  \"name\": \"left\",\n  \"dependencies\": {\n    \"left\": \"^1.0.0\",\n    \"@scope/right\": \"latest\"\n  },\n  \"devDependencies\": { \"jest\": \"29\" }\n}\n";
    assert_eq!(
        read("package.json", text),
        [
            "4:left ^1.0.0 Normal",
            "5:@scope/right latest Normal",
            "7:jest 29 Development"
        ]
    );
    let lock = "{\n \"packages\": {\n  \"\": { \"version\": \"1\" },\n  \"node_modules/left\": { \"version\": \"1.0.2\" },\n  \"node_modules/a/node_modules/@s/b\": {\n   \"version\": \"2.0.0\", \"dev\": true }\n }\n}\n";
    assert_eq!(
        read("package-lock.json", lock),
        ["4:left 1.0.2 Normal", "5:@s/b 2.0.0 Development"]
    );
    let old = "{\n \"dependencies\": {\n  \"left\": { \"version\": \"1.0.2\" }\n }\n}\n";
    assert_eq!(read("package-lock.json", old), ["3:left 1.0.2 Normal"]);
    let yarn = "# yarn lockfile v1\n\n\"@s/b@^2.0.0\", \"@s/b@^2.1.0\":\n  version \"2.1.3\"\n  dependencies:\n    left \"1\"\n\nleft@^1.0.0:\n  version \"1.0.2\"\n";
    assert_eq!(read("yarn.lock", yarn), ["3:@s/b 2.1.3 Normal", "8:left 1.0.2 Normal"]);
    let pnpm = "lockfileVersion: '9.0'\npackages:\n\n  '@s/b@2.1.3':\n    resolution: {}\n  /left@1.0.2(x@1):\n    dev: true\nsnapshots:\n  'no@1': {}\n";
    assert_eq!(
        read("pnpm-lock.yaml", pnpm),
        ["4:@s/b 2.1.3 Normal", "6:left 1.0.2 Normal"]
    );
    for broken in ["", "{", "[1]", "{\"dependencies\": [1]}", &"[".repeat(10_000)] {
        assert_eq!(read("package.json", broken), Vec::<String>::new());
        assert_eq!(read("package-lock.json", broken), Vec::<String>::new());
    }
}

#[test]
fn python_declares_in_three_ways() {
    let text = "# remark\n-r other.txt\nrequests[socks] >= 2.0, <3 ; python_version > \"3\"\nflask==2.0.1  # web\nplain\n./local\ngit+https://example.org/x\n";
    assert_eq!(
        read("requirements-dev.txt", text),
        [
            "3:requests >=2.0,<3 Normal",
            "4:flask ==2.0.1 Normal",
            "5:plain  Normal"
        ]
    );
    let text = "[project]\nname = \"x\"\ndependencies = [\n  \"httpx>=0.2\",\n  \"rich\",\n]\n[project.optional-dependencies]\ncli = [\"click~=8.0\"]\n[dependency-groups]\ndev = [\"pytest\"]\n[tool.poetry.dependencies]\npython = \"^3.9\"\ndjango = \"^4\"\ncelery = { version = \"5\", extras = [\"redis\"] }\n[tool.poetry.group.test.dependencies]\nmypy = \"*\"\n";
    assert_eq!(
        read("pyproject.toml", text),
        [
            "4:httpx >=0.2 Normal",
            "5:rich  Normal",
            "8:click ~=8.0 Optional",
            "10:pytest  Development",
            "13:django ^4 Normal",
            "14:celery 5 Normal",
            "16:mypy * Development",
        ]
    );
    assert_eq!(read("pyproject.toml", "[broken"), Vec::<String>::new());
}

#[test]
fn go_maven_and_gradle_declare() {
    let text = "module example.org/a\n\ngo 1.22\n\nrequire github.com/x/one v1.0.0\n\nrequire (\n\tgithub.com/x/two v0.2.0\n\tgolang.org/x/net v0.1.0 // indirect\n)\nreplace github.com/x/one => ../one\n";
    assert_eq!(
        read("go.mod", text),
        [
            "5:github.com/x/one v1.0.0 Normal",
            "8:github.com/x/two v0.2.0 Normal",
            "9:golang.org/x/net v0.1.0 Indirect",
        ]
    );
    let text = "<project>\n<version>1</version>\n<properties><j.version>5.1</j.version></properties>\n<dependencies>\n<dependency>\n<groupId>org.a</groupId>\n<artifactId>b</artifactId>\n<version>2.0</version>\n<exclusions><exclusion><groupId>no</groupId><artifactId>no</artifactId></exclusion></exclusions>\n</dependency>\n<dependency><groupId>org.j</groupId><artifactId>j</artifactId><version>${j.version}</version><scope>test</scope></dependency>\n</dependencies></project>\n";
    assert_eq!(
        read("pom.xml", text),
        ["7:org.a:b 2.0 Normal", "11:org.j:j 5.1 Development"]
    );
    let text = "dependencies {\n    implementation 'org.a:b:1.0'\n    testImplementation(\"org.j:j:5.1\")\n    api(platform(\"org.p:bom:3\"))\n    runtimeOnly 'org.n:none'\n    implementation project(':core')\n}\n";
    assert_eq!(
        read("app/build.gradle.kts", text),
        [
            "2:org.a:b 1.0 Normal",
            "3:org.j:j 5.1 Development",
            "4:org.p:bom 3 Normal",
            "5:org.n:none  Normal"
        ]
    );
    assert!(format_of("src/main.rs").is_none() && format_of("requirements.md").is_none());
}
