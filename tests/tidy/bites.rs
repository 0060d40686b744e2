//! Planted violations: each rule finds its own, and lets its neighbours pass.

use super::*;

/// What a rule finds in files that exist only here.
fn found(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    rule(&read(&files))
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_concern_that_names_a_sibling_is_found_however_it_does() {
    let plain = "use crate::budget::Ledger;";
    let grouped = "use crate::{\n    clock,\n    health::{Score},\n    ids::dlq,\n};";
    let upwards = "fn f() { super::super::client::send() }";
    let files =
        [("actors/src/breaker/a.rs", plain), ("actors/src/dlq/b.rs", grouped), ("actors/src/budget/c.rs", upwards)];
    let expected =
        ["actors/src/breaker/a.rs:1: budget", "actors/src/dlq/b.rs:3: health", "actors/src/budget/c.rs:1: client"];
    assert_eq!(found(no_sibling, &files), expected);
}

#[test]
fn a_concern_may_name_itself_and_mention_a_sibling_in_words() {
    let own = "// crate::budget\nuse crate::{breaker::Trip, grant};\nlet s = \"crate::dlq::x\"; let budget::X = y;";
    assert_eq!(found(no_sibling, &[("actors/src/breaker/a.rs", own)]), NOTHING);
    let strange = [("actors/src/billing/mod.rs", "//! New.")];
    assert_eq!(
        found(no_sibling, &strange),
        ["actors/src/billing/mod.rs:1: an unknown folder, say in tests/tidy.rs what billing is"]
    );
}

#[test]
fn a_lower_floor_that_names_a_concern_is_found() {
    let files = [
        ("actors/src/fact.rs", "use crate::{ids::CallId, breaker::State};"),
        ("actors/src/kernel/hop.rs", "\nuse crate::dlq;"),
        ("actors/src/lib.rs", "pub mod dlq; pub use crate::dlq::X;"),
    ];
    assert_eq!(
        found(no_concern_from_below, &files),
        ["actors/src/fact.rs:1: breaker", "actors/src/kernel/hop.rs:2: dlq"]
    );
}

#[test]
fn a_rule_that_names_the_runtime_is_found_and_a_shell_is_not() {
    let module = "//! Why.\nmod state;\n#[cfg(feature = \"runtime\")]\nmod actor;\n#[cfg(test)]\nmod tests;\n";
    let state = "use tokio::sync::mpsc;\n#[cfg(feature = \"runtime\")]\n#[must_use]\nfn now() {\n    tokio::now();\n}\nfn f(a: actix::Addr) {}\n";
    let files = [
        ("actors/src/budget/mod.rs", module),
        ("actors/src/budget/state.rs", state),
        ("actors/src/budget/actor.rs", "use actix::Actor;"),
        ("actors/src/budget/actor/deep.rs", "use actix::Actor;"),
        ("actors/src/budget/tests.rs", "use tokio::test;"),
    ];
    let expected = ["actors/src/budget/state.rs:1: tokio", "actors/src/budget/state.rs:7: actix"];
    assert_eq!(found(pure_rules, &files), expected);
}

#[test]
fn sled_and_do_send_outside_their_homes_are_found() {
    let files = [
        ("src/store/sled_store.rs", "use sled::Db;"),
        ("src/runtime.rs", "// sled\nuse sled::Db;\nlet sled = SledStore::open();"),
        ("actors/src/kernel/hop.rs", "to.do_send(x);"),
        ("actors/src/dlq/actor.rs", "\"do_send\";\n\nto.do_send(x);"),
    ];
    assert_eq!(found(sled_in_one_file, &files), ["src/runtime.rs:2: sled"]);
    assert_eq!(found(one_door, &files), ["actors/src/dlq/actor.rs:3: do_send"]);
}

#[test]
fn a_long_file_is_found_and_its_tests_are_not_counted() {
    let code = "fn f() {}\n".repeat(400);
    let tested = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");
    let long = format!("{code}fn g() {{}}\n");
    let files = [("src/a.rs", long.as_str()), ("src/b.rs", &tested), ("src/a/tests.rs", &long), ("tests/c.rs", &long)];
    assert_eq!(found(short_files, &files), ["src/a.rs:401: 401 lines"]);
}

#[test]
fn a_module_without_documentation_is_found() {
    let readme = "#![doc = include_str!(\"../README.md\")]";
    let files =
        [("src/lib.rs", readme), ("actors/src/lib.rs", readme), ("src/a/mod.rs", "mod b;"), ("src/b.rs", "mod c;")];
    let expected = ["actors/src/lib.rs:1: does not begin with //!", "src/a/mod.rs:1: does not begin with //!"];
    assert_eq!(found(documented_modules, &files), expected);
}

#[test]
fn a_test_that_sleeps_is_found_unless_it_waits_for_a_fact_or_the_clock_is_paused() {
    let sleeping = "async fn it_works() {\n    while !done() {\n    sleep(MS).await;\n    }\n    tokio::time::sleep(SECOND).await;\n}\nfn until_done() {\n    thread::sleep(MS);\n}\n";
    let paused = "#[tokio::test(start_paused = true)]\nasync fn t() {\n    sleep(SECOND).await;\n    thread::sleep(SECOND);\n}\n";
    let inside =
        "fn real() {\n    sleep(MS);\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n        sleep(MS);\n    }\n}\n";
    let files = [
        ("tests/a.rs", sleeping),
        ("src/x/tests.rs", paused),
        ("src/y.rs", inside),
        ("tests/support/mod.rs", "fn answer() { sleep(MS); }"),
    ];
    let expected = ["tests/a.rs:5: sleep", "src/x/tests.rs:4: sleep", "src/y.rs:7: sleep"];
    assert_eq!(found(no_sleep, &files), expected);
}

#[test]
fn a_duration_that_is_read_in_serdes_own_form_is_found() {
    let read = "#[derive(Debug, Deserialize)]\nstruct A {\n    /// Why.\n    wait: Duration,\n    #[serde(with = \"d\")]\n    /// Why.\n    fine: Duration,\n}\n";
    let own = "#[derive(Debug)]\nstruct B {\n    wait: Duration,\n}\n";
    let files = [("src/a.rs", format!("{read}{own}")), ("src/b.rs", own.to_owned())];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    assert_eq!(found(written_durations, &files), ["src/a.rs:4: Duration"]);
}

#[test]
fn what_is_ignored_or_left_to_do_is_found() {
    let text = "// todo!()\n#[test]\n#[ignore = \"slow\"]\nfn t() { todo!(\"later\") }\nfn u() { unimplemented!() }";
    let expected = ["src/a.rs:3: #[ignore", "src/a.rs:4: todo!", "src/a.rs:5: unimplemented!"];
    assert_eq!(found(nothing_left_to_do, &[("src/a.rs", text)]), expected);
}

#[test]
fn an_arrow_upwards_is_found_in_code_and_in_the_manifest() {
    let manifest = "[package]\nname = \"mainstay-actors\"\n[dev-dependencies]\nmainstay = { path = \"..\" }\n";
    let files =
        [("actors/Cargo.toml", manifest), ("actors/src/ids.rs", "//! mainstay::breaker\nuse mainstay::Handle;")];
    assert_eq!(
        found(arrows_point_downwards, &files),
        ["actors/Cargo.toml:4: mainstay", "actors/src/ids.rs:2: mainstay"]
    );
}

#[test]
fn a_path_of_a_machine_is_found_in_any_file() {
    let text = concat!("run it in ", "/ho", "me/ada/mainstay\n", "https://example.com/ho", "me/x\n");
    let expected = [concat!("docs/a.md:1: ", "/ho", "me/")];
    assert_eq!(found(no_machine_paths, &[("docs/a.md", text)]), expected);
}

#[test]
fn a_page_that_names_a_test_that_is_not_there_is_found() {
    let page = "| # | asked | where | test |\n| --- | --- | --- | --- |\n| 1 | `a` | `b` | `it_holds`, `it_is_gone` |\n`none`\n";
    let files = [("docs/defects.md", page), ("docs/other.md", page), ("tests/a.rs", "fn it_holds() {}")];
    assert_eq!(found(named_tests_exist, &files), ["docs/defects.md:3: it_is_gone"]);
}
