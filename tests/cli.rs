//! The program `mainstay`, run as a person runs it: real processes, real files, the simulator's real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use mainstay::testing::{Episode, Fault, Rate, Script, Simulator, SimulatorConfig, Vendor};
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
        let mut vendors = SimulatorConfig::default();
        vendors.clay.rate = Rate { per_second: 1000.0, burst: 1000 }; // as the configuration has it
        let vendors = Simulator::start(vendors).unwrap();
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

    /// The same, not waited for. With a pipe, the rows come by it.
    fn begin(&self, stdin: Stdio) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let input = if self.path().join("rows.jsonl").exists() { "rows.jsonl" } else { "-" };
        command.args(["run", "--config", "mainstay.toml", "--vendor", "clay", "--operation", "push-row", "--json"]);
        command.args(["--data", "data", "--input", input]).current_dir(self.path()).env("RUST_LOG", "off");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    async fn mainstay<'a>(&self, arguments: impl IntoIterator<Item = &'a &'a str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(arguments).current_dir(self.path()).env("RUST_LOG", "off").stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    }
}

/// The work is done and nobody hears of it.
fn silent_but_working() -> Script {
    Script::seeded(1).episode(Episode::always(Vendor::Clay, Fault::BlackHole { effect: true }))
}

async fn until_requests(desk: &Desk, count: u64) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
    while desk.vendors.totals().clay.requests < count {
        looks.tick().await;
    }
}

#[cfg(unix)]
fn tell(program: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &program.id().to_string()]).status().unwrap().success());
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
async fn a_row_that_an_earlier_run_parked_is_counted_where_it_is_and_not_as_delivered() {
    let desk = Desk::with("retry = { attempts_max = 1 }");
    let down = Fault::TooMany { retry_after_secs: Some(60) };
    desk.vendors.set_script(Script::seeded(1).episode(Episode::always(Vendor::Clay, down))).unwrap();
    desk.write("rows.jsonl", format!("{}{}", rows(5), rows(1)));
    for run in ["first", "second"] {
        let counts = summary(&desk.push(&[]).await);
        assert_eq!((&counts["queued"], &counts["delivered"]), (&6.into(), &0.into()), "{run}: {counts}");
    }
    assert_eq!(desk.vendors.totals().clay.effects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_on_the_wire_when_the_program_was_killed_is_unknown_to_the_next_run_and_not_sent_again() {
    let desk = Desk::new();
    desk.vendors.set_script(silent_but_working()).unwrap();
    desk.write("rows.jsonl", rows(3));
    let mut killed = desk.begin(Stdio::null());
    until_requests(&desk, 3).await;
    killed.kill().unwrap();
    killed.wait().unwrap();

    desk.vendors.set_script(Script::seeded(1)).unwrap();
    desk.write("rows.jsonl", rows(5));
    let counts = summary(&desk.push(&[]).await);
    assert_eq!((&counts["unknown"], &counts["delivered"]), (&3.into(), &2.into()), "{counts}");
    assert_eq!((desk.vendors.totals().clay.effects, desk.vendors.totals().clay.duplicate_effects), (5, 0));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_told_to_end_keeps_what_was_done_and_says_where_it_stopped() {
    for signal in ["-INT", "-TERM"] {
        let desk = Desk::new();
        let mut run = desk.begin(Stdio::piped());
        let mut input = run.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, rows(3).as_bytes()).unwrap();
        until_requests(&desk, 3).await;
        tell(&run, signal);
        let output = tokio::task::spawn_blocking(move || run.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}: {}", said(&output));
        assert_eq!(summary(&output)["delivered"], 3, "{signal}");
        assert!(said(&output).contains("interrupted behind line 3 of -"), "{signal}: {}", said(&output));
        drop(input);
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_leaves_the_rows_that_are_on_the_wire_and_still_accounts_for_them() {
    let desk = Desk::new();
    desk.vendors.set_script(silent_but_working()).unwrap();
    desk.write("rows.jsonl", rows(3));
    let mut run = desk.begin(Stdio::null());
    until_requests(&desk, 3).await;
    let mut heard = std::io::BufReader::new(run.stderr.take().unwrap());
    tell(&run, "-TERM");
    until_line(&mut heard, "mainstay: waits for 3 rows");
    tell(&run, "-TERM");
    let output = tokio::task::spawn_blocking(move || run.wait_with_output()).await.unwrap().unwrap();
    let counts = summary(&output);
    assert_eq!(
        (output.status.code(), &counts["unknown"], &counts["lost"]),
        (Some(1), &3.into(), &0.into()),
        "{counts}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_begin_leaves_the_rejects_of_the_last_one_and_never_touches_its_input() {
    let desk = Desk::new();
    desk.write("rows.jsonl", rows(1));
    desk.write("rejects.jsonl", "of the last run");
    let typo = ["run", "--config", "mainstay.toml", "--vendor", "clay", "--operation", "push", "--input", "rows.jsonl"];
    let output = desk.mainstay(typo.iter().chain(&["--rejects", "rejects.jsonl"])).await;
    assert_eq!((output.status.code(), desk.read("rejects.jsonl").as_str()), (Some(2), "of the last run"));

    let same = desk.push(&["--rejects", "./rows.jsonl"]).await;
    assert_eq!((same.status.code(), desk.read("rows.jsonl")), (Some(2), rows(1)), "{}", said(&same));

    let clean = desk.push(&["--rejects", "rejects.jsonl"]).await;
    assert_eq!((clean.status.code(), desk.read("rejects.jsonl").as_str()), (Some(0), ""), "{}", said(&clean));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_rejects_stops_the_run_and_the_summary_is_still_told() {
    let desk = Desk::new();
    desk.write("rows.jsonl", "{\"n\":1}\nwrong\n");
    let output = desk.push(&["--rejects", "/dev/full"]).await;
    assert_eq!((output.status.code(), &summary(&output)["delivered"]), (Some(1), &1.into()));
    assert!(said(&output).contains("--rejects /dev/full") && said(&output).contains("line 2"), "{}", said(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let status = command.args(["config", "--example"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_states_the_exit_codes() {
    let help = Desk::new().mainstay(&["run", "--help"]).await;
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
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
