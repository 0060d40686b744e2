use std::collections::BTreeSet;

use figment::providers::{Format as _, Toml};
use mainstay_actors::{
    fallback::CacheConfig,
    profile::{Clay, Retell},
};
use serde_json::Value as Json;

use super::*;
use crate::settings::{EXAMPLE, SettingsError, parse};

fn tables(text: &str) -> (RuntimeConfig, Vec<VendorConfig>) {
    let mut faults = Vec::new();
    let read = read(&Figment::from(Toml::string(text)), &mut faults);
    assert_eq!(faults, []);
    read
}

fn faults_of(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(SettingsError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn as_json(table: &impl Serialize) -> Json {
    serde_json::to_value(table).unwrap()
}

/// The names of all keys, the nested ones too.
fn keys(value: &Json, found: &mut BTreeSet<String>) {
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Json::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

fn clay() -> VendorConfig {
    VendorConfig::clay("clay", Clay::table("https://api.clay.com/hook"))
}

#[test]
fn the_example_is_right_and_names_every_key_there_is() {
    assert_eq!(faults_of(EXAMPLE), NOTHING);
    let mut all = BTreeSet::new();
    keys(&as_json(&VendorTable::of(&clay())), &mut all);
    keys(&as_json(&RuntimeTable::of(&RuntimeConfig::default())), &mut all);
    keys(&as_json(&CacheConfig::default()), &mut all);
    let words: BTreeSet<_> = EXAMPLE.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = all.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_the_example_only_suggests_can_be_said() {
    let said = EXAMPLE.replace("# window =", "window =").replace("# hours =", "hours =");
    assert_eq!(faults_of(&said), NOTHING);
}

#[test]
fn every_value_of_the_example_is_the_default() {
    let (runtime, vendors) = tables(EXAMPLE);
    assert_eq!(as_json(&RuntimeTable::of(&runtime)), as_json(&RuntimeTable::of(&RuntimeConfig::default())));
    let retell = VendorConfig::retell("retell", Retell::workspace("key_0000"));
    for default in [clay(), retell] {
        let name = default.profile.as_ref().unwrap().vendor.clone();
        let stated = vendors.iter().find(|config| config.profile.as_ref().is_ok_and(|p| p.vendor == name)).unwrap();
        assert_eq!(as_json(&VendorTable::of(stated)), as_json(&VendorTable::of(&default)), "{name}");
        let (stated, default) = (stated.profile.as_ref().unwrap(), default.profile.as_ref().unwrap());
        for (id, operation) in default.every_operation() {
            let (_, told) = stated.every_operation().find(|(told, _)| *told == id).unwrap();
            assert_eq!(told.timeout, operation.timeout, "{id}");
            assert_eq!((told.estimate, told.repeat), (operation.estimate, operation.repeat), "{id}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once_by_its_field_and_with_its_range() {
    let found = faults_of(
        r#"
        [runtime]
        live_max = 0
        colour = "blue"
        [vendors.clay]
        preset = "opossum"
        lanes = [{ name = "normal", concurrency = 0 }]
        [vendors.clay.profile.clay]
        webhook = "https://clay.test/hook"
        timeout = 30
        [vendors.retell.profile.retell]
        api_key = "key_canary"
        [vendors.retell.breaker]
        probes = 0
        jitter = "much"
        [vendors.retell.budget]
        daily_limit = -1
        time_zone = "Mars/Olympus"
        [vendors.other]
        gate = { cap = 5 }
        [vendor.clay]
        "#,
    );
    for (field, says) in [
        ("vendor: ", "unknown table, known: runtime, vendors"),
        ("runtime.colour: ", "unknown field"),
        ("vendors.clay.profile.clay.timeout: ", "\"30s\""),
        ("vendors.retell.breaker.jitter: ", "expected f64"),
        ("vendors.retell.budget.daily_limit: ", "-1"),
        ("vendors.other.profile: ", "clay, clay_tables, retell, http"),
        ("vendors.clay.preset: ", "`patterns` or `credit`"),
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(field) && fault.contains(says)), "{field}: {found:#?}");
    }
    assert!(!found.join("\n").contains("canary"));
}

#[test]
fn what_can_be_read_is_checked_by_the_plan_as_well() {
    let found = faults_of(
        r#"
        [runtime]
        live_max = 0
        [vendors.clay]
        preset = "opossum"
        lanes = [{ name = "normal", concurrency = 0 }]
        [vendors.clay.profile.clay]
        webhook = "https://clay.test/hook"
        "#,
    );
    let fields: Vec<_> = found.iter().filter_map(|fault| fault.split(": ").next()).collect();
    assert_eq!(
        fields,
        ["vendors.clay.preset", "runtime.live_max", "vendors.clay.lanes.normal.concurrency"],
        "{found:#?}"
    );
}

#[test]
fn a_preset_is_read_before_what_is_said_on_top_of_it() {
    let (_, vendors) = tables(
        r#"
        [vendors.clay]
        preset = "patterns"
        letters = { attempts_max = 7 }
        [vendors.clay.profile.clay]
        webhook = "https://clay.test/hook"
        "#,
    );
    let [clay] = vendors.as_slice() else { panic!() };
    let mut expected = LetterConfig::patterns();
    expected.attempts_max = 7;
    assert_eq!((&clay.letters, clay.breaker.streak.as_ref().unwrap().failures), (&expected, 10));
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let found = faults_of("[runtime]\nlive_max = = 3\n");
    assert!(found.first().is_some_and(|first| first.contains("line 2")), "{found:?}");
}

#[test]
fn what_is_no_toml_is_one_fault_and_a_name_that_no_path_can_name_is_said_once() {
    assert_eq!(faults_of("[vendors.clay]\n[vendors.clay]\n").len(), 1);
    let found = faults_of("[vendors.\"a.b\".profile.clay]\n[vendors.\"\".profile.clay]\n");
    for name in ["\"a.b\"", "\"\""] {
        let of_it: Vec<_> =
            found.iter().filter(|fault| fault.starts_with("vendors: name ") && fault.contains(name)).collect();
        assert_eq!(of_it.len(), 1, "{found:#?}");
    }
    assert!(!found.iter().any(|fault| fault.contains("unknown field")), "{found:#?}");
}

#[cfg(unix)]
#[test]
fn a_file_without_a_length_or_not_of_text_is_refused_and_not_read_for_ever() {
    let said = |file: &std::path::Path| crate::settings::load(file).map(|_| ()).unwrap_err().to_string();
    assert!(said("/dev/zero".as_ref()).contains("more than the 1048576 bytes"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"# caf\xe9\n").unwrap();
    assert!(said(file.path()).contains("not UTF-8"));
}
