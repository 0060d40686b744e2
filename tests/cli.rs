//! The program `mainstay`, run as a person runs it: real processes, real files, the simulator's real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use mainstay::testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Vendor};
use serde_json::Value;

/// A folder with a configuration for a simulator's Clay table.
struct Desk {
    dir: tempfile::TempDir,
    vendors: Simulator,
}

impl Desk {
    fn new() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let vendors = Simulator::start(SimulatorConfig::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[vendors.clay]\ngate = {{ rate = {{ per_second = 1000, burst = 100 }} }}\n{more}\n\
             [vendors.clay.profile.clay]\nwebhook = \"{}\"\n",
            vendors.clay_url()
        );
        fs::write(dir.path().join("mainstay.toml"), config).unwrap();
        Self { dir, vendors }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Pushes `rows.jsonl`; off the simulator's thread.
    async fn push(&self, more: &[&str]) -> Output {
        let usual = ["run", "--config", "mainstay.toml", "--vendor", "clay", "--operation", "push-row"];
        let rest = ["--input", "rows.jsonl", "--data", "data", "--json"];
        self.mainstay(usual.iter().chain(&rest).chain(more)).await
    }

    async fn mainstay<'a>(&self, arguments: impl IntoIterator<Item = &'a &'a str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(arguments).current_dir(self.path()).env("RUST_LOG", "off").stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }
}

fn rows(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        writeln!(text, r#"{{"id":"lead-{n}","domain":"company{n}.example"}}"#).unwrap();
        text
    })
}

/// The last line of standard output, whose numbers must add up.
fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_else(|| panic!("no output; {}", said(output)));
    let summary: Value = serde_json::from_str(last).unwrap();
    let of = |name: &str| summary[name].as_u64().unwrap();
    let ends = ["delivered", "cached", "queued", "local", "dead_lettered", "unknown", "cancelled"];
    assert_eq!(of("offered"), of("accepted") + of("refused"), "{summary}");
    assert_eq!(of("accepted"), ends.into_iter().map(of).sum::<u64>(), "{summary}");
    summary
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_file_is_pushed_once_and_accounted_for() {
    let desk = Desk::new();
    desk.write("rows.jsonl", rows(50));
    let output = desk.push(&[]).await;
    let summary = summary(&output);
    assert_eq!((output.status.code(), &summary["offered"], &summary["delivered"]), (Some(0), &50.into(), &50.into()));
    assert_eq!(desk.vendors.totals().clay.effects, 50);

    // The same file again: every key is known, so nothing is sent.
    let again = desk.push(&[]).await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert_eq!(desk.vendors.totals().clay.effects, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_row_goes_to_the_rejects_with_its_line_and_the_rest_goes_on() {
    let desk = Desk::new();
    desk.write(
        "rows.jsonl",
        b"{\"n\":1}\nnot json\n\n{\"n\":2}\n\xff\xfe\n[3]\n{\"n\":4,\"id\":{}}\n{\"n\":5}\n{\"n\":6".as_slice(),
    );
    let output = desk.push(&["--rejects", "rejects.jsonl"]).await;
    let summary = summary(&output);
    assert_eq!((output.status.code(), &summary["delivered"], &summary["refused"]), (Some(0), &3.into(), &5.into()));
    let rejects: Vec<Value> =
        desk.read("rejects.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 5, 6, 7, 9]);
    assert!(rejects.iter().all(|reject| reject["reason"].is_string() && reject["row"].is_string()), "{rejects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_is_kept_whole_with_its_reason_and_its_time() {
    let desk = Desk::with("budget = { daily_limit = 13 }\nfallback = { on_denied = \"refuse\" }");
    desk.write("rows.jsonl", rows(5));
    let output = desk.push(&["--rejects", "rejects.jsonl", "--in-flight", "1"]).await;
    let summary = summary(&output);
    assert_eq!((&summary["delivered"], &summary["refused"]), (&2.into(), &3.into()), "{}", said(&output));
    let first: Value = serde_json::from_str(desk.read("rejects.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!((&first["line"], &first["row"]["id"]), (&3.into(), &"lead-2".into()));
    assert!(first["reason"].as_str().unwrap().contains("budget") && first["retry_at"].is_string(), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_stops_at_once_with_the_known_ones() {
    let desk = Desk::new();
    desk.write("rows.jsonl", rows(50));
    for (option, name) in [("--vendor", "cley"), ("--operation", "push"), ("--lane", "fast"), ("--target", "leads")] {
        let usual = ["run", "--config", "mainstay.toml", "--input", "rows.jsonl", "--data", "data"];
        let mut names = vec![("--vendor", "clay"), ("--operation", "push-row"), ("--lane", "normal")];
        names.retain(|(known, _)| *known != option);
        names.push((option, name));
        let names: Vec<_> = names.iter().flat_map(|(option, name)| [*option, *name]).collect();
        let output = desk.mainstay(usual.iter().chain(&names)).await;
        assert_eq!(output.status.code(), Some(2), "{option}: {}", said(&output));
        assert!(said(&output).contains(&format!("\"{name}\"")), "{option}: {}", said(&output));
    }
    assert_eq!(desk.vendors.totals().clay.requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_outage_are_on_disk_and_the_next_run_delivers_them() {
    let quick = "letters = { backoff_first = \"10ms\", backoff_max = \"10ms\", attempts_max = 1000 }\n\
                 retry = { attempts_max = 1 }\nbreaker = { streak = { open_for = \"50ms\" }, jitter = 0.0 }";
    let desk = Desk::with(quick);
    let down = Fault::TooMany { retry_after_secs: Some(1) };
    desk.vendors.set_script(Script::seeded(1).episode(Episode::always(Vendor::Clay, down))).unwrap();
    desk.write("rows.jsonl", rows(10));
    let during = desk.push(&[]).await;
    let counts = summary(&during);
    assert_eq!((during.status.code(), &counts["queued"]), (Some(0), &10.into()), "{counts} {}", said(&during));

    desk.vendors.set_script(Script::seeded(1)).unwrap();
    desk.write("rows.jsonl", "");
    let after = desk.push(&["--drain", "60"]).await;
    assert_eq!((after.status.code(), &summary(&after)["offered"]), (Some(0), &0.into()));
    let totals = desk.vendors.totals().clay;
    assert_eq!((totals.effects, totals.duplicate_effects), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_before_anything_is_sent() {
    let desk = Desk::new();
    let missing = desk.push(&[]).await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("--input rows.jsonl"), "{}", said(&missing));
    desk.write("rows.jsonl", rows(1));
    let nowhere = desk.push(&["--rejects", "no/such/folder/x"]).await;
    assert!(said(&nowhere).contains("--rejects no/such/folder/x"), "{}", said(&nowhere));
    desk.write("mainstay.toml", "[vendors.clay]\ngate = 7\n");
    let wrong = desk.push(&[]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("vendors.clay.profile"), "{}", said(&wrong));
    assert_eq!(desk.vendors.totals().clay.requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_configuration_passes_its_own_check() {
    let desk = Desk::new();
    let example = desk.mainstay(&["config", "--example"]).await;
    desk.write("example.toml", &example.stdout);
    let check = desk.mainstay(&["config", "--check", "example.toml"]).await;
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));

    desk.write("wrong.toml", "[runtime]\nlive_max = 0\n[vendors.x.profile.http]\nbase_url = \"ftp://x\"\n");
    let wrong = desk.mainstay(&["config", "--check", "wrong.toml"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    for field in ["runtime.live_max", "vendors.x.profile.base_url", "vendors.x.profile.operations"] {
        assert!(said(&wrong).contains(field), "{field}: {}", said(&wrong));
    }
    let neither = desk.mainstay(&["config"]).await;
    assert_eq!(neither.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_goes_over_the_file() {
    let desk = Desk::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["config", "--check", "mainstay.toml"]).current_dir(desk.path());
    command
        .env("MAINSTAY_VENDORS__CLAY__GATE__CAP", "0")
        .env("MAINSTAY_SEED", "7")
        .env("MAINSTAY_RUNTIME__LIVE_MAX", "no");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = said(&output);
    assert!(said.contains("vendors.clay.gate.cap: 0 is not within") && said.contains("runtime.live_max"), "{said}");
    assert!(said.contains("environment variable") && !said.contains("seed"), "{said}");
}

/// Waits for a line of a program that goes on.
fn until_line(out: &mut impl std::io::BufRead, begins: &str) -> String {
    let mut line = String::new();
    while !line.starts_with(begins) {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before it said {begins}");
    }
    line.trim_end().to_owned()
}

#[cfg(unix)]
#[test]
fn the_simulator_writes_its_ledger_when_it_is_told_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["sim", "--vendor", "clay", "--listen", "127.0.0.1:0", "--ledger", "ledger.jsonl"]);
    let mut sim = command.current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(sim.stdout.take().unwrap());
    let webhook = until_line(&mut out, "clay webhook").split_whitespace().last().unwrap().to_owned();
    let ledger = until_line(&mut out, "ledger");
    assert!(ledger.ends_with("/__ledger"), "no line about retell came before it");

    fs::write(dir.path().join("rows.jsonl"), rows(3)).unwrap();
    let config = format!("[vendors.clay.profile.clay]\nwebhook = \"{webhook}\"\n");
    fs::write(dir.path().join("mainstay.toml"), config).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    run.args([
        "run",
        "--config",
        "mainstay.toml",
        "--vendor",
        "clay",
        "--operation",
        "push-row",
        "--input",
        "rows.jsonl",
    ]);
    assert!(run.current_dir(dir.path()).stdout(Stdio::null()).status().unwrap().success());

    assert!(Command::new("kill").arg(sim.id().to_string()).status().unwrap().success());
    assert!(sim.wait().unwrap().success());
    let ledger = fs::read_to_string(dir.path().join("ledger.jsonl")).unwrap();
    assert_eq!(ledger.lines().count(), 3);
    assert!(dir.path().join("mainstay-data").is_dir(), "parked calls are kept although nobody said where");
}
