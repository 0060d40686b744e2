//! A configuration with faults: all of them at once, by field, with what is allowed.

use std::{net::SocketAddr, time::Duration};

use mainstay::{Clay, Credits, Placement, Retell, Runtime, StartError, VendorConfig, actors::faults::Fault};

use crate::support::{Wire, clay, ok};

async fn faults_of(builder: mainstay::Builder) -> (Vec<Fault>, String) {
    let error = builder.start().await.unwrap_err();
    let text = error.to_string();
    let StartError::Config(faults) = error else { panic!("{error:?}") };
    (faults, text)
}

fn problem<'a>(faults: &'a [Fault], field: &str) -> &'a str {
    let found = faults.iter().find(|fault| fault.field == field);
    &found.unwrap_or_else(|| panic!("{field} is not among {faults:#?}")).problem
}

#[tokio::test]
async fn every_fault_is_named_at_once_by_its_field_with_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let wrong =
        VendorConfig::clay("clay", Clay::table("clay.test/hook_canary")).daily_limit(Credits::whole(5)).with(|clay| {
            clay.lanes[0].concurrency = 0;
            clay.lanes[1].wait_max = Duration::ZERO;
            clay.gate.cap = 0;
            clay.budget.time_zone = "Mars/Olympus".into();
            clay.breaker.rate.as_mut().unwrap().failure_ratio = 1.5;
            clay.breaker.probes = 0;
        });
    let twin = VendorConfig::clay("clay", Clay::table("https://clay.test/hook"));
    let unnamed = VendorConfig::retell("no spaces", Retell::workspace("key_canary"));
    let laneless = VendorConfig::retell("retell", Retell::workspace("key_canary")).with(|retell| retell.lanes.clear());
    let (faults, text) = faults_of(
        Runtime::builder()
            .vendor(wrong)
            .vendor(twin)
            .vendor(unnamed)
            .vendor(laneless)
            .data_dir(&data)
            .placement(Placement::Threads { threads: 0 })
            .debug_http(SocketAddr::from(([0, 0, 0, 0], 7070)))
            .with(|runtime| {
                runtime.live_max = 0;
                runtime.redrive.at_a_time = 0;
                runtime.watchdog.hang_after = Duration::ZERO;
                runtime.child.intensity.max_restarts = 1_001;
            }),
    )
    .await;
    for (field, allowed) in [
        ("placement.threads", "1..=64"),
        ("live_max", "1..=1000000"),
        ("redrive.at_a_time", "1..=1000"),
        ("debug_http", "loopback"),
        ("child.intensity.max_restarts", "0..=1000"),
        ("watchdog.hang_after", "200 ms..=5 min"),
        ("vendors.clay.profile.base_url", "http:// or https://"),
        ("vendors.clay.lanes.critical.concurrency", "1..=1024"),
        ("vendors.clay.lanes.normal.wait_max", "1ms..=1h"),
        ("vendors.clay.gate.cap", "1..=10000"),
        ("vendors.clay.breaker.rate.failure_ratio", "up to 1.0"),
        ("vendors.clay.breaker.probes", "1..=100"),
        ("vendors.clay.budget.time_zone", "Europe/Berlin"),
        ("vendors.clay.budget.daily_limit", "less than one call of push-row may cost (6"),
        ("vendors.clay", "given twice"),
        ("vendors.#3.name", "1 to 64 of a-z"),
        ("vendors.retell.lanes.lanes", "1..=16"),
    ] {
        let problem = problem(&faults, field);
        assert!(problem.contains(allowed), "{field}: {problem:?} does not say {allowed:?}");
        assert!(text.contains(&format!("\n  {field}: ")), "{field} has no line of its own in {text}");
    }
    assert_eq!(faults.len(), 17, "{text}");
    assert!(!text.contains("canary") && !format!("{faults:?}").contains("canary"), "{text}");
    assert!(!data.exists(), "nothing is touched");
}

#[tokio::test]
async fn no_vendor_at_all_is_a_fault() {
    let (faults, _) = faults_of(Runtime::builder()).await;
    assert_eq!(problem(&faults, "vendors"), "0 vendors is not within 1..=64");
}

#[tokio::test]
async fn an_address_that_is_no_url_is_found_at_the_start_and_not_shown() {
    for address in ["https://", "http://exa mple.test/hook_canary", "https://clay.test:99999/hook_canary"] {
        let clay = VendorConfig::clay("clay", Clay::table(address));
        let (faults, text) = faults_of(Runtime::builder().vendor(clay)).await;
        assert!(problem(&faults, "vendors.clay.profile.base_url").contains("not shown"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_travel_in_a_header_is_found_at_the_start_and_not_shown() {
    for key in ["", "key_canary\n", "key_canary\u{fc}"] {
        let retell = VendorConfig::retell("retell", Retell::workspace(key));
        let (faults, text) = faults_of(Runtime::builder().vendor(retell)).await;
        assert!(problem(&faults, "vendors.retell.profile.auth").contains("not shown"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn the_callers_own_thread_without_a_local_set_is_an_error_in_words() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wire = Wire::usually(ok(200));
    let started = runtime.block_on(Runtime::builder().vendor(clay(&wire)).placement(Placement::Local).start());
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::System(_)), "{error:?}");
    assert!(error.to_string().contains("LocalSet"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_and_the_data_directory_is_free_again() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = taken.local_addr().unwrap();
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
    let builder = || Runtime::builder().vendor(clay(&wire)).data_dir(dir.path());
    let error = builder().debug_http(at).start().await.unwrap_err();
    assert!(matches!(error, StartError::System(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&at.to_string()) && text.contains("in use"), "{text}");
    let runtime = builder().start().await.unwrap();
    runtime.shutdown(Duration::from_secs(5)).await;
}
