use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::{Secret, health, telemetry};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    bus: Bus,
    worker: Worker,
    telemetry: telemetry::Config,
    health: health::Config,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Bus {
    url: String,
    password: Option<Secret>,
    tries: Option<u16>,
    servers: Vec<String>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            password: None,
            tries: None,
            servers: vec!["one".to_owned()],
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Worker {
    slots: u16,
    max_load: f64,
    balance: bool,
    ack_wait_ms: u64,
    groups: BTreeMap<String, Vec<String>>,
    limits: Limits,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Limits {
    tool_calls_max: i32,
}

impl Default for Worker {
    fn default() -> Self {
        let groups = BTreeMap::from([("reviewer".to_owned(), vec!["CodeReview".to_owned()])]);
        Self {
            slots: 2,
            max_load: 0.8,
            balance: true,
            ack_wait_ms: 6000,
            groups,
            limits: Limits::default(),
        }
    }
}

fn load_text(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("axon.toml");
    std::fs::write(&path, file).expect("written");
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<(&str, String)> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    load_from(Some(&path), environment, &flags)
}

#[test]
fn nothing_given_means_the_defaults() {
    let config: Config = load_from(None, [], &[]).expect("loads");
    assert_eq!(
        serde_json::to_value(config).expect("json"),
        serde_json::to_value(Config::default()).expect("json")
    );
}

#[test]
fn later_layers_win_key_by_key() {
    let file = "[worker]\nslots = 3\nmax_load = 1\n[bus]\nurl = 'file'\n";
    for (environment, flags, slots, url) in [
        (&[][..], &[][..], 3, "file"),
        (&[("AXON_WORKER__SLOTS", "4")], &[], 4, "file"),
        (&[("AXON_WORKER__SLOTS", "4")], &[("worker.slots", "5")], 5, "file"),
        (&[("AXON_BUS__URL", "env")], &[("worker.slots", "5")], 5, "env"),
    ] {
        let config = load_text(file, environment, flags).expect("loads");
        assert_eq!(
            (config.worker.slots, config.bus.url.as_str()),
            (slots, url),
            "{environment:?} {flags:?}"
        );
        assert_eq!(config.worker.max_load, 1.0);
        assert_eq!(config.worker.ack_wait_ms, 6000);
    }
}

#[test]
fn text_takes_the_type_of_the_default() {
    let environment = [
        ("AXON_BUS__PASSWORD", "hunter2"),
        ("AXON_BUS__TRIES", "7"),
        ("AXON_BUS__SERVERS", "a, b,,c"),
        ("AXON_WORKER__MAX_LOAD", "0.5"),
        ("AXON_WORKER__BALANCE", "off"),
        ("AXON_WORKER__LIMITS__TOOL_CALLS_MAX", "-1"),
        ("AXON_WORKER__GROUPS__TESTER", "Testing"),
        ("AXON_TELEMETRY__FORMAT", "json"),
        ("AXON_HEALTH__LISTEN", ""),
    ];
    let config = load_text("", &environment, &[]);
    // A map accepts new keys; their values have no default to take the type from.
    let error = config.expect_err("a list was expected").to_string();
    assert!(
        error.contains("worker.groups.tester") && error.contains("AXON_WORKER__GROUPS__TESTER"),
        "{error}"
    );

    let fitting: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| !name.contains("GROUPS"))
        .collect();
    let config = load_text("[worker.groups]\ntester = ['Testing']\n", &fitting, &[]).expect("loads");
    assert_eq!(config.bus.password.expect("given").expose(), "hunter2");
    assert_eq!(config.bus.tries, Some(7));
    assert_eq!(config.bus.servers, ["a", "b", "c"]);
    assert_eq!(config.worker.max_load, 0.5);
    assert!(!config.worker.balance);
    assert_eq!(config.worker.limits.tool_calls_max, -1);
    assert_eq!(config.worker.groups.keys().collect::<Vec<_>>(), ["reviewer", "tester"]);
    assert_eq!(config.telemetry.format, telemetry::Format::Json);
    assert_eq!(config.health.listen, "");
}

#[test]
fn an_empty_text_unsets_what_is_optional() {
    let config = load_text("[bus]\ntries = 3\n", &[("AXON_BUS__TRIES", "")], &[("bus.servers", "")]).expect("loads");
    assert_eq!(config.bus.tries, None);
    assert!(config.bus.servers.is_empty());
}

#[test]
fn sections_of_other_roles_are_left_to_them() {
    let file = "[lead]\nanything = [1, 2]\n[registry]\nx = 1\n[worker]\nslots = 9\n";
    let environment = [
        ("AXON_LEAD__ANYTHING", "1"),
        ("AXON_CONFIG", "x"),
        ("AXON_HOME", "/"),
        ("HOME", "/"),
    ];
    assert_eq!(load_text(file, &environment, &[]).expect("loads").worker.slots, 9);
}

#[test]
fn every_mistake_is_named_with_its_origin_and_the_nearest_key() {
    let none: &[(&str, &str)] = &[];
    for (file, environment, flags, expected) in [
        (
            "[worker]\nslot = 1",
            none,
            none,
            &["`worker.slot`", "axon.toml", "did you mean `worker.slots`"][..],
        ),
        (
            "[worker.limits]\ntool_call_max = 1",
            none,
            none,
            &["`worker.limits.tool_call_max`", "tool_calls_max`?"],
        ),
        ("[bus]\nslots = 1", none, none, &["`bus.slots`", "`worker.slots`?"]),
        ("[buss]\nurl = 1", none, none, &["`buss`", "axon.toml", "`bus`?"]),
        ("[leed]\nurl = 1", none, none, &["`leed`", "`lead`?"]),
        ("slots = 1", none, none, &["`slots`", "axon.toml"]),
        (
            "",
            &[("AXON_BUS__URLL", "x")],
            none,
            &["`bus.urll`", "AXON_BUS__URLL", "`bus.url`?"],
        ),
        (
            "",
            &[("AXON_BUSS__URL", "x")],
            none,
            &["`buss.url`", "AXON_BUSS__URL", "`bus`?"],
        ),
        ("", &[("AXON_BUS__", "x")], none, &["`bus.`", "AXON_BUS__"]),
        (
            "",
            &[("AXON_BUS_URL", "x")],
            none,
            &["`AXON_BUS_URL`", "`AXON_BUS__URL`?"],
        ),
        (
            "",
            none,
            &[("worker.slotz", "1")],
            &["`worker.slotz`", "command line", "`worker.slots`?"],
        ),
        ("", none, &[("lead.x", "1")], &["`lead.x`", "command line"]),
        (
            "",
            none,
            &[("worker..slots", "1")],
            &["`worker..slots`", "`worker.slots`?"],
        ),
        (
            "[worker]\nslots = 'many'",
            none,
            none,
            &["`worker.slots`", "axon.toml", "a whole number", "\"many\""],
        ),
        (
            "[worker]\nslots = 4.5",
            none,
            none,
            &["`worker.slots`", "a whole number", "4.5"],
        ),
        (
            "[worker]\nslots = true",
            none,
            none,
            &["`worker.slots`", "a whole number", "true"],
        ),
        (
            "[worker]\nslots = -1",
            none,
            none,
            &["`worker.slots`", "axon.toml", "-1"],
        ),
        (
            "[worker]\nslots = 70000",
            none,
            none,
            &["`worker.slots`", "axon.toml", "70000"],
        ),
        (
            "[worker]\nbalance = 1",
            none,
            none,
            &["`worker.balance`", "true or false"],
        ),
        (
            "[worker.limits]\ntool_calls_max = 'x'",
            none,
            none,
            &["`worker.limits.tool_calls_max`", "axon.toml"],
        ),
        ("[bus]\nservers = 'x'", none, none, &["`bus.servers`", "a list"]),
        ("[bus]\nurl = ['x']", none, none, &["`bus.url`", "axon.toml", "string"]),
        ("bus = 3", none, none, &["`bus`", "axon.toml"]),
        (
            "[telemetry]\nformat = 'yaml'",
            none,
            none,
            &["`telemetry.format`", "axon.toml", "`text` or `json`"],
        ),
        (
            "",
            &[("AXON_WORKER__SLOTS", "")],
            none,
            &["`worker.slots`", "AXON_WORKER__SLOTS", "a whole number"],
        ),
        (
            "",
            &[("AXON_BUS__TRIES", "x")],
            none,
            &["`bus.tries`", "AXON_BUS__TRIES", "integer"],
        ),
        (
            "",
            &[("AXON_WORKER__MAX_LOAD", "NaN")],
            none,
            &["`worker.max_load`", "a number"],
        ),
        (
            "",
            &[("AXON_WORKER__BALANCE", "perhaps")],
            none,
            &["`worker.balance`", "AXON_WORKER__BALANCE"],
        ),
        (
            "",
            &[("AXON_BUS__PASSWORD", "***")],
            none,
            &["`bus.password`", "hidden secret"],
        ),
        ("", none, &[("bus", "x")], &["`bus`", "command line"]),
        (
            "",
            none,
            &[("bus.url", "x"), ("bus.url.y", "z")],
            &["`bus.url.y`", "command line"],
        ),
        ("[worker", none, none, &["not valid TOML", "axon.toml", "line 1"]),
    ] {
        let message = load_text(file, environment, flags).expect_err(file).to_string();
        for part in expected {
            assert!(message.contains(part), "no {part} in: {message}");
        }
    }
}

#[test]
fn a_secret_value_is_never_part_of_a_message() {
    let error = load_text("", &[("AXON_BUS__PASSWORDS", "hunter2")], &[]).expect_err("unknown");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn the_file_named_is_the_file_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let named = |value: &str| vec![(FILE_VARIABLE.to_owned(), value.to_owned())];
    assert_eq!(find_file(None, &[], folder.path()), None);
    let default = folder.path().join(DEFAULT_FILE);
    std::fs::write(&default, "").expect("written");
    assert_eq!(find_file(None, &[], folder.path()), Some(default.clone()));
    assert_eq!(find_file(None, &named(""), folder.path()), Some(default));
    assert_eq!(find_file(None, &named("b.toml"), folder.path()), Some("b.toml".into()));
    assert_eq!(
        find_file(Some(Path::new("a.toml")), &named("b.toml"), folder.path()),
        Some("a.toml".into())
    );

    let missing = load_from::<Config>(Some(Path::new("/nowhere/axon.toml")), [], &[]).expect_err("missing");
    assert!(missing.to_string().contains("/nowhere/axon.toml"), "{missing}");
}

#[test]
fn keys_are_listed_with_their_defaults() {
    let keys = keys::<Config>().expect("lists");
    assert!(keys.contains(&("worker.ack_wait_ms".to_owned(), 6000.into())));
    assert!(keys.contains(&("bus.password".to_owned(), serde_json::Value::Null)));
    assert!(keys.contains(&("worker.groups.reviewer".to_owned(), serde_json::json!(["CodeReview"]))));
}
